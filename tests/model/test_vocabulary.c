/* test_vocabulary.c - a GGUF's vocabulary as tokenizer.json: both give the same ids, for SentencePiece BPE
 * and for byte-level BPE under every name of a pre-tokeniser that has a form there; and the name is found
 * again. */
#include "base/file.h"
#include "model/open.h"
#include "model/write_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  err_ = { 0 };                                                                              \
        tn_error *err = &err_;                                                                               \
        if ((expr) != TN_OK) fail_msg("%s", err_.msg);                                                       \
    } while (0)

typedef struct vocabulary {
    json_t *tokens, *scores, *types, *merges;
} vocabulary;

static json_t *read_json(const char *path)
{
    char   *text;
    size_t  n;
    json_t *v;

    assert_ok(tn_file_read_all(&text, &n, path, 1 << 24, err));
    assert_ok(tn_json_parse(&v, text, n, path, err));
    free(text);
    return v;
}

/* Lines of piece, score, type. */
static vocabulary sentencepiece(void)
{
    vocabulary v = { json_array(), json_array(), json_array(), NULL };
    char      *text, *rest, *line;
    size_t     n;

    assert_ok(tn_file_read_all(&text, &n, "tests/golden/tokenizer/spm.vocab", 1 << 24, err));
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char   *type = strrchr(line, ' '), *score;
        json_t *piece;

        *type = '\0';
        score = strrchr(line, ' ');
        *score = '\0';
        assert_ok(tn_json_parse(&piece, line, strlen(line), "piece", err));
        json_array_append_new(v.tokens, piece);
        json_array_append_new(v.scores, json_real(strtod(score + 1, NULL)));
        json_array_append_new(v.types, json_integer(strtol(type + 1, NULL, 10)));
    }
    free(text);
    return v;
}

static vocabulary byte_level(void)
{
    json_t *file = read_json("tests/golden/tokenizer/bpe.json"), *model = json_object_get(file, "model"),
           *vocab = json_object_get(model, "vocab");
    json_t     *added = json_object_get(file, "added_tokens"), *id;
    const char *piece;
    size_t      n = json_object_size(vocab), i;
    vocabulary  v = { json_array(), NULL, json_array(), json_array() };

    json_array_foreach(added, i, id)
        if ((size_t)json_integer_value(json_object_get(id, "id")) >= n)
            n = (size_t)json_integer_value(json_object_get(id, "id")) + 1;
    for (i = 0; i < n; i++) {
        json_array_append_new(v.tokens, json_sprintf("<unused %zu>", i));
        json_array_append_new(v.types, json_integer(5));
    }
    json_object_foreach(vocab, piece, id) {
        json_array_set_new(v.tokens, (size_t)json_integer_value(id), json_string(piece));
        json_array_set_new(v.types, (size_t)json_integer_value(id), json_integer(1));
    }
    /* a GGUF has no words for lstrip, rstrip and single_word: left unused */
    json_array_foreach(added, i, id) {
        if (!json_is_true(json_object_get(id, "special"))) continue;
        json_array_set(v.tokens, (size_t)json_integer_value(json_object_get(id, "id")),
                       json_object_get(id, "content"));
        json_array_set_new(v.types, (size_t)json_integer_value(json_object_get(id, "id")), json_integer(3));
    }
    json_array_foreach(json_object_get(model, "merges"), i, id)
        json_array_append_new(v.merges, json_sprintf("%s %s", json_string_value(json_array_get(id, 0)),
                                                     json_string_value(json_array_get(id, 1))));
    json_decref(file);
    return v;
}

static void put_texts(tn_str *s, uint64_t *n, const char *key, const json_t *list)
{
    const json_t *item;
    size_t        i;

    tn_kv_array(s, n, key, TN_GGUF_STR, json_array_size(list));
    json_array_foreach(list, i, item) {
        uint64_t len = json_string_length(item);

        tn_str_add_n(s, &len, 8);
        tn_str_add_n(s, json_string_value(item), len);
    }
}

/* The bytes of a GGUF that holds this vocabulary and nothing else. */
static tn_gguf *as_gguf(char **bytes, const vocabulary *v, const char *model, const char *pre, bool space,
                        bool bos)
{
    tn_str        kv = { 0 }, file = { 0 };
    uint64_t      n = 0, no_tensors = 0;
    uint32_t      version = 3;
    const json_t *item;
    size_t        i;
    tn_gguf      *g;

    tn_kv_str(&kv, &n, "tokenizer.ggml.model", model, strlen(model));
    tn_kv_str(&kv, &n, "tokenizer.ggml.pre", pre, strlen(pre));
    put_texts(&kv, &n, "tokenizer.ggml.tokens", v->tokens);
    if (v->merges != NULL) put_texts(&kv, &n, "tokenizer.ggml.merges", v->merges);
    tn_kv_array(&kv, &n, "tokenizer.ggml.token_type", TN_GGUF_I32, json_array_size(v->types));
    json_array_foreach(v->types, i, item)
        tn_str_add_n(&kv, &(int32_t){ (int32_t)json_integer_value(item) }, 4);
    if (v->scores != NULL) {
        tn_kv_array(&kv, &n, "tokenizer.ggml.scores", TN_GGUF_F32, json_array_size(v->scores));
        json_array_foreach(v->scores, i, item)
            tn_str_add_n(&kv, &(float){ (float)json_number_value(item) }, 4);
    }
    tn_kv_u32(&kv, &n, "tokenizer.ggml.bos_token_id", 1);
    tn_kv_u32(&kv, &n, "tokenizer.ggml.eos_token_id", 2);
    if (v->scores != NULL) tn_kv_u32(&kv, &n, "tokenizer.ggml.unknown_token_id", 0);
    tn_kv_bool(&kv, &n, "tokenizer.ggml.add_bos_token", bos);
    tn_kv_bool(&kv, &n, "tokenizer.ggml.add_space_prefix", space);
    tn_str_add(&file, "GGUF");
    tn_str_add_n(&file, &version, 4);
    tn_str_add_n(&file, &no_tensors, 8);
    tn_str_add_n(&file, &n, 8);
    tn_str_add_n(&file, kv.p, kv.len);
    tn_str_free(&kv);
    assert_ok(tn_gguf_parse(&g, (const uint8_t *)file.p, file.len, "vocabulary.gguf", err));
    *bytes = tn_str_take(&file); /* looked into until the GGUF is closed */
    return g;
}

static tn_tokenizer *by_json(const tn_gguf *g)
{
    json_t       *tokenizer, *config;
    tn_tokenizer *t;

    assert_ok(tn_vocabulary_json(&tokenizer, &config, g, err));
    char *a = tn_json_text(tokenizer), *b = tn_json_text(config);
    assert_ok(tn_tokenizer_from_json(&t, a, strlen(a), b, strlen(b), "tokenizer.json", err));
    free(a);
    free(b);
    json_decref(tokenizer);
    json_decref(config);
    return t;
}

static void same_ids(const tn_tokenizer *a, const tn_tokenizer *b, const char *what)
{
    char    *text, *rest, *line;
    size_t   n, n_text = 0, cap_a = 0, cap_b = 0;
    int32_t *ids_a = NULL, *ids_b = NULL;

    assert_ok(tn_file_read_all(&text, &n, "tests/golden/tokenizer/encode.case", 1 << 26, err));
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        json_t *v = NULL;
        size_t  n_a = 0, n_b = 0;

        if (line[0] != '"' || tn_json_parse(&v, line, strlen(line), "text", NULL) != TN_OK) continue;
        const char *s = json_string_value(v);
        for (int flags = 0; flags <= (TN_TOK_BOS | TN_TOK_SPECIAL); flags += TN_TOK_BOS | TN_TOK_SPECIAL) {
            n_a = n_b = 0;
            assert_ok(tn_tokenize(a, s, json_string_length(v), flags, &ids_a, &n_a, &cap_a, err));
            assert_ok(tn_tokenize(b, s, json_string_length(v), flags, &ids_b, &n_b, &cap_b, err));
            if (n_a != n_b || (n_a > 0 && memcmp(ids_a, ids_b, n_a * sizeof *ids_a) != 0))
                fail_msg("%s: other ids of %s", what, line);
        }
        json_decref(v);
        n_text++;
    }
    assert_true(n_text > 100);
    free(ids_a);
    free(ids_b);
    free(text);
}

static void vocabulary_free(vocabulary *v)
{
    json_decref(v->tokens);
    json_decref(v->types);
    json_decref(v->scores);
    json_decref(v->merges);
}

static void sentencepiece_scores_become_merges(void **state)
{
    vocabulary v = sentencepiece();
    (void)state;

    for (int space = 0; space < 2; space++) {
        char         *bytes;
        tn_gguf      *g = as_gguf(&bytes, &v, "llama", "default", space != 0, space != 0);
        tn_tokenizer *a, *b = by_json(g);

        assert_ok(tn_open_gguf_tokenizer(&a, g, NULL, err));
        assert_int_equal(tn_tokenizer_adds_bos(b), space);
        same_ids(a, b, space ? "with a space in front" : "without");
        tn_tokenizer_destroy(a);
        tn_tokenizer_destroy(b);
        tn_gguf_close(g);
        free(bytes);
    }
    vocabulary_free(&v);
}

static void every_named_pre_tokeniser_has_its_patterns(void **state)
{
    static const char *const names[] = {
        "gpt-2",      "smollm",       "falcon",         "default",     "llama-bpe", "dbrx",
        "seed-coder", "deepseek-llm", "deepseek-coder", "deepseek-v3", "gpt-4o",    "tekken",
        "glm4",       "stablelm2",    "starcoder",      "olmo",        "mpt",       "command-r"
    };
    static const char *const without[] = { "bloom", "gemma4", "no-such-name" };
    vocabulary               v = byte_level();
    (void)state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char         *bytes;
        tn_gguf      *g = as_gguf(&bytes, &v, "gpt2", names[i], false, i % 2 == 0);
        tn_tokenizer *a, *b = by_json(g);
        const char   *pre = tn_tokenizer_pre(b);

        assert_ok(tn_open_gguf_tokenizer(&a, g, NULL, err));
        same_ids(a, b, names[i]);
        assert_non_null(pre);
        if (i < 12) assert_string_equal(pre, names[i]);
        tn_tokenizer_destroy(a);
        tn_tokenizer_destroy(b);
        tn_gguf_close(g);
        free(bytes);
    }
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
        char    *bytes;
        tn_gguf *g = as_gguf(&bytes, &v, "gpt2", without[i], false, false);
        json_t  *tokenizer, *config;
        tn_error err = { 0 };

        assert_int_equal(tn_vocabulary_json(&tokenizer, &config, g, &err), TN_UNSUPPORTED);
        assert_non_null(strstr(err.msg, without[i]));
        tn_gguf_close(g);
        free(bytes);
    }
    vocabulary_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece_scores_become_merges),
        cmocka_unit_test(every_named_pre_tokeniser_has_its_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
