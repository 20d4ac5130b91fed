/* adapter_avx2.c - adapter_body.h for AVX2. */
#define ADAPTER_KERNELS tn_adapter_avx2
#include "tensor/cpu/adapter_body.h"
