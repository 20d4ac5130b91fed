/* out_dir.c - the run's directory: one process at a time (a lock), and no trace of a run that ended before
 * its first step.
 *
 * What was there before is never removed: a folder of the user's that is called data, another run, a
 * directory made beforehand. Tokens are written to data.new where a run lies already, and take the place of
 * data once it is known to be the same run. */
#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

/* All that can be written before the first step is done. */
enum { RUN_JSON = 2, SAID = 7 };
static const char *const early[] = {
    "lock",          "data", [RUN_JSON] = "run.json", "config.json", "steps.jsonl",
    "metrics.jsonl", "tb",   [SAID] = "said-train",   "said-valid",  "said-train.new",
    "said-valid.new"
};
enum { N_EARLY = sizeof early / sizeof *early };

/* Cuts the last part off; false: there is none. */
static bool to_parent(char *path)
{
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
    path[n] = '\0';
    return n > 0;
}

static tn_status look(out_dir *p, tn_error *err)
{
    char *at = tn_strdup(p->out);
    if (at == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    for (bool more = true; more && !tn_exists(at); more = to_parent(at)) p->n_new++;
    free(at);
    for (int i = 0; i < N_EARLY; i++) {
        char *path = tn_path(p->out, early[i]);
        if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
        p->had[i] = tn_exists(path);
        free(path);
    }
    return TN_OK;
}

/* The file that is locked may be on its way out, with a run that left nothing: then there is another one, or
 * none. */
static bool still_there(int fd, const char *path)
{
    struct stat mine, named;
    return fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_ino == named.st_ino &&
           mine.st_dev == named.st_dev;
}

/* A folder without run.json is no run's: what a run would write over there is somebody's (a model's
 * config.json). */
static tn_status foreign_check(const char *out, tn_error *err)
{
    static const char *const own[] = { "config.json", "steps.jsonl", "metrics.jsonl", "result.json",
                                       "report.html", "model",       "adapter",       NULL };
    char                    *json = tn_path(out, "run.json");
    tn_status                status = json == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    for (int i = 0; status == TN_OK && !tn_exists(json) && own[i] != NULL; i++) {
        char *path = tn_path(out, own[i]);
        if (path == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
        else if (tn_exists(path))
            status = tn_fail(err, TN_MISMATCH,
                             "%s is there and no run's: a run would write over it; choose another --out",
                             path);
        free(path);
    }
    free(json);
    return status;
}

/* OUT/data is renewed as a whole, so only token shards may lie in it: --out . in a folder with a corpus of
 * that name would lose it. */
static tn_status data_check(const char *out, tn_error *err)
{
    char     *data = tn_path(out, "data"), **files = NULL;
    size_t    n = 0;
    tn_status status = data == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    if (status == TN_OK && tn_is_dir(data)) status = tn_list_files(&files, &n, data, err);
    for (size_t i = 0; status == TN_OK && i < n; i++) {
        const char *name = files[i][0] == '.' ? files[i] + 1 : files[i]; /* .NAME.PID.tmp: not whole yet */
        bool        ours = (tn_starts_with(name, "train-") || tn_starts_with(name, "valid-")) &&
                    strstr(name, ".tns") != NULL;
        if (!ours)
            status = tn_fail(err, TN_MISMATCH,
                             "%s/%s is there and no run's: a run keeps its tokens in the folder data of its "
                             "own; choose another --out",
                             data, files[i]);
    }
    tn_list_free(files, n);
    free(data);
    return status;
}

/* What a process that was killed left half written: step-N.tmp, and the temporaries .NAME.PID.tmp of this
 * run's files. Only with the lock. */
static void leftovers_remove(const char *dir, bool in_data)
{
    static const char *const ours[] = { ".run.json.", ".config.json.", ".result.json.", ".report.html.",
                                        ".said-" };
    DIR                     *d = opendir(dir);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        bool tmp = tn_ends_with(e->d_name, ".tmp"),
             mine = in_data ? tn_starts_with(e->d_name, ".train-") || tn_starts_with(e->d_name, ".valid-")
                            : tn_starts_with(e->d_name, "step-");
        for (size_t i = 0; !in_data && i < sizeof ours / sizeof *ours; i++)
            mine |= tn_starts_with(e->d_name, ours[i]);
        char *path = tmp && mine ? tn_path(dir, e->d_name) : NULL;
        if (path != NULL) tn_remove_tree(path, NULL);
        free(path);
    }
    if (d != NULL) closedir(d);
}

/* A folder without run.json is no run's, so a folder step-N in it is somebody's. */
static tn_status foreign_steps_check(const char *out, tn_error *err)
{
    char     *json = tn_path(out, "run.json");
    DIR      *d = json != NULL && !tn_exists(json) ? opendir(out) : NULL;
    tn_status status = json == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    for (const struct dirent *e; status == TN_OK && d != NULL && (e = readdir(d)) != NULL;) {
        int64_t step;
        if (tn_starts_with(e->d_name, "step-") && tn_parse_i64(e->d_name + 5, &step))
            status = tn_fail(err, TN_MISMATCH,
                             "%s/%s is there and no run's: a run would write over it; choose another --out",
                             out, e->d_name);
    }
    if (d != NULL) closedir(d);
    free(json);
    return status;
}

tn_status train_out_take(out_dir *p, const char *out, tn_error *err)
{
    char     *path = NULL;
    tn_status status = TN_OK;

    *p = (out_dir){ .lock = -1, .out = out };
    _Static_assert(N_EARLY <= sizeof p->had / sizeof *p->had, "a flag for every name");
    TN_GOTO(look(p, err));
    TN_GOTO(foreign_check(out, err));
    TN_GOTO(foreign_steps_check(out, err));
    TN_GOTO(data_check(out, err));
    if ((path = tn_path(out, "lock")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    while (!p->held) {
        TN_GOTO(tn_mkdirs(out, err));
        p->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (p->lock < 0) {
            status = tn_fail(err, TN_IO, "%s: cannot write into the run's directory: %s", path,
                             strerror(errno));
            goto out;
        }
        if (flock(p->lock, LOCK_EX | LOCK_NB) != 0) {
            status = tn_fail(
                err, TN_IO,
                "%s: another process is training into this directory; wait for it, or choose another --out",
                out);
            goto out;
        }
        if (!(p->held = still_there(p->lock, path))) close(p->lock);
    }
    leftovers_remove(out, false);
    free(path);
    if ((path = tn_path(out, "data")) != NULL) leftovers_remove(path, true);
out:
    free(path);
    return status;
}

tn_status train_scratch_dir(run *r, char dir[TRAIN_SCRATCH_BYTES], tn_error *err)
{
    const char *below = getenv("TMPDIR");
    tn_status   status = TN_OK;

    if (r->rank == 0) {
        int n = snprintf(dir, TRAIN_SCRATCH_BYTES, "%s/tenet-train-XXXXXX",
                         below != NULL && below[0] != '\0' ? below : "/tmp");
        if (n >= TRAIN_SCRATCH_BYTES || mkdtemp(dir) == NULL) {
            status = tn_fail(err, TN_IO, "%s: cannot make a directory for the tokenised data", dir);
            dir[0] = '\0';
        }
    }
    TN_TRY(tn_dist_agree(r->dist, status, err));
    return tn_dist_broadcast(r->dist, 0, dir, TRAIN_SCRATCH_BYTES, err);
}

const char *train_data_name(const char *out)
{
    char       *there = tn_path(out, "run.json");
    const char *name = there != NULL && tn_exists(there) ? "data.new" : "data";
    free(there);
    return name;
}

/* A mapping of a shard keeps what it maps. */
tn_status train_out_renew(const out_dir *p, tn_error *err)
{
    char     *from = tn_path(p->out, "data.new"), *to = tn_path(p->out, "data");
    tn_status status = from != NULL && to != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a path");

    if (status == TN_OK && tn_exists(from)) {
        status = tn_remove_tree(to, err);
        if (status == TN_OK) status = tn_rename(from, to, err);
    }
    free(from);
    free(to);
    return status;
}

/* run.json says what the directory holds; another run there is refused, and the first difference named. */
tn_status train_out_check(const run *r, json_t *description, tn_error *err)
{
    char         *path = tn_path(r->io->out, "run.json");
    const size_t  look = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9);
    json_t       *old = NULL;
    const json_t *mine;
    const char   *key;
    tn_status     status = TN_OK;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (!tn_exists(path)) {
        TN_GOTO(tn_json_save(path, description, true, err));
        TN_GOTO(train_config_save(r, err));
        goto out;
    }
    TN_GOTO(tn_json_load(&old, path, 1 << 20, err));
    if (json_equal(old, description)) {
        char *config = tn_path(r->io->out, "config.json"); /* a kill may have come between the two */
        if (config == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
        else if (!tn_exists(config)) status = train_config_save(r, err);
        free(config);
        goto out;
    }
    json_object_foreach(description, key, mine) {
        const json_t *theirs = json_object_get(old, key);
        if (json_equal(mine, theirs)) continue;
        char *a = theirs != NULL ? json_dumps(theirs, look) : tn_strdup("nothing");
        char *b = json_dumps(mine, look);
        status = tn_fail(err, TN_MISMATCH,
                         "%s holds another run: %s is %.100s there and %.100s now; choose another --out%s",
                         r->io->out, key, a != NULL ? a : "?", b != NULL ? b : "?",
                         strcmp(key, "steps") == 0 ? " and extend the old run by 'checkpoint: DIR/step-N'"
                                                   : "");
        free(a);
        free(b);
        goto out;
    }
    status = tn_fail(err, TN_MISMATCH, "%s holds another run; choose another --out", r->io->out);
out:
    json_decref(old);
    free(path);
    return status;
}

void train_out_said_remove(const char *out)
{
    for (int i = SAID; i < N_EARLY; i++) {
        char *path = tn_path(out, early[i]);
        if (path != NULL) unlink(path);
        free(path);
    }
}

/* Heartbeats of all ranks; whoever watched them has an answer already. */
static void heartbeats_remove(const char *out)
{
    DIR *d = opendir(out);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (!tn_starts_with(e->d_name, "heartbeat-") ||
            strspn(e->d_name + 10, "0123456789") != strlen(e->d_name + 10))
            continue;
        char *path = tn_path(out, e->d_name);
        if (path != NULL) unlink(path);
        free(path);
    }
    if (d != NULL) closedir(d);
}

bool train_out_leave(out_dir *p, bool keep)
{
    char *renewed = p->held ? tn_path(p->out, "data.new") : NULL;
    char *at = keep || p->out == NULL || p->had[RUN_JSON] ? NULL : tn_strdup(p->out);

    if (renewed != NULL) tn_remove_tree(renewed, NULL);
    free(renewed);
    if (at != NULL && p->held) heartbeats_remove(p->out);
    for (int i = N_EARLY - 1; at != NULL && p->held && i >= 0; i--) { /* the lock last */
        char *path = p->had[i] ? NULL : tn_path(p->out, early[i]);
        if (path != NULL) tn_remove_tree(path, NULL);
        free(path);
    }
    for (int i = 0; at != NULL && i < p->n_new; i++) {
        if (rmdir(at) != 0 && errno != ENOENT) break; /* somebody else put something there */
        if (!to_parent(at)) break;
    }
    bool kept = at == NULL;
    free(at);
    if (p->lock >= 0) close(p->lock);
    p->lock = -1;
    return kept;
}
