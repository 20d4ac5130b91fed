/* exp_each.c - tn_expf of many values, with the kernels of this CPU: the sampler turns a whole vocabulary into weights. */
#include "tensor/cpu/kernels.h"

#include "base/cpu.h"

void tn_expf_each(float *y, const float *x, int64_t n)
{
#if defined(__x86_64__)
    if (tn_isa_limit() >= TN_ISA_AVX512 && tn_cpu_avx512()) {
        tn_exp_each_avx512(y, x, n);
        return;
    }
    if (tn_isa_limit() >= TN_ISA_AVX2 && tn_cpu_avx2()) {
        tn_exp_each_avx2(y, x, n);
        return;
    }
#endif
    for (int64_t i = 0; i < n; i++) y[i] = tn_expf(x[i]);
}
