/* rng.h - random numbers by counter (Philox4x32-10, Salmon et al. 2011): a pure function of (seed, purpose,
 * step, sample, position), never of thread, rank or call order. */
#ifndef TN_BASE_RNG_H
#define TN_BASE_RNG_H

#include <stdint.h>

/* One number per purpose: two uses never share a stream. Part of the format: numbers are never reused. */
typedef enum tn_rng_purpose {
    TN_RNG_INIT = 1,
    TN_RNG_SHUFFLE = 2,
    TN_RNG_DROPOUT = 3,
    TN_RNG_SAMPLE = 4,
    TN_RNG_ROUND = 5,
    TN_RNG_MIXTURE = 6,
    TN_RNG_PRINCIPLE = 7,
    TN_RNG_BOOTSTRAP = 8,
    TN_RNG_ATTACK = 9,
    TN_RNG_PROMPT = 10,
    TN_RNG_AUDIT = 11,
    TN_RNG_TEST = 12,
    TN_RNG_FEWSHOT = 13,
    TN_RNG_LORA = 14,
    TN_RNG_JUDGE = 15
} tn_rng_purpose;

typedef struct tn_rng_key {
    uint64_t seed;
    uint32_t purpose;
    uint64_t step;
    uint64_t sample;
} tn_rng_key;

/* Four 32-bit words at a position of a stream; rng.c draws how the key and counter are made. */
/* The bare generator, for known-answer tests: ctr in, random words out. */
void tn_philox4x32(uint32_t ctr[4], const uint32_t key[2]);

void tn_rng4(uint32_t out[4], const tn_rng_key *key, uint64_t position);
/* The 64-bit Philox key of a stream, for code that makes many positions at once (words: rng.c). */
uint64_t tn_rng_stream(const tn_rng_key *key);

uint64_t tn_rng_u64(const tn_rng_key *key, uint64_t position);
double   tn_rng_unit(const tn_rng_key *key, uint64_t position); /* [0, 1), 53 bits */
/* [0, n), unbiased (multiply-shift) */
uint64_t tn_rng_below(const tn_rng_key *key, uint64_t position, uint64_t n);
/* N(0,1), own log/cos: the same everywhere */
double tn_rng_normal(const tn_rng_key *key, uint64_t position);
/* out[i] = std times the normal at first + i, for n of them: the same bits, several at a time. */
void tn_rng_normals(float *out, const tn_rng_key *key, uint64_t first, int64_t n, double std);
/* A keyed permutation of [0, n): the i-th element, O(1) memory (cycle-walking Feistel). A bijection for every
 * n. */
uint64_t tn_rng_permute(const tn_rng_key *key, uint64_t i, uint64_t n);

#endif
