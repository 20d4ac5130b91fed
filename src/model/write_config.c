/* write_config.c - hyper-parameters to config.json, for models that did not come with one (GGUF, from
 * scratch). */
#include "model/hf_reader.h"
#include "model/write_parts.h"

#include <math.h>
#include <string.h>

static void set(json_t *o, const char *key, json_t *v) { json_object_set_new(o, key, v); }
static void set_int(json_t *o, const char *key, int64_t v) { set(o, key, json_integer(v)); }

static void set_rope(json_t *o, const tn_hparams *h)
{
    json_t                *r = json_object();
    const tn_rope_scaling *s = &h->rope;

    set(r, "rope_type", json_string(tn_rope_kind_name(s)));
    set(r, "rope_theta", json_real(h->rope_theta));
    if (strcmp(h->family, "gptneox") == 0) set(r, "partial_rotary_factor", json_real(h->rotary_pct));
    if (s->kind != TN_ROPE_PLAIN) set(r, "factor", json_real(s->factor));
    if (s->kind == TN_ROPE_LLAMA3) {
        set(r, "low_freq_factor", json_real(s->low_freq_factor));
        set(r, "high_freq_factor", json_real(s->high_freq_factor));
    }
    if (s->kind == TN_ROPE_LLAMA3 || s->kind == TN_ROPE_YARN)
        set_int(r, "original_max_position_embeddings", s->n_ctx_orig);
    if (s->kind == TN_ROPE_YARN) {
        set(r, "beta_fast", json_real(s->beta_fast));
        set(r, "beta_slow", json_real(s->beta_slow));
        set(r, "truncate", json_boolean(s->truncate));
        if (s->attn_factor > 0) set(r, "attention_factor", json_real(s->attn_factor));
        if (s->mscale_all_dim > 0) {
            set(r, "mscale", json_real(s->mscale));
            set(r, "mscale_all_dim", json_real(s->mscale_all_dim));
        }
    }
    if (h->rope_theta_local > 0) {
        json_t *both = json_object(), *local = json_object();
        set(local, "rope_type", json_string("default"));
        set(local, "rope_theta", json_real(h->rope_theta_local));
        set(both, "full_attention", r);
        set(both, "sliding_attention", local);
        r = both;
    }
    set(o, "rope_parameters", r);
}

static void set_layer_types(json_t *o, const tn_hparams *h)
{
    json_t *a = json_array();

    for (int64_t i = 0; i < h->n_layer; i++) {
        bool slides = h->window > 0 && (h->window_pattern == 0 || (i + 1) % h->window_pattern != 0);
        json_array_append_new(a, json_string(slides ? "sliding_attention" : "full_attention"));
    }
    set(o, "layer_types", a);
    set(o, "sliding_window", h->window > 0 ? json_integer(h->window) : json_null());
}

void tn_hf_put_sizes(json_t *o, const tn_hparams *h)
{
    bool gpt2 = strcmp(h->family, "gpt2") == 0;

    set_int(o, gpt2 ? "n_layer" : "num_hidden_layers", h->n_layer);
    set_int(o, gpt2 ? "n_embd" : "hidden_size", h->n_embd);
    set_int(o, gpt2 ? "n_inner" : "intermediate_size", h->n_ff);
    set_int(o, gpt2 ? "n_head" : "num_attention_heads", h->n_head);
    set_int(o, gpt2 ? "n_positions" : "max_position_embeddings", h->n_ctx);
    set_int(o, "vocab_size", h->n_vocab);
    set(o,
        gpt2                                ? "layer_norm_epsilon"
        : strcmp(h->family, "gptneox") == 0 ? "layer_norm_eps"
                                            : "rms_norm_eps",
        json_real(h->norm_eps));
    if (gpt2 || strcmp(h->family, "gptneox") == 0) return;
    set_int(o, "num_key_value_heads", h->n_head_kv);
    if (strcmp(h->family, "deepseek2") != 0) set_int(o, "head_dim", h->d_head);
}

static void set_experts(json_t *o, const tn_hparams *h, const char *count)
{
    set_int(o, count, h->n_expert);
    set_int(o, "num_experts_per_tok", h->n_expert_used);
}

static const char *act_name(tn_act a)
{
    return a == TN_ACT_GELU_ERF    ? "gelu"
           : a == TN_ACT_GELU_TANH ? "gelu_pytorch_tanh"
           : a == TN_ACT_RELU      ? "relu"
                                   : "silu";
}

static void set_deepseek(json_t *o, const tn_hparams *h)
{
    if (h->q_lora_rank > 0) set_int(o, "q_lora_rank", h->q_lora_rank);
    else set(o, "q_lora_rank", json_null());
    set_int(o, "kv_lora_rank", h->kv_lora_rank);
    set_int(o, "qk_nope_head_dim", h->d_nope);
    set_int(o, "qk_rope_head_dim", h->d_rope);
    set_int(o, "v_head_dim", h->d_value);
    set_int(o, "n_routed_experts", h->n_expert);
    set_int(o, "num_experts_per_tok", h->n_expert_used);
    set_int(o, "moe_intermediate_size", h->n_ff_expert);
    if (h->n_expert_shared > 0) set_int(o, "n_shared_experts", h->n_expert_shared);
    set_int(o, "first_k_dense_replace", h->n_dense_first);
    set_int(o, "n_group", h->n_expert_group > 0 ? h->n_expert_group : 1);
    set_int(o, "topk_group", h->n_expert_group_used > 0 ? h->n_expert_group_used : 1);
    set(o, "routed_scaling_factor", json_real(h->router_scale));
    set(o, "norm_topk_prob", json_boolean(h->router_renormalise));
    if (!h->router_sigmoid)
        set(o, "topk_method", json_string(h->n_expert_group > 1 ? "group_limited_greedy" : "greedy"));
    else set(o, "rope_interleave", json_boolean(h->rope_interleaved));
}

json_t *tn_hf_config(const tn_hparams *h, tn_dtype type, tn_error *err)
{
    const char *f = h->family, *model_type, *class_name = tn_hf_class(h, &model_type);
    json_t     *o = json_object();

    if (class_name == NULL || o == NULL) {
        json_decref(o);
        tn_fail(err, class_name == NULL ? TN_UNSUPPORTED : TN_NOMEM,
                "family '%s' has no form in Hugging Face's words", f);
        return NULL;
    }
    set(o, "architectures", json_pack("[s]", class_name));
    set(o, "model_type", json_string(model_type));
    set(o, "dtype", json_string(type == TN_BF16 ? "bfloat16" : type == TN_F16 ? "float16" : "float32"));
    set(o, "bos_token_id", h->bos >= 0 ? json_integer(h->bos) : json_null());
    set(o, "eos_token_id", h->eos >= 0 ? json_integer(h->eos) : json_null());
    set(o, "tie_word_embeddings", json_boolean(h->tied));
    set(o, "initializer_range", json_real(h->init_std > 0 ? h->init_std : 0.02));
    tn_hf_put_sizes(o, h);
    if (strcmp(f, "gpt2") == 0) {
        set(o, "activation_function",
            json_string(h->act == TN_ACT_GELU_TANH ? "gelu_new" : act_name(h->act)));
        return o;
    }
    if (strcmp(f, "gptneox") == 0) {
        set(o, "use_parallel_residual", json_boolean(h->parallel_residual));
        set(o, "attention_bias", json_boolean(h->attn_bias));
    }
    set_rope(o, h);
    bool gemma = strncmp(f, "gemma", 5) == 0;
    set(o, gemma ? "hidden_activation" : "hidden_act",
        json_string(strcmp(f, "gpt-oss") == 0 ? "silu" : act_name(h->act)));
    if (strcmp(f, "llama") == 0) {
        set(o, "attention_bias", json_boolean(h->attn_bias));
        set(o, "mlp_bias", json_boolean(h->mlp_bias));
    } else if (strcmp(f, "mistral") == 0 || strcmp(f, "mixtral") == 0) {
        set(o, "sliding_window", h->window > 0 ? json_integer(h->window) : json_null());
    } else if (strcmp(f, "olmo3") == 0 || strcmp(f, "gpt-oss") == 0 || gemma) {
        set_layer_types(o, h);
    } else if (strncmp(f, "qwen3", 5) == 0) {
        set(o, "attention_bias", json_boolean(h->attn_bias));
    }
    if (gemma) {
        /* transformers takes an integer only */
        double scalar = 1 / (h->attn_scale * h->attn_scale), whole = nearbyint(scalar);
        set(o, "query_pre_attn_scalar",
            fabs(scalar - whole) < 1e-6 * scalar ? json_integer((json_int_t)whole) : json_real(scalar));
        set(o, "attn_logit_softcapping", h->attn_softcap > 0 ? json_real(h->attn_softcap) : json_null());
        set(o, "final_logit_softcapping", h->logit_softcap > 0 ? json_real(h->logit_softcap) : json_null());
    }
    if (strcmp(f, "mixtral") == 0 || strcmp(f, "gpt-oss") == 0) set_experts(o, h, "num_local_experts");
    if (strcmp(f, "qwen3moe") == 0) {
        set_experts(o, h, "num_experts");
        set_int(o, "moe_intermediate_size", h->n_ff_expert);
        set(o, "norm_topk_prob", json_boolean(h->router_renormalise));
        set_int(o, "decoder_sparse_step", 1);
        set(o, "mlp_only_layers", json_array());
    }
    if (strcmp(f, "deepseek2") == 0) set_deepseek(o, h);
    return o;
}

/* The table of divisors that Llama 3's scaling is in GGUF, for the settings `s`. */
void tn_llama3_factors(float *out, int64_t n_rot, double theta, const tn_rope_scaling *s)
{
    double pi = 3.14159265358979323846, low = (double)s->n_ctx_orig / s->low_freq_factor,
           high = (double)s->n_ctx_orig / s->high_freq_factor;

    for (int64_t t = 0; t < n_rot / 2; t++) {
        double inv = pow(theta, -2.0 * (double)t / (double)n_rot), wave = 2 * pi / inv;
        double smooth = ((double)s->n_ctx_orig / wave - s->low_freq_factor) /
                        (s->high_freq_factor - s->low_freq_factor);
        out[t] = wave < high  ? 1.0f
                 : wave > low ? (float)s->factor
                              : (float)(1 / ((1 - smooth) / s->factor + smooth));
    }
}

tn_status tn_recover_llama3(tn_hparams *h, tn_error *err)
{
    static const double known[] = { 8, 32, 16, 4, 2, 64 };

    tn_rope_scaling s = {
        .kind = TN_ROPE_LLAMA3, .low_freq_factor = 1, .high_freq_factor = 4, .n_ctx_orig = 8192
    };
    float   table[512];
    int64_t n = h->d_rope;

    if (h->rope.freq_factors == NULL) return TN_OK;
    for (size_t k = 0; k < sizeof known / sizeof known[0] && n / 2 <= 512; k++) {
        bool same = true;
        s.factor = known[k];
        tn_llama3_factors(table, n, h->rope_theta, &s);
        for (int64_t t = 0; t < n / 2 && same; t++)
            same = fabsf(table[t] - h->rope.freq_factors[t]) <= 1e-4f * table[t];
        if (!same) continue;
        h->rope = s;
        return TN_OK;
    }
    return tn_fail(
        err, TN_UNSUPPORTED,
        "its RoPE divisors (rope_freqs) are none that Hugging Face's settings describe: keep it as .gguf");
}
