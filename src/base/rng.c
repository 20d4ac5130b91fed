/* rng.c - random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011).
 *
 *   stream   s = mix(mix(mix(seed) ^ purpose) ^ step) ^ sample-mixed      64 bits: the Philox key
 *   counter  {position lo, position hi, step lo, sample lo}               128 bits
 *
 * Step and sample enter twice: the low words in the counter, so that neighbours never collide, and all 64 bits in the
 * key. Changing anything here changes every run: it is part of the format. */
#include "base/rng.h"

#include <math.h>

__extension__ typedef unsigned __int128 wide;

static uint64_t mix64(uint64_t x)              /* splitmix64's finaliser (Steele, Lea, Flood 2014) */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void philox4x32_10(uint32_t ctr[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * ctr[0], p1 = (uint64_t)0xcd9e8d57u * ctr[2];
        uint32_t c1 = ctr[1], c3 = ctr[3];

        ctr[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        ctr[1] = (uint32_t)p1;
        ctr[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        ctr[3] = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
}

void tn_philox4x32(uint32_t ctr[4], const uint32_t key[2])
{
    philox4x32_10(ctr, key[0], key[1]);
}

uint64_t tn_rng_stream(const tn_rng_key *key)
{
    return mix64(mix64(mix64(mix64(key->seed) ^ key->purpose) ^ key->step) ^ key->sample);
}

void tn_rng4(uint32_t out[4], const tn_rng_key *key, uint64_t position)
{
    uint64_t s = tn_rng_stream(key);

    out[0] = (uint32_t)position;
    out[1] = (uint32_t)(position >> 32);
    out[2] = (uint32_t)key->step;
    out[3] = (uint32_t)key->sample;
    philox4x32_10(out, (uint32_t)s, (uint32_t)(s >> 32));
}

uint64_t tn_rng_u64(const tn_rng_key *key, uint64_t position)
{
    uint32_t r[4];

    tn_rng4(r, key, position);
    return (uint64_t)r[1] << 32 | r[0];
}

double tn_rng_unit(const tn_rng_key *key, uint64_t position)
{
    return (double)(tn_rng_u64(key, position) >> 11) * 0x1p-53;
}

uint64_t tn_rng_below(const tn_rng_key *key, uint64_t position, uint64_t n)
{
    uint32_t r[4];

    /* 128-bit multiply-shift of the first 64 bits; the bias is below n / 2^64, and the second pair of words takes the
     * place of the first when it falls into the short interval, which makes it smaller than n / 2^128. */
    if (n == 0) return 0;
    tn_rng4(r, key, position);
    wide m = (wide)((uint64_t)r[1] << 32 | r[0]) * n;
    if ((uint64_t)m < n && (uint64_t)m < (0 - n) % n)
        m = (wide)((uint64_t)r[3] << 32 | r[2]) * n;
    return (uint64_t)(m >> 64);
}

/* Natural logarithm and cosine of one turn for the normal: doubles, fixed sequences, so that initial weights are the
 * same on every machine whatever its libm does. Accurate to a few ulp, which is all that a random number needs. */
static double fixed_log(double x)                                  /* x in (0, 1] */
{
    int    e;
    double m = frexp(x, &e);                                       /* exact */

    if (m < 0.70710678118654752) { m *= 2; e--; }
    double t = (m - 1) / (m + 1), t2 = t * t, p = 0;
    for (int k = 23; k >= 1; k -= 2) p = fma(p, t2, 1.0 / k);      /* atanh series: t^23/23 is below 1e-19 */
    return fma((double)e, 0.693147180559945309, 2 * t * p);
}

static double fixed_cos_turn(double u)                             /* cos(2 pi u), u in [0, 1) */
{
    double v = u < 0.5 ? u : 1 - u, sign = 1;                      /* now [0, 0.5] */

    if (v > 0.25) { v = 0.5 - v; sign = -1; }
    double x = v * 6.283185307179586477, x2 = x * x, p = 0;
    static const double inv_fact[] = { 1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600,
                                       -1.0 / 87178291200.0, 1.0 / 20922789888000.0, -1.0 / 6402373705728000.0,
                                       1.0 / 2432902008176640000.0 };
    for (int k = 10; k >= 0; k--) p = fma(p, x2, inv_fact[k]);
    return sign * p;
}

double tn_rng_normal(const tn_rng_key *key, uint64_t position)
{
    uint32_t r[4];

    tn_rng4(r, key, position);
    double u1 = ((double)(((uint64_t)r[1] << 32 | r[0]) >> 11) + 0.5) * 0x1p-53;      /* (0, 1) */
    double u2 = (double)(((uint64_t)r[3] << 32 | r[2]) >> 11) * 0x1p-53;
    return sqrt(-2 * fixed_log(u1)) * fixed_cos_turn(u2);          /* Box-Muller */
}

/* A balanced Feistel network on the smallest even number of bits that holds n; values outside [0, n) walk on until
 * they fall inside, at most four times as many on average. */
uint64_t tn_rng_permute(const tn_rng_key *key, uint64_t i, uint64_t n)
{
    int half = 1;

    if (n < 2) return 0;
    while (half < 32 && (uint64_t)1 << (2 * half) < n) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1, x = i;
    do {
        uint64_t l = x >> half, r = x & mask;

        for (uint64_t round = 0; round < 6; round++) {
            uint64_t f = tn_rng_u64(key, round << 40 ^ r) & mask, swap = l ^ f;

            l = r;
            r = swap;
        }
        x = l << half | r;
    } while (x >= n);
    return x;
}
