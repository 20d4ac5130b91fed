/* draw.c - a recipe as DOT, for Graphviz and its kin (draw_svg.c draws it without them). */
#include "recipe/recipe_impl.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static void add_dot(tn_str *s, const char *text)
{
    tn_str_add_char(s, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') tn_str_add_char(s, '\\');
        tn_str_add_char(s, *text);
    }
    tn_str_add_char(s, '"');
}

/* An input that is no stage, seen first here: files are drawn once. */
static bool first_mention(const tn_recipe *r, size_t i, size_t k)
{
    for (size_t a = 0; a <= i; a++)
        for (size_t b = 0; b < (a == i ? k : r->stages[a].n_ref); b++)
            if (r->stages[a].refs[b].stage < 0 &&
                strcmp(r->stages[a].refs[b].text, r->stages[i].refs[k].text) == 0)
                return false;
    return true;
}

tn_status tn_recipe_dot(const tn_recipe *r, char **out, tn_error *err)
{
    tn_str s = { 0 };

    *out = NULL;
    tn_str_add(&s, "digraph ");
    add_dot(&s, r->name);
    tn_str_add(&s, " {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for (size_t i = 0; i < r->n; i++) {
        const recipe_stage *st = &r->stages[i];
        tn_str_add(&s, "  ");
        add_dot(&s, st->name);
        tn_str_addf(&s, " [label=\"%s\\n%s %d\"];\n", st->name, st->kind->name, st->kind->version);
        for (size_t k = 0; k < st->n_ref; k++) {
            const recipe_ref *ref = &st->refs[k];
            if (ref->stage < 0 && first_mention(r, i, k)) {
                tn_str_add(&s, "  ");
                add_dot(&s, ref->text);
                tn_str_add(&s, " [shape=note];\n");
            }
            tn_str_add(&s, "  ");
            add_dot(&s, ref->stage >= 0 ? r->stages[ref->stage].name : ref->text);
            tn_str_add(&s, " -> ");
            add_dot(&s, st->name);
            tn_str_addf(&s, " [label=\"%s\"];\n", st->kind->inputs[ref->port].name);
        }
    }
    tn_str_add(&s, "}\n");
    tn_status status = tn_str_check(&s, err);
    if (status == TN_OK && (*out = tn_str_take(&s)) == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory for a picture");
    tn_str_free(&s);
    return status;
}
