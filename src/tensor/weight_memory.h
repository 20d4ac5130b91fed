/* weight_memory.h - memory for packed matrices, many in one mapping. Private to tensor. Safe from several
 * threads. */
#ifndef TN_TENSOR_WEIGHT_MEMORY_H
#define TN_TENSOR_WEIGHT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tn_weight_mapping tn_weight_mapping;

/* `bytes` of zeros on a cache line; some lines before and behind them may be read (not written). NULL if they
 * cannot be had, or the machine has not so much left. huge: pages of
 * 2 MiB, if the system has them. *from: what tn_weight_memory_put wants, with the same bytes. */
void *tn_weight_memory_get(tn_weight_mapping **from, size_t bytes, bool huge);
void  tn_weight_memory_put(tn_weight_mapping *from, void *p, size_t bytes);

#endif
