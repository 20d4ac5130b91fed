/* cache.h - ids of short pieces seen lately in one long text. Private to this room.
 *
 * Text repeats its words: a direct-mapped table in the second-level cache answers most pieces without looking
 * into the vocabulary. It belongs to one call, so a tokenizer stays shared by threads. */
#ifndef TN_TOKENIZER_CACHE_H
#define TN_TOKENIZER_CACHE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    TN_CACHE_BITS = 14,
    TN_CACHE_BYTES = 16,
    TN_CACHE_IDS = 7,
    TN_CACHE_FROM = 1 << 16 /* bytes of text that pay for it */
};

typedef struct tn_cached {
    uint64_t a, b;
    int32_t  ids[TN_CACHE_IDS];
    uint16_t n_bytes, n_id;
} tn_cached;

/* The entry where a piece of 1 to TN_CACHE_BYTES bytes belongs. *key gets its bytes as two words, which with
 * the length tell pieces apart. */
static inline tn_cached *tn_cache_entry(tn_cached *table, const uint8_t *s, size_t n, uint64_t key[2])
{
    uint64_t a = 0, b = 0;
    uint32_t x, y;

    if (n >= 8) {
        memcpy(&a, s, 8);
        memcpy(&b, s + n - 8, 8);
    } else if (n >= 4) {
        memcpy(&x, s, 4);
        memcpy(&y, s + n - 4, 4);
        a = (uint64_t)y << 32 | x;
    } else a = (uint64_t)s[0] | (uint64_t)s[n / 2] << 8 | (uint64_t)s[n - 1] << 16;
    key[0] = a;
    key[1] = b;
    a = (a ^ (b * 0x9e3779b97f4a7c15u) ^ n) * 0xd6e8feb86659fd93u;
    return &table[a >> (64 - TN_CACHE_BITS)];
}

#endif
