/* tree.c - directories: making, listing, removing, and copies of files by reflink, link or bytes (see
 * file.h). */
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

tn_status tn_mkdirs(const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    char     *p = tn_strdup(path);

    if (p == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its name", path);
    for (size_t i = 1; status == TN_OK; i++) {
        char c = p[i - 1] == '\0' ? '\0' : p[i];
        if (c != '/' && c != '\0') continue;
        p[i] = '\0';
        int why = mkdir(p, 0777) != 0 ? errno : 0; /* the look below may change errno */
        if (why != 0 && why != EEXIST && !tn_is_dir(p))
            status = tn_fail(err, TN_IO, "%s: cannot make the directory: %s", p, strerror(why));
        else if (!tn_is_dir(p)) status = tn_fail(err, TN_IO, "%s: is there but no directory", p);
        p[i] = c;
        if (c == '\0') break;
    }
    free(p);
    return status;
}

tn_status tn_remove_tree(const char *path, tn_error *err)
{
    tn_status   status = TN_OK;
    char       *roots[2] = { NULL, NULL };
    struct stat st;
    FTS        *fts = NULL;
    FTSENT     *e;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? TN_OK
                               : tn_fail(err, TN_IO, "%s: cannot look at it: %s", path, strerror(errno));
    if ((roots[0] = tn_strdup(path)) == NULL ||
        (fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to remove it", path);
        goto out;
    }
    while (errno = 0, (e = fts_read(fts)) != NULL) {
        int rc = 0;
        switch (e->fts_info) {
        case FTS_D: /* artifacts are read-only: make room to unlink inside */
            if ((e->fts_statp->st_mode & 0700) != 0700) (void)chmod(e->fts_accpath, 0700);
            break;
        case FTS_DP: rc = rmdir(e->fts_accpath); break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            status = tn_fail(err, TN_IO, "%s: cannot read: %s", e->fts_path, strerror(e->fts_errno));
            goto out;
        default: rc = unlink(e->fts_accpath); break;
        }
        if (rc != 0 && errno != ENOENT) {
            status = tn_fail(err, TN_IO, "%s: cannot remove: %s", e->fts_path, strerror(errno));
            goto out;
        }
    }
    if (errno != 0) status = tn_fail(err, TN_IO, "%s: cannot walk it: %s", path, strerror(errno));
out:
    if (fts != NULL) fts_close(fts);
    free(roots[0]);
    return status;
}

void tn_list_free(char **list, size_t n)
{
    for (size_t i = 0; list != NULL && i < n; i++) free(list[i]);
    free(list);
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static tn_status list_add(char ***list, size_t *n, size_t *cap, const char *rel, const char *dir,
                          tn_error *err)
{
    if (*n == *cap) {
        size_t more = *cap == 0 ? 64 : 2 * *cap;
        char **p = realloc(*list, more * sizeof *p);
        if (p == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for the list of its files", dir);
        *list = p;
        *cap = more;
    }
    if (((*list)[*n] = tn_strdup(rel)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the list of its files", dir);
    ++*n;
    return TN_OK;
}

/* Files (bare false), or folders with no file anywhere below them (bare true). */
static tn_status list_below(char ***out, size_t *n, const char *dir, bool bare, tn_error *err)
{
    tn_status status = TN_OK;
    char    **list = NULL, *roots[2] = { NULL, NULL };
    size_t    n_list = 0, cap = 0, skip;
    FTS      *fts = NULL;
    FTSENT   *e;

    *out = NULL;
    *n = 0;
    if (!tn_is_dir(dir))
        return tn_fail(err, tn_exists(dir) ? TN_IO : TN_NOTFOUND, "%s: no such directory", dir);
    if ((roots[0] = tn_path(dir, "")) == NULL ||
        (fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to list it", dir);
        goto out;
    }
    skip = strlen(roots[0]);
    while (errno = 0, (e = fts_read(fts)) != NULL) {
        switch (e->fts_info) {
        case FTS_D: break;
        case FTS_DP: /* fts_number: there is a file below */
            if (e->fts_number != 0) e->fts_parent->fts_number = 1;
            else if (bare && e->fts_level > 0)
                TN_GOTO(list_add(&list, &n_list, &cap, e->fts_path + skip, dir, err));
            break;
        case FTS_F:
            e->fts_parent->fts_number = 1;
            if (!bare) TN_GOTO(list_add(&list, &n_list, &cap, e->fts_path + skip, dir, err));
            break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            status = tn_fail(err, TN_IO, "%s: cannot read: %s", e->fts_path, strerror(e->fts_errno));
            goto out;
        default:
            status = tn_fail(err, TN_FORMAT,
                             "%s: is a symbolic link or special file; only plain files and directories "
                             "are taken: replace it by what it points to",
                             e->fts_path);
            goto out;
        }
    }
    if (errno != 0) {
        status = tn_fail(err, TN_IO, "%s: cannot walk it: %s", dir, strerror(errno));
        goto out;
    }
    if (n_list > 0) qsort(list, n_list, sizeof *list, by_bytes);
    *out = list;
    *n = n_list;
    list = NULL;
    n_list = 0;
out:
    if (fts != NULL) fts_close(fts);
    free(roots[0]);
    tn_list_free(list, n_list);
    return status;
}

tn_status tn_list_files(char ***out, size_t *n, const char *dir, tn_error *err)
{
    return list_below(out, n, dir, false, err);
}

tn_status tn_list_bare(char ***out, size_t *n, const char *dir, tn_error *err)
{
    return list_below(out, n, dir, true, err);
}

static tn_status copy_bytes(const char *from, int fd, const char *to, tn_error *err)
{
    tn_status status;
    tn_out   *o = NULL;
    char     *buf = NULL;
    enum { CHUNK = 1 << 18 };

    TN_GOTO(tn_out_open(&o, to, err));
    if ((buf = malloc(CHUNK)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to copy it", from);
        goto out;
    }
    for (;;) {
        ssize_t n = read(fd, buf, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = tn_fail(err, TN_IO, "%s: cannot read: %s", from, strerror(errno));
            goto out;
        }
        if (n == 0) break;
        TN_GOTO(tn_out_write(o, buf, (size_t)n, err));
    }
    status = tn_out_commit(o, err);
    o = NULL;
out:
    free(buf);
    tn_out_abandon(o);
    return status;
}

/* Reflink, or hard link if allowed, into `tmp`; false if neither works here. */
static bool clone_to(const char *tmp, const char *from, int fd, bool may_link)
{
    int out = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

    if (out >= 0) {
        bool ok = ioctl(out, FICLONE, fd) == 0 && fsync(out) == 0;
        close(out);
        if (ok) return true;
        unlink(tmp);
    }
    return may_link && link(from, tmp) == 0;
}

tn_status tn_file_clone(const char *from, const char *to, bool may_link, tn_error *err)
{
    static atomic_uint counter;
    tn_status          status = TN_OK;
    struct stat        st;
    char              *tmp = NULL;
    int                fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        status = tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: cannot open: %s", from,
                         strerror(errno));
        goto out;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        status = tn_fail(err, TN_IO, "%s: not a regular file, cannot copy it", from);
        goto out;
    }
    if ((tmp = tn_strf("%s.%ld-%u.clone.tmp", to, (long)getpid(), atomic_fetch_add(&counter, 1))) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to copy it", from);
        goto out;
    }
    if (!clone_to(tmp, from, fd, may_link)) {
        status = copy_bytes(from, fd, to, err);
        goto out;
    }
    status = tn_rename(tmp, to, err);
    unlink(tmp); /* rename leaves it when both names were links to one file */
out:
    free(tmp);
    if (fd >= 0) close(fd);
    return status;
}
