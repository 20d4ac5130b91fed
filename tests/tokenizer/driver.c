/* driver.c - a tokenizer behind a pipe, for comparing with other implementations.
 *
 *   tokenizer_driver VOCAB.gguf | TOKENIZER.json [CONFIG.json]
 *   in:   flags u32, n u32, n bytes of text      flags as tn_tokenize's; 256: the bytes are i32 ids to decode (special kept)
 *   out:  n u32, n ids i32                       0xffffffff, length u32, message: an error.  For 256: n u32, n bytes */
#include "gguf_vocab.h"

#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_exactly(void *p, size_t n) { return fread(p, 1, n, stdin) == n; }
static void put_u32(uint32_t v) { fwrite(&v, 4, 1, stdout); }

static tn_status open_tokenizer(tn_tokenizer **t, int argc, char **argv, tn_error *err)
{
    gguf_vocab v = {0};
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

int main(int argc, char **argv)
{
    tn_tokenizer *t = NULL;
    tn_error      err = {0};
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
            if (tn_detokenize(t, (const int32_t *)(const void *)text, head[1] / 4, true, &decoded, &n_decoded, &err) != TN_OK) return 1;
            put_u32((uint32_t)n_decoded);
            fwrite(decoded, 1, n_decoded, stdout);
            free(decoded);
        } else if (tn_tokenize(t, text, head[1], (int)head[0], &ids, &n, &cap, &err) != TN_OK) {
            put_u32(UINT32_MAX);
            put_u32((uint32_t)strlen(err.msg));
            fputs(err.msg, stdout);
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
