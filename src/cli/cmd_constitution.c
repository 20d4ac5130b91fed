/* cmd_constitution.c - `tenet constitution check|show|diff FILE...`: read a charter as training will read
 * it. */
#include "cli/cli.h"
#include "constitution/constitution.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct constitution_config {
    char *recipe;
} constitution_config;

// clang-format off
static const tn_option options[] = {
    { "recipe", TN_OPT_STR, offsetof(constitution_config, recipe), NULL, 0, 0, "", "diff: whose stages are named; the standard recipe if absent", NULL },
    { .key = NULL }
};
// clang-format on

static const char *const stances[] = { "style", "decline", "answer" };

static tn_status check(const tn_common *common, const char *path, bool *wrong, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_constitution *c = NULL;
    tn_finding      *f = NULL;
    size_t           n = 0;

    TN_GOTO(tn_constitution_load(&c, path, err));
    TN_GOTO(tn_constitution_lint(c, path, &f, &n, err));
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        *wrong = *wrong || f[i].severity == 2;
        if (common->json)
            json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "severity",
                                                  f[i].severity == 2 ? "wrong" : "note", "where", f[i].where,
                                                  "text", f[i].text));
        else printf("%s: %s: %s\n", f[i].where, f[i].severity == 2 ? "wrong" : "note", f[i].text);
    }
    char hex[TN_SHA256_HEX];
    tn_hex(hex, &c->digest);
    if (common->json) {
        status = tn_cli_print_json(json_pack("{s:s, s:s, s:s+, s:I, s:I, s:o}", "name", c->name, "version",
                                             c->version, "digest", "sha256:", hex, "principles",
                                             (json_int_t)c->n_principle, "topics", (json_int_t)c->n_topic,
                                             "findings", rows),
                                   err);
    } else {
        json_decref(rows);
        printf("%s: %s %s, %zu principles in %zu groups, %zu topics, sha256:%s\n", path, c->name, c->version,
               c->n_principle, c->groups.n, c->n_topic, hex);
    }
out:
    if (status == TN_FORMAT || status == TN_LIMIT) { /* looked, and found wrong */
        status = TN_VERIFY;
        if (err != NULL) err->code = TN_VERIFY;
    }
    tn_findings_free(f, n);
    tn_constitution_free(c);
    return status;
}

static tn_status show(const tn_common *common, const char *path, tn_error *err)
{
    tn_constitution *c = NULL;
    tn_status        status = TN_OK;

    TN_TRY(tn_constitution_load(&c, path, err));
    if (common->json) {
        status = tn_cli_print_json(tn_constitution_json(c), err);
    } else {
        printf("%s %s\n%s\n", c->name, c->version, c->preamble != NULL ? c->preamble : "");
        for (size_t g = 0; g < c->groups.n; g++) {
            printf("\n%zu. %s\n", g + 1, c->groups.at[g]);
            for (size_t i = 0; i < c->n_principle; i++) {
                const tn_principle *p = &c->principles[i];
                if (p->priority != (int)g) continue;
                printf("  %-24s %-8s weight %-4g %s\n", p->id, stances[p->stance], p->weight, p->text);
            }
        }
    }
    tn_constitution_free(c);
    return status;
}

/* Which stages of the recipe feel the change. Without a recipe at hand nothing is said of stages. */
static tn_status stages_say(const tn_common *common, const char *recipe, tn_error *err)
{
    tn_status  status = TN_OK;
    tn_recipe *r = NULL;
    json_t    *reach = NULL, *row;
    char      *path = NULL;
    size_t     i;

    if (recipe == NULL && tn_cli_shipped(&path, "recipes/align.yaml", false, "--recipe", NULL) != TN_OK)
        return TN_OK;
    TN_GOTO(tn_recipe_load(&r, recipe != NULL ? recipe : path, NULL, err));
    TN_GOTO(tn_recipe_reach(r, "constitution", &reach, err));
    if (common->json) {
        status = tn_cli_print_json(json_pack("{s:s, s:O}", "recipe", tn_recipe_name(r), "runs_again", reach),
                                   err);
        goto out;
    }
    printf("\nreached in the recipe '%s' (one whose inputs come out the same is not computed again):\n",
           tn_recipe_name(r));
    json_array_foreach(reach, i, row) {
        bool reads = json_is_true(json_object_get(row, "reads")),
             rows = json_is_true(json_object_get(row, "rows"));
        printf("  %-10s %-10s %s%s\n", json_string_value(json_object_get(row, "stage")),
               json_string_value(json_object_get(row, "kind")),
               reads ? "reads the constitution" : "comes after",
               rows ? "; only the rows that change are computed" : "");
    }
    printf("`tenet align --dry-run` or `tenet run RECIPE --dry-run` says which of them the store has, row by "
           "row.\n");
out:
    json_decref(reach);
    tn_recipe_free(r);
    free(path);
    return status;
}

static tn_status diff(const tn_common *common, const char *recipe, const char *a_path, const char *b_path,
                      tn_error *err)
{
    static const char *const kinds[] = { "added", "removed", "changed" };
    tn_status                status = TN_OK;
    tn_constitution         *a = NULL, *b = NULL;
    tn_change               *changes = NULL;
    size_t                   n = 0;

    TN_GOTO(tn_constitution_load(&a, a_path, err));
    TN_GOTO(tn_constitution_load(&b, b_path, err));
    TN_GOTO(tn_constitution_diff(a, b, &changes, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (common->json)
            TN_GOTO(tn_cli_print_json(json_pack("{s:s, s:s, s:s}", "id", changes[i].id, "change",
                                                kinds[changes[i].kind], "fields", changes[i].fields),
                                      err));
        else
            printf("%-8s %s%s%s%s\n", kinds[changes[i].kind], changes[i].id,
                   changes[i].fields[0] != '\0' ? " (" : "", changes[i].fields,
                   changes[i].fields[0] != '\0' ? ")" : "");
    }
    if (n == 0 && !common->json) printf("no difference that training would see\n");
    else if (n > 0) status = stages_say(common, recipe, err);
out:
    tn_changes_free(changes, n);
    tn_constitution_free(a);
    tn_constitution_free(b);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const constitution_config *c = config;
    bool                       wrong = false;

    if (strcmp(args[0], "check") == 0 && n_arg >= 2) {
        for (int i = 1; i < n_arg; i++) TN_TRY(check(common, args[i], &wrong, err));
        return wrong ? tn_fail(err, TN_VERIFY, "the constitution has findings that are wrong: see above")
                     : TN_OK;
    }
    if (strcmp(args[0], "show") == 0 && n_arg == 2) return show(common, args[1], err);
    if (strcmp(args[0], "diff") == 0 && n_arg == 3) return diff(common, c->recipe, args[1], args[2], err);
    return tn_fail(err, TN_USAGE, "expected: tenet constitution check FILE... | show FILE | diff FILE FILE");
}

const tn_command tn_cmd_constitution = {
    .name = "constitution",
    .line = "check, show or compare constitutions",
    .usage = "tenet constitution check FILE... | show FILE | diff FILE FILE [--recipe RECIPE.yaml]",
    .more = "check reads each file as training would and lists what is wrong (exit 3) or worth a look: "
            "unreachable topics,\n"
            "contradictions, principles that are hardly ever drawn. diff says what changed and which stages "
            "of a recipe run again because of it.",
    .options = options,
    .config_bytes = sizeof(constitution_config),
    .min_args = 2,
    .max_args = -1,
    .run = run,
};
