/* hparams.c - hyper-parameters as data: all that two models must share for the weights of one to mean in the
 * other what they meant. Beside sizes that is also in which order the rows of a file's form lie. What has no
 * meaning is null. */
#include "model/model.h"
#include "model/write_parts.h"

#include "base/hash.h"

/* SCALED: a setting of positions that are scaled. */
enum { INT, REAL, BOOL, SCALED = 4 };

#define ROW(field, kind)                                                                                     \
    {                                                                                                        \
#field, kind, offsetof(tn_hparams, field)                                                            \
    }
static const struct {
    const char *name;
    int         kind;
    size_t      at;
} rows[] = {
    ROW(rope_interleaved, BOOL),
    ROW(norm_plus_one, BOOL),
    ROW(n_layer, INT),
    ROW(n_embd, INT),
    ROW(n_head, INT),
    ROW(n_head_kv, INT),
    ROW(d_head, INT),
    ROW(d_value, INT),
    ROW(n_ff, INT),
    ROW(n_vocab, INT),
    ROW(n_expert, INT),
    ROW(n_expert_used, INT),
    ROW(n_expert_shared, INT),
    ROW(n_ff_expert, INT),
    ROW(n_ff_shared, INT),
    ROW(n_dense_first, INT),
    ROW(n_expert_group, INT),
    ROW(n_expert_group_used, INT),
    ROW(q_lora_rank, INT),
    ROW(kv_lora_rank, INT),
    ROW(d_rope, INT),
    ROW(d_nope, INT),
    ROW(window, INT),
    ROW(window_pattern, INT),
    ROW(norm_eps, REAL),
    ROW(rope_theta, REAL),
    ROW(rope_theta_local, REAL),
    ROW(embd_scale, REAL),
    ROW(attn_scale, REAL),
    ROW(attn_softcap, REAL),
    ROW(logit_softcap, REAL),
    ROW(router_scale, REAL),
    ROW(logit_scale, REAL),
    ROW(residual_scale, REAL),
    ROW(rope.factor, SCALED | REAL),
    ROW(rope.low_freq_factor, SCALED | REAL),
    ROW(rope.high_freq_factor, SCALED | REAL),
    ROW(rope.beta_fast, SCALED | REAL),
    ROW(rope.beta_slow, SCALED | REAL),
    ROW(rope.attn_factor, SCALED | REAL),
    ROW(rope.mscale, SCALED | REAL),
    ROW(rope.mscale_all_dim, SCALED | REAL),
    ROW(rope.n_ctx_orig, SCALED | INT),
    ROW(rope.truncate, SCALED | BOOL),
    ROW(tied, BOOL),
    ROW(parallel_residual, BOOL),
    ROW(router_renormalise, BOOL),
    ROW(router_sigmoid, BOOL),
    ROW(qkv_bias, BOOL),
    ROW(attn_bias, BOOL),
    ROW(mlp_bias, BOOL),
    ROW(rotary_pct, REAL),
};
enum { N_ROW = sizeof rows / sizeof *rows };

const char *tn_rope_kind_name(const tn_rope_scaling *s)
{
    static const char *const kinds[] = { "default", "linear", "dynamic", "llama3", "yarn", "longrope" };
    return kinds[s->kind];
}

static const char *act_name(tn_act a)
{
    static const char *const names[] = { "silu", "gelu_tanh", "gelu", "relu", "sigmoid", "tanh", "oss" };
    return names[a];
}

/* A digest of them; null: none. */
static json_t *factors(const tn_hparams *h)
{
    char   hex[TN_SHA256_HEX];
    size_t n = (size_t)(h->d_rope > 0 ? h->d_rope : h->d_head) / 2;

    if (h->rope.freq_factors == NULL) return json_null();
    tn_digest d = tn_sha256_of(h->rope.freq_factors, n * sizeof *h->rope.freq_factors);
    tn_hex(hex, &d);
    return json_string(hex);
}

json_t *tn_hparams_json(const tn_hparams *h)
{
    json_t *o = json_object();
    bool    ok = 0 == json_object_set_new(o, "family", json_string(h->family));

    for (int i = 0; i < N_ROW; i++) {
        const void *v = (const char *)h + rows[i].at;
        /* a file may have the float of another one's double */
        int     kind = rows[i].kind & ~SCALED;
        json_t *j = (rows[i].kind & SCALED) != 0 && h->rope.kind == TN_ROPE_PLAIN ? json_null()
                    : kind == INT  ? json_integer(*(const int64_t *)v)
                    : kind == REAL ? tn_json_f32((float)*(const double *)v)
                                   : json_boolean(*(const bool *)v);
        ok &= 0 == json_object_set_new(o, rows[i].name, j);
    }
    ok &= 0 == json_object_set_new(o, "act", json_string(act_name(h->act)));
    ok &= 0 == json_object_set_new(o, "rope.kind", json_string(tn_rope_kind_name(&h->rope)));
    ok &= 0 == json_object_set_new(o, "rope.freq_factors", factors(h));
    ok &= 0 ==
          json_object_set_new(o, "n_ctx", h->rope.kind == TN_ROPE_NTK ? json_integer(h->n_ctx) : json_null());
    if (ok) return o;
    json_decref(o);
    return NULL;
}
