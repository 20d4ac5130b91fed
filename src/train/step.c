/* step.c - one step: fill the micro-batches, run the groups, join the sums, norm, update.
 *
 *   items   first = (step-1) batch; micro-batch m holds items [first + m size, ...)
 *   groups  S consecutive micro-batches add into one buffer, in order; L/S group sums meet in the tree
 *   scale   1 / (exact token weight, or pairs) of the whole batch, times the clip: applied once, in the update */
#include "train/run.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/thread.h"

void train_step_sizes(const tn_train_config *c, int64_t *n_item, int64_t *n_micro, int64_t *group)
{
    *n_item = c->micro_batch;
    if (*n_item == 0) { /* the largest that keeps a power of two and 2048 tokens */
        int64_t odd = c->batch, tokens = c->n_ctx * (strcmp(c->loss, "sft") != 0 ? 2 : 1);
        while (odd % 2 == 0) odd /= 2;
        *n_item = odd;
        while (*n_item * 2 <= c->batch && *n_item * 2 * tokens <= 2048) *n_item *= 2;
    }
    *n_micro = c->batch / *n_item;
    *group = c->group_size > 0 ? c->group_size : *n_micro >= 4 ? *n_micro / 4 : 1;
}

tn_status train_step_prepare(run *r, tn_error *err)
{
    int64_t rounds, blocks = (r->p.n_flat + BLOCK - 1) / BLOCK;

    r->n_group = r->n_micro / r->group_size;
    TN_TRY(train_exchange_prepare(r, err));
    rounds = train_exchange_rounds(r);
    r->n_own = rounds * r->group_size;
    r->stats = calloc((size_t)(r->n_micro * r->size), sizeof *r->stats);
    r->block_sums = calloc((size_t)blocks + 1, sizeof *r->block_sums);
    r->micros = calloc((size_t)r->n_own, sizeof *r->micros);
    r->pair_margin = calloc((size_t)(r->n_micro * r->micro_size * r->size), sizeof *r->pair_margin);
    r->principle = calloc((size_t)r->data.pair.n_principle + 1, sizeof *r->principle);
    if (r->stats == NULL || r->block_sums == NULL || r->micros == NULL || r->pair_margin == NULL ||
        r->principle == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the batch of %lld micro-batches", (long long)r->n_micro);
    for (int64_t i = 0; i < r->n_own; i++)
        TN_TRY(train_micro_init(&r->micros[i], &r->data, r->micro_size, err));
    return TN_OK;
}

void train_step_release(run *r)
{
    for (int64_t i = 0; r->micros != NULL && i < r->n_own; i++) train_micro_free(&r->micros[i]);
    free(r->micros);
    free(r->stats);
    free(r->block_sums);
    free(r->pair_margin);
    free(r->principle);
    train_exchange_release(r);
}

/* The ordered sample ids of the step, as a hash: what the log's `batch` is. */
static tn_status batch_hash(run *r, int64_t step, tn_error *err)
{
    tn_sha256 *h = NULL;
    uint64_t   first = (uint64_t)train_first_item(r, step);
    TN_TRY(tn_sha256_create(&h, err));
    tn_sha256_update(h, r->data.content.b, TN_SHA256_BYTES);
    for (int64_t i = 0; i < r->c->batch; i++) {
        int     source;
        int64_t id[2];
        tn_mix_at(&r->data.mix, first + (uint64_t)i, &source, &id[1]);
        id[0] = source;
        tn_sha256_update(h, id, sizeof id);
    }
    tn_sha256_final(h, &r->batch);
    tn_sha256_destroy(h);
    return TN_OK;
}

/* Everybody learns the statistics of all micro-batches: who computed group g is a function of (g, ranks). */
static tn_status stats_share(run *r, tn_error *err)
{
    size_t bytes = (size_t)r->n_micro * sizeof *r->stats, margins = (size_t)(r->n_micro * r->micro_size);
    if (r->size == 1) return TN_OK;
    TN_TRY(tn_dist_gather(r->dist, r->stats, bytes, r->stats, err));
    if (r->data.pairs) TN_TRY(tn_dist_gather(r->dist, r->pair_margin, margins * 8, r->pair_margin, err));
    for (int64_t g = 0; g < r->n_group; g++) {
        int     owner = 0;
        int64_t first, last;
        if (r->zero == 2) owner = (int)(g % r->size);
        else
            for (tn_dist_share(r->n_group, 0, r->size, &first, &last); g >= last;
                 tn_dist_share(r->n_group, owner, r->size, &first, &last))
                owner++;
        for (int64_t m = g * r->group_size; m < (g + 1) * r->group_size; m++) {
            r->stats[m] = r->stats[(size_t)owner * (size_t)r->n_micro + (size_t)m];
            memmove(r->pair_margin + m * r->micro_size,
                    r->pair_margin + (size_t)owner * margins + (size_t)(m * r->micro_size),
                    (size_t)r->micro_size * 8);
        }
    }
    return TN_OK;
}

/* Sums over micro-batches: reals in a tree by index (L is a power of two), integers exactly. */
static void stats_total(run *r)
{
    micro_stats *t = &r->total;
    *t = (micro_stats){ 0 };
    for (int64_t m = 0; m < r->n_micro; m++) {
        t->weight_16 += r->stats[m].weight_16;
        t->n_item += r->stats[m].n_item;
        t->n_row += r->stats[m].n_row;
    }
    for (int64_t n = r->n_micro; n > 1; n /= 2)
        for (int64_t m = 0; m < n / 2; m++)
            for (int k = 0; k < N_STAT; k++)
                r->stats[m].v[k] = r->stats[2 * m].v[k] + r->stats[2 * m + 1].v[k];
    memcpy(t->v, r->stats[0].v, sizeof t->v);
}

static void principles_count(run *r, int64_t step)
{
    for (int64_t i = 0; r->data.pair.n_principle > 0 && i < r->c->batch; i++) {
        int32_t id =
            r->data.pair.pair[train_pair_at(&r->data, (uint64_t)(train_first_item(r, step) + i))].principle;
        if (id < 0) continue;
        r->principle[id].n++;
        r->principle[id].margin += r->pair_margin[i];
        r->principle[id].right += r->pair_margin[i] > 0;
    }
}

static double normaliser(const micro_stats *t) { return (double)t->weight_16 / 65536.0; }

/* Before micro-batch s of round t: is the step given up? Ranks decide together, where all of them still
 * compute (a rank without a group in the last round already waits for the others' gradients). */
static tn_status ask_to_stop(run *r, int64_t t, int64_t s, int64_t step, bool *stop, tn_error *err)
{
    int32_t mine, *all;

    *stop = false;
    if (t + s == 0 || t >= r->n_group / r->size || (r->size > 1 && !r->ask)) return TN_OK;
    if (r->size == 1 && t + s == 1 && train_fault("term", step, -1)) raise(SIGTERM);
    mine = tn_interrupted(NULL) != TN_OK;
    *stop = mine != 0;
    if (r->size == 1) return TN_OK;
    if ((all = malloc((size_t)r->size * sizeof *all)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory to agree with the other ranks");
    tn_status status = tn_dist_gather(r->dist, &mine, sizeof mine, all, err);
    for (int o = 0; status == TN_OK && o < r->size; o++) *stop |= all[o] != 0;
    free(all);
    return status;
}

static void zero_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    (void)i_thread;
    memset((float *)arg + begin, 0, (size_t)(end - begin) * 4);
}

tn_status train_step_gradients(run *r, int64_t step, bool *given_up, tn_error *err)
{
    int64_t first = train_first_item(r, step), rounds = train_exchange_rounds(r);
    double  square, aux_scale = 0;

    *given_up = false;
    TN_TRY(batch_hash(r, step, err));
    memset(r->stats, 0, (size_t)(r->n_micro * r->size) * sizeof *r->stats);
    for (int64_t t = 0; t < rounds; t++) {
        int64_t g = train_exchange_group(r, t);
        for (int64_t s = 0; g >= 0 && s < r->group_size; s++) {
            micro  *b = &r->micros[t * r->group_size + s];
            int64_t m = g * r->group_size + s;
            train_micro_fill(b, &r->data, first + m * r->micro_size, r->micro_size);
            r->stats[m] = (micro_stats){ .weight_16 = b->weight_16, .n_item = b->n_item };
        }
    }
    if (r->train.experts) {
        /* The routers' losses are means over micro-batches: in plain sums each counts normaliser / L. */
        TN_TRY(stats_share(r, err));
        stats_total(r);
        aux_scale = normaliser(&r->total) / (double)r->n_micro;
    }
    for (int64_t t = 0; t < rounds; t++) {
        int64_t g = train_exchange_group(r, t);
        bool    goes = r->size > 1 && train_exchange_last(r, g);
        if (g >= 0 && r->zero == 2 && r->size > 1) tn_pages_zero(r->p.grad, (size_t)r->p.n_flat * 4);
        else if (g >= 0) tn_parallel(r->p.n_flat, 1 << 20, zero_range, r->p.grad);
        if (goes && g < 0) TN_TRY(train_overlap_begin(r, t, g, err));
        for (int64_t s = 0; g >= 0 && s < r->group_size; s++) {
            int64_t m = g * r->group_size + s;
            train_alive(r);
            TN_TRY(ask_to_stop(r, t, s, step, given_up, err));
            if (*given_up) {
                train_step_drop(r);
                return TN_OK;
            }
            if (goes && s == r->group_size - 1) TN_TRY(train_overlap_begin(r, t, g, err));
            TN_TRY(train_engine_run(&r->train, &r->data, &r->micros[t * r->group_size + s], aux_scale,
                                    &r->stats[m], r->pair_margin + m * r->micro_size, err));
        }
        TN_TRY(train_exchange_take(r, g, err));
    }
    TN_TRY(stats_share(r, err));
    stats_total(r);
    principles_count(r, step);
    TN_TRY(train_exchange_norm(r, &square, err));
    double norm = normaliser(&r->total);
    if (!(norm > 0))
        return tn_fail(err, TN_FORMAT, "step %lld: nothing in the batch carries a loss", (long long)step);
    r->loss = (float)(r->total.v[STAT_LOSS] / norm);
    r->grad_norm = (float)(sqrt(square) / norm);
    double clip = r->c->clip > 0 ? r->c->clip / ((double)r->grad_norm + 1e-6) : 1;
    r->scale = (float)((clip < 1 ? clip : 1) / norm);
    r->tokens += r->total.n_row;
    return TN_OK;
}

tn_status train_step_pass(run *r, int64_t step, tn_error *err)
{
    r->loss = r->grad_norm = 0;
    r->total = (micro_stats){ 0 };
    return batch_hash(r, step, err);
}

void train_step_drop(run *r)
{
    tn_forest_clear(&r->x.local);
    tn_forest_clear(&r->x.owned);
}

tn_status train_step_update(run *r, float lr, tn_error *err)
{
    r->p.update = ++r->update;
    train_optimiser_step(&r->opt, &r->p, r->c, r->sum, r->scale, lr, r->update);
    return train_exchange_weights(r, err);
}
