/* kv.h - how a KV cache lies in memory. Private to tensor.
 *
 *   page, layer, key head:   K  transposed [d_k][64]   so that lanes lie across keys
 *                            V             [64][d_v]   lanes across columns
 *
 *   f32, bf16: the values. q8_0: K codes int8 [d_k][64], scales f16 [d_k/32][64]; V codes int8 [64][d_v], scales f16
 *   [64][d_v/32]. One (page, layer, head) is `stride` bytes: K codes, K scales, V codes, V scales. */
#ifndef TN_TENSOR_KV_H
#define TN_TENSOR_KV_H

#include "tensor/tensor.h"

struct tn_kv {
    int64_t  n_layer, n_head_kv, d_k, d_v, n_page;
    tn_dtype type;
    size_t   k_bytes, k_scale_bytes, v_bytes, v_scale_bytes, stride;
    uint8_t *data; /* [n_page][n_layer][n_head_kv] strides */
    tn_arena arena;
};

static inline uint8_t *tn_kv_at(const tn_kv *kv, int64_t page, int64_t i_layer, int64_t head)
{
    return kv->data + (size_t)((page * kv->n_layer + i_layer) * kv->n_head_kv + head) * kv->stride;
}

/* Stores the key and value of one position of one head. */
void tn_kv_store(const tn_kv *kv, int64_t page, int64_t i_layer, int64_t head, int64_t slot, const float *k,
                 const float *v);
/* Key column `slot` and value row `slot` as f32. */
void tn_kv_load(const tn_kv *kv, int64_t page, int64_t i_layer, int64_t head, int64_t slot, float *k,
                float *v);

#endif
