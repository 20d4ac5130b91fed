/* weight_norm.h - what weight_norm.c shares with its kernels in cpu/. Private to tensor. */
#ifndef TN_TENSOR_WEIGHT_NORM_H
#define TN_TENSOR_WEIGHT_NORM_H

#include "tensor/op_util.h"

/* The length of w[n] + scale * sum over k of b[k] a[k][n]. */
typedef float (*tn_row_length_fn)(const float *w, const float *a, const float *b, int64_t n, int64_t rank,
                                  float scale);

/* The forward pass around a kernel's row. */
void tn_weight_norm_fwd(const tn_call *c, tn_row_length_fn row_length);
void tn_weight_norm_bwd(const tn_call *c);
void tn_weight_norm_fwd_avx2(const tn_call *c);

#endif
