/* weight_norm.c - DoRA (Liu et al. 2024, arXiv:2402.09353): rows of w with magnitude m.
 *
 *   forward    y_o = w_o (m_o / |w_o|)                    a row of zeros stays zero
 *   backward   dw_o = dy_o (m_o / |w_o|) with the norm taken as a constant, as the paper does;
 *              dm_o = sum(dy_o w_o) / |w_o|
 *
 * Sums along a row use 16 lanes. */
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    TN_TRY(tn_need(c, 0, "w", TN_F32, 2, err));
    TN_TRY(tn_need_vector(c, 1, "m", tn_rows(c->in[0]), false, err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static float row_norm(const float *w, int64_t n)
{
    float lane[16] = { 0 };
    for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(w[i], w[i], lane[i % 16]);
    return sqrtf(tn_lane_sum(lane));
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *w = tn_f32(c->in[0]) + r * n;
        float       *y = tn_f32(c->out[0]) + r * n, norm = row_norm(w, n);
        float        s = norm == 0.0f ? 0.0f : tn_f32(c->in[1])[r] / norm;
        for (int64_t i = 0; i < n; i++) y[i] = w[i] * s;
    }
}

static void fwd_ref(const tn_call *c) { tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), fwd_piece, (void *)c); }

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *w = tn_f32(c->in[0]) + r * n, *dy = tn_f32(c->dout[0]) + r * n;
        float        norm = row_norm(w, n), s = norm == 0.0f ? 0.0f : tn_f32(c->in[1])[r] / norm;
        if (c->din[1] != NULL) {
            float lane[16] = { 0 }, *dm = tn_f32(c->din[1]) + r;
            for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(dy[i], w[i], lane[i % 16]);
            *dm = tn_put(*dm, c->add[1], norm == 0.0f ? 0.0f : tn_lane_sum(lane) / norm);
        }
        if (c->din[0] != NULL) {
            float *dw = tn_f32(c->din[0]) + r * n;
            for (int64_t i = 0; i < n; i++) dw[i] = tn_put(dw[i], c->add[0], dy[i] * s);
        }
    }
}

static void bwd_ref(const tn_call *c) { tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), bwd_piece, (void *)c); }

static int cases(tn_case *k, int i)
{
    if (i > 0) return 0;
    *k = (tn_case){ .by_row = 3u };
    tn_case_in(k, 0, TN_F32, 5, 37, false);
    tn_case_vec(k, 1, TN_F32, 5, true);
    return 1;
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref }, { .name = NULL } };

const tn_op tn_op_weight_norm = {
    .name = "weight_norm", .n_in = 2, .n_out = 1, .shape = shape, .kernels = kernels, .bwd_in = 3u, .cases = cases };
