/* gpt2.c - GPT-2 (Radford et al. 2019): learned positions, LayerNorm in front of each branch, biases
 * everywhere, one matrix for q, k and v, tanh-GELU, the head tied to the embedding. */
#include "model/net.h"

static tn_value embed(tn_builder *b)
{
    const tn_hparams   *h = b->h;
    tn_embedding_params one = { .scale = 1 };
    tn_value tok = model_weight(b, "token_embd", ".weight", 2, (int64_t[]){ h->n_vocab, h->n_embd });
    tn_value pos = model_weight(b, "position_embd", ".weight", 2, (int64_t[]){ h->n_ctx, h->n_embd });

    return model_add(
        b, tn_graph_op(b->g, "token_embd", TN_OP_EMBEDDING, &one, (tn_value[]){ b->net->tokens, tok }, 2),
        tn_graph_op(b->g, "position_embd", TN_OP_EMBEDDING, &one, (tn_value[]){ b->net->pos, pos }, 2));
}

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    int64_t           d = h->n_embd;

    tn_value qkv = model_linear(b, model_layernorm(b, x, "attn_norm"), "attn_qkv", 3 * d, true);
    tn_value q = model_cols(b, qkv, 3 * d, 0, d), k = model_cols(b, qkv, 3 * d, d, d),
             v = model_cols(b, qkv, 3 * d, 2 * d, d);
    x = model_residual(b, x, model_linear(b, model_attention(b, q, k, v, 0), "attn_output", d, true));

    tn_value f = model_act(b, model_linear(b, model_layernorm(b, x, "ffn_norm"), "ffn_up", h->n_ff, true));
    return model_residual(b, x, model_linear(b, f, "ffn_down", d, true));
}

const tn_family tn_family_gpt2 = {
    .name = "gpt2",
    .title = "GPT-2",
    .layernorm = true,
    .scaled_residual_init = true,
    .embed = embed,
    .layer = layer,
};
