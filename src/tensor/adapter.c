/* adapter.c - the second half of a low-rank adapter (LoRA, arXiv:2106.09685) on top of the frozen product.
 *
 *   forward    out[r][o] = fma(s, u, y[r][o]),   u = chain over k of low[r][k] b[o][k], from +0
 *   backward   t = s dout;   dy = dout
 *              dlow[r][k] = chain over o of t[r][o] b[o][k]
 *              db[o][k]  += chain over r of t[r][o] low[r][k]        rows ascending, continuing what db holds
 *
 * The bits are those of a matmul and an add. But u and t are as large as an activation, and with a rank of 16 their way to memory and back
 * would take longer than the arithmetic: here they live in registers. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char a[96], b[96], low[96];
    TN_TRY(tn_need(c, 0, "y", TN_F32, 1, err));
    TN_TRY(tn_need(c, 1, "low", TN_F32, 1, err));
    TN_TRY(tn_need(c, 2, "b", TN_F32, 2, err));
    if (tn_rows(c->in[1]) != tn_rows(c->in[0]) || c->in[2]->shape[0] != tn_cols(c->in[0]) || tn_cols(c->in[2]) != tn_cols(c->in[1]))
        return tn_fail(err, TN_MISMATCH, "adapter: y has shape %s, low %s and b %s; expected [n_row][n_out], [n_row][rank], [n_out][rank]",
                       tn_shape_text(a, c->in[0]), tn_shape_text(low, c->in[1]), tn_shape_text(b, c->in[2]));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static size_t scratch(const tn_call *c, bool backward)
{
    return backward ? 0 : (size_t)tn_round_up(tn_cols(c->in[0]), 32) * (size_t)tn_cols(c->in[1]) * 4;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *b = tn_f32(c->in[2]);
    int64_t        n_out = tn_cols(c->in[0]), rank = tn_cols(c->in[1]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *y = tn_f32(c->in[0]) + r * n_out, *low = tn_f32(c->in[1]) + r * rank;
        for (int64_t o = 0; o < n_out; o++) {
            float u = 0.0f;
            for (int64_t k = 0; k < rank; k++) u = fmaf(low[k], b[o * rank + k], u);
            tn_f32(c->out[0])[r * n_out + o] = fmaf(TN_PARAMS(c, tn_adapter_params)->s, u, y[o]);
        }
    }
}

static void fwd_ref(const tn_call *c) { tn_parallel(tn_rows(c->in[0]), 1, fwd_piece, (void *)c); }

static void rows_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *b = tn_f32(c->in[2]);
    float          s = TN_PARAMS(c, tn_adapter_params)->s;
    int64_t        n_out = tn_cols(c->dout[0]), rank = tn_cols(c->in[1]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *g = tn_f32(c->dout[0]) + r * n_out;
        for (int64_t k = 0; k < rank && c->din[1] != NULL; k++) {
            float *dlow = tn_f32(c->din[1]) + r * rank + k, v = c->add[1] ? *dlow : 0.0f;
            for (int64_t o = 0; o < n_out; o++) v = fmaf(s * g[o], b[o * rank + k], v);
            *dlow = v;
        }
        float *dy = tn_f32(c->din[0]);
        if (dy == NULL || (dy += r * n_out) == g) continue;
        for (int64_t o = 0; o < n_out; o++) dy[o] = tn_put(dy[o], c->add[0], g[o]);
    }
}

static void db_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    float          s = TN_PARAMS(c, tn_adapter_params)->s;
    int64_t        n_out = tn_cols(c->dout[0]), rank = tn_cols(c->in[1]), n_row = tn_rows(c->dout[0]);
    (void)i_thread;
    for (int64_t o = begin; o < end; o++)
        for (int64_t k = 0; k < rank; k++) {
            float *db = tn_f32(c->din[2]) + o * rank + k, v = c->add[2] ? *db : 0.0f;
            for (int64_t r = 0; r < n_row; r++) v = fmaf(s * tn_f32(c->dout[0])[r * n_out + o], tn_f32(c->in[1])[r * rank + k], v);
            *db = v;
        }
}

static void bwd_ref(const tn_call *c)
{
    tn_parallel(tn_rows(c->dout[0]), 1, rows_piece, (void *)c);
    if (c->din[2] != NULL) tn_parallel(tn_cols(c->dout[0]), 1, db_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    static const struct { int64_t rows, n_out, rank; float s; } t[] = { { 5, 37, 3, 0.37f }, { 29, 70, 16, 2.0f }, { 17, 33, 21, 1.0f }, { 1, 48, 4, 2.0f } };
    if (i >= 4) return 0;
    *k = (tn_case){ .by_row = 3u };
    *(tn_adapter_params *)k->params = (tn_adapter_params){ .s = t[i].s };
    tn_case_in(k, 0, TN_F32, t[i].rows, t[i].n_out, true);
    tn_case_in(k, 1, TN_F32, t[i].rows, t[i].rank, true);
    tn_case_in(k, 2, TN_F32, t[i].n_out, t[i].rank, true);
    return 1;
}

static double flops(const tn_call *c) { return 2.0 * (double)tn_n_elem(c->in[0]) * (double)tn_cols(c->in[1]); }

static const tn_kernel kernels[] = {
    { "ref",    tn_cpu_any,    fwd_ref,               bwd_ref               },
    { "avx2",   tn_cpu_avx2,   tn_adapter_fwd_avx2,   tn_adapter_bwd_avx2   },
    { "avx512", tn_cpu_avx512, tn_adapter_fwd_avx512, tn_adapter_bwd_avx512 },
    { .name = NULL } };

const tn_op tn_op_adapter = {
    .name = "adapter", .params_bytes = sizeof(tn_adapter_params), .n_in = 3, .n_out = 1, .shape = shape, .scratch = scratch,
    .kernels = kernels, .bwd_in = 6u, .in_place = 1, .grad_in_place = 1, .cases = cases, .flops = flops };
