/* changes.c - what is different from the last time, in the words of what the stages work on: principles and
 * rows.
 *
 *   constitution   the charter that the recipe names now, against the one of its newest run
 *   rows           what a quick stage made now, against its newest artifact: ids whose row is not the same in any .jsonl file */
#include "recipe/recipe_impl.h"

#include "base/file.h"
#include "base/str.h"
#include "constitution/constitution.h"

#include <stdlib.h>
#include <string.h>

enum { RUNS_LOOKED_AT = 20 };

/* --------------------------------------------------------------------------------------------- principles */

static const recipe_ref *charter_ref(const tn_recipe *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->stages[i].n_ref; k++) {
            const recipe_ref *ref = &r->stages[i].refs[k];
            if (r->stages[i].wanted && ref->stage < 0 && ref->have_root &&
                strcmp(r->stages[i].kind->inputs[ref->port].name, "constitution") == 0)
                return ref;
        }
    return NULL;
}

/* The charter of the newest run of this recipe; false if there is none in its records. */
static bool charter_before(tn_recipe *r, tn_store *s, tn_digest *out)
{
    json_t *runs = NULL, *entry, *st;
    size_t  i, k;
    bool    found = false;

    if (tn_store_log(s, "run", r->name, NULL, RUNS_LOOKED_AT, &runs, NULL) != TN_OK) return false;
    json_array_foreach(runs, i, entry) {
        json_t *record = NULL;
        if (found) break;
        if (tn_store_record_get(s, json_string_value(json_object_get(entry, "id")), &record, NULL) != TN_OK)
            continue;
        json_array_foreach(json_object_get(record, "stages"), k, st) {
            const char *root = json_string_value(
                json_object_get(json_object_get(st, "inputs"), "constitution"));
            const char *from = json_string_value(
                json_object_get(json_object_get(st, "from"), "constitution"));
            if (root == NULL || from == NULL || recipe_find(r, from) >= 0) continue; /* a source, as now */
            if (!found) found = strlen(root) == 71 && tn_unhex(out, root + 7);
        }
        json_decref(record);
    }
    json_decref(runs);
    return found;
}

json_t *recipe_charter_changes(tn_recipe *r, tn_store *s)
{
    static const char *const words[] = { "added", "removed", "changed" };
    const recipe_ref        *now = charter_ref(r);
    tn_constitution         *a = NULL, *b = NULL;
    tn_change               *changes = NULL;
    tn_digest                before;
    size_t                   n = 0;
    char                    *path_a = NULL, *path_b = NULL;
    json_t                  *list = NULL;

    if (now == NULL || !charter_before(r, s, &before) || tn_digest_equal(&before, &now->root)) return NULL;
    if (tn_store_path(s, &before, &path_a, NULL) != TN_OK) return NULL;
    if (now->path != NULL) path_b = tn_strdup(now->path);
    else tn_store_path(s, &now->root, &path_b, NULL);
    if (path_b != NULL && tn_constitution_load(&a, path_a, NULL) == TN_OK &&
        tn_constitution_load(&b, path_b, NULL) == TN_OK &&
        tn_constitution_diff(a, b, &changes, &n, NULL) == TN_OK) {
        list = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "id", changes[i].id, "change",
                                                  words[changes[i].kind], "fields", changes[i].fields));
    }
    tn_changes_free(changes, n);
    tn_constitution_free(a);
    tn_constitution_free(b);
    free(path_a);
    free(path_b);
    return list;
}

/* --------------------------------------------------------------------------------------------------- rows */

/* Rows of one file into {id: {canonical text: true}}; a row without "id" goes by its number. false:
 * unreadable. */
static bool rows_into(json_t *by_id, const char *path, const char *name)
{
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    bool      ok = tn_jsonl_open(&r, path, NULL) == TN_OK;

    while (ok && (ok = tn_jsonl_next(r, &row, NULL) == TN_OK) && row != NULL) {
        const char *id = json_string_value(json_object_get(row, "id"));
        char       *text = tn_json_text(row);
        char       *mine = id != NULL ? tn_strdup(id) : tn_strf("%s:%lld", name, (long long)tn_jsonl_line(r));
        char       *entry = text == NULL ? NULL : tn_strf("%s %s", name, text);
        ok = entry != NULL && mine != NULL;
        if (ok && json_object_get(by_id, mine) == NULL) json_object_set_new(by_id, mine, json_object());
        if (ok) json_object_set_new(json_object_get(by_id, mine), entry, json_true());
        free(text);
        free(mine);
        free(entry);
        json_decref(row);
    }
    tn_jsonl_close(r);
    return ok;
}

static json_t *rows_of(const char *dir)
{
    char  **names = NULL;
    size_t  n = 0;
    json_t *by_id = json_object();

    if (!tn_is_dir(dir) || tn_list_files(&names, &n, dir, NULL) != TN_OK) return by_id;
    for (size_t i = 0; i < n; i++) {
        char *path = tn_ends_with(names[i], ".jsonl") ? tn_path(dir, names[i]) : NULL;
        if (path != NULL && !rows_into(by_id, path, names[i])) json_object_clear(by_id);
        free(path);
    }
    tn_list_free(names, n);
    return by_id;
}

/* The newest artifact of this stage of this recipe that is not the one of now. */
static char *artifact_before(tn_recipe *r, tn_store *s, const recipe_stage *st)
{
    json_t *rows = NULL, *row;
    size_t  i;
    char   *path = NULL;

    if (tn_store_log(s, "stage", r->name, st->name, RUNS_LOOKED_AT, &rows, NULL) != TN_OK) return NULL;
    json_array_foreach(rows, i, row) {
        const char *root = json_string_value(json_object_get(row, "root"));
        tn_digest   d;
        if (path != NULL || root == NULL || strlen(root) != 71 || !tn_unhex(&d, root + 7) ||
            tn_digest_equal(&d, &st->root))
            continue;
        if (tn_store_path(s, &d, &path, NULL) != TN_OK) path = NULL;
    }
    json_decref(rows);
    return path;
}

bool recipe_changed_rows(tn_recipe *r, tn_store *s, const recipe_stage *st, int64_t *n, int64_t *changed)
{
    char       *before = artifact_before(r, s, st), *now = NULL;
    json_t     *a, *b, *v;
    const char *id;

    *n = *changed = 0;
    if (before == NULL || tn_store_path(s, &st->root, &now, NULL) != TN_OK) {
        free(before);
        return false;
    }
    a = rows_of(before);
    b = rows_of(now);
    json_object_foreach(b, id, v) {
        ++*n;
        *changed += !json_equal(json_object_get(a, id), v);
    }
    json_decref(a);
    json_decref(b);
    free(before);
    free(now);
    return *n > 0;
}
