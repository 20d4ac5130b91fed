/* download.c - a file over HTTP, resumable and checked (see net.h).
 *
 *   PATH.part  ── bytes appended, hashed ── size and digest as expected ── fsync, rename ──→  PATH
 *
 * A part is only continued when a digest will judge the whole; without one each try starts anew, because
 * nothing could tell that the two halves came from one file. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "net/http.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL_FILE = 1 << 20 };

typedef struct part {
    const char  *path, *what;
    size_t       max_bytes; /* 0: no limit */
    int          fd;
    int64_t      have;        /* bytes in the file */
    bool         wanted_rest; /* we asked for a range */
    int64_t      total;       /* -1: unknown */
    tn_progress *progress;
} part;

static tn_status part_begin(void *arg, long status, int64_t length, tn_error *err)
{
    part *p = arg;

    if (p->wanted_rest && status != 206) { /* the server sends it all: start over */
        if (ftruncate(p->fd, 0) != 0 || lseek(p->fd, 0, SEEK_SET) != 0)
            return tn_fail(err, TN_IO, "%s: cannot start over: %s", p->path, strerror(errno));
        p->have = 0;
    }
    if (length >= 0) {
        if (p->total >= 0 && p->have + length != p->total)
            return tn_fail(err, TN_VERIFY, "%s: the server has %lld bytes, expected %lld", p->what,
                           (long long)(p->have + length), (long long)p->total);
        p->total = p->have + length;
    }
    if (p->max_bytes > 0 && p->total > 0 && (size_t)p->total > p->max_bytes)
        return tn_fail(err, TN_LIMIT, "%s: %lld bytes, more than the %zu allowed", p->what,
                       (long long)p->total, p->max_bytes);
    if (p->total >= 0 && p->total < SMALL_FILE) return TN_OK; /* there in an instant: no line of its own */
    return tn_progress_start(&p->progress, p->what, "bytes", p->total > 0 ? p->total : 0, err);
}

static tn_status part_write(void *arg, const char *bytes, size_t n, tn_error *err)
{
    part *p = arg;

    if (p->max_bytes > 0 && (size_t)p->have + n > p->max_bytes)
        return tn_fail(err, TN_LIMIT, "%s: more than the %zu bytes allowed", p->what, p->max_bytes);
    if (p->total >= 0 && p->have + (int64_t)n > p->total)
        return tn_fail(err, TN_VERIFY, "%s: longer than the expected %lld bytes", p->what,
                       (long long)p->total);
    size_t done;
    bool   all = tn_write_all(p->fd, bytes, n, &done);
    p->have += (int64_t)done;
    if (!all)
        return tn_fail(
            err, TN_IO, "%s: cannot write: %s%s", p->path, strerror(errno),
            errno == ENOSPC || errno == EDQUOT
                ? ": free some there, or choose another store with --store; the same command then goes on "
                  "from here"
                : "");
    tn_progress_set(p->progress, p->have, NULL);
    return TN_OK;
}

/* SHA-1 of "blob SIZE\0" and the content: the name git gives a file. */
static tn_status git_oid_of(const char *path, char out[41], tn_error *err)
{
    char          head[48];
    unsigned char d[SHA_DIGEST_LENGTH];
    SHA_CTX       c;
    tn_map        m;
    int           n;

    TN_TRY(tn_map_open(&m, path, err));
    n = snprintf(head, sizeof head, "blob %zu", m.n);
    SHA1_Init(&c);
    SHA1_Update(&c, head, (size_t)n + 1); /* with its NUL */
    SHA1_Update(&c, m.p, m.n);
    SHA1_Final(d, &c);
    tn_map_close(&m);
    for (int i = 0; i < SHA_DIGEST_LENGTH; i++) snprintf(out + 2 * i, 3, "%02x", d[i]);
    return TN_OK;
}

/* The finished part against what was expected. */
static tn_status part_check(const char *path, const char *what, const tn_expected *e, tn_error *err)
{
    char        found[TN_SHA256_HEX], wanted[TN_SHA256_HEX], oid[41];
    tn_digest   d;
    struct stat st;

    if (e == NULL) return TN_OK;
    if (stat(path, &st) != 0) return tn_fail(err, TN_IO, "%s: cannot look at it: %s", path, strerror(errno));
    if (e->size >= 0 && st.st_size != e->size)
        return tn_fail(err, TN_VERIFY, "%s: %lld bytes came, expected %lld: run it again", what,
                       (long long)st.st_size, (long long)e->size);
    if (e->sha256 != NULL) {
        TN_TRY(tn_sha256_file(path, &d, NULL, err));
        tn_hex(found, &d);
        tn_hex(wanted, e->sha256);
        if (!tn_digest_equal(&d, e->sha256))
            return tn_fail(err, TN_VERIFY,
                           "%s: not the expected file: sha256 %s, expected %s; it was thrown away", what,
                           found, wanted);
    }
    if (e->git_oid != NULL) {
        TN_TRY(git_oid_of(path, oid, err));
        if (strcmp(oid, e->git_oid) != 0)
            return tn_fail(err, TN_VERIFY,
                           "%s: not the expected file: git id %s, expected %s; it was thrown away", what, oid,
                           e->git_oid);
    }
    return TN_OK;
}

static bool can_judge(const tn_expected *e) { return e != NULL && (e->sha256 != NULL || e->git_oid != NULL); }

static tn_status fetch_part(const char *url, part *p, bool resume, const tn_expected *e, const tn_http *opts,
                            tn_error *err)
{
    tn_transfer t = {
        .url = url, .opts = opts, .stream = true, .begin = part_begin, .write = part_write, .arg = p
    };
    tn_status   status;
    struct stat st;

    p->total = e != NULL ? e->size : -1;
    p->fd = open(p->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (resume ? 0 : O_TRUNC), 0666);
    if (p->fd < 0 || fstat(p->fd, &st) != 0 || lseek(p->fd, 0, SEEK_END) < 0) {
        status = tn_fail(err, TN_IO, "%s: cannot write there: %s", p->path, strerror(errno));
        goto out;
    }
    p->have = t.from = st.st_size;
    p->wanted_rest = t.from > 0;
    status = p->total >= 0 && p->have == p->total ? TN_OK : tn_transfer_run(&t, err);
    if (status == TN_OK && p->total >= 0 && p->have != p->total)
        status = tn_fail(
            err, TN_NETWORK,
            "%s: the connection ended after %lld of %lld bytes: run it again, it goes on from there", p->what,
            (long long)p->have, (long long)p->total);
    if (fsync(p->fd) != 0 && status == TN_OK)
        status = tn_fail(err, TN_IO, "%s: cannot sync: %s", p->path, strerror(errno));
out:
    tn_progress_end(p->progress);
    p->progress = NULL;
    if (p->fd >= 0) close(p->fd);
    if (status == TN_NETWORK && t.status == 416) status = TN_VERIFY; /* the part is longer than the file */
    return status;
}

tn_status tn_download(const char *url, const char *path, const tn_expected *expected, const char *what,
                      const tn_http *opts, tn_error *err)
{
    char     *tmp = tn_strf("%s.part", path);
    bool      resumed = can_judge(expected) && tmp != NULL && tn_exists(tmp);
    tn_status status;

    if (tmp == NULL) return tn_fail(err, TN_NOMEM, "no memory to fetch %s", what);
    for (;;) {
        part p = { .path = tmp, .what = what, .fd = -1, .max_bytes = opts != NULL ? opts->max_bytes : 0 };
        status = fetch_part(url, &p, resumed, expected, opts, err);
        if (status == TN_OK) status = part_check(tmp, what, expected, err);
        if (status != TN_VERIFY) break;
        unlink(tmp);
        if (!resumed) break;
        resumed = false; /* the old half was to blame, perhaps: once more from the start */
    }
    if (status == TN_OK) status = tn_rename(tmp, path, err);
    free(tmp);
    return status;
}
