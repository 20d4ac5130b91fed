/* json.h - JSON by jansson, with the limits and the exactness that we need.
 * Reading rejects duplicate keys, NUL bytes and anything over max_bytes; whole numbers beyond 64 bits become
 * reals. Writing is canonical: sorted keys, compact, numbers that read back the same. */
#ifndef TN_BASE_JSON_H
#define TN_BASE_JSON_H

#include "base/err.h"
#include <jansson.h>

/* `where` names the source in messages ("config.json", "prompts.jsonl:12"). Strict: the whole text is one
 * value. */
tn_status tn_json_parse(json_t **out, const char *text, size_t n, const char *where, tn_error *err);
tn_status tn_json_load(json_t **out, const char *path, size_t max_bytes, tn_error *err);
/* Canonical text; made: free. NULL if out of memory. */
char     *tn_json_text(const json_t *v);
tn_status tn_json_save(const char *path, const json_t *v, bool pretty, tn_error *err); /* atomic */
/* A real that prints as the shortest text that reads back as the same float. */
json_t *tn_json_f32(float v);

/* A name from outside, such as a path: bytes that are no UTF-8 become U+FFFD, since JSON holds characters
 * only. */
json_t *tn_json_name(const char *s);
/* The lines of a text as an array; NULL: an empty one. made. */
json_t *tn_json_lines(const char *text);

/* Typed members; missing or of another type is an error that names `where` and the key. `_or` gives a default
 * if absent. */
tn_status tn_json_str(const json_t *o, const char *key, const char **out, const char *where, tn_error *err);
tn_status tn_json_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out,
                      const char *where, tn_error *err);
tn_status tn_json_int_or(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t dflt, int64_t *out,
                         const char *where, tn_error *err);
tn_status tn_json_real_or(const json_t *o, const char *key, double dflt, double *out, const char *where,
                          tn_error *err);
tn_status tn_json_bool_or(const json_t *o, const char *key, bool dflt, bool *out, const char *where,
                          tn_error *err);

/* JSON Lines: one value a line, blank lines skipped; also gzip and zstd. */
typedef struct tn_jsonl tn_jsonl;
tn_status               tn_jsonl_open(tn_jsonl **out, const char *path, tn_error *err);
/* *row = NULL at the end; made: json_decref. Messages say path:line. */
tn_status tn_jsonl_next(tn_jsonl *r, json_t **row, tn_error *err);
int64_t   tn_jsonl_line(const tn_jsonl *r);
void      tn_jsonl_close(tn_jsonl *r);
/* Every row of a file in turn; where: "path:line". Stops at the first status that is not TN_OK. */
typedef tn_status (*tn_jsonl_fn)(void *ctx, const json_t *row, const char *where, tn_error *err);
tn_status tn_jsonl_each(const char *path, tn_jsonl_fn fn, void *ctx, tn_error *err);

#endif
