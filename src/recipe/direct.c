/* direct.c - what a command did by itself (tenet train, eval, redteam, export, convert, quantize): it
 * computes always, in the folder that it was given, and leaves the record that a stage of its kind would
 * leave. So the ledger knows who ran what, recipe or not.
 *
 *   begin (clock, machine) ── the command's work ── end: parameters, roots of inputs and of what was made ──→ runs/ID.json */
#include "recipe/recipe_impl.h"

#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

struct tn_direct {
    json_t         *record;
    double          start;
    struct timespec clock;
};

tn_direct *tn_direct_begin(void)
{
    tn_direct *d = calloc(1, sizeof *d);

    if (d == NULL) return NULL;
    clock_gettime(CLOCK_REALTIME, &d->clock);
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

/* One input. The command read it some time ago: where it may be another by now, or cannot be named by a
 * digest (it is gone, it holds a link), the record says so in the digest's place under `unnamed`, rather than
 * naming what was not read. */
static void set_input(tn_direct *d, tn_store *s, const tn_direct_what *w, json_t *inputs, const char *key,
                      const char *path)
{
    struct timespec now;
    bool            touched = false;
    tn_error        why;
    tn_status       status = set_root(s, inputs, key, path, &why);

    clock_gettime(CLOCK_REALTIME, &now);
    if (status == TN_OK && (w->own == NULL || !tn_starts_with(path, w->own)))
        status = recipe_source_touched(path, &d->clock, &now, &touched, &why);
    if (status == TN_OK && touched)
        status = tn_fail(&why, TN_MISMATCH, "%s: was changed while the command ran", path);
    if (status == TN_OK) return;
    tn_log(TN_LOG_WARN, "the record of this %s does not name its input %s: %s", w->command, key, why.msg);
    json_object_del(inputs, key);
    json_t *unnamed = json_object_get(d->record, "unnamed");
    if (unnamed == NULL) json_object_set_new(d->record, "unnamed", unnamed = json_object());
    json_object_set_new(unnamed, key, tn_json_name(why.msg));
}

/* The inputs of one port: `value` is one path, or a comma list where the kind takes many, which become
 * data.0, data.1, ... as the records of stages have them. */
static tn_status set_port(tn_direct *d, tn_store *s, const tn_direct_what *w, const tn_stage_kind *kind,
                          json_t *inputs, const char *port, const char *value, tn_error *err)
{
    const tn_stage_port *p = kind->inputs;
    const char          *item;
    size_t               n = 0, len;

    while (p->name != NULL && strcmp(p->name, port) != 0) p++;
    if (p->name == NULL || !p->many) {
        set_input(d, s, w, inputs, port, value);
        return TN_OK;
    }
    while (tn_list_next(&value, &item, &len)) {
        char *path = tn_strndup(item, len), *key = tn_strf("%s.%zu", port, n++);
        bool  made = path != NULL && key != NULL;
        if (made) set_input(d, s, w, inputs, key, path);
        free(path);
        free(key);
        if (!made) return tn_fail(err, TN_NOMEM, "no memory for the name of an input");
    }
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
        if (i[1] != NULL) TN_GOTO(set_port(d, s, w, kind, inputs, i[0], i[1], err));
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
