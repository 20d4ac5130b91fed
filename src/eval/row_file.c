/* row_file.c - rows of the public sets as they come: RFC 4180 CSV (quotes, doubled quotes, line ends inside)
 * and JSON Lines; and lines of text. */
#include "eval/row_file.h"
#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 64 << 20, MAX_COLUMNS = 256 };

typedef struct csv {
    const char *p, *path;
    int64_t     line;
} csv;

/* One field; *last: it ends its row. */
static tn_status field_read(csv *c, char **out, bool *last, tn_error *err)
{
    tn_str  s = { 0 };
    int64_t begun = c->line;
    bool    quoted = *c->p == '"';

    if (quoted) c->p++;
    for (;; c->p++) {
        if (*c->p == '\0' && quoted) {
            tn_str_free(&s);
            return tn_fail(err, TN_FORMAT, "%s:%lld: a quoted field is not closed", c->path,
                           (long long)begun);
        }
        if (*c->p == '\0' || (!quoted && (*c->p == ',' || *c->p == '\n'))) break;
        if (*c->p == '\n') c->line++;
        if (quoted && *c->p == '"') {
            if (c->p[1] != '"') {
                quoted = false;
                continue;
            }
            c->p++;
        }
        if (quoted || *c->p != '\r' || c->p[1] != '\n') tn_str_add_char(&s, *c->p);
    }
    *last = *c->p != ',';
    if (*c->p == '\n') c->line++;
    if (*c->p != '\0') c->p++;
    *out = tn_str_take(&s);
    tn_str_free(&s);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for a field", c->path);
}

static tn_status row_read(csv *c, char **fields, size_t *n, tn_error *err)
{
    *n = 0;
    for (bool last = false; !last;) {
        if (*n == MAX_COLUMNS)
            return tn_fail(err, TN_LIMIT, "%s:%lld: more than %d columns", c->path, (long long)c->line,
                           MAX_COLUMNS);
        TN_TRY(field_read(c, &fields[*n], &last, err));
        (*n)++;
    }
    return TN_OK;
}

static void fields_free(char **f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(f[i]);
        f[i] = NULL;
    }
}

static tn_status csv_load(json_t *rows, const char *text, const char *path, tn_error *err)
{
    csv       c = { tn_starts_with(text, "\xef\xbb\xbf") ? text + 3 : text, path, 1 };
    char     *head[MAX_COLUMNS] = { 0 }, *f[MAX_COLUMNS] = { 0 };
    size_t    n_head = 0, n = 0;
    tn_status status = TN_OK;

    TN_GOTO(row_read(&c, head, &n_head, err));
    while (*c.p != '\0') {
        int64_t line = c.line;
        TN_GOTO(row_read(&c, f, &n, err));
        if (n == 1 && f[0][0] == '\0') {
            fields_free(f, n);
            n = 0;
            continue;
        }
        if (n != n_head) {
            status = tn_fail(err, TN_FORMAT, "%s:%lld: %zu columns, but the header has %zu", path,
                             (long long)line, n, n_head);
            goto out;
        }
        json_t *row = json_pack("{s:I}", "@line", (json_int_t)line);
        for (size_t i = 0; i < n; i++)
            if (json_object_set_new(row, head[i], json_string(f[i])) != 0) {
                json_decref(row);
                status = tn_fail(err, TN_FORMAT, "%s:%lld: column %zu is not UTF-8", path, (long long)line,
                                 i + 1);
                goto out;
            }
        json_array_append_new(rows, row);
        fields_free(f, n);
        n = 0;
    }
out:
    fields_free(head, n_head);
    fields_free(f, n);
    return status;
}

/* A .txt: each line that is not blank is a row's "prompt". */
static tn_status text_load(json_t *rows, char *text, const char *path, tn_error *err)
{
    char *next = tn_starts_with(text, "\xef\xbb\xbf") ? text + 3 : text;

    for (int64_t line = 1; next != NULL; line++) {
        char *at = next;
        if ((next = strchr(at, '\n')) != NULL) *next++ = '\0';
        at += strspn(at, " \t\r");
        for (size_t n = strlen(at); n > 0 && strchr(" \t\r", at[n - 1]) != NULL; n--) at[n - 1] = '\0';
        if (at[0] == '\0') continue;
        json_t *row = json_pack("{s:I, s:s}", "@line", (json_int_t)line, "prompt", at);
        if (row == NULL)
            return tn_fail(err, TN_FORMAT, "%s:%lld: the line is not UTF-8", path, (long long)line);
        json_array_append_new(rows, row);
    }
    return TN_OK;
}

static tn_status jsonl_load(json_t *rows, const char *path, tn_error *err)
{
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    tn_status status = TN_OK;

    TN_GOTO(tn_jsonl_open(&r, path, err));
    for (;;) {
        TN_GOTO(tn_jsonl_next(r, &row, err));
        if (row == NULL) break;
        if (!json_is_object(row)) {
            json_decref(row);
            status = tn_fail(err, TN_FORMAT, "%s:%lld: an object is expected", path,
                             (long long)tn_jsonl_line(r));
            goto out;
        }
        json_object_set_new(row, "@line", json_integer((json_int_t)tn_jsonl_line(r)));
        json_array_append_new(rows, row);
    }
out:
    tn_jsonl_close(r);
    return status;
}

tn_status tn_row_file_load(json_t **rows, const char *path, tn_digest *digest, tn_error *err)
{
    char     *text = NULL;
    size_t    n = 0;
    tn_status status = TN_OK;

    *rows = json_array();
    if (digest != NULL) TN_GOTO(tn_sha256_file(path, digest, NULL, err));
    bool lines = tn_ends_with(path, ".jsonl") || tn_ends_with(path, ".jsonl.gz") ||
                 tn_ends_with(path, ".jsonl.zst"),
         csv_name = tn_ends_with(path, ".csv");
    if (!lines) TN_GOTO(tn_file_read_all(&text, &n, path, MAX_BYTES, err));
    /* an artifact of the store has lost its name: its first sign tells */
    if (!lines && (csv_name || text[strspn(text, " \t\r\n")] != '{')) {
        if (strlen(text) != n) {
            status = tn_fail(err, TN_FORMAT, "%s: a zero byte: this is no text", path);
            goto out;
        }
        TN_GOTO(tn_ends_with(path, ".txt") ? text_load(*rows, text, path, err)
                                           : csv_load(*rows, text, path, err));
    } else TN_GOTO(jsonl_load(*rows, path, err));
    if (json_array_size(*rows) == 0) status = tn_fail(err, TN_FORMAT, "%s: there are no rows in it", path);
out:
    free(text);
    if (status != TN_OK) {
        json_decref(*rows);
        *rows = NULL;
    }
    return status;
}

const char *tn_row_first(const json_t *row, const char *const *columns, char **made)
{
    for (; *columns != NULL; columns++) {
        const json_t *v = json_object_get(row, *columns);
        if (json_is_string(v) && json_string_length(v) > 0) return json_string_value(v);
        if (json_is_integer(v) && made != NULL) {
            free(*made);
            return *made = tn_strf("%lld", (long long)json_integer_value(v));
        }
    }
    return NULL;
}
