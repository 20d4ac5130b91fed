/* mixtral.c - Mixtral of experts (arXiv:2401.04088): Mistral's attention; the feed-forward is h->n_expert
 * SwiGLU experts of which a row uses h->n_expert_used. Router: softmax over all experts, the best k, divided
 * by their sum. */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    tn_router_params  router = { .n_expert = h->n_expert,
                                 .k = h->n_expert_used,
                                 .kind = TN_ROUTE_SOFTMAX_TOPK,
                                 .renormalise = true,
                                 .scale = 1,
                                 .aux_coef = b->net->aux_coef,
                                 .z_coef = b->net->router_z_coef };

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, false);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, false);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, false);
    q = model_rope_heads(b, q, h->n_head, false);
    k = model_rope_heads(b, k, h->n_head_kv, false);
    tn_value a = model_attention(b, q, k, v, 0);
    x = model_residual(b, x, model_linear(b, a, "attn_output", h->n_embd, false));

    n = model_norm(b, x, "ffn_norm");
    return model_residual(b, x, model_moe(b, n, &router, false));
}

const tn_family tn_family_mixtral = {
    .name = "mixtral",
    .title = "Mixtral",
    .layer = layer,
};
