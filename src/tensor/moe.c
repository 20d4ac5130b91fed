/* moe.c - a mixture of experts: each row goes through the k feed-forward networks that the router chose for
 * it.
 *
 *   pairs (row, slot), sorted by (expert, row, slot):     row 0: e2 e0        e0: 0.1 2.0
 *   counting sort, so the order is fixed                  row 1: e1 e2   →    e1: 1.0
 *                                                         row 2: e0 e2        e2: 0.0 1.1 2.1
 *
 *   forward    for the pairs of expert e:  g = x Wg_e^T + bg,  u = x Wu_e^T + bu,  a = act(g) u,  o = a Wd_e^T + bd
 *              y_r = chain of fma(weight_rs, o_rs, y) over the slots, ascending, from +0
 *   backward   t = dy Wd_e;  dweight = lane_sum(t a) + lane_sum(dy bd);  da = weight t;  dg, du as in gated.c
 *              dx_r = the slots' (dg Wg_e, continued by du Wu_e), added ascending
 *              dWd_e += (weight dy)^T a,  dWg_e += dg^T x,  dWu_e += du^T x: chains over the expert's pairs, ascending
 *
 * Every product is a chain as in matmul. Without Wg the activation is applied to u alone. An expert number
 * outside the range gives a row of NaN and no gradient. Outputs 1 and 2 keep g and u, in sorted order, for
 * the backward pass. */
#include "tensor/moe.h"

#include "tensor/cpu/kernels.h"

static tn_tensor *in_of(const tn_call *c, int i) { return i < c->n_in ? c->in[i] : NULL; }

static tn_status shape(const tn_call *c, tn_error *err)
{
    const tn_moe_params *p = c->params;
    TN_TRY(tn_need(c, 0, "x", TN_F32, 2, err));
    if (p->n_expert <= 0 || p->n_expert > 65536 || p->k <= 0 || p->k > 65536 || p->n_ff <= 0 ||
        p->n_ff > INT32_MAX)
        return tn_fail(err, TN_MISMATCH, "moe: %lld of %lld experts of width %lld", (long long)p->k,
                       (long long)p->n_expert, (long long)p->n_ff);
    if ((int)p->act < 0 || p->act > TN_ACT_OSS || (p->act == TN_ACT_OSS && in_of(c, 3) == NULL))
        return tn_fail(err, TN_MISMATCH, "moe: activation %d does not fit here", (int)p->act);
    if (p->act == TN_ACT_OSS && !(p->limit > 0.0f))
        return tn_fail(err, TN_MISMATCH, "moe: limit is %g; it must be above 0", (double)p->limit);
    TN_TRY(tn_need_profile(c, p->profile, err));
    int64_t n_row = tn_rows(c->in[0]), n = tn_cols(c->in[0]), n_pair;
    /* the sort numbers pairs by an int32 */
    if (__builtin_mul_overflow(n_row, p->k, &n_pair) || n_pair > INT32_MAX || n > INT32_MAX)
        return tn_fail(
            err, TN_LIMIT,
            "moe: %lld rows of width %lld with %lld experts each; rows times experts and the width may be %d",
            (long long)n_row, (long long)n, (long long)p->k, INT32_MAX);
    TN_TRY(tn_need_vector(c, 1, "weights", n_pair, false, err));
    TN_TRY(tn_need_ints(c, 2, "ids", n_pair, err));
    if (in_of(c, 3) != NULL) TN_TRY(tn_need_weight(c, 3, "w_gate", p->n_expert * p->n_ff, n, err));
    TN_TRY(tn_need_weight(c, 4, "w_up", p->n_expert * p->n_ff, n, err));
    TN_TRY(tn_need_weight(c, 5, "w_down", p->n_expert * n, p->n_ff, err));
    TN_TRY(tn_need_vector(c, 6, "gate biases", p->n_expert * p->n_ff, true, err));
    TN_TRY(tn_need_vector(c, 7, "up biases", p->n_expert * p->n_ff, true, err));
    TN_TRY(tn_need_vector(c, 8, "down biases", p->n_expert * n, true, err));
    tn_set_like(c->out[0], c->in[0]);
    if (c->n_out > 1 && c->out[1] != NULL) {
        *c->out[1] = (tn_tensor){ .n_dim = 0 };
        if (in_of(c, 3) != NULL) tn_set_rows(c->out[1], n_pair, p->n_ff);
    }
    if (c->n_out > 2) tn_set_rows(c->out[2], n_pair, p->n_ff);
    return TN_OK;
}

/* Scratch: the sort; wide rows x, o or dy, dx; narrow rows a, and g, u (forward, when nobody keeps them) or
 * t, dg; the products' own. */
static size_t scratch(const tn_call *c, bool backward)
{
    const tn_moe_params *p = c->params;
    size_t  n_pair = (size_t)(tn_rows(c->in[0]) * p->k), n = (size_t)tn_cols(c->in[0]), f = (size_t)p->n_ff;
    int64_t longest = tn_max64((int64_t)n_pair, tn_max64((int64_t)n, (int64_t)f));
    (void)backward;
    return 2 * tn_align64(n_pair * 4) + tn_align64(((size_t)p->n_expert + 1) * 4) +
           3 * tn_align64(n_pair * n * 4) + 3 * tn_align64(n_pair * f * 4) +
           tn_mm_scratch_bytes(tn_threads(), longest, longest);
}

/* Counting sort by expert; within one, pairs keep their order. */
static void sort_pairs(tn_moe *m)
{
    const int32_t *id = tn_i32(m->c->in[2]);
    for (int64_t e = 0; e <= m->p->n_expert; e++) m->first[e] = 0;
    for (int64_t i = 0; i < m->n_pair; i++)
        if (id[i] >= 0 && id[i] < m->p->n_expert) m->first[id[i] + 1]++;
    for (int64_t e = 0; e < m->p->n_expert; e++) m->first[e + 1] += m->first[e];
    for (int64_t i = 0; i < m->n_pair; i++)
        m->place[i] = id[i] >= 0 && id[i] < m->p->n_expert ? m->first[id[i]]++ : -1;
    for (int64_t e = m->p->n_expert; e > 0; e--) m->first[e] = m->first[e - 1];
    m->first[0] = 0;
    for (int64_t i = 0; i < m->n_pair; i++)
        if (m->place[i] >= 0) m->pair[m->place[i]] = (int32_t)i;
}

static void moe_open(tn_moe *m, const tn_call *c, const tn_moe_kernels *k)
{
    const tn_moe_params *p = c->params;
    char                *s = c->scratch;
    *m = (tn_moe){ .c = c,
                   .p = p,
                   .n_row = tn_rows(c->in[0]),
                   .n_embd = tn_cols(c->in[0]),
                   .n_pair = tn_rows(c->in[0]) * p->k,
                   .kernels = k };
    size_t pairs = tn_align64((size_t)m->n_pair * 4), wide = tn_align64((size_t)(m->n_pair * m->n_embd) * 4),
           ff = tn_align64((size_t)(m->n_pair * p->n_ff) * 4);
    m->place = (int32_t *)s;
    s += pairs;
    m->pair = (int32_t *)s;
    s += pairs;
    m->first = (int32_t *)s;
    s += tn_align64(((size_t)p->n_expert + 1) * 4);
    m->xs = (float *)s;
    s += wide;
    m->os = (float *)s;
    s += wide;
    m->dxs = (float *)s;
    s += wide;
    m->a = (float *)s;
    s += ff;
    m->t = (float *)s;
    s += ff;
    m->dg = (float *)s;
    s += ff;
    m->g = c->n_out > 1 && c->out[1] != NULL ? tn_f32(c->out[1]) : m->t;
    m->u = c->n_out > 2 && c->out[2] != NULL ? tn_f32(c->out[2]) : m->dg;
    m->mm_scratch = s;
    m->mm_bytes = c->scratch_bytes - (size_t)(s - (char *)c->scratch);
    sort_pairs(m);
    m->n_pair = m->first[p->n_expert]; /* those with an expert */
}

/* dst_i = row of src of sorted pair i. */
typedef struct {
    const tn_moe *m;
    float        *dst;
    const float  *src;
} gather;

static void gather_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const gather *g = arg;
    int64_t       n = g->m->n_embd;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++)
        memcpy(g->dst + i * n, g->src + g->m->pair[i] / g->m->p->k * n, (size_t)n * 4);
}

static void gather_rows(const tn_moe *m, float *dst, const float *src)
{
    gather g = { m, dst, src };
    tn_parallel(m->n_pair, tn_row_grain(m->n_embd), gather_piece, &g);
}

static tn_mm_b expert_weight(const tn_tensor *w, int64_t first, bool transposed)
{
    if (w->packed != NULL)
        return (tn_mm_b){ .kind = transposed ? TN_MM_B_PACKED_T : TN_MM_B_PACKED,
                          .w = w->packed,
                          .first = first };
    return (tn_mm_b){ .kind = transposed ? TN_MM_B_KN : TN_MM_B_NK,
                      .dtype = w->dtype,
                      .ld = tn_cols(w),
                      .rows = (const char *)w->data + (size_t)first * tn_row_bytes(w->dtype, tn_cols(w)) };
}

static void product(const tn_moe *m, const tn_mm *mm)
{
    if (m->kernels->reference_mm) tn_mm_run_set(NULL, mm, m->mm_scratch, m->mm_bytes);
    else tn_mm_run(mm, m->mm_scratch, m->mm_bytes);
}

/* y = x w_e^T for the pairs of every expert; w holds n_out outputs an expert. */
static void experts_forward(const tn_moe *m, float *y, const float *x, const tn_tensor *w, int64_t n_out,
                            int64_t n_in)
{
    for (int64_t e = 0; e < m->p->n_expert; e++) {
        int64_t i0 = m->first[e], n = m->first[e + 1] - i0;
        tn_mm   mm = { .c = y + i0 * n_out,
                       .ldc = n_out,
                       .a = { x + i0 * n_in, n_in, 1 },
                       .b = expert_weight(w, e * n_out, false),
                       .m = n,
                       .n = n_out,
                       .k = n_in,
                       .profile = m->p->profile };
        if (n > 0) product(m, &mm);
    }
}

/* dx (+)= dy w_e. */
static void experts_back(const tn_moe *m, float *dx, const float *dy, const tn_tensor *w, int64_t n_out,
                         int64_t n_in, bool add)
{
    for (int64_t e = 0; e < m->p->n_expert; e++) {
        int64_t i0 = m->first[e], n = m->first[e + 1] - i0;
        tn_mm   mm = { .c = dx + i0 * n_in,
                       .ldc = n_in,
                       .a = { dy + i0 * n_out, n_out, 1 },
                       .b = expert_weight(w, e * n_out, true),
                       .m = n,
                       .n = n_in,
                       .k = n_out,
                       .add = add,
                       .profile = m->p->profile == TN_PROFILE_Q8ACT ? TN_PROFILE_STRICT : m->p->profile };
        if (n > 0) product(m, &mm);
    }
}

/* dw_e += dy^T x over the pairs, ascending. */
static void experts_weight_grad(const tn_moe *m, int i_in, const float *dy, const float *x, int64_t n_out,
                                int64_t n_in)
{
    const tn_call *c = m->c;
    if (i_in >= c->n_in || c->din[i_in] == NULL || c->in[i_in]->packed != NULL) return;
    float *dw = tn_f32(c->din[i_in]);
    if (!c->add[i_in]) memset(dw, 0, tn_n_bytes(c->din[i_in]));
    for (int64_t e = 0; e < m->p->n_expert; e++) {
        int64_t i0 = m->first[e], n = m->first[e + 1] - i0;
        tn_mm   mm = { .c = dw + e * n_out * n_in,
                       .ldc = n_in,
                       .a = { dy + i0 * n_out, 1, n_out },
                       .m = n_out,
                       .n = n_in,
                       .k = n,
                       .add = true,
                       .profile = m->p->profile == TN_PROFILE_Q8ACT ? TN_PROFILE_STRICT : m->p->profile,
                       .b = { .kind = TN_MM_B_KN, .dtype = TN_F32, .rows = x + i0 * n_in, .ld = n_in } };
        if (n > 0) product(m, &mm);
    }
}

/* y += b_e, and the gradient of b: chains over the pairs. */
static void add_bias(const tn_moe *m, float *y, const tn_tensor *b, int64_t n_out)
{
    if (b == NULL) return;
    for (int64_t e = 0; e < m->p->n_expert; e++)
        for (int64_t i = m->first[e]; i < m->first[e + 1]; i++)
            for (int64_t j = 0; j < n_out; j++) y[i * n_out + j] += tn_f32(b)[e * n_out + j];
}

static void bias_grad(const tn_moe *m, int i_in, const float *dy, int64_t n_out)
{
    const tn_call *c = m->c;
    if (i_in >= c->n_in || c->din[i_in] == NULL) return;
    float *db = tn_f32(c->din[i_in]);
    if (!c->add[i_in]) memset(db, 0, tn_n_bytes(c->din[i_in]));
    for (int64_t e = 0; e < m->p->n_expert; e++)
        for (int64_t i = m->first[e]; i < m->first[e + 1]; i++)
            for (int64_t j = 0; j < n_out; j++) db[e * n_out + j] += dy[i * n_out + j];
}

static void gated_ref(tn_act act, float limit, float *y, const float *g, const float *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = tn_gated_value(act, limit, g[i], u[i]);
}

static void plain_ref(tn_act act, float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = tn_act_value(act, x[i]);
}

/* dg before du, which may lie where dy does */
static void gated_back_ref(tn_act act, float limit, float *dg, float *du, const float *dy, const float *g,
                           const float *u, int64_t n, bool add_g, bool add_u)
{
    for (int64_t i = 0; i < n; i++) {
        float sg, su, d = dy[i];
        tn_gated_slopes(act, limit, g[i], u[i], &sg, &su);
        dg[i] = tn_put(dg[i], add_g, d * sg);
        du[i] = tn_put(du[i], add_u, d * su);
    }
}

static void plain_back_ref(tn_act act, float *dx, const float *dy, const float *x, int64_t n, bool add)
{
    for (int64_t i = 0; i < n; i++) dx[i] = tn_put(dx[i], add, dy[i] * tn_act_slope(act, x[i]));
}

static void act_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_moe *m = arg;
    (void)i_thread;
    if (in_of(m->c, 3) != NULL)
        m->kernels->gated(m->p->act, m->p->limit, m->a + begin, m->g + begin, m->u + begin, end - begin);
    else m->kernels->plain(m->p->act, m->a + begin, m->u + begin, end - begin);
}

static void combine_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_moe *m = arg;
    int64_t       n = m->n_embd;
    (void)i_thread;
    for (int64_t r = begin; r < end; r++)
        m->kernels->moves->combine(tn_f32(m->c->out[0]) + r * n, m->os, m->place + r * m->p->k,
                                   tn_f32(m->c->in[1]) + r * m->p->k, m->p->k, n);
}

static void forward(const tn_call *c, const tn_moe_kernels *k)
{
    tn_moe m;
    moe_open(&m, c, k);
    int64_t n = m.n_embd, f = m.p->n_ff;
    gather_rows(&m, m.xs, tn_f32(c->in[0]));
    if (in_of(c, 3) != NULL) {
        experts_forward(&m, m.g, m.xs, c->in[3], f, n);
        add_bias(&m, m.g, in_of(c, 6), f);
    }
    experts_forward(&m, m.u, m.xs, c->in[4], f, n);
    add_bias(&m, m.u, in_of(c, 7), f);
    /* pairs without an expert leave their kept rows empty */
    for (int64_t i = m.n_pair * f; i < m.n_row * m.p->k * f; i++) {
        m.u[i] = 0.0f;
        if (in_of(c, 3) != NULL) m.g[i] = 0.0f;
    }
    tn_parallel(m.n_pair * f, TN_GRAIN_ELEMS / 8, act_piece, &m);
    experts_forward(&m, m.os, m.a, c->in[5], n, f);
    add_bias(&m, m.os, in_of(c, 8), n);
    tn_parallel(m.n_row, tn_row_grain(n * m.p->k), combine_piece, &m);
}

/* For each pair: dweight; then t and dy are scaled by the weight. */
static void pair_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_moe    *m = arg;
    const tn_call   *c = m->c;
    int64_t          n = m->n_embd, f = m->p->n_ff;
    const tn_tensor *bd = in_of(c, 8);
    const tn_moves  *k = m->kernels->moves;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        int32_t at = m->pair[i];
        float  *t = m->t + i * f, *dy = m->os + i * n, w = tn_f32(c->in[1])[at];
        if (c->din[1] != NULL) {
            float dw = k->dot(t, m->a + i * f, f), *out = tn_f32(c->din[1]) + at;
            if (bd != NULL) dw += k->dot(dy, tn_f32(bd) + (int64_t)tn_i32(c->in[2])[at] * n, n);
            *out = tn_put(*out, c->add[1], dw);
        }
        k->scale(dy, w, n);
        k->scale(t, w, f);
    }
}

static void slope_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_moe *m = arg;
    float        *t = m->t + begin;
    (void)i_thread;
    if (in_of(m->c, 3) != NULL)
        m->kernels->gated_back(m->p->act, m->p->limit, m->dg + begin, t, t, m->g + begin, m->u + begin,
                               end - begin, false, false);
    else m->kernels->plain_back(m->p->act, t, t, m->u + begin, end - begin, false);
}

static void spread_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_moe *m = arg;
    int64_t       n = m->n_embd;
    (void)i_thread;
    for (int64_t r = begin; r < end; r++)
        m->kernels->moves->spread(tn_f32(m->c->din[0]) + r * n, m->dxs, m->place + r * m->p->k, m->p->k, n,
                                  m->c->add[0]);
}

static void backward(const tn_call *c, const tn_moe_kernels *k)
{
    tn_moe m;
    moe_open(&m, c, k);
    int64_t n = m.n_embd, f = m.p->n_ff;
    bool    gated = in_of(c, 3) != NULL;
    if (c->din[1] != NULL && !c->add[1]) memset(c->din[1]->data, 0, tn_n_bytes(c->din[1]));
    gather_rows(&m, m.xs, tn_f32(c->in[0]));
    gather_rows(&m, m.os, tn_f32(c->dout[0]));
    tn_parallel(m.n_pair * f, TN_GRAIN_ELEMS / 8, act_piece, &m);
    experts_back(&m, m.t, m.os, c->in[5], n, f, false);
    tn_parallel(m.n_pair, tn_row_grain(n + f), pair_piece, &m);
    experts_weight_grad(&m, 5, m.os, m.a, n, f);
    bias_grad(&m, 8, m.os, n);
    tn_parallel(m.n_pair * f, TN_GRAIN_ELEMS / 8, slope_piece, &m);
    if (gated) {
        experts_weight_grad(&m, 3, m.dg, m.xs, f, n);
        bias_grad(&m, 6, m.dg, f);
    }
    experts_weight_grad(&m, 4, m.t, m.xs, f, n);
    bias_grad(&m, 7, m.t, f);
    if (c->din[0] == NULL) return;
    if (gated) experts_back(&m, m.dxs, m.dg, c->in[3], f, n, false);
    experts_back(&m, m.dxs, m.t, c->in[4], f, n, gated);
    tn_parallel(m.n_row, tn_row_grain(n * m.p->k), spread_piece, &m);
}

static const tn_moe_kernels k_ref = { gated_ref,      plain_ref,     gated_back_ref,
                                      plain_back_ref, &tn_moves_ref, true };
static const tn_moe_kernels k_avx2 = { tn_gated_values_avx2, tn_unary_values_avx2, tn_gated_slopes_avx2,
                                       tn_unary_slopes_avx2, &tn_moves_avx2,       false };
static const tn_moe_kernels k_avx512 = { tn_gated_values_avx512, tn_unary_values_avx512,
                                         tn_gated_slopes_avx512, tn_unary_slopes_avx512,
                                         &tn_moves_avx512,       false };

static void fwd_ref(const tn_call *c) { forward(c, &k_ref); }
static void bwd_ref(const tn_call *c) { backward(c, &k_ref); }
static void fwd_avx2(const tn_call *c) { forward(c, &k_avx2); }
static void bwd_avx2(const tn_call *c) { backward(c, &k_avx2); }
static void fwd_avx512(const tn_call *c) { forward(c, &k_avx512); }
static void bwd_avx512(const tn_call *c) { backward(c, &k_avx512); }

static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    if (i_in == 2) tn_fill_ids(t, seed, ((const tn_moe_params *)(const void *)k->params)->n_expert);
}

static int cases(tn_case *k, int i)
{
    static const struct {
        int64_t       rows, n;
        tn_moe_params p;
        bool          gate, bias;
    } t[] = { { 9, 13, { 5, 2, 19, TN_ACT_SILU, 0, TN_PROFILE_STRICT }, true, false },
              { 23, 16, { 5, 3, 17, TN_ACT_OSS, 7.0f, TN_PROFILE_STRICT }, true, true },
              { 6, 33, { 5, 2, 8, TN_ACT_GELU_TANH, 0, TN_PROFILE_STRICT }, false, true } };
    if (i >= 3) return 0;
    *k = (tn_case){ .by_row = 7u };
    *(tn_moe_params *)k->params = t[i].p;
    int64_t e = t[i].p.n_expert, f = t[i].p.n_ff;
    tn_case_in(k, 0, TN_F32, t[i].rows, t[i].n, true);
    tn_case_in(k, 1, TN_F32, t[i].rows, t[i].p.k, true);
    tn_case_in(k, 2, TN_I32, t[i].rows, t[i].p.k, false);
    if (t[i].gate) tn_case_in(k, 3, TN_F32, e * f, t[i].n, true);
    tn_case_in(k, 4, TN_F32, e * f, t[i].n, true);
    tn_case_in(k, 5, TN_F32, e * t[i].n, f, true);
    for (int b = 6; b < 9 && t[i].bias; b++)
        if (b != 6 || t[i].gate) tn_case_vec(k, b, TN_F32, b == 8 ? e * t[i].n : e * f, true);
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    tn_moe_params p = { .n_expert = 1 + tn_draw_below(d, 9),
                        .n_ff = tn_draw_width(d, 96),
                        .act = (tn_act)tn_draw_below(d, TN_ACT_OSS + 1),
                        .profile = (tn_profile)tn_draw_below(d, 3) };
    int64_t       rows = tn_draw_size(d, 150), n = tn_draw_width(d, 96), e = p.n_expert, f = p.n_ff;
    bool          gate = p.act == TN_ACT_OSS || tn_draw_yes(d), bias = tn_draw_yes(d);
    p.k = 1 + tn_draw_below(d, tn_min64(e, 4));
    if (p.act == TN_ACT_OSS) p.limit = tn_draw_number(d, 1, 9);
    /* with one expert a row, sorted pairs look like rows */
    *k = (tn_case){ .by_row = p.k == 1 ? 0u : 7u, .fill = fill, .profile = p.profile };
    *(tn_moe_params *)k->params = p;
    tn_case_in(k, 0, TN_F32, rows, n, true);
    tn_case_in(k, 1, TN_F32, rows, p.k, true);
    tn_case_in(k, 2, TN_I32, rows, p.k, false);
    if (gate) tn_draw_weight(d, k, 3, e * f, n, tn_draw_yes(d));
    tn_draw_weight(d, k, 4, e * f, n, tn_draw_yes(d));
    tn_draw_weight(d, k, 5, e * n, f, tn_draw_yes(d));
    for (int b = 6; b < 9 && bias; b++)
        if (b != 6 || gate) tn_case_vec(k, b, TN_F32, b == 8 ? e * n : e * f, true);
}

static double flops(const tn_call *c)
{
    const tn_moe_params *p = c->params;
    return 2.0 * (double)(tn_rows(c->in[0]) * p->k) * (double)(tn_cols(c->in[0]) * p->n_ff) *
           (in_of(c, 3) != NULL ? 3.0 : 2.0);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, fwd_avx2, bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, fwd_avx512, bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_moe = { .name = "moe",
                          .params_bytes = sizeof(tn_moe_params),
                          .n_in = 9,
                          .n_out = 3,
                          .shape = shape,
                          .scratch = scratch,
                          .kernels = kernels,
                          .bwd_in = 0x1ffu,
                          .bwd_out = 6u,
                          .cases = cases,
                          .draw = draw,
                          .flops = flops };
