/* json.c - JSON by jansson with limits and exact numbers, and JSON Lines (plain, .gz, .zst).
 *
 *   file ── tn_unpack (plain, gzip, zstd) ──→ tn_jsonl_next ──→ json_t, one a line
 *
 * Jansson prints reals with 17 digits; tn_json_f32 makes reals whose double is the decimal value of the
 * shortest float text, so that 0.1f prints as 0.1 and reads back as the same float. */
#include "base/json.h"
#include "base/file.h"
#include "base/str.h"
#include "base/unpack.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE_BYTES = 64 << 20, CHUNK = 1 << 16 };

/* Whole numbers beyond 64 bits, as reals: Python writes such ones (transformers says "no limit" as
 * model_max_length 10^30), jansson takes none. made: tn_str_take. */
static void big_integers_as_reals(tn_str *to, const char *text, size_t n)
{
    bool quoted = false;
    for (size_t i = 0; i < n;) {
        size_t digits = 0;
        if (text[i] == '"') quoted = !quoted;
        while (!quoted && i + digits < n && text[i + digits] >= '0' && text[i + digits] <= '9') digits++;
        size_t len = digits > 0 ? digits : quoted && text[i] == '\\' && i + 1 < n ? 2 : 1;
        /* of a fraction or an exponent? */
        size_t before = i > 1 && (text[i - 1] == '+' || text[i - 1] == '-') ? 2 : 1;
        bool   real = (i >= before && strchr(".eE", text[i - before]) != NULL) ||
                    (i + len < n && strchr(".eE", text[i + len]) != NULL);
        bool big = digits > 19 || (digits == 19 && memcmp(text + i, "9223372036854775807", 19) > 0);
        tn_str_add_n(to, text + i, len);
        if (big && !real) tn_str_add(to, ".0");
        i += len;
    }
}

static json_t *parse_with_reals(const char *text, size_t n, json_error_t *e)
{
    tn_str  s = { 0 };
    json_t *v = NULL;

    big_integers_as_reals(&s, text, n);
    if (!s.failed) v = json_loadb(s.p, s.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, e);
    tn_str_free(&s);
    return v;
}

tn_status tn_json_parse(json_t **out, const char *text, size_t n, const char *where, tn_error *err)
{
    json_error_t e;

    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*out == NULL && json_error_code(&e) == json_error_numeric_overflow)
        *out = parse_with_reals(text, n, &e);
    if (*out != NULL) return TN_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return tn_fail(err, TN_NOMEM, "%s: no memory for its JSON", where);
    if (json_error_code(&e) == json_error_null_character ||
        json_error_code(&e) == json_error_null_byte_in_key)
        snprintf(e.text, sizeof e.text,
                 "a string holds the character NUL (\\u0000), which no text here can hold; take it out");
    if (n > 0 && memchr(text, '\n', n) == NULL) /* a row of JSON Lines: its line is in `where` */
        return tn_fail(err, TN_FORMAT, "%s: not valid JSON: %s (column %d)", where, e.text, e.column);
    return tn_fail(err, TN_FORMAT, "%s: not valid JSON: %s (line %d, column %d)", where, e.text, e.line,
                   e.column);
}

tn_status tn_json_load(json_t **out, const char *path, size_t max_bytes, tn_error *err)
{
    char  *text = NULL;
    size_t n = 0;

    *out = NULL;
    TN_TRY(tn_file_read_all(&text, &n, path, max_bytes, err));
    tn_status status = tn_json_parse(out, text, n, path, err);
    free(text);
    return status;
}

/* Canonical numbers: jansson's "%.17g" is exact but long; the shortest text that reads back is as exact and
 * is what a person wrote. So reals are written here and only the rest is left to jansson. */
static void text_add(tn_str *s, const json_t *v);

static int key_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void object_add(tn_str *s, const json_t *v)
{
    size_t       n = json_object_size(v), i = 0;
    const char **keys = malloc((n + 1) * sizeof *keys);
    const char  *key;
    json_t      *item;

    if (keys == NULL) {
        s->failed = true;
        return;
    }
    json_object_foreach((json_t *)v, key, item) keys[i++] = key;
    qsort(keys, n, sizeof *keys, key_order);
    tn_str_add_char(s, '{');
    for (i = 0; i < n; i++) {
        if (i > 0) tn_str_add_char(s, ',');
        json_t *name = json_string_nocheck(keys[i]);
        if (name == NULL) s->failed = true;
        else text_add(s, name);
        json_decref(name);
        tn_str_add_char(s, ':');
        text_add(s, json_object_get(v, keys[i]));
    }
    tn_str_add_char(s, '}');
    free(keys);
}

static void text_add(tn_str *s, const json_t *v)
{
    char buf[32];

    switch (json_typeof(v)) {
    case JSON_OBJECT: object_add(s, v); break;
    case JSON_ARRAY:
        tn_str_add_char(s, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i > 0) tn_str_add_char(s, ',');
            text_add(s, json_array_get(v, i));
        }
        tn_str_add_char(s, ']');
        break;
    case JSON_REAL: {
        const char *t = tn_f64_text(json_real_value(v), buf);
        tn_str_add(s, t);
        if (strpbrk(t, ".eEn") == NULL) tn_str_add(s, ".0"); /* a real stays a real */
        break;
    }
    default: {
        char *t = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        if (t == NULL) s->failed = true;
        else tn_str_add(s, t);
        free(t);
        break;
    }
    }
}

char *tn_json_text(const json_t *v)
{
    tn_str s = { 0 };

    text_add(&s, v);
    if (s.failed) {
        tn_str_free(&s);
        return NULL;
    }
    return tn_str_take(&s);
}

tn_status tn_json_save(const char *path, const json_t *v, bool pretty, tn_error *err)
{
    char *text = pretty ? json_dumps(v, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY |
                                            JSON_REAL_PRECISION(17))
                        : tn_json_text(v);

    if (text == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its JSON text", path);
    tn_str s = { 0 };
    tn_str_add(&s, text);
    tn_str_add_char(&s, '\n');
    free(text);
    tn_status status = tn_str_check(&s, err);
    if (status == TN_OK) status = tn_file_write_all(path, s.p, s.len, err);
    tn_str_free(&s);
    return status;
}

json_t *tn_json_f32(float v)
{
    char   buf[32];
    double d;

    if (!isfinite(v)) return json_null(); /* JSON has no NaN and no infinity */
    if (!tn_parse_f64(tn_f32_text(v, buf), &d)) d = (double)v;
    return json_real(d);
}

json_t *tn_json_name(const char *s)
{
    tn_str  whole = { 0 };
    json_t *v;

    tn_str_add_utf8(&whole, s, strlen(s));
    v = whole.failed ? NULL : json_stringn(whole.p != NULL ? whole.p : "", whole.len);
    tn_str_free(&whole);
    return v;
}

json_t *tn_json_lines(const char *text)
{
    json_t *a = json_array();

    while (text != NULL && *text != '\0') {
        size_t n = strcspn(text, "\n");
        json_array_append_new(a, json_stringn(text, n));
        text += n + (text[n] == '\n');
    }
    return a;
}

static tn_status wrong_type(const json_t *v, const char *key, const char *want, const char *where,
                            tn_error *err)
{
    if (v == NULL) return tn_fail(err, TN_FORMAT, "%s: '%s' is missing: expected %s", where, key, want);
    return tn_fail(err, TN_FORMAT, "%s: '%s' has the wrong type: expected %s", where, key, want);
}

tn_status tn_json_str(const json_t *o, const char *key, const char **out, const char *where, tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_string(v)) return wrong_type(v, key, "a string", where, err);
    *out = json_string_value(v);
    return TN_OK;
}

tn_status tn_json_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out,
                      const char *where, tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_integer(v)) return wrong_type(v, key, "a whole number", where, err);
    *out = json_integer_value(v);
    if (*out < lo || *out > hi)
        return tn_fail(err, TN_LIMIT, "%s: '%s' is %lld: expected %lld to %lld", where, key, (long long)*out,
                       (long long)lo, (long long)hi);
    return TN_OK;
}

tn_status tn_json_int_or(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t dflt, int64_t *out,
                         const char *where, tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = dflt;
    return v == NULL || json_is_null(v) ? TN_OK : tn_json_int(o, key, lo, hi, out, where, err);
}

tn_status tn_json_real_or(const json_t *o, const char *key, double dflt, double *out, const char *where,
                          tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = dflt;
    if (v == NULL || json_is_null(v)) return TN_OK;
    if (!json_is_number(v)) return wrong_type(v, key, "a number", where, err);
    *out = json_number_value(v);
    return TN_OK;
}

tn_status tn_json_bool_or(const json_t *o, const char *key, bool dflt, bool *out, const char *where,
                          tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = dflt;
    if (v == NULL || json_is_null(v)) return TN_OK;
    if (!json_is_boolean(v)) return wrong_type(v, key, "true or false", where, err);
    *out = json_is_true(v);
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------- JSON Lines */

struct tn_jsonl {
    char      *path;
    tn_unpack *from;
    char      *buf; /* decoded bytes [begin, end) */
    size_t     begin, end;
    bool       ended;
    tn_str     line;
    int64_t    n_line;
};

tn_status tn_jsonl_open(tn_jsonl **out, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    tn_jsonl *r = NULL;

    *out = NULL;
    if ((r = calloc(1, sizeof *r)) == NULL || (r->path = tn_strdup(path)) == NULL ||
        (r->buf = malloc(CHUNK)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a reader", path);
        goto out;
    }
    r->line.max = MAX_LINE_BYTES;
    if (tn_is_dir(path)) {
        status = tn_fail(err, TN_IO, "%s is a directory: expected a .jsonl file", path);
        goto out;
    }
    TN_GOTO(tn_unpack_open(&r->from, path, err));
    *out = r;
    r = NULL;
out:
    tn_jsonl_close(r);
    return status;
}

void tn_jsonl_close(tn_jsonl *r)
{
    if (r == NULL) return;
    tn_unpack_close(r->from);
    tn_str_free(&r->line);
    free(r->buf);
    free(r->path);
    free(r);
}

static tn_status fill(tn_jsonl *r, tn_error *err)
{
    r->begin = 0;
    TN_TRY(tn_unpack_read(r->from, r->buf, CHUNK, &r->end, err));
    r->ended = r->end == 0;
    return TN_OK;
}

/* One line without its newline into r->line; *got false at the end. */
static tn_status next_line(tn_jsonl *r, bool *got, tn_error *err)
{
    bool any = false;

    tn_str_clear(&r->line);
    for (;;) {
        if (r->begin == r->end) {
            if (!r->ended) TN_TRY(fill(r, err));
            if (r->ended && r->begin == r->end) break;
        }
        char  *p = r->buf + r->begin, *nl = memchr(p, '\n', r->end - r->begin);
        size_t n = nl != NULL ? (size_t)(nl - p) : r->end - r->begin;

        tn_str_add_n(&r->line, p, n);
        any = true;
        r->begin += n + (nl != NULL);
        if (nl != NULL || r->line.failed) break; /* a device without a newline has no end either */
    }
    *got = any;
    r->n_line += any;
    if (r->line.failed)
        return tn_fail(err, TN_LIMIT, "%s:%lld: a line of more than %d MiB", r->path, (long long)r->n_line,
                       MAX_LINE_BYTES >> 20);
    return TN_OK;
}

tn_status tn_jsonl_next(tn_jsonl *r, json_t **row, tn_error *err)
{
    bool got;
    char where[512];

    *row = NULL;
    for (;;) {
        TN_TRY(next_line(r, &got, err));
        if (!got) return TN_OK;
        const char *p = r->line.len > 0 ? r->line.p : "";
        size_t      n = r->line.len;
        if (r->n_line == 1 && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
            p += 3;
            n -= 3;
        } /* a BOM */
        if (strspn(p, " \t\r") >= n) continue;
        snprintf(where, sizeof where, "%s:%lld", r->path, (long long)r->n_line);
        return tn_json_parse(row, p, n, where, err);
    }
}

int64_t tn_jsonl_line(const tn_jsonl *r) { return r->n_line; }

tn_status tn_jsonl_each(const char *path, tn_jsonl_fn fn, void *ctx, tn_error *err)
{
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    char      where[512];
    tn_status status = tn_jsonl_open(&r, path, err);

    while (status == TN_OK && (status = tn_jsonl_next(r, &row, err)) == TN_OK && row != NULL) {
        snprintf(where, sizeof where, "%s:%lld", path, (long long)r->n_line);
        status = fn(ctx, row, where, err);
        json_decref(row);
    }
    tn_jsonl_close(r);
    return status;
}
