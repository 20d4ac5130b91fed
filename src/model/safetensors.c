/* safetensors.c - the safetensors format: read mapped and checked, written byte for byte as the reference
 * writer does.
 *
 *   0        8                    8 + N                                    end of file
 *   +--------+--------------------+----------------------------------------+
 *   | u64 N  | JSON, N bytes      | data: tensors side by side, no holes   |
 *   +--------+--------------------+----------------------------------------+
 *   {"__metadata__":{"format":"pt"},"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},...}   padded by spaces
 *
 * The writer puts types in descending order of the table below and names in ascending order within a type:
 * the reference's order, so the same tensors give the same bytes. */
#include "model/model.h"
#include "model/st_write.h"

#include "base/file.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 100000000u

/* The reference's enum, in its order. bits 0 marks the end. */
// clang-format off
static const struct { const char *name; int bits; tn_dtype dtype; } types[] = {
    { "BOOL", 8, TN_DTYPE_COUNT },      { "F4", 4, TN_DTYPE_COUNT },          { "F6_E2M3", 6, TN_DTYPE_COUNT },
    { "F6_E3M2", 6, TN_DTYPE_COUNT },   { "U8", 8, TN_U8 },                   { "I8", 8, TN_I8 },
    { "F8_E5M2", 8, TN_DTYPE_COUNT },   { "F8_E4M3", 8, TN_DTYPE_COUNT },     { "F8_E8M0", 8, TN_DTYPE_COUNT },
    { "F8_E4M3FNUZ", 8, TN_DTYPE_COUNT }, { "F8_E5M2FNUZ", 8, TN_DTYPE_COUNT }, { "I16", 16, TN_I16 },
    { "U16", 16, TN_DTYPE_COUNT },      { "F16", 16, TN_F16 },                { "BF16", 16, TN_BF16 },
    { "I32", 32, TN_I32 },              { "U32", 32, TN_DTYPE_COUNT },        { "F32", 32, TN_F32 },
    { "C64", 64, TN_DTYPE_COUNT },      { "F64", 64, TN_F64 },                { "I64", 64, TN_I64 },
    { "U64", 64, TN_DTYPE_COUNT },      { NULL, 0, TN_DTYPE_COUNT },
};
// clang-format on

struct tn_st_file {
    char        *path;
    tn_map       map;
    json_t      *metadata;
    tn_st_entry *entries; /* sorted by name */
    size_t       n;
};

static int type_by_name(const char *name)
{
    for (int i = 0; types[i].name != NULL; i++)
        if (strcmp(types[i].name, name) == 0) return i;
    return -1;
}

static int type_by_dtype(tn_dtype t)
{
    for (int i = 0; types[i].name != NULL; i++)
        if (types[i].dtype == t) return i;
    return -1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tn_st_entry *)a)->name, ((const tn_st_entry *)b)->name);
}

static int by_begin(const void *a, const void *b)
{
    const tn_st_entry *x = a, *y = b;

    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool get_count(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static tn_status read_entry(tn_st_entry *e, const char *name, const json_t *v, const char *path,
                            tn_error *err)
{
    const json_t *shape = json_object_get(v, "shape"), *offsets = json_object_get(v, "data_offsets");
    const char   *type = json_string_value(json_object_get(v, "dtype"));
    uint64_t      dim, bits = 1;
    int           i_type;

    if (strlen(name) >= sizeof e->name)
        return tn_fail(err, TN_LIMIT, "%s: a tensor's name has over %zu bytes", path, sizeof e->name - 1);
    for (const char *p = name; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return tn_fail(err, TN_FORMAT, "%s: a tensor's name holds a control character", path);
    snprintf(e->name, sizeof e->name, "%s", name);
    if (!json_is_object(v) || json_object_size(v) != 3 || type == NULL || !json_is_array(shape) ||
        !json_is_array(offsets))
        return tn_fail(err, TN_FORMAT, "%s: tensor '%s' must have exactly dtype, shape and data_offsets",
                       path, name);
    if ((i_type = type_by_name(type)) < 0)
        return tn_fail(err, TN_FORMAT, "%s: tensor '%s': unknown dtype '%s'", path, name, type);
    e->dtype = types[i_type].dtype;
    e->type = types[i_type].name;
    if (json_array_size(shape) > 8)
        return tn_fail(err, TN_LIMIT, "%s: tensor '%s' has over 8 dimensions", path, name);
    e->n_dim = (int)json_array_size(shape);
    for (int i = 0; i < e->n_dim; i++) {
        if (!get_count(json_array_get(shape, (size_t)i), &dim))
            return tn_fail(err, TN_FORMAT, "%s: tensor '%s': shape[%d] is no whole number >= 0", path, name,
                           i);
        e->shape[i] = (int64_t)dim;
        if (__builtin_mul_overflow(bits, dim, &bits))
            return tn_fail(err, TN_FORMAT, "%s: tensor '%s': its size overflows", path, name);
    }
    if (__builtin_mul_overflow(bits, (uint64_t)types[i_type].bits, &bits) || bits % 8 != 0)
        return tn_fail(err, TN_FORMAT, "%s: tensor '%s': its size overflows or is no whole number of bytes",
                       path, name);
    if (json_array_size(offsets) != 2 || !get_count(json_array_get(offsets, 0), &e->begin) ||
        !get_count(json_array_get(offsets, 1), &e->end) || e->end < e->begin)
        return tn_fail(err, TN_FORMAT,
                       "%s: tensor '%s': data_offsets must be two whole numbers, begin <= end", path, name);
    if (e->end - e->begin != bits / 8)
        return tn_fail(err, TN_FORMAT,
                       "%s: tensor '%s': its shape and dtype need %" PRIu64
                       " bytes, data_offsets hold %" PRIu64,
                       path, name, bits / 8, e->end - e->begin);
    return TN_OK;
}

static tn_status check_metadata(const json_t *v, const char *path, tn_error *err)
{
    const char *key;
    json_t     *text;

    if (!json_is_object(v)) return tn_fail(err, TN_FORMAT, "%s: __metadata__ is no object", path);
    json_object_foreach((json_t *)v, key, text)
        if (!json_is_string(text))
            return tn_fail(err, TN_FORMAT, "%s: __metadata__ '%s' is no string", path, key);
    return TN_OK;
}

/* Entries sorted by offset must tile the data exactly. */
static tn_status check_tiling(tn_st_file *f, uint64_t data_bytes, tn_error *err)
{
    uint64_t end = 0;

    qsort(f->entries, f->n, sizeof *f->entries, by_begin);
    for (size_t i = 0; i < f->n; i++) {
        const tn_st_entry *e = &f->entries[i];
        if (e->begin != end)
            return tn_fail(err, TN_FORMAT,
                           "%s: tensor '%s' begins at %" PRIu64 ", but the one before ends at %" PRIu64
                           ": tensors must lie side by side, without holes or overlaps",
                           f->path, e->name, e->begin, end);
        end = e->end;
        if (end > data_bytes)
            return tn_fail(err, TN_FORMAT,
                           "%s: tensor '%s' ends at byte %" PRIu64 " of the data, but the file has %" PRIu64
                           " there.\n"
                           "It looks cut off while downloading: fetch it again (tenet pull) or compare "
                           "sha256sum with the source.",
                           f->path, e->name, end, data_bytes);
    }
    if (end != data_bytes)
        return tn_fail(err, TN_FORMAT, "%s: %" PRIu64 " bytes after the last tensor belong to nothing",
                       f->path, data_bytes - end);
    return TN_OK;
}

static tn_status parse(tn_st_file *f, json_t **header, tn_error *err)
{
    uint64_t    n;
    const char *name;
    json_t     *v;

    if (f->map.n < 8)
        return tn_fail(err, TN_FORMAT,
                       "%s: has %zu bytes; a safetensors file begins with 8 bytes of header length", f->path,
                       f->map.n);
    memcpy(&n, f->map.p, 8);
    if (n > MAX_HEADER)
        return tn_fail(err, TN_LIMIT,
                       "%s: says its header has %" PRIu64
                       " bytes; at most %u are allowed: is it a safetensors file?",
                       f->path, n, MAX_HEADER);
    if (n > f->map.n - 8)
        return tn_fail(err, TN_FORMAT,
                       "%s: its header has %" PRIu64
                       " bytes, but the file ends after %zu.\nIt looks cut off while "
                       "downloading: fetch it again (tenet pull) or compare sha256sum with the source.",
                       f->path, n, f->map.n);
    if (n < 2 || f->map.p[8] != '{')
        return tn_fail(err, TN_FORMAT, "%s: its header does not begin with '{'", f->path);
    TN_TRY(tn_json_parse(header, (const char *)f->map.p + 8, (size_t)n, f->path, err));
    if (!json_is_object(*header)) return tn_fail(err, TN_FORMAT, "%s: its header is no JSON object", f->path);
    f->entries = calloc(json_object_size(*header) + 1, sizeof *f->entries);
    if (f->entries == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its index", f->path);
    json_object_foreach(*header, name, v) {
        if (strcmp(name, "__metadata__") == 0) {
            TN_TRY(check_metadata(v, f->path, err));
            f->metadata = json_incref(v);
        } else {
            TN_TRY(read_entry(&f->entries[f->n], name, v, f->path, err));
            f->n++;
        }
    }
    TN_TRY(check_tiling(f, f->map.n - 8 - n, err));
    qsort(f->entries, f->n, sizeof *f->entries, by_name);
    for (size_t i = 0; i < f->n; i++) f->entries[i].data = f->map.p + 8 + n + f->entries[i].begin;
    return TN_OK;
}

static tn_status st_new(tn_st_file **out, const char *path, tn_error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL || ((*out)->path = tn_strdup(path)) == NULL) {
        tn_st_close(*out);
        *out = NULL;
        return tn_fail(err, TN_NOMEM, "%s: no memory for a file handle", path);
    }
    return TN_OK;
}

tn_status tn_st_open(tn_st_file **out, const char *path, tn_error *err)
{
    tn_st_file *f = NULL;
    json_t     *header = NULL;
    tn_status   status = TN_OK;

    *out = NULL;
    TN_GOTO(st_new(&f, path, err));
    TN_GOTO(tn_map_open(&f->map, path, err));
    TN_GOTO(parse(f, &header, err));
    *out = f;
    f = NULL;
out:
    json_decref(header);
    tn_st_close(f);
    return status;
}

tn_status tn_st_parse(tn_st_file **out, const uint8_t *bytes, size_t n, const char *where, tn_error *err)
{
    tn_st_file *f = NULL;
    json_t     *header = NULL;
    tn_status   status = TN_OK;

    *out = NULL;
    TN_GOTO(st_new(&f, where, err));
    f->map.p = bytes;
    f->map.n = n;
    TN_GOTO(parse(f, &header, err));
    *out = f;
    f = NULL;
out:
    json_decref(header);
    tn_st_close(f);
    return status;
}

void tn_st_close(tn_st_file *f)
{
    if (f == NULL) return;
    if (f->map.os != NULL) tn_map_close(&f->map);
    json_decref(f->metadata);
    free(f->entries);
    free(f->path);
    free(f);
}

size_t             tn_st_count(const tn_st_file *f) { return f->n; }
const tn_st_entry *tn_st_at(const tn_st_file *f, size_t i) { return &f->entries[i]; }
const json_t      *tn_st_metadata(const tn_st_file *f) { return f->metadata; }
const char        *tn_st_path(const tn_st_file *f) { return f->path; }
const tn_map      *tn_st_map(const tn_st_file *f) { return &f->map; }

const tn_st_entry *tn_st_find(const tn_st_file *f, const char *name)
{
    size_t lo = 0, hi = f->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int    d = strcmp(f->entries[mid].name, name);
        if (d == 0) return &f->entries[mid];
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ writing */

static int writing_order(const void *a, const void *b)
{
    const tn_st_entry *x = *(const tn_st_entry *const *)a, *y = *(const tn_st_entry *const *)b;
    int                tx = type_by_dtype(x->dtype), ty = type_by_dtype(y->dtype);

    return tx != ty ? ty - tx : strcmp(x->name, y->name);
}

/* A JSON string as the reference (serde) escapes it: made, free. */
static char *json_quoted(const char *text)
{
    json_t *s = json_string(text);
    char   *out = s == NULL ? NULL : json_dumps(s, JSON_ENCODE_ANY);

    json_decref(s);
    return out;
}

static void add_quoted(tn_str *s, const char *text)
{
    char *q = json_quoted(text);

    if (q == NULL) s->failed = true;
    else tn_str_add(s, q);
    free(q);
}

static tn_status header_text(tn_str *s, const tn_st_entry *const *order, size_t n, const json_t *metadata,
                             const char *path, tn_error *err)
{
    uint64_t    begin = 0;
    const char *key;
    json_t     *text;

    tn_str_add_char(s, '{');
    if (metadata != NULL) {
        bool first = true;
        tn_str_add(s, "\"__metadata__\":{");
        json_object_foreach((json_t *)metadata, key, text) {
            if (!first) tn_str_add_char(s, ',');
            first = false;
            add_quoted(s, key);
            tn_str_add_char(s, ':');
            add_quoted(s, json_string_value(text));
        }
        tn_str_add(s, "}");
    }
    for (size_t i = 0; i < n; i++) {
        const tn_st_entry *e = order[i];
        uint64_t           bits = (uint64_t)types[type_by_dtype(e->dtype)].bits;
        if (s->len > 1) tn_str_add_char(s, ',');
        add_quoted(s, e->name);
        tn_str_addf(s, ":{\"dtype\":\"%s\",\"shape\":[", types[type_by_dtype(e->dtype)].name);
        for (int d = 0; d < e->n_dim; d++) {
            tn_str_addf(s, "%s%" PRId64, d > 0 ? "," : "", e->shape[d]);
            if (e->shape[d] < 0 || __builtin_mul_overflow(bits, (uint64_t)e->shape[d], &bits))
                return tn_fail(err, TN_LIMIT, "%s: tensor '%s' is too big to write", path, e->name);
        }
        tn_str_addf(s, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + bits / 8);
        begin += bits / 8;
    }
    tn_str_add_char(s, '}');
    while (s->len % 8 != 0) tn_str_add_char(s, ' ');
    return tn_str_check(s, err);
}

tn_status tn_st_write_with(const char *path, const tn_st_entry *entries, size_t n, const json_t *metadata,
                           tn_st_emit_fn emit, void *arg, tn_error *err)
{
    const tn_st_entry **order = calloc(n + 1, sizeof *order);
    tn_str              head = { .max = MAX_HEADER };
    tn_out             *o = NULL;
    tn_status           status = TN_OK;

    if (order == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its index", path);
    for (size_t i = 0; i < n; i++) {
        order[i] = &entries[i];
        if (type_by_dtype(entries[i].dtype) < 0) {
            status = tn_fail(
                err, TN_UNSUPPORTED,
                "%s: tensor '%s' is %s, which safetensors cannot hold: write a .gguf, or dequantise it "
                "with --type f32, f16 or bf16",
                path, entries[i].name, tn_dtype_name(entries[i].dtype));
            goto out;
        }
    }
    qsort(order, n, sizeof *order, writing_order);
    TN_GOTO(header_text(&head, order, n, metadata, path, err));
    TN_GOTO(tn_out_open(&o, path, err));
    uint64_t len = head.len;
    TN_GOTO(tn_out_write(o, &len, 8, err));
    TN_GOTO(tn_out_write(o, head.p, head.len, err));
    for (size_t i = 0; i < n; i++) TN_GOTO(emit(arg, (size_t)(order[i] - entries), o, err));
    status = tn_out_commit(o, err);
    o = NULL;
out:
    tn_out_abandon(o);
    tn_str_free(&head);
    free(order);
    return status;
}

static tn_status emit_data(void *arg, size_t i, tn_out *o, tn_error *err)
{
    const tn_st_entry *e = (const tn_st_entry *)arg + i;
    size_t             bytes = (size_t)types[type_by_dtype(e->dtype)].bits / 8;

    for (int d = 0; d < e->n_dim; d++) bytes *= (size_t)e->shape[d];
    return tn_out_write(o, e->data, bytes, err);
}

tn_status tn_st_write(const char *path, const tn_st_entry *entries, size_t n, const json_t *metadata,
                      tn_error *err)
{
    return tn_st_write_with(path, entries, n, metadata, emit_data, (void *)entries, err);
}
