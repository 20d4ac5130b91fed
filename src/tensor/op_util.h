/* op_util.h - what the operations' files share: access to the call, shape rules, parts of rows for the
 * threads. Private to tensor. */
#ifndef TN_TENSOR_OP_UTIL_H
#define TN_TENSOR_OP_UTIL_H

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "tensor/tensor.h"

#define TN_PARAMS(c, type) ((const type *)(c)->params)

/* Elements that a thread should have at least, so that small work stays on one. */
enum { TN_GRAIN_ELEMS = 16384 };

/* NULL for an absent tensor, so that kernels read "if (w != NULL)". */
static inline float         *tn_f32(const tn_tensor *t) { return t == NULL ? NULL : (float *)t->data; }
static inline const int32_t *tn_i32(const tn_tensor *t)
{
    return t == NULL ? NULL : (const int32_t *)t->data;
}

static inline int64_t tn_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t tn_max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t tn_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static inline size_t  tn_align64(size_t n) { return (n + 63) & ~(size_t)63; }

/* Rows that make a piece worth a thread. */
static inline int64_t tn_row_grain(int64_t n_col)
{
    return n_col >= TN_GRAIN_ELEMS ? 1 : TN_GRAIN_ELEMS / tn_max64(n_col, 1);
}

/* The first of two gradients writes, the next adds. */
static inline float tn_put(float old, bool add, float value) { return add ? old + value : value; }

/* "[3][64]" into buf. */
const char *tn_shape_text(char buf[96], const tn_tensor *t);

/* Shape rules. `what` names the input in messages ("x", "w"). All fail with MISMATCH and name the
 * operation. */
tn_status tn_need(const tn_call *c, int i_in, const char *what, tn_dtype dtype, int n_dim_min, tn_error *err);
/* As above, for a weight matrix: f32, bf16 or packed. */
tn_status tn_need_weight(const tn_call *c, int i_in, const char *what, int64_t n_out, int64_t n_in,
                         tn_error *err);
tn_status tn_need_vector(const tn_call *c, int i_in, const char *what, int64_t n, bool optional,
                         tn_error *err);
tn_status tn_need_ints(const tn_call *c, int i_in, const char *what, int64_t n, tn_error *err);
tn_status tn_need_like(const tn_call *c, int i_in, const char *what, const tn_tensor *like, tn_error *err);
tn_status tn_need_profile(const tn_call *c, tn_profile p, tn_error *err);
/* LIMIT for a shape that wraps, or with a size below 0. */
tn_status tn_need_size(const tn_call *c, const char *what, const tn_tensor *t, tn_error *err);
/* A constant of the parameters. */
tn_status tn_need_finite(const tn_call *c, const char *what, float x, tn_error *err);
/* n = a b, computed without a wrap. */
bool tn_is_product(int64_t n, int64_t a, int64_t b);
void tn_set_shape(tn_tensor *t, tn_dtype dtype, int n_dim, const int64_t *shape);
void tn_set_like(tn_tensor *t, const tn_tensor *like);
void tn_set_rows(tn_tensor *t, int64_t n_row, int64_t n_col);

/* The table `kernels` of an operation whose forward(call, set) and backward(call, set) are the same code over
 * sets of loops, of which there is one an instruction set: set_ref, set_avx2, set_avx512. */
// clang-format off
#define TN_KERNELS_OF(set)                                                                                   \
    static void            fwd_ref(const tn_call *c) { forward(c, &set##_ref); }                             \
    static void            bwd_ref(const tn_call *c) { backward(c, &set##_ref); }                            \
    static void            fwd_avx2(const tn_call *c) { forward(c, &set##_avx2); }                           \
    static void            bwd_avx2(const tn_call *c) { backward(c, &set##_avx2); }                          \
    static void            fwd_avx512(const tn_call *c) { forward(c, &set##_avx512); }                       \
    static void            bwd_avx512(const tn_call *c) { backward(c, &set##_avx512); }                      \
    static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },                            \
                                         { "avx2", tn_cpu_avx2, fwd_avx2, bwd_avx2 },                        \
                                         { "avx512", tn_cpu_avx512, fwd_avx512, bwd_avx512 },                \
                                         { .name = NULL } }
// clang-format on

/* Adds a case's input of this dtype and shape. */
void tn_case_in(tn_case *k, int i, tn_dtype dtype, int64_t rows, int64_t cols, bool differentiable);
void tn_case_vec(tn_case *k, int i, tn_dtype dtype, int64_t n, bool differentiable);
/* Random cases: what an operation's `draw` picks sizes and options with. The n-th number depends on the seed
 * and n alone. */
struct tn_draw {
    uint64_t seed, n;
};
int64_t tn_draw_below(tn_draw *d, int64_t n); /* [0, n) */
bool    tn_draw_yes(tn_draw *d);              /* one in two */
/* A number of rows or columns, 1 to `most`: often few, often one beside a multiple of 16 or 64, where
 * vectors, panels and blocks end. */
int64_t tn_draw_size(tn_draw *d, int64_t most);
/* the same, every second time a multiple of 32 (quantised rows) */
int64_t tn_draw_width(tn_draw *d, int64_t most);
float   tn_draw_number(tn_draw *d, float low, float high);
/* A matrix [n_out][n_in] of a random kind: f32 rows (only these have a gradient), bf16 rows, or packed from a
 * type whose blocks fit. */
void tn_draw_weight(tn_draw *d, tn_case *k, int i_in, int64_t n_out, int64_t n_in, bool differentiable);
/* Fillers for cases. */
void tn_fill_ids(tn_tensor *t, uint64_t seed, int64_t below); /* integers in [0, below) */

#endif
