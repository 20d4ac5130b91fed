/* tree.c - a directory as one digest: the Merkle root over (name, mode, digest) of its files.
 *
 *   leaf 0      "tenet/tree/v1"                                          so that an empty directory is no empty file
 *   leaf i      "644" or "755", SP, relative path with '/', NUL, SHA-256 of the content (32 bytes)
 *               sorted by path (bytes); only the owner's execute bit counts, so that a umask changes nothing
 *
 * Directories without files leave no trace; symlinks and special files are errors. A path that is a regular
 * file has the SHA-256 of its content. Files are hashed by as many threads as there are, largest first. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char tree_tag[] = "tenet/tree/v1";

/* One file to be hashed: `file` of `dir`, or the path `dir` itself. */
typedef struct item {
    const char   *dir;
    bool          alone;
    tn_tree_file *file;
    tn_status     status;
    char         *why; /* of a failure; made */
} item;

typedef struct items {
    item  *list, **order;
    size_t n, cap;
    bool   polls;
} items;

static void items_free(items *w)
{
    for (size_t i = 0; i < w->n; i++) free(w->list[i].why);
    free(w->list);
    free(w->order);
}

static tn_status items_add(items *w, const char *dir, bool alone, tn_tree_file *files, size_t n,
                           tn_error *err)
{
    if (w->cap - w->n < n) {
        size_t cap = w->cap + n > 2 * w->cap ? w->cap + n : 2 * w->cap;
        item  *more = realloc(w->list, cap * sizeof *more);
        if (more == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory to hash %zu files", dir, n);
        w->list = more;
        w->cap = cap;
    }
    for (size_t i = 0; i < n; i++) w->list[w->n++] = (item){ .dir = dir, .alone = alone, .file = &files[i] };
    return TN_OK;
}

static int larger_first(const void *a, const void *b)
{
    const item *x = *(item *const *)a, *y = *(item *const *)b;

    if (x->file->bytes != y->file->bytes) return x->file->bytes > y->file->bytes ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Results lie by index, so it cannot matter which thread takes which file. */
static void hash_item(void *arg, size_t i)
{
    const items *w = arg;
    item        *x = w->order[i];
    tn_error     why = { .msg = "" };
    char        *path = x->alone ? tn_strdup(x->dir) : tn_path(x->dir, x->file->name);

    if (path == NULL) x->status = tn_fail(&why, TN_NOMEM, "%s: no memory to hash its files", x->dir);
    else if (w->polls) x->status = tn_interrupted(&why);
    if (x->status == TN_OK) x->status = tn_sha256_file(path, &x->file->digest, &x->file->bytes, &why);
    if (x->status != TN_OK) x->why = tn_strdup(why.msg);
    free(path);
}

static tn_status hash_items(items *w, tn_error *err)
{
    if ((w->order = calloc(w->n > 0 ? w->n : 1, sizeof *w->order)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory to hash %zu files", w->n);
    for (size_t i = 0; i < w->n; i++) w->order[i] = &w->list[i];
    qsort(w->order, w->n, sizeof *w->order, larger_first);
    tn_parallel_items(w->n, hash_item, w);
    return TN_OK;
}

/* The first failure among items [from, to), by index. */
static tn_status failure(const items *w, size_t from, size_t to, tn_error *err)
{
    for (size_t i = from; i < to; i++)
        if (w->list[i].status != TN_OK)
            return tn_fail(err, w->list[i].status, "%s",
                           w->list[i].why != NULL ? w->list[i].why : w->list[i].dir);
    return TN_OK;
}

void tn_tree_free(tn_tree_file *files, size_t n)
{
    for (size_t i = 0; files != NULL && i < n; i++) free(files[i].name);
    free(files);
}

/* Names, modes and sizes, not hashed yet. */
static tn_status list_files(const char *dir, tn_tree_file **out, size_t *n_out, tn_error *err)
{
    tn_status     status = TN_OK;
    char        **names = NULL;
    size_t        n = 0;
    tn_tree_file *files = NULL;

    *out = NULL;
    *n_out = 0;
    TN_GOTO(tn_list_files(&names, &n, dir, err));
    if ((files = calloc(n > 0 ? n : 1, sizeof *files)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a list of %zu files", dir, n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        char       *path = tn_path(dir, names[i]);
        int         rc = path == NULL ? -1 : lstat(path, &st);
        if (rc != 0)
            status = tn_fail(err, TN_IO, "%s/%s: cannot look at it: %s", dir, names[i], strerror(errno));
        free(path);
        if (status != TN_OK) goto out;
        files[i].name = names[i];
        names[i] = NULL;
        files[i].mode = (st.st_mode & S_IXUSR) != 0 ? 0755 : 0644;
        files[i].bytes = (uint64_t)st.st_size;
    }
    *out = files;
    *n_out = n;
    files = NULL;
out:
    tn_list_free(names, n);
    if (files != NULL) tn_tree_free(files, n);
    return status;
}

tn_status tn_tree_list(const char *dir, tn_tree_file **out, size_t *n, tn_error *err)
{
    items     w = { .list = NULL };
    tn_status status = list_files(dir, out, n, err);

    if (status == TN_OK) status = items_add(&w, dir, false, *out, *n, err);
    if (status == TN_OK) status = hash_items(&w, err);
    if (status == TN_OK) status = failure(&w, 0, w.n, err);
    items_free(&w);
    if (status != TN_OK) {
        tn_tree_free(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}

tn_status tn_tree_root(const tn_tree_file *files, size_t n, tn_digest *out, tn_error *err)
{
    tn_digest *leaves = calloc(n + 1, sizeof *leaves);
    tn_str     entry = { .max = 1 << 16 };

    if (leaves == NULL) return tn_fail(err, TN_NOMEM, "no memory for the leaves of %zu files", n);
    tn_merkle_leaf(&leaves[0], tree_tag, sizeof tree_tag - 1);
    for (size_t i = 0; i < n; i++) {
        tn_str_clear(&entry);
        tn_str_addf(&entry, "%o %s", (unsigned)files[i].mode, files[i].name);
        tn_str_add_n(&entry, "", 1);
        tn_str_add_n(&entry, files[i].digest.b, TN_SHA256_BYTES);
        if (tn_str_check(&entry, err) != TN_OK) break;
        tn_merkle_leaf(&leaves[i + 1], entry.p, entry.len);
    }
    tn_status status = tn_str_check(&entry, err);
    if (status == TN_OK) tn_merkle_root(out, leaves, n + 1);
    tn_str_free(&entry);
    free(leaves);
    return status;
}

/* What one job needs hashed: one file, or those of a directory. */
typedef struct batch {
    tn_tree_file *files, one;
    size_t        n, from, to;
    bool          directory;
} batch;

static tn_status batch_start(items *w, batch *b, const char *path, tn_error *err)
{
    struct stat st;

    b->from = b->to = w->n;
    if (lstat(path, &st) != 0)
        return tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return tn_fail(err, TN_FORMAT, "%s: neither a file nor a directory", path);
    b->directory = S_ISDIR(st.st_mode);
    if (b->directory) TN_TRY(list_files(path, &b->files, &b->n, err));
    else b->one.bytes = (uint64_t)st.st_size;
    TN_TRY(
        items_add(w, path, !b->directory, b->directory ? b->files : &b->one, b->directory ? b->n : 1, err));
    b->to = w->n;
    return TN_OK;
}

static tn_status batch_end(const items *w, const batch *b, tn_tree_job *job, tn_error *err)
{
    TN_TRY(failure(w, b->from, b->to, err));
    for (size_t i = b->from; i < b->to; i++) job->bytes += w->list[i].file->bytes;
    if (b->directory) return tn_tree_root(b->files, b->n, &job->root, err);
    job->root = b->one.digest;
    return TN_OK;
}

static tn_status digest_jobs(tn_tree_job *jobs, size_t n, bool polls, tn_error *err)
{
    items     w = { .polls = polls };
    batch    *b = calloc(n > 0 ? n : 1, sizeof *b);
    tn_error  why;
    tn_status status = TN_OK;

    if (b == NULL) return tn_fail(err, TN_NOMEM, "no memory to hash %zu artifacts", n);
    for (size_t i = 0; i < n; i++) {
        jobs[i].bytes = 0;
        jobs[i].why = NULL;
        if ((jobs[i].status = batch_start(&w, &b[i], jobs[i].path, &why)) != TN_OK)
            jobs[i].why = tn_strdup(why.msg);
    }
    TN_GOTO(hash_items(&w, err));
    for (size_t i = 0; i < n; i++)
        if (jobs[i].status == TN_OK && (jobs[i].status = batch_end(&w, &b[i], &jobs[i], &why)) != TN_OK)
            jobs[i].why = tn_strdup(why.msg);
    if (polls) status = tn_interrupted(err);
out:
    for (size_t i = 0; i < n; i++) tn_tree_free(b[i].files, b[i].n);
    free(b);
    items_free(&w);
    return status;
}

void tn_tree_jobs_free(tn_tree_job *jobs, size_t n)
{
    for (size_t i = 0; jobs != NULL && i < n; i++) {
        free(jobs[i].why);
        jobs[i].why = NULL;
    }
}

tn_status tn_tree_digests(tn_tree_job *jobs, size_t n, tn_error *err)
{
    return digest_jobs(jobs, n, true, err);
}

tn_status tn_tree_digest(const char *path, tn_digest *out, uint64_t *bytes, tn_error *err)
{
    tn_tree_job job = { .path = path };
    tn_status   status = digest_jobs(&job, 1, false, err);

    if (status == TN_OK && job.status != TN_OK)
        status = tn_fail(err, job.status, "%s", job.why != NULL ? job.why : path);
    if (status == TN_OK) {
        *out = job.root;
        if (bytes != NULL) *bytes = job.bytes;
    }
    tn_tree_jobs_free(&job, 1);
    return status;
}
