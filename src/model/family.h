/* family.h - the table of model families. Private to the room.
 *
 * A family is one file in model/families/: the forward of one layer, written with the words of net.h.
 * Everything else (embedding, the loop over layers, final norm, head, checkpoints for recomputation) is
 * common. The same lines check the weights of a file that is opened, list the weights of a model made from
 * scratch, and build the graph. */
#ifndef TN_MODEL_FAMILY_H
#define TN_MODEL_FAMILY_H

#include "model/model.h"

typedef struct tn_builder tn_builder; /* net.h */

typedef struct tn_family {
    const char *name;      /* tn_hparams.family */
    const char *title;     /* for people: "Llama" */
    bool        layernorm; /* the final norm is LayerNorm with bias, not RMSNorm */
    /* projections into the residual stream start smaller by sqrt(2 n_layer) */
    bool scaled_residual_init;
    /* Token ids to the residual stream; NULL: rows of token_embd, times embd_scale. */
    tn_value (*embed)(tn_builder *b);
    /* One layer, b->layer: the residual stream x [rows][n_embd] to the residual stream. */
    tn_value (*layer)(tn_builder *b, tn_value x);
} tn_family;

/* One row a family, in the order of the table; each is defined in families/. */
// clang-format off
#define TN_FAMILY_LIST(X)                                                               \
    X(gpt2)     X(gptneox)   X(llama)    X(mistral)   X(mixtral)  X(qwen2)   X(qwen3)   \
    X(qwen3moe) X(olmo2)     X(olmo3)    X(gemma2)    X(gemma3)   X(deepseek2)          \
    X(gpt_oss)
// clang-format on

#define X(name) extern const tn_family tn_family_##name;
TN_FAMILY_LIST(X)
#undef X

const tn_family *tn_family_find(const char *name); /* by tn_hparams.family; NULL if unknown */

#endif
