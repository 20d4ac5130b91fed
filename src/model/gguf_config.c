/* gguf_config.c - GGUF metadata to hyper-parameters.
 *
 * Every key below "<arch>." must have been asked for: a key that nobody reads might change the mathematics,
 * so it is an error that names it. What GGUF leaves to the reader's knowledge of the family (Gemma's scales,
 * gpt-oss's limits) is filled in here, in one function a family. */
#include "model/model_impl.h"

#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Reads keys of one architecture and remembers which; the first error sticks. */
typedef struct reader {
    const tn_gguf  *g;     /* the first file, which has the metadata */
    tn_gguf *const *files; /* all of a split model, in any of which a tensor may lie */
    size_t          n_file;
    char            arch[32];
    bool           *used;
    tn_status       status;
    tn_error       *err;
} reader;

static const char *full_key(const reader *r, const char *suffix, char buf[128])
{
    snprintf(buf, 128, "%s.%s", r->arch, suffix);
    return buf;
}

static const tn_gguf_kv *use(reader *r, const char *suffix)
{
    char              key[128];
    const tn_gguf_kv *kv = tn_gguf_find(r->g, full_key(r, suffix, key));

    if (kv != NULL) r->used[kv - r->g->kv] = true;
    return kv;
}

/* An integer; an array of equal integers (one a layer) counts as one. */
static int64_t get_int(reader *r, const char *suffix, int64_t lo, int64_t hi, int64_t dflt)
{
    const tn_gguf_kv *kv = use(r, suffix);
    char              key[128];
    int64_t           v = dflt, first, other;

    if (r->status != TN_OK || kv == NULL) return dflt;
    full_key(r, suffix, key);
    if (kv->type != TN_GGUF_ARRAY) {
        r->status = tn_gguf_int_or(r->g, key, lo, hi, dflt, &v, r->err);
        return v;
    }
    for (uint64_t i = 0; i < kv->n; i++)
        if (!tn_gguf_elem_int(kv, 0, &first) || !tn_gguf_elem_int(kv, i, &other) || other != first ||
            other < lo || other > hi) {
            r->status = tn_fail(r->err, TN_UNSUPPORTED,
                                "%s: '%s' differs from layer to layer or is out of range: this kind of model "
                                "is not supported",
                                r->g->path, key);
            return dflt;
        }
    return kv->n > 0 && tn_gguf_elem_int(kv, 0, &first) ? first : dflt;
}

static int64_t need_int(reader *r, const char *suffix, int64_t lo, int64_t hi)
{
    char key[128];

    if (r->status == TN_OK && use(r, suffix) == NULL)
        r->status = tn_fail(
            r->err, TN_FORMAT,
            "%s: metadata key '%s' is missing: the file does not say what the model is; convert it "
            "again",
            r->g->path, full_key(r, suffix, key));
    return get_int(r, suffix, lo, hi, lo);
}

static double get_real(reader *r, const char *suffix, double lo, double hi, double dflt)
{
    char   key[128];
    double v = dflt;

    use(r, suffix);
    if (r->status != TN_OK) return dflt;
    r->status = tn_gguf_real_or(r->g, full_key(r, suffix, key), dflt, &v, r->err);
    if (r->status == TN_OK && v != dflt && !(v >= lo && v <= hi))
        r->status = tn_fail(r->err, TN_FORMAT, "%s: '%s' is %g; %g to %g is allowed", r->g->path, key, v, lo,
                            hi);
    return v;
}

static bool get_bool(reader *r, const char *suffix, bool dflt)
{
    char key[128];
    bool v = dflt;

    use(r, suffix);
    if (r->status == TN_OK) r->status = tn_gguf_bool_or(r->g, full_key(r, suffix, key), dflt, &v, r->err);
    return v;
}

static const tn_gguf_tensor *find_tensor(const reader *r, const char *name)
{
    const tn_gguf_tensor *t = NULL;

    for (size_t i = 0; i < r->n_file && t == NULL; i++) t = tn_gguf_tensor_find(r->files[i], name);
    return t;
}

static bool has_tensor(const reader *r, const char *name) { return find_tensor(r, name) != NULL; }

/* Is the head the embedding? Without an output.weight; or with one that is said to be a copy (write_gguf.c)
 * and is one: where another program changed it since, they are two weights. The head of a file that is being
 * written has no bytes to compare. */
static bool is_tied(reader *r)
{
    const tn_gguf_tensor *embd = find_tensor(r, "token_embd.weight"), *head = find_tensor(r, "output.weight");
    bool                  said = false;

    if (head == NULL) return true;
    if (r->status == TN_OK) r->status = tn_gguf_bool_or(r->g, TN_GGUF_TIED, false, &said, r->err);
    if (!said || r->status != TN_OK) return false;
    if (embd != NULL && head->dtype == embd->dtype && head->bytes == embd->bytes &&
        (head->data == NULL || memcmp(head->data, embd->data, head->bytes) == 0))
        return true;
    tn_log(TN_LOG_WARN,
           "%s: says that its head is the embedding, but 'output.weight' is another: it is taken as it is",
           r->g->path);
    return false;
}

/* ----------------------------------------------------------------------------------------------- families */

static void rope_scaling(reader *r, tn_hparams *h)
{
    char *kind = NULL, key[128];

    if (use(r, "rope.scaling.type") != NULL && r->status == TN_OK)
        r->status = tn_gguf_str(r->g, full_key(r, "rope.scaling.type", key), &kind, r->err);
    h->rope.factor = get_real(r, "rope.scaling.factor", 1e-3, 1e6, 1);
    h->rope.n_ctx_orig = get_int(r, "rope.scaling.original_context_length", 1, INT32_MAX, h->n_ctx);
    double times = get_real(r, "rope.scaling.attn_factor", 0, 1e6, 1);
    h->rope.beta_fast = get_real(r, "rope.scaling.yarn_beta_fast", 0, 1e6, 32);
    h->rope.beta_slow = get_real(r, "rope.scaling.yarn_beta_slow", 0, 1e6, 1);
    h->rope.attn_factor = get_real(r, "rope.scaling.yarn_attn_factor", 0, 1e6, 0);
    double log_multiplier = strcmp(r->arch, "deepseek2") == 0
                                ? get_real(r, "rope.scaling.yarn_log_multiplier", 0, 1e3, 0)
                                : 0;
    get_bool(r, "rope.scaling.finetuned", false);
    h->rope.truncate = true;
    h->rope.kind = TN_ROPE_PLAIN;
    if (kind != NULL && strcmp(kind, "linear") == 0) h->rope.kind = TN_ROPE_LINEAR;
    else if (kind != NULL && strcmp(kind, "yarn") == 0) h->rope.kind = TN_ROPE_YARN;
    else if (kind != NULL && strcmp(kind, "none") != 0 && r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED, "%s: '%s' is '%s'; known: none, linear, yarn", r->g->path,
                            full_key(r, "rope.scaling.type", key), kind);
    /* attn_factor comes on top of YaRN's own, 0.1 ln(factor) + 1; yarn_attn_factor is the whole, as
     * config.json says it. */
    if (h->rope.kind != TN_ROPE_YARN) h->rope.attn_factor = times != 1 ? times : 0;
    else if (times != 1 && h->rope.attn_factor > 0) h->rope.attn_factor *= times;
    else if (times != 1)
        h->rope.attn_factor = times * (h->rope.factor > 1 ? 0.1 * log(h->rope.factor) + 1 : 1);
    /* GGUF stores 0.1 * mscale_all_dim, where the attention's scale grows with it too (DeepSeek). */
    if (h->rope.kind == TN_ROPE_YARN && log_multiplier != 0)
        h->rope.mscale = h->rope.mscale_all_dim = 10 * log_multiplier;
    free(kind);
}

static void common(reader *r, tn_hparams *h)
{
    h->n_layer = need_int(r, "block_count", 1, 512);
    h->n_embd = need_int(r, "embedding_length", 1, 1 << 20);
    h->n_ctx = need_int(r, "context_length", 1, INT32_MAX);
    h->n_head = need_int(r, "attention.head_count", 1, 1 << 16);
    h->n_head_kv = get_int(r, "attention.head_count_kv", 1, 1 << 16, h->n_head);
    h->d_head = get_int(r, "attention.key_length", 1, 1 << 16, h->n_embd / h->n_head);
    h->d_value = get_int(r, "attention.value_length", 1, 1 << 16, h->d_head);
    h->n_ff = get_int(r, "feed_forward_length", 0, 1 << 24, 0);
    h->d_rope = get_int(r, "rope.dimension_count", 1, h->d_head > 1 ? h->d_head : 1, h->d_head);
    h->rotary_pct = h->d_head > 0 ? (double)h->d_rope / (double)h->d_head : 1;
    h->rope_theta = get_real(r, "rope.freq_base", 1, 1e12, 10000);
    h->norm_eps = get_real(r, "attention.layer_norm_rms_epsilon", 1e-20, 1, 0);
    rope_scaling(r, h);
    if (r->status == TN_OK && h->n_head % h->n_head_kv != 0)
        r->status = tn_fail(r->err, TN_FORMAT,
                            "%s: %" PRId64 " heads cannot share %" PRId64 " key/value heads", r->g->path,
                            h->n_head, h->n_head_kv);
    h->attn_scale = h->d_head > 0 ? 1 / sqrt((double)h->d_head) : 1;
    h->embd_scale = 1;
    h->act = TN_ACT_SILU;
    h->init_std = 0.02;
    h->tied = is_tied(r);
    h->qkv_bias = has_tensor(r, "blk.0.attn_q.bias") || has_tensor(r, "blk.0.attn_qkv.bias");
    h->attn_bias = has_tensor(r, "blk.0.attn_output.bias");
    h->mlp_bias = has_tensor(r, "blk.0.ffn_down.bias") || has_tensor(r, "blk.0.ffn_down_exps.bias");
}

static void experts(reader *r, tn_hparams *h)
{
    h->n_expert = get_int(r, "expert_count", 0, 1 << 16, 0);
    h->n_expert_used = get_int(r, "expert_used_count", 0, h->n_expert, 0);
    h->n_ff_expert = get_int(r, "expert_feed_forward_length", 0, 1 << 24, h->n_ff);
    h->router_scale = 1;
    h->router_renormalise = true;
    if (r->status == TN_OK && h->n_expert > 0 && h->n_expert_used < 1)
        r->status = tn_fail(r->err, TN_FORMAT, "%s: '%s.expert_used_count' is missing or 0", r->g->path,
                            r->arch);
}

/* Which layers slide: every but the n-th (a number, 0: all), or a list with a yes or no for each layer, which
 * must be such a mix. */
static void window_pattern(reader *r, tn_hparams *h, int64_t usual)
{
    const tn_gguf_kv *kv = use(r, "attention.sliding_window_pattern");
    int64_t           n = kv != NULL && kv->type == TN_GGUF_ARRAY ? (int64_t)kv->n : 0;

    h->window_pattern = usual;
    if (kv == NULL || r->status != TN_OK) return;
    if (kv->type != TN_GGUF_ARRAY) {
        h->window_pattern = get_int(r, "attention.sliding_window_pattern", 0, 512, usual);
        return;
    }
    for (int64_t tried = -1; tried <= n; tried++) {
        int64_t pattern = tried < 0 ? usual : tried, v;
        bool    fits = n == h->n_layer;
        for (int64_t i = 0; i < n && fits; i++)
            fits = tn_gguf_elem_int(kv, (uint64_t)i, &v) &&
                   (v != 0) == (pattern == 0 || (i + 1) % pattern != 0);
        if (!fits) continue;
        h->window_pattern = pattern;
        if (pattern == 1) h->window = 0; /* every layer is full */
        return;
    }
    r->status = tn_fail(
        r->err, TN_UNSUPPORTED,
        "%s: '%s.attention.sliding_window_pattern' has no entry a layer, or is no regular mix of sliding "
        "and full layers",
        r->g->path, r->arch);
}

static void family_llama(reader *r, tn_hparams *h)
{
    h->rope_interleaved = true;
    experts(r, h);
    h->window = get_int(r, "attention.sliding_window", 0, INT32_MAX, 0);
    if (h->n_expert > 0) snprintf(h->family, sizeof h->family, "mixtral");
    else if (h->window > 0) snprintf(h->family, sizeof h->family, "mistral");
}

static void family_plain(reader *r, tn_hparams *h)
{
    (void)r;
    (void)h;
}

static void family_qwen3moe(reader *r, tn_hparams *h) { experts(r, h); }

static void family_olmo2(reader *r, tn_hparams *h)
{
    h->window = get_int(r, "attention.sliding_window", 0, INT32_MAX, 0);
    if (h->window > 0) {
        snprintf(h->family, sizeof h->family, "olmo3");
        window_pattern(r, h, 4);
        h->rope_theta_local = get_real(r, "rope.freq_base_swa", 1, 1e12, h->rope_theta);
    }
}

static void family_gemma2(reader *r, tn_hparams *h)
{
    h->embd_scale = (double)sqrtf((float)h->n_embd);
    h->act = TN_ACT_GELU_TANH;
    h->window = get_int(r, "attention.sliding_window", 0, INT32_MAX, 4096);
    window_pattern(r, h, 2);
    h->attn_softcap = get_real(r, "attn_logit_softcapping", 0, 1e6, 50);
    h->logit_softcap = get_real(r, "final_logit_softcapping", 0, 1e6, 30);
    /* The 27B model alone divides by n_embd / n_head; llama.cpp knows it by its 46 layers. */
    double scale = h->n_layer == 46 ? 1 / sqrt((double)h->n_embd / (double)h->n_head) : h->attn_scale;
    h->attn_scale = get_real(r, "attention.scale", 1e-9, 1e3, scale);
}

static void family_gemma3(reader *r, tn_hparams *h)
{
    h->embd_scale = (double)sqrtf((float)h->n_embd);
    h->act = TN_ACT_GELU_TANH;
    h->window = get_int(r, "attention.sliding_window", 0, INT32_MAX, 0);
    window_pattern(r, h, 6);
    h->rope_theta_local = get_real(r, "rope.freq_base_swa", 1, 1e12, 10000);
    h->logit_softcap = get_real(r, "final_logit_softcapping", 0, 1e6, 0);
    double scale = h->n_layer == 62 ? 1 / sqrt((double)h->n_embd / (double)h->n_head) : h->attn_scale;
    h->attn_scale = get_real(r, "attention.scale", 1e-9, 1e3, scale);
}

static void family_deepseek2(reader *r, tn_hparams *h)
{
    int64_t gate;

    experts(r, h);
    h->rope_interleaved = true;
    h->q_lora_rank = get_int(r, "attention.q_lora_rank", 0, 1 << 20, 0);
    h->kv_lora_rank = need_int(r, "attention.kv_lora_rank", 1, 1 << 20);
    /* Files with absorbed attention say 1 kv head and the sizes of the compressed cache; the model's own are
     * *_mla. */
    h->d_head = get_int(r, "attention.key_length_mla", 1, 1 << 16, h->d_head);
    h->d_value = get_int(r, "attention.value_length_mla", 1, 1 << 16, h->d_value);
    h->n_head_kv = h->n_head;
    h->d_rope = get_int(r, "rope.dimension_count", 1, h->d_head, 64);
    h->d_nope = h->d_head - h->d_rope;
    h->rotary_pct = 1;
    h->n_dense_first = get_int(r, "leading_dense_block_count", 0, h->n_layer, 0);
    h->n_expert_shared = get_int(r, "expert_shared_count", 0, 1 << 16, 0);
    h->n_ff_shared = get_int(r, "expert_shared_feed_forward_length", 0, 1 << 24,
                             h->n_ff_expert * h->n_expert_shared);
    h->n_expert_group = get_int(r, "expert_group_count", 0, 1 << 16, 0);
    h->n_expert_group_used = get_int(r, "expert_group_used_count", 0, 1 << 16, 0);
    h->router_scale = get_real(r, "expert_weights_scale", 0, 1e6, 1);
    if (h->router_scale == 0) h->router_scale = 1;
    h->router_renormalise = get_bool(r, "expert_weights_norm", false);
    gate = get_int(r, "expert_gating_func", 0, 4, 1);
    h->router_sigmoid = gate == 2;
    if (r->status == TN_OK && gate > 2)
        r->status = tn_fail(r->err, TN_UNSUPPORTED,
                            "%s: 'deepseek2.expert_gating_func' is %" PRId64 "; known: 1 softmax, 2 sigmoid",
                            r->g->path, gate);
    get_int(r, "nextn_predict_layers", 0, 0, 0);
    double m = h->rope.kind == TN_ROPE_YARN && h->rope.mscale_all_dim != 0
                   ? 0.1 * h->rope.mscale_all_dim * log(h->rope.factor) + 1
                   : 1;
    h->attn_scale = m * m / sqrt((double)h->d_head);
}

static void family_gpt_oss(reader *r, tn_hparams *h)
{
    experts(r, h);
    h->window = get_int(r, "attention.sliding_window", 0, INT32_MAX, 0);
    window_pattern(r, h, 2);
    h->act = TN_ACT_OSS;
    h->rope.truncate = false;
}

static void family_gpt2(reader *r, tn_hparams *h)
{
    h->norm_eps = get_real(r, "attention.layer_norm_epsilon", 1e-20, 1, 1e-5);
    h->act = TN_ACT_GELU_TANH;
    h->d_rope = 0;
}

static void family_gptneox(reader *r, tn_hparams *h)
{
    h->norm_eps = get_real(r, "attention.layer_norm_epsilon", 1e-20, 1, 1e-5);
    h->act = TN_ACT_GELU_ERF;
    h->parallel_residual = get_bool(r, "use_parallel_residual", true);
}

// clang-format off
static const struct { const char *arch, *family; void (*read)(reader *r, tn_hparams *h); } architectures[] = {
    { "llama", "llama", family_llama },          { "qwen2", "qwen2", family_plain },       { "qwen3", "qwen3", family_plain },
    { "qwen3moe", "qwen3moe", family_qwen3moe }, { "olmo2", "olmo2", family_olmo2 },       { "gemma2", "gemma2", family_gemma2 },
    { "gemma3", "gemma3", family_gemma3 },       { "deepseek2", "deepseek2", family_deepseek2 },
    { "gpt-oss", "gpt-oss", family_gpt_oss },    { "gpt2", "gpt2", family_gpt2 },          { "gptneox", "gptneox", family_gptneox },
};
// clang-format on

static tn_status check_all_used(const reader *r, tn_error *err)
{
    size_t n = strlen(r->arch);

    for (size_t i = 0; i < r->g->n_kv; i++) {
        const tn_gguf_kv *kv = &r->g->kv[i];
        if (r->used[i] || kv->key_n <= n || memcmp(kv->key, r->arch, n) != 0 || kv->key[n] != '.') continue;
        return tn_fail(
            err, TN_UNSUPPORTED,
            "%s: metadata key '%.*s' is unknown for this architecture and may change the mathematics: "
            "this model is not supported as it is",
            r->g->path, (int)(kv->key_n > 120 ? 120 : kv->key_n), kv->key);
    }
    return TN_OK;
}

static tn_status vocabulary_size(reader *r, tn_hparams *h)
{
    const tn_gguf_tensor *embd = find_tensor(r, "token_embd.weight");
    int64_t               said = get_int(r, "vocab_size", 1, INT32_MAX, 0);

    if (r->status != TN_OK) return r->status;
    if (embd == NULL || embd->n_dim != 2)
        return tn_fail(r->err, TN_FORMAT,
                       "%s: tensor 'token_embd.weight' is missing or has not two dimensions", r->g->path);
    h->n_vocab = embd->shape[0];
    if (said != 0 && said != h->n_vocab)
        return tn_fail(r->err, TN_MISMATCH,
                       "%s: '%s.vocab_size' is %" PRId64 ", but 'token_embd.weight' has %" PRId64 " rows",
                       r->g->path, r->arch, said, h->n_vocab);
    return TN_OK;
}

tn_status tn_hparams_from_gguf(tn_hparams *h, tn_gguf *const *files, size_t n_file, tn_error *err)
{
    const tn_gguf *g = files[0];
    reader         r = { .g = g, .files = files, .n_file = n_file, .err = err };
    char          *arch = NULL;
    size_t         i, n = sizeof architectures / sizeof architectures[0];
    int64_t        id;

    memset(h, 0, sizeof *h);
    TN_TRY(tn_gguf_str(g, "general.architecture", &arch, err));
    if (arch == NULL)
        return tn_fail(err, TN_FORMAT, "%s: metadata key 'general.architecture' is missing", g->path);
    for (i = 0; i < n && strcmp(architectures[i].arch, arch) != 0; i++) {
    }
    if (i == n) {
        tn_status s = tn_fail(
            err, TN_UNSUPPORTED,
            "%s: architecture '%.60s' is not supported; supported: llama (also Mistral, Mixtral), "
            "qwen2, qwen3, qwen3moe, olmo2, gemma2, gemma3, deepseek2, gpt-oss, gpt2, gptneox",
            g->path, arch);
        free(arch);
        return s;
    }
    snprintf(r.arch, sizeof r.arch, "%s", arch);
    free(arch);
    snprintf(h->family, sizeof h->family, "%s", architectures[i].family);
    if ((r.used = calloc(g->n_kv + 1, sizeof *r.used)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for its index", g->path);
    common(&r, h);
    if (r.status == TN_OK) architectures[i].read(&r, h);
    if (r.status == TN_OK) r.status = vocabulary_size(&r, h);
    if (r.status == TN_OK) r.status = check_all_used(&r, err);
    if (r.status == TN_OK && h->norm_eps == 0)
        r.status = tn_fail(err, TN_FORMAT, "%s: '%s.attention.layer_norm_rms_epsilon' is missing", g->path,
                           r.arch);
    free(r.used);
    TN_TRY(r.status);
    TN_TRY(tn_gguf_int_or(g, "tokenizer.ggml.bos_token_id", 0, h->n_vocab - 1, -1, &id, err));
    h->bos = (int32_t)id;
    TN_TRY(tn_gguf_int_or(g, "tokenizer.ggml.eos_token_id", 0, h->n_vocab - 1, -1, &id, err));
    h->eos = (int32_t)id;
    return TN_OK;
}
