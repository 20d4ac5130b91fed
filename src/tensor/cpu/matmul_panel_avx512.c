/* matmul_panel_avx512.c - panels of packed weights as fp32: 32 k of 16 outputs at a time. */
#include "tensor/cpu/matmul_avx512.h"

static inline __attribute__((always_inline)) void blocks_widen(float *dst, const uint8_t *codes,
                                                               const uint8_t *scales, tn_dtype t, tn_layout l,
                                                               int64_t first, int64_t end, size_t ahead)
{
    const code_tables tables = code_tables_of(t);
    const size_t      bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;

    for (int64_t i = first; i < end; i++, dst += 32 * TN_PANEL) {
        block_scale s = group_scale(scales, t, i, 0);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m512 v[4];
            if (t == TN_Q6_K && g == 4) s = group_scale(scales, t, i, 1);
            /* for the next pair of panels */
            if ((size_t)g * 64 < bytes) __builtin_prefetch(codes + (size_t)i * bytes + 64 * g + ahead);
            group_values(v, codes + (size_t)i * bytes, t, l, g, s, &tables);
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++) _mm512_store_ps(dst + (4 * g + b) * TN_PANEL, v[b]);
        }
    }
}

void tn_mm_panel_packed_avx512(float *dst, const tn_weight *w, int64_t i_panel, int64_t k0, int64_t k)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride,
                  *scales = w->scales + (size_t)i_panel * w->scale_stride;

    if (w->layout == TN_L_F32) {
        for (int64_t i = 0; i < k; i++)
            _mm512_store_ps(dst + i * TN_PANEL, _mm512_load_ps(codes + (k0 + i) * 64));
        return;
    }
    if (w->layout == TN_L_F16) {
        for (int64_t i = 0; i < k; i++) _mm512_store_ps(dst + i * TN_PANEL, halves(codes + (k0 + i) * 32));
        return;
    }
    if (w->layout == TN_L_BF16) {
        for (int64_t i = 0; i < k; i += 2) { /* k0 is even */
            __m512i pair = _mm512_load_si512(codes + (k0 + i) / 2 * 64);
            _mm512_store_si512(dst + i * TN_PANEL, _mm512_slli_epi32(pair, 16));
            if (i + 1 < k)
                _mm512_store_si512(dst + (i + 1) * TN_PANEL,
                                   _mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
        }
        return;
    }
    const int64_t first = k0 / 32, end = (k0 + k) / 32;
    const size_t  ahead = 2 * w->code_stride;
    switch (w->dtype) {
    case TN_Q8_0: blocks_widen(dst, codes, scales, TN_Q8_0, TN_L_C8, first, end, ahead); break;
    case TN_Q4_0: blocks_widen(dst, codes, scales, TN_Q4_0, TN_L_C4, first, end, ahead); break;
    case TN_Q4_1: blocks_widen(dst, codes, scales, TN_Q4_1, TN_L_C4, first, end, ahead); break;
    case TN_Q5_0: blocks_widen(dst, codes, scales, TN_Q5_0, TN_L_C5, first, end, ahead); break;
    case TN_Q5_1: blocks_widen(dst, codes, scales, TN_Q5_1, TN_L_C5, first, end, ahead); break;
    case TN_Q4_K: blocks_widen(dst, codes, scales, TN_Q4_K, TN_L_C4, first, end, ahead); break;
    case TN_Q5_K: blocks_widen(dst, codes, scales, TN_Q5_K, TN_L_C5, first, end, ahead); break;
    case TN_Q6_K: blocks_widen(dst, codes, scales, TN_Q6_K, TN_L_C6, first, end, ahead); break;
    default: break;
    }
}
