/* gguf_vocab.c - see gguf_vocab.h. */
#include "gguf_vocab.h"

#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static uint64_t get(const char **p, size_t n)
{
    uint64_t v = 0;

    memcpy(&v, *p, n);
    *p += n;
    return v;
}

static const char *get_string(const char **p, size_t *n)
{
    const char *s;

    *n = get(p, 8);
    s = *p;
    *p += *n;
    return s;
}

/* Bytes of a value of a scalar type; 0 for strings and arrays. */
static size_t scalar_bytes(uint32_t type)
{
    static const size_t bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

    return type < 13 ? bytes[type] : 0;
}

static bool is(const char *key, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(key, name, n) == 0;
}

static void read_strings(const char **p, uint64_t n, const char ***list, size_t **bytes)
{
    *list = malloc(n * sizeof **list);
    *bytes = malloc(n * sizeof **bytes);
    for (uint64_t i = 0; i < n; i++) (*list)[i] = get_string(p, &(*bytes)[i]);
}

static void read_array(gguf_vocab *v, const char *key, size_t n_key, const char **p)
{
    uint32_t type = (uint32_t)get(p, 4);
    uint64_t n = get(p, 8);

    if (is(key, n_key, "tokenizer.ggml.tokens")) {
        read_strings(p, n, &v->tokens, &v->token_bytes);
        v->src.n_token = (int64_t)n;
        v->src.tokens = v->tokens;
        v->src.token_bytes = v->token_bytes;
        return;
    }
    if (is(key, n_key, "tokenizer.ggml.merges")) {
        read_strings(p, n, &v->merges, &v->merge_bytes);
        v->src.n_merge = (int64_t)n;
        v->src.merges = v->merges;
        v->src.merge_bytes = v->merge_bytes;
        return;
    }
    if (type == 8) {
        size_t len;

        for (uint64_t i = 0; i < n; i++) get_string(p, &len);
        return;
    }
    if (is(key, n_key, "tokenizer.ggml.scores")) {
        float *scores = malloc(n * sizeof *scores);

        memcpy(scores, *p, n * sizeof *scores);
        v->src.scores = scores;
    } else if (is(key, n_key, "tokenizer.ggml.token_type")) {
        int32_t *types = malloc(n * sizeof *types);

        memcpy(types, *p, n * sizeof *types);
        v->src.types = types;
    } else if (is(key, n_key, "tokenizer.ggml.precompiled_charsmap")) {
        v->src.charsmap = (const uint8_t *)*p;
        v->src.charsmap_bytes = n;
    }
    *p += n * scalar_bytes(type);
}

static void read_pair(gguf_vocab *v, const char **p)
{
    size_t      n_key, n;
    const char *key = get_string(p, &n_key), *text;
    uint32_t    type = (uint32_t)get(p, 4);
    uint64_t    value;

    if (type == 9) {
        read_array(v, key, n_key, p);
        return;
    }
    if (type == 8) {
        text = get_string(p, &n);
        if (is(key, n_key, "tokenizer.ggml.model")) v->src.model = v->strings[0] = tn_strndup(text, n);
        else if (is(key, n_key, "tokenizer.ggml.pre")) v->src.pre = v->strings[1] = tn_strndup(text, n);
        else if (is(key, n_key, "tokenizer.chat_template"))
            v->src.chat_template = v->strings[2] = tn_strndup(text, n);
        return;
    }
    value = get(p, scalar_bytes(type));
    if (is(key, n_key, "tokenizer.ggml.bos_token_id")) v->src.bos = (int64_t)value;
    else if (is(key, n_key, "tokenizer.ggml.eos_token_id")) v->src.eos = (int64_t)value;
    else if (is(key, n_key, "tokenizer.ggml.eot_token_id")) v->src.eot = (int64_t)value;
    else if (is(key, n_key, "tokenizer.ggml.unknown_token_id")) v->src.unk = (int64_t)value;
    else if (is(key, n_key, "tokenizer.ggml.padding_token_id")) v->src.pad = (int64_t)value;
    else if (is(key, n_key, "tokenizer.ggml.add_bos_token")) v->src.add_bos = (int)value;
    else if (is(key, n_key, "tokenizer.ggml.add_eos_token")) v->src.add_eos = (int)value;
    else if (is(key, n_key, "tokenizer.ggml.add_space_prefix")) v->src.add_space_prefix = (int)value;
    else if (is(key, n_key, "tokenizer.ggml.remove_extra_whitespaces"))
        v->src.remove_extra_spaces = value != 0;
}

tn_status gguf_vocab_read(gguf_vocab *v, const char *path, tn_error *err)
{
    const char *p;
    size_t      n;
    uint64_t    n_pair;

    *v = (gguf_vocab){ 0 };
    v->src.bos = v->src.eos = v->src.eot = v->src.unk = v->src.pad = -1;
    v->src.add_bos = v->src.add_eos = v->src.add_space_prefix = -1;
    TN_TRY(tn_file_read_all(&v->file, &n, path, (size_t)1 << 30, err));
    if (n < 24 || memcmp(v->file, "GGUF", 4) != 0) return tn_fail(err, TN_FORMAT, "%s is no GGUF file", path);
    p = v->file + 16;
    n_pair = get(&p, 8);
    while (n_pair-- > 0) read_pair(v, &p);
    return TN_OK;
}

void gguf_vocab_free(gguf_vocab *v)
{
    free(v->file);
    for (int i = 0; i < 4; i++) free(v->strings[i]);
    free(v->tokens);
    free(v->merges);
    free(v->token_bytes);
    free(v->merge_bytes);
    free((void *)(uintptr_t)v->src.scores);
    free((void *)(uintptr_t)v->src.types);
}
