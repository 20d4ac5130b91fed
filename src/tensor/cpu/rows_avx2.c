/* rows_avx2.c - rows_body.h for AVX2. */
#define RMSNORM_FWD tn_rmsnorm_fwd_avx2
#define RMSNORM_BWD tn_rmsnorm_bwd_avx2
#define LAYERNORM_FWD tn_layernorm_fwd_avx2
#define LAYERNORM_BWD tn_layernorm_bwd_avx2
#define ROPE_FWD tn_rope_fwd_avx2
#define ROPE_BWD tn_rope_bwd_avx2
#define GATED_FWD tn_gated_fwd_avx2
#define GATED_BWD tn_gated_bwd_avx2
#define GATED_VALUES tn_gated_values_avx2
#define GATED_SLOPES tn_gated_slopes_avx2
#define UNARY_FWD tn_unary_fwd_avx2
#define UNARY_BWD tn_unary_bwd_avx2
#define UNARY_VALUES tn_unary_values_avx2
#define UNARY_SLOPES tn_unary_slopes_avx2
#define HEAD_KERNELS tn_head_avx2
#define HEAD_LOSS_FWD tn_head_loss_fwd_avx2
#define HEAD_LOSS_BWD tn_head_loss_bwd_avx2
#define HEAD_LOGPROB_FWD tn_head_logprob_fwd_avx2
#define HEAD_LOGPROB_BWD tn_head_logprob_bwd_avx2
#define ADAMW tn_adamw_avx2
#define BLOCK_SUM tn_block_sum_avx2
#define EXP_EACH tn_exp_each_avx2
#define LOG_EACH tn_log_each_avx2
#define TANH_EACH tn_tanh_each_avx2
#define ERF_EACH tn_erf_each_avx2
#define SIGMOID_EACH tn_sigmoid_each_avx2
#include "tensor/cpu/rows_body.h"
