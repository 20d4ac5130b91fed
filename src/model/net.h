/* net.h - the words that families are written in. Private to the room.
 *
 * Every word adds nodes to the graph and returns the value; a failure sticks in the graph, so a layer reads
 * straight on. Weights are named without their layer ("attn_q" in layer 3 is blk.3.attn_q.weight) and every
 * word says the shape that it needs: a file whose weights have another shape is an error that names both, and
 * a model made from scratch gets exactly the weights that its family asks for. */
#ifndef TN_MODEL_NET_H
#define TN_MODEL_NET_H

#include "model/family.h"
#include "model/model_impl.h"

/* A weight that a family asked for while a model is made from scratch. */
typedef struct tn_wanted {
    char      name[96];
    tn_tensor t;
} tn_wanted;

struct tn_builder {
    tn_net           *net;
    tn_graph         *g;
    tn_model         *model;
    const tn_hparams *h;
    const tn_family  *family;
    int64_t           layer; /* the one being built; -1 outside the layers */
    bool             *used;  /* by weight index: the forward reads it */
    bool             *lora_used;
    tn_value          rope_table[2]; /* [0] with the model's scaling, [1] plain, for sliding layers */
    bool              collect;       /* from scratch: note the weights in `wanted` instead of finding them */
    tn_wanted       **wanted;
    size_t            n_wanted, cap_wanted;
};

/* The weight blk.N.<name><suffix> (or <name><suffix> outside layers) of this shape; missing is an error. */
tn_value model_weight(tn_builder *b, const char *name, const char *suffix, int n_dim, const int64_t *shape);
/* y = x W^T (+ bias), W = blk.N.<name>.weight [n_out][n_in], with the low-rank adapter of that weight if
 * there is one. */
tn_value model_linear(tn_builder *b, tn_value x, const char *name, int64_t n_out, bool bias);
/* RMSNorm over whole rows, weight [n]; over each head's d_head columns, weight [d_head]; LayerNorm with
 * bias. */
tn_value model_norm(tn_builder *b, tn_value x, const char *name);
tn_value model_head_norm(tn_builder *b, tn_value x, const char *name, int64_t d_head);
tn_value model_layernorm(tn_builder *b, tn_value x, const char *name);
/* Rotates columns [first, first + n_rot) of each of n_head heads by the row's position. plain: without the
 * model's scaling and with the local frequency base if it has one (sliding layers of Gemma 3 and OLMo 3). */
tn_value model_rope(tn_builder *b, tn_value x, int64_t n_head, int64_t d_head, int64_t first, int64_t n_rot,
                    bool plain);
/* The usual case: heads of h->d_head, of which the first h->d_rope columns (all, if 0) rotate. */
tn_value model_rope_heads(tn_builder *b, tn_value x, int64_t n_head, bool plain);
/* True if this layer attends to the last h->window keys only. */
bool model_layer_slides(const tn_builder *b);
/* Causal attention of q [rows][n_head*d_head] over k, v; through the KV cache when the net has one. The
 * layer's window and the model's scale and softcap apply. sinks: 0 or a weight [n_head]. */
tn_value model_attention(tn_builder *b, tn_value q, tn_value k, tn_value v, tn_value sinks);
/* x + branch, the branch scaled (h->residual_scale) and dropped out where the run says so. */
tn_value model_residual(tn_builder *b, tn_value x, tn_value branch);
tn_value model_add(tn_builder *b, tn_value a, tn_value c);
tn_value model_act(tn_builder *b, tn_value x);                   /* h->act */
tn_value model_gated(tn_builder *b, tn_value gate, tn_value up); /* h->act(gate) * up */
/* Of every `group` columns the columns [first, first + n). */
tn_value model_cols(tn_builder *b, tn_value x, int64_t group, int64_t first, int64_t n);
/* down(act(gate x) * up x) with the weights <prefix>ffn_{gate,up,down}<suffix>, all without a bias. */
tn_value model_ffn(tn_builder *b, tn_value x, const char *gate, const char *up, const char *down,
                   int64_t n_ff);
/* Mixture of experts: router ffn_gate_inp, experts ffn_{gate,up,down}_exps. `router` says how experts are
 * chosen. */
tn_value model_moe(tn_builder *b, tn_value x, const tn_router_params *router, bool bias);

/* Builds the whole forward with the builder's family; the parts of tn_model_build and tn_model_create. */
tn_status model_build_with(tn_builder *b, tn_error *err);

#endif
