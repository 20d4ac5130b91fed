/* act.h - the activation functions and their derivatives, one value at a time: the definition that gated.c,
 * unary.c and moe.c share. cpu/vec_act.h writes the same steps for 16 lanes. Private to tensor. */
#ifndef TN_TENSOR_ACT_H
#define TN_TENSOR_ACT_H

#include "tensor/op_util.h"

#define TN_GELU_K 0x1.988454p-1f  /* sqrt(2/pi) */
#define TN_GELU_C 0x1.6e4e26p-5f  /* 0.044715 */
#define TN_GELU_C3 0x1.12ba9ep-3f /* 3 * 0.044715 */
#define TN_SQRT1_2 0x1.6a09e6p-1f
#define TN_PHI0 0x1.988454p-2f  /* 1/sqrt(2 pi) */
#define TN_OSS_K 0x1.b3b646p+0f /* 1.702 */

static inline float tn_act_value(tn_act act, float x)
{
    switch (act) {
    case TN_ACT_SILU: return x * tn_sigmoidf(x);
    case TN_ACT_GELU_TANH:
        return (0.5f * x) * (1.0f + tn_tanhf(TN_GELU_K * (x * fmaf(TN_GELU_C, x * x, 1.0f))));
    case TN_ACT_GELU_ERF: return (0.5f * x) * (1.0f + tn_erff(x * TN_SQRT1_2));
    case TN_ACT_RELU: return x < 0.0f ? 0.0f : x;
    case TN_ACT_SIGMOID: return tn_sigmoidf(x);
    case TN_ACT_TANH: return tn_tanhf(x);
    case TN_ACT_OSS: return x * tn_sigmoidf(TN_OSS_K * x);
    }
    return NAN;
}

static inline float tn_act_slope(tn_act act, float x)
{
    switch (act) {
    case TN_ACT_SILU: {
        float s = tn_sigmoidf(x);
        return s * fmaf(x, 1.0f - s, 1.0f);
    }
    case TN_ACT_GELU_TANH: {
        float t = tn_tanhf(TN_GELU_K * (x * fmaf(TN_GELU_C, x * x, 1.0f)));
        float du = TN_GELU_K * fmaf(TN_GELU_C3, x * x, 1.0f);
        return fmaf((0.5f * x) * fmaf(-t, t, 1.0f), du, 0.5f * (1.0f + t));
    }
    case TN_ACT_GELU_ERF:
        return fmaf(x, TN_PHI0 * tn_expf(-0.5f * (x * x)), 0.5f * (1.0f + tn_erff(x * TN_SQRT1_2)));
    case TN_ACT_RELU: return x > 0.0f ? 1.0f : 0.0f;
    case TN_ACT_SIGMOID: {
        float s = tn_sigmoidf(x);
        return s * (1.0f - s);
    }
    case TN_ACT_TANH: {
        float t = tn_tanhf(x);
        return fmaf(-t, t, 1.0f);
    }
    case TN_ACT_OSS: {
        float s = tn_sigmoidf(TN_OSS_K * x);
        return s * fmaf(TN_OSS_K * x, 1.0f - s, 1.0f);
    }
    }
    return NAN;
}

/* The gated product and its two slopes (of the gate and of up, each without dy). */
static inline float tn_gated_value(tn_act act, float limit, float g, float u)
{
    if (act == TN_ACT_OSS) {
        g = limit < g ? limit : g;
        u = limit < u ? limit : u;
        u = -limit > u ? -limit : u;
        return (u + 1.0f) * tn_act_value(act, g);
    }
    return tn_act_value(act, g) * u;
}

static inline void tn_gated_slopes(tn_act act, float limit, float g, float u, float *dg, float *du)
{
    if (act == TN_ACT_OSS) {
        bool g_free = !(limit < g), u_free = !(limit < u) && !(-limit > u);
        g = limit < g ? limit : g;
        u = limit < u ? limit : u;
        u = -limit > u ? -limit : u;
        *dg = g_free ? (u + 1.0f) * tn_act_slope(act, g) : 0.0f;
        *du = u_free ? tn_act_value(act, g) : 0.0f;
        return;
    }
    *dg = u * tn_act_slope(act, g);
    *du = tn_act_value(act, g);
}

#endif
