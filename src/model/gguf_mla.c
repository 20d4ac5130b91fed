/* gguf_mla.c - DeepSeek's key/value expansion in the form that newer GGUF files have.
 *
 *   older   attn_kv_b [n_head * (d_nope + d_value)][kv_lora]         a head: its key rows, then its value rows
 *   newer   attn_k_b  [n_head][kv_lora][d_nope]                      transposed, ready to be multiplied into the query
 *           attn_v_b  [n_head][d_value][kv_lora]
 *
 * The forward expands keys and values before attention (decision 034), so it needs the older form. A
 * transposed matrix cannot stay in blocks that run along its rows: the joined weight is f32, the dequantised
 * values. */
#include "model/open.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tn_gguf_is_split_kv_b(const tn_gguf_tensor *t)
{
    return t->n_dim == 3 &&
           (tn_ends_with(t->name, ".attn_k_b.weight") || tn_ends_with(t->name, ".attn_v_b.weight"));
}

static const tn_gguf_tensor *find(const tn_model *m, int64_t layer, const char *what)
{
    const tn_gguf_tensor *t = NULL;
    char                  name[96];

    snprintf(name, sizeof name, "blk.%" PRId64 ".%s.weight", layer, what);
    for (size_t i = 0; i < m->n_gguf && t == NULL; i++) t = tn_gguf_tensor_find(m->gguf[i], name);
    return t;
}

/* Head h of both parts into its rows of kv_b; row: room for the longest row. */
static void join_head(float *kv_b, const tn_gguf_tensor *k, const tn_gguf_tensor *v, int64_t h, float *row)
{
    int64_t n_lora = k->shape[1], d_nope = k->shape[2], d_value = v->shape[1];

    for (int64_t j = 0; j < n_lora; j++) {
        tn_row_to_f32(row,
                      (const uint8_t *)k->data + (size_t)(h * n_lora + j) * tn_row_bytes(k->dtype, d_nope),
                      k->dtype, d_nope);
        for (int64_t i = 0; i < d_nope; i++) kv_b[i * n_lora + j] = row[i];
    }
    for (int64_t i = 0; i < d_value; i++)
        tn_row_to_f32(kv_b + (d_nope + i) * n_lora,
                      (const uint8_t *)v->data + (size_t)(h * d_value + i) * tn_row_bytes(v->dtype, n_lora),
                      v->dtype, n_lora);
}

static tn_status join_layer(tn_model *m, int64_t layer, const tn_gguf_tensor *k, const tn_gguf_tensor *v,
                            tn_error *err)
{
    const tn_hparams *h = &m->h;
    int64_t           shape[2] = { h->n_head * (h->d_nope + h->d_value), h->kv_lora_rank };
    char              name[96];
    float            *rows = NULL, *row;

    if (k == NULL || v == NULL || k->shape[0] != h->n_head || k->shape[1] != h->kv_lora_rank ||
        k->shape[2] != h->d_nope || v->shape[0] != h->n_head || v->shape[1] != h->d_value ||
        v->shape[2] != h->kv_lora_rank)
        return tn_fail(err, TN_MISMATCH,
                       "%s: layer %" PRId64
                       ": 'attn_k_b' [heads][kv_lora][nope] and 'attn_v_b' [heads][value][kv_lora] must "
                       "both be there and fit the model's sizes",
                       m->path, layer);
    snprintf(name, sizeof name, "blk.%" PRId64 ".attn_kv_b.weight", layer);
    if (!m->headers_only) {
        rows = tn_model_alloc_rows((size_t)(shape[0] * shape[1]) * sizeof *rows);
        row = malloc((size_t)h->d_nope * sizeof *row);
        if (rows == NULL || row == NULL) {
            free(rows);
            free(row);
            return tn_fail(err, TN_NOMEM, "%s: no memory for '%s'", m->path, name);
        }
        for (int64_t i = 0; i < h->n_head; i++)
            join_head(rows + i * (h->d_nope + h->d_value) * h->kv_lora_rank, k, v, i, row);
        free(row);
    }
    return tn_model_add(m, name, TN_F32, 2, shape, rows, rows, err);
}

tn_status tn_gguf_join_kv_b(tn_model *m, tn_error *err)
{
    if (strcmp(m->h.family, "deepseek2") != 0) return TN_OK;
    for (int64_t layer = 0; layer < m->h.n_layer; layer++) {
        const tn_gguf_tensor *k = find(m, layer, "attn_k_b"), *v = find(m, layer, "attn_v_b");
        if (k != NULL || v != NULL) TN_TRY(join_layer(m, layer, k, v, err));
    }
    return TN_OK;
}
