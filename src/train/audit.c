/* audit.c - silent corruption among ranks. Replicas must hold the same weights, and any rank must get the
 * same gradient of a micro-batch: bitwise determinism turns both into plain comparisons of hashes.
 *
 *   each step     before the update: a sum over this rank's copy of the weights is taken into `evidence`. Where ranks own parts of the weights, an update
 *                 makes all copies alike again, also when one was wrong; the evidence stays different
 *   now and then  (check_every, before each checkpoint, at the end) weights and evidence are compared */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/thread.h"

typedef struct summing {
    const uint32_t *bits;
    int64_t         n;
    uint64_t        total;
} summing;
enum { SUM_BLOCK = 1 << 16 };

/* Integer sums: the order does not matter. Blocks are told apart, so that what moves from one to another is
 * seen. */
static uint64_t mixed(uint64_t a, uint64_t b)
{
    const uint64_t two[2] = { a, b };
    return tn_hash64(two, sizeof two);
}

static void sum_blocks(void *arg, int64_t begin, int64_t end, int i_thread)
{
    summing *j = arg;
    (void)i_thread;
    for (int64_t b = begin; b < end; b++) {
        int64_t  to = (b + 1) * SUM_BLOCK < j->n ? (b + 1) * SUM_BLOCK : j->n;
        uint64_t sum = 0;
        for (int64_t i = b * SUM_BLOCK; i < to; i++) sum += j->bits[i];
        __atomic_fetch_add(&j->total, mixed((uint64_t)b, sum), __ATOMIC_RELAXED);
    }
}

void train_evidence(run *r)
{
    if (r->size == 1 || r->c->check_every == 0) return;
    for (int i = 0; i < r->p.n_slot; i++) {
        const slot *s = &r->p.slot[i];
        summing     j = { (const uint32_t *)(const void *)s->master, s->n, 0 };
        tn_parallel((s->n + SUM_BLOCK - 1) / SUM_BLOCK, 1, sum_blocks, &j);
        r->evidence = mixed(r->evidence, j.total);
    }
}

static tn_status same_everywhere(run *r, const tn_digest *mine, const char *what, int64_t step, tn_error *err)
{
    tn_digest *all = malloc((size_t)r->size * sizeof *all);
    tn_status  status;
    if (all == NULL) return tn_fail(err, TN_NOMEM, "no memory to compare ranks");
    status = tn_dist_gather(r->dist, mine, sizeof *mine, all, err);
    /* the one that stands against most of the others is wrong */
    for (int o = 0; status == TN_OK && o < r->size; o++) {
        int like = 0;
        for (int p = 0; p < r->size; p++) like += tn_digest_equal(&all[o], &all[p]);
        if (2 * like == r->size && !tn_digest_equal(&all[o], &all[0]))
            status = tn_fail(err, TN_UNSOUND,
                             "after step %lld: %s of ranks 0 and %d differ: the memory or processor of one "
                             "of them is not sound. Stopped; the newest checkpoint is "
                             "from before, go on with one of them alone",
                             (long long)step, what, o);
        else if (2 * like < r->size)
            status = tn_fail(err, TN_UNSOUND,
                             "after step %lld: %s of rank %d differ from the other ranks': its memory or "
                             "processor is not sound. Stopped; "
                             "the newest checkpoint is from before, go on without that machine",
                             (long long)step, what, o);
    }
    free(all);
    return status;
}

typedef struct heard {
    tn_digest *of;
    int        n;
} heard;
static void hear(void *arg, const tn_tensor *const *grad, int n)
{
    heard *h = arg;
    for (int i = 0; i < n; i++) {
        h->of[h->n++] = tn_sha256_of(grad[i]->data, tn_n_bytes(grad[i]));
        tn_pages_drop(grad[i]->data, tn_n_bytes(grad[i])); /* so that no more is there than in a step */
    }
}

/* The gradient of one micro-batch of the step that is next, alone: a hash of the tensors' hashes, in the
 * order in which they become final. */
static tn_status micro_hash(run *r, int64_t item, tn_digest *out, tn_error *err)
{
    micro_stats stats;
    heard       h = { .of = calloc((size_t)r->p.n_slot + 1, sizeof *h.of) };
    if (h.of == NULL) return tn_fail(err, TN_NOMEM, "no memory for the digests of %d tensors", r->p.n_slot);
    tn_pages_zero(r->p.grad, (size_t)r->p.n_flat * 4);
    train_micro_fill(&r->micros[0], &r->data, item, r->micro_size);
    tn_graph_on_gradients(r->train.g, hear, &h);
    tn_status status = train_engine_run(&r->train, &r->data, &r->micros[0], 1, &stats, NULL, err);
    tn_graph_on_gradients(r->train.g, NULL, NULL);
    *out = tn_sha256_of(h.of, (size_t)h.n * sizeof *h.of);
    free(h.of);
    return status;
}

tn_status train_check_weights(run *r, int64_t step, const tn_digest *root, tn_error *err)
{
    struct {
        tn_digest root;
        uint64_t  evidence;
    } mine = { .evidence = 0 };

    if (r->size == 1 || r->c->check_every == 0) return TN_OK;
    if (root != NULL) mine.root = *root;
    train_evidence(r);
    mine.evidence = r->evidence;
    tn_digest d = tn_sha256_of(&mine, sizeof mine);
    return same_everywhere(r, &d, "the weights", step, err);
}

tn_status train_check_replicas(run *r, int64_t step, tn_error *err)
{
    tn_digest root, two[2];
    if (r->size == 1 || r->c->check_every == 0 || step % r->c->check_every != 0) return TN_OK;
    TN_TRY(train_params_root(&r->p, &root, err));
    TN_TRY(train_check_weights(r, step, &root, err));
    tn_rng_key key = { (uint64_t)r->c->seed, TN_RNG_AUDIT, (uint64_t)step, 0 };
    int64_t    m = (int64_t)tn_rng_below(&key, 0, (uint64_t)r->n_micro);
    int        a = (int)tn_rng_below(&key, 1, (uint64_t)r->size), b = (a + 1) % r->size;
    tn_status  status = TN_OK;
    if (r->rank == a || r->rank == b)
        status = micro_hash(r, train_first_item(r, step + 1) + m * r->micro_size, &two[0], err);
    TN_TRY(tn_dist_agree(r->dist, status, err));
    two[1] = two[0];
    TN_TRY(tn_dist_broadcast(r->dist, a, &two[0], sizeof two[0], err));
    TN_TRY(tn_dist_broadcast(r->dist, b, &two[1], sizeof two[1], err));
    if (!tn_digest_equal(&two[0], &two[1]))
        return tn_fail(err, TN_UNSOUND,
                       "after step %lld: ranks %d and %d get different gradients of micro-batch %lld: one of "
                       "them is not sound. Stopped; "
                       "the newest checkpoint is from before",
                       (long long)step, a, b, (long long)m);
    return TN_OK;
}
