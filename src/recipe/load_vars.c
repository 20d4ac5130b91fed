/* load_vars.c - variables of a recipe: included files first, the including file over them, --set over all;
 * ${name} in text. */
#include "recipe/load.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPAND_DEPTH = 16 };

static const char **keys_of(json_t *o)
{
    const char **list = calloc(json_object_size(o) + 1, sizeof *list), *key;
    json_t      *v;
    size_t       n = 0;

    if (list != NULL)
        json_object_foreach(o, key, v) list[n++] = key;
    return list;
}

static tn_status unknown_var(loader *l, const char *name, const char *where, tn_error *err)
{
    const char **names = keys_of(l->r->vars), *near = names == NULL ? NULL : tn_nearest(name, names);
    tn_status    status = near != NULL
                              ? tn_fail(err, TN_USAGE, "%s: unknown variable '%s'; did you mean '%s'?", where,
                                        name, near)
                              : tn_fail(err, TN_USAGE,
                                        "%s: unknown variable '%s': give it under vars:, or by --set %s=...",
                                        where, name, name);

    free(names);
    return status;
}

static tn_status no_var_to_set(loader *l, const char *name, const char *where, tn_error *err)
{
    const char **names = keys_of(l->r->vars), *near = names == NULL ? NULL : tn_nearest(name, names);
    tn_str       all = { .max = 200 };

    for (size_t i = 0; names != NULL && near == NULL && names[i] != NULL; i++)
        tn_str_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    tn_status status =
        near != NULL ? tn_fail(err, TN_USAGE, "%s: the recipe has no variable '%s'; did you mean '%s'?",
                               where, name, near)
        : all.len > 0
            ? tn_fail(err, TN_USAGE, "%s: the recipe has no variable '%s'; it has %s", where, name, all.p)
            : tn_fail(err, TN_USAGE,
                      "%s: the recipe has no variables; an option of a stage is set by STAGE.%s=...", where,
                      name);
    tn_str_free(&all);
    free(names);
    return status;
}

/* Puts variables in. *user: a variable of --set took part. made: free(*out). */
tn_status recipe_load_expand(loader *l, const char *text, const char *where, int depth, char **out,
                             bool *user, tn_error *err)
{
    tn_str    s = { .max = RECIPE_TEXT_MAX };
    tn_status status = TN_OK;

    *out = NULL;
    if (depth > EXPAND_DEPTH)
        return tn_fail(err, TN_USAGE, "%s: variables refer to each other in a circle, or nest too deep",
                       where);
    for (const char *p = text; *p != '\0';) {
        const char *dollar = strchr(p, '$');
        if (dollar == NULL) {
            tn_str_add(&s, p);
            break;
        }
        tn_str_add_n(&s, p, (size_t)(dollar - p));
        if (dollar[1] == '$') { /* $$ is a dollar */
            tn_str_add_char(&s, '$');
            p = dollar + 2;
            continue;
        }
        if (dollar[1] != '{') {
            tn_str_add_char(&s, '$');
            p = dollar + 1;
            continue;
        }
        const char *end = strchr(dollar, '}');
        char *name = end == NULL ? NULL : tn_strndup(dollar + 2, (size_t)(end - dollar - 2)), *value = NULL;
        if (name == NULL) {
            status = tn_fail(err, TN_USAGE, "%s: '${' without '}' (a dollar alone is written $$)", where);
            break;
        }
        const char *raw = json_string_value(json_object_get(l->r->vars, name));
        if (raw == NULL) status = unknown_var(l, name, where, err);
        else status = recipe_load_expand(l, raw, where, depth + 1, &value, user, err);
        if (status == TN_OK) {
            tn_str_add(&s, value);
            if (json_object_get(l->from_set, name) != NULL) *user = true;
        }
        free(value);
        free(name);
        if (status != TN_OK) break;
        p = end + 1;
    }
    if (status == TN_OK && (status = tn_str_check(&s, err)) == TN_OK && (*out = tn_str_take(&s)) == NULL)
        status = recipe_load_no_memory(l, err);
    tn_str_free(&s);
    return status;
}

/* Included files first, so that the including file's values win; --set wins over all. */
tn_status recipe_load_vars(loader *l, tn_error *err)
{
    for (int f = l->n_file - 1; f >= 0; f--) {
        const tn_yaml *vars = tn_yaml_get(l->files[f].y, "vars");
        if (vars == NULL) continue;
        if (vars->kind != TN_YAML_MAP)
            return tn_fail(err, TN_USAGE, "%s:%d: vars takes names and values", l->files[f].path, vars->line);
        for (size_t i = 0; i < vars->n; i++) {
            if (vars->items[i]->kind != TN_YAML_SCALAR || !recipe_load_is_name(vars->keys[i]))
                return tn_fail(err, TN_USAGE, "%s:%d: variable '%s' must be a plain name with one value",
                               l->files[f].path, vars->key_lines[i], vars->keys[i]);
            json_object_set_new(l->r->vars, vars->keys[i], json_string(vars->items[i]->text));
        }
    }
    for (const char *const *s = l->o->sets; s != NULL && *s != NULL; s++) {
        const char *eq = strchr(*s, '='), *dot = strchr(*s, '.');
        if (eq == NULL || eq == *s)
            return tn_fail(err, TN_USAGE, "--set %s: expected key=value or stage.key=value", *s);
        if (dot != NULL && dot < eq) continue; /* of a stage: when the stages are there */
        char *name = tn_strndup(*s, (size_t)(eq - *s)), where[128];
        if (name == NULL) return recipe_load_no_memory(l, err);
        snprintf(where, sizeof where, "--set %.100s", name);
        tn_status status = TN_OK;
        if (json_object_get(l->r->vars, name) == NULL) status = no_var_to_set(l, name, where, err);
        json_object_set_new(l->r->vars, name, json_string(eq + 1));
        json_object_set_new(l->from_set, name, json_true());
        free(name);
        TN_TRY(status);
    }
    return TN_OK;
}

/* Every scalar of a tree, in place. */
tn_status recipe_load_expand_tree(loader *l, tn_yaml *y, const char *file, tn_error *err)
{
    if (y->kind == TN_YAML_SCALAR) {
        char where[512], *text;
        bool user = false;
        if (strchr(y->text, '$') == NULL) return TN_OK;
        snprintf(where, sizeof where, "%s:%d", file, y->line);
        TN_TRY(recipe_load_expand(l, y->text, where, 0, &text, &user, err));
        free(y->text);
        y->text = text;
        return TN_OK;
    }
    for (size_t i = 0; i < y->n; i++) TN_TRY(recipe_load_expand_tree(l, y->items[i], file, err));
    return TN_OK;
}
