/* load.c - a recipe from YAML, whole and checked: nothing runs before everything that can be known is right.
 *
 *   name: small                       include: common.yaml        a file or a list of files: variables and stages
 *   profile: strict                   seed: 7                     default of every option called "seed"
 *   vars: {model: ./base}             ${model} anywhere below; --set model=... overrides
 *   stages:
 *     sft:
 *       kind: sft                     a row of the table of kinds
 *       inputs: {model: base, data: file:pairs.jsonl}             port: source
 *       lr: 1e-4                      options of the kind, beside these
 *   export: {release: ${out}}         stage: where its artifact is put after the run
 *
 * A source is a stage's name, "NAME/path/inside" of what it makes, file:PATH (or ./PATH), store:NAME, or sha256:DIGEST.
 * Paths lie below the folder of the recipe, or of `root:`; only --set may name others. */
#include "recipe/recipe_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INCLUDE_DEPTH = 8, EXPAND_DEPTH = 16, STAGES_MAX = 1000, TEXT_MAX = 1 << 20 };

static const char *const top_keys[] = { "name", "description", "profile", "seed", "root", "vars", "include", "stages", "export", NULL };
static const char *const stage_keys[] = { "kind", "inputs", NULL };

typedef struct loaded { tn_yaml *y; char *path; int parent; } loaded;      /* one file of the recipe */

typedef struct loader {
    tn_recipe  *r;
    const tn_recipe_options *o;
    loaded      files[64];             /* the recipe itself first */
    int         n_file;
    json_t     *from_set;              /* variables that --set gave: their paths are the user's own word */
    char       *root;                  /* paths of the recipe lie below it */
} loader;

static tn_status no_memory(const loader *l, tn_error *err)
{
    return tn_fail(err, TN_NOMEM, "%s: no memory for the recipe", l->r->path);
}

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? tn_strdup(".") : slash == path ? tn_strdup("/") : tn_strndup(path, (size_t)(slash - path));
}

static bool is_name(const char *s)
{
    if (!isalpha((unsigned char)*s)) return false;
    for (; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && *s != '_' && *s != '-') return false;
    return true;
}

static bool has_dotdot(const char *path)
{
    for (const char *p = path; *p != '\0';) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') return true;
        p += n + (p[n] == '/');
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------ files, includes */

static tn_status load_file(loader *l, const char *path, int parent, int depth, tn_error *err);

static tn_status load_include(loader *l, const char *file, int i_file, int line, int depth, tn_error *err)
{
    char     *dir = dir_of(l->files[i_file].path), *path = NULL;
    tn_status status = TN_OK;

    if (file[0] == '/' || has_dotdot(file)) {
        status = tn_fail(err, TN_USAGE, "%s:%d: include '%s' lies outside the folder of the recipe: put it below", l->files[i_file].path,
                         line, file);
        goto out;
    }
    if (dir == NULL || (path = strcmp(dir, ".") == 0 ? tn_strdup(file) : tn_path(dir, file)) == NULL) {
        status = no_memory(l, err);
        goto out;
    }
    for (int i = i_file; i >= 0; i = l->files[i].parent)
        if (strcmp(l->files[i].path, path) == 0) {
            status = tn_fail(err, TN_USAGE, "%s:%d: include '%s' includes itself", l->files[i_file].path, line, file);
            goto out;
        }
    for (int i = 0; i < l->n_file; i++)
        if (strcmp(l->files[i].path, path) == 0) goto out;    /* included twice along two ways: once is enough */
    status = load_file(l, path, i_file, depth + 1, err);
    if (status == TN_NOTFOUND)
        status = tn_fail(err, TN_NOTFOUND, "%s:%d: include '%s': no such file", l->files[i_file].path, line, file);
out:
    free(dir);
    free(path);
    return status;
}

static tn_status check_top(const char *path, const tn_yaml *y, tn_error *err)
{
    if (y->kind != TN_YAML_MAP) return tn_fail(err, TN_USAGE, "%s:%d: expected a recipe: keys and values with 'stages'", path, y->line);
    for (size_t i = 0; i < y->n; i++) {
        size_t k = 0;
        while (top_keys[k] != NULL && strcmp(top_keys[k], y->keys[i]) != 0) k++;
        if (top_keys[k] != NULL) continue;
        const char *near = tn_nearest(y->keys[i], top_keys);
        return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in the recipe%s%s%s", path, y->key_lines[i], y->keys[i],
                       near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "");
    }
    return TN_OK;
}

static tn_status load_file(loader *l, const char *path, int parent, int depth, tn_error *err)
{
    const tn_yaml *inc;
    int            me = l->n_file;

    if (depth > INCLUDE_DEPTH || l->n_file == (int)(sizeof l->files / sizeof l->files[0]))
        return tn_fail(err, TN_LIMIT, "%s: includes nest more than %d deep, or are more than 64", path, INCLUDE_DEPTH);
    if ((l->files[me].path = tn_strdup(path)) == NULL) return no_memory(l, err);
    l->files[me].parent = parent;
    l->n_file++;
    TN_TRY(tn_yaml_load(&l->files[me].y, path, err));
    TN_TRY(check_top(path, l->files[me].y, err));
    if ((inc = tn_yaml_get(l->files[me].y, "include")) == NULL) return TN_OK;
    if (inc->kind == TN_YAML_SCALAR) return load_include(l, inc->text, me, inc->line, depth, err);
    if (inc->kind != TN_YAML_SEQ) return tn_fail(err, TN_USAGE, "%s:%d: include takes a file or a list of files", path, inc->line);
    for (size_t i = 0; i < inc->n; i++) {
        if (inc->items[i]->kind != TN_YAML_SCALAR) return tn_fail(err, TN_USAGE, "%s:%d: include takes file names", path, inc->items[i]->line);
        TN_TRY(load_include(l, inc->items[i]->text, me, inc->items[i]->line, depth, err));
    }
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------------ variables */

static const char **keys_of(json_t *o)
{
    const char **list = calloc(json_object_size(o) + 1, sizeof *list), *key;
    json_t      *v;
    size_t       n = 0;

    if (list != NULL) json_object_foreach(o, key, v) list[n++] = key;
    return list;
}

static tn_status unknown_var(loader *l, const char *name, const char *where, tn_error *err)
{
    const char **names = keys_of(l->r->vars), *near = names == NULL ? NULL : tn_nearest(name, names);
    tn_status    status = near != NULL
        ? tn_fail(err, TN_USAGE, "%s: unknown variable '%s'; did you mean '%s'?", where, name, near)
        : tn_fail(err, TN_USAGE, "%s: unknown variable '%s': give it under vars:, or by --set %s=...", where, name, name);

    free(names);
    return status;
}

/* Puts variables in. *user: a variable of --set took part. made: free(*out). */
static tn_status expand(loader *l, const char *text, const char *where, int depth, char **out, bool *user, tn_error *err)
{
    tn_str    s = { .max = TEXT_MAX };
    tn_status status = TN_OK;

    *out = NULL;
    if (depth > EXPAND_DEPTH) return tn_fail(err, TN_USAGE, "%s: variables refer to each other in a circle, or nest too deep", where);
    for (const char *p = text; *p != '\0';) {
        const char *dollar = strchr(p, '$');
        if (dollar == NULL) {
            tn_str_add(&s, p);
            break;
        }
        tn_str_add_n(&s, p, (size_t)(dollar - p));
        if (dollar[1] == '$') {                               /* $$ is a dollar */
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
        char       *name = end == NULL ? NULL : tn_strndup(dollar + 2, (size_t)(end - dollar - 2)), *value = NULL;
        if (name == NULL) {
            status = tn_fail(err, TN_USAGE, "%s: '${' without '}' (a dollar alone is written $$)", where);
            break;
        }
        const char *raw = json_string_value(json_object_get(l->r->vars, name));
        if (raw == NULL) status = unknown_var(l, name, where, err);
        else status = expand(l, raw, where, depth + 1, &value, user, err);
        if (status == TN_OK) {
            tn_str_add(&s, value);
            if (json_object_get(l->from_set, name) != NULL) *user = true;
        }
        free(value);
        free(name);
        if (status != TN_OK) break;
        p = end + 1;
    }
    if (status == TN_OK && (status = tn_str_check(&s, err)) == TN_OK && (*out = tn_str_take(&s)) == NULL) status = no_memory(l, err);
    tn_str_free(&s);
    return status;
}

/* Included files first, so that the including file's values win; --set wins over all. */
static tn_status collect_vars(loader *l, tn_error *err)
{
    for (int f = l->n_file - 1; f >= 0; f--) {
        const tn_yaml *vars = tn_yaml_get(l->files[f].y, "vars");
        if (vars == NULL) continue;
        if (vars->kind != TN_YAML_MAP) return tn_fail(err, TN_USAGE, "%s:%d: vars takes names and values", l->files[f].path, vars->line);
        for (size_t i = 0; i < vars->n; i++) {
            if (vars->items[i]->kind != TN_YAML_SCALAR || !is_name(vars->keys[i]))
                return tn_fail(err, TN_USAGE, "%s:%d: variable '%s' must be a plain name with one value", l->files[f].path,
                               vars->key_lines[i], vars->keys[i]);
            json_object_set_new(l->r->vars, vars->keys[i], json_string(vars->items[i]->text));
        }
    }
    for (const char *const *s = l->o->sets; s != NULL && *s != NULL; s++) {
        const char *eq = strchr(*s, '='), *dot = strchr(*s, '.');
        if (eq == NULL || eq == *s) return tn_fail(err, TN_USAGE, "--set %s: expected key=value or stage.key=value", *s);
        if (dot != NULL && dot < eq) continue;                /* of a stage: when the stages are there */
        char *name = tn_strndup(*s, (size_t)(eq - *s)), where[128];
        if (name == NULL) return no_memory(l, err);
        snprintf(where, sizeof where, "--set %.100s", name);
        tn_status status = TN_OK;
        if (json_object_get(l->r->vars, name) == NULL) status = unknown_var(l, name, where, err);
        json_object_set_new(l->r->vars, name, json_string(eq + 1));
        json_object_set_new(l->from_set, name, json_true());
        free(name);
        TN_TRY(status);
    }
    return TN_OK;
}

/* Every scalar of a tree, in place. */
static tn_status expand_tree(loader *l, tn_yaml *y, const char *file, tn_error *err)
{
    if (y->kind == TN_YAML_SCALAR) {
        char  where[512], *text;
        bool  user = false;
        if (strchr(y->text, '$') == NULL) return TN_OK;
        snprintf(where, sizeof where, "%s:%d", file, y->line);
        TN_TRY(expand(l, y->text, where, 0, &text, &user, err));
        free(y->text);
        y->text = text;
        return TN_OK;
    }
    for (size_t i = 0; i < y->n; i++) TN_TRY(expand_tree(l, y->items[i], file, err));
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------------------- stages */

static tn_status unknown_key(const recipe_stage *st, const char *key, int line, tn_error *err)
{
    const char *names[256], *near;
    size_t      n = 0;

    for (const char *const *k = stage_keys; *k != NULL; k++) names[n++] = *k;
    for (const tn_option *o = st->kind->options; o->key != NULL && n < 250; o++) {
        names[n++] = o->key;
        if (o->alias != NULL && n < 250) names[n++] = o->alias;
    }
    names[n] = NULL;
    if ((near = tn_nearest(key, names)) == NULL)
        return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in stage '%s' (kind %s)", st->file, line, key, st->name, st->kind->name);
    for (const tn_option *o = st->kind->options; o->key != NULL; o++)
        if (strcmp(o->key, near) == 0 || (o->alias != NULL && strcmp(o->alias, near) == 0))
            return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in stage '%s'; did you mean '%s' (%s)?", st->file, line, key,
                           st->name, o->key, o->help);
    return tn_fail(err, TN_USAGE, "%s:%d: unknown key '%s' in stage '%s'; did you mean '%s'?", st->file, line, key, st->name, near);
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
    return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': unknown kind '%s'%s%s%s", st->file, kind->line, st->name, kind->text,
                   near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "");
}

static tn_status read_options(loader *l, recipe_stage *st, const tn_yaml *y, const char *seed, tn_error *err)
{
    if ((st->config = calloc(1, st->kind->config_bytes + 1)) == NULL) return no_memory(l, err);
    TN_TRY(tn_options_default(st->config, st->kind->options, err));
    if (seed != NULL && has_option(st->kind, "seed")) TN_TRY(tn_option_set(st->config, st->kind->options, "seed", seed, "seed", err));
    for (size_t i = 0; i < y->n; i++)
        if (strcmp(y->keys[i], "kind") != 0 && strcmp(y->keys[i], "inputs") != 0 && !has_option(st->kind, y->keys[i]))
            return unknown_key(st, y->keys[i], y->key_lines[i], err);
    TN_TRY(tn_options_yaml(st->config, st->kind->options, y, st->file, stage_keys, err));
    for (const char *const *s = l->o->sets; s != NULL && *s != NULL; s++) {
        size_t n = strlen(st->name);
        char  *key, *where;
        if (strncmp(*s, st->name, n) != 0 || (*s)[n] != '.' || strchr(*s + n, '=') == NULL) continue;
        key = tn_strndup(*s + n + 1, strcspn(*s + n + 1, "="));
        where = tn_strf("--set %.*s", (int)strcspn(*s, "="), *s);
        tn_status status = key == NULL || where == NULL ? no_memory(l, err)
                         : tn_option_set(st->config, st->kind->options, key, strchr(*s, '=') + 1, where, err);
        free(key);
        free(where);
        TN_TRY(status);
    }
    if ((st->params = tn_options_json(st->config, st->kind->options)) == NULL) return no_memory(l, err);
    return TN_OK;
}

static tn_status unknown_stage_set(loader *l, tn_error *err)
{
    for (const char *const *s = l->o->sets; s != NULL && *s != NULL; s++) {
        const char *dot = strchr(*s, '.'), *eq = strchr(*s, '=');
        if (dot == NULL || dot > eq) continue;
        char *name = tn_strndup(*s, (size_t)(dot - *s));
        if (name == NULL) return no_memory(l, err);
        bool known = recipe_find(l->r, name) >= 0;
        tn_status status = known ? TN_OK : tn_fail(err, TN_USAGE, "--set %s: the recipe has no stage '%s'", *s, name);
        free(name);
        TN_TRY(status);
    }
    return TN_OK;
}

static tn_status read_stages(loader *l, const char *seed, tn_error *err)
{
    tn_recipe *r = l->r;

    for (int f = 0; f < l->n_file; f++) {
        tn_yaml *stages = (tn_yaml *)tn_yaml_get(l->files[f].y, "stages");
        if (stages == NULL) continue;
        if (stages->kind != TN_YAML_MAP) return tn_fail(err, TN_USAGE, "%s:%d: stages takes names and stages", l->files[f].path, stages->line);
        recipe_stage *more = realloc(r->stages, (r->n + stages->n + 1) * sizeof *more);
        if (more == NULL) return no_memory(l, err);
        r->stages = more;
        for (size_t i = 0; i < stages->n; i++) {
            recipe_stage *st = &r->stages[r->n];
            int           other = recipe_find(r, stages->keys[i]);
            if (other >= 0)
                return tn_fail(err, TN_USAGE, "%s:%d: stage '%s' is there already (%s:%d)", l->files[f].path, stages->key_lines[i],
                               stages->keys[i], r->stages[other].file, r->stages[other].line);
            if (!is_name(stages->keys[i]) || strlen(stages->keys[i]) > 64)
                return tn_fail(err, TN_USAGE, "%s:%d: '%s' is no name for a stage: letters, digits, '_' and '-', led by a letter",
                               l->files[f].path, stages->key_lines[i], stages->keys[i]);
            memset(st, 0, sizeof *st);
            r->n++;
            st->name = tn_strdup(stages->keys[i]);
            st->file = tn_strdup(l->files[f].path);
            st->line = stages->key_lines[i];
            st->seconds = -1;
            if (st->name == NULL || st->file == NULL) return no_memory(l, err);
            if (r->n > STAGES_MAX) return tn_fail(err, TN_LIMIT, "%s: more than %d stages", st->file, STAGES_MAX);
            TN_TRY(read_kind(l, st, stages->items[i], err));
            /* inputs are expanded one by one later: whether --set took part matters for them */
            for (size_t k = 0; k < stages->items[i]->n; k++)
                if (strcmp(stages->items[i]->keys[k], "inputs") != 0) TN_TRY(expand_tree(l, stages->items[i]->items[k], st->file, err));
            TN_TRY(read_options(l, st, stages->items[i], seed, err));
        }
    }
    if (r->n == 0) return tn_fail(err, TN_USAGE, "%s:1: the recipe has no stages", r->path);
    return unknown_stage_set(l, err);
}

/* --------------------------------------------------------------------------------------------------------- inputs */

static tn_status ref_file(loader *l, const recipe_stage *st, recipe_ref *ref, const char *path, bool user, tn_error *err)
{
    struct stat st_path;

    if (!user && (path[0] == '/' || has_dotdot(path)))
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': '%s' lies outside the folder of the recipe: name a folder above it by "
                       "'root:', or give the path by --set", st->file, ref->line, st->name, path);
    ref->path = user || path[0] == '/' || strcmp(l->root, ".") == 0 ? tn_strdup(path) : tn_path(l->root, path);
    if (ref->path == NULL) return no_memory(l, err);
    if (lstat(ref->path, &st_path) != 0)
        return tn_fail(err, TN_NOTFOUND, "%s:%d: stage '%s' needs the file %s: no such file or folder", st->file, ref->line, st->name, ref->path);
    if (!S_ISREG(st_path.st_mode) && !S_ISDIR(st_path.st_mode))
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': %s is a symlink or special file: name the file it points to", st->file,
                       ref->line, st->name, ref->path);
    if (user) {                                               /* where it lies is of this machine: only its name is kept */
        char *label = tn_strf("file:%s", tn_basename(path));  /* before the old text goes: `path` may lie in it */
        free(ref->text);
        if ((ref->text = label) == NULL) return no_memory(l, err);
    }
    return TN_OK;
}

/* A plain word that is no stage: a file beside the recipe (or, by --set, here), else something of the store. */
static tn_status ref_word(loader *l, const recipe_stage *st, recipe_ref *ref, const char *word, bool user, tn_error *err)
{
    const char **names, *near;
    size_t       n = 0;
    char        *beside = user || strcmp(l->root, ".") == 0 ? tn_strdup(word) : tn_path(l->root, word);
    bool         there = beside != NULL && tn_exists(beside);

    free(beside);
    if (there) return ref_file(l, st, ref, word, user, err);
    if (user) return TN_OK;                                   /* a name in the store: looked up when the plan is made */
    if ((names = calloc(l->r->n + 1, sizeof *names)) == NULL) return no_memory(l, err);
    for (size_t i = 0; i < l->r->n; i++) names[n++] = l->r->stages[i].name;
    near = tn_nearest(word, names);
    tn_status status = near != NULL
        ? tn_fail(err, TN_USAGE, "%s:%d: stage '%s' takes its input from '%s', which is no stage; did you mean '%s'?", st->file,
                  ref->line, st->name, word, near)
        : tn_fail(err, TN_USAGE, "%s:%d: stage '%s' takes its input from '%s', which is neither a stage nor a file (an artifact of the "
                  "store is written store:NAME)", st->file, ref->line, st->name, word);
    free(names);
    return status;
}

static tn_status ref_parse(loader *l, recipe_stage *st, recipe_ref *ref, tn_error *err)
{
    char   where[512], *text = NULL;
    bool   user = false;
    size_t n;

    snprintf(where, sizeof where, "%s:%d", st->file, ref->line);
    TN_TRY(expand(l, ref->text, where, 0, &text, &user, err));
    free(ref->text);
    ref->text = text;
    ref->stage = -1;
    if (tn_starts_with(text, "file:")) return ref_file(l, st, ref, text + 5, user, err);
    if (tn_starts_with(text, "sha256:") || tn_starts_with(text, "store:")) return TN_OK;
    if (text[0] == '/' || tn_starts_with(text, "./") || tn_starts_with(text, "../"))
        return ref_file(l, st, ref, tn_starts_with(text, "./") ? text + 2 : text, user, err);
    n = strcspn(text, "/");
    for (size_t i = 0; i < l->r->n; i++)
        if (strlen(l->r->stages[i].name) == n && strncmp(l->r->stages[i].name, text, n) == 0) {
            ref->stage = (int)i;
            if (text[n] == '\0') return TN_OK;
            if (!tn_path_is_plain(text + n + 1))
                return tn_fail(err, TN_USAGE, "%s: stage '%s': '%s' is no path inside what '%s' makes", where, st->name, text + n + 1,
                               l->r->stages[i].name);
            return (ref->sub = tn_strdup(text + n + 1)) == NULL ? no_memory(l, err) : TN_OK;
        }
    return ref_word(l, st, ref, text, user, err);
}

static tn_status add_ref(loader *l, recipe_stage *st, int port, const tn_yaml *y, tn_error *err)
{
    recipe_ref *more;

    if (y->kind != TN_YAML_SCALAR || y->text[0] == '\0')
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': input '%s' takes the name of a stage or file", st->file, y->line, st->name,
                       st->kind->inputs[port].name);
    if ((more = realloc(st->refs, (st->n_ref + 1) * sizeof *more)) == NULL) return no_memory(l, err);
    st->refs = more;
    memset(&st->refs[st->n_ref], 0, sizeof *st->refs);
    recipe_ref *ref = &st->refs[st->n_ref++];
    ref->port = port;
    ref->line = y->line;
    if ((ref->text = tn_strdup(y->text)) == NULL) return no_memory(l, err);
    return ref_parse(l, st, ref, err);
}

static tn_status read_port(loader *l, recipe_stage *st, int port, const tn_yaml *y, tn_error *err)
{
    const tn_stage_port *p = &st->kind->inputs[port];

    if (y == NULL)
        return p->optional ? TN_OK : tn_fail(err, TN_USAGE, "%s:%d: stage '%s' lacks its input '%s' (%s)", st->file, st->line, st->name,
                                             p->name, p->help);
    if (y->kind != TN_YAML_SEQ) return add_ref(l, st, port, y, err);
    if (!p->many) return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': input '%s' takes one source, not a list", st->file, y->line, st->name, p->name);
    for (size_t i = 0; i < y->n; i++) TN_TRY(add_ref(l, st, port, y->items[i], err));
    return TN_OK;
}

static tn_status read_inputs(loader *l, recipe_stage *st, const tn_yaml *y, tn_error *err)
{
    const tn_yaml *inputs = tn_yaml_get(y, "inputs");
    const char    *names[64], *near;
    size_t         n = 0;

    if (inputs != NULL && inputs->kind != TN_YAML_MAP)
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': inputs takes names and sources", st->file, inputs->line, st->name);
    for (; st->kind->inputs[n].name != NULL && n < 63; n++) names[n] = st->kind->inputs[n].name;
    names[n] = NULL;
    for (size_t i = 0; inputs != NULL && i < inputs->n; i++) {
        size_t k = 0;
        while (names[k] != NULL && strcmp(names[k], inputs->keys[i]) != 0) k++;
        if (names[k] != NULL) continue;
        near = tn_nearest(inputs->keys[i], names);
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': kind %s has no input '%s'%s%s%s", st->file, inputs->key_lines[i], st->name,
                       st->kind->name, inputs->keys[i], near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "");
    }
    for (size_t k = 0; k < n; k++) TN_TRY(read_port(l, st, (int)k, tn_yaml_get(inputs, names[k]), err));
    return TN_OK;
}

static tn_status read_all_inputs(loader *l, tn_error *err)
{
    size_t i = 0;

    for (int f = 0; f < l->n_file; f++) {
        const tn_yaml *stages = tn_yaml_get(l->files[f].y, "stages");
        for (size_t k = 0; stages != NULL && k < stages->n; k++, i++) TN_TRY(read_inputs(l, &l->r->stages[i], stages->items[k], err));
    }
    return TN_OK;
}

/* ---------------------------------------------------------------------------------------------------------- order */

static tn_status circle(const tn_recipe *r, const int *state, size_t at, tn_error *err)
{
    tn_str s = { .max = 600 };
    size_t i = at;

    tn_str_add(&s, r->stages[at].name);
    do {                                                      /* every stage in a circle has an unfinished input */
        const recipe_stage *st = &r->stages[i];
        size_t              k = 0;
        while (k < st->n_ref && !(st->refs[k].stage >= 0 && state[st->refs[k].stage] == 1)) k++;
        if (k == st->n_ref) break;
        i = (size_t)st->refs[k].stage;
        tn_str_addf(&s, " <- %s", r->stages[i].name);
    } while (i != at && !s.failed);
    tn_status status = tn_fail(err, TN_USAGE, "%s:%d: stage '%s' needs itself: %s", r->stages[at].file, r->stages[at].line,
                               r->stages[at].name, s.p != NULL ? s.p : "");
    tn_str_free(&s);
    return status;
}

/* state: 0 new, 1 being looked at, 2 placed. */
static tn_status place(const tn_recipe *r, size_t i, int *state, size_t *order, size_t *n, tn_error *err)
{
    if (state[i] == 2) return TN_OK;
    if (state[i] == 1) return circle(r, state, i, err);
    state[i] = 1;
    for (size_t k = 0; k < r->stages[i].n_ref; k++)
        if (r->stages[i].refs[k].stage >= 0) TN_TRY(place(r, (size_t)r->stages[i].refs[k].stage, state, order, n, err));
    state[i] = 2;
    order[(*n)++] = i;
    return TN_OK;
}

static tn_status sort_stages(loader *l, tn_error *err)
{
    tn_recipe    *r = l->r;
    int          *state = calloc(r->n, sizeof *state), *new_index = calloc(r->n, sizeof *new_index);
    size_t       *order = calloc(r->n, sizeof *order), n = 0;
    recipe_stage *sorted = calloc(r->n, sizeof *sorted);
    tn_status     status = state == NULL || new_index == NULL || order == NULL || sorted == NULL ? no_memory(l, err) : TN_OK;

    for (size_t i = 0; i < r->n && status == TN_OK; i++) status = place(r, i, state, order, &n, err);
    if (status == TN_OK) {
        for (size_t i = 0; i < n; i++) new_index[order[i]] = (int)i;
        for (size_t i = 0; i < n; i++) {
            sorted[i] = r->stages[order[i]];
            for (size_t k = 0; k < sorted[i].n_ref; k++)
                if (sorted[i].refs[k].stage >= 0) sorted[i].refs[k].stage = new_index[sorted[i].refs[k].stage];
        }
        free(r->stages);
        r->stages = sorted;
        sorted = NULL;
    }
    free(state);
    free(new_index);
    free(order);
    free(sorted);
    return status;
}

/* ----------------------------------------------------------------------------------------------- exports and text */

static tn_status read_exports(loader *l, tn_error *err)
{
    tn_recipe *r = l->r;

    for (int f = 0; f < l->n_file; f++) {
        tn_yaml *e = (tn_yaml *)tn_yaml_get(l->files[f].y, "export");
        if (e == NULL) continue;
        if (e->kind != TN_YAML_MAP) return tn_fail(err, TN_USAGE, "%s:%d: export takes stages and paths", l->files[f].path, e->line);
        for (size_t i = 0; i < e->n; i++) {
            int            st = recipe_find(r, e->keys[i]);
            recipe_export *more;
            char           where[512], *to = NULL;
            bool           user = false;
            snprintf(where, sizeof where, "%s:%d", l->files[f].path, e->key_lines[i]);
            if (st < 0) return tn_fail(err, TN_USAGE, "%s: export: there is no stage '%s'", where, e->keys[i]);
            if (e->items[i]->kind != TN_YAML_SCALAR) return tn_fail(err, TN_USAGE, "%s: export takes one path a stage", where);
            TN_TRY(expand(l, e->items[i]->text, where, 0, &to, &user, err));
            if (to[0] == '\0') {                              /* an empty variable: not wanted */
                free(to);
                continue;
            }
            if (!user && (to[0] == '/' || has_dotdot(to))) {
                tn_status status = tn_fail(err, TN_USAGE, "%s: export: '%s' lies outside this folder: such a path is given by --set", where, to);
                free(to);
                return status;
            }
            if ((more = realloc(r->exports, (r->n_export + 1) * sizeof *more)) == NULL) {
                free(to);
                return no_memory(l, err);
            }
            r->exports = more;
            more[r->n_export++] = (recipe_export){ st, to };
        }
    }
    return TN_OK;
}

static void add_quoted(tn_str *s, const char *text)
{
    json_t *v = json_string(text);
    char   *q = v == NULL ? NULL : json_dumps(v, JSON_ENCODE_ANY);

    if (q == NULL) s->failed = true;
    else tn_str_add(s, q);
    free(q);
    json_decref(v);
}

static void add_value(tn_str *s, const json_t *v)
{
    char *text = tn_json_text(v);

    if (text == NULL) s->failed = true;
    else tn_str_add(s, text);
    free(text);
}

/* The recipe as it stands, in YAML that reads back as the same graph: defaults written out, in the order of execution. */
static tn_status write_text(loader *l, tn_error *err)
{
    tn_recipe  *r = l->r;
    tn_str      s = { .max = TEXT_MAX };
    const char *key;
    json_t     *v;

    tn_str_add(&s, "name: ");
    add_quoted(&s, r->name);
    tn_str_addf(&s, "\nprofile: %s\nstages:\n", r->profile_name);
    for (size_t i = 0; i < r->n; i++) {
        const recipe_stage *st = &r->stages[i];
        tn_str_addf(&s, "  %s:\n    kind: %s\n", st->name, st->kind->name);
        if (st->n_ref > 0) tn_str_add(&s, "    inputs:\n");
        for (int p = 0; st->kind->inputs[p].name != NULL; p++) {
            bool first = true;
            for (size_t k = 0; k < st->n_ref; k++) {
                if (st->refs[k].port != p) continue;
                if (first) tn_str_addf(&s, "      %s: %s", st->kind->inputs[p].name, st->kind->inputs[p].many ? "[" : "");
                else tn_str_add(&s, ", ");
                add_quoted(&s, st->refs[k].text);
                first = false;
            }
            if (!first) tn_str_add(&s, st->kind->inputs[p].many ? "]\n" : "\n");
        }
        json_object_foreach(st->params, key, v) {
            if (json_is_null(v)) continue;
            tn_str_addf(&s, "    %s: ", key);
            add_value(&s, v);
            tn_str_add_char(&s, '\n');
        }
    }
    TN_TRY(tn_str_check(&s, err));
    return (r->text = tn_str_take(&s)) == NULL ? no_memory(l, err) : TN_OK;
}

/* ----------------------------------------------------------------------------------------------------------- load */

static const char *top_text(const loader *l, const char *key)
{
    for (int f = 0; f < l->n_file; f++) {
        const char *text = tn_yaml_text(l->files[f].y, key);
        if (text != NULL) return text;
    }
    return NULL;
}

static tn_status read_head(loader *l, char seed[32], tn_error *err)
{
    tn_recipe  *r = l->r;
    const char *name = tn_yaml_text(l->files[0].y, "name"), *root = tn_yaml_text(l->files[0].y, "root"), *text = top_text(l, "seed");
    int64_t     n;

    r->profile_name = l->o->profile != NULL ? l->o->profile : top_text(l, "profile") != NULL ? top_text(l, "profile") : "strict";
    if (!tn_profile_parse(r->profile_name, &r->profile))
        return tn_fail(err, TN_USAGE, "%s: unknown profile '%s'", r->path, r->profile_name);
    r->profile_name = tn_profile_name(r->profile);
    if (name != NULL) r->name = tn_strdup(name);
    else r->name = tn_strndup(tn_basename(r->path), strcspn(tn_basename(r->path), "."));
    l->root = root == NULL || strcmp(root, ".") == 0 ? tn_strdup(r->dir) : tn_path(r->dir, root);
    if (r->name == NULL || l->root == NULL) return no_memory(l, err);
    if (!tn_is_dir(l->root)) return tn_fail(err, TN_USAGE, "%s: root: %s is no folder", r->path, l->root);
    seed[0] = '\0';
    if (l->o->seed_given) snprintf(seed, 32, "%lld", (long long)l->o->seed);
    else if (text != NULL && !tn_parse_i64(text, &n)) return tn_fail(err, TN_USAGE, "%s: seed is '%s': expected a whole number", r->path, text);
    else if (text != NULL) snprintf(seed, 32, "%s", text);
    return TN_OK;
}

static void loader_free(loader *l)
{
    for (int i = 0; i < l->n_file; i++) {
        tn_yaml_free(l->files[i].y);
        free(l->files[i].path);
    }
    json_decref(l->from_set);
    free(l->root);
}

tn_status tn_recipe_load(tn_recipe **out, const char *path, const tn_recipe_options *o, tn_error *err)
{
    static const tn_recipe_options none;
    loader    l = { .o = o != NULL ? o : &none, .from_set = json_object() };
    tn_status status = TN_OK;
    char      seed[32];

    *out = NULL;
    if ((l.r = calloc(1, sizeof *l.r)) == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for the recipe", path);
    l.r->kinds = l.o->kinds != NULL ? l.o->kinds : tn_stage_kinds;
    l.r->vars = json_object();
    if ((l.r->path = tn_strdup(path)) == NULL || (l.r->dir = dir_of(path)) == NULL || l.r->vars == NULL || l.from_set == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for the recipe", path);
        goto out;
    }
    TN_GOTO(load_file(&l, path, -1, 0, err));
    TN_GOTO(collect_vars(&l, err));
    TN_GOTO(read_head(&l, seed, err));
    TN_GOTO(read_stages(&l, seed[0] != '\0' ? seed : NULL, err));
    TN_GOTO(read_all_inputs(&l, err));
    TN_GOTO(sort_stages(&l, err));
    TN_GOTO(read_exports(&l, err));
    TN_GOTO(write_text(&l, err));
    *out = l.r;
    l.r = NULL;
out:
    loader_free(&l);
    tn_recipe_free(l.r);
    return status;
}

void tn_recipe_free(tn_recipe *r)
{
    if (r == NULL) return;
    for (size_t i = 0; i < r->n; i++) {
        recipe_stage *st = &r->stages[i];
        for (size_t k = 0; k < st->n_ref; k++) {
            free(st->refs[k].text);
            free(st->refs[k].sub);
            free(st->refs[k].path);
        }
        free(st->refs);
        if (st->config != NULL) tn_options_free(st->config, st->kind->options);
        free(st->config);
        json_decref(st->params);
        free(st->name);
        free(st->file);
    }
    free(r->stages);
    for (size_t i = 0; i < r->n_export; i++) free(r->exports[i].to);
    free(r->exports);
    json_decref(r->vars);
    free(r->path);
    free(r->dir);
    free(r->name);
    free(r->text);
    free(r);
}

const char *tn_recipe_name(const tn_recipe *r) { return r->name; }

int recipe_find(const tn_recipe *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->stages[i].name != NULL && strcmp(r->stages[i].name, name) == 0) return (int)i;
    return -1;
}
