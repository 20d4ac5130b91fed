/* gemma3.c - Gemma 3, text (arXiv:2503.19786): Gemma 2's layer with queries and keys normalised head by head
 * instead of softcapped attention logits; five sliding layers to one full one; sliding layers rotate with
 * their own frequency base and without scaling. */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    bool              local = model_layer_slides(b);

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, h->qkv_bias);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, h->qkv_bias);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, h->qkv_bias);
    q = model_rope_heads(b, model_head_norm(b, q, "attn_q_norm", h->d_head), h->n_head, local);
    k = model_rope_heads(b, model_head_norm(b, k, "attn_k_norm", h->d_head), h->n_head_kv, local);
    tn_value a = model_linear(b, model_attention(b, q, k, v, 0), "attn_output", h->n_embd, h->attn_bias);
    x = model_residual(b, x, model_norm(b, a, "post_attention_norm"));

    n = model_norm(b, x, "ffn_norm");
    tn_value f = model_ffn(b, n, "ffn_gate", "ffn_up", "ffn_down", h->n_ff);
    return model_residual(b, x, model_norm(b, f, "post_ffw_norm"));
}

const tn_family tn_family_gemma3 = {
    .name = "gemma3",
    .title = "Gemma 3",
    .layer = layer,
};
