/* qwen2.c - Qwen 2 and 2.5 (arXiv:2407.10671, arXiv:2412.15115): Llama's layer with biases on q, k and v
 * alone. */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, true);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, true);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, true);
    q = model_rope_heads(b, q, h->n_head, false);
    k = model_rope_heads(b, k, h->n_head_kv, false);
    tn_value a = model_attention(b, q, k, v, 0);
    x = model_residual(b, x, model_linear(b, a, "attn_output", h->n_embd, false));

    n = model_norm(b, x, "ffn_norm");
    return model_residual(b, x, model_ffn(b, n, "ffn_gate", "ffn_up", "ffn_down", h->n_ff));
}

const tn_family tn_family_qwen2 = {
    .name = "qwen2",
    .title = "Qwen2",
    .layer = layer,
};
