/* run.h - the parts of a running training. Private to the room.
 *
 *   config.c           options (option_rows.h) and what contradicts in them
 *   setup.c            everything before the first step
 *   alike.c            do all ranks train the same?
 *   out_dir.c          the run's directory: lock, run.json, traces
 *   corpus.c           config → shards, packs, pairs; sample i → rows
 *   params.c           the flat logical order of all that is trained
 *   teacher.c          what a teacher says to rows that learn a distribution
 *   said.c             that, and a reference's words, kept over an interruption
 *   engine.c           the graph of a step: forward, objective, backward
 *   preference.c       losses on pairs, and their derivatives
 *   step.c             one step: micro-batches, the tree of sums, the norm
 *   schedule.c         its learning rate
 *   exchange.c         who computes and owns what, across ranks
 *   overlap.c          gradients that travel during the backward pass
 *   optimiser.c        one update of a range
 *   policy.c           steps whose numbers are bad
 *   loop.c             steps, records, signals, the result
 *   resume.c           where a run takes up again (loop.h: what both share)
 *   validate.c         held-out loss; the reference's log-probabilities
 *   checkpoint.c       state to disk in the background
 *   restore.c          and back
 *   fits.c             is a checkpoint of this run's model?
 *   audit.c            silent corruption among ranks
 *   replay.c           the same steps again, from a checkpoint
 *   heartbeat.c        a sign of life for --supervise
 *   fault.c            faults on purpose
 *   metrics.c          metrics.jsonl and TensorBoard
 *   report.c           report.html
 *   result.c           what a step and a run tell of themselves
 *   effect.c           options that would do nothing
 *   export.c           weights out of a checkpoint
 *   estimate.c, show.c what a run would cost, and learn */
#ifndef TN_TRAIN_RUN_H
#define TN_TRAIN_RUN_H

#include <pthread.h>
#include <signal.h>

#include "train/corpus.h"
#include "train/params.h"
#include "train/train.h"

/* ------------------------------------------------------------------------------------------------ step.c */

/* What one micro-batch gives; all of it is added over micro-batches in a tree by index. */
enum {
    STAT_LOSS,
    STAT_MARGIN,
    STAT_RIGHT,
    STAT_LOGP_CHOSEN,
    STAT_LOGP_REJECTED,
    STAT_KL,
    STAT_N_CHOSEN,
    STAT_N_REJECTED,
    STAT_N_TAUGHT,
    N_STAT
};
typedef struct micro_stats {
    double   v[N_STAT];
    uint64_t weight_16;     /* exact normaliser: of targets, or of pairs */
    int64_t  n_item, n_row; /* samples or pairs; tokens computed */
} micro_stats;

/* One answer pair's margin, for the counts by principle. */
typedef struct principle_stats {
    int64_t n;
    double  margin, right;
} principle_stats;

/* engine.c: forward and backward of one micro-batch. */
typedef struct engine {
    tn_graph       *g;
    tn_net          net;
    tn_value        target, weight, taught, teacher, out, seed;
    bool            preference, train, experts;
    double          aux_coef, router_z;
    tn_graph_memory memory;
} engine;
/* TRAIN: with a backward pass. REFERENCE: log-probabilities of pairs, or no more than the hidden states of
 * texts. */
typedef enum engine_purpose { ENGINE_TRAIN, ENGINE_SCORE, ENGINE_REFERENCE } engine_purpose;
/* adapters: put them in. teacher_head: of another model that teaches; NULL: this model's own. */
tn_status train_engine_create(engine *e, tn_model *m, const params *p, const corpus *k,
                              const tn_train_config *c, tn_profile profile, engine_purpose purpose,
                              bool adapters, tn_param *teacher_head, tn_error *err);
void      train_engine_free(engine *e);
/* Adds the micro-batch's gradient (of unnormalised sums) to the parameters' gradient memory when the engine
 * trains. aux_scale: what one micro-batch's auxiliary loss counts in those sums. pair (or NULL) gets [n_item]
 * margins. */
tn_status train_engine_run(engine *e, const corpus *k, const micro *b, double aux_scale, micro_stats *out,
                           double *pair, tn_error *err);
/* Log-probabilities of the out rows, borrowed until the next run. */
tn_status train_engine_logp(engine *e, const micro *b, const float **out, tn_error *err);

/* Hidden states of the out rows [n_out][n_embd], borrowed until the next run. */
tn_status train_engine_hidden(engine *e, const micro *b, const float **out, tn_error *err);

/* exchange.c: who owns what, and sums across ranks. */
typedef struct exchange {
    int64_t *range; /* [size + 1] flat range of each rank */
    /* sums of this rank's groups; zero 2: sums of all ranks' over this rank's range */
    tn_forest        local, owned;
    float           *wire; /* [n_flat] zero 0: the sums on their way back; else NULL */
    float           *edge; /* [BLOCK] the last block of this rank's range, with what other ranks own of it */
    tn_dist_message *send, *recv; /* [size] */
    struct overlap  *way;         /* NULL: one rank */
} exchange;

/* What a checkpoint is, without its weights: the root of its state, updates done; items used so far, of which
 * order. */
typedef struct origin {
    tn_digest state, order;
    int64_t   update, items;
} origin;

typedef struct run {
    const tn_train_config *c;
    const tn_train_io     *io;
    tn_dist               *dist;
    bool                   own_dist, plan_only; /* plan_only: no reference pass (estimates, show-batch) */
    bool          ask; /* ranks ask each other for signals between micro-batches: the steps are long ones */
    int           rank, size;
    tn_model     *model, *reference; /* reference: kept open where its head teaches; NULL: none */
    tn_profile    profile;
    params        p;
    optimiser     opt;
    tn_tokenizer *own_tokenizer;  /* from scratch: bytes, or that of another model, at tokenizer_path */
    const char   *tokenizer_path; /* NULL: bytes */
    const tn_tokenizer *tokenizer;
    const tn_chat      *chat; /* NULL: none */
    corpus              data, valid;
    bool                has_valid;
    tn_digest base_root, tokenizer_root, start_root;    /* of the model as opened; where the run starts */
    tn_digest teacher_root;                             /* of the other model that teaches */
    int64_t   replay_from, replay_steps;                /* a replay's stretch; 0 steps: no replay */
    engine    train, score;                             /* score: validation; g NULL without */
    int64_t   n_micro, micro_size, group_size, n_group; /* L, items of each, S, L / S */
    int64_t   steps;
    origin    from; /* of the checkpoint that this run goes on from; from_dir NULL: none */
    char     *from_dir;
    tn_digest order;      /* what item i is: the data, and all that says in which order they come */
    int64_t   first_item; /* of step 1: 0, or where another run of the same order stopped */
    int       zero;
    exchange  x;
    /* gradient of the whole batch over [opt.first, opt.last), borrowed; the update's to overwrite */
    float           *sum;
    micro           *micros; /* [n_own] of this rank's groups, in the order in which they run */
    int64_t          n_own;
    micro_stats     *stats;                    /* [n_micro] */
    double          *block_sums, *pair_margin; /* [blocks]; [micro_size] */
    principle_stats *principle;                /* [pair.n_principle] of the whole run, on rank 0 */
    bool             beats;                    /* heartbeat.c: this run is one that may be watched */
    int64_t          beat_step, beat_count;
    double           beat_at;
    uint64_t         evidence;       /* audit.c: of this rank's weights before each update */
    int64_t          update, tokens; /* updates done (skipped steps do not count); tokens seen */
    /* of the last step */
    micro_stats total;
    float       loss, grad_norm, scale; /* scale: 1 / normaliser, times the clip */
    tn_digest   batch;
} run;

/* step.c. micro_size, L and S from the config. */
void      train_step_sizes(const tn_train_config *c, int64_t *n_item, int64_t *n_micro, int64_t *group);
tn_status train_step_prepare(run *r, tn_error *err);
void      train_step_release(run *r);
/* Gradients, loss and norm of step `step` (from 1); no update yet. *given_up: a signal to stop came between
 * two micro-batches, and the state is that of the step before (a step may take minutes, and what sends the
 * signal does not wait so long). */
tn_status train_step_gradients(run *r, int64_t step, bool *given_up, tn_error *err);
/* Instead of the gradients: the step's batch is passed over. */
tn_status train_step_pass(run *r, int64_t step, tn_error *err);
/* No update with these gradients. */
void train_step_drop(run *r);
/* The update with learning rate lr; all ranks have the new weights afterwards. */
tn_status train_step_update(run *r, float lr, tn_error *err);

/* out_dir.c: a folder for tokenised data where nothing is trained, one for all ranks ($TMPDIR, else /tmp);
 * rank 0 removes it. */
enum { TRAIN_SCRATCH_BYTES = 1024 };
tn_status train_scratch_dir(run *r, char dir[TRAIN_SCRATCH_BYTES], tn_error *err);

/* heartbeat.c. A step is done (ending: results are being written now); or: something goes on (at most one
 * line a second). */
void train_heartbeat(run *r, int64_t step, bool ending);
void train_alive(run *r);

/* exchange.c */
/* to += from, n elements, on all threads. */
void      train_sum_add(float *to, const float *from, int64_t n);
tn_status train_exchange_prepare(run *r, tn_error *err);
void      train_exchange_release(run *r);
/* The groups of this rank, in the order in which it computes them; -1: none in this round. */
int64_t train_exchange_group(const run *r, int64_t round);
int64_t train_exchange_rounds(const run *r);
/* Is this the group whose gradient is sent while it is made? (zero 2: each; of one rank, the last stays in
 * p.grad.) */
bool train_exchange_last(const run *r, int64_t group);
/* p.grad holds the sum of `group` (or nothing, -1): keeps it, joins it, or sees it through to its owners.
 * After the last round r->sum is the whole batch over [opt.first, opt.last). */
tn_status train_exchange_take(run *r, int64_t group, tn_error *err);
/* Everybody gets the owners' weights. Overwrites p.grad. */
tn_status train_exchange_weights(run *r, tn_error *err);
/* Bytes of gradients, their sums and what travels, on this rank. */
tn_status train_exchange_bytes(const run *r, size_t *out, tn_error *err);
/* Sum of squares of the whole gradient: blocks, then a tree by block index. */
tn_status train_exchange_norm(run *r, double *out, tn_error *err);

/* overlap.c: gradients that travel while the backward pass goes on. */
typedef struct overlap overlap;
tn_status              train_overlap_create(run *r, tn_error *err);
/* Floats held for other ranks' sums. */
int64_t train_overlap_floats(const run *r);
/* Elements of a chunk; ranks only. */
int64_t train_overlap_chunk(const run *r);
void    train_overlap_free(overlap *f);
/* Before the last micro-batch of a last group (or a round without one, -1), and after it. */
tn_status train_overlap_begin(run *r, int64_t round, int64_t group, tn_error *err);
tn_status train_overlap_end(run *r, int64_t group, tn_error *err);
/* Share of what this rank sent that was on its way before the backward pass had ended. */
double train_overlap_share(const run *r);

/* validate.c: mean loss over held-out data; the reference's log-probabilities of the pairs that the run comes
 * to. */
/* given_up: a rank was told to stop */
tn_status train_validate(run *r, float *loss, bool *given_up, tn_error *err);
/* A loss is a mean over what has weight: some of what a validation looks at must have. */
tn_status train_validate_check(const run *r, tn_error *err);
tn_status train_reference_fill(run *r, corpus *k, engine *e, tn_error *err);

/* teacher.c. Finds the taught rows of texts; samples have at most n_ctx rows. Who teaches sets the width. */
tn_status train_teacher_place(corpus *k, int64_t n_ctx, tn_error *err);
/* e: a REFERENCE engine of the teacher. dir: where the hidden states may lie. All ranks together. */
tn_status train_teacher_fill(run *r, corpus *k, engine *e, const char *dir, tn_error *err);
/* said.c. other: the model that is asked; NULL: the run's own, as it is before the first step. */
typedef struct said {
    char     *path;
    tn_digest key;
} said; /* path NULL: this run keeps nothing */
tn_status train_said_open(said *s, const run *r, const corpus *k, tn_model *other, tn_error *err);
void      train_said_close(said *s);
/* *there: k has the floats, as an earlier process of this run kept them. All ranks together. */
tn_status train_said_take(const said *s, const run *r, corpus *k, bool *there, tn_error *err);
/* Rank 0 writes what k has. It is only a warning if it cannot. */
void train_said_keep(const said *s, const run *r, corpus *k);

/* Only what items first .. first + n of the run need is wanted from the teacher. */
void train_teacher_limit(corpus *k, int64_t first, int64_t n);
void train_teacher_close(teacher *t);

/* config.c: what an option is beside its value. PLACE: says where something lies; FREE: changes no bit of the
 * weights. */
enum { TRAIN_PLACE = 1, TRAIN_FREE = 2 };
bool train_option_is(const tn_option *o, unsigned flag);
/* config.c: what is not as by default, by key. made: json_decref; NULL: no memory. */
json_t *train_given(const tn_train_config *c, tn_error *err);
/* What tn_train_config_check says but for options without an effect: a replay of a run that had one is still
 * a replay. */
tn_status train_config_sound(const tn_train_config *c, tn_error *err);
/* effect.c: USAGE names the first option that is given and would do nothing beside the others. */
tn_status train_effect_check(const tn_train_config *c, tn_error *err);
/* The same once the model and the data are open. */
tn_status train_effect_known(const run *r, tn_error *err);

/* result.c: the means of the step that was just taken. */
void      train_step_means(const run *r, tn_train_step *s);
tn_status train_result_principles(const run *r, tn_train_result *out, tn_error *err);
tn_status train_result_save(const run *r, const tn_train_result *out, tn_error *err);
/* --timing: of this process's n_step steps, which took `seconds`, what was not in an operation of theirs
 * (data, sums, update, records), and how much of the exchange between ranks was hidden. */
void train_timing_notes(const run *r, int64_t n_step, double seconds);

/* schedule.c. steps 0: not known yet. */
tn_status train_warmup_check(const tn_train_config *c, int64_t steps, tn_error *err);

/* out_dir.c: the run's directory. */
typedef struct out_dir {
    const char *out;
    int         lock, n_new;
    bool        held, had[16];
} out_dir;
tn_status train_out_take(out_dir *p, const char *out, tn_error *err);
/* Where under out the tokens are to be written; and, on rank 0, when the run is known to be the one that lies
 * there. */
const char *train_data_name(const char *out);
tn_status   train_out_renew(const out_dir *p, tn_error *err);
/* run.json says which run lies there: written where none does, else compared. MISMATCH names the first
 * difference. Rank 0. */
tn_status train_out_check(const run *r, json_t *description, tn_error *err);
/* The run has ended: nobody will ask for what was said (said.c). */
void train_out_said_remove(const char *out);
/* keep false: no step was done. Then what this process put there goes, unless an earlier run lies there:
 * false. */
bool train_out_leave(out_dir *p, bool keep);

/* The first item of step `step` (from 1). */
int64_t train_first_item(const run *r, int64_t step);
/* alike.c: USAGE names the first option, or the rank that has read something else. Collective. */
tn_status train_ranks_alike(run *r, tn_error *err);
tn_status train_ranks_read_alike(run *r, const tn_digest *genesis, tn_error *err);
/* Does this rank see the directory that rank 0 has taken? */
tn_status train_ranks_see(const char *out, tn_error *err);
/* setup.c: model, data, parameters, optimiser, engines: everything before the first step. */
tn_status train_ranks_open(run *r, const tn_train_config *c, const tn_train_io *io, tn_error *err);
tn_status train_setup(run *r, const char *work_dir, tn_error *err);
void      train_setup_release(run *r);
/* Model, tokenizer and chat format; pack: a frozen base in kernel order. */
tn_status train_model_open(run *r, bool pack, tn_error *err);
/* The hyper-parameters that the options of a model from scratch say. */
tn_status train_shape(tn_hparams *h, const tn_train_config *c, const tn_tokenizer *t, tn_error *err);
/* export.c: OUT/config.json: every option, and where the models lay. */
tn_status train_config_save(const run *r, tn_error *err);
/* The options out of it; free them also after an error. */
tn_status train_config_read(const char *run_dir, tn_train_config *c, tn_error *err);
/* What the run is: every option and digest that changes a bit of it, sorted. made: json_decref. */
tn_status train_genesis(run *r, json_t **out, tn_digest *digest, tn_error *err);
/* The same but for what the reference said. made: json_decref; NULL: no memory. */
json_t   *train_description(const run *r, tn_error *err);
tn_status train_write_tokenizer(const run *r, const char *dir, tn_error *err);
/* What is trained, as it is now, into a folder: PEFT's form or Hugging Face's, without a tokenizer of its
 * own. */
tn_status train_write_trained(run *r, const char *path, tn_error *err);
/* Writes the result (rank 0) to path, which is OUT/model or OUT/adapter. */
tn_status train_write_weights(run *r, const char *path, tn_error *err);

/* audit.c: every check_every steps replicas compare the hash of their weights, and one micro-batch is
 * computed again by the next rank. VERIFY names the rank. */
tn_status train_check_replicas(run *r, int64_t step, tn_error *err);
/* The weights alone, as they are and as they were before each update since the start, by their integer sums;
 * and by root unless it is NULL (a SHA-256 of everything takes longer than a checkpoint may). Ranks together.
 * VERIFY. */
tn_status train_check_weights(run *r, int64_t step, const tn_digest *root, tn_error *err);
/* Takes the weights as they are into the evidence. */
void train_evidence(run *r);

/* estimate.c: of one trained token, forward and backward. */
double train_flops_per_token(const tn_model *m, bool lora, int64_t n_ctx);
/* NOMEM where what this run will fill for sure, with the ranks that share its machine, is more than there is. */
tn_status train_memory_check(run *r, tn_error *err);

/* report.c: OUT/report.html from metrics.jsonl. */
/* text: "finished", "ended: why" */
typedef struct run_state {
    int64_t     step, best_step;
    float       loss, best_valid;
    const char *text;
} run_state;
tn_status train_report(const run *r, const run_state *at, tn_error *err);

/* fault.c: faults on purpose, for proofs (TENET_FAULT). USAGE for words that name none: a proof must not pass
 * because nothing happened. */
tn_status train_fault_check(tn_error *err);
bool      train_fault(const char *what, int64_t step, int rank);

/* metrics.c: metrics.jsonl and TensorBoard event files. */
typedef struct metrics metrics;
tn_status train_metrics_open(metrics **out, const char *dir, int64_t after_step, bool tensorboard,
                             tn_error *err);
tn_status train_metrics_step(metrics *m, const tn_train_step *s, tn_error *err);
/* into the last row, if it is of that step */
tn_status train_metrics_valid(metrics *m, int64_t step, float valid, tn_error *err);
void      train_metrics_close(metrics *m);

#endif
