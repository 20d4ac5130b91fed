/* moves_avx512.c - moves_body.h for AVX-512. */
#define MOVES tn_moves_avx512
#include "tensor/cpu/moves_body.h"
