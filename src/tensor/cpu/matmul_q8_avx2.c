/* matmul_q8_avx2.c - q8act tiles with VPMADDUBSW: two products of an unsigned and a signed byte added to 16 bits, which
 * must not saturate. Codes of up to 6 bits: 2 * 63 * 127 fits. Codes of 8 bits: the magnitude of the weight times the
 * activation with the weight's sign, at most 2 * 128 * 127 = 32512, fits too; the bias is then not needed. */
#include "tensor/cpu/matmul_avx2.h"

enum { MR = 3 };

static inline __attribute__((always_inline)) __m256i dot(__m256i sum, __m256i u, __m256i x, tn_layout l)
{
    if (l == TN_L_C8) {
        x = _mm256_sign_epi8(x, u);
        u = _mm256_abs_epi8(u);
    }
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, x), _mm256_set1_epi16(1)));
}

/* One half (8 outputs) of a panel. */
static inline __attribute__((always_inline)) void half_tile(tn_dtype t, tn_layout l, int mr, int h, float *c, int64_t ldc,
                                                            const uint32_t *x, const tn_weight *w, int64_t i_panel, int64_t b0,
                                                            int64_t n_block, uint16_t mask, bool load)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride, *scales = w->scales + (size_t)i_panel * w->scale_stride;
    size_t         bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    __m256         acc[MR];

#pragma GCC unroll 3
    for (int i = 0; i < mr; i++) acc[i] = load ? _mm256_maskload_ps(c + i * ldc + 8 * h, half_mask(mask, h)) : _mm256_setzero_ps();
    for (int64_t block = b0; block < b0 + n_block; block++, x += TN_Q8_WORDS * mr) {
        const uint8_t *q = codes + (size_t)block * bytes, *super = scales + block / 8 * 288;
        const float   *f = (const float *)(const void *)x;
        __m256i        sum[MR];
        __m256         first[MR];
#pragma GCC unroll 3
        for (int i = 0; i < mr; i++) sum[i] = _mm256_set1_epi32(l == TN_L_C8 ? 0 : (int)x[9 * mr + i]);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i u = group8(q, l, g, h);
            if (t == TN_Q6_K && g == 4) {
                __m256 sc = bytes8_i8(super + 32 + 2 * (block % 8) * 16 + 8 * h);
#pragma GCC unroll 3
                for (int i = 0; i < mr; i++) {
                    first[i] = _mm256_mul_ps(sc, _mm256_cvtepi32_ps(sum[i]));
                    sum[i]   = _mm256_set1_epi32((int)x[10 * mr + i]);
                }
            }
#pragma GCC unroll 3
            for (int i = 0; i < mr; i++) sum[i] = dot(sum[i], u, _mm256_set1_epi32((int)x[g * mr + i]), l);
        }
        block_scale8 s = t == TN_Q6_K ? (block_scale8){halves8(super + 16 * h), _mm256_setzero_ps()} : scale8_of(scales, t, block, 0, h);
        __m256       sc = t == TN_Q6_K ? bytes8_i8(super + 32 + (2 * (block % 8) + 1) * 16 + 8 * h) : s.d;
#pragma GCC unroll 3
        for (int i = 0; i < mr; i++) {
            __m256 total = _mm256_cvtepi32_ps(sum[i]);
            if (t == TN_Q6_K) total = _mm256_fmadd_ps(sc, total, first[i]);
            acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(s.d, _mm256_set1_ps(f[8 * mr + i])), total, acc[i]);
            if (t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q4_K || t == TN_Q5_K)
                acc[i] = _mm256_fmadd_ps(s.m, _mm256_set1_ps(f[11 * mr + i]), acc[i]);
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < mr; i++) _mm256_maskstore_ps(c + i * ldc + 8 * h, half_mask(mask, h), nan_canonical_avx2(acc[i]));
}

#define TILE(name, t, l, mr)                                                                                          \
    static void tile_##name##_##mr(float *c, int64_t ldc, const uint32_t *x, const tn_weight *w, int64_t i_panel,     \
                                   int64_t b0, int64_t n_block, uint16_t mask, bool load)                             \
    {                                                                                                                 \
        for (int h = 0; h < 2; h++) half_tile(t, l, mr, h, c, ldc, x, w, i_panel, b0, n_block, mask, load);           \
    }
#define DTYPE(name, t, l)                                                                                             \
    TILE(name, t, l, 1) TILE(name, t, l, 2) TILE(name, t, l, 3)                                                       \
    const tn_mm_q8_tile tn_mm_##name##_tiles_avx2[MR] = {tile_##name##_1, tile_##name##_2, tile_##name##_3};

DTYPE(q8_0, TN_Q8_0, TN_L_C8)
DTYPE(q4_0, TN_Q4_0, TN_L_C4)
DTYPE(q4_1, TN_Q4_1, TN_L_C4)
DTYPE(q5_0, TN_Q5_0, TN_L_C5)
DTYPE(q5_1, TN_Q5_1, TN_L_C5)
DTYPE(q4_k, TN_Q4_K, TN_L_C4)
DTYPE(q5_k, TN_Q5_K, TN_L_C5)
DTYPE(q6_k, TN_Q6_K, TN_L_C6)

void tn_mm_strip_q8_avx2(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k, tn_dtype t)
{
    int bias = tn_q8_bias(t);

    for (int r = 0; r < rows; r++) {
        uint32_t *out = dst + r;
        for (int64_t i = 0; i < k; i += 32, out += TN_Q8_WORDS * rows) {
            int8_t q[32];
            int    low = 0, high = 0;
            float  d = tn_q8_block(q, a->a + (m0 + r) * a->rs + (k0 + i) * a->ks, a->ks);
            for (int j = 0; j < 16; j++) low += q[j], high += q[j + 16];
            float total = d * (float)(low + high);
            for (int g = 0; g < 8; g++) memcpy(&out[g * rows], q + 4 * g, 4);
            memcpy(&out[8 * rows], &d, 4);
            out[9 * rows]  = (uint32_t)(-bias * (t == TN_Q6_K ? low : low + high));
            out[10 * rows] = (uint32_t)(-bias * high);
            memcpy(&out[11 * rows], &total, 4);
        }
    }
}
