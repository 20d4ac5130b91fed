/* hf_config.c - config.json to hyper-parameters, one function a family.
 *
 * Keys without influence on the forward are listed and skipped; keys that the forward is written for in one
 * way only must have that value; any other key is an error that names it (hf_reader.c keeps the account). */
#include "model/hf_reader.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Training, bookkeeping and generation settings. */
static const char *const no_influence[] = {
    "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache", "_name_or_path",
    "pad_token_id", "attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop",
    "classifier_dropout", "router_aux_loss_coef", "output_router_logits", "router_jitter_noise",
    "pretraining_tp", "tokenizer_class", "auto_map", "return_dict", "output_attentions",
    "output_hidden_states", "torchscript", "problem_type", "id2label", "label2id", "num_labels", "is_decoder",
    "task_specific_params", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
    "summary_type", "summary_use_proj", "max_length", "min_length", "do_sample", "temperature", "top_k",
    "top_p", "repetition_penalty", "num_nextn_predict_layers", "ep_size", "seq_aux", "aux_loss_alpha",
    "cache_implementation", "use_flash_attn", "unsloth_version", "unsloth_fixed", "initial_context_length",
    "n_ctx", "gradient_checkpointing", "_attn_implementation", "_attn_implementation_autoset",
    "attn_implementation", "transformers.js_config", "reorder_and_upcast_attn",
    "original_max_position_embeddings", "eos_token_ids", "is_llama_config", "attention_probs_dropout_prob",
    "hidden_dropout_prob", "_num_labels", "_commit_hash",
    /* What PretrainedConfig writes when all of it is written: generation, other tasks, encoders. */
    "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "decoder_start_token_id", "diversity_penalty", "early_stopping", "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
    "length_penalty", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_scores", "prefix", "remove_invalid_values", "return_dict_in_generate", "sep_token_id",
    "suppress_tokens", "tf_legacy_loss", "tie_encoder_decoder", "typical_p", "use_bfloat16", NULL
};

static tn_act get_act(tn_hf_reader *r, const char *key, const char *dflt)
{
    // clang-format off
    static const struct { const char *name; tn_act act; } acts[] = {
        { "silu", TN_ACT_SILU }, { "swish", TN_ACT_SILU }, { "gelu_pytorch_tanh", TN_ACT_GELU_TANH }, { "gelu_new", TN_ACT_GELU_TANH },
        { "gelu_fast", TN_ACT_GELU_TANH }, { "gelu", TN_ACT_GELU_ERF }, { "relu", TN_ACT_RELU },
    };
    // clang-format on
    const char *name = tn_hf_str(r, key, dflt);

    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        if (strcmp(name, acts[i].name) == 0) return acts[i].act;
    if (r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED,
                            "%s: '%s' is '%.40s'; supported: silu, gelu, gelu_new, gelu_pytorch_tanh, relu",
                            r->where, key, name);
    return TN_ACT_SILU;
}

/* Ids that end an answer: one number or a list. */
static void special_ids(tn_hf_reader *r, tn_hparams *h)
{
    const json_t *eos = tn_hf_get(r, "eos_token_id"),
                 *first = json_is_array(eos) ? json_array_get(eos, 0) : eos;

    h->bos = (int32_t)tn_hf_int(r, "bos_token_id", -1, INT32_MAX, -1);
    h->eos = json_is_integer(first) && json_integer_value(first) >= 0 &&
                     json_integer_value(first) <= INT32_MAX
                 ? (int32_t)json_integer_value(first)
                 : -1;
}

/* What most families share. */
static void common(tn_hf_reader *r, tn_hparams *h)
{
    h->n_layer = tn_hf_need_int(r, "num_hidden_layers", 1, 512);
    h->n_embd = tn_hf_need_int(r, "hidden_size", 1, 1 << 20);
    h->n_ff = tn_hf_need_int(r, "intermediate_size", 1, 1 << 24);
    h->n_head = tn_hf_need_int(r, "num_attention_heads", 1, 1 << 16);
    h->n_head_kv = tn_hf_int(r, "num_key_value_heads", 1, 1 << 16, h->n_head);
    h->d_head = tn_hf_int(r, "head_dim", 1, 1 << 16, h->n_embd / h->n_head);
    h->d_value = h->d_head;
    h->d_rope = h->d_head;
    h->n_vocab = tn_hf_need_int(r, "vocab_size", 1, INT32_MAX);
    h->n_ctx = tn_hf_need_int(r, "max_position_embeddings", 1, INT32_MAX);
    h->norm_eps = tn_hf_real(r, "rms_norm_eps", 1e-20, 1, 1e-6);
    h->tied = tn_hf_bool(r, "tie_word_embeddings", false);
    h->attn_scale = h->d_head > 0 ? 1 / sqrt((double)h->d_head) : 1;
    tn_hf_rope(r, h);
    if (r->status == TN_OK && h->n_head % h->n_head_kv != 0)
        r->status = tn_fail(r->err, TN_FORMAT,
                            "%s: %" PRId64 " heads cannot share %" PRId64 " key/value heads", r->where,
                            h->n_head, h->n_head_kv);
}

/* Which layers slide: layer_types must follow "all but every n-th", which is what the families do. */
static void window_layers(tn_hf_reader *r, tn_hparams *h, int64_t usual)
{
    const json_t *types = tn_hf_get(r, "layer_types");
    int64_t       n = (int64_t)json_array_size(types), pattern = usual;

    h->window = tn_hf_int(r, "sliding_window", 0, INT32_MAX, 0);
    h->window_pattern = usual;
    if (types == NULL || r->status != TN_OK) return;
    for (int64_t tried = -1; tried <= n; tried++) {
        bool fits = n == h->n_layer;
        pattern = tried < 0 ? usual : tried;
        for (int64_t i = 0; i < n && fits; i++) {
            const char *t = json_string_value(json_array_get(types, (size_t)i));
            bool        slides = pattern == 0 || (i + 1) % pattern != 0;
            fits = t != NULL && strcmp(t, slides ? "sliding_attention" : "full_attention") == 0;
        }
        if (fits) break;
        if (tried == n) {
            r->status = tn_fail(
                r->err, TN_UNSUPPORTED,
                "%s: 'layer_types' has no entry a layer, or is no regular mix of full_attention "
                "and sliding_attention",
                r->where);
            return;
        }
    }
    h->window_pattern = pattern;
    if (pattern == 1) h->window = 0; /* every layer is full */
    else if (h->window == 0)
        r->status = tn_fail(r->err, TN_FORMAT,
                            "%s: 'layer_types' has sliding layers, but 'sliding_window' is null", r->where);
    if (h->window == 0) h->window_pattern = 0;
}

static void family_llama(tn_hf_reader *r, tn_hparams *h)
{
    const char *activation = tn_hf_str(r, "activation", "swiglu"); /* Falcon 3's files say it twice */

    common(r, h);
    tn_hf_expect_bool(r, "rope_interleaved", false); /* SmolLM2's files, from another trainer */
    if (strcmp(activation, "swiglu") != 0 && r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED, "%s: 'activation' is '%.40s'; only swiglu is known here",
                            r->where, activation);
    h->act = get_act(r, "hidden_act", "silu");
    h->qkv_bias = h->attn_bias = tn_hf_bool(r, "attention_bias", false);
    h->mlp_bias = tn_hf_bool(r, "mlp_bias", false);
}

static void family_mistral(tn_hf_reader *r, tn_hparams *h)
{
    common(r, h);
    h->act = get_act(r, "hidden_act", "silu");
    window_layers(r, h, 0);
}

static void experts(tn_hf_reader *r, tn_hparams *h, const char *count_key)
{
    h->n_expert = tn_hf_need_int(r, count_key, 1, 1 << 16);
    h->n_expert_used = tn_hf_need_int(r, "num_experts_per_tok", 1, h->n_expert);
    h->n_ff_expert = h->n_ff;
    h->router_scale = 1;
    h->router_renormalise = true;
}

static void family_mixtral(tn_hf_reader *r, tn_hparams *h)
{
    family_mistral(r, h);
    experts(r, h, "num_local_experts");
}

/* Qwen's sliding window is off in every released model; the keys are there all the same. */
static void qwen_window(tn_hf_reader *r, tn_hparams *h)
{
    tn_hf_get(r, "max_window_layers");
    tn_hf_expect_bool(r, "use_sliding_window", false);
    tn_hf_expect_bool(r, "use_mrope", false);
    window_layers(r, h, 1);
    h->window = h->window_pattern = 0;
}

static void family_qwen2(tn_hf_reader *r, tn_hparams *h)
{
    common(r, h);
    h->act = get_act(r, "hidden_act", "silu");
    h->qkv_bias = true;
    qwen_window(r, h);
}

static void family_qwen3(tn_hf_reader *r, tn_hparams *h)
{
    common(r, h);
    h->act = get_act(r, "hidden_act", "silu");
    h->qkv_bias = h->attn_bias = tn_hf_bool(r, "attention_bias", false);
    qwen_window(r, h);
}

static void family_qwen3moe(tn_hf_reader *r, tn_hparams *h)
{
    const json_t *dense = tn_hf_get(r, "mlp_only_layers");

    family_qwen3(r, h);
    experts(r, h, tn_hf_get(r, "num_experts") != NULL ? "num_experts" : "num_local_experts");
    h->n_ff_expert = tn_hf_need_int(r, "moe_intermediate_size", 1, 1 << 24);
    h->router_renormalise = tn_hf_bool(r, "norm_topk_prob", false);
    tn_hf_expect_int(r, "decoder_sparse_step", 1);
    if (json_array_size(dense) > 0 && r->status == TN_OK)
        r->status = tn_fail(
            r->err, TN_UNSUPPORTED,
            "%s: 'mlp_only_layers' is not empty: layers without experts are not supported here", r->where);
}

static void family_olmo2(tn_hf_reader *r, tn_hparams *h)
{
    common(r, h);
    h->act = get_act(r, "hidden_act", "silu");
    tn_hf_expect_bool(r, "attention_bias", false);
}

static void family_olmo3(tn_hf_reader *r, tn_hparams *h)
{
    family_olmo2(r, h);
    window_layers(r, h, 4);
    /* sliding layers rotate without scaling */
    if (h->rope_theta_local == 0) h->rope_theta_local = h->rope_theta;
}

/* sqrt(n_embd) rounded to the model's type, as the released models were trained. */
static double gemma_embd_scale(tn_hf_reader *r, const tn_hparams *h)
{
    const char *dtype = tn_hf_str(r, "dtype", tn_hf_str(r, "torch_dtype", "float32"));
    float       s = sqrtf((float)h->n_embd);

    if (strcmp(dtype, "bfloat16") == 0) s = tn_bf16_to_f32(tn_f32_to_bf16(s));
    else if (strcmp(dtype, "float16") == 0) s = tn_f16_to_f32(tn_f32_to_f16(s));
    return (double)s;
}

static void gemma(tn_hf_reader *r, tn_hparams *h)
{
    common(r, h);
    h->tied = tn_hf_bool(r, "tie_word_embeddings", true);
    h->act = get_act(r, "hidden_activation", tn_hf_str(r, "hidden_act", "gelu_pytorch_tanh"));
    /* old files say "gelu" and mean tanh */
    if (tn_hf_get(r, "hidden_activation") == NULL) h->act = TN_ACT_GELU_TANH;
    h->embd_scale = gemma_embd_scale(r, h);
    h->attn_scale = 1 / sqrt(tn_hf_real(r, "query_pre_attn_scalar", 1e-3, 1e9, (double)h->d_head));
    h->attn_softcap = tn_hf_real(r, "attn_logit_softcapping", 1e-3, 1e6, 0);
    h->logit_softcap = tn_hf_real(r, "final_logit_softcapping", 1e-3, 1e6, 0);
    h->norm_plus_one = true;
    tn_hf_expect_bool(r, "attention_bias", false);
    tn_hf_expect_bool(r, "use_bidirectional_attention", false);
}

static void family_gemma2(tn_hf_reader *r, tn_hparams *h)
{
    gemma(r, h);
    window_layers(r, h, 2);
    tn_hf_expect_int(r, "sliding_window_size", h->window); /* the older name, beside the other */
}

static void family_gemma3(tn_hf_reader *r, tn_hparams *h)
{
    gemma(r, h);
    int64_t usual = tn_hf_int(r, "sliding_window_pattern", 1, 512,
                              tn_hf_int(r, "_sliding_window_pattern", 1, 512, 6));
    tn_hf_get(r, "_sliding_window_pattern");
    window_layers(r, h, usual);
    if (h->rope_theta_local == 0) h->rope_theta_local = 10000;
    /* The key is there and always null; readers of one that is not disagree. */
    if (h->attn_softcap != 0 && r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED,
                            "%s: 'attn_logit_softcapping' must be null for Gemma 3: its attention has no cap",
                            r->where);
}

static void family_deepseek2(tn_hf_reader *r, tn_hparams *h)
{
    const char *method, *score;
    bool        v3 = strcmp(tn_hf_str(r, "model_type", ""), "deepseek_v3") == 0;

    common(r, h);
    h->act = get_act(r, "hidden_act", "silu");
    tn_hf_expect_bool(r, "attention_bias", false);
    tn_hf_expect_bool(r, "mlp_bias", false);
    h->q_lora_rank = tn_hf_int(r, "q_lora_rank", 1, 1 << 20, 0);
    h->kv_lora_rank = tn_hf_need_int(r, "kv_lora_rank", 1, 1 << 20);
    h->d_nope = tn_hf_need_int(r, "qk_nope_head_dim", 1, 1 << 16);
    h->d_rope = tn_hf_need_int(r, "qk_rope_head_dim", 1, 1 << 16);
    h->d_value = tn_hf_need_int(r, "v_head_dim", 1, 1 << 16);
    h->d_head = h->d_nope + h->d_rope;
    tn_hf_expect_int(r, "qk_head_dim", h->d_head); /* both follow from the others, where they are written */
    tn_hf_expect_int(r, "head_dim", h->d_rope);
    h->n_head_kv = h->n_head;
    h->rope_interleaved = tn_hf_bool(r, "rope_interleave", true);
    experts(r, h, "n_routed_experts");
    h->n_ff_expert = tn_hf_need_int(r, "moe_intermediate_size", 1, 1 << 24);
    h->n_expert_shared = tn_hf_int(r, "n_shared_experts", 0, 1 << 16, 0);
    h->n_ff_shared = h->n_ff_expert * h->n_expert_shared;
    h->n_dense_first = tn_hf_int(r, "first_k_dense_replace", 0, h->n_layer, 0);
    tn_hf_expect_int(r, "moe_layer_freq", 1);
    h->router_scale = tn_hf_real(r, "routed_scaling_factor", 1e-6, 1e6, 1);
    score = tn_hf_str(r, "scoring_func", v3 ? "sigmoid" : "softmax");
    method = tn_hf_str(r, "topk_method", v3 ? "noaux_tc" : "greedy");
    h->router_sigmoid = strcmp(score, "sigmoid") == 0;
    h->router_renormalise = tn_hf_bool(r, "norm_topk_prob", v3);
    /* V2's own code and transformers' do not agree on true */
    if (!v3) tn_hf_expect_bool(r, "norm_topk_prob", false);
    h->n_expert_group = tn_hf_int(r, "n_group", 1, 1 << 16, 1);
    h->n_expert_group_used = tn_hf_int(r, "topk_group", 1, 1 << 16, 1);
    if (strcmp(method, "greedy") == 0) h->n_expert_group = h->n_expert_group_used = 1;
    else if (strcmp(method, v3 ? "noaux_tc" : "group_limited_greedy") != 0 && r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED,
                            "%s: 'topk_method' is '%.40s'; supported: greedy, group_limited_greedy, noaux_tc",
                            r->where, method);
    double m = h->rope.kind == TN_ROPE_YARN && h->rope.mscale_all_dim != 0
                   ? 0.1 * h->rope.mscale_all_dim * log(h->rope.factor) + 1
                   : 1;
    h->attn_scale = m * m / sqrt((double)h->d_head);
    h->rotary_pct = 1;
}

static void family_gpt_oss(tn_hf_reader *r, tn_hparams *h)
{
    common(r, h);
    tn_hf_get(r, "hidden_act");
    h->act = TN_ACT_OSS;
    tn_hf_expect_bool(r, "attention_bias", true);
    h->qkv_bias = h->attn_bias = h->mlp_bias = true;
    window_layers(r, h, 2);
    experts(r, h, "num_local_experts");
    tn_hf_get(r, "experts_per_token");
    if (fabs(tn_hf_real(r, "swiglu_limit", 0, 1e6, 7) - 7) > 1e-9 ||
        fabs(tn_hf_real(r, "swiglu_alpha", 0, 1e6, 1.702) - 1.702) > 1e-9)
        r->status = tn_fail(r->err, TN_UNSUPPORTED, "%s: 'swiglu_limit' must be 7 and 'swiglu_alpha' 1.702",
                            r->where);
    const json_t *q = tn_hf_get(r, "quantization_config");
    const char   *how = json_string_value(json_object_get(q, "quant_method"));
    if (q != NULL && (how == NULL || strcmp(how, "mxfp4") != 0) && r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED, "%s: 'quantization_config' is not mxfp4", r->where);
}

static void family_gpt2(tn_hf_reader *r, tn_hparams *h)
{
    h->n_layer = tn_hf_need_int(r, "n_layer", 1, 512);
    h->n_embd = tn_hf_need_int(r, "n_embd", 1, 1 << 20);
    h->n_head = h->n_head_kv = tn_hf_need_int(r, "n_head", 1, 1 << 16);
    h->n_ctx = tn_hf_need_int(r, "n_positions", 1, INT32_MAX);
    h->n_vocab = tn_hf_need_int(r, "vocab_size", 1, INT32_MAX);
    h->n_ff = tn_hf_int(r, "n_inner", 1, 1 << 24, 4 * h->n_embd);
    h->d_head = h->d_value = h->n_embd / h->n_head;
    h->norm_eps = tn_hf_real(r, "layer_norm_epsilon", 1e-20, 1, 1e-5);
    h->act = get_act(r, "activation_function", "gelu_new");
    h->tied = tn_hf_bool(r, "tie_word_embeddings", true);
    h->attn_scale = 1 / sqrt((double)h->d_head);
    h->qkv_bias = h->attn_bias = h->mlp_bias = true;
    tn_hf_expect_bool(r, "scale_attn_by_inverse_layer_idx", false);
    tn_hf_expect_bool(r, "scale_attn_weights", true);
}

static void family_gptneox(tn_hf_reader *r, tn_hparams *h)
{
    h->rope_theta = tn_hf_real(r, "rotary_emb_base", 1, 1e12, 0); /* before transformers 5 */
    common(r, h);
    h->norm_eps = tn_hf_real(r, "layer_norm_eps", 1e-20, 1, 1e-5);
    h->act = get_act(r, "hidden_act", "gelu");
    h->parallel_residual = tn_hf_bool(r, "use_parallel_residual", true);
    h->rotary_pct = tn_hf_real(r, "rotary_pct", 1e-3, 1, h->rotary_pct);
    h->d_rope = (int64_t)((double)h->d_head * h->rotary_pct);
    h->qkv_bias = h->attn_bias = tn_hf_bool(r, "attention_bias", true);
    h->mlp_bias = true;
}

// clang-format off
static const struct { const char *type, *family; void (*read)(tn_hf_reader *r, tn_hparams *h); } types[] = {
    { "llama", "llama", family_llama },          { "mistral", "mistral", family_mistral },  { "mixtral", "mixtral", family_mixtral },
    { "qwen2", "qwen2", family_qwen2 },          { "qwen3", "qwen3", family_qwen3 },        { "qwen3_moe", "qwen3moe", family_qwen3moe },
    { "olmo2", "olmo2", family_olmo2 },          { "olmo3", "olmo3", family_olmo3 },        { "gemma2", "gemma2", family_gemma2 },
    { "gemma3_text", "gemma3", family_gemma3 },  { "deepseek_v2", "deepseek2", family_deepseek2 },
    { "deepseek_v3", "deepseek2", family_deepseek2 }, { "gpt_oss", "gpt-oss", family_gpt_oss },
    { "gpt2", "gpt2", family_gpt2 },             { "gpt_neox", "gptneox", family_gptneox },
};
// clang-format on

tn_status tn_hparams_from_hf(tn_hparams *h, const json_t *config, const char *where, tn_error *err)
{
    tn_hf_reader r;
    size_t       i, n = sizeof types / sizeof types[0];

    memset(h, 0, sizeof *h);
    TN_TRY(tn_hf_reader_init(&r, config, where, err));
    const char *type = tn_hf_str(&r, "model_type", "");
    for (i = 0; i < n && strcmp(types[i].type, type) != 0; i++) {
    }
    if (i == n) {
        tn_status s = tn_fail(
            err, TN_UNSUPPORTED,
            "%s: model_type '%.60s' is not supported; supported: llama, mistral, mixtral, qwen2, qwen3, "
            "qwen3_moe, olmo2, olmo3, gemma2, gemma3_text, deepseek_v2, deepseek_v3, gpt_oss, gpt2, gpt_neox",
            where, type);
        tn_hf_reader_free(&r);
        return s;
    }
    snprintf(h->family, sizeof h->family, "%s", types[i].family);
    h->embd_scale = 1;
    types[i].read(&r, h);
    special_ids(&r, h);
    h->init_std = tn_hf_real(&r, "initializer_range", 0, 10, 0.02);
    tn_hf_expect_bool(&r, "is_encoder_decoder", false);
    tn_hf_expect_bool(&r, "add_cross_attention", false);
    if (json_object_size(tn_hf_get(&r, "pruned_heads")) > 0 && r.status == TN_OK)
        r.status = tn_fail(err, TN_UNSUPPORTED,
                           "%s: 'pruned_heads' is not empty: heads that are not there are not supported",
                           where);
    tn_hf_ignore(&r, no_influence);
    tn_status status = tn_hf_check_all_used(&r);
    tn_hf_reader_free(&r);
    return status;
}
