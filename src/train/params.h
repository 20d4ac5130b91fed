/* params.h - the flat order of all that is trained (params.c), and its optimiser (optimiser.c). Private to the room. */
#ifndef TN_TRAIN_PARAMS_H
#define TN_TRAIN_PARAMS_H

#include "train/train.h"

/* Sums of squares, shards and checkpoint slices are cut at multiples of this many elements. */
enum { BLOCK = 65536 };

enum { MAX_STATE = 2 }; /* what an optimiser keeps of a tensor: m, v */

typedef struct slot {
    char       name[112]; /* blk.0.attn_q.weight, or with .lora_a, .lora_b, .lora_m */
    tn_tensor *w, *grad;  /* what the graph reads; its f32 gradient in the flat buffer */
    void      *copy;      /* bf16 copy that w->data points to; NULL: none */
    float     *master;    /* f32 values: w->data itself, or beside it when w is bf16 */
    int64_t    first, n;  /* place in the flat order */
    /* matrix: no norm, no bias (those of experts are [n_expert][n], a vector each) */
    bool  matrix, decay;
    float lr_scale;
    /* train_optimiser_plan. State k of all tensors lies packed, in the flat order. */
    bool muon, whole; /* whole: its update needs all of it, so one rank owns it */
    /* elements of state k, and the place of the first one */
    int64_t n_state[MAX_STATE], state_at[MAX_STATE];
} slot;

typedef struct params {
    slot     *slot;
    int       n_slot;
    int64_t   n_flat, n_trained; /* with padding; without */
    int64_t   grain;             /* slices are cut at multiples of it; a multiple of BLOCK */
    float    *grad;              /* [n_flat] */
    tn_model *model;
    tn_lora  *lora;
    size_t    n_lora;
    bool      lora_read; /* by tn_lora_read, which owns its memory */
    uint64_t  seed;      /* of stochastic rounding */
    bool      stochastic;
    int64_t   update; /* the update that made the masters; 0: none yet */
    void    **own;
    int       n_own; /* memory made here: adapters, bf16 copies */
} params;

tn_status train_params_create(params *p, tn_model *m, const tn_train_config *c, const char *adapter,
                              tn_error *err);
/* alpha / rank, or what the options say instead. */
float train_lora_scale(const tn_train_config *c, int64_t rank);
/* An adapter that goes on brings its shape along: what the config says of it too must be the same. */
tn_status train_lora_agrees(const params *p, const tn_train_config *c, const char *adapter, tn_error *err);
void      train_params_free(params *p);
/* fn for every part of [first, last) that lies in one slot; the rest is padding. */
typedef void (*span_fn)(void *arg, const slot *s, int64_t offset, int64_t n);
void train_params_spans(const params *p, int64_t first, int64_t last, span_fn fn, void *arg);
/* Renews the bf16 copy of a part of a slot, if it has one. */
void train_slot_round(const params *p, const slot *s, int64_t offset, int64_t n);
/* Flat elements [first, last) of the masters, to and from memory; padding is zero. Setting renews the bf16
 * copies. */
void train_params_get(const params *p, int64_t first, int64_t last, float *out);
void train_params_set(params *p, int64_t first, int64_t last, const float *in);
/* The model sees its f32 values (true) or the bf16 copies again (false). */
void train_params_masters(params *p, bool masters);
/* Root over (name, dtype, shape, bytes) of the trained tensors. */
tn_status train_params_root(const params *p, tn_digest *out, tn_error *err);

/* -------------------------------------------------------------------------------------------- optimiser.c */

typedef enum opt_kind { OPT_ADAMW, OPT_SGD, OPT_ADAFACTOR, OPT_MUON } opt_kind;
typedef struct optimiser {
    opt_kind kind;
    int      n_state;          /* how many kinds of state: m, or m and v */
    int64_t  first, last;      /* flat range; whole slots lie in it or outside */
    float   *state[MAX_STATE]; /* [n] of the range's tensors; its first element has place at[k] */
    int64_t  at[MAX_STATE], n[MAX_STATE];
    /* Muon: three of the range's largest matrices, two of its Gram matrices, the product's scratch */
    float *work;
    size_t work_floats;
} optimiser;
/* What each tensor's update needs: all of it or any part, and how much state. Before anything is shared among
 * ranks. */
void train_optimiser_plan(params *p, const tn_train_config *c);
/* The place in packed state k where that of the flat range from `flat` on begins. */
int64_t train_state_place(const params *p, int k, int64_t flat);
/* Element `offset` of state k of a slot in the optimiser's range. */
float    *train_state(const optimiser *o, const slot *s, int k, int64_t offset);
tn_status train_optimiser_create(optimiser *o, const params *p, const tn_train_config *c, int64_t first,
                                 int64_t last, tn_error *err);
void      train_optimiser_free(optimiser *o);
/* Update number t (from 1) of [o->first, o->last) with gradient sums `grad` (flat, from o->first on;
 * overwritten) times scale. */
void train_optimiser_step(optimiser *o, params *p, const tn_train_config *c, float *grad, float scale,
                          float lr, int64_t t);

#endif
