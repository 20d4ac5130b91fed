/* selftest_rig.h - one case of an operation laid out in memory: inputs, outputs, gradients, and what the
 * definition makes of them. Used by the walk over the table (selftest.c) and by random cases
 * (selftest_shake.c). Private to tensor. */
#ifndef TN_TENSOR_SELFTEST_RIG_H
#define TN_TENSOR_SELFTEST_RIG_H

#include "tensor/op_util.h"

typedef enum tn_flavour { TN_NORMAL, TN_SPREAD, TN_UGLY, TN_N_FLAVOUR } tn_flavour;
extern const char *const tn_flavour_name[TN_N_FLAVOUR];

typedef struct tn_rig {
    const tn_op *op;
    tn_case      k;
    tn_arena     arena;
    tn_tensor    in[TN_MAX_IN], out[TN_MAX_OUT], din[TN_MAX_IN], dout;
    tn_weight   *packed[TN_MAX_IN];
    tn_flavour   packed_flavour; /* what those hold */
    uint64_t     packed_seed;
    /* the truth: by flavour; gradients written, and added to what was there */
    void   *want_out[TN_N_FLAVOUR][TN_MAX_OUT], *want_din[TN_N_FLAVOUR][2][TN_MAX_IN];
    tn_call call;
} tn_rig;

/* The i-th number of a seed. */
float tn_rig_value(tn_flavour f, uint64_t seed, uint64_t i);

/* Backward passes: gradients written, gradients added to what was there. */
enum { TN_WRITING = 1, TN_ADDING = 2 };

/* Memory for the case, with scratch for `threads` times what the operation asks for with the threads of
 * now. */
tn_status tn_rig_open(tn_rig *r, const tn_op *op, const tn_case *k, int threads, tn_error *err);
void      tn_rig_close(tn_rig *r);
tn_status tn_rig_fill(tn_rig *r, tn_flavour f, uint64_t seed, tn_error *err);
void      tn_rig_forward(tn_rig *r, const tn_kernel *k);
void      tn_rig_backward(tn_rig *r, const tn_kernel *k, bool add);
void      tn_rig_keep_outputs(tn_rig *r, tn_flavour f);
void      tn_rig_keep_gradients(tn_rig *r, tn_flavour f, bool add);
/* What ref makes of the rig's inputs. */
void tn_rig_keep_truth(tn_rig *r, tn_flavour f, int passes);
/* Kernel k against the truth; `what` names the pass that differed. */
bool tn_rig_agrees(tn_rig *r, const tn_kernel *k, tn_flavour f, int passes, const char **what, char *detail,
                   size_t n);
/* Each row computed alone, by kernel k, against the rows of the batch. */
bool tn_rig_rows_agree(tn_rig *r, const tn_kernel *k, uint64_t seed, char *detail, size_t n, tn_error *err);

#endif
