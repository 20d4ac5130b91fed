/* kernels.h - the kernels that live in cpu/: <operation>_<isa>.c, compiled with that instruction set's flags. Private to
 * tensor. */
#ifndef TN_TENSOR_CPU_KERNELS_H
#define TN_TENSOR_CPU_KERNELS_H

#include "tensor/head.h"

/* head_loss.c and head_logprob.c with a set of row kernels */
void tn_head_loss_forward(const tn_call *c, const tn_head_kernels *k);
void tn_head_loss_backward(const tn_call *c, const tn_head_kernels *k);
void tn_head_logprob_forward(const tn_call *c, const tn_head_kernels *k);
void tn_head_logprob_backward(const tn_call *c, const tn_head_kernels *k);

/* <operation>_<direction>_<isa> */
#define TN_KERNELS(isa)                                        \
    void tn_attention_fwd_##isa(const tn_call *c);             \
    void tn_attention_bwd_##isa(const tn_call *c);             \
    void tn_attention_cache_fwd_##isa(const tn_call *c);
TN_KERNELS(avx2)
TN_KERNELS(avx512)
#undef TN_KERNELS

#endif
