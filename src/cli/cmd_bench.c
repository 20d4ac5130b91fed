/* cmd_bench.c - `tenet bench [NAME...]`: runs the benchmarks of bench.h and prints each result with its
 * limit. */
#include "cli/bench.h"
#include "cli/cli.h"

#include "base/cpu.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/stats.h"
#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_config {
    double seconds;
} bench_config;

struct tn_bench {
    bool       json;
    double     seconds; /* for one timing */
    int        n_row;
    tn_reader *reader; /* made when the first row needs it */
};

static const struct {
    const char *name;
    tn_status (*run)(tn_bench *b, tn_error *err);
} benches[] = {
#define X(name) { #name, tn_bench_##name },
    TN_BENCH_LIST(X)
#undef X
        { NULL, NULL },
};

#define AT(field) offsetof(bench_config, field)
static const tn_option options[] = {
    { "seconds", TN_OPT_REAL, AT(seconds), "0.5", 0.01, 600, "s", "time for one measurement", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
};
#undef AT

enum { ROUNDS = 7, MOST = 4096 };

double tn_bench_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, tn_f64_order);
    return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double tn_bench_seconds(tn_bench_job job, double seconds)
{
    double t[MOST], start = tn_now();
    int    group = 1, n = 0;

    job.run(job.arg);
    /* the clock has its own cost */
    for (double once = tn_now() - start; once * group < 20e-6 && group < 1 << 20;) group *= 2;
    for (double end = tn_now() + seconds; n == 0 || (n < MOST && tn_now() < end); n++) {
        start = tn_now();
        for (int k = 0; k < group; k++) job.run(job.arg);
        t[n] = (tn_now() - start) / group;
    }
    return tn_bench_median(t, n);
}

double tn_bench_limit_now(tn_bench *b, tn_bench_limit limit, double seconds)
{
    tn_error err;

    switch (limit) {
    case TN_LIMIT_F32: return tn_peak_f32(seconds);
    case TN_LIMIT_BF16: return tn_peak_bf16(seconds);
    case TN_LIMIT_AMX: return tn_peak_amx(seconds);
    case TN_LIMIT_READ:
        if (b->reader == NULL && tn_reader_create(&b->reader, &err) != TN_OK)
            tn_log(TN_LOG_WARN, "%s", err.msg);
        return b->reader != NULL ? tn_reader_rate(b->reader, seconds) : 0;
    case TN_LIMIT_NONE: break;
    }
    return 0;
}

tn_status tn_bench_rate(tn_bench *b, const char *name, const char *shape, const char *dtype, double work,
                        const char *unit, tn_bench_limit limit, tn_bench_job figure, tn_error *err)
{
    double value[ROUNDS], most[ROUNDS], ratio[ROUNDS], part = b->seconds / ROUNDS;

    figure.run(figure.arg); /* touches memory and chooses kernels */
    for (int i = 0; i < ROUNDS; i++) {
        TN_TRY(tn_interrupted(err));
        most[i] = tn_bench_limit_now(b, limit, part / 2);
        value[i] = work / tn_bench_seconds(figure, part);
        ratio[i] = most[i] > 0 ? value[i] / most[i] : 0;
    }
    return tn_bench_row(b, name, shape, dtype, tn_bench_median(value, ROUNDS), unit,
                        tn_bench_median(most, ROUNDS), tn_bench_median(ratio, ROUNDS), err);
}

tn_status tn_bench_time_under(tn_bench *b, const char *name, const char *shape, const char *dtype,
                              const char *unit, double scale, tn_bench_job figure, tn_bench_job bound,
                              double factor, tn_error *err)
{
    double value[ROUNDS], most[ROUNDS], ratio[ROUNDS], part = b->seconds / ROUNDS;

    figure.run(figure.arg);
    bound.run(bound.arg);
    for (int i = 0; i < ROUNDS; i++) {
        TN_TRY(tn_interrupted(err));
        most[i] = factor * tn_bench_seconds(bound, part) * scale;
        value[i] = tn_bench_seconds(figure, part) * scale;
        ratio[i] = value[i] / most[i];
    }
    return tn_bench_row(b, name, shape, dtype, tn_bench_median(value, ROUNDS), unit,
                        tn_bench_median(most, ROUNDS), tn_bench_median(ratio, ROUNDS), err);
}

static json_t *number_or_null(double v) { return isfinite(v) && v != 0 ? json_real(v) : json_null(); }

tn_status tn_bench_row(tn_bench *b, const char *name, const char *shape, const char *dtype, double value,
                       const char *unit, double limit, double ratio, tn_error *err)
{
    json_t *row;
    char   *text;

    b->n_row++;
    if (!b->json) {
        if (b->n_row == 1)
            printf("%-22s %-18s %-6s %3s  %10s %-9s %10s  ratio\n", "name", "shape", "dtype", "thr", "value",
                   "unit", "limit");
        printf("%-22s %-18s %-6s %3d  %10.4g %-9s", name, shape, dtype, tn_threads(), value, unit);
        if (limit > 0) printf(" %10.4g  %5.1f %%\n", limit, 100 * ratio);
        else printf(" %10s\n", "-");
        fflush(stdout);
        return TN_OK;
    }
    row = json_pack("{s:s, s:s, s:s, s:i, s:f, s:s, s:o, s:o}", "name", name, "shape", shape, "dtype", dtype,
                    "threads", tn_threads(), "value", value, "unit", unit, "limit", number_or_null(limit),
                    "ratio", number_or_null(ratio));
    if (row == NULL || (text = json_dumps(row, JSON_COMPACT)) == NULL) {
        json_decref(row);
        return tn_fail(err, TN_NOMEM, "no memory for the result of %s", name);
    }
    puts(text);
    fflush(stdout);
    free(text);
    json_decref(row);
    return TN_OK;
}

static tn_status check_names(int n_arg, const char **args, tn_error *err)
{
    for (int i = 0; i < n_arg; i++) {
        bool known = false;
        for (int k = 0; benches[k].name != NULL; k++) known = known || strcmp(benches[k].name, args[i]) == 0;
        if (!known) {
            char   names[512] = "";
            size_t n = 0;
            for (int k = 0; benches[k].name != NULL && n < sizeof names; k++)
                n += (size_t)snprintf(names + n, sizeof names - n, " %s", benches[k].name);
            return tn_fail(err, TN_USAGE, "there is no benchmark '%s'; there are:%s", args[i], names);
        }
    }
    return TN_OK;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const bench_config *c = config;

    TN_TRY(check_names(n_arg, args, err));
    /* threads that share a CPU would measure limits that are none */
    if (tn_threads() > tn_threads_default()) {
        tn_log(TN_LOG_WARN, "--threads %d: this process may use %d, so %d are measured", tn_threads(),
               tn_threads_default(), tn_threads_default());
        TN_TRY(tn_threads_set(tn_threads_default(), err));
    }
    if (!common->json)
        printf("%s, %d threads, kernels %s\n", tn_cpu_name(), tn_threads(),
               tn_isa_limit() == TN_ISA_AVX512 ? "avx512"
               : tn_isa_limit() == TN_ISA_AVX2 ? "avx2"
                                               : "ref");
    for (int k = 0, n_row = 0; benches[k].name != NULL; k++) {
        tn_bench b = { .json = common->json, .seconds = c->seconds, .n_row = n_row };
        bool     wanted = n_arg == 0;

        for (int i = 0; i < n_arg; i++) wanted = wanted || strcmp(benches[k].name, args[i]) == 0;
        if (!wanted) continue;
        TN_TRY(tn_interrupted(err));
        tn_status status = benches[k].run(&b, err);
        tn_reader_destroy(b.reader);
        TN_TRY(status);
        n_row = b.n_row;
    }
    return TN_OK;
}

const tn_command tn_cmd_bench = {
    .name = "bench",
    .line = "measure this machine's limits, and every operation as a ratio to them",
    .usage = "tenet bench [NAME...] [--seconds S]",
    .more = "Each row is a ratio to a limit, FMA peak or read bandwidth, that is measured in turn with it: "
            "medians of 7 rounds of limit and\n"
            "figure; the ratio is the median of the rounds' ratios. With --json, one object a line:\n"
            "name, shape, dtype, threads, value, unit, limit, ratio (limit and ratio are null where there is "
            "no limit).",
    .options = options,
    .config_bytes = sizeof(bench_config),
    .max_args = -1,
    .run = run,
};
