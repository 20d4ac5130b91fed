/* replay.c - the audit: load a stored state, compute the next steps again, demand the same bits.
 * The run's configuration comes from its run.json; where models and data lie, from the caller's config. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

static tn_status bits_match(const char *what, int64_t step, float found, float logged, tn_error *err)
{
    uint32_t a, b;
    memcpy(&a, &found, 4);
    memcpy(&b, &logged, 4);
    if (a == b || (found != found && logged != logged)) return TN_OK;
    return tn_fail(err, TN_VERIFY, "step %lld: the log has %s %.9g (%08x), the replay gets %.9g (%08x)", (long long)step, what, (double)logged, b,
                   (double)found, a);
}

static tn_status step_match(run *r, const tn_step_record *rec, tn_error *err)
{
    int64_t step = (int64_t)rec->step;
    float lr = (float)tn_schedule_lr(r->c, step, r->steps);
    bool passed = strcmp(rec->note, "back") == 0, given_up = false;

    TN_TRY(passed ? train_step_pass(r, step, err) : train_step_gradients(r, step, &given_up, err));
    if (given_up) return tn_interrupted(err);
    if (!tn_digest_equal(&r->batch, &rec->batch))
        return tn_fail(err, TN_VERIFY, "step %lld: the log's batch is not the one that seed and data give", (long long)step);
    TN_TRY(bits_match("loss", step, r->loss, rec->loss, err));
    TN_TRY(bits_match("gradient norm", step, r->grad_norm, rec->grad_norm, err));
    TN_TRY(bits_match("learning rate", step, lr, rec->lr, err));
    if (rec->note[0] != '\0') train_step_drop(r);
    else TN_TRY(train_step_update(r, lr, err));
    if (!rec->has_state) return TN_OK;
    tn_digest root;
    TN_TRY(train_checkpoint_root(r, &root, err));
    if (!tn_digest_equal(&root, &rec->state)) {
        char want[TN_SHA256_HEX], got[TN_SHA256_HEX];
        tn_hex(want, &rec->state);
        tn_hex(got, &root);
        return tn_fail(err, TN_VERIFY, "step %lld: the log has state %s, the replay gets %s", (long long)step, want, got);
    }
    return TN_OK;
}

tn_status tn_train_replay(const tn_train_config *c, const char *run_dir, int64_t from, int64_t n, const tn_train_io *io, tn_error *err)
{
    run r = {0};
    tn_status status = TN_OK;
    char work[] = "/tmp/tenet-replay-XXXXXX", *log = tn_path(run_dir, "steps.jsonl"), *dir = NULL;
    json_t *description = NULL;
    tn_digest genesis, root;
    tn_step_record *rec = NULL;
    size_t n_rec = 0;
    progress_state at = {0};

    if (log == NULL || mkdtemp(work) == NULL) {
        free(log);
        return tn_fail(err, TN_IO, "%s: cannot make a directory for the replay", work);
    }
    TN_GOTO(train_ranks_open(&r, c, io, err));
    r.replay_from = from;
    r.replay_steps = n;
    TN_GOTO(train_setup(&r, work, err));
    TN_GOTO(train_genesis(&r, &description, &genesis, err));
    tn_error why = {0};
    if ((status = tn_steplog_read(log, &genesis, &rec, &n_rec, NULL, &why)) != TN_OK) {
        if (status == TN_MISMATCH || status == TN_FORMAT) status = TN_VERIFY;        /* another configuration, model or data */
        tn_fail(err, status, "the log is not the one of this configuration, model and data: %.800s", why.msg);
        goto out;
    }
    if (from > 0) {
        dir = tn_strf("%s/step-%lld", run_dir, (long long)from);
        if (dir == NULL) { status = tn_fail(err, TN_NOMEM, "no memory for a path"); goto out; }
        TN_GOTO(train_checkpoint_load(&r, dir, &genesis, true, &at, &root, err));
        r.update = at.update;
        r.tokens = at.tokens;
        if ((size_t)from <= n_rec && rec[from - 1].has_state && !tn_digest_equal(&root, &rec[from - 1].state)) {
            status = tn_fail(err, TN_VERIFY, "step %lld: the checkpoint's state is not the one in the log", (long long)from);
            goto out;
        }
    }
    if ((size_t)(from + n) > n_rec) {
        status = tn_fail(err, TN_USAGE, "steps %lld to %lld are asked for, but the log has %zu", (long long)from + 1, (long long)(from + n), n_rec);
        goto out;
    }
    for (int64_t i = from; i < from + n; i++) {
        TN_GOTO(step_match(&r, &rec[i], err));
        TN_GOTO(tn_interrupted(err));
    }
out:
    train_setup_release(&r);
    if (r.own_dist) tn_dist_close(r.dist, status, err);
    tn_remove_tree(work, NULL);
    json_decref(description);
    free(rec);
    free(log);
    free(dir);
    return status;
}
