/* write_rows.c - from the weights in memory to the bytes of a file.
 *
 *   rows as they are ── same type, same order ──→ written from where they lie
 *                    └─ else: values moved (order), then converted (type), one tensor at a time, rows in parallel
 *
 * Moving never rounds; converting rounds once. */
#include "model/write_rows.h"

#include "base/thread.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct convert {
    uint8_t         *dst;
    const uint8_t   *src;
    const tn_weight *packed;
    tn_dtype         from, to;
    size_t           src_row, dst_row;
    int64_t          n_col;
    int64_t          d_head;     /* > 0: rows are rotated ones and change their order ... */
    bool             interleave; /* ... from half-split to interleaved, else back */
    float            add;        /* to every value (Gemma's norms) */
    bool             failed;
    /* values that `to` cannot hold, as they are not finite; the first one in the source */
    _Atomic int64_t n_lost, first_lost;
    /* finite ones that would not be in `to`: too large for it, or for the scale of their block */
    _Atomic int64_t n_over, first_over;
} convert;

static int64_t source_row(const convert *c, int64_t r)
{
    if (c->d_head == 0) return r;
    /* row r of the interleaved matrix is the half-split row tn_row_half_split(r), and the other way round */
    return c->interleave ? tn_row_half_split(r, c->d_head) : tn_row_interleaved(r, c->d_head);
}

static void note(_Atomic int64_t *n, _Atomic int64_t *first, int64_t at)
{
    int64_t before = atomic_load(first);

    atomic_fetch_add(n, 1);
    while (at < before && !atomic_compare_exchange_weak(first, &before, at)) {
    }
}

/* Notes the values of source row s that are not finite. */
static void note_lost(convert *c, const float *f, int64_t s)
{
    for (int64_t k = tn_row_finite(f, c->n_col); k < c->n_col; k++)
        if (!isfinite(f[k])) note(&c->n_lost, &c->first_lost, s * c->n_col + k);
}

/* The row as it will be read: 65504 is the largest half, and a scale above it takes all values of its block
 * along. `back` is work space. */
static void note_over(convert *c, const uint8_t *dst, const float *f, float *back, int64_t s)
{
    tn_row_to_f32(back, dst, c->to, c->n_col);
    for (int64_t k = tn_row_finite(back, c->n_col); k < c->n_col; k++)
        if (isfinite(f[k]) && !isfinite(back[k])) note(&c->n_over, &c->first_over, s * c->n_col + k);
}

static void convert_rows(void *arg, int64_t begin, int64_t end, int i_thread)
{
    convert *c = arg;
    float   *f = c->from == c->to && c->add == 0 && c->src != NULL ? NULL
                                                                   : malloc(2 * (size_t)c->n_col * sizeof *f);

    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        int64_t        s = source_row(c, r);
        const uint8_t *src = c->src == NULL ? NULL : c->src + (size_t)s * c->src_row;
        uint8_t       *dst = c->dst + (size_t)r * c->dst_row;
        if (c->from == c->to && c->add == 0 && src != NULL) {
            memcpy(dst, src, c->dst_row);
            continue;
        }
        if (f == NULL) {
            c->failed = true;
            return;
        }
        if (src != NULL) tn_row_to_f32(f, src, c->from, c->n_col);
        else tn_weight_row(f, c->packed, s);
        if (tn_dtype_block(c->to) > 1) note_lost(c, f, s);
        for (int64_t k = 0; k < c->n_col && c->add != 0; k++) f[k] += c->add;
        if (!tn_row_from_f32(dst, f, c->to, c->n_col)) c->failed = true;
        else if (c->to != TN_F32) note_over(c, dst, f, f + c->n_col, s);
    }
    free(f);
}

/* Weight i with [n_row][n_col], rows reordered if d_head > 0, `add` added, as `type`. */
static tn_status rows_as(tn_bytes *out, const tn_model *m, size_t i, tn_dtype type, int64_t d_head,
                         bool interleave, float add, tn_error *err)
{
    const tn_param *p = &m->params[i];
    bool            vector = p->w.n_dim == 1;
    convert         c = { .to = type,
                          .d_head = d_head,
                          .interleave = interleave,
                          .add = add,
                          .packed = m->slots[i].packed,
                          .first_lost = INT64_MAX,
                          .first_over = INT64_MAX };
    int64_t         n_row = vector && d_head > 0 ? p->w.shape[0] : tn_rows(&p->w);

    c.src = tn_model_rows(m, i, &c.from);
    c.n_col = vector && d_head > 0 ? 1 : tn_cols(&p->w);
    c.src_row = tn_row_bytes(c.from, c.n_col);
    c.dst_row = tn_row_bytes(type, c.n_col);
    if ((c.src == NULL && c.packed == NULL) || c.dst_row == 0)
        return tn_fail(err, TN_USAGE, "%s: the weights of '%s' were not loaded, or %s cannot hold its rows",
                       m->path, p->name, tn_dtype_name(type));
    out->n = c.dst_row * (size_t)n_row;
    out->own = NULL;
    out->p = c.src;
    if (c.from == type && add == 0 && d_head == 0 && c.src != NULL) return TN_OK;
    if ((out->own = tn_model_alloc_rows(out->n)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory to convert '%s' (%zu bytes)", m->path, p->name, out->n);
    out->p = c.dst = out->own;
    tn_parallel(n_row, 8, convert_rows, &c);
    if (!c.failed && c.n_lost == 0 && c.n_over == 0) return TN_OK;
    free(out->own);
    out->own = NULL;
    if (c.n_lost > 0)
        return tn_fail(err, TN_FORMAT,
                       "%s: '%s' holds %lld values that are not finite (the first in row %lld, column %lld): "
                       "as %s they would become numbers; find out why, or write f16",
                       m->path, p->name, (long long)c.n_lost, (long long)(c.first_lost / c.n_col),
                       (long long)(c.first_lost % c.n_col), tn_dtype_name(type));
    if (c.n_over > 0)
        return tn_fail(err, TN_FORMAT,
                       "%s: '%s' holds %lld finite values that %s would make infinite or no number (the "
                       "first in row %lld, column %lld), as its %s end%s at %s: write %s",
                       m->path, p->name, (long long)c.n_over, tn_dtype_name(type),
                       (long long)(c.first_over / c.n_col), (long long)(c.first_over % c.n_col),
                       tn_dtype_block(type) > 1 ? "scales" : "range", tn_dtype_block(type) > 1 ? "" : "s",
                       type == TN_BF16 ? "3.39e38" : "65504", type == TN_BF16 ? "f32" : "bf16");
    return tn_fail(err, TN_UNSUPPORTED, "%s: '%s' cannot be written as %s", m->path, p->name,
                   tn_dtype_name(type));
}

tn_status tn_bytes_gguf(tn_bytes *out, const tn_model *m, size_t i, tn_dtype type, tn_error *err)
{
    const tn_param *p = &m->params[i];
    int64_t         n_head, d_head = 0;
    float           add = 0;
    tn_name         name;

    if (!m->h.rope_interleaved && tn_gguf_interleaves(&m->h) && tn_is_qk(p->name, &m->h, &n_head))
        d_head = m->h.d_head;
    if (m->h.norm_plus_one && tn_name_to_hf(&m->h, p->name, -1, &name) && name.layout == TN_LAYOUT_NORM)
        add = 1;
    return rows_as(out, m, i, type, d_head, true, add, err);
}

/* --------------------------------------------------------------------------------- Hugging Face's layouts */

/* Which value of ours is value k of Hugging Face's tensor. */
static int64_t moved_from(const tn_model *m, const tn_param *p, tn_layout layout, int64_t k)
{
    const int64_t *s = p->w.shape;
    int64_t        n_head = m->h.n_head, d = m->h.d_head;

    switch (layout) {
    case TN_LAYOUT_TRANSPOSED: /* [in][out] <- [out][in] */ return k % s[0] * s[1] + k / s[0];
    case TN_LAYOUT_NEOX_QKV: { /* [head][part][d][in] <- [part][head][d][in] */
        int64_t in = p->w.n_dim == 2 ? s[1] : 1, row = k / in, head = row / (3 * d), part = row / d % 3,
                t = row % d;
        return ((part * n_head + head) * d + t) * in + k % in;
    }
    case TN_LAYOUT_OSS_DOWN: { /* [e][in][out] <- [e][out][in] */
        int64_t each = s[1] * s[2], e = k / each, r = k % each;
        return e * each + r % s[1] * s[2] + r / s[1];
    }
    default: return k;
    }
}

/* gpt-oss: gate and up side by side, [e][in][2 n_ff] or [e][2 n_ff], from two weights. */
static tn_status join_oss(tn_bytes *out, const tn_model *m, const tn_param *gate, const uint8_t *g,
                          const uint8_t *u, size_t bytes, tn_error *err)
{
    bool           bias = gate->w.n_dim == 2;
    const int64_t *s = gate->w.shape;
    int64_t        n_e = s[0], n_ff = s[1], n_in = bias ? 1 : s[2];

    out->n = (size_t)(n_e * n_in * 2 * n_ff) * bytes;
    if ((out->own = tn_model_alloc_rows(out->n)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory to write '%s'", m->path, gate->name);
    uint8_t *dst = out->own;
    out->p = dst;
    for (int64_t e = 0; e < n_e; e++)
        for (int64_t i = 0; i < n_in; i++)
            for (int64_t f = 0; f < n_ff; f++) {
                size_t src = (size_t)((e * n_ff + f) * n_in + i) * bytes,
                       at = (size_t)((e * n_in + i) * 2 * n_ff + 2 * f) * bytes;
                memcpy(dst + at, g + src, bytes);
                memcpy(dst + at + bytes, u + src, bytes);
            }
    return TN_OK;
}

void tn_hf_entry(tn_st_entry *e, const tn_model *m, size_t i, const tn_name *name, tn_dtype type)
{
    const tn_tensor *w = &m->params[i].w;

    *e = (tn_st_entry){ .dtype = type, .n_dim = w->n_dim };
    snprintf(e->name, sizeof e->name, "%s", name->name);
    for (int d = 0; d < w->n_dim; d++) e->shape[d] = w->shape[d];
    switch (name->layout) {
    case TN_LAYOUT_TRANSPOSED:
        e->shape[0] = w->shape[1];
        e->shape[1] = w->shape[0];
        break;
    case TN_LAYOUT_EXPERT:
        e->n_dim = 2;
        e->shape[0] = w->shape[1];
        e->shape[1] = w->shape[2];
        break;
    case TN_LAYOUT_OSS_GATE:
    case TN_LAYOUT_OSS_DOWN:
        e->shape[1] = w->shape[2];
        e->shape[2] = name->layout == TN_LAYOUT_OSS_GATE ? 2 * w->shape[1] : w->shape[1];
        break;
    case TN_LAYOUT_OSS_GATE_BIAS: e->shape[1] = 2 * w->shape[1]; break;
    default: break;
    }
}

static tn_status gate_and_up(tn_bytes *out, const tn_model *m, size_t i, const tn_name *name, tn_dtype type,
                             tn_error *err)
{
    const tn_param *gate = &m->params[i];
    char            up[96];
    tn_bytes        g = { 0 }, u = { 0 };

    snprintf(up, sizeof up, "blk.%d.ffn_up_exps%s", (int)name->i_layer,
             name->layout == TN_LAYOUT_OSS_GATE ? ".weight" : ".bias");
    int64_t k = tn_model_index(m, up);
    if (k < 0) return tn_fail(err, TN_FORMAT, "%s: weight '%s' is missing", m->path, up);
    tn_status s = rows_as(&g, m, i, type, 0, false, 0, err);
    if (s == TN_OK) s = rows_as(&u, m, (size_t)k, type, 0, false, 0, err);
    if (s == TN_OK) s = join_oss(out, m, gate, g.p, u.p, tn_row_bytes(type, 1), err);
    free(g.own);
    free(u.own);
    return s;
}

tn_status tn_bytes_hf(tn_bytes *out, const tn_model *m, size_t i, const tn_name *name, tn_dtype type,
                      tn_st_entry *e, tn_error *err)
{
    const tn_param *p = &m->params[i];
    size_t          bytes = tn_row_bytes(type, 1);
    int64_t         n_head, d_head = 0;
    tn_bytes        rows = { 0 };

    *out = (tn_bytes){ 0 };
    tn_hf_entry(e, m, i, name, type);
    if (name->layout == TN_LAYOUT_OSS_GATE || name->layout == TN_LAYOUT_OSS_GATE_BIAS)
        return gate_and_up(out, m, i, name, type, err);
    if (m->h.rope_interleaved && tn_is_qk(p->name, &m->h, &n_head)) d_head = m->h.d_head;
    float add = name->layout == TN_LAYOUT_NORM && !m->h.norm_plus_one ? -1.0f : 0.0f;
    TN_TRY(rows_as(&rows, m, i, type, d_head, false, add, err));
    if (name->layout == TN_LAYOUT_EXPERT) {
        size_t each = rows.n / (size_t)p->w.shape[0];
        *out = (tn_bytes){ rows.p + (size_t)name->i_expert * each, each, rows.own };
        return TN_OK;
    }
    if (name->layout != TN_LAYOUT_TRANSPOSED && name->layout != TN_LAYOUT_NEOX_QKV &&
        name->layout != TN_LAYOUT_OSS_DOWN) {
        *out = rows;
        return TN_OK;
    }
    if ((out->own = tn_model_alloc_rows(rows.n)) == NULL) {
        free(rows.own);
        return tn_fail(err, TN_NOMEM, "%s: no memory to write '%s'", m->path, p->name);
    }
    out->p = out->own;
    out->n = rows.n;
    for (int64_t k = 0; k < tn_n_elem(&p->w); k++)
        memcpy((uint8_t *)out->own + (size_t)k * bytes,
               rows.p + (size_t)moved_from(m, p, name->layout, k) * bytes, bytes);
    free(rows.own);
    return TN_OK;
}
