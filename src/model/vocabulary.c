/* vocabulary.c - tokenizer.json to a GGUF's arrays, for byte-level BPE and for SentencePiece BPE.
 * vocabulary_json.c goes back.
 *
 * A GGUF names its pre-tokeniser (tokenizer.ggml.pre) where tokenizer.json spells it out; the tokenizer room
 * knows the names. What a GGUF cannot say is an error: ids that are nearly right are wrong. */
#include "model/write_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81"

typedef struct vocabulary {
    const char **text;
    int32_t     *type;
    int64_t      n;
} vocabulary;

static tn_status place(vocabulary *v, const char *text, const json_t *id, int32_t type, const char *where,
                       tn_error *err)
{
    int64_t i = json_integer_value(id);

    if (!json_is_integer(id) || i < 0 || i >= v->n)
        return tn_fail(err, TN_MISMATCH,
                       "%s: token '%.60s' has the id %" PRId64 ", but the weights hold %" PRId64 " rows",
                       where, text, i, v->n);
    v->text[i] = text;
    v->type[i] = type;
    return TN_OK;
}

static bool is_byte_token(const char *t)
{
    return strlen(t) == 6 && strncmp(t, "<0x", 3) == 0 && t[5] == '>';
}

static tn_status read_vocabulary(vocabulary *v, const json_t *tokenizer, bool spm, const char *where,
                                 tn_error *err)
{
    json_t *vocab = json_object_get(json_object_get(tokenizer, "model"), "vocab"),
           *added = json_object_get(tokenizer, "added_tokens"), *id;
    const char *text;

    if (!json_is_object(vocab))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: its model has no vocabulary of BPE: only BPE can be put into a GGUF", where);
    json_object_foreach(vocab, text, id)
        TN_TRY(place(v, text, id, spm && is_byte_token(text) ? 6 : 1, where, err));
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *t = json_array_get(added, i);
        text = json_string_value(json_object_get(t, "content"));
        if (text == NULL) return tn_fail(err, TN_FORMAT, "%s: an added token has no content", where);
        TN_TRY(place(v, text, json_object_get(t, "id"), json_is_true(json_object_get(t, "special")) ? 3 : 4,
                     where, err));
    }
    return TN_OK;
}

static void add_text(tn_str *s, const char *text, size_t n)
{
    uint64_t len = n;
    tn_str_add_n(s, &len, sizeof len);
    tn_str_add_n(s, text, n);
}

/* A user's token as readers look for it in the text: with spaces where tokenizer.json has marks. */
static void add_spaced(tn_str *s, const char *text)
{
    tn_str t = { .max = SIZE_MAX / 2 };

    for (const char *at = text, *mark; *at != '\0'; at = mark + strlen(MARK)) {
        if ((mark = strstr(at, MARK)) == NULL) {
            tn_str_add(&t, at);
            break;
        }
        tn_str_add_n(&t, at, (size_t)(mark - at));
        tn_str_add_char(&t, ' ');
    }
    if (t.failed) s->failed = true;
    else add_text(s, t.p != NULL ? t.p : "", t.len);
    tn_str_free(&t);
}

static void put_tokens(tn_str *s, uint64_t *n, const vocabulary *v, bool spm)
{
    tn_kv_array(s, n, "tokenizer.ggml.tokens", TN_GGUF_STR, (uint64_t)v->n);
    for (int64_t i = 0; i < v->n; i++) {
        char unused[32];
        snprintf(unused, sizeof unused, "[PAD%" PRId64 "]", i);
        const char *t = v->text[i] != NULL ? v->text[i] : unused;
        if (spm && v->type[i] == 4) add_spaced(s, t);
        else add_text(s, t, strlen(t));
    }
    tn_kv_array(s, n, "tokenizer.ggml.token_type", TN_GGUF_I32, (uint64_t)v->n);
    for (int64_t i = 0; i < v->n; i++) {
        int32_t type = v->text[i] != NULL ? v->type[i] : 5;
        tn_str_add_n(s, &type, sizeof type);
    }
}

static const char *merge_text(const json_t *m, char *buf, size_t size)
{
    if (json_is_string(m)) return json_string_value(m);
    const char *a = json_string_value(json_array_get(m, 0)), *b = json_string_value(json_array_get(m, 1));
    if (a == NULL || b == NULL || snprintf(buf, size, "%s %s", a, b) >= (int)size) return NULL;
    return buf;
}

static tn_status put_merges(tn_str *s, uint64_t *n, const json_t *merges, const char *where, tn_error *err)
{
    char buf[4096];

    tn_kv_array(s, n, "tokenizer.ggml.merges", TN_GGUF_STR, json_array_size(merges));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *t = merge_text(json_array_get(merges, i), buf, sizeof buf);
        if (t == NULL) return tn_fail(err, TN_FORMAT, "%s: merge %zu is no pair of tokens", where, i);
        add_text(s, t, strlen(t));
    }
    return TN_OK;
}

/* SentencePiece orders merges by the score of the result: the earlier the merge, the better. */
static tn_status put_scores(tn_str *s, uint64_t *n, const vocabulary *v, const json_t *vocab,
                            const json_t *merges, const char *where, tn_error *err)
{
    float *score = malloc((size_t)(v->n + 1) * sizeof *score);
    char   buf[4096], joined[4096];

    if (score == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its scores", where);
    for (int64_t i = 0; i < v->n; i++) score[i] = -1e9f;
    for (size_t k = json_array_size(merges); k-- > 0;) { /* backwards: the first merge of a token counts */
        const char *t = merge_text(json_array_get(merges, k), buf, sizeof buf),
                   *gap = t == NULL ? NULL : strchr(t + 1, ' ');
        if (gap == NULL) continue;
        snprintf(joined, sizeof joined, "%.*s%s", (int)(gap - t), t, gap + 1);
        const json_t *id = json_object_get(vocab, joined);
        if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < v->n)
            score[json_integer_value(id)] = -(float)k;
    }
    tn_kv_array(s, n, "tokenizer.ggml.scores", TN_GGUF_F32, (uint64_t)v->n);
    tn_str_add_n(s, score, (size_t)v->n * sizeof *score);
    free(score);
    return TN_OK;
}

/* -------------------------------------------------------------------------------------- SentencePiece BPE */

static bool is_text(const json_t *v, const char *text)
{
    return json_is_string(v) && strcmp(json_string_value(v), text) == 0;
}

/* The ways in which tokenizer.json files say what SentencePiece does: every space becomes U+2581, with or
 * without one in front of the text. false: this file says something else. */
static bool read_spaces(const json_t *part, const char *list, bool *replaced, bool *in_front)
{
    const char   *type = json_string_value(json_object_get(part, "type")), *scheme;
    const json_t *items = json_object_get(part, list),
                 *pattern = json_object_get(json_object_get(part, "pattern"), "String");

    if (part == NULL || json_is_null(part)) return true;
    if (type == NULL) return false;
    if (strcmp(type, "Sequence") == 0) {
        for (size_t i = 0; i < json_array_size(items); i++)
            if (!read_spaces(json_array_get(items, i), list, replaced, in_front)) return false;
        return true;
    }
    if (strcmp(type, "Prepend") == 0 && is_text(json_object_get(part, "prepend"), MARK))
        return *in_front = true;
    if (strcmp(type, "Replace") == 0 && is_text(pattern, " ") &&
        is_text(json_object_get(part, "content"), MARK))
        return *replaced = true;
    /* Gemma's: there is no space left to split at. */
    if (strcmp(type, "Split") == 0 && is_text(pattern, " ") && *replaced) return true;
    if (strcmp(type, "Metaspace") != 0 || !is_text(json_object_get(part, "replacement"), MARK)) return false;
    if (!json_is_false(json_object_get(part, "split"))) return false;
    scheme = json_string_value(json_object_get(part, "prepend_scheme"));
    if (scheme != NULL ? strcmp(scheme, "never") != 0
                       : !json_is_false(json_object_get(part, "add_prefix_space")))
        *in_front = true;
    return *replaced = true;
}

static void put_id(tn_str *s, uint64_t *n, const char *key, int64_t id)
{
    if (id >= 0) tn_kv_u32(s, n, key, id);
}

/* Id of a token that tokenizer_config.json names ("bos_token": text or {"content"}). */
static int64_t config_id(const json_t *config, const char *key, const tn_model *m)
{
    const json_t *t = json_object_get(config, key);
    const char   *text = json_string_value(json_is_object(t) ? json_object_get(t, "content") : t);

    return text != NULL && m->tok != NULL ? tn_tokenizer_find(m->tok, text) : -1;
}

tn_status tn_kv_vocabulary(tn_str *s, uint64_t *n, const json_t *tokenizer, const json_t *config,
                           const tn_model *m, const char *where, tn_error *err)
{
    const json_t *model = json_object_get(tokenizer, "model"), *merges = json_object_get(model, "merges");
    bool spm = json_is_true(json_object_get(model, "byte_fallback")), replaced = false, in_front = false;
    const char *pre = m->tok != NULL ? tn_tokenizer_pre(m->tok) : NULL;
    vocabulary  v = { .n = m->h.n_vocab };
    tn_status   status = TN_OK;

    if (spm &&
        (!read_spaces(json_object_get(tokenizer, "normalizer"), "normalizers", &replaced, &in_front) ||
         !read_spaces(json_object_get(tokenizer, "pre_tokenizer"), "pretokenizers", &replaced, &in_front) ||
         !replaced))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: its normalizer or pre_tokenizer does what a SentencePiece vocabulary in GGUF "
                       "cannot: keep the "
                       "model in Hugging Face form",
                       where);
    if (!spm && pre == NULL)
        return tn_fail(
            err, TN_UNSUPPORTED,
            "%s: its pre-tokeniser is none that GGUF has a name for: keep the model in Hugging Face form",
            where);
    v.text = calloc((size_t)v.n + 1, sizeof *v.text);
    v.type = calloc((size_t)v.n + 1, sizeof *v.type);
    if (v.text == NULL || v.type == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its vocabulary", where);
        goto out;
    }
    TN_GOTO(read_vocabulary(&v, tokenizer, spm, where, err));
    tn_kv_str(s, n, "tokenizer.ggml.model", spm ? "llama" : "gpt2", spm ? 5 : 4);
    tn_kv_str(s, n, "tokenizer.ggml.pre", spm ? "default" : pre, strlen(spm ? "default" : pre));
    put_tokens(s, n, &v, spm);
    if (spm) TN_GOTO(put_scores(s, n, &v, json_object_get(model, "vocab"), merges, where, err));
    else TN_GOTO(put_merges(s, n, merges, where, err));
    int64_t bos = m->tok != NULL ? tn_tokenizer_bos(m->tok) : -1,
            eos = m->tok != NULL ? tn_tokenizer_eos(m->tok) : -1;
    put_id(s, n, "tokenizer.ggml.bos_token_id", bos >= 0 ? bos : m->h.bos);
    put_id(s, n, "tokenizer.ggml.eos_token_id", eos >= 0 ? eos : m->h.eos);
    put_id(s, n, "tokenizer.ggml.unknown_token_id", config_id(config, "unk_token", m));
    put_id(s, n, "tokenizer.ggml.padding_token_id", config_id(config, "pad_token", m));
    tn_kv_bool(s, n, "tokenizer.ggml.add_bos_token", m->tok != NULL && tn_tokenizer_adds_bos(m->tok));
    tn_kv_bool(s, n, "tokenizer.ggml.add_space_prefix", spm && in_front);
out:
    free(v.text);
    free(v.type);
    return status;
}
