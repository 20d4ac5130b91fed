/* say.c - a plan in words, and the lines of a run: what a person sees of a recipe.
 *
 *   constitution: 1 principle changed (honesty.no-flattery: revision), 1 added (house.cite-policy)
 *     prompts, before, own     cached
 *     pairs                    96 of 240 rows differ from the last time
 *     contrast                 144 of 240 rows are known, the rest will run    about 2 min
 *     sft, dpo, after          will run      about 7 min by the last time */
#include "recipe/recipe_impl.h"

#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_COLUMN = 24, LINE_COLUMNS = 70, IDS_SHOWN = 3 };

void recipe_say_duration(char out[32], double seconds)
{
    if (seconds < 100) snprintf(out, 32, "%.1f s", seconds);
    else if (seconds < 6000) snprintf(out, 32, "%.0f min", seconds / 60);
    else snprintf(out, 32, "%.1f h", seconds / 3600);
}

/* "1 principle changed (a: wording, b), 2 added (c, d)" */
static void add_charter(tn_str *s, const json_t *changes)
{
    static const char *const words[] = { "changed", "added", "removed" };
    bool                     any = false;

    if (json_array_size(changes) == 0) return;
    tn_str_add(s, "constitution: ");
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
        size_t  n = 0, shown = 0, i;
        json_t *c;
        json_array_foreach(changes, i, c)
            n += strcmp(json_string_value(json_object_get(c, "change")), words[w]) == 0;
        if (n == 0) continue;
        tn_str_addf(s, "%s%zu %s%s (", any ? ", " : "", n,
                    any      ? ""
                    : n == 1 ? "principle "
                             : "principles ",
                    words[w]);
        json_array_foreach(changes, i, c) {
            const char *fields = json_string_value(json_object_get(c, "fields"));
            if (strcmp(json_string_value(json_object_get(c, "change")), words[w]) != 0 || shown == IDS_SHOWN)
                continue;
            tn_str_addf(s, "%s%s", shown++ > 0 ? ", " : "", json_string_value(json_object_get(c, "id")));
            if (w == 0 && fields != NULL && fields[0] != '\0') tn_str_addf(s, ": %s", fields);
        }
        tn_str_add(s, n > shown ? ", ...)" : ")");
        any = true;
    }
    tn_str_add_char(s, '\n');
}

typedef struct group {
    tn_str      names, line;
    double      seconds;
    bool        known, unknown;
    const char *word;
} group;

static void group_end(tn_str *out, group *g)
{
    char about[32];

    if (g->names.len > 0) tn_str_addf(&g->line, "%s%s", g->line.len > 0 ? "\n  " : "", g->names.p);
    if (g->line.len == 0) return;
    /* the word stands beside the last line of names */
    size_t width = g->names.len;
    tn_str_addf(out, "  %s%*s %s", g->line.p, width < NAME_COLUMN ? (int)(NAME_COLUMN - width) : 0, "",
                g->word);
    if (g->known) {
        recipe_say_duration(about, g->seconds);
        tn_str_addf(out, "      about %s by the last time%s", about, g->unknown ? ", as far as known" : "");
    }
    tn_str_add_char(out, '\n');
    tn_str_clear(&g->names);
    tn_str_clear(&g->line);
    g->seconds = 0;
    g->known = g->unknown = false;
}

static void group_add(group *g, const char *name)
{
    if (g->names.len > 0 && g->names.len + strlen(name) + 2 > LINE_COLUMNS) {
        tn_str_addf(&g->line, "%s%s,", g->line.len > 0 ? "\n  " : "", g->names.p);
        tn_str_clear(&g->names);
    }
    tn_str_addf(&g->names, "%s%s", g->names.len > 0 ? ", " : "", name);
}

/* A stage with something of its own to say has a line of its own. */
static char *own_word(const json_t *row)
{
    int64_t n = json_integer_value(json_object_get(row, "rows")),
            known = json_integer_value(json_object_get(row, "rows_known"));
    int64_t changed = json_integer_value(json_object_get(row, "rows_changed"));

    if (json_object_get(row, "rows_changed") != NULL)
        return tn_strf("%lld of %lld rows differ from the last time", (long long)changed, (long long)n);
    if (known > 0 && known < n)
        return tn_strf("%lld of %lld rows are known, the rest will run", (long long)known, (long long)n);
    return NULL;
}

tn_status tn_plan_text(const json_t *plan, char **out, tn_error *err)
{
    tn_str  s = { .max = 1 << 20 };
    group   g = { .names = { .max = 1 << 16 }, .line = { .max = 1 << 18 }, .word = "" };
    size_t  i;
    json_t *row;

    add_charter(&s, json_object_get(plan, "constitution"));
    json_array_foreach(json_object_get(plan, "stages"), i, row) {
        const char   *state = json_string_value(json_object_get(row, "state"));
        const json_t *estimate = json_object_get(row, "estimate_s");
        char         *own = own_word(row);
        if (own != NULL || strcmp(g.word, state) != 0) group_end(&s, &g);
        g.word = own != NULL ? own : state;
        group_add(&g, json_string_value(json_object_get(row, "name")));
        if (estimate != NULL) g.known = true;
        else if (strcmp(state, "will run") == 0) g.unknown = true;
        g.seconds += json_number_value(estimate);
        if (own != NULL) {
            group_end(&s, &g);
            g.word = "";
        }
        free(own);
    }
    group_end(&s, &g);
    tn_str_free(&g.names);
    tn_str_free(&g.line);
    tn_status status = tn_str_check(&s, err);
    *out = status == TN_OK ? tn_str_take(&s) : NULL;
    if (status == TN_OK && *out == NULL) *out = tn_strdup("");
    tn_str_free(&s);
    return *out != NULL      ? TN_OK
           : status != TN_OK ? status
                             : tn_fail(err, TN_NOMEM, "no memory for a plan in words");
}

/* ----------------------------------------------------------------------------------------- lines of a run */

void recipe_say_plan(const tn_recipe *r, const json_t *plan)
{
    size_t  n = 0, n_run = 0, i;
    json_t *row;
    char   *text = NULL;

    json_array_foreach(json_object_get(plan, "stages"), i, row) {
        n++;
        n_run += strcmp(json_string_value(json_object_get(row, "state")), "will run") == 0;
    }
    if (n_run == 0) {
        tn_log(TN_LOG_INFO, "%s: %zu stage%s, %s", r->name, n, n == 1 ? "" : "s",
               n == 1 ? "cached" : "all cached");
        return;
    }
    if (tn_plan_text(plan, &text, NULL) != TN_OK) return;
    size_t len = strlen(text);
    if (len > 0 && text[len - 1] == '\n') text[len - 1] = '\0';
    tn_log(TN_LOG_INFO, "%s: %zu of %zu stage%s will run\n%s\n", r->name, n_run, n, n == 1 ? "" : "s", text);
    free(text);
}

/* "  pull, before            cached": consecutive cached stages share a line, as long as it is one. */
void recipe_say_cached(tn_str *names)
{
    if (names->len > 0) tn_log(TN_LOG_INFO, "  %-24s cached", names->p);
    tn_str_clear(names);
}

void recipe_add_name(tn_str *names, const char *name)
{
    if (names->len + strlen(name) + 2 > LINE_COLUMNS) recipe_say_cached(names);
    tn_str_addf(names, "%s%s", names->len > 0 ? ", " : "", name);
}

void recipe_say_done(const recipe_stage *st)
{
    char took[32], hex[TN_SHA256_HEX], rows[64] = "";

    recipe_say_duration(took, st->seconds);
    tn_hex(hex, &st->root);
    if (st->n_known > 0)
        snprintf(rows, sizeof rows, "   %lld of %lld rows from before", (long long)st->n_known,
                 (long long)st->n_row);
    tn_log(TN_LOG_INFO, "  %-24s done   %8s   sha256:%.12s%s", st->name, took, hex, rows);
}
