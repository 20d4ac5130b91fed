/* kinds_help.c - what a recipe's stages can be, in words, from the table of kinds: `tenet help stages
 * [KIND]`, docs/stages.md. */
#include "recipe/recipe.h"
#include "recipe/stage.h"

#include "base/str.h"

#include <stdio.h>

/* In a recipe an option is a key (`batch: 4`), where a command takes `--batch 4`. */
static void option_say(tn_str *s, const tn_option *o)
{
    char name[80];

    snprintf(name, sizeof name, "%s%s%s", o->key, o->type == TN_OPT_CHOICE ? ": " : "",
             o->type == TN_OPT_CHOICE ? o->unit : "");
    tn_str_addf(s, "  %-30s  %s", name, o->help);
    if (o->type != TN_OPT_CHOICE && o->unit != NULL && o->unit[0] != '\0') tn_str_addf(s, " [%s]", o->unit);
    if (o->dflt != NULL && o->dflt[0] != '\0') tn_str_addf(s, " (%s)", o->dflt);
    tn_str_add_char(s, '\n');
}

static void one(tn_str *s, const tn_stage_kind *k)
{
    tn_str_addf(s, "stage kind %s: %s\n\ngives: %s\n\ninputs:\n", k->name, k->line, k->output);
    if (k->inputs[0].name == NULL) tn_str_add(s, "  none\n");
    for (const tn_stage_port *p = k->inputs; p->name != NULL; p++)
        tn_str_addf(s, "  %-30s  %s%s%s\n", p->name, p->help, p->many ? " (a list)" : "",
                    p->optional ? " (may be left out)" : "");
    if (k->options[0].key != NULL) tn_str_add(s, "\noptions, as keys beside kind and inputs:\n");
    for (const tn_option *o = k->options; o->key != NULL; o++) option_say(s, o);
    if (k->recorded)
        tn_str_add(s, "\nWhat it hears is recorded: it is asked once, and --rerun and replay start from what "
                      "was said.\n");
}

static tn_status unknown(const char *kind, tn_error *err)
{
    const char *names[256], *near;
    size_t      n = 0;

    for (const tn_stage_kind *const *k = tn_stage_kinds; *k != NULL && n < 255; k++) names[n++] = (*k)->name;
    names[n] = NULL;
    near = tn_nearest(kind, names);
    return tn_fail(err, TN_USAGE, "there is no stage kind '%s'%s%s%s  (tenet help stages lists them)", kind,
                   near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                   near != NULL ? "'?" : "");
}

static void all(tn_str *s)
{
    tn_str_add(s, "What a stage of a recipe can be (`kind:`):\n\n");
    for (const tn_stage_kind *const *k = tn_stage_kinds; *k != NULL; k++)
        tn_str_addf(s, "  %-14s %s\n", (*k)->name, (*k)->line);
    tn_str_add(s, "\ntenet help stages KIND says what it takes and gives. docs/recipe.md has an example of a "
                  "whole recipe.\n");
}

tn_status tn_recipe_kinds_help(char **out, const char *kind, tn_error *err)
{
    const tn_stage_kind *k = kind != NULL ? tn_stage_find(tn_stage_kinds, kind) : NULL;
    tn_str               text = { 0 };

    *out = NULL;
    if (kind != NULL && k == NULL) return unknown(kind, err);
    if (k != NULL) one(&text, k);
    else all(&text);
    TN_TRY(tn_str_check(&text, err));
    return (*out = tn_str_take(&text)) != NULL
               ? TN_OK
               : tn_fail(err, TN_NOMEM, "no memory for the help of stage kinds");
}
