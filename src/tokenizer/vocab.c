/* vocab.c - the vocabulary: strings in one block, found by hash, and GPT-2's byte alphabet. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

enum { ID_MASK = (1 << TN_INDEX_BITS) - 1 };

tn_status tn_pool_fill(tn_pool *pool, const char *const *text, const size_t *n_bytes, int64_t n,
                       const char *where, tn_error *err)
{
    uint64_t total = 0;

    for (int64_t i = 0; i < n; i++) {
        if (n_bytes[i] > TN_MAX_TOKEN_BYTES)
            return tn_fail(err, TN_LIMIT,
                           "%s: token %lld has %zu bytes, at most %d are read: the file is damaged", where,
                           (long long)i, n_bytes[i], TN_MAX_TOKEN_BYTES);
        total += n_bytes[i];
    }
    if (total > UINT32_MAX / 2)
        return tn_fail(err, TN_LIMIT, "%s: the vocabulary's text has %llu bytes, at most %u are read", where,
                       (unsigned long long)total, UINT32_MAX / 2);
    pool->p = malloc((size_t)total + 1);
    pool->at = malloc(((size_t)n + 1) * sizeof *pool->at);
    if (pool->p == NULL || pool->at == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for %lld tokens", where, (long long)n);
    pool->at[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        if (n_bytes[i] != 0) memcpy(pool->p + pool->at[i], text[i], n_bytes[i]);
        pool->at[i + 1] = pool->at[i] + (uint32_t)n_bytes[i];
    }
    return TN_OK;
}

void tn_pool_free(tn_pool *pool)
{
    free(pool->p);
    free(pool->at);
    *pool = (tn_pool){ 0 };
}

tn_status tn_index_create(tn_index *index, int64_t n, tn_error *err)
{
    size_t slots = 64;

    if (n >= ID_MASK)
        return tn_fail(err, TN_LIMIT, "a table of %lld tokens, at most %d are read: the file is damaged",
                       (long long)n, ID_MASK - 1);
    while (slots < 2 * (size_t)n + 2) slots *= 2;
    index->slot = calloc(slots, sizeof *index->slot);
    index->mask = slots - 1;
    if (index->slot == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a table of %lld tokens", (long long)n);
    return TN_OK;
}

void tn_index_free(tn_index *index)
{
    free(index->slot);
    *index = (tn_index){ 0 };
}

/* The slot that holds these bytes, or the empty one where they belong. The tag saves comparing most strings
 * that differ. */
static size_t index_slot(const tn_index *index, const tn_pool *pool, const void *text, size_t n,
                         uint32_t *tag)
{
    uint64_t h = tn_hash64(text, n);
    size_t   i = (size_t)h & index->mask;

    for (*tag = (uint32_t)(h >> 32) & ~(uint32_t)ID_MASK; index->slot[i] != 0; i = (i + 1) & index->mask) {
        size_t      have_n;
        const char *have;

        if ((index->slot[i] & ~(uint32_t)ID_MASK) != *tag) continue;
        have = tn_pool_at(pool, (index->slot[i] & ID_MASK) - 1, &have_n);
        if (have_n == n && memcmp(have, text, n) == 0) break;
    }
    return i;
}

int32_t tn_index_put(tn_index *index, const tn_pool *pool, int32_t i)
{
    uint32_t    tag;
    size_t      n;
    const char *text = tn_pool_at(pool, i, &n);
    size_t      at = index_slot(index, pool, text, n, &tag);

    if (index->slot[at] == 0) index->slot[at] = tag | ((uint32_t)i + 1);
    return (int32_t)((index->slot[at] & ID_MASK) - 1);
}

int32_t tn_index_find(const tn_index *index, const tn_pool *pool, const void *text, size_t n)
{
    uint32_t tag;

    return (int32_t)(index->slot[index_slot(index, pool, text, n, &tag)] & ID_MASK) - 1;
}

/* Bytes that are printable in Latin-1 stand for themselves; the other 68 get U+0100 upwards, in order. */
static bool byte_is_itself(unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; }

size_t tn_byte_level_decode(char *out, const char *raw, size_t n)
{
    static const uint8_t shifted[68] = { 0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,
                                         14,  15,  16,  17,  18,  19,  20,  21,  22,  23,  24,  25,  26,  27,
                                         28,  29,  30,  31,  32,  127, 128, 129, 130, 131, 132, 133, 134, 135,
                                         136, 137, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 148, 149,
                                         150, 151, 152, 153, 154, 155, 156, 157, 158, 159, 160, 173 };
    size_t               n_out = 0;

    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int      len = tn_utf8_decode(raw + i, n - i, &cp);

        if (len != 0 && cp < 256 && byte_is_itself(cp)) out[n_out++] = (char)cp;
        else if (len != 0 && cp - 256 < 68) out[n_out++] = (char)shifted[cp - 256];
        else {
            memcpy(out, raw, n);
            return n;
        }
        i += (size_t)len;
    }
    return n_out;
}

int tn_byte_token(const char *text, size_t n)
{
    int value = 0;

    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9') value = 16 * value + (c - '0');
        else if (c >= 'A' && c <= 'F') value = 16 * value + (c - 'A' + 10);
        else return -1;
    }
    return value;
}

/* Bytes of a SentencePiece token: U+2581 is a space. */
static size_t spaces_back(char *out, const char *raw, size_t n)
{
    size_t n_out = 0;

    for (size_t i = 0; i < n;) {
        if (n - i >= 3 && memcmp(raw + i, "\xe2\x96\x81", 3) == 0) {
            out[n_out++] = ' ';
            i += 3;
        } else out[n_out++] = raw[i++];
    }
    return n_out;
}

tn_status tn_raw_index(tn_tokenizer *t, tn_error *err)
{
    TN_TRY(tn_index_create(&t->by_raw, t->n_vocab, err));
    for (int64_t id = 0; id < t->n_vocab; id++) tn_index_put(&t->by_raw, &t->raw, (int32_t)id);
    return TN_OK;
}

tn_status tn_vocab_finish(tn_tokenizer *t, tn_error *err)
{
    size_t total = t->raw.at[t->n_vocab];

    t->bytes.p = malloc(total + 1);
    t->bytes.at = malloc(((size_t)t->n_vocab + 1) * sizeof *t->bytes.at);
    if (t->bytes.p == NULL || t->bytes.at == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %lld tokens", (long long)t->n_vocab);
    TN_TRY(tn_index_create(&t->by_bytes, t->n_vocab, err));
    for (int b = 0; b < 256; b++) t->byte_id[b] = -1;
    t->bytes.at[0] = 0;
    for (int64_t id = 0; id < t->n_vocab; id++) {
        size_t      n, n_out;
        const char *raw = tn_pool_at(&t->raw, id, &n);
        char       *out = t->bytes.p + t->bytes.at[id];
        uint8_t     type = t->type[id];
        /* tokenizer.json spells what the model has as the model does, and leaves all spaces to the decoder; a
         * GGUF spells user tokens out. */
        bool verbatim = type == TN_TOKEN_CONTROL ||
                        (type == TN_TOKEN_USER && (t->in_model == NULL || t->in_model[id] == 0)) ||
                        type == TN_TOKEN_UNKNOWN;
        int byte = t->byte_level || type == TN_TOKEN_USER ? -1 : tn_byte_token(raw, n);

        if (byte >= 0 && (type == TN_TOKEN_BYTE || t->byte_fallback)) {
            out[0] = (char)byte;
            n_out = 1;
            t->byte_id[byte] = (int32_t)id;
            t->type[id] = TN_TOKEN_BYTE;
        } else if (verbatim && (t->in_model == NULL || t->byte_level)) {
            memcpy(out, raw, n);
            n_out = n;
        } else n_out = t->byte_level ? tn_byte_level_decode(out, raw, n) : spaces_back(out, raw, n);
        t->bytes.at[id + 1] = t->bytes.at[id] + (uint32_t)n_out;
        if (t->byte_level && !verbatim && n_out > 0) {
            int32_t first = tn_index_put(&t->by_bytes, &t->bytes, (int32_t)id);

            if (n_out == 1 && first == id) t->byte_id[(uint8_t)out[0]] = (int32_t)id;
        }
    }
    return TN_OK;
}
