/* selftest.h - the parts of the self-test that the table and the tests use. Private to tensor. */
#ifndef TN_TENSOR_SELFTEST_H
#define TN_TENSOR_SELFTEST_H

#include "tensor/tensor.h"

/* True when kernel k gives the bits of op->kernels[0], forward and backward, on the operation's small cases;
 * else `detail` says where not. Fast enough for every start. */
/* true with a detail: a case could not be made (no memory), which says nothing about the kernel. */
bool tn_selftest_kernel_quick(const tn_op *op, const tn_kernel *k, char *detail, size_t n_detail);
/* The same for attention_cache, whose cases need a cache: runs of rows and single ones, a page and a bit,
 * every type. */
bool tn_selftest_decode_quick(const tn_op *op, const tn_kernel *k, char *detail, size_t n_detail);
/* The walk for one operation, which need not be in the table. */
tn_status tn_selftest_op(const tn_op *op, tn_selftest_report report, void *arg, tn_error *err);
/* `rounds` random cases of one operation: every kernel against ref with a random number of threads (1 to 8),
 * scratch of exactly the size it asked for, and a row alone against the row in the batch. Two calls with one
 * seed make the same cases. */
tn_status tn_selftest_shake(const tn_op *op, int64_t rounds, uint64_t seed, tn_selftest_report report,
                            void *arg, tn_error *err);
/* Decoding from a cache, in pieces, gives the bits of attention over the whole sequence; then `rounds` times
 * with random heads, caches and pieces. */
tn_status tn_selftest_decode(int64_t rounds, uint64_t seed, tn_selftest_report report, void *arg,
                             tn_error *err);
bool      tn_kernel_usable(const tn_kernel *k);

#endif
