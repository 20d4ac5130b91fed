/* st_write.h - safetensors beyond the face: writing values that are made on the way, parsing bytes in memory.
 * Private. */
#ifndef TN_MODEL_ST_WRITE_H
#define TN_MODEL_ST_WRITE_H

#include "base/file.h"
#include "model/model.h"

/* Writes the bytes of entry i (all of them) to o. */
typedef tn_status (*tn_st_emit_fn)(void *arg, size_t i, tn_out *o, tn_error *err);
tn_status tn_st_write_with(const char *path, const tn_st_entry *entries, size_t n, const json_t *metadata,
                           tn_st_emit_fn emit, void *arg, tn_error *err);
/* Over bytes that the caller keeps; `where` is named in messages. */
tn_status     tn_st_parse(tn_st_file **out, const uint8_t *bytes, size_t n, const char *where, tn_error *err);
const char   *tn_st_path(const tn_st_file *f);
const tn_map *tn_st_map(const tn_st_file *f);

#endif
