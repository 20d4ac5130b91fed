/* replay.c - the audit: load a stored state, compute the next steps again, demand the same bits.
 *
 *   step-FROM ──→ steps FROM + 1 ... ──→ each against its record in the log ──→ at the log's end: OUT/adapter or OUT/model, byte for byte
 *
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
    return tn_fail(err, TN_VERIFY, "step %lld: the log has %s %.9g (%08x), the replay gets %.9g (%08x)",
                   (long long)step, what, (double)logged, b, (double)found, a);
}

static tn_status step_match(run *r, const tn_step_record *rec, tn_error *err)
{
    int64_t step = (int64_t)rec->step;
    float   lr = (float)tn_schedule_lr(r->c, step, r->steps);
    bool    passed = strcmp(rec->note, "back") == 0, given_up = false;

    TN_TRY(passed ? train_step_pass(r, step, err) : train_step_gradients(r, step, &given_up, err));
    if (given_up) return tn_interrupted(err);
    if (!tn_digest_equal(&r->batch, &rec->batch))
        return tn_fail(err, TN_VERIFY, "step %lld: the log's batch is not the one that seed and data give",
                       (long long)step);
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
        return tn_fail(err, TN_VERIFY, "step %lld: the log has state %s, the replay gets %s", (long long)step,
                       want, got);
    }
    return TN_OK;
}

/* One file that the run left, against the one written from the replayed state. */
static tn_status file_match(const char *name, const char *found, const char *want, int64_t step,
                            tn_error *err)
{
    int64_t at;

    if (!tn_exists(found))
        return tn_fail(err, TN_VERIFY, "%s is missing; step %lld gives one", name, (long long)step);
    TN_TRY(tn_file_difference(&at, found, want, err));
    if (at >= 0)
        return tn_fail(
            err, TN_VERIFY,
            "%s: byte %lld is not what the state after step %lld gives: these are no weights of this run",
            name, (long long)at, (long long)step);
    return TN_OK;
}

/* A second file of weights would be found before or beside the first one. */
static tn_status no_other_weights(const char *found, const char *want, const char *kind, tn_error *err)
{
    char    **files = NULL;
    size_t    n = 0;
    tn_status status = tn_list_files(&files, &n, found, err);

    for (size_t i = 0; i < n && status == TN_OK; i++) {
        char *b = strstr(files[i], ".safetensors") != NULL ? tn_path(want, files[i]) : NULL;
        if (b != NULL && !tn_exists(b))
            status = tn_fail(err, TN_VERIFY, "%s/%s: training computed again makes no such file", kind,
                             files[i]);
        free(b);
    }
    tn_list_free(files, n);
    return status;
}

/* What the run made of its last state. A log can be whole and the weights beside it others: nothing else in a
 * release ties them together. */
static tn_status weights_match(run *r, const char *run_dir, const char *work, int64_t step, tn_error *err)
{
    const char *kind = r->p.lora != NULL ? "adapter" : "model";
    char       *found = tn_path(run_dir, kind), *want = tn_path(work, kind), **files = NULL;
    size_t      n = 0;
    tn_status status = found == NULL || want == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    if (status != TN_OK || !tn_is_dir(found)) goto out; /* save_model: false */
    TN_GOTO(train_write_trained(r, want, err));
    TN_GOTO(tn_list_files(&files, &n, want, err));
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        char *a = tn_path(found, files[i]), *b = tn_path(want, files[i]), *name = tn_path(kind, files[i]);
        status = a != NULL && b != NULL && name != NULL ? file_match(name, a, b, step, err)
                                                        : tn_fail(err, TN_NOMEM, "no memory for a path");
        free(a);
        free(b);
        free(name);
    }
    if (status == TN_OK) status = no_other_weights(found, want, kind, err);
out:
    tn_list_free(files, n);
    free(found);
    free(want);
    return status;
}

tn_status tn_train_replay(const tn_train_config *c, const char *run_dir, int64_t from, int64_t n,
                          const tn_train_io *io, tn_error *err)
{
    run             r = { 0 };
    tn_status       status = TN_OK;
    char            work[TRAIN_SCRATCH_BYTES] = "", *log = tn_path(run_dir, "steps.jsonl"), *dir = NULL;
    json_t         *description = NULL;
    tn_digest       genesis, root;
    tn_step_record *rec = NULL;
    size_t          n_rec = 0;
    progress_state  at = { 0 };

    if (log == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(train_ranks_open(&r, c, io, err));
    TN_GOTO(train_scratch_dir(&r, work, err));
    r.replay_from = from;
    r.replay_steps = n;
    TN_GOTO(train_setup(&r, work, err));
    TN_GOTO(train_genesis(&r, &description, &genesis, err));
    tn_error why = { 0 };
    if ((status = tn_steplog_read(log, &genesis, &rec, &n_rec, NULL, &why)) != TN_OK) {
        /* another configuration, model or data */
        if (status == TN_MISMATCH || status == TN_FORMAT) status = TN_VERIFY;
        tn_fail(err, status, "the log is not the one of this configuration, model and data: %.800s", why.msg);
        goto out;
    }
    if (from > 0) {
        dir = tn_strf("%s/step-%lld", run_dir, (long long)from);
        if (dir == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
        TN_GOTO(train_checkpoint_load(&r, dir, &genesis, true, &at, &root, err));
        r.update = at.update;
        r.tokens = at.tokens;
        if ((size_t)from > n_rec || !rec[from - 1].has_state) {
            status = tn_fail(err, TN_VERIFY,
                             "step %lld: the log has no state of it, so what is computed from step-%lld "
                             "proves nothing; begin at a step whose record has one, or at 0",
                             (long long)from, (long long)from);
            goto out;
        }
        if (!tn_digest_equal(&root, &rec[from - 1].state)) {
            status = tn_fail(err, TN_VERIFY, "step %lld: the checkpoint's state is not the one in the log",
                             (long long)from);
            goto out;
        }
    }
    if (from == 0) TN_GOTO(train_extend(&r, err));
    if ((size_t)(from + n) > n_rec) {
        status = tn_fail(err, TN_USAGE, "steps %lld to %lld are asked for, but the log has %zu",
                         (long long)from + 1, (long long)(from + n), n_rec);
        goto out;
    }
    for (int64_t i = from; i < from + n; i++) {
        TN_GOTO(step_match(&r, &rec[i], err));
        TN_GOTO(tn_interrupted(err));
    }
    if ((size_t)(from + n) == n_rec) TN_GOTO(weights_match(&r, run_dir, work, from + n, err));
out:
    train_setup_release(&r);
    if (work[0] != '\0' && r.rank == 0) tn_remove_tree(work, NULL);
    if (r.own_dist) tn_dist_close(r.dist, status, err);
    json_decref(description);
    free(rec);
    free(log);
    free(dir);
    return status;
}
