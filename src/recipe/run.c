/* run.c - the runner: what the store has is taken, the rest is computed, in order, each artifact safe before
 * the next.
 *
 *   key known? ── store has it ──→ cached
 *        └── work/<key> locked ── kind's function ──→ tmp/.../out ── store put ──→ root ── key → root ── record
 *
 * A stop at any instant loses at most the work since the stage's last checkpoint: everything before is in the
 * store, and the stage finds its own checkpoints in work/<key> when the same recipe runs again. */
#include "recipe/recipe_impl.h"

#include "infer/infer.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct prepared { /* inputs of one execution */
    tn_stage_input *all;
    size_t          n;
    const char    **paths; /* one a port */
} prepared;

static void prepared_free(prepared *p)
{
    for (size_t i = 0; p->all != NULL && i < p->n; i++) {
        free(p->all[i].label);
        free(p->all[i].path);
    }
    free(p->all);
    free(p->paths);
}

static size_t n_ports(const tn_stage_kind *kind)
{
    size_t n = 0;

    while (kind->inputs[n].name != NULL) n++;
    return n;
}

static tn_status prepare(tn_recipe *r, tn_store *s, const recipe_stage *st, prepared *p, tn_error *err)
{
    p->all = calloc(st->n_ref + 1, sizeof *p->all);
    p->paths = calloc(n_ports(st->kind) + 1, sizeof *p->paths);
    if (p->all == NULL || p->paths == NULL)
        return tn_fail(err, TN_NOMEM, "stage '%s': no memory for its inputs", st->name);
    for (size_t k = 0; k < st->n_ref; k++) {
        tn_stage_input *in = &p->all[k];
        in->port = st->refs[k].port;
        in->root = st->refs[k].root;
        p->n = k + 1;
        if ((in->label = tn_strdup(st->refs[k].text)) == NULL)
            return tn_fail(err, TN_NOMEM, "stage '%s': no memory", st->name);
        TN_TRY(recipe_path_of(r, s, &st->refs[k], &in->path, err));
        if (!st->kind->inputs[in->port].many) p->paths[in->port] = in->path;
    }
    return TN_OK;
}

/* Cached or not, what a stage reads must be what its key says: a result from damaged bytes would be kept
 * under a good key. */
static tn_status check_inputs(const tn_recipe *r, tn_store *s, const recipe_stage *st, tn_error *err)
{
    for (size_t k = 0; k < st->n_ref; k++) {
        const recipe_ref *ref = &st->refs[k];
        tn_status status = tn_store_check(s, ref->stage < 0 ? &ref->root : &r->stages[ref->stage].root, err);
        if (status != TN_OK) return tn_fail_prefix(err, status, "its input '%s'", ref->text);
    }
    return TN_OK;
}

/* Runs the kind's function in `work` and puts what it made into the store. */
static tn_status execute(tn_store *s, const tn_stage_kind *kind, const void *config, tn_stage_run *run,
                         const prepared *in, json_t *metrics, tn_digest *root, tn_error *err)
{
    char     *temp = NULL, *out = NULL;
    tn_status status = TN_OK;

    TN_GOTO(tn_store_temp(s, &temp, err));
    if ((out = tn_path(temp, "out")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "stage '%s': no memory for a path", run->stage);
        goto out;
    }
    TN_GOTO(kind->run(run, config, in->paths, out, metrics, err));
    if (!tn_exists(out)) {
        status = tn_fail(err, TN_MISMATCH, "kind %s made nothing", kind->name);
        goto out;
    }
    status = tn_store_put(s, out, root, err);
out:
    if (temp != NULL) tn_remove_tree(temp, NULL);
    free(temp);
    free(out);
    return status;
}

static tn_status record_stage(tn_recipe *r, tn_store *s, const recipe_stage *st, json_t *record,
                              double seconds, json_t *metrics, const char *outcome, tn_error *err)
{
    json_t *row = recipe_stage_json(st);

    json_object_update(record, row);
    json_decref(row);
    json_object_del(record, "name");
    json_object_set_new(record, "stage", json_string(st->name));
    json_object_set_new(record, "recipe", json_string(r->name));
    json_object_set_new(record, "seconds", json_real(seconds));
    json_object_set(record, "metrics", metrics);
    json_object_set_new(record, "status", json_string(outcome));
    return tn_store_record(s, record, err);
}

/* The rows that earlier executions of any stage computed with this model, adapter and profile. */
typedef struct rows_open {
    tn_store_rows *rows;
    tn_memo        memo;
} rows_open;

static tn_status open_rows(tn_store *s, const recipe_stage *st, bool write, rows_open *out, tn_error *err)
{
    /* whoever answers: the first two, one of them */
    static const char *const ports[] = { "model", "judge", "adapter" };
    bool                     named = false;
    tn_str                   text = { 0 };
    char                     hex[TN_SHA256_HEX];
    tn_digest                space;

    tn_str_addf(&text, "tenet/rows/v1\n%s\nengine %d", st->profile_name, (int)TN_ENGINE_VERSION);
    for (size_t p = 0; p < sizeof ports / sizeof ports[0]; p++)
        for (size_t k = 0; k < st->n_ref; k++)
            if (strcmp(st->kind->inputs[st->refs[k].port].name, ports[p]) == 0) {
                tn_hex(hex, &st->refs[k].root);
                tn_str_addf(&text, "\n%s %s", ports[p], hex);
                named = named || p < 2;
            }
    if (!named)
        tn_bug("kind %s keeps rows, but has no port 'model' or 'judge' that says whose they are",
               st->kind->name);
    TN_TRY(tn_str_check(&text, err));
    space = tn_sha256_of(text.p, text.len);
    tn_str_free(&text);
    TN_TRY(tn_store_rows_open(s, &space, write, &out->rows, err));
    out->memo = (tn_memo){ .get = tn_store_rows_get, .put = tn_store_rows_put, .arg = out->rows };
    return TN_OK;
}

static const char *outcome_of(tn_status status)
{
    return status == TN_OK                                       ? "done"
           : status == TN_INTERRUPTED || status == TN_TERMINATED ? "interrupted"
                                                                 : "failed";
}

/* A rerun works in a place of its own: it must not go on from what the first run left. */
static tn_digest work_key(const tn_digest *key, bool rerun)
{
    char text[96], hex[TN_SHA256_HEX];

    if (!rerun) return *key;
    tn_hex(hex, key);
    int n = snprintf(text, sizeof text, "rerun %s %ld", hex, (long)getpid());
    return tn_sha256_of(text, (size_t)n);
}

static tn_status compare_rerun(const recipe_stage *st, const tn_digest *before, tn_error *err)
{
    char was[TN_SHA256_HEX], is[TN_SHA256_HEX];

    if (tn_digest_equal(before, &st->root)) return TN_OK;
    tn_hex(was, before);
    tn_hex(is, &st->root);
    return tn_fail(err, TN_VERIFY,
                   "it gave another result when it was computed again: expected sha256:%s, found sha256:%s "
                   "(the first one stays "
                   "in the store; `tenet store export` shows both)",
                   was, is);
}

/* Errors in what a stage reads name it as the recipe does: who wrote `data: [pairs]` knows no object of the
 * store. Only inputs that lie there are renamed; a file of the user's keeps its path. The object's own name
 * goes to the end, once. */
static void say_inputs(const recipe_stage *st, const prepared *in, tn_error *err)
{
    tn_str said = { 0 }, where = { 0 };
    bool  *named = calloc(in->n + 1, sizeof *named);

    for (const char *p = err->msg; named != NULL && *p != '\0';) {
        size_t best = in->n, longest = 0; /* of a folder and a file inside it, the file */
        for (size_t k = 0; k < in->n; k++) {
            size_t n = st->refs[k].path == NULL && in->all[k].path != NULL ? strlen(in->all[k].path) : 0;
            if (n > longest && strncmp(p, in->all[k].path, n) == 0) best = k, longest = n;
        }
        if (best == in->n) {
            tn_str_add_n(&said, p++, 1);
            continue;
        }
        tn_str_add(&said, st->refs[best].text);
        p += longest;
        if (!named[best])
            tn_str_addf(&where, "%s'%s' stands at %s:%d and is %s", where.len > 0 ? "; " : "",
                        st->refs[best].text, st->file, st->refs[best].line, in->all[best].path);
        named[best] = true;
    }
    if (where.len > 0 && !said.failed && !where.failed)
        snprintf(err->msg, sizeof err->msg, "%s (%s)", said.p, where.p);
    free(named);
    tn_str_free(&said);
    tn_str_free(&where);
}

tn_status recipe_run_stage(tn_recipe *r, tn_store *s, recipe_stage *st, bool rerun, tn_error *err)
{
    tn_store_work work = { NULL, -1 };
    prepared      in = { NULL, 0, NULL };
    json_t       *metrics = json_object(), *record = recipe_record_begin("stage"), *closure = NULL;
    tn_stage_run  run = { .stage = st->name, .profile = st->profile };
    tn_digest     before = st->root, key = work_key(&st->key, rerun);
    bool          was_cached = st->cached;
    rows_open     rows = { NULL, { 0 } };
    double        start = tn_now();
    tn_status     status = TN_OK;

    TN_GOTO(tn_store_work_begin(s, &key, &work, err));
    if (!rerun) { /* another process may have made it while we waited */
        TN_GOTO(tn_store_key_get(s, &st->key, &st->root, &st->cached, err));
        st->have_root = st->cached;
        if (st->cached) goto out;
    }
    TN_GOTO(prepare(r, s, st, &in, err));
    TN_GOTO(check_inputs(r, s, st, err));
    run.work = work.path;
    run.store = s;
    run.all = in.all;
    run.n_all = in.n;
    run.held = st->held;
    if (st->kind->rows && !rerun) { /* a rerun believes nothing of before */
        TN_GOTO(open_rows(s, st, true, &rows, err));
        run.memo = &rows.memo;
    }
    if (st->kind->sees_closure) {
        run.closure = closure = recipe_closure(r, st);
        run.recipe_text = r->text;
    }
    status = execute(s, st->kind, st->config, &run, &in, metrics, &st->root, err);
    if (status != TN_OK && err != NULL) say_inputs(st, &in, err);
    st->seconds = tn_now() - start;
    st->n_row = rows.memo.n_row;
    st->n_known = rows.memo.n_known;
    if (st->n_row > 0) {
        json_object_set_new(metrics, "rows", json_integer(st->n_row));
        json_object_set_new(metrics, "rows_from_before", json_integer(st->n_known));
    }
    if (status == TN_OK) {
        st->have_root = true;
        if (rerun && was_cached) status = compare_rerun(st, &before, err);
        else status = tn_store_key_set(s, &st->key, &st->root, err);
    }
    tn_error why;
    if (record_stage(r, s, st, record, st->seconds, metrics, outcome_of(status), &why) != TN_OK &&
        status == TN_OK) {
        status = why.code;
        if (err != NULL) *err = why;
    }
out:
    tn_store_work_end(s, &work, status == TN_OK || rerun);
    tn_store_rows_close(rows.rows);
    prepared_free(&in);
    json_decref(metrics);
    json_decref(record);
    json_decref(closure);
    if (status != TN_OK) return tn_fail_prefix(err, status, "stage '%s'", st->name);
    return TN_OK;
}

/* --------------------------------------------------------------------------------- before the first stage */

/* What stages need from a person is asked for now: a run of hours must not end at a passphrase that nobody is
 * there to give. */
static tn_status begin_stages(tn_recipe *r, tn_store *s, bool rerun, tn_error *err)
{
    for (size_t i = 0; i < r->n; i++) {
        recipe_stage *st = &r->stages[i];
        if (!st->wanted || st->kind->begin == NULL || st->held != NULL ||
            (st->cached && !(rerun && !st->kind->recorded)))
            continue;
        tn_status status = st->kind->begin(s, st->config, &st->held, err);
        if (status != TN_OK) return tn_fail_prefix(err, status, "stage '%s'", st->name);
    }
    return TN_OK;
}

static void end_stages(tn_recipe *r)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->stages[i].held != NULL) r->stages[i].kind->end(r->stages[i].held);
        r->stages[i].held = NULL;
    }
}

/* How many rows of a stage that will run are known already: its function is asked to count and compute
 * nothing. true: all of them, so that running it takes no time. */
bool recipe_count_rows(tn_recipe *r, tn_store *s, recipe_stage *st)
{
    tn_status    status = TN_UNCHECKED;
    rows_open    rows = { NULL, { 0 } };
    prepared     in = { NULL, 0, NULL };
    tn_stage_run run = { .stage = st->name, .profile = st->profile, .store = s };
    json_t      *metrics = json_object();
    char        *temp = NULL, *out = NULL;
    tn_error     why;

    if (open_rows(s, st, false, &rows, &why) == TN_OK && tn_store_rows_count(rows.rows) > 0 &&
        prepare(r, s, st, &in, &why) == TN_OK && tn_store_temp(s, &temp, &why) == TN_OK &&
        (out = tn_path(temp, "out")) != NULL) {
        rows.memo.count_only = true;
        run.work = temp;
        run.all = in.all;
        run.n_all = in.n;
        run.memo = &rows.memo;
        status = st->kind->run(&run, st->config, in.paths, out, metrics, &why);
        st->n_row = rows.memo.n_row;
        st->n_known = rows.memo.n_known;
    }
    if (temp != NULL) tn_remove_tree(temp, NULL);
    free(temp);
    free(out);
    json_decref(metrics);
    prepared_free(&in);
    tn_store_rows_close(rows.rows);
    return status == TN_OK && st->n_row > 0;
}

/* ------------------------------------------------------------------------------------------- exports, run */

static bool lies_there(tn_store *s, const char *to, const tn_digest *root)
{
    tn_digest found;

    return recipe_source_root(s, to, &found, NULL) == TN_OK && tn_digest_equal(&found, root);
}

/* What lies at `to` may be replaced only if the store has it too: then nothing is lost. Like a source it is
 * hashed once and remembered by its stamp, so that a cached run does not read a release of gigabytes
 * again. */
static tn_status make_room(tn_store *s, const char *to, const tn_digest *root, bool *there, tn_error *err)
{
    tn_digest found;

    *there = false;
    if (!tn_exists(to)) return TN_OK;
    if (rmdir(to) == 0) return TN_OK; /* an empty folder */
    if (recipe_source_root(s, to, &found, NULL) == TN_OK) {
        if (tn_digest_equal(&found, root)) {
            *there = true;
            return TN_OK;
        }
        if (tn_store_has(s, &found)) {
            TN_TRY(tn_store_check(s, root, err)); /* the old one stays until the new one is sure to come */
            return tn_remove_tree(to, err);
        }
    }
    return tn_fail(err, TN_USAGE,
                   "%s holds something that the store does not have: choose another place, or move it away",
                   to);
}

static tn_status export_all(tn_recipe *r, tn_store *s, json_t *record, tn_error *err)
{
    json_t *places = json_object();

    json_object_set_new(record, "exports", places);
    for (size_t i = 0; i < r->n_export; i++) {
        const recipe_stage *st = &r->stages[r->exports[i].stage];
        const char         *to = r->exports[i].to;
        bool                there;
        if (!st->wanted) continue;
        TN_TRY(make_room(s, to, &st->root, &there, err));
        tn_status status = there ? TN_OK : tn_store_export(s, &st->root, to, err);
        /* another run may have put the same there meanwhile */
        if (status != TN_OK && !lies_there(s, to, &st->root)) return status;
        json_object_set_new(places, st->name, json_string(to));
        tn_log(TN_LOG_INFO, "  %-24s %s", st->name, to);
    }
    return TN_OK;
}

static tn_status run_stages(tn_recipe *r, tn_store *s, const tn_run_options *o, tn_error *err)
{
    tn_str    cached = { .max = 4096 };
    tn_status status = TN_OK;

    for (size_t i = 0; i < r->n && status == TN_OK; i++) {
        recipe_stage *st = &r->stages[i];
        bool          ready;
        if (!st->wanted) continue;
        TN_GOTO(tn_interrupted(err));
        if (!st->have_key) {
            TN_GOTO(recipe_key(r, s, st, &ready, err));
            if (!ready) tn_bug("stage %s has no key when its turn comes", st->name);
            TN_GOTO(tn_store_key_get(s, &st->key, &st->root, &st->cached, err));
            st->have_root = st->cached;
        }
        bool again = o->rerun && !st->kind->recorded;
        if ((!st->cached && st->seconds < 0) || again) { /* a quick stage was done while the plan was made */
            recipe_say_cached(&cached);
            TN_GOTO(recipe_run_stage(r, s, st, again, err));
        }
        if (st->seconds >= 0) {
            recipe_say_done(st);
        } else {
            recipe_add_name(&cached, st->name);
        }
    }
out:
    recipe_say_cached(&cached);
    tn_str_free(&cached);
    return status;
}

static tn_status record_run(tn_recipe *r, tn_store *s, const tn_run_options *o, json_t *record,
                            double seconds, tn_status outcome, const char *message, tn_error *err)
{
    json_t   *rows = json_array();
    char      id[17];
    tn_status status;

    for (size_t i = 0; i < r->n; i++) {
        if (!r->stages[i].wanted) continue;
        json_t *row = recipe_stage_json(&r->stages[i]);
        json_object_set_new(row, "cached", json_boolean(r->stages[i].have_root && r->stages[i].seconds < 0));
        if (r->stages[i].seconds >= 0) json_object_set_new(row, "seconds", json_real(r->stages[i].seconds));
        json_array_append_new(rows, row);
    }
    json_object_set_new(record, "recipe", json_string(r->name));
    json_object_set_new(record, "path", json_string(r->path));
    json_object_set(record, "vars", r->vars);
    json_object_set_new(record, "profile", json_string(r->profile_name));
    json_object_set_new(record, "stages", rows);
    json_object_set_new(record, "seconds", json_real(seconds));
    json_object_set_new(record, "status", json_string(outcome_of(outcome)));
    if (o->rerun) json_object_set_new(record, "rerun", json_true());
    if (outcome != TN_OK) json_object_set_new(record, "error", json_string(message));
    status = tn_store_record_id(s, record, id, err);
    if (status == TN_OK) json_object_set_new(record, "id", json_string(id));
    return status;
}

tn_status tn_recipe_run(tn_recipe *r, tn_store *s, const tn_run_options *o, json_t **out, tn_error *err)
{
    json_t   *plan = NULL, *record = recipe_record_begin("run");
    double    start = tn_now();
    tn_error  mine = { .msg = "" }, why;
    tn_status status;

    if (out != NULL) *out = NULL;
    TN_GOTO(tn_recipe_plan(r, s, o->until, &plan, &mine));
    recipe_say_plan(r, plan);
    TN_GOTO(begin_stages(r, s, o->rerun, &mine));
    status = run_stages(r, s, o, &mine);
    if (status == TN_OK) status = export_all(r, s, record, &mine);
    if (record_run(r, s, o, record, tn_now() - start, status, mine.msg, &why) != TN_OK && status == TN_OK) {
        status = why.code;
        mine = why;
    }
    if (out != NULL) *out = json_incref(record);
out:
    end_stages(r);
    if (status != TN_OK && err != NULL) *err = mine;
    json_decref(plan);
    json_decref(record);
    return status;
}
