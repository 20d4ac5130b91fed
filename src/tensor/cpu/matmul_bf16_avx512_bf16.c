/* matmul_bf16_avx512_bf16.c - strict-bf16 tiles with VDPBF16PS: per lane fmaf of the odd k, then of the even
 * k, denormals flushed, whatever MXCSR says (the sums of a block are ordinary additions, which do want it
 * flushed). Rows and panels as in the fp32 tile; the strips and panels are matmul_bf16_avx512.c's. */
#include "tensor/cpu/matmul_avx512.h"

static inline __attribute__((always_inline)) void tile(int mr, int np, float *c, int64_t ldc,
                                                       const uint32_t *a, const uint32_t *const *b,
                                                       int64_t n_word, const uint16_t *mask, bool load)
{
    __m512 acc[14][2], first[14][2];

#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) {
        __builtin_prefetch(c + i * ldc + np * TN_PANEL, 1);
        __builtin_prefetch(c + i * ldc + 2 * np * TN_PANEL - 1, 1);
    }
    for (const uint32_t *b0 = b[0], *b1 = b[np - 1], *end = b0 + n_word * TN_PANEL; b0 < end; load = true)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) { /* the 16 k of a chain: 8 words */
#pragma GCC unroll 14
            for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
                for (int j = 0; j < np; j++) acc[i][j] = _mm512_setzero_ps();
            for (const uint32_t *part = b0 + 8 * TN_PANEL; b0 < part;
                 a += mr, b0 += TN_PANEL, b1 += TN_PANEL) {
                __m512i bv[2];
                __builtin_prefetch(a + 16 * mr);
                __builtin_prefetch(b0 + 8 * TN_PANEL);
                if (np > 1) __builtin_prefetch(b1 + 8 * TN_PANEL);
                bv[0] = _mm512_load_si512(b0);
                if (np > 1) bv[1] = _mm512_load_si512(b1);
#pragma GCC unroll 14
                for (int i = 0; i < mr; i++) {
                    __m512bh av = (__m512bh)_mm512_set1_epi32((int)a[i]);
#pragma GCC unroll 2
                    for (int j = 0; j < np; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], av, (__m512bh)bv[j]);
                }
            }
#pragma GCC unroll 14
            for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
                for (int j = 0; j < np; j++) {
                    if (half == 0) first[i][j] = acc[i][j];
                    else block_add(c + i * ldc + j * TN_PANEL, first[i][j], acc[i][j], mask[j], load);
                }
        }
}

#define TILE(mr, np)                                                                                         \
    static void tile_##mr##_##np(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,      \
                                 const uint16_t *mask, bool load)                                            \
    {                                                                                                        \
        tile(mr, np, c, ldc, a, (const uint32_t *const *)b, k, mask, load);                                  \
    }
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define X(mr) TILE(mr, 1) TILE(mr, 2)
TILES(X)
#undef X
#define X(mr) tile_##mr##_1, tile_##mr##_2,
const tn_mm_tile tn_mm_dpbf16_tiles_avx512[28] = { TILES(X) };
#undef X
