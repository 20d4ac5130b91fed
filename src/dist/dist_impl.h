/* dist_impl.h - what a backend provides. Private to the room. */
#ifndef TN_DIST_DIST_IMPL_H
#define TN_DIST_DIST_IMPL_H

#include "dist/dist.h"

typedef struct tn_dist_backend {
    tn_status (*exchange)(tn_dist *d, const tn_dist_message *send, int n_send, const tn_dist_message *recv,
                          int n_recv, tn_error *err);
    tn_status (*broadcast)(tn_dist *d, int root, void *data, size_t bytes, tn_error *err);
    tn_status (*gather)(tn_dist *d, const void *mine, size_t bytes, void *all, tn_error *err);
    tn_status (*barrier)(tn_dist *d, tn_error *err);
    /* the messages under way; never asked of a single rank */
    tn_status (*begin)(tn_dist *d, tn_dist_message m, bool send, int tag, int64_t *ticket, tn_error *err);
    bool (*arrived)(const tn_dist *d, int64_t ticket);
    tn_status (*progress)(tn_dist *d, bool idle, tn_error *err);
    tn_status (*wait)(tn_dist *d, tn_error *err);
    void (*close)(tn_dist *d, tn_status status, const tn_error *err);
} tn_dist_backend;

struct tn_dist {
    const tn_dist_backend *backend;
    int                    rank, size;
    char                   name[96];
    void                  *state; /* the backend's own */
};

tn_status tn_dist_one_open(tn_dist *d, tn_error *err);
/* true if this build has MPI. */
bool      tn_dist_mpi_built(void);
tn_status tn_dist_mpi_open(tn_dist *d, tn_error *err);

#endif
