/* with_model.h - what the commands that run a model share: opening it, an engine for a given length, prompts
 * from rows. */
#ifndef TN_CLI_WITH_MODEL_H
#define TN_CLI_WITH_MODEL_H

#include "cli/cli.h"
#include "infer/infer.h"

#include <stdio.h>

/* Options of every such command; put TN_MODEL_OPTIONS(config type) into its table. */
typedef struct tn_model_args {
    char   *model, *chat_format, *kv_type;
    int64_t n_ctx, n_batch;
    bool    special;
} tn_model_args;

// clang-format off
#define TN_MODEL_OPTIONS(type, field)                                                                                                      \
    { "model",       TN_OPT_STR,    offsetof(type, field.model),       NULL, 0, 0, "", "folder, .gguf file, release, digest or name in the store", "m" }, \
    { "chat_format", TN_OPT_STR,    offsetof(type, field.chat_format), NULL, 0, 0, "", "chat format instead of the one that the model's template says", NULL }, \
    { "ctx",         TN_OPT_INT,    offsetof(type, field.n_ctx),       NULL, 0, 1e9, "tokens", "longest text; 0: as the inputs need", "c" }, \
    { "kv_type",     TN_OPT_CHOICE, offsetof(type, field.kv_type),     "f32", 0, 0, "f32|bf16|q8_0", "type of the KV cache", NULL },     \
    { "batch",       TN_OPT_INT,    offsetof(type, field.n_batch),     "24", 1, 4096, "streams", "texts that run together; never changes an answer", "b" }, \
    { "special",     TN_OPT_BOOL,   offsetof(type, field.special),     NULL, 0, 0, "", "special tokens written in a raw prompt count as such", NULL }
// clang-format on

/* How answers are drawn, for a config with fields of these names. */
// clang-format off
#define TN_SAMPLING_OPTIONS(type, n_, n_least, temperature_, top_p_)                                                                                       \
    { "n",           TN_OPT_INT,  offsetof(type, n),           n_,           n_least, 1e9, "tokens", "longest answer", "n" },                              \
    { "temperature", TN_OPT_REAL, offsetof(type, temperature), temperature_, 0, 100, "", "0: always the most likely token", "t" },                         \
    { "top_k",       TN_OPT_INT,  offsetof(type, top_k),       "0",          0, 1e9, "tokens", "only the k most likely; 0: all", NULL },                   \
    { "top_p",       TN_OPT_REAL, offsetof(type, top_p),       top_p_,       0, 1, "", "only the most likely that hold this share", NULL },                \
    { "min_p",       TN_OPT_REAL, offsetof(type, min_p),       "0",          0, 1, "", "only those with this share of the best one's probability", NULL }, \
    { "repetition_penalty", TN_OPT_REAL, offsetof(type, repetition_penalty), "1", 0.01, 100, "", "divides the logits of tokens that were there", NULL }
// clang-format on

tn_status tn_cli_model_open(tn_model **out, const tn_common *common, const tn_model_args *a, bool pack,
                            tn_error *err);
/* For commands between text and ids: the model's tokenizer, and FILE to read (NULL or "-": standard input).
 * Close *f unless stdin. */
tn_status tn_cli_tokenizer_open(tn_tokenizer **t, FILE **f, const tn_common *common, const char *model,
                                const char *file, tn_error *err);
/* An engine whose context holds n_longest tokens (a->n_ctx overrides; never more than the model knows). */
tn_status tn_cli_engine(tn_engine **out, tn_model *m, const tn_model_args *a, int64_t n_longest,
                        int64_t n_request, tn_error *err);

/* Token ids that grow. */
typedef struct tn_ids {
    int32_t *p;
    size_t   n, cap;
} tn_ids;

/* Raw text as the model wants it (with BOS where its tokenizer adds it). */
tn_status tn_cli_tokens(const tn_model *m, const char *text, bool special, tn_ids *out, tn_error *err);
/* {"prompt":…} or {"messages":[…]} to tokens. */
tn_status tn_cli_row_tokens(const tn_model *m, const json_t *row, bool special, const char *where,
                            tn_ids *out, tn_error *err);
/* Sample id of a row: of its "id", else of its tokens and how often they came before (`n_before`). */
uint64_t tn_cli_sample_id(const json_t *id, const tn_ids *prompt, uint64_t n_before);

#endif
