/* bench_machine.c - what the machine can do, and what the ground takes of it: FMA peaks on one thread and on
 * all, read bandwidth, SHA-256, and the cost of a parallel region. */
#include "cli/bench.h"

#include "base/hash.h"
#include "base/machine.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

tn_status tn_bench_machine(tn_bench *b, tn_error *err)
{
    int n = tn_threads();

    for (int threads = 1;; threads = 2 * threads < n ? 2 * threads : n) {
        double all;
        TN_TRY(tn_threads_set(threads, err));
        all = tn_peak_f32(0.25);
        TN_TRY(tn_bench_row(b, "peak", "fma", "f32", all, "GFLOP/s", 0, 0, err));
        TN_TRY(tn_bench_row(b, "peak", "fma", "bf16", tn_peak_bf16(0.25), "GFLOP/s", 0, 0, err));
        all = tn_peak_amx(0.25);
        if (all > 0) TN_TRY(tn_bench_row(b, "peak", "amx", "bf16", all, "GFLOP/s", 0, 0, err));
        if (threads == n) break;
    }
    return tn_bench_row(b, "read", "memory", "u8", tn_bench_limit_now(b, TN_LIMIT_READ, 0.5), "GB/s", 0, 0,
                        err);
}

enum { HASH_BYTES = 16 << 20 };

static void hash_once(void *arg)
{
    tn_digest *d = arg;
    *d = tn_sha256_of((uint8_t *)arg + sizeof *d, HASH_BYTES);
}

tn_status tn_bench_sha256(tn_bench *b, tn_error *err)
{
    uint8_t  *p = malloc(sizeof(tn_digest) + HASH_BYTES);
    tn_status status;
    int       n = tn_threads();

    if (p == NULL) return tn_fail(err, TN_NOMEM, "no %d bytes to hash", HASH_BYTES);
    memset(p, 7, sizeof(tn_digest) + HASH_BYTES);
    TN_GOTO(tn_threads_set(1, err)); /* hashing is one chain: one thread by nature */
    status = tn_bench_rate(b, "sha256", "16MiB", "u8", HASH_BYTES * 1e-9, "GB/s", TN_LIMIT_NONE,
                           (tn_bench_job){ hash_once, p }, err);
    TN_GOTO(tn_threads_set(n, err));
out:
    free(p);
    return status;
}

static void nothing(void *arg, int64_t begin, int64_t end, int i_thread)
{
    (void)arg;
    (void)begin;
    (void)end;
    (void)i_thread;
}

static void region_once(void *arg)
{
    (void)arg;
    tn_parallel(tn_threads(), 1, nothing, NULL);
}

tn_status tn_bench_threads(tn_bench *b, tn_error *err)
{
    double us = 1e6 * tn_bench_seconds((tn_bench_job){ region_once, NULL }, 0.5);
    return tn_bench_row(b, "parallel", "empty", "-", us, "us", 2.0, us / 2.0, err);
}
