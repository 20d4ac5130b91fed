/* tree.c - a directory as one digest: the Merkle root over (name, mode, digest) of its files.
 *
 *   leaf 0      "tenet/tree/v1"                                          so that an empty directory is no empty file
 *   leaf i      "644" or "755", SP, relative path with '/', NUL, SHA-256 of the content (32 bytes)
 *               sorted by path (bytes); only the owner's execute bit counts, so that a umask changes nothing
 *
 * Directories without files leave no trace; symlinks and special files are errors. A path that is a regular file has
 * the SHA-256 of its content. Files are hashed by as many threads as there are, largest first. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"
#include "base/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char tree_tag[] = "tenet/tree/v1";

typedef struct hash_job {
    tn_tree_file *files;
    size_t       *order;               /* indices of files, largest first */
    size_t        n;
    const char   *dir;
    atomic_size_t next;
    tn_status    *status;              /* one a piece */
    tn_error     *errors;
} hash_job;

/* One piece a thread; pieces take files as they become free. Results lie by index, so the order cannot matter. */
static void hash_files(void *arg, int64_t begin, int64_t end, int i_thread)
{
    hash_job *job = arg;

    (void)i_thread;
    for (int64_t piece = begin; piece < end; piece++)
        while (job->status[piece] == TN_OK) {
            size_t i = atomic_fetch_add(&job->next, 1);
            if (i >= job->n) return;
            tn_tree_file *f = &job->files[job->order[i]];
            char         *path = tn_path(job->dir, f->name);
            if (path == NULL) job->status[piece] = tn_fail(&job->errors[piece], TN_NOMEM, "%s: no memory", f->name);
            else job->status[piece] = tn_sha256_file(path, &f->digest, &f->bytes, &job->errors[piece]);
            free(path);
        }
}

static int larger_first(const void *a, const void *b, void *files)
{
    const tn_tree_file *f = files;
    uint64_t            x = f[*(const size_t *)a].bytes, y = f[*(const size_t *)b].bytes;

    return x > y ? -1 : x < y;
}

static tn_status hash_all(const char *dir, tn_tree_file *files, size_t n, tn_error *err)
{
    tn_status status = TN_OK;
    int64_t   n_piece = tn_threads() > 0 ? tn_threads() : 1;
    hash_job  job = { .files = files, .n = n, .dir = dir };

    job.order = calloc(n > 0 ? n : 1, sizeof *job.order);
    job.status = calloc((size_t)n_piece, sizeof *job.status);
    job.errors = calloc((size_t)n_piece, sizeof *job.errors);
    if (job.order == NULL || job.status == NULL || job.errors == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to hash %zu files", dir, n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) job.order[i] = i;
    qsort_r(job.order, n, sizeof *job.order, larger_first, files);
    tn_parallel(n_piece, 1, hash_files, &job);
    for (int64_t i = 0; i < n_piece && status == TN_OK; i++)
        if (job.status[i] != TN_OK) {
            status = job.status[i];
            if (err != NULL) *err = job.errors[i];
        }
out:
    free(job.order);
    free(job.status);
    free(job.errors);
    return status;
}

void tn_tree_free(tn_tree_file *files, size_t n)
{
    for (size_t i = 0; files != NULL && i < n; i++) free(files[i].name);
    free(files);
}

tn_status tn_tree_list(const char *dir, tn_tree_file **out, size_t *n_out, tn_error *err)
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
        if (rc != 0) status = tn_fail(err, TN_IO, "%s/%s: cannot look at it: %s", dir, names[i], strerror(errno));
        free(path);
        if (status != TN_OK) goto out;
        files[i].name = names[i];
        names[i] = NULL;
        files[i].mode = (st.st_mode & S_IXUSR) != 0 ? 0755 : 0644;
        files[i].bytes = (uint64_t)st.st_size;
    }
    TN_GOTO(hash_all(dir, files, n, err));
    *out = files;
    *n_out = n;
    files = NULL;
out:
    tn_list_free(names, n);
    if (files != NULL) tn_tree_free(files, n);
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

tn_status tn_tree_digest(const char *path, tn_digest *out, uint64_t *bytes, tn_error *err)
{
    tn_tree_file *files = NULL;
    size_t        n = 0;
    struct stat   st;
    uint64_t      sum = 0;

    if (lstat(path, &st) != 0)
        return tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode)) return tn_sha256_file(path, out, bytes, err);
    if (!S_ISDIR(st.st_mode)) return tn_fail(err, TN_FORMAT, "%s: neither a file nor a directory", path);
    TN_TRY(tn_tree_list(path, &files, &n, err));
    tn_status status = tn_tree_root(files, n, out, err);
    for (size_t i = 0; i < n; i++) sum += files[i].bytes;
    tn_tree_free(files, n);
    if (bytes != NULL) *bytes = sum;
    return status;
}
