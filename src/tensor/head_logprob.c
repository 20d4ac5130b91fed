/* head_logprob.c - log-probabilities of targets under the output head, chunk by chunk (head.h).
 *
 *   forward    logp_i = x_it - lse_i                        (target -1: 0), lse_i = top + log(sum)
 *   backward   g_ij = (dlse_i - dlogp_i) p_ij + dlogp_i [j = t]; the chunk's logits are computed again, because
 *              preference losses know dlogp only after the whole answer;  dx = g w, dw += g^T x (rows ascending) */
#include "tensor/cpu/kernels.h"
#include "tensor/head.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    const tn_head_logprob_params *p = c->params;
    TN_TRY(tn_head_check(c, p->softcap, err));
    TN_TRY(tn_need_profile(c, p->profile, err));
    if (!(p->temperature >= 0.0f && p->temperature < INFINITY))
        return tn_fail(err, TN_MISMATCH,
                       "head_logprob: temperature is %g; it must not be below 0, and finite",
                       (double)p->temperature);
    for (int i = 0; i < 2 && i < c->n_out; i++)
        tn_set_shape(c->out[i], TN_F32, 1, (int64_t[]){ tn_rows(c->in[0]) });
    return TN_OK;
}

typedef struct {
    const tn_head *h;
    int64_t        r0;
    float         *logp, *lse;
    const float   *dlogp, *dlse;
} chunk;

static void rows_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const chunk   *k = arg;
    const tn_head *h = k->h;
    bool           grad = k->dlogp != NULL || k->dlse != NULL;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t r = k->r0 + i, t = h->target[r];
        bool    ok = tn_head_target_ok(h, r);
        float  *l = h->logits + i * h->ld, top, sum;
        h->kernels->lse(l, h->n_vocab, &h->row, false, &top, &sum);
        if (k->lse != NULL) k->lse[r] = top + tn_logf(sum);
        if (k->logp != NULL) {
            float x_t = !ok ? NAN : h->row.temperature != 0.0f ? l[t] / h->row.temperature : l[t];
            k->logp[r] = t == -1 ? 0.0f : x_t - (top + tn_logf(sum));
        }
        if (!grad) continue;
        float dp = k->dlogp == NULL || t == -1 ? 0.0f : ok ? k->dlogp[r] : NAN;
        float dl = k->dlse == NULL ? 0.0f : k->dlse[r];
        h->kernels->grad(l, h->n_vocab, &h->row, false, top, (dl - dp) / sum, ok ? t : -1, dp);
    }
}

void tn_head_logprob_forward(const tn_call *c, const tn_head_kernels *kernels)
{
    const tn_head_logprob_params *p = c->params;
    tn_head                       h;
    tn_head_open(&h, c, kernels, p->softcap, p->temperature, p->profile);
    chunk k = { .h = &h, .logp = tn_f32(c->out[0]), .lse = c->n_out > 1 ? tn_f32(c->out[1]) : NULL };
    for (k.r0 = 0; k.r0 < h.n_row; k.r0 += h.chunk) {
        int64_t n = tn_min64(h.chunk, h.n_row - k.r0);
        tn_head_logits(&h, k.r0, n);
        tn_parallel(n, 1, rows_piece, &k);
    }
}

void tn_head_logprob_backward(const tn_call *c, const tn_head_kernels *kernels)
{
    const tn_head_logprob_params *p = c->params;
    tn_head                       h;
    tn_head_open(&h, c, kernels, p->softcap, p->temperature, p->profile);
    float *dx = tn_f32(c->din[0]), *dw = tn_f32(c->din[1]);
    chunk  k = { .h = &h, .dlogp = tn_f32(c->dout[0]), .dlse = c->n_out > 1 ? tn_f32(c->dout[1]) : NULL };
    if (dw != NULL && !c->add[1]) memset(dw, 0, tn_n_bytes(c->din[1]));
    if (k.dlogp == NULL && k.dlse == NULL) {
        if (dx != NULL && !c->add[0]) memset(dx, 0, tn_n_bytes(c->din[0]));
        return;
    }
    for (k.r0 = 0; k.r0 < h.n_row; k.r0 += h.chunk) {
        int64_t n = tn_min64(h.chunk, h.n_row - k.r0);
        tn_head_logits(&h, k.r0, n);
        tn_parallel(n, 1, rows_piece, &k);
        if (dx != NULL) tn_head_dx(&h, n, dx + k.r0 * h.n_embd, c->add[0]);
        if (dw != NULL) tn_head_dw(&h, k.r0, n, dw);
    }
}

static void fwd_ref(const tn_call *c) { tn_head_logprob_forward(c, &tn_head_ref); }
static void bwd_ref(const tn_call *c) { tn_head_logprob_backward(c, &tn_head_ref); }

static size_t scratch(const tn_call *c, bool backward)
{
    (void)backward;
    return tn_head_scratch(c);
}

static double flops(const tn_call *c)
{
    return 2.0 * (double)tn_rows(c->in[0]) * (double)tn_cols(c->in[0]) * (double)c->in[1]->shape[0];
}

static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    if (i_in == 2) {
        tn_fill_ids(t, seed, k->in[1].shape[0]);
        if (tn_n_elem(t) > 2) ((int32_t *)t->data)[1] = -1;
    }
}

static int cases(tn_case *k, int i)
{
    static const tn_head_logprob_params t[] = { { 0, 0, TN_PROFILE_STRICT },
                                                { 0, 0.7f, TN_PROFILE_STRICT },
                                                { 3.0f, 1.3f, TN_PROFILE_STRICT } };
    if (i >= 3) return 0;
    *k = (tn_case){ .by_row = 5u };
    *(tn_head_logprob_params *)k->params = t[i];
    int64_t rows = 5 + 4 * i, cols = 13 + 16 * i;
    tn_case_in(k, 0, TN_F32, rows, cols, true);
    tn_case_in(k, 1, TN_F32, 37 + i, cols, true);
    tn_case_vec(k, 2, TN_I32, rows, false);
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    bool    large = tn_draw_below(d, 4) == 0;
    int64_t rows = tn_draw_size(d, 150), cols = tn_draw_width(d, large ? 32 : 256),
            n_vocab = tn_draw_size(d, large ? 5000 : 400);
    tn_head_logprob_params p = { .profile = (tn_profile)tn_draw_below(d, 3) };
    if (tn_draw_yes(d)) p.softcap = tn_draw_number(d, 1, 30);
    if (tn_draw_yes(d)) p.temperature = tn_draw_number(d, 0.3f, 2);
    *k = (tn_case){ .by_row = 5u, .fill = fill, .profile = p.profile };
    *(tn_head_logprob_params *)k->params = p;
    tn_case_in(k, 0, TN_F32, rows, cols, true);
    tn_draw_weight(d, k, 1, n_vocab, cols, tn_draw_yes(d));
    tn_case_vec(k, 2, TN_I32, rows, false);
}

static const tn_kernel kernels[] = {
    { "ref", tn_cpu_any, fwd_ref, bwd_ref },
    { "avx2", tn_cpu_avx2, tn_head_logprob_fwd_avx2, tn_head_logprob_bwd_avx2 },
    { "avx512", tn_cpu_avx512, tn_head_logprob_fwd_avx512, tn_head_logprob_bwd_avx512 },
    { .name = NULL },
};

const tn_op tn_op_head_logprob = { .name = "head_logprob",
                                   .params_bytes = sizeof(tn_head_logprob_params),
                                   .n_in = 3,
                                   .n_out = 2,
                                   .grad_out = 3u,
                                   .shape = shape,
                                   .scratch = scratch,
                                   .kernels = kernels,
                                   .bwd_in = 7u,
                                   .cases = cases,
                                   .draw = draw,
                                   .flops = flops };
