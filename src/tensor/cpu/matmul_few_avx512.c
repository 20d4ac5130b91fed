/* matmul_few_avx512.c - few rows (decoding) times packed panels in strict: bound by reading the weights, so they are read
 * once, in order, and widened in registers.
 *
 * One row is one chain a panel, four cycles a step; four panels side by side keep the adders busy. Codes become numbers
 * without masks where possible: a permute of a 16-entry table looks only at the low 4 bits of its index, and a load that
 * starts b bytes later brings byte b there. */
#include "tensor/cpu/matmul_avx512.h"

enum { MAX_ROWS = 8 };

typedef struct few {
    const float     *x;
    int64_t          ldx, k;
    const tn_weight *w;
    float           *c;
    int64_t          ldc;
    bool             load;
} few;

/* Where panel p is, for `np` panels from it on. */
typedef struct place { const uint8_t *codes, *scales; size_t code_stride, scale_stride; } place;

static inline __attribute__((always_inline)) place place_of(const tn_weight *w, int64_t p)
{
    return (place){w->codes + (size_t)p * w->code_stride, w->scales + (size_t)p * w->scale_stride, w->code_stride, w->scale_stride};
}

static inline __attribute__((always_inline)) __m512 plain_value(const uint8_t *codes, tn_layout l, int64_t k)
{
    if (l == TN_L_F32) return _mm512_load_ps(codes + k * 64);
    if (l == TN_L_F16) return halves(codes + k * 32);
    __m512i pair = _mm512_load_si512(codes + k / 2 * 64);
    return _mm512_castsi512_ps(k % 2 == 0 ? _mm512_slli_epi32(pair, 16) : _mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
}

static inline __attribute__((always_inline)) void plain_steps(__m512 acc[][4], int mr, int np, const few *f, const place *at,
                                                              tn_layout l, int64_t k, int n_step)
{
#pragma GCC unroll 4
    for (int s = 0; s < n_step; s++)
#pragma GCC unroll 4
        for (int j = 0; j < np; j++) {
            __m512 v = plain_value(at->codes + (size_t)j * at->code_stride, l, k + s);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++)
                acc[i][j] = _mm512_fmadd_ps(_mm512_set1_ps(f->x[i * f->ldx + k + s]), v, acc[i][j]);
        }
}

/* The fp32 value of element 4g + b of a block. `tables`: codes as fp32, 16 or 32 of them, less the bias if there is no M. */
static inline __attribute__((always_inline)) __m512 code_value(const uint8_t *codes, tn_dtype t, tn_layout l, int g, int b,
                                                               block_scale s, __m512 table_low, __m512 table_high)
{
    const __m512i *word = (const __m512i *)(const void *)codes;

    if (l == TN_L_C8) {
        /* Byte b as the top byte of its word, sign restored: code * 2^24; the scale comes divided by 2^24. */
        __m512i v = _mm512_ternarylogic_epi32(_mm512_loadu_si512(codes + 64 * g + b - 3), _mm512_set1_epi32((int)0xff000000u),
                                              _mm512_set1_epi32((int)0x80000000u), 0x6a);             /* (v & mask) ^ sign */
        return _mm512_mul_ps(_mm512_cvtepi32_ps(v), s.d);
    }
    __m512i v = g % 2 == 0 ? _mm512_loadu_si512(codes + 64 * (g / 2) + b) : _mm512_srli_epi32(_mm512_load_si512(word + g / 2), 8 * b + 4);
    __m512  q;
    if (l == TN_L_C4) {
        q = _mm512_permutexvar_ps(v, table_low);
    } else if (l == TN_L_C5) {
        int     at = 8 * b + g - 4;
        __m512i high = _mm512_load_si512(word + 4);
        high = at >= 0 ? _mm512_srli_epi32(high, at) : _mm512_slli_epi32(high, -at);
        q    = _mm512_permutex2var_ps(table_low, _mm512_ternarylogic_epi32(v, high, _mm512_set1_epi32(16), 0xd8), table_high);
    } else {
        int     at = 8 * b + 2 * (g % 4) - 4;
        __m512i high = _mm512_load_si512(word + 4 + g / 4);
        high = at >= 0 ? _mm512_srli_epi32(high, at) : _mm512_slli_epi32(high, -at);
        v    = _mm512_ternarylogic_epi32(_mm512_and_si512(v, _mm512_set1_epi32(15)), high, _mm512_set1_epi32(48), 0xf8);
        q    = _mm512_sub_ps(_mm512_cvtepi32_ps(v), _mm512_set1_ps(32.0f));
    }
    if (t == TN_Q4_0 || t == TN_Q5_0 || t == TN_Q6_K) return _mm512_mul_ps(q, s.d);
    return _mm512_fmadd_ps(q, s.d, s.m);
}

static inline __attribute__((always_inline)) void block_steps(__m512 acc[][4], int mr, int np, const few *f, const place *at,
                                                              tn_dtype t, tn_layout l, int64_t block)
{
    const size_t bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    const float  bias  = t == TN_Q4_0 ? 8.0f : t == TN_Q5_0 ? 16.0f : 0.0f;
    const __m512 table = _mm512_sub_ps(_mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_ps(bias));
    const __m512 above = _mm512_add_ps(table, _mm512_set1_ps(16.0f));
    block_scale  s[4];

#pragma GCC unroll 4
    for (int j = 0; j < np; j++) {
        s[j] = scale_of(at->scales + (size_t)j * at->scale_stride, t, block, 0);
        if (l == TN_L_C8) s[j].d = _mm512_mul_ps(s[j].d, _mm512_set1_ps(0x1p-24f));
        const uint8_t *ahead = at->codes + (size_t)j * at->code_stride + (size_t)(block + 4) * bytes;
        for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i);
    }
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        if (t == TN_Q6_K && g == 4)
#pragma GCC unroll 4
            for (int j = 0; j < np; j++) s[j] = scale_of(at->scales + (size_t)j * at->scale_stride, t, block, 1);
#pragma GCC unroll 4
        for (int b = 0; b < 4; b++)
#pragma GCC unroll 4
            for (int j = 0; j < np; j++) {
                __m512 v = code_value(at->codes + (size_t)j * at->code_stride + (size_t)block * bytes, t, l, g, b, s[j], table, above);
#pragma GCC unroll 8
                for (int i = 0; i < mr; i++)
                    acc[i][j] = _mm512_fmadd_ps(_mm512_set1_ps(f->x[i * f->ldx + block * 32 + 4 * g + b]), v, acc[i][j]);
            }
    }
}

/* Panels p .. p + np; column and mask are those of the first and of each. */
static inline __attribute__((always_inline)) void panels(tn_dtype t, tn_layout l, int mr, int np, const few *f, int64_t p,
                                                         int64_t column, const uint16_t *mask)
{
    place  at = place_of(f->w, p);
    float *c  = f->c + column;
    __m512 acc[MAX_ROWS][4];

#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < np; j++)
            acc[i][j] = f->load ? _mm512_maskz_loadu_ps(mask[j], c + i * f->ldc + j * TN_PANEL) : _mm512_setzero_ps();
    if (l >= TN_L_C8) {
        for (int64_t block = 0; block < f->k / 32; block++) block_steps(acc, mr, np, f, &at, t, l, block);
    } else {
        int64_t k = 0;
        for (; k + 4 <= f->k; k += 4) {
#pragma GCC unroll 4
            for (int j = 0; j < np; j++) {
                const uint8_t *ahead = at.codes + (size_t)j * at.code_stride + (size_t)(k + (l == TN_L_F32 ? 32 : 64)) * (l == TN_L_F32 ? 64 : 32);
                for (int i = 0; i < (l == TN_L_F32 ? 256 : 128); i += 64) __builtin_prefetch(ahead + i);
            }
            plain_steps(acc, mr, np, f, &at, l, k, 4);
        }
        for (; k < f->k; k++) plain_steps(acc, mr, np, f, &at, l, k, 1);
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < np; j++)
            _mm512_mask_storeu_ps(c + i * f->ldc + j * TN_PANEL, mask[j], nan_canonical(acc[i][j]));
}

typedef void (*panels_fn)(const few *f, int64_t p, int64_t column, const uint16_t *mask);

/* Enough chains for the latency: rows times panels is 4 at least. */
#define FEW(name, t, l, mr, np)                                                                           \
    static void few_##name##_##mr##_##np(const few *f, int64_t p, int64_t column, const uint16_t *mask)   \
    {                                                                                                     \
        panels(t, l, mr, np, f, p, column, mask);                                                         \
    }
#define SHAPES(X, name, t, l)                                                                             \
    X(name, t, l, 1, 4) X(name, t, l, 2, 2) X(name, t, l, 3, 2) X(name, t, l, 4, 2) X(name, t, l, 5, 1)   \
    X(name, t, l, 6, 1) X(name, t, l, 7, 1) X(name, t, l, 8, 1) X(name, t, l, 1, 1) X(name, t, l, 2, 1)   \
    X(name, t, l, 3, 1) X(name, t, l, 4, 1)
#define ENTRY(name, t, l, mr, np) few_##name##_##mr##_##np,
#define TABLE(name, t, l) SHAPES(FEW, name, t, l)  static const panels_fn name##_fns[12] = {SHAPES(ENTRY, name, t, l)};

TABLE(f32, TN_F32, TN_L_F32)
TABLE(f16, TN_F16, TN_L_F16)
TABLE(bf16, TN_BF16, TN_L_BF16)
TABLE(q8_0, TN_Q8_0, TN_L_C8)
TABLE(q4_0, TN_Q4_0, TN_L_C4)
TABLE(q4_1, TN_Q4_1, TN_L_C4)
TABLE(q4_k, TN_Q4_K, TN_L_C4)
TABLE(q5_0, TN_Q5_0, TN_L_C5)
TABLE(q5_1, TN_Q5_1, TN_L_C5)
TABLE(q5_k, TN_Q5_K, TN_L_C5)
TABLE(q6_k, TN_Q6_K, TN_L_C6)

static const panels_fn *functions_of(const tn_weight *w)
{
    switch (w->layout) {
    case TN_L_F32:  return f32_fns;
    case TN_L_F16:  return f16_fns;
    case TN_L_BF16: return bf16_fns;
    case TN_L_C8:   return q8_0_fns;
    case TN_L_C6:   return q6_k_fns;
    case TN_L_C4:   return w->dtype == TN_Q4_0 ? q4_0_fns : w->dtype == TN_Q4_1 ? q4_1_fns : q4_k_fns;
    case TN_L_C5:   return w->dtype == TN_Q5_0 ? q5_0_fns : w->dtype == TN_Q5_1 ? q5_1_fns : q5_k_fns;
    }
    return NULL;
}

bool tn_mm_few_avx512(const tn_mm *mm, int64_t p0, int64_t p1)
{
    static const int wide[MAX_ROWS] = {4, 2, 2, 2, 1, 1, 1, 1};

    if (mm->m > MAX_ROWS || mm->b.kind != TN_MM_B_PACKED || mm->profile == TN_PROFILE_STRICT_BF16 || mm->a.ks != 1) return false;
    const panels_fn *fns = functions_of(mm->b.w);
    int              rows = (int)mm->m;
    few f = {.x = mm->a.a, .ldx = mm->a.rs, .k = mm->k, .w = mm->b.w, .c = mm->c, .ldc = mm->ldc, .load = mm->add};
    for (int64_t p = p0; p < p1;) {
        int      np = p1 - p >= wide[rows - 1] ? wide[rows - 1] : 1;
        uint16_t mask[4];
        for (int j = 0; j < np; j++) mask[j] = tn_mm_panel_mask(mm, p + j);
        fns[np == wide[rows - 1] ? rows - 1 : 7 + rows](&f, mm->b.first / TN_PANEL + p, tn_mm_panel_column(mm, p), mask);
        p += np;
    }
    return true;
}
