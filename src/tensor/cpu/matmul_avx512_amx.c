/* matmul_avx512_amx.c - strict-bf16 on the matrix unit: TDPBF16PS multiplies 16 rows x 32 k by 32 k x 16
 * outputs.
 *
 * The instruction keeps two chains of 16 steps for an output, from +0: over the low and over the high half of
 * the words; their sum joins C, denormals are flushed in every step. This is a block of the definition
 * (gemm_ref.c) when word w of a row holds k = w^1 low and k = 16 + (w^1) high: each half is then one chain,
 * "odd before even".
 *
 *   A's rows                      →  strips  [32 k][rows, up to 32][16 words]     a row of a tile register is 64 bytes of it
 *   B in whatever form it has     →  panels  [32 k][16 words][16 outputs]
 *   strips x panels, 32 rows x 2 panels at a time  →  C
 *
 * 32 rows x 2 panels take all eight registers: four of C, two of A, two of B. Registers always have their
 * full height: rows behind the last one are read from what follows in the scratch memory, and their results
 * are dropped. */
#include "tensor/cpu/matmul_avx512.h"

/* words of a tile register; rows of a strip; a class of VFPCLASSPS */
enum { REGISTER = 16 * TN_PANEL, ROWS = TN_MM_UNIT_ROWS, DENORMAL = 0x20 };

typedef struct tile_config {
    uint8_t  palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t  rows[16];
} tile_config;

/* Static: to the compiler the instruction reads only the first bytes of it. */
static const tile_config all_registers_full = { .palette = 1,
                                                .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
                                                .rows = { 16, 16, 16, 16, 16, 16, 16, 16 } };

static void begin(void) { _tile_loadconfig(&all_registers_full); }

static void end(void)
{
    _tile_release();
    _mm_sfence(); /* rows that went past the caches are there for the other threads */
}

/* ------------------------------------------------------------------------------------------------ product */

/* Results on their way to C. They are written while the next ones are computed: C is larger than the caches,
 * and the unit would wait for its stores. */
typedef struct results {
    _Alignas(64) float block[2][ROWS * 2 * TN_PANEL]; /* [rows][2 panels], those in work and those before */
    float   *c;                                       /* of those before */
    int64_t  ldc;
    int      rows, np, now;
    uint16_t mask[2];
    bool     stream;
} results;

/* `rows` rows from `from` to C; stream: past the caches. */
static inline __attribute__((always_inline)) void rows_put(float *c, int64_t ldc, const float *from, int rows,
                                                           int np, const uint16_t mask[2], bool stream)
{
    if (stream) {
        for (int i = 0; i < rows; i++, c += ldc, from += 2 * TN_PANEL)
            for (int j = 0; j < np; j++)
                _mm512_stream_ps(c + j * TN_PANEL, nan_canonical(_mm512_load_ps(from + j * TN_PANEL)));
        return;
    }
    for (int i = 0; i < rows; i++, c += ldc, from += 2 * TN_PANEL) {
        _mm512_mask_storeu_ps(c, mask[0], nan_canonical(_mm512_load_ps(from)));
        if (np > 1)
            _mm512_mask_storeu_ps(c + TN_PANEL, mask[1], nan_canonical(_mm512_load_ps(from + TN_PANEL)));
    }
}

/* What C holds of rows and panels that need not all exist; what does not is zero. */
static void rows_take(float *to, const float *c, int64_t ldc, int rows, int np, const uint16_t mask[2])
{
    for (int i = 0; i < ROWS; i++, to += 2 * TN_PANEL) {
        _mm512_store_ps(to, i < rows ? _mm512_maskz_loadu_ps(mask[0], c + i * ldc) : _mm512_setzero_ps());
        _mm512_store_ps(to + TN_PANEL, i < rows && np > 1
                                           ? _mm512_maskz_loadu_ps(mask[1], c + i * ldc + TN_PANEL)
                                           : _mm512_setzero_ps());
    }
    __asm__ volatile("" ::: "memory"); /* gcc does not know that tile loads read it */
}

/* Up to 32 rows x 2 panels. Registers are named by literals: C's are 0 and 1 for the upper rows, 2 and 3 for
 * the lower ones. A is read again for each pair of panels and stays in the first cache as far as it fits; the
 * panels go by. */
static inline __attribute__((always_inline)) void tile(bool lower, bool two, float *c, int64_t ldc, int rows,
                                                       const uint32_t *a, const uint32_t *b0,
                                                       const uint32_t *b1, int64_t n_block,
                                                       const uint16_t *mask, bool load, results *r)
{
    const int put_rows = r->rows, put_step = (int)((put_rows + n_block - 1) / n_block), line = 2 * TN_PANEL;
    float    *block = r->block[r->now], *put_c = r->c;
    const float *put_from = r->block[r->now ^ 1];
    int          put = 0;

    if (load) {
        const float *from = c;
        int64_t      ld = ldc;
        if (rows < (lower ? 32 : 16) || mask[0] != 0xffff || (two && mask[1] != 0xffff)) {
            rows_take(block, c, ldc, rows, two ? 2 : 1, mask);
            from = block;
            ld = line;
        }
        _tile_loadd(0, from, ld * 4);
        if (two) _tile_loadd(1, from + TN_PANEL, ld * 4);
        if (lower) _tile_loadd(2, from + 16 * ld, ld * 4);
        if (lower && two) _tile_loadd(3, from + 16 * ld + TN_PANEL, ld * 4);
    } else {
        _tile_zero(0);
        if (two) _tile_zero(1);
        if (lower) _tile_zero(2);
        if (lower && two) _tile_zero(3);
    }
    for (int64_t i = 0; i < n_block; i++, a += rows * 16, b0 += REGISTER, b1 += REGISTER) {
        _tile_stream_loadd(6, b0, 64);
        _tile_loadd(4, a, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (two) {
            _tile_stream_loadd(7, b1, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (lower) {
            _tile_loadd(5, a + REGISTER, 64);
            _tile_dpbf16ps(2, 5, 6);
            if (two) _tile_dpbf16ps(3, 5, 7);
        }
        if (put < put_rows) {
            int n = put_rows - put < put_step ? put_rows - put : put_step;
            rows_put(put_c, r->ldc, put_from, n, r->np, r->mask, r->stream);
            put += n, put_c += n * r->ldc, put_from += n * line;
        }
    }
    _tile_stored(0, block, line * 4);
    if (two) _tile_stored(1, block + TN_PANEL, line * 4);
    if (lower) _tile_stored(2, block + 16 * line, line * 4);
    if (lower && two) _tile_stored(3, block + 16 * line + TN_PANEL, line * 4);
    __asm__ volatile("" ::: "memory"); /* nor that these write it */
    r->c = c, r->ldc = ldc, r->rows = rows, r->np = two ? 2 : 1, r->now ^= 1;
    r->mask[0] = mask[0], r->mask[1] = two ? mask[1] : 0;
}

static void product(const tn_mm_block *b)
{
    results r;

    r.rows = r.now = r.np = 0, r.c = NULL, r.ldc = 0, r.mask[0] = r.mask[1] = 0;
    r.stream = b->stream && ((uintptr_t)b->c | (uintptr_t)b->ldc * 4) % 64 == 0; /* whole lines */
    for (int j = 0; j < b->n_panel; j++) r.stream = r.stream && b->mask[j] == 0xffff;
    for (int64_t row = 0; row < b->n_row; row += ROWS) {
        int             rows = b->n_row - row < ROWS ? (int)(b->n_row - row) : ROWS;
        const uint32_t *a = b->strips + row * b->n_block * 16;
        for (int j = 0; j < b->n_panel; j += 2) {
            const uint32_t *b0 = b->panels + j * b->n_block * REGISTER, *b1 = b0 + b->n_block * REGISTER;
            float          *c = b->c + row * b->ldc + j * TN_PANEL;
            bool            two = j + 1 < b->n_panel;
            if (rows > 16 && two)
                tile(true, true, c, b->ldc, rows, a, b0, b1, b->n_block, b->mask + j, b->load, &r);
            else if (rows > 16)
                tile(true, false, c, b->ldc, rows, a, b0, b0, b->n_block, b->mask + j, b->load, &r);
            else if (two) tile(false, true, c, b->ldc, rows, a, b0, b1, b->n_block, b->mask + j, b->load, &r);
            else tile(false, false, c, b->ldc, rows, a, b0, b0, b->n_block, b->mask + j, b->load, &r);
        }
    }
    rows_put(r.c, r.ldc, r.block[r.now ^ 1], r.rows, r.np, r.mask, r.stream);
}

/* ------------------------------------------------------------------------------------------------- strips */

static inline __mmask16 first_lanes(int64_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1);
}

/* The words of two vectors: lane by lane, or (row) those of a row's 32 k, whose neighbours change places. The
 * instruction takes denormals as zero, but the largest ones round to a normal number: vectors that hold one
 * go the long way. What a NaN's payload becomes does not matter: the product's NaN is canonical. */
static inline __attribute__((always_inline)) __m512i words(__m512 low, __m512 high, bool row)
{
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i place = row ? _mm512_xor_si512(lane, _mm512_set1_epi32(1)) : lane;
    const __m512i order = _mm512_add_epi32(_mm512_mullo_epi32(place, _mm512_set1_epi32(0x10001)),
                                           _mm512_set1_epi32(0x100000));

    if (__builtin_expect(
            !_mm512_kortestz(_mm512_fpclass_ps_mask(low, DENORMAL), _mm512_fpclass_ps_mask(high, DENORMAL)),
            0)) {
        __m512i w = pair(low, high);
        return row ? _mm512_shuffle_epi32(w, (_MM_PERM_ENUM)0xb1) : w;
    }
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

static void strip(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k)
{
    const float *src = a->a + m0 * a->rs + k0 * a->ks;

    if (a->ks == 1) {
        for (int r = 0; r < rows; r++, src += a->rs) {
            uint32_t *to = dst + 16 * r;
            int64_t   i = 0;
            for (; i + 32 <= k; i += 32, to += 16 * rows)
                _mm512_store_si512(to, words(_mm512_loadu_ps(src + i), _mm512_loadu_ps(src + i + 16), true));
            if (i < k)
                _mm512_store_si512(to,
                                   words(_mm512_maskz_loadu_ps(first_lanes(k - i), src + i),
                                         _mm512_maskz_loadu_ps(first_lanes(k - i - 16), src + i + 16), true));
        }
        return;
    }
    for (int64_t i = 0; i < k; i += 32, dst += 16 * rows)
        for (int r = 0; r < rows; r += 16) { /* k-major: lanes are rows, which become columns */
            __mmask16 lane = first_lanes(rows - r);
            __m512    v[16];
#pragma GCC unroll 16
            for (int w = 0; w < 16; w++) {
                int64_t      j = i + (w ^ 1);
                const float *x = src + r + j * a->ks;
                v[w] = _mm512_castsi512_ps(words(_mm512_maskz_loadu_ps(j < k ? lane : 0, x),
                                                 _mm512_maskz_loadu_ps(j + 16 < k ? lane : 0, x + 16 * a->ks),
                                                 false));
            }
            transpose16(v);
#pragma GCC unroll 16
            for (int w = 0; w < 16; w++)
                if (r + w < rows) _mm512_store_ps((float *)(void *)(dst + 16 * (r + w)), v[w]);
        }
}

/* ------------------------------------------------------------------------------------------------- panels */

/* Words of panels from fp32 panels [k][16]. */
static void pairs(uint32_t *dst, const float *src, int64_t k)
{
    for (int64_t i = 0; i < k; i += 32)
        for (int w = 0; w < 16; w++) {
            int64_t j = i + (w ^ 1);
            __m512  low = j < k ? _mm512_load_ps(src + j * TN_PANEL) : _mm512_setzero_ps();
            __m512  high = j + 16 < k ? _mm512_load_ps(src + (j + 16) * TN_PANEL) : _mm512_setzero_ps();
            _mm512_store_si512(dst + (i / 2 + w) * TN_PANEL, words(low, high, false));
        }
}

static inline __m512 load_row(const uint8_t *p, tn_dtype t, __mmask16 mask)
{
    if (t == TN_F32) return _mm512_maskz_loadu_ps(mask, p);
    return bf16_to_f32(_mm256_maskz_loadu_epi16(mask, p));
}

/* rows[k][n]: both halves of a word lie in the same lane already. */
static void panels_kn(uint32_t *dst, const tn_mm_b *b, int64_t n0, int64_t n, int np, int64_t k0, int64_t k)
{
    const int64_t  bytes = b->dtype == TN_F32 ? 4 : 2, panel = (k + 31) / 32 * REGISTER;
    const uint8_t *src = (const uint8_t *)b->rows + (k0 * b->ld + n0) * bytes;

    for (int64_t i = 0; i < k; i += 32)
        for (int w = 0; w < 16; w++) {
            int64_t        j = i + (w ^ 1);
            const uint8_t *low = src + j * b->ld * bytes, *high = low + 16 * b->ld * bytes;
            for (int p = 0; p < np; p++) {
                __mmask16 lane = first_lanes(n - p * TN_PANEL);
                _mm512_store_si512(
                    dst + p * panel + (i / 2 + w) * TN_PANEL,
                    words(load_row(low + p * TN_PANEL * bytes, b->dtype, j < k ? lane : 0),
                          load_row(high + p * TN_PANEL * bytes, b->dtype, j + 16 < k ? lane : 0), false));
            }
        }
}

/* rows[n][k]: like strips, turned. */
static void panels_nk(uint32_t *dst, const tn_mm_b *b, int64_t n0, int64_t n, int np, int64_t k0, int64_t k)
{
    const int64_t bytes = b->dtype == TN_F32 ? 4 : 2;

    for (int p = 0; p < np; p++)
        for (int64_t i = 0; i < k; i += 32, dst += REGISTER) {
            const uint8_t *src = (const uint8_t *)b->rows + ((n0 + p * TN_PANEL) * b->ld + k0 + i) * bytes;
            __m512         v[16];
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                int64_t left = p * TN_PANEL + r < n ? k - i : 0;
                v[r] = _mm512_castsi512_ps(
                    words(load_row(src + r * b->ld * bytes, b->dtype, first_lanes(left)),
                          load_row(src + (r * b->ld + 16) * bytes, b->dtype, first_lanes(left - 16)), true));
            }
            transpose16(v);
#pragma GCC unroll 16
            for (int w = 0; w < 16; w++) _mm512_store_ps((float *)(void *)(dst + w * TN_PANEL), v[w]);
        }
}

/* Words (k low, k + 1 high) of 16 pairs become the unit's: the odd k of words i and i + 8 are its word 2i,
 * the even ones its word 2i + 1. */
static inline __m512i odd_halves(__m512i first, __m512i second)
{
    return _mm512_ternarylogic_epi32(_mm512_srli_epi32(first, 16), second,
                                     _mm512_set1_epi32((int)0xffff0000u), 0xf8 /* a | (b & c) */);
}
static inline __m512i even_halves(__m512i first, __m512i second)
{
    return _mm512_ternarylogic_epi32(_mm512_slli_epi32(second, 16), first, _mm512_set1_epi32(0xffff), 0xf8);
}

static void panels_bf16(uint32_t *dst, const tn_weight *w, int64_t p, int np, int64_t k0, int64_t k)
{
    for (; np > 0; np--, p++) {
        const uint8_t *pairs_at = w->codes + (size_t)p * w->code_stride + (size_t)k0 * 32;
        for (int64_t i = 0; i < k; i += 32, dst += REGISTER, pairs_at += 1024) {
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                __m512i first = i + 2 * j < k ? _mm512_load_si512(pairs_at + 64 * j) : _mm512_setzero_si512();
                __m512i second = i + 2 * j + 16 < k ? _mm512_load_si512(pairs_at + 64 * (j + 8))
                                                    : _mm512_setzero_si512();
                _mm512_store_si512(dst + 2 * j * TN_PANEL, odd_halves(first, second));
                _mm512_store_si512(dst + (2 * j + 1) * TN_PANEL, even_halves(first, second));
            }
        }
    }
}

/* The words of 16 inputs, turned: what was a lane's word is a row's. Outputs i + 32 and on do not exist when
 * k ends before. */
static inline __attribute__((always_inline)) void turned_store(uint32_t *dst, __m512 v[16], int64_t left)
{
    transpose16(v);
#pragma GCC unroll 16
    for (int o = 0; o < 16; o++) {
        __m512i x = _mm512_castps_si512(v[o]);
        if (left < 32)
            x = _mm512_and_si512(x, _mm512_set1_epi32(o >= left ? 0 : o + 16 >= left ? 0xffff : -1));
        _mm512_store_si512(dst + (o ^ 1) * TN_PANEL, x);
    }
}

/* The same weight seen from the other side: k runs over its outputs from `first` on, two of its panels are 32
 * k; a pair of its inputs is a word. Inputs of both panels come together in words, which are then turned. */
static void panels_bf16_turned(uint32_t *dst, const tn_weight *w, int64_t first, int64_t p, int np, int64_t k)
{
    const int64_t panel = (k + 31) / 32 * REGISTER;

    for (int64_t i = 0; i < k; i += 32, dst += REGISTER) {
        const uint8_t *near = w->codes + (size_t)((first + i) / TN_PANEL) * w->code_stride + (size_t)p * 512,
                      *far = near + w->code_stride;
        for (int j = 0; j < np; j++, near += 512, far += 512) { /* 8 words: a panel's 16 inputs */
            __m512 v[16];
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) {
                __m512i a = _mm512_load_si512(near + 64 * r),
                        b = i + TN_PANEL < k ? _mm512_load_si512(far + 64 * r) : _mm512_setzero_si512();
                v[2 * r] = _mm512_castsi512_ps(even_halves(a, b));
                v[2 * r + 1] = _mm512_castsi512_ps(odd_halves(a, b));
            }
            turned_store(dst + j * panel, v, k - i);
        }
    }
}

/* Weights in codes. Their numbers are multiples of 2^-24, the smallest half, so none is a denormal. */
static inline __m512i words_normal(__m512 low, __m512 high)
{
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i order = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(0x10001)),
                                           _mm512_set1_epi32(0x100000));

    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

static inline __attribute__((always_inline)) void codes_words(uint32_t *dst, const tn_weight *w, tn_dtype t,
                                                              tn_layout l, int64_t p, int64_t block,
                                                              int64_t n_block)
{
    const code_tables tables = code_tables_of(t);
    const size_t      bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;
    const uint8_t    *codes = w->codes + (size_t)p * w->code_stride;
    const uint8_t    *scales = w->scales + (size_t)p * w->scale_stride;

    for (int64_t i = block; i < block + n_block; i++, dst += REGISTER) {
        const uint8_t *at = codes + (size_t)i * bytes;
        block_scale    first = group_scale(scales, t, i, 0);
        block_scale    second = t == TN_Q6_K ? group_scale(scales, t, i, 1) : first;
        for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(at + 4 * bytes + line);
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
            __m512 low[4], high[4];
            group_values(low, at, t, l, g, first, &tables);
            group_values(high, at, t, l, g + 4, second, &tables);
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++)
                _mm512_store_si512(dst + (4 * g + (b ^ 1)) * TN_PANEL, words_normal(low[b], high[b]));
        }
    }
}

static inline __attribute__((always_inline)) void codes_words_turned(uint32_t *dst, const tn_weight *w,
                                                                     tn_dtype t, tn_layout l, int64_t first,
                                                                     int64_t p, int np, int64_t k)
{
    const code_tables tables = code_tables_of(t);
    const int64_t     panel = (k + 31) / 32 * REGISTER;
    const size_t      bytes = l == TN_L_C8 ? 512 : l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;

    for (int64_t i = 0; i < k; i += 32, dst += REGISTER) {
        size_t         q = (size_t)((first + i) / TN_PANEL);
        const uint8_t *near = w->codes + q * w->code_stride,
                      *far = i + TN_PANEL < k ? near + w->code_stride : near;
        const uint8_t *near_scales = w->scales + q * w->scale_stride,
                      *far_scales = i + TN_PANEL < k ? near_scales + w->scale_stride : near_scales;
        for (int j = 0; j < np; j++) { /* half a block: a panel's 16 inputs */
            int64_t     block = (p + j) / 2;
            int         half = (int)((p + j) % 2);
            block_scale a = group_scale(near_scales, t, block, half),
                        b = group_scale(far_scales, t, block, half);
            __m512 v[2][16];
            if (half == 0) {
#pragma GCC unroll 4
                for (int g = 0; g < 4; g++) {
                    group_values(v[0] + 4 * g, near + (size_t)block * bytes, t, l, g, a, &tables);
                    group_values(v[1] + 4 * g, far + (size_t)block * bytes, t, l, g, b, &tables);
                }
            } else {
#pragma GCC unroll 4
                for (int g = 0; g < 4; g++) {
                    group_values(v[0] + 4 * g, near + (size_t)block * bytes, t, l, g + 4, a, &tables);
                    group_values(v[1] + 4 * g, far + (size_t)block * bytes, t, l, g + 4, b, &tables);
                }
            }
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) v[0][r] = _mm512_castsi512_ps(words_normal(v[0][r], v[1][r]));
            turned_store(dst + j * panel, v[0], k - i);
        }
    }
}

// clang-format off
#define CODES(X)                                                                                             \
    X(Q8_0, C8) X(Q4_0, C4) X(Q4_1, C4) X(Q4_K, C4) X(Q5_0, C5) X(Q5_1, C5) X(Q5_K, C5) X(Q6_K, C6)
// clang-format on

static void panels_codes(uint32_t *dst, const tn_weight *w, int64_t p, int np, int64_t k0, int64_t k)
{
    for (; np > 0; np--, p++, dst += k / 32 * REGISTER) switch (w->dtype) {
#define X(t, l)                                                                                              \
    case TN_##t: codes_words(dst, w, TN_##t, TN_L_##l, p, k0 / 32, k / 32); break;
            CODES(X)
#undef X
        default: break;
        }
}

static void panels_codes_turned(uint32_t *dst, const tn_weight *w, int64_t first, int64_t p, int np,
                                int64_t k)
{
    switch (w->dtype) {
#define X(t, l)                                                                                              \
    case TN_##t: codes_words_turned(dst, w, TN_##t, TN_L_##l, first, p, np, k); break;
        CODES(X)
#undef X
    default: break;
    }
}

static bool panels(uint32_t *dst, const tn_mm *mm, int64_t p, int np, int64_t k0, int64_t k)
{
    const tn_mm_b *b = &mm->b;

    switch (b->kind) {
    case TN_MM_B_KN: panels_kn(dst, b, p * TN_PANEL, mm->n - p * TN_PANEL, np, k0, k); return true;
    case TN_MM_B_NK: panels_nk(dst, b, p * TN_PANEL, mm->n - p * TN_PANEL, np, k0, k); return true;
    case TN_MM_B_PACKED:
        if (b->w->layout < TN_L_BF16) return false;
        (b->w->layout == TN_L_BF16 ? panels_bf16 : panels_codes)(dst, b->w, b->first / TN_PANEL + p, np, k0,
                                                                 k);
        return true;
    case TN_MM_B_PACKED_T:
        if (b->w->layout < TN_L_BF16 || b->first % TN_PANEL != 0 || b->w->n_in % 32 != 0) return false;
        (b->w->layout == TN_L_BF16 ? panels_bf16_turned : panels_codes_turned)(dst, b->w, b->first + k0, p,
                                                                               np, k);
        return true;
    }
    return false;
}

const tn_mm_unit tn_mm_unit_amx = { begin, end, strip, panels, pairs, product };
