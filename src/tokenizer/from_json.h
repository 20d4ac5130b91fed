/* from_json.h - the parts of tokenizer.json, one function each. Private to this room. */
#ifndef TN_TOKENIZER_FROM_JSON_H
#define TN_TOKENIZER_FROM_JSON_H

#include "base/json.h"
#include "tokenizer/internal.h"

/* Each takes NULL or null for an absent part. UNSUPPORTED names the part and its type. */
tn_status tn_json_normaliser(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err);
tn_status tn_json_pre_tokenizer(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err);
tn_status tn_json_decoder(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err);
tn_status tn_json_post_processor(tn_tokenizer *t, const json_t *v, const char *where, tn_error *err);

#endif
