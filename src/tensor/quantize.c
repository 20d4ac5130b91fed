/* quantize.c - fp32 rows to the other types; ggml's reference rounding. */
#include "tensor/op_util.h"

/* Blocks of 32: scale max|x| / 127 as f16, codes rounded half away from zero. */
static void to_q8_0(uint8_t *dst, const float *x, int64_t n)
{
    for (int64_t b = 0; b < n / 32; b++, x += 32, dst += 34) {
        float top = 0.0f;
        for (int i = 0; i < 32; i++) top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
        float    d = top / 127.0f, inv = d != 0.0f ? 1.0f / d : 0.0f;
        uint16_t h = tn_f32_to_f16(d);
        memcpy(dst, &h, 2);
        for (int i = 0; i < 32; i++) {
            float y = roundf(x[i] * inv);
            y = y < -127.0f ? -127.0f : y > 127.0f ? 127.0f : y;
            dst[2 + i] = y == y ? (uint8_t)(int8_t)y : 0;
        }
    }
}

bool tn_row_from_f32(void *dst, const float *src, tn_dtype t, int64_t n)
{
    switch (t) {
    case TN_F32: memcpy(dst, src, (size_t)n * 4); return true;
    case TN_F16: for (int64_t i = 0; i < n; i++) ((uint16_t *)dst)[i] = tn_f32_to_f16(src[i]); return true;
    case TN_BF16: for (int64_t i = 0; i < n; i++) ((uint16_t *)dst)[i] = tn_f32_to_bf16(src[i]); return true;
    case TN_Q8_0: to_q8_0(dst, src, n); return true;
    default: return false;
    }
}
