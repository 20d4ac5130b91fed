/* gather_rows.c - y_i = x[rows_i]: the rows whose logits are wanted. Backward: dx[rows_i] += dy_i, i
 * ascending. A row number outside x gives a row of NaN. */
#include "tensor/moves.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    TN_TRY(tn_need(c, 0, "x", TN_F32, 2, err));
    TN_TRY(tn_need_ints(c, 1, "rows", -1, err));
    tn_set_rows(c->out[0], tn_n_elem(c->in[1]), tn_cols(c->in[0]));
    return TN_OK;
}

typedef struct job {
    const tn_call  *c;
    const tn_moves *m;
} job;

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call  *c = ((const job *)arg)->c;
    const tn_moves *m = ((const job *)arg)->m;
    const int32_t  *rows = tn_i32(c->in[1]);
    int64_t         n = tn_cols(c->in[0]), n_row = tn_rows(c->in[0]);
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        float *y = tn_f32(c->out[0]) + i * n;
        if (rows[i] >= 0 && rows[i] < n_row) m->copy(y, tn_f32(c->in[0]) + rows[i] * n, n);
        else
            for (int64_t j = 0; j < n; j++) y[j] = NAN;
    }
}

static void forward(const tn_call *c, const tn_moves *m)
{
    tn_parallel(tn_n_elem(c->in[1]), tn_row_grain(tn_cols(c->in[0])), fwd_piece, &(job){ c, m });
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call  *c = ((const job *)arg)->c;
    const tn_moves *m = ((const job *)arg)->m;
    const int32_t  *rows = tn_i32(c->in[1]);
    const float    *dy = tn_f32(c->dout[0]);
    float          *dx = tn_f32(c->din[0]);
    int64_t         n = tn_cols(c->in[0]), n_row = tn_rows(c->in[0]), n_out = tn_n_elem(c->in[1]);
    (void)i_thread;
    if (!c->add[0])
        for (int64_t r = 0; r < n_row; r++) memset(dx + r * n + begin, 0, (size_t)(end - begin) * 4);
    for (int64_t i = 0; i < n_out; i++) {
        if (rows[i] < 0 || rows[i] >= n_row) continue;
        m->add(dx + rows[i] * n + begin, dy + i * n + begin, end - begin);
    }
}

static void backward(const tn_call *c, const tn_moves *m)
{
    if (c->din[0] != NULL) tn_parallel(tn_cols(c->in[0]), 16, bwd_piece, &(job){ c, m });
}

static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    if (i_in == 1) tn_fill_ids(t, seed, k->in[0].shape[0]);
}

static int cases(tn_case *k, int i)
{
    if (i > 0) return 0;
    *k = (tn_case){ .by_row = 2u };
    tn_case_in(k, 0, TN_F32, 5, 33, true);
    tn_case_vec(k, 1, TN_I32, 9, false);
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 100);
    *k = (tn_case){ .by_row = 2u, .fill = fill };
    tn_case_in(k, 0, TN_F32, rows, tn_draw_size(d, 500), true);
    tn_case_vec(k, 1, TN_I32, tn_draw_size(d, 300), false);
}

TN_KERNELS_OF(tn_moves);

const tn_op tn_op_gather_rows = { .name = "gather_rows",
                                  .n_in = 2,
                                  .n_out = 1,
                                  .shape = shape,
                                  .kernels = kernels,
                                  .bwd_in = 2u,
                                  .cases = cases,
                                  .draw = draw };
