/* toy_ops.h - a tiny operation table for the graph's own tests: plain loops, no kernels, no threads. The
 * graph links against it instead of room tensor, so that a failure here is the graph's. */
#ifndef TN_TESTS_GRAPH_TOY_OPS_H
#define TN_TESTS_GRAPH_TOY_OPS_H

#include "tensor/tensor.h"

/* How often each operation ran forward since the last reset, by id. */
extern int toy_forward_count[TN_OP_COUNT];
/* Scratch bytes that toy matmul asks for (a test raises them after the plan). */
extern size_t toy_scratch_bytes;
/* How many toy matmuls ran in groups. */
extern int toy_together_count;

#endif
