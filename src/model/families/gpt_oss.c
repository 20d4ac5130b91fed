/* gpt_oss.c - gpt-oss (arXiv:2508.10925): biases on q, k, v, o, router and experts; every head has a sink,
 * one more logit in the softmax whose value is zero; every second layer slides; experts use the clamped gate
 * of TN_ACT_OSS; the router takes the best k logits and then the softmax over them. */
#include "model/net.h"

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    tn_router_params  router = { .n_expert = h->n_expert,
                                 .k = h->n_expert_used,
                                 .kind = TN_ROUTE_TOPK_SOFTMAX,
                                 .scale = 1,
                                 .aux_coef = b->net->aux_coef,
                                 .z_coef = b->net->router_z_coef };

    tn_value n = model_norm(b, x, "attn_norm");
    tn_value q = model_linear(b, n, "attn_q", h->n_head * h->d_head, true);
    tn_value k = model_linear(b, n, "attn_k", h->n_head_kv * h->d_head, true);
    tn_value v = model_linear(b, n, "attn_v", h->n_head_kv * h->d_head, true);
    q = model_rope_heads(b, q, h->n_head, false);
    k = model_rope_heads(b, k, h->n_head_kv, false);
    tn_value a = model_attention(b, q, k, v, model_weight(b, "attn_sinks", ".weight", 1, &h->n_head));
    x = model_residual(b, x, model_linear(b, a, "attn_output", h->n_embd, true));

    n = model_norm(b, x, "post_attention_norm"); /* GGUF's name for the norm in front of the experts */
    return model_residual(b, x, model_moe(b, n, &router, true));
}

const tn_family tn_family_gpt_oss = {
    .name = "gpt-oss",
    .title = "gpt-oss",
    .layer = layer,
};
