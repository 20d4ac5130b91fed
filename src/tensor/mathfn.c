/* mathfn.c - own exp, log, tanh, erf, sin, cos and their relatives: one fixed sequence of IEEE operations
 * each.
 *
 * The C library picks variants by CPU and changes between versions; these do not. cpu/vec_math.h writes the
 * same sequences for 16 lanes, and the test compares the two over the whole range. The polynomials come from
 * tests/oracle/fit_mathfn.py (Remez exchange, relative error). Largest errors, measured over all 2^32 inputs
 * (`./dev soak`, program test_mathfn_all): see docs/tensor.md.
 *
 * Selections keep the form (a < b ? a : b), whose NaN behaviour is that of minps: the second operand
 * passes. */
#include "tensor/mathfn.h"

#include <math.h>
#include <string.h>

#include "tensor/tensor.h"

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static inline float of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}
static inline uint64_t bits_of_d(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}
static inline double of_bits_d(uint64_t u)
{
    double x;
    memcpy(&x, &u, 8);
    return x;
}

/* x = n ln 2 + r, |r| <= ln 2 / 2; e^x = 2^n e^r. The two factors 2^(n/2), 2^(n - n/2) keep subnormal results
 * right. */
float tn_expf(float x)
{
    x = TN_EXP_HI < x ? TN_EXP_HI : x;
    x = TN_EXP_LO > x ? TN_EXP_LO : x;
    float    t = fmaf(x, TN_LOG2E, TN_ROUND_MAGIC);
    uint32_t n = bits_of(t) - bits_of(TN_ROUND_MAGIC);
    float    k = t - TN_ROUND_MAGIC;
    float    r = fmaf(k, -TN_LN2_HI, x);
    r = fmaf(k, -TN_LN2_LO, r);
    float p = TN_EXP_C4;
    p = fmaf(p, r, TN_EXP_C3);
    p = fmaf(p, r, TN_EXP_C2);
    p = fmaf(p, r, TN_EXP_C1);
    p = fmaf(p, r, TN_EXP_C0);
    p = fmaf(p, r * r, r);
    p = p + 1.0f;
    uint32_t h = (uint32_t)((int32_t)n >> 1);
    return p * of_bits((h + 127u) << 23) * of_bits((n - h + 127u) << 23);
}

float tn_prob(float x) { return x < TN_PROB_FLOOR ? 0.0f : tn_expf(x); }

/* x = 2^e m, m in [sqrt(1/2), sqrt(2)), f = m - 1: log x = e ln 2 + f - f^2/2 + f^3 P(f). */
float tn_logf(float x)
{
    bool     tiny = x < 0x1p-126f;
    float    y = tiny ? x * 0x1p24f : x;
    uint32_t u = bits_of(y) - TN_LOG_SQRT_HALF;
    float    e = (float)((int32_t)u >> 23);
    e = tiny ? e - 24.0f : e;
    float m = of_bits((u & 0x007fffffu) + TN_LOG_SQRT_HALF);
    float f = m - 1.0f, s = f * f;
    float p = TN_LOG_C8;
    p = fmaf(p, f, TN_LOG_C7);
    p = fmaf(p, f, TN_LOG_C6);
    p = fmaf(p, f, TN_LOG_C5);
    p = fmaf(p, f, TN_LOG_C4);
    p = fmaf(p, f, TN_LOG_C3);
    p = fmaf(p, f, TN_LOG_C2);
    p = fmaf(p, f, TN_LOG_C1);
    p = fmaf(p, f, TN_LOG_C0);
    float r = (f * s) * p;
    r = fmaf(-0.5f, s, r);
    r = fmaf(e, TN_LN2_LO, r);
    r = r + f;
    r = fmaf(e, TN_LN2_HI, r);
    r = x < INFINITY ? r : x; /* infinity and NaN pass */
    r = x == 0.0f ? -INFINITY : r;
    r = x < 0.0f ? NAN : r;
    return r;
}

/* |x| < 0.625: x + x^3 P(x^2); else 1 - 2 / (e^2x + 1). */
float tn_tanhf(float x)
{
    float a = fabsf(x), z = a * a;
    float p = TN_TANH_C4;
    p = fmaf(p, z, TN_TANH_C3);
    p = fmaf(p, z, TN_TANH_C2);
    p = fmaf(p, z, TN_TANH_C1);
    p = fmaf(p, z, TN_TANH_C0);
    float small = fmaf(a * z, p, a);
    float large = 1.0f - 2.0f / (tn_expf(a + a) + 1.0f);
    return copysignf(a < 0.625f ? small : large, x);
}

/* |x| < 0.925: x + x P(x^2); else 1 - e^Q(x), Q = log erfc. */
float tn_erff(float x)
{
    float a = fabsf(x), z = a * a;
    float p = TN_ERF_C5;
    p = fmaf(p, z, TN_ERF_C4);
    p = fmaf(p, z, TN_ERF_C3);
    p = fmaf(p, z, TN_ERF_C2);
    p = fmaf(p, z, TN_ERF_C1);
    p = fmaf(p, z, TN_ERF_C0);
    float small = fmaf(a, p, a);
    float t = 3.95f < a ? 3.95f : a;
    float q = TN_ERFC_C7;
    q = fmaf(q, t, TN_ERFC_C6);
    q = fmaf(q, t, TN_ERFC_C5);
    q = fmaf(q, t, TN_ERFC_C4);
    q = fmaf(q, t, TN_ERFC_C3);
    q = fmaf(q, t, TN_ERFC_C2);
    q = fmaf(q, t, TN_ERFC_C1);
    q = fmaf(q, t, TN_ERFC_C0);
    float large = 1.0f - tn_expf(q);
    return copysignf(a < 0.925f ? small : large, x);
}

/* e / (1 + e) or 1 / (1 + e) with e = e^-|x|: neither overflows, and tiny results keep their digits. */
float tn_sigmoidf(float x)
{
    float e = tn_expf(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* max(x, 0) + log1p(u), u = e^-|x|; log1p(u) = log(w) u / (w - 1), w = 1 + u, repairs the rounding of w. */
float tn_softplusf(float x)
{
    float u = tn_expf(-fabsf(x)), w = 1.0f + u, d = w - 1.0f;
    float l = d == 0.0f ? u : tn_logf(w) * (u / d);
    float h = 0.0f < x ? x : 0.0f;
    return x == x ? h + l : x;
}

/* ------------------------------------------------------------------------------------------------ doubles */

double tn_exp(double x)
{
    if (x != x) return x;
    if (x > 709.79) return INFINITY;
    if (x < -745.14) return 0.0;
    double k = rint(x * 0x1.71547652b82fep+0);
    double r = fma(k, -TN_LN2_HI_D, x);
    r = fma(k, -TN_LN2_LO_D, r);
    /* Taylor to r^13: the rest is below 5e-18 for |r| <= 0.347. */
    double p = 1.0 / 6227020800.0;
    p = fma(p, r, 1.0 / 479001600.0);
    p = fma(p, r, 1.0 / 39916800.0);
    p = fma(p, r, 1.0 / 3628800.0);
    p = fma(p, r, 1.0 / 362880.0);
    p = fma(p, r, 1.0 / 40320.0);
    p = fma(p, r, 1.0 / 5040.0);
    p = fma(p, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    p = fma(p, r * r, r) + 1.0;
    int64_t n = (int64_t)k, h = n / 2;
    return p * of_bits_d((uint64_t)(h + 1023) << 52) * of_bits_d((uint64_t)(n - h + 1023) << 52);
}

double tn_ln(double x)
{
    if (x != x || x == INFINITY) return x;
    if (x == 0.0) return -INFINITY;
    if (x < 0.0) return NAN;
    double e = 0.0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        e = -54.0;
    }
    uint64_t u = bits_of_d(x) - 0x3fe6a09e667f3bcdull; /* sqrt(1/2) */
    e += (double)((int64_t)u >> 52);
    double f = of_bits_d((u & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull) - 1.0;
    /* log(1+f) = 2 atanh(s), s = f / (2 + f) <= 0.1716; the series to s^23 leaves less than 1e-20. Written as
     * f - (f^2/2 - s (f^2/2 + R)), which keeps the leading f exact. */
    double s = f / (2.0 + f), z = s * s, h = 0.5 * f * f;
    double p = 2.0 / 23.0;
    p = fma(p, z, 2.0 / 21.0);
    p = fma(p, z, 2.0 / 19.0);
    p = fma(p, z, 2.0 / 17.0);
    p = fma(p, z, 2.0 / 15.0);
    p = fma(p, z, 2.0 / 13.0);
    p = fma(p, z, 2.0 / 11.0);
    p = fma(p, z, 2.0 / 9.0);
    p = fma(p, z, 2.0 / 7.0);
    p = fma(p, z, 2.0 / 5.0);
    p = fma(p, z, 2.0 / 3.0);
    double r = s * fma(p, z, h) + e * TN_LN2_LO_D;
    return fma(e, TN_LN2_HI_D, f - (h - r));
}

__extension__ typedef unsigned __int128 u128;

/* 2/pi, 1280 bits, the first word holds the bits of weight 2^-1 ... 2^-64. */
// clang-format off
static const uint64_t two_over_pi[20] = {
    0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561, 0xb7246e3a424dd2e0,
    0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4,
    0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab, 0xf0cfbc209af4361d
};
// clang-format on

/* 64 bits of 2/pi from bit `from` on (bit 0 has weight 2^-1; negative bits are zero). */
static uint64_t pi_bits(int64_t from)
{
    if (from <= -64) return 0;
    if (from < 0) return two_over_pi[0] >> -from;
    int64_t  w = from / 64;
    unsigned s = (unsigned)(from % 64);
    uint64_t a = w < 20 ? two_over_pi[w] : 0, b = w + 1 < 20 ? two_over_pi[w + 1] : 0;
    return s == 0 ? a : a << s | b >> (64 - s);
}

/* x = (q + r) pi/2 with |r| <= 1/2; returns q mod 4 and the angle r pi/2. */
static int reduce_angle(double x, double *angle)
{
    double a = fabs(x);
    if (a < 0x1p30) {
        /* k has at most 30 bits; the three parts of pi/2 carry 159: what is lost is below 2^-100. */
        double k = rint(a * 0x1.45f306dc9c883p-1);
        double r = fma(k, -0x1.921fb54442d18p+0, a);
        r = fma(k, -0x1.1a62633145c07p-54, r);
        r = fma(k, 0x1.f1976b7ed8fbcp-110, r);
        *angle = x < 0 ? -r : r;
        int q = (int)((int64_t)k & 3);
        return x < 0 ? (4 - q) & 3 : q;
    }
    /* a = m 2^e, m of 53 bits. Only the bits of 2/pi that leave weights below 4 matter: those from weight
     * 2^(-e+2) down. 192 bits of them, times m, modulo 2^192, is the fraction of a (2/pi) / 4. */
    uint64_t u = bits_of_d(a), m = (u & 0x000fffffffffffffull) | 0x0010000000000000ull;
    int64_t  e = (int64_t)(u >> 52) - 1075, from = e - 2;
    uint64_t w0 = pi_bits(from), w1 = pi_bits(from + 64), w2 = pi_bits(from + 128);
    u128     lo = (u128)w2 * m;
    u128     mid = (u128)w1 * m + (uint64_t)(lo >> 64);
    uint64_t hi = w0 * m + (uint64_t)(mid >> 64);
    uint64_t f1 = (uint64_t)mid;
    int      q = (int)(hi >> 62);
    /* fraction of a quarter turn, 128 bits */
    uint64_t frac = hi << 2 | f1 >> 62, frac2 = f1 << 2 | (uint64_t)lo >> 62;
    bool     up = frac >> 63;
    if (up) { /* above one half: go to the next quarter, from below */
        q = (q + 1) & 3;
        frac2 = ~frac2 + 1;
        frac = ~frac + (frac2 == 0);
    }
    double r = (double)frac * 0x1p-64 + (double)frac2 * 0x1p-128;
    if (up) r = -r;
    *angle = r * 0x1.921fb54442d18p+0;
    if (x < 0) {
        *angle = -*angle;
        q = (4 - q) & 3;
    }
    return q;
}

/* Taylor on |r| <= pi/4: to r^21 and r^20, the rest below 1e-19. */
static double sin_poly(double r)
{
    double z = r * r;
    double p = 1.0 / 51090942171709440000.0;
    p = fma(p, z, -1.0 / 121645100408832000.0);
    p = fma(p, z, 1.0 / 355687428096000.0);
    p = fma(p, z, -1.0 / 1307674368000.0);
    p = fma(p, z, 1.0 / 6227020800.0);
    p = fma(p, z, -1.0 / 39916800.0);
    p = fma(p, z, 1.0 / 362880.0);
    p = fma(p, z, -1.0 / 5040.0);
    p = fma(p, z, 1.0 / 120.0);
    p = fma(p, z, -1.0 / 6.0);
    return fma(r * z, p, r);
}

static double cos_poly(double r)
{
    double z = r * r;
    double p = 1.0 / 2432902008176640000.0;
    p = fma(p, z, -1.0 / 6402373705728000.0);
    p = fma(p, z, 1.0 / 20922789888000.0);
    p = fma(p, z, -1.0 / 87178291200.0);
    p = fma(p, z, 1.0 / 479001600.0);
    p = fma(p, z, -1.0 / 3628800.0);
    p = fma(p, z, 1.0 / 40320.0);
    p = fma(p, z, -1.0 / 720.0);
    p = fma(p, z, 1.0 / 24.0);
    return fma(z * z, p, fma(-0.5, z, 1.0));
}

double tn_sin(double x)
{
    if (!(fabs(x) < INFINITY)) return NAN;
    if (x == 0.0) return x;
    double r;
    switch (reduce_angle(x, &r)) {
    case 0: return sin_poly(r);
    case 1: return cos_poly(r);
    case 2: return -sin_poly(r);
    default: return -cos_poly(r);
    }
}

double tn_cos(double x)
{
    if (!(fabs(x) < INFINITY)) return NAN;
    double r;
    switch (reduce_angle(x, &r)) {
    case 0: return cos_poly(r);
    case 1: return -sin_poly(r);
    case 2: return -cos_poly(r);
    default: return sin_poly(r);
    }
}

/* Through double, rounded once. */
float tn_sinf(float x) { return (float)tn_sin((double)x); }
float tn_cosf(float x) { return (float)tn_cos((double)x); }
