/* each_avx2.c - each_body.h for AVX2. */
#define ADD_FWD tn_add_fwd_avx2
#define ADD_BWD tn_add_bwd_avx2
#define SCALE_FWD tn_scale_fwd_avx2
#define SCALE_BWD tn_scale_bwd_avx2
#define MUL_FWD tn_mul_fwd_avx2
#define MUL_BWD tn_mul_bwd_avx2
#define BIAS_FWD tn_bias_fwd_avx2
#define BIAS_BWD tn_bias_bwd_avx2
#define EMBEDDING_BWD tn_embedding_bwd_avx2
#include "tensor/cpu/each_body.h"
