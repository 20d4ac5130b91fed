/* attention_avx512.c - attention_body.h for AVX-512. */
#define FWD tn_attention_fwd_avx512
#define BWD tn_attention_bwd_avx512
#include "tensor/cpu/attention_body.h"
