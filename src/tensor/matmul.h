/* matmul.h - the matrix product behind matmul, moe, head_loss and head_logprob. Private to tensor.
 *
 *   C[m][n] (+)= A[m][k] B[k][n]        every C[m][n] one chain of fmaf over k ascending, from +0 or from what C holds
 *
 * The driver (gemm.c) cuts C into rectangles, one a thread; a rectangle is cut into blocks of rows and of k,
 * whose A is packed into strips [k][rows of a tile]; B comes in panels [k][16 outputs], made on the spot or
 * stored so (weight.c). Some panels stay in the second cache while the strips go by, each of which stays in
 * the first.
 *
 *            16   16                        tile: up to 14 rows x 2 panels stay in registers while k runs.
 *          +----+----+----+----+            Cutting k stores C and loads it again: the chain goes on, no bit changes.
 *        k |    |    |    |    |  B panels
 *          +----+----+----+----+
 *     k
 *   +----+ +----+----+----+----+
 *   |A   | |tile     |         |  C
 *   +----+ +----+----+----+----+
 *
 * A stored NaN is 0x7fc00000 whatever the operands' payloads were. */
#ifndef TN_TENSOR_MATMUL_H
#define TN_TENSOR_MATMUL_H

#include "tensor/tensor.h"

enum {
    TN_PANEL = 16,  /* outputs of a panel */
    TN_MM_MR = 16,  /* no tile has more rows */
    TN_MM_KC = 768, /* most words of k of a block: long tiles, and C is loaded and stored less often */
    TN_MM_MC = 320, /* rows of a block, where A has to stay in the second cache (a matrix unit) */
};

/* ----------------------------------------------------------------------------------------- packed weights */

/* How a panel of 16 outputs lies in memory. "32" is a block of 32 k of all 16 outputs; dword [16] means one
 * 32-bit word an output, so that a 512-bit load is one word of every lane.
 *
 *   layout   codes of a 32                                     scales
 *   F32      [k][16] f32
 *   F16      [k][16] f16
 *   BF16     [k/2][16] dword: even k low, odd k high           (odd n_in: zero behind)
 *   C8       8 x dword [16]: byte b of word g is k = 4g + b    q itself, signed
 *   C4       4 x dword [16]: word t holds k = 8t + b (b < 4) in the low nibble of byte b, k = 8t + 4 + b in the high
 *   C5       C4, then 1 x dword [16]: bit 8b + g is bit 4 of k = 4g + b
 *   C6       C4, then 2 x dword [16]: word g/4, bits 8b + 2(g%4) are bits 4, 5 of k = 4g + b
 *
 * Scales lie in a second array: for each 32  D f16 [16] (q8_0, q4_0, q5_0)  or  D f16 [16], M f16 [16] (q4_1, q5_1);
 * for each 256  d f16 [16], dmin f16 [16], sc u8 [8][16], mn u8 [8][16] (q4_k, q5_k)  or  d f16 [16], sc i8 [16][16]
 * (q6_k). */
typedef enum tn_layout { TN_L_F32, TN_L_F16, TN_L_BF16, TN_L_C8, TN_L_C4, TN_L_C5, TN_L_C6 } tn_layout;

struct tn_weight {
    tn_dtype                  dtype; /* of the source */
    tn_layout                 layout;
    int64_t                   n_out, n_in, n_panel;
    size_t                    code_stride, scale_stride; /* bytes a panel */
    uint8_t                  *codes, *scales;            /* 64-byte aligned; memory_bytes from codes on */
    struct tn_weight_mapping *memory;                    /* where they lie (weight_memory.h) */
    size_t                    memory_bytes;
};

size_t tn_layout_block_bytes(tn_layout l); /* bytes of codes of a 32 (F32, F16, BF16: of 32 k) */
/* Codes of block i_block (32 k) of one output, unsigned: value = (code - bias) * D or code * D + M. */
void tn_weight_codes(uint8_t code[32], const tn_weight *w, int64_t i_out, int64_t i_block);
/* Inputs k0 .. k0 + n of output i_out as fp32: what the weight means. */
void tn_weight_part(float *dst, const tn_weight *w, int64_t i_out, int64_t k0, int64_t n);

/* ----------------------------------------------------------------------------------------------- operands */

/* B of the product, always asked for in panels [k][16]. */
typedef enum tn_mm_b_kind {
    TN_MM_B_NK,      /* rows[n][k]: y = x w^T */
    TN_MM_B_KN,      /* rows[k][n]: dx = dy w, dw = dy^T x */
    TN_MM_B_PACKED,  /* packed w, n = its outputs from `first` on */
    TN_MM_B_PACKED_T /* packed w, k = its outputs from `first` on, n = its inputs */
} tn_mm_b_kind;

typedef struct tn_mm_b {
    tn_mm_b_kind     kind;
    tn_dtype         dtype; /* of rows: F32 or BF16 */
    const void      *rows;
    int64_t          ld; /* elements from row to row */
    const tn_weight *w;
    int64_t          first;
} tn_mm_b;

/* A of the product: element (m, k) at a[m * rs + k * ks]; one of the strides is 1. */
typedef struct tn_mm_a {
    const float *a;
    int64_t      rs, ks;
} tn_mm_a;

typedef struct tn_mm {
    float     *c;
    int64_t    ldc;
    tn_mm_a    a;
    tn_mm_b    b;
    int64_t    m, n, k;
    bool       add; /* continue the chains that C holds */
    tn_profile profile;
} tn_mm;

/* ------------------------------------------------------------------------------------------------ kernels */

/* One instruction set's pieces. Words of a strip or panel are f32, or pairs of bf16 in strict-bf16: then k
 * counts pairs, a multiple of 16, zero beyond the end.
 * mask[j]: lanes of panel j that exist in C. */
typedef void (*tn_mm_tile)(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,
                           const uint16_t *mask, bool load);

/* The same for fp32 with A's rows where they lie, lda apart. */
typedef void (*tn_mm_in_place)(float *c, int64_t ldc, const float *a, int64_t lda, const void *const *b,
                               int64_t k, const uint16_t *mask, bool load);

/* q8act. A strip is, for each block of 32 k, TN_Q8_WORDS words a row, word-major ([word][rows]):
 *   0..7  codes of the activations, int8, k = 4g + b in byte b of word g      8  d, f32: value = code * d
 *   9,10  int32 start of the integer sums of the first and second 16 k: -bias times the sum of those codes (9 holds both
 *         when the weight has one scale for 32)                              11  d times the sum of the 32 codes, f32
 * The tile adds blocks [b0, b0 + n_block) of panel i_panel to C. */
/* rows of a block, and its k; fewer rows take more */
enum { TN_Q8_WORDS = 12, TN_Q8_MC = 512, TN_Q8_KC = 1024 };
typedef void (*tn_mm_q8_tile)(float *c, int64_t ldc, const uint32_t *strip, const tn_weight *w,
                              int64_t i_panel, int64_t b0, int64_t n_block, uint16_t mask, bool load);

/* strict-bf16 on a matrix unit. It multiplies blocks of 32 k; words of strips and panels are in its own order
 * (cpu/matmul_avx512_amx.c): a strip is [32 k][up to 32 rows][16 words], a panel [32 k][16 words][16
 * outputs]. */
enum { TN_MM_UNIT_ROWS = 32, TN_MM_UNIT_BLOCK = 16 * TN_PANEL }; /* words of a panel's 32 k */

typedef struct tn_mm_block {
    float          *c;                   /* first row, first panel */
    int64_t         ldc, n_row, n_block; /* n_block: of 32 k */
    const uint32_t *strips, *panels;     /* one after another */
    int             n_panel;
    const uint16_t *mask; /* lanes of a panel that exist in C */
    /* continue the chains of C; C is so large that nobody finds it in a cache */
    bool load, stream;
} tn_mm_block;

typedef struct tn_mm_unit {
    void (*begin)(void), (*end)(void); /* sets the unit up, releases it */
    void (*strip)(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k);
    /* B's panels p .. p + np, k0 .. k0 + k, one after another; false: B is none of those that it takes
     * directly, so make [k][16] f32 first. */
    bool (*panels)(uint32_t *dst, const tn_mm *mm, int64_t p, int np, int64_t k0, int64_t k);
    void (*pairs)(uint32_t *dst, const float *src, int64_t k);
    void (*product)(const tn_mm_block *b);
} tn_mm_unit;

typedef struct tn_mm_set {
    const char       *name;
    int               mr, mr_bf16;       /* rows of the tallest tile */
    int               np;                /* panels of the widest tile, 1 or 2 */
    const tn_mm_tile *f32;               /* tile of `rows` rows and n panels: [(rows - 1) * np + n - 1] */
    const tn_mm_in_place (*in_place)[2]; /* [as in f32][ahead]; NULL: strips always */
    /* distance of A's rows, in floats, up to which they are read in place wherever they begin */
    int64_t near;
    /* not 0: where there are strips, a panel of at most so many words of k stays in the first cache and they go
     * by; 0: a strip stays and the panels go by */
    int               kc_by_panel;
    const tn_mm_tile *bf16;
    /* not NULL: a matrix unit computes strict-bf16, and the bf16 pieces below are not there */
    const struct tn_mm_unit *unit;
    /* Strip [k][rows] of A, k from k0 on. May write up to 16 words past the end if A's rows are contiguous
     * (ks 1). */
    void (*strip)(float *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k);
    void (*strip_bf16)(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k);
    /* its words are rounded values in fp32, one a k, instead of pairs; kc_by_panel <= TN_MM_KC / 2 then */
    bool strip_bf16_wide;
    /* Panel [k][16] f32 of rows[n][k]: n_lane outputs from n0 on, the rest zero. */
    void (*panel_nk)(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane, int64_t k0,
                     int64_t k);
    /* The same of rows[k][n]; up to np panels at once, TN_MM_KC * 16 words apart. */
    void (*panels_kn)(float *dst, const void *rows, tn_dtype t, int64_t ld, int64_t n0, int n_lane,
                      int64_t k0, int64_t k);
    /* Panel [k][16] f32 of a packed weight; k0 and k are multiples of 32 unless k0 + k is the end. */
    void (*panel_packed)(float *dst, const tn_weight *w, int64_t i_panel, int64_t k0, int64_t k);
    /* [k][16] f32 to [k/2][16] pairs of bf16, zeros up to a multiple of 32 k. */
    void (*pairs)(uint32_t *dst, const float *src, int64_t k);
    void (*strip_q8)(uint32_t *dst, const tn_mm_a *a, int64_t m0, int rows, int64_t k0, int64_t k,
                     tn_dtype t);
    int                  mr_q8;
    const tn_mm_q8_tile *q8[TN_DTYPE_COUNT]; /* by dtype of the weight: [mr_q8] tiles at index rows - 1 */
    /* [16][16] f32, rows of `dst` are columns of `src`. */
    void (*transpose)(float *dst, const float *src);
    /* Few rows times packed panels [p0, p1), without strips; false: not for this weight or so many rows. */
    bool (*few)(const tn_mm *mm, int64_t p0, int64_t p1);
    /* q8act on a matrix unit: rows [m0, m1) x panels [p0, p1) in its own blocks; false: the tiles above are
     * better for so few rows. */
    bool (*q8_unit)(const tn_mm *mm, int64_t m0, int64_t m1, int64_t p0, int64_t p1, uint8_t *scratch);
} tn_mm_set;

extern const tn_mm_set tn_mm_avx2, tn_mm_avx512, tn_mm_avx512_vnni, tn_mm_avx512_bf16, tn_mm_avx512_amx;
extern const tn_op     tn_op_matmul;

/* Where panel p lies in C: its first column (negative when a packed weight starts inside a panel), its lanes
 * inside C. */
int64_t  tn_mm_panel_column(const tn_mm *mm, int64_t p);
uint16_t tn_mm_panel_mask(const tn_mm *mm, int64_t p);
/* Runs with the kernels chosen for matmul; threads by tn_parallel inside (one piece when already inside one).
 * scratch: tn_mm_scratch_bytes for as many threads as should run (m, k: as large as the product's or larger);
 * 64-byte aligned. */
void tn_mm_run(const tn_mm *mm, void *scratch, size_t scratch_bytes);
/* n products of the same A: for few rows in one parallel region, with the strips of q8act made once;
 * otherwise one after another. */
void tn_mm_run_several(const tn_mm_set *set, const tn_mm *mm, int n, void *scratch, size_t scratch_bytes);
void tn_mm_run_set(const tn_mm_set *set /* NULL: ref */, const tn_mm *mm, void *scratch,
                   size_t scratch_bytes);
/* B's elements k0 .. k0 + k of column n: the definition's way to read any operand. */
void tn_mm_column(float *dst, const tn_mm_b *b, int64_t n, int64_t k0, int64_t k);
/* The activations of 32 k as q8act sees them: codes and the number that one code is worth. */
float tn_q8_block(int8_t q[32], const float *x, int64_t stride);
/* The code that means zero (min-max formats: 0), and whether the profile computes with this dtype's codes. */
int  tn_q8_bias(tn_dtype t);
bool tn_q8_takes(tn_dtype t);
void tn_q8_columns(void *mm, int64_t begin, int64_t end, int i_thread); /* q8act's loops, for tn_parallel */
/* One step of strict-bf16 (gemm_ref.c): fmaf with denormal operands and results taken as signed zero. */
float  tn_bf16_fma(float a, float b, float c);
void   tn_mm_run_ref(const tn_mm *mm);
size_t tn_mm_scratch_bytes(int n_thread, int64_t m, int64_t k);

#endif
