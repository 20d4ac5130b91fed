/* exchange.c - who computes which groups, who owns which part of the gradient; weights and norms across
 * ranks.
 *
 *   flat order   | blk.0.attn_k | blk.0.attn_q | ... | token_embd          |
 *   ranges       | rank 0                  | rank 1          | rank 2     |     parted where a tensor begins or, within tensors that need
 *                                                                               not be whole, at a grain: as near to equal parts as that allows
 *   blocks       |      |      |      |      |      |      |      |      |     of the norm; one that ranks share is summed by the first of them
 *
 *   zero 0, 1   rank r computes groups [n r / R, n (r+1) / R) and joins siblings at home; the nodes that are left go, cut at the owners'
 *               borders, to the owners, who finish the tree over their ranges. zero 0: the sums go back to all
 *   zero 2      in round t rank r computes group t R + r and sends it to the owners at once: no tree over everything is
 *               ever held by one rank
 *
 * Either way the tree's association is the one of forest.c: how many ranks there are changes nothing.
 * overlap.c moves the gradients. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "base/thread.h"

/* The place nearest to `at` where two ranks may part. */
static int64_t border_near(const params *p, int64_t at)
{
    int64_t best = p->n_flat, below = at - at % p->grain;
    for (int i = 0; i < p->n_slot; i++) {
        const slot   *s = &p->slot[i];
        const int64_t place[3] = { s->first, below, below + p->grain };
        for (int k = 0; k < 3; k++) {
            bool inside = place[k] > s->first && place[k] < s->first + s->n;
            if (k > 0 && (s->whole || !inside)) continue;
            if (llabs(place[k] - at) < llabs(best - at)) best = place[k];
        }
    }
    return best;
}

tn_status train_exchange_prepare(run *r, tn_error *err)
{
    exchange *x = &r->x;
    int64_t   first, last;

    if (r->size > r->n_group)
        return tn_fail(err, TN_USAGE,
                       "%d ranks, but the batch has %lld groups of micro-batches: use at most %lld ranks, or "
                       "a larger batch or a "
                       "smaller micro_batch or group_size",
                       r->size, (long long)r->n_group, (long long)r->n_group);
    if ((x->range = calloc((size_t)r->size + 1, sizeof *x->range)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the ranks' ranges");
    x->range[r->size] = r->p.n_flat;
    for (int i = 1; i < r->size; i++) {
        tn_dist_share(r->p.n_flat, i, r->size, &first, &last);
        x->range[i] = border_near(&r->p, first);
    }
    tn_dist_share(r->n_group, r->rank, r->size, &first, &last);
    int levels = 2;
    while (((int64_t)1 << (levels - 2)) < r->n_group) levels++;
    if (r->n_group > 1 && (r->size == 1 || (r->zero < 2 && last - first > 1)))
        TN_TRY(tn_forest_init(&x->local, r->p.n_flat, 2 * levels, err));
    if (r->size == 1) return TN_OK;
    if (r->zero == 2)
        TN_TRY(
            tn_forest_init(&x->owned, x->range[r->rank + 1] - x->range[r->rank], 2 * levels + r->size, err));
    x->send = malloc((size_t)r->size * sizeof *x->send);
    x->recv = malloc((size_t)r->size * sizeof *x->recv);
    x->edge = malloc(BLOCK * sizeof *x->edge);
    if (r->zero == 0) x->wire = aligned_alloc(64, ((size_t)r->p.n_flat * 4 + 63) & ~(size_t)63);
    if (x->send == NULL || x->recv == NULL || x->edge == NULL || (r->zero == 0 && x->wire == NULL))
        return tn_fail(err, TN_NOMEM, "exchanging gradients needs %zu bytes", (size_t)r->p.n_flat * 4);
    return train_overlap_create(r, err);
}

void train_exchange_release(run *r)
{
    exchange *x = &r->x;
    train_overlap_free(x->way);
    tn_forest_free(&x->local);
    tn_forest_free(&x->owned);
    free(x->range);
    free(x->send);
    free(x->recv);
    free(x->wire);
    free(x->edge);
    *x = (exchange){ 0 };
}

/* How many sums of a tree are alive at most: the order of additions, without numbers. zero 2: between rounds,
 * since within one they come and go by chunks. */
static tn_status forest_peak(const run *r, bool owned, int cap, int *out, tn_error *err)
{
    tn_forest f;
    tn_status status = TN_OK;
    int64_t   first = 0, last = r->n_group + 1;
    float    *one;

    if (!owned) tn_dist_share(r->n_group, r->rank, r->size, &first, &last);
    TN_TRY(tn_forest_init(&f, 0, cap, err));
    *out = 0;
    for (int64_t g = first; g < last - 1; g++) {
        TN_GOTO(tn_forest_buffer(&f, &one, err));
        tn_forest_add(&f, 0, g, one);
        if (owned && ((g + 1) % r->size == 0 || g + 2 == last) && f.n_node > *out) *out = f.n_node;
    }
    if (!owned) *out = f.n_made;
out:
    tn_forest_free(&f);
    return status;
}

/* zero 2: how much of this rank's gradient is there at once. With several micro-batches a group all of it;
 * with one, what becomes final at the end (an embedding, if it is the head too), a block, whose chunks are
 * shared with the next, and what is on its way. */
static int64_t held_at_once(const run *r)
{
    int64_t layer = 0, most = 0, rest = 0, head = 0, embd = 0, n;

    if (r->group_size > 1) return r->p.n_flat;
    for (int i = 0; i < r->p.n_slot; i++) {
        const slot *s = &r->p.slot[i];
        if (tn_starts_with(s->name, "blk.")) {
            const char *dot = strchr(s->name + strlen("blk."), '.');
            bool        same = i > 0 && dot != NULL &&
                        strncmp(r->p.slot[i - 1].name, s->name, (size_t)(dot - s->name) + 1) == 0;
            if (!same) layer = 0;
            if ((layer += s->n) > most) most = layer;
        } else {
            rest += s->n;
            if (strcmp(s->name, "output.weight") == 0) head = s->n;
            if (strcmp(s->name, "token_embd.weight") == 0) embd = s->n;
        }
    }
    if (head > 0) rest -= embd; /* not one of them before the other has gone */
    n = rest + most + 4 * train_overlap_chunk(r) + train_overlap_floats(r);
    return n < r->p.n_flat ? n : r->p.n_flat;
}

tn_status train_exchange_bytes(const run *r, size_t *out, tn_error *err)
{
    const exchange *x = &r->x;
    int             local = 0, owned = 0;

    if (x->local.n > 0) TN_TRY(forest_peak(r, false, x->local.cap, &local, err));
    if (x->owned.n > 0) TN_TRY(forest_peak(r, true, x->owned.cap, &owned, err));
    *out = 4 *
           (size_t)((r->zero == 2 && r->size > 1 ? held_at_once(r) : r->p.n_flat) +
                    r->p.n_flat * (local + (x->wire != NULL)) + x->owned.n * owned + train_overlap_floats(r));
    return TN_OK;
}

int64_t train_exchange_rounds(const run *r) { return (r->n_group + r->size - 1) / r->size; }

int64_t train_exchange_group(const run *r, int64_t round)
{
    int64_t first, last;
    if (r->zero == 2) {
        int64_t g = round * r->size + r->rank;
        return g < r->n_group ? g : -1;
    }
    tn_dist_share(r->n_group, r->rank, r->size, &first, &last);
    return first + round < last ? first + round : -1;
}

typedef struct pair {
    float       *to;
    const float *from;
} pair;
static void copy_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    pair *j = arg;
    (void)i_thread;
    memcpy(j->to + begin, j->from + begin, (size_t)(end - begin) * 4);
}

static void add_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    pair *j = arg;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) j->to[i] += j->from[i];
}

void train_sum_add(float *to, const float *from, int64_t n)
{
    tn_parallel(n, 4096, add_range, &(pair){ to, from });
}

bool train_exchange_last(const run *r, int64_t group)
{
    int64_t first, last;
    tn_dist_share(r->n_group, r->rank, r->size, &first, &last);
    return (r->size > 1 && r->zero == 2) || group == last - 1;
}

tn_status train_exchange_take(run *r, int64_t group, tn_error *err)
{
    exchange *x = &r->x;
    float    *copy, *joins[TN_FOREST_LEVELS];

    if (group < 0 && r->zero < 2) return TN_OK;
    if (train_exchange_last(r, group)) {
        if (r->size > 1) return train_overlap_end(r, group, err);
        r->sum = r->p.grad; /* one rank: the last group stays where it is and is added upwards */
        for (int i = 0, n = x->local.n > 0 ? tn_forest_chain(&x->local, 0, group, joins) : 0; i < n;
             r->sum = joins[i++])
            train_sum_add(joins[i], r->sum, r->p.n_flat);
        return TN_OK;
    }
    TN_TRY(tn_forest_buffer(&x->local, &copy, err));
    tn_parallel(r->p.n_flat, 4096, copy_range, &(pair){ copy, r->p.grad });
    tn_forest_add(&x->local, 0, group, copy);
    return TN_OK;
}

/* How much of rank o's range lies in the piece that begins `at` behind its begin. */
static int64_t piece_of(const exchange *x, int o, int64_t at, int64_t piece)
{
    int64_t left = x->range[o + 1] - x->range[o] - at;
    return left < 0 ? 0 : left < piece ? left : piece;
}

/* Every rank's part of a flat array goes to all: mine is at [range[rank], range[rank+1]) of `all`. */
static tn_status share_ranges(run *r, float *all, tn_error *err)
{
    exchange *x = &r->x;
    int       n_send = 0, n_recv = 0;
    for (int o = 0; o < r->size; o++) {
        if (o == r->rank) continue;
        int64_t mine = x->range[r->rank + 1] - x->range[r->rank], theirs = x->range[o + 1] - x->range[o];
        if (mine > 0) x->send[n_send++] = (tn_dist_message){ o, all + x->range[r->rank], (size_t)mine * 4 };
        if (theirs > 0) x->recv[n_recv++] = (tn_dist_message){ o, all + x->range[o], (size_t)theirs * 4 };
    }
    return tn_dist_exchange(r->dist, x->send, n_send, x->recv, n_recv, err);
}

/* zero 2: the same, a piece of every range at a time, so that no rank holds more than a piece of each. */
static tn_status share_pieces(run *r, tn_error *err)
{
    exchange *x = &r->x;
    int64_t   piece = train_overlap_chunk(r), most = 0;

    for (int o = 0; o < r->size; o++)
        most = x->range[o + 1] - x->range[o] > most ? x->range[o + 1] - x->range[o] : most;
    for (int64_t at = 0; at < most; at += piece) {
        int n_send = 0, n_recv = 0;
        for (int o = 0; o < r->size; o++) {
            int64_t a = x->range[r->rank] + at, mine = piece_of(x, r->rank, at, piece),
                    theirs = piece_of(x, o, at, piece);
            if (o == r->rank) {
                if (mine > 0) train_params_get(&r->p, a, a + mine, r->p.grad + a);
                continue;
            }
            if (mine > 0) x->send[n_send++] = (tn_dist_message){ o, r->p.grad + a, (size_t)mine * 4 };
            if (theirs > 0)
                x->recv[n_recv++] = (tn_dist_message){ o, r->p.grad + x->range[o] + at, (size_t)theirs * 4 };
        }
        TN_TRY(tn_dist_exchange(r->dist, x->send, n_send, x->recv, n_recv, err));
        for (int o = 0; o < r->size; o++) {
            int64_t a = x->range[o] + at, n = piece_of(x, o, at, piece);
            if (o != r->rank && n > 0) train_params_set(&r->p, a, a + n, r->p.grad + a);
            if (n > 0) tn_pages_drop(r->p.grad + a, (size_t)n * 4);
        }
    }
    return TN_OK;
}

tn_status train_exchange_weights(run *r, tn_error *err)
{
    exchange *x = &r->x;
    tn_forest_clear(&x->local);
    tn_forest_clear(&x->owned);
    if (r->size == 1 || r->zero == 0) return TN_OK;
    if (r->zero == 2) {
        for (int i = 0; i < x->owned.n_spare; i++) tn_pages_drop(x->owned.spare[i], (size_t)x->owned.n * 4);
        return share_pieces(r, err);
    }
    train_params_get(&r->p, x->range[r->rank], x->range[r->rank + 1], r->p.grad + x->range[r->rank]);
    TN_TRY(share_ranges(r, r->p.grad, err));
    for (int o = 0; o < r->size; o++)
        if (o != r->rank) train_params_set(&r->p, x->range[o], x->range[o + 1], r->p.grad + x->range[o]);
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------------- norm */

typedef struct norm_job {
    const run *r;
    int64_t    first, last;
    double    *out;
} norm_job;
static void norm_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    norm_job *j = arg;
    (void)i_thread;
    for (int64_t b = begin; b < end; b++) {
        int64_t a = (j->first / BLOCK + b) * BLOCK,
                n = j->r->p.n_flat - a < BLOCK ? j->r->p.n_flat - a : BLOCK;
        j->out[a / BLOCK] = tn_sum_sq(a + n > j->last ? j->r->x.edge : j->r->sum + (a - j->r->opt.first), n);
    }
}

/* The first block that begins in or after a rank's range: one that began before it is another rank's. */
static int64_t block_of(int64_t flat) { return (flat + BLOCK - 1) / BLOCK; }

/* A block that several ranks own parts of goes to the one that has its first element. */
static tn_status edge_join(run *r, tn_error *err)
{
    exchange *x = &r->x;
    int64_t   first = x->range[r->rank], last = x->range[r->rank + 1], end = block_of(last) * BLOCK,
            start = end - BLOCK;
    int n_send = 0, n_recv = 0;

    for (int o = r->rank + 1; o < r->size && start >= first && last < end; o++) { /* mine, and not all here */
        int64_t a = x->range[o], b = x->range[o + 1] < end ? x->range[o + 1] : end;
        if (b > a) x->recv[n_recv++] = (tn_dist_message){ o, x->edge + (a - start), (size_t)(b - a) * 4 };
    }
    if (start >= first && last < end) memcpy(x->edge, r->sum + (start - first), (size_t)(last - start) * 4);
    if (first < last && first % BLOCK != 0) { /* another's */
        int64_t a = first - first % BLOCK, b = a + BLOCK < last ? a + BLOCK : last;
        int     owner = 0;
        while (x->range[owner + 1] <= a) owner++;
        x->send[n_send++] = (tn_dist_message){ owner, r->sum, (size_t)(b - first) * 4 };
    }
    return tn_dist_exchange(r->dist, x->send, n_send, x->recv, n_recv, err);
}

/* In place: pairs of neighbours, level by level; an odd one moves up as it is. */
static double tree_sum(double *x, int64_t n)
{
    for (; n > 1; n = (n + 1) / 2)
        for (int64_t i = 0; i < (n + 1) / 2; i++) x[i] = 2 * i + 1 < n ? x[2 * i] + x[2 * i + 1] : x[2 * i];
    return n == 1 ? x[0] : 0;
}

tn_status train_exchange_norm(run *r, double *out, tn_error *err)
{
    exchange *x = &r->x;
    bool      shared = r->size > 1 && r->zero > 0;
    int64_t   first = block_of(r->opt.first), n = block_of(r->opt.last) - first;

    if (shared) TN_TRY(edge_join(r, err));
    tn_parallel(n, 1, norm_range, &(norm_job){ r, first * BLOCK, r->opt.last, r->block_sums });
    if (shared) {
        int n_send = 0, n_recv = 0;
        for (int o = 0; o < r->size; o++) {
            int64_t a = block_of(x->range[o]), b = block_of(x->range[o + 1]);
            if (o == r->rank) continue;
            if (n > 0) x->send[n_send++] = (tn_dist_message){ o, r->block_sums + first, (size_t)n * 8 };
            if (b > a) x->recv[n_recv++] = (tn_dist_message){ o, r->block_sums + a, (size_t)(b - a) * 8 };
        }
        TN_TRY(tn_dist_exchange(r->dist, x->send, n_send, x->recv, n_recv, err));
    }
    *out = tree_sum(r->block_sums, block_of(r->p.n_flat));
    return TN_OK;
}
