/* prompt.h - from a row to the texts that are scored, and from texts to tokens (private to this room). */
#ifndef TN_EVAL_PROMPT_H
#define TN_EVAL_PROMPT_H

#include "eval/task.h"
#include "tokenizer/tokenizer.h"

/* What is asked about one row: n texts, each scored after its context. */
typedef struct tn_ask {
    char  **context, **continuation;       /* [n]; multiple choice: the delimiter stands in the continuation */
    char  **choice;                        /* [n] without the delimiter: what lengths are counted on */
    bool   *gold;                          /* [n] */
    size_t  n;
    int64_t n_word, n_byte;                /* rolling: of the text that counts */
} tn_ask;

/* The shots of a task, and where their texts come from. same_split: a row is never its own shot. */
typedef struct tn_shots { const tn_docs *pool; int64_t n; bool same_split; } tn_shots;

tn_status tn_ask_make(tn_ask *out, const tn_task *t, const tn_doc *doc, const tn_shots *shots, tn_error *err);
void      tn_ask_free(tn_ask *a);

/* tokens[0 .. n_context) is what the rest is scored after. */
typedef struct tn_span { int32_t *tokens; int64_t n_context, n; bool truncated, boundary; } tn_span;

/* The public harness's split into context and continuation; a context that is too long loses its beginning
 * (truncated). boundary: the context's own tokens are no beginning of the whole's, the longest common ones are used. */
tn_status tn_span_make(tn_span *out, const tn_tokenizer *t, const char *context, const char *continuation, int64_t n_max, const char *where, tn_error *err);
/* A whole text as windows of at most n_max tokens; made: free *out and every tokens. */
tn_status tn_span_windows(tn_span **out, size_t *n, const tn_tokenizer *t, const char *text, int64_t n_max, const char *where, tn_error *err);

#endif
