/* csv.c - CSV as RFC 4180 has it: fields in double quotes may hold commas, line ends and doubled quotes. */
#include "eval/csv.h"
#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 30, MAX_COLUMNS = 1000 };

struct tn_csv {
    char       *path, *text;
    const char *p, *end;
    int64_t     line;
    json_t     *columns;
};

/* One field; *last: a line end or the end of the file followed it. */
static tn_status field(tn_csv *c, json_t **out, bool *last, tn_error *err)
{
    tn_str  s = { 0 };
    bool    quoted = c->p < c->end && *c->p == '"';
    int64_t begin = c->line;

    c->p += quoted;
    for (;; c->p++) {
        if (c->p == c->end) {
            if (!quoted) break;
            tn_str_free(&s);
            return tn_fail(err, TN_FORMAT, "%s:%lld: a quote that opens here is not closed", c->path,
                           (long long)begin);
        }
        if (quoted && *c->p == '"') {
            c->p++;
            if (c->p == c->end || *c->p != '"') break;
        } else if (!quoted && (*c->p == ',' || *c->p == '\n' || *c->p == '\r')) {
            break;
        }
        c->line += *c->p == '\n';
        tn_str_add_char(&s, *c->p);
    }
    if (c->p < c->end && *c->p == '\r') c->p++;
    *last = c->p == c->end || *c->p == '\n';
    if (c->p < c->end && *c->p != ',' && *c->p != '\n') {
        tn_str_free(&s);
        return tn_fail(err, TN_FORMAT, "%s:%lld: something stands after a closing quote", c->path,
                       (long long)c->line);
    }
    if (c->p < c->end) c->line += *c->p++ == '\n';
    *out = json_stringn(s.p != NULL ? s.p : "", s.len);
    tn_str_free(&s);
    return *out != NULL
               ? TN_OK
               : tn_fail(err, TN_FORMAT, "%s:%lld: the text is not UTF-8", c->path, (long long)begin);
}

static tn_status record(tn_csv *c, json_t **out, tn_error *err)
{
    json_t *list = json_array(), *v = NULL;
    bool    last = false;

    while (!last) {
        tn_status s = field(c, &v, &last, err);
        if (s == TN_OK && (json_array_append_new(list, v) != 0 || json_array_size(list) > MAX_COLUMNS))
            s = tn_fail(err, TN_LIMIT, "%s:%lld: more than %d columns", c->path, (long long)c->line,
                        MAX_COLUMNS);
        if (s != TN_OK) {
            json_decref(list);
            return s;
        }
    }
    *out = list;
    return TN_OK;
}

tn_status tn_csv_open(tn_csv **out, const char *path, tn_error *err)
{
    tn_csv   *c = calloc(1, sizeof *c);
    size_t    n = 0;
    tn_status status = TN_OK;

    *out = NULL;
    if (c == NULL || (c->path = tn_strdup(path)) == NULL) {
        tn_csv_close(c);
        return tn_fail(err, TN_NOMEM, "%s: no memory", path);
    }
    TN_GOTO(tn_file_read_all(&c->text, &n, path, MAX_BYTES, err));
    c->p = c->text + (n >= 3 && memcmp(c->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    c->end = c->text + n;
    c->line = 1;
    if (c->p == c->end) {
        status = tn_fail(err, TN_FORMAT,
                         "%s: the file is empty: a first line with the columns' names is expected", path);
        goto out;
    }
    TN_GOTO(record(c, &c->columns, err));
    *out = c;
    c = NULL;
out:
    tn_csv_close(c);
    return status;
}

tn_status tn_csv_next(tn_csv *c, json_t **row, int64_t *line, tn_error *err)
{
    json_t *list = NULL;

    *row = NULL;
    while (c->p < c->end && (*c->p == '\n' || *c->p == '\r')) c->line += *c->p++ == '\n';
    if (c->p == c->end) return TN_OK;
    *line = c->line;
    TN_TRY(record(c, &list, err));
    size_t n = json_array_size(list), want = json_array_size(c->columns);
    if (n != want) {
        json_decref(list);
        return tn_fail(err, TN_FORMAT, "%s:%lld: %zu fields, the first line names %zu columns", c->path,
                       (long long)*line, n, want);
    }
    *row = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set(*row, json_string_value(json_array_get(c->columns, i)), json_array_get(list, i));
    json_decref(list);
    return TN_OK;
}

void tn_csv_close(tn_csv *c)
{
    if (c == NULL) return;
    json_decref(c->columns);
    free(c->text);
    free(c->path);
    free(c);
}
