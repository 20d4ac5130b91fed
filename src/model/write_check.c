/* write_check.c - what a reader of the GGUF that is about to be written would compute, against what the model
 * computes.
 *
 *   hyper-parameters ── gguf_keys.c ──→ the file's head ── gguf_config.c ──→ hyper-parameters again:  equal, or refused by name
 *
 * GGUF says less than config.json: activations, for one, follow from the architecture. Whatever is lost would
 * be filled in silently by the next reader, so the head is read back before a byte is written. */
#include "model/write_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool near(double a, double b, double within) { return fabs(a - b) <= within * fmax(fabs(a), fabs(b)); }

/* What differs as config.json calls it; NULL: nothing. */
static const char *first_difference(const tn_hparams *a, const tn_hparams *b)
{
    const double single = 1e-6; /* GGUF's numbers are fp32 */
    bool         gemma = strncmp(a->family, "gemma", 5) == 0;
    bool         moe = a->n_expert > 0;
    bool         slides = a->window > 0 && a->window_pattern != 1;
    // clang-format off
    const struct { const char *name; double x, y, within; } rows[] = {
        { "num_hidden_layers", (double)a->n_layer, (double)b->n_layer, 0 },
        { "hidden_size", (double)a->n_embd, (double)b->n_embd, 0 },
        { "num_attention_heads", (double)a->n_head, (double)b->n_head, 0 },
        { "num_key_value_heads", (double)a->n_head_kv, (double)b->n_head_kv, 0 },
        { "head_dim", (double)a->d_head, (double)b->d_head, 0 },
        { "v_head_dim", (double)a->d_value, (double)b->d_value, 0 },
        { "intermediate_size", (double)a->n_ff, (double)b->n_ff, 0 },
        { "vocab_size", (double)a->n_vocab, (double)b->n_vocab, 0 },
        { "hidden_act", a->act, b->act, 0 },
        { "rms_norm_eps", a->norm_eps, b->norm_eps, single },
        { "query_pre_attn_scalar", a->attn_scale, b->attn_scale, single },
        { "attn_logit_softcapping", a->attn_softcap, b->attn_softcap, single },
        { "final_logit_softcapping", a->logit_softcap, b->logit_softcap, single },
        { "dtype", a->embd_scale, b->embd_scale, gemma ? 0.005 : 0 },          /* Gemma's readers round sqrt(hidden_size) to different types */
        { "sliding_window", slides ? (double)a->window : 0, b->window_pattern != 1 ? (double)b->window : 0, 0 },
        { "layer_types", slides ? (double)a->window_pattern : 0, slides ? (double)b->window_pattern : 0, 0 },
        { "rotary_pct", (double)a->d_rope, (double)b->d_rope, 0 },
        { "use_parallel_residual", a->parallel_residual, b->parallel_residual, 0 },
        { "attention_bias", a->qkv_bias + 2 * a->attn_bias, b->qkv_bias + 2 * b->attn_bias, 0 },
        { "mlp_bias", a->mlp_bias, b->mlp_bias, 0 },
        { "tie_word_embeddings", a->tied, b->tied, 0 },
        { "num_experts", (double)a->n_expert, (double)b->n_expert, 0 },
        { "num_experts_per_tok", (double)a->n_expert_used, (double)b->n_expert_used, 0 },
        { "moe_intermediate_size", moe ? (double)a->n_ff_expert : 0, moe ? (double)b->n_ff_expert : 0, 0 },
        { "n_shared_experts", (double)a->n_ff_shared, (double)b->n_ff_shared, 0 },
        { "first_k_dense_replace", (double)a->n_dense_first, (double)b->n_dense_first, 0 },
        { "n_group", fmax((double)a->n_expert_group, 1), fmax((double)b->n_expert_group, 1), 0 },
        { "topk_group", a->n_expert_group > 1 ? (double)a->n_expert_group_used : 1, a->n_expert_group > 1 ? (double)b->n_expert_group_used : 1, 0 },
        { "norm_topk_prob", moe && a->router_renormalise, moe && b->router_renormalise, 0 },
        { "scoring_func", moe && a->router_sigmoid, moe && b->router_sigmoid, 0 },
        { "routed_scaling_factor", moe ? a->router_scale : 1, moe ? b->router_scale : 1, single },
        { "q_lora_rank", (double)a->q_lora_rank, (double)b->q_lora_rank, 0 },
        { "kv_lora_rank", (double)a->kv_lora_rank, (double)b->kv_lora_rank, 0 },
        { "qk_nope_head_dim", (double)a->d_nope, (double)b->d_nope, 0 },
    };
    // clang-format on

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!near(rows[i].x, rows[i].y, rows[i].within)) return rows[i].name;
    return NULL;
}

/* The frequencies and the length of the rotation, as the tables of two positions show them. */
static tn_status same_rotation(const tn_hparams *a, const tn_hparams *b, bool *same, tn_error *err)
{
    int64_t   n = a->d_rope / 2 * 2 * 2;
    float    *x = calloc((size_t)n + 1, sizeof *x), *y = calloc((size_t)n + 1, sizeof *y);
    tn_status status = x != NULL && y != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for RoPE tables");

    if (status == TN_OK) status = tn_rope_table(x, 2, a->d_rope, a->rope_theta, &a->rope, err);
    if (status == TN_OK) status = tn_rope_table(y, 2, b->d_rope, b->rope_theta, &b->rope, err);
    *same = true;
    for (int64_t i = 0; i < n && status == TN_OK; i++) *same = *same && fabsf(x[i] - y[i]) <= 2e-6f;
    free(x);
    free(y);
    return status;
}

tn_status tn_gguf_says_all(const tn_hparams *h, const uint8_t *head, size_t n, const char *where,
                           tn_error *err)
{
    tn_hparams  back;
    tn_gguf    *g = NULL;
    const char *what = NULL;
    bool        same = true;
    tn_status   status = TN_OK;

    TN_GOTO(tn_gguf_parse_head(&g, head, n, where, err));
    TN_GOTO(tn_hparams_from_gguf(&back, &g, 1, err));
    what = first_difference(h, &back);
    /* Llama 3's scaling is a tensor of divisors there; GPT-2 does not rotate. */
    if (what == NULL && h->d_rope > 1 && back.d_rope > 1 && h->rope.kind != TN_ROPE_LLAMA3) {
        TN_GOTO(same_rotation(h, &back, &same, err));
        if (!same) what = "rope_parameters";
    }
    double local = h->rope_theta_local > 0 ? h->rope_theta_local : h->rope_theta;
    if (what == NULL && h->window > 0 &&
        (strcmp(h->family, "gemma3") == 0 || strcmp(h->family, "olmo3") == 0) &&
        !near(local, back.rope_theta_local > 0 ? back.rope_theta_local : back.rope_theta, 1e-6))
        what = "rope_parameters.sliding_attention";
    if (what != NULL)
        status = tn_fail(err, TN_UNSUPPORTED,
                         "%s: GGUF's architecture '%s' has no form for this model's '%s': whoever reads the "
                         "file would compute "
                         "something else.\nKeep the model in Hugging Face form.",
                         where, tn_gguf_arch(h), what);
out:
    tn_gguf_close(g);
    return status;
}
