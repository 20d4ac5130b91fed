/* graph_impl.h - what a graph is made of. Private to the room.
 *
 *   value   an input, a weight or one output of a node; what the builder's tn_value numbers name
 *   node    one operation of the forward, in the order in which it was built
 *   step    one execution: a node forward, a node forward again (recompute), a node backward, or a copy of a seed
 *   slot    memory of one instance of a value (its forward data, its recomputed data, its gradient) with the first and
 *           the last step that touch it; slots whose lives do not meet may share bytes of the one arena
 *
 *   build.c values, nodes  →  derive.c steps  →  plan.c slots, offsets, calls  →  run.c executes the calls in order */
#ifndef TN_GRAPH_GRAPH_IMPL_H
#define TN_GRAPH_GRAPH_IMPL_H

#include "graph/graph.h"

#include "base/thread.h"

typedef enum value_kind { VALUE_INPUT, VALUE_CONSTANT, VALUE_WEIGHT, VALUE_RESULT } value_kind;

typedef struct value {
    char      *name;
    value_kind kind;
    tn_tensor  t;                    /* dtype and the shape of the current run; data once planned */
    int64_t    symbol;               /* inputs: TN_ROWS, TN_OUT_ROWS or 0 for a fixed first dimension */
    tn_tensor *weight, *weight_grad; /* weights: borrowed */
    int32_t    node;                 /* results: who makes it; else -1 */
    int32_t    i_out;
    bool       keep, checkpoint, present;
    bool       needs_grad;
    bool       persistent; /* under recomputation: the forward instance serves the backward pass too */
    tn_value   seed;       /* where the caller puts its gradient, or 0 */
    int32_t    slot, slot_again, slot_grad; /* -1: none */
    tn_tensor  shape_only; /* the value without its data, for a backward rule that may not read it */
} value;

typedef struct node {
    char        *name;
    const tn_op *op;
    tn_op_id     id;
    void        *params;
    int32_t      n_in;
    tn_value     in[TN_MAX_IN];
    tn_value     out; /* its outputs are out, out + 1, ... */
    int32_t      segment;
    bool adds_head_grad; /* head_loss: output 3 is the weight's gradient, formed in the forward pass */
    /* bit i: of in[i] no gradient comes back; the operation's, or more for these parameters */
    uint32_t no_grad_in;
    double   flops; /* of one forward with the current rows */
} node;

typedef enum step_kind { STEP_FORWARD, STEP_AGAIN, STEP_BACKWARD, STEP_COPY } step_kind;

typedef struct step {
    step_kind kind;
    int32_t   node;
    /* by value, so that derive.c can write them before there is memory; 0: absent */
    tn_value grad_of_out[TN_MAX_OUT]; /* backward: outputs whose gradient exists */
    tn_value grad_of_in[TN_MAX_IN];   /* backward: inputs whose gradient is wanted */
    bool     add[TN_MAX_IN];
    tn_value copy_from, copy_to; /* STEP_COPY: seed, value */
    int32_t  scratch_slot;       /* -1: none */
    int32_t  n_together; /* steps from here on that may run at once (find_together); 0, 1: only this */
    tn_call  call;
} step;

typedef struct slot {
    tn_tensor t;
    size_t    bytes;
    int32_t   first, last; /* steps; first > last: never touched */
    int32_t   root;        /* itself, or the slot it shares memory with (in place) */
    size_t    offset;
    tn_value  value; /* 0: scratch */
} slot;

struct tn_graph {
    int64_t           rows_max, out_rows_max, out_rows;
    int64_t           rows, shape_out_rows; /* what the shapes stand for; 0: the most, as built */
    tn_status         status;
    tn_error          error;
    value            *values;
    int32_t           n_value, cap_value; /* values[0] is unused */
    node             *nodes;
    int32_t           n_node, cap_node;
    step             *steps;
    int32_t           n_step, cap_step, n_forward;
    slot             *slots;
    int32_t           n_slot, cap_slot;
    void            **owned;
    int32_t           n_owned, cap_owned; /* constants' memory */
    bool              has_backward, recompute, planned;
    tn_arena          arena;
    tn_arena          extra; /* scratch for a run with more threads than the plan knew */
    int               threads;
    int64_t           n_run;
    int32_t          *grad_step;
    int32_t           n_grad; /* [n_grad] descending: the last step that adds to grads[i] */
    const tn_tensor **grads;
    tn_graph_grad_fn  on_grad;
    void             *on_grad_arg;
    double            timed_seconds; /* of timing: of all its operations */
};

/* Grows an array of `size`-byte elements to hold n + 1; false when out of memory. New bytes are zero. */
bool graph_grow(void *array, int32_t *cap, int32_t n, size_t size);
/* Records the first error and returns 0, so that a builder can `return graph_fail(...)`. */
tn_value graph_fail(tn_graph *g, tn_status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Bytes of a tensor, or false on overflow, a shape below 1 or a row that is no whole number of blocks. */
bool graph_tensor_bytes(const tn_tensor *t, size_t *bytes);
/* The tensor that an operation sees for value v: the weight itself, or the value's own. */
tn_tensor *graph_value_tensor(tn_graph *g, tn_value v);
/* Sets every value's shape for `rows` and `out_rows` by running the shape rules again. */
tn_status graph_infer_shapes(tn_graph *g, int64_t rows, int64_t out_rows, tn_error *err);
/* Copies the shapes of the values to every slot and shape-only tensor. */
void graph_spread_shapes(tn_graph *g);
/* Asks every operation how much scratch it needs now; grows the extra scratch if the plan's is not enough. */
tn_status graph_check_scratch(tn_graph *g, tn_error *err);
/* One forward step a node. */
tn_status graph_forward_steps(tn_graph *g, tn_error *err);

/* trace.c */
extern bool graph_timing_on;
void        graph_time_step(tn_graph *g, const step *s, double seconds);
bool        graph_hashing(void);
void        graph_hash_step(const tn_graph *g, const step *s);
/* IO once a line of --hash-ops could not be written. */
tn_status graph_hash_check(tn_error *err);

#endif
