/* cmd_selftest.c - `tenet selftest [OP...]`: the walk over the operation table, as a person or a script reads
 * it. */
#include "cli/cli.h"

#include "base/cpu.h"
#include "base/log.h"
#include "base/thread.h"

#include <stdio.h>
#include <string.h>

typedef struct selftest_config {
    int64_t rounds;
} selftest_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "rounds", TN_OPT_INT, offsetof(selftest_config, rounds), "8", 0, 1e9, "cases", "random cases of every operation beside the fixed ones; --seed chooses which", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

typedef struct walk {
    bool        json, quiet;
    int         n_passed, n_failed;
    const char *op;
    json_t     *rows;
    bool        no_memory;
} walk;

static void show_row(const walk *w, const char *op, const char *what, bool passed, const char *detail)
{
    if (passed && w->quiet) return;
    printf("%-16s %-52s %s\n", op, what, passed ? "ok" : "WRONG");
    if (!passed && detail != NULL && detail[0] != '\0') printf("%-16s %s\n", "", detail);
}

static void on_result(void *arg, const char *op, const char *what, bool passed, const char *detail)
{
    walk *w = arg;

    if (passed) w->n_passed++;
    else w->n_failed++;
    if (!w->json) {
        show_row(w, op, what, passed, detail);
        return;
    }
    json_t *row = json_pack("{s:s, s:s, s:b, s:s}", "op", op, "what", what, "passed", passed, "detail",
                            detail != NULL ? detail : "");
    if (row == NULL || json_array_append_new(w->rows, row) != 0) w->no_memory = true;
}

/* Which kernel each operation would use now. */
static json_t *kernels_used(const char *const *names)
{
    json_t *used = json_object();

    for (int id = TN_OP_NONE + 1; used != NULL && id < TN_OP_COUNT; id++) {
        const tn_op     *op = tn_op_get((tn_op_id)id);
        const tn_kernel *k = op != NULL ? tn_op_kernel(op) : NULL;
        bool             wanted = names == NULL;

        for (const char *const *n = names; n != NULL && *n != NULL; n++)
            wanted = wanted || (op != NULL && strcmp(*n, op->name) == 0);
        if (k != NULL && wanted) json_object_set_new(used, op->name, json_string(k->name));
    }
    return used;
}

/* "kernels: avx512 for 20 operations, ref for 2 (router, gather_rows)": the small groups by name. */
static void print_kernels(const json_t *used)
{
    const char *op, *of, *done[16];
    json_t     *name, *same;
    size_t      n_done = 0;

    json_object_foreach((json_t *)used, op, name) {
        const char *kernel = json_string_value(name);
        size_t      n = 0, k = 0;
        while (k < n_done && strcmp(done[k], kernel) != 0) k++;
        if (k < n_done || n_done == sizeof done / sizeof done[0]) continue;
        json_object_foreach((json_t *)used, of, same) n += strcmp(json_string_value(same), kernel) == 0;
        printf("%s%s for %zu operation%s", n_done == 0 ? "kernels: " : ", ", kernel, n, n == 1 ? "" : "s");
        done[n_done++] = kernel;
        if (n > 4 || n == json_object_size(used)) continue;
        const char *before = " (";
        json_object_foreach((json_t *)used, of, same) {
            if (strcmp(json_string_value(same), kernel) != 0) continue;
            printf("%s%s", before, of);
            before = ", ";
        }
        putchar(')');
    }
    putchar('\n');
}

static void print_summary(const walk *w, const json_t *used)
{
    printf("%s%s, %d thread%s\n", w->quiet ? "" : "\n", tn_cpu_name(), tn_threads(),
           tn_threads() == 1 ? "" : "s");
    print_kernels(used);
    printf("%d checks: %d ok, %d wrong\n", w->n_passed + w->n_failed, w->n_passed, w->n_failed);
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const selftest_config *options_given = config;
    const char *const     *names = n_arg > 0 ? args : NULL;
    walk                   w = { .json = common->json, .quiet = common->quiet };
    json_t                *used = NULL;
    tn_status              status = TN_OK;

    for (int i = 0; i < n_arg; i++)
        if (tn_op_by_name(args[i]) == NULL)
            return tn_fail(err, TN_USAGE,
                           "there is no operation '%s' (tenet selftest without a name walks all)", args[i]);
    if (w.json && (w.rows = json_array()) == NULL) return tn_fail(err, TN_NOMEM, "no memory for the results");
    TN_GOTO(tn_selftest(names, options_given->rounds, (uint64_t)common->seed, on_result, &w, err));
    tn_ops_choose(true);
    if ((used = kernels_used(names)) == NULL || w.no_memory) {
        status = tn_fail(err, TN_NOMEM, "no memory for the results");
        goto out;
    }
    if (w.json) {
        json_t *all = json_pack("{s:s, s:i, s:i, s:i, s:b, s:O, s:O}", "cpu", tn_cpu_name(), "threads",
                                tn_threads(), "passed", w.n_passed, "failed", w.n_failed, "sound",
                                w.n_failed == 0, "kernels", used, "checks", w.rows);
        if (all == NULL || json_dumpf(all, stdout, JSON_COMPACT) != 0)
            status = tn_fail(err, TN_IO, "standard output: cannot write");
        putchar('\n');
        json_decref(all);
    } else print_summary(&w, used);
out:
    json_decref(used);
    json_decref(w.rows);
    if (status == TN_OK && w.n_failed > 0)
        status = tn_fail(
            err, TN_VERIFY,
            "%d of %d checks found a wrong result: do not compute with this build on this machine",
            w.n_failed, w.n_passed + w.n_failed);
    return status;
}

const tn_command tn_cmd_selftest = {
    .name = "selftest",
    .line = "check every operation against its definition, bit for bit, on this machine",
    .usage = "tenet selftest [OP...]",
    .more = "Walks the operation table: each kernel (ref, avx2, avx512) against the plain loop that defines "
            "the operation, on\n"
            "odd shapes and ugly values; 1, 2, 3 and 8 threads; rows alone against rows in a batch; "
            "gradients against finite\n"
            "differences; then on random shapes, options, weight types and thread counts (--rounds). Exit 0: "
            "sound. Exit 3: something differs.\n"
            "A walk that is interrupted has no verdict: exit 130 or 143.",
    .options = options,
    .config_bytes = sizeof(selftest_config),
    .max_args = -1,
    .run = run,
};
