/* inspect.c - what a model is, as data: sizes, parameters, types, tokenizer, chat format, and the memory that
 * it takes. */
#include "model/family.h"
#include "model/model_impl.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { ESTIMATE_CTX = 2048, LORA_RANK = 16, LORA_ROWS = 1024 };

uint64_t tn_model_weight_bytes(const tn_model *m)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_param; i++) {
        const tn_tensor *w = &m->params[i].w;
        n += (uint64_t)tn_row_bytes(m->slots[i].file_dtype, tn_cols(w)) * (uint64_t)tn_rows(w);
    }
    return n;
}

/* Weights and a cache of ESTIMATE_CTX positions in fp32. */
static uint64_t memory_to_run(const tn_model *m)
{
    const tn_hparams *h = &m->h;
    int64_t           d_v = h->d_value > 0 ? h->d_value : h->d_head;
    int64_t           n = h->n_ctx < ESTIMATE_CTX ? h->n_ctx : ESTIMATE_CTX;

    return tn_model_weight_bytes(m) + (uint64_t)(h->n_layer * h->n_head_kv * (h->d_head + d_v) * n * 4);
}

/* Frozen weights as they are, adapters of rank 16 on every matrix with gradient and two moments, and the
 * activations of
 * 1,024 rows that the backward pass reads. */
static uint64_t memory_to_tune(const tn_model *m)
{
    const tn_hparams *h = &m->h;
    uint64_t          lora = 0;
    int64_t           n_ff = h->n_expert > 0 ? h->n_ff_expert * h->n_expert_used + h->n_ff_shared : h->n_ff;

    for (size_t i = 0; i < m->n_param; i++)
        if (m->params[i].matrix && m->params[i].w.n_dim == 2)
            lora += (uint64_t)(LORA_RANK * (m->params[i].w.shape[0] + m->params[i].w.shape[1])) * 16;
    return tn_model_weight_bytes(m) + lora +
           (uint64_t)(h->n_layer * LORA_ROWS * (8 * h->n_embd + 4 * n_ff)) * 4;
}

/* What the file calls itself, else the folder's name. made: free; NULL: no memory, or nothing to go by. */
static char *name_of(const tn_model *m)
{
    char    *name = NULL;
    tn_error ignored = { 0 };

    if (m->n_gguf > 0) {
        if (tn_gguf_str(m->gguf[0], "general.name", &name, &ignored) != TN_OK) name = NULL;
    } else if (m->path != NULL) {
        name = tn_strdup(tn_basename(m->path));
    }
    if (name != NULL && (name[0] == '\0' || strcmp(name, ".") == 0 || !tn_utf8_valid(name, strlen(name)))) {
        free(name);
        name = NULL;
    }
    return name;
}

json_t *tn_model_inspect(const tn_model *m, tn_error *err)
{
    const tn_hparams *h = &m->h;
    const tn_family  *family = tn_family_find(h->family);
    tn_digest         digest;
    char             *digest_text = NULL, *name = name_of(m);
    json_t           *o = NULL;

    if (!m->headers_only) {
        if (tn_model_digest(m, &digest, err) != TN_OK) {
            free(name);
            return NULL;
        }
        digest_text = tn_digest_text(&digest);
    }
    o = json_pack("{s:s?, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s?, s:s?, s:s?, "
                  "s:I, s:b, s:I, s:I, s:I, s:I}",
                  "name", name, "family", h->family, "title", family != NULL ? family->title : h->family,
                  "n_layer", (json_int_t)h->n_layer, "n_embd", (json_int_t)h->n_embd, "n_head",
                  (json_int_t)h->n_head, "n_head_kv", (json_int_t)h->n_head_kv, "d_head",
                  (json_int_t)h->d_head, "n_ff", (json_int_t)h->n_ff, "n_vocab", (json_int_t)h->n_vocab,
                  "n_ctx", (json_int_t)h->n_ctx, "parameters", (json_int_t)tn_model_n_param(m, false),
                  "parameters_active", (json_int_t)tn_model_n_param(m, true), "dtype", tn_model_dtype_name(m),
                  "chat_format", m->chat_status == TN_OK ? tn_chat_format_name(m->chat.format) : NULL,
                  "tokenizer", m->tok != NULL ? tn_tokenizer_kind(m->tok) : NULL, "digest", digest_text,
                  "bytes", (json_int_t)tn_model_weight_bytes(m), "tied", (int)h->tied, "n_expert",
                  (json_int_t)h->n_expert, "n_expert_used", (json_int_t)h->n_expert_used, "memory_run",
                  (json_int_t)memory_to_run(m), "memory_tune", (json_int_t)memory_to_tune(m));
    free(digest_text);
    free(name);
    if (o == NULL) tn_fail(err, TN_NOMEM, "%s: no memory to describe it", m->path);
    return o;
}
