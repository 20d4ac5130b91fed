/* attention.c - packed causal attention, flash-style (Dao et al. 2022, arXiv:2205.14135), grouped heads.
 *
 * A document is rows that follow one another and name its first row; a row that does not fit is one of its
 * own. Query row i of a document that starts at row s has position i - s and sees the keys [lo, i - s] of its
 * document; lo is
 * 0, or position - window + 1. Keys are taken in blocks of 64 positions, counted from the document's first
 * row. For each block that holds an allowed key, ascending:
 *
 *   s_j   = chain of fma(q_d, k_jd, s) over d from +0;  s_j *= scale;  with a soft cap: s_j = cap tanh(s_j / cap)
 *   m'    = max(m, max_j s_j)                           m starts at -inf (or the head's sink)
 *   p_j   = exp(s_j - m'),  corr = exp(m - m')      both zero below e^-62 (mathfn.h says why)
 *   l     = fma(l, corr, lane_sum of p_j in lane j mod 16)       l starts at 0 (1 with a sink)
 *   o_d   = o_d corr, then the chain fma(p_j, v_jd, o_d) over j ascending
 *
 * over the allowed keys only: a masked key adds nothing, not even a signed zero. At the end out = o / l and
 * lse = m + log l. Nothing depends on what lies outside the document, so packed = alone; a cache page is a
 * block, so decoding = training.
 *
 * Backward, with delta_i = lane_sum(dout_id out_id):
 *
 *   p_ij  = exp(s_ij - lse_i), zero below e^-62;   t_ij = chain of fma(dout_id, v_jd, t) over d from +0
 *   w_ij  = p_ij (t_ij - delta_i), with a soft cap times fma(-c, c, 1), c = tanh(s / cap) of the uncapped s; then * scale
 *   dq_i  = chain fma(w_ij, k_j, dq_i) over j ascending
 *   dk_j  = chain fma(w_ij, q_i, dk_j) over the heads of the group, in them over i ascending;   dv_j so with p_ij, dout_i
 *   dsink = sum over rows ascending of -(exp(sink - lse_i) delta_i)
 *
 * The rounding of keys and values to kv_type passes gradients straight on. */
#include "tensor/attention.h"

#include "tensor/cpu/kernels.h"
#include "tensor/mathfn.h"

tn_status tn_attention_check(const tn_call *c, const tn_attention_params *p, tn_error *err)
{
    char        a[96];
    const char *name = c->op->name;
    if (p->n_head <= 0 || p->n_head_kv <= 0 || p->n_head % p->n_head_kv != 0 || p->n_head > INT32_MAX)
        return tn_fail(err, TN_MISMATCH, "%s: %lld query heads cannot share %lld key heads", name,
                       (long long)p->n_head, (long long)p->n_head_kv);
    if (p->d_k <= 0 || p->d_v <= 0 || p->d_k > 4096 || p->d_v > 4096)
        return tn_fail(err, TN_MISMATCH, "%s: heads of %lld and %lld columns; 1 to 4096 are possible", name,
                       (long long)p->d_k, (long long)p->d_v);
    if (p->kv_type != TN_F32 && p->kv_type != TN_BF16 && p->kv_type != TN_Q8_0)
        return tn_fail(err, TN_MISMATCH,
                       "%s: keys and values cannot be kept as %s; f32, bf16 or q8_0 are possible", name,
                       tn_dtype_name(p->kv_type));
    if (p->kv_type == TN_Q8_0 && (p->d_k % 32 != 0 || p->d_v % 32 != 0))
        return tn_fail(err, TN_MISMATCH,
                       "%s: a q8_0 cache needs heads of a multiple of 32 columns; these have %lld and %lld",
                       name, (long long)p->d_k, (long long)p->d_v);
    if (!(p->softcap >= 0.0f && p->softcap < INFINITY) || p->window < 0)
        return tn_fail(err, TN_MISMATCH, "%s: soft cap %g and window %lld must not be below 0, and finite",
                       name, (double)p->softcap, (long long)p->window);
    TN_TRY(tn_need_finite(c, "scale", p->scale, err));
    static const char *const what[3] = { "q", "k", "v" };
    int64_t                  cols[3] = { p->n_head * p->d_k, p->n_head_kv * p->d_k, p->n_head_kv * p->d_v };
    for (int i = 0; i < 3; i++) {
        TN_TRY(tn_need(c, i, what[i], TN_F32, 2, err));
        if (tn_cols(c->in[i]) != cols[i] || tn_rows(c->in[i]) != tn_rows(c->in[0]))
            return tn_fail(err, TN_MISMATCH, "%s: %s has shape %s, expected [%lld][%lld]", name, what[i],
                           tn_shape_text(a, c->in[i]), (long long)tn_rows(c->in[0]), (long long)cols[i]);
    }
    if (tn_rows(c->in[0]) > INT32_MAX) /* documents name their first row by an int32 */
        return tn_fail(err, TN_LIMIT, "%s: %lld rows; a run may have %d", name, (long long)tn_rows(c->in[0]),
                       INT32_MAX);
    return TN_OK;
}

static tn_status shape(const tn_call *c, tn_error *err)
{
    const tn_attention_params *p = c->params;
    TN_TRY(tn_attention_check(c, p, err));
    int64_t n_row = tn_rows(c->in[0]);
    TN_TRY(tn_need_ints(c, 3, "doc_start", n_row, err));
    TN_TRY(tn_need_vector(c, 4, "sinks", p->n_head, true, err));
    tn_set_rows(c->out[0], n_row, p->n_head * p->d_v);
    if (c->n_out > 1) tn_set_rows(c->out[1], n_row, p->n_head);
    return TN_OK;
}

void tn_kv_round(float *dst, const float *src, tn_dtype type, int64_t n_row, int64_t d)
{
    _Alignas(16) unsigned char buf[4096 * 2];
    for (int64_t r = 0; r < n_row; r++) {
        tn_row_from_f32(buf, src + r * d, type, d);
        tn_row_to_f32(dst + r * d, buf, type, d);
    }
}

size_t tn_attn_open_bytes(const tn_call *c)
{
    const tn_attention_params *p = c->params;
    size_t n = tn_align64((size_t)tn_n_elem(c->in[0]) / (size_t)p->d_k * 4); /* delta: [n_row][n_head] */
    n += tn_align64((size_t)tn_rows(c->in[0]) * 4);                          /* starts */
    if (p->kv_type != TN_F32)
        n += tn_align64((size_t)tn_n_elem(c->in[1]) * 4) + tn_align64((size_t)tn_n_elem(c->in[2]) * 4);
    return n;
}

typedef struct {
    float       *dst;
    const float *src;
    tn_dtype     type;
    int64_t      d;
} rounding;

static void round_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const rounding *r = arg;
    (void)i_thread;
    tn_kv_round(r->dst + begin * r->d, r->src + begin * r->d, r->type, end - begin, r->d);
}

/* A document is rows that follow one another and all name its first row. A row that names another one, or one
 * that the row before does not belong to, is a document of its own: so every pair of the forward pass is one
 * of the backward pass, whoever cuts the work. */
static void open_documents(int32_t *start, const int32_t *given, int64_t n_row)
{
    for (int64_t i = 0; i < n_row; i++) start[i] = i > 0 && given[i] == start[i - 1] ? given[i] : (int32_t)i;
}

void tn_attn_open(tn_attn *a, const tn_call *c, bool backward)
{
    const tn_attention_params *p = c->params;
    char                      *s = c->scratch;
    *a = (tn_attn){ .p = p,
                    .n_row = tn_rows(c->in[0]),
                    .group = p->n_head / p->n_head_kv,
                    .q = tn_f32(c->in[0]),
                    .k = tn_f32(c->in[1]),
                    .v = tn_f32(c->in[2]),
                    .doc_start = tn_i32(c->in[3]),
                    .sinks = c->n_in > 4 ? tn_f32(c->in[4]) : NULL,
                    .out = tn_f32(c->out[0]),
                    .lse = c->n_out > 1 ? tn_f32(c->out[1]) : NULL };
    a->delta = (float *)s;
    s += tn_align64((size_t)(a->n_row * p->n_head) * 4);
    open_documents((int32_t *)s, a->doc_start, a->n_row);
    a->doc_start = (const int32_t *)s;
    s += tn_align64((size_t)a->n_row * 4);
    if (p->kv_type != TN_F32) {
        rounding rk = { (float *)s, a->k, p->kv_type, p->d_k };
        s += tn_align64((size_t)tn_n_elem(c->in[1]) * 4);
        rounding rv = { (float *)s, a->v, p->kv_type, p->d_v };
        tn_parallel(a->n_row * p->n_head_kv, 64, round_piece, &rk);
        tn_parallel(a->n_row * p->n_head_kv, 64, round_piece, &rv);
        a->k = rk.dst;
        a->v = rv.dst;
    }
    if (!backward) return;
    a->dout = tn_f32(c->dout[0]);
    a->dq = tn_f32(c->din[0]);
    a->dk = tn_f32(c->din[1]);
    a->dv = tn_f32(c->din[2]);
    a->dsinks = c->n_in > 4 ? tn_f32(c->din[4]) : NULL;
    a->add_q = c->add[0];
    a->add_k = c->add[1];
    a->add_v = c->add[2];
    a->add_sinks = c->add[4];
}

static float chain(const float *a, const float *b, int64_t n)
{
    float s = 0.0f;
    for (int64_t i = 0; i < n; i++) s = fmaf(a[i], b[i], s);
    return s;
}

/* The score before the soft cap. */
static float raw_score(const tn_attn *a, int64_t i, int64_t h, int64_t j)
{
    const tn_attention_params *p = a->p;
    return chain(a->q + (i * p->n_head + h) * p->d_k, a->k + (j * p->n_head_kv + h / a->group) * p->d_k,
                 p->d_k) *
           p->scale;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_attn             *a = arg;
    const tn_attention_params *p = a->p;
    (void)i_thread;
    for (int64_t t = begin; t < end; t++) {
        int64_t i = t / p->n_head, h = t % p->n_head, start = tn_attn_start(a, i), pos = i - start,
                lo = tn_attn_first(p, pos);
        float *o = a->out + t * p->d_v, m = a->sinks != NULL ? a->sinks[h] : -INFINITY,
              l = a->sinks != NULL ? 1.0f : 0.0f;
        for (int64_t d = 0; d < p->d_v; d++) o[d] = 0.0f;
        for (int64_t b = lo / TN_KV_PAGE; b <= pos / TN_KV_PAGE; b++) {
            int64_t j0 = tn_max64(lo, b * TN_KV_PAGE), j1 = tn_min64(pos + 1, (b + 1) * TN_KV_PAGE);
            float   s[TN_KV_PAGE], lane[16] = { 0 }, top = m;
            for (int64_t j = j0; j < j1; j++) {
                float x = raw_score(a, i, h, start + j);
                if (p->softcap > 0.0f) x = p->softcap * tn_tanhf(x / p->softcap);
                s[j % TN_KV_PAGE] = x;
                top = x > top ? x : top;
            }
            float corr = tn_prob(m - top);
            for (int64_t d = 0; d < p->d_v; d++) o[d] *= corr;
            for (int64_t j = j0; j < j1; j++) {
                float        e = tn_prob(s[j % TN_KV_PAGE] - top);
                const float *v = a->v + ((start + j) * p->n_head_kv + h / a->group) * p->d_v;
                lane[j % 16] += e;
                for (int64_t d = 0; d < p->d_v; d++) o[d] = fmaf(e, v[d], o[d]);
            }
            l = fmaf(l, corr, tn_lane_sum(lane));
            m = top;
        }
        for (int64_t d = 0; d < p->d_v; d++) o[d] /= l;
        if (a->lse != NULL) a->lse[t] = m + tn_logf(l);
    }
}

static void fwd_ref(const tn_call *c)
{
    tn_attn a;
    tn_attn_open(&a, c, false);
    tn_parallel(a.n_row * a.p->n_head, 1, fwd_piece, &a);
}

/* p_ij and w_ij of one pair. */
static void pair(const tn_attn *a, int64_t i, int64_t h, int64_t j, float *prob, float *weight)
{
    const tn_attention_params *p = a->p;
    int64_t                    t = i * p->n_head + h;
    float                      s = raw_score(a, i, h, j), slope = 1.0f;
    if (p->softcap > 0.0f) {
        float c = tn_tanhf(s / p->softcap);
        s = p->softcap * c;
        slope = fmaf(-c, c, 1.0f);
    }
    float e = tn_prob(s - a->lse[t]);
    float d = chain(a->dout + t * p->d_v, a->v + (j * p->n_head_kv + h / a->group) * p->d_v, p->d_v);
    float w = e * (d - a->delta[t]);
    if (p->softcap > 0.0f) w *= slope;
    *prob = e;
    *weight = w * p->scale;
}

static void delta_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_attn *a = arg;
    int64_t        n = a->p->d_v;
    (void)i_thread;
    for (int64_t t = begin; t < end; t++) {
        float lane[16] = { 0 };
        for (int64_t d = 0; d < n; d++)
            lane[d % 16] = fmaf(a->dout[t * n + d], a->out[t * n + d], lane[d % 16]);
        a->delta[t] = tn_lane_sum(lane);
    }
}

static void dq_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_attn             *a = arg;
    const tn_attention_params *p = a->p;
    (void)i_thread;
    for (int64_t t = begin; t < end; t++) {
        int64_t i = t / p->n_head, h = t % p->n_head, start = tn_attn_start(a, i), pos = i - start;
        float  *dq = a->dq + t * p->d_k;
        if (!a->add_q) memset(dq, 0, (size_t)p->d_k * 4);
        for (int64_t j = start + tn_attn_first(p, pos); j <= i; j++) {
            const float *k = a->k + (j * p->n_head_kv + h / a->group) * p->d_k;
            float        e, w;
            pair(a, i, h, j, &e, &w);
            for (int64_t d = 0; d < p->d_k; d++) dq[d] = fmaf(w, k[d], dq[d]);
        }
    }
}

static void dkv_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_attn             *a = arg;
    const tn_attention_params *p = a->p;
    (void)i_thread;
    for (int64_t t = begin; t < end; t++) {
        int64_t j = t / p->n_head_kv, g = t % p->n_head_kv, start = tn_attn_start(a, j);
        float  *dk = a->dk == NULL ? NULL : a->dk + t * p->d_k,
              *dv = a->dv == NULL ? NULL : a->dv + t * p->d_v;
        if (dk != NULL && !a->add_k) memset(dk, 0, (size_t)p->d_k * 4);
        if (dv != NULL && !a->add_v) memset(dv, 0, (size_t)p->d_v * 4);
        for (int64_t h = g * a->group; h < (g + 1) * a->group; h++)
            for (int64_t i = j; i < a->n_row && tn_attn_start(a, i) == start; i++) {
                if (start + tn_attn_first(p, i - start) > j) break;
                float e, w;
                pair(a, i, h, j, &e, &w);
                if (dk != NULL)
                    for (int64_t d = 0; d < p->d_k; d++)
                        dk[d] = fmaf(w, a->q[(i * p->n_head + h) * p->d_k + d], dk[d]);
                if (dv != NULL)
                    for (int64_t d = 0; d < p->d_v; d++)
                        dv[d] = fmaf(e, a->dout[(i * p->n_head + h) * p->d_v + d], dv[d]);
            }
    }
}

void tn_attention_dsinks(const tn_attn *a)
{
    const tn_attention_params *p = a->p;
    for (int64_t h = 0; h < p->n_head; h++) {
        float s = a->add_sinks ? a->dsinks[h] : 0.0f;
        for (int64_t i = 0; i < a->n_row; i++)
            s -= tn_expf(a->sinks[h] - a->lse[i * p->n_head + h]) * a->delta[i * p->n_head + h];
        a->dsinks[h] = s;
    }
}

void tn_attention_delta(const tn_attn *a)
{
    tn_parallel(a->n_row * a->p->n_head, 64, delta_piece, (void *)a);
}

static void bwd_ref(const tn_call *c)
{
    tn_attn a;
    tn_attn_open(&a, c, true);
    tn_attention_delta(&a);
    if (a.dq != NULL) tn_parallel(a.n_row * a.p->n_head, 1, dq_piece, &a);
    if (a.dk != NULL || a.dv != NULL) tn_parallel(a.n_row * a.p->n_head_kv, 1, dkv_piece, &a);
    if (a.dsinks != NULL) tn_attention_dsinks(&a);
}

static size_t scratch(const tn_call *c, bool backward)
{
    return tn_attn_open_bytes(c) + tn_align64((size_t)tn_rows(c->in[0]) * sizeof(tn_attn_stretch)) +
           tn_attn_slot_bytes(c->params, backward) * (size_t)tn_threads();
}

/* Documents of odd lengths: 1, 70, 3, ... rows and random ones, the last one cut by the end. */
static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    static const int32_t lengths[] = { 1, 70, 3, 131, 64, 2, 0, 257, 0 };
    const tn_rng_key     key = { .seed = seed, .purpose = TN_RNG_TEST };
    int32_t             *p = t->data;
    int64_t              n = tn_n_elem(t);
    (void)k;
    if (i_in != 3) return;
    for (int64_t i = 0, j = (int64_t)(seed % 9), start = 0; i < n; start = i, j++) {
        int64_t l = lengths[j % 9] != 0 ? lengths[j % 9] : 1 + (int64_t)tn_rng_below(&key, (uint64_t)j, 300);
        for (; l > 0 && i < n; l--) p[i++] = (int32_t)start;
    }
}

static int cases(tn_case *k, int i)
{
    // clang-format off
    static const struct { int64_t rows; tn_attention_params p; bool sinks; } t[] = {
        { 9,   { 1, 1, 5, 5, 0, 0.4f, 0, TN_F32 }, false },
        { 67,  { 2, 1, 8, 6, 0, 0.35f, 0, TN_F32 }, false },
        { 90,  { 3, 1, 16, 17, 11, 0.25f, 5.0f, TN_F32 }, true },
        { 90,  { 2, 1, 16, 16, 9, 0.25f, 0, TN_F32 }, false },
        { 140, { 2, 2, 64, 64, 0, 0.125f, 0, TN_F32 }, false },
        { 150, { 2, 1, 33, 20, 66, 0.2f, 0, TN_BF16 }, true },
        { 70,  { 2, 1, 32, 64, 0, 0.2f, 0, TN_Q8_0 }, false } };
    // clang-format on
    if (i >= 7) return 0;
    *k = (tn_case){ 0 };
    *(tn_attention_params *)k->params = t[i].p;
    /* rounding has no finite differences */
    k->fd_tolerance = t[i].p.kv_type == TN_F32 && t[i].rows < 100 ? 0 : -1;
    tn_case_in(k, 0, TN_F32, t[i].rows, t[i].p.n_head * t[i].p.d_k, true);
    tn_case_in(k, 1, TN_F32, t[i].rows, t[i].p.n_head_kv * t[i].p.d_k, true);
    tn_case_in(k, 2, TN_F32, t[i].rows, t[i].p.n_head_kv * t[i].p.d_v, true);
    tn_case_vec(k, 3, TN_I32, t[i].rows, false);
    if (t[i].sinks) tn_case_vec(k, 4, TN_F32, t[i].p.n_head, true);
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    static const tn_dtype kinds[] = { TN_F32, TN_F32, TN_BF16, TN_Q8_0 };
    int64_t               n_kv = 1 + tn_draw_below(d, 3), rows = tn_draw_size(d, 600);
    tn_attention_params   p = { .n_head = n_kv * (1 + tn_draw_below(d, 4)),
                                .n_head_kv = n_kv,
                                .kv_type = kinds[tn_draw_below(d, 4)],
                                .scale = tn_draw_number(d, 0.05f, 0.5f) };
    p.d_k = p.kv_type == TN_Q8_0 ? 32 * (1 + tn_draw_below(d, 3)) : tn_draw_size(d, 100);
    p.d_v = tn_draw_yes(d)         ? p.d_k
            : p.kv_type == TN_Q8_0 ? 32 * (1 + tn_draw_below(d, 3))
                                   : tn_draw_size(d, 100);
    if (tn_draw_yes(d)) p.window = tn_draw_size(d, 300);
    if (tn_draw_below(d, 3) == 0) p.softcap = tn_draw_number(d, 1, 30);
    *k = (tn_case){ .fill = fill };
    *(tn_attention_params *)k->params = p;
    tn_case_in(k, 0, TN_F32, rows, p.n_head * p.d_k, true);
    tn_case_in(k, 1, TN_F32, rows, n_kv * p.d_k, true);
    tn_case_in(k, 2, TN_F32, rows, n_kv * p.d_v, true);
    tn_case_vec(k, 3, TN_I32, rows, false);
    if (tn_draw_below(d, 3) == 0) tn_case_vec(k, 4, TN_F32, p.n_head, true);
}

static double flops(const tn_call *c)
{
    const tn_attention_params *p = c->params;
    const int32_t             *start = tn_i32(c->in[3]);
    double                     n = 0;
    if (start == NULL) return 0;
    for (int64_t i = 0; i < tn_rows(c->in[0]); i++) {
        int64_t pos = i - start[i];
        n += (double)(pos + 1 - tn_attn_first(p, pos));
    }
    return 2.0 * n * (double)(p->n_head * (p->d_k + p->d_v));
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_attention_fwd_avx2, tn_attention_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_attention_fwd_avx512,
                                       tn_attention_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_attention = { .name = "attention",
                                .params_bytes = sizeof(tn_attention_params),
                                .n_in = 5,
                                .n_out = 2,
                                .shape = shape,
                                .scratch = scratch,
                                .kernels = kernels,
                                .bwd_in = 31u,
                                .bwd_out = 3u,
                                .cases = cases,
                                .draw = draw,
                                .flops = flops };
