/* dropout_avx512.c - dropout_body.h for AVX-512. */
#define DROPOUT_FWD tn_dropout_fwd_avx512
#define DROPOUT_BWD tn_dropout_bwd_avx512
#include "tensor/cpu/dropout_body.h"
