/* moe.h - one call of moe, unpacked. Private to tensor. */
#ifndef TN_TENSOR_MOE_H
#define TN_TENSOR_MOE_H

#include "tensor/act.h"
#include "tensor/matmul.h"
#include "tensor/moves.h"

/* a = act(g) u, or act(u); the way back writes dg and du, which may lie where dy does. reference_mm: matrix
 * products by their definition, too. */
typedef struct tn_moe_kernels {
    void (*gated)(tn_act act, float limit, float *y, const float *g, const float *u, int64_t n);
    void (*plain)(tn_act act, float *y, const float *x, int64_t n);
    void (*gated_back)(tn_act act, float limit, float *dg, float *du, const float *dy, const float *g,
                       const float *u, int64_t n, bool add_g, bool add_u);
    void (*plain_back)(tn_act act, float *dx, const float *dy, const float *x, int64_t n, bool add);
    const tn_moves *moves;
    bool            reference_mm;
} tn_moe_kernels;

typedef struct tn_moe {
    const tn_call        *c;
    const tn_moe_params  *p;
    int64_t               n_row, n_embd, n_pair; /* n_pair: those with an expert */
    int32_t              *place;                 /* [n_row][k] sorted position of a pair, -1: none */
    int32_t              *pair;                  /* [n_pair] row * k + slot, sorted by expert */
    int32_t              *first;                 /* [n_expert + 1] first sorted position of an expert */
    float                *xs, *os, *dxs;         /* [n_pair][n_embd] x; o or dy; dx */
    float                *g, *u, *a;             /* [n_pair][n_ff] gate, up, activation */
    float                *t, *dg;                /* backward: t, then da, then du; dg */
    const tn_moe_kernels *kernels;
    void                 *mm_scratch;
    size_t                mm_bytes;
} tn_moe;

#endif
