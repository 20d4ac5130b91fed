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
 * A source is a stage's name, "NAME/path/inside" of what it makes, file:PATH (or ./PATH), store:NAME, or
 * sha256:DIGEST. Paths lie below the folder of the recipe, or of `root:`; only --set may name others. */
#include "recipe/load.h"

#include "base/file.h"
#include "base/str.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tn_status recipe_load_no_memory(const loader *l, tn_error *err)
{
    return tn_fail(err, TN_NOMEM, "%s: no memory for the recipe", l->r->path);
}

char *recipe_load_dir(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL   ? tn_strdup(".")
           : slash == path ? tn_strdup("/")
                           : tn_strndup(path, (size_t)(slash - path));
}

bool recipe_load_is_name(const char *s)
{
    if (!isalpha((unsigned char)*s)) return false;
    for (; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && *s != '_' && *s != '-') return false;
    return true;
}

bool recipe_load_escapes(const char *path)
{
    for (const char *p = path; *p != '\0';) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') return true;
        p += n + (p[n] == '/');
    }
    return false;
}

bool recipe_load_leads_out(const char *root, const char *path)
{
    char  *a = realpath(root, NULL), *b = realpath(path, NULL);
    size_t n = a == NULL ? 0 : strcmp(a, "/") == 0 ? 0 : strlen(a);
    bool   out = a != NULL && b != NULL && !(strncmp(a, b, n) == 0 && (b[n] == '/' || b[n] == '\0'));

    free(a);
    free(b);
    return out;
}

static const char *top_text(const loader *l, const char *key)
{
    for (int f = 0; f < l->n_file; f++) {
        const char *text = tn_yaml_text(l->files[f].y, key);
        if (text != NULL) return text;
    }
    return NULL;
}

/* "FILE:LINE" of a key at the top of the recipe, or of what it includes; the file alone if the key is from
 * elsewhere. */
static const char *top_place(const loader *l, const char *key, char out[512])
{
    snprintf(out, 512, "%s", l->r->path);
    for (int f = 0; f < l->n_file; f++) {
        const tn_yaml *y = tn_yaml_get(l->files[f].y, key);
        if (y == NULL) continue;
        snprintf(out, 512, "%s:%d", l->files[f].path, y->line);
        break;
    }
    return out;
}

static tn_status read_head(loader *l, char seed[32], tn_error *err)
{
    tn_recipe  *r = l->r;
    const char *name = tn_yaml_text(l->files[0].y, "name"), *root = tn_yaml_text(l->files[0].y, "root"),
               *text = top_text(l, "seed");
    int64_t n;
    char    place[512];

    r->profile_name = l->o->profile != NULL            ? l->o->profile
                      : top_text(l, "profile") != NULL ? top_text(l, "profile")
                                                       : "strict";
    if (!tn_profile_parse(r->profile_name, &r->profile))
        return tn_fail(err, TN_USAGE, "%s: unknown profile '%s': expected strict, strict-bf16 or q8act",
                       l->o->profile != NULL ? "--profile" : top_place(l, "profile", place), r->profile_name);
    r->profile_name = tn_profile_name(r->profile);
    if (name != NULL) r->name = tn_strdup(name);
    else r->name = tn_strndup(tn_basename(r->path), strcspn(tn_basename(r->path), "."));
    l->root = root == NULL || strcmp(root, ".") == 0 ? tn_strdup(r->dir) : tn_path(r->dir, root);
    if (r->name == NULL || l->root == NULL) return recipe_load_no_memory(l, err);
    if (!tn_is_dir(l->root))
        return tn_fail(err, TN_USAGE, "%s: root: %s is no folder", top_place(l, "root", place), l->root);
    seed[0] = '\0';
    if (l->o->seed_given) snprintf(seed, 32, "%lld", (long long)l->o->seed);
    else if (text != NULL && !tn_parse_i64(text, &n))
        return tn_fail(err, TN_USAGE, "%s: seed is '%s': expected a whole number",
                       top_place(l, "seed", place), text);
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
    loader                         l = { .o = o != NULL ? o : &none, .from_set = json_object() };
    tn_status                      status = TN_OK;
    char                           seed[32];

    *out = NULL;
    if ((l.r = calloc(1, sizeof *l.r)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the recipe", path);
    l.r->kinds = l.o->kinds != NULL ? l.o->kinds : tn_stage_kinds;
    l.r->vars = json_object();
    if ((l.r->path = tn_strdup(path)) == NULL || (l.r->dir = recipe_load_dir(path)) == NULL ||
        l.r->vars == NULL || l.from_set == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for the recipe", path);
        goto out;
    }
    TN_GOTO(recipe_load_file(&l, path, -1, 0, err));
    TN_GOTO(recipe_load_vars(&l, err));
    TN_GOTO(read_head(&l, seed, err));
    TN_GOTO(recipe_load_stages(&l, seed[0] != '\0' ? seed : NULL, err));
    TN_GOTO(recipe_load_inputs(&l, err));
    TN_GOTO(recipe_load_order(&l, err));
    TN_GOTO(recipe_load_exports(&l, err));
    TN_GOTO(recipe_load_text(&l, err));
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
