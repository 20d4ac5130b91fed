/* moves_avx2.c - moves_body.h for AVX2. */
#define MOVES tn_moves_avx2
#include "tensor/cpu/moves_body.h"
