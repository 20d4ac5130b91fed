/* mpi.c - ranks by MPI (Open MPI or MPICH, whichever the build found). Only messages, never a sum: MPI's
 * reductions add in an order that depends on the topology.
 *
 * Messages under way move only inside calls of MPI. So while there are some, a thread looks after them every
 * quarter of a millisecond: it sleeps in between, for the cores belong to the arithmetic. One thread at a
 * time is inside MPI (a lock; SERIALIZED). An MPI that does not allow two threads (FUNNELED) gets no such
 * thread: then messages move when the caller asks. */
#include "dist/dist_impl.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#ifdef TN_HAVE_MPI
#include <mpi.h>

/* An MPI count is an int: larger messages go in pieces of this many bytes. */
enum { PIECE = TN_DIST_PIECE, LOOK_NS = 250000 };

typedef struct mpi_state {
    MPI_Comm        comm; /* of the messages under way: they never meet those of exchange() */
    pthread_mutex_t lock;
    pthread_cond_t  some;
    pthread_t       helper;
    bool            has_helper, stop;
    MPI_Request    *req; /* [n]; MPI_REQUEST_NULL once done */
    /* [n]; arrays grow in the caller's thread only, which alone reads without the lock */
    _Atomic bool *done;
    int          *which;              /* [n] for MPI_Testsome */
    int           n, n_open, cap, rc; /* rc: of the helper's calls */
} mpi_state;

static tn_status check(int rc, const char *what, tn_error *err)
{
    if (rc == MPI_SUCCESS) return TN_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int  n = 0;
    MPI_Error_string(rc, text, &n);
    return tn_fail(err, TN_IO, "MPI %s failed: %s", what, text);
}

static size_t pieces(size_t bytes) { return bytes == 0 ? 0 : (bytes + PIECE - 1) / PIECE; }

static tn_status exchange(tn_dist *d, const tn_dist_message *send, int n_send, const tn_dist_message *recv,
                          int n_recv, tn_error *err)
{
    tn_status  status = TN_OK;
    mpi_state *m = d->state;
    size_t     n = 0, k = 0;
    for (int i = 0; i < n_send; i++) n += pieces(send[i].bytes);
    for (int i = 0; i < n_recv; i++) n += pieces(recv[i].bytes);
    MPI_Request *req = malloc((n + 1) * sizeof *req);
    if (req == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu messages", n);
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < n_recv; i++)
        for (size_t at = 0; at < recv[i].bytes; at += PIECE) {
            size_t part = recv[i].bytes - at < PIECE ? recv[i].bytes - at : PIECE;
            TN_GOTO(check(MPI_Irecv((char *)recv[i].data + at, (int)part, MPI_BYTE, recv[i].peer, 7,
                                    MPI_COMM_WORLD, &req[k++]),
                          "receive", err));
        }
    for (int i = 0; i < n_send; i++)
        for (size_t at = 0; at < send[i].bytes; at += PIECE) {
            size_t part = send[i].bytes - at < PIECE ? send[i].bytes - at : PIECE;
            TN_GOTO(check(MPI_Isend((char *)send[i].data + at, (int)part, MPI_BYTE, send[i].peer, 7,
                                    MPI_COMM_WORLD, &req[k++]),
                          "send", err));
        }
    TN_GOTO(check(MPI_Waitall((int)k, req, MPI_STATUSES_IGNORE), "wait", err));
out:
    pthread_mutex_unlock(&m->lock);
    free(req);
    return status;
}

static tn_status broadcast(tn_dist *d, int root, void *data, size_t bytes, tn_error *err)
{
    mpi_state *m = d->state;
    int        rc = MPI_SUCCESS;
    pthread_mutex_lock(&m->lock);
    for (size_t at = 0; at < bytes && rc == MPI_SUCCESS; at += PIECE)
        rc = MPI_Bcast((char *)data + at, (int)(bytes - at < PIECE ? bytes - at : PIECE), MPI_BYTE, root,
                       MPI_COMM_WORLD);
    pthread_mutex_unlock(&m->lock);
    return check(rc, "broadcast", err);
}

static tn_status gather(tn_dist *d, const void *mine, size_t bytes, void *all, tn_error *err)
{
    if (bytes > INT32_MAX / (size_t)d->size)
        return tn_fail(err, TN_LIMIT, "gathering %zu bytes of each of %d ranks at once; at most 2 GiB in all",
                       bytes, d->size);
    mpi_state *m = d->state;
    void      *copy = malloc(bytes ? bytes : 1); /* MPI forbids that the buffers overlap */
    if (copy == NULL) return tn_fail(err, TN_NOMEM, "no memory to gather %zu bytes", bytes);
    memcpy(copy, mine, bytes);
    pthread_mutex_lock(&m->lock);
    int rc = MPI_Allgather(copy, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
    pthread_mutex_unlock(&m->lock);
    free(copy);
    return check(rc, "gather", err);
}

static tn_status barrier(tn_dist *d, tn_error *err)
{
    mpi_state *m = d->state;
    pthread_mutex_lock(&m->lock);
    int rc = MPI_Barrier(MPI_COMM_WORLD);
    pthread_mutex_unlock(&m->lock);
    return check(rc, "barrier", err);
}

/* ------------------------------------------------------------------------------------- messages under way */

/* With the lock. Returns how many came to their end. */
static int look(mpi_state *m)
{
    int n = 0;
    if (m->n_open == 0 || m->rc != MPI_SUCCESS) return 0;
    m->rc = MPI_Testsome(m->n, m->req, &n, m->which, MPI_STATUSES_IGNORE);
    if (m->rc != MPI_SUCCESS || n == MPI_UNDEFINED) return 0;
    for (int i = 0; i < n; i++) m->done[m->which[i]] = true;
    m->n_open -= n;
    return n;
}

static void *helper(void *arg)
{
    mpi_state *m = arg;
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        if (m->n_open == 0 || m->rc != MPI_SUCCESS) {
            pthread_cond_wait(&m->some, &m->lock);
            continue;
        }
        look(m);
        pthread_mutex_unlock(&m->lock);
        nanosleep(&(struct timespec){ 0, LOOK_NS }, NULL);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static bool grow(mpi_state *m)
{
    if (m->n < m->cap) return true;
    int          cap = m->cap ? 2 * m->cap : 256;
    MPI_Request *req = realloc(m->req, (size_t)cap * sizeof *req);
    if (req != NULL) m->req = req;
    void *done = realloc(m->done, (size_t)cap * sizeof *m->done);
    if (done != NULL) m->done = done;
    int *which = realloc(m->which, (size_t)cap * sizeof *which);
    if (which != NULL) m->which = which;
    if (req == NULL || done == NULL || which == NULL) return false;
    m->cap = cap;
    return true;
}

static tn_status begin(tn_dist *d, tn_dist_message one, bool send, int tag, int64_t *ticket, tn_error *err)
{
    mpi_state *m = d->state;
    pthread_mutex_lock(&m->lock);
    if (!grow(m)) {
        pthread_mutex_unlock(&m->lock);
        return tn_fail(err, TN_NOMEM, "no memory for %d messages under way", m->n);
    }
    *ticket = m->n;
    m->done[m->n] = false;
    int rc = send ? MPI_Isend(one.data, (int)one.bytes, MPI_BYTE, one.peer, tag, m->comm, &m->req[m->n])
                  : MPI_Irecv(one.data, (int)one.bytes, MPI_BYTE, one.peer, tag, m->comm, &m->req[m->n]);
    if (rc == MPI_SUCCESS) {
        m->n++;
        if (m->n_open++ == 0) pthread_cond_signal(&m->some);
    }
    pthread_mutex_unlock(&m->lock);
    return check(rc, send ? "send" : "receive", err);
}

static bool arrived(const tn_dist *d, int64_t ticket) { return ((const mpi_state *)d->state)->done[ticket]; }

static tn_status progress(tn_dist *d, bool idle, tn_error *err)
{
    mpi_state *m = d->state;
    pthread_mutex_lock(&m->lock);
    int n = look(m), rc = m->rc;
    pthread_mutex_unlock(&m->lock);
    if (idle && n == 0 && rc == MPI_SUCCESS) nanosleep(&(struct timespec){ 0, 20000 }, NULL);
    return check(rc, "message under way", err);
}

static tn_status wait_all(tn_dist *d, tn_error *err)
{
    mpi_state *m = d->state;
    int        rc, open = 1;
    while (open > 0) {
        TN_TRY(progress(d, true, err));
        pthread_mutex_lock(&m->lock);
        open = m->n_open;
        if (open == 0) m->n = 0;
        pthread_mutex_unlock(&m->lock);
    }
    rc = m->rc;
    return check(rc, "message under way", err);
}

/* ----------------------------------------------------------------------------------------- open and close */

static void state_free(mpi_state *m)
{
    if (m == NULL) return;
    if (m->has_helper) {
        pthread_mutex_lock(&m->lock);
        m->stop = true;
        pthread_cond_signal(&m->some);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->helper, NULL);
    }
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->some);
    free(m->req);
    free(m->done);
    free(m->which);
    free(m);
}

/* An error that all ranks agreed on ends like success; one that a rank has alone, or with messages under way,
 * ends the job. */
static void close_mpi(tn_dist *d, tn_status status, const tn_error *err)
{
    mpi_state  *m = d->state;
    MPI_Request all;
    int         here = 0, open = m->n_open;
    MPI_Comm    comm = m->comm;
    state_free(m);
    if (status != TN_OK && open == 0 && MPI_Ibarrier(MPI_COMM_WORLD, &all) == MPI_SUCCESS)
        for (int i = 0; i < 500 && !here; i++) {
            if (MPI_Test(&all, &here, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
            if (!here) nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
        }
    if (status != TN_OK && !here) {
        tn_log(TN_LOG_ERROR, "rank %d: %s", d->rank, err != NULL ? err->msg : tn_status_text(status));
        MPI_Abort(MPI_COMM_WORLD, tn_status_exit_code(status));
    }
    MPI_Comm_free(&comm);
    MPI_Finalize();
}

bool tn_dist_mpi_built(void) { return true; }

tn_status tn_dist_mpi_open(tn_dist *d, tn_error *err)
{
    static const tn_dist_backend backend = { exchange, broadcast, gather,   barrier,  begin,
                                             arrived,  progress,  wait_all, close_mpi };
    char                         text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int                          provided = 0, n = 0;

    mpi_state *m = calloc(1, sizeof *m);
    if (m == NULL) return tn_fail(err, TN_NOMEM, "no memory for the ranks");
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
        free(m);
        return tn_fail(err, TN_IO, "MPI could not start; was the program started by mpirun or srun?");
    }
    if (provided < MPI_THREAD_FUNNELED) {
        MPI_Finalize();
        free(m);
        return tn_fail(err, TN_UNSUPPORTED,
                       "this MPI does not allow threads beside it (MPI_THREAD_FUNNELED)");
    }
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->some, NULL);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_dup(MPI_COMM_WORLD, &m->comm);
    MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &d->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &d->size);
    MPI_Get_library_version(text, &n);
    text[strcspn(text, ",\n")] = '\0';
    snprintf(d->name, sizeof d->name, "%.90s", text);
    d->backend = &backend;
    d->state = m;
    if (provided >= MPI_THREAD_SERIALIZED && d->size > 1) {
        sigset_t all_signals, before; /* signals belong to the main thread */
        sigfillset(&all_signals);
        pthread_sigmask(SIG_BLOCK, &all_signals, &before);
        m->has_helper = pthread_create(&m->helper, NULL, helper, m) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return TN_OK;
}

#else

bool tn_dist_mpi_built(void) { return false; }

tn_status tn_dist_mpi_open(tn_dist *d, tn_error *err)
{
    (void)d;
    return tn_fail(err, TN_UNSUPPORTED,
                   "this build has no MPI: install libopenmpi-dev or libmpich-dev and build again");
}

#endif
