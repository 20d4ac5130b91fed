/* loop.c - the run: go on from the newest checkpoint, step, log, write, stop.
 *
 *   each step   gradients → policy → update → record (held back while its checkpoint is being written, because the
 *               record of a checkpointed step holds the state root) → metrics → checkpoint when due
 *
 * Signals: SIGTERM and Ctrl-C write a checkpoint and stop; SIGUSR1 writes one and goes on. All ranks agree on
 * what they saw. What they ask for has no state in the log, and is no more than a stopgap (decision 086). */
#include "train/loop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/str.h"
#include "base/thread.h"

/* From here on ranks ask each other for signals within a step: that costs a message a micro-batch. */
enum { SLOW_STEP_SECONDS = 2 };

static volatile sig_atomic_t checkpoint_wanted;
static void                  on_usr1(int signal_number)
{
    (void)signal_number;
    checkpoint_wanted = 1;
}

/* ------------------------------------------------------------------------------------------------ records */

static tn_status record_put(loop *l, const tn_step_record *rec, tn_error *err)
{
    l->last = *rec;
    if (l->r.rank != 0) return TN_OK;
    if (!train_checkpoint_busy(l->k) && l->n_held == 0) return tn_steplog_append(l->log, &l->last, err);
    if (l->n_held == l->cap_held) {
        int             cap = l->cap_held ? l->cap_held * 2 : 64;
        tn_step_record *more = realloc(l->held, (size_t)cap * sizeof *more);
        if (more == NULL) return tn_fail(err, TN_NOMEM, "no memory for step records");
        l->held = more;
        l->cap_held = cap;
    }
    l->held[l->n_held++] = *rec;
    return TN_OK;
}

/* The checkpoint of `step` is on disk but has no name yet: its record, and those before it, go into the log
 * first. */
static tn_status records_seal(void *arg, int64_t step, const tn_digest *root, tn_error *err)
{
    loop *l = arg;
    int   i = 0;
    for (; i < l->n_held && (int64_t)l->held[i].step <= step; i++) {
        if ((int64_t)l->held[i].step == step) {
            l->held[i].has_state = true;
            l->held[i].state = *root;
        }
        TN_TRY(tn_steplog_append(l->log, &l->held[i], err));
    }
    l->n_held -= i;
    if (i > 0 && l->n_held > 0) memmove(l->held, l->held + i, (size_t)l->n_held * sizeof *l->held);
    return tn_steplog_sync(l->log, err);
}

static tn_status records_flush(loop *l, tn_error *err)
{
    for (int i = 0; i < l->n_held; i++) TN_TRY(tn_steplog_append(l->log, &l->held[i], err));
    l->n_held = 0;
    return TN_OK;
}

static tn_status checkpoint_end(loop *l, tn_error *err)
{
    if (!train_checkpoint_busy(l->k)) return TN_OK;
    TN_TRY(train_checkpoint_finish(l->k, records_seal, l, err));
    if (l->r.rank != 0) return TN_OK;
    TN_TRY(records_flush(l, err));
    return train_retire(l->r.io->out, l->r.c, l->log, train_checkpoint_step(l->k), l->at.best_step, err);
}

static tn_status checkpoint_start(loop *l, tn_error *err)
{
    TN_TRY(checkpoint_end(l, err));
    /* nothing of a replica that is not sound is kept */
    TN_TRY(train_check_weights(&l->r, l->step, NULL, err));
    l->at.step = l->step;
    l->at.update = l->r.update;
    l->at.tokens = l->r.tokens;
    l->saved = l->step;
    return train_checkpoint_begin(l->k, &l->at, err);
}

/* ---------------------------------------------------------------------------------------------- beginning */

static bool stopped_early(const loop *l)
{
    return l->r.c->early_stop > 0 && l->at.worse >= l->r.c->early_stop;
}

static bool is_finished(const loop *l) { return !l->at.owed && (l->step >= l->r.steps || stopped_early(l)); }

/* It ended before this process began, and has told so: all that is left is to report. */
static bool only_reports(const loop *l)
{
    char *result = tn_path(l->r.io->out, "result.json");
    bool  there = is_finished(l) && result != NULL && tn_exists(result);
    free(result);
    return there;
}

static tn_status begin(loop *l, tn_error *err)
{
    run      *r = &l->r;
    tn_status status = TN_OK;

    l->all = calloc((size_t)r->size, sizeof *l->all);
    if (l->all == NULL) status = tn_fail(err, TN_NOMEM, "no memory to begin a run of %d ranks", r->size);
    else status = train_genesis(r, &l->description, &l->genesis, err);
    TN_GOTO(tn_dist_agree(r->dist, status, err));
    TN_GOTO(train_ranks_read_alike(r, &l->genesis, err));
    if (r->rank == 0) status = train_out_check(r, l->description, err);
    TN_GOTO(tn_dist_agree(r->dist, status, err)); /* here all ranks have opened their data */
    if (r->rank == 0) status = train_out_renew(&l->dir, err);
    TN_GOTO(tn_dist_agree(r->dist, status, err));
    TN_GOTO(train_loop_restore(l, INT64_MAX, err));
    if (l->step == 0) TN_GOTO(train_extend(r, err));
    TN_GOTO(train_checkpoint_create(&l->k, r, &l->genesis, err));
    l->reports = only_reports(l);
    if (r->rank == 0) {
        TN_GOTO(train_loop_log_cut(l, l->step, err));
        /* a kill may have come between the name of that checkpoint and the end of those before it */
        if (!l->reports) TN_GOTO(train_retire(r->io->out, r->c, l->log, l->step, l->at.best_step, err));
        TN_GOTO(train_metrics_open(&l->m, r->io->out, l->step, r->c->tensorboard, err));
    }
    l->started_step = l->step;
    l->started_tokens = r->tokens;
out:
    return status;
}

/* -------------------------------------------------------------------------------------------------- steps */

static tn_status report(loop *l, float lr, const char *note, const float *valid, tn_error *err)
{
    run          *r = &l->r;
    double        seconds = tn_now() - l->started;
    int64_t       done = l->step - l->started_step;
    tn_train_step s = { .step = l->step,
                        .steps = r->steps,
                        .tokens = r->tokens,
                        .loss = r->loss,
                        .lr = lr,
                        .grad_norm = r->grad_norm,
                        .smooth = l->smooth / (l->smooth_share > 0 ? l->smooth_share : 1),
                        .note = note,
                        .has_valid = valid != NULL };
    s.tokens_per_s = seconds > 0 ? (double)(r->tokens - l->started_tokens) / seconds : 0;
    s.seconds_left = done > 0 ? seconds / (double)done * (double)(r->steps - l->step) : 0;
    s.peak_share = l->peak > 0
                       ? s.tokens_per_s * train_flops_per_token(r->model, r->p.lora != NULL, r->c->n_ctx) /
                             (l->peak * 1e9)
                       : 0;
    if (s.peak_share > 1) s.peak_share = l->peak = 0; /* the machine was busy when its peak was measured */
    if (valid != NULL) s.valid = *valid;
    train_step_means(r, &s);
    l->shown = s;
    l->shown.note = "";
    TN_TRY(train_metrics_step(l->m, &s, err));
    if (r->io->on_step != NULL) r->io->on_step(r->io->arg, &s);
    return TN_OK;
}

static tn_status page_write(loop *l, const char *state, tn_error *err)
{
    return train_report(
        &l->r, &(run_state){ (int64_t)l->last.step, l->at.best_step, l->loss, l->at.best_valid, state }, err);
}

/* The report while the run goes on, for a hundredth of its time at most. */
static void page_renew(loop *l)
{
    double began = tn_now();
    if (l->r.rank != 0 || began - l->page_at < 100 * l->page_seconds) return;
    page_write(l, "running", NULL);
    l->page_at = tn_now();
    l->page_seconds = l->page_at - began;
}

static void injected_faults(loop *l)
{
    run *r = &l->r;
    /* a batch that is passed over has none */
    if (l->step >= l->at.skip_to && train_fault("nan", l->step + 1, -1)) r->loss = NAN;
    if (train_fault("kill", l->step + 1, r->rank)) raise(SIGKILL);
    while (train_fault("hang", l->step + 1, r->rank)) sleep(1);
}

/* Back: the state after the last multiple of checkpoint_every again, whatever else was written since
 * (decision 079); everything from there to the bad batch is passed over. */
static tn_status go_back(loop *l, int64_t bad, tn_error *err)
{
    TN_TRY(checkpoint_end(l, err));
    int64_t was = l->step, to = l->r.c->checkpoint_every > 0 ? was - was % l->r.c->checkpoint_every : 0;
    int64_t n_bad = l->at.bad;
    if (to == 0)
        return tn_fail(err, TN_FORMAT,
                       "step %lld is bad, and no checkpoint was made before it to go back to "
                       "(checkpoint_every is %lld): lower lr, look at the data, or choose skip",
                       (long long)bad, (long long)l->r.c->checkpoint_every);
    l->step = 0;
    TN_TRY(train_loop_restore(l, to, err));
    if (l->step != to) /* a start of its own comes here again by another way: the damaged one is put aside */
        return tn_fail(
            err, TN_UNSOUND,
            "step %lld is bad, and the checkpoint of step %lld to go back to is missing or damaged",
            (long long)bad, (long long)to);
    if (to < l->started_step) { /* speeds count from here again */
        l->started_step = to;
        l->started_tokens = l->r.tokens;
        l->started = tn_now();
    }
    train_step_drop(&l->r);
    l->at.skip_to = bad;
    l->at.bad = n_bad;
    if (l->r.rank != 0) return TN_OK;
    tn_log(TN_LOG_WARN, "back from step %lld to %lld; batches up to %lld are passed over", (long long)was,
           (long long)l->step, (long long)bad);
    TN_TRY(train_retire_after(l->r.io->out, to, was, err));
    TN_TRY(train_loop_log_cut(l, to, err));
    train_metrics_close(l->m);
    l->m = NULL;
    return train_metrics_open(&l->m, l->r.io->out, l->step, l->r.c->tensorboard, err);
}

/* Does the run itself keep the state after this step? What a signal or stop_at asks for is a stopgap: the log
 * does not have its state (decision 086). */
static bool due(const loop *l)
{
    const tn_train_config *c = l->r.c;
    bool                   last = l->step == l->r.steps || stopped_early(l);
    return (c->checkpoint_every > 0 && l->step % c->checkpoint_every == 0) ||
           (c->checkpoint_every >= 0 && last) || l->at.best_step == l->step;
}

/* The held-out loss after the last step, and what it means for the best one. After a signal it stays owed:
 * then the checkpoint says so, and the run that goes on from it begins with it. */
static tn_status validate(loop *l, float *valid, tn_error *err)
{
    TN_TRY(train_validate(&l->r, valid, &l->at.owed, err));
    if (l->at.owed) return TN_OK;
    bool better = isfinite(*valid) && (l->at.best_step == 0 || *valid < l->at.best_valid);
    l->at.worse = better ? 0 : l->at.worse + 1;
    if (better) {
        l->at.best_valid = *valid;
        l->at.best_step = l->step;
    }
    return TN_OK;
}

/* Row and record of that step are there already; the record gets the state that it would have had, if the
 * checkpoint was to be more than a stopgap. */
static tn_status validate_owed(loop *l, tn_error *err)
{
    float valid = 0;
    /* whoever goes on without held-out data owes nothing, but the step may be one to keep */
    bool there = l->r.has_valid;
    if (there) TN_TRY(validate(l, &valid, err));
    else l->at.owed = false;
    if (l->at.owed) return TN_OK;
    if (l->r.rank == 0 && there) {
        if (!l->r.io->quiet)
            tn_log(TN_LOG_INFO, "step %lld: the validation that was given up is made good: %.4f",
                   (long long)l->step, (double)valid);
        TN_TRY(train_metrics_valid(l->m, l->step, valid, err));
    }
    if (!due(l)) return TN_OK;
    l->last.has_state = true;
    l->last.state = l->state;
    if (l->r.rank == 0) {
        TN_TRY(train_loop_log_cut(l, l->step - 1, err));
        TN_TRY(tn_steplog_append(l->log, &l->last, err));
        /* the log may not end before the checkpoint that the run has gone on from */
        TN_TRY(tn_steplog_sync(l->log, err));
    }
    return checkpoint_start(l, err); /* once more, with what the validation has changed */
}

/* A bad step ends the run: what there is to go on from is finished first, and named. */
static tn_status stop_bad(loop *l, int64_t step, const char *why, const char *advice, tn_error *err)
{
    int64_t newest = 0;
    TN_TRY(checkpoint_end(l, err));
    TN_TRY(train_checkpoint_newest(l->r.io->out, l->step, &newest, err));
    if (newest == 0)
        return tn_fail(err, TN_FORMAT, "step %lld: %s. No checkpoint was made before it; %s", (long long)step,
                       why, advice);
    return tn_fail(err, TN_FORMAT, "step %lld: %s. The newest checkpoint, %s/step-%lld, stays; %s",
                   (long long)step, why, l->r.io->out, (long long)newest, advice);
}

static tn_status one_step(loop *l, tn_error *err)
{
    run    *r = &l->r;
    int64_t step = l->step + 1;
    float   lr = (float)tn_schedule_lr(r->c, step, r->steps), valid = 0;
    char    why[320] = "", note[32] = "";
    bool    validated = false, given_up = false;

    bool passed = step <= l->at.skip_to;
    TN_TRY(passed ? train_step_pass(r, step, err) : train_step_gradients(r, step, &given_up, err));
    if (given_up) return TN_OK; /* the loop asks for signals next */
    injected_faults(l);
    policy_action act = passed ? POLICY_SKIP
                               : train_policy_decide(&l->policy, r->c, r->loss, r->grad_norm, why);
    if (act == POLICY_STOP)
        return stop_bad(l, step, why,
                        "lower lr, look at the data, or choose on_nan or on_spike: skip or back", err);
    if (act != POLICY_GO_ON && !passed && ++l->at.bad >= POLICY_MOST_BAD) {
        size_t n = strlen(why);
        snprintf(why + n, sizeof why - n,
                 ", and so were the %d before it: the weights themselves have gone wrong",
                 POLICY_MOST_BAD - 1);
        return stop_bad(l, step, why,
                        "lower lr, or look at the data; an earlier checkpoint goes on as 'checkpoint: "
                        "DIR/step-N' in another --out",
                        err);
    }
    if (act == POLICY_BACK) return go_back(l, step, err);
    if (act == POLICY_SKIP) {
        snprintf(note, sizeof note, "%s", passed ? "back" : "skip");
        if (r->rank == 0 && !passed) tn_log(TN_LOG_WARN, "step %lld is skipped: %s", (long long)step, why);
        train_step_drop(r);
    } else {
        train_checkpoint_before_update(l->k);
        train_evidence(r);
        TN_TRY(train_step_update(r, lr, err));
        if (train_fault("flip", step, r->rank))
            ((uint32_t *)(void *)r->p.slot[0].master)[r->p.slot[0].n / 2] ^= 1u << 12;
        train_policy_seen(&l->policy, r->grad_norm);
        train_loop_smooth(l, r->loss);
        l->at.bad = 0;
        l->loss = r->loss;
    }
    l->step = step;
    tn_step_record rec = {
        .step = (uint64_t)step, .batch = r->batch, .loss = r->loss, .grad_norm = r->grad_norm, .lr = lr
    };
    snprintf(rec.note, sizeof rec.note, "%s", note);
    if (r->has_valid && (step % r->c->valid_every == 0 || step == r->steps)) {
        TN_TRY(validate(l, &valid, err));
        validated = !l->at.owed;
    }
    /* A checkpointed step's record waits for its root: the writer starts first, then the record is put behind
     * it. */
    if (!l->at.owed && due(l)) TN_TRY(checkpoint_start(l, err));
    TN_TRY(record_put(l, &rec, err));
    if (r->rank == 0) TN_TRY(report(l, lr, note, validated ? &valid : NULL, err));
    if (validated || due(l)) page_renew(l);
    train_heartbeat(r, l->step, false);
    return TN_OK;
}

/* What every rank saw since the last step; the same answer everywhere. */
static tn_status agree_on_signals(loop *l, seen *out, tn_error *err)
{
    run *r = &l->r;
    seen mine = { tn_interrupted(NULL), checkpoint_wanted, train_checkpoint_done(l->k),
                  l->step_seconds > SLOW_STEP_SECONDS };
    checkpoint_wanted = 0;
    tn_status status = tn_dist_gather(r->dist, &mine, sizeof mine, l->all, err);
    *out = (seen){ 0, 0, 1, 0 };
    for (int o = 0; status == TN_OK && o < r->size; o++) {
        const seen *its = &l->all[o];
        if (its->stop > out->stop) out->stop = its->stop;
        out->checkpoint |= its->checkpoint;
        out->written &= its->written;
        out->slow |= its->slow;
    }
    r->ask = out->slow != 0;
    return status;
}

static tn_status steps_run(loop *l, tn_error *err)
{
    run *r = &l->r;
    while (!is_finished(l)) {
        seen s = { 0 };
        TN_TRY(agree_on_signals(l, &s, err));
        if (s.written) TN_TRY(checkpoint_end(l, err));
        if (s.checkpoint && l->step > l->saved) TN_TRY(checkpoint_start(l, err));
        l->stop = (tn_status)s.stop;
        if (s.stop != 0 || (r->c->stop_at > 0 && l->step >= r->c->stop_at && !l->at.owed)) break;
        if (l->at.owed) {
            TN_TRY(validate_owed(l, err));
            continue;
        }
        double began = tn_now();
        TN_TRY(one_step(l, err));
        l->step_seconds = tn_now() - began;
        TN_TRY(train_check_replicas(r, l->step, err));
    }
    if (l->step > l->saved && r->c->checkpoint_every >= 0) TN_TRY(checkpoint_start(l, err));
    return checkpoint_end(l, err);
}

/* ------------------------------------------------------------------------------------------------- ending */

static tn_status give_result(loop *l, tn_train_result *out, tn_error *err)
{
    run  *r = &l->r;
    char *path = tn_path(r->io->out, "steps.jsonl"),
         *weights = tn_path(r->io->out, r->p.lora != NULL ? "adapter" : "model");
    tn_status status = TN_OK;

    if (path == NULL || weights == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    out->rank = r->rank;
    out->steps = l->step;
    out->flops_per_token = train_flops_per_token(r->model, r->p.lora != NULL, r->c->n_ctx);
    out->loss = l->loss;
    out->last = l->shown;
    out->tokens = r->tokens;
    out->best_valid = l->at.best_valid;
    out->best_step = l->at.best_step;
    out->planned = r->steps;
    train_heartbeat(r, l->step, true);
    train_timing_notes(r, l->step - l->started_step, l->ended - l->started);
    out->finished = is_finished(l);
    TN_GOTO(train_params_root(&r->p, &out->weights_root, err));
    TN_GOTO(train_check_weights(r, l->step, &out->weights_root, err));
    /* they are of the steps that this process took */
    if (!l->reports) TN_GOTO(train_result_principles(r, out, err));
    if (r->rank != 0) goto out;
    TN_GOTO(train_checkpoint_newest(r->io->out, l->step, &out->newest, err));
    TN_GOTO(tn_steplog_close(l->log, err));
    l->log = NULL;
    if (l->step > 0) TN_GOTO(tn_steplog_read(path, &l->genesis, NULL, NULL, &out->log_root, err));
    if (!out->finished) goto out;
    if (r->c->save_model && !(l->reports && tn_is_dir(weights))) {
        TN_GOTO(tn_remove_tree(weights, err)); /* of a run that was killed while it wrote */
        TN_GOTO(train_write_weights(r, weights, err));
    }
    if (r->c->save_model) {
        out->weights = weights;
        weights = NULL;
    }
    TN_GOTO(train_result_save(r, out, err));
    train_out_said_remove(r->io->out);
out:
    free(path);
    free(weights);
    return status;
}

static tn_status run_all(loop *l, const tn_train_config *c, const tn_train_io *io, tn_train_result *out,
                         tn_error *err)
{
    tn_status status = TN_OK;
    TN_TRY(train_fault_check(err));
    TN_TRY(train_effect_check(c, err));
    TN_TRY(train_ranks_open(&l->r, c, io, err));
    TN_TRY(train_ranks_alike(&l->r, err));
    if (l->r.rank == 0) status = train_corpus_apart(c, io->out, err);
    if (l->r.rank == 0 && status == TN_OK) status = train_out_take(&l->dir, io->out, err);
    TN_TRY(tn_dist_agree(l->r.dist, status, err));
    if (l->r.rank != 0) status = train_ranks_see(io->out, err);
    TN_TRY(tn_dist_agree(l->r.dist, status, err));
    l->r.beats = true;
    TN_TRY(train_warmup_check(c, c->steps, err)); /* before the data are read, where that can be known */
    TN_TRY(train_setup(&l->r, io->out, err));
    TN_TRY(train_warmup_check(c, l->r.steps, err));
    TN_TRY(begin(l, err));
    l->peak = l->r.rank == 0 && !io->quiet ? tn_peak_f32(0.05) : 0;
    l->started = tn_now();
    TN_TRY(steps_run(l, err));
    l->ended = tn_now();
    TN_TRY(give_result(l, out, err));
    TN_TRY(tn_dist_barrier(l->r.dist, err));
    /* Everything is safe now; the caller still learns that it was a signal which ended the run. */
    if (out->finished || l->stop == TN_OK) return TN_OK;
    return tn_interrupted(err) != TN_OK
               ? l->stop
               : tn_fail(err, l->stop, "another rank was told to stop; what was finished is kept");
}

/* However the run ended, its curves are drawn: those of one that went wrong are looked at most. */
static tn_status page_end(loop *l, const tn_train_result *out, tn_status status, tn_error *err)
{
    char state[1200];
    /* the page stands, with what was counted on the way */
    if (l->m == NULL || l->last.step == 0 || (l->reports && status == TN_OK)) return status;
    if (status != TN_OK)
        snprintf(state, sizeof state, "ended: %s",
                 err != NULL && err->msg[0] != '\0' ? err->msg : tn_status_text(status));
    else if (!out->finished) snprintf(state, sizeof state, "stopped");
    else if (l->step < l->r.steps)
        snprintf(state, sizeof state, "stopped early: no better validation in %lld",
                 (long long)l->r.c->early_stop);
    else snprintf(state, sizeof state, "finished");
    tn_status written = page_write(l, state, status == TN_OK ? err : NULL);
    return status == TN_OK ? written : status;
}

tn_status tn_train_run(const tn_train_config *c, const tn_train_io *io, tn_train_result *out, tn_error *err)
{
    struct sigaction usr1 = { .sa_handler = on_usr1 }, before;
    loop             l = { .dir = { .lock = -1 } };

    *out = (tn_train_result){ 0 };
    sigemptyset(&usr1.sa_mask);
    sigaction(SIGUSR1, &usr1, &before);
    tn_status status = page_end(&l, out, run_all(&l, c, io, out, err), err);
    /* last: l.step is 0 again where a policy found nothing to go back to */
    bool keep = status == TN_OK || l.last.step > 0;
    train_checkpoint_destroy(l.k);
    if (l.log != NULL) tn_steplog_close(l.log, NULL);
    train_metrics_close(l.m);
    free(l.held);
    free(l.all);
    json_decref(l.description);
    train_setup_release(&l.r);
    /* where something failed the ranks meet once more */
    if (l.r.own_dist) tn_dist_close(l.r.dist, status, err);
    if (!train_out_leave(&l.dir, keep) && (status == TN_INTERRUPTED || status == TN_TERMINATED))
        tn_fail(err, status, "%s before the first step: nothing is kept", tn_status_text(status));
    sigaction(SIGUSR1, &before, NULL);
    return status;
}
