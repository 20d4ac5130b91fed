/* thread.h - the one thread pool: static partition by output, so that thread count can never change a result.
 *
 * tn_parallel cuts [0, n) into at most tn_threads() contiguous pieces of nearly equal size (multiples of
 * `grain`, except the last) and runs fn(arg, begin, end, i_thread) for each, one on the calling thread. It
 * returns when all are done. Workers spin briefly, then sleep. A call from inside a worker runs serially, as
 * one piece. Every thread runs with round-to-nearest, FTZ and DAZ off. */
#ifndef TN_BASE_THREAD_H
#define TN_BASE_THREAD_H

#include "base/err.h"

typedef void (*tn_range_fn)(void *arg, int64_t begin, int64_t end, int i_thread);

int tn_threads_default(void); /* CPUs this process may use (affinity, cgroup quota) */
/* Starts the pool anew with n threads in all (the caller is one). Not from inside tn_parallel. */
tn_status tn_threads_set(int n, tn_error *err);
int       tn_threads(void);
int       tn_threads_here(void); /* what tn_parallel would use here: one inside a piece */
void      tn_parallel(int64_t n, int64_t grain, tn_range_fn fn, void *arg);
/* fn(arg, i) once for every i < n, in no fixed order: whichever thread is free takes the next one. For work
 * of uneven size whose results lie by i (hashing files), never for sums. */
typedef void (*tn_item_fn)(void *arg, size_t i);
void tn_parallel_items(size_t n, tn_item_fn fn, void *arg);
/* fn(arg, i, i+1, i_thread) once on every thread i < tn_threads(), all alive at the same time: for operations
 * that go through phases with tn_barrier between them. */
void   tn_parallel_all(tn_range_fn fn, void *arg);
void   tn_barrier(void); /* only inside tn_parallel_all */
double tn_now(void);     /* monotonic seconds, for progress and benchmarks only */

#endif
