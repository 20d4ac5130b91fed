/* attention_cache.h - what the reference and the kernels of attention_cache share. Private to tensor. */
#ifndef TN_TENSOR_ATTENTION_CACHE_H
#define TN_TENSOR_ATTENTION_CACHE_H

#include "tensor/attention.h"
#include "tensor/kv.h"

/* Position and pages of row r can be used. */
bool tn_attn_cache_row_ok(const tn_call *c, int64_t r);
/* Puts the rows' keys and values into their pages. */
void tn_attention_cache_store(const tn_call *c);

#endif
