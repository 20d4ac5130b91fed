/* rmsnorm.c - root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467), over groups of m
 * columns.
 *
 *   forward    y_i = (x_i s) w_i,   s = 1 / sqrt(sum(x^2) / m + eps)          w_i is 1 + w_i with plus_one
 *   backward   dx_i = s (w_i dy_i - x_i mean),   mean = s s sum(w dy x) / m,   dw_i = sum over groups of dy_i (x_i s)
 *
 * The sums along a group use 16 lanes closed by tn_lane_sum; dw is one chain a column over rows, then groups,
 * ascending. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static int64_t group_of(const tn_call *c)
{
    int64_t g = TN_PARAMS(c, tn_rmsnorm_params)->group;
    return g == 0 ? tn_cols(c->in[0]) : g;
}

static tn_status shape(const tn_call *c, tn_error *err)
{
    float eps = TN_PARAMS(c, tn_rmsnorm_params)->eps;
    if (!(eps >= 0.0f && eps < INFINITY))
        return tn_fail(err, TN_MISMATCH, "rmsnorm: eps is %g; it must not be below 0, and finite",
                       (double)eps);
    TN_TRY(tn_need(c, 0, "x", TN_F32, 1, err));
    int64_t n = tn_cols(c->in[0]), m = group_of(c);
    if (m <= 0 || n % m != 0)
        return tn_fail(err, TN_MISMATCH, "rmsnorm: groups of %lld do not divide %lld columns", (long long)m,
                       (long long)n);
    TN_TRY(tn_need_vector(c, 1, "w", m, true, err));
    tn_set_like(c->out[0], c->in[0]);
    if (c->n_out > 1) tn_set_rows(c->out[1], tn_rows(c->in[0]), n / m);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call           *c = arg;
    const tn_rmsnorm_params *p = c->params;
    const float             *x = tn_f32(c->in[0]), *w = c->n_in > 1 ? tn_f32(c->in[1]) : NULL;
    float                   *y = tn_f32(c->out[0]), *rrms = c->n_out > 1 ? tn_f32(c->out[1]) : NULL;
    int64_t                  m = group_of(c);
    (void)i_thread;
    for (int64_t g = begin; g < end; g++) {
        const float *x_g = x + g * m;
        float       *y_g = y + g * m, lane[16] = { 0 };
        for (int64_t i = 0; i < m; i++) lane[i % 16] = fmaf(x_g[i], x_g[i], lane[i % 16]);
        float s = 1.0f / sqrtf(tn_lane_sum(lane) / (float)m + p->eps);
        if (rrms != NULL) rrms[g] = s;
        for (int64_t i = 0; i < m; i++) {
            float v = x_g[i] * s;
            y_g[i] = w == NULL ? v : v * (p->plus_one ? 1.0f + w[i] : w[i]);
        }
    }
}

static void fwd_ref(const tn_call *c)
{
    int64_t m = group_of(c);
    tn_parallel(tn_n_elem(c->in[0]) / m, tn_row_grain(m), fwd_piece, (void *)c);
}

static void dx_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call           *c = arg;
    const tn_rmsnorm_params *p = c->params;
    const float             *x = tn_f32(c->in[0]), *w = c->n_in > 1 ? tn_f32(c->in[1]) : NULL;
    const float             *dy = tn_f32(c->dout[0]), *rrms = tn_f32(c->out[1]);
    float                   *dx = tn_f32(c->din[0]);
    int64_t                  m = group_of(c);
    (void)i_thread;
    for (int64_t g = begin; g < end; g++) {
        const float *x_g = x + g * m, *dy_g = dy + g * m;
        float       *dx_g = dx + g * m, lane[16] = { 0 }, s = rrms[g];
        for (int64_t i = 0; i < m; i++) {
            float w_i = w == NULL ? 1.0f : p->plus_one ? 1.0f + w[i] : w[i];
            lane[i % 16] = fmaf(dy_g[i] * w_i, x_g[i], lane[i % 16]);
        }
        float mean = s * s * tn_lane_sum(lane) / (float)m;
        for (int64_t i = 0; i < m; i++) {
            float w_i = w == NULL ? 1.0f : p->plus_one ? 1.0f + w[i] : w[i];
            dx_g[i] = tn_put(dx_g[i], c->add[0], s * fmaf(-mean, x_g[i], dy_g[i] * w_i));
        }
    }
}

static void dw_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *x = tn_f32(c->in[0]), *dy = tn_f32(c->dout[0]), *rrms = tn_f32(c->out[1]);
    float         *dw = tn_f32(c->din[1]);
    int64_t        m = group_of(c), n_group = tn_n_elem(c->in[0]) / m;
    (void)i_thread;
    if (!c->add[1]) memset(dw + begin, 0, (size_t)(end - begin) * 4);
    for (int64_t g = 0; g < n_group; g++)
        for (int64_t i = begin; i < end; i++) dw[i] = fmaf(dy[g * m + i], x[g * m + i] * rrms[g], dw[i]);
}

static void bwd_ref(const tn_call *c)
{
    int64_t m = group_of(c);
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]) / m, tn_row_grain(m), dx_piece, (void *)c);
    if (c->n_in > 1 && c->din[1] != NULL) tn_parallel(m, 16, dw_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    static const struct {
        int64_t rows, n, group;
        bool    w, plus_one;
    } t[] = { { 3, 37, 0, true, false },
              { 5, 64, 0, true, true },
              { 4, 130, 65, true, false },
              { 3, 48, 16, false, false } };
    if (i >= 4) return 0;
    *k = (tn_case){ .by_row = 1u };
    *(tn_rmsnorm_params *)k->params = (tn_rmsnorm_params){ .eps = 1e-5f,
                                                           .plus_one = t[i].plus_one,
                                                           .group = t[i].group };
    tn_case_in(k, 0, TN_F32, t[i].rows, t[i].n, true);
    if (t[i].w) tn_case_vec(k, 1, TN_F32, t[i].group == 0 ? t[i].n : t[i].group, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 300), group = tn_draw_size(d, 700), n = group * (1 + tn_draw_below(d, 3));
    *k = (tn_case){ .by_row = 1u };
    *(tn_rmsnorm_params *)k->params = (tn_rmsnorm_params){
        .eps = 1e-6f, .plus_one = tn_draw_yes(d), .group = n == group && tn_draw_yes(d) ? 0 : group
    };
    tn_case_in(k, 0, TN_F32, rows, n, true);
    if (tn_draw_below(d, 4) != 0) tn_case_vec(k, 1, TN_F32, group, true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_rmsnorm_fwd_avx2, tn_rmsnorm_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_rmsnorm_fwd_avx512,
                                       tn_rmsnorm_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_rmsnorm = { .name = "rmsnorm",
                              .params_bytes = sizeof(tn_rmsnorm_params),
                              .n_in = 2,
                              .n_out = 2,
                              .shape = shape,
                              .kernels = kernels,
                              .bwd_in = 3u,
                              .bwd_out = 2u,
                              .cases = cases,
                              .draw = draw };
