/* gguf_value.c - typed reading of GGUF metadata: the key is named in every complaint, integers of every width
 * are taken. */
#include "model/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[TN_GGUF_TYPE_COUNT] = { "u8",  "i8",  "u16",  "i16",    "u32",
                                                            "i32", "f32", "bool", "string", "array",
                                                            "u64", "i64", "f64" };

const tn_gguf_kv *tn_gguf_find(const tn_gguf *g, const char *key)
{
    size_t n = strlen(key);

    for (size_t i = 0; i < g->n_kv; i++)
        if (g->kv[i].key_n == n && memcmp(g->kv[i].key, key, n) == 0) return &g->kv[i];
    return NULL;
}

static bool load_int(const uint8_t *p, tn_gguf_type type, int64_t *out)
{
    union {
        uint16_t u16;
        int16_t  i16;
        uint32_t u32;
        int32_t  i32;
        uint64_t u64;
        int64_t  i64;
    } v = { 0 };

    switch (type) {
    case TN_GGUF_U8: *out = *p; return true;
    case TN_GGUF_I8: *out = (int8_t)*p; return true;
    case TN_GGUF_BOOL: *out = *p; return true;
    case TN_GGUF_U16:
        memcpy(&v, p, 2);
        *out = v.u16;
        return true;
    case TN_GGUF_I16:
        memcpy(&v, p, 2);
        *out = v.i16;
        return true;
    case TN_GGUF_U32:
        memcpy(&v, p, 4);
        *out = v.u32;
        return true;
    case TN_GGUF_I32:
        memcpy(&v, p, 4);
        *out = v.i32;
        return true;
    case TN_GGUF_U64:
        memcpy(&v, p, 8);
        *out = (int64_t)v.u64;
        return v.u64 <= INT64_MAX;
    case TN_GGUF_I64:
        memcpy(&v, p, 8);
        *out = v.i64;
        return true;
    default: return false;
    }
}

static bool load_real(const uint8_t *p, tn_gguf_type type, double *out)
{
    float   f;
    int64_t i;

    if (type == TN_GGUF_F32) {
        memcpy(&f, p, 4);
        *out = (double)f;
    } else if (type == TN_GGUF_F64) {
        memcpy(out, p, 8);
    } else if (type != TN_GGUF_BOOL && load_int(p, type, &i)) {
        *out = (double)i;
    } else {
        return false;
    }
    return isfinite(*out);
}

static size_t elem_bytes(tn_gguf_type t)
{
    static const uint8_t bytes[TN_GGUF_TYPE_COUNT] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    return bytes[t];
}

bool tn_gguf_elem_int(const tn_gguf_kv *kv, uint64_t i, int64_t *out)
{
    return i < kv->n && load_int(kv->value + i * elem_bytes(kv->elem), kv->elem, out);
}

bool tn_gguf_elem_real(const tn_gguf_kv *kv, uint64_t i, double *out)
{
    return i < kv->n && load_real(kv->value + i * elem_bytes(kv->elem), kv->elem, out);
}

tn_status tn_gguf_int_or(const tn_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t dflt,
                         int64_t *out, tn_error *err)
{
    const tn_gguf_kv *kv = tn_gguf_find(g, key);

    *out = dflt;
    if (kv == NULL) return TN_OK;
    if (kv->type == TN_GGUF_BOOL || !load_int(kv->value, kv->type, out))
        return tn_fail(err, TN_FORMAT, "%s: '%s' is of type %s; an integer is expected", g->path, key,
                       type_names[kv->type]);
    if (*out < lo || *out > hi)
        return tn_fail(err, TN_FORMAT, "%s: '%s' is %" PRId64 "; %" PRId64 " to %" PRId64 " is allowed",
                       g->path, key, *out, lo, hi);
    return TN_OK;
}

tn_status tn_gguf_real_or(const tn_gguf *g, const char *key, double dflt, double *out, tn_error *err)
{
    const tn_gguf_kv *kv = tn_gguf_find(g, key);

    *out = dflt;
    if (kv == NULL) return TN_OK;
    if (!load_real(kv->value, kv->type, out))
        return tn_fail(err, TN_FORMAT, "%s: '%s' (type %s) is no finite number", g->path, key,
                       type_names[kv->type]);
    return TN_OK;
}

tn_status tn_gguf_bool_or(const tn_gguf *g, const char *key, bool dflt, bool *out, tn_error *err)
{
    const tn_gguf_kv *kv = tn_gguf_find(g, key);

    *out = dflt;
    if (kv == NULL) return TN_OK;
    if (kv->type != TN_GGUF_BOOL)
        return tn_fail(err, TN_FORMAT, "%s: '%s' is of type %s; a bool is expected", g->path, key,
                       type_names[kv->type]);
    *out = *kv->value != 0;
    return TN_OK;
}

tn_status tn_gguf_str(const tn_gguf *g, const char *key, char **out, tn_error *err)
{
    const tn_gguf_kv *kv = tn_gguf_find(g, key);
    uint64_t          n;

    *out = NULL;
    if (kv == NULL) return TN_OK;
    if (kv->type != TN_GGUF_STR)
        return tn_fail(err, TN_FORMAT, "%s: '%s' is of type %s; a string is expected", g->path, key,
                       type_names[kv->type]);
    memcpy(&n, kv->value, 8);
    if (memchr(kv->value + 8, 0, n) != NULL)
        return tn_fail(err, TN_FORMAT, "%s: '%s' has a zero byte inside", g->path, key);
    *out = tn_strndup((const char *)kv->value + 8, n);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for '%s'", g->path, key);
}

tn_status tn_gguf_array(const tn_gguf *g, const char *key, const tn_gguf_kv **out, tn_error *err)
{
    const tn_gguf_kv *kv = tn_gguf_find(g, key);

    *out = kv;
    if (kv != NULL && kv->type != TN_GGUF_ARRAY)
        return tn_fail(err, TN_FORMAT, "%s: '%s' is of type %s; an array is expected", g->path, key,
                       type_names[kv->type]);
    return TN_OK;
}

tn_status tn_gguf_strings(const tn_gguf *g, const char *key, const char ***text, size_t **bytes, int64_t *n,
                          tn_error *err)
{
    const tn_gguf_kv *kv;
    const uint8_t    *p;
    uint64_t          len;

    *text = NULL;
    *bytes = NULL;
    *n = 0;
    TN_TRY(tn_gguf_array(g, key, &kv, err));
    if (kv == NULL) return TN_OK;
    if (kv->elem != TN_GGUF_STR)
        return tn_fail(err, TN_FORMAT, "%s: '%s' is an array of %s; strings are expected", g->path, key,
                       type_names[kv->elem]);
    *text = calloc(kv->n + 1, sizeof **text);
    *bytes = calloc(kv->n + 1, sizeof **bytes);
    if (*text == NULL || *bytes == NULL) {
        free(*text);
        free(*bytes);
        *text = NULL;
        *bytes = NULL;
        return tn_fail(err, TN_NOMEM, "%s: no memory for the %" PRIu64 " strings of '%s'", g->path, kv->n,
                       key);
    }
    p = kv->value;
    for (uint64_t i = 0; i < kv->n; i++) {
        memcpy(&len, p, 8);
        (*text)[i] = (const char *)p + 8;
        (*bytes)[i] = (size_t)len;
        p += 8 + len;
    }
    *n = (int64_t)kv->n;
    return TN_OK;
}
