/* matmul_q8_avx2.c - q8act tiles with VPMADDUBSW: two products of an unsigned and a signed byte added to 16
 * bits, which must not saturate. How many words of codes may be added in 16 bits before they are widened
 * follows from the largest code: 8 words of 4 bits (8 * 2 * 15 * 127 = 30480), 4 of 5 bits (31496), 2 of 6
 * bits (32004). Codes of 8 bits: the magnitude of the weight times the activation with the weight's sign, 2 *
 * 128 * 127 = 32512, one word at a time; the bias is then not needed. */
#include "tensor/cpu/matmul_avx2.h"

#include <math.h>

enum { MR = 4 };

static inline __attribute__((always_inline)) __m256i pairs_of(__m256i u, __m256i x, tn_layout l)
{
    if (l == TN_L_C8) return _mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(x, u));
    return _mm256_maddubs_epi16(u, x);
}

static inline __attribute__((always_inline)) void tile(tn_dtype t, tn_layout l, int mr, float *c, int64_t ldc,
                                                       const uint32_t *x, const tn_weight *w, int64_t i_panel,
                                                       int64_t b0, int64_t n_block, uint16_t mask, bool load)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride,
                  *scales = w->scales + (size_t)i_panel * w->scale_stride;
    const size_t bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    const int    n_word = l == TN_L_C8 ? 1 : l == TN_L_C4 ? 8 : l == TN_L_C5 ? 4 : 2; /* added in 16 bits */
    __m256       acc[MR][2];

#pragma GCC unroll 4
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) acc[i][h] = c_load(c + i * ldc, mask, h, load);
    for (int64_t block = b0; block < b0 + n_block; block++, x += TN_Q8_WORDS * mr) {
        const uint8_t *q = codes + (size_t)block * bytes, *super = scales + block / 8 * 288;
        const float   *f = (const float *)(const void *)x;
        __m256i        sum[MR][2], part[MR][2];
        __m256         first[MR][2];
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++)
            sum[i][0] = sum[i][1] = _mm256_set1_epi32(l == TN_L_C8 ? 0 : (int)x[9 * mr + i]);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i u[2] = { group8(q, l, g, 0), group8(q, l, g, 1) };
            if (t == TN_Q6_K && g == 4)
#pragma GCC unroll 4
                for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
                    for (int h = 0; h < 2; h++) {
                        first[i][h] = _mm256_mul_ps(bytes8_i8(super + 32 + 2 * (block % 8) * 16 + 8 * h),
                                                    _mm256_cvtepi32_ps(sum[i][h]));
                        sum[i][h] = _mm256_set1_epi32((int)x[10 * mr + i]);
                    }
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) {
                __m256i xv = _mm256_set1_epi32((int)x[g * mr + i]);
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    __m256i two = pairs_of(u[h], xv, l);
                    part[i][h] = g % n_word == 0 ? two : _mm256_add_epi16(part[i][h], two);
                    /* in this order: a compiler that adds pairs first runs out of registers */
                    __asm__("" : "+x"(part[i][h]));
                    if (g % n_word == n_word - 1)
                        sum[i][h] = _mm256_add_epi32(sum[i][h],
                                                     _mm256_madd_epi16(part[i][h], _mm256_set1_epi16(1)));
                }
            }
        }
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            block_scale8 s = t == TN_Q6_K ? (block_scale8){ halves8(super + 16 * h), _mm256_setzero_ps() }
                                          : scale8_of(scales, t, block, 0, h);
            __m256       sc = t == TN_Q6_K ? bytes8_i8(super + 32 + (2 * (block % 8) + 1) * 16 + 8 * h) : s.d;
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) {
                __m256 total = _mm256_cvtepi32_ps(sum[i][h]);
                if (t == TN_Q6_K) total = _mm256_fmadd_ps(sc, total, first[i][h]);
                acc[i][h] = _mm256_fmadd_ps(_mm256_mul_ps(s.d, _mm256_broadcast_ss(f + 8 * mr + i)), total,
                                            acc[i][h]);
                if (has_minimum(t))
                    acc[i][h] = _mm256_fmadd_ps(s.m, _mm256_broadcast_ss(f + 11 * mr + i), acc[i][h]);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) c_store(c + i * ldc, mask, h, acc[i][h]);
}

#define TILE(name, t, l, mr)                                                                                 \
    static void tile_##name##_##mr(float *c, int64_t ldc, const uint32_t *x, const tn_weight *w,             \
                                   int64_t i_panel, int64_t b0, int64_t n_block, uint16_t mask, bool load)   \
    {                                                                                                        \
        tile(t, l, mr, c, ldc, x, w, i_panel, b0, n_block, mask, load);                                      \
    }
#define DTYPE(name, t, l)                                                                                    \
    TILE(name, t, l, 1)                                                                                      \
    TILE(name, t, l, 2)                                                                                      \
    TILE(name, t, l, 3)                                                                                      \
    TILE(name, t, l, 4)                                                                                      \
    const tn_mm_q8_tile tn_mm_##name##_tiles_avx2[MR] = { tile_##name##_1, tile_##name##_2, tile_##name##_3, \
                                                          tile_##name##_4 };

DTYPE(q8_0, TN_Q8_0, TN_L_C8)
DTYPE(q4_0, TN_Q4_0, TN_L_C4)
DTYPE(q4_1, TN_Q4_1, TN_L_C4)
DTYPE(q5_0, TN_Q5_0, TN_L_C5)
DTYPE(q5_1, TN_Q5_1, TN_L_C5)
DTYPE(q4_k, TN_Q4_K, TN_L_C4)
DTYPE(q5_k, TN_Q5_K, TN_L_C5)
DTYPE(q6_k, TN_Q6_K, TN_L_C6)

/* What a block of 32 activations becomes: see tn_q8_block, of which this is the same in vectors. As integers,
 * the bits of NaN are above those of infinity. */
static inline float block_codes(int32_t word[8], int32_t *low, int32_t *high, const float *x)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256        v[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(x + 8 * i);
    __m256i top = _mm256_max_epi32(_mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(v[0]), magnitude),
                                                    _mm256_and_si256(_mm256_castps_si256(v[1]), magnitude)),
                                   _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(v[2]), magnitude),
                                                    _mm256_and_si256(_mm256_castps_si256(v[3]), magnitude)));
    __m128i top4 = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    top4 = _mm_max_epi32(top4, _mm_shuffle_epi32(top4, 0x4e));
    top4 = _mm_max_epi32(top4, _mm_shuffle_epi32(top4, 0xb1));
    float amax = _mm_cvtss_f32(_mm_castsi128_ps(top4));
    bool  finite = _mm_cvtsi128_si32(top4) < 0x7f800000;
    if (!finite || amax < 0x1p-100f) {
        memset(word, 0, 8 * sizeof *word);
        *low = *high = 0;
        return finite ? 0.0f : NAN;
    }
    __m256  inverse = _mm256_set1_ps(127.0f / amax);
    __m256i q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)word, bytes);
    __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xb1));
    *low = _mm256_cvtsi256_si32(sums);
    *high = _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1));
    return amax / 127.0f;
}

void tn_mm_strip_q8_avx2(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k,
                         tn_dtype t)
{
    int bias = tn_q8_bias(t);

    for (int r = 0; r < rows; r++) { /* a row is contiguous: only y = x w^T comes here */
        const float *x = a->a + (m0 + r) * a->rs + k0;
        uint32_t    *out = dst + r;
        for (int64_t i = 0; i < k; i += 32, out += TN_Q8_WORDS * rows) {
            int32_t word[8], low, high;
            float   d = block_codes(word, &low, &high, x + i), total = d * (float)(low + high);
            for (int g = 0; g < 8; g++) out[g * rows] = (uint32_t)word[g];
            memcpy(&out[8 * rows], &d, 4);
            out[9 * rows] = (uint32_t)(-bias * (t == TN_Q6_K ? low : low + high));
            out[10 * rows] = (uint32_t)(-bias * high);
            memcpy(&out[11 * rows], &total, 4);
        }
    }
}
