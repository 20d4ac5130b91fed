/* bench.h - the benchmarks of `tenet bench`: one file each (bench_<name>.c), one row each in TN_BENCH_LIST.
 *
 * A result is a ratio to a limit on the same threads. Machines differ and their clocks move, so the two
 * alternate: limit, figure, limit, figure ...; each printed number is a median, and the ratio is the median
 * of the rounds' ratios.
 *
 *   tn_status tn_bench_matmul(tn_bench *b, tn_error *err)
 *   {
 *       tn_bench_job j = { run_once, &job };
 *       return tn_bench_rate(b, "matmul", "1024x768x768", "f32", gflop, "GFLOP/s", TN_LIMIT_F32, j, err);
 *   }
 */
#ifndef TN_CLI_BENCH_H
#define TN_CLI_BENCH_H

#include "base/err.h"

// clang-format off
#define TN_BENCH_LIST(X) \
    X(machine)           \
    X(sha256)            \
    X(threads)           \
    X(matmul)            \
    X(matvec)            \
    X(attention)         \
    X(head)              \
    X(train)
// clang-format on

typedef struct tn_bench tn_bench;

typedef struct tn_bench_job {
    void (*run)(void *arg);
    void *arg;
} tn_bench_job;

/* Limits: FMA peaks in GFLOP/s, reading memory in GB/s. NONE: the row has no limit. */
typedef enum tn_bench_limit {
    TN_LIMIT_NONE,
    TN_LIMIT_F32,
    TN_LIMIT_BF16,
    TN_LIMIT_AMX,
    TN_LIMIT_READ
} tn_bench_limit;

/* A row of `work` a call (1e9 operations or bytes), alternating with the limit. */
tn_status tn_bench_rate(tn_bench *b, const char *name, const char *shape, const char *dtype, double work,
                        const char *unit, tn_bench_limit limit, tn_bench_job figure, tn_error *err);
/* A row in time ("ms", "us": scale 1e3, 1e6), alternating with another job whose time, times `factor`, it
 * should stay under; the ratio is time over that. */
tn_status tn_bench_time_under(tn_bench *b, const char *name, const char *shape, const char *dtype,
                              const char *unit, double scale, tn_bench_job figure, tn_bench_job bound,
                              double factor, tn_error *err);
/* Median time of one call, in seconds, over about `seconds`. */
double tn_bench_seconds(tn_bench_job job, double seconds);
/* The limit now, in about `seconds`. 0: it cannot be had. */
double tn_bench_limit_now(tn_bench *b, tn_bench_limit limit, double seconds);
double tn_bench_median(double *v, int n);

/* One result: printed at once. shape as "MxNxK"; limit and ratio 0: there is none (null in JSON). */
tn_status tn_bench_row(tn_bench *b, const char *name, const char *shape, const char *dtype, double value,
                       const char *unit, double limit, double ratio, tn_error *err);

#define X(name) tn_status tn_bench_##name(tn_bench *b, tn_error *err);
TN_BENCH_LIST(X)
#undef X

#endif
