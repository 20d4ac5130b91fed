/* cmd_bench.c - `tenet bench [NAME...]`: runs the benchmarks of bench.h and prints each result with its limit. */
#include "cli/bench.h"
#include "cli/cli.h"

#include "base/cpu.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_config { double seconds; } bench_config;

struct tn_bench {
    bool   json;
    double seconds;                                  /* for one timing */
    double peak_f32, peak_bf16, bandwidth;           /* 0: not measured yet for this benchmark */
    int    n_row;
};

static const struct { const char *name; tn_status (*run)(tn_bench *b, tn_error *err); } benches[] = {
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

double tn_bench_time(tn_bench *b, void (*fn)(void *arg), void *arg)
{
    double start = tn_now(), best, end;
    int    n = 1;

    fn(arg);                                         /* the first call touches memory and chooses kernels */
    best = tn_now() - start;
    while (best * n < 20e-6 && n < 1 << 20) n *= 2;  /* short calls are timed in groups: the clock has its own cost */
    end = tn_now() + b->seconds;
    for (int i = 0; i < 3 || tn_now() < end; i++) {
        double t;
        start = tn_now();
        for (int k = 0; k < n; k++) fn(arg);
        t = (tn_now() - start) / n;
        if (t < best) best = t;
    }
    return best;
}

double tn_bench_peak_f32(tn_bench *b)
{
    if (b->peak_f32 == 0) b->peak_f32 = tn_peak_f32(b->seconds / 2);
    return b->peak_f32;
}

double tn_bench_peak_bf16(tn_bench *b)
{
    if (b->peak_bf16 == 0) b->peak_bf16 = tn_peak_bf16(b->seconds / 2);
    return b->peak_bf16;
}

double tn_bench_bandwidth(tn_bench *b)
{
    tn_error err;

    if (b->bandwidth == 0 && tn_read_bandwidth(b->seconds, &b->bandwidth, &err) != TN_OK) {
        tn_log(TN_LOG_WARN, "%s", err.msg);
        b->bandwidth = 0;
    }
    return b->bandwidth;
}

static json_t *number_or_null(double v) { return isfinite(v) && v != 0 ? json_real(v) : json_null(); }

tn_status tn_bench_row(tn_bench *b, const char *name, const char *shape, const char *dtype, double value, const char *unit,
                       double limit, tn_error *err)
{
    double ratio = limit > 0 ? value / limit : 0;
    json_t *row;
    char   *text;

    b->n_row++;
    if (!b->json) {
        if (b->n_row == 1) printf("%-22s %-18s %-6s %3s  %10s %-9s %10s  ratio\n", "name", "shape", "dtype", "thr", "value", "unit", "limit");
        printf("%-22s %-18s %-6s %3d  %10.4g %-9s", name, shape, dtype, tn_threads(), value, unit);
        if (limit > 0) printf(" %10.4g  %5.1f %%\n", limit, 100 * ratio);
        else printf(" %10s\n", "-");
        fflush(stdout);
        return TN_OK;
    }
    row = json_pack("{s:s, s:s, s:s, s:i, s:f, s:s, s:o, s:o}", "name", name, "shape", shape, "dtype", dtype, "threads", tn_threads(),
                    "value", value, "unit", unit, "limit", number_or_null(limit), "ratio", number_or_null(ratio));
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
    if (!common->json)
        printf("%s, %d threads, kernels %s\n", tn_cpu_name(), tn_threads(),
               tn_isa_limit() == TN_ISA_AVX512 ? "avx512" : tn_isa_limit() == TN_ISA_AVX2 ? "avx2" : "ref");
    for (int k = 0, n_row = 0; benches[k].name != NULL; k++) {
        tn_bench b = { .json = common->json, .seconds = c->seconds, .n_row = n_row };
        bool     wanted = n_arg == 0;

        for (int i = 0; i < n_arg; i++) wanted = wanted || strcmp(benches[k].name, args[i]) == 0;
        if (!wanted) continue;
        TN_TRY(tn_interrupted(err));
        TN_TRY(benches[k].run(&b, err));
        n_row = b.n_row;
    }
    return TN_OK;
}

const tn_command tn_cmd_bench = {
    .name = "bench",
    .line = "measure this machine's limits, and every operation as a ratio to them",
    .usage = "tenet bench [NAME...] [--seconds S]",
    .more = "Each row is a ratio to a limit measured in the same run: FMA peak or read bandwidth. With --json, one object a line:\n"
            "name, shape, dtype, threads, value, unit, limit, ratio (limit and ratio are null where there is no limit).",
    .options = options,
    .config_bytes = sizeof(bench_config),
    .max_args = -1,
    .run = run,
};
