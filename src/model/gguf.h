/* gguf.h - a GGUF v3 file as a checked index over its mapped bytes. Private to the room.
 *
 * Everything that the index points at lies inside the file and was checked when it was opened; values are
 * read from the map on demand. The map must outlive what was borrowed from it. */
#ifndef TN_MODEL_GGUF_H
#define TN_MODEL_GGUF_H

#include "base/file.h"
#include "base/str.h"
#include "tensor/tensor.h"

typedef enum tn_gguf_type {
    TN_GGUF_U8,
    TN_GGUF_I8,
    TN_GGUF_U16,
    TN_GGUF_I16,
    TN_GGUF_U32,
    TN_GGUF_I32,
    TN_GGUF_F32,
    TN_GGUF_BOOL,
    TN_GGUF_STR,
    TN_GGUF_ARRAY,
    TN_GGUF_U64,
    TN_GGUF_I64,
    TN_GGUF_F64,
    TN_GGUF_TYPE_COUNT
} tn_gguf_type;

typedef struct tn_gguf_kv {
    const char    *key; /* key_n bytes in the map, not ended by NUL */
    size_t         key_n;
    tn_gguf_type   type, elem;  /* elem: of an array */
    uint64_t       n;           /* elements of an array, else 1 */
    const uint8_t *value;       /* first byte of the value (of the first element) */
    const uint8_t *begin, *end; /* the whole pair in the file, for copying */
} tn_gguf_kv;

typedef struct tn_gguf_tensor {
    char           name[96];
    tn_dtype       dtype;
    int            n_dim;
    int64_t        shape[TN_MAX_DIM]; /* slowest first */
    uint64_t       offset, bytes;     /* from data_begin */
    const uint8_t *data;
} tn_gguf_tensor;

typedef struct tn_gguf {
    char           *path;
    tn_map          map;
    uint32_t        alignment;
    uint64_t        data_begin;
    tn_gguf_kv     *kv;
    size_t          n_kv;
    tn_gguf_tensor *tensors;
    size_t          n_tensor; /* in the file's order */
} tn_gguf;

tn_status tn_gguf_open(tn_gguf **out, const char *path, tn_error *err);
/* The same over bytes in memory that the caller keeps (fuzzing, tests); `where` is named in messages. */
tn_status tn_gguf_parse(tn_gguf **out, const uint8_t *bytes, size_t n, const char *where, tn_error *err);
/* The same of a file that is being written: metadata and tensors' names and shapes alone. The data pointers
 * are NULL. */
tn_status tn_gguf_parse_head(tn_gguf **out, const uint8_t *bytes, size_t n, const char *where, tn_error *err);
void      tn_gguf_close(tn_gguf *g);

const tn_gguf_kv *tn_gguf_find(const tn_gguf *g, const char *key); /* NULL if absent */
/* Typed values. Absent: the default. Another type or range: FORMAT, naming the file and the key. Integers of
 * every width are accepted; a signed one must not be negative unless lo is. */
tn_status tn_gguf_int_or(const tn_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t dflt,
                         int64_t *out, tn_error *err);
tn_status tn_gguf_real_or(const tn_gguf *g, const char *key, double dflt, double *out, tn_error *err);
tn_status tn_gguf_bool_or(const tn_gguf *g, const char *key, bool dflt, bool *out, tn_error *err);
/* made: free. NULL in *out when absent. A NUL byte inside is an error. */
tn_status tn_gguf_str(const tn_gguf *g, const char *key, char **out, tn_error *err);
/* Element i of an integer or float array (checked by the caller with tn_gguf_array). */
/* *out NULL: absent */
tn_status tn_gguf_array(const tn_gguf *g, const char *key, const tn_gguf_kv **out, tn_error *err);
bool      tn_gguf_elem_int(const tn_gguf_kv *kv, uint64_t i, int64_t *out);
bool      tn_gguf_elem_real(const tn_gguf_kv *kv, uint64_t i, double *out);
/* Strings of an array, borrowed from the map; both arrays made: free. */
tn_status tn_gguf_strings(const tn_gguf *g, const char *key, const char ***text, size_t **bytes, int64_t *n,
                          tn_error *err);

/* Our own key: the head is the embedding, and output.weight, which llama.cpp asks some architectures for, a
 * copy of it. */
#define TN_GGUF_TIED "tenet.tied"

const tn_gguf_tensor *tn_gguf_tensor_find(const tn_gguf *g, const char *name);

/* "1,204,224,000" for messages; buf at least 32 bytes. */
const char *tn_thousands(uint64_t v, char buf[32]);

#endif
