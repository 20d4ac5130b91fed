/* open.c - opens a model whatever form it has: a .gguf file (or the first of a split one), or a directory.
 *
 *   path ──→ file index (gguf | safetensors + config.json) ──→ hyper-parameters ──→ weights by GGUF name ──→ tokenizer, chat
 *
 * Weights stay in the map as the file has them. What operations need otherwise (packed matrices, f32 vectors,
 * stacked experts) is made once, here. */
#include "model/open.h"

#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Q and K rows of Llama in GGUF and the frequencies' divisors say how to rotate; they are no weights of the
 * forward. */
static tn_status take_rope_freqs(tn_model *m, const tn_gguf_tensor *t, tn_error *err)
{
    if (t->n_dim != 1 || t->shape[0] * 2 != m->h.d_rope || (t->dtype != TN_F32 && t->dtype != TN_F16))
        return tn_fail(err, TN_FORMAT,
                       "%s: tensor 'rope_freqs.weight' must hold %" PRId64
                       " numbers (half of the rotated dimensions)",
                       m->path, m->h.d_rope / 2);
    m->freq_factors = malloc((size_t)t->shape[0] * sizeof *m->freq_factors);
    if (m->freq_factors == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for 'rope_freqs.weight'", m->path);
    tn_row_to_f32(m->freq_factors, t->data, t->dtype, t->shape[0]);
    for (int64_t i = 0; i < t->shape[0]; i++)
        if (!(m->freq_factors[i] > 0 && m->freq_factors[i] < 1e9f))
            return tn_fail(err, TN_FORMAT, "%s: 'rope_freqs.weight' [%" PRId64 "] is no positive number",
                           m->path, i);
    m->h.rope.freq_factors = m->freq_factors;
    return TN_OK;
}

static tn_status gguf_weights(tn_model *m, const tn_gguf *g, tn_error *err)
{
    for (size_t i = 0; i < g->n_tensor; i++) {
        const tn_gguf_tensor *t = &g->tensors[i];
        if (strcmp(t->name, "rope_freqs.weight") == 0) TN_TRY(take_rope_freqs(m, t, err));
        else if (m->h.tied && strcmp(t->name, "output.weight") == 0) continue; /* a copy of the embedding */
        else if (!tn_gguf_is_split_kv_b(t))
            TN_TRY(tn_model_add(m, t->name, t->dtype, t->n_dim, t->shape, t->data, NULL, err));
    }
    return TN_OK;
}

/* --------------------------------------------------------------------------------------- vocabulary, chat */

static tn_status token_numbers(const tn_gguf *g, const char *key, int64_t n, int32_t **ints, float **reals,
                               tn_error *err)
{
    const tn_gguf_kv *kv;

    TN_TRY(tn_gguf_array(g, key, &kv, err));
    if (kv == NULL) return TN_OK;
    if (kv->n != (uint64_t)n)
        return tn_fail(err, TN_FORMAT, "%s: '%s' has %" PRIu64 " entries, 'tokenizer.ggml.tokens' %" PRId64,
                       g->path, key, kv->n, n);
    if (ints != NULL) *ints = malloc((size_t)(n + 1) * sizeof **ints);
    if (reals != NULL) *reals = malloc((size_t)(n + 1) * sizeof **reals);
    if ((ints != NULL && *ints == NULL) || (reals != NULL && *reals == NULL))
        return tn_fail(err, TN_NOMEM, "%s: no memory for '%s'", g->path, key);
    for (int64_t i = 0; i < n; i++) {
        int64_t v = 0;
        double  d = 0;
        if (ints != NULL ? !tn_gguf_elem_int(kv, (uint64_t)i, &v) || v < 0 || v > 6
                         : !tn_gguf_elem_real(kv, (uint64_t)i, &d))
            return tn_fail(err, TN_FORMAT, "%s: '%s' [%" PRId64 "] is not of the expected kind", g->path, key,
                           i);
        if (ints != NULL) (*ints)[i] = (int32_t)v;
        else (*reals)[i] = (float)d;
    }
    return TN_OK;
}

static tn_status add_flag(const tn_gguf *g, const char *key, int *out, tn_error *err)
{
    bool v;

    *out = -1;
    if (tn_gguf_find(g, key) == NULL) return TN_OK;
    TN_TRY(tn_gguf_bool_or(g, key, false, &v, err));
    *out = v;
    return TN_OK;
}

tn_status tn_open_gguf_tokenizer(tn_tokenizer **out, const tn_gguf *g, const char *template_text,
                                 tn_error *err)
{
    tn_vocab_source   v = { .chat_template = template_text };
    char             *model = NULL, *pre = NULL;
    const char      **tokens = NULL, **merges = NULL;
    size_t           *token_bytes = NULL, *merge_bytes = NULL;
    int32_t          *types = NULL;
    float            *scores = NULL;
    const tn_gguf_kv *map;
    tn_status         status = TN_OK;

    TN_GOTO(tn_gguf_str(g, "tokenizer.ggml.model", &model, err));
    /* a file of weights alone */
    if (model == NULL || tn_gguf_find(g, "tokenizer.ggml.tokens") == NULL) goto out;
    TN_GOTO(tn_gguf_str(g, "tokenizer.ggml.pre", &pre, err));
    TN_GOTO(tn_gguf_strings(g, "tokenizer.ggml.tokens", &tokens, &token_bytes, &v.n_token, err));
    TN_GOTO(tn_gguf_strings(g, "tokenizer.ggml.merges", &merges, &merge_bytes, &v.n_merge, err));
    TN_GOTO(token_numbers(g, "tokenizer.ggml.token_type", v.n_token, &types, NULL, err));
    TN_GOTO(token_numbers(g, "tokenizer.ggml.scores", v.n_token, NULL, &scores, err));
    TN_GOTO(tn_gguf_int_or(g, "tokenizer.ggml.bos_token_id", 0, v.n_token - 1, -1, &v.bos, err));
    TN_GOTO(tn_gguf_int_or(g, "tokenizer.ggml.eos_token_id", 0, v.n_token - 1, -1, &v.eos, err));
    TN_GOTO(tn_gguf_int_or(g, "tokenizer.ggml.eot_token_id", 0, v.n_token - 1, -1, &v.eot, err));
    TN_GOTO(tn_gguf_int_or(g, "tokenizer.ggml.unknown_token_id", 0, v.n_token - 1, -1, &v.unk, err));
    TN_GOTO(tn_gguf_int_or(g, "tokenizer.ggml.padding_token_id", 0, v.n_token - 1, -1, &v.pad, err));
    TN_GOTO(add_flag(g, "tokenizer.ggml.add_bos_token", &v.add_bos, err));
    TN_GOTO(add_flag(g, "tokenizer.ggml.add_eos_token", &v.add_eos, err));
    TN_GOTO(add_flag(g, "tokenizer.ggml.add_space_prefix", &v.add_space_prefix, err));
    TN_GOTO(
        tn_gguf_bool_or(g, "tokenizer.ggml.remove_extra_whitespaces", false, &v.remove_extra_spaces, err));
    if ((map = tn_gguf_find(g, "tokenizer.ggml.precompiled_charsmap")) != NULL) {
        if (map->type != TN_GGUF_ARRAY || (map->elem != TN_GGUF_U8 && map->elem != TN_GGUF_I8)) {
            status = tn_fail(err, TN_FORMAT,
                             "%s: 'tokenizer.ggml.precompiled_charsmap' is not an array of bytes", g->path);
            goto out;
        }
        v.charsmap = map->value;
        v.charsmap_bytes = map->n;
    }
    v.model = model;
    v.pre = pre;
    v.tokens = tokens;
    v.token_bytes = token_bytes;
    v.merges = merges;
    v.merge_bytes = merge_bytes;
    v.types = types;
    v.scores = scores;
    TN_GOTO(tn_tokenizer_from_vocab(out, &v, g->path, err));
out:
    free(model);
    free(pre);
    free(tokens);
    free(token_bytes);
    free(merges);
    free(merge_bytes);
    free(types);
    free(scores);
    return status;
}

/* "what 'which'", and the formats that may be chosen. */
static tn_status no_format(tn_error *err, tn_status code, const char *what, const char *which,
                           const char *how)
{
    tn_str names = { .max = 1 << 10 };

    tn_chat_format_names(&names);
    tn_fail(err, code, "%s '%.80s': choose one %s %s", what, which, how, names.p != NULL ? names.p : "NAME");
    tn_str_free(&names);
    return code;
}

/* What the template says, unless the caller chose a format; why not, if neither does. */
tn_status tn_open_chat(tn_model *m, const char *template_text, const char *chosen, tn_error *err)
{
    tn_error why = { 0 };

    if (chosen != NULL) {
        if (!tn_chat_format_parse(chosen, &m->chat.format))
            return no_format(err, TN_USAGE, "unknown chat format", chosen, "of");
        m->chat_status = TN_OK;
        m->chat_chosen = true;
        return TN_OK;
    }
    if (template_text == NULL) {
        m->chat_status = TN_UNSUPPORTED;
        no_format(&why, TN_UNSUPPORTED, "no chat template in", m->path, "with --chat-format");
        snprintf(m->chat_why, sizeof m->chat_why, "%.500s", why.msg);
        return TN_OK;
    }
    m->chat_status = tn_chat_recognise(&m->chat, template_text, m->tok, &why);
    if (m->chat_status != TN_OK)
        snprintf(m->chat_why, sizeof m->chat_why, "%.150s: %.350s", m->path, why.msg);
    return TN_OK;
}

tn_status tn_model_choose_chat(tn_model *m, const char *format, tn_error *err)
{
    return tn_open_chat(m, NULL, format, err);
}

static tn_status check_tokenizer(const tn_model *m, tn_error *err)
{
    if (m->tok != NULL && tn_tokenizer_n_vocab(m->tok) > m->h.n_vocab)
        return tn_fail(err, TN_MISMATCH,
                       "%s: its tokenizer has %" PRId64 " tokens, but its weights hold %" PRId64
                       ": they do not belong "
                       "together",
                       m->path, tn_tokenizer_n_vocab(m->tok), m->h.n_vocab);
    return TN_OK;
}

static tn_status open_gguf(tn_model *m, const tn_model_options *o, tn_error *err)
{
    char     *template_text = NULL;
    tn_status status = TN_OK;

    m->origin = TN_ORIGIN_GGUF;
    TN_TRY(tn_open_gguf_files(m, err));
    TN_TRY(tn_hparams_from_gguf(&m->h, m->gguf, m->n_gguf, err));
    for (size_t i = 0; i < m->n_gguf; i++) TN_TRY(gguf_weights(m, m->gguf[i], err));
    TN_TRY(tn_gguf_join_kv_b(m, err));
    TN_GOTO(tn_gguf_str(m->gguf[0], "tokenizer.chat_template", &template_text, err));
    TN_GOTO(tn_open_gguf_tokenizer(&m->tok_own, m->gguf[0], template_text, err));
    m->tok = m->tok_own;
    TN_GOTO(tn_open_chat(m, template_text, o->chat_format, err));
out:
    free(template_text);
    return status;
}

/* A release directory holds its weights in Hugging Face form, or as one .gguf beside the other files: then
 * that file is the model. *file (made: free) is NULL when `path` is to be opened as it is. */
static tn_status gguf_inside(char **file, const char *path, tn_error *err)
{
    tn_status      status = TN_OK;
    DIR           *d;
    struct dirent *e;
    char          *config = tn_path(path, "config.json");
    bool           hf = config != NULL && tn_exists(config);

    *file = NULL;
    free(config);
    if (hf || !tn_is_dir(path)) return TN_OK;
    if ((d = opendir(path)) == NULL)
        return tn_fail(err, TN_IO, "%s: cannot read this folder: %s", path, strerror(errno));
    while (status == TN_OK && (e = readdir(d)) != NULL) {
        if (!tn_ends_with(e->d_name, ".gguf")) continue;
        if (*file != NULL)
            status = tn_fail(err, TN_USAGE,
                             "%s holds more than one .gguf: name the one that is meant, such as %s", path,
                             *file);
        else if ((*file = tn_path(path, e->d_name)) == NULL)
            status = tn_fail(err, TN_NOMEM, "%s: no memory for a path", path);
    }
    closedir(d);
    if (status != TN_OK) {
        free(*file);
        *file = NULL;
    }
    return status;
}

tn_status tn_model_open(tn_model **out, const char *path, const tn_model_options *options, tn_error *err)
{
    static const tn_model_options plain = { .weights = true };
    const tn_model_options       *o = options != NULL ? options : &plain;
    tn_model                     *m = NULL;
    tn_status                     status = TN_OK;
    char                         *file = NULL;

    *out = NULL;
    TN_GOTO(gguf_inside(&file, path, err));
    if (file != NULL) path = file;
    TN_GOTO(tn_model_new(&m, path, err));
    m->profile = o->profile;
    m->nameless = o->nameless;
    m->headers_only = !o->weights;
    if (!tn_exists(path)) {
        status = tn_fail(
            err, TN_NOTFOUND,
            "%s: no such model: a directory in Hugging Face form, a .gguf file or a release is expected",
            path);
        goto out;
    }
    if (tn_is_dir(path)) TN_GOTO(tn_open_hf(m, o, err));
    else TN_GOTO(open_gguf(m, o, err));
    TN_GOTO(check_tokenizer(m, err));
    TN_GOTO(tn_model_seal(m, err));
    if (o->weights && o->pack) TN_GOTO(tn_model_pack(m, err));
    *out = m;
    m = NULL;
out:
    free(file);
    tn_model_close(m);
    return status;
}
