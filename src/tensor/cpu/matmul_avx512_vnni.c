/* matmul_avx512_vnni.c - q8act tiles with VPDPBUSD: per lane four products of an unsigned weight code and a
 * signed activation code added to an int32, exactly. Up to 12 rows share the unpacked codes of a panel.
 *
 * The sums start at -bias * (sum of the activations), so that unsigned codes do for weights that are
 * signed. */
#include "tensor/cpu/matmul_avx512.h"
#include "tensor/cpu/q8_numbers_avx512.h"

enum { MR = 12, AHEAD_BYTES = 8192 }; /* of codes: nearer, the core does not keep enough lines on their way */

/* Codes of words g of a panel's block, one byte each. */
static inline __attribute__((always_inline)) __m512i group(const __m512i *codes, tn_layout l, int g)
{
    const __m512i nibbles = _mm512_set1_epi32(0x0f0f0f0f);

    /* q + 128 */
    if (l == TN_L_C8) return _mm512_xor_si512(_mm512_loadu_si512(codes + g), _mm512_set1_epi8(-128));
    __m512i q = _mm512_loadu_si512(codes + g / 2);
    q = _mm512_and_si512(g % 2 != 0 ? _mm512_srli_epi32(q, 4) : q, nibbles);
    if (l == TN_L_C5) {
        __m512i high = _mm512_loadu_si512(codes + 4);
        high = g < 4 ? _mm512_slli_epi32(high, 4 - g) : _mm512_srli_epi32(high, g - 4);
        /* q | (high & bit 4) */
        q = _mm512_ternarylogic_epi32(q, high, _mm512_set1_epi32(0x10101010), 0xf8);
    } else if (l == TN_L_C6) {
        __m512i high = _mm512_loadu_si512(codes + 4 + g / 4);
        int     at = 2 * (g % 4);
        high = at <= 4 ? _mm512_slli_epi32(high, 4 - at) : _mm512_srli_epi32(high, at - 4);
        q = _mm512_ternarylogic_epi32(q, high, _mm512_set1_epi32(0x30303030), 0xf8);
    }
    return q;
}

static inline __attribute__((always_inline)) void tile(tn_dtype t, tn_layout l, int mr, float *c, int64_t ldc,
                                                       const uint32_t *x, const tn_weight *w, int64_t i_panel,
                                                       int64_t b0, int64_t n_block, uint16_t mask, bool load)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride,
                  *scales = w->scales + (size_t)i_panel * w->scale_stride;
    size_t bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    size_t scale_bytes = t == TN_Q4_1 || t == TN_Q5_1   ? 64
                         : t == TN_Q4_K || t == TN_Q5_K ? 40
                         : t == TN_Q6_K                 ? 36
                                                        : 32;
    __m512 acc[MR];

#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
        acc[i] = load ? _mm512_maskz_loadu_ps(mask, c + i * ldc) : _mm512_setzero_ps();
    for (int64_t block = b0; block < b0 + n_block; block++, x += TN_Q8_WORDS * mr) {
        const __m512i *q = (const __m512i *)(const void *)(codes + (size_t)block * bytes);
        __m512i        sum[MR];
        /* The weights come from memory once a tile column; without this each panel would begin with a
         * wait. */
        for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const uint8_t *)q + AHEAD_BYTES + i, 0, 2);
        if (scale_bytes == 64 || block % 2 == 0)
            __builtin_prefetch(scales + ((size_t)block + AHEAD_BYTES / bytes) * scale_bytes);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) sum[i] = _mm512_set1_epi32((int)x[9 * mr + i]);
#pragma GCC unroll 8
        for (int g = 0; g < 4; g++) {
            __m512i u = group(q, l, g);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++)
                sum[i] = _mm512_dpbusd_epi32(sum[i], u, _mm512_set1_epi32((int)x[g * mr + i]));
        }
        block_scale s = t == TN_Q6_K ? (block_scale){ halves(scales + block / 8 * 288), _mm512_setzero_ps() }
                                     : scale_of(scales, t, block, 0);
        __m512      first[MR];
        if (t == TN_Q6_K) {
            __m512 sc = bytes_i8(scales + block / 8 * 288 + 32 + 2 * (block % 8) * 16);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) {
                first[i] = _mm512_mul_ps(sc, _mm512_cvtepi32_ps(sum[i]));
                sum[i] = _mm512_set1_epi32((int)x[10 * mr + i]);
            }
        }
#pragma GCC unroll 8
        for (int g = 4; g < 8; g++) {
            __m512i u = group(q, l, g);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++)
                sum[i] = _mm512_dpbusd_epi32(sum[i], u, _mm512_set1_epi32((int)x[g * mr + i]));
        }
        const float *f = (const float *)(const void *)x;
        __m512 sc = t == TN_Q6_K ? bytes_i8(scales + block / 8 * 288 + 32 + (2 * (block % 8) + 1) * 16) : s.d;
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            __m512 total = _mm512_cvtepi32_ps(sum[i]);
            if (t == TN_Q6_K) total = _mm512_fmadd_ps(sc, total, first[i]);
            acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(s.d, _mm512_set1_ps(f[8 * mr + i])), total, acc[i]);
            if (t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q4_K || t == TN_Q5_K)
                acc[i] = _mm512_fmadd_ps(s.m, _mm512_set1_ps(f[11 * mr + i]), acc[i]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) _mm512_mask_storeu_ps(c + i * ldc, mask, nan_canonical(acc[i]));
}

#define TILE(name, t, l, mr)                                                                                 \
    static void tile_##name##_##mr(float *c, int64_t ldc, const uint32_t *x, const tn_weight *w,             \
                                   int64_t i_panel, int64_t b0, int64_t n_block, uint16_t mask, bool load)   \
    {                                                                                                        \
        tile(t, l, mr, c, ldc, x, w, i_panel, b0, n_block, mask, load);                                      \
    }
// clang-format off
#define ROWS(X, name, t, l)                                                                                           \
    X(name, t, l, 1) X(name, t, l, 2) X(name, t, l, 3) X(name, t, l, 4) X(name, t, l, 5) X(name, t, l, 6)             \
    X(name, t, l, 7) X(name, t, l, 8) X(name, t, l, 9) X(name, t, l, 10) X(name, t, l, 11) X(name, t, l, 12)
// clang-format on
#define ENTRY(name, t, l, mr) tile_##name##_##mr,
#define DTYPE(name, t, l)                                                                                    \
    ROWS(TILE, name, t, l)                                                                                   \
    const tn_mm_q8_tile tn_mm_##name##_tiles_vnni[MR] = { ROWS(ENTRY, name, t, l) };

DTYPE(q8_0, TN_Q8_0, TN_L_C8)
DTYPE(q4_0, TN_Q4_0, TN_L_C4)
DTYPE(q4_1, TN_Q4_1, TN_L_C4)
DTYPE(q5_0, TN_Q5_0, TN_L_C5)
DTYPE(q5_1, TN_Q5_1, TN_L_C5)
DTYPE(q4_k, TN_Q4_K, TN_L_C4)
DTYPE(q5_k, TN_Q5_K, TN_L_C5)
DTYPE(q6_k, TN_Q6_K, TN_L_C6)

/* -------------------------------------------------------------------------------------------- activations */

/* One row of a strip: word g of a block at out[g * rows]. */
static inline __attribute__((always_inline)) void row_strip(uint32_t *out, const float *x, int rows,
                                                            int64_t n_block, int bias, bool halves_apart)
{
    for (int64_t i = 0; i < n_block; i += GROUP, x += 32 * GROUP) {
        int      n = n_block - i < GROUP ? (int)(n_block - i) : GROUP;
        uint32_t words[GROUP][8], d[GROUP], total[GROUP], first[GROUP], second[GROUP];
        float    inverse[GROUP];
        __m512   scale = scales_of(x, n, inverse);
        __m512i  low[GROUP], high[GROUP];
        for (int j = 0; j < GROUP; j++) {
            __m512 by = _mm512_set1_ps(j < n ? inverse[j] : 0.0f);
            low[j] = j < n ? _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 32 * j), by))
                           : _mm512_setzero_si512();
            high[j] = j < n ? _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 32 * j + 16), by))
                            : _mm512_setzero_si512();
            _mm_storeu_si128((__m128i *)(void *)words[j], _mm512_cvtepi32_epi8(low[j]));
            _mm_storeu_si128((__m128i *)(void *)(words[j] + 4), _mm512_cvtepi32_epi8(high[j]));
            if (!halves_apart) low[j] = _mm512_add_epi32(low[j], high[j]);
        }
        __m512i sum = sum_of(low), sum_high = halves_apart ? sum_of(high) : _mm512_setzero_si512(),
                by = _mm512_set1_epi32(-bias);
        _mm512_storeu_si512(first, _mm512_mullo_epi32(by, sum));
        _mm512_storeu_si512(second, _mm512_mullo_epi32(by, sum_high));
        _mm512_storeu_ps(total, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_add_epi32(sum, sum_high))));
        _mm512_storeu_ps(d, scale);
        for (int j = 0; j < n; j++, out += TN_Q8_WORDS * rows) {
#pragma GCC unroll 8
            for (int g = 0; g < 8; g++) out[g * rows] = words[j][g];
            out[8 * rows] = d[j];
            out[9 * rows] = first[j];
            out[10 * rows] = second[j];
            out[11 * rows] = total[j];
        }
    }
}

void tn_mm_strip_q8_vnni(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k,
                         tn_dtype t)
{
    for (int r = 0; r < rows; r++) { /* a row is contiguous: only y = x w^T comes here */
        const float *x = a->a + (m0 + r) * a->rs + k0;
        if (t == TN_Q6_K) row_strip(dst + r, x, rows, k / 32, tn_q8_bias(t), true);
        else row_strip(dst + r, x, rows, k / 32, tn_q8_bias(t), false);
    }
}
