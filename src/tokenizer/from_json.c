/* from_json.c - a tokenizer from Hugging Face's tokenizer.json (and tokenizer_config.json for BOS, EOS and
 * their flags).
 *
 *   added_tokens[] · normalizer · pre_tokenizer · model · post_processor · decoder
 *
 * What a part of the file asks for and we do not do is an error that names it: ids that are nearly right are
 * wrong. `truncation` and `padding` are settings of batches, not of the tokenizer, and are left alone. */
#include "tokenizer/from_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool given(const json_t *v) { return v != NULL && !json_is_null(v); }

/* "<s>" or {"content": "<s>", ...}; NULL if neither. */
static const char *token_text(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v) : json_string_value(json_object_get(v, "content"));
}

/* A control token: by its own word, or by the config's, which names it as an end of text or the like. Typed
 * by somebody it must not become one. */
static bool is_special(const json_t *added, const json_t *config)
{
    static const char *const names[] = { "bos_token", "eos_token", "pad_token", "unk_token" };
    const char              *text = json_string_value(json_object_get(added, "content"));
    bool                     special = json_is_true(json_object_get(added, "special"));

    for (size_t i = 0; text != NULL && i < sizeof names / sizeof names[0]; i++) {
        const char *named = token_text(json_object_get(config, names[i]));

        special |= named != NULL && strcmp(named, text) == 0;
    }
    return special;
}

/* The highest id of the vocabulary and the added tokens, plus one. */
static tn_status count_ids(const json_t *vocab, const json_t *added, const char *where, int64_t *n_vocab,
                           tn_error *err)
{
    const char   *key;
    const json_t *v;
    size_t        i;
    int64_t       top = -1;

    if (json_is_object(vocab)) {
        json_object_foreach((json_t *)(uintptr_t)vocab, key, v) {
            if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= TN_MAX_VOCAB)
                return tn_fail(err, TN_FORMAT,
                               "%s: model.vocab: the id of '%.60s' is not a number from 0 to %d", where, key,
                               TN_MAX_VOCAB - 1);
            if (json_integer_value(v) > top) top = json_integer_value(v);
        }
    } else if (json_is_array(vocab)) {
        top = (int64_t)json_array_size(vocab) - 1;
    } else return tn_fail(err, TN_FORMAT, "%s: model.vocab is missing", where);
    json_array_foreach(added, i, v) {
        const json_t *id = json_object_get(v, "id");

        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= TN_MAX_VOCAB)
            return tn_fail(err, TN_FORMAT, "%s: added_tokens[%zu].id is not a number from 0 to %d", where, i,
                           TN_MAX_VOCAB - 1);
        if (json_integer_value(id) > top) top = json_integer_value(id);
    }
    if (top < 0 || top >= TN_MAX_VOCAB)
        return tn_fail(err, TN_LIMIT, "%s: the vocabulary has %lld tokens; 1 to %d are read", where,
                       (long long)top + 1, TN_MAX_VOCAB);
    *n_vocab = top + 1;
    return TN_OK;
}

typedef struct spelling {
    const char **text;
    size_t      *n;
} spelling;

static tn_status put_spelling(spelling *s, int64_t id, const char *text, size_t n, const char *where,
                              tn_error *err)
{
    if (s->text[id] != NULL && (s->n[id] != n || memcmp(s->text[id], text, n) != 0))
        return tn_fail(err, TN_FORMAT, "%s: id %lld belongs to '%.60s' and to '%.60s'", where, (long long)id,
                       s->text[id], text);
    s->text[id] = text;
    s->n[id] = n;
    return TN_OK;
}

/* Spelling, type and score of every id. Ids that nothing names are unused and spell nothing. */
static tn_status read_vocabulary(tn_tokenizer *t, const json_t *vocab, const json_t *added,
                                 const json_t *config, const char *where, tn_error *err)
{
    spelling      s = { calloc((size_t)t->n_vocab, sizeof *s.text), calloc((size_t)t->n_vocab, sizeof *s.n) };
    tn_status     status = TN_OK;
    const char   *key;
    const json_t *v;
    size_t        i;

    if (s.text == NULL || s.n == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for the vocabulary", where);
        goto out;
    }
    if ((t->in_model = calloc((size_t)t->n_vocab, 1)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for the vocabulary", where);
        goto out;
    }
    memset(t->type, TN_TOKEN_UNUSED, (size_t)t->n_vocab);
    if (json_is_object(vocab)) {
        json_object_foreach((json_t *)(uintptr_t)vocab, key, v) {
            TN_GOTO(put_spelling(&s, json_integer_value(v), key, strlen(key), where, err));
            t->type[json_integer_value(v)] = TN_TOKEN_NORMAL;
            t->in_model[json_integer_value(v)] = 1;
        }
    } else {
        if ((t->score = calloc((size_t)t->n_vocab, sizeof *t->score)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for scores", where);
            goto out;
        }
        json_array_foreach(vocab, i, v) {
            const json_t *text = json_array_get(v, 0), *score = json_array_get(v, 1);

            if (!json_is_string(text) || !json_is_number(score)) {
                status = tn_fail(err, TN_FORMAT, "%s: model.vocab[%zu] is not [text, score]", where, i);
                goto out;
            }
            TN_GOTO(
                put_spelling(&s, (int64_t)i, json_string_value(text), json_string_length(text), where, err));
            t->score[i] = json_number_value(score);
            t->type[i] = TN_TOKEN_NORMAL;
            t->in_model[i] = 1;
        }
    }
    json_array_foreach(added, i, v) {
        const json_t *text = json_object_get(v, "content");
        int64_t       id = json_integer_value(json_object_get(v, "id"));

        if (!json_is_string(text) || json_string_length(text) == 0) {
            status = tn_fail(err, TN_FORMAT, "%s: added_tokens[%zu].content is missing", where, i);
            goto out;
        }
        TN_GOTO(put_spelling(&s, id, json_string_value(text), json_string_length(text), where, err));
        t->type[id] = is_special(v, config) ? TN_TOKEN_CONTROL : TN_TOKEN_USER;
    }
    for (int64_t id = 0; id < t->n_vocab; id++)
        if (s.text[id] == NULL) s.text[id] = "";
    TN_GOTO(tn_pool_fill(&t->raw, s.text, s.n, t->n_vocab, where, err));
    status = tn_raw_index(t, err);
out:
    free(s.text);
    free(s.n);
    return status;
}

static tn_status read_added(tn_tokenizer *t, const json_t *added, const json_t *config, const char *where,
                            tn_error *err)
{
    const json_t *v;
    size_t        i;

    json_array_foreach(added, i, v) {
        const json_t *text = json_object_get(v, "content");
        tn_str        normal = { .max = TN_MAX_ADDED_BYTES * 8 };
        bool          normalised = json_is_true(json_object_get(v, "normalized")), changed;
        tn_status     status;
        tn_added     *a;

        if (normalised && t->n_normaliser > 0) {
            if ((status = tn_normalise(t->normaliser, t->n_normaliser,
                                       (const uint8_t *)json_string_value(text), json_string_length(text),
                                       &normal, &changed, err)) != TN_OK) {
                tn_str_free(&normal);
                return tn_fail_prefix(err, status, "%s: added_tokens[%zu]", where, i);
            }
        } else tn_str_add_n(&normal, json_string_value(text), json_string_length(text));
        status = tn_added_put(t, normal.p != NULL ? normal.p : "", normal.len,
                              (int32_t)json_integer_value(json_object_get(v, "id")), is_special(v, config),
                              err);
        tn_str_free(&normal);
        if (status != TN_OK) return tn_fail_prefix(err, status, "%s: added_tokens[%zu]", where, i);
        if (t->n_added == 0) continue;
        a = &t->added[t->n_added - 1];
        a->normalised = normalised;
        a->lstrip = json_is_true(json_object_get(v, "lstrip"));
        a->rstrip = json_is_true(json_object_get(v, "rstrip"));
        a->single_word = json_is_true(json_object_get(v, "single_word"));
    }
    return TN_OK;
}

static tn_status read_merges(tn_tokenizer *t, const json_t *merges, const char *where, tn_error *err)
{
    const json_t *v;
    size_t        i;

    if (!json_is_array(merges)) return tn_fail(err, TN_FORMAT, "%s: model.merges is missing", where);
    if (json_array_size(merges) > 4 * TN_MAX_VOCAB)
        return tn_fail(err, TN_LIMIT, "%s: %zu merges, at most %d are read", where, json_array_size(merges),
                       4 * TN_MAX_VOCAB);
    TN_TRY(tn_merges_create(t, (int64_t)json_array_size(merges), err));
    json_array_foreach(merges, i, v) {
        const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
        const char   *text = json_string_value(v), *space = text != NULL ? strchr(text, ' ') : NULL;

        if (json_is_string(a) && json_is_string(b) && json_array_size(v) == 2)
            TN_TRY(tn_merges_add(t, json_string_value(a), json_string_length(a), json_string_value(b),
                                 json_string_length(b), (int64_t)i, where, err));
        else if (space != NULL)
            TN_TRY(tn_merges_add(t, text, (size_t)(space - text), space + 1, strlen(space + 1), (int64_t)i,
                                 where, err));
        else
            return tn_fail(err, TN_FORMAT,
                           "%s: model.merges[%zu] is neither \"left right\" nor [left, right]", where, i);
    }
    return TN_OK;
}

static tn_status read_bpe(tn_tokenizer *t, const json_t *model, const char *where, tn_error *err)
{
    static const char *const affixes[] = { "continuing_subword_prefix", "end_of_word_suffix" };
    const json_t            *unk = json_object_get(model, "unk_token");
    bool                     byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));

    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(model, affixes[i]);

        if (given(v) && json_string_length(v) != 0)
            return tn_fail(err, TN_UNSUPPORTED, "%s: model.%s '%s' is not supported", where, affixes[i],
                           json_string_value(v));
    }
    if (json_number_value(json_object_get(model, "dropout")) != 0)
        return tn_fail(err, TN_UNSUPPORTED, "%s: model.dropout makes ids random; set it to null", where);
    t->model = TN_MODEL_BPE;
    t->byte_fallback = byte_fallback;
    t->fuse_unk = json_is_true(json_object_get(model, "fuse_unk"));
    t->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    if (json_is_string(unk)) t->unk = tn_tokenizer_find(t, json_string_value(unk));
    t->skip_missing = t->unk < 0;
    TN_TRY(tn_vocab_finish(t, err));
    return read_merges(t, json_object_get(model, "merges"), where, err);
}

static tn_status read_unigram(tn_tokenizer *t, const json_t *model, const char *where, tn_error *err)
{
    const json_t *unk = json_object_get(model, "unk_id");

    t->model = TN_MODEL_UNIGRAM;
    t->byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    if (json_is_integer(unk)) {
        if (json_integer_value(unk) < 0 || json_integer_value(unk) >= t->n_vocab)
            return tn_fail(err, TN_FORMAT, "%s: model.unk_id is %lld, but the vocabulary has %lld tokens",
                           where, (long long)json_integer_value(unk), (long long)t->n_vocab);
        t->unk = (int32_t)json_integer_value(unk);
        if (t->type[t->unk] == TN_TOKEN_NORMAL) t->type[t->unk] = TN_TOKEN_UNKNOWN;
    }
    TN_TRY(tn_vocab_finish(t, err));
    return tn_unigram_create(t, err);
}

/* Classes of transformers whose BOS and EOS follow the config's flags and not the file's post-processor. */
static bool class_obeys_flags(const char *name)
{
    return name != NULL &&
           (strncmp(name, "LlamaTokenizer", 14) == 0 || strncmp(name, "CodeLlamaTokenizer", 18) == 0 ||
            strncmp(name, "GemmaTokenizer", 14) == 0 || strncmp(name, "CohereTokenizer", 15) == 0);
}

static void read_config(tn_tokenizer *t, const json_t *config, bool has_template)
{
    static const char *const guesses[] = { "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>",
                                           "<|im_end|>" };
    const char              *bos = token_text(json_object_get(config, "bos_token"));
    const char              *eos = token_text(json_object_get(config, "eos_token"));
    const char              *pad = token_text(json_object_get(config, "pad_token"));
    bool flags_rule = class_obeys_flags(json_string_value(json_object_get(config, "tokenizer_class"))) ||
                      !has_template;
    const json_t *add_bos = json_object_get(config, "add_bos_token"),
                 *add_eos = json_object_get(config, "add_eos_token");

    if (bos != NULL) t->bos = tn_tokenizer_find(t, bos);
    else if (config == NULL && t->n_prefix > 0) t->bos = t->prefix[0];
    if (eos != NULL) t->eos = tn_tokenizer_find(t, eos);
    for (size_t i = 0; config == NULL && t->eos < 0 && i < sizeof guesses / sizeof guesses[0]; i++)
        t->eos = tn_tokenizer_find(t, guesses[i]);
    if (pad != NULL) t->pad = tn_tokenizer_find(t, pad);
    t->add_bos = t->n_prefix > 0;
    t->add_eos = t->n_suffix > 0;
    if (flags_rule && json_is_boolean(add_bos) && json_is_true(add_bos) != t->add_bos) {
        t->add_bos = json_is_true(add_bos) && t->bos >= 0;
        t->n_prefix = 0;
    }
    if (flags_rule && json_is_boolean(add_eos) && json_is_true(add_eos) != t->add_eos) {
        t->add_eos = json_is_true(add_eos) && t->eos >= 0;
        t->n_suffix = 0;
    }
    if (t->bos < 0 && t->n_prefix > 0) t->bos = t->prefix[0];
    if (t->eos < 0 && t->n_suffix > 0) t->eos = t->suffix[t->n_suffix - 1];
}

/* The parts that the digest would not see otherwise: patterns, mostly. */
static tn_status keep_recipe(tn_tokenizer *t, const json_t *root, const char *where, tn_error *err)
{
    static const char *const parts[] = { "normalizer", "pre_tokenizer", "post_processor", "decoder" };
    json_t                  *o = json_object();

    for (size_t i = 0; o != NULL && i < sizeof parts / sizeof parts[0]; i++)
        if (given(json_object_get(root, parts[i])))
            json_object_set(o, parts[i], json_object_get(root, parts[i]));
    t->recipe = o != NULL ? tn_json_text(o) : NULL;
    json_decref(o);
    return t->recipe != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for its parts", where);
}

static tn_status build(tn_tokenizer **out, const json_t *root, const json_t *config, const char *where,
                       tn_error *err)
{
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    const char   *type = json_string_value(json_object_get(model, "type"));
    tn_tokenizer *t = NULL;
    tn_status     status = TN_OK;
    int64_t       n_vocab = 0;

    if (!json_is_object(model))
        return tn_fail(err, TN_FORMAT, "%s: \"model\" is missing: is this a tokenizer.json?", where);
    if (given(added) && !json_is_array(added))
        return tn_fail(err, TN_FORMAT, "%s: added_tokens is not a list", where);
    /* old files say nothing */
    if (type == NULL) type = json_is_array(json_object_get(model, "vocab")) ? "Unigram" : "BPE";
    if (strcmp(type, "BPE") != 0 && strcmp(type, "Unigram") != 0)
        return tn_fail(err, TN_UNSUPPORTED, "%s: model.type '%s' is not supported; BPE and Unigram are",
                       where, type);
    if (json_is_array(json_object_get(model, "vocab")) != (strcmp(type, "Unigram") == 0))
        return tn_fail(err, TN_FORMAT, "%s: model.vocab of a %s model must be %s", where, type,
                       strcmp(type, "Unigram") == 0 ? "a list of [text, score]" : "an object of text to id");
    TN_TRY(count_ids(json_object_get(model, "vocab"), added, where, &n_vocab, err));
    TN_TRY(tn_tokenizer_create(&t, n_vocab, where, err));
    TN_GOTO(tn_json_normaliser(t, json_object_get(root, "normalizer"), where, err));
    TN_GOTO(tn_json_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), where, err));
    TN_GOTO(read_vocabulary(t, json_object_get(model, "vocab"), added, config, where, err));
    if (strcmp(type, "BPE") == 0) TN_GOTO(read_bpe(t, model, where, err));
    else if (t->byte_level) {
        status = tn_fail(err, TN_UNSUPPORTED,
                         "%s: pre_tokenizer ByteLevel with a Unigram model is not supported", where);
        goto out;
    } else TN_GOTO(read_unigram(t, model, where, err));
    TN_GOTO(tn_json_decoder(t, json_object_get(root, "decoder"), where, err));
    TN_GOTO(tn_json_post_processor(t, json_object_get(root, "post_processor"), where, err));
    TN_GOTO(read_added(t, added, config, where, err));
    read_config(t, config, t->n_prefix + t->n_suffix > 0);
    snprintf(t->kind, sizeof t->kind, "%s (tokenizer.json)",
             t->model == TN_MODEL_UNIGRAM ? "unigram" : "bpe");
    TN_GOTO(keep_recipe(t, root, where, err));
    tn_tokenizer_stops(t, -1);
    TN_GOTO(tn_tokenizer_finish(t, where, err));
    *out = t;
    t = NULL;
out:
    tn_tokenizer_destroy(t);
    return status;
}

tn_status tn_tokenizer_from_json(tn_tokenizer **out, const char *text, size_t n, const char *config_text,
                                 size_t config_n, const char *where, tn_error *err)
{
    json_t   *root = NULL, *config = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    TN_GOTO(tn_json_parse(&root, text, n, where, err));
    if (config_text != NULL)
        TN_GOTO(tn_json_parse(&config, config_text, config_n, "tokenizer_config.json", err));
    if (!json_is_object(root)) {
        status = tn_fail(err, TN_FORMAT, "%s: not an object: is this a tokenizer.json?", where);
        goto out;
    }
    status = build(out, root, config, where, err);
out:
    json_decref(root);
    json_decref(config);
    return status;
}
