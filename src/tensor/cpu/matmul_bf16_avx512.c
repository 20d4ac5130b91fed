/* matmul_bf16_avx512.c - strict-bf16 with 512-bit vectors: strips and panels of pairs, and tiles for CPUs
 * without a bf16 instruction. A word is a pair: the even k in its low half, the odd one in its high half.
 *
 * The tiles run with denormals flushed (the driver sets it, `flushes`): then a fused multiply-add of two
 * widened bf16 is the step that gemm_ref.c defines, and VDPBF16PS is two of them, odd first. A block of 32 k
 * is two chains from zero and two sums; C stays in the first cache meanwhile. */
#include "tensor/cpu/matmul_avx512.h"

void tn_mm_pairs_avx512(uint32_t *dst, const float *src, int64_t k)
{
    int64_t i = 0;

    for (; i + 1 < k; i += 2)
        _mm512_store_si512(
            dst + i * 8, pair(_mm512_load_ps(src + i * TN_PANEL), _mm512_load_ps(src + (i + 1) * TN_PANEL)));
    if (i < k) {
        _mm512_store_si512(dst + i * 8, pair(_mm512_load_ps(src + i * TN_PANEL), _mm512_setzero_ps()));
        i += 2;
    }
    for (; i % 32 != 0; i += 2) _mm512_store_si512(dst + i * 8, _mm512_setzero_si512());
}

void tn_mm_strip_bf16_avx512(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k)
{
    const float *src = a->a + m0 * a->rs + k0 * a->ks;
    __mmask16    lane = (__mmask16)((1u << rows) - 1);
    int64_t      i = 0;

    if (a->ks != 1) {
        for (; i < k; i += 2) {
            __m512 even = _mm512_maskz_loadu_ps(lane, src + i * a->ks);
            __m512 odd = i + 1 < k ? _mm512_maskz_loadu_ps(lane, src + (i + 1) * a->ks) : _mm512_setzero_ps();
            _mm512_mask_storeu_epi32(dst + i / 2 * rows, lane, pair(even, odd));
        }
    } else {
        __m512 v[16];
        for (; i < k; i += 16) {
            int       n = k - i < 16 ? (int)(k - i) : 16;
            __mmask16 mask = (__mmask16)((1u << n) - 1);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++)
                v[r] = r < rows ? _mm512_maskz_loadu_ps(mask, src + r * a->rs + i) : _mm512_setzero_ps();
            transpose16(v); /* lanes of k past the end came out zero */
#pragma GCC unroll 8
            for (int r = 0; r < 16; r += 2)
                _mm512_storeu_si512(dst + (i + r) / 2 * rows, pair(v[r], v[r + 1]));
        }
    }
    for (; i % 32 != 0; i += 2) _mm512_mask_storeu_epi32(dst + i / 2 * rows, lane, _mm512_setzero_si512());
}

/* -------------------------------------------------------------------------------------------------- tiles */

static inline __m512 low_half(__m512i w) { return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16)); }
static inline __m512 high_half(__m512i w)
{
    return _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32((int)0xffff0000u)));
}

static inline __attribute__((always_inline)) void tile(int mr, int np, float *c, int64_t ldc,
                                                       const uint32_t *a, const uint32_t *const *b,
                                                       int64_t n_word, const uint16_t *mask, bool load)
{
    __m512 acc[12][2], first[12][2];

    for (const uint32_t *b0 = b[0], *b1 = b[np - 1], *end = b0 + n_word * TN_PANEL; b0 < end; load = true)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) { /* the 16 k of a chain: 8 words */
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
                for (int j = 0; j < np; j++) acc[i][j] = _mm512_setzero_ps();
            for (const uint32_t *part = b0 + 8 * TN_PANEL; b0 < part;
                 a += mr, b0 += TN_PANEL, b1 += TN_PANEL) {
                __m512i w0 = _mm512_load_si512(b0), w1 = _mm512_load_si512(b1);
                __m512  odd[2] = { high_half(w0), high_half(w1) }, even[2] = { low_half(w0), low_half(w1) };
#pragma GCC unroll 12
                for (int i = 0; i < mr; i++) {
                    __m512i x = _mm512_set1_epi32((int)a[i]);
#pragma GCC unroll 2
                    for (int j = 0; j < np; j++) {
                        acc[i][j] = _mm512_fmadd_ps(high_half(x), odd[j], acc[i][j]);
                        acc[i][j] = _mm512_fmadd_ps(low_half(x), even[j], acc[i][j]);
                    }
                }
            }
#pragma GCC unroll 12
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
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#define X(mr) TILE(mr, 1) TILE(mr, 2)
TILES(X)
#undef X
#define X(mr) tile_##mr##_1, tile_##mr##_2,
const tn_mm_tile tn_mm_bf16_tiles_avx512[24] = { TILES(X) };
#undef X
