/* matmul_avx2.h - what the AVX2 files of the matrix product share. A panel of 16 outputs is two vectors of 8
 * lanes. Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_MATMUL_AVX2_H
#define TN_TENSOR_CPU_MATMUL_AVX2_H

#include "tensor/matmul.h"

#include <immintrin.h>
#include <string.h>

extern const tn_mm_tile     tn_mm_f32_tiles_avx2[6], tn_mm_bf16_tiles_avx2[6];
extern const tn_mm_in_place tn_mm_f32_in_place_avx2[6][2];
extern const tn_mm_q8_tile  tn_mm_q8_0_tiles_avx2[4], tn_mm_q4_0_tiles_avx2[4], tn_mm_q4_1_tiles_avx2[4],
    tn_mm_q5_0_tiles_avx2[4], tn_mm_q5_1_tiles_avx2[4], tn_mm_q4_k_tiles_avx2[4], tn_mm_q5_k_tiles_avx2[4],
    tn_mm_q6_k_tiles_avx2[4];

void tn_mm_strip_avx2(float *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k);
void tn_mm_strip_bf16_avx2(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k);
void tn_mm_strip_q8_avx2(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k,
                         tn_dtype t);
void tn_mm_panel_nk_avx2(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                         int64_t k0, int64_t k);
void tn_mm_panels_kn_avx2(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                          int64_t k0, int64_t k);
void tn_mm_panel_packed_avx2(float *dst, const tn_weight *w, int64_t i_panel, int64_t k0, int64_t k);
void tn_mm_pairs_avx2(uint32_t *dst, const float *src, int64_t k);
void tn_mm_transpose_avx2(float *dst, const float *src);
bool tn_mm_few_avx2(const tn_mm *mm, int64_t p0, int64_t p1);

static inline __m256 nan_canonical_avx2(__m256 x)
{
    return _mm256_blendv_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)),
                            _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* Lanes 8h .. 8h + 7 of a 16-lane mask as a vector mask. */
static inline __m256i half_mask(uint16_t mask, int h)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);

    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask >> (8 * h)), bit), bit);
}

/* Half h of a row of a panel in C. Most panels lie whole in C; a store under a mask costs a dozen cycles on
 * some CPUs. */
static inline __attribute__((always_inline)) __m256 c_load(const float *c, uint16_t mask, int h, bool load)
{
    if (!load) return _mm256_setzero_ps();
    return mask == 0xffff ? _mm256_loadu_ps(c + 8 * h) : _mm256_maskload_ps(c + 8 * h, half_mask(mask, h));
}

static inline __attribute__((always_inline)) void c_store(float *c, uint16_t mask, int h, __m256 v)
{
    if (mask == 0xffff) _mm256_storeu_ps(c + 8 * h, nan_canonical_avx2(v));
    else _mm256_maskstore_ps(c + 8 * h, half_mask(mask, h), nan_canonical_avx2(v));
}

/* acc += a b in place. As an intrinsic gcc writes some of these over a or b and moves the chain to another
 * register, for which unrolled loops have none. */
static inline __attribute__((always_inline)) void fma_into(__m256 *acc, __m256 a, __m256 b)
{
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*acc) : "x"(a), "x"(b));
}

static inline __m256 low_half(__m256i w) { return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16)); }
static inline __m256 high_half(__m256i w)
{
    return _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32((int)0xffff0000u)));
}

/* Rows become columns: 8 x 8 floats. */
static inline __attribute__((always_inline)) void turn8(__m256 v[8])
{
    __m256 t[8];

#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        v[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        v[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        v[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        v[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) v[i] = t[i];
}
static inline __m256 halves8(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline __m256 bytes8_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

static inline __m256 bytes8_i8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* Half h of the two numbers that make values out of the codes of a 32 (q6_k: of half a 32). */
typedef struct block_scale8 {
    __m256 d, m;
} block_scale8;

static inline __attribute__((always_inline)) block_scale8 scale8_of(const uint8_t *scales, tn_dtype t,
                                                                    int64_t i_block, int second, int h)
{
    const uint8_t *s;
    int64_t        j = i_block % 8;

    switch (t) {
    case TN_Q4_1:
    case TN_Q5_1:
        s = scales + i_block * 64;
        return (block_scale8){ halves8(s + 16 * h), halves8(s + 32 + 16 * h) };
    case TN_Q4_K:
    case TN_Q5_K:
        s = scales + i_block / 8 * 320;
        return (block_scale8){ _mm256_mul_ps(halves8(s + 16 * h), bytes8_u8(s + 64 + j * 16 + 8 * h)),
                               _mm256_xor_ps(_mm256_mul_ps(halves8(s + 32 + 16 * h),
                                                           bytes8_u8(s + 192 + j * 16 + 8 * h)),
                                             _mm256_set1_ps(-0.0f)) };
    case TN_Q6_K:
        s = scales + i_block / 8 * 288;
        return (block_scale8){ _mm256_mul_ps(halves8(s + 16 * h),
                                             bytes8_i8(s + 32 + (2 * j + second) * 16 + 8 * h)),
                               _mm256_setzero_ps() };
    default: s = scales + i_block * 32; return (block_scale8){ halves8(s + 16 * h), _mm256_setzero_ps() };
    }
}

/* Word g of a block's codes as bytes, half h. Those of 8 bits are signed. */
static inline __attribute__((always_inline)) __m256i group8(const uint8_t *codes, tn_layout l, int g, int h)
{
    const uint8_t *at = codes + 32 * h;
    __m256i        q;

    if (l == TN_L_C8) return _mm256_loadu_si256((const __m256i *)(const void *)(at + 64 * g));
    q = _mm256_loadu_si256((const __m256i *)(const void *)(at + 64 * (g / 2)));
    q = _mm256_and_si256(g % 2 != 0 ? _mm256_srli_epi32(q, 4) : q, _mm256_set1_epi32(0x0f0f0f0f));
    if (l == TN_L_C5) {
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(at + 256));
        high = g < 4 ? _mm256_slli_epi32(high, 4 - g) : _mm256_srli_epi32(high, g - 4);
        q = _mm256_or_si256(q, _mm256_and_si256(high, _mm256_set1_epi32(0x10101010)));
    } else if (l == TN_L_C6) {
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(at + 256 + 64 * (g / 4)));
        int     by = 2 * (g % 4);
        high = by <= 4 ? _mm256_slli_epi32(high, 4 - by) : _mm256_srli_epi32(high, by - 4);
        q = _mm256_or_si256(q, _mm256_and_si256(high, _mm256_set1_epi32(0x30303030)));
    }
    return q;
}

/* Values out of codes. A byte of a word goes to the word's top, where it is the code times 2^24, exactly; the
 * scale is divided by as much, exactly too (a scale is at least 2^-24). So there is no shifting, and signed
 * codes need nothing more. */
static inline __attribute__((always_inline)) __m256i top_byte(__m256i words, int b)
{
    if (b == 0) return _mm256_slli_epi32(words, 24);
    /* more ports do this than shuffle */
    if (b == 3) return _mm256_and_si256(words, _mm256_set1_epi32((int)0xff000000u));
    return _mm256_shuffle_epi8(words, _mm256_setr_epi8(-1, -1, -1, (char)b, -1, -1, -1, (char)(4 + b), -1, -1,
                                                       -1, (char)(8 + b), -1, -1, -1, (char)(12 + b), -1, -1,
                                                       -1, (char)b, -1, -1, -1, (char)(4 + b), -1, -1, -1,
                                                       (char)(8 + b), -1, -1, -1, (char)(12 + b)));
}

static inline __attribute__((always_inline)) bool has_minimum(tn_dtype t)
{
    return t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q4_K || t == TN_Q5_K;
}

/* scale8_of for value8. */
static inline __attribute__((always_inline)) block_scale8 value_scale8(const uint8_t *scales, tn_dtype t,
                                                                       int64_t i_block, int second, int h)
{
    block_scale8 s = scale8_of(scales, t, i_block, second, h);

    s.d = _mm256_mul_ps(s.d, _mm256_set1_ps(0x1p-24f));
    return s;
}

/* Word g of a block, half h: codes without their bias, so signed; of a format with a minimum as they are. */
static inline __attribute__((always_inline)) __m256i signed8(const uint8_t *codes, tn_dtype t, tn_layout l,
                                                             int g, int h)
{
    int bias = t == TN_Q4_0 ? 8 : t == TN_Q5_0 ? 16 : t == TN_Q6_K ? 32 : 0;

    return bias == 0 ? group8(codes, l, g, h)
                     : _mm256_sub_epi8(group8(codes, l, g, h), _mm256_set1_epi8((char)bias));
}

/* Byte b of such words as the number that it means. */
static inline __attribute__((always_inline)) __m256 value8(__m256i words, int b, tn_dtype t, block_scale8 s)
{
    __m256 code = _mm256_cvtepi32_ps(top_byte(words, b));

    return has_minimum(t) ? _mm256_fmadd_ps(code, s.d, s.m) : _mm256_mul_ps(code, s.d);
}

#endif
