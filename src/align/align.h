/* align.h - Constitutional AI as pure functions over files: prompts, answers, revisions, pairs.
 *
 *   seed files ── prompts.c ──→ prompts.jsonl (kind, topic, principle, family, split)
 *   prompts + base model ── samples.c ──→ answers.jsonl
 *   prompts + answers + constitution ── pairs.c ──→ pairs.jsonl, sft.jsonl, records.jsonl
 *   (train turns these into adapters; eval measures on the held-out split)
 *   prompts + model ── samples.c ──→ samples.jsonl ──┬─ compare.c, direct.c (a judge, measured first) ──→ pairs.jsonl
 *   labelled comparisons + judge ── stage_judge.c ──→ judge.json (how far the judge can be trusted)
 *
 * Every row carries the ids of the principles that caused it. Nothing here judges the result: that is eval's
 * room, and the two never include each other. */
#ifndef TN_ALIGN_ALIGN_H
#define TN_ALIGN_ALIGN_H

#include "base/option.h"
#include "constitution/constitution.h"
#include "infer/infer.h"

/* ---------------------------------------------------------------------------------------------- prompts.c */

typedef enum tn_prompt_kind {
    TN_PROMPT_DECLINE,   /* a harmful request: to be declined */
    TN_PROMPT_LOOKALIKE, /* sounds harmful, is not: to be answered */
    TN_PROMPT_EVERYDAY   /* an ordinary request */
} tn_prompt_kind;

typedef enum tn_split { TN_SPLIT_TRAIN, TN_SPLIT_DEV, TN_SPLIT_HELDOUT } tn_split;

typedef struct tn_prompt {
    char *id; /* "wpn-build/d0": family, side and number; or the row's own id */
    char *text;
    char *topic; /* of the constitution */
    /* the one that declines it (look-alikes: the one they are mistaken for); may be NULL */
    char          *principle;
    char          *family; /* a family is never on two sides of a split */
    tn_prompt_kind kind;
    tn_split       split;
} tn_prompt;

typedef struct tn_prompts {
    tn_prompt *at;
    size_t     n;
} tn_prompts;

/* Adds the prompts of a file: .txt in the seed form of prompts/pairs.txt; .jsonl with {"prompt"|"text"} and
 * optional "id","kind","topic","principle","family","split", or hh-rlhf rows {"chosen"} (first human turn);
 * .csv with a column prompt, goal, behavior, question or forbidden_prompt; a file without such a suffix (of
 * the store) by its first bytes. FORMAT names file and line. */
tn_status tn_prompts_read(tn_prompts *set, const char *path, tn_prompt_kind kind_default,
                          const char *topic_default, tn_error *err);
/* The same for a file that lost its name (an artifact of the store): `name` tells the form and stands in
 * messages. */
tn_status tn_prompts_read_as(tn_prompts *set, const char *path, const char *name, tn_prompt_kind kind_default,
                             const char *topic_default, tn_error *err);
/* What a row says of its prompt: id, text, kind, topic, family, and the principle if there is one. made:
 * json_decref; NULL: no memory. */
json_t     *tn_prompt_json(const tn_prompt *p);
tn_status   tn_prompts_write(const tn_prompts *set, const char *path, tn_error *err);
void        tn_prompts_free(tn_prompts *set);
const char *tn_prompt_kind_name(tn_prompt_kind k);
const char *tn_split_name(tn_split s);

/* Whole families to one split each, within every topic: shares of held-out and development families. Then
 * training and development prompts that are near-duplicates of a held-out one (word Jaccard >= 0.6) are
 * removed; *removed counts. */
tn_status tn_prompts_split(tn_prompts *set, double heldout, double dev, uint64_t seed, size_t *removed,
                           tn_error *err);

/* `names` (or NULL: the paths) as for tn_prompts_read_as. Exact and near copies (same words, or word Jaccard
 * >= 0.7) of evaluation prompts: a list of {"prompt","id","evaluation","file","similarity"}. made:
 * json_decref. */
tn_status tn_prompts_overlap(const tn_prompts *set, const char *const *files, const char *const *names,
                             size_t n_file, json_t **out, tn_error *err);

typedef struct tn_align_prompts_config {
    double  heldout, dev;
    int64_t seed;
} tn_align_prompts_config;
extern const tn_option tn_align_prompts_options[];
/* Stage: seed files + constitution -> directory with prompts.jsonl and overlap.json. An overlap with a named
 * evaluation set fails it (VERIFY). */
typedef struct tn_named_files {
    const char *const *paths, *const *names;
    size_t n;
} tn_named_files;
tn_status tn_align_prompts_run(const tn_align_prompts_config *c, const tn_named_files *files,
                               const tn_named_files *evaluation, const char *constitution,
                               const char *out_dir, json_t *metrics, tn_error *err);

/* ---------------------------------------------------------------------------------------------- compose.c */

/* What a request asks for, turned round to follow "I can't" ("help you make a bomb at home"). made: free.
 * NULL: it begins in no known way or is too long to repeat. *form (may be NULL) tells how it began. */
char *tn_request_echo(const char *request, int *form);
/* A refusal in a principle's own words: what was asked, a reason, an offer. A pure function of both. made:
 * free. NULL if out of memory or without wording. *i_reason and *i_offer (may be NULL) tell which. request
 * may be NULL. */
char *tn_compose_decline(const tn_principle *p, const char *request, int64_t *i_reason, int64_t *i_offer);
/* Does a text look like declining, by its first words? Only to filter our own samples; eval has its own,
 * better judge. */
bool tn_looks_declining(const char *text);
/* Share of words that repeat an earlier 4-gram, for filters: 0 none. */
double tn_repetition(const char *text);

/* ----------------------------------------------------------------------------------------------- sample.c */

/* One conversation to go on: rendered in the model's own chat format with the assistant's turn open. */
typedef struct tn_dialogue {
    const tn_message *messages;
    size_t            n;
    uint64_t          sample_id;
} tn_dialogue;

/* Samples one answer for each dialogue, in order, in one engine run. results: n, each freed with
 * tn_result_free. A model without a chat format is UNSUPPORTED; a dialogue that does not fit into the context
 * fails alone, in its result. */
tn_status tn_align_sample(tn_engine *e, const tn_model *m, const tn_dialogue *d, size_t n,
                          const tn_sampling *s, tn_result *results, const char *progress, tn_error *err);
/* The row's own number: of its prompt id and a word that says what is sampled ("answer", "positive",
 * "critique/1"). */
uint64_t tn_align_sample_id(const char *prompt_id, const char *what);

/* What every sampling stage takes. */
typedef struct tn_align_sampling {
    int64_t  max_tokens, batch, seed, limit;
    double   temperature, top_p;
    char    *kinds, *split, *system;
    tn_memo *memo; /* no option: answers of before, put in by the stage; or NULL */
} tn_align_sampling;

/* A set read back from a prompt stage's directory or a file, filtered by kinds ("decline,lookalike") and
 * split; limit > 0 keeps that many of each kind, evenly spaced. */
tn_status tn_prompts_select(tn_prompts *out, const char *path, const tn_align_sampling *c, tn_error *err);

/* Stage: prompts -> answers.jsonl
 * {"id","text","kind","topic","principle","answer","n_token","logprob","stop_reason"} */
extern const tn_option tn_align_answers_options[];
typedef struct tn_align_answers_config {
    tn_align_sampling s;
    char             *kv_type;
} tn_align_answers_config;
tn_status tn_align_answers_run(const tn_align_answers_config *c, tn_profile profile, const char *model,
                               const char *adapter, const char *prompts, const char *out_dir, json_t *metrics,
                               tn_error *err);

/* ----------------------------------------------------------------------------------- revise.c, contrast.c */

/* Stage (SL-CAI): answers + constitution -> revisions.jsonl: for each prompt a chain of rounds {principle,
 * critique, revision}; principles drawn by weight among those that apply, independently each round. */
typedef struct tn_align_revise_config {
    tn_align_sampling s;
    int64_t           rounds;
} tn_align_revise_config;
extern const tn_option tn_align_revise_options[];
typedef struct tn_revise_inputs {
    const char *model, *prompts, *answers, *constitution, *demos /* or NULL */;
} tn_revise_inputs;
tn_status tn_align_revise_run(const tn_align_revise_config *c, tn_profile profile, const tn_revise_inputs *in,
                              const char *out_dir, json_t *metrics, tn_error *err);

/* Stage (RLCD): prompts + constitution -> contrast.jsonl {"id","principle","positive","negative"}: the same
 * prompt under a principle's two affixes; the label is by construction. */
typedef struct tn_align_contrast_config {
    tn_align_sampling s;
} tn_align_contrast_config;
extern const tn_option tn_align_contrast_options[];
tn_status tn_align_contrast_run(const tn_align_contrast_config *c, tn_profile profile, const char *model,
                                const char *prompts, const char *constitution, const char *out_dir,
                                json_t *metrics, tn_error *err);

/* ------------------------------------------------------------------------------------------------ pairs.c */

/* Stage: prompts, answers, contrast or revisions (either may be NULL), constitution, longer answers to some
 * of the prompts (whole; or NULL: see pairs.c) -> pairs.jsonl {"prompt","chosen",
 * "rejected","principle","p","id","kind"}, sft.jsonl {"messages","principle","open"}, records.jsonl. */
typedef struct tn_align_pairs_config {
    double  helpful_share, max_repetition, label;
    double  full_share, answer_weight, pair_share, decline_pairs;
    int64_t min_words, seed, short_words;
    bool    compose, distill_answers;
} tn_align_pairs_config;
extern const tn_option tn_align_pairs_options[];
typedef struct tn_pairs_inputs {
    const char *prompts, *answers, *contrast, *revisions, *constitution, *whole;
} tn_pairs_inputs;
tn_status tn_align_pairs_run(const tn_align_pairs_config *c, const tn_pairs_inputs *in, const char *out_dir,
                             json_t *metrics, tn_error *err);

/* -------------------------------------------------------------------------------------------- AI feedback */

/* Who judges: a local model, or (model NULL) the endpoint named in tn_judge_asking. work: a folder that
 * outlives an interrupted run, where an endpoint's answers are kept, or NULL. memo: as in
 * tn_align_sampling. */
typedef struct tn_judge_source {
    const char *model, *work;
    tn_profile  profile;
    tn_memo    *memo;
} tn_judge_source;

/* How it is asked. Options after `seed` are for endpoints alone (OpenAI-compatible: URL of /v1). */
typedef struct tn_judge_asking {
    int64_t batch, reasoning, reasonings, seed; /* reasoning: tokens of step-by-step reasoning, 0 none */
    char   *forms;                              /* "positive" | "both": both wordings of a comparison */
    char   *url, *name, *key_env;
    int64_t votes; /* > 0: the endpoint's sampled letters are counted */
    double  timeout;
} tn_judge_asking;

/* What a judge must reach on labelled comparisons. */
typedef struct tn_judge_bar {
    double  floor, soft, consistency, mass, confidence;
    int64_t bootstrap, seed;
} tn_judge_bar;

/* Stage: labelled comparisons (ranked answers as in prompts/judge.txt, or JSONL) -> judge.json and
 * verdicts.jsonl. */
typedef struct tn_align_judge_config {
    tn_judge_asking j;
    tn_judge_bar    bar;
    int64_t         limit;
    char           *mode, *on_weak;
} tn_align_judge_config;
extern const tn_option tn_align_judge_options[], tn_align_judge_remote_options[];
tn_status tn_align_judge_run(const tn_align_judge_config *c, const tn_judge_source *who, const char *labelled,
                             const char *constitution, const char *out_dir, json_t *metrics, tn_error *err);

/* Stage: several answers to each prompt -> samples.jsonl
 * {"id","prompt","text","kind",...,"answers":[{"answer","tokens", "logprobs","stop_reason"}]}. The
 * log-probabilities are the floats that the trainer computes again. */
typedef struct tn_align_samples_config {
    tn_align_sampling s;
    int64_t           samples;
} tn_align_samples_config;
extern const tn_option tn_align_samples_options[];
tn_status tn_align_samples_run(const tn_align_samples_config *c, tn_profile profile, const char *model,
                               const char *adapter, const char *prompts, const char *out_dir, json_t *metrics,
                               tn_error *err);

/* Stage: plain text of the model's own, sampled without a prompt -> texts.jsonl
 * {"id","text","distill","weight","open"}, data for train: what the model makes of plain text stays as it
 * was. */
typedef struct tn_align_texts_config {
    int64_t  texts, max_tokens, batch, seed, min_tokens;
    double   temperature, weight;
    tn_memo *memo; /* no option: texts of before, put in by the stage; or NULL */
} tn_align_texts_config;
extern const tn_option tn_align_texts_options[];
tn_status tn_align_texts_run(const tn_align_texts_config *c, tn_profile profile, const char *model,
                             const char *out_dir, json_t *metrics, tn_error *err);

/* Stage (d-RLAIF): samples rated one by one -> scores.jsonl, and pairs.jsonl, records.jsonl of best against
 * worst. The judge must have been measured in mode direct. */
typedef struct tn_align_direct_config {
    tn_judge_asking j;
    double          clamp, margin;
    int64_t         seed, min_words;
    char           *on_weak;
} tn_align_direct_config;
typedef struct tn_direct_inputs {
    const char *prompts, *constitution, *judge, *samples;
} tn_direct_inputs;
extern const tn_option tn_align_direct_options[], tn_align_direct_remote_options[];
tn_status              tn_align_direct_run(const tn_align_direct_config *c, const tn_judge_source *who,
                                           const tn_direct_inputs *in, const char *out_dir, json_t *metrics,
                                           tn_error *err);

/* Stage: what is to be compared, one of: samples; two answer sets (first, second); revisions with what they
 * revised.
 * -> comparisons.jsonl (every raw logit), pairs.jsonl, records.jsonl, compare.json (win rate of `first`). A
 * judge below its bar stops it (VERIFY), or with on_weak "skip" leaves empty files and says so. */
typedef struct tn_align_compare_config {
    tn_judge_asking j;
    double          clamp, clamp_reasoning, sure, confidence;
    int64_t         principles, pairs, seed, min_words, bootstrap;
    char           *on_weak;
} tn_align_compare_config;
typedef struct tn_compare_inputs {
    const char *prompts, *constitution, *judge, *samples, *first, *second, *revisions;
} tn_compare_inputs;
extern const tn_option tn_align_compare_options[], tn_align_compare_remote_options[];
tn_status              tn_align_compare_run(const tn_align_compare_config *c, const tn_judge_source *who,
                                            const tn_compare_inputs *in, const char *out_dir, json_t *metrics,
                                            tn_error *err);

/* Stage: which revisions are fit to be learnt -> revisions.jsonl (kept) and dropped.jsonl (with the reason):
 * empty, short, repeating, unchanged, a lead-in or talk about the revision left in, and, with comparisons, no
 * better by the judge. */
typedef struct tn_align_screen_config {
    double  max_repetition, least;
    int64_t min_words;
} tn_align_screen_config;
extern const tn_option tn_align_screen_options[];
tn_status tn_align_screen_run(const tn_align_screen_config *c, const char *revisions, const char *comparisons,
                              const char *out_dir, json_t *metrics, tn_error *err);

/* Stage: samples held against the checks of principles (absent, present, max_words) -> pairs.jsonl (passing
 * before failing), sft.jsonl (passing), records.jsonl. */
typedef struct tn_align_check_config {
    double  max_repetition;
    int64_t pairs, min_words;
} tn_align_check_config;
extern const tn_option tn_align_check_options[];
tn_status tn_align_check_run(const tn_align_check_config *c, const char *prompts, const char *constitution,
                             const char *const *samples, size_t n_set, const char *out_dir, json_t *metrics,
                             tn_error *err);

/* Stage (context distillation, arXiv:2112.00861): the model's answers with the constitution in its system
 * text become targets without it -> sft.jsonl, records.jsonl; with answers (the model without it) also
 * pairs.jsonl. */
typedef struct tn_align_distill_config {
    tn_align_sampling s;
    double            max_repetition, helpful_share;
    int64_t           min_words;
    bool              whole;
} tn_align_distill_config;
extern const tn_option tn_align_distill_options[];
tn_status tn_align_distill_run(const tn_align_distill_config *c, tn_profile profile, const char *model,
                               const char *prompts, const char *answers, const char *constitution,
                               const char *out_dir, json_t *metrics, tn_error *err);

/* Stage: new prompts by a model, few-shot from a prompt set's training side, over constitution x topic x
 * style -> prompts.jsonl and overlap.json, deduplicated and labelled. An overlap with an evaluation set fails
 * it (VERIFY). */
typedef struct tn_align_generate_config {
    tn_align_sampling s;
    int64_t           count, shots;
    double            near;
    char             *styles;
} tn_align_generate_config;
extern const tn_option tn_align_generate_options[];
tn_status tn_align_generate_run(const tn_align_generate_config *c, tn_profile profile, const char *model,
                                const char *prompts, const char *constitution,
                                const tn_named_files *evaluation, const char *out_dir, json_t *metrics,
                                tn_error *err);

/* Stage: checkpoints of a LoRA run looked at by sampling -> curves.jsonl (KL, entropy, length, repetition,
 * distinct-2, refusals, principles), watch.json, adapter/ of the newest checkpoint before the first that
 * breaks a rule. VERIFY if the first one does. */
typedef struct tn_align_watch_config {
    tn_align_sampling s;
    int64_t           points;
    double            max_kl, max_length, max_repetition, min_distinct, max_refusals;
} tn_align_watch_config;
extern const tn_option tn_align_watch_options[];
tn_status tn_align_watch_run(const tn_align_watch_config *c, tn_profile profile, const char *model,
                             const char *run, const char *prompts, const char *constitution /* or NULL */,
                             const char *work, const char *out_dir, json_t *metrics, tn_error *err);

/* -------------------------------------------------------------------------------------------------- why.c */

/* Stage: records of a pairs stage + the released model -> index.safetensors, for tn_align_nearest. */
typedef struct tn_align_index_config {
    int64_t layer, batch;
} tn_align_index_config;
extern const tn_option tn_align_index_options[];
tn_status tn_align_index_run(const tn_align_index_config *c, tn_profile profile, const char *model,
                             const char *records, const char *out_dir, json_t *metrics, tn_error *err);
/* The k training records nearest to a prompt by the model's own representation: records with "similarity"
 * (cosine), nearest first. made: json_decref. */
tn_status tn_align_nearest(json_t **out, const char *model, tn_profile profile, const char *records,
                           const char *index, const char *prompt, int64_t k, tn_error *err);
/* The principles behind the nearest records: [{"principle","share","records"}], the greatest share first; a
 * record counts as much as it is similar (below 0: not at all). made: json_decref. */
tn_status tn_align_involved(json_t **out, const json_t *nearest, tn_error *err);
/* Puts "critique_request", "critique" and "revision" into those records whose chosen text is a revision, from
 * the rows of a revise or screen stage. Records without one stay as they are. */
tn_status tn_align_add_critiques(json_t *nearest, const char *revisions, tn_error *err);

#endif
