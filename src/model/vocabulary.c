/* vocabulary.c - a vocabulary in GGUF's arrays to tokenizer.json and back, for byte-level BPE and for SentencePiece BPE.
 *
 * A GGUF names its pre-tokeniser (tokenizer.ggml.pre); tokenizer.json spells it out. `pres` holds both, in the form of a
 * signature: "D;" single digits, "G;" byte level with GPT-2's pattern, "B;" byte level alone, "R<pattern>;" a split. */
#include "model/write_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

// clang-format off
static const struct { const char *pre, *signature; bool ignore_merges, nfc; } pres[] = {
    { "smollm",      "D;G;", false, false },
    { "gpt-2",       "G;", false, false },
    { "llama-bpe",   "R" CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL ";B;", true, false },
    { "qwen2",       "R" CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL ";B;", false, true },
    { "gpt-4o",      "R[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" CONTRACTIONS
                     "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL ";B;", false, false },
    { "tekken",      "R[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
                     "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL ";B;", true, false },
    { "deepseek-v3", "R\\p{N}{1,3};R[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+;"
                     "R[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL ";B;", false, false },
    { "starcoder",   "D;G;", false, false },       /* the same arithmetic under other names: read, never chosen for writing */
    { "refact",      "D;G;", false, false },
    { "command-r",   "D;G;", false, false },
    { "olmo",        "G;", false, false },
    { "phi-2",       "G;", false, false },
};
// clang-format on

/* ------------------------------------------------------------------------------------------- tokenizer.json → GGUF */

static void add_signature(tn_str *s, const json_t *p)
{
    const char   *type = json_string_value(json_object_get(p, "type"));
    const json_t *list = json_object_get(p, "pretokenizers"), *pattern = json_object_get(json_object_get(p, "pattern"), "Regex");

    if (type == NULL) return;
    if (strcmp(type, "Sequence") == 0)
        for (size_t i = 0; i < json_array_size(list); i++) add_signature(s, json_array_get(list, i));
    else if (strcmp(type, "Digits") == 0 && json_is_true(json_object_get(p, "individual_digits"))) tn_str_add(s, "D;");
    else if (strcmp(type, "ByteLevel") == 0) tn_str_add(s, json_is_false(json_object_get(p, "use_regex")) ? "B;" : "G;");
    else if (strcmp(type, "Split") == 0 && json_is_string(pattern)) tn_str_addf(s, "R%s;", json_string_value(pattern));
    else tn_str_addf(s, "?%s;", type);
}

typedef struct vocabulary { const char **text; int32_t *type; int64_t n; } vocabulary;

static tn_status place(vocabulary *v, const char *text, const json_t *id, int32_t type, const char *where, tn_error *err)
{
    int64_t i = json_integer_value(id);

    if (!json_is_integer(id) || i < 0 || i >= v->n)
        return tn_fail(err, TN_MISMATCH, "%s: token '%.60s' has the id %" PRId64 ", but the weights hold %" PRId64 " rows", where, text, i, v->n);
    v->text[i] = text;
    v->type[i] = type;
    return TN_OK;
}

static bool is_byte_token(const char *t) { return strlen(t) == 6 && strncmp(t, "<0x", 3) == 0 && t[5] == '>'; }

static tn_status read_vocabulary(vocabulary *v, const json_t *tokenizer, bool spm, const char *where, tn_error *err)
{
    json_t     *vocab = json_object_get(json_object_get(tokenizer, "model"), "vocab"), *added = json_object_get(tokenizer, "added_tokens"), *id;
    const char *text;

    if (!json_is_object(vocab)) return tn_fail(err, TN_UNSUPPORTED, "%s: its model has no vocabulary of BPE: only BPE can be put into a GGUF", where);
    json_object_foreach(vocab, text, id) TN_TRY(place(v, text, id, spm && is_byte_token(text) ? 6 : 1, where, err));
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *t = json_array_get(added, i);
        text = json_string_value(json_object_get(t, "content"));
        if (text == NULL) return tn_fail(err, TN_FORMAT, "%s: an added token has no content", where);
        TN_TRY(place(v, text, json_object_get(t, "id"), json_is_true(json_object_get(t, "special")) ? 3 : 4, where, err));
    }
    return TN_OK;
}

static void add_text(tn_str *s, const char *text, size_t n)
{
    uint64_t len = n;
    tn_str_add_n(s, &len, sizeof len);
    tn_str_add_n(s, text, n);
}

static void put_tokens(tn_str *s, uint64_t *n, const vocabulary *v)
{
    tn_kv_array(s, n, "tokenizer.ggml.tokens", TN_GGUF_STR, (uint64_t)v->n);
    for (int64_t i = 0; i < v->n; i++) {
        char unused[32];
        snprintf(unused, sizeof unused, "[PAD%" PRId64 "]", i);
        const char *t = v->text[i] != NULL ? v->text[i] : unused;
        add_text(s, t, strlen(t));
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
static tn_status put_scores(tn_str *s, uint64_t *n, const vocabulary *v, const json_t *vocab, const json_t *merges, const char *where, tn_error *err)
{
    float *score = malloc((size_t)(v->n + 1) * sizeof *score);
    char   buf[4096], joined[4096];

    if (score == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its scores", where);
    for (int64_t i = 0; i < v->n; i++) score[i] = -1e9f;
    for (size_t k = json_array_size(merges); k-- > 0;) {       /* backwards: the first merge of a token counts */
        const char *t = merge_text(json_array_get(merges, k), buf, sizeof buf), *gap = t == NULL ? NULL : strchr(t + 1, ' ');
        if (gap == NULL) continue;
        snprintf(joined, sizeof joined, "%.*s%s", (int)(gap - t), t, gap + 1);
        const json_t *id = json_object_get(vocab, joined);
        if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < v->n) score[json_integer_value(id)] = -(float)k;
    }
    tn_kv_array(s, n, "tokenizer.ggml.scores", TN_GGUF_F32, (uint64_t)v->n);
    tn_str_add_n(s, score, (size_t)v->n * sizeof *score);
    free(score);
    return TN_OK;
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

tn_status tn_kv_vocabulary(tn_str *s, uint64_t *n, const json_t *tokenizer, const json_t *config, const tn_model *m, const char *where, tn_error *err)
{
    const json_t *model = json_object_get(tokenizer, "model"), *merges = json_object_get(model, "merges");
    bool          spm = json_is_true(json_object_get(model, "byte_fallback"));
    tn_str        signature = {0};
    const char   *pre = NULL;
    vocabulary    v = { .n = m->h.n_vocab };
    tn_status     status = TN_OK;

    add_signature(&signature, json_object_get(tokenizer, "pre_tokenizer"));
    for (size_t i = 0; i < sizeof pres / sizeof pres[0] && pre == NULL && signature.p != NULL; i++)
        if (strcmp(pres[i].signature, signature.p) == 0) pre = pres[i].pre;
    if (!spm && pre == NULL) {
        status = tn_fail(err, TN_UNSUPPORTED, "%s: its pre-tokeniser is none that GGUF has a name for: keep the model in Hugging Face form", where);
        goto out;
    }
    v.text = calloc((size_t)v.n + 1, sizeof *v.text);
    v.type = calloc((size_t)v.n + 1, sizeof *v.type);
    if (v.text == NULL || v.type == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its vocabulary", where);
        goto out;
    }
    TN_GOTO(read_vocabulary(&v, tokenizer, spm, where, err));
    tn_kv_str(s, n, "tokenizer.ggml.model", spm ? "llama" : "gpt2", spm ? 5 : 4);
    tn_kv_str(s, n, "tokenizer.ggml.pre", spm ? "default" : pre, strlen(spm ? "default" : pre));
    put_tokens(s, n, &v);
    if (spm) TN_GOTO(put_scores(s, n, &v, json_object_get(model, "vocab"), merges, where, err));
    else TN_GOTO(put_merges(s, n, merges, where, err));
    int64_t bos = m->tok != NULL ? tn_tokenizer_bos(m->tok) : -1, eos = m->tok != NULL ? tn_tokenizer_eos(m->tok) : -1;
    put_id(s, n, "tokenizer.ggml.bos_token_id", bos >= 0 ? bos : m->h.bos);
    put_id(s, n, "tokenizer.ggml.eos_token_id", eos >= 0 ? eos : m->h.eos);
    put_id(s, n, "tokenizer.ggml.unknown_token_id", config_id(config, "unk_token", m));
    put_id(s, n, "tokenizer.ggml.padding_token_id", config_id(config, "pad_token", m));
    tn_kv_bool(s, n, "tokenizer.ggml.add_bos_token", m->tok != NULL && tn_tokenizer_adds_bos(m->tok));
    if (!spm) tn_kv_bool(s, n, "tokenizer.ggml.add_space_prefix", false);
out:
    free(v.text);
    free(v.type);
    tn_str_free(&signature);
    return status;
}

/* ------------------------------------------------------------------------------------------- GGUF → tokenizer.json */

static json_t *pre_tokenizer(const char *signature)
{
    json_t *list = json_array();

    while (*signature != '\0') {
        if (signature[0] == 'R') {
            /* the pattern ends at the last ';' that is followed by another part or the end */
            const char *end = strstr(signature, ";R");
            const char *last = strstr(signature, ";B;");
            if (end == NULL || (last != NULL && last < end)) end = last;
            json_array_append_new(list, json_pack("{s:s, s:{s:s%}, s:s, s:b}", "type", "Split", "pattern", "Regex", signature + 1,
                                                  (size_t)(end - signature - 1), "behavior", "Isolated", "invert", 0));
            signature = end + 1;
            continue;
        }
        if (signature[0] == 'D') json_array_append_new(list, json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1));
        else json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                                                   "use_regex", signature[0] == 'G'));
        signature += 2;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

/* The ids that a list of "a b" strings joins; a piece may hold no space in byte-level BPE. */
static json_t *merge_list(const char *const *text, const size_t *bytes, int64_t n)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < n; i++) {
        const char *gap = bytes[i] < 3 ? NULL : memchr(text[i] + 1, ' ', bytes[i] - 2);
        if (gap != NULL)
            json_array_append_new(list, json_pack("[s%, s%]", text[i], (size_t)(gap - text[i]), gap + 1, bytes[i] - (size_t)(gap + 1 - text[i])));
    }
    return list;
}

static json_t *added_token(const char *text, size_t n, int64_t id, bool special)
{
    return json_pack("{s:I, s:s%, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", text, n, "single_word", 0, "lstrip", 0, "rstrip", 0,
                     "normalized", 0, "special", (int)special);
}

typedef struct arrays { const char **token, **merge; size_t *token_bytes, *merge_bytes; int64_t n_token, n_merge; const tn_gguf_kv *type; } arrays;

static json_t *bpe_json(const arrays *a, size_t i_pre)
{
    json_t *vocab = json_object(), *added = json_array(), *normalizer;

    for (int64_t i = 0; i < a->n_token; i++) {
        int64_t type = 1;
        if (a->type != NULL) tn_gguf_elem_int(a->type, (uint64_t)i, &type);
        if (type == 3 || type == 4 || type == 2) json_array_append_new(added, added_token(a->token[i], a->token_bytes[i], i, type != 4));
        if (type != 5) json_object_setn_new(vocab, a->token[i], a->token_bytes[i], json_integer(i));
    }
    normalizer = pres[i_pre].nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:n, s:{s:s, s:b, s:b, s:b}, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added, "normalizer", normalizer,
                     "pre_tokenizer", pre_tokenizer(pres[i_pre].signature), "post_processor",
                     "decoder", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                     "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", (int)pres[i_pre].ignore_merges, "vocab", vocab,
                     "merges", merge_list(a->merge, a->merge_bytes, a->n_merge));
}

static void set_token(json_t *config, const char *key, const tn_gguf *g, const char *gguf_key, const arrays *a)
{
    int64_t id;

    if (tn_gguf_int_or(g, gguf_key, 0, a->n_token - 1, -1, &id, NULL) == TN_OK && id >= 0)
        json_object_set_new(config, key, json_stringn(a->token[id], a->token_bytes[id]));
}

static tn_status config_json(json_t **out, const tn_gguf *g, const arrays *a, tn_error *err)
{
    char   *template_text;
    bool    add_bos;

    TN_TRY(tn_gguf_str(g, "tokenizer.chat_template", &template_text, err));
    json_t *c = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
    if (c != NULL && template_text != NULL) json_object_set_new(c, "chat_template", json_string(template_text));
    free(template_text);
    if (c == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its tokenizer", g->path);
    *out = c;
    TN_TRY(tn_gguf_bool_or(g, "tokenizer.ggml.add_bos_token", false, &add_bos, err));
    json_object_set_new(c, "add_bos_token", json_boolean(add_bos));
    set_token(c, "bos_token", g, "tokenizer.ggml.bos_token_id", a);
    set_token(c, "eos_token", g, "tokenizer.ggml.eos_token_id", a);
    set_token(c, "unk_token", g, "tokenizer.ggml.unknown_token_id", a);
    set_token(c, "pad_token", g, "tokenizer.ggml.padding_token_id", a);
    return TN_OK;
}

tn_status tn_vocabulary_json(json_t **tokenizer, json_t **config, const tn_gguf *g, tn_error *err)
{
    char     *model = NULL, *pre = NULL;
    arrays    a = {0};
    size_t    i_pre = 0, n_pre = sizeof pres / sizeof pres[0];
    tn_status status = TN_OK;

    *tokenizer = *config = NULL;
    TN_GOTO(tn_gguf_str(g, "tokenizer.ggml.model", &model, err));
    TN_GOTO(tn_gguf_str(g, "tokenizer.ggml.pre", &pre, err));
    while (i_pre < n_pre && pre != NULL && strcmp(pres[i_pre].pre, pre) != 0) i_pre++;
    if (model == NULL || strcmp(model, "gpt2") != 0 || pre == NULL || i_pre == n_pre) {
        status = tn_fail(err, TN_UNSUPPORTED, "%s: its vocabulary ('%s', '%s') has no tokenizer.json inside and cannot be made into one: put the "
                         "original tokenizer.json beside the written files", g->path, model != NULL ? model : "none", pre != NULL ? pre : "none");
        goto out;
    }
    TN_GOTO(tn_gguf_strings(g, "tokenizer.ggml.tokens", &a.token, &a.token_bytes, &a.n_token, err));
    TN_GOTO(tn_gguf_strings(g, "tokenizer.ggml.merges", &a.merge, &a.merge_bytes, &a.n_merge, err));
    TN_GOTO(tn_gguf_array(g, "tokenizer.ggml.token_type", &a.type, err));
    if ((*tokenizer = bpe_json(&a, i_pre)) == NULL) {
        status = tn_fail(err, TN_FORMAT, "%s: its vocabulary is no valid UTF-8, so tokenizer.json cannot hold it", g->path);
        goto out;
    }
    TN_GOTO(config_json(config, g, &a, err));
out:
    if (status != TN_OK) {
        json_decref(*tokenizer);
        json_decref(*config);
        *tokenizer = *config = NULL;
    }
    free(model);
    free(pre);
    free(a.token);
    free(a.token_bytes);
    free(a.merge);
    free(a.merge_bytes);
    return status;
}
