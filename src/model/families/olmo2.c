/* olmo2.c - OLMo 2 (arXiv:2501.00656) and OLMo 3. No norm in front of a branch: the branch's output is
 * normalised before it joins the residual stream, and queries and keys are normalised over the whole
 * projection, before heads are split.
 *
 *   x += norm(Wo attention(rope(norm(Wq x)), rope(norm(Wk x)), Wv x));   x += norm(ffn(x))
 *
 * OLMo 3 slides in three of four layers; those rotate without the context-extending scaling of the full
 * layers. */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    bool              plain_rope = model_layer_slides(b);

    tn_value q = model_linear(b, x, "attn_q", h->n_head * h->d_head, h->qkv_bias);
    tn_value k = model_linear(b, x, "attn_k", h->n_head_kv * h->d_head, h->qkv_bias);
    tn_value v = model_linear(b, x, "attn_v", h->n_head_kv * h->d_head, h->qkv_bias);
    q = model_rope_heads(b, model_norm(b, q, "attn_q_norm"), h->n_head, plain_rope);
    k = model_rope_heads(b, model_norm(b, k, "attn_k_norm"), h->n_head_kv, plain_rope);
    tn_value a = model_linear(b, model_attention(b, q, k, v, 0), "attn_output", h->n_embd, h->attn_bias);
    x = model_residual(b, x, model_norm(b, a, "post_attention_norm"));

    tn_value f = model_ffn(b, x, "ffn_gate", "ffn_up", "ffn_down", h->n_ff);
    return model_residual(b, x, model_norm(b, f, "post_ffw_norm"));
}

const tn_family tn_family_olmo2 = {
    .name = "olmo2",
    .title = "OLMo 2",
    .layer = layer,
};

const tn_family tn_family_olmo3 = {
    .name = "olmo3",
    .title = "OLMo 3",
    .layer = layer,
};
