/* quantize.c - fp32 rows to the other formats: f16, bf16 and the blocks of 32. The blocks of 256 are in
 * quantize_k.c.
 *
 * Bytes are those of ggml's reference quantisers (layouts in dequantize.c), so that a file made here equals a
 * file made there: the order of operations and the half added before truncation are part of the format. A
 * code that is not a number becomes 0; a block of q8_0 that holds a NaN or an infinity has a scale of NaN (as
 * in q8act.c), so that a KV cache never turns one into a number. The other types are for weights: whoever
 * writes a model asks tn_row_finite first. */
#include "tensor/dtype.h"
#include "tensor/tensor.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 32 };

int64_t tn_row_finite(const float *x, int64_t n)
{
    int64_t i = 0;

    while (i < n && fabsf(x[i]) < INFINITY) i++;
    return i;
}

static void store_half(uint8_t *dst, float f)
{
    uint16_t h = tn_f32_to_f16(f);

    memcpy(dst, &h, sizeof h);
}

/* Truncated and kept within 0 .. top. */
static uint8_t code(float x, int top)
{
    if (!(x >= 1.0f)) return 0;
    return (uint8_t)(x < (float)top ? (int)x : top);
}

static float largest_magnitude(const float *x)
{
    float amax = 0.0f, value = 0.0f;

    for (int j = 0; j < BLOCK; j++)
        if (fabsf(x[j]) > amax) {
            amax = fabsf(x[j]);
            value = x[j];
        }
    return value;
}

static void q8_0_write(uint8_t *b, const float *x)
{
    float d = fabsf(largest_magnitude(x)) / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;

    if (tn_row_finite(x, BLOCK) < BLOCK) {
        store_half(b, NAN);
        memset(b + 2, 0, BLOCK);
        return;
    }
    store_half(b, d);
    for (int j = 0; j < BLOCK; j++) {
        float q = roundf(x[j] * inverse);
        b[2 + j] = fabsf(q) <= 127.0f ? (uint8_t)(int8_t)q : 0;
    }
}

/* Low nibbles hold elements 0 .. 15, high nibbles 16 .. 31; a fifth bit goes to bit j of `high`. */
static void nibbles_store(uint8_t *qs, uint8_t *high, const uint8_t q[BLOCK])
{
    uint32_t fifth = 0;

    for (int j = 0; j < BLOCK / 2; j++) qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
    for (int j = 0; j < BLOCK; j++) fifth |= (uint32_t)(q[j] >> 4 & 1) << j;
    if (high != NULL) memcpy(high, &fifth, sizeof fifth);
}

/* Symmetric: the value of the largest magnitude gets the lowest code, which is exact. */
static void symmetric_write(uint8_t *b, const float *x, int bits)
{
    int     middle = 1 << (bits - 1);
    float   d = largest_magnitude(x) / (float)-middle, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    uint8_t q[BLOCK];

    store_half(b, d);
    for (int j = 0; j < BLOCK; j++) q[j] = code(x[j] * inverse + ((float)middle + 0.5f), 2 * middle - 1);
    nibbles_store(b + (bits == 4 ? 2 : 6), bits == 4 ? NULL : b + 2, q);
}

static void min_max_write(uint8_t *b, const float *x, int bits)
{
    float   min = FLT_MAX, max = -FLT_MAX;
    int     top = (1 << bits) - 1;
    uint8_t q[BLOCK];

    for (int j = 0; j < BLOCK; j++) {
        if (x[j] < min) min = x[j];
        if (x[j] > max) max = x[j];
    }
    float d = (max - min) / (float)top, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    store_half(b, d);
    store_half(b + 2, min);
    for (int j = 0; j < BLOCK; j++) q[j] = code((x[j] - min) * inverse + 0.5f, top);
    nibbles_store(b + (bits == 4 ? 4 : 8), bits == 4 ? NULL : b + 4, q);
}

static void q4_0_write(uint8_t *b, const float *x) { symmetric_write(b, x, 4); }
static void q5_0_write(uint8_t *b, const float *x) { symmetric_write(b, x, 5); }
static void q4_1_write(uint8_t *b, const float *x) { min_max_write(b, x, 4); }
static void q5_1_write(uint8_t *b, const float *x) { min_max_write(b, x, 5); }

typedef void (*block_writer)(uint8_t *block, const float *x);

static const block_writer writers[TN_DTYPE_COUNT] = {
    [TN_Q8_0] = q8_0_write, [TN_Q4_0] = q4_0_write,    [TN_Q4_1] = q4_1_write,    [TN_Q5_0] = q5_0_write,
    [TN_Q5_1] = q5_1_write, [TN_Q4_K] = tn_q4_k_write, [TN_Q5_K] = tn_q5_k_write, [TN_Q6_K] = tn_q6_k_write,
};

bool tn_row_from_f32(void *dst, const float *src, tn_dtype t, int64_t n)
{
    uint8_t *b = dst;

    if (t == TN_F32) {
        memcpy(dst, src, (size_t)n * sizeof *src);
        return true;
    }
    if (t == TN_F16 || t == TN_BF16) {
        for (int64_t i = 0; i < n; i++, b += 2) {
            uint16_t h = t == TN_F16 ? tn_f32_to_f16(src[i]) : tn_f32_to_bf16(src[i]);
            memcpy(b, &h, sizeof h);
        }
        return true;
    }
    if ((unsigned)t >= TN_DTYPE_COUNT || writers[t] == NULL) return false;
    int64_t block = tn_dtype_block(t);
    size_t  bytes = tn_row_bytes(t, block);
    for (int64_t i = 0; i + block <= n; i += block, b += bytes) writers[t](b, src + i);
    return true;
}
