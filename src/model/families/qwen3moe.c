/* qwen3moe.c - Qwen 3 mixture of experts (arXiv:2505.09388): Qwen 3's attention; every layer's feed-forward
 * is h->n_expert experts, no shared one. Router: softmax over all, the best k, divided by their sum if the
 * config says so. */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    tn_router_params  router = { .n_expert = h->n_expert,
                                 .k = h->n_expert_used,
                                 .kind = TN_ROUTE_SOFTMAX_TOPK,
                                 .renormalise = h->router_renormalise,
                                 .scale = 1,
                                 .aux_coef = b->net->aux_coef,
                                 .z_coef = b->net->router_z_coef };

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, h->qkv_bias);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, h->qkv_bias);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, h->qkv_bias);
    q = model_rope_heads(b, model_head_norm(b, q, "attn_q_norm", h->d_head), h->n_head, false);
    k = model_rope_heads(b, model_head_norm(b, k, "attn_k_norm", h->d_head), h->n_head_kv, false);
    tn_value a = model_attention(b, q, k, v, 0);
    x = model_residual(b, x, model_linear(b, a, "attn_output", h->n_embd, h->attn_bias));

    n = model_norm(b, x, "ffn_norm");
    return model_residual(b, x, model_moe(b, n, &router, false));
}

const tn_family tn_family_qwen3moe = {
    .name = "qwen3moe",
    .title = "Qwen3-MoE",
    .layer = layer,
};
