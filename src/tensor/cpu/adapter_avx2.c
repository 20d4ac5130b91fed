/* adapter_avx2.c - adapter_body.h for AVX2. */
#define ADAPTER_FWD tn_adapter_fwd_avx2
#define ADAPTER_BWD tn_adapter_bwd_avx2
#include "tensor/cpu/adapter_body.h"
