/* rows.c - JSONL files of stages (see rows.h). */
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

tn_status tn_row_file_open(tn_row_file *r, const char *dir, const char *name, tn_error *err)
{
    TN_TRY(tn_mkdirs(dir, err));
    char *path = tn_path(dir, name);
    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    tn_status status = tn_out_open(&r->out, path, err);
    free(path);
    return status;
}

tn_status tn_row_file_add(tn_row_file *r, json_t *row, tn_error *err)
{
    char     *text = row != NULL ? tn_json_text(row) : NULL;
    tn_status status = text != NULL
                           ? tn_out_printf(r->out, err, "%s\n", text)
                           : tn_fail(err, TN_NOMEM, "no memory for a row, or text that is not UTF-8");

    free(text);
    json_decref(row);
    return status;
}

tn_status tn_row_file_commit(tn_row_file *r, tn_error *err)
{
    tn_out *o = r->out;

    r->out = NULL;
    return tn_out_commit(o, err);
}

void tn_row_file_abandon(tn_row_file *r)
{
    tn_out_abandon(r->out);
    r->out = NULL;
}

tn_status tn_row_files_open(tn_row_file *const *files, const char *dir, const char *const *names,
                            tn_error *err)
{
    for (; *files != NULL; files++, names++) TN_TRY(tn_row_file_open(*files, dir, *names, err));
    return TN_OK;
}

tn_status tn_row_files_commit(tn_row_file *const *files, tn_error *err)
{
    for (; *files != NULL; files++) TN_TRY(tn_row_file_commit(*files, err));
    return TN_OK;
}

void tn_row_files_abandon(tn_row_file *const *files)
{
    for (; *files != NULL; files++) tn_row_file_abandon(*files);
}

size_t tn_align_messages(tn_message out[2], const tn_align_sampling *s, const char *text)
{
    size_t n = 0;

    if (s->system != NULL && s->system[0] != '\0') out[n++] = (tn_message){ "system", s->system };
    out[n++] = (tn_message){ "user", text };
    return n;
}

tn_status tn_row_map_load(tn_row_map *m, const char *dir_or_file, const char *name, tn_error *err)
{
    tn_status status = TN_OK;
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    char     *path = tn_is_dir(dir_or_file) ? tn_path(dir_or_file, name) : tn_strdup(dir_or_file);

    m->by_id = json_object();
    m->list = json_array();
    if (path == NULL || m->by_id == NULL || m->list == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its rows", dir_or_file);
        goto out;
    }
    TN_GOTO(tn_jsonl_open(&r, path, err));
    TN_GOTO(tn_jsonl_next(r, &row, err));
    while (row != NULL) {
        const char *id = tn_row_text(row, "id");
        if (id == NULL) {
            status = tn_fail(err, TN_FORMAT, "%s:%lld: a row without \"id\"", path,
                             (long long)tn_jsonl_line(r));
            goto out;
        }
        if (json_object_set(m->by_id, id, row) != 0 || json_array_append_new(m->list, row) != 0) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for its rows", path);
            goto out;
        }
        TN_GOTO(tn_jsonl_next(r, &row, err));
    }
out:
    tn_jsonl_close(r);
    free(path);
    if (status != TN_OK) tn_row_map_free(m);
    return status;
}

const json_t *tn_row_map_get(const tn_row_map *m, const char *id)
{
    return m->by_id != NULL ? json_object_get(m->by_id, id) : NULL;
}

const char *tn_row_text(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

int64_t tn_words(const char *s)
{
    int64_t n = 0;

    for (s += strspn(s, " \n\t\r"); *s != '\0'; s += strspn(s, " \n\t\r"), n++) s += strcspn(s, " \n\t\r");
    return n;
}

void tn_row_map_free(tn_row_map *m)
{
    json_decref(m->by_id);
    json_decref(m->list);
    *m = (tn_row_map){ 0 };
}
