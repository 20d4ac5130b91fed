/* dist.h - ranks and exact exchanges. An exchange moves bytes; every sum is ours, in an order fixed by
 * logical indices, so that one rank and many give the same bits.
 *
 *   groups 0 .. n-1 (sums of consecutive micro-batches), owned by ranks in any way
 *   tn_forest: takes group sums in any order, joins siblings as soon as both are there:
 *
 *        0 1 2 3 4 5 6 7      level 0: group sums
 *        └┬┘ └┬┘ └┬┘ └┬┘      level 1: (0+1) (2+3) (4+5) (6+7)
 *         └─┬─┘   └─┬─┘       level 2
 *           └───┬───┘         the root: the same association whoever computed what */
#ifndef TN_DIST_DIST_H
#define TN_DIST_DIST_H

#include "base/err.h"

/* -------------------------------------------------------------------------------------------------- ranks */

typedef struct tn_dist tn_dist;

typedef struct tn_dist_message {
    int    peer;
    void  *data;
    size_t bytes;
} tn_dist_message;

/* auto: MPI when the process was started by mpirun or srun, else one process. "one" and "mpi" force it.
 * UNSUPPORTED when MPI is asked for (or the environment says that this is one rank of many) and the build has
 * none. One handle a process. */
tn_status tn_dist_open(tn_dist **out, const char *backend, tn_error *err);
/* status: how this rank ends. Ranks that fail alone must not leave the others waiting: when they do not come
 * here too within a few seconds, the message of err is logged and the job is ended. */
void tn_dist_close(tn_dist *d, tn_status status, const tn_error *err);
/* Which rank the launcher calls this process, before there is a handle; 0: it is alone. */
int64_t tn_dist_launched_rank(void);
int     tn_dist_rank(const tn_dist *d);
int     tn_dist_size(const tn_dist *d);

/* Point-to-point, all at once: messages between the same two ranks meet in the order given. Sizes must
 * agree. */
tn_status tn_dist_exchange(tn_dist *d, const tn_dist_message *send, int n_send, const tn_dist_message *recv,
                           int n_recv, tn_error *err);
tn_status tn_dist_broadcast(tn_dist *d, int root, void *data, size_t bytes, tn_error *err);
/* all[rank] of `bytes` each; mine may be inside all. */
tn_status tn_dist_gather(tn_dist *d, const void *mine, size_t bytes, void *all, tn_error *err);
tn_status tn_dist_barrier(tn_dist *d, tn_error *err);

/* Messages that travel while the caller computes: a thread of the backend keeps them going. Between two ranks
 * those of one tag (0 to TN_DIST_TAGS - 1) meet in the order given. At most TN_DIST_PIECE bytes, never to
 * oneself; the memory is the message's until it has arrived, and everything is the caller's again after
 * tn_dist_wait. */
enum { TN_DIST_TAGS = 32000, TN_DIST_PIECE = 1 << 28 };
/* ticket (a send's may be NULL): for tn_dist_arrived, until tn_dist_wait. */
tn_status tn_dist_begin_send(tn_dist *d, tn_dist_message m, int tag, int64_t *ticket, tn_error *err);
tn_status tn_dist_begin_receive(tn_dist *d, tn_dist_message m, int tag, int64_t *ticket, tn_error *err);
bool      tn_dist_arrived(const tn_dist *d, int64_t ticket); /* of a send: its memory is the caller's again */
/* Keeps messages going from here too; idle: the caller has nothing else to do, so sleep a moment. */
tn_status tn_dist_progress(tn_dist *d, bool idle, tn_error *err);
tn_status tn_dist_wait(tn_dist *d, tn_error *err);
/* The worst status of all ranks, everywhere; the message of the lowest failing rank comes along. */
tn_status tn_dist_agree(tn_dist *d, tn_status mine, tn_error *err);

/* ----------------------------------------------------------------------------------- the fixed-order tree */

/* Which groups a rank computes: [first, last) of n, contiguous and as even as possible. */
void tn_dist_share(int64_t n, int rank, int size, int64_t *first, int64_t *last);

typedef struct tn_node {
    int     level;
    int64_t index;
    float  *sum;
} tn_node;
/* Holds at most cap nodes of n floats each; buffers come from the forest and return to it. */
typedef struct tn_forest {
    tn_node *node;
    int      n_node, cap;
    int64_t  n;
    float  **spare;
    int      n_spare;
    int      n_made;
} tn_forest;
tn_status tn_forest_init(tn_forest *f, int64_t n, int cap, tn_error *err);
void      tn_forest_free(tn_forest *f);
/* A buffer of n floats to be filled and then added. NOMEM. */
tn_status tn_forest_buffer(tn_forest *f, float **out, tn_error *err);
/* Adds a node (its buffer is given to the forest) and joins siblings upwards; threads share the additions. */
void tn_forest_add(tn_forest *f, int level, int64_t index, float *sum);
enum { TN_FOREST_LEVELS = 64 };
/* Adds a node without its numbers, which come later and part by part: appends what is to be added to what, in
 * order, to `add` (at most TN_FOREST_LEVELS). Returns how many. */
typedef struct tn_sum_pair {
    float *to, *from;
} tn_sum_pair;
int tn_forest_promise(tn_forest *f, int level, int64_t index, float *sum, tn_sum_pair *add);
/* What adding (level, index) would join, for a caller who adds part by part: out[0] += sum, out[1] += out[0],
 * ... Returns how many; the last one then holds the subtree. The nodes stay. */
int tn_forest_chain(const tn_forest *f, int level, int64_t index, float *out[TN_FOREST_LEVELS]);
/* The sum of a node, borrowed; NULL: not there. */
float *tn_forest_find(const tn_forest *f, int level, int64_t index);
void   tn_forest_clear(tn_forest *f);

#endif
