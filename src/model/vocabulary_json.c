/* vocabulary_json.c - a GGUF's vocabulary as tokenizer.json and tokenizer_config.json, for files that carry
 * none.
 *
 *   byte-level BPE   the pre-tokeniser's name becomes its patterns; merges as they are
 *   SentencePiece    scores become merges: every cut of a token in two tokens, better scores first, as Hugging Face's own
 *                    converter writes Llama 2's file. Equal where scores differ from token to token, as real ones do. */
#include "model/open.h"
#include "model/write_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };

typedef struct arrays {
    const char      **token, **merge;
    size_t           *token_bytes, *merge_bytes;
    int64_t           n_token, n_merge;
    const tn_gguf_kv *type, *score;
    tn_tokenizer     *t; /* the same vocabulary as it is used: what counts as special there is special here */
} arrays;

static int64_t type_of(const arrays *a, int64_t id)
{
    int64_t type = NORMAL;

    if (a->type != NULL) tn_gguf_elem_int(a->type, (uint64_t)id, &type);
    return type;
}

/* The ids that a list of "a b" strings joins; a piece may hold no space in byte-level BPE. */
static json_t *merge_list(const arrays *a)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < a->n_merge; i++) {
        const char *text = a->merge[i],
                   *gap = a->merge_bytes[i] < 3 ? NULL : memchr(text + 1, ' ', a->merge_bytes[i] - 2);

        if (gap != NULL)
            json_array_append_new(list, json_pack("[s%, s%]", text, (size_t)(gap - text), gap + 1,
                                                  a->merge_bytes[i] - (size_t)(gap + 1 - text)));
    }
    return list;
}

/* --------------------------------------------------------------------------------------- scores to merges */

typedef struct cut {
    double  score;
    int64_t order;
    int64_t left, right;
    size_t  at;
} cut;

static int better(const void *x, const void *y)
{
    const cut *a = x, *b = y;

    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->order != b->order) return a->order < b->order ? -1 : 1;
    if (a->left != b->left) return a->left < b->left ? -1 : 1;
    return a->right < b->right ? -1 : a->right > b->right;
}

static size_t character_bytes(const char *p, size_t n)
{
    uint32_t cp;
    int      len = tn_utf8_decode(p, n, &cp);

    return len > 0 ? (size_t)len : 1;
}

static bool is_joined(const arrays *a, int64_t id)
{
    int64_t type = type_of(a, id);

    return type != CONTROL && type != BYTE && !tn_tokenizer_is_special(a->t, (int32_t)id);
}

/* Every way to cut a token in two tokens. With list NULL only counts. */
static size_t find_cuts(const arrays *a, const json_t *vocab, cut *list)
{
    size_t n = 0;

    for (int64_t id = 0; id < a->n_token; id++) {
        const char *text = a->token[id];
        size_t      bytes = a->token_bytes[id];
        double      score = 0;

        if (type_of(a, id) == UNUSED || !is_joined(a, id)) continue;
        if (list != NULL) tn_gguf_elem_real(a->score, (uint64_t)id, &score);
        for (size_t at = character_bytes(text, bytes); at < bytes;
             at += character_bytes(text + at, bytes - at)) {
            const json_t *l = json_object_getn(vocab, text, at),
                         *r = json_object_getn(vocab, text + at, bytes - at);

            if (l == NULL || r == NULL || !is_joined(a, json_integer_value(l)) ||
                !is_joined(a, json_integer_value(r)))
                continue;
            if (list != NULL) list[n] = (cut){ score, id, json_integer_value(l), json_integer_value(r), at };
            n++;
        }
    }
    return n;
}

static json_t *merges_of_scores(const arrays *a, const json_t *vocab)
{
    size_t  n = find_cuts(a, vocab, NULL);
    cut    *list = malloc((n + 1) * sizeof *list);
    json_t *out = list != NULL ? json_array() : NULL;

    if (out != NULL) {
        find_cuts(a, vocab, list);
        qsort(list, n, sizeof *list, better);
        for (size_t i = 0; i < n; i++) {
            const char *text = a->token[list[i].order];

            json_array_append_new(out, json_pack("[s%, s%]", text, list[i].at, text + list[i].at,
                                                 a->token_bytes[list[i].order] - list[i].at));
        }
    }
    free(list);
    return out;
}

/* -------------------------------------------------------------------------------------- parts of the file */

static json_t *split_at(const char *pattern)
{
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern, "behavior",
                     "Isolated", "invert", 0);
}

static json_t *byte_level(bool regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                     "use_regex", (int)regex);
}

static json_t *pre_tokenizer(char *const pattern[TN_PRE_PASSES])
{
    json_t *list = json_array();

    for (int i = 0; i < TN_PRE_PASSES && pattern[i] != NULL; i++)
        json_array_append_new(list, split_at(pattern[i]));
    json_array_append_new(list, byte_level(false));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

static json_t *spm_normalizer(bool in_front)
{
    json_t *list = json_array();

    if (in_front) json_array_append_new(list, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", MARK));
    json_array_append_new(
        list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", MARK));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *spm_decoder(bool in_front)
{
    json_t *list = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                             MARK, "content", " ", "type", "ByteFallback", "type", "Fuse");

    if (in_front)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static json_t *special_part(const char *text, size_t n)
{
    return json_pack("{s:{s:s%, s:i}}", "SpecialToken", "id", text, n, "type_id", 0);
}

static void add_ids(json_t *list, json_t *tokens, const arrays *a, int32_t id)
{
    if (id < 0) return;
    json_array_append_new(list, special_part(a->token[id], a->token_bytes[id]));
    json_object_setn_new(tokens, a->token[id], a->token_bytes[id],
                         json_pack("{s:s%, s:[i], s:[s%]}", "id", a->token[id], a->token_bytes[id], "ids",
                                   (int)id, "tokens", a->token[id], a->token_bytes[id]));
}

/* BOS and EOS around a text, as the vocabulary asks for them. */
static json_t *post_processor(const arrays *a, bool add_eos)
{
    int32_t bos = tn_tokenizer_adds_bos(a->t) ? tn_tokenizer_bos(a->t) : -1,
            eos = add_eos ? tn_tokenizer_eos(a->t) : -1;
    json_t *single = json_array(), *tokens = json_object(), *pair;

    if (bos < 0 && eos < 0) {
        json_decref(single);
        json_decref(tokens);
        return json_null();
    }
    add_ids(single, tokens, a, bos);
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    add_ids(single, tokens, a, eos);
    pair = json_deep_copy(single);
    json_array_append_new(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
    add_ids(pair, tokens, a, eos);
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", tokens);
}

static void read_tokens(json_t *vocab, json_t *added, const arrays *a)
{
    for (int64_t i = 0; i < a->n_token; i++) {
        int64_t type = type_of(a, i);
        bool    special = tn_tokenizer_is_special(a->t, (int32_t)i) || type == CONTROL || type == UNKNOWN;

        if (type == UNUSED) continue;
        json_object_setn_new(vocab, a->token[i], a->token_bytes[i], json_integer(i));
        if (special || type == USER)
            json_array_append_new(added, json_pack("{s:I, s:s%, s:b, s:b, s:b, s:b, s:b}", "id",
                                                   (json_int_t)i, "content", a->token[i], a->token_bytes[i],
                                                   "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized",
                                                   0, "special", (int)special));
    }
}

static json_t *whole(json_t *added, json_t *normalizer, json_t *pre, json_t *post, json_t *decoder,
                     json_t *model)
{
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation",
                     "padding", "added_tokens", added, "normalizer", normalizer, "pre_tokenizer", pre,
                     "post_processor", post, "decoder", decoder, "model", model);
}

static json_t *bpe_json(const arrays *a, const char *pre, bool add_eos)
{
    char *pattern[TN_PRE_PASSES];
    /* their own files normalise; GGUF cannot say so */
    bool    whole_pieces, nfc = strcmp(pre, "qwen2") == 0 || strcmp(pre, "qwen35") == 0;
    json_t *vocab = json_object(), *added = json_array(), *out;

    if (!tn_pre_spell(pre, pattern, &whole_pieces)) return NULL;
    read_tokens(vocab, added, a);
    out = whole(added, nfc ? json_pack("{s:s}", "type", "NFC") : json_null(), pre_tokenizer(pattern),
                post_processor(a, add_eos), byte_level(true),
                json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                          "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                          "byte_fallback", 0, "ignore_merges", (int)whole_pieces, "vocab", vocab, "merges",
                          merge_list(a)));
    for (int i = 0; i < TN_PRE_PASSES; i++) free(pattern[i]);
    return out;
}

static json_t *spm_json(const arrays *a, const tn_gguf *g, bool add_eos)
{
    json_t *vocab = json_object(), *added = json_array(), *unk_token = json_null(), *merges;
    bool    in_front;
    int64_t unk;

    if (tn_gguf_bool_or(g, "tokenizer.ggml.add_space_prefix", true, &in_front, NULL) != TN_OK)
        in_front = true;
    if (tn_gguf_int_or(g, "tokenizer.ggml.unknown_token_id", 0, a->n_token - 1, -1, &unk, NULL) == TN_OK &&
        unk >= 0)
        unk_token = json_stringn(a->token[unk], a->token_bytes[unk]);
    read_tokens(vocab, added, a);
    merges = merges_of_scores(a, vocab);
    return whole(
        added, spm_normalizer(in_front), json_null(), post_processor(a, add_eos), spm_decoder(in_front),
        json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                  unk_token, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 1,
                  "byte_fallback", 1, "ignore_merges", 0, "vocab", vocab, "merges", merges));
}

static void set_token(json_t *config, const char *key, const tn_gguf *g, const char *gguf_key,
                      const arrays *a)
{
    int64_t id;

    if (tn_gguf_int_or(g, gguf_key, 0, a->n_token - 1, -1, &id, NULL) == TN_OK && id >= 0)
        json_object_set_new(config, key, json_stringn(a->token[id], a->token_bytes[id]));
}

static tn_status config_json(json_t **out, const tn_gguf *g, const arrays *a, bool add_eos, tn_error *err)
{
    char   *template_text;
    json_t *c;

    TN_TRY(tn_gguf_str(g, "tokenizer.chat_template", &template_text, err));
    c = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces",
                  0);
    if (c != NULL && template_text != NULL)
        json_object_set_new(c, "chat_template", json_string(template_text));
    free(template_text);
    if (c == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its tokenizer", g->path);
    *out = c;
    json_object_set_new(c, "add_bos_token", json_boolean(tn_tokenizer_adds_bos(a->t)));
    json_object_set_new(c, "add_eos_token", json_boolean(add_eos));
    set_token(c, "bos_token", g, "tokenizer.ggml.bos_token_id", a);
    set_token(c, "eos_token", g, "tokenizer.ggml.eos_token_id", a);
    set_token(c, "unk_token", g, "tokenizer.ggml.unknown_token_id", a);
    set_token(c, "pad_token", g, "tokenizer.ggml.padding_token_id", a);
    return TN_OK;
}

tn_status tn_vocabulary_json(json_t **tokenizer, json_t **config, const tn_gguf *g, tn_error *err)
{
    char     *model = NULL, *pre = NULL, *pattern[TN_PRE_PASSES] = { 0 };
    arrays    a = { 0 };
    bool      spm, add_eos, ignored;
    tn_status status = TN_OK;

    *tokenizer = *config = NULL;
    TN_GOTO(tn_gguf_str(g, "tokenizer.ggml.model", &model, err));
    TN_GOTO(tn_gguf_str(g, "tokenizer.ggml.pre", &pre, err));
    if (pre == NULL && (pre = tn_strdup("default")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its tokenizer", g->path);
        goto out;
    }
    spm = model != NULL && strcmp(model, "llama") == 0;
    if (!spm && (model == NULL || strcmp(model, "gpt2") != 0 || !tn_pre_spell(pre, pattern, &ignored))) {
        status = tn_fail(err, TN_UNSUPPORTED,
                         "%s: its vocabulary ('%s', '%s') has no tokenizer.json inside and cannot be made "
                         "into one: put the "
                         "original tokenizer.json beside the written files",
                         g->path, model != NULL ? model : "none", pre);
        goto out;
    }
    TN_GOTO(tn_open_gguf_tokenizer(&a.t, g, NULL, err));
    if (a.t == NULL) {
        status = tn_fail(err, TN_NOTFOUND, "%s: holds no vocabulary (tokenizer.ggml.tokens)", g->path);
        goto out;
    }
    TN_GOTO(tn_gguf_strings(g, "tokenizer.ggml.tokens", &a.token, &a.token_bytes, &a.n_token, err));
    TN_GOTO(tn_gguf_strings(g, "tokenizer.ggml.merges", &a.merge, &a.merge_bytes, &a.n_merge, err));
    TN_GOTO(tn_gguf_array(g, "tokenizer.ggml.token_type", &a.type, err));
    TN_GOTO(tn_gguf_array(g, "tokenizer.ggml.scores", &a.score, err));
    TN_GOTO(tn_gguf_bool_or(g, "tokenizer.ggml.add_eos_token", false, &add_eos, err));
    if ((*tokenizer = spm ? spm_json(&a, g, add_eos) : bpe_json(&a, pre, add_eos)) == NULL) {
        status = tn_fail(err, TN_FORMAT,
                         "%s: its vocabulary is no valid UTF-8, so tokenizer.json cannot hold it", g->path);
        goto out;
    }
    TN_GOTO(config_json(config, g, &a, add_eos, err));
out:
    if (status != TN_OK) {
        json_decref(*tokenizer);
        json_decref(*config);
        *tokenizer = *config = NULL;
    }
    for (int i = 0; i < TN_PRE_PASSES; i++) free(pattern[i]);
    tn_tokenizer_destroy(a.t);
    free(model);
    free(pre);
    free(a.token);
    free(a.token_bytes);
    free(a.merge);
    free(a.merge_bytes);
    return status;
}
