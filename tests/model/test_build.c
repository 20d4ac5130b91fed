/* test_build.c - building and making models: new models have the weights of their family, plans waste little,
 * wanted rows alone go to the head, and weights that do not fit the configuration are errors that name
 * them. */
#include "family_util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tn_model *make_new(const family_model *f, uint64_t seed)
{
    tn_model *m = NULL;

    assert_ok(tn_model_create(&m, tn_model_hparams(f->m), NULL, seed, err));
    return m;
}

static void new_models_have_their_familys_weights(void **state)
{
    const family_case *c = *state;
    family_model       f;

    family_open(&f, c, false);
    tn_model *m = make_new(&f, 1), *same = make_new(&f, 1), *other = make_new(&f, 2);
    bool      differs = false;
    assert_int_equal(tn_model_n_tensor(m), tn_model_n_tensor(f.m));
    for (size_t i = 0; i < tn_model_n_tensor(m); i++) {
        const tn_param *p = tn_model_tensor(m, i), *q = tn_model_tensor(f.m, i);
        assert_string_equal(p->name, q->name);
        assert_int_equal(p->w.n_dim, q->w.n_dim);
        assert_memory_equal(p->w.shape, q->w.shape, (size_t)p->w.n_dim * sizeof *p->w.shape);
        assert_memory_equal(p->w.data, tn_model_tensor(same, i)->w.data, tn_n_bytes(&p->w));
        differs |= memcmp(p->w.data, tn_model_tensor(other, i)->w.data, tn_n_bytes(&p->w)) != 0;
    }
    assert_true(differs);
    family_run   r;
    family_model fresh = f;
    fresh.m = m;
    family_build(&r, &fresh, f.n_token, false, false, NULL, 0);
    family_forward(&r, f.tokens, &f.n_token, 1);
    /* small weights: every token is about as likely as any other */
    for (int64_t i = 0; i < f.n_token * f.n_vocab; i++) assert_true(fabsf(family_logits(&r)[i]) < 1.5f);
    family_run_free(&r);
    tn_model_close(m);
    tn_model_close(same);
    tn_model_close(other);
    family_close(&f);
}

static void initial_values_follow_the_rule(void **state)
{
    family_model f;

    (void)state;
    family_open(&f, &(family_case){ "gpt2", 0 }, false);
    tn_model *m = make_new(&f, 3);
    // clang-format off
    const struct { const char *name; double mean, std; } rules[] = {
        { "token_embd.weight", 0, 0.02 }, { "blk.0.attn_qkv.weight", 0, 0.02 }, { "blk.1.attn_norm.weight", 1, 0 },
        { "blk.1.attn_norm.bias", 0, 0 }, { "blk.0.ffn_down.weight", 0, 0.01 }, { "blk.1.attn_output.weight", 0, 0.01 },
    };
    // clang-format on
    for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
        const tn_tensor *w = &tn_model_find(m, rules[k].name)->w;
        const float     *x = w->data;
        double           sum = 0, square = 0, n = (double)tn_n_elem(w);
        for (int64_t i = 0; i < tn_n_elem(w); i++) sum += (double)x[i];
        for (int64_t i = 0; i < tn_n_elem(w); i++)
            square += ((double)x[i] - sum / n) * ((double)x[i] - sum / n);
        double std = sqrt(square / n);
        if (fabs(sum / n - rules[k].mean) > 0.003 || fabs(std - rules[k].std) > 0.1 * rules[k].std)
            fail_msg("%s: mean %g, std %g", rules[k].name, sum / n, std);
    }
    tn_model_close(m);
    family_close(&f);
}

static void plans_waste_less_than_a_tenth(void **state)
{
    const family_case *c = *state;
    family_model       f;

    family_open(&f, c, true);
    for (int way = 0; way < 3; way++) {
        tn_graph       *g;
        tn_graph_memory memory;
        tn_value        seed;
        assert_ok(tn_graph_create(&g, 512, err));
        tn_net net = { .g = g, .model = f.m, .train = way > 0, .recompute = way == 2, .n_ctx = f.n_ctx };
        assert_ok(tn_model_build(&net, err));
        if (way > 0) assert_ok(tn_graph_backward(g, &net.hidden, &seed, 1, way == 2, err));
        else tn_graph_keep(g, net.hidden);
        assert_ok(tn_graph_plan(g, 0, &memory, err));
        size_t live = tn_graph_live_set(g);
        if ((double)memory.planned > 1.1 * (double)live)
            fail_msg("%s, way %d: planned %zu, live %zu", c->name, way, memory.planned, live);
        tn_graph_destroy(g);
    }
    family_close(&f);
}

static void only_wanted_rows_go_to_the_head(void **state)
{
    static const int32_t rows[] = { 5, 0, 11 };
    family_model         f;
    family_run           all;
    tn_graph            *g;

    (void)state;
    family_open(&f, &(family_case){ "llama", 0 }, false);
    family_build(&all, &f, f.n_token, false, false, NULL, 0);
    family_forward(&all, f.tokens, &f.n_token, 1);
    assert_ok(tn_graph_create(&g, f.n_token, err));
    tn_net net = { .g = g, .model = f.m, .n_out_max = 8 };
    assert_ok(tn_model_build(&net, err));
    tn_value y = tn_net_logits(&net);
    assert_ok(tn_graph_plan(g, 0, NULL, err));
    int32_t *ids = tn_graph_data(g, net.tokens), *pos = tn_graph_data(g, net.pos),
            *start = tn_graph_data(g, net.doc_start);
    for (int64_t i = 0; i < f.n_token; i++) {
        ids[i] = f.tokens[i];
        pos[i] = (int32_t)i;
        start[i] = 0;
    }
    memcpy(tn_graph_data(g, net.out_rows), rows, sizeof rows);
    tn_graph_set_out_rows(g, 3);
    assert_ok(tn_graph_forward(g, f.n_token, err));
    assert_int_equal(tn_graph_tensor(g, y)->shape[0], 3);
    for (int i = 0; i < 3; i++)
        assert_memory_equal((float *)tn_graph_data(g, y) + i * f.n_vocab,
                            family_logits(&all) + rows[i] * f.n_vocab, (size_t)f.n_vocab * sizeof(float));
    tn_graph_destroy(g);
    family_run_free(&all);
    family_close(&f);
}

/* Dropout's masks depend on step and sample, not on where the row lies in the batch. */
static void dropout_follows_the_sample(void **state)
{
    family_model f;
    tn_graph    *g;
    float        first[4][64];

    (void)state;
    family_open(&f, &(family_case){ "llama", 0 }, true);
    assert_ok(tn_graph_create(&g, 8, err));
    tn_net net = { .g = g, .model = f.m, .train = true, .dropout = 0.3f };
    assert_ok(tn_model_build(&net, err));
    tn_graph_keep(g, net.hidden);
    assert_ok(tn_graph_plan(g, 0, NULL, err));
    for (int run = 0; run < 4; run++) { /* the same two documents, swapped, again, at another step */
        int32_t *ids = tn_graph_data(g, net.tokens), *pos = tn_graph_data(g, net.pos),
                *start = tn_graph_data(g, net.doc_start);
        int32_t *sample = tn_graph_data(g, net.sample_ids);
        for (int i = 0; i < 8; i++) {
            int doc = i / 4 ^ (run == 1), k = i % 4;
            ids[i] = f.tokens[4 * doc + k];
            pos[i] = k;
            start[i] = i - k;
            sample[i] = 4 * doc + k;
        }
        tn_net_set_step(&net, 7, run == 3 ? 2 : 1);
        assert_ok(tn_graph_forward(g, 8, err));
        memcpy(first[run], (float *)tn_graph_data(g, net.hidden) + (run == 1 ? 4 : 0) * 32,
               32 * sizeof(float));
    }
    assert_memory_equal(first[0], first[1], 32 * sizeof(float));
    assert_memory_equal(first[0], first[2], 32 * sizeof(float));
    assert_true(memcmp(first[0], first[3], 32 * sizeof(float)) != 0);
    tn_graph_destroy(g);
    family_close(&f);
}

static void expect_build_error(family_model *f, tn_status status, const char *text)
{
    tn_graph *g;
    tn_error  err;

    assert_int_equal(tn_graph_create(&g, 4, &err), TN_OK);
    tn_net    net = { .g = g, .model = f->m };
    tn_status got = tn_model_build(&net, &err);
    if (got != status || strstr(err.msg, text) == NULL)
        fail_msg("status %d, '%s' without '%s'", (int)got, err.msg, text);
    tn_graph_destroy(g);
}

static void weights_that_do_not_fit_are_named(void **state)
{
    family_model f;

    (void)state;
    family_open(&f, &(family_case){ "qwen2", 0 }, false);
    tn_param *p = tn_model_find(f.m, "blk.1.ffn_up.weight");
    /* the test plays a file with a wrong configuration */
    tn_hparams *h = (tn_hparams *)tn_model_hparams(f.m);
    p->w.shape[0]--;
    expect_build_error(&f, TN_MISMATCH, "'blk.1.ffn_up.weight' is 39x32; by the model's configuration 40x32");
    p->w.shape[0]++;
    snprintf(h->family, sizeof h->family, "qwen3");
    expect_build_error(&f, TN_FORMAT, "'blk.0.attn_q_norm.weight' is missing");
    snprintf(h->family, sizeof h->family, "mistral");
    expect_build_error(&f, TN_UNSUPPORTED, "'blk.0.attn_k.bias' is in the file, but Mistral");
    snprintf(h->family, sizeof h->family, "qwen2");
    h->n_head_kv = 4;
    expect_build_error(&f, TN_MISMATCH, "blk.0.attn_k.weight");
    h->n_head_kv = 2;
    snprintf(h->family, sizeof h->family, "none");
    expect_build_error(&f, TN_UNSUPPORTED, "'none'");
    family_close(&f);

    tn_hparams bad = { .family = "llama",
                       .n_layer = 1,
                       .n_embd = 8,
                       .n_head = 3,
                       .n_head_kv = 2,
                       .d_head = 4,
                       .n_vocab = 9,
                       .n_ctx = 8 };
    tn_model  *m;
    tn_error   err;
    assert_int_equal(tn_model_create(&m, &bad, NULL, 0, &err), TN_USAGE);
    assert_non_null(strstr(err.msg, "n_head_kv"));
}

int main(void)
{
    struct CMUnitTest tests[2 * 64 + 8];
    char              names[2 * 64][96];
    int               n = 0;
    const struct {
        const char        *name;
        CMUnitTestFunction fn;
    } kinds[] = {
        { "a new model has its family's weights", new_models_have_their_familys_weights },
        { "plans waste less than a tenth", plans_waste_less_than_a_tenth },
    };

    for (int k = 0; k < 2; k++)
        for (int i = 0; i < n_family_case; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", family_cases[i].name, kinds[k].name);
            tests[n] = (struct CMUnitTest){ .name = names[n],
                                            .test_func = kinds[k].fn,
                                            .initial_state = (void *)&family_cases[i] };
        }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(initial_values_follow_the_rule);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(only_wanted_rows_go_to_the_head);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(dropout_follows_the_sample);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(weights_that_do_not_fit_are_named);
    return _cmocka_run_group_tests("building models", tests, (size_t)n, NULL, NULL);
}
