/* layernorm.c - layer normalisation (Ba et al. 2016, arXiv:1607.06450), biased variance.
 *
 *   forward    h_i = (x_i - mean) s,  y_i = fma(h_i, w_i, b_i),   s = 1 / sqrt(sum((x - mean)^2) / n + eps)
 *   backward   g = dy w;  dx_i = s (g_i - sum(g)/n - h_i sum(g h)/n),  dw_i = sum of dy_i h_i,  db_i = sum of dy_i
 *
 * Sums along a row use 16 lanes; dw and db are one chain a column over the rows, ascending. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    float eps = TN_PARAMS(c, tn_layernorm_params)->eps;
    if (!(eps >= 0.0f && eps < INFINITY))
        return tn_fail(err, TN_MISMATCH, "layernorm: eps is %g; it must not be below 0, and finite",
                       (double)eps);
    TN_TRY(tn_need(c, 0, "x", TN_F32, 1, err));
    int64_t n = tn_cols(c->in[0]), n_row = tn_rows(c->in[0]);
    TN_TRY(tn_need_vector(c, 1, "w", n, false, err));
    TN_TRY(tn_need_vector(c, 2, "b", n, true, err));
    tn_set_like(c->out[0], c->in[0]);
    for (int i = 1; i < 3 && i < c->n_out; i++) tn_set_shape(c->out[i], TN_F32, 1, (int64_t[]){ n_row });
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *w = tn_f32(c->in[1]), *b = c->n_in > 2 ? tn_f32(c->in[2]) : NULL;
    float  *mean = c->n_out > 1 ? tn_f32(c->out[1]) : NULL, *rstd = c->n_out > 2 ? tn_f32(c->out[2]) : NULL;
    int64_t n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *x = tn_f32(c->in[0]) + r * n;
        float       *y = tn_f32(c->out[0]) + r * n, lane[16] = { 0 }, sq[16] = { 0 };
        for (int64_t i = 0; i < n; i++) lane[i % 16] += x[i];
        float m = tn_lane_sum(lane) / (float)n;
        for (int64_t i = 0; i < n; i++) {
            float d = x[i] - m;
            sq[i % 16] = fmaf(d, d, sq[i % 16]);
        }
        float s = 1.0f / sqrtf(tn_lane_sum(sq) / (float)n + TN_PARAMS(c, tn_layernorm_params)->eps);
        if (mean != NULL) mean[r] = m;
        if (rstd != NULL) rstd[r] = s;
        for (int64_t i = 0; i < n; i++) {
            float h = (x[i] - m) * s;
            y[i] = b == NULL ? h * w[i] : fmaf(h, w[i], b[i]);
        }
    }
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), fwd_piece, (void *)c);
}

static void dx_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *w = tn_f32(c->in[1]), *mean = tn_f32(c->out[1]), *rstd = tn_f32(c->out[2]);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *x = tn_f32(c->in[0]) + r * n, *dy = tn_f32(c->dout[0]) + r * n;
        float       *dx = tn_f32(c->din[0]) + r * n, l1[16] = { 0 }, l2[16] = { 0 };
        for (int64_t i = 0; i < n; i++) {
            float g = dy[i] * w[i], h = (x[i] - mean[r]) * rstd[r];
            l1[i % 16] += g;
            l2[i % 16] = fmaf(g, h, l2[i % 16]);
        }
        float m1 = tn_lane_sum(l1) / (float)n, m2 = tn_lane_sum(l2) / (float)n;
        for (int64_t i = 0; i < n; i++) {
            float g = dy[i] * w[i], h = (x[i] - mean[r]) * rstd[r];
            dx[i] = tn_put(dx[i], c->add[0], rstd[r] * fmaf(-h, m2, g - m1));
        }
    }
}

static void dw_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *mean = tn_f32(c->out[1]), *rstd = tn_f32(c->out[2]);
    float         *dw = tn_f32(c->din[1]), *db = c->n_in > 2 ? tn_f32(c->din[2]) : NULL;
    int64_t        n = tn_cols(c->in[0]), n_row = tn_rows(c->in[0]);
    (void)i_thread;
    if (dw != NULL && !c->add[1]) memset(dw + begin, 0, (size_t)(end - begin) * 4);
    if (db != NULL && !c->add[2]) memset(db + begin, 0, (size_t)(end - begin) * 4);
    for (int64_t r = 0; r < n_row; r++) {
        const float *x = tn_f32(c->in[0]) + r * n, *dy = tn_f32(c->dout[0]) + r * n;
        if (dw != NULL)
            for (int64_t i = begin; i < end; i++) dw[i] = fmaf(dy[i], (x[i] - mean[r]) * rstd[r], dw[i]);
        if (db != NULL)
            for (int64_t i = begin; i < end; i++) db[i] += dy[i];
    }
}

static void bwd_ref(const tn_call *c)
{
    int64_t n = tn_cols(c->in[0]);
    if (c->din[0] != NULL) tn_parallel(tn_rows(c->in[0]), tn_row_grain(n), dx_piece, (void *)c);
    if (c->din[1] != NULL || (c->n_in > 2 && c->din[2] != NULL)) tn_parallel(n, 16, dw_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    if (i > 1) return 0;
    *k = (tn_case){ .by_row = 1u };
    *(tn_layernorm_params *)k->params = (tn_layernorm_params){ .eps = 1e-5f };
    tn_case_in(k, 0, TN_F32, 5, i == 0 ? 37 : 64, true);
    tn_case_vec(k, 1, TN_F32, i == 0 ? 37 : 64, true);
    if (i == 0) tn_case_vec(k, 2, TN_F32, 37, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 300), cols = tn_draw_size(d, 1500);
    *k = (tn_case){ .by_row = 1u };
    *(tn_layernorm_params *)k->params = (tn_layernorm_params){ .eps = 1e-5f };
    tn_case_in(k, 0, TN_F32, rows, cols, true);
    tn_case_vec(k, 1, TN_F32, cols, true);
    if (tn_draw_yes(d)) tn_case_vec(k, 2, TN_F32, cols, true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_layernorm_fwd_avx2, tn_layernorm_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_layernorm_fwd_avx512,
                                       tn_layernorm_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_layernorm = { .name = "layernorm",
                                .params_bytes = sizeof(tn_layernorm_params),
                                .n_in = 3,
                                .n_out = 3,
                                .shape = shape,
                                .kernels = kernels,
                                .bwd_in = 3u,
                                .bwd_out = 6u,
                                .cases = cases,
                                .draw = draw };
