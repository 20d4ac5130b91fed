/* cmd_compare.c - `tenet compare A B`: two evaluations of the same rows, paired tests, corrected for their number. */
#include "cli/with_model.h"

#include "eval/eval.h"

#include <stdio.h>

typedef struct compare_config { int unused; } compare_config;

static const tn_option options[] = { { .key = NULL } };

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    json_t *out = NULL, *c;
    size_t  i;

    (void)config;
    (void)n_arg;
    TN_TRY(tn_eval_compare(&out, args[0], args[1], common->seed, err));
    if (common->json) return tn_cli_print_json(out, err);
    printf("%-24s %-10s %8s %8s %9s %22s %8s %8s\n", "task", "metric", "first", "second", "change", "95 % interval", "p", "p (Holm)");
    json_array_foreach(json_object_get(out, "comparisons"), i, c) {
        const json_t *ci = json_object_get(c, "interval");
        printf("%-24s %-10s %8.4f %8.4f %+9.4f    [%+8.4f, %+8.4f] %8.4f %8.4f  %s\n", json_string_value(json_object_get(c, "task")),
               json_string_value(json_object_get(c, "metric")), number(c, "a"), number(c, "b"), number(c, "change"), json_number_value(json_array_get(ci, 0)),
               json_number_value(json_array_get(ci, 1)), number(c, "p"), number(c, "p_holm"), json_string_value(json_object_get(c, "verdict")));
    }
    json_decref(out);
    return TN_OK;
}

const tn_command tn_cmd_compare = {
    .name = "compare",
    .line = "two evaluations of the same rows, with paired tests",
    .usage = "tenet compare REPORT REPORT [--json]",
    .more = "REPORT is a folder that `tenet eval --out` made, or the report.json in it.",
    .options = options,
    .config_bytes = sizeof(compare_config),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
