/* router.c - which experts a token goes to, and with what weight.
 *
 *   SOFTMAX_TOPK   s = softmax(logits), the k largest s (+ bias) are chosen (Mixtral, Qwen, DeepSeek-V2)
 *   TOPK_SOFTMAX   the k largest logits (+ bias), then the softmax of those (gpt-oss)
 *   SIGMOID        s = sigmoid(logits), the k largest s + bias are chosen (DeepSeek-V3)
 *
 * The bias only takes part in choosing. With groups, only experts of the n_group_used best groups can be
 * chosen (a group's score: its best expert, or the sum of its two best). Ties go to the lower expert; NaN is
 * above all numbers; slots are in the order of choice. Weights: s of the chosen, divided by their sum when
 * renormalised (+ 1e-20 for sigmoid), times scale. probs: the softmax, or s divided by its sum. aux: fraction
 * of the assignments [n_expert], then the mean of probs over the rows [n_expert], one chain over the rows,
 * ascending.
 *
 * Backward: choices are constants. Besides the gradients of weights, aux and probs it adds those of
 * aux_coef n_expert sum(fraction mean_prob) and of z_coef mean(logsumexp(logits)^2), whose coefficients carry
 * the scale of the loss. Sums over experts use 16 lanes, sums over slots one chain, ascending. */
#include "tensor/moves.h"
#include "tensor/op_util.h"

enum { MAX_EXPERT = 1024 };

static tn_status shape(const tn_call *c, tn_error *err)
{
    const tn_router_params *p = c->params;
    TN_TRY(tn_need(c, 0, "logits", TN_F32, 2, err));
    int64_t n_row = tn_rows(c->in[0]), n = p->n_expert, groups = p->n_group > 1 ? p->n_group : 1,
            used = p->n_group > 1 ? p->n_group_used : 1;
    if (n <= 0 || n > MAX_EXPERT || n != tn_cols(c->in[0]))
        return tn_fail(err, TN_MISMATCH, "router: %lld logits a row for %lld experts (1 to %d are possible)",
                       (long long)tn_cols(c->in[0]), (long long)n, MAX_EXPERT);
    if (n % groups != 0 || used < 1 || used > groups || p->k < 1 || p->k > n / groups * used)
        return tn_fail(err, TN_MISMATCH,
                       "router: %lld of %lld experts cannot be chosen from %lld of %lld groups",
                       (long long)p->k, (long long)n, (long long)used, (long long)groups);
    TN_TRY(tn_need_vector(c, 1, "selection bias", n, true, err));
    TN_TRY(tn_need_finite(c, "scale", p->scale, err));
    TN_TRY(tn_need_finite(c, "aux_coef", p->aux_coef, err));
    TN_TRY(tn_need_finite(c, "z_coef", p->z_coef, err));
    if ((int)p->kind < TN_ROUTE_SOFTMAX_TOPK || p->kind > TN_ROUTE_SIGMOID)
        return tn_fail(err, TN_MISMATCH, "router: no kind of routing has number %d", (int)p->kind);
    tn_set_rows(c->out[0], n_row, p->k);
    if (c->n_out > 1) tn_set_shape(c->out[1], TN_I32, 2, (int64_t[]){ n_row, p->k });
    if (c->n_out > 2) tn_set_shape(c->out[2], TN_F32, 1, (int64_t[]){ 2 * n });
    if (c->n_out > 3) tn_set_rows(c->out[3], n_row, n);
    return TN_OK;
}

/* s of one row (softmax, or sigmoid), the probs that aux counts, the logsumexp. */
static void scores(const tn_moves *m, float *s, float *probs, float *lse, const float *l,
                   const tn_router_params *p)
{
    float top, sum = m->exps(probs, l, p->n_expert, &top);
    *lse = top + tn_logf(sum);
    if (p->kind == TN_ROUTE_SIGMOID) {
        m->divide(probs, s, m->sigmoids(s, l, p->n_expert) + 1e-20f, p->n_expert);
        return;
    }
    m->divide(probs, probs, sum, p->n_expert);
    m->copy(s, probs, p->n_expert);
}

/* The best of those not taken; a NaN counts as the largest, so that it reaches the weights from wherever it
 * stands. */
static int64_t best_of(const float *v, const bool *taken, int64_t first, int64_t n)
{
    int64_t best = -1;
    for (int64_t e = first; e < first + n; e++)
        if (!taken[e] && (best < 0 || v[e] > v[best] || (isnan(v[e]) && !isnan(v[best])))) best = e;
    return best;
}

static void drop_groups(bool *taken, const float *v, const tn_router_params *p)
{
    float   score[MAX_EXPERT];
    bool    kept[MAX_EXPERT] = { false };
    int64_t n = p->n_expert / p->n_group;
    for (int64_t g = 0; g < p->n_group; g++) {
        int64_t a = best_of(v, taken, g * n, n);
        score[g] = v[a];
        if (!p->group_sum2 || n < 2) continue;
        taken[a] = true;
        score[g] += v[best_of(v, taken, g * n, n)];
        taken[a] = false;
    }
    for (int64_t i = 0; i < p->n_group_used; i++) kept[best_of(score, kept, 0, p->n_group)] = true;
    for (int64_t e = 0; e < p->n_expert; e++) taken[e] = !kept[e / n];
}

static void choose(int32_t *ids, const float *l, const float *s, const float *bias, const tn_router_params *p)
{
    float v[MAX_EXPERT];
    bool  taken[MAX_EXPERT] = { false };
    for (int64_t e = 0; e < p->n_expert; e++)
        v[e] = (p->kind == TN_ROUTE_TOPK_SOFTMAX ? l[e] : s[e]) + (bias == NULL ? 0.0f : bias[e]);
    if (p->n_group > 1) drop_groups(taken, v, p);
    for (int64_t i = 0; i < p->k; i++) {
        int64_t e = best_of(v, taken, 0, p->n_expert);
        taken[e] = true;
        ids[i] = (int32_t)e;
    }
}

/* Unscaled weights of the chosen; returns what they were divided by (1: nothing). */
static float weigh(float *w, const int32_t *ids, const float *l, const float *s, const tn_router_params *p)
{
    float sum = 0.0f, top = -INFINITY;
    if (p->kind == TN_ROUTE_TOPK_SOFTMAX) {
        for (int64_t i = 0; i < p->k; i++) top = l[ids[i]] > top ? l[ids[i]] : top;
        for (int64_t i = 0; i < p->k; i++) sum += w[i] = tn_expf(l[ids[i]] - top);
    } else {
        for (int64_t i = 0; i < p->k; i++) sum += w[i] = s[ids[i]];
        if (!p->renormalise) return 1.0f;
        if (p->kind == TN_ROUTE_SIGMOID) sum += 1e-20f;
    }
    for (int64_t i = 0; i < p->k; i++) w[i] /= sum;
    return sum;
}

typedef struct job {
    const tn_call  *c;
    const tn_moves *m;
} job;

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call          *c = ((const job *)arg)->c;
    const tn_moves         *m = ((const job *)arg)->m;
    const tn_router_params *p = c->params;
    const float            *bias = c->n_in > 1 ? tn_f32(c->in[1]) : NULL;
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *l = tn_f32(c->in[0]) + r * p->n_expert;
        float        s[MAX_EXPERT], probs[MAX_EXPERT], lse, *w = tn_f32(c->out[0]) + r * p->k;
        int32_t     *ids = (int32_t *)c->out[1]->data + r * p->k;
        scores(m, s, probs, &lse, l, p);
        choose(ids, l, s, bias, p);
        (void)weigh(w, ids, l, s, p);
        for (int64_t i = 0; i < p->k; i++) w[i] *= p->scale;
        if (c->n_out > 3 && c->out[3] != NULL)
            m->copy(tn_f32(c->out[3]) + r * p->n_expert, probs, p->n_expert);
    }
}

static void forward(const tn_call *c, const tn_moves *m)
{
    const tn_router_params *p = c->params;
    int64_t                 n_row = tn_rows(c->in[0]), n = p->n_expert;
    tn_parallel(n_row, 16, fwd_piece, &(job){ c, m });
    if (c->n_out < 4 || c->out[2] == NULL || c->out[3] == NULL) return;
    float *aux = tn_f32(c->out[2]);
    for (int64_t e = 0; e < 2 * n; e++) aux[e] = 0.0f;
    for (int64_t i = 0; i < n_row * p->k; i++) aux[tn_i32(c->out[1])[i]] += 1.0f; /* exact up to 2^24 */
    for (int64_t r = 0; r < n_row; r++) m->add(aux + n, tn_f32(c->out[3]) + r * n, n);
    for (int64_t e = 0; e < n; e++) {
        aux[e] /= (float)tn_max64(1, n_row * p->k); /* of no rows: 0 */
        aux[n + e] /= (float)tn_max64(1, n_row);
    }
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call          *c = ((const job *)arg)->c;
    const tn_moves         *m = ((const job *)arg)->m;
    const tn_router_params *p = c->params;
    const float            *dw = tn_f32(c->dout[0]);
    const float            *daux = c->n_out > 2 ? tn_f32(c->dout[2]) : NULL;
    const float            *dprobs = c->n_out > 3 ? tn_f32(c->dout[3]) : NULL;
    const float            *aux = c->n_out > 2 ? tn_f32(c->out[2]) : NULL;
    int64_t                 n = p->n_expert;
    float                   n_row = (float)tn_rows(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float   *l = tn_f32(c->in[0]) + r * n;
        const int32_t *ids = tn_i32(c->out[1]) + r * p->k;
        float         *out = tn_f32(c->din[0]) + r * n;
        float          s[MAX_EXPERT], probs[MAX_EXPERT], dp[MAX_EXPERT], dl[MAX_EXPERT], w[MAX_EXPERT], lse;
        scores(m, s, probs, &lse, l, p);
        /* through probs: the balancing loss, and gradients of probs and of their means */
        for (int64_t e = 0; e < n; e++) {
            dp[e] = aux == NULL ? 0.0f : p->aux_coef * (float)n * aux[e] / n_row;
            if (daux != NULL) dp[e] += daux[n + e] / n_row;
            if (dprobs != NULL) dp[e] += dprobs[r * n + e];
        }
        m->softmax_back(dl, probs, dp, n);
        if (p->kind == TN_ROUTE_SIGMOID) /* probs = s / t: what softmax_back gives is s times d loss / d s */
            for (int64_t e = 0; e < n; e++) dl[e] *= 1.0f - s[e];
        /* through the weights of the chosen */
        float sum = weigh(w, ids, l, s, p), mean = 0.0f, ds[MAX_EXPERT];
        bool  divided = p->kind == TN_ROUTE_TOPK_SOFTMAX || p->renormalise;
        for (int64_t i = 0; i < p->k; i++) ds[i] = dw == NULL ? 0.0f : p->scale * dw[r * p->k + i];
        for (int64_t i = 0; i < p->k; i++) mean = fmaf(w[i], ds[i], mean);
        for (int64_t i = 0; i < p->k && divided; i++) ds[i] = (ds[i] - mean) / sum;
        if (p->kind == TN_ROUTE_TOPK_SOFTMAX) {
            for (int64_t i = 0; i < p->k; i++) dl[ids[i]] = fmaf(w[i] * sum, ds[i], dl[ids[i]]);
        } else if (p->kind == TN_ROUTE_SIGMOID) {
            for (int64_t i = 0; i < p->k; i++)
                dl[ids[i]] = fmaf(s[ids[i]] * (1.0f - s[ids[i]]), ds[i], dl[ids[i]]);
        } else {
            float back[MAX_EXPERT], full[MAX_EXPERT] = { 0 };
            for (int64_t i = 0; i < p->k; i++) full[ids[i]] = ds[i];
            m->softmax_back(back, probs, full, n);
            m->add(dl, back, n);
        }
        if (p->z_coef != 0.0f) m->add_soft(dl, l, lse, p->z_coef * 2.0f * lse / n_row, n);
        (c->add[0] ? m->add : m->copy)(out, dl, n);
    }
}

static void backward(const tn_call *c, const tn_moves *m)
{
    if (c->din[0] != NULL) tn_parallel(tn_rows(c->in[0]), 16, bwd_piece, &(job){ c, m });
}

static int cases(tn_case *k, int i)
{
    static const tn_router_params t[] = {
        { .n_expert = 8, .k = 2, .kind = TN_ROUTE_SOFTMAX_TOPK, .renormalise = true, .scale = 1.0f },
        { .n_expert = 32, .k = 4, .kind = TN_ROUTE_TOPK_SOFTMAX, .scale = 1.0f },
        { .n_expert = 24,
          .k = 3,
          .n_group = 4,
          .n_group_used = 2,
          .kind = TN_ROUTE_SIGMOID,
          .renormalise = true,
          .group_sum2 = true,
          .scale = 2.5f },
        { .n_expert = 12,
          .k = 3,
          .n_group = 3,
          .n_group_used = 2,
          .kind = TN_ROUTE_SOFTMAX_TOPK,
          .scale = 16.0f },
        /* losses of its own: no difference quotient sees them */
        { .n_expert = 21, .k = 2, .kind = TN_ROUTE_SIGMOID, .scale = 1.0f, .aux_coef = 0.3f, .z_coef = 0.2f },
    };
    if (i >= 5) return 0;
    *k = (tn_case){ .by_row = 1u, .fd_tolerance = t[i].z_coef != 0 ? -1 : 0 };
    *(tn_router_params *)k->params = t[i];
    tn_case_in(k, 0, TN_F32, 9, t[i].n_expert, true);
    if (t[i].kind == TN_ROUTE_SIGMOID) tn_case_vec(k, 1, TN_F32, t[i].n_expert, false);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t groups = tn_draw_yes(d) ? 1 : 1 + tn_draw_below(d, 8),
            each = 1 + tn_draw_below(d, tn_draw_yes(d) ? 8 : 60), rows = tn_draw_size(d, 200);
    tn_router_params p = { .n_expert = groups * each,
                           .n_group = groups,
                           .renormalise = tn_draw_yes(d),
                           .group_sum2 = tn_draw_yes(d),
                           .scale = tn_draw_number(d, 0.5f, 16) };
    p.kind = TN_ROUTE_SOFTMAX_TOPK + (int)tn_draw_below(d, 3);
    p.n_group_used = 1 + tn_draw_below(d, groups);
    p.k = 1 + tn_draw_below(d, tn_min64(each * p.n_group_used, 12));
    if (tn_draw_yes(d)) p.aux_coef = tn_draw_number(d, 0, 1), p.z_coef = tn_draw_number(d, 0, 1);
    *k = (tn_case){ .by_row = 2 * p.n_expert == rows ? 0u : 1u }; /* else aux looks like rows */
    *(tn_router_params *)k->params = p;
    tn_case_in(k, 0, TN_F32, rows, p.n_expert, true);
    if (p.kind == TN_ROUTE_SIGMOID && tn_draw_yes(d)) tn_case_vec(k, 1, TN_F32, p.n_expert, false);
}

TN_KERNELS_OF(tn_moves);

const tn_op tn_op_router = { .name = "router",
                             .params_bytes = sizeof(tn_router_params),
                             .n_in = 2,
                             .n_out = 4,
                             .shape = shape,
                             .kernels = kernels,
                             .no_grad_in = 2u,
                             .held_in = 2u,
                             .bwd_in = 1u,
                             .bwd_out = 6u,
                             .grad_out = 13u,
                             .cases = cases,
                             .draw = draw };
