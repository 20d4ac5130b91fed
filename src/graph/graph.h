/* graph.h - a forward is built once from operations; the backward is derived; memory is planned before the
 * first run.
 *
 *   build: tn_graph_input / tn_graph_weight / tn_graph_op ...  →  tn_graph_backward(loss)  →  tn_graph_plan  →
 *   run as often as wanted: bind inputs, tn_graph_run(rows)
 *
 * The same graph type serves training, scoring and decoding. Values are small integers. Nothing is allocated
 * while running (a test counts). A graph belongs to one thread at a time; operations use the pool inside. */
#ifndef TN_GRAPH_GRAPH_H
#define TN_GRAPH_GRAPH_H

#include "tensor/tensor.h"

typedef struct tn_graph tn_graph;
typedef int32_t         tn_value; /* 0: none / absent */

enum { TN_ROWS = -1, TN_OUT_ROWS = -2 }; /* as shape[0]: the rows of the run; its rows that go to the head */

/* rows_max: the most rows a run may have; memory is planned for it. */
tn_status tn_graph_create(tn_graph **out, int64_t rows_max, tn_error *err);
void      tn_graph_destroy(tn_graph *g);
/* The most rows of TN_OUT_ROWS shapes (default: rows_max); before the first such input. */
void tn_graph_set_out_rows_max(tn_graph *g, int64_t n);

/* Building: the first error sticks (later calls return 0 at once), so a model file reads straight on; check
 * it with tn_graph_status at the end. `name` is kept for messages, hashes and timing; it may be NULL. */
tn_value tn_graph_input(tn_graph *g, const char *name, tn_dtype dtype, int n_dim, const int64_t *shape);
/* A weight lives outside. grad: where its gradient is accumulated (same shape, f32), or NULL for a frozen
 * one. The tensor structs are borrowed for the life of the graph. */
tn_value tn_graph_weight(tn_graph *g, const char *name, tn_tensor *w, tn_tensor *grad);
/* A table that the graph owns (rope frequencies): fill tn_graph_data(g, v) right away; it lives as long as
 * the graph. */
tn_value tn_graph_constant(tn_graph *g, const char *name, tn_dtype dtype, int n_dim, const int64_t *shape);
/* Adds a node; returns its first output. Absent optional inputs are 0. */
tn_value  tn_graph_op(tn_graph *g, const char *name, tn_op_id op, const void *params, const tn_value *in,
                      int n_in);
tn_value  tn_graph_out(tn_graph *g, tn_value first, int i); /* another output of the node that made `first` */
tn_status tn_graph_status(const tn_graph *g, tn_error *err);
/* For builders above this room: makes `text` the graph's sticky error, if it has none yet. */
void tn_graph_set_error(tn_graph *g, tn_status code, const char *text);
/* shape known after building, data after planning */
const tn_tensor *tn_graph_tensor(const tn_graph *g, tn_value v);

/* Marks a value to be kept after the run (logits, hidden states); others may share memory. */
void tn_graph_keep(tn_graph *g, tn_value v);
/* Marks where recomputation may restart: values between two checkpoints are dropped after the forward pass
 * and computed again in the backward pass (same bits). */
void tn_graph_checkpoint(tn_graph *g, tn_value v);

/* Derives the backward of `loss` values: `seeds[i]` is where the caller puts dL/dvalue before running
 * backward (an input of the same shape; its memory keeps what is put there until it is changed). Weights'
 * gradients continue the chain that is in their grad tensor. recompute: use the checkpoints. head_loss with
 * add_dw writes the head's gradient in the forward pass, so its seed must be 1. */
tn_status tn_graph_backward(tn_graph *g, const tn_value *values, tn_value *seeds, int n, bool recompute,
                            tn_error *err);

typedef struct tn_graph_memory {
    size_t planned, live_peak, scratch;
    int    n_node;
} tn_graph_memory;
/* Lays out all values by lifetime in one arena (made here). NOMEM says how much is needed and what to
 * lower. */
tn_status tn_graph_plan(tn_graph *g, size_t max_bytes /* 0: any */, tn_graph_memory *out, tn_error *err);

/* Memory of an input or kept value for the run; row-dependent shapes use the first `rows` rows. */
void *tn_graph_data(tn_graph *g, tn_value v);
/* Changes an operation's parameters between runs (step number, learning-rate-free things); node by its first
 * output. */
void *tn_graph_params(tn_graph *g, tn_value v);
/* The same for every node of one operation (the step number of all dropouts). */
void tn_graph_each(tn_graph *g, tn_op_id op, void (*fn)(void *arg, void *params), void *arg);
/* Points an input at memory of the caller instead of the planned one (borrowed until changed). */
void tn_graph_bind(tn_graph *g, tn_value input, void *data);

/* How many TN_OUT_ROWS the next runs have (default: the most). */
void      tn_graph_set_out_rows(tn_graph *g, int64_t n);
tn_status tn_graph_forward(tn_graph *g, int64_t rows, tn_error *err);
tn_status tn_graph_run_backward(tn_graph *g, tn_error *err); /* after forward with the same rows */

/* fn is called after every step of the backward runs from now on (NULL: no more), on the calling thread;
 * grad[0..n) are the gradients of weights to which the rest of the run adds nothing: they may be read, or
 * sent away, while it goes on. Each comes once a run; one that the forward pass has finished comes with the
 * first step, one that no node adds to never. */
typedef void (*tn_graph_grad_fn)(void *arg, const tn_tensor *const *grad, int n);
void tn_graph_on_gradients(tn_graph *g, tn_graph_grad_fn fn, void *arg);
/* Tells the same without a run: the order in which gradients become final, which is the same in every run. */
void tn_graph_tell_gradients(const tn_graph *g, tn_graph_grad_fn fn, void *arg);

/* --timing: what every graph of this process runs while it is on is counted; switching it on begins anew. */
void tn_graph_set_timing(bool on);
/* The table of time, GFLOP/s and share by operation and pass, with the notes below (made: free). NULL: no
 * operation has run, or there is no memory. */
char *tn_graph_timing_text(void);
/* A line below the table, of what is no operation. */
void   tn_graph_timing_note(const char *line);
double tn_graph_timed_seconds(const tn_graph *g); /* of all operations so far; 0 without timing */
/* --hash-ops: every node's outputs are hashed to this file, "run node name sha256". It is written aside and
 * appears at the end, with NULL: then hashing is off, and IO if what was written did not reach the file; a
 * run that cannot write its lines fails so too. Without a line there is no file. USAGE if something else than
 * hashes stands there already. */
tn_status tn_graph_set_hash_file(const char *path, tn_error *err);
/* Lines of this file so far; -1: there is no file. */
int64_t tn_graph_hash_lines(void);

/* An independent walk for tests: the largest sum of live bytes at any node. */
size_t tn_graph_live_set(const tn_graph *g);

#endif
