/* family_util.c - see family_util.h. */
#include "family_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
const family_case family_cases[] = {
    { "gpt2", 0 }, { "gptneox", 0 }, { "gptneox-serial", 0 }, { "llama", 0 }, { "llama-bias", 0 }, { "llama-linear", 0 },
    { "llama-dynamic", 24 }, { "llama-3.1", 0 }, { "llama-yarn", 0 }, { "mistral", 0 }, { "mixtral", 0 }, { "qwen2", 0 },
    { "qwen3", 0 }, { "qwen3moe", 0 }, { "olmo2", 0 }, { "olmo3", 0 }, { "gemma2", 0 }, { "gemma3", 0 },
    { "deepseek-v2", 0 }, { "deepseek-v3", 0 }, { "gpt-oss", 0 },
};
// clang-format on
const int n_family_case = sizeof family_cases / sizeof family_cases[0];

static char *folder(const char *name, const char *file, char buf[256])
{
    snprintf(buf, 256, "tests/golden/families/%s%s", name, file);
    return buf;
}

void family_open(family_model *f, const family_case *c, bool grads)
{
    char path[256];

    memset(f, 0, sizeof *f);
    assert_ok(tn_model_open(&f->m, folder(c->name, "", path), &(tn_model_options){ .weights = true }, err));
    assert_ok(tn_st_open(&f->golden, folder(c->name, "/golden.safetensors", path), err));
    const tn_st_entry *t = tn_st_find(f->golden, "tokens"), *l = tn_st_find(f->golden, "logits");
    assert_non_null(t);
    assert_non_null(l);
    f->tokens = t->data;
    f->n_token = t->shape[0];
    f->logits = l->data;
    f->n_vocab = l->shape[1];
    f->n_ctx = c->n_ctx;
    if (!grads) return;
    assert_ok(tn_model_to_f32(f->m, err));
    f->grads = calloc(family_n_grad(f), sizeof *f->grads);
    assert_non_null(f->grads);
    float *at = f->grads;
    for (size_t i = 0; i < tn_model_n_tensor(f->m); i++) {
        tn_param *p = tn_model_tensor(f->m, i);
        p->grad = p->w;
        p->grad.data = at;
        at += tn_n_elem(&p->w);
    }
}

size_t family_n_grad(const family_model *f)
{
    size_t n = 0;

    for (size_t i = 0; i < tn_model_n_tensor(f->m); i++) n += (size_t)tn_n_elem(&tn_model_tensor(f->m, i)->w);
    return n;
}

void family_zero_grads(family_model *f) { memset(f->grads, 0, family_n_grad(f) * sizeof *f->grads); }

void family_close(family_model *f)
{
    tn_model_close(f->m);
    tn_st_close(f->golden);
    free(f->grads);
}

void family_build(family_run *r, family_model *f, int64_t rows, bool train, bool recompute,
                  const tn_lora *lora, size_t n_lora)
{
    memset(r, 0, sizeof *r);
    assert_ok(tn_graph_create(&r->g, rows, err));
    r->net = (tn_net){ .g = r->g,
                       .model = f->m,
                       .train = train,
                       .recompute = recompute,
                       .n_ctx = f->n_ctx,
                       .profile = f->profile,
                       .lora = lora,
                       .n_lora = n_lora };
    r->rows_max = rows;
    assert_ok(tn_model_build(&r->net, err));
    r->logits = tn_net_logits(&r->net);
    assert_ok(tn_graph_status(r->g, err));
    if (train) assert_ok(tn_graph_backward(r->g, &r->logits, &r->seed, 1, recompute, err));
    assert_ok(tn_graph_plan(r->g, 0, NULL, err));
}

void family_build_decode(family_run *r, family_model *f, int64_t rows, int64_t n_seq)
{
    const tn_hparams *h = tn_model_hparams(f->m);

    memset(r, 0, sizeof *r);
    assert_ok(tn_graph_create(&r->g, rows, err));
    assert_ok(tn_kv_create(&r->kv, h->n_layer, h->n_head_kv, h->d_head, h->d_value, n_seq, TN_F32, err));
    r->net = (tn_net){
        .g = r->g, .model = f->m, .kv = r->kv, .n_page_max = 1, .n_ctx = f->n_ctx, .profile = f->profile
    };
    r->rows_max = rows;
    assert_ok(tn_model_build(&r->net, err));
    r->logits = tn_net_logits(&r->net);
    assert_ok(tn_graph_status(r->g, err));
    assert_ok(tn_graph_plan(r->g, 0, NULL, err));
}

void family_forward(family_run *r, const int32_t *tokens, const int64_t *lengths, int n_doc)
{
    int32_t *ids = tn_graph_data(r->g, r->net.tokens), *pos = tn_graph_data(r->g, r->net.pos);
    int32_t *start = tn_graph_data(r->g, r->net.doc_start);
    int64_t  n = 0;

    for (int d = 0; d < n_doc; d++) {
        int64_t first = n;
        for (int64_t i = 0; i < lengths[d]; i++, n++) {
            ids[n] = tokens[n];
            pos[n] = (int32_t)i;
            start[n] = (int32_t)first;
        }
    }
    assert_ok(tn_graph_forward(r->g, n, err));
}

const float *family_logits(family_run *r) { return tn_graph_data(r->g, r->logits); }

void family_run_free(family_run *r)
{
    tn_graph_destroy(r->g);
    tn_kv_destroy(r->kv);
}
