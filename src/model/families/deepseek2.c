/* deepseek2.c - DeepSeek V2 and V3 (arXiv:2405.04434, arXiv:2412.19437): latent attention (MLA), experts with
 * a shared one.
 *
 *   queries   q = Wqb norm(Wqa n)  (or Wq n)      per head: d_nope columns, then d_rope that rotate
 *   keys      [c | r] = Wkva n;  r rotates, one for all heads;  [k_nope | v] = Wkvb norm(c) per head;  k = [k_nope | r]
 *   router    V2: softmax, groups judged by their best expert;  V3: sigmoid plus a bias that only chooses, groups judged by
 *             their two best; the chosen weights are the unbiased ones, times h->router_scale
 *
 * The first h->n_dense_first layers have a plain SwiGLU. The cache holds full keys and values (not the
 * latent), so that decoding is the training form's arithmetic to the bit. */
#include "model/net.h"

static tn_value attention(tn_builder *b, tn_value n)
{
    const tn_hparams *h = b->h;
    int64_t nope = h->d_nope, rope = h->d_rope, lora = h->kv_lora_rank, d_k = nope + rope, d_v = h->d_value;

    tn_value q = h->q_lora_rank > 0
                     ? model_norm(b, model_linear(b, n, "attn_q_a", h->q_lora_rank, false), "attn_q_a_norm")
                     : n;
    q = model_linear(b, q, h->q_lora_rank > 0 ? "attn_q_b" : "attn_q", h->n_head * d_k, false);
    q = model_rope(b, q, h->n_head, d_k, nope, rope, false);

    tn_value kv = model_linear(b, n, "attn_kv_a_mqa", lora + rope, false);
    tn_value c = model_norm(b, model_cols(b, kv, lora + rope, 0, lora), "attn_kv_a_norm");
    tn_value r = model_rope(b, model_cols(b, kv, lora + rope, lora, rope), 1, rope, 0, rope, false);
    kv = model_linear(b, c, "attn_kv_b", h->n_head * (nope + d_v), false);
    tn_value         k = model_cols(b, kv, nope + d_v, 0, nope), v = model_cols(b, kv, nope + d_v, nope, d_v);
    tn_concat_params p = { .n_group = h->n_head, .n_a = nope, .n_b = rope, .b_shared = true };
    k = tn_graph_op(b->g, "concat", TN_OP_CONCAT, &p, (tn_value[]){ k, r }, 2);
    return model_linear(b, model_attention(b, q, k, v, 0), "attn_output", h->n_embd, false);
}

static tn_value layer(tn_builder *b, tn_value x)
{
    const tn_hparams *h = b->h;
    tn_router_params  router = { .n_expert = h->n_expert,
                                 .k = h->n_expert_used,
                                 .n_group = h->n_expert_group,
                                 .n_group_used = h->n_expert_group_used,
                                 .kind = h->router_sigmoid ? TN_ROUTE_SIGMOID : TN_ROUTE_SOFTMAX_TOPK,
                                 .renormalise = h->router_renormalise,
                                 .group_sum2 = h->router_sigmoid,
                                 .scale = h->router_scale > 0 ? (float)h->router_scale : 1,
                                 .aux_coef = b->net->aux_coef,
                                 .z_coef = b->net->router_z_coef };

    x = model_residual(b, x, attention(b, model_norm(b, x, "attn_norm")));
    tn_value n = model_norm(b, x, "ffn_norm");
    if (h->n_expert == 0 || b->layer < h->n_dense_first)
        return model_residual(b, x, model_ffn(b, n, "ffn_gate", "ffn_up", "ffn_down", h->n_ff));
    tn_value y = model_moe(b, n, &router, false);
    if (h->n_ff_shared > 0)
        y = model_add(b, y,
                      model_ffn(b, n, "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp", h->n_ff_shared));
    return model_residual(b, x, y);
}

const tn_family tn_family_deepseek2 = {
    .name = "deepseek2",
    .title = "DeepSeek V2/V3",
    .layer = layer,
};
