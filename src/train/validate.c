/* validate.c - forward passes outside the step: held-out loss, and the reference's log-probabilities.
 * Items are taken in the order of the set, each rank a share of the micro-batches; sums are joined by
 * index. */
#include "train/run.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"

/* How many samples a validation takes. */
static int64_t items_of(const run *r)
{
    return r->valid.n_sample < r->c->valid_samples ? r->valid.n_sample : r->c->valid_samples;
}

tn_status train_validate_check(const run *r, tn_error *err)
{
    int64_t items = items_of(r), weight_16 = 0;
    micro   b = { 0 };

    TN_TRY(train_micro_init(&b, &r->valid, 1, err));
    for (int64_t i = 0; i < items && weight_16 == 0; i++) { /* mostly the first one tells */
        train_micro_fill(&b, &r->valid, i, 1);
        weight_16 += b.weight_16;
    }
    train_micro_free(&b);
    if (weight_16 > 0) return TN_OK;
    return tn_fail(err, TN_FORMAT,
                   "valid: %s has no token that carries a loss in the %lld sample%s of a validation, so "
                   "there would be no validation loss; raise "
                   "valid_samples (%lld now), or name other held-out files",
                   r->c->valid, (long long)items, items == 1 ? "" : "s", (long long)r->c->valid_samples);
}

/* At this rank's item i: do all give up, because one was told to stop? Asking costs a message: so seldom that
 * it comes about every second, at the same i in every rank, and only where each of them has such an item
 * (least: the fewest that a rank has). */
typedef struct answer {
    double  seconds;
    int32_t stop;
} answer;
typedef struct asked {
    int64_t next, step;
    double  at;
    answer *all;
} asked; /* all: [size] */

static tn_status ask_init(asked *a, const run *r, tn_error *err)
{
    *a = (asked){ 0, 1, tn_now(), calloc((size_t)r->size, sizeof *a->all) };
    return a->all != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory to agree with the other ranks");
}

static tn_status ask_to_stop(run *r, asked *a, int64_t i, int64_t least, bool *stop, tn_error *err)
{
    answer mine = { 0, tn_interrupted(NULL) != TN_OK };
    double slowest = 0, now;

    *stop = mine.stop != 0;
    if (r->size == 1) return TN_OK;
    *stop = false;
    if (i != a->next || i >= least) return TN_OK;
    now = tn_now();
    mine.seconds = now - a->at;
    tn_status status = tn_dist_gather(r->dist, &mine, sizeof mine, a->all, err);
    for (int o = 0; status == TN_OK && o < r->size; o++) {
        *stop |= a->all[o].stop != 0;
        if (a->all[o].seconds > slowest) slowest = a->all[o].seconds;
    }
    if (slowest < 0.5) a->step *= 2;
    else if (slowest > 2 && a->step > 1) a->step /= 2;
    a->next = i + a->step;
    a->at = now;
    return status;
}

tn_status train_validate(run *r, float *loss, bool *given_up, tn_error *err)
{
    tn_status    status = TN_OK;
    int64_t      items = items_of(r);
    int64_t      n = (items + r->micro_size - 1) / r->micro_size, first, last;
    micro        b = { 0 };
    micro_stats *all = calloc((size_t)(n * r->size), sizeof *all);
    asked        ask = { 0 };

    *given_up = false;
    if (all == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory to validate on %lld micro-batches", (long long)n);
    if (status == TN_OK) status = train_micro_init(&b, &r->valid, r->micro_size, err);
    if (status == TN_OK) status = ask_init(&ask, r, err);
    TN_GOTO(tn_dist_agree(r->dist, status, err)); /* before the ranks wait for each other */
    tn_dist_share(n, r->rank, r->size, &first, &last);
    for (int64_t m = first; m < last; m++) {
        int64_t left = items - m * r->micro_size;
        if (m == first + 1 && train_fault("term-validating", r->beat_step + 1, r->rank)) raise(SIGTERM);
        TN_GOTO(ask_to_stop(r, &ask, m - first, n / r->size, given_up, err));
        if (*given_up) goto out;
        train_micro_fill(&b, &r->valid, m * r->micro_size, left < r->micro_size ? left : r->micro_size);
        TN_GOTO(train_engine_run(&r->score, &r->valid, &b, 0, &all[m], NULL, err));
        train_alive(r);
    }
    TN_GOTO(tn_dist_gather(r->dist, all, (size_t)n * sizeof *all, all, err));
    double sum = 0, norm = 0;
    for (int o = 0; o < r->size; o++) {
        tn_dist_share(n, o, r->size, &first, &last);
        for (int64_t m = first; m < last; m++) { /* ascending micro-batches whatever the ranks */
            const micro_stats *s = &all[(int64_t)o * n + m];
            sum += s->v[STAT_LOSS];
            norm += (double)s->weight_16 / 65536.0;
        }
    }
    *loss = (float)(sum / norm);
out:
    train_micro_free(&b);
    free(ask.all);
    free(all);
    return status;
}

/* One answer a micro-batch row list: side s of pair i, as the training step lays it out. */
static void side_fill(micro *b, const corpus *k, int64_t i, int s)
{
    const tn_reply *a = s == 0   ? &k->pair.pair[i].chosen
                        : s == 1 ? &k->pair.pair[i].rejected
                                 : &k->mismatched[i];
    tn_row_set_clear(&b->rows);
    tn_row_set_add_answer(&b->rows, a);
    b->n_out = 0;
    for (int64_t t = 0; t < b->rows.n; t++) {
        if (b->rows.target[t] < 0) continue;
        b->out_row[b->n_out] = (int32_t)t;
        b->out_target[b->n_out++] = b->rows.target[t];
    }
}

/* The pairs that the run comes to: a short run over many compares few of them. Epochs have orders of their
 * own, and weights draw some more often, so a run comes to all of them only when it has drawn them all. made:
 * free. */
static tn_status used_find(const run *r, const corpus *k, bool **out, tn_error *err)
{
    int64_t items = k == &r->data ? r->steps * r->c->batch : k->n_sample, left = k->pair.n;

    if ((*out = calloc((size_t)k->pair.n + 1, sizeof **out)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a list of pairs");
    for (int64_t i = 0; i < items && left > 0; i++) {
        int64_t index = train_pair_at(k, (uint64_t)(i + (k == &r->data ? r->first_item : 0)));
        left -= !(*out)[index];
        (*out)[index] = true;
    }
    return TN_OK;
}

tn_status train_reference_fill(run *r, corpus *k, engine *e, tn_error *err)
{
    tn_status        status = TN_OK;
    micro            b = { 0 };
    int64_t          n = k->pair.n, first, last;
    tn_dist_message *send = NULL, *recv = NULL;
    tn_progress     *bar = NULL;
    bool            *used = NULL, stop;
    asked            ask = { 0 };

    status = used_find(r, k, &used, err);
    if (status == TN_OK) status = train_micro_init(&b, k, 1, err);
    if (status == TN_OK) status = ask_init(&ask, r, err);
    TN_GOTO(tn_dist_agree(r->dist, status, err)); /* before the ranks wait for each other */
    tn_dist_share(n, r->rank, r->size, &first, &last);
    if (r->rank == 0 && !r->io->quiet)
        TN_GOTO(tn_progress_start(&bar, "reference", "pairs", last - first, err));
    for (int64_t i = first; i < last; i++) {
        for (int s = 0; s < 3; s++) {
            int64_t      at = k->reference_at[3 * i + s], m = k->reference_at[3 * i + s + 1] - at;
            const float *logp;
            /* a step that needs one all the same is refused */
            for (int64_t t = 0; !used[i] && t < m; t++) k->reference[at + t] = NAN;
            if (m == 0 || !used[i]) continue;
            side_fill(&b, k, i, s);
            TN_GOTO(train_engine_logp(e, &b, &logp, err));
            memcpy(k->reference + at, logp, (size_t)m * sizeof *logp);
        }
        if (bar != NULL) tn_progress_set(bar, i + 1 - first, NULL);
        train_alive(r);
        TN_GOTO(ask_to_stop(r, &ask, i - first, n / r->size, &stop, err));
        if (!stop) continue;
        if ((status = tn_interrupted(err)) == TN_OK)
            status = tn_fail(err, TN_TERMINATED, "another rank was told to stop; what was finished is kept");
        goto out;
    }
    if (r->size == 1) goto out;
    send = calloc((size_t)r->size, sizeof *send);
    recv = calloc((size_t)r->size, sizeof *recv);
    if (send == NULL || recv == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to exchange log-probabilities");
        goto out;
    }
    int n_message = 0;
    for (int o = 0; o < r->size; o++) {
        int64_t a, z;
        if (o == r->rank) continue;
        tn_dist_share(n, o, r->size, &a, &z);
        send[n_message] = (tn_dist_message){
            o, k->reference + k->reference_at[3 * first],
            (size_t)(k->reference_at[3 * last] - k->reference_at[3 * first]) * 4
        };
        recv[n_message++] = (tn_dist_message){ o, k->reference + k->reference_at[3 * a],
                                               (size_t)(k->reference_at[3 * z] - k->reference_at[3 * a]) *
                                                   4 };
    }
    TN_GOTO(tn_dist_exchange(r->dist, send, n_message, recv, n_message, err));
out:
    tn_progress_end(bar);
    train_micro_free(&b);
    free(ask.all);
    free(used);
    free(send);
    free(recv);
    return status;
}
