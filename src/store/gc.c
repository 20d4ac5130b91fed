/* gc.c - garbage collection and verification of a store.
 *
 *   kept: names, pins, artifacts of the newest runs and of every release, and, from each of these, what the records of
 *         stages say it was made of (root -> inputs, again and again)
 *
 * A collection holds the store's lock alone: no process can be between making an artifact and recording it.
 * Removal renames an artifact into tmp/ first, so that no reader ever meets half of one. */
#include "store/store_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WORK_DAYS = 14, VERIFY_BATCH = 64 }; /* unfinished work that nobody touched for longer goes */

typedef struct reach {
    json_t *made_of; /* {root: {input root: true}} */
    json_t *kept;    /* {root: true} */
} reach;

static void edge(reach *g, const char *root, const json_t *inputs)
{
    const char   *name;
    const json_t *input;
    json_t       *from = json_object_get(g->made_of, root);

    if (from == NULL) {
        from = json_object();
        json_object_set_new(g->made_of, root, from);
    }
    json_object_foreach((json_t *)inputs, name, input)
        if (json_is_string(input)) json_object_set_new(from, json_string_value(input), json_true());
}

static void keep(reach *g, const char *root)
{
    json_t     *todo = json_array();
    const char *input;
    json_t     *v;

    json_array_append_new(todo, json_string(root));
    while (json_array_size(todo) > 0) {
        size_t  last = json_array_size(todo) - 1;
        json_t *r = json_incref(json_array_get(todo, last));
        json_array_remove(todo, last);
        if (json_object_get(g->kept, json_string_value(r)) == NULL) {
            json_object_set_new(g->kept, json_string_value(r), json_true());
            json_object_foreach(json_object_get(g->made_of, json_string_value(r)), input, v)
                json_array_append_new(todo, json_string(input));
        }
        json_decref(r);
    }
    json_decref(todo);
}

static void learn_edges(reach *g, const json_t *record)
{
    const char   *root = json_string_value(json_object_get(record, "root"));
    const json_t *st;
    size_t        i;

    if (root != NULL) edge(g, root, json_object_get(record, "inputs"));
    json_array_foreach(json_object_get(record, "stages"), i, st) {
        root = json_string_value(json_object_get(st, "root"));
        if (root != NULL) edge(g, root, json_object_get(st, "inputs"));
    }
}

static void keep_record(reach *g, const json_t *record)
{
    const char   *root = json_string_value(json_object_get(record, "root")), *name;
    const json_t *st, *input;
    size_t        i;

    if (root != NULL) keep(g, root);
    json_object_foreach(json_object_get(record, "inputs"), name, input)
        if (json_is_string(input)) keep(g, json_string_value(input));
    json_array_foreach(json_object_get(record, "stages"), i, st) {
        root = json_string_value(json_object_get(st, "root"));
        if (root != NULL) keep(g, root);
        json_object_foreach(json_object_get(st, "inputs"), name, input)
            if (json_is_string(input)) keep(g, json_string_value(input));
    }
}

static bool is_release(const json_t *record)
{
    const char *type = json_string_value(json_object_get(record, "type")),
               *kind = json_string_value(json_object_get(record, "kind"));

    return (type != NULL && strcmp(type, "release") == 0) || (kind != NULL && strcmp(kind, "release") == 0);
}

/* A record whose number is at least this belongs to the newest runs. */
static int64_t oldest_kept(json_t **records, size_t n, int64_t keep_runs)
{
    int64_t bound = INT64_MAX;

    for (int64_t k = 0; k < keep_runs; k++) { /* few runs, so a plain search for the next newest does */
        int64_t next = -1;
        for (size_t i = 0; i < n; i++) {
            const char *type = json_string_value(json_object_get(records[i], "type"));
            int64_t     seq = json_integer_value(json_object_get(records[i], "seq"));
            if (type != NULL && strcmp(type, "run") == 0 && seq < bound && seq > next) next = seq;
        }
        if (next < 0) return INT64_MIN; /* fewer runs than asked for: all are new */
        bound = next;
    }
    return bound;
}

static tn_status mark(tn_store *s, reach *g, int64_t keep_runs, tn_error *err)
{
    char      **ids = NULL;
    json_t    **records = NULL, *names = NULL, *v;
    size_t      n = 0;
    const char *key;
    tn_status   status = TN_OK;

    TN_TRY(tn_store_run_ids(s, &ids, &n, err));
    if ((records = calloc(n + 1, sizeof *records)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu records", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        tn_error why;
        if (tn_store_record_get(s, ids[i], &records[i], &why) != TN_OK) tn_log(TN_LOG_WARN, "%s", why.msg);
        else learn_edges(g, records[i]);
    }
    int64_t bound = oldest_kept(records, n, keep_runs);
    for (size_t i = 0; i < n; i++)
        if (records[i] != NULL &&
            (is_release(records[i]) || json_integer_value(json_object_get(records[i], "seq")) >= bound))
            keep_record(g, records[i]);
    TN_GOTO(tn_store_names(s, &names, err));
    json_object_foreach(names, key, v) keep(g, json_string_value(v));
    tn_digest *all = NULL;
    size_t     n_all = 0;
    TN_GOTO(tn_store_list(s, &all, &n_all, err));
    for (size_t i = 0; i < n_all; i++)
        if (tn_store_pinned(s, &all[i])) {
            char *text = tn_digest_text(&all[i]);
            if (text != NULL) keep(g, text);
            free(text);
        }
    free(all);
out:
    for (size_t i = 0; records != NULL && i < n; i++) json_decref(records[i]);
    free(records);
    tn_list_free(ids, n);
    json_decref(names);
    return status;
}

static uint64_t size_of(const char *path)
{
    struct stat    st;
    DIR           *d;
    struct dirent *e;
    uint64_t       sum = 0;

    if (lstat(path, &st) != 0) return 0;
    if (!S_ISDIR(st.st_mode)) return (uint64_t)st.st_size;
    if ((d = opendir(path)) == NULL) return 0;
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *child = tn_path(path, e->d_name);
        if (child != NULL) sum += size_of(child);
        free(child);
    }
    closedir(d);
    return sum;
}

static tn_status remove_artifact(tn_store *s, const char *path, tn_error *err)
{
    char     *temp = NULL, *grave;
    tn_status status;

    TN_TRY(tn_store_temp(s, &temp, err));
    grave = tn_path(temp, "gone");
    status = grave == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : tn_rename(path, grave, err);
    if (status == TN_OK) status = tn_remove_tree(temp, err);
    free(grave);
    free(temp);
    return status;
}

/* Places of `work` and files of `rows` that nobody touched for long. */
static void sweep_old(tn_store *s, const char *room)
{
    char          *work = tn_path(s->dir, room);
    DIR           *d = work == NULL ? NULL : opendir(work), *ds;
    struct dirent *e, *f;
    time_t         now = time(NULL);

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.') continue;
        char *sub = tn_path(work, e->d_name);
        ds = sub == NULL ? NULL : opendir(sub);
        while (ds != NULL && (f = readdir(ds)) != NULL) {
            struct stat st;
            char       *path = f->d_name[0] == '.' ? NULL : tn_path(sub, f->d_name);
            if (path != NULL && lstat(path, &st) == 0 && now - st.st_mtime > (time_t)WORK_DAYS * 86400)
                tn_remove_tree(path, NULL);
            free(path);
        }
        if (ds != NULL) closedir(ds);
        free(sub);
    }
    if (d != NULL) closedir(d);
    free(work);
}

tn_status tn_store_gc(tn_store *s, int64_t keep_runs, bool dry_run, tn_gc_result *out, tn_error *err)
{
    reach      g = { json_object(), json_object() };
    tn_digest *all = NULL;
    size_t     n = 0;
    tn_status  status = TN_OK;

    memset(out, 0, sizeof *out);
    if (s->lock < 0 || (!dry_run && flock(s->lock, LOCK_EX | LOCK_NB) != 0)) {
        flock(s->lock, LOCK_SH);
        json_decref(g.made_of);
        json_decref(g.kept);
        return tn_fail(err, TN_MISMATCH,
                       "%s: another process has the store open: collect garbage when it has ended", s->dir);
    }
    TN_GOTO(mark(s, &g, keep_runs, err));
    TN_GOTO(tn_store_list(s, &all, &n, err));
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        char *text = tn_digest_text(&all[i]), *path = tn_store_hash_path(s, "objects", &all[i]);
        if (text == NULL || path == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
        } else if (json_object_get(g.kept, text) != NULL) {
            out->kept++;
            out->kept_bytes += size_of(path);
        } else {
            out->removed++;
            out->removed_bytes += size_of(path);
            if (!dry_run) status = remove_artifact(s, path, err);
        }
        free(text);
        free(path);
    }
    if (!dry_run && status == TN_OK) {
        char *seen = tn_path(s->dir, "seen"); /* stamps are cheap to make again */
        sweep_old(s, "work");
        sweep_old(s, "rows");
        if (seen != NULL && tn_remove_tree(seen, NULL) == TN_OK) status = tn_mkdirs(seen, err);
        free(seen);
    }
out:
    if (!dry_run) flock(s->lock, LOCK_SH);
    free(all);
    json_decref(g.made_of);
    json_decref(g.kept);
    return status;
}

/* A batch of artifacts; their files are hashed side by side. */
static tn_status verify_batch(tn_store *s, const tn_digest *want, size_t n, bool remove, json_t *bad,
                              tn_error *err)
{
    tn_tree_job jobs[VERIFY_BATCH] = { { .path = NULL } };
    char       *paths[VERIFY_BATCH] = { NULL };
    tn_status   status = TN_OK;

    for (size_t i = 0; i < n; i++) {
        jobs[i].path = paths[i] = tn_store_hash_path(s, "objects", &want[i]);
        if (paths[i] == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
    }
    TN_GOTO(tn_tree_digests(jobs, n, err));
    for (size_t i = 0; i < n; i++) {
        char *want_text, *found;
        if (jobs[i].status == TN_OK && tn_digest_equal(&jobs[i].root, &want[i])) continue;
        want_text = tn_digest_text(&want[i]);
        found = jobs[i].status == TN_OK ? tn_digest_text(&jobs[i].root) : tn_strdup(jobs[i].why);
        json_array_append_new(bad,
                              json_pack("{s:s,s:s,s:s,s:s}", "what", "artifact differs from its name",
                                        "where", paths[i], "expected", want_text == NULL ? "" : want_text,
                                        "found", found == NULL ? "" : found));
        free(found);
        free(want_text);
        /* what cannot be read may be a disk's bad day */
        if (remove && (jobs[i].status == TN_OK || jobs[i].status == TN_FORMAT))
            TN_GOTO(tn_remove_tree(paths[i], err));
    }
out:
    tn_tree_jobs_free(jobs, n);
    for (size_t i = 0; i < n; i++) free(paths[i]);
    return status;
}

/* Records are named by their content too; what one told of is gone, what it led to is not. */
static tn_status verify_records(tn_store *s, json_t *bad, tn_error *err)
{
    char  **ids = NULL;
    size_t  n = 0;
    json_t *record;

    TN_TRY(tn_store_run_ids(s, &ids, &n, err));
    for (size_t i = 0; i < n; i++) {
        tn_error  why;
        tn_status status = tn_store_record_get(s, ids[i], &record, &why);
        if (status == TN_OK) json_decref(record);
        else if (status != TN_NOTFOUND) { /* not removed meanwhile */
            char *path = tn_strf("%s/runs/%s.json", s->dir, ids[i]);
            json_array_append_new(bad, json_pack("{s:s,s:s,s:s,s:s}", "what", "record differs from its name",
                                                 "where", path != NULL ? path : ids[i], "expected", ids[i],
                                                 "found", status == TN_FORMAT ? "another content" : why.msg));
            free(path);
        }
    }
    tn_list_free(ids, n);
    return TN_OK;
}

tn_status tn_store_verify(tn_store *s, const tn_digest *only, bool remove, json_t **bad, int64_t *n_checked,
                          tn_error *err)
{
    tn_digest   *all = NULL;
    size_t       n = 1;
    tn_progress *p = NULL;
    tn_status    status = TN_OK;

    *bad = json_array();
    *n_checked = 0;
    if (only == NULL) TN_GOTO(tn_store_list(s, &all, &n, err));
    TN_GOTO(tn_progress_start(&p, "verify", "artifacts", (int64_t)n, err));
    for (size_t i = 0; i < n && status == TN_OK; i += VERIFY_BATCH) {
        size_t k = n - i < VERIFY_BATCH ? n - i : VERIFY_BATCH;
        status = verify_batch(s, only != NULL ? only : &all[i], k, remove, *bad, err);
        if (status == TN_OK) *n_checked += (int64_t)k;
        tn_progress_set(p, *n_checked, NULL);
    }
    if (status == TN_OK && only == NULL) status = verify_records(s, *bad, err);
out:
    tn_progress_end(p);
    free(all);
    return status;
}
