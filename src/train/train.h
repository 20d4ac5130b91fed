/* train.h - the training loop: pre-training, continuing, fine-tuning, LoRA, preference losses; exact and
 * resumable.
 *
 *   config + data + model ──→ tn_train_run ──→ OUT/  run.json       what the run is (its digest is the log's genesis)
 *                                                    data/NAME.tns  token shards
 *                                                    step-N/        checkpoints: manifest.json, rank-R.bin
 *                                                    steps.jsonl    the hash chain of steps (provenance)
 *                                                    metrics.jsonl  what one plots; tb/ for TensorBoard; report.html
 *                                                    model/ or adapter/   the result
 *
 * Step s is a pure function of (state after s-1, config, data): threads, ranks, kernels, recomputation and
 * interruptions change nothing. The same OUT again goes on from its newest complete checkpoint. */
#ifndef TN_TRAIN_TRAIN_H
#define TN_TRAIN_TRAIN_H

#include "base/option.h"
#include "data/data.h"
#include "dist/dist.h"
#include "model/model.h"
#include "provenance/provenance.h"

/* ------------------------------------------------------------------------------------------ what to train */

/* One row of tn_train_options a field; `tenet train --keys` prints it. Strings belong to the config. */
typedef struct tn_train_config {
    /* model */
    char   *model, *adapter, *checkpoint, *tokenizer, *chat_format, *reference;
    char   *family, *like;
    int64_t n_layer, n_embd, n_head, n_head_kv, d_head, n_ff, n_vocab, n_expert, n_expert_used;
    bool    tied;
    double  rope_theta, norm_eps, init_std;
    /* data */
    char   *data, *data_weights, *valid, *format, *pack;
    int64_t n_ctx;
    bool    shuffle, train_prompt;
    /* objective */
    char  *loss;
    double beta, label_smoothing, gamma, alpha, kto_good, kto_bad, rpo_alpha, z_loss, aux_coef, router_z;
    /* batch and length */
    int64_t batch, micro_batch, group_size, steps, stop_at;
    double  epochs;
    /* optimiser */
    char  *optimizer, *schedule;
    double lr, lr_min, warmup, decay, beta1, beta2, eps, momentum, weight_decay, clip;
    /* LoRA */
    int64_t lora_rank;
    double  lora_alpha, lora_plus;
    bool    lora_rs, dora;
    char   *lora_targets, *lora_layers;
    /* precision and memory */
    char   *dtype;
    bool    stochastic_rounding, recompute;
    int64_t zero;
    /* run */
    int64_t seed, checkpoint_every, keep_last, keep_every, valid_every, valid_samples, early_stop,
        check_every;
    char  *dist, *on_nan, *on_spike;
    double spike;
    bool   save_model, tensorboard;
} tn_train_config;

extern const tn_option tn_train_options[];
/* The option of this name that says where something lies (model, data ...), or NULL: its content is what
 * matters, not the word. */
const tn_option *tn_train_place(const char *key);
/* Defaults, then a YAML file; messages name file and line. */
tn_status tn_train_config_load(tn_train_config *c, const char *path, tn_error *err);
/* What the numbers alone can tell: ranges that contradict each other, L no power of two, losses without their
 * data. */
tn_status tn_train_config_check(const tn_train_config *c, tn_error *err);
void      tn_train_config_free(tn_train_config *c);

/* --------------------------------------------------------------------------------------------- running it */

typedef struct tn_train_step {   /* one step, as metrics and progress see it */
    int64_t step, steps, tokens; /* tokens of all steps so far */
    float   loss, lr, grad_norm;
    double  smooth, tokens_per_s, seconds_left, peak_share;
    bool    has_valid;
    float   valid;
    /* preference losses: means over the step's pairs */
    /* compared: with a reference, kl is to it; taught: some rows learn a distribution, kl is the step's mean
     * divergence */
    bool        preference, compared, taught;
    float       margin, accuracy, logp_chosen, logp_rejected, kl, length_chosen, length_rejected;
    const char *note; /* "" or what a policy did */
} tn_train_step;

/* The row of a step in metrics.jsonl. made: json_decref; NULL: no memory. */
json_t *tn_train_step_json(const tn_train_step *s);

typedef struct tn_train_principle {
    char    name[96];
    int64_t n;
    double  margin, accuracy;
} tn_train_principle;

typedef struct tn_train_result {
    int                 rank;
    int64_t             steps, planned; /* done in all; less than planned when stopped */
    int64_t             newest;         /* the step of the newest checkpoint; 0: none was kept */
    bool                finished;
    float               loss, best_valid;
    int64_t             best_step; /* of the smallest validation loss; 0: none */
    int64_t             tokens;
    double              flops_per_token;
    tn_digest           weights_root; /* of the trained tensors: (name, dtype, shape, bytes) */
    tn_digest           log_root;     /* of the step log */
    char               *weights;      /* OUT/model or OUT/adapter; NULL when not finished or not saved */
    tn_train_step       last;
    tn_train_principle *principle;
    int                 n_principle; /* over the whole run, after its last step */
} tn_train_result;

typedef struct tn_train_io {
    const char *out;                                                  /* directory of the run */
    const char *model, *tokenizer, *reference, *adapter, *checkpoint; /* paths; NULL: those in the config */
    tn_profile  profile;
    tn_dist    *dist; /* NULL: opened and closed here by the config's word */
    void (*on_step)(void *arg, const tn_train_step *s); /* on rank 0; may be NULL */
    void *arg;
    bool  quiet; /* no progress; warnings are the log's */
} tn_train_io;

tn_status tn_train_run(const tn_train_config *c, const tn_train_io *io, tn_train_result *out, tn_error *err);
void      tn_train_result_free(tn_train_result *r);

/* The state root that follows from the slices in a checkpoint's manifest (their files are not read). FORMAT;
 * VERIFY if the manifest names another one. `where` begins messages. */
tn_status tn_train_manifest_root(const json_t *manifest, const char *where, tn_digest *root, tn_error *err);

/* Audit: loads the checkpoint of step `from` (0: the beginning) in run directory run_dir and computes the
 * next n steps again, comparing each with its record in the log and, where that holds one, the state root.
 * One process. VERIFY names the first difference; nothing there is changed. */
tn_status tn_train_replay(const tn_train_config *c, const char *run_dir, int64_t from, int64_t n,
                          const tn_train_io *io, tn_error *err);

/* Weights alone, out of one checkpoint (RUN/step-N) or the newest of a run: a model directory, a .gguf, or
 * for LoRA the adapter in PEFT's form; merge puts the adapter into its base instead. model: where the base
 * lies now; NULL: as the run's config.json says; MISMATCH if it is another one. adapter: the same for the
 * adapter that the run went on with. *weights_root: of what is written before its type is changed: of the
 * trained tensors as the run names it, or merged of the whole model (tn_model_digest). */
typedef struct tn_export_options {
    const char *model;
    bool        merge;
    tn_dtype    type;
    const char *adapter;
} tn_export_options;
tn_status tn_train_export(const char *checkpoint, const char *out, const tn_export_options *o,
                          tn_digest *weights_root, tn_error *err);

/* Conversations with the trained tokens marked; json: a line a sample, its pieces told apart by "trained".
 * made: free. */
tn_status tn_train_show_batch(const tn_train_config *c, const tn_train_io *io, int64_t n, bool json,
                              char **text, tn_error *err);

typedef struct tn_train_estimate {
    int     rank; /* of this process: the first one tells */
    int64_t n_param, n_trained, tokens_per_step, steps;
    double  flops_per_token, peak_flops, seconds;
    size_t  weights, gradients, optimiser, activations, checkpoint_copy, reading, total;
    /* total is what may be needed at most, sure what the steps fill in any case. Of all ranks that share this
     * process's memory; available SIZE_MAX: unknown */
    size_t sure, sure_there, total_there, available;
    int    n_there;     /* those ranks */
    char   advice[320]; /* where `sure` is not there: what to change; else "" */
} tn_train_estimate;
tn_status tn_train_estimate_run(const tn_train_config *c, const tn_train_io *io, tn_train_estimate *out,
                                tn_error *err);

/* -------------------------------------------------------------------------------------- preference losses */

typedef enum tn_pref_kind {
    TN_PREF_DPO,
    TN_PREF_ROBUST,
    TN_PREF_IPO,
    TN_PREF_HINGE,
    TN_PREF_KTO,
    TN_PREF_ORPO,
    TN_PREF_SIMPO,
    TN_PREF_DPO_NORM,
    TN_PREF_R_DPO,
    TN_PREF_APO_ZERO,
    TN_PREF_RPO
} tn_pref_kind;
/* nll: weight of the chosen answer's mean negative log-likelihood, added to any loss (RPO). */
typedef struct tn_pref {
    tn_pref_kind kind;
    double       beta, eps, gamma, alpha, good, bad, nll;
} tn_pref;
/* One pair: sums of log-probabilities over n answer tokens, by the policy and by the reference; p: soft
 * label. */
typedef struct tn_pref_pair {
    double  chosen, rejected, ref_chosen, ref_rejected, p, z;
    int64_t n_chosen, n_rejected;
} tn_pref_pair;
/* dchosen, drejected: derivatives by the policy's two sums. margin: the implicit reward difference. */
typedef struct tn_pref_out {
    double loss, dchosen, drejected, margin;
} tn_pref_out;
bool tn_pref_parse(const char *name, tn_pref_kind *out);
bool tn_pref_needs_reference(tn_pref_kind k);
/* Does the loss weigh a pair's two orders by its soft label? */
bool        tn_pref_takes_p(tn_pref_kind k);
tn_pref_out tn_pref_loss(const tn_pref *o, const tn_pref_pair *x);

/* Learning rate of step 1..steps. */
double tn_schedule_lr(const tn_train_config *c, int64_t step, int64_t steps);

#endif
