/* each_avx512.c - each_body.h for AVX-512. */
#define ADD_FWD tn_add_fwd_avx512
#define ADD_BWD tn_add_bwd_avx512
#define SCALE_FWD tn_scale_fwd_avx512
#define SCALE_BWD tn_scale_bwd_avx512
#define MUL_FWD tn_mul_fwd_avx512
#define MUL_BWD tn_mul_bwd_avx512
#define BIAS_FWD tn_bias_fwd_avx512
#define BIAS_BWD tn_bias_bwd_avx512
#define EMBEDDING_BWD tn_embedding_bwd_avx512
#include "tensor/cpu/each_body.h"
