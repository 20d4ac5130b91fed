/* open.h - the parts of opening a model that lie in several files. Private to the room. */
#ifndef TN_MODEL_OPEN_H
#define TN_MODEL_OPEN_H

#include "model/model_impl.h"
#include "model/st_write.h"

/* Opens m->path and, when it is the first of a split model, its siblings, into m->gguf. */
tn_status tn_open_gguf_files(tn_model *m, tn_error *err);
/* DeepSeek's attn_k_b and attn_v_b of newer files: not added as they are, but joined to attn_kv_b
 * (gguf_mla.c). */
bool      tn_gguf_is_split_kv_b(const tn_gguf_tensor *t);
tn_status tn_gguf_join_kv_b(tn_model *m, tn_error *err);
/* A directory: config.json, safetensors, tokenizer. Fills everything but what tn_model_seal does. */
tn_status tn_open_hf(tn_model *m, const tn_model_options *o, tn_error *err);
/* *out stays NULL when the file has no vocabulary. */
tn_status tn_open_gguf_tokenizer(tn_tokenizer **out, const tn_gguf *g, const char *template_text,
                                 tn_error *err);
tn_status tn_open_chat(tn_model *m, const char *template_text, const char *chosen, tn_error *err);

#endif
