/* vec_math.h - the functions of mathfn.c and act.h for sixteen lanes: the same steps, the same constants.
 * Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_VEC_MATH_H
#define TN_TENSOR_CPU_VEC_MATH_H

#include <math.h>

#include "tensor/act.h"
#include "tensor/cpu/vec.h"
#include "tensor/mathfn.h"

/* exp of what lies within [TN_EXP_LO, TN_EXP_HI], or is NaN. */
TN_INLINE vf vf_exp_within(vf x)
{
    vf t = vf_fma(x, vf_set(TN_LOG2E), vf_set(TN_ROUND_MAGIC));
    vf k = vf_sub(t, vf_set(TN_ROUND_MAGIC));
    vf r = vf_fnma(k, vf_set(TN_LN2_HI), x);
    r = vf_fnma(k, vf_set(TN_LN2_LO), r);
    vf p = vf_set(TN_EXP_C4);
    p = vf_fma(p, r, vf_set(TN_EXP_C3));
    p = vf_fma(p, r, vf_set(TN_EXP_C2));
    p = vf_fma(p, r, vf_set(TN_EXP_C1));
    p = vf_fma(p, r, vf_set(TN_EXP_C0));
    p = vf_fma(p, vf_mul(r, r), r);
    p = vf_add(p, vf_set(1.0f));
    return vf_scale2(p, k);
}

TN_INLINE vf vf_exp(vf x) { return vf_exp_within(vf_max(vf_set(TN_EXP_LO), vf_min(vf_set(TN_EXP_HI), x))); }

/* tn_prob */
TN_INLINE vf vf_prob(vf x) { return vf_sel(vf_lt(x, vf_set(TN_PROB_FLOOR)), vf_zero(), vf_exp(x)); }
/* The same of x <= 0, or NaN: a score less the largest one. What lies below the floor is not used, whatever
 * comes out. */
TN_INLINE vf vf_prob_below(vf x)
{
    return vf_sel(vf_lt(x, vf_set(TN_PROB_FLOOR)), vf_zero(), vf_exp_within(x));
}

TN_INLINE vf vf_log(vf x)
{
    vm tiny = vf_lt(x, vf_set(0x1p-126f));
    vf y = vf_sel(tiny, vf_mul(x, vf_set(0x1p24f)), x);
    vi u = vi_sub(vf_bits(y), vi_set((int32_t)TN_LOG_SQRT_HALF));
    vf e = vi_to_float(vi_sra(u, 23));
    e = vf_sel(tiny, vf_sub(e, vf_set(24.0f)), e);
    vf m = vi_floats(vi_add(vi_and(u, vi_set(0x007fffff)), vi_set((int32_t)TN_LOG_SQRT_HALF)));
    vf f = vf_sub(m, vf_set(1.0f)), s = vf_mul(f, f);
    vf p = vf_set(TN_LOG_C8);
    p = vf_fma(p, f, vf_set(TN_LOG_C7));
    p = vf_fma(p, f, vf_set(TN_LOG_C6));
    p = vf_fma(p, f, vf_set(TN_LOG_C5));
    p = vf_fma(p, f, vf_set(TN_LOG_C4));
    p = vf_fma(p, f, vf_set(TN_LOG_C3));
    p = vf_fma(p, f, vf_set(TN_LOG_C2));
    p = vf_fma(p, f, vf_set(TN_LOG_C1));
    p = vf_fma(p, f, vf_set(TN_LOG_C0));
    vf r = vf_mul(vf_mul(f, s), p);
    r = vf_fma(vf_set(-0.5f), s, r);
    r = vf_fma(e, vf_set(TN_LN2_LO), r);
    r = vf_add(r, f);
    r = vf_fma(e, vf_set(TN_LN2_HI), r);
    r = vf_sel(vf_lt(x, vf_set(INFINITY)), r, x);
    r = vf_sel(vf_eq(x, vf_zero()), vf_set(-INFINITY), r);
    return vf_sel(vf_lt(x, vf_zero()), vf_set(NAN), r);
}

TN_INLINE vf vf_tanh(vf x)
{
    vf a = vf_abs(x), z = vf_mul(a, a);
    vf p = vf_set(TN_TANH_C4);
    p = vf_fma(p, z, vf_set(TN_TANH_C3));
    p = vf_fma(p, z, vf_set(TN_TANH_C2));
    p = vf_fma(p, z, vf_set(TN_TANH_C1));
    p = vf_fma(p, z, vf_set(TN_TANH_C0));
    vf small = vf_fma(vf_mul(a, z), p, a);
    vf large = vf_sub(vf_set(1.0f), vf_div(vf_set(2.0f), vf_add(vf_exp(vf_add(a, a)), vf_set(1.0f))));
    return vf_with_sign(vf_sel(vf_lt(a, vf_set(0.625f)), small, large), x);
}

TN_INLINE vf vf_erf(vf x)
{
    vf a = vf_abs(x), z = vf_mul(a, a);
    vf p = vf_set(TN_ERF_C5);
    p = vf_fma(p, z, vf_set(TN_ERF_C4));
    p = vf_fma(p, z, vf_set(TN_ERF_C3));
    p = vf_fma(p, z, vf_set(TN_ERF_C2));
    p = vf_fma(p, z, vf_set(TN_ERF_C1));
    p = vf_fma(p, z, vf_set(TN_ERF_C0));
    vf small = vf_fma(a, p, a);
    vf t = vf_min(vf_set(3.95f), a);
    vf q = vf_set(TN_ERFC_C7);
    q = vf_fma(q, t, vf_set(TN_ERFC_C6));
    q = vf_fma(q, t, vf_set(TN_ERFC_C5));
    q = vf_fma(q, t, vf_set(TN_ERFC_C4));
    q = vf_fma(q, t, vf_set(TN_ERFC_C3));
    q = vf_fma(q, t, vf_set(TN_ERFC_C2));
    q = vf_fma(q, t, vf_set(TN_ERFC_C1));
    q = vf_fma(q, t, vf_set(TN_ERFC_C0));
    vf large = vf_sub(vf_set(1.0f), vf_exp(q));
    return vf_with_sign(vf_sel(vf_lt(a, vf_set(0.925f)), small, large), x);
}

TN_INLINE vf vf_sigmoid(vf x)
{
    vf e = vf_exp(vf_neg(vf_abs(x)));
    return vf_div(vf_sel(vf_lt(x, vf_zero()), e, vf_set(1.0f)), vf_add(vf_set(1.0f), e));
}

/* y = act(x), d = act'(x); `act` is a constant where this is used. */
TN_INLINE vf vf_act(tn_act act, vf x)
{
    const vf one = vf_set(1.0f);
    if (act == TN_ACT_SILU) return vf_mul(x, vf_sigmoid(x));
    if (act == TN_ACT_GELU_TANH) {
        vf t = vf_tanh(vf_mul(vf_set(TN_GELU_K), vf_mul(x, vf_fma(vf_set(TN_GELU_C), vf_mul(x, x), one))));
        return vf_mul(vf_mul(vf_set(0.5f), x), vf_add(one, t));
    }
    if (act == TN_ACT_GELU_ERF)
        return vf_mul(vf_mul(vf_set(0.5f), x), vf_add(one, vf_erf(vf_mul(x, vf_set(TN_SQRT1_2)))));
    if (act == TN_ACT_RELU) return vf_sel(vf_lt(x, vf_zero()), vf_zero(), x);
    if (act == TN_ACT_SIGMOID) return vf_sigmoid(x);
    if (act == TN_ACT_TANH) return vf_tanh(x);
    return vf_mul(x, vf_sigmoid(vf_mul(vf_set(TN_OSS_K), x)));
}

TN_INLINE void vf_act_slope(tn_act act, vf x, vf *y, vf *d)
{
    const vf one = vf_set(1.0f), half = vf_set(0.5f);
    if (act == TN_ACT_SILU || act == TN_ACT_OSS) {
        vf k = act == TN_ACT_OSS ? vf_mul(vf_set(TN_OSS_K), x) : x, s = vf_sigmoid(k);
        *y = vf_mul(x, s);
        *d = vf_mul(s, vf_fma(k, vf_sub(one, s), one));
    } else if (act == TN_ACT_GELU_TANH) {
        vf xx = vf_mul(x, x),
           t = vf_tanh(vf_mul(vf_set(TN_GELU_K), vf_mul(x, vf_fma(vf_set(TN_GELU_C), xx, one))));
        vf du = vf_mul(vf_set(TN_GELU_K), vf_fma(vf_set(TN_GELU_C3), xx, one)), hx = vf_mul(half, x),
           t1 = vf_add(one, t);
        *y = vf_mul(hx, t1);
        *d = vf_fma(vf_mul(hx, vf_fnma(t, t, one)), du, vf_mul(half, t1));
    } else if (act == TN_ACT_GELU_ERF) {
        vf t1 = vf_add(one, vf_erf(vf_mul(x, vf_set(TN_SQRT1_2))));
        *y = vf_mul(vf_mul(half, x), t1);
        *d = vf_fma(x, vf_mul(vf_set(TN_PHI0), vf_exp(vf_mul(vf_set(-0.5f), vf_mul(x, x)))),
                    vf_mul(half, t1));
    } else if (act == TN_ACT_RELU) {
        *y = vf_act(act, x);
        *d = vf_sel(vf_lt(vf_zero(), x), one, vf_zero());
    } else if (act == TN_ACT_SIGMOID) {
        *y = vf_sigmoid(x);
        *d = vf_mul(*y, vf_sub(one, *y));
    } else {
        *y = vf_tanh(x);
        *d = vf_fnma(*y, *y, one);
    }
}

#endif
