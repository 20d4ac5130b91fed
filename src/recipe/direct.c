/* direct.c - what a command did by itself (tenet train, eval, redteam, export, convert, quantize): it computes always, in the folder
 * that it was given, and leaves the record that a stage of its kind would leave. So the ledger knows who ran what, recipe or not.
 *
 *   begin (clock, machine) ── the command's work ── end: parameters, roots of inputs and of what was made ──→ runs/ID.json */
#include "recipe/recipe_impl.h"

#include "base/str.h"
#include "base/thread.h"

#include <stdlib.h>

struct tn_direct { json_t *record; double start; };

tn_direct *tn_direct_begin(void)
{
    tn_direct *d = calloc(1, sizeof *d);

    if (d == NULL) return NULL;
    d->record = recipe_record_begin("stage");
    d->start = tn_now();
    return d;
}

void tn_direct_drop(tn_direct *d)
{
    if (d == NULL) return;
    json_decref(d->record);
    free(d);
}

static tn_status set_root(tn_store *s, json_t *o, const char *key, const char *path, tn_error *err)
{
    tn_digest root;
    char     *text;

    TN_TRY(recipe_source_root(s, path, &root, err));
    if ((text = tn_digest_text(&root)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a digest");
    json_object_set_new(o, key, json_string(text));
    free(text);
    return TN_OK;
}

tn_status tn_direct_end(tn_direct *d, tn_store *s, const tn_direct_what *w, tn_error *err)
{
    const tn_stage_kind *kind = tn_stage_find(tn_stage_kinds, w->kind);
    json_t              *inputs = json_object();
    tn_status            status = TN_OK;

    if (d == NULL || d->record == NULL || inputs == NULL || kind == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a record");
        goto out;
    }
    json_object_set_new(d->record, "seconds", json_real(tn_now() - d->start));
    for (const char *const *i = w->inputs; i[0] != NULL; i += 2)
        if (i[1] != NULL) TN_GOTO(set_root(s, inputs, i[0], i[1], err));
    TN_GOTO(set_root(s, d->record, "root", w->made, err));
    json_object_set_new(d->record, "stage", json_string(w->command));
    json_object_set_new(d->record, "kind", json_string(kind->name));
    json_object_set_new(d->record, "kind_version", json_integer(kind->version));
    json_object_set(d->record, "params", w->params);
    json_object_set_new(d->record, "profile", json_string(tn_profile_name(w->profile)));
    json_object_set(d->record, "inputs", inputs);
    json_object_set_new(d->record, "status", json_string("done"));
    status = tn_store_record(s, d->record, err);
out:
    json_decref(w->params);
    json_decref(inputs);
    tn_direct_drop(d);
    return status;
}
