/* matmul_few_avx512.c - few rows (decoding) times packed panels in strict: bound by reading the weights, so
 * they are read once, in order, and widened in registers.
 *
 * One row is one chain a panel, four cycles a step; four panels side by side keep the adders busy. Two to
 * eight rows share the widening: a stretch of k is widened into the first cache and read from there by all
 * rows. */
#include "tensor/cpu/matmul_avx512.h"
#include "tensor/cpu/matmul_few.h"

enum { MAX_ROWS = 8, STRETCH = 64 }; /* k widened at once */

/* Where panel p is, for `np` panels from it on. */
typedef struct place {
    const uint8_t *codes, *scales;
    size_t         code_stride, scale_stride;
} place;

static inline __attribute__((always_inline)) place place_of(const tn_weight *w, int64_t p)
{
    return (place){ w->codes + (size_t)p * w->code_stride, w->scales + (size_t)p * w->scale_stride,
                    w->code_stride, w->scale_stride };
}

static inline __attribute__((always_inline)) __m512 plain_value(const uint8_t *codes, tn_layout l, int64_t k)
{
    if (l == TN_L_F32) return _mm512_load_ps(codes + k * 64);
    if (l == TN_L_F16) return halves(codes + k * 32);
    __m512i pair = _mm512_load_si512(codes + k / 2 * 64);
    return _mm512_castsi512_ps(k % 2 == 0 ? _mm512_slli_epi32(pair, 16)
                                          : _mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
}

static inline __attribute__((always_inline)) void fetch(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

/* ------------------------------------------------------------------------------------------------ one row */

static inline __attribute__((always_inline)) void block_steps(__m512 acc[4], int np, const few *f,
                                                              const place *at, tn_dtype t, tn_layout l,
                                                              int64_t block, const code_tables *k)
{
    const size_t bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    block_scale  s[4];

#pragma GCC unroll 4
    for (int j = 0; j < np; j++) s[j] = group_scale(at->scales + (size_t)j * at->scale_stride, t, block, 0);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        if (t == TN_Q6_K && g == 4)
#pragma GCC unroll 4
            for (int j = 0; j < np; j++)
                s[j] = group_scale(at->scales + (size_t)j * at->scale_stride, t, block, 1);
#pragma GCC unroll 4
        for (int j = 0; j < np; j++) {
            __m512         v[4];
            const uint8_t *codes = at->codes + (size_t)j * at->code_stride + (size_t)block * bytes;
            /* A line at a time: a burst of them would fill the buffers of the first cache. */
            if ((size_t)g * 64 < bytes) __builtin_prefetch(codes + 4 * bytes + 64 * g);
            group_values(v, codes, t, l, g, s[j], k);
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++)
                acc[j] = _mm512_fmadd_ps(_mm512_set1_ps(f->x[block * 32 + 4 * g + b]), v[b], acc[j]);
        }
    }
}

/* Panels p .. p + np; column and mask are those of the first and of each. */
static inline __attribute__((always_inline)) void one_row(tn_dtype t, tn_layout l, int np, const few *f,
                                                          int64_t p, int64_t column, const uint16_t *mask)
{
    place  at = place_of(f->w, p);
    float *c = f->c + column;
    __m512 acc[4];

#pragma GCC unroll 4
    for (int j = 0; j < np; j++)
        acc[j] = f->load ? _mm512_maskz_loadu_ps(mask[j], c + j * TN_PANEL) : _mm512_setzero_ps();
    if (l >= TN_L_C8) {
        const code_tables tables = code_tables_of(t);
        for (int64_t block = 0; block < f->k / 32; block++) {
            if (block % 8 == 0) /* the scales are a stream of their own: at most 320 bytes each 8 blocks */
#pragma GCC unroll 4
                for (int j = 0; j < np; j++)
                    fetch(at.scales + (size_t)j * at.scale_stride +
                              f->w->scale_stride * (size_t)(block + 16) * 32 / (size_t)f->w->n_in,
                          320);
            block_steps(acc, np, f, &at, t, l, block, &tables);
        }
    } else {
        const int64_t step = l == TN_L_F32 ? 64 : 32; /* bytes of one k; a pair of bf16 is 64 */
        /* behind the panel comes its neighbour, which is read by now */
        const size_t skip = (size_t)(np - 1) * at.code_stride;
        for (int64_t k = 0; k < f->k; k += 4) {
            int n = f->k - k < 4 ? (int)(f->k - k) : 4;
#pragma GCC unroll 4
            for (int j = 0; j < np; j++)
                fetch(at.codes + (size_t)j * at.code_stride + (size_t)(k * step) + 2048 +
                          ((k + 4) * step + 2048 <= f->k * step ? 0 : skip),
                      (size_t)(4 * step));
#pragma GCC unroll 4
            for (int s = 0; s < 4; s++)
#pragma GCC unroll 4
                for (int j = 0; j < np && s < n; j++)
                    acc[j] = _mm512_fmadd_ps(_mm512_set1_ps(f->x[k + s]),
                                             plain_value(at.codes + (size_t)j * at.code_stride, l, k + s),
                                             acc[j]);
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < np; j++) _mm512_mask_storeu_ps(c + j * TN_PANEL, mask[j], nan_canonical(acc[j]));
}

/* ------------------------------------------------------------------------------------------- several rows */

static inline __attribute__((always_inline)) void several_rows(int mr, int np, const few *f, int64_t p,
                                                               int64_t column, const uint16_t *mask)
{
    _Alignas(64) float wide[4][STRETCH * TN_PANEL];
    const tn_weight   *w = f->w;
    bool               plain = w->layout == TN_L_F32;
    size_t             ahead = plain ? 4096 : tn_layout_block_bytes(w->layout) * STRETCH / 32;
    /* behind the panel comes its neighbour, which is read by now */
    int64_t skip = (int64_t)((size_t)(np - 1) * w->code_stride / 4);
    float  *c = f->c + column;
    __m512  acc[MAX_ROWS][4];

#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < np; j++)
            acc[i][j] = f->load ? _mm512_maskz_loadu_ps(mask[j], c + i * f->ldc + j * TN_PANEL)
                                : _mm512_setzero_ps();
    for (int64_t k0 = 0; k0 < f->k; k0 += STRETCH) {
        int64_t      k = f->k - k0 < STRETCH ? f->k - k0 : STRETCH;
        const float *b[4];
        for (int j = 0; j < np; j++) {
            const uint8_t *codes = w->codes + (size_t)(p + j) * w->code_stride;
            b[j] = plain ? (const float *)(const void *)codes + k0 * TN_PANEL : wide[j];
            if (plain) continue;
            fetch(codes + (size_t)(k0 / 32 + STRETCH / 32) * tn_layout_block_bytes(w->layout), ahead);
            tn_mm_panel_packed_avx512(wide[j], w, p + j, k0, k);
        }
        const float *x = f->x + k0;
        for (int64_t i_k = 0; i_k < k; i_k++) {
            __m512 v[4];
#pragma GCC unroll 4
            for (int j = 0; j < np; j++) {
                if (plain)
                    __builtin_prefetch(b[j] + i_k * TN_PANEL + 512 + (k0 + i_k + 32 < f->k ? 0 : skip));
                v[j] = _mm512_load_ps(b[j] + i_k * TN_PANEL);
            }
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) {
                __m512 xv = _mm512_set1_ps(x[i * f->ldx + i_k]);
#pragma GCC unroll 4
                for (int j = 0; j < np; j++) acc[i][j] = _mm512_fmadd_ps(xv, v[j], acc[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < np; j++)
            _mm512_mask_storeu_ps(c + i * f->ldc + j * TN_PANEL, mask[j], nan_canonical(acc[i][j]));
}

/* ------------------------------------------------------------------------------------------------- tables */

#define one_row_panels(l) 4
ONE_OF_EACH

/* Enough chains for the latency: rows times panels is 8 at least. More panels side by side also mean more
 * streams from memory. */
#define SEVERAL(mr, np)                                                                                      \
    static void rows_##mr##_##np(const few *f, int64_t p, int64_t column, const uint16_t *mask)              \
    {                                                                                                        \
        several_rows(mr, np, f, p, column, mask);                                                            \
    }
SEVERAL(2, 4)
SEVERAL(3, 4)
SEVERAL(4, 3)
SEVERAL(5, 3)
SEVERAL(6, 3)
SEVERAL(7, 3)
SEVERAL(8, 3)
SEVERAL(2, 1)
SEVERAL(3, 1)
SEVERAL(4, 1)
SEVERAL(5, 1)
SEVERAL(6, 1)
SEVERAL(7, 1)
SEVERAL(8, 1)
static const panels_fn rows_fns[MAX_ROWS + 1][2] = {
    { NULL, NULL },         { NULL, NULL },         { rows_2_4, rows_2_1 },
    { rows_3_4, rows_3_1 }, { rows_4_3, rows_4_1 }, { rows_5_3, rows_5_1 },
    { rows_6_3, rows_6_1 }, { rows_7_3, rows_7_1 }, { rows_8_3, rows_8_1 },
};

bool tn_mm_few_avx512(const tn_mm *mm, int64_t p0, int64_t p1)
{
    if (mm->m > MAX_ROWS || mm->b.kind != TN_MM_B_PACKED || mm->profile == TN_PROFILE_STRICT_BF16 ||
        mm->a.ks != 1)
        return false;
    const panels_fn *fns = mm->m == 1 ? functions_of(mm->b.w) : rows_fns[mm->m];
    int64_t          wide = mm->m < 4 ? 4 : 3;

    few f = {
        .x = mm->a.a,
        .ldx = mm->a.rs,
        .k = mm->k,
        .w = mm->b.w,
        .c = mm->c,
        .ldc = mm->ldc,
        .load = mm->add,
    };
    for (int64_t p = p0; p < p1;) {
        int      np = p1 - p >= wide ? (int)wide : 1;
        uint16_t mask[4];
        for (int j = 0; j < np; j++) mask[j] = tn_mm_panel_mask(mm, p + j);
        fns[np == 1](&f, mm->b.first / TN_PANEL + p, tn_mm_panel_column(mm, p), mask);
        p += np;
    }
    return true;
}
