/* attention_cache.h - what the reference and the kernels of attention_cache share. Private to tensor. */
#ifndef TN_TENSOR_ATTENTION_CACHE_H
#define TN_TENSOR_ATTENTION_CACHE_H

#include "tensor/attention.h"
#include "tensor/kv.h"

/* Memory of one thread of the kernels: a widened page, m, l and o of a run of rows, a tile of scores. */
static inline size_t tn_attn_cache_slot_bytes(const tn_attention_params *p)
{
    int64_t rows = TN_KV_PAGE * (p->n_head / p->n_head_kv), block = TN_KV_PAGE;
    return tn_align64(
        (size_t)((p->d_k + p->d_v) * block + 2 * rows + TN_ATTN_TILE * block + rows * p->d_v + 64) * 4);
}

/* Position and pages of row r can be used. */
bool tn_attn_cache_row_ok(const tn_call *c, int64_t r);
/* Puts the rows' keys and values into their pages; those of one row, which can be used, and one head. */
void tn_attention_cache_store(const tn_call *c);
void tn_attention_cache_store_one(const tn_call *c, int64_t r, int64_t g);

#endif
