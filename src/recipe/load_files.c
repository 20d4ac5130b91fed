/* load_files.c - the file of a recipe and what it includes: below its folder, not in circles, only known keys
 * at the top. */
#include "recipe/load.h"

#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { INCLUDE_DEPTH = 8 };

static const char *const top_keys[] = { "name", "description", "profile", "seed",   "root",
                                        "vars", "include",     "stages",  "export", NULL };

static tn_status load_include(loader *l, const char *file, int i_file, int line, int depth, tn_error *err)
{
    char     *dir = recipe_load_dir(l->files[i_file].path), *path = NULL;
    tn_status status = TN_OK;

    if (file[0] == '/' || recipe_load_escapes(file)) {
        status = tn_fail(err, TN_USAGE,
                         "%s:%d: include '%s' lies outside the folder of the recipe: put it below",
                         l->files[i_file].path, line, file);
        goto out;
    }
    if (dir == NULL || (path = strcmp(dir, ".") == 0 ? tn_strdup(file) : tn_path(dir, file)) == NULL) {
        status = recipe_load_no_memory(l, err);
        goto out;
    }
    for (int i = i_file; i >= 0; i = l->files[i].parent)
        if (strcmp(l->files[i].path, path) == 0) {
            status = tn_fail(err, TN_USAGE, "%s:%d: include '%s' includes itself", l->files[i_file].path,
                             line, file);
            goto out;
        }
    for (int i = 0; i < l->n_file; i++)
        if (strcmp(l->files[i].path, path) == 0) goto out; /* included twice along two ways: once is enough */
    if (recipe_load_leads_out(dir, path)) {
        status = tn_fail(err, TN_USAGE,
                         "%s:%d: include '%s' goes through a symlink and lies outside the folder of the "
                         "recipe: put the file itself below",
                         l->files[i_file].path, line, file);
        goto out;
    }
    status = recipe_load_file(l, path, i_file, depth + 1, err);
    if (status == TN_NOTFOUND)
        status = tn_fail(err, TN_NOTFOUND, "%s:%d: include '%s': no such file", l->files[i_file].path, line,
                         file);
out:
    free(dir);
    free(path);
    return status;
}

static tn_status check_top(const char *path, const tn_yaml *y, tn_error *err)
{
    if (y->kind != TN_YAML_MAP)
        return tn_fail(err, TN_USAGE, "%s:%d: expected a recipe: keys and values with 'stages'", path,
                       y->line);
    for (size_t i = 0; i < y->n; i++) {
        size_t k = 0;
        while (top_keys[k] != NULL && strcmp(top_keys[k], y->keys[i]) != 0) k++;
        if (top_keys[k] != NULL) continue;
        const char *near = tn_nearest(y->keys[i], top_keys);
        return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in the recipe%s%s%s", path, y->key_lines[i],
                       y->keys[i], near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?" : "");
    }
    return TN_OK;
}

tn_status recipe_load_file(loader *l, const char *path, int parent, int depth, tn_error *err)
{
    const tn_yaml *inc;
    int            me = l->n_file;

    if (depth > INCLUDE_DEPTH || l->n_file == (int)(sizeof l->files / sizeof l->files[0]))
        return tn_fail(err, TN_LIMIT, "%s: includes nest more than %d deep, or are more than 64", path,
                       INCLUDE_DEPTH);
    if ((l->files[me].path = tn_strdup(path)) == NULL) return recipe_load_no_memory(l, err);
    l->files[me].parent = parent;
    l->n_file++;
    TN_TRY(tn_yaml_load(&l->files[me].y, path, err));
    TN_TRY(check_top(path, l->files[me].y, err));
    if ((inc = tn_yaml_get(l->files[me].y, "include")) == NULL) return TN_OK;
    if (inc->kind == TN_YAML_SCALAR) return load_include(l, inc->text, me, inc->line, depth, err);
    if (inc->kind != TN_YAML_SEQ)
        return tn_fail(err, TN_USAGE, "%s:%d: include takes a file or a list of files", path, inc->line);
    for (size_t i = 0; i < inc->n; i++) {
        if (inc->items[i]->kind != TN_YAML_SCALAR)
            return tn_fail(err, TN_USAGE, "%s:%d: include takes file names", path, inc->items[i]->line);
        TN_TRY(load_include(l, inc->items[i]->text, me, inc->items[i]->line, depth, err));
    }
    return TN_OK;
}
