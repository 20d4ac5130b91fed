/* ops.h - the operations' parameters and inputs, one paragraph each, and the arithmetic that is no graph node
 * (the optimiser's steps). Part of tensor's face (tensor.h includes it). [n_row] is the rows of the run. */
#ifndef TN_TENSOR_OPS_H
#define TN_TENSOR_OPS_H

/* matmul: y[n_row][n_out] = x[n_row][n_in] * w[n_out][n_in]^T; every output one FMA chain over n_in, from +0.
 *   in 0 x f32, 1 w (f32 or bf16 rows, or packed); out 0 y f32. Backward: dx = dy w (chain over n_out),
 *   dw += dy^T x (chain over rows, ascending). A packed w has no gradient of its own, but dx flows (LoRA over a frozen
 *   base). Profile strict-bf16: operands rounded to bf16, pairs odd then even (design.md 4.7); dw stays fp32. */
typedef struct tn_matmul_params {
    tn_profile profile;
} tn_matmul_params;

/* embedding: y[n_row][n_embd] = w[id][:] * scale; in 0 ids i32 [n_row], 1 w (f32/bf16 rows or packed). dw:
 * rows of one id added in row order. */
typedef struct tn_embedding_params {
    float scale;
} tn_embedding_params;

/* rmsnorm: in 0 x [n_row][n], 1 w [m] (absent: 1); m divides n and the norm runs over groups of m (per-head
 * q/k norm: m = d_head); out 0 y, 1 rrms [n_row][n/m]. plus_one: multiply by 1 + w (Gemma). */
typedef struct tn_rmsnorm_params {
    float   eps;
    bool    plus_one;
    int64_t group; /* m; 0 means n */
} tn_rmsnorm_params;

/* layernorm: in 0 x, 1 w [n], 2 b [n] (optional); out 0 y, 1 mean [n_row], 2 rstd [n_row]. */
typedef struct tn_layernorm_params {
    float eps;
} tn_layernorm_params;

/* rope: in 0 x [n_row][n_head*d_head], 1 pos i32 [n_row], 2 cos/sin table f32 [n_ctx][n_rot/2][2]
 * (tn_rope_table); rotates the columns [first, first + n_rot) of each head (DeepSeek rotates the last
 * ones). */
typedef struct tn_rope_params {
    int64_t n_head, d_head, first, n_rot;
    bool    interleaved;
    bool    inverse;
} tn_rope_params;
/* Frequencies computed in double with our own sin and cos, rounded once. */
typedef struct tn_rope_scaling {
    enum { TN_ROPE_PLAIN, TN_ROPE_LINEAR, TN_ROPE_NTK, TN_ROPE_LLAMA3, TN_ROPE_YARN, TN_ROPE_LONGROPE } kind;
    double factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow, attn_factor, mscale,
        mscale_all_dim;
    int64_t      n_ctx_orig;
    bool         truncate;     /* yarn: floor and ceil the correction range */
    const float *freq_factors; /* divisors [n_rot/2] (GGUF rope_freqs, longrope), or NULL */
} tn_rope_scaling;
tn_status tn_rope_table(float *table, int64_t n_ctx, int64_t n_rot, double theta, const tn_rope_scaling *s,
                        tn_error *err);

/* attention: packed causal attention over rows of documents, flash-style, key blocks of 64 counted from the
 * document's first row. in 0 q [n_row][n_head*d_k], 1 k [n_row][n_head_kv*d_k], 2 v [n_row][n_head_kv*d_v], 3
 * doc_start i32 [n_row] (row index of the first row of this row's document), 4 sinks f32 [n_head] (optional);
 * out 0 [n_row][n_head*d_v], 1 lse [n_row][n_head]. window 0: all; softcap 0: none. kv_type: keys and values
 * are rounded to it first (F32, BF16, Q8_0), so that decoding from a cache of that type gives the same
 * bits. */
typedef struct tn_attention_params {
    int64_t  n_head, n_head_kv, d_k, d_v, window;
    float    scale, softcap;
    tn_dtype kv_type;
} tn_attention_params;

/* The KV cache of many sequences: pages of 64 positions, so that a page is a key block of the definition,
 * prefixes can be shared and moving a sequence changes nothing. One object per layer group, owned by
 * infer. */
enum { TN_KV_PAGE = 64 };
typedef struct tn_kv tn_kv;
tn_status            tn_kv_create(tn_kv **out, int64_t n_layer, int64_t n_head_kv, int64_t d_k, int64_t d_v,
                                  int64_t n_page, tn_dtype type, tn_error *err);
void                 tn_kv_destroy(tn_kv *kv);
size_t               tn_kv_page_bytes(const tn_kv *kv);
/* Copies the first n positions of page `from` to page `to`, all layers (a shared prefix that ends inside a
 * page). */
void tn_kv_copy_page(tn_kv *kv, int32_t to, int32_t from, int64_t n);

/* attention_cache: the same bits as attention, for rows that continue cached sequences. First the rows' k and
 * v are stored into their pages, then each row attends. in 0 q, 1 k, 2 v as above, 3 pos i32 [n_row]
 * (position inside its sequence), 4 pages i32 [n_row][n_page_max] (page ids of the row's sequence; rows of
 * one sequence have equal lists),
 * 5 sinks (optional); out 0 [n_row][n_head*d_v]. Not differentiable. Rows of a sequence must be in order of
 * pos. */
typedef struct tn_attention_cache_params {
    tn_attention_params a;
    tn_kv              *kv;
    int64_t             i_layer;
} tn_attention_cache_params;

/* gated: y = act(gate) * up; in 0 gate, 1 up. act: silu (SwiGLU), gelu_tanh (GeGLU), gelu_erf; or the gpt-oss
 * form (min(g,limit), clamp(u,±limit), (u+1)*g*sigmoid(1.702 g)). */
typedef enum tn_act {
    TN_ACT_SILU,
    TN_ACT_GELU_TANH,
    TN_ACT_GELU_ERF,
    TN_ACT_RELU,
    TN_ACT_SIGMOID,
    TN_ACT_TANH,
    TN_ACT_OSS
} tn_act;
typedef struct tn_gated_params {
    tn_act act;
    float  limit;
} tn_gated_params;
/* unary: y = act(x), or cap*tanh(x/cap) when softcap > 0. */
typedef struct tn_unary_params {
    tn_act act;
    float  softcap;
} tn_unary_params;

/* add: y = a + s*b as one fmaf(s, b, a), or a + b when s = 1. mul: y = a*b (b may be one row, or one column
 * [n_row][1]). scale: y = s*x. bias: y = x + b[n]. */
typedef struct tn_add_params {
    float s;
} tn_add_params;
typedef struct tn_scale_params {
    float s;
} tn_scale_params;

/* adapter: out = y + s (low b^T), in 0 y [n_row][n_out], 1 low [n_row][rank], 2 b f32 [n_out][rank]: fma(s,
 * u, y) where u is matmul's chain over the rank. One operation, so that u and s dout never go to memory. */
typedef struct tn_adapter_params {
    float s;
} tn_adapter_params;
/* adapted: a frozen w with an adapter: matmul, matmul and adapter in one. in 0 x, 1 w (no gradient), 2 a f32
 * [rank][n_in], 3 b f32 [n_out][rank]; out 0 y, 1 low [n_row][rank], kept for the backward pass. The profile
 * is the frozen product's; the adapter is strict. */
typedef struct tn_adapted_params {
    float      s;
    tn_profile profile;
} tn_adapted_params;

/* cols: y = per group of `group` columns, the columns [first, first+n) (splitting qkv, q_nope | q_rope). in 0
 * x. concat: y = per group, columns of a then of b; b may have one group that all share (MLA's k_rope). */
typedef struct tn_cols_params {
    int64_t n_group, group, first, n;
} tn_cols_params;
typedef struct tn_concat_params {
    int64_t n_group, n_a, n_b;
    bool    b_shared;
} tn_concat_params;

/* router: in 0 logits f32 [n_row][n_expert], 1 selection bias [n_expert] (optional, no gradient); out 0
 * weights [n_row][k], 1 ids i32 [n_row][k], 2 aux [2*n_expert] f32 (fraction, mean probability; for the
 * balancing loss), 3 probs [n_row][n_expert]. Ties: the lower expert. Backward adds the gradients of aux_coef
 * n_expert sum(fraction mean) and of z_coef mean(logsumexp^2) by itself: the coefficients carry the scale of
 * the loss. */
typedef struct tn_router_params {
    int64_t n_expert, k, n_group, n_group_used;
    enum { TN_ROUTE_SOFTMAX_TOPK, TN_ROUTE_TOPK_SOFTMAX, TN_ROUTE_SIGMOID } kind;
    bool  renormalise; /* divide by the sum of the chosen (+1e-20 for sigmoid) */
    bool  group_sum2;  /* group score: sum of its two best (V3), else its best (V2) */
    float scale, aux_coef, z_coef;
} tn_router_params;

/* moe: in 0 x [n_row][n_embd], 1 weights [n_row][k], 2 ids i32 [n_row][k], 3 w_gate [n_expert*n_ff][n_embd]
 * (absent: plain act), 4 w_up, 5 w_down [n_expert*n_embd][n_ff], 6,7,8 biases (optional, gpt-oss); out 0 y
 * [n_row][n_embd]. Rows are sorted by (expert, row); each expert's products are ordinary matmul chains; a
 * row's k outputs are added in slot order. Outputs 1 and 2 keep gate and up of the sorted pairs
 * [n_row*k][n_ff] for the backward pass. */
typedef struct tn_moe_params {
    int64_t    n_expert, k, n_ff;
    tn_act     act;
    float      limit;
    tn_profile profile;
} tn_moe_params;

/* head_loss: logits = x w^T (optionally softcapped), cross-entropy against target with a weight a row, in
 * chunks of rows; never the whole logits matrix. in 0 x [n_row][n_embd], 1 w [n_vocab][n_embd], 2 target i32
 * [n_row] (-1: none),
 * 3 row weight f32 [n_row]; out 0 loss [1] = sum weight*nll (+ z), 1 nll [n_row], 2 dx [n_row][n_embd]
 * (formed in the forward chunk, with train), 3 dw (only with add_dw: the forward chunk adds to it). Backward
 * hands dx on, times dout[0], which must be 1 with add_dw; without it a wanted dw is made in the backward
 * pass from logits computed again. Optional, all three: 4 teacher x f32 [n_row][n_teacher], 5 teacher w
 * [n_vocab][n_teacher], 6 taught i32 [n_row]: rows where it is not 0 (and target not -1) have the teacher's
 * distribution for a target, and nll is KL(teacher || model). */
typedef struct tn_head_params {
    float      softcap, z_coef;
    tn_profile profile;
    bool       train;
    bool       add_dw;
} tn_head_params;
/* head_logprob: in as above without weight; out 0 logp [n_row] of the target, 1 lse [n_row]. Backward
 * recomputes the chunk's logits from dlogp (preference losses know it only after the whole answer).
 * temperature divides the logits. */
typedef struct tn_head_logprob_params {
    float      softcap, temperature;
    tn_profile profile;
} tn_head_logprob_params;

/* dropout: keeps with probability 1-p, scaled by 1/(1-p); the mask is a function of (seed, step, node, sample
 * row, column). in 0 x, 1 sample ids i32 [n_row] (logical row numbers). */
typedef struct tn_dropout_params {
    float    p;
    uint64_t seed, step;
    uint32_t node;
} tn_dropout_params;

/* gather_rows: y[i] = x[rows[i]]; in 0 x, 1 rows i32 [n] (the rows whose logits are wanted). */
/* weight_norm: DoRA's factor of every output, m / |w + scale b a| by rows, the length taken as a constant
 * (only m gets a gradient): in 0 w [n_out][n_in] (f32, bf16 or packed), 1 m [n_out], 2 a [rank][n_in], 3 b
 * [n_out][rank]; out 0 factor [n_out], 1 length [n_out]. */
typedef struct tn_weight_norm_params {
    float scale;
} tn_weight_norm_params;

/* ------------------------------------------------------------------------- not graph nodes: the optimiser */

typedef struct tn_adamw_params {
    float   lr, beta1, beta2, eps, weight_decay;
    int64_t step; /* from 1 */
    float   grad_scale;
} tn_adamw_params;
/* Fused step over n elements, in place; p16 (optional): the bf16 copy, rounded to nearest or, with round !=
 * NULL, stochastically by the counter RNG with positions counted from `first`. Elementwise: exact under any
 * sharding. */
void tn_adamw_step(float *p, float *m, float *v, const float *g, uint16_t *p16, int64_t n,
                   const tn_adamw_params *a, const tn_rng_key *round, int64_t first);

/* The rounding alone, as the step does it: for copies that are made again (loading, other ranks' weights). */
void tn_round_bf16(uint16_t *out, const float *p, int64_t n, const tn_rng_key *round, int64_t first);

#endif
