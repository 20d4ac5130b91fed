/* llama.c - Llama 2 and 3 (arXiv:2307.09288, arXiv:2407.21783), and what has its shape: SmolLM2, TinyLlama,
 * Yi ...
 *
 *   x += Wo attention(rope(Wq n), rope(Wk n), Wv n),   n = rmsnorm(x)
 *   x += Wdown (silu(Wgate n) * Wup n),                n = rmsnorm(x)
 *
 * Grouped heads: query head i reads key/value head i / (n_head / n_head_kv). */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, h->qkv_bias);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, h->qkv_bias);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, h->qkv_bias);
    q = model_rope_heads(b, q, h->n_head, false);
    k = model_rope_heads(b, k, h->n_head_kv, false);
    tn_value a = model_attention(b, q, k, v, 0);
    x = model_residual(b, x, model_linear(b, a, "attn_output", h->n_embd, h->attn_bias));

    n = model_norm(b, x, "ffn_norm");
    return model_residual(b, x, model_ffn(b, n, "ffn_gate", "ffn_up", "ffn_down", h->n_ff));
}

const tn_family tn_family_llama = {
    .name = "llama",
    .title = "Llama",
    .layer = layer,
};
