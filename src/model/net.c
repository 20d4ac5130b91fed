/* net.c - the words of net.h that read weights or know the model: weights, linear with adapters, norms, rope,
 * attention, experts. */
#include "model/net.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *full_name(const tn_builder *b, const char *name, const char *suffix, char buf[96])
{
    if (b->layer < 0) snprintf(buf, 96, "%s%s", name, suffix);
    else snprintf(buf, 96, "blk.%d.%s%s", (int)b->layer, name, suffix);
    return buf;
}

/* Sets the graph's sticky error through its own door: a weight that cannot be. */
static tn_value fail(tn_builder *b, tn_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static tn_value fail(tn_builder *b, tn_status code, const char *fmt, ...)
{
    char    text[900];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    tn_graph_set_error(b->g, code, text);
    return 0;
}

static void shape_text(char buf[96], int n_dim, const int64_t *shape)
{
    int n = 0;

    buf[0] = '\0';
    for (int i = 0; i < n_dim && n < 80; i++)
        n += snprintf(buf + n, (size_t)(96 - n), "%s%" PRId64, i ? "x" : "", shape[i]);
}

static bool same_shape(const tn_tensor *t, int n_dim, const int64_t *shape)
{
    if (t->n_dim != n_dim) return false;
    for (int i = 0; i < n_dim; i++)
        if (t->shape[i] != shape[i]) return false;
    return true;
}

/* From scratch: notes that the family wants this weight. */
static tn_tensor *want(tn_builder *b, const char *name, int n_dim, const int64_t *shape)
{
    for (size_t i = 0; i < b->n_wanted; i++)
        if (strcmp(b->wanted[i]->name, name) == 0) return &b->wanted[i]->t;
    if (b->n_wanted == b->cap_wanted) {
        size_t      cap = b->cap_wanted ? 2 * b->cap_wanted : 256;
        tn_wanted **grown = realloc(b->wanted, cap * sizeof *grown);
        if (grown == NULL) return NULL;
        b->wanted = grown;
        b->cap_wanted = cap;
    }
    tn_wanted *w = calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    snprintf(w->name, sizeof w->name, "%s", name);
    w->t.dtype = TN_F32;
    w->t.n_dim = n_dim;
    for (int i = 0; i < n_dim; i++) w->t.shape[i] = shape[i];
    b->wanted[b->n_wanted++] = w;
    return &w->t;
}

tn_value model_weight(tn_builder *b, const char *name, const char *suffix, int n_dim, const int64_t *shape)
{
    char full[96], found[96], expected[96];

    full_name(b, name, suffix, full);
    if (tn_graph_status(b->g, NULL) != TN_OK) return 0;
    if (b->collect) {
        tn_tensor *t = want(b, full, n_dim, shape);
        return t == NULL ? fail(b, TN_NOMEM, "no memory for the list of weights")
                         : tn_graph_weight(b->g, full, t, NULL);
    }
    int64_t i = tn_model_index(b->model, full);
    if (i < 0)
        return fail(b, TN_FORMAT,
                    "%s: weight '%s' is missing, which %s needs: the file is not whole or not of this family",
                    tn_model_path(b->model), full, b->family->title);
    tn_param *p = tn_model_tensor(b->model, (size_t)i);
    if (!same_shape(&p->w, n_dim, shape)) {
        shape_text(expected, n_dim, shape);
        shape_text(found, p->w.n_dim, p->w.shape);
        return fail(b, TN_MISMATCH, "%s: weight '%s' is %s; by the model's configuration %s is expected",
                    tn_model_path(b->model), full, found, expected);
    }
    b->used[i] = true;
    return tn_graph_weight(b->g, full, &p->w, b->net->train && p->grad.data != NULL ? &p->grad : NULL);
}

/* --------------------------------------------------------------------------------------- linear, adapters */

static int64_t cols_of(const tn_builder *b, tn_value x)
{
    const tn_tensor *t = tn_graph_tensor(b->g, x);

    return t == NULL ? 1 : t->shape[t->n_dim - 1];
}

static const tn_lora *find_lora(tn_builder *b, const char *name)
{
    for (size_t i = 0; i < b->net->n_lora; i++)
        if (strcmp(b->net->lora[i].name, name) == 0) {
            b->lora_used[i] = true;
            return &b->net->lora[i];
        }
    return NULL;
}

static tn_value drop(tn_builder *b, tn_value x)
{
    tn_net *net = b->net;

    if (!net->train || net->dropout <= 0) return x;
    tn_dropout_params p = { .p = net->dropout, .node = (uint32_t)x };
    return tn_graph_op(b->g, "dropout", TN_OP_DROPOUT, &p, (tn_value[]){ x, net->sample_ids }, 2);
}

static tn_value matmul(tn_builder *b, const char *name, tn_value x, tn_value w, tn_profile profile)
{
    return tn_graph_op(b->g, name, TN_OP_MATMUL, &(tn_matmul_params){ .profile = profile },
                       (tn_value[]){ x, w }, 2);
}

static tn_value lora_weight(tn_builder *b, const char *name, const tn_tensor *w, const tn_tensor *grad)
{
    bool trained = b->net->train && grad->data != NULL;

    /* the graph borrows both for writing gradients only; the adapter itself is the caller's */
    return tn_graph_weight(b->g, name, (tn_tensor *)w, trained ? (tn_tensor *)grad : NULL);
}

/* x W^T + scale * (x A^T) B^T; DoRA then gives every output the length that `magnitude` says. Adapters
 * compute in fp32 whatever the profile: they are small, and B starts at zero. With dropout the adapter's x is
 * another one. */
static tn_value adapted(tn_builder *b, const char *name, tn_value x, tn_value w, const tn_lora *l,
                        tn_profile profile)
{
    tn_value a_w = lora_weight(b, name, &l->a, &l->da), b_w = lora_weight(b, name, &l->b, &l->db),
             dropped = drop(b, x), y;

    if (dropped == x) {
        y = tn_graph_op(b->g, name, TN_OP_ADAPTED, &(tn_adapted_params){ .s = l->scale, .profile = profile },
                        (tn_value[]){ x, w, a_w, b_w }, 4);
    } else {
        y = matmul(b, name, x, w, profile);
        tn_value low = matmul(b, name, dropped, a_w, TN_PROFILE_STRICT);
        y = tn_graph_op(b->g, name, TN_OP_ADAPTER, &(tn_adapter_params){ .s = l->scale },
                        (tn_value[]){ y, low, b_w }, 3);
    }
    if (l->magnitude.data == NULL) return y;
    tn_value m = lora_weight(b, name, &l->magnitude, &l->dmagnitude);
    tn_value s = tn_graph_op(b->g, name, TN_OP_WEIGHT_NORM, &(tn_weight_norm_params){ .scale = l->scale },
                             (tn_value[]){ w, m, a_w, b_w }, 4);
    return tn_graph_op(b->g, name, TN_OP_MUL, NULL, (tn_value[]){ y, s }, 2);
}

static tn_value linear(tn_builder *b, tn_value x, const char *name, int64_t n_out, bool bias,
                       tn_profile profile)
{
    char     full[96];
    int64_t  n_in = cols_of(b, x);
    tn_value w = model_weight(b, name, ".weight", 2, (int64_t[]){ n_out, n_in });

    full_name(b, name, ".weight", full);
    const tn_lora *l = find_lora(b, full);
    if (l != NULL && (tn_cols(&l->a) != n_in || l->b.shape[0] != n_out || tn_rows(&l->a) != tn_cols(&l->b)))
        return fail(b, TN_MISMATCH,
                    "the adapter of '%s' does not fit: the weight is %" PRId64 "x%" PRId64 ", the adapter "
                    "%" PRId64 "x%" PRId64,
                    full, n_out, n_in, l->b.shape[0], tn_cols(&l->a));
    tn_value y = l != NULL ? adapted(b, full, x, w, l, profile) : matmul(b, full, x, w, profile);
    if (!bias) return y;
    tn_value v = model_weight(b, name, ".bias", 1, &n_out);
    return tn_graph_op(b->g, full_name(b, name, ".bias", full), TN_OP_BIAS, NULL, (tn_value[]){ y, v }, 2);
}

tn_value model_linear(tn_builder *b, tn_value x, const char *name, int64_t n_out, bool bias)
{
    return linear(b, x, name, n_out, bias, b->net->profile);
}

/* --------------------------------------------------------------------------------------- norms, positions */

tn_value model_norm(tn_builder *b, tn_value x, const char *name)
{
    return model_head_norm(b, x, name, cols_of(b, x));
}

tn_value model_head_norm(tn_builder *b, tn_value x, const char *name, int64_t d_head)
{
    tn_rmsnorm_params p = { .eps = (float)b->h->norm_eps, .plus_one = b->h->norm_plus_one, .group = d_head };
    tn_value          w = model_weight(b, name, ".weight", 1, &d_head);

    return tn_graph_op(b->g, name, TN_OP_RMSNORM, &p, (tn_value[]){ x, w }, 2);
}

tn_value model_layernorm(tn_builder *b, tn_value x, const char *name)
{
    int64_t  n = cols_of(b, x);
    tn_value w = model_weight(b, name, ".weight", 1, &n), bias = model_weight(b, name, ".bias", 1, &n);

    return tn_graph_op(b->g, name, TN_OP_LAYERNORM, &(tn_layernorm_params){ .eps = (float)b->h->norm_eps },
                       (tn_value[]){ x, w, bias }, 3);
}

/* Positions that a run can have: the cache's, or, since positions count from the document's first row, the rows,
 * unless the caller knows that no document has so many. */
static int64_t n_position(const tn_builder *b)
{
    const tn_tensor *pos = tn_graph_tensor(b->g, b->net->pos);

    if (b->net->kv != NULL) return b->net->n_page_max * TN_KV_PAGE;
    int64_t rows = pos != NULL ? pos->shape[0] : 1, most = b->net->n_longest;
    return most > 0 && most < rows ? most : rows;
}

/* The table of cos and sin, shared by all layers: [position][n_rot/2][2]. */
static tn_value rope_table(tn_builder *b, int64_t n_rot, bool plain)
{
    const tn_hparams *h = b->h;
    tn_rope_scaling   s = h->rope;
    double            theta = h->rope_theta;
    tn_error          err = { 0 };

    if (b->rope_table[plain] != 0) return b->rope_table[plain];
    if (plain) {
        s = (tn_rope_scaling){ .kind = TN_ROPE_PLAIN };
        if (h->rope_theta_local > 0) theta = h->rope_theta_local;
    }
    if (s.kind == TN_ROPE_NTK) {
        /* Dynamic NTK stretches the base by the length in use. One length for the whole model keeps every
         * position's angle the same in training, prefill and decoding: the context that the caller asked
         * for. */
        double n = (double)(b->net->n_ctx > 0 ? b->net->n_ctx : h->n_ctx), orig = (double)s.n_ctx_orig;
        if (n > orig && orig > 0)
            theta *= pow(s.factor * n / orig - (s.factor - 1), (double)n_rot / (double)(n_rot - 2));
        s = (tn_rope_scaling){ .kind = TN_ROPE_PLAIN };
    }
    int64_t  shape[] = { n_position(b), n_rot / 2, 2 };
    tn_value v = tn_graph_constant(b->g, plain ? "rope.plain" : "rope", TN_F32, 3, shape);
    if (v != 0 && tn_rope_table(tn_graph_data(b->g, v), shape[0], n_rot, theta, &s, &err) != TN_OK)
        return fail(b, err.code, "%s", err.msg);
    b->rope_table[plain] = v;
    return v;
}

tn_value model_rope(tn_builder *b, tn_value x, int64_t n_head, int64_t d_head, int64_t first, int64_t n_rot,
                    bool plain)
{
    tn_rope_params p = { .n_head = n_head,
                         .d_head = d_head,
                         .first = first,
                         .n_rot = n_rot,
                         .interleaved = b->h->rope_interleaved };

    return tn_graph_op(b->g, "rope", TN_OP_ROPE, &p,
                       (tn_value[]){ x, b->net->pos, rope_table(b, n_rot, plain) }, 3);
}

tn_value model_rope_heads(tn_builder *b, tn_value x, int64_t n_head, bool plain)
{
    const tn_hparams *h = b->h;

    return model_rope(b, x, n_head, h->d_head, 0, h->d_rope > 0 ? h->d_rope : h->d_head, plain);
}

/* ---------------------------------------------------------------------------------------------- attention */

bool model_layer_slides(const tn_builder *b)
{
    const tn_hparams *h = b->h;

    return h->window > 0 && (h->window_pattern == 0 || (b->layer + 1) % h->window_pattern != 0);
}

tn_value model_attention(tn_builder *b, tn_value q, tn_value k, tn_value v, tn_value sinks)
{
    const tn_hparams   *h = b->h;
    tn_net             *net = b->net;
    tn_attention_params p = {
        .n_head = h->n_head,
        .n_head_kv = h->n_head_kv,
        .d_k = h->d_head,
        .d_v = h->d_value > 0 ? h->d_value : h->d_head,
        .window = model_layer_slides(b) ? h->window : 0,
        .scale = (float)(h->attn_scale > 0 ? h->attn_scale : 1 / sqrt((double)h->d_head)),
        .softcap = (float)h->attn_softcap,
        .kv_type = net->kv_type,
    };

    if (net->kv == NULL)
        return tn_graph_op(b->g, "attention", TN_OP_ATTENTION, &p,
                           (tn_value[]){ q, k, v, net->doc_start, sinks }, sinks ? 5 : 4);
    tn_attention_cache_params c = { .a = p, .kv = net->kv, .i_layer = b->layer };
    return tn_graph_op(b->g, "attention", TN_OP_ATTENTION_CACHE, &c,
                       (tn_value[]){ q, k, v, net->pos, net->pages, sinks }, sinks ? 6 : 5);
}

/* ------------------------------------------------------------------------------------ the rest of a layer */

tn_value model_add(tn_builder *b, tn_value a, tn_value c)
{
    return tn_graph_op(b->g, "add", TN_OP_ADD, &(tn_add_params){ .s = 1 }, (tn_value[]){ a, c }, 2);
}

tn_value model_residual(tn_builder *b, tn_value x, tn_value branch)
{
    float s = b->h->residual_scale > 0 ? (float)b->h->residual_scale : 1;

    if (b->net->n_lora == 0) branch = drop(b, branch); /* with adapters, only their inputs are dropped out */
    return tn_graph_op(b->g, "residual", TN_OP_ADD, &(tn_add_params){ .s = s }, (tn_value[]){ x, branch }, 2);
}

tn_value model_act(tn_builder *b, tn_value x)
{
    return tn_graph_op(b->g, "act", TN_OP_UNARY, &(tn_unary_params){ .act = b->h->act }, (tn_value[]){ x },
                       1);
}

tn_value model_gated(tn_builder *b, tn_value gate, tn_value up)
{
    return tn_graph_op(b->g, "act", TN_OP_GATED, &(tn_gated_params){ .act = b->h->act },
                       (tn_value[]){ gate, up }, 2);
}

tn_value model_cols(tn_builder *b, tn_value x, int64_t group, int64_t first, int64_t n)
{
    tn_cols_params p = { .n_group = cols_of(b, x) / group, .group = group, .first = first, .n = n };

    return tn_graph_op(b->g, "cols", TN_OP_COLS, &p, (tn_value[]){ x }, 1);
}

tn_value model_ffn(tn_builder *b, tn_value x, const char *gate, const char *up, const char *down,
                   int64_t n_ff)
{
    tn_value g = model_linear(b, x, gate, n_ff, b->h->mlp_bias),
             u = model_linear(b, x, up, n_ff, b->h->mlp_bias);

    return model_linear(b, model_gated(b, g, u), down, b->h->n_embd, b->h->mlp_bias);
}

tn_value model_moe(tn_builder *b, tn_value x, const tn_router_params *router, bool bias)
{
    const tn_hparams *h = b->h;
    int64_t           n_e = h->n_expert, n_ff = h->n_ff_expert, n_embd = h->n_embd;
    bool              choice_bias = router->kind == TN_ROUTE_SIGMOID;

    /* the router stays in fp32 in every profile: a rounded logit can choose another expert */
    tn_value logits = linear(b, x, "ffn_gate_inp", n_e, bias, TN_PROFILE_STRICT);
    tn_value choice = choice_bias ? model_weight(b, "exp_probs_b", ".bias", 1, &n_e) : 0;
    tn_value weights = tn_graph_op(b->g, "router", TN_OP_ROUTER, router, (tn_value[]){ logits, choice },
                                   choice ? 2 : 1);
    tn_value ids = tn_graph_out(b->g, weights, 1);
    if (b->net->train) tn_graph_keep(b->g, b->net->layer_router[b->layer] = tn_graph_out(b->g, weights, 2));

    tn_moe_params p = { .n_expert = n_e,
                        .k = h->n_expert_used,
                        .n_ff = n_ff,
                        .act = h->act,
                        .limit = 7.0f,
                        .profile = b->net->profile };

    tn_value in[9] = {
        x,
        weights,
        ids,
        model_weight(b, "ffn_gate_exps", ".weight", 3, (int64_t[]){ n_e, n_ff, n_embd }),
        model_weight(b, "ffn_up_exps", ".weight", 3, (int64_t[]){ n_e, n_ff, n_embd }),
        model_weight(b, "ffn_down_exps", ".weight", 3, (int64_t[]){ n_e, n_embd, n_ff }),
    };
    if (bias) {
        in[6] = model_weight(b, "ffn_gate_exps", ".bias", 2, (int64_t[]){ n_e, n_ff });
        in[7] = model_weight(b, "ffn_up_exps", ".bias", 2, (int64_t[]){ n_e, n_ff });
        in[8] = model_weight(b, "ffn_down_exps", ".bias", 2, (int64_t[]){ n_e, n_embd });
    }
    return tn_graph_op(b->g, "moe", TN_OP_MOE, &p, in, bias ? 9 : 6);
}
