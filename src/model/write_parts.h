/* write_parts.h - the parts of writing a model. Private to the room. */
#ifndef TN_MODEL_WRITE_PARTS_H
#define TN_MODEL_WRITE_PARTS_H

#include "base/str.h"
#include "model/names.h"

/* config.json for the hyper-parameters; made: json_decref. NULL: not possible. */
json_t     *tn_hf_config(const tn_hparams *h, tn_dtype type, tn_error *err);
const char *tn_rope_kind_name(const tn_rope_scaling *s); /* Hugging Face's word */
/* Divisors [n_rot/2] of the frequencies that Llama 3's scaling means (GGUF's rope_freqs.weight). */
void tn_llama3_factors(float *out, int64_t n_rot, double theta, const tn_rope_scaling *s);
/* The reverse: settings whose divisors are h->rope.freq_factors, put into h->rope. */
tn_status tn_recover_llama3(tn_hparams *h, tn_error *err);

/* ---- GGUF pairs, appended to s; *n counts them */
void tn_kv_str(tn_str *s, uint64_t *n, const char *key, const char *text, size_t bytes);
void tn_kv_u32(tn_str *s, uint64_t *n, const char *key, int64_t v);
void tn_kv_f32(tn_str *s, uint64_t *n, const char *key, double v);
void tn_kv_bool(tn_str *s, uint64_t *n, const char *key, bool v);
/* Begins an array; its n_elem elements follow by tn_str_add_n (strings: u64 length, bytes). */
void tn_kv_array(tn_str *s, uint64_t *n, const char *key, int elem_type, uint64_t n_elem);
/* "<arch>.*" and general keys of the hyper-parameters. */
tn_status tn_kv_hparams(tn_str *s, uint64_t *n, const tn_hparams *h, tn_error *err);
/* Whether the head of a GGUF (n bytes) says all that h says; UNSUPPORTED, naming the key of config.json, if a
 * reader would compute otherwise. */
tn_status tn_gguf_says_all(const tn_hparams *h, const uint8_t *head, size_t n, const char *where,
                           tn_error *err);
/* tokenizer.ggml.* from tokenizer.json; where names it. kind: tn_tokenizer_kind, which says the
 * pre-tokeniser. */
tn_status tn_kv_vocabulary(tn_str *s, uint64_t *n, const json_t *tokenizer, const json_t *config,
                           const tn_model *m, const char *where, tn_error *err);
/* tokenizer.json and tokenizer_config.json from a GGUF vocabulary; made: json_decref. */
tn_status tn_vocabulary_json(json_t **tokenizer, json_t **config, const tn_gguf *g, tn_error *err);

/* ---- the chat format that the model was opened with, where one was asked for (tn_model_options.chat_format) */
/* The template of that format (made: free); NULL: none was asked for. */
tn_status tn_chosen_template(const tn_model *m, char **out, tn_error *err);
/* Puts it into the text of a tokenizer_config.json, its stop token into that of a generation_config.json
 * (*text is freed and made anew); other names are left alone. (tn_model_write_chat: into a directory's
 * files.) */
tn_status tn_chosen_text(const tn_model *m, const char *name, char **text, size_t *n, tn_error *err);

tn_status tn_write_gguf(const tn_model *m, const char *out, tn_dtype type, bool keep_types, tn_str *notes,
                        tn_error *err);
tn_status tn_write_hf(const tn_model *m, const char *out, tn_dtype type, bool keep_types, int64_t max_shard,
                      tn_error *err);

#endif
