/* exchange.c - who computes which groups, who owns which part of the gradient; weights and norms across ranks.
 *
 *   zero 0, 1   rank r computes groups [n r / R, n (r+1) / R) and joins siblings at home; the nodes that are left go, cut at the owners'
 *               borders, to the owners, who finish the tree over their ranges. zero 0: the sums go back to all
 *   zero 2      in round t rank r computes group t R + r and sends it to the owners at once: no tree over everything is
 *               ever held by one rank
 *
 * Either way the tree's association is the one of forest.c: how many ranks there are changes nothing. overlap.c moves the gradients. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

tn_status train_exchange_prepare(run *r, tn_error *err)
{
    exchange *x = &r->x;
    int64_t grains = (r->p.n_flat + r->p.grain - 1) / r->p.grain, first, last;

    if (r->size > r->n_group)
        return tn_fail(err, TN_USAGE, "%d ranks, but the batch has %lld groups of micro-batches: use at most %lld ranks, or a larger batch or a "
                       "smaller micro_batch or group_size", r->size, (long long)r->n_group, (long long)r->n_group);
    if ((x->range = calloc((size_t)r->size + 1, sizeof *x->range)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for the ranks' ranges");
    for (int i = 0; i < r->size; i++) {
        tn_dist_share(grains, i, r->size, &first, &last);
        x->range[i + 1] = last * r->p.grain < r->p.n_flat ? last * r->p.grain : r->p.n_flat;
    }
    tn_dist_share(r->n_group, r->rank, r->size, &first, &last);
    int levels = 2;
    while (((int64_t)1 << (levels - 2)) < r->n_group) levels++;
    if (r->n_group > 1 && (r->size == 1 || (r->zero < 2 && last - first > 1)))
        TN_TRY(tn_forest_init(&x->local, r->p.n_flat, 2 * levels, err));
    if (r->size == 1) return TN_OK;
    if (r->zero == 2) TN_TRY(tn_forest_init(&x->owned, x->range[r->rank + 1] - x->range[r->rank], 2 * levels + r->size, err));
    x->send = malloc((size_t)r->size * sizeof *x->send);
    x->recv = malloc((size_t)r->size * sizeof *x->recv);
    x->wire_floats = r->p.n_flat;
    x->wire = aligned_alloc(64, ((size_t)x->wire_floats * 4 + 63) & ~(size_t)63);
    if (x->send == NULL || x->recv == NULL || x->wire == NULL)
        return tn_fail(err, TN_NOMEM, "exchanging gradients needs %zu bytes", (size_t)x->wire_floats * 4);
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
    *x = (exchange){0};
}

int64_t train_exchange_rounds(const run *r)
{
    return (r->n_group + r->size - 1) / r->size;
}

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

typedef struct pair { float *to; const float *from; } pair;
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

void train_sum_add(float *to, const float *from, int64_t n) { tn_parallel(n, 4096, add_range, &(pair){ to, from }); }

bool train_exchange_last(const run *r, int64_t group)
{
    int64_t first, last;
    tn_dist_share(r->n_group, r->rank, r->size, &first, &last);
    return (r->size > 1 && r->zero == 2) || group == last - 1;
}

tn_status train_exchange_take(run *r, int64_t round, int64_t group, tn_error *err)
{
    exchange *x = &r->x;
    float *copy, *joins[TN_FOREST_LEVELS];

    if (group < 0 && r->zero < 2) return TN_OK;
    if (train_exchange_last(r, group)) {
        if (r->size > 1) return train_overlap_end(r, round, group, err);
        r->sum = r->p.grad;                                  /* one rank: the last group stays where it is and is added upwards */
        for (int i = 0, n = x->local.n > 0 ? tn_forest_chain(&x->local, 0, group, joins) : 0; i < n; r->sum = joins[i++])
            train_sum_add(joins[i], r->sum, r->p.n_flat);
        return TN_OK;
    }
    TN_TRY(tn_forest_buffer(&x->local, &copy, err));
    tn_parallel(r->p.n_flat, 4096, copy_range, &(pair){ copy, r->p.grad });
    tn_forest_add(&x->local, 0, group, copy);
    return TN_OK;
}

/* Every rank's part of a flat array goes to all: mine is at [range[rank], range[rank+1]) of `all`. */
static tn_status share_ranges(run *r, float *all, tn_error *err)
{
    exchange *x = &r->x;
    int n_send = 0, n_recv = 0;
    for (int o = 0; o < r->size; o++) {
        if (o == r->rank) continue;
        int64_t mine = x->range[r->rank + 1] - x->range[r->rank], theirs = x->range[o + 1] - x->range[o];
        if (mine > 0) x->send[n_send++] = (tn_dist_message){ o, all + x->range[r->rank], (size_t)mine * 4 };
        if (theirs > 0) x->recv[n_recv++] = (tn_dist_message){ o, all + x->range[o], (size_t)theirs * 4 };
    }
    return tn_dist_exchange(r->dist, x->send, n_send, x->recv, n_recv, err);
}

tn_status train_exchange_weights(run *r, tn_error *err)
{
    exchange *x = &r->x;
    tn_forest_clear(&x->local);
    tn_forest_clear(&x->owned);
    if (r->size == 1 || r->zero == 0) return TN_OK;
    train_params_get(&r->p, x->range[r->rank], x->range[r->rank + 1], x->wire + x->range[r->rank]);
    TN_TRY(share_ranges(r, x->wire, err));
    for (int o = 0; o < r->size; o++)
        if (o != r->rank) train_params_set(&r->p, x->range[o], x->range[o + 1], x->wire + x->range[o]);
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------------- norm */

typedef struct norm_job { const float *sum; int64_t first, n; double *out; } norm_job;
static void norm_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    norm_job *j = arg;
    (void)i_thread;
    for (int64_t b = begin; b < end; b++) {
        int64_t n = j->n - b * BLOCK < BLOCK ? j->n - b * BLOCK : BLOCK;
        j->out[j->first / BLOCK + b] = tn_sum_sq(j->sum + b * BLOCK, n);
    }
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
    int64_t n = r->opt.last - r->opt.first, blocks = (r->p.n_flat + BLOCK - 1) / BLOCK;

    tn_parallel((n + BLOCK - 1) / BLOCK, 1, norm_range, &(norm_job){ r->sum, r->opt.first, n, r->block_sums });
    if (r->size > 1 && r->zero > 0) {
        int n_send = 0, n_recv = 0;
        for (int o = 0; o < r->size; o++) {
            int64_t a = x->range[r->rank] / BLOCK, b = (x->range[r->rank + 1] + BLOCK - 1) / BLOCK;
            int64_t c = x->range[o] / BLOCK, d = (x->range[o + 1] + BLOCK - 1) / BLOCK;
            if (o == r->rank) continue;
            if (b > a && n > 0) x->send[n_send++] = (tn_dist_message){ o, r->block_sums + a, (size_t)(b - a) * 8 };
            if (x->range[o + 1] > x->range[o]) x->recv[n_recv++] = (tn_dist_message){ o, r->block_sums + c, (size_t)(d - c) * 8 };
        }
        TN_TRY(tn_dist_exchange(r->dist, x->send, n_send, x->recv, n_recv, err));
    }
    *out = tree_sum(r->block_sums, blocks);
    return TN_OK;
}
