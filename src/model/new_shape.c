/* new_shape.c - what a new model of a family is: the sizes that were asked for, and the family's published
 * rule for everything else.
 *
 *   sizes ──→ the config.json that the family's makers would have written ──→ hf_config.c ──→ tn_hparams
 *
 * So a new model is by construction one that its own files describe: what config.json cannot say, it cannot
 * be. Values that sizes do not give are those of the families' released models (their config.json). */
#include "model/hf_reader.h"
#include "model/model_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DEEPSEEK_SHARED = 2 }; /* shared experts of DeepSeek-V2-Lite */

typedef struct maker {
    const tn_new_shape *s;
    tn_hparams          h; /* the sizes alone */
    json_t             *o;
} maker;

static void set(const maker *k, const char *key, json_t *v) { json_object_set_new(k->o, key, v); }
static void set_int(const maker *k, const char *key, int64_t v) { set(k, key, json_integer(v)); }

static void usual(const maker *k) { set(k, "rope_theta", json_real(k->s->rope_theta)); }

static void experts(const maker *k, const char *count)
{
    set_int(k, count, k->s->n_expert);
    set_int(k, "num_experts_per_tok", k->s->n_expert_used);
}

static void mixtral(const maker *k)
{
    usual(k);
    experts(k, "num_local_experts");
}

static void qwen3moe(const maker *k)
{
    usual(k);
    experts(k, "num_experts");
    set_int(k, "moe_intermediate_size", k->s->n_ff);
    set(k, "norm_topk_prob", json_true());
}

static void olmo3(const maker *k)
{
    usual(k);
    set_int(k, "sliding_window", 4096);
}

static void gemma(const maker *k, int64_t window)
{
    usual(k);
    set_int(k, "sliding_window", window);
    set_int(k, "query_pre_attn_scalar", k->h.d_head);
}

static void gemma2(const maker *k)
{
    gemma(k, 4096);
    set(k, "attn_logit_softcapping", json_real(50));
    set(k, "final_logit_softcapping", json_real(30));
}

static void gemma3(const maker *k) { gemma(k, 512); }

/* V2-Lite: no low rank for queries, a latent of four heads, half a head's width more that rotates, a dense
 * first layer. n_ff is an expert's width. */
static void deepseek2(const maker *k)
{
    usual(k);
    set_int(k, "num_key_value_heads", k->s->n_head);
    experts(k, "n_routed_experts");
    set_int(k, "intermediate_size", k->s->n_ff * (k->s->n_expert_used + DEEPSEEK_SHARED));
    set_int(k, "moe_intermediate_size", k->s->n_ff);
    set_int(k, "n_shared_experts", DEEPSEEK_SHARED);
    set_int(k, "first_k_dense_replace", k->s->n_layer > 1 ? 1 : 0);
    set_int(k, "kv_lora_rank", 4 * k->h.d_head);
    set_int(k, "qk_nope_head_dim", k->h.d_head);
    set_int(k, "qk_rope_head_dim", k->h.d_head / 2);
    set_int(k, "v_head_dim", k->h.d_head);
}

static void gpt_oss(const maker *k)
{
    usual(k);
    experts(k, "num_local_experts");
    set(k, "attention_bias", json_true());
    set_int(k, "sliding_window", 128);
}

static void gpt2(const maker *k) { (void)k; }

static void gptneox(const maker *k)
{
    set(k, "rotary_pct", json_real(0.25));
    set(k, "rotary_emb_base", json_real(k->s->rope_theta));
}

/* rotates: a head's width must be a multiple of it. whole: heads are n_embd / n_head wide and each has its
 * own keys. */
// clang-format off
static const struct { const char *family, *type; void (*make)(const maker *k); bool moe, whole; int rotates; } rules[] = {
    { "llama", "llama", usual, false, false, 2 },          { "mistral", "mistral", usual, false, false, 2 },
    { "mixtral", "mixtral", mixtral, true, false, 2 },     { "qwen2", "qwen2", usual, false, false, 2 },
    { "qwen3", "qwen3", usual, false, false, 2 },          { "qwen3moe", "qwen3_moe", qwen3moe, true, false, 2 },
    { "olmo2", "olmo2", usual, false, false, 2 },          { "olmo3", "olmo3", olmo3, false, false, 2 },
    { "gemma2", "gemma2", gemma2, false, false, 2 },       { "gemma3", "gemma3_text", gemma3, false, false, 2 },
    { "deepseek2", "deepseek_v2", deepseek2, true, false, 4 }, { "gpt-oss", "gpt_oss", gpt_oss, true, false, 2 },
    { "gpt2", "gpt2", gpt2, false, true, 1 },              { "gptneox", "gpt_neox", gptneox, false, true, 8 },
};
// clang-format on
enum { N_RULE = sizeof rules / sizeof rules[0] };

static tn_status check(const tn_new_shape *s, size_t i, int64_t d_head, int64_t n_head_kv, tn_error *err)
{
    const char *f = s->family;

    if (rules[i].moe && (s->n_expert < 1 || s->n_expert_used < 1 || s->n_expert_used > s->n_expert))
        return tn_fail(err, TN_USAGE,
                       "family %s: n_expert %" PRId64 " and n_expert_used %" PRId64
                       "; give how many experts a layer has, and how many of them a "
                       "token uses",
                       f, s->n_expert, s->n_expert_used);
    if (!rules[i].moe && s->n_expert > 0)
        return tn_fail(
            err, TN_USAGE,
            "family %s has no experts: leave n_expert out, or choose mixtral, qwen3moe, deepseek2 or gpt-oss",
            f);
    if (s->d_head == 0 && s->n_embd % s->n_head != 0)
        return tn_fail(err, TN_USAGE,
                       "n_embd %" PRId64 " is no multiple of n_head %" PRId64
                       ": choose one that is, or give d_head",
                       s->n_embd, s->n_head);
    if (rules[i].whole && (n_head_kv != s->n_head || d_head * s->n_head != s->n_embd))
        return tn_fail(err, TN_USAGE,
                       "family %s: every head has its own keys and is n_embd / n_head wide: leave n_head_kv "
                       "and d_head out",
                       f);
    if (d_head % rules[i].rotates != 0)
        return tn_fail(
            err, TN_USAGE,
            "family %s: heads of %" PRId64
            " columns; positions rotate %s of them in pairs, so their width must be a multiple of %d",
            f, d_head,
            rules[i].rotates == 8   ? "a quarter"
            : rules[i].rotates == 4 ? "half"
                                    : "all",
            rules[i].rotates);
    return TN_OK;
}

tn_status tn_model_new_shape(tn_hparams *h, const tn_new_shape *s, tn_error *err)
{
    maker     k = { .s = s,
                    .h = { .n_layer = s->n_layer,
                           .n_embd = s->n_embd,
                           .n_head = s->n_head,
                           .n_ff = s->n_ff,
                           .n_vocab = s->n_vocab,
                           .n_ctx = s->n_ctx,
                           .norm_eps = s->norm_eps } };
    size_t    i = 0;
    tn_status status = TN_OK;

    while (i < N_RULE && strcmp(rules[i].family, s->family) != 0) i++;
    if (i == N_RULE)
        return tn_fail(err, TN_USAGE,
                       "family '%.40s' is unknown; there are llama, mistral, mixtral, qwen2, qwen3, "
                       "qwen3moe, olmo2, olmo3, gemma2, gemma3, "
                       "deepseek2, gpt-oss, gpt2, gptneox",
                       s->family);
    snprintf(k.h.family, sizeof k.h.family, "%s", s->family);
    k.h.n_head_kv = s->n_head_kv > 0 ? s->n_head_kv : s->n_head;
    k.h.d_head = s->d_head > 0                            ? s->d_head
                 : s->n_head > 0 && s->n_embd > s->n_head ? s->n_embd / s->n_head
                                                          : 1;
    TN_TRY(tn_hparams_check_new(&k.h, err));
    if (s->n_ff < 1)
        return tn_fail(err, TN_USAGE, "a new model needs n_ff of at least 1, not %" PRId64, s->n_ff);
    TN_TRY(check(s, i, k.h.d_head, k.h.n_head_kv, err));
    if ((k.o = json_object()) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a new model's shape");
    set(&k, "model_type", json_string(rules[i].type));
    tn_hf_put_sizes(k.o, &k.h);
    rules[i].make(&k);
    set(&k, "tie_word_embeddings", json_boolean(s->tied));
    set(&k, "initializer_range", json_real(s->init_std > 0 ? s->init_std : 0.02));
    TN_GOTO(tn_hparams_from_hf(h, k.o, "the new model", err));
    h->bos = s->bos;
    h->eos = s->eos;
out:
    json_decref(k.o);
    return status;
}
