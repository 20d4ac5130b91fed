/* json.c - JSON by jansson with limits and exact numbers, and JSON Lines (plain, .gz, .zst).
 *
 *   file ── line source (stdio | zlib | zstd) ──→ tn_jsonl_next ──→ json_t, one a line
 *
 * Jansson prints reals with 17 digits; tn_json_f32 makes reals whose double is the decimal value of the shortest float
 * text, so that 0.1f prints as 0.1 and reads back as the same float. */
#include "base/json.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { MAX_LINE_BYTES = 64 << 20, CHUNK = 1 << 16 };

tn_status tn_json_parse(json_t **out, const char *text, size_t n, const char *where, tn_error *err)
{
    json_error_t e;

    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*out != NULL) return TN_OK;
    if (json_error_code(&e) == json_error_out_of_memory) return tn_fail(err, TN_NOMEM, "%s: no memory for its JSON", where);
    return tn_fail(err, TN_FORMAT, "%s: not valid JSON: %s (line %d, column %d)", where, e.text, e.line, e.column);
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

/* Canonical numbers: jansson's "%.17g" is exact but long; the shortest text that reads back is as exact and is what a
 * person wrote. So reals are written here and only the rest is left to jansson. */
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

    if (keys == NULL) { s->failed = true; return; }
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
    case JSON_OBJECT:
        object_add(s, v);
        break;
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
        if (strpbrk(t, ".eEn") == NULL) tn_str_add(s, ".0");           /* a real stays a real */
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
    tn_str s = {0};

    text_add(&s, v);
    if (s.failed) {
        tn_str_free(&s);
        return NULL;
    }
    return tn_str_take(&s);
}

tn_status tn_json_save(const char *path, const json_t *v, bool pretty, tn_error *err)
{
    char *text = pretty ? json_dumps(v, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) : tn_json_text(v);

    if (text == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its JSON text", path);
    tn_str s = {0};
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

    if (!isfinite(v)) return json_null();                    /* JSON has no NaN and no infinity */
    if (!tn_parse_f64(tn_f32_text(v, buf), &d)) d = (double)v;
    return json_real(d);
}

json_t *tn_json_name(const char *s)
{
    tn_str  whole = {0};
    json_t *v;

    tn_str_add_utf8(&whole, s, strlen(s));
    v = whole.failed ? NULL : json_stringn(whole.p != NULL ? whole.p : "", whole.len);
    tn_str_free(&whole);
    return v;
}

static tn_status wrong_type(const json_t *v, const char *key, const char *want, const char *where, tn_error *err)
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

tn_status tn_json_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out, const char *where, tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_integer(v)) return wrong_type(v, key, "a whole number", where, err);
    *out = json_integer_value(v);
    if (*out < lo || *out > hi)
        return tn_fail(err, TN_LIMIT, "%s: '%s' is %lld: expected %lld to %lld", where, key, (long long)*out, (long long)lo,
                       (long long)hi);
    return TN_OK;
}

tn_status tn_json_int_or(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t dflt, int64_t *out, const char *where,
                         tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = dflt;
    return v == NULL || json_is_null(v) ? TN_OK : tn_json_int(o, key, lo, hi, out, where, err);
}

tn_status tn_json_real_or(const json_t *o, const char *key, double dflt, double *out, const char *where, tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = dflt;
    if (v == NULL || json_is_null(v)) return TN_OK;
    if (!json_is_number(v)) return wrong_type(v, key, "a number", where, err);
    *out = json_number_value(v);
    return TN_OK;
}

tn_status tn_json_bool_or(const json_t *o, const char *key, bool dflt, bool *out, const char *where, tn_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = dflt;
    if (v == NULL || json_is_null(v)) return TN_OK;
    if (!json_is_boolean(v)) return wrong_type(v, key, "true or false", where, err);
    *out = json_is_true(v);
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------- JSON Lines */

struct tn_jsonl {
    char         *path;
    FILE         *f;                   /* plain or zstd */
    gzFile        gz;
    ZSTD_DStream *zstd;
    char         *in, *buf;            /* zstd input; decoded bytes [begin, end) */
    size_t        in_n, in_at, begin, end;
    bool          ended, frame_open;
    tn_str        line;
    int64_t       n_line;
};

tn_status tn_jsonl_open(tn_jsonl **out, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    tn_jsonl *r = NULL;

    *out = NULL;
    if ((r = calloc(1, sizeof *r)) == NULL || (r->path = tn_strdup(path)) == NULL || (r->buf = malloc(CHUNK)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a reader", path);
        goto out;
    }
    r->line.max = MAX_LINE_BYTES;
    if (tn_is_dir(path)) {
        status = tn_fail(err, TN_IO, "%s is a directory: expected a .jsonl file", path);
        goto out;
    }
    tn_packing packing = tn_file_packing(path);
    if (packing == TN_PACKING_GZ) {
        if ((r->gz = gzopen(path, "rb")) == NULL) status = tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: cannot open: %s", path, strerror(errno));
        goto out;
    }
    if ((r->f = fopen(path, "rb")) == NULL) {
        status = tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: cannot open: %s", path, strerror(errno));
        goto out;
    }
    if (packing == TN_PACKING_ZST && ((r->zstd = ZSTD_createDStream()) == NULL || (r->in = malloc(CHUNK)) == NULL))
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a decoder", path);
out:
    if (status == TN_OK) {
        *out = r;
        r = NULL;
    }
    tn_jsonl_close(r);
    return status;
}

void tn_jsonl_close(tn_jsonl *r)
{
    if (r == NULL) return;
    if (r->f != NULL) fclose(r->f);
    if (r->gz != NULL) gzclose(r->gz);
    ZSTD_freeDStream(r->zstd);
    tn_str_free(&r->line);
    free(r->in);
    free(r->buf);
    free(r->path);
    free(r);
}

static tn_status zstd_fill(tn_jsonl *r, tn_error *err)
{
    ZSTD_outBuffer o = { r->buf, CHUNK, 0 };

    while (o.pos == 0) {
        if (r->in_at == r->in_n) {
            r->in_n = fread(r->in, 1, CHUNK, r->f);
            r->in_at = 0;
            if (r->in_n == 0) {
                if (ferror(r->f)) return tn_fail(err, TN_IO, "%s: cannot read: %s", r->path, strerror(errno));
                if (r->frame_open) return tn_fail(err, TN_FORMAT, "%s: the zstd data end inside a frame: the file looks cut off", r->path);
                r->ended = true;
                break;
            }
        }
        ZSTD_inBuffer i = { r->in, r->in_n, r->in_at };
        size_t        left = ZSTD_decompressStream(r->zstd, &o, &i);
        if (ZSTD_isError(left)) return tn_fail(err, TN_FORMAT, "%s: damaged zstd data: %s", r->path, ZSTD_getErrorName(left));
        r->in_at = i.pos;
        r->frame_open = left != 0;
    }
    r->begin = 0;
    r->end = o.pos;
    return TN_OK;
}

static tn_status fill(tn_jsonl *r, tn_error *err)
{
    if (r->zstd != NULL) return zstd_fill(r, err);
    if (r->gz != NULL) {
        int n = gzread(r->gz, r->buf, CHUNK), code = Z_OK;
        const char *text = gzerror(r->gz, &code);

        if (n < 0 || (n == 0 && code == Z_BUF_ERROR))
            return tn_fail(err, TN_FORMAT, "%s: damaged or cut-off gzip data: %s", r->path, text);
        r->begin = 0;
        r->end = (size_t)n;
    } else {
        r->begin = 0;
        r->end = fread(r->buf, 1, CHUNK, r->f);
        if (r->end == 0 && ferror(r->f)) return tn_fail(err, TN_IO, "%s: cannot read: %s", r->path, strerror(errno));
    }
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
        if (nl != NULL) break;
    }
    *got = any;
    r->n_line += any;
    if (r->line.failed)
        return tn_fail(err, TN_LIMIT, "%s:%lld: a line of more than %d MiB", r->path, (long long)r->n_line, MAX_LINE_BYTES >> 20);
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
        if (r->n_line == 1 && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) { p += 3; n -= 3; }      /* a BOM */
        if (strspn(p, " \t\r") >= n) continue;
        snprintf(where, sizeof where, "%s:%lld", r->path, (long long)r->n_line);
        return tn_json_parse(row, p, n, where, err);
    }
}

int64_t tn_jsonl_line(const tn_jsonl *r)
{
    return r->n_line;
}

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
