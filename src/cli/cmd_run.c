/* cmd_run.c - `tenet run RECIPE`: plan, compute what the store lacks, go on after a stop; --dry-run,
 * --explain, --rerun. */
#include "cli/cli.h"
#include "cli/key_file.h"
#include "recipe/recipe.h"

#include "base/log.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_config {
    char *set, *until, *explain;
    bool  dry_run, rerun;
} run_config;

#define AT(field) offsetof(run_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "set",     TN_OPT_MANY, AT(set),     NULL, 0, 0, "", "VARIABLE=VALUE or STAGE.KEY=VALUE; may be given again",           NULL },
    { "until",   TN_OPT_STR,  AT(until),   NULL, 0, 0, "", "only this stage and what it needs",                               NULL },
    { "dry_run", TN_OPT_BOOL, AT(dry_run), NULL, 0, 0, "", "show what is cached and what would run, and stop",                "n"  },
    { "explain", TN_OPT_STR,  AT(explain), NULL, 0, 0, "", "say why this stage would run again: what changed",                NULL },
    { "rerun",   TN_OPT_BOOL, AT(rerun),   NULL, 0, 0, "", "compute again what is cached; fail (exit 3) if a result differs", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

/* Cuts the newline-joined values of --set apart, in place; made: free the array. */
static const char **split_sets(char *joined)
{
    size_t       n = 1;
    const char **list;

    for (const char *p = joined; p != NULL && *p != '\0'; p++) n += *p == '\n';
    if ((list = calloc(n + 1, sizeof *list)) == NULL || joined == NULL) return list;
    n = 0;
    for (char *p = joined;;) {
        char *end = strchr(p, '\n');
        list[n++] = p;
        if (end == NULL) break;
        *end = '\0';
        p = end + 1;
    }
    return list;
}

static void say_value(const json_t *v)
{
    char *text;

    if (json_is_null(v)) fputs("nothing", stdout);
    else if (json_is_string(v) && tn_starts_with(json_string_value(v), "sha256:"))
        printf("%.19s...", json_string_value(v));
    else if ((text = tn_json_text(v)) != NULL) {
        fputs(text, stdout);
        free(text);
    }
}

static tn_status explain(const tn_common *common, tn_recipe *r, tn_store *s, const char *stage, tn_error *err)
{
    json_t *o = NULL, *row;
    size_t  i;

    TN_TRY(tn_recipe_explain(r, s, stage, &o, err));
    if (common->json) return tn_cli_print_json(o, err);
    printf("%s: %s\n", stage, json_string_value(json_object_get(o, "state")));
    json_array_foreach(json_object_get(o, "why"), i, row) {
        const json_t *before = json_object_get(row, "before"), *now = json_object_get(row, "now");
        printf("  %s", json_string_value(json_object_get(row, "what")));
        if (!json_is_null(before) || !json_is_null(now)) {
            fputs(": was ", stdout);
            say_value(before);
            fputs(", is ", stdout);
            say_value(now);
        }
        putchar('\n');
    }
    if (json_is_string(json_object_get(o, "compared_with")))
        printf("  (compared with the run of %s)\n", json_string_value(json_object_get(o, "compared_with")));
    json_decref(o);
    return TN_OK;
}

static tn_status dry_run(const tn_common *common, tn_recipe *r, tn_store *s, const char *until, tn_error *err)
{
    json_t   *plan = NULL;
    char     *text = NULL;
    tn_status status = TN_OK;

    TN_TRY(tn_recipe_plan(r, s, until, &plan, err));
    if (common->json) status = tn_cli_print_json(json_incref(plan), err);
    else if ((status = tn_plan_text(plan, &text, err)) == TN_OK) fputs(text, stdout);
    free(text);
    json_decref(plan);
    return status;
}

static tn_status say_result(const tn_common *common, const json_t *record, tn_error *err)
{
    const json_t *rows = json_object_get(record, "stages"),
                 *last = json_array_get(rows, json_array_size(rows) - 1);

    if (common->json) {
        json_t *o = json_object();
        for (const char *const *k = (const char *const[]){ "id", "recipe", "status", "seconds", "stages",
                                                           "exports", "error", NULL };
             *k != NULL; k++)
            if (json_object_get(record, *k) != NULL) json_object_set(o, *k, json_object_get(record, *k));
        return tn_cli_print_json(o, err);
    }
    if (json_is_string(json_object_get(last, "root")))
        printf("%s %s   run %s\n", json_string_value(json_object_get(last, "name")),
               json_string_value(json_object_get(last, "root")),
               json_string_value(json_object_get(record, "id")));
    return TN_OK;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    run_config       *c = config;
    const char      **sets = split_sets(c->set);
    tn_recipe_options ro = { .sets = sets,
                             .profile = strcmp(common->profile, "strict") == 0 ? NULL : common->profile,
                             .seed = common->seed,
                             .seed_given = common->seed_given };
    tn_run_options    o = { .until = c->until, .rerun = c->rerun, .quiet = common->quiet };
    tn_recipe        *r = NULL;
    tn_store         *s = NULL;
    json_t           *record = NULL;
    tn_status         status = TN_OK;

    (void)n_arg;
    if (sets == NULL) return tn_fail(err, TN_NOMEM, "no memory for --set");
    tn_signing_ask(tn_cli_ask);
    TN_GOTO(tn_recipe_load(&r, args[0], &ro, err));
    TN_GOTO(tn_store_open(&s, common->store, err));
    if (c->explain != NULL) {
        status = explain(common, r, s, c->explain, err);
    } else if (c->dry_run) {
        status = dry_run(common, r, s, c->until, err);
    } else {
        status = tn_recipe_run(r, s, &o, &record, err);
        if (record != NULL && (status == TN_OK || common->json)) {
            tn_status said = say_result(common, record, status == TN_OK ? err : NULL);
            if (status == TN_OK) status = said;
        }
        if (status == TN_INTERRUPTED || status == TN_TERMINATED)
            tn_log(TN_LOG_INFO, "stopped: the same command goes on from here");
    }
out:
    json_decref(record);
    tn_store_close(s);
    tn_recipe_free(r);
    free(sets);
    return status;
}

const tn_command tn_cmd_run = {
    .name = "run",
    .line = "run a recipe: what the store has is taken, the rest is computed",
    .usage =
        "tenet run RECIPE.yaml [--set KEY=VALUE...] [--until STAGE] [--dry-run] [--explain STAGE] [--rerun]",
    .more =
        "A recipe is a graph of stages. Each is done once for its inputs and parameters; after Ctrl-C, kill "
        "-9 or a power cut the\n"
        "same command goes on from the last finished stage, and inside a training from its last checkpoint.",
    .options = options,
    .config_bytes = sizeof(run_config),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
