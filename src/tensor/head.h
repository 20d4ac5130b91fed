/* head.h - the output head in chunks of rows, for head_loss and head_logprob. Private to tensor.
 *
 *   chunk of rows:   logits = x w^T  →  soft cap  →  lse, log-probability  →  gradient in place  →  dx, dw
 *
 * The logits of a chunk exist once; the gradient takes their place. The size of a chunk changes no bit. */
#ifndef TN_TENSOR_HEAD_H
#define TN_TENSOR_HEAD_H

#include "tensor/matmul.h"
#include "tensor/op_util.h"

/* What a row's softmax needs. x_j = l_j / temperature when that is not 0 or 1; l is capped when softcap >
 * 0. */
typedef struct tn_head_row {
    float softcap, temperature;
} tn_head_row;

/* One row of logits, n wide, in place.
 *   lse    caps the logits in place; top = max x_j, sum = lane sum of exp(x_j - top) in lane j mod 16 (exp is zero below
 *          e^-62: mathfn.h, tn_prob). With keep_exp
 *          (only without cap and temperature) the logits are replaced by those exponentials.
 *   cross  the soft target's part of a divergence: lane sum of e_j (t_j - l_j), e_j = exp(t_j - top), lane j mod 16, one fma each
 *   grad_soft  l_j = fma(scale, exp(l_j - top), -(soft_scale * exp(t_j - soft_top))), then * fma(-c, c, 1), c = l_j / softcap
 *   grad   logits (or exponentials, keep_exp) become g_j = scale * exp(x_j - top), fma(scale, e_t, at_target) at the
 *          target, then / temperature, then * fma(-c, c, 1), c = l_j / softcap */
typedef struct tn_head_kernels {
    void (*lse)(float *l, int64_t n, const tn_head_row *h, bool keep_exp, float *top, float *sum);
    void (*grad)(float *l, int64_t n, const tn_head_row *h, bool have_exp, float top, float scale,
                 int64_t target, float at_target);
    float (*cross)(const float *l, const float *t, int64_t n, float top);
    void (*grad_soft)(float *l, const float *t, int64_t n, float softcap, float top, float scale,
                      float soft_top, float soft_scale);
    bool reference_mm; /* matrix products by their definition, too */
} tn_head_kernels;

extern const tn_head_kernels tn_head_ref, tn_head_avx2, tn_head_avx512;

typedef struct tn_head {
    const tn_call         *c;
    const tn_head_kernels *kernels;
    const float           *x;
    const tn_tensor       *w;
    const int32_t         *target;
    int64_t                n_row, n_embd, n_vocab, chunk;
    int64_t                ld; /* floats from one row of logits to the next, at least n_vocab */
    tn_head_row            row;
    tn_profile             profile;
    float                 *logits; /* [chunk][ld] */
    void                  *mm_scratch;
    size_t                 mm_bytes;
} tn_head;

tn_status tn_head_check(const tn_call *c, float softcap, tn_error *err);
size_t    tn_head_scratch(const tn_call *c);
int64_t   tn_head_chunk(const tn_call *c); /* rows of a chunk */
int64_t   tn_head_ld(int64_t n_vocab);     /* floats from one row of logits to the next */
void tn_head_open(tn_head *h, const tn_call *c, const tn_head_kernels *k, float softcap, float temperature,
                  tn_profile profile);
void tn_head_logits(const tn_head *h, int64_t r0, int64_t n);
/* From gradients in h->logits. */
void tn_head_dx(const tn_head *h, int64_t n, float *dx, bool add);
void tn_head_dw(const tn_head *h, int64_t r0, int64_t n, float *dw);
/* A target outside the vocabulary makes its row's loss NaN, and the gradient that comes of it. */
static inline bool tn_head_target_ok(const tn_head *h, int64_t r)
{
    return h->target[r] >= 0 && h->target[r] < h->n_vocab;
}

#endif
