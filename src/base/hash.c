/* hash.c - SHA-256 by OpenSSL, hex, and the table hash (see hash.h).
 *
 * OpenSSL's plain SHA256_* functions are used, not EVP: they are the same SHA-NI code, but live in the
 * caller's memory, so hashing cannot fail, and a Merkle tree of a million small leaves does not allocate a
 * million contexts. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/hash.h"
#include "base/str.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tn_sha256 {
    SHA256_CTX c;
};

tn_status tn_sha256_create(tn_sha256 **out, tn_error *err)
{
    if ((*out = malloc(sizeof **out)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a running SHA-256");
    SHA256_Init(&(*out)->c);
    return TN_OK;
}

void tn_sha256_update(tn_sha256 *h, const void *bytes, size_t n)
{
    if (n > 0) SHA256_Update(&h->c, bytes, n);
}

void tn_sha256_final(tn_sha256 *h, tn_digest *out)
{
    SHA256_Final(out->b, &h->c);
    SHA256_Init(&h->c);
}

void tn_sha256_destroy(tn_sha256 *h) { free(h); }

tn_digest tn_sha256_of(const void *bytes, size_t n)
{
    SHA256_CTX c;
    tn_digest  d;

    SHA256_Init(&c);
    if (n > 0) SHA256_Update(&c, bytes, n);
    SHA256_Final(d.b, &c);
    return d;
}

/* --------------------------------------------------------------------------------------------- many spans */

typedef struct span_job {
    const tn_hash_span *spans;
    size_t             *order;
    tn_digest          *out;
} span_job;

static int larger_first(const void *a, const void *b, void *spans)
{
    size_t i = *(const size_t *)a, k = *(const size_t *)b, x = ((const tn_hash_span *)spans)[i].n,
           y = ((const tn_hash_span *)spans)[k].n;

    return x != y ? (x > y ? -1 : 1) : i < k ? -1 : i > k;
}

static void hash_span(void *arg, size_t i)
{
    const span_job     *job = arg;
    const tn_hash_span *s = &job->spans[job->order[i]];

    job->out[job->order[i]] = tn_sha256_of(s->p, s->n);
}

tn_status tn_sha256_spans(const tn_hash_span *spans, size_t n, tn_digest *out, tn_error *err)
{
    span_job job = { spans, calloc(n > 0 ? n : 1, sizeof *job.order), out };

    if (job.order == NULL) return tn_fail(err, TN_NOMEM, "no memory to hash %zu spans", n);
    for (size_t i = 0; i < n; i++) job.order[i] = i;
    qsort_r(job.order, n, sizeof *job.order, larger_first, (void *)spans);
    tn_parallel_items(n, hash_span, &job);
    free(job.order);
    return TN_OK;
}

tn_status tn_sha256_file(const char *path, tn_digest *out, uint64_t *size, tn_error *err)
{
    enum { CHUNK = 1 << 20 };
    tn_status   status = TN_OK;
    uint64_t    total = 0;
    SHA256_CTX  c;
    uint8_t    *buf = NULL;
    struct stat st;
    int         fd;

    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0) {
        status = tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: cannot open: %s", path,
                         strerror(errno));
        goto out;
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        status = tn_fail(err, TN_IO, "%s: is a directory, expected a file", path);
        goto out;
    }
    if ((buf = malloc(CHUNK)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to read it", path);
        goto out;
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    SHA256_Init(&c);
    for (;;) {
        ssize_t n = read(fd, buf, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = tn_fail(err, TN_IO, "%s: cannot read: %s", path, strerror(errno));
            goto out;
        }
        if (n == 0) break;
        SHA256_Update(&c, buf, (size_t)n);
        total += (uint64_t)n;
    }
    SHA256_Final(out->b, &c);
    if (size != NULL) *size = total;
out:
    free(buf);
    if (fd >= 0) close(fd);
    return status;
}

void tn_hex(char out[TN_SHA256_HEX], const tn_digest *d)
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < TN_SHA256_BYTES; i++) {
        out[2 * i] = digits[d->b[i] >> 4];
        out[2 * i + 1] = digits[d->b[i] & 15];
    }
    out[2 * TN_SHA256_BYTES] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

bool tn_unhex(tn_digest *out, const char *hex)
{
    tn_digest d;

    for (int i = 0; i < TN_SHA256_BYTES; i++) {
        int hi = hex_digit(hex[2 * i]), lo = hi < 0 ? -1 : hex_digit(hex[2 * i + 1]);
        if (lo < 0) return false;
        d.b[i] = (uint8_t)(hi << 4 | lo);
    }
    if (hex[2 * TN_SHA256_BYTES] != '\0') return false;
    *out = d;
    return true;
}

bool tn_digest_equal(const tn_digest *a, const tn_digest *b) { return memcmp(a->b, b->b, sizeof a->b) == 0; }

char *tn_digest_text(const tn_digest *d)
{
    char hex[TN_SHA256_HEX];

    tn_hex(hex, d);
    return tn_strf("sha256:%s", hex);
}

/* Eight bytes a step, little-endian, then the tail, then an avalanche. Part of formats: never change it. */
uint64_t tn_hash64(const void *bytes, size_t n)
{
    const uint64_t k1 = 0x9e3779b97f4a7c15u, k2 = 0xbf58476d1ce4e5b9u, k3 = 0x94d049bb133111ebu;
    const uint8_t *p = bytes;
    uint64_t       h = (uint64_t)n * k1;

    for (size_t left = n; left > 0;) {
        size_t   m = left < 8 ? left : 8;
        uint64_t w = 0;
        for (size_t i = 0; i < m; i++) w |= (uint64_t)p[i] << (8 * i);
        h ^= w * k2;
        h = (h << 31 | h >> 33) * k1;
        p += m;
        left -= m;
    }
    h = (h ^ h >> 30) * k2;
    h = (h ^ h >> 27) * k3;
    return h ^ h >> 31;
}
