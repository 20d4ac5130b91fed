/* build.c - the whole forward around a family's layer: inputs, embedding, the layers, the final norm, the
 * head.
 *
 *   tokens → embed → x → layer 0 → x → ... → layer L-1 → x → (wanted rows) → norm → hidden → head → logits
 */
#include "model/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_inputs(tn_builder *b)
{
    tn_net *net = b->net;

    net->tokens = tn_graph_input(b->g, "tokens", TN_I32, 1, (int64_t[]){ TN_ROWS });
    net->pos = tn_graph_input(b->g, "pos", TN_I32, 1, (int64_t[]){ TN_ROWS });
    if (net->kv == NULL)
        net->doc_start = tn_graph_input(b->g, "doc_start", TN_I32, 1, (int64_t[]){ TN_ROWS });
    else net->pages = tn_graph_input(b->g, "pages", TN_I32, 2, (int64_t[]){ TN_ROWS, net->n_page_max });
    if (net->train && net->dropout > 0)
        net->sample_ids = tn_graph_input(b->g, "sample_ids", TN_I32, 1, (int64_t[]){ TN_ROWS });
    if (net->n_out_max > 0) {
        tn_graph_set_out_rows_max(b->g, net->n_out_max);
        net->out_rows = tn_graph_input(b->g, "out_rows", TN_I32, 1, (int64_t[]){ TN_OUT_ROWS });
    }
}

static tn_value embed_tokens(tn_builder *b)
{
    const tn_hparams   *h = b->h;
    tn_embedding_params p = { .scale = h->embd_scale > 0 ? (float)h->embd_scale : 1 };
    tn_value            w = model_weight(b, "token_embd", ".weight", 2, (int64_t[]){ h->n_vocab, h->n_embd });

    return tn_graph_op(b->g, "token_embd", TN_OP_EMBEDDING, &p, (tn_value[]){ b->net->tokens, w }, 2);
}

static tn_status forward(tn_builder *b, tn_error *err)
{
    const tn_hparams *h = b->h;
    tn_net           *net = b->net;

    b->layer = -1;
    make_inputs(b);
    tn_value x = b->family->embed != NULL ? b->family->embed(b) : embed_tokens(b);
    for (b->layer = 0; b->layer < h->n_layer; b->layer++) {
        x = b->family->layer(b, x);
        if (net->recompute) tn_graph_checkpoint(b->g, x);
        net->layer_out[b->layer] = x;
        if (net->keep_layers) tn_graph_keep(b->g, x);
    }
    b->layer = -1;
    if (net->n_out_max > 0)
        x = tn_graph_op(b->g, "out_rows", TN_OP_GATHER_ROWS, NULL, (tn_value[]){ x, net->out_rows }, 2);
    x = b->family->layernorm ? model_layernorm(b, x, "output_norm") : model_norm(b, x, "output_norm");
    /* the factor of the logits goes in front of the head, where the fused losses see it too */
    if (h->logit_scale > 0 && h->logit_scale != 1)
        x = tn_graph_op(b->g, "logit_scale", TN_OP_SCALE, &(tn_scale_params){ .s = (float)h->logit_scale },
                        (tn_value[]){ x }, 1);
    net->hidden = x;
    return tn_graph_status(b->g, err);
}

/* A weight that the forward does not read would mean that the file is another model than we think. */
static tn_status check_all_used(const tn_builder *b, tn_error *err)
{
    for (size_t i = 0; i < tn_model_n_tensor(b->model); i++) {
        const char *name = tn_model_tensor(b->model, i)->name;
        if (b->used[i] || (!b->h->tied && strcmp(name, "output.weight") == 0)) continue;
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: weight '%s' is in the file, but %s as its configuration describes it has no such "
                       "weight",
                       tn_model_path(b->model), name, b->family->title);
    }
    for (size_t i = 0; i < b->net->n_lora; i++)
        if (!b->lora_used[i])
            return tn_fail(
                err, TN_MISMATCH,
                "the adapter of '%s' fits no linear layer of this model (attention and feed-forward "
                "matrices can carry one; experts, embeddings and the head cannot)",
                b->net->lora[i].name);
    return TN_OK;
}

tn_status model_build_with(tn_builder *b, tn_error *err)
{
    tn_status status = TN_OK;

    b->g = b->net->g;
    if (b->h->n_layer < 1 ||
        b->h->n_layer > (int64_t)(sizeof b->net->layer_out / sizeof b->net->layer_out[0]))
        return tn_fail(err, TN_LIMIT, "a model of %lld layers: 1 to %d are supported",
                       (long long)b->h->n_layer,
                       (int)(sizeof b->net->layer_out / sizeof b->net->layer_out[0]));
    if ((b->family = tn_family_find(b->h->family)) == NULL)
        return tn_fail(err, TN_UNSUPPORTED, "model family '%s' is unknown", b->h->family);
    b->used = calloc(b->collect ? 1 : tn_model_n_tensor(b->model) + 1, 1);
    b->lora_used = calloc(b->net->n_lora + 1, 1);
    if (b->used == NULL || b->lora_used == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to build the model's graph");
        goto out;
    }
    TN_GOTO(forward(b, err));
    if (!b->collect) TN_GOTO(check_all_used(b, err));
out:
    free(b->used);
    free(b->lora_used);
    b->used = b->lora_used = NULL;
    return status;
}

tn_status tn_model_build(tn_net *net, tn_error *err)
{
    tn_builder b = { .net = net, .model = net->model, .h = tn_model_hparams(net->model) };

    return model_build_with(&b, err);
}

tn_value tn_net_head_weight(tn_net *net)
{
    tn_param *p = tn_model_find(net->model,
                                tn_model_hparams(net->model)->tied ? "token_embd.weight" : "output.weight");

    if (p == NULL) {
        char why[400];
        snprintf(why, sizeof why,
                 "%.200s: weight 'output.weight' is missing: the file is not whole, or its head and "
                 "embedding are one "
                 "matrix ('tie_word_embeddings')",
                 tn_model_path(net->model));
        tn_graph_set_error(net->g, TN_FORMAT, why);
        return 0;
    }
    return tn_graph_weight(net->g, p->name, &p->w, net->train && p->grad.data != NULL ? &p->grad : NULL);
}

tn_value tn_net_logits(tn_net *net)
{
    const tn_hparams *h = tn_model_hparams(net->model);
    tn_value          head = tn_net_head_weight(net);
    tn_value y = tn_graph_op(net->g, "output", TN_OP_MATMUL, &(tn_matmul_params){ .profile = net->profile },
                             (tn_value[]){ net->hidden, head }, 2);

    if (h->logit_softcap > 0)
        y = tn_graph_op(net->g, "logit_softcap", TN_OP_UNARY,
                        &(tn_unary_params){ .softcap = (float)h->logit_softcap }, (tn_value[]){ y }, 1);
    tn_graph_keep(net->g, y);
    return y;
}

typedef struct dropout_now {
    uint64_t seed, step;
} dropout_now;

static void set_dropout(void *arg, void *params)
{
    const dropout_now *now = arg;
    tn_dropout_params *p = params;

    p->seed = now->seed;
    p->step = now->step;
}

void tn_net_set_step(tn_net *net, uint64_t seed, uint64_t step)
{
    tn_graph_each(net->g, TN_OP_DROPOUT, set_dropout, &(dropout_now){ seed, step });
}
