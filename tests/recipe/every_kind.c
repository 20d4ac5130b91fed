/* every_kind.c - see every_kind.h. */
#include "every_kind.h"

#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char      *every_kind_dir;
static char      dir[64];
static tn_store *store;

tn_store *every_kind_store(void) { return store; }

char *every_kind_at(const char *name)
{
    static char path[4][400];
    static int  turn;
    char       *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static bool give(const char *name)
{
    char *from = tn_path(every_kind_dir, name), *to = tn_path(every_kind_at("store/identity"), name);
    bool  ok = from != NULL && to != NULL && tn_file_clone(from, to, false, NULL) == TN_OK;

    free(from);
    free(to);
    return ok;
}

int every_kind_setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tenet-every-XXXXXX");
    if (mkdtemp(dir) == NULL || tn_store_open(&store, every_kind_at("store"), NULL) != TN_OK) return -1;
    return tn_mkdirs(every_kind_at("store/identity"), NULL) == TN_OK && give("lab.pem") && give("lab.pub.pem")
               ? 0
               : -1;
}

int every_kind_teardown(void **state)
{
    (void)state;
    tn_store_close(store);
    store = NULL;
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

tn_status every_kind_run(const char *path, const char *const *sets, const tn_run_options *o, json_t **record,
                         tn_error *err)
{
    static const tn_run_options none;
    const tn_recipe_options     ro = { .sets = sets };
    tn_recipe                  *r = NULL;
    char                       *own = path == NULL ? tn_path(every_kind_dir, "every-kind.yaml") : NULL;
    tn_status                   status = tn_recipe_load(&r, path != NULL ? path : own, &ro, err);

    if (record != NULL) *record = NULL;
    if (status == TN_OK) status = tn_recipe_run(r, store, o != NULL ? o : &none, record, err);
    tn_recipe_free(r);
    free(own);
    return status;
}

json_t *every_kind_row(const json_t *record, const char *stage)
{
    size_t  i;
    json_t *v;

    json_array_foreach(json_object_get(record, "stages"), i, v)
        if (strcmp(json_string_value(json_object_get(v, "name")), stage) == 0) return v;
    return NULL;
}
