/* matmul_panel_avx2.c - panels of packed weights as fp32, with 256-bit vectors. */
#include "tensor/cpu/matmul_avx2.h"

static inline __attribute__((always_inline)) void
block_widen(float *dst, const uint8_t *codes, const uint8_t *scales, tn_dtype t, tn_layout l, int64_t i_block)
{
    for (int h = 0; h < 2; h++) {
        block_scale8 s = value_scale8(scales, t, i_block, 0, h);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i q = signed8(codes, t, l, g, h);
            if (t == TN_Q6_K && g == 4) s = value_scale8(scales, t, i_block, 1, h);
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++)
                _mm256_store_ps(dst + (4 * g + b) * TN_PANEL + 8 * h, value8(q, b, t, s));
        }
    }
}

void tn_mm_panel_packed_avx2(float *dst, const tn_weight *w, int64_t i_panel, int64_t k0, int64_t k)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride,
                  *scales = w->scales + (size_t)i_panel * w->scale_stride;

    if (w->layout == TN_L_F32) memcpy(dst, codes + (size_t)k0 * 64, (size_t)k * 64);
    if (w->layout == TN_L_F16)
        for (int64_t i = 0; i < 2 * k; i++) _mm256_store_ps(dst + i * 8, halves8(codes + (2 * k0 + i) * 16));
    if (w->layout == TN_L_BF16)
        for (int64_t i = 0; i < k; i += 2) { /* k0 is even */
            const __m256i *word = (const __m256i *)(const void *)(codes + (k0 + i) / 2 * 64);
            __m256i        w0 = _mm256_load_si256(word), w1 = _mm256_load_si256(word + 1);
            _mm256_store_ps(dst + i * TN_PANEL, low_half(w0));
            _mm256_store_ps(dst + i * TN_PANEL + 8, low_half(w1));
            if (i + 1 == k) break;
            _mm256_store_ps(dst + (i + 1) * TN_PANEL, high_half(w0));
            _mm256_store_ps(dst + (i + 1) * TN_PANEL + 8, high_half(w1));
        }
    if (w->layout < TN_L_C8) return;
    size_t block_bytes = tn_layout_block_bytes(w->layout);
    for (int64_t i = k0 / 32; i < (k0 + k) / 32; i++, dst += 32 * TN_PANEL) {
        const uint8_t *c = codes + (size_t)i * block_bytes;
        switch (w->dtype) {
        case TN_Q8_0: block_widen(dst, c, scales, TN_Q8_0, TN_L_C8, i); break;
        case TN_Q4_0: block_widen(dst, c, scales, TN_Q4_0, TN_L_C4, i); break;
        case TN_Q4_1: block_widen(dst, c, scales, TN_Q4_1, TN_L_C4, i); break;
        case TN_Q5_0: block_widen(dst, c, scales, TN_Q5_0, TN_L_C5, i); break;
        case TN_Q5_1: block_widen(dst, c, scales, TN_Q5_1, TN_L_C5, i); break;
        case TN_Q4_K: block_widen(dst, c, scales, TN_Q4_K, TN_L_C4, i); break;
        case TN_Q5_K: block_widen(dst, c, scales, TN_Q5_K, TN_L_C5, i); break;
        case TN_Q6_K: block_widen(dst, c, scales, TN_Q6_K, TN_L_C6, i); break;
        default: break;
        }
    }
}
