/* rows_body.h - the operations that go row by row or element by element, for one instruction set: included by
 * rows_<isa>.c. The steps are those of the operations' files. Private to tensor/cpu. */
#include "tensor/adamw.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/row_parts.h"
#include "tensor/cpu/vec_math.h"

/* s continues its lanes with v only where elements i ... are inside the row: lanes behind must not change a
 * sign. */
TN_INLINE vf keep(vf s, vf v, int64_t i, int64_t n)
{
    return i + 16 <= n ? v : vf_sel(vm_range(0, (int)(n - i)), v, s);
}

/* ------------------------------------------------------------------------------------------------ rmsnorm */

static int64_t group_of(const tn_call *c)
{
    int64_t g = TN_PARAMS(c, tn_rmsnorm_params)->group;
    return g == 0 ? tn_cols(c->in[0]) : g;
}

TN_INLINE vf norm_weight(const float *w, bool plus_one, int64_t i, int64_t n)
{
    if (w == NULL) return vf_set(1.0f);
    vf v = get(w, i, n);
    return plus_one ? vf_add(vf_set(1.0f), v) : v;
}

static void rmsnorm_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call           *c = arg;
    const tn_rmsnorm_params *p = c->params;
    const float             *w = c->n_in > 1 ? tn_f32(c->in[1]) : NULL;
    float                   *rrms = c->n_out > 1 ? tn_f32(c->out[1]) : NULL;
    int64_t                  m = group_of(c);
    (void)i_thread;
    for (int64_t g = begin; g < end; g++) {
        const float *x = tn_f32(c->in[0]) + g * m;
        float       *y = tn_f32(c->out[0]) + g * m;
        vf           sum = vf_zero();
        for (int64_t i = 0; i < m; i += 16) {
            vf v = get(x, i, m);
            sum = keep(sum, vf_fma(v, v, sum), i, m);
        }
        float s = 1.0f / sqrtf(vf_sum(sum) / (float)m + p->eps);
        if (rrms != NULL) rrms[g] = s;
        for (int64_t i = 0; i < m; i += 16) {
            vf v = vf_mul(get(x, i, m), vf_set(s));
            put(y, w == NULL ? v : vf_mul(v, norm_weight(w, p->plus_one, i, m)), i, m, false);
        }
    }
}

void RMSNORM_FWD(const tn_call *c)
{
    int64_t m = group_of(c);
    tn_parallel(tn_n_elem(c->in[0]) / m, tn_row_grain(m), rmsnorm_piece, (void *)c);
}

static void rmsnorm_dx_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call           *c = arg;
    const tn_rmsnorm_params *p = c->params;
    const float             *w = c->n_in > 1 ? tn_f32(c->in[1]) : NULL;
    int64_t                  m = group_of(c);
    (void)i_thread;
    for (int64_t g = begin; g < end; g++) {
        const float *x = tn_f32(c->in[0]) + g * m, *dy = tn_f32(c->dout[0]) + g * m;
        float       *dx = tn_f32(c->din[0]) + g * m, s = tn_f32(c->out[1])[g];
        vf           sum = vf_zero();
        for (int64_t i = 0; i < m; i += 16)
            sum = keep(sum,
                       vf_fma(vf_mul(get(dy, i, m), norm_weight(w, p->plus_one, i, m)), get(x, i, m), sum), i,
                       m);
        vf mean = vf_set(s * s * vf_sum(sum) / (float)m);
        for (int64_t i = 0; i < m; i += 16)
            put(dx,
                vf_mul(vf_set(s),
                       vf_fnma(mean, get(x, i, m), vf_mul(get(dy, i, m), norm_weight(w, p->plus_one, i, m)))),
                i, m, c->add[0]);
    }
}

/* A thread owns columns [begin, end); the sums of 64 columns stay in registers over all rows. */
static void rmsnorm_dw_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *x = tn_f32(c->in[0]), *dy = tn_f32(c->dout[0]), *rrms = tn_f32(c->out[1]);
    float         *dw = tn_f32(c->din[1]);
    int64_t        m = group_of(c), n_group = tn_n_elem(c->in[0]) / m;
    (void)i_thread;
    for (int64_t i = begin; i < end; i += 64) {
        vf s[4];
        for (int v = 0; v < 4; v++)
            s[v] = c->add[1] && i + 16 * v < end ? get(dw, i + 16 * v, end) : vf_zero();
        for (int64_t g = 0; g < n_group; g++)
            for (int v = 0; v < 4; v++) {
                if (i + 16 * v >= end) break;
                s[v] = vf_fma(get(dy + g * m, i + 16 * v, end),
                              vf_mul(get(x + g * m, i + 16 * v, end), vf_set(rrms[g])), s[v]);
            }
        for (int v = 0; v < 4; v++)
            if (i + 16 * v < end) put(dw, s[v], i + 16 * v, end, false);
    }
}

void RMSNORM_BWD(const tn_call *c)
{
    int64_t m = group_of(c);
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]) / m, tn_row_grain(m), rmsnorm_dx_piece, (void *)c);
    if (c->n_in > 1 && c->din[1] != NULL) tn_parallel(m, 64, rmsnorm_dw_piece, (void *)c);
}

/* ---------------------------------------------------------------------------------------------- layernorm */

static void layernorm_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *w = tn_f32(c->in[1]), *b = c->n_in > 2 ? tn_f32(c->in[2]) : NULL;
    float  *mean = c->n_out > 1 ? tn_f32(c->out[1]) : NULL, *rstd = c->n_out > 2 ? tn_f32(c->out[2]) : NULL;
    int64_t n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *x = tn_f32(c->in[0]) + r * n;
        float       *y = tn_f32(c->out[0]) + r * n;
        vf           sum = vf_zero(), sq = vf_zero();
        for (int64_t i = 0; i < n; i += 16) sum = keep(sum, vf_add(sum, get(x, i, n)), i, n);
        float m = vf_sum(sum) / (float)n;
        for (int64_t i = 0; i < n; i += 16) {
            vf d = vf_sub(get(x, i, n), vf_set(m));
            sq = keep(sq, vf_fma(d, d, sq), i, n);
        }
        float s = 1.0f / sqrtf(vf_sum(sq) / (float)n + TN_PARAMS(c, tn_layernorm_params)->eps);
        if (mean != NULL) mean[r] = m;
        if (rstd != NULL) rstd[r] = s;
        for (int64_t i = 0; i < n; i += 16) {
            vf h = vf_mul(vf_sub(get(x, i, n), vf_set(m)), vf_set(s));
            put(y, b == NULL ? vf_mul(h, get(w, i, n)) : vf_fma(h, get(w, i, n), get(b, i, n)), i, n, false);
        }
    }
}

void LAYERNORM_FWD(const tn_call *c)
{
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), layernorm_piece, (void *)c);
}

static void layernorm_dx_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *w = tn_f32(c->in[1]), *mean = tn_f32(c->out[1]), *rstd = tn_f32(c->out[2]);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *x = tn_f32(c->in[0]) + r * n, *dy = tn_f32(c->dout[0]) + r * n;
        float       *dx = tn_f32(c->din[0]) + r * n;
        vf           l1 = vf_zero(), l2 = vf_zero(), m = vf_set(mean[r]), s = vf_set(rstd[r]);
        for (int64_t i = 0; i < n; i += 16) {
            vf g = vf_mul(get(dy, i, n), get(w, i, n)), h = vf_mul(vf_sub(get(x, i, n), m), s);
            l1 = keep(l1, vf_add(l1, g), i, n);
            l2 = keep(l2, vf_fma(g, h, l2), i, n);
        }
        vf m1 = vf_set(vf_sum(l1) / (float)n), m2 = vf_set(vf_sum(l2) / (float)n);
        for (int64_t i = 0; i < n; i += 16) {
            vf g = vf_mul(get(dy, i, n), get(w, i, n)), h = vf_mul(vf_sub(get(x, i, n), m), s);
            put(dx, vf_mul(s, vf_fnma(h, m2, vf_sub(g, m1))), i, n, c->add[0]);
        }
    }
}

/* A thread owns columns [begin, end). */
static void layernorm_dw_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *mean = tn_f32(c->out[1]), *rstd = tn_f32(c->out[2]);
    float         *dw = tn_f32(c->din[1]), *db = c->n_in > 2 ? tn_f32(c->din[2]) : NULL;
    int64_t        n = tn_cols(c->in[0]), n_row = tn_rows(c->in[0]);
    (void)i_thread;
    for (int64_t i = begin; i < end; i += 16) {
        vf sw = dw != NULL && c->add[1] ? get(dw, i, end) : vf_zero(),
           sb = db != NULL && c->add[2] ? get(db, i, end) : vf_zero();
        for (int64_t r = 0; r < n_row; r++) {
            vf g = get(tn_f32(c->dout[0]) + r * n, i, end);
            sw = vf_fma(
                g, vf_mul(vf_sub(get(tn_f32(c->in[0]) + r * n, i, end), vf_set(mean[r])), vf_set(rstd[r])),
                sw);
            sb = vf_add(sb, g);
        }
        if (dw != NULL) put(dw, sw, i, end, false);
        if (db != NULL) put(db, sb, i, end, false);
    }
}

void LAYERNORM_BWD(const tn_call *c)
{
    int64_t n = tn_cols(c->in[0]);
    if (c->din[0] != NULL) tn_parallel(tn_rows(c->in[0]), tn_row_grain(n), layernorm_dx_piece, (void *)c);
    if (c->din[1] != NULL || (c->n_in > 2 && c->din[2] != NULL))
        tn_parallel(n, 16, layernorm_dw_piece, (void *)c);
}

/* --------------------------------------------------------------------------------------------------- rope */

typedef struct rope_job {
    const tn_call *c;
    float         *y;
    const float   *x;
    float          sign;
    bool           add;
} rope_job;

/* Pairs (t, t + half) of one head. */
TN_INLINE void rotate_halves(float *y, const float *x, const float *cs, int64_t half, float sign, bool add)
{
    for (int64_t t = 0; t < half; t += 16) {
        float   co[16], si[16];
        int64_t n = half - t < 16 ? half - t : 16;
        for (int64_t i = 0; i < n; i++) {
            co[i] = cs[2 * (t + i)];
            si[i] = sign * cs[2 * (t + i) + 1];
        }
        vf c = vf_load_n(co, (int)n), s = vf_load_n(si, (int)n), x0 = get(x, t, half),
           x1 = get(x + half, t, half);
        vf y0 = vf_fma(x0, c, vf_neg(vf_mul(x1, s))), y1 = vf_fma(x0, s, vf_mul(x1, c));
        put(y, y0, t, half, add);
        put(y + half, y1, t, half, add);
    }
}

/* Pairs (2t, 2t + 1) of one head; the table has its cosines and sines in the same order. */
TN_INLINE void rotate_pairs(float *y, const float *x, const float *cs, int64_t half, float sign, bool add)
{
    static const float one[16] = { 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0 },
                       other[16] = { 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1 };
    const vf signs = vf_fma(vf_set(sign), vf_load(other), vf_load(one));

    for (int64_t t = 0; t < 2 * half; t += 16) {
        vf c = vf_mul(get(cs, t, 2 * half), signs), v = get(x, t, 2 * half);
        put(y, vf_fma_sub_add(vf_firsts(v), c, vf_mul(vf_seconds(v), vf_swapped(c))), t, 2 * half, add);
    }
}

static void rope_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const rope_job       *j = arg;
    const tn_rope_params *p = j->c->params;
    const int32_t        *pos = tn_i32(j->c->in[1]);
    const float          *table = tn_f32(j->c->in[2]);
    int64_t               n = tn_cols(j->c->in[0]), n_ctx = j->c->in[2]->shape[0];
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *cs = pos[r] >= 0 && pos[r] < n_ctx ? table + pos[r] * p->n_rot : NULL;
        for (int64_t h = 0; h < p->n_head; h++) {
            const float *x = j->x + r * n + h * p->d_head;
            float       *y = j->y + r * n + h * p->d_head;
            for (int64_t i = 0; i < p->first; i++) y[i] = tn_put(y[i], j->add, x[i]);
            for (int64_t i = p->first + p->n_rot; i < p->d_head; i++) y[i] = tn_put(y[i], j->add, x[i]);
            if (cs == NULL)
                for (int64_t i = p->first; i < p->first + p->n_rot; i++) y[i] = NAN;
            else if (p->interleaved)
                rotate_pairs(y + p->first, x + p->first, cs, p->n_rot / 2, j->sign, j->add);
            else rotate_halves(y + p->first, x + p->first, cs, p->n_rot / 2, j->sign, j->add);
        }
    }
}

void ROPE_FWD(const tn_call *c)
{
    rope_job j = { c, tn_f32(c->out[0]), tn_f32(c->in[0]),
                   TN_PARAMS(c, tn_rope_params)->inverse ? -1.0f : 1.0f, false };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), rope_piece, &j);
}

void ROPE_BWD(const tn_call *c)
{
    if (c->din[0] == NULL) return;
    rope_job j = { c, tn_f32(c->din[0]), tn_f32(c->dout[0]),
                   TN_PARAMS(c, tn_rope_params)->inverse ? 1.0f : -1.0f, c->add[0] };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), rope_piece, &j);
}

/* -------------------------------------------------------------------------------------- gated, unary, moe */

// clang-format off
#define EACH_ACT(act, DO)                                                     \
    switch (act) {                                                            \
    case TN_ACT_SILU:      DO(TN_ACT_SILU); break;                            \
    case TN_ACT_GELU_TANH: DO(TN_ACT_GELU_TANH); break;                       \
    case TN_ACT_GELU_ERF:  DO(TN_ACT_GELU_ERF); break;                        \
    case TN_ACT_RELU:      DO(TN_ACT_RELU); break;                            \
    case TN_ACT_SIGMOID:   DO(TN_ACT_SIGMOID); break;                         \
    case TN_ACT_TANH:      DO(TN_ACT_TANH); break;                            \
    case TN_ACT_OSS:       DO(TN_ACT_OSS); break;                             \
    }
// clang-format on

TN_INLINE vf gated_value(tn_act act, vf limit, vf g, vf u)
{
    if (act != TN_ACT_OSS) return vf_mul(vf_act(act, g), u);
    g = vf_min(limit, g);
    u = vf_max(vf_neg(limit), vf_min(limit, u));
    return vf_mul(vf_add(u, vf_set(1.0f)), vf_act(act, g));
}

TN_INLINE void gated_slopes(tn_act act, vf limit, vf g, vf u, vf *sg, vf *su)
{
    vf y, d;
    if (act != TN_ACT_OSS) {
        vf_act_slope(act, g, &y, &d);
        *sg = vf_mul(u, d);
        *su = y;
        return;
    }
    vm g_cut = vf_lt(limit, g), u_high = vf_lt(limit, u), u_low = vf_lt(u, vf_neg(limit));
    u = vf_max(vf_neg(limit), vf_min(limit, u));
    vf_act_slope(act, vf_min(limit, g), &y, &d);
    *sg = vf_sel(g_cut, vf_zero(), vf_mul(vf_add(u, vf_set(1.0f)), d));
    *su = vf_sel(u_high, vf_zero(), vf_sel(u_low, vf_zero(), y));
}

void GATED_VALUES(tn_act act, float limit, float *y, const float *g, const float *u, int64_t n)
{
#define DO(a)                                                                                                \
    for (int64_t i = 0; i < n; i += 16)                                                                      \
    put(y, gated_value(a, vf_set(limit), get(g, i, n), get(u, i, n)), i, n, false)
    EACH_ACT(act, DO)
#undef DO
}

void GATED_SLOPES(tn_act act, float limit, float *dg, float *du, const float *dy, const float *g,
                  const float *u, int64_t n, bool add_g, bool add_u)
{
#define DO(a)                                                                                                \
    for (int64_t i = 0; i < n; i += 16) {                                                                    \
        vf sg, su, d = get(dy, i, n);                                                                        \
        gated_slopes(a, vf_set(limit), get(g, i, n), get(u, i, n), &sg, &su);                                \
        if (dg != NULL) put(dg, vf_mul(d, sg), i, n, add_g);                                                 \
        if (du != NULL) put(du, vf_mul(d, su), i, n, add_u);                                                 \
    }
    EACH_ACT(act, DO)
#undef DO
}

static void gated_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_gated_params *p = c->params;
    (void)i_thread;
    GATED_VALUES(p->act, p->limit, tn_f32(c->out[0]) + begin, tn_f32(c->in[0]) + begin,
                 tn_f32(c->in[1]) + begin, end - begin);
}

/* An exponential and a division an element: a thread is worth waking for fewer of them, and some rows of a
 * decoding step divide evenly. */
void GATED_FWD(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 8, gated_piece, (void *)c);
}

static void gated_back_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_gated_params *p = c->params;
    float                 *dg = tn_f32(c->din[0]), *du = tn_f32(c->din[1]);
    (void)i_thread;
    GATED_SLOPES(p->act, p->limit, dg == NULL ? NULL : dg + begin, du == NULL ? NULL : du + begin,
                 tn_f32(c->dout[0]) + begin, tn_f32(c->in[0]) + begin, tn_f32(c->in[1]) + begin, end - begin,
                 c->add[0], c->add[1]);
}

void GATED_BWD(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 2, gated_back_piece, (void *)c);
}

void UNARY_VALUES(tn_act act, float *y, const float *x, int64_t n)
{
#define DO(a)                                                                                                \
    for (int64_t i = 0; i < n; i += 16) put(y, vf_act(a, get(x, i, n)), i, n, false)
    EACH_ACT(act, DO)
#undef DO
}

void UNARY_SLOPES(tn_act act, float *dx, const float *dy, const float *x, int64_t n, bool add)
{
#define DO(a)                                                                                                \
    for (int64_t i = 0; i < n; i += 16) {                                                                    \
        vf y, d;                                                                                             \
        vf_act_slope(a, get(x, i, n), &y, &d);                                                               \
        put(dx, vf_mul(get(dy, i, n), d), i, n, add);                                                        \
    }
    EACH_ACT(act, DO)
#undef DO
}

static void unary_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_unary_params *p = c->params;
    const float           *x = tn_f32(c->in[0]) + begin;
    float                 *y = tn_f32(c->out[0]) + begin;
    int64_t                n = end - begin;
    (void)i_thread;
    if (p->softcap > 0.0f)
        for (int64_t i = 0; i < n; i += 16)
            put(y, vf_mul(vf_set(p->softcap), vf_tanh(vf_div(get(x, i, n), vf_set(p->softcap)))), i, n,
                false);
    else UNARY_VALUES(p->act, y, x, n);
}

void UNARY_FWD(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 2, unary_piece, (void *)c);
}

static void unary_back_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_unary_params *p = c->params;
    const float           *x = tn_f32(c->in[0]) + begin, *dy = tn_f32(c->dout[0]) + begin;
    float                 *dx = tn_f32(c->din[0]) + begin;
    int64_t                n = end - begin;
    (void)i_thread;
    if (p->softcap > 0.0f)
        for (int64_t i = 0; i < n; i += 16) {
            vf t = vf_tanh(vf_div(get(x, i, n), vf_set(p->softcap)));
            put(dx, vf_mul(get(dy, i, n), vf_fnma(t, t, vf_set(1.0f))), i, n, c->add[0]);
        }
    else UNARY_SLOPES(p->act, dx, dy, x, n, c->add[0]);
}

void UNARY_BWD(const tn_call *c)
{
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 2, unary_back_piece, (void *)c);
}

/* ---------------------------------------------------------------------------------------- the head's rows */

/* Without cap and temperature: what training does. A maximum may be taken in any order. */
static void head_lse_plain(float *l, int64_t n, bool keep_exp, float *top, float *sum)
{
    vf best[4] = { vf_set(-INFINITY), vf_set(-INFINITY), vf_set(-INFINITY), vf_set(-INFINITY) },
       total = vf_zero();
    int64_t j = 0;
    for (; j + 64 <= n; j += 64)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) best[v] = vf_max(vf_load(l + j + 16 * v), best[v]);
    for (; j < n; j += 16) best[0] = keep(best[0], vf_max(get(l, j, n), best[0]), j, n);
    *top = vf_top(vf_max(vf_max(best[0], best[1]), vf_max(best[2], best[3])));
    vf m = vf_set(*top);
    for (j = 0; j + 64 <= n; j += 64) {
        vf e[4];
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) e[v] = vf_prob(vf_sub(vf_load(l + j + 16 * v), m));
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            total = vf_add(total, e[v]);
            if (keep_exp) vf_store(l + j + 16 * v, e[v]);
        }
    }
    for (; j < n; j += 16) {
        vf e = vf_prob(vf_sub(get(l, j, n), m));
        total = keep(total, vf_add(total, e), j, n);
        if (keep_exp) put(l, e, j, n, false);
    }
    *sum = vf_sum(total);
}

static void head_lse(float *l, int64_t n, const tn_head_row *h, bool keep_exp, float *top, float *sum)
{
    if (h->softcap == 0.0f && h->temperature == 0.0f) {
        head_lse_plain(l, n, keep_exp, top, sum);
        return;
    }
    vf   best = vf_set(-INFINITY), total = vf_zero(), cap = vf_set(h->softcap), temp = vf_set(h->temperature);
    bool hot = h->temperature != 0.0f;
    for (int64_t j = 0; j < n; j += 16) {
        vf x = get(l, j, n);
        if (h->softcap > 0.0f) {
            x = vf_mul(cap, vf_tanh(vf_div(x, cap)));
            put(l, x, j, n, false);
        }
        if (hot) x = vf_div(x, temp);
        best = keep(best, vf_max(x, best), j, n);
    }
    *top = vf_top(best);
    for (int64_t j = 0; j < n; j += 16) {
        vf x = get(l, j, n), e = vf_prob(vf_sub(hot ? vf_div(x, temp) : x, vf_set(*top)));
        total = keep(total, vf_add(total, e), j, n);
        if (keep_exp) put(l, e, j, n, false);
    }
    *sum = vf_sum(total);
}

/* have_exp comes without cap and temperature. */
static void head_grad(float *l, int64_t n, const tn_head_row *h, bool have_exp, float top, float scale,
                      int64_t target, float at_target)
{
    bool    hot = h->temperature != 0.0f, capped = h->softcap > 0.0f;
    float   l_t = target >= 0 ? l[target] : 0.0f;
    int64_t j = 0;
    for (; have_exp && j + 64 <= n; j += 64)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) vf_store(l + j + 16 * v, vf_mul(vf_set(scale), vf_load(l + j + 16 * v)));
    for (; j < n; j += 16) {
        vf x = get(l, j, n),
           g = have_exp ? x : vf_prob(vf_sub(hot ? vf_div(x, vf_set(h->temperature)) : x, vf_set(top)));
        g = vf_mul(vf_set(scale), g);
        if (hot) g = vf_div(g, vf_set(h->temperature));
        if (capped) {
            vf c = vf_div(x, vf_set(h->softcap));
            g = vf_mul(g, vf_fnma(c, c, vf_set(1.0f)));
        }
        put(l, g, j, n, false);
    }
    if (target < 0) return;
    float e = have_exp ? l_t
                       : vf_get(vf_prob(vf_sub(
                             hot ? vf_div(vf_set(l_t), vf_set(h->temperature)) : vf_set(l_t), vf_set(top))));
    float g = fmaf(scale, e, at_target), c = l_t / h->softcap;
    if (hot) g /= h->temperature;
    if (capped) g *= fmaf(-c, c, 1.0f);
    l[target] = g;
}

static float head_cross(const float *l, const float *t, int64_t n, float top)
{
    vf total = vf_zero();
    for (int64_t j = 0; j < n; j += 16) {
        vf x = get(t, j, n);
        total = keep(total, vf_fma(vf_prob(vf_sub(x, vf_set(top))), vf_sub(x, get(l, j, n)), total), j, n);
    }
    return vf_sum(total);
}

static void head_grad_soft(float *l, const float *t, int64_t n, float softcap, float top, float scale,
                           float soft_top, float soft_scale)
{
    for (int64_t j = 0; j < n; j += 16) {
        vf x = get(l, j, n),
           soft = vf_mul(vf_set(soft_scale), vf_prob(vf_sub(get(t, j, n), vf_set(soft_top))));
        vf g = vf_fma(vf_set(scale), vf_prob(vf_sub(x, vf_set(top))), vf_neg(soft));
        if (softcap > 0.0f) {
            vf c = vf_div(x, vf_set(softcap));
            g = vf_mul(g, vf_fnma(c, c, vf_set(1.0f)));
        }
        put(l, g, j, n, false);
    }
}

const tn_head_kernels HEAD_KERNELS = { head_lse, head_grad, head_cross, head_grad_soft, false };

void HEAD_LOSS_FWD(const tn_call *c) { tn_head_loss_forward(c, &HEAD_KERNELS); }
void HEAD_LOSS_BWD(const tn_call *c) { tn_head_loss_backward(c, &HEAD_KERNELS); }
void HEAD_LOGPROB_FWD(const tn_call *c) { tn_head_logprob_forward(c, &HEAD_KERNELS); }
void HEAD_LOGPROB_BWD(const tn_call *c) { tn_head_logprob_backward(c, &HEAD_KERNELS); }

/* -------------------------------------------------------------------------------------------------- adamw */

enum { AHEAD = 512 }; /* numbers of a stream, 2 KiB */

void ADAMW(float *p, float *m, float *v, const float *g, int64_t n, const tn_adamw_const *k)
{
    for (int64_t i = 0; i < n; i += 16) {
        __builtin_prefetch(g + i + AHEAD); /* four streams, none of them in a cache */
        __builtin_prefetch(m + i + AHEAD, 1);
        __builtin_prefetch(v + i + AHEAD, 1);
        __builtin_prefetch(p + i + AHEAD, 1);
        vf h = vf_mul(get(g, i, n), vf_set(k->grad_scale));
        vf a = vf_fma(vf_set(k->beta1), get(m, i, n), vf_mul(vf_set(k->rest1), h));
        vf b = vf_fma(vf_set(k->beta2), get(v, i, n), vf_mul(vf_mul(vf_set(k->rest2), h), h));
        vf q = vf_fnma(vf_set(k->c1), vf_div(a, vf_fma(vf_sqrt(b), vf_set(k->c2), vf_set(k->eps))),
                       vf_mul(get(p, i, n), vf_set(k->decay)));
        put(m, a, i, n, false);
        put(v, b, i, n, false);
        put(p, q, i, n, false);
    }
}

/* ----------------------------------------------------------------------------------------- blocks of sums */

float BLOCK_SUM(const float *x, int64_t n, bool square)
{
    vf s = vf_zero();
    if (square)
        for (int64_t i = 0; i < n; i += 16) {
            __builtin_prefetch(x + i + 2 * AHEAD);
            vf v = get(x, i, n);
            s = keep(s, vf_fma(v, v, s), i, n);
        }
    else
        for (int64_t i = 0; i < n; i += 16) s = keep(s, vf_add(s, get(x, i, n)), i, n);
    return vf_sum(s);
}

/* ---------------------------------------------------------------------------------------------- functions */

void EXP_EACH(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, vf_exp(get(x, i, n)), i, n, false);
}
void LOG_EACH(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, vf_log(get(x, i, n)), i, n, false);
}
void TANH_EACH(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, vf_tanh(get(x, i, n)), i, n, false);
}
void ERF_EACH(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, vf_erf(get(x, i, n)), i, n, false);
}
void SIGMOID_EACH(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, vf_sigmoid(get(x, i, n)), i, n, false);
}
