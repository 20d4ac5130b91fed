/* bench.h - the benchmarks of `tenet bench`: one file each (bench_<name>.c), one row each in TN_BENCH_LIST.
 *
 * A benchmark times its operation with tn_bench_time and says each result with tn_bench_row. Every result is a ratio to
 * a limit that is measured in the same run on the same threads, because machines differ and their clocks move:
 *
 *   tn_status tn_bench_matmul(tn_bench *b, tn_error *err)
 *   {
 *       double s = tn_bench_time(b, run_once, &job);
 *       return tn_bench_row(b, "matmul", "1024x768x768", "f32", flops / s * 1e-9, "GFLOP/s", tn_bench_peak_f32(b), err);
 *   }
 */
#ifndef TN_CLI_BENCH_H
#define TN_CLI_BENCH_H

#include "base/err.h"

#define TN_BENCH_LIST(X) \
    X(machine)           \
    X(sha256)            \
    X(threads)           \
    X(matmul)            \
    X(matvec)            \
    X(attention)         \
    X(head)              \
    X(train)

typedef struct tn_bench tn_bench;

/* Best time of one call of fn(arg), in seconds: warms up, then repeats for the time that --seconds gives. */
double tn_bench_time(tn_bench *b, void (*fn)(void *arg), void *arg);

/* The limits, measured anew for each benchmark at its first call: GFLOP/s and GB/s on tn_threads() threads. */
double tn_bench_peak_f32(tn_bench *b);
double tn_bench_peak_bf16(tn_bench *b);
double tn_bench_bandwidth(tn_bench *b);

/* One result: printed at once. shape as "MxNxK"; limit 0: there is none (limit and ratio are null in JSON). Higher is
 * better where unit is a rate; for times ("us") limit is the bound to stay under and the ratio is still value/limit. */
tn_status tn_bench_row(tn_bench *b, const char *name, const char *shape, const char *dtype, double value, const char *unit,
                       double limit, tn_error *err);

#define X(name) tn_status tn_bench_##name(tn_bench *b, tn_error *err);
TN_BENCH_LIST(X)
#undef X

#endif
