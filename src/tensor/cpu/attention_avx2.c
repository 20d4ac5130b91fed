/* attention_avx2.c - attention_body.h for AVX2. */
#define FWD tn_attention_fwd_avx2
#define BWD tn_attention_bwd_avx2
#include "tensor/cpu/attention_body.h"
