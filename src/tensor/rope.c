/* rope.c - rotary positions (Su et al. 2021, arXiv:2104.09864): pairs of columns of each head turn by pos *
 * frequency.
 *
 *   forward    y0 = fma(x0, cos, -(x1 sin)),  y1 = fma(x0, sin, x1 cos)
 *   backward   the same with -sin
 *
 * Pairs are (t, t + n_rot/2), or (2t, 2t+1) when interleaved. Columns outside [first, first + n_rot) are
 * copied. A position outside the table gives NaN in the rotated columns. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char                  a[96];
    const tn_rope_params *p = c->params;
    TN_TRY(tn_need(c, 0, "x", TN_F32, 2, err));
    if (p->n_head <= 0 || p->d_head <= 0 || !tn_is_product(tn_cols(c->in[0]), p->n_head, p->d_head))
        return tn_fail(err, TN_MISMATCH, "rope: x has shape %s, expected %lld heads of %lld columns",
                       tn_shape_text(a, c->in[0]), (long long)p->n_head, (long long)p->d_head);
    if (p->n_rot < 0 || p->n_rot % 2 != 0 || p->n_rot > p->d_head || p->first < 0 ||
        p->first > p->d_head - p->n_rot)
        return tn_fail(err, TN_MISMATCH,
                       "rope: %lld columns from column %lld on cannot be rotated in a head of %lld",
                       (long long)p->n_rot, (long long)p->first, (long long)p->d_head);
    TN_TRY(tn_need_ints(c, 1, "positions", tn_rows(c->in[0]), err));
    TN_TRY(tn_need(c, 2, "cos/sin table", TN_F32, 2, err));
    if (!tn_is_product(tn_n_elem(c->in[2]), c->in[2]->shape[0], p->n_rot))
        return tn_fail(err, TN_MISMATCH, "rope: table has shape %s, expected [n_ctx][%lld][2]",
                       tn_shape_text(a, c->in[2]), (long long)(p->n_rot / 2));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

/* One row, all heads. sign -1 turns back; add keeps what is in y. */
static void rotate_row(float *y, const float *x, const tn_rope_params *p, const float *cs, float sign,
                       bool add)
{
    int64_t half = p->n_rot / 2;
    for (int64_t h = 0; h < p->n_head; h++, x += p->d_head, y += p->d_head) {
        for (int64_t i = 0; i < p->first; i++) y[i] = tn_put(y[i], add, x[i]);
        for (int64_t i = p->first + p->n_rot; i < p->d_head; i++) y[i] = tn_put(y[i], add, x[i]);
        for (int64_t t = 0; t < half; t++) {
            int64_t i0 = p->first + (p->interleaved ? 2 * t : t), i1 = p->interleaved ? i0 + 1 : i0 + half;
            float   co = cs == NULL ? NAN : cs[2 * t], si = cs == NULL ? NAN : sign * cs[2 * t + 1];
            float   x0 = x[i0], x1 = x[i1];
            y[i0] = tn_put(y[i0], add, fmaf(x0, co, -(x1 * si)));
            y[i1] = tn_put(y[i1], add, fmaf(x0, si, x1 * co));
        }
    }
}

typedef struct {
    const tn_call *c;
    float         *y;
    const float   *x;
    float          sign;
    bool           add;
} job;

static void piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job            *j = arg;
    const tn_rope_params *p = j->c->params;
    const int32_t        *pos = tn_i32(j->c->in[1]);
    const float          *table = tn_f32(j->c->in[2]);
    int64_t               n = tn_cols(j->c->in[0]), n_ctx = j->c->in[2]->shape[0];
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *cs = pos[r] >= 0 && pos[r] < n_ctx ? table + pos[r] * p->n_rot : NULL;
        rotate_row(j->y + r * n, j->x + r * n, p, cs, j->sign, j->add);
    }
}

static void fwd_ref(const tn_call *c)
{
    job j = { c, tn_f32(c->out[0]), tn_f32(c->in[0]), TN_PARAMS(c, tn_rope_params)->inverse ? -1.0f : 1.0f,
              false };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), piece, &j);
}

static void bwd_ref(const tn_call *c)
{
    if (c->din[0] == NULL) return;
    job j = { c, tn_f32(c->din[0]), tn_f32(c->dout[0]), TN_PARAMS(c, tn_rope_params)->inverse ? 1.0f : -1.0f,
              c->add[0] };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), piece, &j);
}

/* ---------------------------------------------------------------------------------------- the frequencies */

static const double pi = 0x1.921fb54442d18p+1;

static double yarn_dim(double rotations, int64_t n_rot, double theta, double n_orig)
{
    return (double)n_rot * tn_ln(n_orig / (rotations * 2.0 * pi)) / (2.0 * tn_ln(theta));
}

static double yarn_mscale(double factor, double m)
{
    return factor <= 1.0 ? 1.0 : 0.1 * m * tn_ln(factor) + 1.0;
}

static double attention_factor(const tn_rope_scaling *s)
{
    if (s->attn_factor > 0.0) return s->attn_factor;
    if (s->kind == TN_ROPE_YARN) {
        if (s->mscale > 0.0 && s->mscale_all_dim > 0.0)
            return yarn_mscale(s->factor, s->mscale) / yarn_mscale(s->factor, s->mscale_all_dim);
        return yarn_mscale(s->factor, 1.0);
    }
    if (s->kind == TN_ROPE_LONGROPE && s->factor > 1.0)
        return sqrt(1.0 + tn_ln(s->factor) / tn_ln((double)s->n_ctx_orig));
    return 1.0;
}

static double scale_frequency(double f, int64_t t, int64_t n_rot, double theta, const tn_rope_scaling *s)
{
    double n_orig = (double)s->n_ctx_orig;
    if (s->kind == TN_ROPE_LINEAR) return f / s->factor;
    if (s->kind == TN_ROPE_LLAMA3) {
        double wave = 2.0 * pi / f, lf = s->low_freq_factor, hf = s->high_freq_factor;
        if (wave < n_orig / hf) return f;
        if (wave > n_orig / lf) return f / s->factor;
        double smooth = (n_orig / wave - lf) / (hf - lf);
        return (1.0 - smooth) * f / s->factor + smooth * f;
    }
    if (s->kind == TN_ROPE_YARN) {
        double fast = s->beta_fast > 0.0 ? s->beta_fast : 32.0,
               slow = s->beta_slow > 0.0 ? s->beta_slow : 1.0;
        double lo = yarn_dim(fast, n_rot, theta, n_orig), hi = yarn_dim(slow, n_rot, theta, n_orig);
        if (s->truncate) {
            lo = floor(lo);
            hi = ceil(hi);
        }
        lo = lo < 0.0 ? 0.0 : lo;
        hi = hi > (double)(n_rot - 1) ? (double)(n_rot - 1) : hi;
        if (lo == hi) hi += 0.001; /* no division by zero */
        double ramp = ((double)t - lo) / (hi - lo);
        ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
        return f / s->factor * ramp + f * (1.0 - ramp);
    }
    return f;
}

tn_status tn_rope_table(float *table, int64_t n_ctx, int64_t n_rot, double theta, const tn_rope_scaling *s,
                        tn_error *err)
{
    static const tn_rope_scaling plain = { .kind = TN_ROPE_PLAIN };
    if (s == NULL) s = &plain;
    if ((int)s->kind < TN_ROPE_PLAIN || s->kind > TN_ROPE_LONGROPE)
        return tn_fail(err, TN_MISMATCH, "rope: no kind of scaling has number %d", (int)s->kind);
    if (n_ctx < 0)
        return tn_fail(err, TN_MISMATCH, "rope: a table of %lld positions; it must not be below 0",
                       (long long)n_ctx);
    if (n_rot < 2 || n_rot % 2 != 0)
        return tn_fail(err, TN_MISMATCH, "rope: %lld rotated columns; an even number from 2 is needed",
                       (long long)n_rot);
    if (!(theta > 1.0) || !(theta < 1e18))
        return tn_fail(err, TN_MISMATCH, "rope: theta is %g; it must be above 1", theta);
    bool scaled = s->kind != TN_ROPE_PLAIN && s->kind != TN_ROPE_LONGROPE;
    if (scaled && !(s->factor > 0.0 && s->factor < 1e9))
        return tn_fail(err, TN_MISMATCH, "rope: scaling factor is %g; it must be above 0", s->factor);
    if ((s->kind == TN_ROPE_NTK || s->kind == TN_ROPE_LLAMA3 || s->kind == TN_ROPE_YARN ||
         (s->kind == TN_ROPE_LONGROPE && s->factor > 1.0)) &&
        s->n_ctx_orig < 2)
        return tn_fail(err, TN_MISMATCH, "rope: this scaling needs the original context length; it is %lld",
                       (long long)s->n_ctx_orig);
    if (s->kind == TN_ROPE_LLAMA3 && !(s->low_freq_factor > 0.0 && s->high_freq_factor > s->low_freq_factor))
        return tn_fail(
            err, TN_MISMATCH,
            "rope: llama3 scaling needs 0 < low_freq_factor < high_freq_factor; they are %g and %g",
            s->low_freq_factor, s->high_freq_factor);
    if (s->kind == TN_ROPE_NTK && n_ctx > s->n_ctx_orig && n_rot > 2)
        theta *= tn_exp(tn_ln(s->factor * (double)n_ctx / (double)s->n_ctx_orig - (s->factor - 1.0)) *
                        (double)n_rot / (double)(n_rot - 2));
    double af = attention_factor(s);
    if (isnan(s->attn_factor) || !(af > 0.0 && af < 1e9))
        return tn_fail(err, TN_MISMATCH,
                       "rope: cosines and sines would be multiplied by %g; it must be above 0 and finite",
                       isnan(s->attn_factor) ? s->attn_factor : af);
    for (int64_t t = 0; t < n_rot / 2; t++) {
        double f = tn_exp(-2.0 * (double)t / (double)n_rot * tn_ln(theta));
        if (s->freq_factors != NULL) f /= (double)s->freq_factors[t];
        f = scale_frequency(f, t, n_rot, theta, s);
        for (int64_t i = 0; i < n_ctx; i++) {
            table[i * n_rot + 2 * t] = (float)(tn_cos((double)i * f) * af);
            table[i * n_rot + 2 * t + 1] = (float)(tn_sin((double)i * f) * af);
        }
    }
    return TN_OK;
}

static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    if (i_in == 1) tn_fill_ids(t, seed, k->in[2].shape[0]);
    if (i_in == 2) tn_rope_table(t->data, t->shape[0], t->shape[1] * t->shape[2], 1e4, NULL, NULL);
}

static int cases(tn_case *k, int i)
{
    static const tn_rope_params t[] = { { 2, 8, 0, 8, false, false },
                                        { 3, 10, 4, 6, true, false },
                                        { 2, 64, 0, 32, false, true },
                                        { 1, 70, 6, 64, true, false } };
    if (i >= 4) return 0;
    *k = (tn_case){ .by_row = 3u };
    *(tn_rope_params *)k->params = t[i];
    tn_case_in(k, 0, TN_F32, 5, t[i].n_head * t[i].d_head, true);
    tn_case_vec(k, 1, TN_I32, 5, false);
    k->in[2] = (tn_tensor){ .dtype = TN_F32, .n_dim = 3, .shape = { 19, t[i].n_rot / 2, 2 } };
    k->n_in = 3;
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    tn_rope_params p = { .n_head = 1 + tn_draw_below(d, 5),
                         .d_head = 2 * tn_draw_size(d, 80),
                         .interleaved = tn_draw_yes(d),
                         .inverse = tn_draw_yes(d) };
    int64_t        rows = tn_draw_size(d, 120);
    p.n_rot = tn_draw_yes(d) ? p.d_head : 2 * (1 + tn_draw_below(d, p.d_head / 2));
    p.first = tn_draw_below(d, p.d_head - p.n_rot + 1);
    *k = (tn_case){ .by_row = 3u, .fill = fill };
    *(tn_rope_params *)k->params = p;
    tn_case_in(k, 0, TN_F32, rows, p.n_head * p.d_head, true);
    tn_case_vec(k, 1, TN_I32, rows, false);
    k->in[2] = (tn_tensor){ .dtype = TN_F32, .n_dim = 3, .shape = { tn_draw_size(d, 100), p.n_rot / 2, 2 } };
    k->n_in = 3;
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_rope_fwd_avx2, tn_rope_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_rope_fwd_avx512, tn_rope_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_rope = { .name = "rope",
                           .params_bytes = sizeof(tn_rope_params),
                           .n_in = 3,
                           .n_out = 1,
                           .shape = shape,
                           .kernels = kernels,
                           .no_grad_in = 4u,
                           .bwd_in = 6u,
                           .in_place = 1,
                           .cases = cases,
                           .draw = draw };
