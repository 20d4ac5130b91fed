/* merges.c - the table of merges: (left symbol, right symbol) to rank and result.
 *
 * A byte-level or character-level BPE lists its merges in order. SentencePiece BPE has none: two neighbours
 * merge when their text together is a token, the higher score first. Cutting every token in two everywhere
 * gives the same table, with equal ranks for equal scores (the leftmost wins, as there). */
#include "tokenizer/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

tn_status tn_merges_create(tn_tokenizer *t, int64_t n, tn_error *err)
{
    const size_t slots = (size_t)n * 7 / 4 + 64;

    if ((t->merge = calloc(slots, sizeof *t->merge)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a table of %lld merges", (long long)n);
    t->n_merge_slot = slots;
    return TN_OK;
}

/* The first rank that a pair was given stays. */
static void merge_put(tn_tokenizer *t, int32_t left, int32_t right, uint32_t rank, int32_t to)
{
    uint64_t key = (uint64_t)((uint32_t)left + 1) << 32 | ((uint32_t)right + 1);
    size_t   i = tn_merge_slot(t, key);

    while (t->merge[i].key != 0 && t->merge[i].key != key) i = i + 1 < t->n_merge_slot ? i + 1 : 0;
    if (t->merge[i].key == 0) t->merge[i] = (tn_merge){ key, rank, to };
}

tn_status tn_merges_add(tn_tokenizer *t, const char *left, size_t left_n, const char *right, size_t right_n,
                        int64_t rank, const char *where, tn_error *err)
{
    int32_t l = tn_index_find(&t->by_raw, &t->raw, left, left_n),
            r = tn_index_find(&t->by_raw, &t->raw, right, right_n), to;
    char small[256], *joined = small;

    if (left_n > TN_MAX_TOKEN_BYTES || right_n > TN_MAX_TOKEN_BYTES)
        return tn_fail(err, TN_LIMIT, "%s: merge %lld is longer than %d bytes: the file is damaged", where,
                       (long long)rank, TN_MAX_TOKEN_BYTES);
    if (left_n + right_n > sizeof small && (joined = malloc(left_n + right_n)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for merge %lld", where, (long long)rank);
    memcpy(joined, left, left_n);
    memcpy(joined + left_n, right, right_n);
    to = tn_index_find(&t->by_raw, &t->raw, joined, left_n + right_n);
    if (joined != small) free(joined);
    if (l < 0 || r < 0 || to < 0)
        return tn_fail(err, TN_MISMATCH,
                       "%s: merge %lld ('%.*s' + '%.*s'): %s is not in the vocabulary; merges and vocabulary "
                       "are not of the same tokenizer",
                       where, (long long)rank, (int)(left_n < 60 ? left_n : 60), left,
                       (int)(right_n < 60 ? right_n : 60), right,
                       l < 0   ? "the left part"
                       : r < 0 ? "the right part"
                               : "the result");
    merge_put(t, l, r, (uint32_t)rank, to);
    return TN_OK;
}

typedef struct scored {
    double  score;
    int32_t id;
} scored;

static int by_score_down(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool mergeable(const tn_tokenizer *t, int32_t id)
{
    return tn_token_in_model(t, id) && t->type[id] != TN_TOKEN_BYTE;
}

/* Characters that occur in tokens but are not tokens themselves still take part in merges: they get symbols
 * of their own. */
static tn_status find_lone_characters(tn_tokenizer *t, tn_error *err)
{
    tn_status    status = TN_OK;
    const char **text = NULL;
    size_t      *n_bytes = NULL, n = 0, cap = 0;

    for (int32_t id = 0; id < t->n_vocab; id++) {
        size_t      n_raw;
        const char *raw = tn_pool_at(&t->raw, id, &n_raw);

        if (!mergeable(t, id)) continue;
        for (size_t i = 0, len; i < n_raw; i += len) {
            if ((len = tn_uc_char_bytes((const uint8_t *)raw + i, n_raw - i)) == 0) len = 1;
            if (tn_index_find(&t->by_raw, &t->raw, raw + i, len) >= 0) continue;
            if (n == cap) {
                const char **a = realloc(text, (cap = 2 * cap + 64) * sizeof *text);
                size_t      *b = realloc(n_bytes, cap * sizeof *n_bytes);

                if (a != NULL) text = a;
                if (b != NULL) n_bytes = b;
                if (a == NULL || b == NULL) {
                    status = tn_fail(err, TN_NOMEM, "no memory for the vocabulary's characters");
                    goto out;
                }
            }
            text[n] = raw + i;
            n_bytes[n++] = len;
        }
    }
    TN_GOTO(tn_pool_fill(&t->lone, text, n_bytes, (int64_t)n, "vocabulary", err));
    TN_GOTO(tn_index_create(&t->by_lone, (int64_t)n, err));
    for (size_t i = 0; i < n; i++) tn_index_put(&t->by_lone, &t->lone, (int32_t)i);
    t->n_lone = (int64_t)n;
out:
    free(text);
    free(n_bytes);
    return status;
}

/* Symbol of a text that is a token or one lone character, or -1. */
static int32_t symbol_of(const tn_tokenizer *t, const char *text, size_t n)
{
    int32_t id = tn_index_find(&t->by_raw, &t->raw, text, n);

    if (id >= 0) return mergeable(t, id) ? id : -1;
    if (t->n_lone == 0 || (id = tn_index_find(&t->by_lone, &t->lone, text, n)) < 0) return -1;
    return (int32_t)t->n_vocab + id;
}

tn_status tn_merges_from_scores(tn_tokenizer *t, tn_error *err)
{
    tn_status status = TN_OK;
    scored   *order = NULL;
    uint32_t *rank = NULL;
    int64_t   n_cut = 0;
    uint32_t  next = 0;

    for (int64_t id = 0; id < t->n_vocab; id++)
        if (isnan(t->score[id]))
            return tn_fail(err, TN_FORMAT, "score of token %lld is not a number", (long long)id);
    TN_TRY(find_lone_characters(t, err));
    order = malloc((size_t)t->n_vocab * sizeof *order + 1);
    rank = malloc((size_t)t->n_vocab * sizeof *rank + 1);
    if (order == NULL || rank == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to order %lld scores", (long long)t->n_vocab);
        goto out;
    }
    for (int32_t id = 0; id < t->n_vocab; id++) order[id] = (scored){ t->score[id], id };
    qsort(order, (size_t)t->n_vocab, sizeof *order, by_score_down);
    for (int64_t i = 0; i < t->n_vocab; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) next++;
        rank[order[i].id] = next;
    }
    for (int pass = 0; pass < 2; pass++) { /* first count, then fill: the table has the right size at once */
        for (int32_t id = 0; id < t->n_vocab; id++) {
            size_t      n;
            const char *raw = tn_pool_at(&t->raw, id, &n);

            if (!mergeable(t, id)) continue;
            for (size_t i = 0, len; i < n; i += len) {
                int32_t l, r;

                if ((len = tn_uc_char_bytes((const uint8_t *)raw + i, n - i)) == 0) len = 1;
                if (i == 0) continue;
                if ((l = symbol_of(t, raw, i)) < 0 || (r = symbol_of(t, raw + i, n - i)) < 0) continue;
                if (pass == 0) n_cut++;
                else merge_put(t, l, r, rank[id], id);
            }
        }
        if (pass == 0) TN_GOTO(tn_merges_create(t, n_cut, err));
    }
out:
    free(order);
    free(rank);
    return status;
}
