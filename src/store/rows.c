/* rows.c - rows that a stage computed before, so that it computes only those that changed, and goes on after
 * a stop.
 *
 *   <store>/rows/ab/cdef...   one file a space (model, adapter, profile, version of the engine), lines appended:
 *   {"check":"<16 hex>","key":"<64 hex>","row":{...}}        check = first digits of SHA-256(key + canonical text of row)
 *
 * A row is the value of a pure function at its key, so this is a cache and no record: a line that is torn or
 * damaged is left out, a lost file costs time. Lines are appended whole under the file's lock; two processes
 * may write one space. */
#include "store/store_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { CHECK_DIGITS = 16 };

struct tn_store_rows {
    char   *path;
    int     fd;    /* -1: only for reading, or a place that cannot be written */
    json_t *known; /* {key: row} */
    bool    complained;
};

static void check_of(char out[TN_SHA256_HEX], const char *key, const char *text)
{
    tn_str    s = { 0 };
    tn_digest d;

    tn_str_add(&s, key);
    tn_str_add(&s, text);
    d = tn_sha256_of(s.p != NULL ? s.p : "", s.len);
    tn_hex(out, &d);
    out[CHECK_DIGITS] = '\0';
    tn_str_free(&s);
}

static void take_line(tn_store_rows *r, const char *line, size_t n)
{
    json_t *o = NULL, *row;
    char    check[TN_SHA256_HEX], *text;

    if (tn_json_parse(&o, line, n, r->path, NULL) != TN_OK) return;
    const char *key = json_string_value(json_object_get(o, "key")),
               *want = json_string_value(json_object_get(o, "check"));
    row = json_object_get(o, "row");
    if (key != NULL && want != NULL && row != NULL && (text = tn_json_text(row)) != NULL) {
        check_of(check, key, text);
        if (strcmp(check, want) == 0) json_object_set(r->known, key, row);
        free(text);
    }
    json_decref(o);
}

static tn_status load(tn_store_rows *r, tn_error *err)
{
    FILE  *f = fopen(r->path, "rb");
    char  *line = NULL;
    size_t cap = 0, n = 0;

    if (f == NULL) return errno == ENOENT ? TN_OK : tn_fail(err, TN_IO, "%s: %s", r->path, strerror(errno));
    while (tn_read_line(f, &line, &cap, &n)) take_line(r, line, n);
    free(line);
    fclose(f);
    return TN_OK;
}

tn_status tn_store_rows_open(tn_store *s, const tn_digest *space, bool write, tn_store_rows **out,
                             tn_error *err)
{
    tn_store_rows *r = calloc(1, sizeof *r);
    tn_status      status = TN_OK;

    *out = NULL;
    if (r == NULL) return tn_fail(err, TN_NOMEM, "no memory for the rows of a stage");
    r->fd = -1;
    if ((r->path = tn_store_hash_path(s, "rows", space)) == NULL || (r->known = json_object()) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the rows of a stage");
        goto out;
    }
    TN_GOTO(load(r, err));
    if (write) {
        char *slash = strrchr(r->path, '/');
        *slash = '\0';
        tn_mkdirs(r->path, NULL);
        *slash = '/';
        r->fd = open(r->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    }
    *out = r;
    r = NULL;
out:
    tn_store_rows_close(r);
    return status;
}

size_t tn_store_rows_count(const tn_store_rows *r) { return json_object_size(r->known); }

const json_t *tn_store_rows_get(void *rows, const tn_digest *key)
{
    const tn_store_rows *r = rows;
    char                 hex[TN_SHA256_HEX];

    tn_hex(hex, key);
    return json_object_get(r->known, hex);
}

/* A line that a killed process left half-written gets its end, so that ours begins a line. */
static bool append(int fd, const char *text, size_t n)
{
    char  last = '\n';
    off_t end = lseek(fd, 0, SEEK_END);

    if (end > 0 && pread(fd, &last, 1, end - 1) != 1) return false;
    if (last != '\n' && write(fd, "\n", 1) != 1) return false;
    return write(fd, text, n) == (ssize_t)n;
}

void tn_store_rows_put(void *rows, const tn_digest *key, json_t *row)
{
    tn_store_rows *r = rows;
    char           hex[TN_SHA256_HEX], check[TN_SHA256_HEX], *text = row != NULL ? tn_json_text(row) : NULL;

    if (text != NULL && r->fd >= 0) {
        tn_str line = { 0 };
        tn_hex(hex, key);
        check_of(check, hex, text);
        tn_str_addf(&line, "{\"check\":\"%s\",\"key\":\"%s\",\"row\":", check, hex);
        tn_str_add(&line, text);
        tn_str_add(&line, "}\n");
        bool ok = !line.failed && flock(r->fd, LOCK_EX) == 0 && append(r->fd, line.p, line.len);
        flock(r->fd, LOCK_UN);
        if (!ok && !r->complained) {
            tn_log(TN_LOG_WARN, "%s: rows cannot be kept (%s): they will be computed again the next time",
                   r->path, strerror(errno));
            r->complained = true;
        }
        tn_str_free(&line);
    }
    free(text);
    json_decref(row);
}

void tn_store_rows_close(tn_store_rows *r)
{
    if (r == NULL) return;
    if (r->fd >= 0) {
        fdatasync(r->fd);
        close(r->fd);
    }
    json_decref(r->known);
    free(r->path);
    free(r);
}
