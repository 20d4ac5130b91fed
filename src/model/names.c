/* names.c - Hugging Face's tensor names and ours (GGUF's), family by family, as tables of patterns.
 *
 * "{l}" stands for the layer, "{e}" for the expert. A family is a list of tables; the first row that fits
 * counts. */
#include "model/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct row {
    const char *hf, *weight;
    tn_layout   layout;
} row;

static const row roots[] = {
    { "model.embed_tokens.weight", "token_embd.weight", TN_LAYOUT_SAME },
    { "model.norm.weight", "output_norm.weight", TN_LAYOUT_SAME },
    { "lm_head.weight", "output.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.rotary_emb.inv_freq", NULL, TN_LAYOUT_SKIP },
    { "model.rotary_emb.inv_freq", NULL, TN_LAYOUT_SKIP },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

static const row gemma_roots[] = {
    { "model.embed_tokens.weight", "token_embd.weight", TN_LAYOUT_SAME },
    { "model.norm.weight", "output_norm.weight", TN_LAYOUT_NORM },
    { "lm_head.weight", "output.weight", TN_LAYOUT_SAME },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

// clang-format off
#define ATTENTION(qk)                                                                  \
    { "model.layers.{l}.self_attn.q_proj.weight", "blk.{l}.attn_q.weight", qk },       \
    { "model.layers.{l}.self_attn.k_proj.weight", "blk.{l}.attn_k.weight", qk },       \
    { "model.layers.{l}.self_attn.v_proj.weight", "blk.{l}.attn_v.weight", TN_LAYOUT_SAME },       \
    { "model.layers.{l}.self_attn.o_proj.weight", "blk.{l}.attn_output.weight", TN_LAYOUT_SAME },  \
    { "model.layers.{l}.self_attn.q_proj.bias", "blk.{l}.attn_q.bias", qk },           \
    { "model.layers.{l}.self_attn.k_proj.bias", "blk.{l}.attn_k.bias", qk },           \
    { "model.layers.{l}.self_attn.v_proj.bias", "blk.{l}.attn_v.bias", TN_LAYOUT_SAME },           \
    { "model.layers.{l}.self_attn.o_proj.bias", "blk.{l}.attn_output.bias", TN_LAYOUT_SAME }
// clang-format on

static const row attention[] = { ATTENTION(TN_LAYOUT_SAME), { NULL, NULL, TN_LAYOUT_SKIP } };
static const row attention_llama[] = { ATTENTION(TN_LAYOUT_QK), { NULL, NULL, TN_LAYOUT_SKIP } };

static const row qk_norms[] = {
    { "model.layers.{l}.self_attn.q_norm.weight", "blk.{l}.attn_q_norm.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.k_norm.weight", "blk.{l}.attn_k_norm.weight", TN_LAYOUT_SAME },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

static const row mlp[] = {
    { "model.layers.{l}.mlp.gate_proj.weight", "blk.{l}.ffn_gate.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.up_proj.weight", "blk.{l}.ffn_up.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.down_proj.weight", "blk.{l}.ffn_down.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.gate_proj.bias", "blk.{l}.ffn_gate.bias", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.up_proj.bias", "blk.{l}.ffn_up.bias", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.down_proj.bias", "blk.{l}.ffn_down.bias", TN_LAYOUT_SAME },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

static const row pre_norms[] = {
    { "model.layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.post_attention_layernorm.weight", "blk.{l}.ffn_norm.weight", TN_LAYOUT_SAME },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

// clang-format off
static const row olmo_norms[] = {
    { "model.layers.{l}.post_attention_layernorm.weight", "blk.{l}.post_attention_norm.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.post_feedforward_layernorm.weight", "blk.{l}.post_ffw_norm.weight", TN_LAYOUT_SAME },
    { NULL, NULL, TN_LAYOUT_SKIP }
};

static const row gemma_norms[] = {
    { "model.layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight", TN_LAYOUT_NORM },
    { "model.layers.{l}.post_attention_layernorm.weight", "blk.{l}.post_attention_norm.weight", TN_LAYOUT_NORM },
    { "model.layers.{l}.pre_feedforward_layernorm.weight", "blk.{l}.ffn_norm.weight", TN_LAYOUT_NORM },
    { "model.layers.{l}.post_feedforward_layernorm.weight", "blk.{l}.post_ffw_norm.weight", TN_LAYOUT_NORM },
    { "model.layers.{l}.self_attn.q_norm.weight", "blk.{l}.attn_q_norm.weight", TN_LAYOUT_NORM },
    { "model.layers.{l}.self_attn.k_norm.weight", "blk.{l}.attn_k_norm.weight", TN_LAYOUT_NORM },
    { NULL, NULL, TN_LAYOUT_SKIP }
};

static const row mixtral_experts[] = {
    { "model.layers.{l}.block_sparse_moe.gate.weight", "blk.{l}.ffn_gate_inp.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight", "blk.{l}.ffn_gate_exps.weight", TN_LAYOUT_EXPERT },
    { "model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight", "blk.{l}.ffn_down_exps.weight", TN_LAYOUT_EXPERT },
    { "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight", "blk.{l}.ffn_up_exps.weight", TN_LAYOUT_EXPERT },
    { NULL, NULL, TN_LAYOUT_SKIP }
};
// clang-format on

static const row experts[] = {
    { "model.layers.{l}.mlp.gate.weight", "blk.{l}.ffn_gate_inp.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.experts.{e}.gate_proj.weight", "blk.{l}.ffn_gate_exps.weight", TN_LAYOUT_EXPERT },
    { "model.layers.{l}.mlp.experts.{e}.down_proj.weight", "blk.{l}.ffn_down_exps.weight", TN_LAYOUT_EXPERT },
    { "model.layers.{l}.mlp.experts.{e}.up_proj.weight", "blk.{l}.ffn_up_exps.weight", TN_LAYOUT_EXPERT },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

// clang-format off
static const row deepseek[] = {
    { "model.layers.{l}.mlp.gate.e_score_correction_bias", "blk.{l}.exp_probs_b.bias", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.shared_experts.gate_proj.weight", "blk.{l}.ffn_gate_shexp.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.shared_experts.up_proj.weight", "blk.{l}.ffn_up_shexp.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.shared_experts.down_proj.weight", "blk.{l}.ffn_down_shexp.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.q_proj.weight", "blk.{l}.attn_q.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.q_a_proj.weight", "blk.{l}.attn_q_a.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.q_a_layernorm.weight", "blk.{l}.attn_q_a_norm.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.q_b_proj.weight", "blk.{l}.attn_q_b.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight", "blk.{l}.attn_kv_a_mqa.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.kv_a_layernorm.weight", "blk.{l}.attn_kv_a_norm.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.kv_b_proj.weight", "blk.{l}.attn_kv_b.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.o_proj.weight", "blk.{l}.attn_output.weight", TN_LAYOUT_SAME },
    { NULL, NULL, TN_LAYOUT_SKIP }
};

static const row oss[] = {
    { "model.layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.post_attention_layernorm.weight", "blk.{l}.post_attention_norm.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.self_attn.sinks", "blk.{l}.attn_sinks.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.router.weight", "blk.{l}.ffn_gate_inp.weight", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.router.bias", "blk.{l}.ffn_gate_inp.bias", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.experts.gate_up_proj", "blk.{l}.ffn_gate_exps.weight", TN_LAYOUT_OSS_GATE },
    { "model.layers.{l}.mlp.experts.gate_up_proj", "blk.{l}.ffn_up_exps.weight", TN_LAYOUT_OSS_UP },
    { "model.layers.{l}.mlp.experts.gate_up_proj_bias", "blk.{l}.ffn_gate_exps.bias", TN_LAYOUT_OSS_GATE_BIAS },
    { "model.layers.{l}.mlp.experts.gate_up_proj_bias", "blk.{l}.ffn_up_exps.bias", TN_LAYOUT_OSS_UP_BIAS },
    { "model.layers.{l}.mlp.experts.down_proj", "blk.{l}.ffn_down_exps.weight", TN_LAYOUT_OSS_DOWN },
    { "model.layers.{l}.mlp.experts.down_proj_bias", "blk.{l}.ffn_down_exps.bias", TN_LAYOUT_SAME },
    { "model.layers.{l}.mlp.experts.gate_up_proj_blocks", "blk.{l}.ffn_gate_exps.weight", TN_LAYOUT_MX_GATE },
    { "model.layers.{l}.mlp.experts.gate_up_proj_blocks", "blk.{l}.ffn_up_exps.weight", TN_LAYOUT_MX_UP },
    { "model.layers.{l}.mlp.experts.gate_up_proj_scales", "blk.{l}.ffn_gate_exps.weight", TN_LAYOUT_MX_GATE_SCALES },
    { "model.layers.{l}.mlp.experts.gate_up_proj_scales", "blk.{l}.ffn_up_exps.weight", TN_LAYOUT_MX_UP_SCALES },
    { "model.layers.{l}.mlp.experts.down_proj_blocks", "blk.{l}.ffn_down_exps.weight", TN_LAYOUT_MX_DOWN },
    { "model.layers.{l}.mlp.experts.down_proj_scales", "blk.{l}.ffn_down_exps.weight", TN_LAYOUT_MX_DOWN_SCALES },
    { NULL, NULL, TN_LAYOUT_SKIP }
};
// clang-format on

static const row gpt2[] = {
    { "transformer.wte.weight", "token_embd.weight", TN_LAYOUT_SAME },
    { "transformer.wpe.weight", "position_embd.weight", TN_LAYOUT_SAME },
    { "transformer.ln_f.weight", "output_norm.weight", TN_LAYOUT_SAME },
    { "transformer.ln_f.bias", "output_norm.bias", TN_LAYOUT_SAME },
    { "lm_head.weight", "output.weight", TN_LAYOUT_SAME },
    { "transformer.h.{l}.ln_1.weight", "blk.{l}.attn_norm.weight", TN_LAYOUT_SAME },
    { "transformer.h.{l}.ln_1.bias", "blk.{l}.attn_norm.bias", TN_LAYOUT_SAME },
    { "transformer.h.{l}.ln_2.weight", "blk.{l}.ffn_norm.weight", TN_LAYOUT_SAME },
    { "transformer.h.{l}.ln_2.bias", "blk.{l}.ffn_norm.bias", TN_LAYOUT_SAME },
    { "transformer.h.{l}.attn.c_attn.weight", "blk.{l}.attn_qkv.weight", TN_LAYOUT_TRANSPOSED },
    { "transformer.h.{l}.attn.c_attn.bias", "blk.{l}.attn_qkv.bias", TN_LAYOUT_SAME },
    { "transformer.h.{l}.attn.c_proj.weight", "blk.{l}.attn_output.weight", TN_LAYOUT_TRANSPOSED },
    { "transformer.h.{l}.attn.c_proj.bias", "blk.{l}.attn_output.bias", TN_LAYOUT_SAME },
    { "transformer.h.{l}.mlp.c_fc.weight", "blk.{l}.ffn_up.weight", TN_LAYOUT_TRANSPOSED },
    { "transformer.h.{l}.mlp.c_fc.bias", "blk.{l}.ffn_up.bias", TN_LAYOUT_SAME },
    { "transformer.h.{l}.mlp.c_proj.weight", "blk.{l}.ffn_down.weight", TN_LAYOUT_TRANSPOSED },
    { "transformer.h.{l}.mlp.c_proj.bias", "blk.{l}.ffn_down.bias", TN_LAYOUT_SAME },
    { "transformer.h.{l}.attn.bias", NULL, TN_LAYOUT_SKIP },
    { "transformer.h.{l}.attn.masked_bias", NULL, TN_LAYOUT_SKIP },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

static const row gptneox[] = {
    { "gpt_neox.embed_in.weight", "token_embd.weight", TN_LAYOUT_SAME },
    { "embed_out.weight", "output.weight", TN_LAYOUT_SAME },
    { "gpt_neox.final_layer_norm.weight", "output_norm.weight", TN_LAYOUT_SAME },
    { "gpt_neox.final_layer_norm.bias", "output_norm.bias", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.input_layernorm.bias", "blk.{l}.attn_norm.bias", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.post_attention_layernorm.weight", "blk.{l}.ffn_norm.weight", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.post_attention_layernorm.bias", "blk.{l}.ffn_norm.bias", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.attention.query_key_value.weight", "blk.{l}.attn_qkv.weight", TN_LAYOUT_NEOX_QKV },
    { "gpt_neox.layers.{l}.attention.query_key_value.bias", "blk.{l}.attn_qkv.bias", TN_LAYOUT_NEOX_QKV },
    { "gpt_neox.layers.{l}.attention.dense.weight", "blk.{l}.attn_output.weight", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.attention.dense.bias", "blk.{l}.attn_output.bias", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.mlp.dense_h_to_4h.weight", "blk.{l}.ffn_up.weight", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.mlp.dense_h_to_4h.bias", "blk.{l}.ffn_up.bias", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.mlp.dense_4h_to_h.weight", "blk.{l}.ffn_down.weight", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.mlp.dense_4h_to_h.bias", "blk.{l}.ffn_down.bias", TN_LAYOUT_SAME },
    { "gpt_neox.layers.{l}.attention.bias", NULL, TN_LAYOUT_SKIP },
    { "gpt_neox.layers.{l}.attention.masked_bias", NULL, TN_LAYOUT_SKIP },
    { "gpt_neox.layers.{l}.attention.rotary_emb.inv_freq", NULL, TN_LAYOUT_SKIP },
    { NULL, NULL, TN_LAYOUT_SKIP },
};

// clang-format off
static const struct family { const char *family, *class_name, *model_type, *arch; bool interleaves; const row *tables[6]; } families[] = {
    { "llama", "LlamaForCausalLM", "llama", "llama", true, { roots, attention_llama, mlp, pre_norms } },
    { "mistral", "MistralForCausalLM", "mistral", "llama", true, { roots, attention_llama, mlp, pre_norms } },
    { "mixtral", "MixtralForCausalLM", "mixtral", "llama", true, { roots, attention_llama, mixtral_experts, pre_norms } },
    { "qwen2", "Qwen2ForCausalLM", "qwen2", "qwen2", false, { roots, attention, mlp, pre_norms } },
    { "qwen3", "Qwen3ForCausalLM", "qwen3", "qwen3", false, { roots, attention, qk_norms, mlp, pre_norms } },
    { "qwen3moe", "Qwen3MoeForCausalLM", "qwen3_moe", "qwen3moe", false, { roots, attention, qk_norms, experts, pre_norms } },
    { "olmo2", "Olmo2ForCausalLM", "olmo2", "olmo2", false, { roots, attention, qk_norms, mlp, olmo_norms } },
    { "olmo3", "Olmo3ForCausalLM", "olmo3", "olmo2", false, { roots, attention, qk_norms, mlp, olmo_norms } },
    { "gemma2", "Gemma2ForCausalLM", "gemma2", "gemma2", false, { gemma_roots, attention, mlp, gemma_norms } },
    { "gemma3", "Gemma3ForCausalLM", "gemma3_text", "gemma3", false, { gemma_roots, attention, mlp, gemma_norms } },
    { "deepseek2", "DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2", true, { roots, deepseek, mlp, experts, pre_norms } },
    { "gpt-oss", "GptOssForCausalLM", "gpt_oss", "gpt-oss", false, { roots, attention, oss } },
    { "gpt2", "GPT2LMHeadModel", "gpt2", "gpt2", false, { gpt2 } },
    { "gptneox", "GPTNeoXForCausalLM", "gpt_neox", "gptneox", false, { gptneox } },
};
// clang-format on

static const struct family *find_family(const tn_hparams *h)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].family, h->family) == 0) return &families[i];
    return NULL;
}

/* A decimal number without sign or leading zeros, as file text: at most six digits. */
static const char *read_number(const char *s, int64_t *out)
{
    int64_t v = 0;
    int     n = 0;

    while (s[n] >= '0' && s[n] <= '9' && n < 6) v = 10 * v + (s[n++] - '0');
    if (n == 0 || (s[0] == '0' && n > 1)) return NULL;
    *out = v;
    return s + n;
}

static bool match(const char *pattern, const char *s, int64_t *i_layer, int64_t *i_expert)
{
    *i_layer = *i_expert = -1;
    while (*pattern != '\0') {
        if (pattern[0] == '{') {
            s = read_number(s, pattern[1] == 'l' ? i_layer : i_expert);
            if (s == NULL) return false;
            pattern += 3;
        } else if (*pattern++ != *s++) {
            return false;
        }
    }
    return *s == '\0';
}

static void fill(char out[96], const char *pattern, int64_t i_layer, int64_t i_expert)
{
    size_t n = 0;

    while (*pattern != '\0' && n < 80) {
        if (*pattern == '{') {
            n += (size_t)snprintf(out + n, 96 - n, "%" PRId64, pattern[1] == 'l' ? i_layer : i_expert);
            pattern += 3;
        } else {
            out[n++] = *pattern++;
        }
    }
    out[n] = '\0';
}

int tn_names_from_hf(const tn_hparams *h, const char *hf, tn_name out[2])
{
    const struct family *f = find_family(h);
    char                 with[256];
    int                  n = 0;

    if (f == NULL) return 0;
    /* GPT-2's first files lack the "transformer." in front; text parts of larger models have
     * "language_model.". */
    if (strcmp(h->family, "gpt2") == 0 && strncmp(hf, "transformer.", 12) != 0 &&
        strncmp(hf, "lm_head.", 8) != 0 && strlen(hf) < 200) {
        snprintf(with, sizeof with, "transformer.%s", hf);
        hf = with;
    }
    for (int t = 0; t < 6 && f->tables[t] != NULL; t++)
        for (const row *r = f->tables[t]; r->hf != NULL && n < 2; r++) {
            int64_t layer, expert;
            if (!match(r->hf, hf, &layer, &expert)) continue;
            out[n] = (tn_name){ .layout = r->layout, .i_layer = layer, .i_expert = expert };
            if (r->weight != NULL) fill(out[n].name, r->weight, layer, expert);
            n++;
        }
    return n;
}

bool tn_name_to_hf(const tn_hparams *h, const char *weight, int64_t i_expert, tn_name *out)
{
    const struct family *f = find_family(h);

    if (f == NULL) return false;
    for (int t = 0; t < 6 && f->tables[t] != NULL; t++)
        for (const row *r = f->tables[t]; r->hf != NULL; r++) {
            int64_t layer, none;
            if (r->weight == NULL || !match(r->weight, weight, &layer, &none)) continue;
            *out = (tn_name){ .layout = r->layout, .i_layer = layer, .i_expert = i_expert };
            fill(out->name, r->hf, layer, i_expert);
            return true;
        }
    return false;
}

const char *tn_hf_class(const tn_hparams *h, const char **model_type)
{
    const struct family *f = find_family(h);

    if (f == NULL) return NULL;
    *model_type = f->model_type;
    if (strcmp(f->family, "deepseek2") == 0 && !h->router_sigmoid) {
        *model_type = "deepseek_v2";
        return "DeepseekV2ForCausalLM";
    }
    return f->class_name;
}

const char *tn_gguf_arch(const tn_hparams *h)
{
    const struct family *f = find_family(h);
    return f == NULL ? NULL : f->arch;
}

bool tn_gguf_interleaves(const tn_hparams *h)
{
    const struct family *f = find_family(h);
    return f != NULL && f->interleaves;
}

bool tn_is_qk(const char *weight, const tn_hparams *h, int64_t *n_head)
{
    tn_name n;

    if (!tn_name_to_hf(h, weight, -1, &n) || n.layout != TN_LAYOUT_QK) return false;
    *n_head = strstr(weight, ".attn_q.") != NULL ? h->n_head : h->n_head_kv;
    return true;
}
