/* bpe.c - one piece to ids by merging neighbours, lowest rank first, the leftmost of equals.
 *
 * Most pieces are one token: `whole` remembers, for each token, whether merging its own text gives it back.
 * Short pieces look for the lowest rank by walking the array; long ones keep the pairs in a heap, so that a
 * megabyte of one letter costs n log n. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_SYMBOLS = 64 };
#define NO_RANK UINT32_MAX

static uint32_t rank_of(const tn_tokenizer *t, int32_t left, int32_t right)
{
    const tn_merge *m = left < 0 || right < 0 ? NULL : tn_merge_find(t, left, right);

    return m != NULL ? m->rank : NO_RANK;
}

/* sym[0, n) merged in place; returns how many are left. n <= SHORT_SYMBOLS. */
static size_t merge_short(const tn_tokenizer *t, int32_t *sym, uint32_t *from, size_t n)
{
    uint32_t rank[SHORT_SYMBOLS];
    int32_t  to[SHORT_SYMBOLS];

    for (size_t i = 0; i + 1 < n; i++) {
        const tn_merge *m = sym[i] < 0 || sym[i + 1] < 0 ? NULL : tn_merge_find(t, sym[i], sym[i + 1]);

        rank[i] = m != NULL ? m->rank : NO_RANK;
        to[i] = m != NULL ? m->to : -1;
    }
    while (n > 1) {
        size_t   best = 0;
        uint32_t low = rank[0];

        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < low) {
                low = rank[i];
                best = i;
            }
        if (low == NO_RANK) break;
        sym[best] = to[best];
        n--;
        memmove(sym + best + 1, sym + best + 2, (n - best - 1) * sizeof *sym);
        memmove(from + best + 1, from + best + 2, (n - best - 1) * sizeof *from);
        if (best + 1 < n) {
            memmove(rank + best + 1, rank + best + 2, (n - best - 2) * sizeof *rank);
            memmove(to + best + 1, to + best + 2, (n - best - 2) * sizeof *to);
        }
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const tn_merge *m = sym[i] < 0 || sym[i + 1] < 0 ? NULL : tn_merge_find(t, sym[i], sym[i + 1]);

            rank[i] = m != NULL ? m->rank : NO_RANK;
            to[i] = m != NULL ? m->to : -1;
        }
    }
    return n;
}

/* A binary heap of rank << 32 | position: the smallest first. */
typedef struct heap {
    uint64_t *p;
    size_t    n;
} heap;

static void heap_push(heap *h, uint64_t key)
{
    size_t i = h->n++;

    for (; i > 0 && h->p[(i - 1) / 2] > key; i = (i - 1) / 2) h->p[i] = h->p[(i - 1) / 2];
    h->p[i] = key;
}

static uint64_t heap_pop(heap *h)
{
    uint64_t top = h->p[0], key = h->p[--h->n];
    size_t   i = 0;

    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->p[child + 1] < h->p[child]) child++;
        if (h->p[child] >= key) break;
        h->p[i] = h->p[child];
    }
    h->p[i] = key;
    return top;
}

/* The same for any n, below 2^32. An entry of the heap is stale when the pair at its position has another
 * rank by now. */
static tn_status merge_long(const tn_tokenizer *t, int32_t *sym, uint32_t *from, size_t *n_io, tn_error *err)
{
    size_t    n = *n_io, n_out = 0;
    uint32_t *prev = malloc(n * sizeof *prev), *next = malloc(n * sizeof *next),
             *rank = malloc(n * sizeof *rank);
    heap      h = { malloc(3 * n * sizeof *h.p), 0 };
    tn_status status = TN_OK;

    if (prev == NULL || next == NULL || rank == NULL || h.p == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to tokenise a piece of %zu symbols", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        prev[i] = (uint32_t)i - 1;
        next[i] = (uint32_t)i + 1;
        rank[i] = i + 1 < n ? rank_of(t, sym[i], sym[i + 1]) : NO_RANK;
        if (rank[i] != NO_RANK) heap_push(&h, (uint64_t)rank[i] << 32 | i);
    }
    while (h.n > 0) {
        uint64_t top = heap_pop(&h);
        uint32_t i = (uint32_t)top, j;

        if (rank[i] != (uint32_t)(top >> 32)) continue;
        j = next[i];
        sym[i] = tn_merge_find(t, sym[i], sym[j])->to;
        next[i] = next[j];
        if (next[j] < n) prev[next[j]] = i;
        rank[j] = NO_RANK;
        rank[i] = next[i] < n ? rank_of(t, sym[i], sym[next[i]]) : NO_RANK;
        if (rank[i] != NO_RANK) heap_push(&h, (uint64_t)rank[i] << 32 | i);
        if (i > 0) {
            uint32_t k = prev[i];

            rank[k] = rank_of(t, sym[k], sym[i]);
            if (rank[k] != NO_RANK) heap_push(&h, (uint64_t)rank[k] << 32 | k);
        }
    }
    for (size_t i = 0; i < n; i = next[i]) {
        sym[n_out] = sym[i];
        from[n_out++] = from[i];
    }
    *n_io = n_out;
out:
    free(prev);
    free(next);
    free(rank);
    free(h.p);
    return status;
}

/* Whether a character that is no token can be spelled by byte tokens. */
static bool by_bytes(const tn_tokenizer *t, const uint8_t *s, size_t n)
{
    bool all = t->byte_fallback && !t->byte_level;

    for (size_t i = 0; all && i < n; i++) all = t->byte_id[s[i]] >= 0;
    return all;
}

/* The first symbols of a piece: its bytes, or its characters. from[i] is where symbol i begins in s. */
static size_t first_symbols(const tn_tokenizer *t, const uint8_t *s, size_t n, int32_t *sym, uint32_t *from)
{
    size_t k = 0;

    if (t->byte_level) {
        for (size_t i = 0; i < n; i++) {
            if (t->byte_id[s[i]] < 0 && t->skip_missing) continue;
            from[k] = (uint32_t)i;
            sym[k++] = t->byte_id[s[i]];
        }
        return k;
    }
    for (size_t i = 0, len; i < n; i += len) {
        int32_t id;

        if ((len = tn_uc_char_bytes(s + i, n - i)) == 0) len = 1;
        if ((id = tn_index_find(&t->by_raw, &t->raw, s + i, len)) >= 0 && !tn_token_in_model(t, id)) id = -1;
        if (id < 0 && t->n_lone > 0 && (id = tn_index_find(&t->by_lone, &t->lone, s + i, len)) >= 0)
            id += (int32_t)t->n_vocab;
        if (id < 0 && t->skip_missing && !by_bytes(t, s + i, len)) continue;
        from[k] = (uint32_t)i;
        sym[k++] = id;
    }
    return k;
}

/* A symbol that is no token: by bytes where the vocabulary has them all, else the unknown token, else
 * nothing. */
static void put_unknown(const tn_tokenizer *t, const uint8_t *s, size_t n, bool *after_unknown, tn_ids *out)
{
    if (by_bytes(t, s, n)) {
        for (size_t i = 0; i < n; i++) tn_ids_put(out, t->byte_id[s[i]]);
        *after_unknown = false;
    } else if (t->unk >= 0) {
        if (!(*after_unknown && t->fuse_unk)) tn_ids_put(out, t->unk);
        *after_unknown = true;
    }
}

static tn_status encode_by_merging(const tn_tokenizer *t, const uint8_t *s, size_t n, tn_ids *out,
                                   tn_error *err)
{
    tn_status status = TN_OK;
    int32_t   sym_short[SHORT_SYMBOLS], *sym = sym_short;
    uint32_t  from_short[SHORT_SYMBOLS], *from = from_short;
    bool      after_unknown = false;
    size_t    k;

    if (n > UINT32_MAX / 4)
        return tn_fail(err, TN_LIMIT, "a text without a place to cut has %zu bytes: cut it into smaller ones",
                       n);
    if (n > SHORT_SYMBOLS) {
        sym = malloc(n * sizeof *sym);
        from = malloc(n * sizeof *from);
        if (sym == NULL || from == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory to tokenise a piece of %zu bytes", n);
            goto out;
        }
    }
    k = first_symbols(t, s, n, sym, from);
    if (k == 0) goto out;
    if (k <= SHORT_SYMBOLS) k = merge_short(t, sym, from, k);
    else TN_GOTO(merge_long(t, sym, from, &k, err));
    for (size_t i = 0; i < k; i++) {
        if (sym[i] >= 0 && sym[i] < t->n_vocab) {
            tn_ids_put(out, sym[i]);
            after_unknown = false;
        } else {
            size_t end = i + 1 < k ? from[i + 1] : n, len;
            /* One character: what follows it may have been left out. A symbol above the vocabulary may be
             * several. */
            if (sym[i] < 0 && (len = tn_uc_char_bytes(s + from[i], n - from[i])) != 0) end = from[i] + len;
            put_unknown(t, s + from[i], end - from[i], &after_unknown, out);
        }
    }
out:
    if (sym != sym_short) free(sym);
    if (from != from_short) free(from);
    return status;
}

tn_status tn_bpe_encode(const tn_tokenizer *t, const uint8_t *s, size_t n, tn_ids *out, tn_error *err)
{
    size_t  before = *out->n;
    int32_t id = t->byte_level ? tn_index_find(&t->by_bytes, &t->bytes, s, n)
                               : tn_index_find(&t->by_raw, &t->raw, s, n);
    uint8_t known;

    if (id < 0 || !tn_token_in_model(t, id)) return encode_by_merging(t, s, n, out, err);
    if (t->ignore_merges) {
        tn_ids_put(out, id);
        return TN_OK;
    }
    known = __atomic_load_n(&t->whole[id], __ATOMIC_RELAXED);
    if (known == 1) {
        tn_ids_put(out, id);
        return TN_OK;
    }
    TN_TRY(encode_by_merging(t, s, n, out, err));
    if (known == 0 && !out->failed)
        __atomic_store_n(&t->whole[id], *out->n == before + 1 && (*out->p)[before] == id ? 1 : 2,
                         __ATOMIC_RELAXED);
    return TN_OK;
}
