/* hf_reader.h - config.json read key by key: what nobody asked for is an error in the end. Private to the
 * room. */
#ifndef TN_MODEL_HF_READER_H
#define TN_MODEL_HF_READER_H

#include "model/model_impl.h"

/* The first error sticks; getters then return their default at once. */
typedef struct tn_hf_reader {
    const json_t *config;
    const char   *where;
    char         *used; /* one byte a key, in the object's order of iteration */
    tn_status     status;
    tn_error     *err;
} tn_hf_reader;

tn_status tn_hf_reader_init(tn_hf_reader *r, const json_t *config, const char *where, tn_error *err);
void      tn_hf_reader_free(tn_hf_reader *r);
/* The value and marks it as read; NULL when absent or null. */
const json_t *tn_hf_get(tn_hf_reader *r, const char *key);
int64_t       tn_hf_int(tn_hf_reader *r, const char *key, int64_t lo, int64_t hi, int64_t dflt);
int64_t       tn_hf_need_int(tn_hf_reader *r, const char *key, int64_t lo, int64_t hi);
double        tn_hf_real(tn_hf_reader *r, const char *key, double lo, double hi, double dflt);
bool          tn_hf_bool(tn_hf_reader *r, const char *key, bool dflt);
const char   *tn_hf_str(tn_hf_reader *r, const char *key, const char *dflt);
/* The key, if there, must have this value (numbers, words and truth values), because the forward is written
 * for it. */
void tn_hf_expect_bool(tn_hf_reader *r, const char *key, bool value);
void tn_hf_expect_int(tn_hf_reader *r, const char *key, int64_t value);
/* Keys with no influence on the forward. */
void tn_hf_ignore(tn_hf_reader *r, const char *const *keys);
/* UNSUPPORTED, naming the first key that nobody asked for. */
tn_status tn_hf_check_all_used(tn_hf_reader *r);

/* write_config.c: config.json's sizes and the norms' epsilon, in the family's words. */
void tn_hf_put_sizes(json_t *o, const tn_hparams *h);

/* rope_parameters (transformers 5) or rope_theta + rope_scaling (4): fills theta, local theta and scaling. */
void tn_hf_rope(tn_hf_reader *r, tn_hparams *h);

#endif
