/* gptneox.c - GPT-NeoX (arXiv:2204.06745) and Pythia: LayerNorm, one matrix for q, k and v (here all queries,
 * then all keys, then all values), rotation of the first h->d_rope columns of a head, and both branches
 * reading the same x:
 *
 *   x + attention(norm1(x)) + mlp(norm2(x))         parallel, the usual form;  else one after the other */
#include "model/net.h"

static tn_value mlp(tn_builder *b, tn_value x)
{
    tn_value f = model_act(b, model_linear(b, model_layernorm(b, x, "ffn_norm"), "ffn_up", b->h->n_ff, true));

    return model_linear(b, f, "ffn_down", b->h->n_embd, true);
}

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    int64_t           d = h->n_head * h->d_head;

    tn_value qkv = model_linear(b, model_layernorm(b, x, "attn_norm"), "attn_qkv", 3 * d, h->qkv_bias);
    tn_value q = model_rope_heads(b, model_cols(b, qkv, 3 * d, 0, d), h->n_head, false);
    tn_value k = model_rope_heads(b, model_cols(b, qkv, 3 * d, d, d), h->n_head, false);
    tn_value v = model_cols(b, qkv, 3 * d, 2 * d, d);
    tn_value a = model_linear(b, model_attention(b, q, k, v, 0), "attn_output", h->n_embd, h->attn_bias);

    if (h->parallel_residual) return model_residual(b, model_residual(b, x, a), mlp(b, x));
    x = model_residual(b, x, a);
    return model_residual(b, x, mlp(b, x));
}

const tn_family tn_family_gptneox = {
    .name = "gptneox",
    .title = "GPT-NeoX",
    .layernorm = true,
    .layer = layer,
};
