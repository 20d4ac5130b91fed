/* bias.c - y = x + b, one b for all rows;  backward dx = dy, db = one chain a column over the rows,
 * ascending. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    TN_TRY(tn_need(c, 0, "x", TN_F32, 1, err));
    TN_TRY(tn_need_vector(c, 1, "b", tn_cols(c->in[0]), false, err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    int64_t        n = tn_cols(c->in[0]);
    const float   *b = tn_f32(c->in[1]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *x = tn_f32(c->in[0]) + r * n;
        float       *y = tn_f32(c->out[0]) + r * n;
        for (int64_t i = 0; i < n; i++) y[i] = x[i] + b[i];
    }
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), fwd_piece, (void *)c);
}

static void dx_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *dy = tn_f32(c->dout[0]);
    float         *dx = tn_f32(c->din[0]);
    (void)i_thread;
    if (c->add[0])
        for (int64_t i = begin; i < end; i++) dx[i] += dy[i];
    else if (dx != dy) memcpy(dx + begin, dy + begin, (size_t)(end - begin) * 4);
}

static void db_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *dy = tn_f32(c->dout[0]);
    float         *db = tn_f32(c->din[1]);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    if (!c->add[1]) memset(db + begin, 0, (size_t)(end - begin) * 4);
    for (int64_t r = 0; r < tn_rows(c->in[0]); r++)
        for (int64_t i = begin; i < end; i++) db[i] += dy[r * n + i];
}

static void bwd_ref(const tn_call *c)
{
    if (c->din[1] != NULL) tn_parallel(tn_cols(c->in[0]), 16, db_piece, (void *)c);
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, dx_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    if (i > 0) return 0;
    *k = (tn_case){ .by_row = 1u };
    tn_case_in(k, 0, TN_F32, 5, 37, true);
    tn_case_vec(k, 1, TN_F32, 37, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 300), cols = tn_draw_size(d, 1500);
    *k = (tn_case){ .by_row = 1u };
    tn_case_in(k, 0, TN_F32, rows, cols, true);
    tn_case_vec(k, 1, TN_F32, cols, true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_bias_fwd_avx2, tn_bias_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_bias_fwd_avx512, tn_bias_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_bias = { .name = "bias",
                           .n_in = 2,
                           .n_out = 1,
                           .shape = shape,
                           .kernels = kernels,
                           .in_place = 1,
                           .cases = cases,
                           .draw = draw };
