/* rng.c - random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as
 * easy as
 * 1, 2, 3", SC 2011).
 *
 *   stream   s = mix(mix(mix(seed) ^ purpose) ^ step) ^ sample-mixed      64 bits: the Philox key
 *   counter  {position lo, position hi, step lo, sample lo}               128 bits
 *
 * Step and sample enter twice: the low words in the counter, so that neighbours never collide, and all 64
 * bits in the key. Changing anything here changes every run: it is part of the format. */
#include "base/rng.h"

#include <math.h>

__extension__ typedef unsigned __int128 wide;

static uint64_t mix64(uint64_t x) /* splitmix64's finaliser (Steele, Lea, Flood 2014) */
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

void tn_philox4x32(uint32_t ctr[4], const uint32_t key[2]) { philox4x32_10(ctr, key[0], key[1]); }

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

    /* 128-bit multiply-shift of the first 64 bits; the bias is below n / 2^64, and the second pair of words
     * takes the place of the first when it falls into the short interval, which makes it smaller than n /
     * 2^128. */
    if (n == 0) return 0;
    tn_rng4(r, key, position);
    wide m = (wide)((uint64_t)r[1] << 32 | r[0]) * n;
    if ((uint64_t)m < n && (uint64_t)m < (0 - n) % n) m = (wide)((uint64_t)r[3] << 32 | r[2]) * n;
    return (uint64_t)(m >> 64);
}

/* A balanced Feistel network on the smallest even number of bits that holds n; values outside [0, n) walk on
 * until they fall inside, at most four times as many on average. */
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
