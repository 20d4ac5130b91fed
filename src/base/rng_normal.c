/* rng_normal.c - normal numbers by counter: Box-Muller with logarithm and cosine of its own, in doubles and
 * fixed sequences, so that initial weights are the same on every machine whatever its libm does. Accurate to
 * a few ulp, which is all that a random number needs.
 *
 * One definition, over some lanes side by side: `lanes` is a constant where it is used, and each loop over
 * them is one vector instruction or two where the compiler has them. Filling the weights of a large model is
 * a matter of seconds, and most of it was calls of fma. */
#include "base/rng.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"

enum { LANES = 16 };

#define EACH for (int i = 0; i < lanes; i++)

/* ln x and cos(2 pi u), x in (0, 1) and not denormal, u in [0, 1). */
static inline __attribute__((always_inline)) void logs(int lanes, double *restrict y,
                                                       const double *restrict x)
{
    double e[LANES], t[LANES], t2[LANES], p[LANES];

    EACH
    {
        uint64_t bits, half;
        memcpy(&bits, &x[i], sizeof bits);
        half = (bits & 0xfffffffffffffu) | 0x3fe0000000000000u; /* the fraction as a number in [0.5, 1) */
        double m, power = (double)((int32_t)(bits >> 52) - 1022);
        memcpy(&m, &half, sizeof m);
        bool low = m < 0.70710678118654752;
        m = low ? m * 2 : m;
        e[i] = low ? power - 1 : power;
        t[i] = (m - 1) / (m + 1);
    }
    EACH
    {
        t2[i] = t[i] * t[i];
        p[i] = 0;
    }
#pragma GCC unroll 12
    /* atanh series: t^23/23 is below 1e-19 */
    for (int k = 23; k >= 1; k -= 2) EACH p[i] = fma(p[i], t2[i], 1.0 / k);
    EACH y[i] = fma(e[i], 0.693147180559945309, 2 * t[i] * p[i]);
}

static inline __attribute__((always_inline)) void cosines(int lanes, double *restrict y,
                                                          const double *restrict u)
{
    static const double inv_fact[] = { 1.0,
                                       -1.0 / 2,
                                       1.0 / 24,
                                       -1.0 / 720,
                                       1.0 / 40320,
                                       -1.0 / 3628800,
                                       1.0 / 479001600,
                                       -1.0 / 87178291200.0,
                                       1.0 / 20922789888000.0,
                                       -1.0 / 6402373705728000.0,
                                       1.0 / 2432902008176640000.0 };
    double              sign[LANES], x2[LANES], p[LANES];

    EACH
    {
        double v = u[i] < 0.5 ? u[i] : 1 - u[i]; /* now [0, 0.5] */
        sign[i] = v > 0.25 ? -1 : 1;
        v = v > 0.25 ? 0.5 - v : v;
        double x = v * 6.283185307179586477;
        x2[i] = x * x;
        p[i] = 0;
    }
#pragma GCC unroll 11
    for (int k = 10; k >= 0; k--) EACH p[i] = fma(p[i], x2[i], inv_fact[k]);
    EACH y[i] = sign[i] * p[i];
}

static inline __attribute__((always_inline)) void normals(int               lanes, double *restrict out,
                                                          const tn_rng_key *key, uint64_t position)
{
    uint64_t s = tn_rng_stream(key);
    double   u1[LANES], u2[LANES], l[LANES], c[LANES];
    uint32_t w[4][LANES], k0 = (uint32_t)s, k1 = (uint32_t)(s >> 32);

    EACH
    {
        w[0][i] = (uint32_t)(position + (uint64_t)i);
        w[1][i] = (uint32_t)((position + (uint64_t)i) >> 32);
        w[2][i] = (uint32_t)key->step;
        w[3][i] = (uint32_t)key->sample;
    }
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) /* Philox, as in rng.c */
        EACH
        {
            uint64_t p0 = (uint64_t)0xd2511f53u * w[0][i], p1 = (uint64_t)0xcd9e8d57u * w[2][i];
            uint32_t c1 = w[1][i], c3 = w[3][i];
            w[0][i] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            w[1][i] = (uint32_t)p1;
            w[2][i] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            w[3][i] = (uint32_t)p0;
        }
    EACH
    {
        u1[i] = ((double)(int64_t)(((uint64_t)w[1][i] << 32 | w[0][i]) >> 11) + 0.5) * 0x1p-53; /* (0, 1) */
        u2[i] = (double)(int64_t)(((uint64_t)w[3][i] << 32 | w[2][i]) >> 11) * 0x1p-53;
    }
    logs(lanes, l, u1);
    cosines(lanes, c, u2);
    EACH out[i] = sqrt(-2 * l[i]) * c[i]; /* Box-Muller */
}

double tn_rng_normal(const tn_rng_key *key, uint64_t position)
{
    double x[LANES];

    normals(1, x, key, position);
    return x[0];
}

static inline __attribute__((always_inline)) void fill(float *out, const tn_rng_key *key, uint64_t first,
                                                       int64_t n, double std)
{
    double  x[LANES];
    int64_t k = 0;

    for (; k + LANES <= n; k += LANES) {
        normals(LANES, x, key, first + (uint64_t)k);
        for (int i = 0; i < LANES; i++) out[k + i] = (float)(std * x[i]);
    }
    for (; k < n; k++) {
        normals(1, x, key, first + (uint64_t)k);
        out[k] = (float)(std * x[0]);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void fill_avx2(float *out, const tn_rng_key *key, uint64_t first,
                                                          int64_t n, double std)
{
    fill(out, key, first, n, std);
}
#endif

void tn_rng_normals(float *out, const tn_rng_key *key, uint64_t first, int64_t n, double std)
{
#if defined(__x86_64__)
    if (tn_isa_limit() >= TN_ISA_AVX2) {
        fill_avx2(out, key, first, n, std);
        return;
    }
#endif
    fill(out, key, first, n, std);
}
