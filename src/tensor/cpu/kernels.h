/* kernels.h - the kernels that live in cpu/: <operation>_<isa>.c, compiled with that instruction set's flags.
 * Private to tensor. */
#ifndef TN_TENSOR_CPU_KERNELS_H
#define TN_TENSOR_CPU_KERNELS_H

#include "tensor/adamw.h"
#include "tensor/head.h"

/* head_loss.c and head_logprob.c with a set of row kernels */
void tn_head_loss_forward(const tn_call *c, const tn_head_kernels *k);
void tn_head_loss_backward(const tn_call *c, const tn_head_kernels *k);
void tn_head_logprob_forward(const tn_call *c, const tn_head_kernels *k);
void tn_head_logprob_backward(const tn_call *c, const tn_head_kernels *k);

/* <operation>_<direction>_<isa> */
// clang-format off
#define TN_KERNELS(isa)                                                                                       \
    void tn_attention_fwd_##isa(const tn_call *c);                                                            \
    void tn_attention_bwd_##isa(const tn_call *c);                                                            \
    void tn_attention_cache_fwd_##isa(const tn_call *c);                                                      \
    void tn_rmsnorm_fwd_##isa(const tn_call *c);                                                              \
    void tn_rmsnorm_bwd_##isa(const tn_call *c);                                                              \
    void tn_layernorm_fwd_##isa(const tn_call *c);                                                            \
    void tn_layernorm_bwd_##isa(const tn_call *c);                                                            \
    void tn_rope_fwd_##isa(const tn_call *c);                                                                 \
    void tn_rope_bwd_##isa(const tn_call *c);                                                                 \
    void tn_gated_fwd_##isa(const tn_call *c);                                                                \
    void tn_gated_bwd_##isa(const tn_call *c);                                                                \
    void tn_add_fwd_##isa(const tn_call *c);                                                                  \
    void tn_add_bwd_##isa(const tn_call *c);                                                                  \
    void tn_scale_fwd_##isa(const tn_call *c);                                                                \
    void tn_scale_bwd_##isa(const tn_call *c);                                                                \
    void tn_mul_fwd_##isa(const tn_call *c);                                                                  \
    void tn_mul_bwd_##isa(const tn_call *c);                                                                  \
    void tn_bias_fwd_##isa(const tn_call *c);                                                                 \
    void tn_bias_bwd_##isa(const tn_call *c);                                                                 \
    void tn_embedding_bwd_##isa(const tn_call *c);                                                            \
    void tn_dropout_fwd_##isa(const tn_call *c);                                                              \
    void tn_dropout_bwd_##isa(const tn_call *c);                                                              \
    void tn_unary_fwd_##isa(const tn_call *c);                                                                \
    void tn_unary_bwd_##isa(const tn_call *c);                                                                \
    void tn_head_loss_fwd_##isa(const tn_call *c);                                                            \
    void tn_head_loss_bwd_##isa(const tn_call *c);                                                            \
    void tn_head_logprob_fwd_##isa(const tn_call *c);                                                         \
    void tn_head_logprob_bwd_##isa(const tn_call *c);                                                         \
    /* plain arithmetic: n values; dg or du may be NULL */                                                    \
    void  tn_gated_values_##isa(tn_act act, float limit, float *y, const float *g, const float *u,            \
                                int64_t n);                                                                   \
    void  tn_gated_slopes_##isa(tn_act act, float limit, float *dg, float *du, const float *dy,               \
                                const float *g, const float *u, int64_t n, bool add_g, bool add_u);           \
    void  tn_unary_values_##isa(tn_act act, float *y, const float *x, int64_t n);                             \
    void  tn_unary_slopes_##isa(tn_act act, float *dx, const float *dy, const float *x, int64_t n, bool add); \
    void  tn_adamw_##isa(float *p, float *m, float *v, const float *g, int64_t n, const tn_adamw_const *k);   \
    float tn_block_sum_##isa(const float *x, int64_t n, bool square);                                         \
    /* the functions of mathfn.c, n values: the test compares them */                                         \
    void tn_exp_each_##isa(float *y, const float *x, int64_t n);                                              \
    void tn_log_each_##isa(float *y, const float *x, int64_t n);                                              \
    void tn_tanh_each_##isa(float *y, const float *x, int64_t n);                                             \
    void tn_erf_each_##isa(float *y, const float *x, int64_t n);                                              \
    void tn_sigmoid_each_##isa(float *y, const float *x, int64_t n);
// clang-format on
TN_KERNELS(avx2)
TN_KERNELS(avx512)
#undef TN_KERNELS

#endif
