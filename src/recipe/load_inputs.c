/* load_inputs.c - where each input of a stage comes from: a stage, a path inside what it makes, a file, or
 * the store. */
#include "recipe/load.h"

#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static tn_status ref_file(loader *l, const recipe_stage *st, recipe_ref *ref, const char *path, bool user,
                          tn_error *err)
{
    struct stat st_path;

    static const char outside[] =
        "lies outside the folder of the recipe: name a folder above it by 'root:', or give the path by --set";

    if (!user && (path[0] == '/' || recipe_load_escapes(path)))
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': '%s' %s", st->file, ref->line, st->name, path,
                       outside);
    ref->path = user || path[0] == '/' || strcmp(l->root, ".") == 0 ? tn_strdup(path)
                                                                    : tn_path(l->root, path);
    if (ref->path == NULL) return recipe_load_no_memory(l, err);
    if (lstat(ref->path, &st_path) != 0)
        return tn_fail(err, TN_NOTFOUND, "%s:%d: stage '%s' needs the file %s: no such file or folder",
                       st->file, ref->line, st->name, ref->path);
    if (!S_ISREG(st_path.st_mode) && !S_ISDIR(st_path.st_mode))
        return tn_fail(err, TN_USAGE,
                       "%s:%d: stage '%s': %s is a symlink or special file: name the file it points to",
                       st->file, ref->line, st->name, ref->path);
    if (!user && recipe_load_leads_out(l->root, ref->path))
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': '%s' goes through a symlink and %s", st->file,
                       ref->line, st->name, path, outside);
    if (user) { /* where it lies is of this machine: only its name is kept */
        /* before the old text goes: `path` may lie in it */
        char *label = tn_strf("file:%s", tn_basename(path));
        free(ref->text);
        if ((ref->text = label) == NULL) return recipe_load_no_memory(l, err);
    }
    return TN_OK;
}

/* A plain word that is no stage: a file beside the recipe (or, by --set, here), else something of the
 * store. */
static tn_status ref_word(loader *l, const recipe_stage *st, recipe_ref *ref, const char *word, bool user,
                          tn_error *err)
{
    const char **names, *near;
    size_t       n = 0;
    char        *beside = user || strcmp(l->root, ".") == 0 ? tn_strdup(word) : tn_path(l->root, word);
    bool         there = beside != NULL && tn_exists(beside);

    free(beside);
    if (there) return ref_file(l, st, ref, word, user, err);
    if (user) return TN_OK; /* a name in the store: looked up when the plan is made */
    if ((names = calloc(l->r->n + 1, sizeof *names)) == NULL) return recipe_load_no_memory(l, err);
    for (size_t i = 0; i < l->r->n; i++) names[n++] = l->r->stages[i].name;
    near = tn_nearest(word, names);
    tn_status status =
        near != NULL
            ? tn_fail(err, TN_USAGE,
                      "%s:%d: stage '%s' takes its input from '%s', which is no stage; did you mean '%s'?",
                      st->file, ref->line, st->name, word, near)
            : tn_fail(err, TN_USAGE,
                      "%s:%d: stage '%s' takes its input from '%s', which is neither a stage nor a file (an "
                      "artifact of the "
                      "store is written store:NAME)",
                      st->file, ref->line, st->name, word);
    free(names);
    return status;
}

/* ref->text has its variables put in already; user: one of --set took part. */
static tn_status ref_parse(loader *l, recipe_stage *st, recipe_ref *ref, bool user, tn_error *err)
{
    char  *text = ref->text;
    size_t n;

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
                return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': '%s' is no path inside what '%s' makes",
                               st->file, ref->line, st->name, text + n + 1, l->r->stages[i].name);
            return (ref->sub = tn_strdup(text + n + 1)) == NULL ? recipe_load_no_memory(l, err) : TN_OK;
        }
    return ref_word(l, st, ref, text, user, err);
}

static tn_status add_ref(loader *l, recipe_stage *st, int port, const tn_yaml *y, tn_error *err)
{
    recipe_ref *more;
    char       *text = NULL, where[512];
    bool        user = false;

    if (y->kind != TN_YAML_SCALAR || y->text[0] == '\0')
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': input '%s' takes the name of a stage or file",
                       st->file, y->line, st->name, st->kind->inputs[port].name);
    snprintf(where, sizeof where, "%s:%d", st->file, y->line);
    TN_TRY(recipe_load_expand(l, y->text, where, 0, &text, &user, err));
    /* a variable with nothing in it: so a recipe offers an input that may be left out */
    if (text[0] == '\0') {
        free(text);
        return st->kind->inputs[port].optional
                   ? TN_OK
                   : tn_fail(err, TN_USAGE,
                             "%s: stage '%s': '%s' is empty, and input '%s' must be given: set the variable",
                             where, st->name, y->text, st->kind->inputs[port].name);
    }
    if ((more = realloc(st->refs, (st->n_ref + 1) * sizeof *more)) == NULL) {
        free(text);
        return recipe_load_no_memory(l, err);
    }
    st->refs = more;
    memset(&st->refs[st->n_ref], 0, sizeof *st->refs);
    recipe_ref *ref = &st->refs[st->n_ref++];
    ref->port = port;
    ref->line = y->line;
    ref->text = text;
    ref->stage = -1;
    return ref_parse(l, st, ref, user, err);
}

static tn_status read_port(loader *l, recipe_stage *st, int port, const tn_yaml *y, tn_error *err)
{
    const tn_stage_port *p = &st->kind->inputs[port];

    if (y == NULL)
        return p->optional ? TN_OK
                           : tn_fail(err, TN_USAGE, "%s:%d: stage '%s' lacks its input '%s' (%s)", st->file,
                                     st->line, st->name, p->name, p->help);
    if (y->kind != TN_YAML_SEQ) return add_ref(l, st, port, y, err);
    if (!p->many)
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': input '%s' takes one source, not a list", st->file,
                       y->line, st->name, p->name);
    for (size_t i = 0; i < y->n; i++) TN_TRY(add_ref(l, st, port, y->items[i], err));
    return TN_OK;
}

static tn_status read_inputs(loader *l, recipe_stage *st, const tn_yaml *y, tn_error *err)
{
    const tn_yaml *inputs = tn_yaml_get(y, "inputs");
    const char    *names[64], *near;
    size_t         n = 0;

    if (inputs != NULL && inputs->kind != TN_YAML_MAP)
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': inputs takes names and sources", st->file,
                       inputs->line, st->name);
    for (; st->kind->inputs[n].name != NULL && n < 63; n++) names[n] = st->kind->inputs[n].name;
    names[n] = NULL;
    for (size_t i = 0; inputs != NULL && i < inputs->n; i++) {
        size_t k = 0;
        while (names[k] != NULL && strcmp(names[k], inputs->keys[i]) != 0) k++;
        if (names[k] != NULL) continue;
        near = tn_nearest(inputs->keys[i], names);
        return tn_fail(err, TN_USAGE, "%s:%d: stage '%s': kind %s has no input '%s'%s%s%s", st->file,
                       inputs->key_lines[i], st->name, st->kind->name, inputs->keys[i],
                       near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?" : "");
    }
    for (size_t k = 0; k < n; k++) TN_TRY(read_port(l, st, (int)k, tn_yaml_get(inputs, names[k]), err));
    if (st->kind->check == NULL) return TN_OK;
    bool given[64] = { 0 };
    for (size_t k = 0; k < st->n_ref; k++) given[st->refs[k].port] = true;
    tn_status status = st->kind->check(st->config, given, err);
    return status == TN_OK ? TN_OK
                           : tn_fail_prefix(err, status, "%s:%d: stage '%s'", st->file, st->line, st->name);
}

tn_status recipe_load_inputs(loader *l, tn_error *err)
{
    size_t i = 0;

    for (int f = 0; f < l->n_file; f++) {
        const tn_yaml *stages = tn_yaml_get(l->files[f].y, "stages");
        for (size_t k = 0; stages != NULL && k < stages->n; k++, i++)
            TN_TRY(read_inputs(l, &l->r->stages[i], stages->items[k], err));
    }
    return TN_OK;
}
