/* matmul_bf16_avx2.c - strict-bf16 with 256-bit vectors: strips of rounded values, panels of pairs, tiles of
 * 6 rows x 16 outputs.
 *
 * The tiles run with denormals flushed (the driver sees to it): a fused multiply-add of two widened bf16 is
 * then a step of the definition, odd k before even. Rows are widened when the strip is made, so a step is one
 * load and two multiply-adds a row, as in fp32; a word of a panel is read once for its odd k and once for its
 * even k, since the 16 registers hold no more than 12 chains beside it. The two sums of a block of 32 k stay
 * in the first cache. */
#include "tensor/cpu/matmul_avx2.h"

/* The 16 k of a chain, from +0: 8 words of the panel. */
static inline __attribute__((always_inline)) void chain(__m256 acc[6][2], int mr, const float *a,
                                                        const __m256i *word)
{
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (const __m256i *end = word + 16; word < end; a += 2 * mr, word += 2) {
        __builtin_prefetch(word + 16);
#pragma GCC unroll 2
        for (int odd = 1; odd >= 0; odd--) {
            __m256i w0 = _mm256_load_si256(word), w1 = _mm256_load_si256(word + 1);
            __m256  b0 = odd ? high_half(w0) : low_half(w0), b1 = odd ? high_half(w1) : low_half(w1);
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) {
                __m256 av = _mm256_broadcast_ss(a + odd * mr + i);
                acc[i][0] = _mm256_fmadd_ps(av, b0, acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(av, b1, acc[i][1]);
            }
        }
    }
}

static inline __attribute__((always_inline)) void tile(int mr, float *c, int64_t ldc, const float *a,
                                                       const __m256i *word, int64_t n_word, uint16_t mask,
                                                       bool load)
{
    __m256 acc[6][2], first[6][2], sum[6][2]; /* registers hold the first alone */

#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) sum[i][h] = c_load(c + i * ldc, mask, h, load);
    for (const __m256i *end = word + 2 * n_word; word < end; word += 32, a += 32 * mr) {
        chain(acc, mr, a, word);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) first[i][0] = acc[i][0], first[i][1] = acc[i][1];
        chain(acc, mr, a + 16 * mr, word + 16);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++)
                sum[i][h] = _mm256_add_ps(sum[i][h], _mm256_add_ps(first[i][h], acc[i][h]));
    }
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) c_store(c + i * ldc, mask, h, sum[i][h]);
}

#define TILE(mr)                                                                                             \
    static void tile_##mr(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,             \
                          const uint16_t *mask, bool load)                                                   \
    {                                                                                                        \
        tile(mr, c, ldc, a, b[0], k, mask[0], load);                                                         \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6) const tn_mm_tile tn_mm_bf16_tiles_avx2[6] = { tile_1, tile_2, tile_3, tile_4, tile_5, tile_6 };

/* ----------------------------------------------------------------------------------------- strips, panels */

/* Rounded to bf16 in the high half; what is below it is not cleared. */
static inline __m256i round_bits(__m256 x)
{
    __m256i u = _mm256_castps_si256(x),
            even = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));

    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(r),
                                                _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)),
                                                _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

static inline __m256 rounded(__m256 x) { return high_half(round_bits(x)); }

static inline __m256i pair_of(__m256 even, __m256 odd)
{
    return _mm256_or_si256(_mm256_srli_epi32(round_bits(even), 16), _mm256_castps_si256(rounded(odd)));
}

void tn_mm_pairs_avx2(uint32_t *dst, const float *src, int64_t k)
{
    for (int64_t i = 0; i < (k + 31) / 32 * 32; i += 2) {
        const float *even = src + i * TN_PANEL, *odd = even + TN_PANEL;
        __m256       zero = _mm256_setzero_ps(), e0 = zero, e1 = zero, o0 = zero, o1 = zero;
        if (i < k) e0 = _mm256_load_ps(even), e1 = _mm256_load_ps(even + 8);
        if (i + 1 < k) o0 = _mm256_load_ps(odd), o1 = _mm256_load_ps(odd + 8);
        _mm256_store_si256((__m256i *)(void *)(dst + i * 8), pair_of(e0, o0));
        _mm256_store_si256((__m256i *)(void *)(dst + i * 8 + 8), pair_of(e1, o1));
    }
}

void tn_mm_strip_bf16_avx2(uint32_t *words, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k)
{
    const float *src = a->a + m0 * a->rs + k0 * a->ks;
    float       *dst = (float *)(void *)words;
    int64_t      i = 0;

    if (a->ks != 1) { /* each store spills over into the next row, see tn_mm_strip_avx2 */
        __m256i mask = half_mask((uint16_t)((1u << rows) - 1), 0);
        for (; (k - i) * rows >= 8; i++) {
            __builtin_prefetch(src + (i + 16) * a->ks, 0, 2);
            _mm256_storeu_ps(dst + i * rows, rounded(_mm256_maskload_ps(src + i * a->ks, mask)));
        }
    } else {
        for (; i + 8 <= k; i += 8) {
            __m256 v[8];
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++)
                v[r] = r < rows ? rounded(_mm256_loadu_ps(src + r * a->rs + i)) : _mm256_setzero_ps();
            turn8(v);
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) _mm256_storeu_ps(dst + (i + r) * rows, v[r]);
        }
    }
    for (; i < (k + 31) / 32 * 32; i++)
        for (int r = 0; r < rows; r++)
            dst[i * rows + r] = i < k ? tn_bf16_to_f32(tn_f32_to_bf16(src[r * a->rs + i * a->ks])) : 0.0f;
}
