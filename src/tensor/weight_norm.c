/* weight_norm.c - DoRA (Liu et al. 2024, arXiv:2402.09353): the factor by which every output of an adapted
 * matrix is multiplied, so that row o of it has the length m_o.
 *
 *   length_o = |w_o + scale sum_k b_ok a_k|        factor_o = m_o / length_o, 0 for a row of zeros
 *   backward   dm_o = dfactor_o / length_o         the length is taken as a constant, as the paper does
 *
 * The sum over the rank is one chain from +0, ascending, joined to w by fma; the squares go to 16 lanes. The
 * adapted matrix itself is never made: only one row a thread. */
#include "tensor/weight_norm.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    if (c->n_in < 4 || c->in[0] == NULL || c->in[2] == NULL || c->in[0]->n_dim != 2 || c->in[2]->n_dim != 2)
        return tn_fail(err, TN_MISMATCH, "weight_norm: w, m, a, b are expected, w and a with two dimensions");
    int64_t n_out = c->in[0]->shape[0], n_in = c->in[0]->shape[1], rank = c->in[2]->shape[0];
    TN_TRY(tn_need_weight(c, 0, "w", n_out, n_in, err));
    TN_TRY(tn_need_vector(c, 1, "m", n_out, false, err));
    TN_TRY(tn_need(c, 2, "a", TN_F32, 2, err));
    TN_TRY(tn_need(c, 3, "b", TN_F32, 2, err));
    if (tn_cols(c->in[2]) != n_in || tn_rows(c->in[3]) != n_out || tn_cols(c->in[3]) != rank)
        return tn_fail(
            err, TN_MISMATCH,
            "weight_norm: an adapter of [%lld][%lld] and [%lld][%lld] does not fit a weight of [%lld][%lld]",
            (long long)tn_rows(c->in[3]), (long long)tn_cols(c->in[3]), (long long)rank,
            (long long)tn_cols(c->in[2]), (long long)n_out, (long long)n_in);
    tn_set_shape(c->out[0], TN_F32, 1, &n_out);
    if (c->n_out > 1) tn_set_shape(c->out[1], TN_F32, 1, &n_out);
    return TN_OK;
}

static size_t scratch(const tn_call *c, bool backward)
{
    return backward ? 0 : (size_t)tn_threads() * tn_align64((size_t)tn_cols(c->in[0]) * 4);
}

static float row_length_ref(const float *w, const float *a, const float *b, int64_t n, int64_t rank,
                            float scale)
{
    float lane[16] = { 0 };

    for (int64_t i = 0; i < n; i++) {
        float sum = 0.0f;
        for (int64_t k = 0; k < rank; k++) sum = fmaf(b[k], a[k * n + i], sum);
        float v = fmaf(scale, sum, w[i]);
        lane[i % 16] = fmaf(v, v, lane[i % 16]);
    }
    return sqrtf(tn_lane_sum(lane));
}

typedef struct {
    const tn_call   *c;
    tn_row_length_fn row_length;
} job;

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job       *j = arg;
    const tn_call   *c = j->c;
    const tn_tensor *w = c->in[0];
    int64_t          n = tn_cols(w), rank = tn_rows(c->in[2]);
    float           *row = (float *)((char *)c->scratch + (size_t)i_thread * tn_align64((size_t)n * 4));

    for (int64_t r = begin; r < end; r++) {
        if (w->packed != NULL) tn_weight_row(row, w->packed, r);
        else tn_row_to_f32(row, (const char *)w->data + (size_t)r * tn_row_bytes(w->dtype, n), w->dtype, n);
        float length = j->row_length(row, tn_f32(c->in[2]), tn_f32(c->in[3]) + r * rank, n, rank,
                                     TN_PARAMS(c, tn_weight_norm_params)->scale);
        tn_f32(c->out[0])[r] = length == 0.0f ? 0.0f : tn_f32(c->in[1])[r] / length;
        if (c->n_out > 1 && c->out[1] != NULL) tn_f32(c->out[1])[r] = length;
    }
}

void tn_weight_norm_fwd(const tn_call *c, tn_row_length_fn row_length)
{
    job j = { c, row_length };

    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0]) * (1 + tn_rows(c->in[2]))), fwd_piece, &j);
}

static void fwd_ref(const tn_call *c) { tn_weight_norm_fwd(c, row_length_ref); }

void tn_weight_norm_bwd(const tn_call *c)
{
    const float *dy = tn_f32(c->dout[0]), *length = tn_f32(c->out[1]);
    float       *dm = tn_f32(c->din[1]);

    if (dm == NULL || dy == NULL) return;
    for (int64_t r = 0; r < tn_rows(c->in[0]); r++)
        dm[r] = tn_put(dm[r], c->add[1], length[r] == 0.0f ? 0.0f : dy[r] / length[r]);
}

static int cases(tn_case *k, int i)
{
    static const struct {
        int64_t n_out, n_in, rank;
    } t[] = { { 5, 37, 3 }, { 7, 64, 8 }, { 3, 130, 1 } };

    if (i >= 3) return 0;
    *k = (tn_case){ .by_row = 0xbu };
    *(tn_weight_norm_params *)k->params = (tn_weight_norm_params){ .scale = 0.5f };
    tn_case_in(k, 0, i == 1 ? TN_BF16 : TN_F32, t[i].n_out, t[i].n_in, false);
    tn_case_vec(k, 1, TN_F32, t[i].n_out, true);
    tn_case_in(k, 2, TN_F32, t[i].rank, t[i].n_in, false);
    tn_case_in(k, 3, TN_F32, t[i].n_out, t[i].rank, false);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t n_out = tn_draw_size(d, 150), n_in = tn_draw_width(d, 512), rank = tn_draw_size(d, 40);
    *k = (tn_case){ 0 };
    *(tn_weight_norm_params *)k->params = (tn_weight_norm_params){ .scale = tn_draw_number(d, 0.1f, 4) };
    tn_draw_weight(d, k, 0, n_out, n_in, false);
    tn_case_vec(k, 1, TN_F32, n_out, true);
    tn_case_in(k, 2, TN_F32, rank, n_in, false);
    tn_case_in(k, 3, TN_F32, n_out, rank, false);
    if (!k->packed[0]) k->by_row = 0xbu;
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, tn_weight_norm_bwd },
                                     { "avx2", tn_cpu_avx2, tn_weight_norm_fwd_avx2, tn_weight_norm_bwd },
                                     { .name = NULL } };

const tn_op tn_op_weight_norm = { .name = "weight_norm",
                                  .params_bytes = sizeof(tn_weight_norm_params),
                                  .n_in = 4,
                                  .n_out = 2,
                                  .shape = shape,
                                  .scratch = scratch,
                                  .kernels = kernels,
                                  .no_grad_in = 13u,
                                  .held_in = 13u,
                                  .bwd_out = 2u,
                                  .cases = cases,
                                  .draw = draw };
