/* cmd_align.c - `tenet align`: the standard recipe with the user's model and constitution put in.
 *
 *   --model, --constitution, --out, --key ──→ --set model=... constitution=... out=DIR/release key=... ──→ the recipe runs
 *   --suites DIR ──→ --set suites=DIR
 *   --chat-format ──→ recipes/align-format.yaml: a first stage writes the format into a copy of the model (--set base=... chat_format=...)
 *
 * The recipe is a file like any other (recipes/align.yaml beside the program's sources); --recipe names
 * another one. */
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/key_file.h"
#include "constitution/constitution.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct align_config {
    char *model, *constitution, *out, *recipe, *key, *set, *chat_format, *suites;
    bool  dry_run;
} align_config;

#define AT(f) offsetof(align_config, f)
// clang-format off
static const tn_option options[] = {
    { "model",        TN_OPT_STR,  AT(model),        NULL,                      0, 0, "", "model to align: folder, .gguf file, digest or name in the store", "m" },
    { "constitution", TN_OPT_STR,  AT(constitution), NULL,                      0, 0, "", "the written constitution (docs/constitution.md)", NULL },
    { "out",          TN_OPT_STR,  AT(out),          NULL,                      0, 0, "", "folder to make: release/ and report.html", "o" },
    { "recipe",       TN_OPT_STR,  AT(recipe),       NULL,                      0, 0, "", "another recipe than the standard one", NULL },
    { "key",          TN_OPT_STR,  AT(key),          "tenet",                   0, 0, "", "signing key: a name of `tenet key new`", NULL },
    { "set",          TN_OPT_LIST, AT(set),          NULL,                      0, 0, "", "further settings of the recipe, key=value", NULL },
    { "chat_format",  TN_OPT_STR,  AT(chat_format),  NULL,                      0, 0, "", "chat format, for a model whose template is not recognised", NULL },
    { "suites",       TN_OPT_STR,  AT(suites),       NULL,                      0, 0, "", "folder with public sets: those that are there are measured too", NULL },
    { "dry_run",      TN_OPT_BOOL, AT(dry_run),      "false",                   0, 0, "", "say what is cached and what will run, and stop", NULL },
    { .key = NULL }
};
// clang-format on

/* "store:NAME", "sha256:..." or "file:/absolute/path", as a recipe's source wants it. made: free. */
static tn_status source_of(char **out, const tn_common *common, const char *text, const char *what,
                           tn_error *err)
{
    tn_store *s = NULL;
    tn_digest root;

    *out = NULL;
    if (tn_exists(text)) {
        char *real = realpath(text, NULL);
        *out = real != NULL ? tn_strf("file:%s", real) : NULL;
        free(real);
        return *out != NULL ? TN_OK : tn_fail(err, TN_IO, "%s: cannot be resolved to a path", text);
    }
    TN_TRY(tn_store_open(&s, common->store, err));
    tn_status status = tn_store_resolve(s, text, &root, err);
    tn_store_close(s);
    if (status != TN_OK)
        return tn_fail_prefix(err, status, "%s '%s' is neither a file nor a name in the store", what, text);
    *out = tn_starts_with(text, "sha256:") ? tn_strdup(text) : tn_strf("store:%s", text);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a source");
}

/* A constitution that extends others is put in whole, as its canonical form: an artifact stands alone. path
 * made: free. */
static tn_status charter_whole(char **path, const tn_constitution *charter, const align_config *c,
                               tn_error *err)
{
    tn_yaml *y = NULL;
    json_t  *v = NULL;

    TN_TRY(tn_yaml_load(&y, c->constitution, err));
    bool alone = tn_yaml_get(y, "extends") == NULL;
    tn_yaml_free(y);
    *path = alone ? tn_strdup(c->constitution) : tn_path(c->out, "constitution.json");
    if (*path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (alone) return TN_OK;
    if ((v = tn_constitution_json(charter)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a constitution");
    tn_status status = tn_json_save(*path, v, true, err);
    json_decref(v);
    return status;
}

enum { OWN_SETS = 6 };

static void sets_drop(char **sets)
{
    for (size_t i = 0; sets != NULL && sets[i] != NULL; i++) free(sets[i]);
    free(sets);
}

/* The command's own, then the user's, so that theirs hold. made: sets_drop. */
static tn_status sets_make(char ***out, const align_config *c, const char *model, const char *charter,
                           const char *suites, tn_error *err)
{
    const char *item, *p = c->set;
    char       *here = realpath(".", NULL), **sets;
    size_t      n = 0, n_set = 0, len;

    while (tn_list_next_set(&p, &item, &len)) n_set++;
    *out = sets = calloc(OWN_SETS + n_set + 1, sizeof *sets);
    if (here == NULL || sets == NULL) {
        free(here);
        return tn_fail(err, TN_IO, "the current folder cannot be named");
    }
    sets[n++] = tn_strf(c->chat_format != NULL ? "base=%s" : "model=%s", model);
    sets[n++] = tn_strf("constitution=%s", charter);
    sets[n++] = tn_strf("key=%s", c->key);
    sets[n++] = c->out[0] == '/' ? tn_strf("out=%s/release", c->out)
                                 : tn_strf("out=%s/%s/release", here, c->out);
    if (c->chat_format != NULL) sets[n++] = tn_strf("chat_format=%s", c->chat_format);
    if (suites != NULL) sets[n++] = tn_strf("suites=%s", suites);
    for (p = c->set; tn_list_next_set(&p, &item, &len);) sets[n++] = tn_strndup(item, len);
    free(here);
    for (size_t i = 0; i < n; i++)
        if (sets[i] == NULL) return tn_fail(err, TN_NOMEM, "no memory for settings");
    return TN_OK;
}

static tn_status align(const tn_common *common, const align_config *c, const char *recipe, const char **sets,
                       tn_error *err)
{
    tn_recipe_options ro = { .sets = sets,
                             .profile = strcmp(common->profile, "strict") == 0 ? NULL : common->profile,
                             .seed = common->seed,
                             .seed_given = common->seed_given };
    tn_run_options    o = { .quiet = common->quiet };
    tn_recipe        *r = NULL;
    tn_store         *s = NULL;
    json_t           *record = NULL;
    char             *report = NULL, *page = NULL;
    tn_status         status = TN_OK;

    TN_GOTO(tn_recipe_load(&r, recipe, &ro, err));
    TN_GOTO(tn_store_open(&s, common->store, err));
    if (c->dry_run) {
        TN_GOTO(tn_recipe_plan(r, s, NULL, &record, err));
        if (common->json) {
            status = tn_cli_print_json(json_incref(record), err);
        } else {
            TN_GOTO(tn_plan_text(record, &report, err));
            fputs(report, stdout);
        }
        goto out;
    }
    status = tn_recipe_run(r, s, &o, &record, err);
    if (status == TN_INTERRUPTED || status == TN_TERMINATED)
        tn_log(TN_LOG_INFO, "stopped: the same command goes on from here");
    if (status != TN_OK) goto out;
    report = tn_strf("%s/release/reports/report/report.html", c->out);
    page = tn_path(c->out, "report.html");
    if (report != NULL && page != NULL && tn_exists(report)) TN_GOTO(tn_file_clone(report, page, false, err));
    if (common->json) status = tn_cli_print_json(json_incref(record), err);
    else
        printf("\n  report    %s\n  release   %s/release\n\nNext:  tenet verify %s/release --key PUB.pem "
               "--replay 3     (tenet key show %s > PUB.pem)\n"
               "       tenet chat -m %s/release\n",
               page, c->out, c->out, c->key, c->out);
out:
    free(report);
    free(page);
    json_decref(record);
    tn_store_close(s);
    tn_recipe_free(r);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    align_config    *c = config;
    tn_status        status = TN_OK;
    tn_constitution *charter = NULL;
    char *model = NULL, *source = NULL, *suites = NULL, *recipe = NULL, *whole = NULL, **sets = NULL;

    (void)n_arg;
    (void)args;
    if (c->model == NULL || c->constitution == NULL || c->out == NULL)
        return tn_fail(err, TN_USAGE, "tenet align needs --model, --constitution and --out");
    tn_signing_ask(tn_cli_ask);
    TN_GOTO(tn_constitution_load(&charter, c->constitution, err)); /* before anything runs */
    TN_GOTO(source_of(&model, common, c->model, "model", err));
    TN_GOTO(tn_mkdirs(c->out, err));
    TN_GOTO(charter_whole(&whole, charter, c, err));
    TN_GOTO(source_of(&source, common, whole, "constitution", err));
    if (c->recipe != NULL) recipe = tn_strdup(c->recipe);
    else
        TN_GOTO(tn_cli_shipped(&recipe,
                               c->chat_format != NULL ? "recipes/align-format.yaml" : "recipes/align.yaml",
                               false, "--recipe", err));
    if (recipe == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    if (c->suites != NULL) TN_GOTO(source_of(&suites, common, c->suites, "suites", err));
    TN_GOTO(sets_make(&sets, c, model, source, suites, err));
    status = align(common, c, recipe, (const char **)sets, err);
out:
    tn_constitution_free(charter);
    free(model);
    free(source);
    free(suites);
    free(recipe);
    free(whole);
    sets_drop(sets);
    return status;
}

const tn_command tn_cmd_align = {
    .name = "align",
    .line = "align a model to a written constitution: pairs, training, report, signed release",
    .usage = "tenet align --model MODEL --constitution FILE --out DIR [--key NAME] [--suites DIR] "
             "[--chat-format NAME] [--set key=value,...] [--dry-run]",
    .more = "Runs the standard recipe with these put in. What the store has is not computed again; after "
            "Ctrl-C the same command\n"
            "goes on. --suites DIR measures the public sets whose files lie there (XSTest, HarmBench, "
            "HellaSwag ...) before and after too,\n"
            "and stops if a training prompt is one of theirs. --dry-run says what a change of the "
            "constitution would run again. A model whose\n"
            "chat template is not recognised, or that has none, needs --chat-format: the format is written "
            "into the model, and so\n"
            "into the release. With --recipe the recipe takes it as the variables base and chat_format "
            "(recipes/align-format.yaml).",
    .options = options,
    .config_bytes = sizeof(align_config),
    .min_args = 0,
    .max_args = 0,
    .computes = true,
    .run = run,
};
