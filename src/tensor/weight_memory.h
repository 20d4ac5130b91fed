/* weight_memory.h - memory for packed matrices, of huge pages shared by many of them. Private to tensor. Safe from several threads. */
#ifndef TN_TENSOR_WEIGHT_MEMORY_H
#define TN_TENSOR_WEIGHT_MEMORY_H

#include <stddef.h>

typedef struct tn_weight_mapping tn_weight_mapping;

/* `bytes` of zeros on a cache line; some lines before and behind them may be read (not written). NULL if they cannot be had. *from: what
 * tn_weight_memory_put wants, with the same bytes. */
void *tn_weight_memory_get(tn_weight_mapping **from, size_t bytes);
void  tn_weight_memory_put(tn_weight_mapping *from, void *p, size_t bytes);

#endif
