/* driver.c - a tokenizer behind a pipe, for comparing with other implementations.
 *
 *   tokenizer_driver VOCAB.gguf | TOKENIZER.json [CONFIG.json]
 *   in:   flags u32, n u32, n bytes of text      flags as tn_tokenize's; 256: the bytes are i32 ids to decode (special kept)
 *         2048: the same through a stream, special ones left out; out: n u32, n bytes
 *         512: the bytes are {"template" or "format", "messages", "open"}; out: n u32, n ids, n mask bytes
 *         1024: the bytes are a format's name; out: n u32, n bytes of the template that we write for it; no bytes: all names
 *   out:  n u32, n ids i32                       0xffffffff, length u32, message: an error.  For 256: n u32, n bytes */
#include "gguf_vocab.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_exactly(void *p, size_t n) { return fread(p, 1, n, stdin) == n; }
static void put_u32(uint32_t v) { fwrite(&v, 4, 1, stdout); }

static tn_status open_tokenizer(tn_tokenizer **t, int argc, char **argv, tn_error *err)
{
    gguf_vocab v = { 0 };
    tn_status  status = TN_OK;
    char      *json = NULL, *config = NULL;
    size_t     n = 0, n_config = 0;

    if (tn_ends_with(argv[1], ".json")) {
        TN_GOTO(tn_file_read_all(&json, &n, argv[1], (size_t)1 << 28, err));
        if (argc > 2) TN_GOTO(tn_file_read_all(&config, &n_config, argv[2], (size_t)1 << 28, err));
        TN_GOTO(tn_tokenizer_from_json(t, json, n, config, n_config, argv[1], err));
    } else {
        TN_GOTO(gguf_vocab_read(&v, argv[1], err));
        TN_GOTO(tn_tokenizer_from_vocab(t, &v.src, argv[1], err));
    }
out:
    free(json);
    free(config);
    gguf_vocab_free(&v);
    return status;
}

static void put_error(const tn_error *err)
{
    put_u32(UINT32_MAX);
    put_u32((uint32_t)strlen(err->msg));
    fputs(err->msg, stdout);
}

static tn_status render(const tn_tokenizer *t, const char *text, size_t n_text, tn_error *err)
{
    json_t    *o = NULL, *row;
    tn_chat    chat = { 0 };
    tn_message m[64];
    size_t     i, n = 0, cap = 0, n_message = 0;
    int32_t   *ids = NULL;
    uint8_t   *mask = NULL;
    tn_status  status;

    if ((status = tn_json_parse(&o, text, n_text, "conversation", err)) != TN_OK) return status;
    json_array_foreach(json_object_get(o, "messages"), i, row)
        if (n_message < 64)
            m[n_message++] = (tn_message){ json_string_value(json_object_get(row, "role")),
                                           json_string_value(json_object_get(row, "content")) };
    if (json_object_get(o, "format") != NULL) {
        if (!tn_chat_format_parse(json_string_value(json_object_get(o, "format")), &chat.format))
            status = tn_fail(err, TN_USAGE, "no such format");
    } else status = tn_chat_recognise(&chat, json_string_value(json_object_get(o, "template")), t, err);
    if (status == TN_OK)
        status = tn_chat_render(t, &chat, m, n_message, json_is_true(json_object_get(o, "open")), &ids, &mask,
                                &n, &cap, err);
    if (status == TN_OK) {
        put_u32((uint32_t)n);
        fwrite(ids, 4, n, stdout);
        fwrite(mask, 1, n, stdout);
    }
    free(ids);
    free(mask);
    tn_chat_free(&chat);
    json_decref(o);
    return status;
}

static tn_status put_template(const char *name, size_t n, tn_error *err)
{
    tn_chat_format format;
    tn_str         s = { .max = 1 << 16 };
    char          *copy = tn_strndup(name, n), *text = NULL;
    tn_status      status = TN_OK;

    if (n == 0) tn_chat_format_names(&s);
    else if (copy == NULL || !tn_chat_format_parse(copy, &format))
        status = tn_fail(err, TN_USAGE, "no such format");
    else if ((status = tn_chat_template(&text, format, err)) == TN_OK) tn_str_add(&s, text);
    if (status == TN_OK) {
        put_u32((uint32_t)s.len);
        fwrite(s.p, 1, s.len, stdout);
    }
    tn_str_free(&s);
    free(copy);
    free(text);
    return status;
}

/* The ids one by one, and the flush. */
static tn_status put_stream(const tn_tokenizer *t, const int32_t *ids, size_t n_ids, tn_error *err)
{
    tn_decode_stream s = { 0 };
    char            *text = NULL;
    size_t           n = 0, cap = 0;
    tn_status        status = TN_OK;

    for (size_t i = 0; i <= n_ids && status == TN_OK; i++)
        status = tn_decode_next(t, &s, i < n_ids ? ids[i] : -1, &text, &n, &cap, err);
    if (status == TN_OK) {
        put_u32((uint32_t)n);
        fwrite(text, 1, n, stdout);
    }
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    tn_tokenizer *t = NULL;
    tn_error      err = { 0 };
    int32_t      *ids = NULL;
    char         *text = NULL, *decoded;
    size_t        n, cap = 0, text_cap = 0, n_decoded;
    uint32_t      head[2];

    if (argc < 2 || open_tokenizer(&t, argc, argv, &err) != TN_OK) {
        fprintf(stderr, "%s\n", argc < 2 ? "tokenizer_driver VOCAB" : err.msg);
        return 1;
    }
    while (read_exactly(head, sizeof head)) {
        if (head[1] > text_cap && (text = realloc(text, text_cap = head[1])) == NULL) return 1;
        if (!read_exactly(text, head[1])) return 1;
        n = 0;
        if (head[0] == 256) {
            if (tn_detokenize(t, (const int32_t *)(const void *)text, head[1] / 4, true, &decoded, &n_decoded,
                              &err) != TN_OK)
                return 1;
            put_u32((uint32_t)n_decoded);
            fwrite(decoded, 1, n_decoded, stdout);
            free(decoded);
        } else if (head[0] == 2048) {
            if (put_stream(t, (const int32_t *)(const void *)text, head[1] / 4, &err) != TN_OK)
                put_error(&err);
        } else if (head[0] == 512) {
            if (render(t, text, head[1], &err) != TN_OK) put_error(&err);
        } else if (head[0] == 1024) {
            if (put_template(text, head[1], &err) != TN_OK) put_error(&err);
        } else if (tn_tokenize(t, text, head[1], (int)head[0], &ids, &n, &cap, &err) != TN_OK) {
            put_error(&err);
        } else {
            put_u32((uint32_t)n);
            fwrite(ids, 4, n, stdout);
        }
        fflush(stdout);
    }
    free(text);
    free(ids);
    tn_tokenizer_destroy(t);
    return 0;
}
