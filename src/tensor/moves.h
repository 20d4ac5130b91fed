/* moves.h - rows moved, added and weighed: what cols, concat, gather_rows, router and moe do beside products,
 * as parts that a set of kernels has. Each says its plain loop; vectors give the same bits. Private to
 * tensor. */
#ifndef TN_TENSOR_MOVES_H
#define TN_TENSOR_MOVES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tn_moves {
    void (*copy)(float *y, const float *x, int64_t n);       /* y_i = x_i */
    void (*add)(float *y, const float *x, int64_t n);        /* y_i += x_i */
    void (*scale)(float *y, float s, int64_t n);             /* y_i *= s */
    float (*dot)(const float *a, const float *b, int64_t n); /* lane_sum of fma(a_i, b_i, lane) */
    /* y = chain over the slots j of fma(w[j], o[place[j]], y), from +0; NaN from a slot without a place (-1)
     * on. */
    void (*combine)(float *y, const float *o, const int32_t *place, const float *w, int64_t k, int64_t n);
    /* dx (from +0 unless it adds) += from[place[j]], j ascending; slots without a place are left out. */
    void (*spread)(float *dx, const float *from, const int32_t *place, int64_t k, int64_t n, bool add);
    /* router: e_i = exp(l_i - top) and their lane_sum, top = the largest l; s_i = sigmoid(l_i) and theirs;
     * y_i = x_i / d. */
    float (*exps)(float *e, const float *l, int64_t n, float *top);
    float (*sigmoids)(float *s, const float *l, int64_t n);
    void (*divide)(float *y, const float *x, float d, int64_t n);
    /* y_i = fma(f, exp(l_i - lse), y_i) */
    void (*add_soft)(float *y, const float *l, float lse, float f, int64_t n);
    /* dl_i = p_i (dp_i - sum(p dp)) */
    void (*softmax_back)(float *dl, const float *p, const float *dp, int64_t n);
} tn_moves;

extern const tn_moves tn_moves_ref, tn_moves_avx2, tn_moves_avx512;

#endif
