/* matmul.c - the matrix product as an operation: y = x w^T.
 *
 *   forward    y[r][o]   = chain over i of x[r][i] w[o][i]
 *   backward   dx[r][i]  = chain over o of dy[r][o] w[o][i]
 *              dw[o][i] += chain over r of dy[r][o] x[r][i]          rows ascending, continuing what dw holds
 *
 * The chains are defined in gemm_ref.c, cut into blocks by gemm.c and computed by cpu/matmul_*.c. A packed w
 * (weight.c) is frozen: dx flows through it, dw does not exist. In strict-bf16 dw is a product like the
 * others: bf16 operands, fp32 sums, and the gradient itself is fp32. */
#include "tensor/matmul.h"
#include "tensor/op_util.h"

#include "base/cpu.h"
#include "base/thread.h"

#include <stdio.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------- operands */

static tn_mm_b weight_b(const tn_tensor *w, bool transposed)
{
    tn_mm_b b = { .dtype = w->dtype, .rows = w->data, .ld = tn_cols(w), .w = w->packed };

    if (w->packed != NULL) b.kind = transposed ? TN_MM_B_PACKED_T : TN_MM_B_PACKED;
    else b.kind = transposed ? TN_MM_B_KN : TN_MM_B_NK;
    return b;
}

static tn_profile profile_of(const tn_call *c) { return ((const tn_matmul_params *)c->params)->profile; }

static tn_mm forward_product(const tn_call *c)
{
    const tn_tensor *x = c->in[0], *w = c->in[1];
    int64_t          n_in = tn_cols(x), n_out = tn_rows(w);

    return (tn_mm){ .c = c->out[0]->data,
                    .ldc = n_out,
                    .a = { x->data, n_in, 1 },
                    .b = weight_b(w, false),
                    .m = tn_rows(x),
                    .n = n_out,
                    .k = n_in,
                    .profile = profile_of(c) };
}

static tn_mm dx_product(const tn_call *c)
{
    const tn_tensor *dy = c->dout[0], *w = c->in[1];
    int64_t          n_in = tn_cols(w), n_out = tn_rows(w);
    tn_profile       p = profile_of(c);

    return (tn_mm){ .c = c->din[0]->data,
                    .ldc = n_in,
                    .a = { dy->data, n_out, 1 },
                    .b = weight_b(w, true),
                    .m = tn_rows(dy),
                    .n = n_in,
                    .k = n_out,
                    .add = c->add[0],
                    .profile = p == TN_PROFILE_Q8ACT ? TN_PROFILE_STRICT : p };
}

static tn_mm dw_product(const tn_call *c)
{
    const tn_tensor *dy = c->dout[0], *x = c->in[0];
    int64_t          n_in = tn_cols(x), n_out = tn_cols(dy);
    tn_profile       p = profile_of(c);

    return (tn_mm){ .c = c->din[1]->data,
                    .ldc = n_in,
                    .a = { dy->data, 1, n_out },
                    .b = { .kind = TN_MM_B_KN, .dtype = TN_F32, .rows = x->data, .ld = n_in },
                    .m = n_out,
                    .n = n_in,
                    .k = tn_rows(x),
                    .add = c->add[1],
                    .profile = p == TN_PROFILE_Q8ACT ? TN_PROFILE_STRICT : p };
}

static void zero_gradient(tn_tensor *d, bool add)
{
    if (!add) memset(d->data, 0, tn_n_bytes(d));
}

static void forward(const tn_mm_set *set, const tn_call *c)
{
    tn_mm y = forward_product(c);

    tn_mm_run_set(set, &y, c->scratch, c->scratch_bytes);
}

static void backward(const tn_mm_set *set, const tn_call *c)
{
    bool dw = c->din[1] != NULL && c->in[1]->packed == NULL;

    if (c->dout[0] == NULL || tn_rows(c->in[0]) == 0) { /* a chain of no steps */
        if (c->din[0] != NULL) zero_gradient(c->din[0], c->add[0]);
        if (dw) zero_gradient(c->din[1], c->add[1]);
        return;
    }
    if (c->din[0] != NULL) {
        tn_mm dx = dx_product(c);
        tn_mm_run_set(set, &dx, c->scratch, c->scratch_bytes);
    }
    if (dw) {
        tn_mm product = dw_product(c);
        tn_mm_run_set(set, &product, c->scratch, c->scratch_bytes);
    }
}

/* ----------------------------------------------------------------------------------------- shape, scratch */

static tn_status matmul_shape(const tn_call *c, tn_error *err)
{
    const tn_tensor *x = c->in[0], *w = c->in[1];

    if (x == NULL || w == NULL) return tn_fail(err, TN_MISMATCH, "matmul needs x and w");
    if (x->dtype != TN_F32 || x->n_dim < 1)
        return tn_fail(err, TN_MISMATCH, "matmul: x is %s, expected f32", tn_dtype_name(x->dtype));
    if (w->n_dim != 2)
        return tn_fail(err, TN_MISMATCH, "matmul: w has %d dimensions, expected [n_out][n_in]", w->n_dim);
    if (w->packed == NULL && w->dtype != TN_F32 && w->dtype != TN_BF16)
        return tn_fail(err, TN_MISMATCH,
                       "matmul: w is %s rows: rows are f32 or bf16, other types must be packed first",
                       tn_dtype_name(w->dtype));
    if (tn_cols(x) != tn_cols(w))
        return tn_fail(
            err, TN_MISMATCH, "matmul: x [%lld][%lld] does not fit w [%lld][%lld]: both need the same n_in",
            (long long)tn_rows(x), (long long)tn_cols(x), (long long)tn_rows(w), (long long)tn_cols(w));
    if (w->packed != NULL && (w->packed->n_out != w->shape[0] || w->packed->n_in != w->shape[1]))
        return tn_fail(err, TN_MISMATCH, "matmul: w says [%lld][%lld] but its packed form is [%lld][%lld]",
                       (long long)w->shape[0], (long long)w->shape[1], (long long)w->packed->n_out,
                       (long long)w->packed->n_in);
    TN_TRY(tn_need_size(c, "x", x, err));
    TN_TRY(tn_need_size(c, "w", w, err));
    TN_TRY(tn_need_profile(c, profile_of(c), err));
    *c->out[0] = *x;
    c->out[0]->shape[x->n_dim - 1] = tn_rows(w);
    c->out[0]->data = NULL;
    c->out[0]->packed = NULL;
    return tn_need_size(c, "the result", c->out[0], err);
}

static size_t matmul_scratch(const tn_call *c, bool backward_pass)
{
    int64_t n_row = tn_rows(c->in[0]), n_in = tn_cols(c->in[0]), n_out = tn_rows(c->in[1]);

    if (!backward_pass) return tn_mm_scratch_bytes(tn_threads(), n_row, n_in);
    return tn_mm_scratch_bytes(tn_threads(), tn_max64(n_row, n_out), tn_max64(n_row, tn_max64(n_in, n_out)));
}

static double matmul_flops(const tn_call *c)
{
    return 2.0 * (double)tn_rows(c->in[0]) * (double)tn_cols(c->in[0]) * (double)tn_rows(c->in[1]);
}

/* ------------------------------------------------------------------------------------------- kernel table */

#define KERNEL(name, set)                                                                                    \
    static void fwd_##name(const tn_call *c) { forward(set, c); }                                            \
    static void bwd_##name(const tn_call *c) { backward(set, c); }
KERNEL(ref, NULL)
KERNEL(avx2, &tn_mm_avx2)
KERNEL(avx512, &tn_mm_avx512)
KERNEL(avx512_vnni, &tn_mm_avx512_vnni)
KERNEL(avx512_bf16, &tn_mm_avx512_bf16)
KERNEL(avx512_amx, &tn_mm_avx512_amx)

/* Every CPU with bf16 has the int8 dot product too; this row uses both. */
static bool bf16_and_vnni(void) { return tn_cpu_avx512_bf16() && tn_cpu_avx512_vnni(); }
static bool amx_and_vnni(void) { return tn_cpu_avx512_amx() && tn_cpu_avx512_vnni(); }

// clang-format off
static const tn_kernel kernels[] = {                                /* slowest first; the last usable one wins */
    {"ref",         tn_cpu_any,         fwd_ref,         bwd_ref},
    {"avx2",        tn_cpu_avx2,        fwd_avx2,        bwd_avx2},
    {"avx512",      tn_cpu_avx512,      fwd_avx512,      bwd_avx512},
    {"avx512_vnni", tn_cpu_avx512_vnni, fwd_avx512_vnni, bwd_avx512_vnni},
    {"avx512_bf16", bf16_and_vnni,      fwd_avx512_bf16, bwd_avx512_bf16},
    {"avx512_amx",  amx_and_vnni,       fwd_avx512_amx,  bwd_avx512_amx},
    {NULL,          NULL,               NULL,            NULL},
};
// clang-format on

/* Row by row the sets of kernels[], for the operations that contain matrix products. */
static const tn_mm_set *const sets[] = {
    NULL, &tn_mm_avx2, &tn_mm_avx512, &tn_mm_avx512_vnni, &tn_mm_avx512_bf16, &tn_mm_avx512_amx
};

void tn_mm_run(const tn_mm *mm, void *scratch, size_t scratch_bytes)
{
    tn_mm_run_set(sets[tn_op_kernel(&tn_op_matmul) - kernels], mm, scratch, scratch_bytes);
}

static void matmul_together(const tn_call *const *calls, int n)
{
    tn_mm mm[TN_TOGETHER];

    if (n > TN_TOGETHER) tn_bug("%d products together, at most %d", n, (int)TN_TOGETHER);
    for (int i = 0; i < n; i++) mm[i] = forward_product(calls[i]);
    tn_mm_run_several(sets[tn_op_kernel(&tn_op_matmul) - kernels], mm, n, calls[n - 1]->scratch,
                      calls[n - 1]->scratch_bytes);
}

/* -------------------------------------------------------------------------------------- self-test's cases */

/* The first N_QUICK are the start-up check's: for every way of storing w and every profile the loops for one
 * row, for a few (which read packed panels as they lie) and for many (which make strips, or go to a matrix
 * unit). Most packed ones have no gradient here: the definition takes long for it, and panels turned round
 * come from the loops of the forward pass. */
enum { N_QUICK = 44 };
static const struct {
    int64_t    n_row, n_in, n_out;
    tn_dtype   w;
    bool       packed;
    tn_profile profile;
    // clang-format off
} shapes[] = {
    {1, 37, 19, TN_F32, false, TN_PROFILE_STRICT},            {5, 37, 19, TN_F32, false, TN_PROFILE_STRICT},
    {17, 70, 35, TN_F32, false, TN_PROFILE_STRICT},           {3, 33, 20, TN_BF16, false, TN_PROFILE_STRICT},
    {17, 33, 35, TN_F32, false, TN_PROFILE_STRICT_BF16},      {2, 40, 19, TN_BF16, true, TN_PROFILE_STRICT_BF16},
    {1, 37, 19, TN_F32, true, TN_PROFILE_STRICT},             {3, 37, 19, TN_F32, true, TN_PROFILE_STRICT},
    {1, 37, 19, TN_F16, true, TN_PROFILE_STRICT},             {17, 37, 19, TN_F16, true, TN_PROFILE_STRICT},
    {1, 37, 5, TN_BF16, true, TN_PROFILE_STRICT},             {3, 37, 19, TN_BF16, true, TN_PROFILE_STRICT},
    {1, 64, 19, TN_Q8_0, true, TN_PROFILE_STRICT},            {17, 64, 19, TN_Q8_0, true, TN_PROFILE_STRICT},
    {1, 64, 19, TN_Q4_0, true, TN_PROFILE_STRICT},            {3, 64, 19, TN_Q4_0, true, TN_PROFILE_STRICT},
    {1, 64, 5, TN_Q4_1, true, TN_PROFILE_STRICT},             {3, 64, 19, TN_Q4_1, true, TN_PROFILE_STRICT},
    {1, 64, 5, TN_Q5_0, true, TN_PROFILE_STRICT},             {3, 64, 19, TN_Q5_0, true, TN_PROFILE_STRICT},
    {1, 64, 5, TN_Q5_1, true, TN_PROFILE_STRICT},             {3, 64, 19, TN_Q5_1, true, TN_PROFILE_STRICT},
    {1, 256, 19, TN_Q4_K, true, TN_PROFILE_STRICT},           {3, 256, 5, TN_Q4_K, true, TN_PROFILE_STRICT},
    {1, 256, 5, TN_Q5_K, true, TN_PROFILE_STRICT},            {3, 256, 5, TN_Q5_K, true, TN_PROFILE_STRICT},
    {1, 256, 5, TN_Q6_K, true, TN_PROFILE_STRICT},            {3, 256, 5, TN_Q6_K, true, TN_PROFILE_STRICT},
    {3, 64, 19, TN_Q8_0, true, TN_PROFILE_Q8ACT},             {14, 64, 5, TN_Q8_0, true, TN_PROFILE_Q8ACT},
    {1, 64, 19, TN_Q4_0, true, TN_PROFILE_Q8ACT},             {14, 64, 5, TN_Q4_0, true, TN_PROFILE_Q8ACT},
    {3, 64, 5, TN_Q4_1, true, TN_PROFILE_Q8ACT},              {14, 64, 5, TN_Q4_1, true, TN_PROFILE_Q8ACT},
    {3, 64, 5, TN_Q5_0, true, TN_PROFILE_Q8ACT},              {14, 64, 5, TN_Q5_0, true, TN_PROFILE_Q8ACT},
    {1, 64, 5, TN_Q5_1, true, TN_PROFILE_Q8ACT},              {14, 64, 5, TN_Q5_1, true, TN_PROFILE_Q8ACT},
    {3, 256, 5, TN_Q4_K, true, TN_PROFILE_Q8ACT},             {14, 256, 5, TN_Q4_K, true, TN_PROFILE_Q8ACT},
    {3, 256, 5, TN_Q5_K, true, TN_PROFILE_Q8ACT},             {14, 256, 5, TN_Q5_K, true, TN_PROFILE_Q8ACT},
    {3, 256, 5, TN_Q6_K, true, TN_PROFILE_Q8ACT},             {14, 256, 5, TN_Q6_K, true, TN_PROFILE_Q8ACT},
    {17, 300, 70, TN_F32, false, TN_PROFILE_STRICT},      {3, 33, 50, TN_BF16, false, TN_PROFILE_STRICT},
    {17, 33, 50, TN_F32, false, TN_PROFILE_STRICT_BF16},  {31, 290, 35, TN_BF16, false, TN_PROFILE_STRICT_BF16},
};
// clang-format on

static int matmul_cases(tn_case *out, int i)
{
    if (i < 0 || i >= (int)(sizeof shapes / sizeof shapes[0])) return 0;
    *out = (tn_case){ .n_in = 2,
                      .differentiable = { !shapes[i].packed || shapes[i].n_row > 16,
                                          shapes[i].w == TN_F32 && !shapes[i].packed },
                      .packed = { false, shapes[i].packed },
                      .profile = shapes[i].profile };
    snprintf(out->what, sizeof out->what, "%lldx%lldx%lld %s%s %s", (long long)shapes[i].n_row,
             (long long)shapes[i].n_out, (long long)shapes[i].n_in, shapes[i].packed ? "packed " : "",
             tn_dtype_name(shapes[i].w), tn_profile_name(shapes[i].profile));
    tn_matmul_params p = { shapes[i].profile };
    memcpy(out->params, &p, sizeof p);
    out->in[0] = (tn_tensor){ .dtype = TN_F32, .n_dim = 2, .shape = { shapes[i].n_row, shapes[i].n_in } };
    out->in[1] = (tn_tensor){ .dtype = shapes[i].w,
                              .n_dim = 2,
                              .shape = { shapes[i].n_out, shapes[i].n_in } };
    /* the function is a staircase, uneven where the exponent changes */
    if (shapes[i].profile == TN_PROFILE_STRICT_BF16) out->fd_tolerance = 15e-2;
    if (shapes[i].profile == TN_PROFILE_Q8ACT) out->fd_tolerance = -1; /* of few steps */
    return 1;
}

static void matmul_draw(tn_case *k, tn_draw *d)
{
    int64_t n_row = tn_draw_size(d, 600), n_in = tn_draw_width(d, 1024), n_out = tn_draw_size(d, 500);

    while (n_row * n_in * n_out > 20 << 20) n_row = 1 + n_row / 2; /* the definition is slow */
    *k = (tn_case){ .by_row = 1u, .profile = (tn_profile)tn_draw_below(d, 3) };
    *(tn_matmul_params *)k->params = (tn_matmul_params){ k->profile };
    tn_case_in(k, 0, TN_F32, n_row, n_in, true);
    tn_draw_weight(d, k, 1, n_out, n_in, tn_draw_yes(d));
}

const tn_op tn_op_matmul = {
    .name = "matmul",
    .params_bytes = sizeof(tn_matmul_params),
    .n_in = 2,
    .n_out = 1,
    .shape = matmul_shape,
    .scratch = matmul_scratch,
    .kernels = kernels,
    .bwd_in = 3,
    .bwd_out = 0,
    .cases = matmul_cases,
    .n_quick = N_QUICK,
    .draw = matmul_draw,
    .flops = matmul_flops,
    .together = matmul_together,
};
