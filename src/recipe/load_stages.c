/* load_stages.c - stages of a recipe: name, kind, options with the defaults, --set STAGE.KEY; unknown keys
 * name the nearest one. */
#include "recipe/load.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { STAGES_MAX = 1000 };

static const char *const stage_keys[] = { "kind", "inputs", "profile", NULL };

static bool is_stage_key(const char *key)
{
    for (const char *const *k = stage_keys; *k != NULL; k++)
        if (strcmp(*k, key) == 0) return true;
    return false;
}

static tn_status unknown_key(const recipe_stage *st, const char *key, int line, tn_error *err)
{
    const tn_option_set_ref sets[] = { { st->kind->options, NULL }, { NULL, NULL } };
    const char             *names[256], *near;
    const tn_option        *o;
    size_t                  n = 0;

    for (const char *const *k = stage_keys; *k != NULL; k++) names[n++] = *k;
    for (o = st->kind->options; o->key != NULL && n < 250; o++) {
        names[n++] = o->key;
        if (o->alias != NULL && n < 250) names[n++] = o->alias;
    }
    names[n] = NULL;
    if ((near = tn_option_meant(sets, names, key, &o)) == NULL)
        return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in stage '%s' (kind %s)", st->file, line, key,
                       st->name, st->kind->name);
    if (o != NULL)
        return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in stage '%s'; did you mean '%s' (%s)?",
                       st->file, line, key, st->name, near, o->help);
    return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in stage '%s'; did you mean '%s'?", st->file, line,
                   key, st->name, near);
}

static bool has_option(const tn_stage_kind *kind, const char *key)
{
    for (const tn_option *o = kind->options; o->key != NULL; o++)
        if (strcmp(o->key, key) == 0) return true;
    return false;
}

static tn_status read_kind(loader *l, recipe_stage *st, const tn_yaml *y, tn_error *err)
{
    const tn_yaml *kind = tn_yaml_get(y, "kind");
    const char    *names[256], *near;
    size_t         n = 0;

    if (y->kind != TN_YAML_MAP || kind == NULL || kind->kind != TN_YAML_SCALAR)
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s' lacks its 'kind'", st->file, st->line, st->name);
    if ((st->kind = tn_stage_find(l->r->kinds, kind->text)) != NULL) return TN_OK;
    for (const tn_stage_kind *const *k = l->r->kinds; *k != NULL && n < 255; k++) names[n++] = (*k)->name;
    names[n] = NULL;
    near = tn_nearest(kind->text, names);
    return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': unknown kind '%s'%s%s%s", st->file, kind->line,
                   st->name, kind->text, near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                   near != NULL ? "'?" : " (tenet help stages lists them)");
}

static tn_status set_profile(recipe_stage *st, const char *text, const char *where, int line, tn_error *err)
{
    char place[32] = "";

    if (line > 0) snprintf(place, sizeof place, ":%d", line);
    if (!tn_profile_parse(text, &st->profile))
        return tn_fail(err, TN_USAGE,
                       "%s%s: stage '%s': unknown profile '%s': expected strict, strict-bf16 or q8act", where,
                       place, st->name, text);
    st->profile_name = tn_profile_name(st->profile);
    return TN_OK;
}

/* A stage computes under the recipe's profile or its own; --profile is for all of them, --set STAGE.profile
 * for one. */
static tn_status read_profile(loader *l, recipe_stage *st, const tn_yaml *y, tn_error *err)
{
    const tn_yaml *own = tn_yaml_get(y, "profile");
    size_t         n = strlen(st->name);

    st->profile = l->r->profile;
    st->profile_name = l->r->profile_name;
    if (own != NULL && own->kind != TN_YAML_SCALAR)
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': profile takes one word", st->file, own->line,
                       st->name);
    if (own != NULL && l->o->profile == NULL) TN_TRY(set_profile(st, own->text, st->file, own->line, err));
    for (const char *const *s = l->o->sets; s != NULL && *s != NULL; s++)
        if (strncmp(*s, st->name, n) == 0 && strncmp(*s + n, ".profile=", 9) == 0)
            TN_TRY(set_profile(st, *s + n + 9, *s, 0, err));
    return TN_OK;
}

static tn_status read_options(loader *l, recipe_stage *st, const tn_yaml *y, const char *seed, tn_error *err)
{
    if ((st->config = calloc(1, st->kind->config_bytes + 1)) == NULL) return recipe_load_no_memory(l, err);
    TN_TRY(tn_options_default(st->config, st->kind->options, err));
    if (seed != NULL && has_option(st->kind, "seed"))
        TN_TRY(tn_option_set(st->config, st->kind->options, "seed", seed, "seed", err));
    for (size_t i = 0; i < y->n; i++)
        if (!is_stage_key(y->keys[i]) && !has_option(st->kind, y->keys[i]))
            return unknown_key(st, y->keys[i], y->key_lines[i], err);
    TN_TRY(tn_options_yaml(st->config, st->kind->options, y, st->file, stage_keys, err));
    for (const char *const *s = l->o->sets; s != NULL && *s != NULL; s++) {
        size_t n = strlen(st->name);
        char  *key, *where;
        if (strncmp(*s, st->name, n) != 0 || (*s)[n] != '.' || strchr(*s + n, '=') == NULL) continue;
        if (strncmp(*s + n, ".profile=", 9) == 0) continue;
        key = tn_strndup(*s + n + 1, strcspn(*s + n + 1, "="));
        where = tn_strf("--set %.*s", (int)strcspn(*s, "="), *s);
        tn_status status = key == NULL || where == NULL ? recipe_load_no_memory(l, err)
                                                        : tn_option_set(st->config, st->kind->options, key,
                                                                        strchr(*s, '=') + 1, where, err);
        free(key);
        free(where);
        TN_TRY(status);
    }
    if ((st->params = tn_options_json(st->config, st->kind->options)) == NULL)
        return recipe_load_no_memory(l, err);
    return TN_OK;
}

static tn_status unknown_stage_set(loader *l, tn_error *err)
{
    for (const char *const *s = l->o->sets; s != NULL && *s != NULL; s++) {
        const char *dot = strchr(*s, '.'), *eq = strchr(*s, '=');
        if (dot == NULL || dot > eq) continue;
        char *name = tn_strndup(*s, (size_t)(dot - *s));
        if (name == NULL) return recipe_load_no_memory(l, err);
        tn_status status = recipe_find(l->r, name) >= 0 ? TN_OK : recipe_no_stage(l->r, name, err);
        if (status != TN_OK) status = tn_fail_prefix(err, status, "--set %s", *s);
        free(name);
        TN_TRY(status);
    }
    return TN_OK;
}

tn_status recipe_load_stages(loader *l, const char *seed, tn_error *err)
{
    tn_recipe *r = l->r;

    for (int f = 0; f < l->n_file; f++) {
        tn_yaml *stages = (tn_yaml *)tn_yaml_get(l->files[f].y, "stages");
        if (stages == NULL) continue;
        if (stages->kind != TN_YAML_MAP)
            return tn_fail(err, TN_USAGE, "%s:%d: stages takes names and stages", l->files[f].path,
                           stages->line);
        recipe_stage *more = realloc(r->stages, (r->n + stages->n + 1) * sizeof *more);
        if (more == NULL) return recipe_load_no_memory(l, err);
        r->stages = more;
        for (size_t i = 0; i < stages->n; i++) {
            recipe_stage *st = &r->stages[r->n];
            int           other = recipe_find(r, stages->keys[i]);
            if (other >= 0)
                return tn_fail(err, TN_USAGE, "%s:%d: stage '%s' is there already (%s:%d)", l->files[f].path,
                               stages->key_lines[i], stages->keys[i], r->stages[other].file,
                               r->stages[other].line);
            if (!recipe_load_is_name(stages->keys[i]) || strlen(stages->keys[i]) > 64)
                return tn_fail(
                    err, TN_USAGE,
                    "%s:%d: '%s' is no name for a stage: letters, digits, '_' and '-', led by a letter",
                    l->files[f].path, stages->key_lines[i], stages->keys[i]);
            memset(st, 0, sizeof *st);
            r->n++;
            st->name = tn_strdup(stages->keys[i]);
            st->file = tn_strdup(l->files[f].path);
            st->line = stages->key_lines[i];
            st->seconds = -1;
            if (st->name == NULL || st->file == NULL) return recipe_load_no_memory(l, err);
            if (r->n > STAGES_MAX)
                return tn_fail(err, TN_LIMIT, "%s: more than %d stages", st->file, STAGES_MAX);
            TN_TRY(read_kind(l, st, stages->items[i], err));
            /* inputs are expanded one by one later: whether --set took part matters for them */
            for (size_t k = 0; k < stages->items[i]->n; k++)
                if (strcmp(stages->items[i]->keys[k], "inputs") != 0)
                    TN_TRY(recipe_load_expand_tree(l, stages->items[i]->items[k], st->file, err));
            TN_TRY(read_profile(l, st, stages->items[i], err));
            TN_TRY(read_options(l, st, stages->items[i], seed, err));
        }
    }
    if (r->n == 0) return tn_fail(err, TN_USAGE, "%s:1: the recipe has no stages", r->path);
    return unknown_stage_set(l, err);
}
