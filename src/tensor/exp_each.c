/* exp_each.c - tn_expf of many values, with the kernels of this CPU: the sampler turns a whole vocabulary
 * into weights. */
#include "tensor/cpu/kernels.h"
#include "tensor/loops.h"

static void exp_each(tn_isa isa, float *y, const float *x, int64_t n)
{
    if (isa == TN_ISA_AVX512) tn_exp_each_avx512(y, x, n);
    else if (isa == TN_ISA_AVX2) tn_exp_each_avx2(y, x, n);
    else
        for (int64_t i = 0; i < n; i++) y[i] = tn_expf(x[i]);
}

void tn_expf_each(float *y, const float *x, int64_t n) { exp_each(tn_loops_isa(TN_LOOPS_EXP_EACH), y, x, n); }
void tn_loops_run_exp_each(tn_isa isa, float *y, const float *x) { exp_each(isa, y, x, TN_LOOPS_N); }
