/* unpack.h - the bytes of a file, unpacked if it is gzip or zstd. A stream belongs to one thread at a
 * time. */
#ifndef TN_BASE_UNPACK_H
#define TN_BASE_UNPACK_H

#include "base/err.h"

#include <stddef.h>

typedef struct tn_unpack tn_unpack;

/* Makes *out, to be released with tn_unpack_close. NOTFOUND, IO, NOMEM. */
tn_status tn_unpack_open(tn_unpack **out, const char *path, tn_error *err);
void      tn_unpack_close(tn_unpack *u); /* NULL is fine */
/* Up to cap bytes; *n == 0: the end, and the end was whole. Archives of several members (cat a.gz b.gz) are
 * read through; FORMAT for damaged data, a cut-off end, or bytes behind it that are no member: those could be
 * the half of a file whose header is damaged. */
tn_status tn_unpack_read(tn_unpack *u, void *buf, size_t cap, size_t *n, tn_error *err);

#endif
