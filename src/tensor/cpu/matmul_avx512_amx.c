/* matmul_avx512_amx.c - strict-bf16 on the matrix unit: TDPBF16PS multiplies 16 rows x 32 k by 32 k x 16 outputs.
 *
 * The instruction keeps two chains of 16 steps for an output, from +0: over the low and over the high half of the words; their sum
 * joins C, denormals are flushed in every step. This is a block of the definition (gemm_ref.c) when word w of a row holds
 * k = w^1 low and k = 16 + (w^1) high: each half is then one chain, "odd before even".
 *
 *   strip   [32 k][rows of the tile][16 words]     a row of a tile register is 64 bytes of it
 *   panel   [32 k][16 words][16 outputs]
 *
 * 32 rows x 2 panels take all eight registers: four of C, two of A, two of B. Registers always have their full height: rows behind the
 * last one are read from what follows in the scratch memory, and their results are dropped. */
#include "tensor/cpu/matmul_avx512.h"

enum { REGISTER = 16 * TN_PANEL };                  /* words of a tile register */

typedef struct tile_config {
    uint8_t  palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t  rows[16];
} tile_config;

/* Static: to the compiler the instruction reads only the first bytes of it. */
static const tile_config all_registers_full = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

void tn_mm_begin_amx(void)
{
    _tile_loadconfig(&all_registers_full);
}

void tn_mm_end_amx(void) { _tile_release(); }

/* ------------------------------------------------------------------------------------------------------------ tiles */

/* What C holds, as a whole register; what does not exist is zero. */
static inline void c_gather(float *block, const float *c, int64_t ldc, int rows, uint16_t mask)
{
    for (int i = 0; i < 16; i++) _mm512_store_ps(block + i * 16, i < rows ? _mm512_maskz_loadu_ps(mask, c + i * ldc) : _mm512_setzero_ps());
}

static inline void c_scatter(float *c, int64_t ldc, const float *block, int rows, uint16_t mask)
{
    for (int i = 0; i < rows; i++) _mm512_mask_storeu_ps(c + i * ldc, mask, nan_canonical(_mm512_load_ps(block + i * 16)));
}

/* Registers are named by literals. C's are 0 and 1 for the upper rows, 2 and 3 for the lower ones. */
#define C_LOAD(reg, row, j, n_row)                                                     \
    if (load) {                                                                        \
        c_gather(block, c + (row) * ldc + (j) * TN_PANEL, ldc, n_row, mask[j]);        \
        __asm__ volatile("" ::: "memory"); /* gcc does not know that the next line reads block */ \
        _tile_loadd(reg, block, 64);                                                   \
    } else _tile_zero(reg)
#define C_STORE(reg, row, j, n_row)                                                    \
    _tile_stored(reg, block, 64);                                                      \
    __asm__ volatile("" ::: "memory");                                                 \
    c_scatter(c + (row) * ldc + (j) * TN_PANEL, ldc, block, n_row, mask[j])

static inline __attribute__((always_inline)) void tile(int mr, int np, float *c, int64_t ldc, const uint32_t *a,
                                                       const uint32_t *const *b, int64_t n_word, const uint16_t *mask, bool load)
{
    const uint32_t *b0 = b[0], *b1 = b[np - 1];
    const int       upper = mr < 16 ? mr : 16, lower = mr - upper;
    _Alignas(64) float block[REGISTER];

    C_LOAD(0, 0, 0, upper);
    if (np > 1) { C_LOAD(1, 0, 1, upper); }
    if (lower > 0) { C_LOAD(2, 16, 0, lower); }
    if (lower > 0 && np > 1) { C_LOAD(3, 16, 1, lower); }
    for (int64_t i = 0; i < n_word; i += 16, a += 16 * mr, b0 += REGISTER, b1 += REGISTER) {
        _tile_loadd(6, b0, 64);
        _tile_loadd(4, a, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (np > 1) {
            _tile_loadd(7, b1, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (lower > 0) {
            _tile_loadd(5, a + REGISTER, 64);
            _tile_dpbf16ps(2, 5, 6);
            if (np > 1) _tile_dpbf16ps(3, 5, 7);
        }
        for (int line = 0; line < mr; line++) __builtin_prefetch(a + 16 * (mr + line));
    }
    C_STORE(0, 0, 0, upper);
    if (np > 1) { C_STORE(1, 0, 1, upper); }
    if (lower > 0) { C_STORE(2, 16, 0, lower); }
    if (lower > 0 && np > 1) { C_STORE(3, 16, 1, lower); }
}

#define TILE(mr, np)                                                                                                \
    static void tile_##mr##_##np(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,             \
                                 const uint16_t *mask, bool load)                                                   \
    {                                                                                                               \
        tile(mr, np, c, ldc, a, (const uint32_t *const *)b, k, mask, load);                                         \
    }
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32)
#define X(mr) TILE(mr, 1) TILE(mr, 2)
TILES(X)
#undef X
#define X(mr) tile_##mr##_1, tile_##mr##_2,
const tn_mm_tile tn_mm_bf16_tiles_amx[64] = {TILES(X)};
#undef X

/* --------------------------------------------------------------------------------------------------- strips, panels */

static inline __mmask16 first_lanes(int64_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1);
}

/* The words of one row's 32 k from its two halves: neighbours change places. */
static inline __m512i row_words(__m512 low, __m512 high)
{
    return _mm512_shuffle_epi32(pair(low, high), (_MM_PERM_ENUM)0xb1);
}

void tn_mm_strip_bf16_amx(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k)
{
    const float *src = a->a + m0 * a->rs + k0 * a->ks;

    for (int64_t i = 0; i < k; i += 32, dst += 16 * rows) {
        if (a->ks == 1) {
            __mmask16 low = first_lanes(k - i), high = first_lanes(k - i - 16);
            for (int r = 0; r < rows; r++) {
                const float *x = src + r * a->rs + i;
                _mm512_storeu_si512(dst + 16 * r, row_words(_mm512_maskz_loadu_ps(low, x), _mm512_maskz_loadu_ps(high, x + 16)));
            }
            continue;
        }
        for (int r = 0; r < rows; r += 16) {                        /* k-major: lanes are rows, which become columns */
            __mmask16 lane = first_lanes(rows - r);
            __m512    v[16];
#pragma GCC unroll 16
            for (int w = 0; w < 16; w++) {
                int64_t      j = i + (w ^ 1);
                const float *x = src + r + j * a->ks;
                v[w] = _mm512_castsi512_ps(pair(_mm512_maskz_loadu_ps(j < k ? lane : 0, x), _mm512_maskz_loadu_ps(j + 16 < k ? lane : 0, x + 16 * a->ks)));
            }
            transpose16(v);
#pragma GCC unroll 16
            for (int w = 0; w < 16; w++)
                if (r + w < rows) _mm512_storeu_ps((float *)(void *)(dst + 16 * (r + w)), v[w]);
        }
    }
}

void tn_mm_pairs_amx(uint32_t *dst, const float *src, int64_t k)
{
    for (int64_t i = 0; i < k; i += 32)
        for (int w = 0; w < 16; w++) {
            int64_t j    = i + (w ^ 1);
            __m512  low  = j < k ? _mm512_load_ps(src + j * TN_PANEL) : _mm512_setzero_ps();
            __m512  high = j + 16 < k ? _mm512_load_ps(src + (j + 16) * TN_PANEL) : _mm512_setzero_ps();
            _mm512_store_si512(dst + (i / 2 + w) * TN_PANEL, pair(low, high));
        }
}
