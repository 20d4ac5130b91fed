/* matmul_few.h - few rows times packed panels, what matmul_few_avx2.c and matmul_few_avx512.c share: the job,
 * and which function serves which weight. ONE_OF_EACH makes the tables from one_row(t, l, np, f, p, column,
 * mask) of the file; one_row_panels(l) is how many panels it takes side by side. Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_MATMUL_FEW_H
#define TN_TENSOR_CPU_MATMUL_FEW_H

#include "tensor/matmul.h"

typedef struct few {
    const float     *x;
    int64_t          ldx, k;
    const tn_weight *w;
    float           *c;
    int64_t          ldc;
    bool             load;
} few;

/* Panels from p on: column and mask are where the first lies in C, and the lanes of each. */
typedef void (*panels_fn)(const few *f, int64_t p, int64_t column, const uint16_t *mask);

/* A wide step, and one panel. */
#define ONE(name, t, l)                                                                                      \
    static void one_##name##_wide(const few *f, int64_t p, int64_t column, const uint16_t *mask)             \
    {                                                                                                        \
        one_row(t, l, one_row_panels(l), f, p, column, mask);                                                \
    }                                                                                                        \
    static void one_##name##_1(const few *f, int64_t p, int64_t column, const uint16_t *mask)                \
    {                                                                                                        \
        one_row(t, l, 1, f, p, column, mask);                                                                \
    }                                                                                                        \
    static const panels_fn name##_fns[2] = { one_##name##_wide, one_##name##_1 };
// clang-format off
#define ONE_OF_EACH                                                                                                           \
    ONE(f32, TN_F32, TN_L_F32)                                                                                                \
    ONE(f16, TN_F16, TN_L_F16)                                                                                                \
    ONE(bf16, TN_BF16, TN_L_BF16)                                                                                             \
    ONE(q8_0, TN_Q8_0, TN_L_C8)                                                                                               \
    ONE(q4_0, TN_Q4_0, TN_L_C4)                                                                                               \
    ONE(q4_1, TN_Q4_1, TN_L_C4)                                                                                               \
    ONE(q4_k, TN_Q4_K, TN_L_C4)                                                                                               \
    ONE(q5_0, TN_Q5_0, TN_L_C5)                                                                                               \
    ONE(q5_1, TN_Q5_1, TN_L_C5)                                                                                               \
    ONE(q5_k, TN_Q5_K, TN_L_C5)                                                                                               \
    ONE(q6_k, TN_Q6_K, TN_L_C6)                                                                                               \
    static const panels_fn *functions_of(const tn_weight *w)                                                                  \
    {                                                                                                                         \
        switch (w->layout) {                                                                                                  \
        case TN_L_F32:  return f32_fns;                                                                                       \
        case TN_L_F16:  return f16_fns;                                                                                       \
        case TN_L_BF16: return bf16_fns;                                                                                      \
        case TN_L_C8:   return q8_0_fns;                                                                                      \
        case TN_L_C6:   return q6_k_fns;                                                                                      \
        case TN_L_C4:   return w->dtype == TN_Q4_0 ? q4_0_fns : w->dtype == TN_Q4_1 ? q4_1_fns : q4_k_fns;                    \
        case TN_L_C5:   return w->dtype == TN_Q5_0 ? q5_0_fns : w->dtype == TN_Q5_1 ? q5_1_fns : q5_k_fns;                    \
        }                                                                                                                     \
        return NULL;                                                                                                          \
    }
// clang-format on

#endif
