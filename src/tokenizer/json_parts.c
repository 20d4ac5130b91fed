/* json_parts.c - normalizer, pre_tokenizer, decoder and post_processor of a tokenizer.json. */
#include "tokenizer/from_json.h"
#include "tokenizer/regex.h"

#include <stdlib.h>
#include <string.h>

static bool given(const json_t *v) { return v != NULL && !json_is_null(v); }

static const char *type_of(const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));

    return type != NULL ? type : "";
}

static bool is(const char *type, const char *name) { return strcmp(type, name) == 0; }

static tn_status not_supported(const char *where, const char *part, const char *type, tn_error *err)
{
    return tn_fail(err, TN_UNSUPPORTED, "%s: %s of type '%s' is not supported", where, part, type);
}

/* --------------------------------------------------------------------------------------------- normalizer */

static tn_step *new_step(tn_tokenizer *t, tn_step_kind kind, const char *where, tn_error *err)
{
    tn_step *grown;

    if (t->n_normaliser == TN_MAX_STEPS) {
        tn_fail(err, TN_LIMIT, "%s: the normalizer has more than %d steps", where, TN_MAX_STEPS);
        return NULL;
    }
    if ((grown = realloc(t->normaliser, (t->n_normaliser + 1) * sizeof *grown)) == NULL) {
        tn_fail(err, TN_NOMEM, "%s: no memory for the normalizer", where);
        return NULL;
    }
    t->normaliser = grown;
    grown[t->n_normaliser] = (tn_step){ .kind = kind };
    return &grown[t->n_normaliser++];
}

static tn_status fill_text(char **p, size_t *n, const json_t *v, const char *what, const char *where,
                           tn_error *err)
{
    if (!json_is_string(v)) return tn_fail(err, TN_FORMAT, "%s: normalizer: %s is not a text", where, what);
    *n = json_string_length(v);
    if ((*p = tn_strndup(json_string_value(v), *n)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the normalizer", where);
    return TN_OK;
}

static tn_status normaliser_replace(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    const json_t *pattern = json_object_get(v, "pattern"), *text = json_object_get(pattern, "String"),
                 *regex = json_object_get(pattern, "Regex");
    tn_step *s = new_step(t, text != NULL ? TN_STEP_REPLACE : TN_STEP_REPLACE_REGEX, where, err);

    if (s == NULL) return TN_LIMIT;
    TN_TRY(fill_text(&s->to, &s->to_n, json_object_get(v, "content"), "Replace.content", where, err));
    if (text == NULL) {
        if (!json_is_string(regex))
            return tn_fail(err, TN_FORMAT, "%s: normalizer: Replace has no pattern", where);
        return tn_regex_create(&s->regex, json_string_value(regex), json_string_length(regex), where, err);
    }
    TN_TRY(fill_text(&s->from, &s->from_n, text, "Replace.pattern", where, err));
    return s->from_n != 0 ? TN_OK
                          : tn_fail(err, TN_FORMAT, "%s: normalizer: Replace with an empty pattern", where);
}

/* Base64 without line breaks, as serde writes bytes. */
static char *from_base64(const char *text, size_t n, size_t *out_n)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char             *out = malloc(n / 4 * 3 + 4);
    uint32_t          bits = 0;
    int               have = 0;

    *out_n = 0;
    for (size_t i = 0; out != NULL && i < n && text[i] != '='; i++) {
        const char *at = text[i] != '\0' ? strchr(alphabet, text[i]) : NULL;

        if (at == NULL) {
            free(out);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)(at - alphabet);
        if ((have += 6) >= 8) out[(*out_n)++] = (char)(bits >> (have -= 8) & 255);
    }
    return out;
}

static tn_status normaliser_charsmap(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    const json_t *blob = json_object_get(v, "precompiled_charsmap");
    tn_step      *s;

    if (json_is_string(blob) && json_string_length(blob) == 0) return TN_OK;
    if ((s = new_step(t, TN_STEP_CHARSMAP, where, err)) == NULL) return TN_LIMIT;
    if (!json_is_string(blob) ||
        (s->from = from_base64(json_string_value(blob), json_string_length(blob), &s->from_n)) == NULL)
        return tn_fail(err, TN_FORMAT, "%s: normalizer: precompiled_charsmap is not base64", where);
    return tn_charsmap_check(s->from, s->from_n, where, err);
}

static tn_status add_normaliser(tn_tokenizer *t, const json_t *v, int depth, const char *where, tn_error *err)
{
    // clang-format off
    static const struct { const char *name; tn_step_kind kind; tn_uc_form form; } plain[] = {
        { "NFC", TN_STEP_FORM, TN_NFC },   { "NFD", TN_STEP_FORM, TN_NFD },   { "NFKC", TN_STEP_FORM, TN_NFKC },
        { "NFKD", TN_STEP_FORM, TN_NFKD }, { "Lowercase", TN_STEP_LOWER, 0 }, { "StripAccents", TN_STEP_STRIP_ACCENTS, 0 },
        { "Nmt", TN_STEP_NMT, 0 },
    };
    // clang-format on
    const char   *type = type_of(v);
    const json_t *item;
    tn_step      *s;
    size_t        i;

    if (depth > 8) return tn_fail(err, TN_LIMIT, "%s: the normalizer is nested too deeply", where);
    if (is(type, "Sequence")) {
        json_array_foreach(json_object_get(v, "normalizers"), i, item)
            TN_TRY(add_normaliser(t, item, depth + 1, where, err));
        return TN_OK;
    }
    for (i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (!is(type, plain[i].name)) continue;
        if ((s = new_step(t, plain[i].kind, where, err)) == NULL) return TN_LIMIT;
        s->form = plain[i].form;
        return TN_OK;
    }
    if (is(type, "Replace")) return normaliser_replace(t, v, where, err);
    if (is(type, "Precompiled")) return normaliser_charsmap(t, v, where, err);
    if (is(type, "Prepend")) {
        if ((s = new_step(t, TN_STEP_PREPEND, where, err)) == NULL) return TN_LIMIT;
        return fill_text(&s->to, &s->to_n, json_object_get(v, "prepend"), "Prepend.prepend", where, err);
    }
    if (is(type, "Strip")) {
        if ((s = new_step(t, TN_STEP_STRIP, where, err)) == NULL) return TN_LIMIT;
        s->left = json_is_true(json_object_get(v, "strip_left"));
        s->right = json_is_true(json_object_get(v, "strip_right"));
        return TN_OK;
    }
    return not_supported(where, "a normalizer", type, err);
}

tn_status tn_json_normaliser(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    return given(v) ? add_normaliser(t, v, 0, where, err) : TN_OK;
}

/* ------------------------------------------------------------------------------------------ pre_tokenizer */

static tn_status add_pass(tn_tokenizer *t, tn_pass pass, const char *where, tn_error *err)
{
    if (t->split.n_pass == TN_MAX_PASS) {
        tn_regex_destroy(pass.regex);
        return tn_fail(err, TN_LIMIT, "%s: the pre_tokenizer has more than %d steps", where, TN_MAX_PASS);
    }
    t->split.pass[t->split.n_pass++] = pass;
    return TN_OK;
}

static tn_status behaviour_of(const json_t *v, tn_behaviour *out, const char *where, tn_error *err)
{
    static const struct {
        const char  *name;
        tn_behaviour b;
    } names[] = { { "Isolated", TN_ISOLATED },
                  { "Removed", TN_REMOVED },
                  { "MergedWithPrevious", TN_WITH_PREVIOUS },
                  { "MergedWithNext", TN_WITH_NEXT },
                  { "Contiguous", TN_CONTIGUOUS } };
    const char *name = json_string_value(json_object_get(v, "behavior"));

    for (size_t i = 0; name != NULL && i < sizeof names / sizeof names[0]; i++)
        if (is(name, names[i].name)) {
            *out = names[i].b;
            return TN_OK;
        }
    return tn_fail(err, TN_FORMAT, "%s: pre_tokenizer: unknown behavior '%s'", where,
                   name != NULL ? name : "");
}

static tn_status add_split(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    const json_t *pattern = json_object_get(v, "pattern"), *regex = json_object_get(pattern, "Regex"),
                 *text = json_object_get(pattern, "String");
    tn_pass pass = { .invert = json_is_true(json_object_get(v, "invert")) };

    TN_TRY(behaviour_of(v, &pass.behaviour, where, err));
    if (json_is_string(text)) {
        size_t n = json_string_length(text);

        if (n == 0 || n >= sizeof pass.literal)
            return tn_fail(err, TN_UNSUPPORTED,
                           "%s: pre_tokenizer: Split at a text of %zu bytes; 1 to %zu are supported", where,
                           n, sizeof pass.literal - 1);
        pass.kind = TN_PASS_LITERAL;
        memcpy(pass.literal, json_string_value(text), n);
    } else if (json_is_string(regex)) {
        pass.find = tn_scanner_for(json_string_value(regex), json_string_length(regex));
        pass.kind = pass.find != NULL ? TN_PASS_SCAN : TN_PASS_REGEX;
        if (pass.find == NULL)
            TN_TRY(tn_regex_create(&pass.regex, json_string_value(regex), json_string_length(regex), where,
                                   err));
        /* (x)+|... with Removed and inverted is how the first Llama 3 files say "isolated": every stretch is
         * a match. */
    } else return tn_fail(err, TN_FORMAT, "%s: pre_tokenizer: Split has no pattern", where);
    return add_pass(t, pass, where, err);
}

static tn_status add_metaspace(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    const char *replacement = json_string_value(json_object_get(v, "replacement")),
               *scheme = json_string_value(json_object_get(v, "prepend_scheme"));
    tn_pass pass = { .kind = TN_PASS_METASPACE, .prepend = TN_PREPEND_ALWAYS };

    if (replacement == NULL || !is(replacement, "\xe2\x96\x81"))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: pre_tokenizer: Metaspace with another replacement than U+2581 is not supported",
                       where);
    if (scheme == NULL)
        pass.prepend = json_is_false(json_object_get(v, "add_prefix_space")) ? TN_PREPEND_NEVER
                                                                             : TN_PREPEND_ALWAYS;
    else if (is(scheme, "first")) pass.prepend = TN_PREPEND_FIRST;
    else if (is(scheme, "never")) pass.prepend = TN_PREPEND_NEVER;
    else if (!is(scheme, "always"))
        return tn_fail(err, TN_FORMAT, "%s: pre_tokenizer: unknown prepend_scheme '%s'", where, scheme);
    TN_TRY(add_pass(t, pass, where, err));
    if (json_is_false(json_object_get(v, "split"))) return TN_OK;
    return add_pass(
        t, (tn_pass){ .kind = TN_PASS_LITERAL, .literal = "\xe2\x96\x81", .behaviour = TN_WITH_NEXT }, where,
        err);
}

static tn_status add_pre_tokenizer(tn_tokenizer *t, const json_t *v, int depth, const char *where,
                                   tn_error *err)
{
    const char   *type = type_of(v);
    const json_t *item;
    size_t        i;
    tn_behaviour  behaviour = TN_ISOLATED;

    if (depth > 8) return tn_fail(err, TN_LIMIT, "%s: the pre_tokenizer is nested too deeply", where);
    if (is(type, "Sequence")) {
        json_array_foreach(json_object_get(v, "pretokenizers"), i, item)
            TN_TRY(add_pre_tokenizer(t, item, depth + 1, where, err));
        return TN_OK;
    }
    if (is(type, "ByteLevel")) {
        t->byte_level = true;
        if (json_is_true(json_object_get(v, "add_prefix_space")))
            TN_TRY(add_pass(t, (tn_pass){ .kind = TN_PASS_SPACE_IN_FRONT }, where, err));
        if (json_is_false(json_object_get(v, "use_regex"))) return TN_OK;
        return add_pass(t, (tn_pass){ .find = tn_find_gpt2 }, where, err);
    }
    if (t->byte_level)
        return tn_fail(err, TN_UNSUPPORTED, "%s: pre_tokenizer: '%s' after ByteLevel is not supported", where,
                       type);
    if (is(type, "Split")) return add_split(t, v, where, err);
    if (is(type, "Metaspace")) return add_metaspace(t, v, where, err);
    if (is(type, "Digits"))
        return add_pass(t,
                        (tn_pass){ .find = json_is_true(json_object_get(v, "individual_digits"))
                                               ? tn_find_one_number
                                               : tn_find_numbers },
                        where, err);
    if (is(type, "Punctuation")) {
        if (given(json_object_get(v, "behavior"))) TN_TRY(behaviour_of(v, &behaviour, where, err));
        return add_pass(t, (tn_pass){ .find = tn_find_one_punctuation, .behaviour = behaviour }, where, err);
    }
    if (is(type, "Whitespace"))
        return add_pass(t, (tn_pass){ .find = tn_find_words, .behaviour = TN_REMOVED, .invert = true }, where,
                        err);
    if (is(type, "WhitespaceSplit"))
        return add_pass(t, (tn_pass){ .find = tn_find_one_space, .behaviour = TN_REMOVED }, where, err);
    if (is(type, "CharDelimiterSplit")) {
        const json_t *delimiter = json_object_get(v, "delimiter");
        tn_pass       pass = { .kind = TN_PASS_LITERAL, .behaviour = TN_REMOVED };

        if (!json_is_string(delimiter) || json_string_length(delimiter) == 0 ||
            json_string_length(delimiter) > 4)
            return tn_fail(err, TN_FORMAT, "%s: pre_tokenizer: CharDelimiterSplit has no delimiter", where);
        memcpy(pass.literal, json_string_value(delimiter), json_string_length(delimiter));
        return add_pass(t, pass, where, err);
    }
    return not_supported(where, "a pre_tokenizer", type, err);
}

tn_status tn_json_pre_tokenizer(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    return given(v) ? add_pre_tokenizer(t, v, 0, where, err) : TN_OK;
}

/* ------------------------------------------------------------------------------------------------ decoder */

/* Every decoder that is read amounts to the bytes of each token, with or without a space taken off the
 * front. */
static tn_status add_decoder(tn_tokenizer *t, const json_t *v, int depth, const char *where, tn_error *err)
{
    const char   *type = type_of(v), *scheme = json_string_value(json_object_get(v, "prepend_scheme"));
    const json_t *item, *pattern = json_object_get(json_object_get(v, "pattern"), "String");
    size_t        i;

    if (depth > 8) return tn_fail(err, TN_LIMIT, "%s: the decoder is nested too deeply", where);
    if (is(type, "Sequence")) {
        json_array_foreach(json_object_get(v, "decoders"), i, item)
            TN_TRY(add_decoder(t, item, depth + 1, where, err));
        return TN_OK;
    }
    if (is(type, "ByteLevel") && t->byte_level) return TN_OK;
    if (is(type, "ByteFallback") || is(type, "Fuse")) return TN_OK;
    if (is(type, "Metaspace") && !t->byte_level) {
        t->strip_marks = scheme != NULL ? !is(scheme, "never")
                                        : !json_is_false(json_object_get(v, "add_prefix_space"));
        return TN_OK;
    }
    if (is(type, "Replace") && json_is_string(pattern) && is(json_string_value(pattern), "\xe2\x96\x81") &&
        json_is_string(json_object_get(v, "content")) &&
        is(json_string_value(json_object_get(v, "content")), " "))
        return TN_OK;
    if (is(type, "Strip") && json_is_string(json_object_get(v, "content")) &&
        is(json_string_value(json_object_get(v, "content")), " ") &&
        json_integer_value(json_object_get(v, "start")) <= 1 &&
        json_integer_value(json_object_get(v, "stop")) == 0) {
        t->strip_space = json_integer_value(json_object_get(v, "start")) == 1;
        return TN_OK;
    }
    return not_supported(where, "a decoder", type, err);
}

tn_status tn_json_decoder(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    return given(v) ? add_decoder(t, v, 0, where, err) : TN_OK;
}

/* ----------------------------------------------------------------------------------------- post_processor */

static tn_status add_id(tn_tokenizer *t, bool suffix, const json_t *id, const char *where, tn_error *err)
{
    int32_t **list = suffix ? &t->suffix : &t->prefix, *grown;
    size_t   *n = suffix ? &t->n_suffix : &t->n_prefix;

    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= t->n_vocab)
        return tn_fail(err, TN_FORMAT, "%s: post_processor: an id outside the vocabulary of %lld tokens",
                       where, (long long)t->n_vocab);
    if (*n == TN_MAX_STEPS)
        return tn_fail(err, TN_LIMIT, "%s: post_processor adds more than %d tokens", where, TN_MAX_STEPS);
    if ((grown = realloc(*list, (*n + 1) * sizeof *grown)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the post_processor", where);
    *list = grown;
    grown[(*n)++] = (int32_t)json_integer_value(id);
    return TN_OK;
}

static tn_status add_template(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    const json_t *item, *id;
    size_t        i, k;
    bool          after = false;

    json_array_foreach(json_object_get(v, "single"), i, item) {
        const json_t *special = json_object_get(item, "SpecialToken");
        const char   *name = json_string_value(json_object_get(special, "id"));

        if (json_object_get(item, "Sequence") != NULL) {
            if (after)
                return tn_fail(err, TN_UNSUPPORTED,
                               "%s: post_processor: a template with the text twice is not supported", where);
            after = true;
            continue;
        }
        if (name == NULL)
            return tn_fail(err, TN_FORMAT,
                           "%s: post_processor: single[%zu] is neither a special token nor the text", where,
                           i);
        json_array_foreach(
            json_object_get(json_object_get(json_object_get(v, "special_tokens"), name), "ids"), k, id)
            TN_TRY(add_id(t, after, id, where, err));
    }
    return TN_OK;
}

static tn_status add_post_processor(tn_tokenizer *t, const json_t *v, int depth, const char *where,
                                    tn_error *err)
{
    const char   *type = type_of(v);
    const json_t *item;
    size_t        i;

    if (depth > 8) return tn_fail(err, TN_LIMIT, "%s: the post_processor is nested too deeply", where);
    if (is(type, "Sequence")) {
        json_array_foreach(json_object_get(v, "processors"), i, item)
            TN_TRY(add_post_processor(t, item, depth + 1, where, err));
        return TN_OK;
    }
    if (is(type, "ByteLevel")) return TN_OK; /* offsets only */
    if (is(type, "TemplateProcessing")) return add_template(t, v, where, err);
    if (is(type, "RobertaProcessing") || is(type, "BertProcessing")) {
        TN_TRY(add_id(t, false, json_array_get(json_object_get(v, "cls"), 1), where, err));
        return add_id(t, true, json_array_get(json_object_get(v, "sep"), 1), where, err);
    }
    return not_supported(where, "a post_processor", type, err);
}

tn_status tn_json_post_processor(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err)
{
    return given(v) ? add_post_processor(t, v, 0, where, err) : TN_OK;
}
