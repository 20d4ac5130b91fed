/* pack.c - documents into samples of at most n_ctx tokens, and samples into the rows of a micro-batch.
 *
 * Attention never crosses a piece: positions restart, doc_start says where. A row's target is the next token
 * of its document, also across the cut of a long one; the last token of a document has none. */
#include "data/data.h"

#include <stdlib.h>
#include <string.h>

/* sample i: pieces start[i] .. start[i+1] */
struct tn_pack {
    tn_piece *piece;
    int64_t   n_piece;
    int64_t  *start;
    int64_t   n;
};

bool tn_pack_parse(const char *name, tn_pack_kind *out)
{
    static const char *const names[] = { "greedy", "best-fit", "none" };
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (tn_pack_kind)i;
            return true;
        }
    return false;
}

void tn_pack_destroy(tn_pack *p)
{
    if (p == NULL) return;
    free(p->piece);
    free(p->start);
    free(p);
}

int64_t tn_pack_n(const tn_pack *p) { return p->n; }

const tn_piece *tn_pack_sample(const tn_pack *p, int64_t i, int64_t *n_piece)
{
    *n_piece = p->start[i + 1] - p->start[i];
    return p->piece + p->start[i];
}

int64_t tn_pack_taught(const tn_pack *p, int64_t i)
{
    int64_t n = 0;
    for (int64_t k = p->start[i]; k < p->start[i + 1]; k++) n += p->piece[k].taught ? p->piece[k].n : 0;
    return n;
}

/* Is there anything to learn in tokens [first, first + n)? A row's target is the token after it, up to
 * `last`. */
static bool has_target(const tn_shard *s, int64_t first, int64_t n, int64_t last)
{
    for (int64_t t = first + 1; t <= first + n && t < last; t++) {
        int32_t id;
        uint8_t m;
        tn_shard_copy(s, t, 1, &id, &m);
        if (m) return true;
    }
    return false;
}

/* A piece without a target takes its room, which keeps the cuts of the rest where they are, but is left out:
 * it has no loss, and no other piece sees it. */
static void pack_greedy(tn_pack *p, const tn_shard *s, int64_t n_ctx)
{
    int64_t room = 0;
    for (int64_t d = 0; d < tn_shard_n_doc(s); d++) {
        tn_shard_doc doc = tn_shard_doc_at(s, d);
        int64_t      last = doc.first + doc.n;
        if (doc.n < 2 || doc.weight_16 == 0) continue;
        /* Until nothing is left to learn: a document's last token alone, what follows the last answer. */
        for (int64_t at = 0; at < doc.n && has_target(s, doc.first + at, doc.n - at, last);) {
            if (room == 0) {
                if (p->n == 0 || p->start[p->n - 1] < p->n_piece) p->start[p->n++] = p->n_piece;
                room = n_ctx;
            }
            int64_t n = doc.n - at < room ? doc.n - at : room;
            if (has_target(s, doc.first + at, n, last))
                p->piece[p->n_piece++] = (tn_piece){ doc.first + at, (int32_t)n, doc.weight_16,
                                                     at + n == doc.n, doc.taught };
            at += n;
            room -= n;
        }
    }
    if (p->n > 0 && p->start[p->n - 1] == p->n_piece) p->n--;
    p->start[p->n] = p->n_piece;
}

typedef struct sized {
    tn_piece piece;
    int64_t  order;
} sized;
static int longer_first(const void *a, const void *b)
{
    const sized *x = a, *y = b;
    if (x->piece.n != y->piece.n) return x->piece.n > y->piece.n ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Best-fit decreasing: a piece goes to the sample with the least room that still holds it. Samples with equal
 * room form a stack (head by room, next by sample); a segment tree over room sizes finds the smallest that
 * fits in O(log n_ctx). */
static bool pack_best_fit(tn_pack *p, const tn_shard *s, int64_t n_ctx, bool alone, int64_t n_max)
{
    bool     ok = false;
    int64_t  n = 0, leaves = 1;
    sized   *list = malloc((size_t)(n_max + 1) * sizeof *list);
    int64_t *bin = malloc((size_t)(n_max + 1) * sizeof *bin),
            *next = malloc((size_t)(n_max + 1) * sizeof *next);
    int64_t *room = malloc((size_t)(n_max + 1) * sizeof *room), *at = NULL, *head = NULL;
    uint8_t *used = NULL;

    while (leaves < n_ctx + 1) leaves *= 2;
    head = malloc((size_t)leaves * sizeof *head);
    used = calloc((size_t)(2 * leaves), 1);
    if (list == NULL || bin == NULL || next == NULL || room == NULL || head == NULL || used == NULL) goto out;
    for (int64_t d = 0; d < tn_shard_n_doc(s); d++) {
        tn_shard_doc doc = tn_shard_doc_at(s, d);
        if (doc.n < 2 || doc.weight_16 == 0) continue;
        for (int64_t a = 0; a < doc.n; a += n_ctx) {
            int64_t m = doc.n - a < n_ctx ? doc.n - a : n_ctx;
            if (!has_target(s, doc.first + a, m, doc.first + doc.n)) continue;
            list[n] = (sized){ { doc.first + a, (int32_t)m, doc.weight_16, a + m == doc.n, doc.taught }, n };
            n++;
        }
    }
    if (!alone) qsort(list, (size_t)n, sizeof *list, longer_first);
    for (int64_t i = 0; i < leaves; i++) head[i] = -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t need = list[i].piece.n, found = -1;
        if (!alone) {
            /* Climb from leaf `need` until a right neighbour has a used leaf, then go down to its leftmost
             * one. */
            int64_t node = leaves + need;
            if (used[node]) found = need;
            while (found < 0 && node > 1) {
                if ((node & 1) == 0 && used[node + 1]) {
                    node++;
                    while (node < leaves) node = used[2 * node] ? 2 * node : 2 * node + 1;
                    found = node - leaves;
                } else {
                    node /= 2;
                }
            }
        }
        int64_t b;
        if (found < 0) {
            b = p->n++;
            room[b] = n_ctx;
        } else {
            b = head[found];
            head[found] = next[b];
            for (int64_t node = leaves + found; node >= 1 && head[found] < 0; node /= 2)
                used[node] = node < leaves ? (uint8_t)(used[2 * node] | used[2 * node + 1]) : 0;
        }
        bin[i] = b;
        room[b] -= need;
        if (room[b] >= 2) {
            next[b] = head[room[b]];
            head[room[b]] = b;
            for (int64_t node = leaves + room[b]; node >= 1; node /= 2) used[node] = 1;
        }
    }
    /* Counting sort of the pieces by sample; inside a sample in the order they were put in. */
    if ((at = calloc((size_t)(p->n + 1), sizeof *at)) == NULL) goto out;
    for (int64_t i = 0; i < n; i++) at[bin[i] + 1]++;
    for (int64_t b = 0; b < p->n; b++) at[b + 1] += at[b];
    memcpy(p->start, at, (size_t)(p->n + 1) * sizeof *at);
    for (int64_t i = 0; i < n; i++) p->piece[at[bin[i]]++] = list[i].piece;
    p->n_piece = n;
    ok = true;
out:
    free(list);
    free(bin);
    free(next);
    free(room);
    free(head);
    free(used);
    free(at);
    return ok;
}

tn_status tn_pack_create(tn_pack **out, const tn_shard *s, int64_t n_ctx, tn_pack_kind kind, tn_error *err)
{
    tn_status status = TN_OK;
    int64_t   n_max = tn_shard_n_doc(s) + tn_shard_n_token(s) / (n_ctx > 0 ? n_ctx : 1) * 2 + 2;
    tn_pack  *p = calloc(1, sizeof *p);

    *out = NULL;
    if (n_ctx < 2) {
        status = tn_fail(err, TN_USAGE, "samples of %lld tokens; at least 2 are needed to learn one",
                         (long long)n_ctx);
        goto out;
    }
    if (p == NULL || (p->piece = malloc((size_t)n_max * sizeof *p->piece)) == NULL ||
        (p->start = malloc((size_t)(n_max + 1) * sizeof *p->start)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to pack %lld documents", (long long)tn_shard_n_doc(s));
        goto out;
    }
    p->start[0] = 0;
    if (kind == TN_PACK_GREEDY) pack_greedy(p, s, n_ctx);
    else if (!pack_best_fit(p, s, n_ctx, kind == TN_PACK_NONE, n_max)) {
        status = tn_fail(err, TN_NOMEM, "no memory to pack %lld documents", (long long)tn_shard_n_doc(s));
        goto out;
    }
    *out = p;
    p = NULL;
out:
    tn_pack_destroy(p);
    return status;
}

tn_status tn_row_set_init(tn_row_set *r, int64_t cap, tn_error *err)
{
    *r = (tn_row_set){ .cap = cap };
    size_t n = (size_t)cap;
    r->ids = malloc(n * 4);
    r->pos = malloc(n * 4);
    r->doc_start = malloc(n * 4);
    r->target = malloc(n * 4);
    r->weight_16 = malloc(n * 4);
    r->taught = malloc(n * 8);
    if (r->ids == NULL || r->pos == NULL || r->doc_start == NULL || r->target == NULL ||
        r->weight_16 == NULL || r->taught == NULL) {
        tn_row_set_free(r);
        return tn_fail(err, TN_NOMEM, "no memory for %lld rows", (long long)cap);
    }
    return TN_OK;
}

void tn_row_set_free(tn_row_set *r)
{
    free(r->ids);
    free(r->pos);
    free(r->doc_start);
    free(r->target);
    free(r->weight_16);
    free(r->taught);
    *r = (tn_row_set){ 0 };
}

void tn_row_set_clear(tn_row_set *r)
{
    r->n = 0;
    r->n_target = 0;
    r->sum_weight_16 = 0;
}

static void row_put(tn_row_set *r, int32_t id, int64_t pos, int64_t doc_start, int32_t target,
                    uint32_t weight_16, int64_t taught)
{
    int64_t i = r->n++;
    r->ids[i] = id;
    r->pos[i] = (int32_t)pos;
    r->doc_start[i] = (int32_t)doc_start;
    r->target[i] = target;
    r->weight_16[i] = target >= 0 ? weight_16 : 0;
    r->taught[i] = target >= 0 ? taught : -1;
    if (target >= 0) {
        r->n_target++;
        r->sum_weight_16 += weight_16;
    }
}

static void piece_add(tn_row_set *r, const tn_shard *s, const tn_piece *piece)
{
    int64_t start = r->n;
    int32_t id, next = 0;
    uint8_t mask = 0;
    tn_shard_copy(s, piece->first, 1, &id, NULL);
    for (int64_t t = 0; t < piece->n; t++) {
        bool last = t + 1 == piece->n && piece->ends;
        if (!last) tn_shard_copy(s, piece->first + t + 1, 1, &next, &mask);
        row_put(r, id, t, start, !last && mask ? next : -1, piece->weight_16,
                piece->taught ? piece->first + t : -1);
        id = next;
    }
}

void tn_row_set_add_sample(tn_row_set *r, const tn_shard *s, const tn_pack *p, int64_t i)
{
    int64_t         n;
    const tn_piece *piece = tn_pack_sample(p, i, &n);
    for (int64_t k = 0; k < n; k++) piece_add(r, s, &piece[k]);
}

void tn_row_set_add_taught(tn_row_set *r, const tn_shard *s, const tn_pack *p, int64_t i)
{
    int64_t         n;
    const tn_piece *piece = tn_pack_sample(p, i, &n);
    for (int64_t k = 0; k < n; k++)
        if (piece[k].taught) piece_add(r, s, &piece[k]);
}

int64_t tn_row_set_add_answer(tn_row_set *r, const tn_reply *a)
{
    int64_t start = r->n;
    for (int32_t t = 0; t < a->n; t++)
        row_put(r, a->ids[t], t, start, t + 1 < a->n && t + 1 >= a->n_prompt ? a->ids[t + 1] : -1, 65536, -1);
    return start;
}
