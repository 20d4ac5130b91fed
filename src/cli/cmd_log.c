/* cmd_log.c - `tenet log [RUN]`: the newest runs, or everything about one. */
#include "cli/cli.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct log_config {
    int64_t limit;
    char   *recipe, *stage;
    bool    stages;
} log_config;

#define AT(field) offsetof(log_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "limit",  TN_OPT_INT,  AT(limit),  "20", 1, 1e6, "rows", "how many, newest first",              "n"  },
    { "recipe", TN_OPT_STR,  AT(recipe), NULL, 0, 0,   "",     "only of this recipe (its name)",      NULL },
    { "stage",  TN_OPT_STR,  AT(stage),  NULL, 0, 0,   "",     "executions of this stage",            NULL },
    { "stages", TN_OPT_BOOL, AT(stages), NULL, 0, 0,   "",     "executions of stages, not of recipes", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text != NULL ? text : "";
}

static void print_row(const json_t *row)
{
    const char *root = text_of(row, "root"), *recipe = text_of(row, "recipe"), *stage = text_of(row, "stage");

    printf("%s  %.19s  %-11s %9.1f s  %s%s%s", text_of(row, "id"), text_of(row, "started"),
           text_of(row, "status"), json_number_value(json_object_get(row, "seconds")),
           recipe[0] != '\0' ? recipe : "tenet",
           stage[0] == '\0'    ? ""
           : recipe[0] != '\0' ? " / "
                               : " ",
           stage);
    if (root[0] != '\0') printf("  %.19s", root);
    putchar('\n');
}

static tn_status show_one(const tn_common *common, tn_store *s, const char *id, tn_error *err)
{
    json_t *r = NULL;
    char   *text;

    TN_TRY(tn_store_record_get(s, id, &r, err));
    if (common->json) return tn_cli_print_json(r, err);
    text = json_dumps(r, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (text != NULL) puts(text);
    free(text);
    json_decref(r);
    return TN_OK;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const log_config *c = config;
    tn_store         *s = NULL;
    json_t           *rows = NULL, *row;
    size_t            i;
    tn_status         status;

    TN_TRY(tn_store_open(&s, common->store, err));
    if (n_arg == 1) {
        status = show_one(common, s, args[0], err);
        tn_store_close(s);
        return status;
    }
    status = tn_store_log(s,
                          c->stages || c->stage != NULL ? "stage"
                          : c->recipe != NULL           ? "run"
                                                        : "asked",
                          c->recipe, c->stage, c->limit, &rows, err);
    if (status == TN_OK)
        json_array_foreach(rows, i, row) {
            if (common->json && (status = tn_cli_print_json(json_incref(row), err)) != TN_OK) break;
            if (!common->json) print_row(row);
        }
    if (status == TN_OK && !common->json && json_array_size(rows) == 0) puts("no runs yet");
    json_decref(rows);
    tn_store_close(s);
    return status;
}

const tn_command tn_cmd_log = {
    .name = "log",
    .line = "which runs there were, newest first, or all about one",
    .usage = "tenet log [RUN] [--limit N] [--recipe NAME] [--stages | --stage NAME]",
    .options = options,
    .config_bytes = sizeof(log_config),
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
