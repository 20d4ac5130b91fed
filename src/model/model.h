/* model.h - open-weight models in and out: files, families, weights; a family's forward as a graph.
 *
 *   path ── open (safetensors dir | .gguf | release dir) ──→ tn_model {hparams, weights by name, tokenizer, chat}
 *   tn_model ── tn_model_build(net) ──→ values in a graph ──→ train / infer / eval run it
 *
 * Weights carry GGUF names (blk.3.attn_q.weight) whatever file they came from. A model is read-only and may
 * be shared by threads, except that training writes to the weight memory it asked for. */
#ifndef TN_MODEL_MODEL_H
#define TN_MODEL_MODEL_H

#include "base/hash.h"
#include "base/json.h"
#include "graph/graph.h"
#include "tokenizer/tokenizer.h"

/* Everything that changes the mathematics, in GGUF's words. Unused fields are 0. */
typedef struct tn_hparams {
    char    family[32]; /* "llama", "qwen2", "gemma2", ... one row of the family table */
    int64_t n_layer, n_embd, n_head, n_head_kv, d_head, d_value, n_ff, n_vocab, n_ctx;
    int64_t n_expert, n_expert_used, n_expert_shared, n_ff_expert, n_ff_shared, n_dense_first, n_expert_group,
        n_expert_group_used;
    int64_t q_lora_rank, kv_lora_rank, d_rope, d_nope;
    /* layer i slides unless (i+1) % pattern == 0; pattern 0: all layers slide */
    int64_t window, window_pattern;
    double  norm_eps, rope_theta, rope_theta_local, embd_scale, attn_scale, attn_softcap, logit_softcap,
        router_scale;
    double          logit_scale, residual_scale;
    tn_rope_scaling rope;
    bool tied, rope_interleaved, parallel_residual, router_renormalise, router_sigmoid, qkv_bias, attn_bias,
        mlp_bias;
    double rotary_pct;
    /* RMSNorm weights are stored as w, to be used as 1 + w (Gemma in Hugging Face form) */
    bool    norm_plus_one;
    tn_act  act;
    int32_t bos, eos;
    double  init_std;
} tn_hparams;

/* What is chosen of a new model; 0 for n_head_kv: as n_head, for d_head: n_embd / n_head. Everything else is
 * the family's published rule. */
typedef struct tn_new_shape {
    const char *family;
    int64_t     n_layer, n_embd, n_head, n_head_kv, d_head, n_ff, n_vocab, n_ctx, n_expert, n_expert_used;
    bool        tied;
    double      rope_theta, norm_eps, init_std;
    int32_t     bos, eos;
} tn_new_shape;

/* By name, all that the weights depend on: of the context only what changes an angle (dynamic NTK), no end tokens,
 * no init_std. Reals as floats, which is what files hold of them. made: json_decref; NULL: no memory. */
json_t *tn_hparams_json(const tn_hparams *h);

typedef struct tn_model tn_model;

typedef struct tn_model_options {
    tn_profile  profile;
    const char *chat_format; /* overrides what the template says; NULL: recognise */
    bool        weights;     /* false: only header, hparams, tokenizer (inspect) */
    bool        pack;        /* pack matrices for the kernels and drop the mapped pages (inference) */
    bool        nameless;    /* what is written of it may not depend on what its folder is called */
} tn_model_options;

/* A directory in Hugging Face form, a .gguf file, or a release directory. Names and digests of the store are
 * turned into paths by the caller (recipe, cli). */
tn_status tn_model_open(tn_model **out, const char *path, const tn_model_options *o, tn_error *err);
/* The shape of a new model (for tn_model_create). USAGE if the family cannot be of these sizes. */
tn_status tn_model_new_shape(tn_hparams *out, const tn_new_shape *s, tn_error *err);
/* From scratch: initialised by the family's rule from the counter RNG. The tokenizer is borrowed (may be
 * NULL). */
tn_status tn_model_create(tn_model **out, const tn_hparams *h, tn_tokenizer *tok, uint64_t seed,
                          tn_error *err);
void      tn_model_close(tn_model *m);
/* Only the tokenizer of a model directory, a .gguf file (which need not hold a model) or a tokenizer.json.
 * made: tn_tokenizer_destroy. */
tn_status tn_model_open_tokenizer(tn_tokenizer **out, const char *path, tn_error *err);
/* Only the shape: of a folder with config.json (weights are not needed), a config.json itself, or a .gguf
 * file. */
tn_status tn_model_open_shape(tn_hparams *out, const char *path, tn_error *err);

const tn_hparams   *tn_model_hparams(const tn_model *m);
const tn_tokenizer *tn_model_tokenizer(const tn_model *m); /* NULL if it has none */
/* The chat format; UNSUPPORTED, with the way out, if it has none. */
tn_status tn_model_chat(const tn_model *m, const tn_chat **out, tn_error *err);
/* What tn_model_options.chat_format does, for a model that was created. The format is written with the model
 * (write_chat.c). */
tn_status tn_model_choose_chat(tn_model *m, const char *format, tn_error *err);
/* Puts the format that was asked for, if any, into the tokenizer's files in a directory: for a created model,
 * whose files come from elsewhere. */
tn_status   tn_model_write_chat(const tn_model *m, const char *dir, tn_error *err);
const char *tn_model_path(const tn_model *m);
tn_profile  tn_model_profile(const tn_model *m);    /* what its matrices were packed for */
const char *tn_model_dtype_name(const tn_model *m); /* "Q4_1", "BF16", "mixed" */
/* True for ids that end an answer: the tokenizer's end tokens and those of config.json and
 * generation_config.json. */
bool    tn_model_is_stop(const tn_model *m, int32_t id);
int64_t tn_model_n_param(const tn_model *m, bool active_only);
/* Bytes of the weights in their files' types: what must be in memory to run it. */
uint64_t tn_model_weight_bytes(const tn_model *m);
/* Merkle root over (tensor name, dtype, shape, bytes) in name order: what "the weights" are, whatever the
 * file form. */
tn_status tn_model_digest(const tn_model *m, tn_digest *out, tn_error *err);

/* Weights by name. data points at rows in the file's dtype (or NULL when packed and dropped). */
typedef struct tn_param {
    char      name[96];
    tn_tensor w;      /* as stored; for training: f32 (or bf16 with f32 master elsewhere) */
    tn_tensor grad;   /* data NULL: frozen */
    bool      matrix; /* takes part in matmul: may be packed, may carry LoRA */
} tn_param;
size_t    tn_model_n_tensor(const tn_model *m);
tn_param *tn_model_tensor(tn_model *m, size_t i);       /* in name order (bytes) */
tn_param *tn_model_find(tn_model *m, const char *name); /* NULL if absent */
/* Makes every weight an own f32 array (dequantised), ready for training; frozen ones may stay as they are. */
tn_status tn_model_to_f32(tn_model *m, tn_error *err);

/* ----------------------------------------------------------------------------------- building the forward */

/* A low-rank adapter on one matrix: y += scale * (x a^T) b^T, a [rank][n_in], b [n_out][rank]. name is the
 * weight's ("blk.3.attn_q.weight"). magnitude [n_out] (data NULL: none) makes it DoRA: row o of the adapted
 * matrix gets the length magnitude[o]. Rows of b are in the order of the model's own rows. */
typedef struct tn_lora {
    char      name[96];
    tn_tensor a, b, da, db, magnitude, dmagnitude;
    float     scale;
} tn_lora;

typedef struct tn_net {
    tn_graph      *g;
    tn_model      *model;
    tn_profile     profile;
    bool           train; /* weights with grad data get gradients */
    const tn_lora *lora;
    size_t         n_lora;  /* adapters to put in (NULL: none) */
    tn_kv         *kv;      /* not NULL: attention goes through the cache */
    float          dropout; /* training: of the adapters' inputs, or without adapters of the branches */
    tn_dtype       kv_type; /* without kv: what keys and values are rounded to (F32: not at all) */
    int64_t        n_ctx; /* positions that may be asked for; 0: the model's (dynamic NTK stretches by it) */
    int64_t        n_longest;  /* without kv: rows of a document at most; 0: as many as a run has */
    int64_t        n_page_max; /* with kv: pages of a sequence at most */
    /* experts: weights of the balancing loss and of the router's z-loss */
    float aux_coef, router_z_coef;
    /* inputs, made by tn_model_build: i32 [rows], but pages [rows][n_page_max] and out_rows [n_out_max] */
    tn_value tokens, pos, doc_start, pages, out_rows, sample_ids;
    /* results of tn_model_build: */
    tn_value hidden;         /* after the final norm [rows][n_embd] (of out_rows when n_out_max > 0) */
    tn_value layer_out[512]; /* residual stream after each layer (for probes); kept when keep_layers */
    bool     keep_layers;
    /* experts: [2 n_expert] of the layer's router, the fraction of the assignments that each expert got, then its
     * mean probability; kept; 0 where there are none. The balancing loss sum(aux_coef n_expert fraction
     * probability) is in the backward */
    tn_value layer_router[512];
    int64_t  n_out_max; /* >0: only these many rows (input out_rows) go through norm and head */
    bool     recompute;
} tn_net;

/* Builds the family's forward into net->g up to `hidden`. Zero everything that is not asked for. doc_start is
 * used without kv, pages with it, sample_ids (logical row numbers) with dropout. */
tn_status tn_model_build(tn_net *net, tn_error *err);
/* With dropout, before each run: the masks are a function of (seed, step, node, sample id, column). */
void tn_net_set_step(tn_net *net, uint64_t seed, uint64_t step);
/* The head on top of `hidden` (tied or not, softcap, scale): full logits [rows][n_vocab], for inference. */
tn_value tn_net_logits(tn_net *net);
/* The head's weight (for head_loss / head_logprob). */
tn_value tn_net_head_weight(tn_net *net);

/* ------------------------------------------------------------------------------------------------ writing */

/* Hugging Face directory (safetensors, config.json, tokenizer files) or one .gguf, by the suffix of `out`.
 * type: F32, F16, BF16 or a quantised type (gguf only). Written aside, renamed. fallbacks (or NULL) gets one
 * line per tensor that could not have the type (made: free). */
tn_status tn_model_write(const tn_model *m, const char *out, tn_dtype type, bool keep_types, char **fallbacks,
                         tn_error *err);
/* The same, a directory's weights in files of at most max_shard bytes (0: 5 GB, and files of a directory
 * again as they are). A tensor is never cut: one that is larger has a file for itself. */
tn_status tn_model_write_sharded(const tn_model *m, const char *out, tn_dtype type, bool keep_types,
                                 int64_t max_shard, char **fallbacks, tn_error *err);
/* The tokenizer's files (tokenizer.json ...) of a .gguf into a directory, as where that model is written
 * there. UNSUPPORTED or FORMAT: its vocabulary has no such form, and nothing is written. */
tn_status tn_model_write_tokenizer(const char *gguf, const char *dir, tn_error *err);
/* y = W + scale * B A put into the weights, in fp32, rounded once to the stored type. */
tn_status tn_model_merge_lora(tn_model *m, const tn_lora *lora, size_t n, tn_error *err);
/* Adapters in PEFT's form: adapter_model.safetensors + adapter_config.json. */
tn_status tn_lora_write(const tn_model *m, const tn_lora *lora, size_t n, const char *dir, tn_error *err);
tn_status tn_lora_read(tn_lora **out, size_t *n, const tn_model *m, const char *dir, tn_error *err);
void      tn_lora_free(tn_lora *lora, size_t n);

/* safetensors as a file format, for checkpoints and adapters too. dtype is TN_DTYPE_COUNT for a type of the
 * format that tenet does not hold (BOOL, F8_E4M3, U32 ...); type names it as the file does. */
typedef struct tn_st_entry {
    char        name[256];
    tn_dtype    dtype;
    int         n_dim;
    int64_t     shape[8];
    const void *data;
    uint64_t    begin, end;
    const char *type;
} tn_st_entry;
typedef struct tn_st_file tn_st_file;
tn_status                 tn_st_open(tn_st_file **out, const char *path, tn_error *err);
size_t                    tn_st_count(const tn_st_file *f);
const tn_st_entry        *tn_st_at(const tn_st_file *f, size_t i);
const tn_st_entry        *tn_st_find(const tn_st_file *f, const char *name);
const json_t             *tn_st_metadata(const tn_st_file *f);
void                      tn_st_close(tn_st_file *f);
/* Official order and padding: byte-identical to the reference writer. metadata: object of strings, or
 * NULL. */
tn_status tn_st_write(const char *path, const tn_st_entry *entries, size_t n, const json_t *metadata,
                      tn_error *err);

/* What `tenet inspect --json` prints; made: json_decref. */
json_t *tn_model_inspect(const tn_model *m, tn_error *err);

#endif
