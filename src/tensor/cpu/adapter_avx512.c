/* adapter_avx512.c - adapter_body.h for AVX-512. */
#define ADAPTER_FWD tn_adapter_fwd_avx512
#define ADAPTER_BWD tn_adapter_bwd_avx512
#include "tensor/cpu/adapter_body.h"
