/* audit.c - silent corruption among ranks. Replicas must hold the same weights, and any rank must get the same gradient of
 * a micro-batch: bitwise determinism turns both into plain comparisons of hashes. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static tn_status same_everywhere(run *r, const tn_digest *mine, const char *what, int64_t step, tn_error *err)
{
    tn_digest *all = malloc((size_t)r->size * sizeof *all);
    tn_status status;
    if (all == NULL) return tn_fail(err, TN_NOMEM, "no memory to compare ranks");
    status = tn_dist_gather(r->dist, mine, sizeof *mine, all, err);
    for (int o = 0; status == TN_OK && o < r->size; o++) {   /* the one that stands against most of the others is wrong */
        int like = 0;
        for (int p = 0; p < r->size; p++) like += tn_digest_equal(&all[o], &all[p]);
        if (2 * like <= r->size && (like < r->size - like || !tn_digest_equal(&all[o], &all[0])))
            status = tn_fail(err, TN_VERIFY, "after step %lld: %s of rank %d differ from the other ranks': its memory or processor is not sound. Stopped; "
                             "the newest checkpoint is from before, go on without that machine", (long long)step, what, o);
    }
    free(all);
    return status;
}

typedef struct heard { tn_digest *of; int n; } heard;
static void hear(void *arg, const tn_tensor *const *grad, int n)
{
    heard *h = arg;
    for (int i = 0; i < n; i++) {
        h->of[h->n++] = tn_sha256_of(grad[i]->data, tn_n_bytes(grad[i]));
        tn_pages_drop(grad[i]->data, tn_n_bytes(grad[i]));   /* so that no more is there than in a step */
    }
}

/* The gradient of one micro-batch of the step that is next, alone: a hash of the tensors' hashes, in the order in which they become final. */
static tn_status micro_hash(run *r, int64_t item, tn_digest *out, tn_error *err)
{
    micro_stats stats;
    heard h = { .of = calloc((size_t)r->p.n_slot + 1, sizeof *h.of) };
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

tn_status train_check_replicas(run *r, int64_t step, tn_error *err)
{
    tn_digest mine, two[2];
    if (r->size == 1 || r->c->check_every == 0 || step % r->c->check_every != 0) return TN_OK;
    TN_TRY(train_params_root(&r->p, &mine, err));
    TN_TRY(same_everywhere(r, &mine, "the weights", step, err));
    tn_rng_key key = { (uint64_t)r->c->seed, TN_RNG_AUDIT, (uint64_t)step, 0 };
    int64_t m = (int64_t)tn_rng_below(&key, 0, (uint64_t)r->n_micro);
    int a = (int)tn_rng_below(&key, 1, (uint64_t)r->size), b = (a + 1) % r->size;
    tn_status status = TN_OK;
    if (r->rank == a || r->rank == b) status = micro_hash(r, step * r->c->batch + m * r->micro_size, &two[0], err);
    TN_TRY(tn_dist_agree(r->dist, status, err));
    two[1] = two[0];
    TN_TRY(tn_dist_broadcast(r->dist, a, &two[0], sizeof two[0], err));
    TN_TRY(tn_dist_broadcast(r->dist, b, &two[1], sizeof two[1], err));
    if (!tn_digest_equal(&two[0], &two[1]))
        return tn_fail(err, TN_VERIFY, "after step %lld: ranks %d and %d get different gradients of micro-batch %lld: one of them is not sound. Stopped; "
                       "the newest checkpoint is from before", (long long)step, a, b, (long long)m);
    return TN_OK;
}
