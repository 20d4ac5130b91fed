/* carried.h - Hugging Face's files inside a GGUF, and a GGUF's vocabulary as Hugging Face's files. Private to
 * the room. */
#ifndef TN_MODEL_CARRIED_H
#define TN_MODEL_CARRIED_H

#include "model/write_parts.h"

/* For a model from a Hugging Face directory: tokenizer.ggml.* and the JSON files as metadata. */
tn_status tn_carry_tokenizer(const tn_model *m, tn_str *s, uint64_t *n, tn_error *err);
/* The text of a carried file ("config.json", "tokenizer.json", ...); *out NULL when it is not carried. made:
 * free. */
tn_status tn_carried(const tn_gguf *g, const char *name, char **out, tn_error *err);
/* JSON files that travel along, besides tokenizer.json; ended by NULL. */
extern const char *const tn_carried_files[];

#endif
