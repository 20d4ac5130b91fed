/* adamw.h - the constants of one AdamW step and its kernels. Private to tensor. */
#ifndef TN_TENSOR_ADAMW_H
#define TN_TENSOR_ADAMW_H

#include "tensor/op_util.h"

typedef struct tn_adamw_const {
    float beta1, beta2, rest1, rest2, eps, grad_scale, decay, c1, c2;
} tn_adamw_const;

void tn_adamw_consts(tn_adamw_const *k, const tn_adamw_params *a);
void tn_adamw_ref(float *p, float *m, float *v, const float *g, int64_t n, const tn_adamw_const *k);

#endif
