/* rows.h - private to align: JSONL files of stages, written whole or not at all, and read back by id. */
#ifndef TN_ALIGN_ROWS_H
#define TN_ALIGN_ROWS_H

#include "align/align.h"
#include "base/file.h"

/* A model with its engine, and an adapter that stays unmerged (the sampler then agrees with the trainer to
 * the bit). */
typedef struct tn_align_engine {
    tn_model  *model;
    tn_engine *engine;
    tn_lora   *lora;
    size_t     n_lora;
} tn_align_engine;
/* memo: answers of before by this model, adapter and profile (tn_align_sampling.memo), or NULL. */
tn_status tn_align_engine_open(tn_align_engine *a, const char *model, const char *adapter, tn_profile profile,
                               int64_t batch, const char *kv_type, tn_memo *memo, tn_error *err);
void      tn_align_engine_close(tn_align_engine *a);
/* The principle that a prompt's training rows are made for: its own or a drawn one that declines, for
 * requests to decline; one that asks for an answer otherwise; NULL if none applies. */
const tn_principle *tn_align_principle_of(const tn_constitution *c, const tn_prompt *p, uint64_t seed);
const char         *tn_align_skip_lead_in(const char *text);
double              tn_align_logprob_sum(const tn_result *r);
tn_sampling         tn_align_sampling_of(const tn_align_sampling *c);

/* Whether the option `kinds` names this kind, or none. */
bool tn_align_takes(const char *kinds, tn_prompt_kind k);

int64_t tn_words(const char *s);
/* Share of words that two texts have in common (Jaccard), lower-cased; split.c. */
double tn_words_alike(const char *a, const char *b);

/* The rows that every sampling stage's option table has. */
// clang-format off
#define TN_ALIGN_SAMPLING_OPTIONS(type, max_tokens_, temperature_, split_)                                                                       \
    { "max_tokens",  TN_OPT_INT,    offsetof(type, s.max_tokens),  max_tokens_,  1, 65536, "tokens", "the longest answer", NULL },               \
    { "batch",       TN_OPT_INT,    offsetof(type, s.batch),       "16",         1, 1024,  "streams", "answers sampled together (no effect on them)", NULL }, \
    { "seed",        TN_OPT_INT,    offsetof(type, s.seed),        "1",          0, 1e15,  "", "of the sampler", NULL },                          \
    { "limit",       TN_OPT_INT,    offsetof(type, s.limit),       "0",          0, 1e9,   "prompts", "of each kind at most, evenly spaced; 0: all", NULL },     \
    { "temperature", TN_OPT_REAL,   offsetof(type, s.temperature), temperature_, 0, 10,    "", "0 is greedy", NULL },                             \
    { "top_p",       TN_OPT_REAL,   offsetof(type, s.top_p),       "1",          0, 1,     "", "nucleus", NULL },                                 \
    { "kinds",       TN_OPT_LIST,   offsetof(type, s.kinds),       NULL,         0, 0,     "decline|lookalike|everyday", "of which kinds; all if absent", NULL }, \
    { "split",       TN_OPT_CHOICE, offsetof(type, s.split),       split_,       0, 0,     "train|dev|heldout|all", "which side of the split", NULL }, \
    { "system",      TN_OPT_STR,    offsetof(type, s.system),      NULL,         0, 0,     "", "system text", NULL }
// clang-format on

typedef struct tn_row_file {
    tn_out *out;
} tn_row_file;
tn_status tn_row_file_open(tn_row_file *r, const char *dir, const char *name, tn_error *err);
/* Takes the row (NULL: out of memory while it was made). */
tn_status tn_row_file_add(tn_row_file *r, json_t *row, tn_error *err);
tn_status tn_row_file_commit(tn_row_file *r, tn_error *err);
void      tn_row_file_abandon(tn_row_file *r);

/* The files of one stage (NULL-ended), their names in the same order. */
tn_status tn_row_files_open(tn_row_file *const *files, const char *dir, const char *const *names,
                            tn_error *err);
tn_status tn_row_files_commit(tn_row_file *const *files, tn_error *err);
void      tn_row_files_abandon(tn_row_file *const *files);

/* What a sampling stage says to a model: its system text, if there is one, and this. Returns how many
 * messages (1 or 2). */
size_t tn_align_messages(tn_message out[2], const tn_align_sampling *s, const char *text);

/* A whole JSONL file of a stage, found by "id". */
typedef struct tn_row_map {
    json_t *by_id;
    json_t *list;
} tn_row_map;
tn_status     tn_row_map_load(tn_row_map *m, const char *dir_or_file, const char *name, tn_error *err);
const json_t *tn_row_map_get(const tn_row_map *m, const char *id);
const char   *tn_row_text(const json_t *row, const char *key); /* NULL if absent */
void          tn_row_map_free(tn_row_map *m);

#endif
