/* verify_made.c - does the story of how a release was made hold together: the closure, the recipe, the step
 * logs?
 *
 * For every stage: its key is the hash of its kind, version, parameters, profile and inputs; every input is
 * what an earlier stage made, or a source that is named by its digest. The recipe says the same. Each step
 * log is a chain whose root the release names, and every checkpoint beside it has the state that the log has
 * for its step. */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "base/yaml.h"
#include "train/train.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------ closure */

/* {"from.0": A, "from.1": B, "model": C} -> {"from": [A, B], "model": [C]}, the form that keys are made
 * of. */
static json_t *inputs_by_port(const json_t *inputs)
{
    json_t     *out = json_object(), *root;
    const char *name;

    json_object_foreach((json_t *)inputs, name, root) {
        size_t n = strcspn(name, ".");
        char  *port = tn_strndup(name, n);
        if (port != NULL && json_object_get(out, port) == NULL) {
            json_t *list = json_array();
            if (name[n] == '\0') {
                json_array_append(list, root);
            } else {
                for (int k = 0;; k++) { /* by number: "from.10" comes after "from.9" */
                    char   *item = tn_strf("%s.%d", port, k);
                    json_t *v = item == NULL ? NULL : json_object_get(inputs, item);
                    free(item);
                    if (v == NULL) break;
                    json_array_append(list, v);
                }
            }
            json_object_set_new(out, port, list);
        }
        free(port);
    }
    return out;
}

static void check_key(verifier *v, const json_t *row)
{
    static const char *const more[] = { "arithmetic", "salt", NULL }; /* only where a stage has them */
    json_t                  *o = json_object();
    char                    *text, *found;
    tn_digest                d;

    json_object_set(o, "kind", json_object_get(row, "kind"));
    json_object_set(o, "version", json_object_get(row, "kind_version"));
    json_object_set(o, "params", json_object_get(row, "params"));
    json_object_set(o, "profile", json_object_get(row, "profile"));
    for (const char *const *k = more; *k != NULL; k++)
        if (json_object_get(row, *k) != NULL) json_object_set(o, *k, json_object_get(row, *k));
    json_object_set_new(o, "inputs", inputs_by_port(json_object_get(row, "inputs")));
    text = tn_json_text(o);
    if (text != NULL) {
        d = tn_sha256_of(text, strlen(text));
        found = tn_digest_text(&d);
        if (found != NULL && strcmp(found, recipe_verify_text(row, "key")) != 0)
            recipe_verify_wrong(v, "stage's key does not follow from its parameters and inputs",
                                recipe_verify_text(row, "name"), recipe_verify_text(row, "key"), found);
        free(found);
    }
    free(text);
    json_decref(o);
}

static void check_closure(verifier *v)
{
    const json_t *closure = json_object_get(v->manifest, "closure");
    size_t        before = recipe_verify_mark(v), i, n_input = 0, n_recorded = 0;
    json_t       *row, *root;
    const char   *port;

    json_array_foreach(closure, i, row) {
        check_key(v, row);
        n_recorded += json_is_true(json_object_get(row, "recorded"));
        json_object_foreach(json_object_get(row, "inputs"), port, root) {
            const char *from = recipe_verify_text(json_object_get(row, "from"), port);
            char       *where = tn_strf("%s: %s", recipe_verify_text(row, "name"), port);
            n_input++;
            if (from[0] == '\0')
                recipe_verify_wrong(v, "input of unknown origin", where != NULL ? where : port,
                                    "a stage or a source", "nothing");
            else if (json_is_string(root))
                recipe_verify_origin(v, from, json_string_value(root), where != NULL ? where : port);
            free(where);
        }
    }
    if (json_array_size(closure) > 0)
        recipe_verify_line(v, "recipe", before,
                           tn_strf("closure complete: %zu stages, %zu inputs%s", json_array_size(closure),
                                   n_input, n_recorded > 0 ? "; recorded stages are starting points" : ""));
}

/* ------------------------------------------------------------------------------------------------- recipe */

static bool same_value(const json_t *v, const tn_yaml *y)
{
    bool  same;
    char *text;

    if (json_is_array(v)) {
        size_t  i;
        json_t *item;
        if (y->kind != TN_YAML_SEQ || y->n != json_array_size(v)) return false;
        json_array_foreach(v, i, item)
            if (!same_value(item, y->items[i])) return false;
        return true;
    }
    if (y->kind != TN_YAML_SCALAR) return false;
    if (json_is_string(v)) return strcmp(json_string_value(v), y->text) == 0;
    text = tn_json_text(v);
    same = text != NULL && strcmp(text, y->text) == 0;
    free(text);
    return same;
}

static void recipe_differs(verifier *v, const char *stage, const char *key, const json_t *want,
                           const tn_yaml *found)
{
    char *where = tn_strf("%s: stage '%s': %s", RELEASE_RECIPE, stage, key),
         *expected = want == NULL           ? NULL
                     : json_is_string(want) ? tn_strdup(json_string_value(want))
                                            : tn_json_text(want);

    recipe_verify_wrong(v, "recipe differs from what was run", where != NULL ? where : stage,
                        expected != NULL ? expected : "nothing",
                        found == NULL                   ? "nothing"
                        : found->kind == TN_YAML_SCALAR ? found->text
                                                        : "another value");
    free(where);
    free(expected);
}

static void compare_stage(verifier *v, const json_t *row, const tn_yaml *recipe)
{
    const tn_yaml *stage = tn_yaml_get(tn_yaml_get(recipe, "stages"), recipe_verify_text(row, "name"));
    const json_t  *params = json_object_get(row, "params");
    const char    *name = recipe_verify_text(row, "name"), *key;
    json_t        *p;

    if (stage == NULL || stage->kind != TN_YAML_MAP) {
        recipe_differs(v, name, "the stage itself", json_object_get(row, "kind"), NULL);
        return;
    }
    const tn_yaml *kind = tn_yaml_get(stage, "kind");
    if (kind == NULL || !same_value(json_object_get(row, "kind"), kind))
        recipe_differs(v, name, "kind", json_object_get(row, "kind"), kind);
    const tn_yaml *profile = tn_yaml_get(stage, "profile") != NULL ? tn_yaml_get(stage, "profile")
                                                                   : tn_yaml_get(recipe, "profile");
    if (profile == NULL || !same_value(json_object_get(row, "profile"), profile))
        recipe_differs(v, name, "profile", json_object_get(row, "profile"), profile);
    json_object_foreach((json_t *)params, key, p) {
        const tn_yaml *y = tn_yaml_get(stage, key);
        if (json_is_null(p) ? y != NULL : y == NULL || !same_value(p, y))
            recipe_differs(v, name, key, json_is_null(p) ? NULL : p, y);
    }
    for (size_t i = 0; i < stage->n; i++)
        if (strcmp(stage->keys[i], "kind") != 0 && strcmp(stage->keys[i], "inputs") != 0 &&
            strcmp(stage->keys[i], "profile") != 0 && json_object_get(params, stage->keys[i]) == NULL)
            recipe_differs(v, name, stage->keys[i], NULL, stage->items[i]);
    const tn_yaml *inputs = tn_yaml_get(stage, "inputs");
    json_object_foreach(json_object_get(row, "from"), key, p) {
        size_t         n = strcspn(key, ".");
        char          *port = tn_strndup(key, n);
        const tn_yaml *y = port == NULL ? NULL : tn_yaml_get(inputs, port);
        int64_t        k = 0;
        if (y != NULL && key[n] == '.' && tn_parse_i64(key + n + 1, &k))
            y = y->kind == TN_YAML_SEQ && k >= 0 && (size_t)k < y->n ? y->items[k] : NULL;
        if (y == NULL || !same_value(p, y)) recipe_differs(v, name, key, p, y);
        free(port);
    }
}

static tn_status check_recipe(verifier *v, tn_error *err)
{
    const json_t       *closure = json_object_get(v->manifest, "closure");
    const tn_tree_file *file = recipe_verify_file(v, RELEASE_RECIPE);
    const char         *want = recipe_verify_text(json_object_get(v->manifest, "recipe"), "sha256");
    char               *path = NULL, hex[TN_SHA256_HEX] = "no such file";
    tn_yaml            *y = NULL;
    tn_error            why = { .msg = "" };
    size_t              i;
    json_t             *row;
    tn_status           status = TN_OK;

    if (want[0] == '\0' && file == NULL) return TN_OK;
    if (file != NULL) tn_hex(hex, &file->digest);
    if (strcmp(hex, want) != 0)
        recipe_verify_wrong(v, "recipe is not the one that was run", RELEASE_RECIPE, want, hex);
    if (file == NULL) return TN_OK;
    if ((path = tn_path(v->dir, RELEASE_RECIPE)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a path");
    status = tn_yaml_load(&y, path, &why);
    if (status == TN_OK) {
        json_array_foreach(closure, i, row) compare_stage(v, row, y);
    } else if (status == TN_NOMEM || status == TN_IO) {
        if (err != NULL) *err = why;
    } else {
        recipe_verify_wrong(v, "does not parse", RELEASE_RECIPE, "a recipe", why.msg);
        status = TN_OK;
    }
    tn_yaml_free(y);
    free(path);
    return status;
}

/* ---------------------------------------------------------------------------------------------- step logs */

/* Every checkpoint that lies beside the log has the state that the log has for its step. */
static void check_checkpoints(verifier *v, const char *log_path, const tn_step_record *records, size_t n)
{
    const char *slash = strrchr(log_path, '/');
    size_t      n_dir = slash == NULL ? 0 : (size_t)(slash - log_path);

    for (size_t i = 0; i < v->n; i++) {
        const char *name = v->files[i].name, *rest = name + n_dir + 1;
        char       *path, *number;
        json_t     *m = NULL;
        int64_t     step;
        if (n_dir == 0 || strncmp(name, log_path, n_dir + 1) != 0 || !tn_starts_with(rest, "step-") ||
            !tn_ends_with(rest, "/manifest.json"))
            continue;
        number = tn_strndup(rest + 5, strlen(rest) - 5 - strlen("/manifest.json"));
        path = tn_path(v->dir, name);
        if (number != NULL && path != NULL && tn_parse_i64(number, &step) && step >= 1 && (size_t)step <= n) {
            char hex[TN_SHA256_HEX] = "no state for this step";
            if (records[step - 1].has_state) tn_hex(hex, &records[step - 1].state);
            tn_digest   root;
            char        text[TN_SHA256_HEX];
            tn_error    why = { .msg = "" };
            const char *found = text;
            if (tn_json_load(&m, path, 1 << 30, &why) != TN_OK ||
                tn_train_manifest_root(m, name, &root, &why) != TN_OK)
                found = why.msg;
            else tn_hex(text, &root);
            if (strcmp(found, hex) != 0)
                recipe_verify_wrong(v, "checkpoint is not of the logged state", name, hex, found);
        }
        json_decref(m);
        free(path);
        free(number);
    }
}

static tn_status check_log(verifier *v, const json_t *log, int64_t *n_step, tn_error *err)
{
    const char     *rel = recipe_verify_text(log, "path");
    char           *path = tn_path_is_plain(rel) ? tn_path(v->dir, rel) : NULL, *found = NULL;
    tn_digest       genesis, root;
    tn_step_record *records = NULL;
    size_t          n = 0;
    tn_error        why = { .msg = "" };
    tn_status       status;

    if (path == NULL || !tn_starts_with(recipe_verify_text(log, "genesis"), "sha256:") ||
        !tn_unhex(&genesis, recipe_verify_text(log, "genesis") + 7)) {
        recipe_verify_wrong(v, "does not parse", RELEASE_MANIFEST, "a step log's path and genesis", rel);
        free(path);
        return TN_OK;
    }
    status = tn_steplog_read(path, &genesis, &records, &n, &root, &why);
    if (status == TN_NOMEM || status == TN_IO) {
        if (err != NULL) *err = why;
        free(path);
        return status;
    }
    if (status != TN_OK) {
        recipe_verify_wrong(v, "step log was altered", rel, recipe_verify_text(log, "root"), why.msg);
    } else {
        found = tn_digest_text(&root);
        if (found == NULL || strcmp(found, recipe_verify_text(log, "root")) != 0)
            recipe_verify_wrong(v, "step log has another root", rel, recipe_verify_text(log, "root"),
                                found != NULL ? found : "");
        check_checkpoints(v, rel, records, n);
        *n_step += (int64_t)n;
    }
    free(found);
    free(records);
    free(path);
    return TN_OK;
}

static tn_status check_logs(verifier *v, tn_error *err)
{
    const json_t *logs = json_object_get(v->manifest, "steplogs");
    size_t        before = recipe_verify_mark(v), i;
    int64_t       n_step = 0;
    json_t       *log;

    json_array_foreach(logs, i, log) TN_TRY(check_log(v, log, &n_step, err));
    if (json_array_size(logs) > 0)
        recipe_verify_line(v, "steps", before,
                           tn_strf("%lld logged, tree root matches the release", (long long)n_step));
    return TN_OK;
}

tn_status recipe_verify_made(verifier *v, tn_error *err)
{
    check_closure(v);
    TN_TRY(check_recipe(v, err));
    return check_logs(v, err);
}
