/* http.h - one transfer, as http.c runs it for requests and download.c for files. Private to net. */
#ifndef TN_NET_HTTP_H
#define TN_NET_HTTP_H

#include "net/net.h"

typedef struct tn_transfer {
    const char    *url;
    const tn_http *opts;   /* may be NULL */
    const char    *post;   /* JSON text, or NULL for GET */
    int64_t        from;   /* first byte wanted (Range), 0: all */
    bool           stream; /* a file: the clock watches for stalls, not the whole time */
    /* Called with the status and the announced length (-1: unknown) before the first byte of a 2xx answer. */
    tn_status (*begin)(void *arg, long status, int64_t length, tn_error *err);
    tn_status (*write)(void *arg, const char *p, size_t n, tn_error *err);
    void *arg;
    long  status; /* out */
} tn_transfer;

/* Runs it. An answer over 299 is NOTFOUND or NETWORK with the server's first words. */
tn_status tn_transfer_run(tn_transfer *t, tn_error *err);
/* A URL as messages may show it: without user, password and query. made: free. */
char *tn_url_shown(const char *url);

#endif
