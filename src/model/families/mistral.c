/* mistral.c - Mistral 7B (arXiv:2310.06825): Llama's layer without biases, with sliding-window attention in
 * the first version (each query sees the last h->window keys) and plain attention since v0.2 (window 0). */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, false);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, false);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, false);
    q = model_rope_heads(b, q, h->n_head, false);
    k = model_rope_heads(b, k, h->n_head_kv, false);
    tn_value a = model_attention(b, q, k, v, 0); /* the window is the layer's */
    x = model_residual(b, x, model_linear(b, a, "attn_output", h->n_embd, false));

    n = model_norm(b, x, "ffn_norm");
    return model_residual(b, x, model_ffn(b, n, "ffn_gate", "ffn_up", "ffn_down", h->n_ff));
}

const tn_family tn_family_mistral = {
    .name = "mistral",
    .title = "Mistral",
    .layer = layer,
};
