/* matmul_avx512_bf16.c - strict-bf16 tiles with VDPBF16PS: per lane fmaf of the odd k, then of the even k, denormals
 * flushed, whatever MXCSR says. Rows and panels as in the fp32 tile; the strips and panels are matmul_bf16_avx512.c's. */
#include "tensor/cpu/matmul_avx512.h"

static inline __attribute__((always_inline)) void tile(int mr, int np, float *c, int64_t ldc, const uint32_t *a,
                                                       const uint32_t *const *b, int64_t n_k, const uint16_t *mask, bool load)
{
    __m512 acc[14][2];

#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < np; j++)
            acc[i][j] = load ? _mm512_maskz_loadu_ps(mask[j], c + i * ldc + j * TN_PANEL) : _mm512_setzero_ps();
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) {
        __builtin_prefetch(c + (mr + i) * ldc, 1);
        __builtin_prefetch(c + (mr + i) * ldc + 16, 1);
        __builtin_prefetch(c + (mr + i) * ldc + 31, 1);
    }
    const uint32_t *b0 = b[0], *b1 = b[np - 1];
    for (int64_t k = 0; k < n_k; k++) {
        __m512i bv[2];
        __builtin_prefetch(a + (k + 16) * mr);
        __builtin_prefetch(b0 + (k + 8) * TN_PANEL);
        if (np > 1) __builtin_prefetch(b1 + (k + 8) * TN_PANEL);
        bv[0] = _mm512_load_si512(b0 + k * TN_PANEL);
        if (np > 1) bv[1] = _mm512_load_si512(b1 + k * TN_PANEL);
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            __m512bh av = (__m512bh)_mm512_set1_epi32((int)a[k * mr + i]);
#pragma GCC unroll 2
            for (int j = 0; j < np; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], av, (__m512bh)bv[j]);
        }
    }
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < np; j++) _mm512_mask_storeu_ps(c + i * ldc + j * TN_PANEL, mask[j], nan_canonical(acc[i][j]));
}

#define TILE(mr, np)                                                                                                \
    static void tile_##mr##_##np(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,             \
                                 const uint16_t *mask, bool load)                                                   \
    {                                                                                                               \
        tile(mr, np, c, ldc, a, (const uint32_t *const *)b, k, mask, load);                                         \
    }
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define X(mr) TILE(mr, 1) TILE(mr, 2)
TILES(X)
#undef X
#define X(mr) tile_##mr##_1, tile_##mr##_2,
const tn_mm_tile tn_mm_dpbf16_tiles_avx512[28] = {TILES(X)};
#undef X
