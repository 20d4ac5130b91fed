/* replay_export.c - the released model made again, where the stage `export` made it: what training gave, put
 * into its base and into a file.
 *
 *   closure's row ──→ options, inputs ──→ the stage itself, into a scratch folder ──→ the release's own files: the same bytes?
 *
 * A stretch of training ties the adapter to the data; only this ties the weights that people run to the
 * adapter. */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "recipe/stage.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PORT = 8 };

static tn_status options_from(void *config, const tn_stage_kind *kind, const json_t *params, tn_error *err)
{
    const char *key;
    json_t     *v;

    TN_TRY(tn_options_default(config, kind->options, err));
    json_object_foreach((json_t *)(uintptr_t)params, key, v) {
        if (recipe_value_is_empty(v)) continue;
        char     *text = recipe_value_text(v);
        tn_status status = text == NULL
                               ? tn_fail(err, TN_NOMEM, "no memory for an option")
                               : tn_option_set(config, kind->options, key, text, "release.json", err);
        free(text);
        TN_TRY(status);
    }
    return TN_OK;
}

/* The stage of this row, into `out`. */
static tn_status make_again(const tn_stage_kind *kind, const json_t                *row,
                            const char *(*find)(void *arg, const char *port), void *arg, const char *out,
                            tn_error *err)
{
    void        *config = calloc(1, kind->config_bytes + 1);
    const char  *inputs[MAX_PORT] = { NULL }, *profile = recipe_verify_text(row, "profile");
    json_t      *metrics = json_object();
    tn_stage_run r = { .stage = kind->name };
    tn_status    status = TN_OK;

    if (config == NULL || metrics == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a replay");
        goto out;
    }
    if (!tn_profile_parse(profile[0] != '\0' ? profile : "strict", &r.profile)) {
        status = tn_fail(err, TN_UNSUPPORTED, "profile '%s' is not known here", profile);
        goto out;
    }
    for (int i = 0; i < MAX_PORT && kind->inputs[i].name != NULL; i++) {
        const char *port = kind->inputs[i].name;
        if (json_object_get(json_object_get(row, "inputs"), port) == NULL) continue;
        if ((inputs[i] = find(arg, port)) == NULL) {
            status = tn_fail(err, TN_UNCHECKED,
                             "'%s' of the stage that wrote the model is neither in the release nor in the "
                             "store: pull or export it into the store, "
                             "then verify again",
                             port);
            goto out;
        }
    }
    TN_GOTO(options_from(config, kind, json_object_get(row, "params"), err));
    status = kind->run(&r, config, inputs, out, metrics, err);
out:
    if (config != NULL) tn_options_free(config, kind->options);
    free(config);
    json_decref(metrics);
    return status;
}

/* A file of the release against the one made again. */
static tn_status same_file(const verifier *v, const char *as, const char *again, tn_error *err)
{
    char     *there = tn_path(v->dir, as);
    int64_t   at = -1;
    tn_status status = there == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    if (status == TN_OK && !tn_exists(there)) status = tn_fail(err, TN_VERIFY, "%s: is missing", as);
    if (status == TN_OK && !tn_exists(again))
        status = tn_fail(err, TN_VERIFY, "%s: the stage that wrote the model makes no such file", as);
    if (status == TN_OK) status = tn_file_difference(&at, there, again, err);
    if (status == TN_OK && at >= 0)
        status = tn_fail(err, TN_VERIFY,
                         "%s: byte %lld is not what the stage that wrote the model makes of its inputs", as,
                         (long long)at);
    free(there);
    return status;
}

static tn_status same_model(const verifier *v, const char *again, tn_error *err)
{
    const json_t *model = json_object_get(v->manifest, "model"), *files = json_object_get(model, "files"), *f;
    bool          one = strcmp(recipe_verify_text(model, "form"), "file") == 0;
    char        **names = NULL;
    size_t        i, n = 0;
    tn_status     status = TN_OK;

    json_array_foreach(files, i, f) {
        char *path = one ? tn_strdup(again) : tn_path(again, recipe_verify_text(f, "name"));
        status = path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path")
                              : same_file(v, recipe_verify_text(f, "as"), path, err);
        free(path);
        TN_TRY(status);
    }
    if (one) return TN_OK;
    TN_TRY(tn_list_files(&names, &n, again, err));
    if (n != json_array_size(files))
        status = tn_fail(err, TN_VERIFY, "the model has %zu files, the stage that wrote it makes %zu",
                         json_array_size(files), n);
    tn_list_free(names, n);
    return status;
}

tn_status recipe_replay_export(const verifier *v, const json_t *row, const char *inside,
                               const char *(*find)(void *arg, const char *port), void *arg, tn_error *err)
{
    const tn_stage_kind *kind = tn_stage_find(tn_stage_kinds, recipe_verify_text(row, "kind"));
    const char          *below = getenv("TMPDIR");
    char     *dir = tn_strf("%s/tenet-replay-XXXXXX", below != NULL && below[0] != '\0' ? below : "/tmp");
    char     *out = NULL, *again = NULL;
    tn_status status = TN_OK;

    if (dir == NULL || mkdtemp(dir) == NULL) {
        status = tn_fail(err, TN_IO, "%s: cannot make a folder for the model that is made again",
                         dir != NULL ? dir : "TMPDIR");
        free(dir);
        return status;
    }
    out = tn_path(dir, "out");
    again = tn_strf("%s/out%s", dir, inside);
    if (out == NULL || again == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(make_again(kind, row, find, arg, out, err));
    status = same_model(v, again, err);
out:
    tn_remove_tree(dir, NULL);
    free(out);
    free(again);
    free(dir);
    return status;
}
