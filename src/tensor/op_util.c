/* op_util.c - shape rules and self-test fillers that the operations share. */
#include "tensor/op_util.h"

#include <stdio.h>

const char *tn_shape_text(char buf[96], const tn_tensor *t)
{
    size_t n = 0;
    if (t == NULL) return "absent";
    buf[0] = 0;
    for (int d = 0; d < t->n_dim && n < 80; d++)
        n += (size_t)snprintf(buf + n, 96 - n, "[%lld]", (long long)t->shape[d]);
    return buf;
}

tn_status tn_need_size(const tn_call *c, const char *what, const tn_tensor *t, tn_error *err)
{
    char    a[96];
    int64_t total = 1;
    for (int d = 0; d < t->n_dim; d++)
        if (t->shape[d] < 0 || __builtin_mul_overflow(total, t->shape[d], &total) || total > INT64_MAX / 8)
            return tn_fail(err, TN_LIMIT, "%s: %s has shape %s, which cannot be addressed", c->op->name, what,
                           tn_shape_text(a, t));
    return TN_OK;
}

tn_status tn_need_finite(const tn_call *c, const char *what, float x, tn_error *err)
{
    if (isfinite(x)) return TN_OK;
    return tn_fail(err, TN_MISMATCH, "%s: %s is %g; it must be a finite number", c->op->name, what,
                   (double)x);
}

bool tn_is_product(int64_t n, int64_t a, int64_t b)
{
    int64_t ab;
    return !__builtin_mul_overflow(a, b, &ab) && ab == n;
}

tn_status tn_need(const tn_call *c, int i_in, const char *what, tn_dtype dtype, int n_dim_min, tn_error *err)
{
    char             a[96];
    const tn_tensor *t = i_in < c->n_in ? c->in[i_in] : NULL;
    if (t == NULL) return tn_fail(err, TN_MISMATCH, "%s: input %d (%s) is absent", c->op->name, i_in, what);
    if (t->packed != NULL)
        return tn_fail(err, TN_MISMATCH, "%s: input %d (%s) is a packed matrix; it must be plain %s",
                       c->op->name, i_in, what, tn_dtype_name(dtype));
    if (t->dtype != dtype)
        return tn_fail(err, TN_MISMATCH, "%s: %s is %s, expected %s", c->op->name, what,
                       tn_dtype_name(t->dtype), tn_dtype_name(dtype));
    if (t->n_dim < n_dim_min || t->n_dim > TN_MAX_DIM)
        return tn_fail(err, TN_MISMATCH, "%s: %s has shape %s, expected at least %d dimensions", c->op->name,
                       what, tn_shape_text(a, t), n_dim_min);
    return tn_need_size(c, what, t, err);
}

tn_status tn_need_weight(const tn_call *c, int i_in, const char *what, int64_t n_out, int64_t n_in,
                         tn_error *err)
{
    char             a[96];
    const tn_tensor *t = i_in < c->n_in ? c->in[i_in] : NULL;
    if (t == NULL) return tn_fail(err, TN_MISMATCH, "%s: input %d (%s) is absent", c->op->name, i_in, what);
    TN_TRY(tn_need_size(c, what, t, err));
    /* a stack of experts has three dimensions: its rows count */
    if (t->n_dim < 2 || (n_out >= 0 && tn_rows(t) != n_out) || tn_cols(t) != n_in)
        return tn_fail(err, TN_MISMATCH, "%s: %s has shape %s, expected [%lld][%lld]", c->op->name, what,
                       tn_shape_text(a, t),
                       (long long)(n_out >= 0     ? n_out
                                   : t->n_dim > 0 ? t->shape[0]
                                                  : 0),
                       (long long)n_in);
    if (t->packed == NULL && t->dtype != TN_F32 && t->dtype != TN_BF16)
        return tn_fail(err, TN_MISMATCH, "%s: %s is %s; unpacked weights are f32 or bf16 (pack others first)",
                       c->op->name, what, tn_dtype_name(t->dtype));
    return TN_OK;
}

tn_status tn_need_vector(const tn_call *c, int i_in, const char *what, int64_t n, bool optional,
                         tn_error *err)
{
    char a[96];
    if (optional && (i_in >= c->n_in || c->in[i_in] == NULL)) return TN_OK;
    TN_TRY(tn_need(c, i_in, what, TN_F32, 1, err));
    if (tn_n_elem(c->in[i_in]) != n)
        return tn_fail(err, TN_MISMATCH, "%s: %s has shape %s, expected [%lld]", c->op->name, what,
                       tn_shape_text(a, c->in[i_in]), (long long)n);
    return TN_OK;
}

tn_status tn_need_ints(const tn_call *c, int i_in, const char *what, int64_t n, tn_error *err)
{
    char a[96];
    TN_TRY(tn_need(c, i_in, what, TN_I32, 1, err));
    if (n >= 0 && tn_n_elem(c->in[i_in]) != n)
        return tn_fail(err, TN_MISMATCH, "%s: %s has shape %s, expected [%lld]", c->op->name, what,
                       tn_shape_text(a, c->in[i_in]), (long long)n);
    return TN_OK;
}

tn_status tn_need_profile(const tn_call *c, tn_profile p, tn_error *err)
{
    if ((int)p >= TN_PROFILE_STRICT && p <= TN_PROFILE_Q8ACT) return TN_OK;
    return tn_fail(err, TN_MISMATCH, "%s: no profile has number %d", c->op->name, (int)p);
}

tn_status tn_need_like(const tn_call *c, int i_in, const char *what, const tn_tensor *like, tn_error *err)
{
    char a[96], b[96];
    TN_TRY(tn_need(c, i_in, what, TN_F32, 1, err));
    const tn_tensor *t = c->in[i_in];
    if (tn_rows(t) != tn_rows(like) || tn_cols(t) != tn_cols(like))
        return tn_fail(err, TN_MISMATCH, "%s: %s has shape %s, expected %s", c->op->name, what,
                       tn_shape_text(a, t), tn_shape_text(b, like));
    return TN_OK;
}

void tn_set_shape(tn_tensor *t, tn_dtype dtype, int n_dim, const int64_t *shape)
{
    if (t == NULL) return;
    *t = (tn_tensor){ .dtype = dtype, .n_dim = n_dim };
    for (int d = 0; d < n_dim; d++) t->shape[d] = shape[d];
}

void tn_set_like(tn_tensor *t, const tn_tensor *like)
{
    tn_set_shape(t, like->dtype, like->n_dim, like->shape);
}

void tn_set_rows(tn_tensor *t, int64_t n_row, int64_t n_col)
{
    tn_set_shape(t, TN_F32, 2, (int64_t[]){ n_row, n_col });
}

void tn_case_in(tn_case *k, int i, tn_dtype dtype, int64_t rows, int64_t cols, bool differentiable)
{
    k->in[i] = (tn_tensor){ .dtype = dtype, .n_dim = 2, .shape = { rows, cols } };
    k->differentiable[i] = differentiable;
    if (k->n_in <= i) k->n_in = i + 1;
}

void tn_case_vec(tn_case *k, int i, tn_dtype dtype, int64_t n, bool differentiable)
{
    k->in[i] = (tn_tensor){ .dtype = dtype, .n_dim = 1, .shape = { n } };
    k->differentiable[i] = differentiable;
    if (k->n_in <= i) k->n_in = i + 1;
}

void tn_fill_ids(tn_tensor *t, uint64_t seed, int64_t below)
{
    const tn_rng_key key = { .seed = seed, .purpose = TN_RNG_TEST };
    int32_t         *p = t->data;
    for (int64_t i = 0; i < tn_n_elem(t); i++)
        p[i] = (int32_t)tn_rng_below(&key, (uint64_t)i, (uint64_t)below);
}

int64_t tn_draw_below(tn_draw *d, int64_t n)
{
    const tn_rng_key key = { .seed = d->seed, .purpose = TN_RNG_TEST, .step = 1 };
    return (int64_t)tn_rng_below(&key, d->n++, (uint64_t)n);
}

bool tn_draw_yes(tn_draw *d) { return tn_draw_below(d, 2) != 0; }

float tn_draw_number(tn_draw *d, float low, float high)
{
    return low + (high - low) * (float)tn_draw_below(d, 1001) / 1000.0f;
}

int64_t tn_draw_size(tn_draw *d, int64_t most)
{
    int64_t n;
    switch (tn_draw_below(d, 8)) {
    case 0: n = 1 + tn_draw_below(d, 4); break;
    case 1:
    case 2: n = 1 + tn_draw_below(d, 40); break;
    case 3:
    case 4: n = 16 * (1 + tn_draw_below(d, 8)) + tn_draw_below(d, 3) - 1; break;
    case 5: n = 64 * (1 + tn_draw_below(d, 6)) + tn_draw_below(d, 3) - 1; break;
    default: n = 1 + tn_draw_below(d, most); break;
    }
    return n <= most ? n : 1 + n % most;
}

int64_t tn_draw_width(tn_draw *d, int64_t most)
{
    if (tn_draw_yes(d)) return tn_draw_size(d, most);
    return tn_draw_below(d, 4) == 0 && most >= 256 ? 256 * (1 + tn_draw_below(d, most / 256))
                                                   : 32 * (1 + tn_draw_below(d, most / 32));
}

void tn_draw_weight(tn_draw *d, tn_case *k, int i_in, int64_t n_out, int64_t n_in, bool differentiable)
{
    static const tn_dtype types[] = { TN_F32,  TN_F16,  TN_BF16, TN_Q8_0, TN_Q4_0, TN_Q4_1,
                                      TN_Q5_0, TN_Q5_1, TN_Q4_K, TN_Q5_K, TN_Q6_K };
    tn_dtype              type = types[tn_draw_below(d, sizeof types / sizeof types[0])];

    k->packed[i_in] = !differentiable && tn_draw_below(d, 4) != 0 && n_in % tn_dtype_block(type) == 0;
    if (!k->packed[i_in]) type = differentiable || tn_draw_yes(d) ? TN_F32 : TN_BF16;
    tn_case_in(k, i_in, type, n_out, n_in, differentiable);
}
