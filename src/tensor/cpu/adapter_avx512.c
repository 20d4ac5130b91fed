/* adapter_avx512.c - adapter_body.h for AVX-512. */
#define ADAPTER_KERNELS tn_adapter_avx512
#include "tensor/cpu/adapter_body.h"
