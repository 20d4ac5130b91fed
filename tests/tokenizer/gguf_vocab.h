/* gguf_vocab.h - the vocabulary of a GGUF file, read just far enough for this room's tests (the real reader
 * is model/gguf.c, above this room). Trusted files only: the published vocabularies. */
#ifndef TESTS_TOKENIZER_GGUF_VOCAB_H
#define TESTS_TOKENIZER_GGUF_VOCAB_H

#include "tokenizer/tokenizer.h"

typedef struct gguf_vocab {
    char           *file;
    tn_vocab_source src;
    char           *strings[4]; /* model, pre, chat_template as C strings */
    const char    **tokens, **merges;
    size_t         *token_bytes, *merge_bytes;
} gguf_vocab;

tn_status gguf_vocab_read(gguf_vocab *v, const char *path, tn_error *err);
void      gguf_vocab_free(gguf_vocab *v);

#endif
