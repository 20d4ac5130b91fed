/* matmul_avx512.h - what the AVX-512 files of the matrix product share. Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_MATMUL_AVX512_H
#define TN_TENSOR_CPU_MATMUL_AVX512_H

#include "tensor/matmul.h"

#include <immintrin.h>
#include <string.h>

extern const tn_mm_tile tn_mm_f32_tiles_avx512[28], tn_mm_bf16_tiles_avx512[24],
    tn_mm_dpbf16_tiles_avx512[28];
extern const tn_mm_in_place tn_mm_f32_in_place_avx512[28][2];
extern const tn_mm_unit     tn_mm_unit_amx;

extern const tn_mm_q8_tile tn_mm_q8_0_tiles_vnni[12], tn_mm_q4_0_tiles_vnni[12], tn_mm_q4_1_tiles_vnni[12],
    tn_mm_q5_0_tiles_vnni[12], tn_mm_q5_1_tiles_vnni[12], tn_mm_q4_k_tiles_vnni[12],
    tn_mm_q5_k_tiles_vnni[12], tn_mm_q6_k_tiles_vnni[12];

void tn_mm_strip_q8_vnni(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k,
                         tn_dtype t);
void tn_mm_strip_avx512(float *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k);
void tn_mm_strip_bf16_avx512(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k);
void tn_mm_panel_nk_avx512(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                           int64_t k0, int64_t k);
void tn_mm_panels_kn_avx512(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                            int64_t k0, int64_t k);
void tn_mm_panel_packed_avx512(float *dst, const tn_weight *w, int64_t i_panel, int64_t k0, int64_t k);
void tn_mm_pairs_avx512(uint32_t *dst, const float *src, int64_t k);
void tn_mm_transpose_avx512(float *dst, const float *src);
bool tn_mm_q8_amx(const tn_mm *mm, int64_t m0, int64_t m1, int64_t p0, int64_t p1, uint8_t *scratch);
bool tn_mm_few_avx512(const tn_mm *mm, int64_t p0, int64_t p1);

/* acc += a b in place, see matmul_avx2.h. */
static inline __attribute__((always_inline)) void fma_into16(__m512 *acc, __m512 a, __m512 b)
{
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(*acc) : "v"(a), "v"(b));
}

static inline __m512 nan_canonical(__m512 x)
{
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
                              _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

/* fp32 bits rounded to bf16 (nearest even, NaN 0x7fc0) in the upper half; the lower half is not cleared. */
static inline __m512i round_bits(__m512 x)
{
    __m512i u = _mm512_castps_si512(x);
    __m512i even = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));

    return _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
}

/* Words of two bf16 each. */
static inline __m512i pair(__m512 low, __m512 high)
{
    return _mm512_or_si512(_mm512_srli_epi32(round_bits(low), 16),
                           _mm512_and_si512(round_bits(high), _mm512_set1_epi32((int)0xffff0000u)));
}

/* strict-bf16: the chains of the two halves of a block join C; from +0 without load. Denormals must be
 * flushed here. */
static inline __attribute__((always_inline)) void block_add(float *c, __m512 first, __m512 second,
                                                            uint16_t mask, bool load)
{
    __m512 before = load ? _mm512_maskz_loadu_ps(mask, c) : _mm512_setzero_ps();

    _mm512_mask_storeu_ps(c, mask, nan_canonical(_mm512_add_ps(before, _mm512_add_ps(first, second))));
}

static inline __m512 bf16_to_f32(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Rows become columns: pairs of f32, pairs of f64, then 128-bit quarters twice. */
static inline __attribute__((always_inline)) void transpose16(__m512 v[16])
{
    __m512 t[16];

#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        v[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        v[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        v[i + 2] = _mm512_castpd_ps(
            _mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
        v[i + 3] = _mm512_castpd_ps(
            _mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    }
    /* v[4g + c] holds column 4q + c of rows 4g .. 4g + 3 in its quarter q. */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512 lo01 = _mm512_shuffle_f32x4(v[c], v[4 + c], 0x44),
               hi01 = _mm512_shuffle_f32x4(v[c], v[4 + c], 0xee);
        __m512 lo23 = _mm512_shuffle_f32x4(v[8 + c], v[12 + c], 0x44),
               hi23 = _mm512_shuffle_f32x4(v[8 + c], v[12 + c], 0xee);
        t[c] = _mm512_shuffle_f32x4(lo01, lo23, 0x88);
        t[4 + c] = _mm512_shuffle_f32x4(lo01, lo23, 0xdd);
        t[8 + c] = _mm512_shuffle_f32x4(hi01, hi23, 0x88);
        t[12 + c] = _mm512_shuffle_f32x4(hi01, hi23, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) v[i] = t[i];
}

/* 16 halves of a scale array. Denormal halves are exact. */
static inline __m512 halves(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static inline __m512 bytes_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

static inline __m512 bytes_i8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* The two numbers that make values out of the codes of a 32 (q6_k: of half a 32): code * d + m, or (code -
 * bias) * d. */
typedef struct block_scale {
    __m512 d, m;
} block_scale;

static inline __attribute__((always_inline)) block_scale scale_of(const uint8_t *scales, tn_dtype t,
                                                                  int64_t i_block, int half)
{
    const uint8_t *s;
    int64_t        j = i_block % 8;

    switch (t) {
    case TN_Q4_1:
    case TN_Q5_1: s = scales + i_block * 64; return (block_scale){ halves(s), halves(s + 32) };
    case TN_Q4_K:
    case TN_Q5_K:
        s = scales + i_block / 8 * 320;
        return (block_scale){ _mm512_mul_ps(halves(s), bytes_u8(s + 64 + j * 16)),
                              /* value = d q - m, written as d q + (-m) */
                              _mm512_xor_ps(_mm512_mul_ps(halves(s + 32), bytes_u8(s + 192 + j * 16)),
                                            _mm512_set1_ps(-0.0f)) };
    case TN_Q6_K:
        s = scales + i_block / 8 * 288;
        return (block_scale){ _mm512_mul_ps(halves(s), bytes_i8(s + 32 + (2 * j + half) * 16)),
                              _mm512_setzero_ps() };
    default: s = scales + i_block * 32; return (block_scale){ halves(s), _mm512_setzero_ps() };
    }
}

/* What turning codes into numbers needs all the time, and keeps in registers: the words of a 4-bit code as
 * fp32, less the bias where the format has no minimum (`above`: the next 16, for 5 bits), and byte b of a
 * word brought to its top (8 bits). */
typedef struct code_tables {
    __m512  table, above;
    __m512i top[4];
} code_tables;

static inline __attribute__((always_inline)) code_tables code_tables_of(tn_dtype t)
{
    const float bias = t == TN_Q4_0 ? 8.0f : t == TN_Q5_0 ? 16.0f : 0.0f;
    code_tables k;

    k.table = _mm512_sub_ps(_mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                            _mm512_set1_ps(bias));
    k.above = _mm512_add_ps(k.table, _mm512_set1_ps(16.0f));
    for (int b = 0; b < 4; b++)
        k.top[b] = _mm512_broadcast_i32x4(_mm_setr_epi8(-128, -128, -128, (char)b, -128, -128, -128,
                                                        (char)(4 + b), -128, -128, -128, (char)(8 + b), -128,
                                                        -128, -128, (char)(12 + b)));
    return k;
}

/* The scales of a block as group_values wants them: a code of 8 bits is taken times 2^24. */
static inline __attribute__((always_inline)) block_scale group_scale(const uint8_t *scales, tn_dtype t,
                                                                     int64_t i_block, int half)
{
    block_scale s = scale_of(scales, t, i_block, half);

    if (t == TN_Q8_0) s.d = _mm512_mul_ps(s.d, _mm512_set1_ps(0x1p-24f));
    return s;
}

/* The fp32 values of elements 4g .. 4g + 3 of a block. Codes become numbers without masks: a permute of a
 * 16-entry table looks only at the low 4 bits of its index (5 with two tables), and a byte shuffle zeroes
 * what it does not move. Shifts rather than loads from b bytes later: three of four such loads cross a cache
 * line. code * d is exact in fp32 (11 bits of a half times at most 12), so code * d + m with one rounding is
 * the reference's product and sum. */
static inline __attribute__((always_inline)) void group_values(__m512 v[4], const uint8_t *codes, tn_dtype t,
                                                               tn_layout l, int g, block_scale s,
                                                               const code_tables *k)
{
    const __m512i *word = (const __m512i *)(const void *)codes;
    __m512i        w = _mm512_load_si512(word + (l == TN_L_C8 ? g : g / 2));

    if (l == TN_L_C8) {
#pragma GCC unroll 4
        for (int b = 0; b < 4; b++)
            v[b] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_shuffle_epi8(w, k->top[b])), s.d);
        return;
    }
    __m512i high = l == TN_L_C4 ? w : _mm512_load_si512(word + 4 + (l == TN_L_C6 ? g / 4 : 0));
#pragma GCC unroll 4
    for (int b = 0; b < 4; b++) {
        const int at = 8 * b + g % 2 * 4;
        __m512i   c = at > 0 ? _mm512_srli_epi32(w, (unsigned)at) : w;
        __m512    q;
        if (l == TN_L_C4) {
            q = _mm512_permutexvar_ps(c, k->table);
        } else if (l == TN_L_C5) {
            const int up = 8 * b + g - 4;
            __m512i   h = up >= 0 ? _mm512_srli_epi32(high, (unsigned)up)
                                  : _mm512_slli_epi32(high, (unsigned)-up);
            q = _mm512_permutex2var_ps(k->table, _mm512_ternarylogic_epi32(c, h, _mm512_set1_epi32(16), 0xd8),
                                       k->above);
        } else {
            const int up = 8 * b + 2 * (g % 4) - 4;
            __m512i   h = up >= 0 ? _mm512_srli_epi32(high, (unsigned)up)
                                  : _mm512_slli_epi32(high, (unsigned)-up);
            c = _mm512_ternarylogic_epi32(_mm512_and_si512(c, _mm512_set1_epi32(15)), h,
                                          _mm512_set1_epi32(48), 0xf8);
            q = _mm512_sub_ps(_mm512_cvtepi32_ps(c), _mm512_set1_ps(32.0f));
        }
        v[b] = t == TN_Q4_0 || t == TN_Q5_0 || t == TN_Q6_K ? _mm512_mul_ps(q, s.d)
                                                            : _mm512_fmadd_ps(q, s.d, s.m);
    }
}

#endif
