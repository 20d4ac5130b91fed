/* dtype.h - what the files about quantised blocks share. Private to tensor. */
#ifndef TN_TENSOR_DTYPE_H
#define TN_TENSOR_DTYPE_H

#include <stdint.h>

/* The 6-bit scale and minimum of sub-block j (0..7) from the 12 packed bytes of q4_k and q5_k. */
void                tn_q4_k_scale(int *sc, int *mn, const uint8_t *s, int j);
float               tn_mxfp4_scale(uint8_t e);
extern const int8_t tn_mxfp4_codes[16];
/* One block of 256 (quantize_k.c). */
void tn_q4_k_write(uint8_t *block, const float *x);
void tn_q5_k_write(uint8_t *block, const float *x);
void tn_q6_k_write(uint8_t *block, const float *x);

#endif
