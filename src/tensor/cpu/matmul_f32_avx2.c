/* matmul_f32_avx2.c - the fp32 product's tiles, strips and panels with 256-bit vectors: 6 rows x 16 outputs
 * keep 12 accumulators, 2 words of B and
 * 1 of A in the 16 registers. */
#include "tensor/cpu/matmul_avx2.h"

/* -------------------------------------------------------------------------------------------------- tiles */

/* Four k in a stretch of code: with a neighbour on the same core a thread gets half of its instructions, and
 * those that only count and step cost as much as a multiply-add. */
enum { UNROLL = 4, LINE = 16 };

/* One k: 12 multiply-adds for 8 loads. */
static inline __attribute__((always_inline)) void one_k(int mr, __m256 acc[6][2], const float *a,
                                                        const float *row_3, int64_t step, const float *b)
{
    __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);

#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
        __m256 av = _mm256_broadcast_ss((i < 3 ? a : row_3) + i % 3 * step);
        fma_into(&acc[i][0], av, b0);
        fma_into(&acc[i][1], av, b1);
    }
}

/* A is a strip [k][mr], or (in_place) rows lda apart, where rows i, i + 1, i + 2 have one address and two
 * multiples of the distance. `ahead`: the rows of the tile below are fetched, a line of each at a time. */
static inline __attribute__((always_inline)) void tile(int mr, bool in_place, bool ahead, float *c,
                                                       int64_t ldc, const float *a, int64_t lda,
                                                       const float *b, int64_t n_k, uint16_t mask, bool load)
{
    int64_t      step = in_place ? lda : 1, next = in_place ? 1 : mr; /* from row to row of A, from k to k */
    const float *row_3 = a + 3 * step;
    __m256       acc[6][2];

#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) acc[i][h] = c_load(c + i * ldc, mask, h, load);
#pragma GCC unroll 6
    /* of the tile beside this one */
    for (int i = 0; i < mr; i++) __builtin_prefetch(c + i * ldc + 2 * TN_PANEL - 1, 1, 2);
    for (; n_k >= LINE; n_k -= LINE) {
        if (ahead)
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) __builtin_prefetch(a + (mr + i) * lda, 0, 2);
        for (const float *end = b + LINE * TN_PANEL; b < end;
             b += UNROLL * TN_PANEL, a += UNROLL * next, row_3 += UNROLL * next) {
#pragma GCC unroll 4
            for (int u = 0; u < UNROLL; u++) {
                if (u % 2 == 0) __builtin_prefetch(b + (u + 8) * TN_PANEL);
                one_k(mr, acc, a + u * next, row_3 + u * next, step, b + u * TN_PANEL);
                /* loads of the next k before this one's end would need more registers */
                __asm__ volatile("" ::: "memory");
            }
        }
    }
    for (; n_k > 0; n_k--, b += TN_PANEL, a += next, row_3 += next) one_k(mr, acc, a, row_3, step, b);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) c_store(c + i * ldc, mask, h, acc[i][h]);
}

#define TILE(mr)                                                                                             \
    static void tile_##mr(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,             \
                          const uint16_t *mask, bool load)                                                   \
    {                                                                                                        \
        tile(mr, false, false, c, ldc, a, 0, b[0], k, mask[0], load);                                        \
    }
#define IN_PLACE(mr, ahead)                                                                                  \
    static void in_place_##mr##_##ahead(float *c, int64_t ldc, const float *a, int64_t lda,                  \
                                        const void *const *b, int64_t k, const uint16_t *mask, bool load)    \
    {                                                                                                        \
        tile(mr, true, ahead, c, ldc, a, lda, b[0], k, mask[0], load);                                       \
    }
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define X(mr) TILE(mr) IN_PLACE(mr, 0) IN_PLACE(mr, 1)
TILES(X)
#undef X
#define X(mr) { in_place_##mr##_0, in_place_##mr##_1 },
const tn_mm_in_place tn_mm_f32_in_place_avx2[6][2] = { TILES(X) };
#undef X
const tn_mm_tile tn_mm_f32_tiles_avx2[6] = { tile_1, tile_2, tile_3, tile_4, tile_5, tile_6 };

/* ----------------------------------------------------------------------------------------- strips, panels */

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

    if (a->ks != 1) { /* k-major: rows of the strip are there already */
        __m256i mask = half_mask((uint16_t)((1u << rows) - 1), 0);
        /* Each store spills over into the next row, which is written after it; what follows the last may be
         * there already. */
        for (; (k - i) * rows >= 8; i++) {
            /* they lie pages apart: nothing else fetches ahead */
            __builtin_prefetch(src + (i + 16) * a->ks, 0, 2);
            _mm256_storeu_ps(dst + i * rows, _mm256_maskload_ps(src + i * a->ks, mask));
        }
    } else {
        for (; i + 8 <= k; i += 8) {
            __m256 v[8];
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++)
                v[r] = r < rows ? _mm256_loadu_ps(src + r * a->rs + i) : _mm256_setzero_ps();
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

void tn_mm_panel_nk_avx2(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                         int64_t k0, int64_t k)
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

void tn_mm_panels_kn_avx2(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                          int64_t k0, int64_t k)
{
    if (t == TN_F32 && n_lane == TN_PANEL) {
        const float *src = (const float *)rows + k0 * ld + n0;
        for (int64_t i = 0; i < k; i++, src += ld) {
            __builtin_prefetch(src + 16 * ld, 0, 2); /* rows lie pages apart: nothing else fetches ahead */
            _mm256_store_ps(dst + i * TN_PANEL, _mm256_loadu_ps(src));
            _mm256_store_ps(dst + i * TN_PANEL + 8, _mm256_loadu_ps(src + 8));
        }
        return;
    }
    for (int64_t i = 0; i < k; i++)
        for (int lane = 0; lane < TN_PANEL; lane++)
            dst[i * TN_PANEL + lane] = lane < n_lane ? number(rows, t, (k0 + i) * ld + n0 + lane) : 0.0f;
}
