/* one.c - one process: the only peer is oneself. */
#include "dist/dist_impl.h"

#include <stdio.h>
#include <string.h>

static tn_status exchange(tn_dist *d, const tn_dist_message *send, int n_send, const tn_dist_message *recv,
                          int n_recv, tn_error *err)
{
    (void)d;
    if (n_send != n_recv)
        return tn_fail(err, TN_MISMATCH, "%d messages sent to oneself, %d expected", n_send, n_recv);
    for (int i = 0; i < n_send; i++) {
        if (send[i].peer != 0 || recv[i].peer != 0 || send[i].bytes != recv[i].bytes)
            return tn_fail(err, TN_MISMATCH, "message %d is not for this rank, or its sizes differ", i);
        memmove(recv[i].data, send[i].data, send[i].bytes);
    }
    return TN_OK;
}

static tn_status broadcast(tn_dist *d, int root, void *data, size_t bytes, tn_error *err)
{
    (void)d;
    (void)data;
    (void)bytes;
    return root == 0 ? TN_OK : tn_fail(err, TN_MISMATCH, "no rank %d in one process", root);
}

static tn_status gather(tn_dist *d, const void *mine, size_t bytes, void *all, tn_error *err)
{
    (void)d;
    (void)err;
    memmove(all, mine, bytes);
    return TN_OK;
}

static tn_status barrier(tn_dist *d, tn_error *err)
{
    (void)d;
    (void)err;
    return TN_OK;
}
static void close_one(tn_dist *d, tn_status status, const tn_error *err)
{
    (void)d;
    (void)status;
    (void)err;
}

tn_status tn_dist_one_open(tn_dist *d, tn_error *err)
{
    static const tn_dist_backend backend = {
        .exchange = exchange, .broadcast = broadcast, .gather = gather, .barrier = barrier, .close = close_one
    };
    (void)err;
    d->backend = &backend;
    d->rank = 0;
    d->size = 1;
    snprintf(d->name, sizeof d->name, "one process");
    return TN_OK;
}
