/* matmul_few_avx2.c - few rows (decoding) times packed panels in strict, with 256-bit vectors: bound by
 * reading the weights, so they are read once, in order, and widened in registers (one row) or a stretch of k
 * at a time into the first cache (two to six rows). See matmul_few_avx512.c. */
#include "tensor/cpu/matmul_avx2.h"
#include "tensor/cpu/matmul_few.h"

enum { MAX_ROWS = 6, STRETCH = 64 }; /* k widened at once */

/* ------------------------------------------------------------------------------------------------ one row */

/* Half h of the 16 weights at k. */
static inline __attribute__((always_inline)) __m256 plain_value(const uint8_t *codes, tn_layout l, int64_t k,
                                                                int h)
{
    if (l == TN_L_F32) return _mm256_load_ps((const float *)(const void *)(codes + k * 64) + 8 * h);
    if (l == TN_L_F16) return halves8(codes + k * 32 + 16 * h);
    __m256i pair = _mm256_load_si256((const __m256i *)(const void *)(codes + k / 2 * 64 + 32 * h));
    return k % 2 == 0 ? low_half(pair) : high_half(pair);
}

static inline __attribute__((always_inline)) void one_row(tn_dtype t, tn_layout l, int np, const few *f,
                                                          int64_t p, int64_t column, const uint16_t *mask)
{
    const size_t   bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    const uint8_t *codes = f->w->codes + (size_t)p * f->w->code_stride,
                  *scales = f->w->scales + (size_t)p * f->w->scale_stride;
    const size_t code_stride = f->w->code_stride, scale_stride = f->w->scale_stride;
    float       *c = f->c + column;
    __m256       acc[4][2];

#pragma GCC unroll 4
    for (int j = 0; j < np; j++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) acc[j][h] = c_load(c + j * TN_PANEL, mask[j], h, f->load);
    if (l >= TN_L_C8) {
        for (int64_t block = 0; block < f->k / 32; block++) {
            const float   *x = f->x + block * 32;
            const uint8_t *q = codes + (size_t)block * bytes;
            block_scale8   scale[4][2];
#pragma GCC unroll 8
            for (int g = 0; g < 8; g++) /* word by word, so that the chains run side by side */
#pragma GCC unroll 4
                for (int j = 0; j < np; j++) {
                    if ((size_t)g * 64 < bytes)
                        __builtin_prefetch(q + (size_t)j * code_stride + 4 * bytes + 64 * g);
#pragma GCC unroll 2
                    for (int h = 0; h < 2; h++) {
                        if (g == 0 || (t == TN_Q6_K && g == 4))
                            scale[j][h] = value_scale8(scales + (size_t)j * scale_stride, t, block, g / 4, h);
                        __m256i word = signed8(q + (size_t)j * code_stride, t, l, g, h);
#pragma GCC unroll 4
                        for (int b = 0; b < 4; b++)
                            acc[j][h] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + 4 * g + b),
                                                        value8(word, b, t, scale[j][h]), acc[j][h]);
                    }
                }
        }
    } else {
        const int64_t step = l == TN_L_F32 ? 64 : 32; /* bytes of one k; a pair of bf16 is 64 */
        /* behind the panel comes its neighbour, which is read by now */
        const size_t skip = (size_t)(np - 1) * code_stride;
        for (int64_t k = 0; k < f->k; k += 4) {
            int n = f->k - k < 4 ? (int)(f->k - k) : 4;
#pragma GCC unroll 4
            for (int j = 0; j < np; j++) {
                const uint8_t *at = codes + (size_t)j * code_stride + (size_t)(k * step) + 2048 +
                                    ((k + 4) * step + 2048 <= f->k * step ? 0 : skip);
                for (int64_t i = 0; i < 4 * step; i += 64) __builtin_prefetch(at + i);
            }
#pragma GCC unroll 4
            for (int s = 0; s < 4; s++)
#pragma GCC unroll 4
                for (int j = 0; j < np && s < n; j++)
#pragma GCC unroll 2
                    for (int h = 0; h < 2; h++)
                        acc[j][h] = _mm256_fmadd_ps(_mm256_broadcast_ss(f->x + k + s),
                                                    plain_value(codes + (size_t)j * code_stride, l, k + s, h),
                                                    acc[j][h]);
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < np; j++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) c_store(c + j * TN_PANEL, mask[j], h, acc[j][h]);
}

/* ------------------------------------------------------------------------------------------- several rows */

static inline __attribute__((always_inline)) void several_rows(int mr, int np, const few *f, int64_t p,
                                                               int64_t column, const uint16_t *mask)
{
    _Alignas(64) float wide[2][STRETCH * TN_PANEL];
    const tn_weight   *w = f->w;
    bool               plain = w->layout == TN_L_F32;
    size_t             ahead = plain ? 0 : tn_layout_block_bytes(w->layout) * STRETCH / 32;
    int64_t            skip = (int64_t)((size_t)(np - 1) * w->code_stride / 4); /* see one_row */
    float             *c = f->c + column;
    __m256             acc[MAX_ROWS][2][2];

#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < np; j++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++)
                acc[i][j][h] = c_load(c + i * f->ldc + j * TN_PANEL, mask[j], h, f->load);
    for (int64_t k0 = 0; k0 < f->k; k0 += STRETCH) {
        int64_t      k = f->k - k0 < STRETCH ? f->k - k0 : STRETCH;
        const float *b[2];
        for (int j = 0; j < np; j++) {
            const uint8_t *codes = w->codes + (size_t)(p + j) * w->code_stride;
            b[j] = plain ? (const float *)(const void *)codes + k0 * TN_PANEL : wide[j];
            if (plain) continue;
            for (size_t i = 0; i < ahead; i += 64)
                __builtin_prefetch(codes +
                                   (size_t)(k0 / 32 + STRETCH / 32) * tn_layout_block_bytes(w->layout) + i);
            tn_mm_panel_packed_avx2(wide[j], w, p + j, k0, k);
        }
        const float *x = f->x + k0;
        for (int64_t i_k = 0; i_k < k; i_k++)
#pragma GCC unroll 2
            for (int j = 0; j < np; j++) {
                const float *at = b[j] + i_k * TN_PANEL;
                if (plain) __builtin_prefetch(at + 512 + (k0 + i_k + 32 < f->k ? 0 : skip));
                __m256 b0 = _mm256_load_ps(at), b1 = _mm256_load_ps(at + 8);
#pragma GCC unroll 6
                for (int i = 0; i < mr; i++) {
                    __m256 xv = _mm256_broadcast_ss(x + i * f->ldx + i_k);
                    acc[i][j][0] = _mm256_fmadd_ps(xv, b0, acc[i][j][0]);
                    acc[i][j][1] = _mm256_fmadd_ps(xv, b1, acc[i][j][1]);
                }
            }
    }
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < np; j++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) c_store(c + i * f->ldc + j * TN_PANEL, mask[j], h, acc[i][j][h]);
}

/* ------------------------------------------------------------------------------------------------- tables */

/* Four panels of plain words are eight chains, which hide the four cycles of an adder; codes have enough to
 * do with two, whose chains stay in registers. */
#define one_row_panels(l) ((l) < TN_L_C8 ? 4 : 2)
ONE_OF_EACH

/* Enough chains for the latency, and no more than the registers hold: rows times panels is 4 to 6. */
#define SEVERAL(mr, np)                                                                                      \
    static void rows_##mr##_##np(const few *f, int64_t p, int64_t column, const uint16_t *mask)              \
    {                                                                                                        \
        several_rows(mr, np, f, p, column, mask);                                                            \
    }
SEVERAL(2, 2)
SEVERAL(3, 2)
SEVERAL(2, 1)
SEVERAL(3, 1)
SEVERAL(4, 1)
SEVERAL(5, 1)
SEVERAL(6, 1)
static const panels_fn rows_fns[MAX_ROWS + 1][2] = {
    { NULL, NULL },         { NULL, NULL },         { rows_2_2, rows_2_1 }, { rows_3_2, rows_3_1 },
    { rows_4_1, rows_4_1 }, { rows_5_1, rows_5_1 }, { rows_6_1, rows_6_1 },
};

bool tn_mm_few_avx2(const tn_mm *mm, int64_t p0, int64_t p1)
{
    if (mm->m > MAX_ROWS || mm->b.kind != TN_MM_B_PACKED || mm->profile == TN_PROFILE_STRICT_BF16 ||
        mm->a.ks != 1)
        return false;
    const panels_fn *fns = mm->m == 1 ? functions_of(mm->b.w) : rows_fns[mm->m];
    int64_t          wide = mm->m == 1 ? one_row_panels(mm->b.w->layout) : mm->m <= 3 ? 2 : 1;

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
        fns[np != wide](&f, mm->b.first / TN_PANEL + p, tn_mm_panel_column(mm, p), mask);
        p += np;
    }
    return true;
}
