/* gguf.c - reads GGUF v3 (little-endian), trusting nothing.
 *
 *   +------+---------+----------+------+--------+--------------+---------+-----------------------+
 *   | GGUF | u32 = 3 | n_tensor | n_kv | kv ... | tensor infos | padding | data, each at offset  |
 *   +------+---------+----------+------+--------+--------------+---------+-----------------------+
 *   kv     = string key, u32 type, value;  string = u64 length, bytes;  array = u32 type, u64 n, values
 *   info   = string name, u32 n_dim, u64 dims (fastest first), u32 type, u64 offset from the data's begin
 *
 * Counts are checked against the bytes that are left before anything is allocated: the shortest pair has 13
 * bytes and the shortest info 32, so memory stays within a small multiple of the file. Tensors must lie in
 * the data in some order with nothing between them but padding, and nothing behind them: no overlaps, no
 * holes, no hidden bytes. */
#include "model/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_KV = 1 << 16,
    MAX_TENSOR = 1 << 20,
    MAX_KEY = 65535,
    MAX_NAME = 64,
    MAX_NEST = 3,
    MIN_KV_BYTES = 13,
    MIN_INFO_BYTES = 32
};

static const uint8_t type_bytes[TN_GGUF_TYPE_COUNT] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

typedef struct cursor {
    const uint8_t *p, *begin, *end;
    const char    *path;
} cursor;

const char *tn_thousands(uint64_t v, char buf[32])
{
    char plain[24];
    int  n = snprintf(plain, sizeof plain, "%" PRIu64, v), k = 0;

    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) buf[k++] = ',';
        buf[k++] = plain[i];
    }
    buf[k] = '\0';
    return buf;
}

static size_t left(const cursor *c) { return (size_t)(c->end - c->p); }

static tn_status cut_off(const cursor *c, const char *what, tn_error *err)
{
    char at[32], size[32];

    return tn_fail(err, TN_FORMAT,
                   "%s: %s at byte %s runs past the end of the file (%s bytes).\nIt looks cut off while "
                   "downloading: fetch it again (tenet pull) or compare sha256sum with the source.",
                   c->path, what, tn_thousands((uint64_t)(c->p - c->begin), at),
                   tn_thousands((uint64_t)(c->end - c->begin), size));
}

static tn_status get_u32(cursor *c, uint32_t *out, const char *what, tn_error *err)
{
    *out = 0;
    if (left(c) < 4) return cut_off(c, what, err);
    memcpy(out, c->p, 4);
    c->p += 4;
    return TN_OK;
}

static tn_status get_u64(cursor *c, uint64_t *out, const char *what, tn_error *err)
{
    *out = 0;
    if (left(c) < 8) return cut_off(c, what, err);
    memcpy(out, c->p, 8);
    c->p += 8;
    return TN_OK;
}

static tn_status get_str(cursor *c, const char **text, size_t *n, const char *what, tn_error *err)
{
    uint64_t len;

    TN_TRY(get_u64(c, &len, what, err));
    if (len > left(c)) return cut_off(c, what, err);
    *text = (const char *)c->p;
    *n = (size_t)len;
    c->p += len;
    return TN_OK;
}

static bool is_plain_ascii(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] >= 0x7f) return false;
    return n > 0;
}

/* Steps over n values of a type; arrays may nest. */
static tn_status skip_values(cursor *c, uint32_t type, uint64_t n, int depth, tn_error *err)
{
    const char *text;
    size_t      len;

    if (type == TN_GGUF_STR) {
        if (n > left(c) / 8) return cut_off(c, "an array of strings", err);
        for (uint64_t i = 0; i < n; i++) TN_TRY(get_str(c, &text, &len, "a string", err));
    } else if (type == TN_GGUF_ARRAY) {
        if (depth >= MAX_NEST)
            return tn_fail(err, TN_LIMIT, "%s: arrays nest deeper than %d", c->path, MAX_NEST);
        if (n > left(c) / 12) return cut_off(c, "an array of arrays", err);
        for (uint64_t i = 0; i < n; i++) {
            uint32_t elem;
            uint64_t m;
            TN_TRY(get_u32(c, &elem, "an array's type", err));
            TN_TRY(get_u64(c, &m, "an array's length", err));
            TN_TRY(skip_values(c, elem, m, depth + 1, err));
        }
    } else if (type < TN_GGUF_TYPE_COUNT) {
        if (n > left(c) / type_bytes[type]) return cut_off(c, "a value", err);
        if (type == TN_GGUF_BOOL)
            for (uint64_t i = 0; i < n; i++)
                if (c->p[i] > 1)
                    return tn_fail(err, TN_FORMAT, "%s: a bool at byte %td is %u, not 0 or 1", c->path,
                                   c->p + i - c->begin, c->p[i]);
        c->p += n * type_bytes[type];
    } else {
        return tn_fail(err, TN_FORMAT, "%s: unknown metadata type %u before byte %td (known: 0 to 12)",
                       c->path, type, c->p - c->begin);
    }
    return TN_OK;
}

static tn_status read_kv(cursor *c, tn_gguf_kv *kv, tn_error *err)
{
    uint32_t type, elem = 0;

    kv->begin = c->p;
    TN_TRY(get_str(c, &kv->key, &kv->key_n, "a metadata key", err));
    if (kv->key_n > MAX_KEY || !is_plain_ascii(kv->key, kv->key_n))
        return tn_fail(err, TN_FORMAT,
                       "%s: the metadata key at byte %td is empty, too long or not plain ASCII", c->path,
                       kv->begin - c->begin);
    TN_TRY(get_u32(c, &type, "a metadata type", err));
    kv->n = 1;
    if (type == TN_GGUF_ARRAY) {
        TN_TRY(get_u32(c, &elem, "an array's type", err));
        TN_TRY(get_u64(c, &kv->n, "an array's length", err));
    }
    kv->type = (tn_gguf_type)type;
    kv->elem = (tn_gguf_type)elem;
    kv->value = c->p;
    tn_status s = skip_values(c, type == TN_GGUF_ARRAY ? elem : type, kv->n, 1, err);
    kv->end = c->p;
    return s == TN_OK ? TN_OK
                      : tn_fail_prefix(err, s, "metadata key '%.*s'",
                                       (int)(kv->key_n > 100 ? 100 : kv->key_n), kv->key);
}

static tn_status read_info(cursor *c, tn_gguf_tensor *t, uint32_t alignment, tn_error *err)
{
    const char *name = "";
    size_t      name_n = 0;
    uint32_t    n_dim, type;
    uint64_t    dims[TN_MAX_DIM];
    size_t      n_elem = 1, row;

    TN_TRY(get_str(c, &name, &name_n, "a tensor's name", err));
    if (name_n > MAX_NAME || !is_plain_ascii(name, name_n))
        return tn_fail(
            err, TN_FORMAT,
            "%s: the tensor name before byte %td is empty, longer than %d bytes or not plain ASCII", c->path,
            c->p - c->begin, MAX_NAME);
    memcpy(t->name, name, name_n);
    t->name[name_n] = '\0';
    TN_TRY(get_u32(c, &n_dim, "a tensor's number of dimensions", err));
    if (n_dim < 1 || n_dim > TN_MAX_DIM)
        return tn_fail(err, TN_FORMAT, "%s: tensor '%s' has %u dimensions; 1 to %d are allowed", c->path,
                       t->name, n_dim, TN_MAX_DIM);
    t->n_dim = (int)n_dim;
    for (uint32_t i = 0; i < n_dim; i++) {
        TN_TRY(get_u64(c, &dims[i], "a tensor's dimension", err));
        if (dims[i] == 0 || dims[i] > INT64_MAX || !tn_mul_size(n_elem, (size_t)dims[i], &n_elem) ||
            n_elem > INT64_MAX)
            return tn_fail(err, TN_FORMAT,
                           "%s: tensor '%s': dimension %u is %" PRIu64 ": zero, or the product overflows",
                           c->path, t->name, i, dims[i]);
    }
    for (uint32_t i = 0; i < n_dim; i++) t->shape[i] = (int64_t)dims[n_dim - 1 - i];
    TN_TRY(get_u32(c, &type, "a tensor's type", err));
    if (!tn_dtype_from_gguf(type, &t->dtype))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: tensor '%s' has type id %u, which is removed from GGUF or not supported here. "
                       "Supported: F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K to Q6_K MXFP4 and integers; "
                       "convert it with llama-quantize",
                       c->path, t->name, type);
    row = tn_row_bytes(t->dtype, t->shape[n_dim - 1]);
    if (row == 0)
        return tn_fail(
            err, TN_FORMAT,
            "%s: tensor '%s': rows of %" PRId64 " are no multiple of the %" PRId64 "-element blocks of %s",
            c->path, t->name, t->shape[n_dim - 1], tn_dtype_block(t->dtype), tn_dtype_name(t->dtype));
    size_t bytes;
    if (!tn_mul_size(n_elem / (size_t)t->shape[n_dim - 1], row, &bytes))
        return tn_fail(err, TN_FORMAT, "%s: tensor '%s': its size overflows", c->path, t->name);
    t->bytes = bytes;
    TN_TRY(get_u64(c, &t->offset, "a tensor's offset", err));
    if (t->offset % alignment != 0)
        return tn_fail(err, TN_FORMAT,
                       "%s: tensor '%s': offset %" PRIu64 " is no multiple of general.alignment (%u)",
                       c->path, t->name, t->offset, alignment);
    return TN_OK;
}

static int kv_order(const void *a, const void *b)
{
    const tn_gguf_kv *x = *(const tn_gguf_kv *const *)a, *y = *(const tn_gguf_kv *const *)b;
    size_t            n = x->key_n < y->key_n ? x->key_n : y->key_n;
    int               d = memcmp(x->key, y->key, n);

    return d != 0 ? d : (x->key_n > y->key_n) - (x->key_n < y->key_n);
}

static int name_order(const void *a, const void *b)
{
    return strcmp((*(const tn_gguf_tensor *const *)a)->name, (*(const tn_gguf_tensor *const *)b)->name);
}

static int offset_order(const void *a, const void *b)
{
    const tn_gguf_tensor *x = *(const tn_gguf_tensor *const *)a, *y = *(const tn_gguf_tensor *const *)b;

    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return strcmp(x->name, y->name);
}

static tn_status check_unique(const tn_gguf *g, const void **order, tn_error *err)
{
    for (size_t i = 0; i < g->n_kv; i++) order[i] = &g->kv[i];
    qsort(order, g->n_kv, sizeof *order, kv_order);
    for (size_t i = 1; i < g->n_kv; i++)
        if (kv_order(&order[i - 1], &order[i]) == 0) {
            const tn_gguf_kv *kv = order[i];
            return tn_fail(err, TN_FORMAT, "%s: metadata key '%.*s' appears twice", g->path, (int)kv->key_n,
                           kv->key);
        }
    for (size_t i = 0; i < g->n_tensor; i++) order[i] = &g->tensors[i];
    qsort(order, g->n_tensor, sizeof *order, name_order);
    for (size_t i = 1; i < g->n_tensor; i++)
        if (name_order(&order[i - 1], &order[i]) == 0)
            return tn_fail(err, TN_FORMAT, "%s: tensor '%s' appears twice", g->path,
                           ((const tn_gguf_tensor *)order[i])->name);
    return TN_OK;
}

/* Tensors tile the data: each begins where the one before ended, up to padding. */
static tn_status check_layout(const tn_gguf *g, const void **order, tn_error *err)
{
    uint64_t size = g->map.n - g->data_begin, end = 0;
    char     a[32], b[32];

    for (size_t i = 0; i < g->n_tensor; i++) order[i] = &g->tensors[i];
    qsort(order, g->n_tensor, sizeof *order, offset_order);
    for (size_t i = 0; i < g->n_tensor; i++) {
        const tn_gguf_tensor *t = order[i];
        if (t->offset > size || t->bytes > size - t->offset) {
            uint64_t last = 0;
            if (__builtin_add_overflow(g->data_begin + t->offset, t->bytes, &last)) last = UINT64_MAX;
            return tn_fail(err, TN_FORMAT,
                           "%s: tensor '%s' ends at byte %s, but the file has %s.\nIt looks cut off while "
                           "downloading: fetch it again (tenet pull) or compare sha256sum with the source.",
                           g->path, t->name, tn_thousands(last, a), tn_thousands(g->map.n, b));
        }
        if (t->offset < end)
            return tn_fail(err, TN_FORMAT,
                           "%s: tensor '%s' begins inside tensor '%s': the file is damaged or hostile",
                           g->path, t->name, ((const tn_gguf_tensor *)order[i - 1])->name);
        if (t->offset - end >= g->alignment)
            return tn_fail(
                err, TN_FORMAT,
                "%s: %s bytes before tensor '%s' belong to nothing: the file is damaged or hostile", g->path,
                tn_thousands(t->offset - end, a), t->name);
        end = t->offset + t->bytes;
    }
    if (size - end >= g->alignment)
        return tn_fail(err, TN_FORMAT,
                       "%s: %s bytes after the last tensor belong to nothing: the file is damaged or hostile",
                       g->path, tn_thousands(size - end, a));
    return TN_OK;
}

static tn_status read_header(cursor *c, uint64_t *n_tensor, uint64_t *n_kv, tn_error *err)
{
    uint32_t version;

    if (left(c) < 4 || memcmp(c->p, "GGUF", 4) != 0)
        return tn_fail(err, TN_FORMAT, "%s: not a GGUF file: it does not begin with the bytes 'GGUF'",
                       c->path);
    c->p += 4;
    TN_TRY(get_u32(c, &version, "the version", err));
    if (version != 3)
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: GGUF version %u; tenet reads version 3 (little-endian): convert it again with a "
                       "current tool",
                       c->path, version);
    TN_TRY(get_u64(c, n_tensor, "the tensor count", err));
    TN_TRY(get_u64(c, n_kv, "the metadata count", err));
    if (*n_kv > MAX_KV || *n_kv > left(c) / MIN_KV_BYTES)
        return tn_fail(err, TN_LIMIT,
                       "%s: says it has %" PRIu64
                       " metadata keys, more than its %zu bytes can hold (limit %d)",
                       c->path, *n_kv, left(c), MAX_KV);
    if (*n_tensor > MAX_TENSOR || *n_tensor > left(c) / MIN_INFO_BYTES)
        return tn_fail(err, TN_LIMIT,
                       "%s: says it has %" PRIu64 " tensors, more than its %zu bytes can hold (limit %d)",
                       c->path, *n_tensor, left(c), MAX_TENSOR);
    return TN_OK;
}

static tn_status parse(tn_gguf *g, bool head_only, tn_error *err)
{
    cursor       c = { g->map.p, g->map.p, g->map.p + g->map.n, g->path };
    uint64_t     n_tensor = 0, n_kv = 0;
    int64_t      alignment;
    const void **order = NULL;
    tn_status    status = TN_OK;

    TN_TRY(read_header(&c, &n_tensor, &n_kv, err));
    g->kv = calloc(n_kv + 1, sizeof *g->kv);
    g->tensors = calloc(n_tensor + 1, sizeof *g->tensors);
    order = calloc((n_kv > n_tensor ? n_kv : n_tensor) + 1, sizeof *order);
    if (g->kv == NULL || g->tensors == NULL || order == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its index", g->path);
        goto out;
    }
    for (; g->n_kv < n_kv; g->n_kv++) TN_GOTO(read_kv(&c, &g->kv[g->n_kv], err));
    TN_GOTO(tn_gguf_int_or(g, "general.alignment", 1, 1 << 20, 32, &alignment, err));
    if ((alignment & (alignment - 1)) != 0) {
        status = tn_fail(err, TN_FORMAT, "%s: general.alignment is %" PRId64 ", not a power of two", g->path,
                         alignment);
        goto out;
    }
    g->alignment = (uint32_t)alignment;
    for (; g->n_tensor < n_tensor; g->n_tensor++)
        TN_GOTO(read_info(&c, &g->tensors[g->n_tensor], g->alignment, err));

    uint64_t pos = (uint64_t)(c.p - c.begin), pad = (g->alignment - pos % g->alignment) % g->alignment;
    if (pad > left(&c) && n_tensor > 0 && !head_only) {
        status = cut_off(&c, "the padding before the data", err);
        goto out;
    }
    g->data_begin = pad > left(&c) ? g->map.n : pos + pad;
    TN_GOTO(check_unique(g, order, err));
    if (head_only) goto out;
    TN_GOTO(check_layout(g, order, err));
    for (size_t i = 0; i < g->n_tensor; i++)
        g->tensors[i].data = g->map.p + g->data_begin + g->tensors[i].offset;
out:
    free(order);
    return status;
}

static tn_status gguf_new(tn_gguf **out, const char *path, tn_error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL || ((*out)->path = tn_strdup(path)) == NULL) {
        tn_gguf_close(*out);
        *out = NULL;
        return tn_fail(err, TN_NOMEM, "%s: no memory for a file handle", path);
    }
    return TN_OK;
}

tn_status tn_gguf_open(tn_gguf **out, const char *path, tn_error *err)
{
    tn_gguf  *g = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    TN_GOTO(gguf_new(&g, path, err));
    TN_GOTO(tn_map_open(&g->map, path, err));
    TN_GOTO(parse(g, false, err));
    *out = g;
    g = NULL;
out:
    tn_gguf_close(g);
    return status;
}

static tn_status parse_bytes(tn_gguf **out, const uint8_t *bytes, size_t n, const char *where, bool head_only,
                             tn_error *err)
{
    tn_gguf  *g = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    TN_GOTO(gguf_new(&g, where, err));
    g->map.p = bytes;
    g->map.n = n;
    TN_GOTO(parse(g, head_only, err));
    *out = g;
    g = NULL;
out:
    tn_gguf_close(g);
    return status;
}

tn_status tn_gguf_parse(tn_gguf **out, const uint8_t *bytes, size_t n, const char *where, tn_error *err)
{
    return parse_bytes(out, bytes, n, where, false, err);
}

tn_status tn_gguf_parse_head(tn_gguf **out, const uint8_t *bytes, size_t n, const char *where, tn_error *err)
{
    return parse_bytes(out, bytes, n, where, true, err);
}

void tn_gguf_close(tn_gguf *g)
{
    if (g == NULL) return;
    if (g->map.os != NULL) tn_map_close(&g->map);
    free(g->kv);
    free(g->tensors);
    free(g->path);
    free(g);
}

const tn_gguf_tensor *tn_gguf_tensor_find(const tn_gguf *g, const char *name)
{
    for (size_t i = 0; i < g->n_tensor; i++)
        if (strcmp(g->tensors[i].name, name) == 0) return &g->tensors[i];
    return NULL;
}
