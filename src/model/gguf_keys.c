/* gguf_keys.c - GGUF metadata being written: single pairs, and the hyper-parameters of a family. */
#include "model/write_parts.h"

#include <math.h>
#include <string.h>

static void add_key(tn_str *s, uint64_t *n, const char *key, uint32_t type)
{
    uint64_t len = strlen(key);

    tn_str_add_n(s, &len, sizeof len);
    tn_str_add_n(s, key, len);
    tn_str_add_n(s, &type, sizeof type);
    ++*n;
}

void tn_kv_str(tn_str *s, uint64_t *n, const char *key, const char *text, size_t bytes)
{
    uint64_t len = bytes;

    add_key(s, n, key, TN_GGUF_STR);
    tn_str_add_n(s, &len, sizeof len);
    tn_str_add_n(s, text, bytes);
}

void tn_kv_u32(tn_str *s, uint64_t *n, const char *key, int64_t v)
{
    uint32_t u = (uint32_t)v;

    add_key(s, n, key, TN_GGUF_U32);
    tn_str_add_n(s, &u, sizeof u);
}

void tn_kv_f32(tn_str *s, uint64_t *n, const char *key, double v)
{
    float f = (float)v;

    add_key(s, n, key, TN_GGUF_F32);
    tn_str_add_n(s, &f, sizeof f);
}

void tn_kv_bool(tn_str *s, uint64_t *n, const char *key, bool v)
{
    uint8_t b = v;

    add_key(s, n, key, TN_GGUF_BOOL);
    tn_str_add_n(s, &b, 1);
}

void tn_kv_array(tn_str *s, uint64_t *n, const char *key, int elem_type, uint64_t n_elem)
{
    uint32_t type = (uint32_t)elem_type;

    add_key(s, n, key, TN_GGUF_ARRAY);
    tn_str_add_n(s, &type, sizeof type);
    tn_str_add_n(s, &n_elem, sizeof n_elem);
}

/* --------------------------------------------------------------------------------------------- the family */

typedef struct keys {
    tn_str     *s;
    uint64_t   *n;
    const char *arch;
} keys;

static const char *full(const keys *k, const char *suffix, char buf[128])
{
    snprintf(buf, 128, "%s.%s", k->arch, suffix);
    return buf;
}

static void put_int(const keys *k, const char *suffix, int64_t v)
{
    char buf[128];
    tn_kv_u32(k->s, k->n, full(k, suffix, buf), v);
}

static void put_real(const keys *k, const char *suffix, double v)
{
    char buf[128];
    tn_kv_f32(k->s, k->n, full(k, suffix, buf), v);
}

static void put_bool(const keys *k, const char *suffix, bool v)
{
    char buf[128];
    tn_kv_bool(k->s, k->n, full(k, suffix, buf), v);
}

static void put_str(const keys *k, const char *suffix, const char *v)
{
    char buf[128];
    tn_kv_str(k->s, k->n, full(k, suffix, buf), v, strlen(v));
}

static tn_status put_rope(const keys *k, const tn_hparams *h, tn_error *err)
{
    const tn_rope_scaling *s = &h->rope;

    put_int(k, "rope.dimension_count", h->d_rope > 0 ? h->d_rope : h->d_head);
    put_real(k, "rope.freq_base", h->rope_theta);
    /* Llama 3's goes into rope_freqs.weight */
    if (s->kind == TN_ROPE_PLAIN || s->kind == TN_ROPE_LLAMA3) return TN_OK;
    if (s->kind != TN_ROPE_LINEAR && s->kind != TN_ROPE_YARN)
        return tn_fail(
            err, TN_UNSUPPORTED,
            "GGUF has no form for this kind of RoPE scaling (dynamic): keep the model in Hugging Face form");
    put_str(k, "rope.scaling.type", s->kind == TN_ROPE_LINEAR ? "linear" : "yarn");
    put_real(k, "rope.scaling.factor", s->factor);
    if (s->kind == TN_ROPE_LINEAR) return TN_OK;
    put_int(k, "rope.scaling.original_context_length", s->n_ctx_orig);
    if (s->beta_fast != 32) put_real(k, "rope.scaling.yarn_beta_fast", s->beta_fast);
    if (s->beta_slow != 1) put_real(k, "rope.scaling.yarn_beta_slow", s->beta_slow);
    /* Readers multiply this by what YaRN's paper says, 0.1 ln(factor) + 1; DeepSeek's files say 0.1
     * mscale_all_dim, which is 1 for cos and sin and stretches the attention's scale instead. */
    double usual = s->factor > 1 ? 0.1 * log(s->factor) + 1 : 1, factor = usual;
    if (strcmp(h->family, "deepseek2") == 0) {
        if (s->mscale_all_dim > 0) put_real(k, "rope.scaling.yarn_log_multiplier", 0.1 * s->mscale_all_dim);
        return TN_OK;
    }
    if (s->attn_factor > 0) factor = s->attn_factor;
    else if (s->mscale > 0 && s->mscale_all_dim > 0 && s->factor > 1)
        factor = (0.1 * s->mscale * log(s->factor) + 1) / (0.1 * s->mscale_all_dim * log(s->factor) + 1);
    if (fabs(factor - usual) > 1e-7 * usual) put_real(k, "rope.scaling.attn_factor", factor / usual);
    return TN_OK;
}

static void put_experts(const keys *k, const tn_hparams *h)
{
    put_int(k, "expert_count", h->n_expert);
    put_int(k, "expert_used_count", h->n_expert_used);
    if (strcmp(h->family, "mixtral") != 0) put_int(k, "expert_feed_forward_length", h->n_ff_expert);
    if (strcmp(h->family, "deepseek2") != 0) return;
    put_int(k, "expert_shared_count", h->n_expert_shared);
    put_int(k, "leading_dense_block_count", h->n_dense_first);
    if (h->n_expert_group > 1) {
        put_int(k, "expert_group_count", h->n_expert_group);
        put_int(k, "expert_group_used_count", h->n_expert_group_used);
    }
    put_real(k, "expert_weights_scale", h->router_scale);
    put_bool(k, "expert_weights_norm", h->router_renormalise);
    put_int(k, "expert_gating_func", h->router_sigmoid ? 2 : 1);
    if (h->q_lora_rank > 0) put_int(k, "attention.q_lora_rank", h->q_lora_rank);
    put_int(k, "attention.kv_lora_rank", h->kv_lora_rank);
}

tn_status tn_kv_hparams(tn_str *s, uint64_t *n, const tn_hparams *h, tn_error *err)
{
    const char *f = h->family;
    keys        k = { s, n, tn_gguf_arch(h) };
    bool        gpt2 = strcmp(f, "gpt2") == 0, neox = strcmp(f, "gptneox") == 0;

    if (k.arch == NULL) return tn_fail(err, TN_UNSUPPORTED, "family '%s' has no form in GGUF", f);
    if (strcmp(f, "qwen3moe") == 0 && !h->router_renormalise)
        return tn_fail(err, TN_UNSUPPORTED,
                       "GGUF's qwen3moe always renormalises the experts' weights, but this model's "
                       "'norm_topk_prob' is false: "
                       "keep it in Hugging Face form");
    put_int(&k, "block_count", h->n_layer);
    put_int(&k, "context_length", h->n_ctx);
    put_int(&k, "embedding_length", h->n_embd);
    put_int(&k, "feed_forward_length", h->n_ff);
    put_int(&k, "attention.head_count", h->n_head);
    if (!gpt2 && !neox) put_int(&k, "attention.head_count_kv", h->n_head_kv);
    if (!gpt2 && !neox) put_int(&k, "attention.key_length", h->d_head);
    if (!gpt2 && !neox) put_int(&k, "attention.value_length", h->d_value > 0 ? h->d_value : h->d_head);
    put_real(&k, gpt2 || neox ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
             h->norm_eps);
    put_int(&k, "vocab_size", h->n_vocab);
    if (!gpt2) TN_TRY(put_rope(&k, h, err));
    if (neox) put_bool(&k, "use_parallel_residual", h->parallel_residual);
    if (h->n_expert > 0) put_experts(&k, h);
    if (h->window > 0) put_int(&k, "attention.sliding_window", h->window);
    int64_t usual = strcmp(f, "olmo3") == 0                                 ? 4
                    : strcmp(f, "gemma2") == 0 || strcmp(f, "gpt-oss") == 0 ? 2
                                                                            : h->window_pattern;
    if (strcmp(f, "gemma3") == 0 || (h->window > 0 && h->window_pattern != usual))
        put_int(&k, "attention.sliding_window_pattern", h->window_pattern);
    if (strcmp(f, "gemma3") == 0 ||
        (strcmp(f, "olmo3") == 0 && h->window > 0 && h->rope_theta_local != h->rope_theta))
        put_real(&k, "rope.freq_base_swa", h->rope_theta_local);
    if (strncmp(f, "gemma", 5) == 0) put_real(&k, "attention.scale", h->attn_scale);
    if (h->attn_softcap > 0) put_real(&k, "attn_logit_softcapping", h->attn_softcap);
    if (h->logit_softcap > 0) put_real(&k, "final_logit_softcapping", h->logit_softcap);
    return TN_OK;
}
