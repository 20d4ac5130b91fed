/* unpack.c - the bytes of a file, unpacked if it is gzip or zstd.
 *
 *   file ── fread ──→ in [at, n) ── copy | inflate | ZSTD_decompressStream ──→ the caller's buffer
 *
 * zlib's own gzread gives what it has of a cut-off file and ignores what follows a member; a run would then
 * be trained on half of its data without a word. So members are counted here: after a whole one comes
 * another, zeros (padding of tapes), or the end. */
#include "base/unpack.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/str.h"

enum { IN_BYTES = 1 << 17, GZIP_ONLY = 16 + MAX_WBITS };

struct tn_unpack {
    char          *path;
    FILE          *f;
    tn_packing     packing;
    z_stream       z;
    ZSTD_DStream  *zstd;
    unsigned char *in;
    size_t         at, n;
    bool           z_ready, inside, ended, any; /* inside a member; at the end; there was a member */
};

tn_status tn_unpack_open(tn_unpack **out, const char *path, tn_error *err)
{
    tn_status  status = TN_OK;
    tn_unpack *u = NULL;

    *out = NULL;
    if (tn_is_dir(path)) return tn_fail(err, TN_IO, "%s is a directory; a file is needed here", path);
    if ((u = calloc(1, sizeof *u)) == NULL || (u->path = tn_strdup(path)) == NULL ||
        (u->in = malloc(IN_BYTES)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a reader", path);
        goto out;
    }
    u->packing = tn_file_packing(path);
    if ((u->f = fopen(path, "rb")) == NULL) {
        status = tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: cannot open: %s", path,
                         strerror(errno));
        goto out;
    }
    if (u->packing == TN_PACKING_GZ) u->z_ready = inflateInit2(&u->z, GZIP_ONLY) == Z_OK;
    if (u->packing == TN_PACKING_ZST) u->zstd = ZSTD_createDStream();
    if (u->packing != TN_PACKING_NONE && !u->z_ready && u->zstd == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a decoder", path);
        goto out;
    }
    *out = u;
    u = NULL;
out:
    tn_unpack_close(u);
    return status;
}

void tn_unpack_close(tn_unpack *u)
{
    if (u == NULL) return;
    if (u->f != NULL) fclose(u->f);
    if (u->z_ready) inflateEnd(&u->z);
    ZSTD_freeDStream(u->zstd);
    free(u->in);
    free(u->path);
    free(u);
}

/* More input into in; at == n afterwards is the end of the file. */
static tn_status fill(tn_unpack *u, tn_error *err)
{
    if (u->at < u->n) return TN_OK;
    u->at = 0;
    u->n = fread(u->in, 1, IN_BYTES, u->f);
    return u->n == 0 && ferror(u->f) ? tn_fail(err, TN_IO, "%s: cannot read: %s", u->path, strerror(errno))
                                     : TN_OK;
}

/* At a member's border: whether another follows. Zeros are skipped. */
static tn_status next_member(tn_unpack *u, bool *more, tn_error *err)
{
    *more = false;
    for (;;) {
        TN_TRY(fill(u, err));
        if (u->at == u->n) return TN_OK;
        if (u->in[u->at] != 0 || !u->any || u->packing != TN_PACKING_GZ) break;
        u->at++;
    }
    *more = true;
    return TN_OK;
}

/* One call of the decoder: some input, some output. */
static tn_status gz_step(tn_unpack *u, unsigned char *buf, size_t cap, size_t *n, tn_error *err)
{
    if (!u->inside && u->any) inflateReset(&u->z);
    u->z.next_in = u->in + u->at;
    u->z.avail_in = (uInt)(u->n - u->at);
    u->z.next_out = buf;
    u->z.avail_out = cap < 1u << 30 ? (uInt)cap : 1u << 30;
    uInt room = u->z.avail_out;
    int  rc = inflate(&u->z, Z_NO_FLUSH);
    if (rc == Z_MEM_ERROR) return tn_fail(err, TN_NOMEM, "%s: no memory to unpack", u->path);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        if (!u->inside && u->any)
            return tn_fail(err, TN_FORMAT,
                           "%s: behind the gzip data stand bytes that are none: the file is damaged, or "
                           "something was appended to it",
                           u->path);
        return tn_fail(err, TN_FORMAT, "%s: damaged gzip data: %s", u->path,
                       u->z.msg != NULL ? u->z.msg : "unknown form");
    }
    u->at = u->n - u->z.avail_in;
    *n = room - u->z.avail_out;
    u->inside = rc != Z_STREAM_END;
    return TN_OK;
}

static tn_status zst_step(tn_unpack *u, unsigned char *buf, size_t cap, size_t *n, tn_error *err)
{
    ZSTD_outBuffer o = { buf, cap, 0 };
    ZSTD_inBuffer  i = { u->in, u->n, u->at };
    size_t         left = ZSTD_decompressStream(u->zstd, &o, &i);
    if (ZSTD_isError(left))
        return tn_fail(err, TN_FORMAT, "%s: damaged zstd data: %s", u->path, ZSTD_getErrorName(left));
    u->at = i.pos;
    *n = o.pos;
    u->inside = left != 0;
    return TN_OK;
}

tn_status tn_unpack_read(tn_unpack *u, void *buf, size_t cap, size_t *n, tn_error *err)
{
    bool more;

    *n = 0;
    if (u->packing == TN_PACKING_NONE) {
        *n = fread(buf, 1, cap, u->f);
        return *n == 0 && ferror(u->f) ? tn_fail(err, TN_IO, "%s: cannot read: %s", u->path, strerror(errno))
                                       : TN_OK;
    }
    while (*n == 0 && !u->ended) {
        if (!u->inside) {
            TN_TRY(next_member(u, &more, err));
            if (!more) {
                if (!u->any)
                    return tn_fail(err, TN_FORMAT,
                                   "%s is empty: not even the head of %s data; fetch the file again", u->path,
                                   u->packing == TN_PACKING_GZ ? "gzip" : "zstd");
                u->ended = true;
                break;
            }
        }
        TN_TRY(fill(u, err));
        bool at_end = u->at == u->n; /* the decoder may still hold output */
        TN_TRY(u->packing == TN_PACKING_GZ ? gz_step(u, buf, cap, n, err) : zst_step(u, buf, cap, n, err));
        u->any |= !u->inside;
        if (at_end && *n == 0 && u->inside)
            return tn_fail(err, TN_FORMAT, "%s: the %s data end too early; fetch the file again", u->path,
                           u->packing == TN_PACKING_GZ ? "gzip" : "zstd");
    }
    return TN_OK;
}
