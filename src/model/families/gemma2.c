/* gemma2.c - Gemma 2 (arXiv:2408.00118). Embeddings times sqrt(n_embd); norms before and after each branch,
 * with weights used as 1 + w; GeGLU; attention logits and final logits softcapped, c tanh(x / c); every
 * second layer slides. */
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
    tn_value a = model_linear(b, model_attention(b, q, k, v, 0), "attn_output", h->n_embd, h->attn_bias);
    x = model_residual(b, x, model_norm(b, a, "post_attention_norm"));

    n = model_norm(b, x, "ffn_norm");
    tn_value f = model_ffn(b, n, "ffn_gate", "ffn_up", "ffn_down", h->n_ff);
    return model_residual(b, x, model_norm(b, f, "post_ffw_norm"));
}

const tn_family tn_family_gemma2 = {
    .name = "gemma2",
    .title = "Gemma 2",
    .layer = layer,
};
