/* matmul_q8_avx512_amx.c - q8act on the matrix unit: TDPBSSD makes the exact sums of a block of 32 k for up
 * to 16 rows x 16 outputs at once, the vector unit scales them and continues the chains. Sums of integers are
 * exact whoever adds them, so the bits are those of q8act.c.
 *
 *        strip ─┐                                   store        scale, add
 *        panel ─┴→ unit: sums of block u ──→ block u - 2 ──→ block u - 4 ──→ chains in registers ──→ C
 *                  one of four registers      ring of four       up to 16 vectors
 *
 *   strip   [block][height][32 bytes], behind it numbers [block][2][height]: d, then d times the sum of the codes (formats with a
 *           minimum); a tile of `height` rows
 *   panel   [block][8 words of 4 k][16 outputs], signed bytes without bias: q8_0 lies so already, others are made, a piece of k at a time
 *
 * What limits it. While instructions of the unit run, the vector unit does one conversion, product or
 * addition of 512 bits a cycle instead of two, and a row of a block needs three: 48 cycles for 16 rows, 8192
 * multiply-adds. VPDPBUSD needs 88. Storing the sums takes 16 cycles whatever the height, so that few rows
 * gain little. */
#include "tensor/cpu/matmul_avx512.h"
#include "tensor/cpu/q8_numbers_avx512.h"

enum {
    HEIGHT = 16, /* rows of a register */
    ROWS = 256,  /* of a block: its strips, and some of C, stay in the second cache */
    SLOT = 256,  /* words of a register of sums */
    PIECE = 48,  /* blocks of a panel that is made: it stays in the first cache */
    AHEAD = 12,  /* blocks fetched before they are needed */
    PANEL_BYTES = PIECE * 512,
    STRIP_BYTES = 1 << 20, /* of a block of rows; with a panel it fits the slots of gemm.c */
};

/* -------------------------------------------------------------------------------------------- activations */

/* One row of a strip. */
static inline __attribute__((always_inline)) void row_strip(uint8_t *codes, float *numbers, const float *x,
                                                            int height, int64_t n_block, bool sums)
{
    const size_t step = (size_t)height * 32;

    for (int64_t i = 0; i < n_block;
         i += GROUP, x += 32 * GROUP, codes += step * GROUP, numbers += 2 * height * GROUP) {
        int     n = n_block - i < GROUP ? (int)(n_block - i) : GROUP;
        __m512i v[GROUP];
        float   inverse[GROUP], d[GROUP];
        __m512  scale = scales_of(x, n, inverse);
        _mm512_storeu_ps(d, scale);
        for (int j = 0; j < n; j++) {
            __m512   by = _mm512_set1_ps(inverse[j]);
            __m512i  low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 32 * j), by));
            __m512i  high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 32 * j + 16), by));
            uint8_t *out = codes + step * (size_t)j;
            _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtepi32_epi8(low));
            _mm_storeu_si128((__m128i *)(void *)(out + 16), _mm512_cvtepi32_epi8(high));
            if (sums) v[j] = _mm512_add_epi32(low, high);
            numbers[2 * height * j] = d[j];
        }
        if (!sums) continue;
        for (int j = n; j < GROUP; j++) v[j] = _mm512_setzero_si512();
        _mm512_storeu_ps(d, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sum_of(v))));
        for (int j = 0; j < n; j++) numbers[2 * height * j + height] = d[j];
    }
}

static bool has_minimum(tn_dtype t) { return t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q4_K || t == TN_Q5_K; }

/* Rows m0 .. m0 + rows of A, n_block blocks from k0 on. The numbers of rows that do not exist are zero. */
static void strip(uint8_t *codes, float *numbers, const tn_mm_a *a, int64_t m0, int rows, int height,
                  int64_t k0, int64_t n_block, bool sums)
{
    for (int r = 0; r < rows; r++) { /* a row is contiguous: only y = x w^T comes here */
        const float *x = a->a + (m0 + r) * a->rs + k0;
        if (sums) row_strip(codes + 32 * r, numbers + r, x, height, n_block, true);
        else row_strip(codes + 32 * r, numbers + r, x, height, n_block, false);
    }
    for (int64_t i = 0; i < 2 * n_block; i++)
        for (int r = rows; r < height; r++) numbers[i * height + r] = 0.0f;
}

/* ------------------------------------------------------------------------------------------------- panels */

/* A matrix of bits for GF2P8AFFINEQB: which bit of the source byte becomes bit 0, 1, 2, 3, 4, and each one
 * above. */
static inline __attribute__((always_inline)) __m512i bits_from(uint8_t b0, uint8_t b1, uint8_t b2, uint8_t b3,
                                                               uint8_t b4, uint8_t above)
{
    return _mm512_set1_epi64((long long)((uint64_t)b0 << 56 | (uint64_t)b1 << 48 | (uint64_t)b2 << 40 |
                                         (uint64_t)b3 << 32 | (uint64_t)b4 << 24 |
                                         (uint64_t)above * 0x10101u));
}

/* The eight words of a block as signed bytes, bias taken off. A code less half of its range is the code with
 * its top bit turned over, which then is the sign: one affine map of bits does both. */
static inline __attribute__((always_inline)) void signed_words(__m512i *dst, const uint8_t *codes, tn_dtype t,
                                                               tn_layout l)
{
    const __m512i *word = (const __m512i *)(const void *)codes;
    const bool     q4 = t == TN_Q4_0;
    const __m512i  low = bits_from(1, 2, 4, 8, q4 ? 8 : 0, q4 ? 8 : 0),
                  high = bits_from(16, 32, 64, 128, q4 ? 128 : 0, q4 ? 128 : 0);

#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m512i w = _mm512_load_si512(word + g / 2), by = g % 2 == 0 ? low : high;
        __m512i q = q4 ? _mm512_gf2p8affine_epi64_epi8(w, by, 0xf8) : _mm512_gf2p8affine_epi64_epi8(w, by, 0);
        if (l == TN_L_C5) {
            const uint8_t bit = (uint8_t)(1 << g);
            __m512i       h = _mm512_load_si512(word + 4);
            h = t == TN_Q5_0 ? _mm512_gf2p8affine_epi64_epi8(h, bits_from(0, 0, 0, 0, bit, bit), 0xf0)
                             : _mm512_gf2p8affine_epi64_epi8(h, bits_from(0, 0, 0, 0, bit, 0), 0);
            q = _mm512_or_si512(q, h);
        } else if (l == TN_L_C6) {
            const uint8_t bit = (uint8_t)(1 << 2 * (g % 4));
            __m512i       h = _mm512_load_si512(word + 4 + g / 4);
            q = _mm512_or_si512(
                q, _mm512_gf2p8affine_epi64_epi8(h, bits_from(0, 0, 0, 0, bit, (uint8_t)(bit << 1)), 0xe0));
        }
        _mm512_store_si512(dst + g, q);
    }
}

static inline __attribute__((always_inline)) void blocks(uint8_t *dst, const uint8_t *codes, tn_dtype t,
                                                         tn_layout l, int64_t b0, int64_t n_block)
{
    const size_t bytes = l == TN_L_C4 ? 256 : l == TN_L_C5 ? 320 : 384;

    codes += (size_t)b0 * bytes;
    for (int64_t i = 0; i < n_block; i++, codes += bytes, dst += 512) {
        for (size_t line = 0; line < bytes; line += 64)
            __builtin_prefetch(codes + AHEAD * bytes + line, 0, 2);
        signed_words((__m512i *)(void *)dst, codes, t, l);
    }
}

static void panel(uint8_t *dst, const tn_weight *w, int64_t i_panel, int64_t b0, int64_t n_block)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride;

    switch (w->dtype) {
    case TN_Q4_0: blocks(dst, codes, TN_Q4_0, TN_L_C4, b0, n_block); break;
    case TN_Q4_1:
    case TN_Q4_K: blocks(dst, codes, TN_Q4_K, TN_L_C4, b0, n_block); break;
    case TN_Q5_0: blocks(dst, codes, TN_Q5_0, TN_L_C5, b0, n_block); break;
    case TN_Q5_1:
    case TN_Q5_K: blocks(dst, codes, TN_Q5_K, TN_L_C5, b0, n_block); break;
    default: blocks(dst, codes, TN_Q6_K, TN_L_C6, b0, n_block); break;
    }
}

/* ----------------------------------------------------------------------------------------------- products */

/* One panel times all tiles of a block of rows, over a stretch of k. */
typedef struct stretch {
    float         *c; /* first row, first column of the panel */
    int64_t        ldc, n_row, n_tile, n_block, block0;
    const uint8_t *codes; /* of the first tile's first block of the stretch */
    const float   *numbers;
    size_t         strip_bytes; /* from tile to tile */
    const uint8_t *panel, *scales;
    bool           fetch, load; /* the panel comes from memory; the chains go on */
    uint16_t       mask;
} stretch;

typedef struct tile_config {
    uint8_t  palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t  rows[16];
} tile_config;

/* Registers 0 to 3 hold sums, 4 and 5 rows, 6 and 7 outputs. */
static void configure(int height, int a_bytes, int b_rows)
{
    tile_config tc = { .palette = 1 };

    for (int i = 0; i < 8; i++) {
        tc.row_bytes[i] = (uint16_t)(i / 2 == 2 ? a_bytes : 64);
        tc.rows[i] = (uint8_t)(i / 2 == 3 ? b_rows : height);
    }
    /* the intrinsic would read, for gcc 12, only the first bytes */
    __asm__ volatile("ldtilecfg %0" ::"m"(tc));
}

static inline int64_t tile_row(const stretch *s, int64_t t) { return s->n_row * t / s->n_tile; }

/* C is written where no cache holds it: without this its stores wait, and with them those of the sums. */
static inline void fetch_tile(const stretch *s, int64_t t)
{
    if (t < s->n_tile)
        for (int64_t row = tile_row(s, t), end = tile_row(s, t + 1); row < end; row++)
            __builtin_prefetch(s->c + row * s->ldc, 1);
}

/* Step u: the sums of unit u - 2 are stored, those of unit u made. */
#define UNIT(sums, before, rows, outputs)                                                                    \
    if (u >= 2 && u < n + 2) _tile_stored(before, ring + (before)*SLOT, 64);                                 \
    if (u < n) {                                                                                             \
        _tile_loadd(rows, a, 32);                                                                            \
        _tile_loadd(outputs, b, 64);                                                                         \
        _tile_zero(sums);                                                                                    \
        _tile_dpbssd(sums, rows, outputs);                                                                   \
    }

static inline __attribute__((always_inline)) __m512 sums_of(const int32_t *slot, int i)
{
    return _mm512_cvtepi32_ps(_mm512_load_si512(slot + i * 16));
}

/* One block joins the chains. before: the slot of the first 16 k of q6_k. */
static inline __attribute__((always_inline)) void chains_add(__m512 acc[HEIGHT], int height, tn_dtype t,
                                                             const int32_t *slot, const int32_t *before,
                                                             const float *numbers, const uint8_t *scales,
                                                             int64_t block)
{
    block_scale s = t == TN_Q6_K ? (block_scale){ halves(scales + block / 8 * 288), _mm512_setzero_ps() }
                                 : scale_of(scales, t, block, 0);
    __m512      sc[2];

    if (t == TN_Q6_K)
        for (int half = 0; half < 2; half++)
            sc[half] = bytes_i8(scales + block / 8 * 288 + 32 + (2 * (block % 8) + half) * 16);
#pragma GCC unroll 16
    for (int i = 0; i < height; i++) {
        __m512 total = sums_of(slot, i);
        if (t == TN_Q6_K) total = _mm512_fmadd_ps(sc[1], total, _mm512_mul_ps(sc[0], sums_of(before, i)));
        acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(s.d, _mm512_set1_ps(numbers[i])), total, acc[i]);
        if (t == TN_Q4_1 || t == TN_Q4_K)
            acc[i] = _mm512_fmadd_ps(s.m, _mm512_set1_ps(numbers[height + i]), acc[i]);
    }
}

/* t stands for all formats with the same scales. A unit is a block; of q6_k, which has a scale for 16 k, half
 * a block. */
static inline __attribute__((always_inline)) void multiply(tn_dtype t, int height, const stretch *s)
{
    const bool           half = t == TN_Q6_K;
    const int64_t        n_unit = half ? 2 * s->n_block : s->n_block, n = s->n_tile * n_unit;
    const uint8_t       *a = s->codes, *b = s->panel;
    const float         *numbers = s->numbers;
    int64_t              tile = 0, unit = 0, tile_done = 0, unit_done = 0;
    __m512               acc[HEIGHT];
    _Alignas(64) int32_t ring[4 * SLOT];

#pragma GCC unroll 16
    for (int i = 0; i < height; i++) acc[i] = _mm512_setzero_ps();
    fetch_tile(s, 0);
    for (int64_t u = 0; u < n + 4; u++) {
        switch (u % 4) { /* registers are named by literals */
        case 0: UNIT(0, 2, 4, 6) break;
        case 1: UNIT(1, 3, 5, 7) break;
        case 2: UNIT(2, 0, 4, 6) break;
        default: UNIT(3, 1, 5, 7) break;
        }
        if (tile == 0 && s->fetch)
            for (int line = 0; line < 8; line++) __builtin_prefetch(b + AHEAD * 512 + 64 * line, 0, 2);
        a += half ? (u % 2 == 0 ? 16 : 32 * height - 16) : 32 * height;
        b += half ? 256 : 512;
        if (++unit == n_unit) {
            unit = 0;
            a = s->codes + (size_t)++tile * s->strip_bytes;
            b = s->panel;
        }
        if (u < 4) continue;

        if (unit_done == 0) {
            int64_t row = tile_row(s, tile_done), rows = tile_row(s, tile_done + 1) - row;
            fetch_tile(s, tile_done + 1);
#pragma GCC unroll 16
            for (int i = 0; i < height; i++)
                acc[i] = s->load && i < rows ? _mm512_maskz_loadu_ps(s->mask, s->c + (row + i) * s->ldc)
                                             : _mm512_setzero_ps();
        }
        if (!half || u % 2 == 1) {
            chains_add(acc, height, t, ring + u % 4 * SLOT, ring + (u + 3) % 4 * SLOT, numbers, s->scales,
                       s->block0 + (half ? unit_done / 2 : unit_done));
            numbers += 2 * height;
        }
        if (++unit_done == n_unit) {
            int64_t row = tile_row(s, tile_done), rows = tile_row(s, tile_done + 1) - row;
#pragma GCC unroll 16
            for (int i = 0; i < height; i++)
                if (i < rows)
                    _mm512_mask_storeu_ps(s->c + (row + i) * s->ldc, s->mask, nan_canonical(acc[i]));
            unit_done = 0;
            numbers = (const float *)(const void *)((const uint8_t *)s->numbers +
                                                    (size_t)++tile_done * s->strip_bytes);
        }
    }
}

typedef void (*multiply_fn)(const stretch *s);

/* Heights are even: a row too many costs less than twice as many functions. */
#define MULTIPLY(name, t, height)                                                                            \
    static void name##_##height(const stretch *s) { multiply(t, height, s); }
// clang-format off
#define HEIGHTS(X, name, t)                                                                                  \
    X(name, t, 2)                                                                                            \
    X(name, t, 4) X(name, t, 6) X(name, t, 8) X(name, t, 10) X(name, t, 12) X(name, t, 14) X(name, t, 16)
// clang-format on
#define ENTRY(name, t, height) name##_##height,
#define SCALES(name, t)                                                                                      \
    HEIGHTS(MULTIPLY, name, t)                                                                               \
    static const multiply_fn name##_fns[HEIGHT / 2] = { HEIGHTS(ENTRY, name, t) };

SCALES(plain, TN_Q8_0)
SCALES(minimum, TN_Q4_1)
SCALES(k_minimum, TN_Q4_K)
SCALES(k_six, TN_Q6_K)

static multiply_fn function_of(tn_dtype t, int height)
{
    switch (t) {
    case TN_Q4_1:
    case TN_Q5_1: return minimum_fns[height / 2 - 1];
    case TN_Q4_K:
    case TN_Q5_K: return k_minimum_fns[height / 2 - 1];
    case TN_Q6_K: return k_six_fns[height / 2 - 1];
    default: return plain_fns[height / 2 - 1];
    }
}

/* Rows from which the unit is faster than VPDPBUSD: panels must be made but for q8_0, q6_k takes twice the
 * steps. */
static int64_t fewest_rows(tn_dtype t) { return t == TN_Q8_0 ? 6 : t == TN_Q6_K ? 14 : 10; }

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* n blocks of the next panel come from memory while this one is computed with: its scales, and the codes that
 * must be made into bytes first. (Codes that are used where they lie are asked for block by block, see
 * multiply.) */
static inline void fetch_next(const tn_weight *w, int64_t i_panel, int64_t block0, int64_t n_block)
{
    const size_t a_block = tn_layout_block_bytes(w->layout),
                 scale_bytes = w->scale_stride * (size_t)(n_block * 32) / (size_t)w->n_in;
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride + (size_t)block0 * a_block;
    const uint8_t *scales = w->scales + (size_t)i_panel * w->scale_stride +
                            w->scale_stride * (size_t)(block0 * 32) / (size_t)w->n_in;

    for (size_t i = 0; i < scale_bytes; i += 64) __builtin_prefetch(scales + i);
    for (size_t i = 0; w->layout != TN_L_C8 && i < (size_t)n_block * a_block; i += 64)
        __builtin_prefetch(codes + i, 0, 2);
}

/* Rows m0 .. m0 + n_row, at most ROWS, by all panels. */
static void rows_by_panels(const tn_mm *mm, int64_t m0, int64_t n_row, int64_t p0, int64_t p1,
                           uint8_t *scratch)
{
    const tn_weight *w = mm->b.w;
    const bool       there = w->layout == TN_L_C8;
    const int64_t    n_tile = ceil_div(n_row, HEIGHT), n_all = mm->k / 32;
    const int        height = (int)(ceil_div(n_row, n_tile) + 1) / 2 * 2;
    const int64_t    row_bytes = 32 + 2 * sizeof(float);
    const int64_t    n_part = ceil_div(n_all * n_tile * height * row_bytes, STRIP_BYTES);
    uint8_t         *made = scratch, *strips = scratch + PANEL_BYTES;
    multiply_fn      run = function_of(w->dtype, height);
    stretch          s = { .ldc = mm->ldc, .n_row = n_row, .n_tile = n_tile, .fetch = there };

    configure(height, w->dtype == TN_Q6_K ? 16 : 32, w->dtype == TN_Q6_K ? 4 : 8);
    for (int64_t part = 0; part < n_part; part++) { /* of equal length */
        int64_t first = n_all * part / n_part, n = n_all * (part + 1) / n_part - first,
                piece = there ? n : ceil_div(n, ceil_div(n, PIECE));
        size_t numbers_at = (size_t)(n * height) * 32;
        s.strip_bytes = (numbers_at + (size_t)(n * height) * 2 * sizeof(float) + 63) / 64 * 64;
        for (int64_t i = 0; i < n_tile; i++) {
            uint8_t *codes = strips + (size_t)i * s.strip_bytes;
            int64_t  row = tile_row(&s, i);
            strip(codes, (float *)(void *)(codes + numbers_at), &mm->a, m0 + row,
                  (int)(tile_row(&s, i + 1) - row), height, first * 32, n, has_minimum(w->dtype));
        }
        for (int64_t p = p0; p < p1; p++) {
            int64_t i_panel = mm->b.first / TN_PANEL + p;
            s.c = mm->c + m0 * mm->ldc + tn_mm_panel_column(mm, p);
            s.mask = tn_mm_panel_mask(mm, p);
            s.scales = w->scales + (size_t)i_panel * w->scale_stride;
            for (int64_t at = 0; at < n; at += piece) {
                s.block0 = first + at;
                s.n_block = min64(piece, n - at);
                s.load = mm->add || s.block0 > 0;
                s.codes = strips + (size_t)(at * height) * 32;
                s.numbers = (const float *)(const void *)(strips + numbers_at) + at * height * 2;
                s.panel = there ? w->codes + (size_t)i_panel * w->code_stride + (size_t)s.block0 * 512 : made;
                if (!there) panel(made, w, i_panel, s.block0, s.n_block);
                if (at == 0 && p + 1 < p1) fetch_next(w, i_panel + 1, first, piece);
                __asm__ volatile("" ::: "memory"); /* loads of tiles are not known to read */
                run(&s);
            }
        }
    }
    _tile_release();
}

bool tn_mm_q8_amx(const tn_mm *mm, int64_t m0, int64_t m1, int64_t p0, int64_t p1, uint8_t *scratch)
{
    const int64_t n_part = ceil_div(m1 - m0, ROWS);

    if (m1 - m0 < fewest_rows(mm->b.w->dtype)) return false;
    for (int64_t i = 0; i < n_part; i++) { /* of equal height */
        int64_t row = m0 + (m1 - m0) * i / n_part, end = m0 + (m1 - m0) * (i + 1) / n_part;
        rows_by_panels(mm, row, end - row, p0, p1, scratch);
    }
    return true;
}
