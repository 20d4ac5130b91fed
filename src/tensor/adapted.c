/* adapted.c - a frozen matrix with a low-rank adapter on top: y = x w^T + s (x a^T) b^T.
 *
 *   forward    low = x a^T,  v = x w^T: chains as in matmul;  y = fma(s, u, v) as in adapter.c
 *   backward   t = s dy;  dlow, db as in adapter.c
 *              dx[r][i]  = chain over k of dlow[r][k] a[k][i], continued by the chain over o of dy[r][o] w[o][i]
 *              da[k][i] += chain over r of dlow[r][k] x[r][i]
 *
 * The bits are those of a matmul for each product and an adapter. In one operation a thread does all of it
 * for some rows of x while they, y and dx lie in its second cache; apart, each would go to memory and back
 * for every product, which at a rank of 16 is most of what an adapter costs. Rows that are few (decoding)
 * share the columns among the threads instead: the weights are read once. */
#include "tensor/adapter.h"
#include "tensor/matmul.h"
#include "tensor/op_util.h"

/* of a block: panels of w are made once for one */
enum { ROWS_F32 = 1024, ROWS_BF16 = 640, ROWS_A_THREAD = 64 };

static tn_status shape(const tn_call *c, tn_error *err)
{
    char a[96], b[96];
    TN_TRY(tn_need(c, 0, "x", TN_F32, 1, err));
    if (c->in[1] == NULL || c->in[1]->n_dim != 2)
        return tn_fail(err, TN_MISMATCH, "adapted: w must be a matrix [n_out][n_in]");
    int64_t n_out = c->in[1]->shape[0], n_in = tn_cols(c->in[0]);
    TN_TRY(tn_need_weight(c, 1, "w", n_out, n_in, err));
    TN_TRY(tn_need(c, 2, "a", TN_F32, 2, err));
    TN_TRY(tn_need(c, 3, "b", TN_F32, 2, err));
    if (tn_cols(c->in[2]) != n_in || c->in[3]->shape[0] != n_out || tn_cols(c->in[3]) != c->in[2]->shape[0])
        return tn_fail(
            err, TN_MISMATCH, "adapted: a has shape %s and b %s; expected [rank][%lld] and [%lld][rank]",
            tn_shape_text(a, c->in[2]), tn_shape_text(b, c->in[3]), (long long)n_in, (long long)n_out);
    if (c->in[2]->shape[0] < 1 || n_out < 1 || n_in < 1)
        return tn_fail(err, TN_MISMATCH,
                       "adapted: an adapter of rank %lld over [%lld][%lld]; each must be at least 1",
                       (long long)c->in[2]->shape[0], (long long)n_out, (long long)n_in);
    TN_TRY(tn_need_profile(c, TN_PARAMS(c, tn_adapted_params)->profile, err));
    tn_set_like(c->out[0], c->in[0]);
    c->out[0]->shape[c->in[0]->n_dim - 1] = n_out;
    tn_set_rows(c->out[1], tn_rows(c->in[0]), c->in[2]->shape[0]);
    return TN_OK;
}

typedef struct job {
    const tn_call            *c;
    const tn_adapter_kernels *k;
    tn_adapter                a;
    int64_t                   n_in, rows; /* rows: done with at a time */
    tn_profile                profile;
    float                    *dx;
    uint8_t                  *mm; /* scratch of the products: slot bytes a thread */
    size_t                    slot;
} job;

static int64_t longest(const tn_call *c) /* chain, or rows of a product: the rank is both */
{
    return tn_max64(tn_max64(tn_cols(c->in[0]), c->in[1]->shape[0]),
                    tn_max64(tn_rows(c->in[0]), c->in[2]->shape[0]));
}

static size_t turned_bytes(const tn_call *c)
{
    return tn_align64((size_t)tn_round_up(c->in[1]->shape[0], 32) * (size_t)c->in[2]->shape[0] * 4);
}
static size_t low_bytes(const tn_call *c)
{
    return tn_align64((size_t)tn_rows(c->in[0]) * (size_t)c->in[2]->shape[0] * 4);
}

static size_t scratch(const tn_call *c, bool backward)
{
    return turned_bytes(c) + (backward ? low_bytes(c) : 0) +
           (size_t)tn_threads() * tn_mm_scratch_bytes(1, longest(c), longest(c));
}

static void job_open(job *j, const tn_call *c, const tn_adapter_kernels *k, bool backward)
{
    const tn_adapted_params *p = c->params;
    *j = (job){ .c = c,
                .k = k,
                .n_in = tn_cols(c->in[0]),
                .profile = backward && p->profile == TN_PROFILE_Q8ACT ? TN_PROFILE_STRICT : p->profile };
    j->a = (tn_adapter){ .n_row = tn_rows(c->in[0]),
                         .n_out = c->in[1]->shape[0],
                         .rank = c->in[2]->shape[0],
                         .s = p->s,
                         .low = tn_f32(c->out[1]),
                         .b = tn_f32(c->in[3]),
                         .y = tn_f32(c->out[0]),
                         .out = tn_f32(c->out[0]),
                         .turned = c->scratch };
    j->rows = p->profile == TN_PROFILE_STRICT_BF16 ? ROWS_BF16 : ROWS_F32;
    j->mm = (uint8_t *)c->scratch + turned_bytes(c) + (backward ? low_bytes(c) : 0);
    j->slot = tn_mm_scratch_bytes(1, longest(c), longest(c));
}

static void product(const job *j, const tn_mm *mm, uint8_t *at, size_t bytes)
{
    if (j->k->reference_mm) tn_mm_run_set(NULL, mm, at, bytes);
    else tn_mm_run(mm, at, bytes);
}

static tn_mm_b frozen(const tn_tensor *w, bool transposed)
{
    if (w->packed != NULL)
        return (tn_mm_b){ .kind = transposed ? TN_MM_B_PACKED_T : TN_MM_B_PACKED, .w = w->packed };
    return (tn_mm_b){
        .kind = transposed ? TN_MM_B_KN : TN_MM_B_NK, .dtype = w->dtype, .rows = w->data, .ld = tn_cols(w)
    };
}

static int64_t n_panel(const job *j) { return (j->a.n_out + j->k->wide - 1) / j->k->wide; }

/* Is it worth a row's thread to do everything for it? */
static bool by_rows(const job *j) { return j->a.n_row >= (int64_t)ROWS_A_THREAD * tn_threads(); }

/* ------------------------------------------------------------------------------------------------ forward */

static void products_forward(const job *j, int64_t r, int64_t n, uint8_t *at, size_t bytes)
{
    const float *x = tn_f32(j->c->in[0]) + r * j->n_in;
    tn_mm        low = { .c = tn_f32(j->c->out[1]) + r * j->a.rank,
                         .ldc = j->a.rank,
                         .a = { x, j->n_in, 1 },
                         .b = frozen(j->c->in[2], false),
                         .m = n,
                         .n = j->a.rank,
                         .k = j->n_in };
    tn_mm        y = { .c = j->a.out + r * j->a.n_out,
                       .ldc = j->a.n_out,
                       .a = { x, j->n_in, 1 },
                       .b = frozen(j->c->in[1], false),
                       .m = n,
                       .n = j->a.n_out,
                       .k = j->n_in,
                       .profile = j->profile };
    product(j, &low, at, bytes);
    product(j, &y, at, bytes);
}

/* The end of block i of [begin, end): equal ones, as a low last one would make the panels of w for little. */
static int64_t block_end(const job *j, int64_t begin, int64_t end, int64_t i)
{
    int64_t n = (end - begin + j->rows - 1) / j->rows;
    return begin + (end - begin) * (i + 1) / n;
}

static void forward_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    for (int64_t r = begin, last, i = 0; r < end; r = last, i++) {
        last = block_end(j, begin, end, i);
        products_forward(j, r, last - r, j->mm + (size_t)i_thread * j->slot, j->slot);
        j->k->up(&j->a, r, last, 0, n_panel(j));
    }
}

static void panels_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    (void)i_thread;
    j->k->panels(&j->a, begin, end);
    if (!by_rows(j)) j->k->up(&j->a, 0, j->a.n_row, begin, end);
}

static void forward(const tn_call *c, const tn_adapter_kernels *k)
{
    job j;
    job_open(&j, c, k, false);
    if (j.a.n_row == 0) return;
    bool rows = by_rows(&j);
    if (!rows) products_forward(&j, 0, j.a.n_row, j.mm, j.slot * (size_t)tn_threads());
    tn_parallel(n_panel(&j), tn_max64(1, TN_GRAIN_ELEMS / (k->wide * j.a.rank)), panels_piece, &j);
    if (rows) tn_parallel(j.a.n_row, ROWS_A_THREAD, forward_piece, &j);
}

/* ----------------------------------------------------------------------------------------------- backward */

static void products_back(const job *j, int64_t r, int64_t n, uint8_t *at, size_t bytes)
{
    const tn_call *c = j->c;
    float         *dx = j->dx + r * j->n_in;
    tn_mm          low = { .c = dx,
                           .ldc = j->n_in,
                           .a = { j->a.dlow + r * j->a.rank, j->a.rank, 1 },
                           .b = frozen(c->in[2], true),
                           .m = n,
                           .n = j->n_in,
                           .k = j->a.rank,
                           .add = c->add[0] };
    tn_mm          y = { .c = dx,
                         .ldc = j->n_in,
                         .a = { j->a.g + r * j->a.n_out, j->a.n_out, 1 },
                         .b = frozen(c->in[1], true),
                         .m = n,
                         .n = j->n_in,
                         .k = j->a.n_out,
                         .add = true,
                         .profile = j->profile };
    product(j, &low, at, bytes);
    product(j, &y, at, bytes);
}

static void backward_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    for (int64_t r = begin, last, i = 0; r < end; r = last, i++) {
        last = block_end(j, begin, end, i);
        j->k->low(&j->a, r, last);
        if (j->dx != NULL) products_back(j, r, last - r, j->mm + (size_t)i_thread * j->slot, j->slot);
    }
}

static void low_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    (void)i_thread;
    j->k->low(&j->a, begin, end);
}

static void db_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    (void)i_thread;
    j->k->db(&j->a, begin, end);
}

static void backward(const tn_call *c, const tn_adapter_kernels *k)
{
    job j;
    if (c->din[1] != NULL) tn_bug("adapted: a matrix with an adapter is frozen, but its gradient is wanted");
    job_open(&j, c, k, true);
    if (j.a.n_row == 0 || c->dout[0] == NULL) { /* chains of no steps */
        for (int i = 0; i < 4; i++)
            if (c->din[i] != NULL && !c->add[i]) memset(c->din[i]->data, 0, tn_n_bytes(c->din[i]));
        return;
    }
    j.dx = tn_f32(c->din[0]);
    j.a.g = tn_f32(c->dout[0]);
    j.a.dlow = (float *)(void *)((char *)c->scratch + turned_bytes(c));
    j.a.db = tn_f32(c->din[3]);
    j.a.add_db = c->add[3];
    if (by_rows(&j)) {
        tn_parallel(j.a.n_row, ROWS_A_THREAD, backward_piece, &j);
    } else {
        tn_parallel(j.a.n_row, tn_max64(1, TN_GRAIN_ELEMS / (j.a.n_out * j.a.rank)), low_piece, &j);
        if (j.dx != NULL) products_back(&j, 0, j.a.n_row, j.mm, j.slot * (size_t)tn_threads());
    }
    if (j.a.db != NULL)
        tn_parallel(n_panel(&j), tn_max64(1, TN_GRAIN_ELEMS / (k->wide * j.a.n_row)), db_piece, &j);
    if (c->din[2] == NULL) return;
    tn_mm da = { .c = tn_f32(c->din[2]),
                 .ldc = j.n_in,
                 .a = { j.a.dlow, 1, j.a.rank },
                 .m = j.a.rank,
                 .n = j.n_in,
                 .k = j.a.n_row,
                 .add = c->add[2],
                 .b = { .kind = TN_MM_B_KN, .dtype = TN_F32, .rows = c->in[0]->data, .ld = j.n_in } };
    product(&j, &da, j.mm, j.slot * (size_t)tn_threads());
}

/* -------------------------------------------------------------------------------------------------- table */

static int cases(tn_case *k, int i)
{
    static const struct {
        int64_t           rows, n_in, n_out, rank;
        tn_adapted_params p;
        tn_dtype          w;
    } t[] = { { 5, 37, 41, 3, { 0.37f, TN_PROFILE_STRICT }, TN_F32 },
              { 133, 18, 21, 16, { 2.0f, TN_PROFILE_STRICT }, TN_F32 },
              { 1, 33, 40, 4, { 2.0f, TN_PROFILE_STRICT }, TN_BF16 },
              { 19, 33, 50, 21, { 1.0f, TN_PROFILE_STRICT_BF16 }, TN_F32 },
              { 333, 24, 17, 5, { 0.5f, TN_PROFILE_STRICT }, TN_F32 },
              { 7, 18, 21, 300, { 0.5f, TN_PROFILE_STRICT }, TN_F32 }, /* ranks above rows, n_in and n_out */
              { 3, 40, 9, 67, { 2.0f, TN_PROFILE_STRICT_BF16 }, TN_F32 } };
    if (i >= (int)(sizeof t / sizeof *t)) return 0;
    *k = (tn_case){ .by_row = 1u, .fd_tolerance = t[i].p.profile == TN_PROFILE_STRICT ? 0 : 5e-2 };
    *(tn_adapted_params *)k->params = t[i].p;
    tn_case_in(k, 0, TN_F32, t[i].rows, t[i].n_in, true);
    tn_case_in(k, 1, t[i].w, t[i].n_out, t[i].n_in, false);
    tn_case_in(k, 2, TN_F32, t[i].rank, t[i].n_in, true);
    tn_case_in(k, 3, TN_F32, t[i].n_out, t[i].rank, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 700), n_in = tn_draw_width(d, 256), n_out = tn_draw_size(d, 150),
            rank = tn_draw_size(d, 40);
    *k = (tn_case){ .by_row = 1u, .profile = (tn_profile)tn_draw_below(d, 3) };
    *(tn_adapted_params *)k->params = (tn_adapted_params){ tn_draw_number(d, 0.1f, 4), k->profile };
    tn_case_in(k, 0, TN_F32, rows, n_in, true);
    tn_draw_weight(d, k, 1, n_out, n_in, false);
    tn_case_in(k, 2, TN_F32, rank, n_in, true);
    tn_case_in(k, 3, TN_F32, n_out, rank, true);
}

static double flops(const tn_call *c)
{
    double n_in = (double)tn_cols(c->in[0]), n_out = (double)c->in[1]->shape[0];
    return 2.0 * (double)tn_rows(c->in[0]) * (n_in * n_out + (double)c->in[2]->shape[0] * (n_in + n_out));
}

TN_KERNELS_OF(tn_adapter);

const tn_op tn_op_adapted = { .name = "adapted",
                              .params_bytes = sizeof(tn_adapted_params),
                              .n_in = 4,
                              .n_out = 2,
                              .shape = shape,
                              .scratch = scratch,
                              .kernels = kernels,
                              .no_grad_in = 2u,
                              .bwd_in = 0xfu,
                              .bwd_out = 2u,
                              .cases = cases,
                              .draw = draw,
                              .flops = flops };
