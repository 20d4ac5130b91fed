/* resume.c - where a run takes up again: the newest whole checkpoint that the log reaches, and what the log before it says.
 *
 *   step-N ── whole? ── does the log reach N, with that state? ──→ weights, optimiser, place in the data
 *   steps.jsonl up to N ──→ the policy's memory, the smoothed loss ── cut there, and it goes on */
#include "train/loop.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

void train_loop_smooth(loop *l, float loss)
{
    l->smooth = 0.95 * l->smooth + 0.05 * (double)loss;
    l->smooth_share = 0.95 * l->smooth_share + 0.05;
}

/* The policy's memory, and what the curves say last, out of the log up to `step`. *n: how far the log goes, if
 * not so far. */
static tn_status log_recall(loop *l, const char *path, int64_t step, int64_t *n, tn_error *err)
{
    tn_step_record *rec = NULL;
    size_t          n_rec = 0;

    *n = 0;
    l->smooth = l->smooth_share = 0;
    tn_status status = tn_steplog_read_to(path, &l->genesis, (uint64_t)step, &rec, &n_rec, err);
    if (status == TN_VERIFY)
        return tn_fail_prefix(err, status,
                              "the run cannot go on: put its log back as it was, or begin another run with "
                              "'checkpoint: %s/step-%lld'",
                              l->r.io->out, (long long)step);
    TN_TRY(status);
    train_policy_recall(&l->policy, rec, n_rec);
    for (size_t i = 0; i < n_rec; i++) {
        l->last = rec[i];
        if (rec[i].note[0] != '\0') continue; /* skipped: its loss may be no number */
        l->loss = rec[i].loss;
        train_loop_smooth(l, rec[i].loss);
    }
    *n = (int64_t)n_rec;
    free(rec);
    return TN_OK;
}

/* All ranks read the log before rank 0 cuts it. */
static tn_status recall_and_wait(loop *l, int64_t step, int64_t *n, tn_error *err)
{
    char *path = tn_path(l->r.io->out, "steps.jsonl");
    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    tn_status status = log_recall(l, path, step, n, err);
    free(path);
    return tn_dist_agree(l->r.dist, status, err);
}

/* The checkpoint of one step, which the log reaches. */
static tn_status restore_step(loop *l, const char *dir, int64_t step, tn_error *err)
{
    run      *r = &l->r;
    tn_status status = train_checkpoint_load(r, dir, &l->genesis, true, &l->at, &l->state, err);
    if (status == TN_OK && l->at.step != step)
        status = tn_fail(err, TN_VERIFY, "%s is the checkpoint of step %lld under another name", dir,
                         (long long)l->at.step);
    return tn_dist_agree(r->dist, status, err);
}

/* Checkpoints of steps that the log does not reach, when the run goes on from an older one. */
static tn_status unreached_put_aside(const loop *l, tn_error *err)
{
    int64_t most = INT64_MAX, step;
    for (;;) {
        TN_TRY(train_checkpoint_newest(l->r.io->out, most, &step, err));
        if (step <= l->step) return TN_OK;
        char *dir = tn_strf("%s/step-%lld", l->r.io->out, (long long)step);
        if (dir == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
        train_put_aside(dir);
        free(dir);
        most = step - 1;
    }
}

tn_status train_loop_restore(loop *l, int64_t most, tn_error *err)
{
    run *r = &l->r;
    /* where the log ends, and the newest one that lies behind it */
    int64_t step, n = 0, newest = most, end = 0, beyond = 0;
    for (;;) {
        TN_TRY(tn_dist_agree(r->dist, train_checkpoint_newest(r->io->out, most, &step, err), err));
        if (step == 0) break;
        TN_TRY(recall_and_wait(l, step, &n, err));
        if (n < step) {
            if (beyond == 0) beyond = step;
            most = end = n;
            continue;
        }
        char    *dir = tn_strf("%s/step-%lld", r->io->out, (long long)step);
        tn_error why = { 0 };
        if (dir == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
        tn_status status = restore_step(l, dir, step, &why);
        if ((status == TN_VERIFY || status == TN_FORMAT) && r->rank == 0) train_put_aside(dir);
        free(dir);
        if (status == TN_OK && l->last.has_state && !tn_digest_equal(&l->last.state, &l->state))
            return tn_fail(err, TN_VERIFY,
                           "%s/steps.jsonl: the log has another state after step %lld than the checkpoint "
                           "step-%lld: one of them is of another run, or was changed",
                           r->io->out, (long long)step, (long long)step);
        if (status == TN_OK) {
            l->step = l->saved = step;
            r->update = l->at.update;
            r->tokens = l->at.tokens;
            if (beyond == 0 || r->rank != 0) return TN_OK;
            tn_log(TN_LOG_WARN,
                   "%s/steps.jsonl ends at step %lld, but there is a checkpoint of step %lld: what lies "
                   "behind the log is put aside, and the run goes on from step %lld",
                   r->io->out, (long long)end, (long long)beyond, (long long)step);
            return unreached_put_aside(l, err);
        }
        if (status != TN_VERIFY && status != TN_FORMAT) {
            if (err != NULL) *err = why;
            return status;
        }
        if (r->rank == 0) tn_log(TN_LOG_WARN, "%s; going back to an older one", why.msg);
        most = step - 1;
    }
    if (beyond > 0)
        return tn_fail(err, TN_VERIFY,
                       "%s/steps.jsonl ends at step %lld, before every checkpoint: put the run's log back, "
                       "or begin another run with 'checkpoint: %s/step-%lld'",
                       r->io->out, (long long)end, r->io->out, (long long)beyond);
    if (most == newest) return TN_OK;
    return tn_fail(err, TN_VERIFY, "%s: no checkpoint is undamaged; remove the directory to start anew",
                   r->io->out);
}

tn_status train_loop_log_cut(loop *l, int64_t step, tn_error *err)
{
    char     *path = tn_path(l->r.io->out, "steps.jsonl");
    tn_status status = path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path")
                                    : tn_steplog_close(l->log, err);
    l->log = NULL;
    if (status == TN_OK) status = tn_steplog_open(&l->log, path, &l->genesis, (uint64_t)step, err);
    free(path);
    return status;
}
