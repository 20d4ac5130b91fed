/* dropout_avx2.c - dropout_body.h for AVX2. */
#define DROPOUT_FWD tn_dropout_fwd_avx2
#define DROPOUT_BWD tn_dropout_bwd_avx2
#include "tensor/cpu/dropout_body.h"
