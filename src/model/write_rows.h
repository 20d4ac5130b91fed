/* write_rows.h - weights as bytes of a wanted type in Hugging Face's or GGUF's layout. Private to the
 * room. */
#ifndef TN_MODEL_WRITE_ROWS_H
#define TN_MODEL_WRITE_ROWS_H

#include "model/hf_layout.h"

/* Bytes of one tensor to be written; own is to be freed, or NULL when p lies in a map or in the model. */
typedef struct tn_bytes {
    const uint8_t *p;
    size_t         n;
    void          *own;
} tn_bytes;

/* Weight i in GGUF's layout (rotated rows interleaved where the architecture does, norms as 1 + w), in
 * `type`. */
tn_status tn_bytes_gguf(tn_bytes *out, const tn_model *m, size_t i, tn_dtype type, tn_error *err);
/* The Hugging Face tensor `name` (from tn_name_to_hf) of weight i, in `type` (F32, F16 or BF16); e gets its
 * shape. */
tn_status tn_bytes_hf(tn_bytes *out, const tn_model *m, size_t i, const tn_name *name, tn_dtype type,
                      tn_st_entry *e, tn_error *err);
/* Shape and type of that tensor without its bytes. */
void tn_hf_entry(tn_st_entry *e, const tn_model *m, size_t i, const tn_name *name, tn_dtype type);

#endif
