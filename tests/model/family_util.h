/* family_util.h - what the family tests share: the golden cases, opening them, running a forward as training
 * or as decoding, keeping the logits. */
#ifndef TN_TESTS_MODEL_FAMILY_UTIL_H
#define TN_TESTS_MODEL_FAMILY_UTIL_H

#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef struct family_case {
    const char *name;  /* a folder of tests/golden/families */
    int64_t     n_ctx; /* positions asked for; 0: the model's */
} family_case;

extern const family_case family_cases[];
extern const int         n_family_case;

typedef struct family_model {
    tn_model      *m;
    tn_st_file    *golden;
    const int32_t *tokens;
    int64_t        n_token;
    const float   *logits; /* transformers' [n_token][n_vocab] */
    int64_t        n_vocab, n_ctx;
    float         *grads;   /* one block, in the order of the weights */
    tn_profile     profile; /* of what is built from here on */
} family_model;

/* Opens case c; with `grads` every weight is made f32 and gets zeroed gradient memory. Fails the test on
 * error. */
void   family_open(family_model *f, const family_case *c, bool grads);
void   family_zero_grads(family_model *f);
size_t family_n_grad(const family_model *f);
void   family_close(family_model *f);

typedef struct family_run {
    tn_graph *g;
    tn_net    net;
    tn_value  logits, seed;
    tn_kv    *kv;
    int64_t   rows_max;
} family_run;

/* Builds forward (and backward with train) for up to `rows` rows. */
void family_build(family_run *r, family_model *f, int64_t rows, bool train, bool recompute,
                  const tn_lora *lora, size_t n_lora);
/* Builds the decoding form over a cache of its own with room for `n_seq` sequences of f->n_token. */
void family_build_decode(family_run *r, family_model *f, int64_t rows, int64_t n_seq);
/* Runs documents of the given lengths, one after the other in the rows, all starting at token 0 of `tokens` +
 * offset. */
void         family_forward(family_run *r, const int32_t *tokens, const int64_t *lengths, int n_doc);
const float *family_logits(family_run *r);
void         family_run_free(family_run *r);

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  err_ = { 0 };                                                                              \
        tn_error *err = &err_;                                                                               \
        if ((expr) != TN_OK) fail_msg("%s", err_.msg);                                                       \
    } while (0)

#endif
