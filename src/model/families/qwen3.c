/* qwen3.c - Qwen 3 (arXiv:2505.09388), dense: no biases; queries and keys are normalised head by head before
 * rotation; n_head * d_head may differ from n_embd. */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, h->qkv_bias);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, h->qkv_bias);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, h->qkv_bias);
    q = model_rope_heads(b, model_head_norm(b, q, "attn_q_norm", h->d_head), h->n_head, false);
    k = model_rope_heads(b, model_head_norm(b, k, "attn_k_norm", h->d_head), h->n_head_kv, false);
    tn_value a = model_attention(b, q, k, v, 0);
    x = model_residual(b, x, model_linear(b, a, "attn_output", h->n_embd, h->attn_bias));

    n = model_norm(b, x, "ffn_norm");
    return model_residual(b, x, model_ffn(b, n, "ffn_gate", "ffn_up", "ffn_down", h->n_ff));
}

const tn_family tn_family_qwen3 = {
    .name = "qwen3",
    .title = "Qwen3",
    .layer = layer,
};
