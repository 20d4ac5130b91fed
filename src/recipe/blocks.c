/* blocks.c - where in a large file the first difference lies, when the file that was signed is not at hand.
 *
 *   {"bytes":N,"block_bytes":B,"blocks":["<64 hex: SHA-256><16 hex: s><16 hex: t>", ...]}        B a power of two, at most 4096 blocks
 *
 *   w_i   the block as little-endian words of 8 bytes, the last one filled up with zeros
 *   s     sum of w_i            modulo 2^64
 *   t     sum of (i + 1) w_i    modulo 2^64
 *
 * The digests find the block. If only one word of it was changed, by d, then s is off by d and t by (i + 1)
 * d, which gives i; the block with d taken away again must have its digest, so a wrong guess is never told.
 * This names the byte of a flipped bit. */
#include "recipe/release.h"

#include "base/file.h"
#include "base/str.h"
#include "base/thread.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_MIN = 4096, BLOCKS_MAX = 4096, ENTRY_HEX = 64 + 16 + 16 };

typedef struct sums {
    uint64_t s, t;
} sums;

static uint64_t word_at(const uint8_t *p, size_t n, size_t i)
{
    uint64_t w = 0;

    for (size_t k = 0; k < 8 && 8 * i + k < n; k++) w |= (uint64_t)p[8 * i + k] << (8 * k);
    return w;
}

static sums sums_of(const uint8_t *p, size_t n)
{
    sums x = { 0, 0 };

    for (size_t i = 0; 8 * i < n; i++) {
        uint64_t w = word_at(p, n, i);
        x.s += w;
        x.t += (i + 1) * w;
    }
    return x;
}

typedef struct cutting {
    const uint8_t *p;
    size_t         n, size;
    char (*entry)[ENTRY_HEX + 1];
} cutting;

static void make_entry(void *arg, size_t i)
{
    const cutting *c = arg;
    size_t         at = i * c->size, n = c->n - at < c->size ? c->n - at : c->size;
    tn_digest      d = tn_sha256_of(c->p + at, n);
    sums           x = sums_of(c->p + at, n);

    tn_hex(c->entry[i], &d);
    snprintf(c->entry[i] + 64, sizeof c->entry[i] - 64, "%016" PRIx64 "%016" PRIx64, x.s, x.t);
}

json_t *recipe_blocks_of(const char *path, tn_error *err)
{
    tn_map  m = { NULL, 0, NULL };
    json_t *list = json_array(), *out = NULL;
    size_t  size = BLOCK_MIN, n;
    char(*entry)[ENTRY_HEX + 1] = NULL;

    if (tn_map_open(&m, path, err) != TN_OK) {
        json_decref(list);
        return NULL;
    }
    while ((m.n + size - 1) / size > BLOCKS_MAX) size *= 2;
    n = (m.n + size - 1) / size;
    if ((entry = calloc(n + 1, sizeof *entry)) != NULL) {
        tn_parallel_items(n, make_entry, &(cutting){ m.p, m.n, size, entry });
        for (size_t i = 0; i < n; i++) json_array_append_new(list, json_string(entry[i]));
    } else {
        json_decref(list);
        list = NULL;
    }
    free(entry);
    if (list != NULL)
        out = json_pack("{s:I,s:I,s:o}", "bytes", (json_int_t)m.n, "block_bytes", (json_int_t)size, "blocks",
                        list);
    tn_map_close(&m);
    if (out == NULL) tn_fail(err, TN_NOMEM, "%s: no memory for the digests of its blocks", path);
    return out;
}

/* The byte of a block of n bytes that was changed, if only one word was: an offset; -1: more than one, or
 * another thing. */
static int64_t changed_byte(const uint8_t *p, size_t n, const char *entry)
{
    tn_digest want, found;
    sums      now = sums_of(p, n);
    uint64_t  s, t;
    char      hex[TN_SHA256_HEX];
    uint8_t  *fixed;
    int64_t   at = -1;

    memcpy(hex, entry, 64);
    hex[64] = '\0';
    if (!tn_unhex(&want, hex) || sscanf(entry + 64, "%16" SCNx64 "%16" SCNx64, &s, &t) != 2) return -1;
    uint64_t d = now.s - s, e = now.t - t;
    if (d == 0 || (fixed = malloc(n)) == NULL) return -1;
    for (size_t i = 0; 8 * i < n && at < 0; i++) {
        if ((i + 1) * d != e) continue;
        size_t   n_word = n - 8 * i < 8 ? n - 8 * i : 8;
        uint64_t was = word_at(p, n, i) - d;
        memcpy(fixed, p, n);
        for (size_t k = 0; k < n_word; k++) fixed[8 * i + k] = (uint8_t)(was >> (8 * k));
        found = tn_sha256_of(fixed, n);
        for (size_t k = 0; k < n_word && tn_digest_equal(&found, &want) && at < 0; k++)
            if (fixed[8 * i + k] != p[8 * i + k]) at = (int64_t)(8 * i + k);
    }
    free(fixed);
    return at;
}

bool recipe_blocks_locate(const json_t *entry, const char *path, int64_t *first, int64_t *last)
{
    const json_t *blocks = json_object_get(entry, "blocks");
    int64_t       size = json_integer_value(json_object_get(entry, "block_bytes"));
    int64_t       bytes = json_integer_value(json_object_get(entry, "bytes"));
    tn_map        m = { NULL, 0, NULL };
    bool          found = false;

    if (size < BLOCK_MIN || bytes < 0 || json_array_size(blocks) != (size_t)((bytes + size - 1) / size) ||
        tn_map_open(&m, path, NULL) != TN_OK)
        return false;
    for (size_t i = 0; i < json_array_size(blocks) && !found; i++) {
        const char *text = json_string_value(json_array_get(blocks, i));
        size_t      at = i * (size_t)size;
        size_t      want = (size_t)(bytes - (int64_t)at < size ? bytes - (int64_t)at : size);
        size_t      n = at >= m.n ? 0 : m.n - at < want ? m.n - at : want;
        char        hex[TN_SHA256_HEX];
        if (text == NULL || strlen(text) != ENTRY_HEX) break;
        tn_digest d = tn_sha256_of(m.p + at, n);
        tn_hex(hex, &d);
        if (n == want && memcmp(hex, text, 64) == 0) continue;
        int64_t byte = n == want ? changed_byte(m.p + at, n, text) : -1;
        found = true;
        *first = (int64_t)at + (byte >= 0 ? byte : 0);
        *last = byte >= 0 ? *first : (int64_t)(at + want) - 1;
    }
    if (!found && (int64_t)m.n > bytes) { /* all as signed, and something after it */
        found = true;
        *first = *last = bytes;
    }
    tn_map_close(&m);
    return found;
}
