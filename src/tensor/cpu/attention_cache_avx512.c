/* attention_cache_avx512.c - attention_cache_body.h for AVX-512. */
#define FWD tn_attention_cache_fwd_avx512
#include "tensor/cpu/attention_cache_body.h"
