/* attention_cache_avx2.c - attention_cache_body.h for AVX2. */
#define FWD tn_attention_cache_fwd_avx2
#include "tensor/cpu/attention_cache_body.h"
