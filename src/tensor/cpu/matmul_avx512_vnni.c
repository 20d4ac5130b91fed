/* matmul_avx512_vnni.c - q8act tiles with VPDPBUSD: per lane four products of an unsigned weight code and a signed
 * activation code added to an int32, exactly. Up to 12 rows share the unpacked codes of a panel.
 *
 * The sums start at -bias * (sum of the activations), so that unsigned codes do for weights that are signed. */
#include "tensor/cpu/matmul_avx512.h"

enum { MR = 12, AHEAD = 6 };                        /* blocks */

/* Codes of words g of a panel's block, one byte each. */
static inline __attribute__((always_inline)) __m512i group(const __m512i *codes, tn_layout l, int g)
{
    const __m512i nibbles = _mm512_set1_epi32(0x0f0f0f0f);

    if (l == TN_L_C8) return _mm512_xor_si512(_mm512_loadu_si512(codes + g), _mm512_set1_epi8(-128));      /* q + 128 */
    __m512i q = _mm512_loadu_si512(codes + g / 2);
    q = _mm512_and_si512(g % 2 != 0 ? _mm512_srli_epi32(q, 4) : q, nibbles);
    if (l == TN_L_C5) {
        __m512i high = _mm512_loadu_si512(codes + 4);
        high = g < 4 ? _mm512_slli_epi32(high, 4 - g) : _mm512_srli_epi32(high, g - 4);
        q    = _mm512_ternarylogic_epi32(q, high, _mm512_set1_epi32(0x10101010), 0xf8);       /* q | (high & bit 4) */
    } else if (l == TN_L_C6) {
        __m512i high = _mm512_loadu_si512(codes + 4 + g / 4);
        int     at   = 2 * (g % 4);
        high = at <= 4 ? _mm512_slli_epi32(high, 4 - at) : _mm512_srli_epi32(high, at - 4);
        q    = _mm512_ternarylogic_epi32(q, high, _mm512_set1_epi32(0x30303030), 0xf8);
    }
    return q;
}

static inline __attribute__((always_inline)) void tile(tn_dtype t, tn_layout l, int mr, float *c, int64_t ldc,
                                                       const uint32_t *x, const tn_weight *w, int64_t i_panel, int64_t b0,
                                                       int64_t n_block, uint16_t mask, bool load)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride, *scales = w->scales + (size_t)i_panel * w->scale_stride;
    size_t         bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    size_t         scale_bytes = t == TN_Q4_1 || t == TN_Q5_1 ? 64 : t == TN_Q4_K || t == TN_Q5_K ? 40 : t == TN_Q6_K ? 36 : 32;
    __m512         acc[MR];

#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) acc[i] = load ? _mm512_maskz_loadu_ps(mask, c + i * ldc) : _mm512_setzero_ps();
    for (int64_t block = b0; block < b0 + n_block; block++, x += TN_Q8_WORDS * mr) {
        const __m512i *q = (const __m512i *)(const void *)(codes + (size_t)block * bytes);
        __m512i        sum[MR];
        /* The weights come from memory once a tile column; without this each panel would begin with a wait. */
        for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const uint8_t *)q + AHEAD * bytes + i);
        if (scale_bytes == 64 || block % 2 == 0) __builtin_prefetch(scales + (size_t)(block + AHEAD) * scale_bytes);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) sum[i] = _mm512_set1_epi32((int)x[9 * mr + i]);
#pragma GCC unroll 8
        for (int g = 0; g < 4; g++) {
            __m512i u = group(q, l, g);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], u, _mm512_set1_epi32((int)x[g * mr + i]));
        }
        block_scale s = t == TN_Q6_K ? (block_scale){halves(scales + block / 8 * 288), _mm512_setzero_ps()}
                                     : scale_of(scales, t, block, 0);
        __m512      first[MR];
        if (t == TN_Q6_K) {
            __m512 sc = bytes_i8(scales + block / 8 * 288 + 32 + 2 * (block % 8) * 16);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) {
                first[i] = _mm512_mul_ps(sc, _mm512_cvtepi32_ps(sum[i]));
                sum[i]   = _mm512_set1_epi32((int)x[10 * mr + i]);
            }
        }
#pragma GCC unroll 8
        for (int g = 4; g < 8; g++) {
            __m512i u = group(q, l, g);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], u, _mm512_set1_epi32((int)x[g * mr + i]));
        }
        const float *f = (const float *)(const void *)x;
        __m512       sc = t == TN_Q6_K ? bytes_i8(scales + block / 8 * 288 + 32 + (2 * (block % 8) + 1) * 16) : s.d;
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

#define TILE(name, t, l, mr)                                                                                          \
    static void tile_##name##_##mr(float *c, int64_t ldc, const uint32_t *x, const tn_weight *w, int64_t i_panel,     \
                                   int64_t b0, int64_t n_block, uint16_t mask, bool load)                             \
    {                                                                                                                 \
        tile(t, l, mr, c, ldc, x, w, i_panel, b0, n_block, mask, load);                                               \
    }
#define ROWS(X, name, t, l)                                                                                           \
    X(name, t, l, 1) X(name, t, l, 2) X(name, t, l, 3) X(name, t, l, 4) X(name, t, l, 5) X(name, t, l, 6)             \
    X(name, t, l, 7) X(name, t, l, 8) X(name, t, l, 9) X(name, t, l, 10) X(name, t, l, 11) X(name, t, l, 12)
#define ENTRY(name, t, l, mr) tile_##name##_##mr,
#define DTYPE(name, t, l)                                                                                             \
    ROWS(TILE, name, t, l)                                                                                            \
    const tn_mm_q8_tile tn_mm_##name##_tiles_vnni[MR] = {ROWS(ENTRY, name, t, l)};

DTYPE(q8_0, TN_Q8_0, TN_L_C8)
DTYPE(q4_0, TN_Q4_0, TN_L_C4)
DTYPE(q4_1, TN_Q4_1, TN_L_C4)
DTYPE(q5_0, TN_Q5_0, TN_L_C5)
DTYPE(q5_1, TN_Q5_1, TN_L_C5)
DTYPE(q4_k, TN_Q4_K, TN_L_C4)
DTYPE(q5_k, TN_Q5_K, TN_L_C5)
DTYPE(q6_k, TN_Q6_K, TN_L_C6)

/* --------------------------------------------------------------------------------------------------- activations */

void tn_mm_strip_q8_vnni(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k, tn_dtype t)
{
    const __m512 magnitude = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fffffff));
    int          bias = tn_q8_bias(t);

    for (int r = 0; r < rows; r++) {
        const float *x   = a->a + (m0 + r) * a->rs + k0;            /* rows are contiguous: only y = x w^T comes here */
        uint32_t    *out = dst + r;
        for (int64_t i = 0; i < k; i += 32, x += 32, out += TN_Q8_WORDS * rows) {
            __m512    low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
            __m512    al = _mm512_and_ps(low, magnitude), ah = _mm512_and_ps(high, magnitude);
            __m512    inf = _mm512_set1_ps(__builtin_inff());
            bool      finite = (_mm512_cmp_ps_mask(al, inf, _CMP_LT_OQ) & _mm512_cmp_ps_mask(ah, inf, _CMP_LT_OQ)) == 0xffff;
            float     amax = finite ? _mm512_reduce_max_ps(_mm512_max_ps(al, ah)) : 0.0f, d = amax / 127.0f;
            __m512i   ql = _mm512_setzero_si512(), qh = ql;
            uint32_t  words[8];
            if (amax >= 0x1p-100f) {
                __m512 inverse = _mm512_set1_ps(127.0f / amax);
                ql = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
                qh = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
            } else {
                d = finite ? 0.0f : __builtin_nanf("");
            }
            _mm_storeu_si128((__m128i *)(void *)words, _mm512_cvtepi32_epi8(ql));
            _mm_storeu_si128((__m128i *)(void *)(words + 4), _mm512_cvtepi32_epi8(qh));
            int   sum_low = _mm512_reduce_add_epi32(ql), sum_high = _mm512_reduce_add_epi32(qh);
            float total = d * (float)(sum_low + sum_high);
            for (int g = 0; g < 8; g++) out[g * rows] = words[g];
            memcpy(&out[8 * rows], &d, 4);
            out[9 * rows]  = (uint32_t)(-bias * (t == TN_Q6_K ? sum_low : sum_low + sum_high));
            out[10 * rows] = (uint32_t)(-bias * sum_high);
            memcpy(&out[11 * rows], &total, 4);
        }
    }
}
