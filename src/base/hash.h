/* hash.h - SHA-256 (OpenSSL, so SHA-NI where the CPU has it), hex, and Merkle roots over hashes. */
#ifndef TN_BASE_HASH_H
#define TN_BASE_HASH_H

#include "base/err.h"

enum { TN_SHA256_BYTES = 32, TN_SHA256_HEX = 65 }; /* hex length with the final NUL */

typedef struct tn_digest {
    uint8_t b[TN_SHA256_BYTES];
} tn_digest;
typedef struct tn_sha256 tn_sha256; /* a running hash */

tn_status tn_sha256_create(tn_sha256 **out, tn_error *err);
void      tn_sha256_update(tn_sha256 *h, const void *bytes, size_t n);
void      tn_sha256_final(tn_sha256 *h, tn_digest *out); /* may be reused afterwards: it starts anew */
void      tn_sha256_destroy(tn_sha256 *h);
tn_digest tn_sha256_of(const void *bytes, size_t n);
/* out[i] of span i: as many at a time as there are threads, the largest first. */
typedef struct tn_hash_span {
    const void *p;
    size_t      n;
} tn_hash_span;
tn_status tn_sha256_spans(const tn_hash_span *spans, size_t n, tn_digest *out, tn_error *err);
/* Whole file by path, streaming; *size may be NULL. IO, NOTFOUND. */
tn_status tn_sha256_file(const char *path, tn_digest *out, uint64_t *size, tn_error *err);

void tn_hex(char out[TN_SHA256_HEX], const tn_digest *d); /* lowercase */
bool tn_unhex(tn_digest *out, const char *hex);           /* exactly 64 lowercase hex digits */
bool tn_digest_equal(const tn_digest *a, const tn_digest *b);
/* "sha256:<hex>", made: free. */
char *tn_digest_text(const tn_digest *d);

/* A fast 64-bit non-cryptographic hash for tables (FNV-1a/xxh-like, fixed for ever: it may be part of a
 * format). */
uint64_t tn_hash64(const void *bytes, size_t n);

#endif
