/* gemm.c - the driver of the matrix product: who computes which part of C, and in what blocks (picture in
 * matmul.h).
 *
 * Nothing here can change a bit: every element of C is one chain whatever the cut, and no two threads share
 * an element. Threads get rectangles of C; each packs what it needs itself, so there is nothing to wait
 * for. */
#include "tensor/matmul.h"

#include "base/cpu.h"
#include "base/thread.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

enum {
    STRETCH = 1024, /* rows whose strips are kept, at most */
    /* panels that stay in the second cache; for stretches of few rows, to save memory */
    GROUP = 16,
    GROUP_LOW = 8,
    HIGH = 512, /* rows of a stretch that are many */
    STRIP_PART = 32,
    STRIP_PART_F32 = 16, /* k of all strips at a time; a block of strict-bf16 */
    ROWS_PART = 8,       /* rows of B [k][n] at a time */
    WIDENED_KC = 128,
    WIDENED_ROWS = 96,       /* a multiple of 32 */
    PAIRS_KC = 128,          /* a multiple of 32 */
    UNIT_KC = 576,           /* most k of a matrix unit's block */
    STREAM_BYTES = 32 << 20, /* of C */
    FIRST_BYTES = 8192,      /* of a rectangle's codes */
    /* floats of a page; distance between the lines of the first cache that farther rows begin on */
    PAGE = 1024,
    APART = 256,
    FEW_ROWS = 12, /* of products that are worth one region: one tile, one block of k in q8act */
    /* of a matrix unit: panels of a group, and their blocks of 32 k (192 KiB) */
    GROUP_PANELS = 8,
    GROUP_BLOCKS = 192,
};

typedef struct gemm_job {
    const tn_mm_set *set;
    const tn_mm     *mm;
    int64_t          n_panel, tm, tn; /* C is cut into tm x tn rectangles */
    uint8_t         *scratch;
    size_t           slot;     /* bytes of scratch of one rectangle */
    int64_t          stretch;  /* rows whose strips it holds */
    bool             q8, unit; /* q8act; strict-bf16 on a matrix unit */
} gemm_job;

int64_t tn_mm_panel_column(const tn_mm *mm, int64_t p)
{
    return p * TN_PANEL - (mm->b.kind == TN_MM_B_PACKED ? mm->b.first % TN_PANEL : 0);
}

uint16_t tn_mm_panel_mask(const tn_mm *mm, int64_t p)
{
    int64_t  column = tn_mm_panel_column(mm, p);
    uint32_t mask = 0xffff;

    if (column < 0) mask &= 0xffffu << -column;
    if (mm->n - column < TN_PANEL) mask &= (1u << (mm->n - column)) - 1;
    return (uint16_t)mask;
}

#if defined(__x86_64__)
static uint32_t denormals_flush(void) /* FTZ and DAZ on */
{
    uint32_t before = _mm_getcsr();

    _mm_setcsr(before | 0x8040);
    return before;
}
static void float_mode_restore(uint32_t before) { _mm_setcsr(before); }
#else
static uint32_t denormals_flush(void) { return 0; }
static void     float_mode_restore(uint32_t before) { (void)before; }
#endif

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Panel of a packed weight seen from the other side: k runs over its outputs. */
static void panel_transposed(const tn_mm_set *set, float *dst, float *tile, const tn_mm_b *b, int64_t n0,
                             int64_t k0, int64_t k)
{
    const tn_weight *w = b->w;
    int64_t          in0 = n0 / 32 * 32, n_in = min64(32, w->n_in - in0), at = (n0 - in0) * TN_PANEL;
    float           *turned = tile + 32 * TN_PANEL;

    for (int64_t o = b->first + k0, end = o + k; o < end;) {
        int64_t panel = o / TN_PANEL, lane = o % TN_PANEL, n = min64(TN_PANEL - lane, end - o);
        if (n_in < 32) memset(tile, 0, 32 * TN_PANEL * sizeof *tile);
        set->panel_packed(tile, w, panel, in0, n_in);
        set->transpose(turned, tile + at);
        memcpy(dst + (o - b->first - k0) * TN_PANEL, turned + lane * TN_PANEL,
               (size_t)(n * TN_PANEL) * sizeof *dst);
        o += n;
    }
}

/* Where a panel lies already in words of the profile; else NULL. */
static const void *panel_there(const tn_mm *mm, int64_t p, int64_t k0, int64_t k)
{
    const tn_mm_b *b = &mm->b;
    bool           bf16 = mm->profile == TN_PROFILE_STRICT_BF16;

    if (b->kind != TN_MM_B_PACKED || b->w->layout != (bf16 ? TN_L_BF16 : TN_L_F32)) return NULL;
    if (bf16 && (k0 + k) % 32 != 0) return NULL; /* a block that is not whole */
    return b->w->codes + (size_t)(b->first / TN_PANEL + p) * b->w->code_stride +
           (size_t)(bf16 ? k0 / 2 : k0) * 64;
}

/* B's panels p .. p + np, k0 .. k0 + k, as fp32 into `made`, TN_MM_KC words apart. */
static void panels_f32(const tn_mm_set *set, const tn_mm *mm, int64_t p, int np, int64_t k0, int64_t k,
                       float *made, float *tile)
{
    const tn_mm_b *b = &mm->b;

    if (b->kind == TN_MM_B_KN) {
        set->panels_kn(made, b->rows, b->dtype, b->ld, p * TN_PANEL,
                       (int)min64(np * TN_PANEL, mm->n - p * TN_PANEL), k0, k);
        return;
    }
    for (int j = 0; j < np; j++, made += TN_MM_KC * TN_PANEL) {
        int64_t n0 = (p + j) * TN_PANEL;
        if (b->kind == TN_MM_B_PACKED) set->panel_packed(made, b->w, b->first / TN_PANEL + p + j, k0, k);
        else if (b->kind == TN_MM_B_PACKED_T) panel_transposed(set, made, tile, b, n0, k0, k);
        else set->panel_nk(made, b->rows, b->dtype, b->ld, n0, (int)min64(TN_PANEL, mm->n - n0), k0, k);
    }
}

/* B's panels p .. pe, k0 .. k0 + k, as words of the profile. Rows of B [k][n] are read some at a time across
 * all of the panels, so that what is read lies together; pairs of bf16 are made a stretch at a time by way of
 * `stage`, so that their fp32 form stays in the first cache. */
static void panels_make(const tn_mm_set *set, const tn_mm *mm, int64_t p, int64_t pe, int64_t k0, int64_t k,
                        float *made, float *stage, float *tile)
{
    bool    bf16 = mm->profile == TN_PROFILE_STRICT_BF16;
    int64_t part = bf16 ? PAIRS_KC : mm->b.kind == TN_MM_B_KN ? ROWS_PART : k;

    for (int64_t i = 0; i < k; i += part) {
        int64_t n = min64(part, k - i);
        for (int64_t q = p; q < pe; q += set->np) {
            int    np = (int)min64(set->np, pe - q);
            float *dst = made + ((q - p) * TN_MM_KC + (bf16 ? i / 2 : i)) * TN_PANEL;
            panels_f32(set, mm, q, np, k0 + i, n, bf16 ? stage : dst, tile);
            for (int j = 0; bf16 && j < np; j++)
                set->pairs((uint32_t *)(void *)(dst + j * TN_MM_KC * TN_PANEL),
                           stage + j * TN_MM_KC * TN_PANEL, n);
        }
    }
}

/* A's rows m0 .. m0 + n_row, k0 .. k0 + k, as strips one after another. */
static void strips_make(const tn_mm_set *set, const tn_mm *mm, float *strips, int64_t m0, int64_t n_row,
                        int64_t k0, int64_t k, int64_t n_word /* of a row */)
{
    bool    bf16 = mm->profile == TN_PROFILE_STRICT_BF16;
    int64_t n_tile = ceil_div(n_row, bf16 ? set->mr_bf16 : set->mr), part = mm->a.ks == 1 ? k
                                                                            : bf16        ? STRIP_PART
                                                                                          : STRIP_PART_F32;
    bool    pairs = bf16 && !set->strip_bf16_wide; /* else a word of the strip is one k */

    /* A that runs along m is read a few k at a time across all strips, so that its cache lines are read
     * once. */
    for (int64_t i = 0; i < k; i += part) {
        int64_t n = min64(part, k - i);
        for (int64_t t = 0, row = 0; t < n_tile; t++) {
            int64_t next = n_row * (t + 1) / n_tile, rows = next - row;
            float  *dst = strips + row * n_word + (pairs ? i / 2 : i) * rows;
            if (bf16) set->strip_bf16((uint32_t *)(void *)dst, &mm->a, m0 + row, (int)rows, k0 + i, n);
            else set->strip(dst, &mm->a, m0 + row, (int)rows, k0 + i, n);
            row = next;
        }
    }
}

/* Panels widened from codes serve few rows once or twice only: then they must stay in the first cache. */
static bool widened_for_few(const tn_mm *mm, int64_t n_row)
{
    return mm->b.kind == TN_MM_B_PACKED && mm->b.w->layout >= TN_L_C8 && n_row <= WIDENED_ROWS;
}

static int64_t group_panels(int64_t stretch) { return stretch >= HIGH ? GROUP : GROUP_LOW; }

/* k of a block: equal parts, as a short last one would load and store C for little. */
static int64_t k_of_block(const tn_mm_set *set, const tn_mm *mm, int64_t n_row, bool in_place)
{
    int64_t word = mm->profile == TN_PROFILE_STRICT_BF16 ? 2 : 1,
            most = !in_place && set->kc_by_panel != 0 ? set->kc_by_panel : TN_MM_KC;
    int64_t n = ceil_div(mm->k, word * most);

    if (widened_for_few(mm, n_row)) return WIDENED_KC;
    return n > 1 ? ceil_div(ceil_div(mm->k, n), 32) * 32 : mm->k;
}

/* Words of a row in a slot's strips. */
static int64_t strip_words(int64_t k) { return min64(ceil_div(k, 32) * 32, TN_MM_KC); }

/* Rows of C whose strips are kept, at one block of k. */
typedef struct stretch {
    int64_t m0, n_row, k0, k;   /* rows of C from m0 on */
    int64_t n_word, strip_word; /* words of k in panels, and of a row in strips */
    float  *strips;
    bool    first, in_place; /* no panel met them yet; A is read where it lies, without strips */
} stretch;

/* Is A read where it lies, without strips? Not if its rows are pages apart and begin on the same lines of the
 * first cache, where the rows of a tile would push each other out from panel to panel. */
static bool a_in_place(const gemm_job *job, int64_t n_panel)
{
    const tn_mm *mm = job->mm;

    if (job->set->in_place == NULL || mm->profile == TN_PROFILE_STRICT_BF16 || mm->a.ks != 1) return false;
    return mm->a.rs < job->set->near || n_panel <= 2 ||
           (mm->a.rs % PAGE >= APART && mm->a.rs % PAGE <= PAGE - APART);
}

/* Rows row .. next of a stretch times panels p .. p + np, whose words are b. */
static void tile_run(const gemm_job *job, const stretch *s, int64_t row, int64_t next, int64_t p, int64_t np,
                     const void *const *b, const uint16_t *mask, bool ahead)
{
    const tn_mm_set  *set = job->set;
    const tn_mm      *mm = job->mm;
    const tn_mm_tile *tiles = mm->profile == TN_PROFILE_STRICT_BF16 ? set->bf16 : set->f32;
    int64_t           kind = (next - row - 1) * set->np + np - 1;
    bool              load = mm->add || s->k0 > 0;
    float            *c = mm->c + (s->m0 + row) * mm->ldc + tn_mm_panel_column(mm, p);

    if (s->in_place)
        set->in_place[kind][ahead](c, mm->ldc, mm->a.a + (s->m0 + row) * mm->a.rs + s->k0, mm->a.rs, b, s->k,
                                   mask, load);
    else tiles[kind](c, mm->ldc, s->strips + row * s->strip_word, b, s->n_word, mask, load);
}

/* Panels [pg, pe), whose words are b, times the rows of a stretch: the panels go by each tile's rows, or
 * (by_panel) the strips by each panel. */
static void group_run(const gemm_job *job, const stretch *s, int64_t pg, int64_t pe, const void *const *b)
{
    const tn_mm_set *set = job->set;
    const tn_mm     *mm = job->mm;
    int64_t n_tile = ceil_div(s->n_row, mm->profile == TN_PROFILE_STRICT_BF16 ? set->mr_bf16 : set->mr),
            n_unit = ceil_div(pe - pg, set->np);
    bool     by_panel = !s->in_place && set->kc_by_panel != 0;
    uint16_t mask[GROUP];

    for (int64_t p = pg; p < pe; p++) mask[p - pg] = tn_mm_panel_mask(mm, p);
    for (int64_t i = 0; i < n_tile * n_unit; i++) {
        int64_t t = by_panel ? i % n_tile : i / n_unit, unit = by_panel ? i / n_tile : i % n_unit,
                p = pg + unit * set->np;
        /* Tiles of equal height (14, 14, 13 ...) rather than a low last one: a low tile cannot hide the
         * latency. */
        int64_t row = s->n_row * t / n_tile, next = s->n_row * (t + 1) / n_tile;
        if (s->first && unit == 0 && !s->in_place && mm->a.ks == 1)
            strips_make(set, mm, s->strips + row * s->strip_word, s->m0 + row, next - row, s->k0, s->k,
                        s->strip_word);
        /* The rows below are fetched from memory at once; later, when the last panels let go of this tile's
         * rows. */
        tile_run(job, s, row, next, p, min64(set->np, pe - p), b + (p - pg), mask + (p - pg),
                 unit == (s->first ? 0 : n_unit - 1));
    }
}

/* Rows [m0, m1) x panels [p0, p1) of C. A group of panels stays in the second cache while strips go by, of
 * which one stays in the first; strips and panels are made once for a stretch of rows. */
static void rectangle(const gemm_job *job, int64_t m0, int64_t m1, int64_t p0, int64_t p1, uint8_t *scratch)
{
    const tn_mm_set *set = job->set;
    const tn_mm     *mm = job->mm;
    bool             bf16 = mm->profile == TN_PROFILE_STRICT_BF16, in_place = a_in_place(job, p1 - p0);
    int64_t          most = group_panels(job->stretch);
    float           *made = (float *)(void *)scratch;
    float           *stage = made + most * TN_MM_KC * TN_PANEL;
    float           *tile = stage + 2 * TN_MM_KC * TN_PANEL;
    int64_t          n_stretch = ceil_div(m1 - m0, job->stretch);

    uint32_t before = bf16 ? denormals_flush() : 0;
    for (int64_t i = 0; i < n_stretch; i++) { /* of equal height */
        stretch s = { .m0 = m0 + (m1 - m0) * i / n_stretch,
                      .strips = tile + 48 * TN_PANEL,
                      .in_place = in_place };
        int64_t kc, n_group;
        s.n_row = m0 + (m1 - m0) * (i + 1) / n_stretch - s.m0;
        kc = k_of_block(set, mm, s.n_row, in_place);
        n_group = widened_for_few(mm, s.n_row) ? set->np : most;
        for (; s.k0 < mm->k; s.k0 += kc) {
            s.k = min64(kc, mm->k - s.k0);
            s.n_word = bf16 ? ceil_div(s.k, 32) * 16 : s.k;
            s.strip_word = bf16 && set->strip_bf16_wide ? 2 * s.n_word : s.n_word;
            /* Strips of rows are made when they are needed; A that runs along m is read across all strips. */
            if (mm->a.ks != 1) strips_make(set, mm, s.strips, s.m0, s.n_row, s.k0, s.k, s.strip_word);
            for (int64_t pg = p0; pg < p1; pg += n_group) {
                int64_t     pe = min64(pg + n_group, p1);
                const void *b[GROUP];
                for (int64_t p = pg; p < pe; p++) b[p - pg] = panel_there(mm, p, s.k0, s.k);
                if (b[0] == NULL) {
                    panels_make(set, mm, pg, pe, s.k0, s.k, made, stage, tile);
                    for (int64_t p = pg; p < pe; p++) b[p - pg] = made + (p - pg) * TN_MM_KC * TN_PANEL;
                }
                s.first = pg == p0;
                group_run(job, &s, pg, pe, b);
            }
        }
    }
    if (bf16) float_mode_restore(before);
}

/* strict-bf16 on a matrix unit. It is fast enough for the making of strips and panels, and the way of C to
 * memory, to count: as many rows as the strips hold, and a group of panels at a time, so that rows of C are
 * written some lines long. */
static void rectangle_unit(const gemm_job *job, int64_t m0, int64_t m1, int64_t p0, int64_t p1,
                           uint8_t *scratch)
{
    const tn_mm_unit *unit = job->set->unit;
    const tn_mm      *mm = job->mm;
    uint32_t         *panels = (uint32_t *)(void *)scratch;
    float            *stage = (float *)(void *)(panels + GROUP_BLOCKS * TN_MM_UNIT_BLOCK);
    float            *tile = stage + PAIRS_KC * TN_PANEL;
    uint32_t         *strips = (uint32_t *)(void *)(tile + 48 * TN_PANEL);
    /* equal parts, as elsewhere */
    int64_t n_part = ceil_div(mm->k, UNIT_KC), kc = ceil_div(ceil_div(mm->k, n_part), 32) * 32;
    /* rows that the strips hold */
    int64_t room = TN_MM_MC * strip_words(mm->k) / (kc / 2) / TN_MM_UNIT_ROWS * TN_MM_UNIT_ROWS;
    int64_t n_high = ceil_div(m1 - m0, room),
            high = ceil_div(ceil_div(m1 - m0, n_high), TN_MM_UNIT_ROWS) * TN_MM_UNIT_ROWS;
    int64_t group = min64(GROUP_PANELS, GROUP_BLOCKS / (kc / 32) / 2 * 2);

    unit->begin();
    for (int64_t mc = m0; mc < m1; mc += high) {
        int64_t n_row = min64(high, m1 - mc);
        for (int64_t k0 = 0; k0 < mm->k; k0 += kc) {
            int64_t k = min64(kc, mm->k - k0), n_block = ceil_div(k, 32);
            int64_t part = mm->a.ks == 1 ? k : STRIP_PART; /* see strips_make */
            for (int64_t i = 0; i < k; i += part)
                for (int64_t row = 0; row < n_row; row += TN_MM_UNIT_ROWS) {
                    int64_t rows = min64(TN_MM_UNIT_ROWS, n_row - row);
                    unit->strip(strips + row * n_block * 16 + i / 2 * rows, &mm->a, mc + row, (int)rows,
                                k0 + i, min64(part, k - i));
                }
            for (int64_t p = p0; p < p1; p += group) {
                int      np = (int)min64(group, p1 - p);
                uint16_t mask[GROUP_PANELS];
                for (int j = 0; j < np; j++) mask[j] = tn_mm_panel_mask(mm, p + j);
                if (!unit->panels(panels, mm, p, np, k0, k))
                    for (int j = 0; j < np; j++)
                        for (int64_t i = 0; i < k; i += PAIRS_KC) {
                            panels_f32(job->set, mm, p + j, 1, k0 + i, min64(PAIRS_KC, k - i), stage, tile);
                            unit->pairs(panels + (j * n_block + i / 32) * TN_MM_UNIT_BLOCK, stage,
                                        min64(PAIRS_KC, k - i));
                        }
                unit->product(&(tn_mm_block){ .c = mm->c + mc * mm->ldc + tn_mm_panel_column(mm, p),
                                              .ldc = mm->ldc,
                                              .n_row = n_row,
                                              .n_block = n_block,
                                              .strips = strips,
                                              .panels = panels,
                                              .n_panel = np,
                                              .mask = mask,
                                              .load = mm->add || k0 > 0,
                                              .stream = mm->m * mm->n * 4 >= STREAM_BYTES });
            }
        }
    }
    unit->end();
}

/* The first panels of a rectangle on their way while its strips are made. */
static void fetch_first(const tn_weight *w, int64_t i_panel)
{
    const uint8_t *codes = w->codes + (size_t)i_panel * w->code_stride,
                  *scales = w->scales + (size_t)i_panel * w->scale_stride;

    for (size_t i = 0; i < FIRST_BYTES; i += 64) __builtin_prefetch(codes + i, 0, 2);
    for (size_t i = 0; i < FIRST_BYTES / 4; i += 64) __builtin_prefetch(scales + i);
}

/* The same for q8act: strips of int8 activations times the codes of the panels. made: the strips are there
 * (one block of rows and of k). */
static void rectangle_q8(const gemm_job *job, int64_t m0, int64_t m1, int64_t p0, int64_t p1,
                         uint8_t *scratch, bool made)
{
    const tn_mm_set     *set = job->set;
    const tn_mm         *mm = job->mm;
    const tn_weight     *w = mm->b.w;
    const tn_mm_q8_tile *tiles = set->q8[w->dtype];
    uint32_t            *strips = (uint32_t *)(void *)scratch;

    for (int64_t mc = m0; mc < m1; mc += TN_Q8_MC) {
        int64_t n_row = min64(TN_Q8_MC, m1 - mc), n_tile = ceil_div(n_row, set->mr_q8);
        /* few rows: all of k, the weights are read in order */
        int64_t k_most = TN_Q8_MC * (TN_Q8_KC / 32) / n_row * 32;
        for (int64_t k0 = 0; k0 < mm->k; k0 += k_most) {
            int64_t n_block = min64(k_most, mm->k - k0) / 32;
            for (int64_t t = 0, row = 0, next; t < n_tile && !made; t++, row = next) {
                next = n_row * (t + 1) / n_tile;
                set->strip_q8(strips + row * n_block * TN_Q8_WORDS, &mm->a, mc + row, (int)(next - row), k0,
                              n_block * 32, w->dtype);
            }
            for (int64_t p = p0; p < p1; p++)
                for (int64_t t = 0, row = 0, next; t < n_tile; t++, row = next) {
                    next = n_row * (t + 1) / n_tile;
                    tiles[next - row - 1](mm->c + (mc + row) * mm->ldc + tn_mm_panel_column(mm, p), mm->ldc,
                                          strips + row * n_block * TN_Q8_WORDS, w, mm->b.first / TN_PANEL + p,
                                          k0 / 32, n_block, tn_mm_panel_mask(mm, p), k0 > 0 || mm->add);
                }
        }
    }
}

static void one_rectangle(const gemm_job *job, int64_t m0, int64_t m1, int64_t p0, int64_t p1,
                          uint8_t *scratch, bool strips_made)
{
    if (m0 >= m1 || p0 >= p1) return;
    if (!job->q8 && job->set->few != NULL && m0 == 0 && m1 == job->mm->m && job->set->few(job->mm, p0, p1))
        return;
    if (job->q8) fetch_first(job->mm->b.w, job->mm->b.first / TN_PANEL + p0);
    if (job->q8 && job->set->q8_unit != NULL && job->set->q8_unit(job->mm, m0, m1, p0, p1, scratch)) return;
    if (job->q8) rectangle_q8(job, m0, m1, p0, p1, scratch, strips_made);
    else if (job->unit) rectangle_unit(job, m0, m1, p0, p1, scratch);
    else rectangle(job, m0, m1, p0, p1, scratch);
}

static void rectangles(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const gemm_job *job = arg;
    int64_t         unit = job->set->np, n_unit = ceil_div(job->n_panel, unit);

    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t im = i / job->tn, in = i % job->tn;
        int64_t m0 = job->mm->m * im / job->tm, m1 = job->mm->m * (im + 1) / job->tm;
        int64_t p0 = n_unit * in / job->tn * unit,
                p1 = min64(n_unit * (in + 1) / job->tn * unit, job->n_panel);
        /* pieces have different begins */
        one_rectangle(job, m0, m1, p0, p1, job->scratch + (size_t)begin * job->slot, false);
    }
}

/* Cuts C for n threads so that the slowest has the least to do: its tiles, and the packing that rectangles
 * repeat. */
static void cut(gemm_job *job, int64_t n_thread)
{
    const tn_mm *mm = job->mm;
    int64_t      unit_n = job->set->np * TN_PANEL;
    int64_t      un = ceil_div(mm->n, unit_n);
    int64_t      um = ceil_div(mm->m, job->set->mr);
    bool         made = mm->b.kind != TN_MM_B_PACKED || mm->b.w->layout > TN_L_F16;
    double       best = INFINITY;

    job->tm = job->tn = 1;
    for (int64_t tm = 1; tm <= n_thread; tm++) {
        int64_t tn = n_thread / tm;
        double  rows = (double)min64(ceil_div(um, tm) * job->set->mr, mm->m),
               columns = (double)(ceil_div(un, tn) * unit_n);
        double cost = rows * columns / 32 + rows / 4 +
                      (made ? columns / 4 * ceil(rows / (double)job->stretch) : 0);
        /* A matrix unit is so fast that what is read and made for it counts: in cycles a k. */
        if (job->unit) cost = rows * columns / 400 + rows / 2 + columns / 2 * ceil(rows / (2 * TN_MM_MC));
        if (cost < best) {
            best = cost;
            job->tm = tm;
            job->tn = tn;
        }
    }
}

/* Rows whose strips a slot holds: a thread's share, where it is worth keeping. */
static int64_t stretch_rows(int64_t n_thread, int64_t m)
{
    int64_t share = ceil_div(m, n_thread);

    return min64(share < TN_MM_MC ? TN_MM_MC : share, min64(m, STRETCH));
}

static size_t slot_bytes(int64_t n_thread, int64_t m, int64_t k)
{
    int64_t rows = stretch_rows(n_thread, m),
            words = (group_panels(rows) + 2) * TN_MM_KC * TN_PANEL + 48 * TN_PANEL + rows * strip_words(k);
    int64_t unit = GROUP_BLOCKS * TN_MM_UNIT_BLOCK + (PAIRS_KC + 48) * TN_PANEL + TN_MM_MC * strip_words(k);
    int64_t q8 = TN_Q8_MC * (min64(k, TN_Q8_KC) / 32) * TN_Q8_WORDS;

    words = words > unit ? words : unit;
    return (size_t)((words > q8 ? words : q8) + 16 * TN_PANEL) / 16 * 64;
}

size_t tn_mm_scratch_bytes(int n_thread, int64_t m, int64_t k)
{
    return slot_bytes(n_thread, m, k) * (size_t)n_thread;
}

static gemm_job job_of(const tn_mm_set *set, const tn_mm *mm, void *scratch, int64_t n_thread)
{
    gemm_job job = { .set = set,
                     .mm = mm,
                     .scratch = scratch,
                     .slot = slot_bytes(n_thread, mm->m, mm->k),
                     .stretch = stretch_rows(n_thread, mm->m) };

    job.n_panel = ceil_div(mm->n + (mm->b.kind == TN_MM_B_PACKED ? mm->b.first % TN_PANEL : 0), TN_PANEL);
    job.q8 = mm->profile == TN_PROFILE_Q8ACT && mm->b.kind == TN_MM_B_PACKED && tn_q8_takes(mm->b.w->dtype);
    job.unit = mm->profile == TN_PROFILE_STRICT_BF16 && set->unit != NULL;
    return job;
}

/* No kernel for this: the definition computes it. */
static bool only_by_ref(const tn_mm_set *set, const tn_mm *mm)
{
    return set == NULL || (job_of(set, mm, NULL, 1).q8 && set->q8[mm->b.w->dtype] == NULL);
}

/* Chains of no steps: +0, or what C holds. */
static void no_steps(const tn_mm *mm)
{
    for (int64_t m = 0; m < mm->m && !mm->add; m++)
        memset(mm->c + m * mm->ldc, 0, (size_t)mm->n * sizeof *mm->c);
}

void tn_mm_run_set(const tn_mm_set *set, const tn_mm *mm, void *scratch, size_t scratch_bytes)
{
    if (mm->m <= 0 || mm->n <= 0) return;
    if (mm->k <= 0) {
        no_steps(mm);
        return;
    }
    if (only_by_ref(set, mm)) {
        tn_mm_run_ref(mm);
        return;
    }
    int64_t n_thread = tn_threads_here();
    while (n_thread > 1 && tn_mm_scratch_bytes((int)n_thread, mm->m, mm->k) > scratch_bytes) n_thread--;
    gemm_job job = job_of(set, mm, scratch, n_thread);
    if (job.slot > scratch_bytes)
        tn_bug("matrix product [%lld][%lld] with %zu bytes of scratch, one thread needs %zu",
               (long long)mm->m, (long long)mm->n, scratch_bytes, job.slot);
    cut(&job, n_thread);
    tn_parallel(job.tm * job.tn, 1, rectangles, &job);
}

/* ------------------------------------------------------------------------------ several products of one A */

typedef struct together {
    gemm_job job[TN_TOGETHER];
    int      n;
    int64_t  unit, n_unit;
} together;

/* Units of panels [begin, end), counted through all products. */
static void panels_of_several(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const together *all = arg;
    const gemm_job *before = NULL;
    int64_t         first = 0;

    for (int i = 0; i < all->n; i++) {
        const gemm_job *job = &all->job[i];
        int64_t         n_unit = ceil_div(job->n_panel, all->unit), p0 = begin - first, p1 = end - first;
        first += n_unit;
        p0 = (p0 < 0 ? 0 : p0) * all->unit;
        p1 = min64(p1 * all->unit, job->n_panel);
        if (p0 >= p1) continue;
        bool made = before != NULL && job->q8 && before->mm->b.w->dtype == job->mm->b.w->dtype;
        one_rectangle(job, 0, job->mm->m, p0, p1, job->scratch + (size_t)i_thread * job->slot, made);
        before = job->q8 ? job : NULL;
    }
}

void tn_mm_run_several(const tn_mm_set *set, const tn_mm *mm, int n, void *scratch, size_t scratch_bytes)
{
    together all = { .n = n };
    bool     apart = n > TN_TOGETHER || n < 2;

    for (int i = 0; i < n && !apart; i++)
        apart = mm[i].m > FEW_ROWS || mm[i].m <= 0 || mm[i].n <= 0 || mm[i].k <= 0 || mm[i].m != mm[0].m ||
                mm[i].k != mm[0].k || mm[i].a.a != mm[0].a.a || mm[i].a.rs != mm[0].a.rs ||
                mm[i].a.ks != mm[0].a.ks || only_by_ref(set, &mm[i]) ||
                tn_mm_scratch_bytes(tn_threads(), mm[i].m, mm[i].k) > scratch_bytes;
    for (int i = 0; i < n && apart; i++) tn_mm_run_set(set, &mm[i], scratch, scratch_bytes);
    if (apart) return;
    all.unit = set->np;
    for (int i = 0; i < n; i++) {
        all.job[i] = job_of(set, &mm[i], scratch, tn_threads());
        all.n_unit += ceil_div(all.job[i].n_panel, all.unit);
    }
    tn_parallel(all.n_unit, 1, panels_of_several, &all);
}
