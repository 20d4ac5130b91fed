/* hf_layout.c - tensors of a Hugging Face checkpoint, laid out as ours.
 *
 * Most lie as we want them and stay in the map. The others are copied once into memory of the model:
 * transposed (GPT-2, gpt-oss), with rows sorted (GPT-NeoX), or stacked (experts). Every copy moves whole
 * values, none is rounded. */
#include "model/hf_layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int64_t tn_row_interleaved(int64_t i, int64_t d_head)
{
    int64_t head = i / d_head, t = i % d_head, half = d_head / 2;
    return head * d_head + (t < half ? 2 * t : 2 * (t - half) + 1);
}

int64_t tn_row_half_split(int64_t i, int64_t d_head)
{
    int64_t head = i / d_head, t = i % d_head;
    return head * d_head + (t % 2 == 0 ? t / 2 : d_head / 2 + t / 2);
}

static tn_status bad_shape(const char *file, const tn_st_entry *e, const char *expected, tn_error *err)
{
    return tn_fail(err, TN_MISMATCH,
                   "%s: tensor '%s' has %d dimensions [%" PRId64 "%s%" PRId64 "...]; %s is expected", file,
                   e->name, e->n_dim, e->n_dim > 0 ? e->shape[0] : 0, e->n_dim > 1 ? ", " : "",
                   e->n_dim > 1 ? e->shape[1] : 0, expected);
}

/* dst[c][r] = src[r][c] for values of `bytes`, in tiles that stay in the cache; src rows are `stride` values
 * apart and every `step`-th column from `first` on is taken. */
static void transpose(uint8_t *dst, const uint8_t *src, int64_t n_row, int64_t n_col, size_t bytes,
                      int64_t stride, int64_t first, int64_t step)
{
    enum { TILE = 32 };

    for (int64_t r0 = 0; r0 < n_row; r0 += TILE)
        for (int64_t c0 = 0; c0 < n_col; c0 += TILE)
            for (int64_t c = c0; c < n_col && c < c0 + TILE; c++)
                for (int64_t r = r0; r < n_row && r < r0 + TILE; r++)
                    memcpy(dst + (size_t)(c * n_row + r) * bytes,
                           src + (size_t)(r * stride + first + c * step) * bytes, bytes);
}

static tn_status add_copy(tn_model *m, const tn_name *name, const tn_st_entry *e, int n_dim,
                          const int64_t *shape, uint8_t **rows, tn_error *err)
{
    tn_tensor t = { .dtype = e->dtype, .n_dim = n_dim };

    for (int i = 0; i < n_dim; i++) t.shape[i] = shape[i];
    *rows = NULL;
    if (!m->headers_only && (*rows = tn_model_alloc_rows(tn_n_bytes(&t))) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for '%s' (%zu bytes)", m->path, name->name,
                       tn_n_bytes(&t));
    return tn_model_add(m, name->name, e->dtype, n_dim, shape, *rows, *rows, err);
}

static tn_status add_transposed(tn_model *m, const tn_name *name, const tn_st_entry *e, const char *file,
                                tn_error *err)
{
    uint8_t *rows;

    if (e->n_dim != 2) return bad_shape(file, e, "[in][out]", err);
    int64_t shape[2] = { e->shape[1], e->shape[0] };
    TN_TRY(add_copy(m, name, e, 2, shape, &rows, err));
    if (rows != NULL)
        transpose(rows, e->data, e->shape[0], e->shape[1], tn_row_bytes(e->dtype, 1), e->shape[1], 0, 1);
    return TN_OK;
}

static tn_status add_neox_qkv(tn_model *m, const tn_name *name, const tn_st_entry *e, const char *file,
                              tn_error *err)
{
    int64_t  n_head = m->h.n_head, d = m->h.d_head;
    uint8_t *rows;

    if (e->n_dim < 1 || e->n_dim > 2 || e->shape[0] != 3 * n_head * d)
        return bad_shape(file, e, "[3 x heads x head size][in]", err);
    size_t row = tn_row_bytes(e->dtype, e->n_dim == 2 ? e->shape[1] : 1);
    TN_TRY(add_copy(m, name, e, e->n_dim, e->shape, &rows, err));
    for (int64_t i = 0; i < 3 * n_head * d && rows != NULL; i++) {
        int64_t part = i / (n_head * d), head = i / d % n_head, t = i % d;
        memcpy(rows + (size_t)i * row, (const uint8_t *)e->data + (size_t)((head * 3 + part) * d + t) * row,
               row);
    }
    return TN_OK;
}

/* gpt-oss: [expert][in][2 n_ff] or [expert][in][out]. */
static tn_status add_oss(tn_model *m, const tn_name *name, const tn_st_entry *e, const char *file,
                         tn_error *err)
{
    bool     down = name->layout == TN_LAYOUT_OSS_DOWN;
    int64_t  step = down ? 1 : 2, first = name->layout == TN_LAYOUT_OSS_UP ? 1 : 0;
    uint8_t *rows;

    if (e->n_dim != 3 || e->shape[0] != m->h.n_expert || e->shape[2] % step != 0)
        return bad_shape(file, e, "[expert][in][out]", err);
    int64_t shape[3] = { e->shape[0], e->shape[2] / step, e->shape[1] };
    size_t  bytes = tn_row_bytes(e->dtype, 1), each = (size_t)(shape[1] * shape[2]) * bytes;
    TN_TRY(add_copy(m, name, e, 3, shape, &rows, err));
    for (int64_t x = 0; x < shape[0] && rows != NULL; x++)
        transpose(rows + (size_t)x * each,
                  (const uint8_t *)e->data + (size_t)(x * e->shape[1] * e->shape[2]) * bytes, e->shape[1],
                  shape[1], bytes, e->shape[2], first, step);
    return TN_OK;
}

static tn_status add_oss_bias(tn_model *m, const tn_name *name, const tn_st_entry *e, const char *file,
                              tn_error *err)
{
    int64_t  first = name->layout == TN_LAYOUT_OSS_UP_BIAS ? 1 : 0;
    uint8_t *rows;

    if (e->n_dim != 2 || e->shape[0] != m->h.n_expert || e->shape[1] % 2 != 0)
        return bad_shape(file, e, "[expert][2 x expert size]", err);
    int64_t shape[2] = { e->shape[0], e->shape[1] / 2 };
    size_t  bytes = tn_row_bytes(e->dtype, 1);
    TN_TRY(add_copy(m, name, e, 2, shape, &rows, err));
    for (int64_t i = 0; i < shape[0] * shape[1] && rows != NULL; i++)
        memcpy(rows + (size_t)i * bytes, (const uint8_t *)e->data + (size_t)(2 * i + first) * bytes, bytes);
    return TN_OK;
}

tn_status tn_hf_stack_of(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, tn_dtype dtype,
                         const int64_t shape[3], int64_t want, tn_hf_stack **out, uint8_t **rows,
                         tn_error *err)
{
    tn_hf_stack *s = NULL;
    tn_st_entry  like = { .dtype = dtype };

    for (size_t i = stacks->n; i-- > 0 && s == NULL;)
        if (strcmp(m->params[stacks->list[i].i_param].name, name->name) == 0) s = &stacks->list[i];
    if (s == NULL) {
        if (stacks->n == stacks->cap) {
            size_t       cap = stacks->cap == 0 ? 64 : 2 * stacks->cap;
            tn_hf_stack *list = realloc(stacks->list, cap * sizeof *list);
            if (list == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
            stacks->list = list;
            stacks->cap = cap;
        }
        TN_TRY(add_copy(m, name, &like, 3, shape, rows, err));
        s = &stacks->list[stacks->n++];
        *s = (tn_hf_stack){ m->n_param - 1, 0, want };
    }
    *out = s;
    *rows = m->params[s->i_param].w.data;
    return TN_OK;
}

static tn_status add_expert(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, const tn_st_entry *e,
                            const char *file, tn_error *err)
{
    tn_hf_stack *s;
    uint8_t     *rows;

    if (e->n_dim != 2) return bad_shape(file, e, "[out][in]", err);
    if (name->i_expert >= m->h.n_expert)
        return tn_fail(err, TN_MISMATCH,
                       "%s: tensor '%s' is of expert %" PRId64 ", but the model has %" PRId64, file, e->name,
                       name->i_expert, m->h.n_expert);
    int64_t shape[3] = { m->h.n_expert, e->shape[0], e->shape[1] };
    TN_TRY(tn_hf_stack_of(m, stacks, name, e->dtype, shape, m->h.n_expert, &s, &rows, err));
    const tn_tensor *w = &m->params[s->i_param].w;
    if (w->dtype != e->dtype || w->shape[1] != e->shape[0] || w->shape[2] != e->shape[1])
        return tn_fail(err, TN_MISMATCH,
                       "%s: tensor '%s' has another type or shape than the other experts of its layer", file,
                       e->name);
    size_t each = (size_t)e->shape[0] * tn_row_bytes(e->dtype, e->shape[1]);
    if (rows != NULL) memcpy(rows + (size_t)name->i_expert * each, e->data, each);
    s->n++;
    return TN_OK;
}

tn_status tn_hf_add(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, const tn_st_entry *e,
                    const char *file, tn_error *err)
{
    if (name->layout >= TN_LAYOUT_MX_GATE && name->layout <= TN_LAYOUT_MX_DOWN_SCALES)
        return tn_hf_add_mxfp4(m, stacks, name, e, file, err);
    if (e->dtype != TN_F32 && e->dtype != TN_F16 && e->dtype != TN_BF16)
        return tn_fail(
            err, TN_UNSUPPORTED,
            "%s: tensor '%s' is of type %s; F32, F16 and BF16 are read: dequantise the checkpoint first",
            file, e->name, e->type);
    switch (name->layout) {
    case TN_LAYOUT_TRANSPOSED: return add_transposed(m, name, e, file, err);
    case TN_LAYOUT_NEOX_QKV: return add_neox_qkv(m, name, e, file, err);
    case TN_LAYOUT_OSS_GATE:
    case TN_LAYOUT_OSS_UP:
    case TN_LAYOUT_OSS_DOWN: return add_oss(m, name, e, file, err);
    case TN_LAYOUT_OSS_GATE_BIAS:
    case TN_LAYOUT_OSS_UP_BIAS: return add_oss_bias(m, name, e, file, err);
    case TN_LAYOUT_EXPERT: return add_expert(m, stacks, name, e, file, err);
    default: break;
    }
    if (e->n_dim < 1 || e->n_dim > TN_MAX_DIM) return bad_shape(file, e, "1 to 4 dimensions", err);
    return tn_model_add(m, name->name, e->dtype, e->n_dim, e->shape, e->data, NULL, err);
}

tn_status tn_hf_stacks_check(const tn_model *m, const tn_hf_stacks *stacks, tn_error *err)
{
    for (size_t i = 0; i < stacks->n; i++)
        if (stacks->list[i].n != stacks->list[i].want)
            return tn_fail(err, TN_MISMATCH,
                           "%s: '%s' is not whole: some of its parts (experts, or MXFP4 blocks and scales) "
                           "are missing or there "
                           "twice",
                           m->path, m->params[stacks->list[i].i_param].name);
    return TN_OK;
}

void tn_hf_stacks_free(tn_hf_stacks *stacks)
{
    free(stacks->list);
    *stacks = (tn_hf_stacks){ 0 };
}
