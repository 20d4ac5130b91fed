/* plan.c - roots of sources, keys of stages, and what the store knows already.
 *
 *   key = SHA-256 of the canonical JSON {"inputs":{PORT:[ROOT...]},"kind","params","profile","version"[,"arithmetic","closure","recipe","salt"]}
 *
 * A file that a recipe names is hashed once and remembered by its stamp (path, device, inode, size, times),
 * so that a cached run does not read a model again. A stamp is trusted only when the file was older than two
 * seconds when it was hashed: a later change in the same tick of the clock would otherwise go unseen. */
#include "recipe/recipe_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { STAMP_SECONDS = 2 };

/* -------------------------------------------------------------------------------------- stamps of sources */

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* What stat says of a file, or of a directory and all files in it. */
typedef void (*stat_fn)(void *arg, const char *name, const struct stat *st);
static tn_status each_stat(const char *path, stat_fn fn, void *arg, tn_error *err)
{
    struct stat st;
    char      **names = NULL, *real = realpath(path, NULL);
    size_t      n = 0;
    tn_status   status = TN_OK;

    if (real == NULL || stat(path, &st) != 0) {
        status = tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    fn(arg, real, &st);
    if (S_ISDIR(st.st_mode)) {
        TN_GOTO(tn_list_files(&names, &n, path, err));
        for (size_t i = 0; i < n && status == TN_OK; i++) {
            char *p = tn_path(path, names[i]);
            if (p == NULL || stat(p, &st) != 0)
                status = tn_fail(err, TN_IO, "%s/%s: %s", path, names[i], strerror(errno));
            else fn(arg, names[i], &st);
            free(p);
        }
    }
out:
    tn_list_free(names, n);
    free(real);
    return status;
}

typedef struct stamps {
    tn_str text;
    time_t newest;
} stamps;

static void stamp_add(void *arg, const char *name, const struct stat *st)
{
    stamps *s = arg;

    tn_str_addf(&s->text, "%s %llu %llu %llu %lld.%09ld %lld.%09ld %o\n", name,
                (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                (unsigned long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
                (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec, (unsigned)(st->st_mode & 0100));
    if (s->newest < st->st_ctim.tv_sec) s->newest = st->st_ctim.tv_sec;
}

/* Digest of the stamps of a file, or of all files of a directory; *old: all are older than STAMP_SECONDS. */
static tn_status stamp_of(const char *path, tn_digest *out, bool *old, tn_error *err)
{
    stamps    s = { .newest = 0 };
    tn_status status = each_stat(path, stamp_add, &s, err);

    if (status == TN_OK) status = tn_str_check(&s.text, err);
    if (status == TN_OK) {
        *out = tn_sha256_of(s.text.p, s.text.len);
        *old = time(NULL) - s.newest > STAMP_SECONDS;
    }
    tn_str_free(&s.text);
    return status;
}

typedef struct span {
    const struct timespec *from, *to;
    bool                   touched;
} span;

static void span_look(void *arg, const char *name, const struct stat *st)
{
    span *s = arg;

    (void)name;
    s->touched = s->touched || (later(&st->st_ctim, s->from) && !later(&st->st_ctim, s->to));
}

tn_status recipe_source_touched(const char *path, const struct timespec *from, const struct timespec *to,
                                bool *touched, tn_error *err)
{
    span      s = { from, to, false };
    tn_status status = each_stat(path, span_look, &s, err);

    *touched = s.touched;
    return status;
}

tn_status recipe_source_root(tn_store *s, const char *path, tn_digest *root, tn_error *err)
{
    tn_digest stamp, after;
    bool      old = false, found = false, still = false;

    TN_TRY(stamp_of(path, &stamp, &old, err));
    TN_TRY(tn_store_seen_get(s, &stamp, root, &found, err));
    if (found) return TN_OK;
    TN_TRY(tn_tree_digest(path, root, NULL, err));
    if (!old || stamp_of(path, &after, &still, NULL) != TN_OK || !tn_digest_equal(&stamp, &after))
        return TN_OK;
    return tn_store_seen_set(s, &stamp, root, err);
}

static tn_status ref_source(const recipe_stage *st, recipe_ref *ref, tn_store *s, tn_error *err)
{
    tn_status status;

    if (ref->path != NULL) status = recipe_source_root(s, ref->path, &ref->root, err);
    else
        status = tn_store_resolve(s, tn_starts_with(ref->text, "store:") ? ref->text + 6 : ref->text,
                                  &ref->root, err);
    if (status != TN_OK)
        return tn_fail_prefix(err, status, "%s:%d: stage '%s'", st->file, ref->line, st->name);
    ref->have_root = true;
    return TN_OK;
}

/* ----------------------------------------------------------------------------------------- what is wanted */

tn_status recipe_no_stage(const tn_recipe *r, const char *name, tn_error *err)
{
    const char **names = calloc(r->n + 1, sizeof *names), *near = NULL;

    for (size_t i = 0; names != NULL && i < r->n; i++) names[i] = r->stages[i].name;
    if (names != NULL) near = tn_nearest(name, names);
    tn_status status = near != NULL ? tn_fail(err, TN_USAGE, "%s has no stage '%s'; did you mean '%s'?",
                                              r->path, name, near)
                                    : tn_fail(err, TN_USAGE, "%s has no stage '%s'", r->path, name);
    free(names);
    return status;
}

tn_status recipe_want(tn_recipe *r, const char *until, tn_error *err)
{
    int last = until == NULL ? -1 : recipe_find(r, until);

    if (until != NULL && last < 0) return recipe_no_stage(r, until, err);
    for (size_t i = 0; i < r->n; i++) {
        recipe_stage *st = &r->stages[i];
        st->wanted = until == NULL || (int)i == last;
        st->have_key = st->cached = st->have_root = false;
        st->seconds = -1;
        st->n_row = st->n_known = 0;
    }
    for (size_t i = r->n; i-- > 0;) /* stages are in order: one pass backwards reaches all */
        for (size_t k = 0; r->stages[i].wanted && k < r->stages[i].n_ref; k++)
            if (r->stages[i].refs[k].stage >= 0) r->stages[r->stages[i].refs[k].stage].wanted = true;
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------------- keys */

static tn_status ref_root(tn_recipe *r, tn_store *s, recipe_ref *ref, bool *ready, tn_error *err)
{
    const recipe_stage *from;
    char               *path = NULL;
    tn_status           status;

    if (ref->stage < 0) return TN_OK; /* a source: known since recipe_sources */
    from = &r->stages[ref->stage];
    if (!from->have_root) {
        *ready = false;
        return TN_OK;
    }
    if (ref->sub == NULL) {
        ref->root = from->root;
    } else {
        TN_TRY(recipe_path_of(r, s, ref, &path, err));
        status = recipe_source_root(s, path, &ref->root, err);
        free(path);
        TN_TRY(status);
    }
    ref->have_root = true;
    return TN_OK;
}

static json_t *root_json(const tn_digest *d)
{
    char   *text = tn_digest_text(d);
    json_t *v = text == NULL ? NULL : json_string(text);

    free(text);
    return v;
}

static tn_status key_of(const tn_recipe *r, tn_store *s, recipe_stage *st, tn_error *err)
{
    json_t *inputs = json_object(), *o = NULL;
    char   *text;

    for (size_t k = 0; k < st->n_ref; k++) {
        const char *port = st->kind->inputs[st->refs[k].port].name;
        if (json_object_get(inputs, port) == NULL) json_object_set_new(inputs, port, json_array());
        json_array_append_new(json_object_get(inputs, port), root_json(&st->refs[k].root));
    }
    o = json_pack("{s:s,s:i,s:O,s:s,s:o}", "kind", st->kind->name, "version", st->kind->version, "params",
                  st->params, "profile", st->profile_name, "inputs", inputs);
    if (o != NULL && st->profile == TN_PROFILE_STRICT_BF16)
        json_object_set_new(o, "arithmetic", json_integer(TN_STRICT_BF16_VERSION));
    if (o != NULL && st->kind->sees_closure) {
        json_object_set_new(o, "closure", recipe_closure(r, st));
        json_object_set_new(o, "recipe", json_string(r->text));
    }
    if (o != NULL && st->kind->salt != NULL) {
        tn_status status = st->kind->salt(s, st->config, st->salt, err);
        if (status != TN_OK) {
            json_decref(o);
            return tn_fail_prefix(err, status, "stage '%s'", st->name);
        }
        /* A release has always had it, empty or not: its keys stay what they were. */
        if (st->salt[0] != '\0' || st->kind->sees_closure)
            json_object_set_new(o, "salt", json_string(st->salt));
    }
    text = o == NULL ? NULL : tn_json_text(o);
    json_decref(o);
    if (text == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the key of stage '%s'", r->path, st->name);
    st->key = tn_sha256_of(text, strlen(text));
    st->have_key = true;
    free(text);
    return TN_OK;
}

tn_status recipe_key(tn_recipe *r, tn_store *s, recipe_stage *st, bool *ready, tn_error *err)
{
    *ready = true;
    for (size_t k = 0; k < st->n_ref; k++) TN_TRY(ref_root(r, s, &st->refs[k], ready, err));
    return *ready ? key_of(r, s, st, err) : TN_OK;
}

tn_status recipe_sources(tn_recipe *r, tn_store *s, tn_error *err)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; r->stages[i].wanted && k < r->stages[i].n_ref; k++)
            if (r->stages[i].refs[k].stage < 0)
                TN_TRY(ref_source(&r->stages[i], &r->stages[i].refs[k], s, err));
    for (size_t i = 0; i < r->n; i++) {
        recipe_stage *st = &r->stages[i];
        bool          ready;
        if (!st->wanted) continue;
        TN_TRY(recipe_key(r, s, st, &ready, err));
        if (!ready) continue;
        TN_TRY(tn_store_key_get(s, &st->key, &st->root, &st->cached, err));
        st->have_root = st->cached;
        /* Often the same artifact comes out again, and everything after it is cached: known now, not when its
         * turn comes. */
        if (!st->cached && (st->kind->quick || (st->kind->rows && recipe_count_rows(r, s, st))))
            TN_TRY(recipe_run_stage(r, s, st, false, err));
    }
    return TN_OK;
}

tn_status recipe_path_of(tn_recipe *r, tn_store *s, const recipe_ref *ref, char **path, tn_error *err)
{
    char     *whole = NULL;
    tn_digest added;

    *path = NULL;
    if (ref->stage < 0 && ref->path != NULL && !tn_store_has(s, &ref->root)) {
        /* a copy of one's own: nobody changes it during the run */
        TN_TRY(tn_store_add(s, ref->path, &added, err));
        if (!tn_digest_equal(&added, &ref->root))
            return tn_fail(err, TN_MISMATCH, "%s changed while the recipe was running: run it again",
                           ref->path);
    }
    if (ref->stage < 0 || ref->sub == NULL)
        return tn_store_path(s, ref->stage < 0 ? &ref->root : &r->stages[ref->stage].root, path, err);
    TN_TRY(tn_store_path(s, &r->stages[ref->stage].root, &whole, err));
    *path = tn_path(whole, ref->sub);
    free(whole);
    if (*path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (tn_exists(*path)) return TN_OK;
    free(*path);
    *path = NULL;
    return tn_fail(err, TN_NOTFOUND, "%s: what stage '%s' made holds no '%s'", r->path,
                   r->stages[ref->stage].name, ref->sub);
}

/* ------------------------------------------------------------------------------------------- as JSON rows */

json_t *recipe_stage_json(const recipe_stage *st)
{
    json_t *inputs = json_object(), *from = json_object(), *o;
    size_t  in_port = 0;

    for (size_t k = 0; k < st->n_ref; k++) {
        const recipe_ref    *ref = &st->refs[k];
        const tn_stage_port *port = &st->kind->inputs[ref->port];
        char                *name;
        in_port = k > 0 && st->refs[k - 1].port == ref->port ? in_port + 1 : 0;
        name = port->many ? tn_strf("%s.%zu", port->name, in_port) : tn_strdup(port->name);
        if (name != NULL) {
            if (ref->have_root) json_object_set_new(inputs, name, root_json(&ref->root));
            json_object_set_new(from, name, json_string(ref->text));
        }
        free(name);
    }
    o = json_pack("{s:s,s:s,s:i,s:O,s:s,s:o,s:o,s:b}", "name", st->name, "kind", st->kind->name,
                  "kind_version", st->kind->version, "params", st->params, "profile", st->profile_name,
                  "inputs", inputs, "from", from, "recorded", st->kind->recorded);
    if (o != NULL && st->profile == TN_PROFILE_STRICT_BF16)
        json_object_set_new(o, "arithmetic", json_integer(TN_STRICT_BF16_VERSION));
    if (o != NULL && st->salt[0] != '\0' && !st->kind->sees_closure)
        json_object_set_new(o, "salt", json_string(st->salt));
    if (o != NULL && st->have_key) json_object_set_new(o, "key", root_json(&st->key));
    if (o != NULL && st->have_root) json_object_set_new(o, "root", root_json(&st->root));
    return o;
}

json_t *recipe_closure(const tn_recipe *r, const recipe_stage *st)
{
    json_t *rows = json_array();
    bool   *in = calloc(r->n, sizeof *in);
    size_t  me = (size_t)(st - r->stages);

    if (in == NULL) return rows;
    in[me] = true;
    for (size_t i = me + 1; i-- > 0;)
        for (size_t k = 0; in[i] && k < r->stages[i].n_ref; k++)
            if (r->stages[i].refs[k].stage >= 0) in[r->stages[i].refs[k].stage] = true;
    for (size_t i = 0; i < me; i++)
        if (in[i]) json_array_append_new(rows, recipe_stage_json(&r->stages[i]));
    free(in);
    return rows;
}

/* ----------------------------------------------------------------------------------------------- the plan */

/* Seconds that the stage will take, by the last time; -1: not known. Rows that were known then or are known
 * now cost nothing. */
static double last_seconds(tn_store *s, const recipe_stage *st, const char *recipe)
{
    json_t *rows = NULL, *record = NULL;
    double  seconds = -1;

    if (tn_store_log(s, "stage", recipe, st->name, 20, &rows, NULL) == TN_OK) {
        size_t  i;
        json_t *row;
        json_array_foreach(rows, i, row) {
            const char *kind = json_string_value(json_object_get(row, "kind")),
                       *status = json_string_value(json_object_get(row, "status"));
            if (kind == NULL || status == NULL || strcmp(kind, st->kind->name) != 0 ||
                strcmp(status, "done") != 0)
                continue;
            if (tn_store_record_get(s, json_string_value(json_object_get(row, "id")), &record, NULL) != TN_OK)
                continue;
            const json_t *m = json_object_get(record, "metrics");
            int64_t       all = json_integer_value(json_object_get(m, "rows"));
            int64_t       known = json_integer_value(json_object_get(m, "rows_from_before"));
            double        took = json_number_value(json_object_get(row, "seconds"));
            const char   *profile = json_string_value(json_object_get(record, "profile"));
            /* another arithmetic, another speed */
            bool other = profile != NULL && strcmp(profile, st->profile_name) != 0;
            json_decref(record);
            if (other) continue;
            if (all > 0 && all == known) continue; /* nothing was computed then: it tells no time */
            seconds = all > 0 ? took / (double)(all - known) *
                                    (double)(st->n_row > 0 ? st->n_row - st->n_known : all)
                              : took;
            break;
        }
    }
    json_decref(rows);
    return seconds;
}

/* By this recipe's own stage, else by one of the same name and kind in another. */
static double estimate(tn_recipe *r, tn_store *s, const recipe_stage *st)
{
    double seconds = last_seconds(s, st, r->name);

    return seconds >= 0 ? seconds : last_seconds(s, st, NULL);
}

static json_t *plan_row(tn_recipe *r, tn_store *s, recipe_stage *st)
{
    const char *state = st->cached ? "cached" : st->have_root ? "done" : "will run";
    json_t     *row = json_pack("{s:s,s:s,s:s}", "name", st->name, "kind", st->kind->name, "state", state);
    int64_t     n, changed;
    double      seconds;

    if (st->have_key) json_object_set_new(row, "key", root_json(&st->key));
    if (st->have_root) json_object_set_new(row, "root", root_json(&st->root));
    if (st->have_root && !st->cached && recipe_changed_rows(r, s, st, &n, &changed)) {
        json_object_set_new(row, "rows", json_integer(n));
        json_object_set_new(row, "rows_changed", json_integer(changed));
    }
    if (st->have_root) return row;
    if (st->n_row > 0) {
        json_object_set_new(row, "rows", json_integer(st->n_row));
        json_object_set_new(row, "rows_known", json_integer(st->n_known));
    }
    if ((seconds = estimate(r, s, st)) >= 0) json_object_set_new(row, "estimate_s", json_real(seconds));
    return row;
}

tn_status tn_recipe_plan(tn_recipe *r, tn_store *s, const char *until, json_t **out, tn_error *err)
{
    json_t *rows;

    *out = NULL;
    TN_TRY(recipe_want(r, until, err));
    TN_TRY(recipe_sources(r, s, err));
    rows = json_array();
    for (size_t i = 0; i < r->n; i++)
        if (r->stages[i].wanted) json_array_append_new(rows, plan_row(r, s, &r->stages[i]));
    *out = json_pack("{s:s,s:o,s:o*}", "recipe", r->name, "stages", rows, "constitution",
                     recipe_charter_changes(r, s));
    return *out == NULL ? tn_fail(err, TN_NOMEM, "%s: no memory for the plan", r->path) : TN_OK;
}
