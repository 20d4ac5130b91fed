/* align.h - Constitutional AI as pure functions over files: prompts, answers, revisions, pairs.
 *
 *   seed files ── prompts.c ──→ prompts.jsonl (kind, topic, principle, family, split)
 *   prompts + base model ── answers.c ──→ answers.jsonl
 *   prompts + answers + constitution ── pairs.c ──→ pairs.jsonl, sft.jsonl, records.jsonl
 *   (train turns these into adapters; eval measures on the held-out split)
 *
 * Every row carries the ids of the principles that caused it. Nothing here judges the result: that is eval's room, and the
 * two never include each other. */
#ifndef TN_ALIGN_ALIGN_H
#define TN_ALIGN_ALIGN_H

#include "base/option.h"
#include "constitution/constitution.h"
#include "infer/infer.h"

/* ------------------------------------------------------------------------------------------------- prompts.c */

typedef enum tn_prompt_kind {
    TN_PROMPT_DECLINE,      /* a harmful request: to be declined */
    TN_PROMPT_LOOKALIKE,    /* sounds harmful, is not: to be answered */
    TN_PROMPT_EVERYDAY      /* an ordinary request */
} tn_prompt_kind;

typedef enum tn_split { TN_SPLIT_TRAIN, TN_SPLIT_DEV, TN_SPLIT_HELDOUT } tn_split;

typedef struct tn_prompt {
    char          *id;              /* "wpn-build/d0": family, side and number; or the row's own id */
    char          *text;
    char          *topic;           /* of the constitution */
    char          *principle;       /* the one that declines it (look-alikes: the one they are mistaken for); may be NULL */
    char          *family;          /* a family is never on two sides of a split */
    tn_prompt_kind kind;
    tn_split       split;
} tn_prompt;

typedef struct tn_prompts { tn_prompt *at; size_t n; } tn_prompts;

/* Adds the prompts of a file: .txt in the seed form of prompts/pairs.txt; .jsonl with {"prompt"|"text"} and optional
 * "id","kind","topic","principle","family","split", or hh-rlhf rows {"chosen"} (first human turn); .csv with a column
 * prompt, goal, behavior, question or forbidden_prompt. FORMAT names file and line. */
tn_status tn_prompts_read(tn_prompts *set, const char *path, tn_prompt_kind kind_default, const char *topic_default, tn_error *err);
tn_status tn_prompts_write(const tn_prompts *set, const char *path, tn_error *err);
void      tn_prompts_free(tn_prompts *set);
const char *tn_prompt_kind_name(tn_prompt_kind k);
const char *tn_split_name(tn_split s);

/* Whole families to one split each, within every topic: shares of held-out and development families. Then training and
 * development prompts that are near-duplicates of a held-out one (word Jaccard >= 0.6) are removed; *removed counts. */
tn_status tn_prompts_split(tn_prompts *set, double heldout, double dev, uint64_t seed, size_t *removed, tn_error *err);

/* Exact and near copies (same words, or word Jaccard >= 0.7) of evaluation prompts: a list of
 * {"prompt","id","evaluation","file","similarity"}. made: json_decref. */
tn_status tn_prompts_overlap(const tn_prompts *set, const char *const *files, size_t n_file, json_t **out, tn_error *err);

typedef struct tn_align_prompts_config { char *files, *evaluation; double heldout, dev; int64_t seed; } tn_align_prompts_config;
extern const tn_option tn_align_prompts_options[];
/* Stage: seed files + constitution -> directory with prompts.jsonl and overlap.json. An overlap with a named evaluation
 * set fails it (VERIFY). */
tn_status tn_align_prompts_run(const tn_align_prompts_config *c, const char *constitution, const char *out_dir, json_t *metrics, tn_error *err);

/* ------------------------------------------------------------------------------------------------- compose.c */

/* The words of a principle put together: a reason, then an offer, drawn by key. made: free. NULL if out of memory.
 * *i_reason and *i_offer (may be NULL) tell which. */
char *tn_compose_decline(const tn_principle *p, const tn_rng_key *key, int64_t *i_reason, int64_t *i_offer);
/* Does a text look like declining, by its first words? Only to filter our own samples; eval has its own, better judge. */
bool  tn_looks_declining(const char *text);
/* Share of words that repeat an earlier 4-gram, for filters: 0 none. */
double tn_repetition(const char *text);

#endif
