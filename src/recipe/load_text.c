/* load_text.c - where artifacts are exported, and the recipe as it stands, written out whole: what a release
 * keeps of it. */
#include "recipe/load.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An export takes the place of what lies there. A file or folder that the recipe reads is not for that: the
 * store has a copy, but whoever wrote it would find it gone. */
static tn_status export_over_input(const tn_recipe *r, const char *to, const char *where, tn_error *err)
{
    char     *place = realpath(to, NULL);
    size_t    n = place == NULL ? 0 : strlen(place);
    tn_status status = TN_OK;

    for (size_t i = 0; i < r->n && place != NULL && status == TN_OK; i++)
        for (size_t k = 0; k < r->stages[i].n_ref && status == TN_OK; k++) {
            char *input = r->stages[i].refs[k].path == NULL ? NULL
                                                            : realpath(r->stages[i].refs[k].path, NULL);
            if (input != NULL && strncmp(place, input, n) == 0 && (input[n] == '/' || input[n] == '\0'))
                status = tn_fail(
                    err, TN_USAGE,
                    "%s: export: '%s' is where stage '%s' has its input '%s' from: choose another place",
                    where, to, r->stages[i].name, r->stages[i].kind->inputs[r->stages[i].refs[k].port].name);
            free(input);
        }
    free(place);
    return status;
}

tn_status recipe_load_exports(loader *l, tn_error *err)
{
    tn_recipe *r = l->r;

    for (int f = 0; f < l->n_file; f++) {
        tn_yaml *e = (tn_yaml *)tn_yaml_get(l->files[f].y, "export");
        if (e == NULL) continue;
        if (e->kind != TN_YAML_MAP)
            return tn_fail(err, TN_USAGE, "%s:%d: export takes stages and paths", l->files[f].path, e->line);
        for (size_t i = 0; i < e->n; i++) {
            int            st = recipe_find(r, e->keys[i]);
            recipe_export *more;
            char           where[512], *to = NULL;
            bool           user = false;
            tn_status      status;
            snprintf(where, sizeof where, "%s:%d", l->files[f].path, e->key_lines[i]);
            if (st < 0)
                return tn_fail(err, TN_USAGE, "%s: export: there is no stage '%s'", where, e->keys[i]);
            if (e->items[i]->kind != TN_YAML_SCALAR)
                return tn_fail(err, TN_USAGE, "%s: export takes one path a stage", where);
            TN_TRY(recipe_load_expand(l, e->items[i]->text, where, 0, &to, &user, err));
            if (to[0] == '\0') { /* an empty variable: not wanted */
                free(to);
                continue;
            }
            if (!user && (to[0] == '/' || recipe_load_escapes(to))) {
                status = tn_fail(err, TN_USAGE,
                                 "%s: export: '%s' lies outside this folder: such a path is given by --set",
                                 where, to);
                free(to);
                return status;
            }
            if ((status = export_over_input(r, to, where, err)) != TN_OK) {
                free(to);
                return status;
            }
            if ((more = realloc(r->exports, (r->n_export + 1) * sizeof *more)) == NULL) {
                free(to);
                return recipe_load_no_memory(l, err);
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

/* The recipe as it stands, in YAML that reads back as the same graph: defaults written out, in the order of
 * execution. */
tn_status recipe_load_text(loader *l, tn_error *err)
{
    tn_recipe  *r = l->r;
    tn_str      s = { .max = RECIPE_TEXT_MAX };
    const char *key;
    json_t     *v;

    tn_str_add(&s, "name: ");
    add_quoted(&s, r->name);
    tn_str_addf(&s, "\nprofile: %s\nstages:\n", r->profile_name);
    for (size_t i = 0; i < r->n; i++) {
        const recipe_stage *st = &r->stages[i];
        tn_str_addf(&s, "  %s:\n    kind: %s\n", st->name, st->kind->name);
        if (st->profile != r->profile) tn_str_addf(&s, "    profile: %s\n", st->profile_name);
        if (st->n_ref > 0) tn_str_add(&s, "    inputs:\n");
        for (int p = 0; st->kind->inputs[p].name != NULL; p++) {
            bool first = true;
            for (size_t k = 0; k < st->n_ref; k++) {
                if (st->refs[k].port != p) continue;
                if (first)
                    tn_str_addf(&s, "      %s: %s", st->kind->inputs[p].name,
                                st->kind->inputs[p].many ? "[" : "");
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
    return (r->text = tn_str_take(&s)) == NULL ? recipe_load_no_memory(l, err) : TN_OK;
}
