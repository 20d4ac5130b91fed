/* fuzz_build.c - any bytes as config.json, and what passes is built: a model of random weights, its graph,
 * one run. */
#include "fuzz.h"
#include "model/model_impl.h"

#include <stdlib.h>
#include <string.h>

/* Small enough to be made in no time; larger ones differ in size alone. */
static bool is_small(const tn_hparams *h)
{
    int64_t heads = h->n_head + h->n_head_kv;

    return h->n_layer <= 4 && h->n_embd <= 256 && h->n_vocab <= 1024 && h->n_ff <= 1024 &&
           h->n_ff_expert <= 256 && h->n_ff_shared <= 1024 && h->n_expert <= 32 && heads <= 64 &&
           h->d_head <= 256 && h->d_value <= 256 && h->q_lora_rank <= 256 && h->kv_lora_rank <= 256 &&
           h->n_ctx <= 4096;
}

static void run_once(tn_model *m)
{
    tn_graph *g;

    if (tn_graph_create(&g, 3, NULL) != TN_OK) return;
    tn_net   net = { .g = g, .model = m };
    tn_value y = tn_model_build(&net, NULL) == TN_OK ? tn_net_logits(&net) : 0;
    if (y != 0 && tn_graph_plan(g, 1 << 26, NULL, NULL) == TN_OK) {
        for (int i = 0; i < 3; i++) {
            ((int32_t *)tn_graph_data(g, net.tokens))[i] = i % 2;
            ((int32_t *)tn_graph_data(g, net.pos))[i] = i;
            ((int32_t *)tn_graph_data(g, net.doc_start))[i] = 0;
        }
        if (tn_graph_forward(g, 3, NULL) != TN_OK) abort(); /* what was planned runs */
    }
    tn_graph_destroy(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t    *o;
    tn_hparams h;
    tn_model  *m;

    if (tn_json_parse(&o, (const char *)data, size, "config.json", NULL) != TN_OK) return 0;
    if (tn_hparams_from_hf(&h, o, "config.json", NULL) == TN_OK && is_small(&h) &&
        tn_model_create(&m, &h, NULL, 1, NULL) == TN_OK) {
        run_once(m);
        tn_model_close(m);
    }
    json_decref(o);
    return 0;
}
