/* cmd_release.c - `tenet release --model MODEL --out DIR --key NAME`: a model and what belongs to it, as a
 * signed directory. */
#include "cli/cli.h"
#include "cli/key_file.h"
#include "recipe/recipe.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 256 };

typedef struct release_config {
    tn_release_options o;
    char              *model, *out, *constitution, *run, *record, *report, *input;
} release_config;

/* The stage's options, then where things lie. */
#define AT(field) offsetof(release_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "model",           TN_OPT_STR,  AT(model),             NULL,   0, 0, "", "what is released: folder, .gguf, or name in the store",  "m"  },
    { "out",             TN_OPT_STR,  AT(out),               NULL,   0, 0, "", "folder to make",                                         "o"  },
    { "constitution",    TN_OPT_STR,  AT(constitution),      NULL,   0, 0, "", "the constitution file",                                  NULL },
    { "run",             TN_OPT_MANY, AT(run),               NULL,   0, 0, "", "a training run's folder; may be given again",            NULL },
    { "record",          TN_OPT_MANY, AT(record),            NULL,   0, 0, "", "critiques, pairs, transcripts; may be given again",      NULL },
    { "report",          TN_OPT_MANY, AT(report),            NULL,   0, 0, "", "a report; may be given again",                           NULL },
    { "input",           TN_OPT_MANY, AT(input),             NULL,   0, 0, "", "an input of training, held for replay; may be given again", NULL },
    TN_RELEASE_OPTIONS(AT(o), NULL, "name of what is released (the model's file name)"),
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

/* Paths joined by newlines become parts named after their files; cut apart in place. */
static tn_status take(char *joined, tn_release_role role, tn_release_part *parts, size_t *n, tn_error *err)
{
    for (char *p = joined; p != NULL && *p != '\0';) {
        char *end = strchr(p, '\n');
        if (end != NULL) *end = '\0';
        tn_path_trim(p);
        if (!tn_exists(p)) return tn_fail(err, TN_NOTFOUND, "%s: no such file or folder", p);
        if (*n == PARTS_MAX)
            return tn_fail(err, TN_LIMIT, "more than %d runs, records, reports and inputs", PARTS_MAX);
        parts[(*n)++] = (tn_release_part){ role, tn_basename(p), p };
        p = end == NULL ? NULL : end + 1;
    }
    return TN_OK;
}

static tn_status take_all(release_config *c, tn_release_part *parts, size_t *n, tn_error *err)
{
    TN_TRY(take(c->run, TN_RELEASE_RUN, parts, n, err));
    TN_TRY(take(c->record, TN_RELEASE_RECORD, parts, n, err));
    TN_TRY(take(c->report, TN_RELEASE_REPORT, parts, n, err));
    return take(c->input, TN_RELEASE_INPUT, parts, n, err);
}

/* The folders of runs as a stage would have left them: two runs of the same training give the same release,
 * and none says on which machine it was. made: the paths, in `paths`. */
static tn_status runs_cleaned(const char *dir, tn_release_part *parts, size_t n, char **paths, tn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (parts[i].role != TN_RELEASE_RUN || !tn_is_dir(parts[i].path)) continue;
        if ((paths[i] = tn_strf("%s/%zu", dir, i)) == NULL)
            return tn_fail(err, TN_NOMEM, "no memory for a path");
        TN_TRY(tn_mkdirs(paths[i], err));
        TN_TRY(tn_train_run_take(parts[i].path, paths[i], err));
        parts[i].path = paths[i];
    }
    return TN_OK;
}

/* "models/qwen2.5-0.5b/" -> "qwen2.5-0.5b", "a/m.gguf" -> "m"; a digest says nothing: "model". */
static char *default_name(const char *model)
{
    char       *copy = tn_strdup(model), *name;
    const char *base;

    tn_path_trim(copy);
    base = copy == NULL ? "model" : tn_basename(copy);
    if (tn_starts_with(base, "sha256:") || base[0] == '.' || base[0] == '\0') base = "model";
    name = tn_strndup(base, tn_ends_with(base, ".gguf") ? strlen(base) - 5 : strlen(base));
    free(copy);
    return name;
}

static tn_status say(const tn_common *common, const release_config *c, const json_t *metrics,
                     const tn_key *key, tn_error *err)
{
    if (common->json)
        return tn_cli_print_json(json_pack("{s:o,s:O,s:O,s:s}", "release", tn_json_name(c->out), "files",
                                           json_object_get(metrics, "files"), "content",
                                           json_object_get(metrics, "content"), "key", tn_key_hint(key)),
                                 err);
    printf("%s   signed by key %.16s..., %lld files\n  next: tenet verify %s --key PUBLIC.pem   (tenet key "
           "show NAME > PUBLIC.pem)\n",
           c->out, tn_key_hint(key), (long long)json_integer_value(json_object_get(metrics, "files")),
           c->out);
    return TN_OK;
}

/* Into the ledger, like the release of a recipe: its kind is what garbage collection keeps its parts by. */
static tn_status record(tn_store *s, tn_direct *d, json_t *params, const tn_release_parts *p,
                        const char *runs, const char *out, tn_error *err)
{
    static const char *const words[] = { "reports", "records", "runs", "inputs" };
    const char *inputs[2 * (PARTS_MAX + 2) + 1] = { "model", p->model, "constitution", p->constitution };
    char(*names)[24] = calloc(p->n_part + 1, sizeof *names);
    size_t n = 4;

    for (size_t i = 0; names != NULL && i < p->n_part; i++) {
        snprintf(names[i], sizeof names[i], "%s.%zu", words[p->parts[i].role], i);
        inputs[n++] = names[i];
        inputs[n++] = p->parts[i].path;
    }
    tn_status status = tn_direct_end(d, s,
                                     &(tn_direct_what){ .command = "release",
                                                        .kind = "release",
                                                        .params = params,
                                                        .profile = TN_PROFILE_STRICT,
                                                        .inputs = inputs,
                                                        .own = runs,
                                                        .made = out },
                                     err);
    free(names);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    release_config  *c = config;
    tn_release_part *parts = calloc(PARTS_MAX, sizeof *parts);
    tn_release_parts p = { .parts = parts, .constitution = c->constitution };
    tn_store        *s = NULL;
    tn_key          *key = NULL;
    json_t          *metrics = json_object(), *params = tn_options_json(config, options);
    tn_direct       *d = tn_direct_begin();
    char            *model = NULL, *made = NULL, *runs = NULL, *run_paths[PARTS_MAX] = { NULL };
    tn_status        status = TN_OK;

    (void)n_arg, (void)args;
    if (parts == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a release");
        goto out;
    }
    if (c->model == NULL || c->out == NULL || c->o.key == NULL) {
        status = tn_fail(err, TN_USAGE, "release: --%s is missing",
                         c->model == NULL ? "model"
                         : c->out == NULL ? "out"
                                          : "key");
        goto out;
    }
    tn_path_trim(c->out);
    if (tn_exists(c->out)) {
        status = tn_fail(err, TN_USAGE, "%s exists already: choose another name, or remove it first", c->out);
        goto out;
    }
    if (c->o.name == NULL && (c->o.name = default_name(c->model)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a name");
        goto out;
    }
    if (!tn_utf8_valid(c->o.name, strlen(c->o.name))) { /* it goes into the card and the bill of materials */
        status = tn_fail(err, TN_USAGE,
                         "release: the model's name is no valid UTF-8: give another with --name");
        goto out;
    }
    tn_signing_ask(tn_cli_ask);
    TN_GOTO(tn_cli_model_path(common, c->model, &model, err));
    TN_GOTO(take_all(c, parts, &p.n_part, err));
    TN_GOTO(tn_store_open(&s, common->store, err));
    TN_GOTO(tn_signing_key(tn_store_dir(s), c->o.key, c->o.passphrase_file, &key, err));
    p.model = model;
    p.store = s;
    p.key = key;
    /* Built beside its place and renamed: an interrupted release leaves nothing under the name. */
    if ((made = tn_strf("%s.part", c->out)) == NULL || (runs = tn_strf("%s.runs", c->out)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_remove_tree(made, err));
    TN_GOTO(tn_remove_tree(runs, err));
    TN_GOTO(runs_cleaned(runs, parts, p.n_part, run_paths, err));
    TN_GOTO(tn_release_build(&p, &c->o, made, metrics, err));
    TN_GOTO(tn_rename(made, c->out, err));
    status = record(s, d, params, &p, runs, c->out, err);
    d = NULL;
    params = NULL;
    if (status != TN_OK) goto out;
    status = say(common, c, metrics, key, err);
out:
    if (made != NULL) tn_remove_tree(made, NULL);
    if (runs != NULL) tn_remove_tree(runs, NULL);
    for (size_t i = 0; i < PARTS_MAX; i++) free(run_paths[i]);
    tn_direct_drop(d);
    json_decref(params);
    tn_key_free(key);
    tn_store_close(s);
    json_decref(metrics);
    free(model);
    free(made);
    free(runs);
    free(parts);
    return status;
}

const tn_command tn_cmd_release = {
    .name = "release",
    .line = "make a signed release: model, card, bill of materials, proofs",
    .usage = "tenet release --model MODEL --out DIR --key NAME [--constitution FILE] [--run DIR...] "
             "[--report PATH...] [--record PATH...]",
    .more = "The same model, parts and key give the same bytes. A recipe's last stage (kind: release) does "
            "the same and puts in how every\n"
            "part was made, without which `tenet verify --replay` cannot compute it again.",
    .options = options,
    .config_bytes = sizeof(release_config),
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
