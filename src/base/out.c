/* out.c - writing files so that a final name always means a whole file (see file.h).
 *
 *   dir/.NAME.PID-K.tmp  ── write, fsync, rename ──→  dir/NAME  ── fsync(dir)
 *
 * A symlink is followed first, so its target is replaced, not the link. What is no regular file (a terminal,
 * a pipe, /dev/null) is written straight to: renaming over it would destroy it. */
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 18 };

struct tn_out {
    int    fd;
    bool   direct; /* no regular file: no temporary, no rename */
    char  *path, *tmp;
    size_t n; /* bytes in the buffer */
    char   buf[BUFFER];
};

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) return tn_strdup(".");
    return slash == path ? tn_strdup("/") : tn_strndup(path, (size_t)(slash - path));
}

/* A name in the same directory that nobody else uses. made: free. */
static char *temp_name(const char *path)
{
    static atomic_uint counter;
    const char        *base = tn_basename(path);

    return tn_strf("%.*s.%s.%ld-%u.tmp", (int)(base - path), path, base, (long)getpid(),
                   atomic_fetch_add(&counter, 1));
}

void tn_out_abandon(tn_out *o)
{
    if (o == NULL) return;
    if (o->fd >= 0) close(o->fd);
    if (o->tmp != NULL) unlink(o->tmp);
    free(o->tmp);
    free(o->path);
    free(o);
}

tn_status tn_out_open(tn_out **out, const char *path, tn_error *err)
{
    tn_status   status = TN_OK;
    tn_out     *o = malloc(sizeof *o);
    struct stat st;
    bool        there;

    *out = NULL;
    if (o == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory to write it", path);
    o->fd = -1;
    o->direct = false;
    o->tmp = NULL;
    o->n = 0;
    if ((o->path = realpath(path, NULL)) == NULL && (o->path = tn_strdup(path)) == NULL) goto nomem;
    there = stat(o->path, &st) == 0;
    if (there && S_ISDIR(st.st_mode)) {
        status = tn_fail(err, TN_IO, "%s: is a directory, cannot write a file there", path);
        goto out;
    }
    o->direct = there && !S_ISREG(st.st_mode);
    if (!o->direct && (o->tmp = temp_name(o->path)) == NULL) goto nomem;
    o->fd = o->direct ? open(o->path, O_WRONLY | O_CLOEXEC)
                      : open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        status = tn_fail(err, TN_IO, "%s: cannot write there: %s%s", path, strerror(errno),
                         errno == ENOENT ? " (its folder: make it first)" : "");
        free(o->tmp); /* not ours to unlink */
        o->tmp = NULL;
        goto out;
    }
    if (there && !o->direct) (void)fchmod(o->fd, st.st_mode & 0777);
    *out = o;
    o = NULL;
    goto out;
nomem:
    status = tn_fail(err, TN_NOMEM, "%s: no memory to write it", path);
out:
    tn_out_abandon(o);
    return status;
}

bool tn_write_all(int fd, const void *bytes, size_t n, size_t *done)
{
    const char *p = bytes;
    size_t      at = 0;

    while (at < n) {
        ssize_t w = write(fd, p + at, n - at);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) break;
        at += (size_t)w;
    }
    if (done != NULL) *done = at;
    return at == n;
}

static tn_status write_fully(tn_out *o, const char *p, size_t n, tn_error *err)
{
    if (tn_write_all(o->fd, p, n, NULL)) return TN_OK;
    return tn_fail(err, TN_IO, "%s: cannot write: %s%s", o->path, strerror(errno),
                   errno == ENOSPC || errno == EDQUOT
                       ? ": free some there, or write elsewhere; nothing was left under that name"
                       : "");
}

tn_status tn_out_write(tn_out *o, const void *bytes, size_t n, tn_error *err)
{
    if (n > BUFFER - o->n) {
        TN_TRY(write_fully(o, o->buf, o->n, err));
        o->n = 0;
        if (n >= BUFFER) return write_fully(o, bytes, n, err);
    }
    if (n > 0) memcpy(o->buf + o->n, bytes, n);
    o->n += n;
    return TN_OK;
}

tn_status tn_out_printf(tn_out *o, tn_error *err, const char *fmt, ...)
{
    tn_status status = TN_OK;
    tn_str    s = { 0 };
    va_list   ap;

    va_start(ap, fmt);
    tn_str_addv(&s, fmt, ap);
    va_end(ap);
    TN_GOTO(tn_str_check(&s, err));
    TN_GOTO(tn_out_write(o, s.p, s.len, err));
out:
    tn_str_free(&s);
    return status;
}

tn_status tn_fsync_dir(const char *path, tn_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0) return tn_fail(err, TN_IO, "%s: cannot open the directory: %s", path, strerror(errno));
    rc = fsync(fd);
    close(fd);
    /* Some file systems (network, fuse) have no fsync of directories and say EINVAL: nothing more can be done
     * there. */
    if (rc != 0 && errno != EINVAL && errno != ENOTSUP)
        return tn_fail(err, TN_IO, "%s: cannot sync the directory: %s", path, strerror(errno));
    return TN_OK;
}

static tn_status sync_parent(const char *path, tn_error *err)
{
    char     *dir = dir_of(path);
    tn_status status;

    if (dir == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its directory's name", path);
    status = tn_fsync_dir(dir, err);
    free(dir);
    return status;
}

tn_status tn_out_commit(tn_out *o, tn_error *err)
{
    tn_status status = write_fully(o, o->buf, o->n, err);
    int       rc;

    if (status != TN_OK) goto out;
    if (!o->direct && fsync(o->fd) != 0) {
        status = tn_fail(err, TN_IO, "%s: cannot sync: %s", o->path, strerror(errno));
        goto out;
    }
    rc = close(o->fd);
    o->fd = -1;
    if (rc != 0 && errno != EINTR) {
        status = tn_fail(err, TN_IO, "%s: cannot close: %s", o->path, strerror(errno));
        goto out;
    }
    if (o->direct) goto out;
    if (rename(o->tmp, o->path) != 0) {
        status = tn_fail(err, TN_IO, "%s: cannot move the finished file there: %s", o->path, strerror(errno));
        goto out;
    }
    free(o->tmp);
    o->tmp = NULL;
    status = sync_parent(o->path, err);
out:
    tn_out_abandon(o);
    return status;
}

tn_status tn_file_write_all(const char *path, const void *bytes, size_t n, tn_error *err)
{
    tn_status status;
    tn_out   *o = NULL;

    TN_TRY(tn_out_open(&o, path, err));
    if ((status = tn_out_write(o, bytes, n, err)) != TN_OK) {
        tn_out_abandon(o);
        return status;
    }
    return tn_out_commit(o, err);
}

tn_status tn_rename(const char *from, const char *to, tn_error *err)
{
    if (rename(from, to) != 0)
        return tn_fail(err, TN_IO, "%s: cannot move to %s: %s", from, to, strerror(errno));
    return sync_parent(to, err);
}
