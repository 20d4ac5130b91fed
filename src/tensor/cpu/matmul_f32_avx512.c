/* matmul_f32_avx512.c - the fp32 product's tiles, strips and panels with 512-bit vectors. A lane is an
 * output.
 *
 * What comes from memory is fetched into the second cache only (hint 2): the first has too few buffers for
 * lines that are long on their way.
 *
 * A tile of 14 rows x 2 panels keeps 28 accumulators, 2 words of B and 1 of A in the 32 registers: 28
 * multiply-adds for 16 loads, and chains long apart enough to hide the latency of 4 on two ports. */
#include "tensor/cpu/matmul_avx512.h"

/* -------------------------------------------------------------------------------------------------- tiles */

/* Four k in a stretch of code: with a neighbour on the same core a thread gets half of its instructions
 * (decision 028). */
enum { UNROLL = 4, LINE = 16 };

/* One k. A: rows i, i + 1, i + 2 have one address, row[i / 3], and two multiples of the step. */
static inline __attribute__((always_inline)) void one_k(int mr, int np, __m512 acc[14][2],
                                                        const float *const row[5], int64_t step, int u,
                                                        const float *b0, const float *b1)
{
    __m512 bv[2];

    bv[0] = _mm512_load_ps(b0);
    if (np > 1) bv[1] = _mm512_load_ps(b1);
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) {
        __m512 av = _mm512_set1_ps(row[i / 3][i % 3 * step + u]);
        /* registers abound, and A's value can be its operand in memory */
        if (np == 1) acc[i][0] = _mm512_fmadd_ps(av, bv[0], acc[i][0]);
#pragma GCC unroll 2
        for (int j = 0; j < np && np > 1; j++) fma_into16(&acc[i][j], av, bv[j]);
    }
    /* loads of the next k before this one's end would need more registers */
    __asm__ volatile("" ::: "memory");
}

/* A is a strip [k][mr], or (in_place) rows lda apart. `ahead`: the rows of the tile below are fetched, one
 * line for each k; all 14 rows move on to a new line at once, which nothing else hides. */
static inline __attribute__((always_inline)) void tile(int mr, int np, bool in_place, bool ahead, float *c,
                                                       int64_t ldc, const float *a, int64_t lda,
                                                       const float *const *b, int64_t n_k,
                                                       const uint16_t *mask, bool load)
{
    const int64_t step = in_place ? lda : 1, next = in_place ? 1 : mr; /* from row to row of A, from k to k */
    const float  *row[5], *below = a + mr * lda, *b0 = b[0], *b1 = b[np - 1];
    __m512        acc[14][2];

#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) row[i] = a + 3 * i * step;
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < np; j++)
            acc[i][j] = load ? _mm512_maskz_loadu_ps(mask[j], c + i * ldc + j * TN_PANEL)
                             : _mm512_setzero_ps();
            /* The tile beside this one is next: its part of C is on its way while this one runs. */
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) {
        __builtin_prefetch(c + i * ldc + np * TN_PANEL, 1, 2);
        __builtin_prefetch(c + i * ldc + 2 * np * TN_PANEL - 1, 1, 2);
    }
    for (; n_k >= LINE; n_k -= LINE) {
        for (const float *end = b0 + LINE * TN_PANEL; b0 < end;
             b0 += UNROLL * TN_PANEL, b1 += UNROLL * TN_PANEL) {
#pragma GCC unroll 4
            for (int u = 0; u < UNROLL; u++) {
                if (ahead) __builtin_prefetch(below + u * lda, 0, 2);
                if (!in_place) __builtin_prefetch(row[0] + (u + 16) * mr);
                __builtin_prefetch(b0 + (u + 8) * TN_PANEL);
                if (np > 1) __builtin_prefetch(b1 + (u + 8) * TN_PANEL);
                one_k(mr, np, acc, row, step, u * (int)next, b0 + u * TN_PANEL, b1 + u * TN_PANEL);
            }
            if (ahead) below += UNROLL * lda;
#pragma GCC unroll 5
            for (int i = 0; i < 5; i++) row[i] += UNROLL * next;
        }
        if (ahead) below += LINE - LINE * lda;
    }
    for (; n_k > 0; n_k--, b0 += TN_PANEL, b1 += TN_PANEL) {
        one_k(mr, np, acc, row, step, 0, b0, b1);
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) row[i] += next;
    }
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < np; j++)
            _mm512_mask_storeu_ps(c + i * ldc + j * TN_PANEL, mask[j], nan_canonical(acc[i][j]));
}

#define TILE(mr, np)                                                                                         \
    static void tile_##mr##_##np(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,      \
                                 const uint16_t *mask, bool load)                                            \
    {                                                                                                        \
        tile(mr, np, false, false, c, ldc, a, 0, (const float *const *)b, k, mask, load);                    \
    }
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define X(mr) TILE(mr, 1) TILE(mr, 2)
TILES(X)
#undef X
#define X(mr) tile_##mr##_1, tile_##mr##_2,
const tn_mm_tile tn_mm_f32_tiles_avx512[28] = { TILES(X) };
#undef X

/* A tile whose rows are read where they lie, so that no strip is made. */
#define IN_PLACE(mr, np, ahead)                                                                              \
    static void in_place_##mr##_##np##_##ahead(float *c, int64_t ldc, const float *a, int64_t lda,           \
                                               const void *const *b, int64_t k, const uint16_t *mask,        \
                                               bool load)                                                    \
    {                                                                                                        \
        tile(mr, np, true, ahead, c, ldc, a, lda, (const float *const *)b, k, mask, load);                   \
    }
#define X(mr) IN_PLACE(mr, 1, 0) IN_PLACE(mr, 2, 0) IN_PLACE(mr, 1, 1) IN_PLACE(mr, 2, 1)
TILES(X)
#undef X
#define X(mr) { in_place_##mr##_1_0, in_place_##mr##_1_1 }, { in_place_##mr##_2_0, in_place_##mr##_2_1 },
const tn_mm_in_place tn_mm_f32_in_place_avx512[28][2] = { TILES(X) };
#undef X

/* ----------------------------------------------------------------------------------------- strips, panels */

void tn_mm_strip_avx512(float *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k)
{
    const float *src = a->a + m0 * a->rs + k0 * a->ks;

    if (a->ks != 1) { /* k-major: rows of the strip are there already */
        __mmask16 mask = (__mmask16)((1u << rows) - 1);
        int64_t   i = 0;
        for (; (k - i) * rows >= 16; i++) {
            /* they lie pages apart: nothing else fetches ahead */
            __builtin_prefetch(src + (i + 16) * a->ks, 0, 2);
            _mm512_storeu_ps(dst + i * rows, _mm512_maskz_loadu_ps(mask, src + i * a->ks));
        }
        /* What follows the last words may be there already: the next strip's first part. A low strip has
         * several rows among them. */
        for (; i < k; i++)
            _mm512_mask_storeu_ps(dst + i * rows, mask, _mm512_maskz_loadu_ps(mask, src + i * a->ks));
        return;
    }
    __m512 v[16];
    for (int64_t i = 0; i < k; i += 16) {
        int       n = k - i < 16 ? (int)(k - i) : 16;
        __mmask16 mask = (__mmask16)((1u << n) - 1);
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            v[r] = r < rows ? _mm512_maskz_loadu_ps(mask, src + r * a->rs + i) : _mm512_setzero_ps();
        transpose16(v);
        /* Each store spills over into the next row of the strip, which is written after it. */
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            if (r < n) _mm512_storeu_ps(dst + (i + r) * rows, v[r]);
    }
}

static inline __m512 load_row(const uint8_t *p, tn_dtype t, __mmask16 mask)
{
    if (t == TN_F32) return _mm512_maskz_loadu_ps(mask, p);
    return bf16_to_f32(_mm256_maskz_loadu_epi16(mask, p));
}

void tn_mm_panel_nk_avx512(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                           int64_t k0, int64_t k)
{
    int64_t        bytes = t == TN_F32 ? 4 : 2;
    const uint8_t *src = (const uint8_t *)rows + (n0 * ld + k0) * bytes;
    __m512         v[16];

    for (int64_t i = 0; i < k; i += 16) {
        int       n = k - i < 16 ? (int)(k - i) : 16;
        __mmask16 mask = (__mmask16)((1u << n) - 1);
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            v[r] = r < n_lane ? load_row(src + (r * ld + i) * bytes, t, mask) : _mm512_setzero_ps();
        transpose16(v);
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            if (r < n) _mm512_store_ps(dst + (i + r) * TN_PANEL, v[r]);
    }
}

void tn_mm_panels_kn_avx512(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                            int64_t k0, int64_t k)
{
    int64_t        bytes = t == TN_F32 ? 4 : 2;
    const uint8_t *src = (const uint8_t *)rows + (k0 * ld + n0) * bytes;
    uint32_t       mask = (uint32_t)((1ull << n_lane) - 1);

    if (n_lane <= TN_PANEL) {
        for (int64_t i = 0; i < k; i++, src += ld * bytes)
            _mm512_store_ps(dst + i * TN_PANEL, load_row(src, t, (__mmask16)mask));
        return;
    }
    float *second = dst + TN_MM_KC * TN_PANEL;
    for (int64_t i = 0; i < k; i++, src += ld * bytes) {
        /* rows lie pages apart: nothing else fetches ahead */
        __builtin_prefetch(src + 16 * ld * bytes, 0, 2);
        __builtin_prefetch(src + 16 * ld * bytes + 16 * bytes, 0, 2);
        _mm512_store_ps(dst + i * TN_PANEL, load_row(src, t, (__mmask16)mask));
        _mm512_store_ps(second + i * TN_PANEL, load_row(src + 16 * bytes, t, (__mmask16)(mask >> 16)));
    }
}

void tn_mm_transpose_avx512(float *dst, const float *src)
{
    __m512 v[16];

#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = _mm512_loadu_ps(src + r * 16);
    transpose16(v);
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) _mm512_storeu_ps(dst + r * 16, v[r]);
}
