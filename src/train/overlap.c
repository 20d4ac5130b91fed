/* overlap.c - the gradient travels while the backward pass still makes the rest of it.
 *
 *   flat order   | chunk 0 | chunk 1 | chunk 2 | ...      a chunk is a whole number of grains; slots touch one or more chunks
 *   backward     head, blk.29, blk.28, ...                the graph tells after each operation which gradients are final
 *
 *   last group   a chunk whose slots are all final is joined with this rank's other groups and goes to its owner at once.
 *   of a rank    The owner's receives wait since the beginning; when the last rank's part of a chunk is there, it is summed; with zero 0
 *                the sum goes back to all at once as well.
 *   zero 2       Every group is a last one, and nobody holds a whole gradient: the pages of a chunk that has gone are given back, those of the parts that came
 *                too once they are summed. A rank that is ahead waits: `window` chunks of ours have receives, so at most that many come unasked,
 *                and a rank with `most` bytes on their way stops until some have arrived. Chunks become final in the same order everywhere
 *                (`order`), so the chunk that the slowest rank sends next always has its receive, and nobody waits for ever.
 *
 * Each chunk is summed by one list of additions (`plan`), made once from who holds which node of the tree:
 * the association is forest.c's, and which chunk or rank came first changes nothing. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/thread.h"

typedef struct place {
    int     level;
    int64_t index;
} place;
typedef struct join {
    int to, from;
} join;
enum {
    MAX_PLACE = 128,
    MAX_CHUNK = TN_DIST_TAGS / 2,
    BACK = MAX_CHUNK /* tag of a sum on its way back: BACK + chunk */
};

struct overlap {
    int64_t  chunk;                /* elements */
    int      n_chunk, first, last; /* chunks [first, last) touch this rank's range */
    int32_t *touch, *left;         /* [n_chunk] slots in a chunk; those that are not final yet */
    /* [n_slot] told final; [n_chunk] joined here; [n_chunk] the owner's sum is made */
    bool        *known, *ready, *summed;
    int64_t     *ticket;         /* [n_chunk] of the first receive for a chunk of ours */
    int          n_wait, n_open; /* receives a chunk; chunks of ours without a sum */
    tn_sum_pair *add;            /* [n_add] the additions over our range, in order */
    int          n_add;
    /* zero 0 and 1: the nodes of the tree that ranks hold at the end, by rank, and the sums over our range */
    int     n_node, n_other, n_plan, root;
    int    *holder;       /* [n_node] rank */
    float **sum, **other; /* [n_node] from our first element on; [n_other] memory for those of other ranks */
    join   *plan;
    /* zero 2: where the groups of this round arrive, by rank; chunks in the order in which they become
     * final */
    float  **got;
    int     *order, *going; /* [n_chunk]; [n_going] chunks that have been sent and are still here */
    int64_t *sent_first;    /* [n_chunk] ticket of a chunk's first message */
    int      n_order, n_posted, n_going, window;
    size_t   most; /* bytes */
    /* the last group's way up the tree of this rank: joins[0] += p.grad, joins[1] += joins[0], ... top */
    float    *joins[TN_FOREST_LEVELS], *top;
    int       n_join;
    bool      computing;
    int64_t   sent, early; /* elements sent; those before the backward pass had ended */
    tn_status status;      /* of the graph's calls, which return none */
    tn_error  error;
};

/* ----------------------------------------------------------------------------------------- who holds what */

/* The maximal aligned subtrees that tile groups [first, last), ascending: what a forest holds after those
 * groups. */
static int tiles(int64_t first, int64_t last, place out[MAX_PLACE])
{
    int n = 0;
    while (first < last && n < MAX_PLACE) {
        int level = 0;
        while (first % ((int64_t)2 << level) == 0 && first + ((int64_t)2 << level) <= last) level++;
        out[n++] = (place){ level, first >> level };
        first += (int64_t)1 << level;
    }
    return n;
}

static int tiles_of(const run *r, int rank, place out[MAX_PLACE])
{
    int64_t first, last;
    tn_dist_share(r->n_group, rank, r->size, &first, &last);
    return tiles(first, last, out);
}

/* The additions that join the nodes to one root; each node by its number in rank order. */
static tn_status plan_make(overlap *f, const place *node, tn_error *err)
{
    place *at = malloc((size_t)f->n_node * sizeof *at); /* open nodes */
    int   *of = malloc((size_t)f->n_node * sizeof *of), n = 0;
    if (at == NULL || of == NULL) {
        free(at);
        free(of);
        return tn_fail(err, TN_NOMEM, "no memory for the order of %d sums", f->n_node);
    }
    for (int i = 0; i < f->n_node; i++) {
        place p = node[i];
        int   sum = i;
        for (int k = 0; k < n; k++) {
            if (at[k].level != p.level || (at[k].index ^ 1) != p.index) continue;
            f->plan[f->n_plan++] = (join){ of[k], sum };
            sum = of[k];
            p = (place){ p.level + 1, p.index >> 1 };
            at[k] = at[--n];
            of[k] = of[n];
            k = -1; /* its new sibling may be anywhere */
        }
        at[n] = p;
        of[n++] = sum;
    }
    f->root = of[0];
    f->add = calloc((size_t)f->n_plan + 1, sizeof *f->add);
    free(at);
    free(of);
    return f->add != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for the order of %d sums", f->n_node);
}

static tn_status nodes_prepare(run *r, overlap *f, tn_error *err)
{
    place   t[MAX_PLACE], *node;
    int64_t own = r->x.range[r->rank + 1] - r->x.range[r->rank];
    int     i = 0;

    for (int o = 0; o < r->size; o++) f->n_node += tiles_of(r, o, t);
    node = calloc((size_t)f->n_node, sizeof *node);
    f->holder = calloc((size_t)f->n_node, sizeof *f->holder);
    f->sum = calloc((size_t)f->n_node, sizeof *f->sum);
    f->other = calloc((size_t)f->n_node, sizeof *f->other);
    f->plan = calloc((size_t)f->n_node, sizeof *f->plan);
    if (node == NULL || f->holder == NULL || f->sum == NULL || f->other == NULL || f->plan == NULL) {
        free(node);
        return tn_fail(err, TN_NOMEM, "no memory for %d sums of ranks", f->n_node);
    }
    for (int o = 0; o < r->size; o++)
        for (int k = 0, n = tiles_of(r, o, t); k < n; k++, i++) {
            node[i] = t[k];
            f->holder[i] = o;
        }
    tn_status status = plan_make(f, node, err);
    free(node);
    TN_TRY(status);
    for (i = 0; i < f->n_node; i++) {
        if (f->holder[i] == r->rank) continue;
        size_t bytes = ((size_t)own * 4 + 63) & ~(size_t)63;
        if ((f->sum[i] = f->other[f->n_other++] = aligned_alloc(64, bytes ? bytes : 64)) == NULL)
            return tn_fail(err, TN_NOMEM, "the sums of other ranks need %zu bytes each: use more ranks",
                           bytes);
    }
    f->n_wait = f->n_other;
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------- chunks */

/* The part of chunk c that rank o owns. */
static bool part(const run *r, int c, int o, int64_t *a, int64_t *b)
{
    const overlap *f = r->x.way;
    *a = (int64_t)c * f->chunk;
    *b = *a + f->chunk;
    if (*a < r->x.range[o]) *a = r->x.range[o];
    if (*b > r->x.range[o + 1]) *b = r->x.range[o + 1];
    return *a < *b;
}

tn_status train_overlap_create(run *r, tn_error *err)
{
    overlap *f = calloc(1, sizeof *f);
    int64_t  grains = (r->p.n_flat + r->p.grain - 1) / r->p.grain, a, b;

    if ((r->x.way = f) == NULL) return tn_fail(err, TN_NOMEM, "no memory for the exchange");
    f->chunk = r->p.grain * ((grains + MAX_CHUNK - 1) / MAX_CHUNK);
    if (f->chunk > TN_DIST_PIECE / 4)
        return tn_fail(err, TN_LIMIT, "%lld trained numbers are more than ranks can exchange",
                       (long long)r->p.n_flat);
    f->n_chunk = (int)((r->p.n_flat + f->chunk - 1) / f->chunk);
    f->touch = calloc((size_t)f->n_chunk, sizeof *f->touch);
    f->left = calloc((size_t)f->n_chunk, sizeof *f->left);
    f->ready = calloc((size_t)f->n_chunk, sizeof *f->ready);
    f->summed = calloc((size_t)f->n_chunk, sizeof *f->summed);
    f->ticket = calloc((size_t)f->n_chunk, sizeof *f->ticket);
    f->known = calloc((size_t)r->p.n_slot, sizeof *f->known);
    f->got = calloc((size_t)r->size, sizeof *f->got);
    f->order = calloc((size_t)f->n_chunk, sizeof *f->order);
    f->going = calloc((size_t)f->n_chunk, sizeof *f->going);
    f->sent_first = calloc((size_t)f->n_chunk, sizeof *f->sent_first);
    if (f->touch == NULL || f->left == NULL || f->ready == NULL || f->summed == NULL || f->ticket == NULL ||
        f->known == NULL || f->got == NULL || f->order == NULL || f->going == NULL || f->sent_first == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %d chunks of the gradient", f->n_chunk);
    for (int i = 0; i < r->p.n_slot; i++)
        for (int64_t c = r->p.slot[i].first / f->chunk;
             c <= (r->p.slot[i].first + r->p.slot[i].n - 1) / f->chunk; c++)
            f->touch[c]++;
    f->first = f->n_chunk;
    for (int c = 0; c < f->n_chunk; c++) {
        if (!part(r, c, r->rank, &a, &b)) continue;
        if (f->first > c) f->first = c;
        f->last = c + 1;
    }
    if (r->zero < 2) return nodes_prepare(r, f, err);
    /* An eighth of the gradient may be on its way out, and another in. */
    int64_t parts = r->p.n_flat / 8 / (f->chunk * (r->size - 1));
    f->window = parts > 1 ? (int)parts : 1;
    f->most = (size_t)(r->p.n_flat / 8 > f->chunk ? r->p.n_flat / 8 : f->chunk) * 4;
    return (f->add = calloc((size_t)r->size * TN_FOREST_LEVELS, sizeof *f->add)) != NULL
               ? TN_OK
               : tn_fail(err, TN_NOMEM, "no memory for the order of the sums");
}

void train_overlap_free(overlap *f)
{
    if (f == NULL) return;
    for (int i = 0; i < f->n_other; i++) free(f->other[i]);
    free(f->touch);
    free(f->left);
    free(f->ready);
    free(f->summed);
    free(f->ticket);
    free(f->known);
    free(f->got);
    free(f->order);
    free(f->going);
    free(f->sent_first);
    free(f->add);
    free(f->holder);
    free(f->sum);
    free(f->other);
    free(f->plan);
    free(f);
}

int64_t train_overlap_chunk(const run *r) { return r->x.way->chunk; }

int64_t train_overlap_floats(const run *r)
{
    const overlap *f = r->x.way;
    int64_t        own = r->x.range[r->rank + 1] - r->x.range[r->rank], n;
    if (f == NULL) return 0;
    if (r->zero < 2) return (int64_t)f->n_other * own;
    n = (int64_t)f->window * f->chunk < own ? (int64_t)f->window * f->chunk : own;
    return n * r->size;
}

double train_overlap_share(const run *r)
{
    const overlap *f = r->x.way;
    return f != NULL && f->sent > 0 ? (double)f->early / (double)f->sent : 0;
}

/* Chunk c of `from` (flat) goes to those who own parts of it. */
static tn_status chunk_send(run *r, const float *from, int c, tn_error *err)
{
    overlap *f = r->x.way;
    int64_t  a, b, ticket, *first = &f->sent_first[c];
    for (int o = 0; o < r->size; o++) {
        if (o == r->rank || !part(r, c, o, &a, &b)) continue;
        TN_TRY(tn_dist_begin_send(r->dist, (tn_dist_message){ o, (float *)from + a, (size_t)(b - a) * 4 }, c,
                                  &ticket, err));
        if (first != NULL) *first = ticket;
        first = NULL;
        f->sent += b - a;
        if (f->computing) f->early += b - a;
    }
    return TN_OK;
}

/* Nothing is added to chunk c of p.grad any more. */
static tn_status chunk_ready(run *r, int c, tn_error *err)
{
    overlap     *f = r->x.way;
    int64_t      a = (int64_t)c * f->chunk, n = r->p.n_flat - a < f->chunk ? r->p.n_flat - a : f->chunk;
    const float *from = r->p.grad;

    if (f->ready[c]) return TN_OK;
    f->ready[c] = true;
    for (int i = 0; i < f->n_join; from = f->joins[i++]) train_sum_add(f->joins[i] + a, from + a, n);
    if (r->zero == 2) f->going[f->n_going++] = c;
    return chunk_send(r, from, c, err);
}

/* The owner's sum of chunk c, when everything for it is here. */
static tn_status chunk_sum(run *r, int c, tn_error *err)
{
    overlap *f = r->x.way;
    int64_t  a, b, own = r->x.range[r->rank];

    if (f->summed[c] || !f->ready[c] || !part(r, c, r->rank, &a, &b)) return TN_OK;
    for (int i = 0; i < f->n_wait; i++)
        if (!tn_dist_arrived(r->dist, f->ticket[c] + i)) return TN_OK;
    if (r->zero == 2 && f->got[r->rank] != NULL)
        memcpy(f->got[r->rank] + (a - own), r->p.grad + a, (size_t)(b - a) * 4);
    for (int i = 0; i < f->n_add; i++) {
        train_sum_add(f->add[i].to + (a - own), f->add[i].from + (a - own), b - a);
        if (r->zero == 2) tn_pages_drop(f->add[i].from + (a - own), (size_t)(b - a) * 4);
    }
    f->summed[c] = true;
    f->n_open--;
    if (r->zero != 0) return TN_OK;
    memcpy(r->x.wire + a, f->sum[f->root] + (a - own), (size_t)(b - a) * 4);
    for (int o = 0; o < r->size; o++) {
        if (o == r->rank) continue;
        TN_TRY(tn_dist_begin_send(r->dist, (tn_dist_message){ o, r->x.wire + a, (size_t)(b - a) * 4 },
                                  BACK + c, NULL, err));
    }
    return TN_OK;
}

/* zero 2: receives for the next of our chunks, up to `window` without a sum. */
static tn_status post(run *r, tn_error *err)
{
    overlap *f = r->x.way;
    int64_t  a, b, ticket, own = r->x.range[r->rank];
    int      n_ours = f->last - f->first;

    for (; f->n_posted < f->n_order && f->n_posted - (n_ours - f->n_open) < f->window; f->n_posted++) {
        int c = f->order[f->n_posted], k = 0;
        part(r, c, r->rank, &a, &b);
        for (int s = 0; s < r->size; s++) {
            if (s == r->rank || f->got[s] == NULL) continue;
            TN_TRY(tn_dist_begin_receive(r->dist,
                                         (tn_dist_message){ s, f->got[s] + (a - own), (size_t)(b - a) * 4 },
                                         c, &ticket, err));
            if (k++ == 0) f->ticket[c] = ticket;
        }
    }
    return TN_OK;
}

/* zero 2: chunks that have gone, and are summed if they are ours, give their pages back. Returns the bytes
 * that are still on their way. */
static size_t going(run *r)
{
    overlap *f = r->x.way;
    size_t   bytes = 0;
    int64_t  a, b;
    int      n = 0;

    for (int i = 0; i < f->n_going; i++) {
        int    c = f->going[i], n_sent = 0;
        size_t sends = 0;
        for (int o = 0; o < r->size; o++)
            if (o != r->rank && part(r, c, o, &a, &b) &&
                !tn_dist_arrived(r->dist, f->sent_first[c] + n_sent++))
                sends += (size_t)(b - a) * 4;
        bytes += sends;
        if (sends > 0 || (part(r, c, r->rank, &a, &b) && !f->summed[c])) {
            f->going[n++] = c;
            continue;
        }
        a = (int64_t)c * f->chunk;
        b = r->p.n_flat - a < f->chunk ? r->p.n_flat : a + f->chunk;
        tn_pages_drop(r->p.grad + a, (size_t)(b - a) * 4);
    }
    f->n_going = n;
    return bytes;
}

static tn_status look(run *r, bool idle, tn_error *err)
{
    overlap *f = r->x.way;
    TN_TRY(tn_dist_progress(r->dist, idle, err));
    if (r->zero < 2) {
        for (int c = f->first; c < f->last; c++) TN_TRY(chunk_sum(r, c, err));
        return TN_OK;
    }
    for (int i = 0; i < f->n_posted; i++) TN_TRY(chunk_sum(r, f->order[i], err));
    return post(r, err);
}

/* zero 2: what is on its way must not grow without end. */
static tn_status wait_for_others(run *r, tn_error *err)
{
    while (going(r) > r->x.way->most) TN_TRY(look(r, true, err));
    return TN_OK;
}

static int slot_at(const run *r, const void *grad)
{
    int64_t at = (const float *)grad - r->p.grad;
    int     lo = 0, hi = r->p.n_slot - 1;
    while (lo < hi) {
        int mid = (lo + hi + 1) / 2;
        if (r->p.slot[mid].first <= at) lo = mid;
        else hi = mid - 1;
    }
    if (r->p.slot[lo].first != at) tn_bug("a gradient at %lld lies at no slot", (long long)at);
    return lo;
}

static tn_status slot_final(run *r, int i, tn_error *err)
{
    overlap    *f = r->x.way;
    const slot *s = &r->p.slot[i];
    if (f->known[i]) return TN_OK;
    f->known[i] = true;
    for (int64_t c = s->first / f->chunk; c <= (s->first + s->n - 1) / f->chunk; c++)
        if (--f->left[c] == 0) TN_TRY(chunk_ready(r, (int)c, err));
    return TN_OK;
}

/* After every operation of the backward pass. */
static void on_gradients(void *arg, const tn_tensor *const *grad, int n)
{
    run     *r = arg;
    overlap *f = r->x.way;
    for (int i = 0; i < n && f->status == TN_OK; i++)
        f->status = slot_final(r, slot_at(r, grad[i]->data), &f->error);
    if (f->status == TN_OK) f->status = look(r, false, &f->error);
    if (f->status == TN_OK && r->zero == 2) f->status = wait_for_others(r, &f->error);
}

/* The same without a run and without messages: our chunks in the order in which they become final. */
static void order_slot(run *r, int i)
{
    overlap    *f = r->x.way;
    const slot *s = &r->p.slot[i];
    int64_t     a, b;
    if (f->known[i]) return;
    f->known[i] = true;
    for (int64_t c = s->first / f->chunk; c <= (s->first + s->n - 1) / f->chunk; c++)
        if (--f->left[c] == 0 && part(r, (int)c, r->rank, &a, &b)) f->order[f->n_order++] = (int)c;
}

static void order_gradients(void *arg, const tn_tensor *const *grad, int n)
{
    run *r = arg;
    for (int i = 0; i < n; i++) order_slot(r, slot_at(r, grad[i]->data));
}

/* ---------------------------------------------------------------------------------------------- one group */

/* zero 0 and 1. This rank's nodes that are whole already go out; the last one is made by the group to
 * come. */
static tn_status nodes_begin(run *r, int64_t group, tn_error *err)
{
    overlap *f = r->x.way;
    place    mine[MAX_PLACE];
    int      n = tiles_of(r, r->rank, mine), at = 0;
    int64_t  a, b, own = r->x.range[r->rank];

    while (f->holder[at] != r->rank) at++;
    for (int k = 0; k + 1 < n; k++) {
        float *whole = tn_forest_find(&r->x.local, mine[k].level, mine[k].index);
        f->sum[at + k] = whole + own;
        for (int c = 0; c < f->n_chunk; c++) TN_TRY(chunk_send(r, whole, c, err));
    }
    f->n_join = r->x.local.n > 0 ? tn_forest_chain(&r->x.local, 0, group, f->joins) : 0;
    f->top = f->n_join > 0 ? f->joins[f->n_join - 1] : r->p.grad;
    f->sum[at + n - 1] = f->top + own;
    f->n_add = f->n_plan;
    for (int i = 0; i < f->n_plan; i++)
        f->add[i] = (tn_sum_pair){ f->sum[f->plan[i].to], f->sum[f->plan[i].from] };
    for (int c = 0; c < f->n_chunk; c++) {
        if (part(r, c, r->rank, &a, &b)) {
            f->n_open++;
            for (int i = 0, k = 0; i < f->n_node; i++) {
                int64_t ticket;
                if (f->holder[i] == r->rank) continue;
                TN_TRY(tn_dist_begin_receive(
                    r->dist, (tn_dist_message){ f->holder[i], f->sum[i] + (a - own), (size_t)(b - a) * 4 }, c,
                    &ticket, err));
                if (k++ == 0) f->ticket[c] = ticket;
            }
        }
        for (int o = 0; r->zero == 0 && o < r->size; o++) {
            int64_t ticket;
            if (o == r->rank || !part(r, c, o, &a, &b)) continue;
            TN_TRY(tn_dist_begin_receive(r->dist, (tn_dist_message){ o, r->x.wire + a, (size_t)(b - a) * 4 },
                                         BACK + c, &ticket, err));
        }
    }
    return TN_OK;
}

/* zero 2: the groups of this round, over our range. */
static tn_status round_begin(run *r, int64_t round, int64_t group, tn_error *err)
{
    overlap *f = r->x.way;
    int64_t  a, b, n = r->x.range[r->rank + 1] - r->x.range[r->rank];

    if (f->n_order == 0 && f->last > f->first) { /* left and known are as at the beginning */
        tn_graph_tell_gradients(r->train.g, order_gradients, r);
        for (int c = f->first; c < f->last; c++) /* what no operation adds to */
            if (f->left[c] > 0 && part(r, c, r->rank, &a, &b)) f->order[f->n_order++] = c;
        memcpy(f->left, f->touch, (size_t)f->n_chunk * sizeof *f->left);
        memset(f->known, 0, (size_t)r->p.n_slot * sizeof *f->known);
    }
    f->n_join = f->n_add = f->n_wait = f->n_posted = f->n_going = 0;
    f->n_open = f->n_order;
    for (int s = 0; s < r->size; s++) {
        f->got[s] = NULL;
        if (f->first >= f->last || round * r->size + s >= r->n_group) continue;
        TN_TRY(tn_forest_buffer(&r->x.owned, &f->got[s], err));
        tn_pages_drop(f->got[s], (size_t)n * 4);
        f->n_wait += s != r->rank;
    }
    for (int s = 0; s < r->size; s++)
        if (f->got[s] != NULL)
            f->n_add += tn_forest_promise(&r->x.owned, 0, round * r->size + s, f->got[s], f->add + f->n_add);
    /* nothing of ours comes along */
    for (int c = f->first; group < 0 && c < f->last; c++) f->ready[c] = true;
    return post(r, err);
}

tn_status train_overlap_begin(run *r, int64_t round, int64_t group, tn_error *err)
{
    overlap *f = r->x.way;
    memcpy(f->left, f->touch, (size_t)f->n_chunk * sizeof *f->left);
    memset(f->ready, 0, (size_t)f->n_chunk * sizeof *f->ready);
    memset(f->summed, 0, (size_t)f->n_chunk * sizeof *f->summed);
    memset(f->known, 0, (size_t)r->p.n_slot * sizeof *f->known);
    f->n_open = 0;
    f->status = TN_OK;
    TN_TRY(r->zero == 2 ? round_begin(r, round, group, err) : nodes_begin(r, group, err));
    f->computing = true;
    if (group >= 0) tn_graph_on_gradients(r->train.g, on_gradients, r);
    return TN_OK;
}

tn_status train_overlap_end(run *r, int64_t group, tn_error *err)
{
    overlap *f = r->x.way;
    int64_t  n_own = r->x.range[r->rank + 1] - r->x.range[r->rank];

    tn_graph_on_gradients(r->train.g, NULL, NULL);
    f->computing = false;
    if (f->status != TN_OK) {
        if (err != NULL) *err = f->error;
        return f->status;
    }
    for (int c = 0; group >= 0 && c < f->n_chunk; c++) { /* what no operation adds to: zeros */
        TN_TRY(chunk_ready(r, c, err));
        if (r->zero == 2) TN_TRY(wait_for_others(r, err));
    }
    while (f->n_open > 0) TN_TRY(look(r, true, err));
    TN_TRY(tn_dist_wait(r->dist, err));
    if (r->zero < 2) {
        /* an empty range has no sum */
        r->sum = r->zero == 0 ? r->x.wire : n_own == 0 ? r->p.grad : f->sum[f->root];
        return TN_OK;
    }
    tn_pages_drop(r->p.grad, (size_t)r->p.n_flat * 4);
    r->sum = r->x.owned.n_node > 0 ? r->x.owned.node[0].sum : r->p.grad;
    return TN_OK;
}
