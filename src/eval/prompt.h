/* prompt.h - from a row to the texts that are scored, and from texts to tokens (private to this room). */
#ifndef TN_EVAL_PROMPT_H
#define TN_EVAL_PROMPT_H

#include "eval/task.h"
#include "tokenizer/tokenizer.h"

/* How questions are put: as plain text, or as a conversation in the model's chat format. */
typedef struct tn_style {
    /* multiturn: each shot is a turn and its answer; else all stand in one user turn */
    bool        chat, multiturn;
    const char *system; /* system text, or NULL */
    /* both only for chat; no format: a conversation stays JSON, for an endpoint */
    const tn_tokenizer *tokenizer;
    const tn_chat      *format;
} tn_style;

/* What is asked about one row: n texts, each scored after its context. */
typedef struct tn_ask {
    char  **context, **continuation; /* [n]; multiple choice: the delimiter stands in the continuation */
    char  **choice;                  /* [n] without the delimiter: what lengths are counted on */
    bool   *gold;                    /* [n] */
    size_t  n, n_choice;             /* n_choice < n: the rest are the same choices without a context */
    char   *question;                /* the row's own text, without shots; NULL for rolling */
    json_t *targets;                 /* generate: the texts that are right */
    int64_t n_word, n_byte;          /* rolling: of the text that counts */
} tn_ask;

/* i_doc: the row's place among the tested rows, which says its shots. */
tn_status tn_ask_make(tn_ask *out, const tn_task *t, const tn_doc *doc, size_t i_doc, const tn_shots *shots,
                      const tn_style *style, tn_error *err);
void      tn_ask_free(tn_ask *a);

/* tokens[0 .. n_context) is what the rest is scored after. */
typedef struct tn_span {
    int32_t *tokens;
    int64_t  n_context, n;
    bool     truncated, boundary;
} tn_span;

/* The public harness's split into context and continuation; a context that is too long loses its beginning
 * (truncated). boundary: the context's own tokens are no beginning of the whole's, the longest common ones
 * are used. */
tn_status tn_span_make(tn_span *out, const tn_tokenizer *t, const char *context, const char *continuation,
                       int64_t n_max, const char *where, tn_error *err);
/* A whole text as windows of at most n_max tokens; made: free *out and every tokens. */
tn_status tn_span_windows(tn_span **out, size_t *n, const tn_tokenizer *t, const char *text, int64_t n_max,
                          const char *where, tn_error *err);
/* A context that is answered: its last tokens, at most n_max of them. */
tn_status tn_span_prompt(tn_span *out, const tn_tokenizer *t, const char *context, int64_t n_max,
                         const char *where, tn_error *err);

#endif
