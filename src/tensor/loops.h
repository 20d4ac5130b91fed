/* loops.h - the fast loops that are no operations: the optimiser's step, sums of long vectors, the sampler's
 * two. They choose their instruction set here, and lose it like an operation's kernel when it does not give
 * the plain loop's bits. Private to tensor. */
#ifndef TN_TENSOR_LOOPS_H
#define TN_TENSOR_LOOPS_H

#include "base/cpu.h"
#include "tensor/tensor.h"

/* Name for messages, function that runs it over the check's numbers. */
#define TN_LOOPS_LIST(X) X(ADAMW, adamw) X(BLOCK_SUM, block_sum) X(LSE, logits_lse) X(EXP_EACH, exp_each)

typedef enum tn_loops {
#define X(NAME, name) TN_LOOPS_##NAME,
    TN_LOOPS_LIST(X)
#undef X
        TN_LOOPS_COUNT
} tn_loops;

/* The highest instruction set at or below tn_isa_limit() whose loops are right; the first call for one checks
 * it. From any thread. */
tn_isa tn_loops_isa(tn_loops which);

enum { TN_LOOPS_N = 1003 }; /* numbers of a check: many vectors and a tail */
/* One a row of the list: the loops of this instruction set over x[TN_LOOPS_N], results to y[4 * TN_LOOPS_N],
 * of which the rest stays. */
typedef void (*tn_loops_run)(tn_isa isa, float *y, const float *x);
#define X(NAME, name) void tn_loops_run_##name(tn_isa isa, float *y, const float *x);
TN_LOOPS_LIST(X)
#undef X

/* True when the loops of this instruction set give the bits of ref's; else `detail` says where not. */
bool tn_selftest_loops_agree(tn_loops_run run, tn_isa isa, char *detail, size_t n_detail);
/* Every instruction set of this CPU, one report each. */
void tn_selftest_loops(tn_selftest_report report, void *arg);

#endif
