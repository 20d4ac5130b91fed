/* replay.c - the audit: load a stored state, compute the next steps again, demand the same bits and the same
 * decisions.
 *
 *   step-FROM ──→ steps FROM + 1 ... ──→ each against its record in the log ──→ at the log's end: OUT/adapter or OUT/model, byte for byte
 *
 * A note in the log is a claim like any other: no batch is left out unless the run's policy leaves it out.
 * Of "back" the log holds only what was passed over, not the steps before the bad one: they are done again,
 * from the state that the run went back to.
 *
 * The run's configuration comes from its run.json; where models and data lie, from the caller's config. */
#include "train/checkpoint.h"
#include "train/policy.h"
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

typedef struct replaying {
    run                   r;
    policy                policy;
    int64_t               bad; /* bad steps in a row */
    const tn_step_record *rec; /* the whole log */
    int64_t               n_rec;
    int64_t passed; /* batches up to it may be passed over: it was seen that the run went back */
} replaying;

static bool is_passed(const tn_step_record *rec) { return strcmp(rec->note, "back") == 0; }

/* ------------------------------------------------------------------------------------------------- policy */

static const char *word_of(policy_action act)
{
    return act == POLICY_GO_ON ? "go on" : act == POLICY_SKIP ? "skip" : act == POLICY_BACK ? "back" : "stop";
}

/* Gradients of a step, and what the run's policy makes of them. */
static tn_status step_decide(replaying *p, int64_t step, policy_action *act, char why[200], tn_error *err)
{
    bool given_up = false;

    why[0] = '\0';
    TN_TRY(train_step_gradients(&p->r, step, &given_up, err));
    if (given_up) return tn_interrupted(err);
    *act = train_policy_decide(&p->policy, p->r.c, p->r.loss, p->r.grad_norm, why);
    p->bad = *act == POLICY_GO_ON ? 0 : p->bad + 1;
    if (p->bad >= POLICY_MOST_BAD) *act = POLICY_STOP;
    return TN_OK;
}

static tn_status step_take(replaying *p, int64_t step, policy_action act, tn_error *err)
{
    if (act != POLICY_GO_ON) {
        train_step_drop(&p->r);
        return TN_OK;
    }
    TN_TRY(train_step_update(&p->r, (float)tn_schedule_lr(p->r.c, step, p->r.steps), err));
    train_policy_seen(&p->policy, p->r.grad_norm);
    return TN_OK;
}

/* The state that a run goes back to. */
typedef struct kept {
    float  *w, *state[MAX_STATE];
    int64_t update, tokens;
    policy  policy;
} kept;

static void kept_free(kept *k)
{
    free(k->w);
    for (int i = 0; i < MAX_STATE; i++) free(k->state[i]);
}

static tn_status keep(kept *k, const replaying *p, tn_error *err)
{
    const run *r = &p->r;
    bool       ok = (k->w = malloc((size_t)r->p.n_flat * 4)) != NULL;

    for (int i = 0; i < r->opt.n_state; i++)
        ok &= (k->state[i] = malloc((size_t)r->opt.n[i] * 4 + 4)) != NULL;
    if (!ok)
        return tn_fail(err, TN_NOMEM,
                       "no memory for a second copy of weights and optimiser state (%lld each)",
                       (long long)r->p.n_trained);
    train_params_get(&r->p, 0, r->p.n_flat, k->w);
    for (int i = 0; i < r->opt.n_state; i++) memcpy(k->state[i], r->opt.state[i], (size_t)r->opt.n[i] * 4);
    k->update = r->update;
    k->tokens = r->tokens;
    k->policy = p->policy;
    return TN_OK;
}

static void put_back(const kept *k, replaying *p)
{
    run *r = &p->r;

    train_step_drop(r);
    r->p.update = r->update = k->update; /* before the weights: their rounding depends on it */
    r->tokens = k->tokens;
    train_params_set(&r->p, 0, r->p.n_flat, k->w);
    for (int i = 0; i < r->opt.n_state; i++) memcpy(r->opt.state[i], k->state[i], (size_t)r->opt.n[i] * 4);
    p->policy = k->policy;
}

/* From the state after `from`: the first step behind `done` that makes the run go back, up to `most`. */
static tn_status bad_find(replaying *p, int64_t from, int64_t done, int64_t most, int64_t *bad, tn_error *err)
{
    policy_action act;
    char          why[200];

    for (int64_t step = done + 1; step <= most; step++) {
        TN_TRY(step_decide(p, step, &act, why, err));
        if (act == POLICY_BACK) {
            *bad = step;
            return TN_OK;
        }
        if (act == POLICY_STOP)
            return tn_fail(
                err, TN_VERIFY,
                "step %lld: the log goes on, but the run's policy stops here: %s (%lld bad steps in "
                "a row)",
                (long long)step, why, (long long)p->bad);
        TN_TRY(step_take(p, step, act, err));
        TN_TRY(tn_interrupted(err));
    }
    return tn_fail(
        err, TN_VERIFY,
        "step %lld: the log says 'back', but the run's policy calls none of the steps %lld to %lld "
        "bad, as they go on from the state after step %lld",
        (long long)done + 1, (long long)done + 1, (long long)most, (long long)from);
}

/* `step` is the first of a replay that the log passes over. A run goes back to the last multiple of
 * checkpoint_every, so what it passes over begins behind one, and ends with the bad step, at the next one at the
 * latest. Passing over changes nothing: any state within is that of the beginning. */
static tn_status back_check(replaying *p, int64_t step, tn_error *err)
{
    const int64_t every = p->r.c->checkpoint_every;
    kept          k = { 0 };
    tn_status     status = TN_OK;

    if (!train_goes_back(p->r.c))
        return tn_fail(
            err, TN_VERIFY,
            "step %lld: the log says 'back', but no policy of the run goes back (on_nan is %s, spike "
            "%g, on_spike %s)",
            (long long)step, p->r.c->on_nan, p->r.c->spike, p->r.c->on_spike);
    const int64_t from = step - 1 - (step - 1) % every,
                  most = from + every < p->r.steps ? from + every : p->r.steps;
    int64_t last = step, done = from;
    while (last < p->n_rec && last < most && is_passed(&p->rec[last])) last++;
    bool whole = from > 0;
    for (int64_t i = from; i < step - 1; i++) whole &= is_passed(&p->rec[i]);
    if (!whole)
        return tn_fail(
            err, TN_VERIFY,
            "step %lld: the log says 'back', but what the run passes over begins behind a multiple of "
            "checkpoint_every (%lld)",
            (long long)step, (long long)every);
    if (step - 1 > from) p->bad = 0; /* the checkpoint within counts what comes again now */
    TN_GOTO(keep(&k, p, err));
    while (done < last) {
        put_back(&k, p);
        TN_GOTO(bad_find(p, from, done, most, &done, err));
    }
    put_back(&k, p);
    if (done > last && last < p->n_rec)
        status = tn_fail(
            err, TN_VERIFY,
            "step %lld: the log passes over the batches up to here, but the run's policy goes back "
            "from step %lld, and passes over all up to it",
            (long long)last, (long long)done);
    p->passed = last;
out:
    kept_free(&k);
    return status;
}

/* --------------------------------------------------------------------------------------------------- steps */

/* Does the policy do with the step what the log says was done? */
static tn_status note_match(const replaying *p, const tn_step_record *rec, policy_action act, const char *why,
                            tn_error *err)
{
    const char *note = rec->note[0] != '\0' ? rec->note : word_of(POLICY_GO_ON);

    if (strcmp(note, word_of(act)) == 0) return TN_OK;
    return tn_fail(
        err, TN_VERIFY,
        "step %lld: the log says '%s', the run's policy '%s' (on_nan is %s, spike %g, on_spike %s)%s%s",
        (long long)rec->step, note, word_of(act), p->r.c->on_nan, p->r.c->spike, p->r.c->on_spike,
        why[0] != '\0' ? ": " : "", why);
}

static tn_status step_match(replaying *p, const tn_step_record *rec, tn_error *err)
{
    run          *r = &p->r;
    int64_t       step = (int64_t)rec->step;
    float         lr = (float)tn_schedule_lr(r->c, step, r->steps);
    char          why[200] = "";
    policy_action act = POLICY_BACK;

    if (is_passed(rec)) {
        if (step > p->passed) TN_TRY(back_check(p, step, err));
        TN_TRY(train_step_pass(r, step, err));
    } else {
        TN_TRY(step_decide(p, step, &act, why, err));
    }
    if (!tn_digest_equal(&r->batch, &rec->batch))
        return tn_fail(err, TN_VERIFY, "step %lld: the log's batch is not the one that seed and data give",
                       (long long)step);
    TN_TRY(bits_match("loss", step, r->loss, rec->loss, err));
    TN_TRY(bits_match("gradient norm", step, r->grad_norm, rec->grad_norm, err));
    TN_TRY(bits_match("learning rate", step, lr, rec->lr, err));
    TN_TRY(note_match(p, rec, act, why, err));
    TN_TRY(step_take(p, step, act, err));
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

/* The items that a replay needs: of its own steps, and where a policy may go back, of all between the
 * checkpoints around them. */
static void replay_stretch(run *r, int64_t from, int64_t n)
{
    const int64_t every = r->c->checkpoint_every;

    r->replay_from = from;
    r->replay_steps = n;
    if (!train_goes_back(r->c)) return;
    r->replay_from -= from % every;
    r->replay_steps += from % every + (every - (from + n) % every) % every;
}

tn_status tn_train_replay(const tn_train_config *c, const char *run_dir, int64_t from, int64_t n,
                          const tn_train_io *io, tn_error *err)
{
    replaying       p = { 0 };
    run            *r = &p.r;
    tn_status       status = TN_OK;
    char            work[TRAIN_SCRATCH_BYTES] = "", *log = tn_path(run_dir, "steps.jsonl"), *dir = NULL;
    json_t         *description = NULL;
    tn_digest       genesis, root;
    tn_step_record *rec = NULL;
    size_t          n_rec = 0;
    progress_state  at = { 0 };

    if (log == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(train_ranks_open(r, c, io, err));
    TN_GOTO(train_scratch_dir(r, work, err));
    replay_stretch(r, from, n);
    TN_GOTO(train_setup(r, work, err));
    TN_GOTO(train_genesis(r, &description, &genesis, err));
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
        TN_GOTO(train_checkpoint_load(r, dir, &genesis, true, &at, &root, err));
        r->update = at.update;
        r->tokens = at.tokens;
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
    if (from == 0) TN_GOTO(train_extend(r, err));
    if ((size_t)(from + n) > n_rec) {
        status = tn_fail(err, TN_USAGE, "steps %lld to %lld are asked for, but the log has %zu",
                         (long long)from + 1, (long long)(from + n), n_rec);
        goto out;
    }
    train_policy_recall(&p.policy, rec, (size_t)from);
    p.bad = at.bad;
    p.rec = rec;
    p.n_rec = (int64_t)n_rec;
    for (int64_t i = from; i < from + n; i++) {
        TN_GOTO(step_match(&p, &rec[i], err));
        TN_GOTO(tn_interrupted(err));
    }
    if ((size_t)(from + n) == n_rec) TN_GOTO(weights_match(r, run_dir, work, from + n, err));
out:
    train_setup_release(r);
    if (work[0] != '\0' && r->rank == 0) tn_remove_tree(work, NULL);
    if (r->own_dist) tn_dist_close(r->dist, status, err);
    json_decref(description);
    free(rec);
    free(log);
    free(dir);
    return status;
}
