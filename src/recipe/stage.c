/* stage.c - finding a kind by name, and a stage's inputs by port. */
#include "recipe/stage.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

const tn_stage_kind *tn_stage_find(const tn_stage_kind *const *kinds, const char *name)
{
    for (; *kinds != NULL; kinds++)
        if (strcmp((*kinds)->name, name) == 0) return *kinds;
    return NULL;
}

static int port_index(const tn_stage_kind *kind, const char *port)
{
    for (int i = 0; kind->inputs[i].name != NULL; i++)
        if (strcmp(kind->inputs[i].name, port) == 0) return i;
    tn_bug("stage kind %s has no input '%s'", kind->name, port);
}

size_t tn_stage_many(const tn_stage_run *r, const tn_stage_kind *kind, const char *port, const char **paths,
                     const char **labels)
{
    int    want = port_index(kind, port);
    size_t n = 0;

    for (size_t i = 0; i < r->n_all; i++) {
        if (r->all[i].port != want) continue;
        if (paths != NULL) paths[n] = r->all[i].path;
        if (labels != NULL) labels[n] = r->all[i].label;
        n++;
    }
    return n;
}

const char *tn_stage_path(const tn_stage_run *r, const tn_stage_kind *kind, const char *port)
{
    int want = port_index(kind, port);

    for (size_t i = 0; i < r->n_all; i++)
        if (r->all[i].port == want) return r->all[i].path;
    return NULL;
}

bool tn_stage_root(const tn_stage_run *r, const tn_stage_kind *kind, const char *port, tn_digest *out)
{
    int want = port_index(kind, port);

    for (size_t i = 0; i < r->n_all; i++)
        if (r->all[i].port == want) {
            *out = r->all[i].root;
            return true;
        }
    return false;
}

tn_status tn_stage_keep(const char *from, const char *to, const char *const *names, tn_error *err)
{
    TN_TRY(tn_mkdirs(to, err));
    for (; *names != NULL; names++) {
        char     *a = tn_path(from, *names), *b = tn_path(to, *names);
        tn_status status = a == NULL || b == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path")
                                                  : tn_file_clone(a, b, false, err);
        free(a);
        free(b);
        TN_TRY(status);
    }
    return TN_OK;
}
