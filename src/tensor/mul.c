/* mul.c - y = a * b, b of the same shape, or one row for all rows, or one column for all columns.
 *
 *   backward   da = dy b;  db = dy a, and for a row: one fma chain a column over the rows, ascending; for a column: a
 *              sum along the row in 16 lanes of fma(dy, a, lane)
 *
 * A b of one row is a row whatever a is: were it "the same shape" where the run has one row, rows in runs of
 * one would not add up to rows at once. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

typedef enum { SAME, ONE_ROW, ONE_COL } form;

static form form_of(const tn_call *c)
{
    const tn_tensor *a = c->in[0], *b = c->in[1];
    if (tn_cols(b) != tn_cols(a)) return ONE_COL;
    return tn_rows(b) == 1 ? ONE_ROW : SAME;
}

static tn_status shape(const tn_call *c, tn_error *err)
{
    char a[96], b[96];
    TN_TRY(tn_need(c, 0, "a", TN_F32, 1, err));
    TN_TRY(tn_need(c, 1, "b", TN_F32, 1, err));
    int64_t rows = tn_rows(c->in[0]), cols = tn_cols(c->in[0]), br = tn_rows(c->in[1]),
            bc = tn_cols(c->in[1]);
    if (!(br == rows && bc == cols) && !(br == 1 && bc == cols) && !(br == rows && bc == 1))
        return tn_fail(err, TN_MISMATCH, "mul: %s cannot be spread over %s", tn_shape_text(b, c->in[1]),
                       tn_shape_text(a, c->in[0]));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    form           f = form_of(c);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *a = tn_f32(c->in[0]) + r * n, *b = tn_f32(c->in[1]) + (f == SAME      ? r * n
                                                                            : f == ONE_COL ? r
                                                                                           : 0);
        float       *y = tn_f32(c->out[0]) + r * n;
        if (f == ONE_COL)
            for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[0];
        else
            for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[i];
    }
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), fwd_piece, (void *)c);
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    form           f = form_of(c);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *a = tn_f32(c->in[0]) + r * n, *b = tn_f32(c->in[1]) + (f == SAME      ? r * n
                                                                            : f == ONE_COL ? r
                                                                                           : 0);
        const float *dy = tn_f32(c->dout[0]) + r * n;
        if (c->din[1] != NULL && f == SAME) {
            float *db = tn_f32(c->din[1]) + r * n;
            for (int64_t i = 0; i < n; i++) db[i] = tn_put(db[i], c->add[1], dy[i] * a[i]);
        } else if (c->din[1] != NULL && f == ONE_COL) {
            float *db = tn_f32(c->din[1]) + r, lane[16] = { 0 };
            for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(dy[i], a[i], lane[i % 16]);
            *db = tn_put(*db, c->add[1], tn_lane_sum(lane));
        }
        if (c->din[0] != NULL) {
            float *da = tn_f32(c->din[0]) + r * n;
            for (int64_t i = 0; i < n; i++) da[i] = tn_put(da[i], c->add[0], dy[i] * b[f == ONE_COL ? 0 : i]);
        }
    }
}

static void row_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    float         *db = tn_f32(c->din[1]);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    if (!c->add[1]) memset(db + begin, 0, (size_t)(end - begin) * 4);
    for (int64_t r = 0; r < tn_rows(c->in[0]); r++)
        for (int64_t i = begin; i < end; i++)
            db[i] = fmaf(tn_f32(c->dout[0])[r * n + i], tn_f32(c->in[0])[r * n + i], db[i]);
}

static void bwd_ref(const tn_call *c)
{
    int64_t n = tn_cols(c->in[0]);
    if (c->din[1] != NULL && form_of(c) == ONE_ROW) tn_parallel(n, 16, row_piece, (void *)c);
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(n), bwd_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    if (i > 3) return 0;
    *k = (tn_case){ .by_row = i == 1 || i == 3 ? 1u : 3u };
    tn_case_in(k, 0, TN_F32, i == 3 ? 1 : 5, 37, true);
    tn_case_in(k, 1, TN_F32, i == 1 || i == 3 ? 1 : 5, i == 2 ? 1 : 37, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 300), cols = tn_draw_size(d, 1500), f = tn_draw_below(d, 3);
    *k = (tn_case){ .by_row = f == ONE_ROW || rows == 1 ? 1u : 3u };
    tn_case_in(k, 0, TN_F32, rows, cols, true);
    tn_case_in(k, 1, TN_F32, f == ONE_ROW ? 1 : rows, f == ONE_COL ? 1 : cols, true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_mul_fwd_avx2, tn_mul_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_mul_fwd_avx512, tn_mul_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_mul = { .name = "mul",
                          .n_in = 2,
                          .n_out = 1,
                          .shape = shape,
                          .kernels = kernels,
                          .bwd_in = 3u,
                          .in_place = 1,
                          .cases = cases,
                          .draw = draw };
