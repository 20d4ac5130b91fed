/* names.h - which tensor of a Hugging Face checkpoint is which weight here (GGUF's names), and how it is laid
 * out. Private to the room. */
#ifndef TN_MODEL_NAMES_H
#define TN_MODEL_NAMES_H

#include "model/model_impl.h"

/* How Hugging Face's tensor lies, seen from ours. */
typedef enum tn_layout {
    TN_LAYOUT_SAME,
    /* rows of a rotated projection: GGUF's llama interleaves each head's pairs, Hugging Face does not */
    TN_LAYOUT_QK,
    TN_LAYOUT_NORM,          /* Gemma's norms: GGUF stores 1 + w */
    TN_LAYOUT_TRANSPOSED,    /* GPT-2's Conv1D: [in][out] */
    TN_LAYOUT_NEOX_QKV,      /* [head][q|k|v][d_head] rows; ours: all q rows, all k rows, all v rows */
    TN_LAYOUT_EXPERT,        /* one of n_expert matrices; ours: one tensor [expert][out][in] */
    TN_LAYOUT_OSS_GATE,      /* [expert][in][2 n_ff], gate in the even columns; ours [expert][n_ff][in] */
    TN_LAYOUT_OSS_UP,        /* the same, odd columns */
    TN_LAYOUT_OSS_DOWN,      /* [expert][in][out]; ours [expert][out][in] */
    TN_LAYOUT_OSS_GATE_BIAS, /* [expert][2 n_ff], even */
    TN_LAYOUT_OSS_UP_BIAS,   /* odd */
    /* MXFP4 [expert][2 n_ff][in/32][16] bytes, gate in the even rows; ours: blocks of 17 bytes */
    TN_LAYOUT_MX_GATE,
    TN_LAYOUT_MX_UP,          /* the same, odd rows */
    TN_LAYOUT_MX_DOWN,        /* all rows */
    TN_LAYOUT_MX_GATE_SCALES, /* the blocks' exponents, [expert][2 n_ff][in/32] bytes */
    TN_LAYOUT_MX_UP_SCALES,
    TN_LAYOUT_MX_DOWN_SCALES,
    TN_LAYOUT_SKIP /* a buffer that is no weight (masks, inverse frequencies) */
} tn_layout;

typedef struct tn_name {
    char      name[96]; /* the weight here, or the tensor there */
    tn_layout layout;
    int64_t   i_layer;  /* -1: none */
    int64_t   i_expert; /* -1: none */
} tn_name;

/* Weights that a Hugging Face tensor holds: up to two (gpt-oss's gate and up share one). 0: not a tensor of
 * the family. */
int tn_names_from_hf(const tn_hparams *h, const char *hf, tn_name out[2]);
/* The Hugging Face tensor that holds a weight (of expert i_expert, where they are separate); false: none is
 * known. */
bool tn_name_to_hf(const tn_hparams *h, const char *weight, int64_t i_expert, tn_name *out);
/* Hugging Face's class and model_type for a family; NULL if it has none. */
const char *tn_hf_class(const tn_hparams *h, const char **model_type);
/* GGUF's architecture for a family. */
const char *tn_gguf_arch(const tn_hparams *h);
/* True when GGUF's architecture interleaves rotated pairs (llama and its relatives). */
bool tn_gguf_interleaves(const tn_hparams *h);
/* True for weights whose rows GGUF permutes (layout QK), and their head count. */
bool tn_is_qk(const char *weight, const tn_hparams *h, int64_t *n_head);

#endif
