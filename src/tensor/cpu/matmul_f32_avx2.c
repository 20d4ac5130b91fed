/* matmul_f32_avx2.c - the fp32 and strict-bf16 tiles, strips and panels with 256-bit vectors: 6 rows x 16 outputs keep 12
 * accumulators, 2 words of B and 1 of A in the 16 registers. The bf16 tile needs more words at hand: 4 rows. */
#include "tensor/cpu/matmul_avx2.h"

/* ------------------------------------------------------------------------------------------------------------ tiles */

/* Most panels lie whole in C; a store under a mask costs a dozen cycles on some CPUs. */
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

/* A is a strip [k][mr], or (in_place) rows lda apart, where rows i, i + 1, i + 2 have one address and two multiples of the distance. `ahead`: the
 * rows of the tile below are fetched, see matmul_f32_avx512.c. */
static inline __attribute__((always_inline)) void tile(int mr, bool in_place, bool ahead, float *c, int64_t ldc, const float *a, int64_t lda,
                                                       const float *b, int64_t n_k, uint16_t mask, bool load)
{
    const float *row[2] = {a, a + 3 * lda}, *below = a + mr * lda;
    __m256       acc[6][2];

#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) acc[i][h] = c_load(c + i * ldc, mask, h, load);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) __builtin_prefetch(c + i * ldc + 2 * TN_PANEL - 1, 1, 2);     /* of the tile beside this one */
    for (int64_t k = 0; k < n_k; k++) {
        if (ahead) __builtin_prefetch(below + k % 8 * lda + k / 8 * 8, 0, 2);
        __builtin_prefetch(b + (k + 8) * TN_PANEL);
        __m256 b0 = _mm256_load_ps(b + k * TN_PANEL), b1 = _mm256_load_ps(b + k * TN_PANEL + 8);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            __m256 av = _mm256_broadcast_ss(in_place ? row[i / 3] + i % 3 * lda + k : a + k * mr + i);
            acc[i][0] = _mm256_fmadd_ps(av, b0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(av, b1, acc[i][1]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) c_store(c + i * ldc, mask, h, acc[i][h]);
}

static inline __m256 low_half(__m256i w) { return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16)); }
static inline __m256 high_half(__m256i w) { return _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32((int)0xffff0000u))); }

/* Runs with denormals flushed (the driver sees to it): each multiply-add is then a step of the definition, odd k first. */
static inline __attribute__((always_inline)) void tile_bf16(int mr, float *c, int64_t ldc, const uint32_t *a, const uint32_t *b,
                                                            int64_t n_word, uint16_t mask, bool load)
{
    __m256 acc[4][2], first[4][2];

    for (const uint32_t *end = b + n_word * TN_PANEL; b < end; load = true)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {                      /* the 16 k of a chain: 8 words */
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
            for (const uint32_t *part = b + 8 * TN_PANEL; b < part; a += mr, b += TN_PANEL) {
                __m256i w0 = _mm256_load_si256((const __m256i *)(const void *)b);
                __m256i w1 = _mm256_load_si256((const __m256i *)(const void *)(b + 8));
#pragma GCC unroll 4
                for (int i = 0; i < mr; i++) {
                    __m256i x = _mm256_set1_epi32((int)a[i]);
                    acc[i][0] = _mm256_fmadd_ps(high_half(x), high_half(w0), acc[i][0]);
                    acc[i][1] = _mm256_fmadd_ps(high_half(x), high_half(w1), acc[i][1]);
                    acc[i][0] = _mm256_fmadd_ps(low_half(x), low_half(w0), acc[i][0]);
                    acc[i][1] = _mm256_fmadd_ps(low_half(x), low_half(w1), acc[i][1]);
                }
            }
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    if (half == 0) first[i][h] = acc[i][h];
                    else c_store(c + i * ldc, mask, h, _mm256_add_ps(c_load(c + i * ldc, mask, h, load), _mm256_add_ps(first[i][h], acc[i][h])));
                }
        }
}

#define TILE(mr)                                                                                                    \
    static void tile_##mr(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k, const uint16_t *mask, bool load) \
    {                                                                                                               \
        tile(mr, false, false, c, ldc, a, 0, b[0], k, mask[0], load);                                               \
    }
#define IN_PLACE(mr, ahead)                                                                                         \
    static void in_place_##mr##_##ahead(float *c, int64_t ldc, const float *a, int64_t lda, const void *const *b, int64_t k, \
                                        const uint16_t *mask, bool load)                                            \
    {                                                                                                               \
        tile(mr, true, ahead, c, ldc, a, lda, b[0], k, mask[0], load);                                              \
    }
#define TILE_BF16(mr)                                                                                               \
    static void tile_bf16_##mr(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k, const uint16_t *mask, bool load) \
    {                                                                                                               \
        tile_bf16(mr, c, ldc, a, b[0], k, mask[0], load);                                                           \
    }
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define X(mr) TILE(mr) IN_PLACE(mr, 0) IN_PLACE(mr, 1)
TILES(X)
#undef X
TILE_BF16(1) TILE_BF16(2) TILE_BF16(3) TILE_BF16(4)
#define X(mr) {in_place_##mr##_0, in_place_##mr##_1},
const tn_mm_in_place tn_mm_f32_in_place_avx2[6][2] = {TILES(X)};
#undef X
const tn_mm_tile tn_mm_f32_tiles_avx2[6]  = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};
const tn_mm_tile tn_mm_bf16_tiles_avx2[4] = {tile_bf16_1, tile_bf16_2, tile_bf16_3, tile_bf16_4};

/* --------------------------------------------------------------------------------------------------- strips, panels */

/* Rows become columns: 8 x 8 floats. */
static inline __attribute__((always_inline)) void turn8(__m256 v[8])
{
    __m256 t[8];

#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i]     = _mm256_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        v[i]     = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        v[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        v[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        v[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i]     = _mm256_permute2f128_ps(v[i], v[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) v[i] = t[i];
}

static inline void transpose8(float *dst, int64_t dst_ld, const float *src, int64_t src_ld)
{
    __m256 v[8];

#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) v[i] = _mm256_loadu_ps(src + i * src_ld);
    turn8(v);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) _mm256_storeu_ps(dst + i * dst_ld, v[i]);
}

void tn_mm_strip_avx2(float *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k)
{
    const float *src = a->a + m0 * a->rs + k0 * a->ks;
    int64_t      i = 0;

    if (a->ks != 1) {                                               /* k-major: rows of the strip are there already */
        __m256i mask = half_mask((uint16_t)((1u << rows) - 1), 0);
        /* Each store spills over into the next row, which is written after it; what follows the last may be there already. */
        for (; (k - i) * rows >= 8; i++) {
            __builtin_prefetch(src + (i + 16) * a->ks, 0, 2);       /* they lie pages apart: nothing else fetches ahead */
            _mm256_storeu_ps(dst + i * rows, _mm256_maskload_ps(src + i * a->ks, mask));
        }
    } else {
        for (; i + 8 <= k; i += 8) {
            __m256 v[8];
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) v[r] = r < rows ? _mm256_loadu_ps(src + r * a->rs + i) : _mm256_setzero_ps();
            turn8(v);
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) _mm256_storeu_ps(dst + (i + r) * rows, v[r]);
        }
    }
    for (; i < k; i++)
        for (int r = 0; r < rows; r++) dst[i * rows + r] = src[r * a->rs + i * a->ks];
}

static inline float number(const uint8_t *rows, tn_dtype t, int64_t i)
{
    uint16_t h;
    float    f;

    if (t == TN_F32) memcpy(&f, rows + i * 4, 4);
    else memcpy(&h, rows + i * 2, 2), f = tn_bf16_to_f32(h);
    return f;
}

void tn_mm_transpose_avx2(float *dst, const float *src)
{
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 16; j += 8) transpose8(dst + j * 16 + i, 16, src + i * 16 + j, 16);
}

void tn_mm_panel_nk_avx2(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane, int64_t k0, int64_t k)
{
    int64_t i = 0;

    if (t == TN_F32 && n_lane == TN_PANEL) {
        const float *src = (const float *)rows + n0 * ld + k0;
        for (; i + 8 <= k; i += 8) {
            transpose8(dst + i * TN_PANEL, TN_PANEL, src + i, ld);
            transpose8(dst + i * TN_PANEL + 8, TN_PANEL, src + 8 * ld + i, ld);
        }
    }
    for (; i < k; i++)
        for (int lane = 0; lane < TN_PANEL; lane++)
            dst[i * TN_PANEL + lane] = lane < n_lane ? number(rows, t, (n0 + lane) * ld + k0 + i) : 0.0f;
}

void tn_mm_panels_kn_avx2(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane, int64_t k0, int64_t k)
{
    if (t == TN_F32 && n_lane == TN_PANEL) {
        const float *src = (const float *)rows + k0 * ld + n0;
        for (int64_t i = 0; i < k; i++, src += ld) {
            __builtin_prefetch(src + 16 * ld, 0, 2);                /* rows lie pages apart: nothing else fetches ahead */
            _mm256_store_ps(dst + i * TN_PANEL, _mm256_loadu_ps(src));
            _mm256_store_ps(dst + i * TN_PANEL + 8, _mm256_loadu_ps(src + 8));
        }
        return;
    }
    for (int64_t i = 0; i < k; i++)
        for (int lane = 0; lane < TN_PANEL; lane++)
            dst[i * TN_PANEL + lane] = lane < n_lane ? number(rows, t, (k0 + i) * ld + n0 + lane) : 0.0f;
}

static inline __attribute__((always_inline)) void block_widen(float *dst, const uint8_t *codes, const uint8_t *scales, tn_dtype t,
                                                              tn_layout l, int64_t i_block)
{
    bool minimum = t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q4_K || t == TN_Q5_K;
    int  bias    = t == TN_Q8_0 ? 0 : t == TN_Q4_0 ? 8 : t == TN_Q5_0 ? 16 : 32;

    for (int h = 0; h < 2; h++) {
        block_scale8 s = scale8_of(scales, t, i_block, 0, h);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i q = group8(codes, l, g, h);
            if (t == TN_Q6_K && g == 4) s = scale8_of(scales, t, i_block, 1, h);
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++) {
                __m256i code = l == TN_L_C8 ? _mm256_srai_epi32(_mm256_slli_epi32(q, 24 - 8 * b), 24)
                                            : _mm256_and_si256(_mm256_srli_epi32(q, 8 * b), _mm256_set1_epi32(255));
                __m256  x = minimum ? _mm256_fmadd_ps(_mm256_cvtepi32_ps(code), s.d, s.m)
                                    : _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_set1_epi32(bias))), s.d);
                _mm256_store_ps(dst + (4 * g + b) * TN_PANEL + 8 * h, x);
            }
        }
    }
}

void tn_mm_panel_packed_avx2(float *dst, const tn_weight *w, int64_t i_panel, int64_t k0, int64_t k)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride, *scales = w->scales + (size_t)i_panel * w->scale_stride;

    if (w->layout == TN_L_F32) memcpy(dst, codes + (size_t)k0 * 64, (size_t)k * 64);
    if (w->layout == TN_L_F16)
        for (int64_t i = 0; i < 2 * k; i++) _mm256_store_ps(dst + i * 8, halves8(codes + (2 * k0 + i) * 16));
    if (w->layout == TN_L_BF16)
        for (int64_t i = 0; i < 2 * k; i++) {                       /* k0 is even; i / 2 is k, i % 2 the half */
            const uint8_t *at   = codes + (k0 + i / 2) / 2 * 64 + i % 2 * 32;
            __m256i        pair = _mm256_load_si256((const __m256i *)(const void *)at);
            _mm256_store_ps(dst + i * 8, i / 2 % 2 == 0 ? low_half(pair) : high_half(pair));
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
        default:      break;
        }
    }
}

/* ------------------------------------------------------------------------------------------------ pairs of bf16 */

static inline __m256i round_bits(__m256 x)
{
    __m256i u = _mm256_castps_si256(x), even = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));

    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(r), _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)),
                                                _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

static inline __m256i pair_of(__m256 even, __m256 odd)
{
    return _mm256_or_si256(_mm256_srli_epi32(round_bits(even), 16), _mm256_and_si256(round_bits(odd), _mm256_set1_epi32((int)0xffff0000u)));
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

void tn_mm_strip_bf16_avx2(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k)
{
    const float *src = a->a + m0 * a->rs + k0 * a->ks;

    for (int64_t i = 0; i < (k + 31) / 32 * 32; i += 2)
        for (int r = 0; r < rows; r++) {
            const float *x    = src + r * a->rs + i * a->ks;
            uint32_t     even = i < k ? tn_f32_to_bf16(x[0]) : 0, odd = i + 1 < k ? tn_f32_to_bf16(x[a->ks]) : 0;
            dst[i / 2 * rows + r] = even | odd << 16;
        }
}
