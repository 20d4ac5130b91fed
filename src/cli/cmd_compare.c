/* cmd_compare.c - `tenet compare A B`: two evaluations of the same rows, paired tests, corrected for their
 * number; with --judged, the ranks of many models from judged pairs. */
#include "cli/with_model.h"

#include "base/str.h"
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct compare_config {
    bool  judged;
    char *anchor;
} compare_config;

enum { FILES_MAX = 64 };

#define AT(field) offsetof(compare_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "judged", TN_OPT_BOOL, AT(judged), NULL, 0, 0, "", "rank models by judged pairs (Bradley-Terry) instead", NULL },
    { "anchor", TN_OPT_STR,  AT(anchor), NULL, 0, 0, "", "judged: the model that stands at 1000; default: the first one named", NULL },
    { .key = NULL }
    // clang-format on
};
// clang-format on
#undef AT

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static void say_comparisons(const json_t *out)
{
    json_t *c;
    size_t  i;

    printf("%-24s %-10s %8s %8s %9s %22s %8s %8s\n", "task", "metric", "first", "second", "change",
           "95 % interval", "p", "p (Holm)");
    json_array_foreach(json_object_get(out, "comparisons"), i, c) {
        const json_t *ci = json_object_get(c, "interval");
        printf("%-24s %-10s %8.4f %8.4f %+9.4f    [%+8.4f, %+8.4f] %8.4f %8.4f  %s\n",
               json_string_value(json_object_get(c, "task")), json_string_value(json_object_get(c, "metric")),
               number(c, "a"), number(c, "b"), number(c, "change"), json_number_value(json_array_get(ci, 0)),
               json_number_value(json_array_get(ci, 1)), number(c, "p"), number(c, "p_holm"),
               json_string_value(json_object_get(c, "verdict")));
    }
}

static void say_ranks(const json_t *out)
{
    json_t *r;
    size_t  i;

    printf("%-32s %8s %18s %8s %8s %8s\n", "model", "rating", "95 % interval", "won", "tied", "lost");
    json_array_foreach(json_object_get(out, "ranks"), i, r) {
        const json_t *ci = json_object_get(r, "interval");
        printf("%-32s %8.0f   [%6.0f, %6.0f] %8.0f %8.0f %8.0f\n",
               json_string_value(json_object_get(r, "model")), number(r, "rating"),
               json_number_value(json_array_get(ci, 0)), json_number_value(json_array_get(ci, 1)),
               number(r, "won"), number(r, "tied"), number(r, "lost"));
    }
    printf("%.0f pairs; %s stands at 1000; 100 points are won 64 times of 100\n", number(out, "pairs"),
           json_string_value(json_object_get(out, "anchor")));
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const compare_config *c = config;
    json_t               *out = NULL;

    if (!c->judged && n_arg != 2)
        return tn_fail(err, TN_USAGE,
                       "compare: two reports are expected, found %d (judged pairs are ranked with --judged)",
                       n_arg);
    if (!c->judged && c->anchor != NULL) return tn_fail(err, TN_USAGE, "--anchor goes with --judged");
    if (c->judged) TN_TRY(tn_eval_ranks(&out, args, (size_t)n_arg, c->anchor, common->seed, err));
    else TN_TRY(tn_eval_compare(&out, args[0], args[1], common->seed, err));
    if (common->json) return tn_cli_print_json(out, err);
    if (c->judged) say_ranks(out);
    else say_comparisons(out);
    json_decref(out);
    return TN_OK;
}

const tn_command tn_cmd_compare = {
    .name = "compare",
    .line = "two evaluations of the same rows, with paired tests; models ranked by judged pairs",
    .usage = "tenet compare REPORT REPORT [--json] | --judged [A:B=]FILE... [--anchor NAME] [--json]",
    .more = "REPORT is a folder that `tenet eval --out` made, or the report.json in it. With --judged, FILE "
            "holds rows\n"
            "{\"prompt\",\"a\",\"b\",\"winner\"} as JSON Lines or CSV: the names of two models, and a, b or "
            "tie; A:B=FILE is what a compare stage\n"
            "wrote (the artifact or its comparisons.jsonl), with the names of its first and second. "
            "Intervals resample prompts.",
    .options = options,
    .config_bytes = sizeof(compare_config),
    .min_args = 1,
    .max_args = FILES_MAX,
    .run = run,
};
