/* reader.c - a whole file into memory, unpacked: plain, gzip, zstd.
 * The limit is on the unpacked size, so a small hostile archive cannot fill the memory. */
#include "data/data.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/str.h"
#include "base/unpack.h"

enum { CHUNK = 1 << 20 };

tn_status tn_data_read(char **out, size_t *n, const char *path, size_t max_bytes, tn_error *err)
{
    tn_status  status = TN_OK;
    tn_str     text = { .max = max_bytes };
    tn_unpack *u = NULL;
    char      *buf = NULL;
    size_t     got = 1;

    *out = NULL;
    *n = 0;
    if (tn_is_dir(path)) return tn_fail(err, TN_FORMAT, "%s is a directory; a file is needed here", path);
    if (!tn_exists(path)) return tn_fail(err, TN_NOTFOUND, "%s: no such file", path);
    if (tn_file_packing(path) == TN_PACKING_NONE) return tn_file_read_all(out, n, path, max_bytes, err);
    TN_GOTO(tn_unpack_open(&u, path, err));
    if ((buf = malloc(CHUNK)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to unpack", path);
        goto out;
    }
    while (got > 0 && !text.failed) {
        TN_GOTO(tn_unpack_read(u, buf, CHUNK, &got, err));
        tn_str_add_n(&text, buf, got);
    }
    if (text.failed) {
        status = tn_fail(err, TN_LIMIT, "%s: unpacks to more than %zu bytes; split it", path, max_bytes);
        goto out;
    }
    *n = text.len;
    if ((*out = tn_str_take(&text)) == NULL) status = tn_fail(err, TN_NOMEM, "%s: out of memory", path);
out:
    tn_str_free(&text);
    free(buf);
    tn_unpack_close(u);
    return status;
}
