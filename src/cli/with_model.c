/* with_model.c - opening models and reading prompts for the commands that run a model (see with_model.h). */
#include "cli/with_model.h"

#include "base/hash.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tn_status tn_cli_model_open(tn_model **out, const tn_common *common, const tn_model_args *a, bool pack,
                            tn_error *err)
{
    char            *path;
    tn_model_options o = {
        .profile = common->profile_id, .chat_format = a->chat_format, .weights = true, .pack = pack
    };

    *out = NULL;
    TN_TRY(tn_cli_model_path(common, a->model, &path, err));
    tn_status s = tn_model_open(out, path, &o, err);
    free(path);
    return s;
}

tn_status tn_cli_tokenizer_open(tn_tokenizer **t, FILE **f, const tn_common *common, const char *model,
                                const char *file, tn_error *err)
{
    char     *path = NULL;
    tn_status status = tn_cli_model_path(common, model, &path, err);

    if (status == TN_OK) status = tn_model_open_tokenizer(t, path, err);
    free(path);
    *f = file == NULL || strcmp(file, "-") == 0 ? stdin : status == TN_OK ? fopen(file, "rb") : NULL;
    return status != TN_OK || *f != NULL
               ? status
               : tn_fail(err, TN_NOTFOUND, "%s: cannot be opened: does it exist, and may it be read?", file);
}

/* Streams whose caches fit 2 GiB together: fewer only take longer. */
static int64_t streams_that_fit(const tn_hparams *h, int64_t n_batch, int64_t n_ctx)
{
    double bytes = 4.0 *
                   (double)(h->n_layer * h->n_head_kv *
                            (h->d_head + (h->d_value > 0 ? h->d_value : h->d_head))) *
                   (double)n_ctx;
    int64_t most = (int64_t)(2147483648.0 / bytes);

    return n_batch < most ? n_batch : most > 1 ? most : 1;
}

tn_status tn_cli_engine(tn_engine **out, tn_model *m, const tn_model_args *a, int64_t n_longest,
                        int64_t n_request, tn_error *err)
{
    const tn_hparams *h = tn_model_hparams(m);
    int64_t           n = a->n_ctx > 0 ? a->n_ctx : n_longest;
    tn_engine_options o = { .n_batch = n_request < a->n_batch ? n_request : a->n_batch,
                            .prefix_reuse = true,
                            .hidden_layer = -1 };

    if (a->n_ctx > h->n_ctx)
        return tn_fail(err, TN_USAGE, "--ctx %" PRId64 ": the model knows %" PRId64 " positions", a->n_ctx,
                       h->n_ctx);
    o.n_ctx = n < 1 ? 1 : n > h->n_ctx ? h->n_ctx : n;
    o.n_batch = streams_that_fit(h, o.n_batch, o.n_ctx);
    if (!tn_dtype_parse(a->kv_type, &o.kv_type))
        return tn_fail(err, TN_USAGE, "--kv-type %s: f32, bf16 or q8_0", a->kv_type);
    return tn_engine_create(out, m, &o, err);
}

static tn_status need_tokenizer(const tn_model *m, tn_error *err)
{
    if (tn_model_tokenizer(m) != NULL) return TN_OK;
    return tn_fail(err, TN_UNSUPPORTED,
                   "%s has no tokenizer (tokenizer.json is missing), so it cannot read text",
                   tn_model_path(m));
}

tn_status tn_cli_tokens(const tn_model *m, const char *text, bool special, tn_ids *out, tn_error *err)
{
    TN_TRY(need_tokenizer(m, err));
    out->n = 0;
    return tn_tokenize(tn_model_tokenizer(m), text, strlen(text), TN_TOK_BOS | (special ? TN_TOK_SPECIAL : 0),
                       &out->p, &out->n, &out->cap, err);
}

static tn_status chat_tokens(const tn_model *m, const json_t *messages, const char *where, tn_ids *out,
                             tn_error *err)
{
    const tn_chat *chat;
    size_t         n = json_array_size(messages);
    tn_status      status = TN_OK;

    TN_TRY(need_tokenizer(m, err));
    TN_TRY(tn_model_chat(m, &chat, err));
    tn_message *list = calloc(n + 1, sizeof *list);
    if (list == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its messages", where);
    for (size_t i = 0; i < n; i++) {
        const json_t *msg = json_array_get(messages, i);
        TN_GOTO(tn_json_str(msg, "role", &list[i].role, where, err));
        TN_GOTO(tn_json_str(msg, "content", &list[i].content, where, err));
    }
    out->n = 0;
    tn_error why = { 0 };
    if ((status = tn_chat_render(tn_model_tokenizer(m), chat, list, n, TN_TURN_OPEN, &out->p, NULL, &out->n,
                                 &out->cap, &why)) != TN_OK)
        tn_fail(err, status, "%s: %s", where, why.msg);
out:
    free(list);
    return status;
}

tn_status tn_cli_row_tokens(const tn_model *m, const json_t *row, bool special, const char *where,
                            tn_ids *out, tn_error *err)
{
    const json_t *messages = json_object_get(row, "messages"), *prompt = json_object_get(row, "prompt");

    if (json_is_array(messages) && json_array_size(messages) == 0 && prompt == NULL)
        return tn_fail(err, TN_FORMAT, "%s: \"messages\" is empty", where);
    if (json_is_array(messages) && prompt == NULL) return chat_tokens(m, messages, where, out, err);
    if (json_is_string(prompt) && messages == NULL)
        return tn_cli_tokens(m, json_string_value(prompt), special, out, err);
    return tn_fail(err, TN_FORMAT,
                   "%s: a row must have \"prompt\" (a string) or \"messages\" (a list of {\"role\", "
                   "\"content\"}), and not both",
                   where);
}

uint64_t tn_cli_sample_id(const json_t *id, const tn_ids *prompt, uint64_t n_before)
{
    if (json_is_integer(id)) return (uint64_t)json_integer_value(id);
    if (json_is_string(id)) return tn_hash64(json_string_value(id), json_string_length(id));
    uint64_t key[2] = { tn_hash64(prompt->p, prompt->n * sizeof *prompt->p), n_before };
    return tn_hash64(key, sizeof key);
}
