/* matmul_panel_avx512.c - panels of packed weights as fp32: 32 k of 16 outputs at a time.
 *
 * code * d is exact in fp32 for every format (11 bits of a half times at most 12), so code * d + m with one rounding
 * is the reference's product and sum; (code - bias) * d keeps the sign of a zero, as the reference does. */
#include "tensor/cpu/matmul_avx512.h"

/* Codes k = 4g .. 4g + 3 of all outputs, as int32 without bias. */
static inline __attribute__((always_inline)) void group_codes(__m512i q[4], const __m512i *codes, tn_layout l, int g)
{
    const __m512i nibble = _mm512_set1_epi32(15);

#pragma GCC unroll 4
    for (int b = 0; b < 4; b++) {
        if (l == TN_L_C8) {
            q[b] = _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(codes + g), 8 * b), _mm512_set1_epi32(255));
            continue;
        }
        q[b] = _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(codes + g / 2), 8 * b + g % 2 * 4), nibble);
        if (l == TN_L_C5) {
            __m512i high = _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(codes + 4), 8 * b + g), _mm512_set1_epi32(1));
            q[b]         = _mm512_or_si512(q[b], _mm512_slli_epi32(high, 4));
        } else if (l == TN_L_C6) {
            __m512i high = _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(codes + 4 + g / 4), 8 * b + g % 4 * 2),
                                            _mm512_set1_epi32(3));
            q[b]         = _mm512_or_si512(q[b], _mm512_slli_epi32(high, 4));
        }
    }
}

static inline __attribute__((always_inline)) void block_widen(float *dst, const uint8_t *codes, const uint8_t *scales,
                                                              tn_dtype t, tn_layout l, int64_t i_block)
{
    bool minimum = t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q4_K || t == TN_Q5_K;
    int  bias    = t == TN_Q8_0 ? 128 : t == TN_Q4_0 ? 8 : t == TN_Q5_0 ? 16 : 32;

    block_scale s = scale_of(scales, t, i_block, 0);
    if (l == TN_L_C4) {                                             /* a permute of a table looks only at the low 4 bits */
        const __m512 table = _mm512_sub_ps(_mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                           _mm512_set1_ps(minimum ? 0.0f : (float)bias));
#pragma GCC unroll 4
        for (int word = 0; word < 4; word++) {
            __m512i v = _mm512_load_si512(codes + 64 * word);
#pragma GCC unroll 8
            for (int n = 0; n < 8; n++) {                           /* nibble n: byte n / 2 */
                __m512 q = _mm512_permutexvar_ps(_mm512_srli_epi32(v, 4 * n), table);
                int    k = 8 * word + n / 2 + n % 2 * 4;
                _mm512_store_ps(dst + k * TN_PANEL, minimum ? _mm512_fmadd_ps(q, s.d, s.m) : _mm512_mul_ps(q, s.d));
            }
        }
        return;
    }
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m512i q[4];
        if (t == TN_Q6_K && g == 4) s = scale_of(scales, t, i_block, 1);
        group_codes(q, (const __m512i *)(const void *)codes, l, g);
#pragma GCC unroll 4
        for (int b = 0; b < 4; b++) {
            __m512 x = minimum ? _mm512_fmadd_ps(_mm512_cvtepi32_ps(q[b]), s.d, s.m)
                               : _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q[b], _mm512_set1_epi32(bias))), s.d);
            _mm512_store_ps(dst + (4 * g + b) * TN_PANEL, x);
        }
    }
}

void tn_mm_panel_packed_avx512(float *dst, const tn_weight *w, int64_t i_panel, int64_t k0, int64_t k)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride, *scales = w->scales + (size_t)i_panel * w->scale_stride;

    if (w->layout == TN_L_F32) {
        for (int64_t i = 0; i < k; i++) _mm512_store_ps(dst + i * TN_PANEL, _mm512_load_ps(codes + (k0 + i) * 64));
        return;
    }
    if (w->layout == TN_L_F16) {
        for (int64_t i = 0; i < k; i++) _mm512_store_ps(dst + i * TN_PANEL, halves(codes + (k0 + i) * 32));
        return;
    }
    if (w->layout == TN_L_BF16) {
        for (int64_t i = 0; i < k; i++) {                           /* k0 is even */
            __m512i pair = _mm512_load_si512(codes + (k0 + i) / 2 * 64);
            pair = i % 2 == 0 ? _mm512_slli_epi32(pair, 16) : _mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u));
            _mm512_store_si512(dst + i * TN_PANEL, pair);
        }
        return;
    }
    size_t block_bytes = tn_layout_block_bytes(w->layout);
    for (int64_t i = k0 / 32; i < (k0 + k) / 32; i++, dst += 32 * TN_PANEL) {
        const uint8_t *c = codes + (size_t)i * block_bytes;
        for (size_t b = 0; b < block_bytes; b += 64) __builtin_prefetch(c + 2 * w->code_stride + b);   /* for the next pair of panels */
        switch (w->dtype) {
        case TN_Q8_0: block_widen(dst, c, scales, TN_Q8_0, TN_L_C8, i); break;
        case TN_Q4_0: block_widen(dst, c, scales, TN_Q4_0, TN_L_C4, i); break;
        case TN_Q4_1: block_widen(dst, c, scales, TN_Q4_1, TN_L_C4, i); break;
        case TN_Q5_0: block_widen(dst, c, scales, TN_Q5_0, TN_L_C5, i); break;
        case TN_Q5_1: block_widen(dst, c, scales, TN_Q5_1, TN_L_C5, i); break;
        case TN_Q4_K: block_widen(dst, c, scales, TN_Q4_K, TN_L_C4, i); break;
        case TN_Q5_K: block_widen(dst, c, scales, TN_Q5_K, TN_L_C5, i); break;
        case TN_Q6_K: block_widen(dst, c, scales, TN_Q6_K, TN_L_C6, i); break;
        default:      break;
        }
    }
}
