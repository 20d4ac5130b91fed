/* reader.c - a whole file into memory, unpacked: plain, gzip (zlib), zstd.
 * The limit is on the unpacked size, so a small hostile archive cannot fill the memory. */
#include "data/data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/str.h"

enum { CHUNK = 1 << 20 };

static tn_status read_gz(tn_str *out, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    gzFile f = gzopen(path, "rb");
    char *buf = malloc(CHUNK);

    if (f == NULL) { status = tn_fail(err, TN_IO, "%s: cannot open: %s", path, strerror(errno)); goto out; }
    if (buf == NULL) { status = tn_fail(err, TN_NOMEM, "%s: no memory for a read buffer", path); goto out; }
    for (;;) {
        int n = gzread(f, buf, CHUNK), code = 0;
        if (n < 0) {
            status = tn_fail(err, TN_FORMAT, "%s: damaged gzip data: %s", path, gzerror(f, &code));
            goto out;
        }
        if (n == 0) break;
        tn_str_add_n(out, buf, (size_t)n);
        if (out->failed) break;
    }
    /* gzread returns what it has at a cut-off end; gzclose_r tells. */
    int rc = gzclose_r(f);
    f = NULL;
    if (rc != Z_OK && !out->failed)
        status = tn_fail(err, TN_FORMAT, "%s: the gzip data end too early; fetch the file again", path);
out:
    if (f != NULL) gzclose_r(f);
    free(buf);
    return status;
}

static tn_status read_zst(tn_str *out, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    tn_map map = {0};
    ZSTD_DStream *z = NULL;
    char *buf = NULL;

    TN_TRY(tn_map_open(&map, path, err));
    if ((z = ZSTD_createDStream()) == NULL || (buf = malloc(CHUNK)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to unpack", path);
        goto out;
    }
    ZSTD_inBuffer in = { map.p, map.n, 0 };
    size_t left = 1;
    while (in.pos < in.size && !out->failed) {
        ZSTD_outBuffer o = { buf, CHUNK, 0 };
        left = ZSTD_decompressStream(z, &o, &in);
        if (ZSTD_isError(left)) {
            status = tn_fail(err, TN_FORMAT, "%s: damaged zstd data: %s", path, ZSTD_getErrorName(left));
            goto out;
        }
        tn_str_add_n(out, buf, o.pos);
    }
    while (left != 0 && !out->failed) {                      /* what is still inside the decoder */
        ZSTD_outBuffer o = { buf, CHUNK, 0 };
        left = ZSTD_decompressStream(z, &o, &in);
        if (ZSTD_isError(left) || (o.pos == 0 && left != 0)) {
            status = tn_fail(err, TN_FORMAT, "%s: the zstd data end too early; fetch the file again", path);
            goto out;
        }
        tn_str_add_n(out, buf, o.pos);
    }
out:
    ZSTD_freeDStream(z);
    free(buf);
    tn_map_close(&map);
    return status;
}

tn_status tn_data_read(char **out, size_t *n, const char *path, size_t max_bytes, tn_error *err)
{
    tn_status status = TN_OK;
    tn_str text = { .max = max_bytes };

    *out = NULL;
    *n = 0;
    if (tn_is_dir(path)) return tn_fail(err, TN_FORMAT, "%s is a directory; a file is needed here", path);
    if (!tn_exists(path)) return tn_fail(err, TN_NOTFOUND, "%s: no such file", path);
    tn_packing packing = tn_file_packing(path);
    if (packing == TN_PACKING_GZ) status = read_gz(&text, path, err);
    else if (packing == TN_PACKING_ZST) status = read_zst(&text, path, err);
    else return tn_file_read_all(out, n, path, max_bytes, err);
    if (status == TN_OK && text.failed)
        status = tn_fail(err, TN_LIMIT, "%s: unpacks to more than %zu bytes; split it", path, max_bytes);
    if (status == TN_OK) {
        *n = text.len;
        if ((*out = tn_str_take(&text)) == NULL) status = tn_fail(err, TN_NOMEM, "%s: out of memory", path);
    }
    tn_str_free(&text);
    return status;
}
