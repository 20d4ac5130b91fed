/* file.c - reading files whole or mapped, paths, lines (see file.h; writing is in out.c, directories in
 * tree.c). */
#include "base/file.h"
#include "base/arena.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static tn_status open_regular(int *fd, size_t *n, const char *path, tn_error *err)
{
    struct stat st;

    if ((*fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return tn_fail(err, errno == ENOENT || errno == ENOTDIR ? TN_NOTFOUND : TN_IO, "%s: cannot open: %s",
                       path, strerror(errno));
    if (fstat(*fd, &st) != 0) return tn_fail(err, TN_IO, "%s: cannot look at it: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) return tn_fail(err, TN_IO, "%s: is a directory, expected a file", path);
    *n = S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
    return TN_OK;
}

tn_status tn_file_no_pipe(const char *path, tn_error *err)
{
    struct stat st;

    if (stat(path, &st) != 0 || !S_ISFIFO(st.st_mode)) return TN_OK;
    return tn_fail(err, TN_IO, "%s: is a pipe, expected a file", path);
}

tn_status tn_map_open(tn_map *out, const char *path, tn_error *err)
{
    tn_status status;
    int       fd = -1;
    size_t    n = 0;
    void     *p;

    out->p = (const uint8_t *)"";
    out->n = 0;
    out->os = NULL;
    TN_GOTO(tn_file_no_pipe(path, err));
    TN_GOTO(open_regular(&fd, &n, path, err));
    if (n == 0) goto out;
    if ((p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED) {
        status = tn_fail(err, TN_IO, "%s: cannot map %zu bytes: %s", path, n, strerror(errno));
        goto out;
    }
    out->p = p;
    out->n = n;
    out->os = p;
out:
    if (fd >= 0) close(fd);
    return status;
}

void tn_map_close(tn_map *m)
{
    if (m == NULL) return;
    if (m->os != NULL) munmap(m->os, m->n);
    m->p = (const uint8_t *)"";
    m->n = 0;
    m->os = NULL;
}

void tn_map_drop(const tn_map *m, const void *p, size_t n)
{
    /* whole pages inside only: neighbours may still be read */
    if (m->os != NULL) tn_pages_drop((uint8_t *)m->os + ((const uint8_t *)p - m->p), n);
}

tn_status tn_file_difference(int64_t *at, const char *a, const char *b, tn_error *err)
{
    enum { STRETCH = 4096 }; /* memcmp finds which one differs, the loop the byte */
    tn_map    x = { NULL, 0, NULL }, y = { NULL, 0, NULL };
    tn_status status = tn_map_open(&x, a, err);

    if (status == TN_OK) status = tn_map_open(&y, b, err);
    if (status == TN_OK) {
        size_t n = x.n < y.n ? x.n : y.n, i = 0;
        while (i + STRETCH <= n && memcmp(x.p + i, y.p + i, STRETCH) == 0) i += STRETCH;
        while (i < n && x.p[i] == y.p[i]) i++;
        *at = i == n && x.n == y.n ? -1 : (int64_t)i;
    }
    tn_map_close(&x);
    tn_map_close(&y);
    return status;
}

tn_status tn_file_read_all(char **out, size_t *n, const char *path, size_t max_bytes, tn_error *err)
{
    tn_status status;
    int       fd = -1;
    size_t    size = 0;
    tn_str    s = { .max = max_bytes };
    char     *buf = NULL;
    enum { CHUNK = 1 << 16 };

    *out = NULL;
    if (n != NULL) *n = 0;
    if (s.max == 0) s.max = 1; /* 0 would mean the default of tn_str */
    TN_GOTO(open_regular(&fd, &size, path, err));
    if (size > max_bytes) goto too_large;
    if ((buf = malloc(CHUNK)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to read it", path);
        goto out;
    }
    for (;;) { /* to the end, not to st_size: pipes and /proc have none */
        ssize_t got = read(fd, buf, CHUNK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = tn_fail(err, TN_IO, "%s: cannot read: %s", path, strerror(errno));
            goto out;
        }
        if (got == 0) break;
        if ((size_t)got > max_bytes - s.len) goto too_large;
        tn_str_add_n(&s, buf, (size_t)got);
        if (s.failed) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for its %zu bytes", path, size);
            goto out;
        }
    }
    size = s.len;
    if ((*out = tn_str_take(&s)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to read it", path);
        goto out;
    }
    if (n != NULL) *n = size;
    goto out;
too_large:
    status = tn_fail(err, TN_LIMIT, "%s: larger than the %zu bytes allowed here", path, max_bytes);
out:
    free(buf);
    tn_str_free(&s);
    if (fd >= 0) close(fd);
    return status;
}

bool tn_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

tn_packing tn_file_packing(const char *path)
{
    static const unsigned char gz[2] = { 0x1f, 0x8b }, zst[4] = { 0x28, 0xb5, 0x2f, 0xfd };
    unsigned char              head[4] = { 0 };
    if (tn_ends_with(path, ".gz")) return TN_PACKING_GZ;
    if (tn_ends_with(path, ".zst")) return TN_PACKING_ZST;
    FILE *f = fopen(path, "rb");
    if (f == NULL) return TN_PACKING_NONE;
    size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    return n >= 2 && memcmp(head, gz, 2) == 0    ? TN_PACKING_GZ
           : n == 4 && memcmp(head, zst, 4) == 0 ? TN_PACKING_ZST
                                                 : TN_PACKING_NONE;
}

bool tn_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *tn_path(const char *dir, const char *name)
{
    size_t n = strlen(dir);

    if (n == 0) return tn_strdup(name);
    return tn_strf("%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

const char *tn_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

void tn_path_trim(char *path)
{
    for (size_t n = path != NULL ? strlen(path) : 0; n > 1 && path[n - 1] == '/'; n--) path[n - 1] = '\0';
}

bool tn_path_is_plain(const char *rel)
{
    const char *p = rel;

    if (*p == '\0') return false;
    for (;;) {
        const char *end = strchrnul(p, '/');
        size_t      n = (size_t)(end - p);
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.')) return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f) return false;
        if (*end == '\0') return true;
        p = end + 1;
    }
}

bool tn_read_line(FILE *f, char **line, size_t *cap, size_t *len)
{
    ssize_t n = getline(line, cap, f);

    if (n < 0) return false;
    if (n > 0 && (*line)[n - 1] == '\n') (*line)[--n] = '\0';
    *len = (size_t)n;
    return true;
}
