/* tensor.h - the face of the arithmetic: dtypes, tensors, and the table of operations.
 *
 * An operation is one file, tensor/<op>.c. It holds the plain loops that define it (the order of additions is
 * part of the definition), the shape rule, the backward rule and the kernel table (ref, avx2, avx512). One
 * row in TN_OP_LIST makes it exist: the graph, the self-test and `tenet bench` walk that table.
 *
 *   caller ── tn_call {op, params, in[], out[]} ──→ tn_op_run ──→ the kernel chosen once ──→ tn_parallel over outputs
 *
 * Shapes are slowest first, rows contiguous. Activations are [n_row][...]; the number of rows may differ from
 * run to run (a graph is planned for the largest). Kernels cannot fail: shapes were checked by the shape rule
 * before. */
#ifndef TN_TENSOR_TENSOR_H
#define TN_TENSOR_TENSOR_H

#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"

/* ------------------------------------------------------------------------------------- dtypes and tensors */

/* name, GGUF type id (or -1), elements a block, bytes a block */
// clang-format off
#define TN_DTYPE_LIST(X)                                                                            \
    X(F32, 0, 1, 4)     X(F16, 1, 1, 2)      X(BF16, 30, 1, 2)                                      \
    X(Q4_0, 2, 32, 18)  X(Q4_1, 3, 32, 20)   X(Q5_0, 6, 32, 22)   X(Q5_1, 7, 32, 24)                \
    X(Q8_0, 8, 32, 34)  X(Q2_K, 10, 256, 84) X(Q3_K, 11, 256, 110) X(Q4_K, 12, 256, 144)            \
    X(Q5_K, 13, 256, 176) X(Q6_K, 14, 256, 210) X(MXFP4, 39, 32, 17)                                \
    X(I8, 24, 1, 1)     X(I16, 25, 1, 2)     X(I32, 26, 1, 4)     X(I64, 27, 1, 8)  X(F64, 28, 1, 8) X(U8, -1, 1, 1)
// clang-format on

typedef enum tn_dtype {
#define X(name, gguf, block, bytes) TN_##name,
    TN_DTYPE_LIST(X)
#undef X
        TN_DTYPE_COUNT
} tn_dtype;

const char *tn_dtype_name(tn_dtype t); /* "q4_1" */
bool        tn_dtype_parse(const char *name, tn_dtype *out);
bool        tn_dtype_from_gguf(uint32_t id, tn_dtype *out);
int         tn_dtype_gguf(tn_dtype t);
int64_t     tn_dtype_block(tn_dtype t);
/* Bytes of a row of n elements; 0 if n is no multiple of the block. */
size_t tn_row_bytes(tn_dtype t, int64_t n);

enum { TN_MAX_DIM = 4, TN_MAX_IN = 12, TN_MAX_OUT = 4, TN_TOGETHER = 4, TN_PARAM_BYTES = 96 };

typedef struct tn_weight tn_weight; /* a packed matrix, below */

typedef struct tn_tensor {
    tn_dtype         dtype;
    int              n_dim;
    int64_t          shape[TN_MAX_DIM]; /* slowest first */
    void            *data;              /* rows contiguous, 64-byte aligned when ours; NULL: not placed yet */
    const tn_weight *packed; /* not NULL: a frozen matrix [n_out][n_in] in kernel order; data may be NULL */
} tn_tensor;

int64_t tn_n_elem(const tn_tensor *t);
size_t  tn_n_bytes(const tn_tensor *t);
int64_t tn_rows(const tn_tensor *t); /* product of all dims but the last */
int64_t tn_cols(const tn_tensor *t); /* the last dim */

/* Exact value conversions of one row, n elements (n a multiple of the block). Dequantisation is ggml's
 * reference: each product and sum rounded on its own. Quantisation is ggml's _ref. */
void tn_row_to_f32(float *dst, const void *src, tn_dtype t, int64_t n);
/* F32, F16, BF16 (nearest even), Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K; false for a type we cannot
 * write. */
bool tn_row_from_f32(void *dst, const float *src, tn_dtype t, int64_t n);
/* How many values from the first on are finite: n if all are. Blocks of few bits cannot hold others (q8_0
 * alone gives NaN back). */
int64_t  tn_row_finite(const float *x, int64_t n);
float    tn_bf16_to_f32(uint16_t h);
uint16_t tn_f32_to_bf16(float f); /* nearest even, NaN becomes 0x7fc0 */
float    tn_f16_to_f32(uint16_t h);
uint16_t tn_f32_to_f16(float f);

/* ---------------------------------------------------------------------------------------- frozen matrices */

/* A weight [n_out][n_in] that does not change while it is used, in the order that the kernels read: panels of
 * outputs, so that vector lanes lie across outputs and every output stays one chain over n_in. Any dtype of
 * the list above; `strict` computes with its dequantised fp32 values, `q8act` with int8 activations in blocks
 * of 32 of a row. The rows of `src` may be dropped afterwards. */
typedef enum tn_profile { TN_PROFILE_STRICT, TN_PROFILE_STRICT_BF16, TN_PROFILE_Q8ACT } tn_profile;
/* Which definition of strict-bf16 this is (gemm_ref.c): part of the keys and runs that use it. 1 was one
 * chain over all of k. */
enum { TN_STRICT_BF16_VERSION = 2 };
bool        tn_profile_parse(const char *name, tn_profile *out);
const char *tn_profile_name(tn_profile p);

tn_status tn_weight_pack(tn_weight **out, const void *src, tn_dtype t, int64_t n_out, int64_t n_in,
                         tn_profile profile, tn_error *err);
void      tn_weight_free(tn_weight *w);
size_t    tn_weight_bytes(const tn_weight *w); /* memory that it holds */
tn_dtype  tn_weight_dtype(const tn_weight *w);
/* Row i_out as fp32 [n_in]: embedding look-up of a tied matrix, export, tests. */
void tn_weight_row(float *dst, const tn_weight *w, int64_t i_out);

/* --------------------------------------------------------------------------------------------- operations */

typedef struct tn_op   tn_op;
typedef struct tn_draw tn_draw; /* random numbers for a self-test case (op_util.h) */

/* One execution. `params` is the operation's own parameter struct (declared in tensor/ops.h). */
typedef struct tn_call {
    const tn_op *op;
    const void  *params;
    int          n_in, n_out;
    tn_tensor   *in[TN_MAX_IN];   /* NULL: optional input that is absent */
    tn_tensor   *out[TN_MAX_OUT]; /* NULL: optional output that nobody wants */
    /* backward only: */
    tn_tensor *dout[TN_MAX_OUT]; /* gradient of each output; NULL means zero */
    tn_tensor *din[TN_MAX_IN];   /* gradient wanted of each input; NULL: not wanted */
    bool       add[TN_MAX_IN];   /* true: add to din (continuing its chain), false: write it */
    void      *scratch;          /* scratch_bytes(call) bytes, 64-byte aligned */
    size_t     scratch_bytes;
} tn_call;

typedef struct tn_kernel {
    const char *name; /* "ref", "avx2", "avx512", "avx512_bf16", "avx512_amx" ... slowest first */
    bool (*usable)(void);
    void (*fwd)(const tn_call *c); /* threads by tn_parallel inside */
    void (*bwd)(const tn_call *c); /* NULL: no gradient flows through this operation */
} tn_kernel;

/* One self-test case: shapes and parameters; the walk fills inputs with seeded ugly values. */
typedef struct tn_case {
    char what[64];
    _Alignas(16) unsigned char params[TN_PARAM_BYTES];
    int       n_in;
    tn_tensor in[TN_MAX_IN];             /* dtype and shape; n_dim 0 = absent */
    bool      differentiable[TN_MAX_IN]; /* finite differences are taken for these */
    /* called for every input after the walk filled it with seeded values: integers such as positions and ids
     * need meaning, other inputs are left alone; NULL: nothing to do */
    void (*fill)(const struct tn_case *k, tn_tensor *t, int i_in, uint64_t seed);
    bool       packed[TN_MAX_IN]; /* a frozen matrix: rounded to its dtype and packed for the profile below */
    tn_profile profile;
    double     fd_tolerance; /* relative; 0 means 2e-2; below 0: gradients only between kernels */
    uint32_t   by_row;       /* bit i: in[i] has a row a row of out[0]; rows alone = in the batch */
} tn_case;

struct tn_op {
    const char *name;
    size_t      params_bytes;
    int         n_in, n_out; /* the most; optional ones included */
    /* Checks in[] and fills dtype and shape of out[] (data NULL). The message names the operation and both
     * shapes. */
    tn_status (*shape)(const tn_call *c, tn_error *err);
    size_t (*scratch)(const tn_call *c, bool backward); /* NULL: none */
    const tn_kernel *kernels;                           /* ended by name NULL */
    uint32_t         bwd_in, bwd_out; /* bit i: backward reads in[i] / out[i] (memory planning) */
    uint32_t         grad_out;        /* bit i: a gradient of out[i] goes back; 0: of out[0] alone */
    uint32_t         no_grad_in;      /* bit i: none of in[i] comes back, though it is f32 */
    /* bit i, of those: a constant by definition, so a weight may stand there that learns elsewhere */
    uint32_t held_in;
    int      in_place;      /* 1: out[0] may share memory with in[0] in the forward pass */
    int      grad_in_place; /* 1: din[0] is dout[0], and may share its memory where it is not added to */
    int (*cases)(tn_case *out, int i); /* fills case i; returns 0 when there is no such case */
    int n_quick; /* the start-up check takes so many of them, from the first on; 0: two */
    /* the check itself, where cases cannot say it; or NULL */
    bool (*quick)(const tn_op *op, const tn_kernel *k, char *detail, size_t n_detail);
    void (*draw)(tn_case *out, tn_draw *d); /* a random case (out is zero before); tensor/op_util.h */
    double (*flops)(const tn_call *c);      /* of the forward; NULL: not counted */
    /* Forward of up to TN_TOGETHER calls with the same in[0] in one parallel region: the bits of one after
     * another. Only the last one's scratch is used, so that the others' may lie where outputs of the group
     * do. NULL: there is no gain in it. */
    void (*together)(const tn_call *const *calls, int n);
};

/* The table. Each name X gives `extern const tn_op tn_op_X;` in tensor/<x>.c and the id TN_OP_X. */
#include "tensor/op_list.h"

#define X(NAME, name) extern const tn_op tn_op_##name;
TN_OP_LIST(X)
#undef X

typedef enum tn_op_id {
    TN_OP_NONE = 0,
#define X(NAME, name) TN_OP_##NAME,
    TN_OP_LIST(X)
#undef X
        TN_OP_COUNT
} tn_op_id;

const tn_op *tn_op_get(tn_op_id id);
const tn_op *tn_op_by_name(const char *name); /* NULL if unknown */

/* Runs with the chosen kernel: the last usable row at or below tn_isa_limit() that passed its start-up
 * check. */
void             tn_op_forward(const tn_call *c);
void             tn_op_backward(const tn_call *c);
const tn_kernel *tn_op_kernel(const tn_op *op);
/* Chooses again (after tn_isa_set). With check = true each kernel that would be chosen first runs small odd
 * cases against ref, once in a process; one that differs is logged and left out, and the next one down takes
 * its place. Planning a graph does this. Not inside tn_parallel. */
void tn_ops_choose(bool check);

/* The full walk (selftest): every kernel = ref bit for bit, 1, 2, 3, 8 threads, rows alone = rows in a batch,
 * loops outside the table = plain ones, gradients against finite differences; then `rounds` random cases an
 * operation, which depend on seed. `names` NULL: all. report is called once per (operation, what).
 * INTERRUPTED, TERMINATED: a signal cut the walk, and what was not reported is not known. */
typedef void (*tn_selftest_report)(void *arg, const char *op, const char *what, bool passed,
                                   const char *detail);
tn_status tn_selftest(const char *const *names, int64_t rounds, uint64_t seed, tn_selftest_report report,
                      void *arg, tn_error *err);

/* --------------------------------------------------------------------------- arithmetic that others share */

/* 16 virtual lanes, closed by one fixed tree: ((0+8),(1+9),...) then 4, 2, 1. */
float tn_lane_sum(const float lane[16]);
float tn_lane_max(const float lane[16]);
/* Long vectors: 65 536-element blocks, 16 lanes in each, blocks joined by a binary tree of the block
 * index. */
double tn_sum_sq(const float *x, int64_t n); /* the fp32 result, widened */
float  tn_block_tree_sum(const float *x, int64_t n);
/* Own transcendental functions: the same polynomial and FMA sequence in scalar and vector code. */
float  tn_expf(float x);
float  tn_logf(float x);
float  tn_tanhf(float x);
float  tn_erff(float x);
float  tn_sinf(float x);
float  tn_cosf(float x);
float  tn_sigmoidf(float x);
float  tn_softplusf(float x);
double tn_sin(double x); /* for RoPE tables: double, then rounded once */
double tn_cos(double x);
double tn_exp(double x);
double tn_ln(double x); /* natural logarithm; base/log.h owns tn_log */
/* y_i = tn_expf(x_i); y may be x. */
void tn_expf_each(float *y, const float *x, int64_t n);
/* log of the sum of exp over a row of logits, with head_logprob's bits: the sampler and the trainer agree. */
float tn_logits_lse(const float *logits, int64_t n);
/* NaN equals NaN; -0 differs from +0. */
bool tn_same_bits(const float *a, const float *b, int64_t n, int64_t *first);
/* SHA-256 of a tensor's bytes with every NaN canonical (--hash-ops). */
struct tn_digest;
void tn_tensor_hash(struct tn_digest *out, const tn_tensor *t);

#include "tensor/ops.h"

#endif
