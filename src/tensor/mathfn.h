/* mathfn.h - the constants of the transcendental functions, shared by mathfn.c (one value) and cpu/vec_math.h
 * (16 lanes), so that the two cannot drift apart. Private to tensor. Polynomials:
 * tests/oracle/fit_mathfn.py. */
#ifndef TN_TENSOR_MATHFN_H
#define TN_TENSOR_MATHFN_H

/* exp(x), zero below TN_PROB_FLOOR. */
float tn_prob(float x);

/* Beyond these exp is infinity and zero in any case. */
#define TN_EXP_HI 89.0f
#define TN_EXP_LO (-104.0f)
/* A probability below e^-62 of the largest counts as zero (tn_prob): no sum in fp32 could see it, and it
 * would put denormals, which cost hundreds of cycles each, into the products that follow. */
#define TN_PROB_FLOOR (-62.0f)
#define TN_LOG2E 0x1.715476p+0f
#define TN_ROUND_MAGIC 0x1.8p+23f /* adding it rounds to an integer in the low bits */
#define TN_LN2_HI 0x1.62ep-1f
#define TN_LN2_LO 0x1.0bfbe8p-15f
#define TN_LN2_HI_D 0x1.62e42fecp-1
#define TN_LN2_LO_D 0x1.d1cf79abc9e3bp-32

/* (e^r - 1 - r) / r^2 */
#define TN_EXP_C0 0x1.fffffcp-2f
#define TN_EXP_C1 0x1.55548ap-3f
#define TN_EXP_C2 0x1.555916p-5f
#define TN_EXP_C3 0x1.123fc6p-7f
#define TN_EXP_C4 0x1.6a1a72p-10f

#define TN_LOG_SQRT_HALF 0x3f3504f3u /* bits of sqrt(1/2) */
/* (log(1+f) - f + f^2/2) / f^3 */
#define TN_LOG_C0 0x1.555546p-2f
#define TN_LOG_C1 (-0x1.ffffeep-3f)
#define TN_LOG_C2 0x1.99a53ap-3f
#define TN_LOG_C3 (-0x1.5562dep-3f)
#define TN_LOG_C4 0x1.233378p-3f
#define TN_LOG_C5 (-0x1.fb4478p-4f)
#define TN_LOG_C6 0x1.e6487p-4f
#define TN_LOG_C7 (-0x1.e2dff2p-4f)
#define TN_LOG_C8 0x1.1b485ep-4f

/* (tanh x - x) / x^3 in x^2 */
#define TN_TANH_C0 (-0x1.555534p-2f)
#define TN_TANH_C1 0x1.11076cp-3f
#define TN_TANH_C2 (-0x1.b844a2p-5f)
#define TN_TANH_C3 0x1.5258cap-6f
#define TN_TANH_C4 (-0x1.76b3ccp-8f)

/* erf(x)/x - 1 in x^2 */
#define TN_ERF_C0 0x1.06eba6p-3f
#define TN_ERF_C1 (-0x1.8126e6p-2f)
#define TN_ERF_C2 0x1.ce1a46p-4f
#define TN_ERF_C3 (-0x1.b686eep-6f)
#define TN_ERF_C4 0x1.4716c4p-8f
#define TN_ERF_C5 (-0x1.395c8cp-11f)
/* log erfc(t) */
#define TN_ERFC_C0 0x1.6e56a6p-13f
#define TN_ERFC_C1 (-0x1.2127e4p+0f)
#define TN_ERFC_C2 (-0x1.44460cp-1f)
#define TN_ERFC_C3 (-0x1.bb83e4p-4f)
#define TN_ERFC_C4 0x1.9b8e7cp-6f
#define TN_ERFC_C5 (-0x1.115ac8p-8f)
#define TN_ERFC_C6 0x1.c79102p-12f
#define TN_ERFC_C7 (-0x1.61ea4ep-16f)

#endif
