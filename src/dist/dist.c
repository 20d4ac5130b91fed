/* dist.c - choosing a backend, and what is the same for all of them. */
#include "dist/dist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "dist/dist_impl.h"

/* Ranks that the launcher announces: Open MPI, MPICH and others by PMI, Slurm. 0: none. */
static int64_t launched_ranks(const char **by)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS",
                                         "SLURM_NTASKS" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *v = getenv(names[i]);
        int64_t     n;
        /* Slurm sets SLURM_NTASKS in batch scripts too: only a task of a step has a process id in the job. */
        if (strcmp(names[i], "SLURM_NTASKS") == 0 && getenv("SLURM_PROCID") == NULL) continue;
        if (v != NULL && tn_parse_i64(v, &n) && n > 0) {
            *by = names[i];
            return n;
        }
    }
    return 0;
}

int64_t tn_dist_launched_rank(void)
{
    /* as above */
    static const char *const names[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MPI_LOCALRANKID",
                                         "SLURM_PROCID" };
    const char              *by;
    int64_t                  n;

    if (launched_ranks(&by) < 2) return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *v = getenv(names[i]);
        if (v != NULL && tn_parse_i64(v, &n) && n >= 0) return n;
    }
    return 0;
}

tn_status tn_dist_open(tn_dist **out, const char *backend, tn_error *err)
{
    tn_status   status;
    const char *by = "";
    int64_t     launched = launched_ranks(&by);
    tn_dist    *d = calloc(1, sizeof *d);

    *out = NULL;
    if (d == NULL) return tn_fail(err, TN_NOMEM, "no memory for the ranks");
    d->size = 1;
    bool mpi = strcmp(backend, "mpi") == 0 || (strcmp(backend, "auto") == 0 && launched > 1);
    if (!mpi && strcmp(backend, "auto") != 0 && strcmp(backend, "one") != 0) {
        status = tn_fail(err, TN_USAGE, "dist is '%s'; auto, one and mpi are known", backend);
    } else if (!mpi) {
        status = tn_dist_one_open(d, err);
    } else if (!tn_dist_mpi_built()) {
        status = tn_fail(
            err, TN_UNSUPPORTED,
            "started as one of %lld ranks (%s), but this build has no MPI: install libopenmpi-dev or "
            "libmpich-dev and build again",
            (long long)launched, by);
    } else {
        status = tn_dist_mpi_open(d, err);
        /* The launcher of another MPI, or srun without its plugin: every process would train alone, into one
         * directory. */
        if (status == TN_OK && launched > 1 && d->size == 1) {
            char library[sizeof d->name];
            snprintf(library, sizeof library, "%s", d->name);
            d->backend->close(d, TN_OK, NULL);
            status = tn_fail(
                err, TN_USAGE,
                "the launcher started %lld ranks (%s), but %s sees only this one: use the mpirun that "
                "belongs to it, under Slurm "
                "srun --mpi=pmix or --mpi=pmi2; or build for the other MPI (-Dmpi_library=mpich)",
                (long long)launched, by, library);
        }
    }
    if (status != TN_OK) {
        free(d);
        return status;
    }
    *out = d;
    return TN_OK;
}

void tn_dist_close(tn_dist *d, tn_status status, const tn_error *err)
{
    if (d == NULL) return;
    d->backend->close(d, status, err);
    free(d);
}

int tn_dist_rank(const tn_dist *d) { return d->rank; }
int tn_dist_size(const tn_dist *d) { return d->size; }

tn_status tn_dist_exchange(tn_dist *d, const tn_dist_message *send, int n_send, const tn_dist_message *recv,
                           int n_recv, tn_error *err)
{
    return d->backend->exchange(d, send, n_send, recv, n_recv, err);
}

tn_status tn_dist_broadcast(tn_dist *d, int root, void *data, size_t bytes, tn_error *err)
{
    return d->size == 1 ? TN_OK : d->backend->broadcast(d, root, data, bytes, err);
}

tn_status tn_dist_gather(tn_dist *d, const void *mine, size_t bytes, void *all, tn_error *err)
{
    return d->backend->gather(d, mine, bytes, all, err);
}

tn_status tn_dist_barrier(tn_dist *d, tn_error *err) { return d->backend->barrier(d, err); }

static tn_status begin(tn_dist *d, tn_dist_message m, bool send, int tag, int64_t *ticket, tn_error *err)
{
    if (m.peer < 0 || m.peer >= d->size || m.peer == d->rank || m.bytes > TN_DIST_PIECE || tag < 0 ||
        tag >= TN_DIST_TAGS)
        return tn_fail(err, TN_LIMIT,
                       "a message of %zu bytes with tag %d to rank %d of %d: other ranks, %d bytes and tags "
                       "below %d are allowed",
                       m.bytes, tag, m.peer, d->size, TN_DIST_PIECE, TN_DIST_TAGS);
    return d->backend->begin(d, m, send, tag, ticket, err);
}

tn_status tn_dist_begin_send(tn_dist *d, tn_dist_message m, int tag, int64_t *ticket, tn_error *err)
{
    int64_t unused;
    return begin(d, m, true, tag, ticket != NULL ? ticket : &unused, err);
}

tn_status tn_dist_begin_receive(tn_dist *d, tn_dist_message m, int tag, int64_t *ticket, tn_error *err)
{
    return begin(d, m, false, tag, ticket, err);
}

bool tn_dist_arrived(const tn_dist *d, int64_t ticket)
{
    return d->size == 1 || d->backend->arrived(d, ticket);
}
tn_status tn_dist_progress(tn_dist *d, bool idle, tn_error *err)
{
    return d->size == 1 ? TN_OK : d->backend->progress(d, idle, err);
}
tn_status tn_dist_wait(tn_dist *d, tn_error *err) { return d->size == 1 ? TN_OK : d->backend->wait(d, err); }

tn_status tn_dist_agree(tn_dist *d, tn_status mine, tn_error *err)
{
    if (d->size == 1) return mine;
    struct {
        int32_t code;
        char    msg[1020];
    } one = { mine, "" }, *all = malloc((size_t)d->size * sizeof one);
    if (all == NULL) return tn_fail(err, TN_NOMEM, "no memory to agree with the other ranks");
    if (mine != TN_OK && err != NULL) snprintf(one.msg, sizeof one.msg, "%.1000s", err->msg);
    tn_status status = d->backend->gather(d, &one, sizeof one, all, err);
    for (int r = 0; status == TN_OK && r < d->size; r++) {
        if (all[r].code == TN_OK) continue;
        status = r == d->rank ? mine : tn_fail(err, (tn_status)all[r].code, "rank %d: %s", r, all[r].msg);
    }
    free(all);
    return status;
}
