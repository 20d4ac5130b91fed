/* mpi.c - ranks by MPI (Open MPI or MPICH, whichever the build found). Only messages, never a sum: MPI's reductions add in
 * an order that depends on the topology. All calls come from the thread that opened it (FUNNELED). */
#include "dist/dist_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#ifdef TN_HAVE_MPI
#include <mpi.h>

/* An MPI count is an int: larger messages go in pieces of this many bytes. */
enum { PIECE = 1 << 28 };

static tn_status check(int rc, const char *what, tn_error *err)
{
    if (rc == MPI_SUCCESS) return TN_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(rc, text, &n);
    return tn_fail(err, TN_IO, "MPI %s failed: %s", what, text);
}

static size_t pieces(size_t bytes) { return bytes == 0 ? 0 : (bytes + PIECE - 1) / PIECE; }

static tn_status exchange(tn_dist *d, const tn_dist_message *send, int n_send, const tn_dist_message *recv, int n_recv, tn_error *err)
{
    tn_status status = TN_OK;
    size_t n = 0, k = 0;
    (void)d;
    for (int i = 0; i < n_send; i++) n += pieces(send[i].bytes);
    for (int i = 0; i < n_recv; i++) n += pieces(recv[i].bytes);
    MPI_Request *req = malloc((n + 1) * sizeof *req);
    if (req == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu messages", n);
    for (int i = 0; i < n_recv; i++)
        for (size_t at = 0; at < recv[i].bytes; at += PIECE) {
            size_t m = recv[i].bytes - at < PIECE ? recv[i].bytes - at : PIECE;
            TN_GOTO(check(MPI_Irecv((char *)recv[i].data + at, (int)m, MPI_BYTE, recv[i].peer, 7, MPI_COMM_WORLD, &req[k++]), "receive", err));
        }
    for (int i = 0; i < n_send; i++)
        for (size_t at = 0; at < send[i].bytes; at += PIECE) {
            size_t m = send[i].bytes - at < PIECE ? send[i].bytes - at : PIECE;
            TN_GOTO(check(MPI_Isend((char *)send[i].data + at, (int)m, MPI_BYTE, send[i].peer, 7, MPI_COMM_WORLD, &req[k++]), "send", err));
        }
    TN_GOTO(check(MPI_Waitall((int)k, req, MPI_STATUSES_IGNORE), "wait", err));
out:
    free(req);
    return status;
}

static tn_status broadcast(tn_dist *d, int root, void *data, size_t bytes, tn_error *err)
{
    (void)d;
    for (size_t at = 0; at < bytes; at += PIECE) {
        size_t m = bytes - at < PIECE ? bytes - at : PIECE;
        TN_TRY(check(MPI_Bcast((char *)data + at, (int)m, MPI_BYTE, root, MPI_COMM_WORLD), "broadcast", err));
    }
    return TN_OK;
}

static tn_status gather(tn_dist *d, const void *mine, size_t bytes, void *all, tn_error *err)
{
    if (bytes > INT32_MAX / (size_t)d->size)
        return tn_fail(err, TN_LIMIT, "gathering %zu bytes of each of %d ranks at once; at most 2 GiB in all", bytes, d->size);
    void *copy = malloc(bytes ? bytes : 1);                  /* MPI forbids that the buffers overlap */
    if (copy == NULL) return tn_fail(err, TN_NOMEM, "no memory to gather %zu bytes", bytes);
    memcpy(copy, mine, bytes);
    int rc = MPI_Allgather(copy, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
    free(copy);
    return check(rc, "gather", err);
}

static tn_status barrier(tn_dist *d, tn_error *err)
{
    (void)d;
    return check(MPI_Barrier(MPI_COMM_WORLD), "barrier", err);
}

/* An error that all ranks agreed on ends like success; one that a rank has alone ends the job. */
static void close_mpi(tn_dist *d, tn_status status, const tn_error *err)
{
    MPI_Request all;
    int here = 0;
    if (status != TN_OK && MPI_Ibarrier(MPI_COMM_WORLD, &all) == MPI_SUCCESS) {
        for (int i = 0; i < 500 && !here; i++) {
            if (MPI_Test(&all, &here, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
            if (!here) nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
        }
        if (!here) {
            tn_log(TN_LOG_ERROR, "rank %d: %s", d->rank, err != NULL ? err->msg : tn_status_text(status));
            MPI_Abort(MPI_COMM_WORLD, tn_status_exit_code(status));
        }
    }
    MPI_Finalize();
}

bool tn_dist_mpi_built(void) { return true; }

tn_status tn_dist_mpi_open(tn_dist *d, tn_error *err)
{
    static const tn_dist_backend backend = { exchange, broadcast, gather, barrier, close_mpi };
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int provided = 0, n = 0;

    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return tn_fail(err, TN_IO, "MPI could not start; was the program started by mpirun or srun?");
    if (provided < MPI_THREAD_FUNNELED) {
        MPI_Finalize();
        return tn_fail(err, TN_UNSUPPORTED, "this MPI does not allow threads beside it (MPI_THREAD_FUNNELED)");
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &d->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &d->size);
    MPI_Get_library_version(text, &n);
    text[strcspn(text, ",\n")] = '\0';
    snprintf(d->name, sizeof d->name, "%.90s", text);
    d->backend = &backend;
    return TN_OK;
}

#else

bool tn_dist_mpi_built(void) { return false; }

tn_status tn_dist_mpi_open(tn_dist *d, tn_error *err)
{
    (void)d;
    return tn_fail(err, TN_UNSUPPORTED, "this build has no MPI: install libopenmpi-dev or libmpich-dev and build again");
}

#endif
