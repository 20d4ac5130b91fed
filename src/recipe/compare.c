/* compare.c - why a stage runs again, and what differs between two runs.
 *
 * Both compare rows as records hold them (recipe_stage_json): kind, version, profile, parameters, inputs,
 * root. */
#include "recipe/recipe_impl.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static void add(json_t *list, const char *what, const json_t *before, const json_t *now)
{
    json_t *row = json_object();

    json_object_set_new(row, "what", json_string(what));
    json_object_set(row, "before", before != NULL ? (json_t *)before : json_null());
    json_object_set(row, "now", now != NULL ? (json_t *)now : json_null());
    json_array_append_new(list, row);
}

static bool same(const json_t *a, const json_t *b)
{
    return (a == NULL && b == NULL) || (a != NULL && b != NULL && json_equal(a, b));
}

/* Members of two objects that differ, as "input 'data'", "parameter 'lr'". */
static void compare_members(json_t *list, const char *word, const json_t *before, const json_t *now)
{
    const char *key;
    json_t     *v;

    json_object_foreach((json_t *)now, key, v) {
        char *what = tn_strf("%s '%s'", word, key);
        if (what != NULL && !same(json_object_get(before, key), v))
            add(list, what, json_object_get(before, key), v);
        free(what);
    }
    json_object_foreach((json_t *)before, key, v) {
        char *what = tn_strf("%s '%s'", word, key);
        if (what != NULL && json_object_get(now, key) == NULL) add(list, what, v, NULL);
        free(what);
    }
}

static void compare_rows(json_t *list, const json_t *before, const json_t *now)
{
    static const char *const plain[][2] = { { "kind", "kind" },
                                            { "kind_version", "version of the kind" },
                                            { "profile", "numerics profile" },
                                            { "arithmetic", "version of the arithmetic" } };

    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (!same(json_object_get(before, plain[i][0]), json_object_get(now, plain[i][0])))
            add(list, plain[i][1], json_object_get(before, plain[i][0]), json_object_get(now, plain[i][0]));
    compare_members(list, "parameter", json_object_get(before, "params"), json_object_get(now, "params"));
    compare_members(list, "input", json_object_get(before, "inputs"), json_object_get(now, "inputs"));
}

/* ------------------------------------------------------------------------------------------------ explain */

static json_t *row_of(const json_t *record, const char *stage)
{
    size_t  i;
    json_t *row;

    json_array_foreach(json_object_get(record, "stages"), i, row)
        if (strcmp(json_string_value(json_object_get(row, "name")), stage) == 0) return row;
    return NULL;
}

/* The newest record that says how this stage of this recipe was last done: its own, or that of a run where it
 * was cached. */
static tn_status last_row(tn_recipe *r, tn_store *s, const char *stage, json_t **out, json_t **from,
                          tn_error *err)
{
    json_t   *stages = NULL, *runs = NULL, *entry, *best = NULL, *best_row = NULL;
    size_t    i;
    tn_status status;

    *out = *from = NULL;
    status = tn_store_log(s, "stage", r->name, stage, 50, &stages, err);
    if (status == TN_OK) status = tn_store_log(s, "run", r->name, NULL, 50, &runs, err);
    for (int k = 0; k < 2 && status == TN_OK; k++)
        json_array_foreach(k == 0 ? stages : runs, i, entry) {
            json_t *record = NULL, *row;
            if (tn_store_record_get(s, json_string_value(json_object_get(entry, "id")), &record, NULL) !=
                TN_OK)
                continue;
            row = k == 0 ? record : row_of(record, stage);
            bool useful = row != NULL && json_object_get(row, "root") != NULL;
            if (useful && (best == NULL || json_integer_value(json_object_get(record, "seq")) >
                                               json_integer_value(json_object_get(best, "seq")))) {
                json_decref(best);
                best = json_incref(record);
                best_row = row;
            }
            json_decref(record);
            if (useful) break; /* newest first */
        }
    if (best != NULL) {
        *out = json_incref(best_row);
        *from = json_deep_copy(json_object_get(best, "started"));
    }
    json_decref(best);
    json_decref(stages);
    json_decref(runs);
    return status;
}

tn_status tn_recipe_explain(tn_recipe *r, tn_store *s, const char *stage, json_t **out, tn_error *err)
{
    json_t       *why, *before = NULL, *from = NULL, *now;
    recipe_stage *st;

    *out = NULL;
    TN_TRY(recipe_want(r, stage, err));
    /* first: a quick stage is done while the sources are looked at */
    TN_TRY(last_row(r, s, stage, &before, &from, err));
    tn_status status = recipe_sources(r, s, err);
    if (status != TN_OK) {
        json_decref(before);
        json_decref(from);
        return status;
    }
    st = &r->stages[recipe_find(r, stage)];
    why = json_array();
    now = recipe_stage_json(st);
    if (before != NULL) compare_rows(why, before, now);
    for (size_t k = 0; k < st->n_ref; k++) { /* what is not known yet cannot be compared: say so */
        const recipe_stage *dep = st->refs[k].stage >= 0 ? &r->stages[st->refs[k].stage] : NULL;
        if (dep == NULL || dep->have_root) continue;
        const char *port = st->kind->inputs[st->refs[k].port].name;
        for (size_t i = json_array_size(why); i-- > 0;) { /* the missing root is no change by itself */
            const json_t *row = json_array_get(why, i);
            const char   *have = json_string_value(json_object_get(row, "what"));
            size_t        n = strlen(port);
            if (json_is_null(json_object_get(row, "now")) && tn_starts_with(have, "input '") &&
                strncmp(have + 7, port, n) == 0 && (have[7 + n] == '\'' || have[7 + n] == '.'))
                json_array_remove(why, i);
        }
        char *what = tn_strf("stage '%s', which gives '%s', will run first", dep->name, port);
        if (what != NULL) add(why, what, NULL, NULL);
        free(what);
    }
    if (!st->cached && json_array_size(why) == 0)
        add(why,
            before == NULL ? "it was never done in this store" : "its artifact is not in the store any more",
            NULL, NULL);
    *out = json_pack("{s:s,s:s,s:o,s:o}", "stage", stage, "state", st->cached ? "cached" : "will run", "why",
                     why, "compared_with", from != NULL ? from : json_null());
    json_decref(before);
    json_decref(now);
    return *out == NULL ? tn_fail(err, TN_NOMEM, "%s: no memory for an answer", r->path) : TN_OK;
}

/* --------------------------------------------------------------------------------------------------- diff */

static void diff_add(json_t *list, const char *stage, const char *what, const json_t *a, const json_t *b)
{
    json_t *row = json_pack("{s:s,s:s}", "stage", stage, "what", what);

    json_object_set(row, "a", a != NULL ? (json_t *)a : json_null());
    json_object_set(row, "b", b != NULL ? (json_t *)b : json_null());
    json_array_append_new(list, row);
}

static void diff_stage(json_t *list, const char *name, const json_t *a, const json_t *b)
{
    json_t *parts = json_array(), *part;
    size_t  i;

    compare_rows(parts, a, b);
    json_array_foreach(parts, i, part)
        diff_add(list, name, json_string_value(json_object_get(part, "what")),
                 json_object_get(part, "before"), json_object_get(part, "now"));
    if (!same(json_object_get(a, "root"), json_object_get(b, "root")))
        diff_add(list, name,
                 json_array_size(parts) > 0 ? "result" : "result, from the same inputs and parameters",
                 json_object_get(a, "root"), json_object_get(b, "root"));
    json_decref(parts);
}

/* A record with its rows; what a command did outside of a recipe is its own only row, named by its kind.
 * made. */
static json_t *with_rows(const json_t *record)
{
    json_t *copy = json_copy((json_t *)record), *row;

    if (copy == NULL || json_object_get(copy, "stages") != NULL || json_object_get(copy, "kind") == NULL)
        return copy;
    row = json_copy(copy);
    json_object_set(row, "name", json_object_get(copy, "kind"));
    json_object_set_new(copy, "stages", json_pack("[o]", row));
    return copy;
}

tn_status tn_run_diff(const json_t *first, const json_t *second, json_t **out, tn_error *err)
{
    json_t *list = json_array(), *row, *a = with_rows(first), *b = with_rows(second);
    size_t  i;

    json_array_foreach(json_object_get(b, "stages"), i, row) {
        const char   *name = json_string_value(json_object_get(row, "name"));
        const json_t *other = row_of(a, name);
        if (other == NULL)
            diff_add(list, name, "stage is only in the second run", NULL, json_object_get(row, "kind"));
        else diff_stage(list, name, other, row);
    }
    json_array_foreach(json_object_get(a, "stages"), i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (row_of(b, name) == NULL)
            diff_add(list, name, "stage is only in the first run", json_object_get(row, "kind"), NULL);
    }
    if (!same(json_object_get(a, "build"), json_object_get(b, "build")))
        diff_add(list, "", "build of the program", json_object_get(a, "build"), json_object_get(b, "build"));
    *out = json_pack("{s:b,s:o}", "same", json_array_size(list) == 0, "stages", list);
    json_decref(a);
    json_decref(b);
    return *out == NULL ? tn_fail(err, TN_NOMEM, "no memory for a comparison") : TN_OK;
}
