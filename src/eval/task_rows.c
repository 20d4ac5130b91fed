/* task_rows.c - from a task's data_files to the rows it is asked over.
 *
 *   data_files: {test: [a/one.jsonl, b*.jsonl]}     the first pattern that finds files gives them all, by name
 *   --data DIR    patterns below DIR; if none finds files, their last parts directly in DIR; if these find none either, beside the task's file
 *   --data FILE   FILE is the tested split; other splits are sought beside it
 *
 *   dataset_path: ORG/NAME, dataset_name: PART      as tasks of the public harness say; the files are sought in --data DIR:
 *   DIR, DIR/NAME, DIR/ORG/NAME  ×  PART/, data/PART/, PART-, PART_ (without a part: "" and data/)  ×  SPLIT.jsonl, .json, .csv, SPLIT-*, SPLIT_*
 *   and last, for a folder of one part alone, DIR/SPLIT... */
#include "eval/task.h"
#include "base/file.h"
#include "base/str.h"
#include "eval/csv.h"

#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const tn_yaml *patterns_of(const tn_task *t, const char *split)
{
    for (int i = 0; i < t->n_file; i++) {
        const tn_yaml *files = tn_yaml_get(t->yaml[i], "data_files");
        if (files == NULL) files = tn_yaml_get(tn_yaml_get(t->yaml[i], "dataset_kwargs"), "data_files");
        /* one split: train */
        if (files != NULL && files->kind != TN_YAML_MAP) return strcmp(split, "train") == 0 ? files : NULL;
        const tn_yaml *v = tn_yaml_get(files, split);
        if (v != NULL) return v;
    }
    return NULL;
}

/* Files of DIR/pattern; letters of DIR that mean something in a pattern are escaped. */
static tn_status matches(glob_t *found, const char *dir, const char *pattern, tn_error *err)
{
    tn_str    s = { 0 };
    tn_status status = TN_OK;

    for (const char *p = pattern[0] == '/' ? "" : dir; *p != '\0'; p++) {
        if (strchr("*?[]\\", *p) != NULL) tn_str_add_char(&s, '\\');
        tn_str_add_char(&s, *p);
    }
    tn_str_addf(&s, pattern[0] == '/' ? "%s" : "/%s", pattern);
    TN_GOTO(tn_str_check(&s, err));
    int r = glob(s.p, 0, NULL, found);
    if (r == GLOB_NOSPACE) status = tn_fail(err, TN_NOMEM, "no memory to list %s", s.p);
    if (r != 0) found->gl_pathc = 0;
out:
    tn_str_free(&s);
    return status;
}

static const char *group_of(const tn_task *t, const json_t *row)
{
    const char *g = json_string_value(json_object_get(row, t->group_by));

    return g != NULL ? g : "";
}

/* raw: without process_docs. A row of another group than the task asks for is left out. */
static tn_status doc_add(tn_docs *d, const tn_task *t, const json_t *row, bool raw, const char *where,
                         tn_error *err)
{
    tn_doc    doc = { .where = tn_strdup(where) };
    char     *text = tn_json_text(row);
    tn_status status = TN_OK;

    if (d->n == d->cap) {
        size_t  cap = d->cap == 0 ? 256 : 2 * d->cap;
        tn_doc *list = realloc(d->list, cap * sizeof *list);
        if (list != NULL) {
            d->list = list;
            d->cap = cap;
        }
    }
    if (doc.where == NULL || text == NULL || d->n == d->cap) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a row", where);
        goto out;
    }
    if (!json_is_object(row)) {
        status = tn_fail(err, TN_FORMAT, "%s: a row must be an object", where);
        goto out;
    }
    doc.id = tn_sha256_of(text, strlen(text));
    if (raw) doc.row = json_incref((json_t *)row);
    else if (t->process != NULL) TN_GOTO(t->process(&doc.row, row, where, err));
    else doc.row = json_incref((json_t *)row);
    if (t->only != NULL && strcmp(group_of(t, doc.row), t->only) != 0) goto out;
    d->list[d->n++] = doc;
    doc = (tn_doc){ 0 };
out:
    free(text);
    free(doc.where);
    json_decref(doc.row);
    return status;
}

static tn_status csv_read(tn_docs *d, const tn_task *t, const char *path, int64_t limit, tn_error *err)
{
    tn_csv   *c = NULL;
    json_t   *row = NULL;
    int64_t   line = 0;
    char      where[512];
    tn_status status = TN_OK;

    TN_GOTO(tn_csv_open(&c, path, err));
    while (limit == 0 || (int64_t)d->n < limit) {
        TN_GOTO(tn_csv_next(c, &row, &line, err));
        if (row == NULL) break;
        snprintf(where, sizeof where, "%s:%" PRId64, path, line);
        TN_GOTO(doc_add(d, t, row, false, where, err));
        json_decref(row);
        row = NULL;
    }
out:
    json_decref(row);
    tn_csv_close(c);
    return status;
}

static tn_status file_read(tn_docs *d, const tn_task *t, const char *path, int64_t limit, tn_error *err)
{
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    tn_status status = TN_OK;

    if (tn_ends_with(path, ".csv")) return csv_read(d, t, path, limit, err);
    TN_GOTO(tn_jsonl_open(&r, path, err));
    while (limit == 0 || (int64_t)d->n < limit) {
        char where[512];
        TN_GOTO(tn_jsonl_next(r, &row, err));
        if (row == NULL) break;
        snprintf(where, sizeof where, "%s:%" PRId64, path, tn_jsonl_line(r));
        TN_GOTO(doc_add(d, t, row, false, where, err));
        json_decref(row);
        row = NULL;
    }
out:
    json_decref(row);
    tn_jsonl_close(r);
    return status;
}

/* Files of one pattern; last: its last part alone, directly in dir. */
static tn_status pattern_read(tn_docs *d, const tn_task *t, const char *dir, const char *pattern, bool last,
                              int64_t limit, tn_error *err)
{
    const char *slash = strrchr(pattern, '/');
    glob_t      found = { 0 };
    tn_status   status = TN_OK;

    if (last && (slash == NULL || pattern[0] == '/')) return TN_OK;
    TN_GOTO(matches(&found, dir, last ? slash + 1 : pattern, err));
    for (size_t i = 0; i < found.gl_pathc; i++) TN_GOTO(file_read(d, t, found.gl_pathv[i], limit, err));
out:
    globfree(&found);
    return status;
}

/* The first pattern that finds files; when none does, dir may be a pattern's own folder, so the last parts
 * are tried in it. */
static tn_status patterns_read(tn_docs *d, const tn_task *t, const char *dir, const tn_yaml *p, int64_t limit,
                               tn_error *err)
{
    size_t n = p->kind == TN_YAML_SCALAR ? 1 : p->n;

    for (int last = 0; last < 2; last++)
        for (size_t i = 0; i < n && d->n == 0; i++) {
            const tn_yaml *one = p->kind == TN_YAML_SCALAR ? p : p->items[i];
            if (one->kind == TN_YAML_SCALAR)
                TN_TRY(pattern_read(d, t, dir, one->text, last == 1, limit, err));
        }
    return TN_OK;
}

/* SPLIT.jsonl and its like behind `lead` ("arc/ARC-Easy/"): the first form that finds files. */
static tn_status forms_read(tn_docs *d, const tn_task *t, const char *dir, const char *lead,
                            const char *split, int64_t limit, tn_error *err)
{
    static const char *const ends[] = { "", "-*", "_*" }, *const kinds[] = { ".jsonl", ".jsonl.gz",
                                                                             ".jsonl.zst", ".json", ".csv" };

    for (size_t e = 0; e < sizeof ends / sizeof *ends; e++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds && d->n == 0; k++) {
            char *pattern = tn_strf("%s%s%s%s", lead, split, ends[e], kinds[k]);
            if (pattern == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
            tn_status status = pattern_read(d, t, dir, pattern, false, limit, err);
            free(pattern);
            TN_TRY(status);
        }
    return TN_OK;
}

/* A set that the task names as on the hub. Files of another part of it are never taken. */
static tn_status set_read(tn_docs *d, const tn_task *t, const char *dir, const char *split, int64_t limit,
                          tn_error *err)
{
    static const char *const        with_part[] = { "%s%s/", "%sdata/%s/", "%s%s-", "%s%s_", NULL },
                             *const whole[] = { "%s%s", "%sdata/%s", NULL };
    const char *slash = strrchr(t->set, '/'), *const *forms = t->set_part != NULL ? with_part : whole;
    char       *bases[3] = { tn_strdup(""), tn_strf("%s/", slash != NULL ? slash + 1 : t->set),
                             tn_strf("%s/", t->set) };
    tn_status   status = TN_OK;

    for (size_t b = 0; b < 3 && status == TN_OK; b++)
        for (size_t f = 0; forms[f] != NULL && d->n == 0 && status == TN_OK; f++) {
            tn_str lead = { 0 };
            /* the first %s: base; the second: part */
            for (const char *p = forms[f], *arg = bases[b]; *p != '\0'; p++) {
                if (p[0] != '%') {
                    tn_str_add_char(&lead, *p);
                    continue;
                }
                tn_str_add(&lead, arg != NULL ? arg : "");
                arg = t->set_part;
                p++;
            }
            status = tn_str_check(&lead, err);
            if (status == TN_OK)
                status = forms_read(d, t, dir, lead.p != NULL ? lead.p : "", split, limit, err);
            tn_str_free(&lead);
        }
    if (status == TN_OK && d->n == 0 && t->set_part != NULL)
        status = forms_read(d, t, dir, "", split, limit, err);
    for (size_t b = 0; b < 3; b++) free(bases[b]);
    return status;
}

static tn_status no_rows(const tn_task *t, const char *split, const char *dir, const char *data,
                         tn_error *err)
{
    if (t->set == NULL || patterns_of(t, split) != NULL)
        return tn_fail(err, TN_NOTFOUND,
                       "task %s: no rows of split \"%s\" %s %s (data_files of %s name the files); give "
                       "--data DIR or FILE",
                       t->name, split, dir != NULL ? "below" : "in", dir != NULL ? dir : data, t->path[0]);
    return tn_fail(err, TN_NOTFOUND,
                   "task %s: no rows of split \"%s\" %s %s: its set is %s%s%s; give --data FILE, or --data "
                   "DIR with %s%s%s.jsonl (or .csv) in it, "
                   "or a set in the store (`tenet pull hf:datasets/%s`)",
                   t->name, split, dir != NULL ? "below" : "in", dir != NULL ? dir : data, t->set,
                   t->set_part != NULL ? ", part " : "", t->set_part != NULL ? t->set_part : "",
                   t->set_part != NULL ? t->set_part : "", t->set_part != NULL ? "/" : "", split, t->set);
}

static void docs_hash(tn_docs *d)
{
    tn_sha256 *h;

    if (tn_sha256_create(&h, NULL) != TN_OK) return;
    for (size_t i = 0; i < d->n; i++) tn_sha256_update(h, d->list[i].id.b, TN_SHA256_BYTES);
    tn_sha256_final(h, &d->digest);
    tn_sha256_destroy(h);
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? tn_strdup(".") : tn_strndup(path, (size_t)(slash - path));
}

tn_status tn_task_docs(const tn_task *t, const char *split, const char *data, int64_t limit, bool optional,
                       tn_docs *out, tn_error *err)
{
    const tn_yaml *p = patterns_of(t, split);
    char          *dir = NULL;
    tn_status      status = TN_OK;

    *out = (tn_docs){ 0 };
    if (data != NULL && !tn_exists(data))
        return tn_fail(err, TN_NOTFOUND, "--data %s: there is no such file or folder", data);
    if (data != NULL && !tn_is_dir(data) && strcmp(split, t->split) == 0) {
        TN_GOTO(file_read(out, t, data, limit, err));
    } else {
        dir = data == NULL ? folder_of(t->path[0]) : tn_is_dir(data) ? tn_strdup(data) : folder_of(data);
        if (dir == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
        bool listed = p != NULL && p->kind != TN_YAML_MAP;
        if (listed) TN_GOTO(patterns_read(out, t, dir, p, limit, err));
        else if (t->set != NULL) TN_GOTO(set_read(out, t, dir, split, limit, err));
        /* a set that is shipped with its task */
        if (listed && out->n == 0 && data != NULL && tn_is_dir(data)) {
            char *home = folder_of(t->path[0]);
            if (home == NULL) {
                status = tn_fail(err, TN_NOMEM, "no memory for a path");
                goto out;
            }
            status = patterns_read(out, t, home, p, limit, err);
            free(home);
            if (status != TN_OK) goto out;
        }
    }
    if (out->n == 0 && !optional) status = no_rows(t, split, dir, data, err);
    docs_hash(out);
out:
    free(dir);
    if (status != TN_OK) tn_docs_free(out);
    return status;
}

/* A row written in YAML: texts, lists of texts; whole numbers become numbers unless quoted. */
static json_t *row_of_yaml(const tn_yaml *y)
{
    int64_t n;
    json_t *v;

    if (y->kind == TN_YAML_SCALAR)
        return !y->quoted && tn_parse_i64(y->text, &n) ? json_integer(n) : json_string(y->text);
    v = y->kind == TN_YAML_SEQ ? json_array() : json_object();
    for (size_t i = 0; i < y->n; i++) {
        if (y->kind == TN_YAML_SEQ) json_array_append_new(v, row_of_yaml(y->items[i]));
        else json_object_set_new(v, y->keys[i], row_of_yaml(y->items[i]));
    }
    return v;
}

tn_status tn_task_samples(const tn_task *t, tn_docs *out, tn_error *err)
{
    tn_status status = TN_OK;

    *out = (tn_docs){ 0 };
    for (size_t i = 0; t->samples != NULL && i < t->samples->n && status == TN_OK; i++) {
        char    where[512];
        json_t *row = row_of_yaml(t->samples->items[i]);
        snprintf(where, sizeof where, "%s:%d", t->path[0], t->samples->items[i]->line);
        status = doc_add(out, t, row, true, where, err);
        json_decref(row);
    }
    docs_hash(out);
    if (status != TN_OK) tn_docs_free(out);
    return status;
}

void tn_docs_free(tn_docs *d)
{
    for (size_t i = 0; i < d->n; i++) {
        json_decref(d->list[i].row);
        free(d->list[i].where);
    }
    free(d->list);
    *d = (tn_docs){ 0 };
}
