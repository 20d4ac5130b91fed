/* test_adapters.c - low-rank adapters: logits equal to the peft package's, B = 0 changes no bit, gradients,
 * merging, and the round trip through PEFT's files. */
#include "family_util.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct adapter_case {
    const char *name, *family;
    bool        dora;
} adapter_case;

// clang-format off
static const adapter_case cases[] = {
    { "llama-lora", "llama", false }, { "llama-rslora", "llama", false }, { "llama-patterns", "llama", false },
    { "llama-dora", "llama", true },
    { "gpt2-lora", "gpt2", false }, { "gptneox-dora", "gptneox", true },
};
// clang-format on
enum { N_CASE = sizeof cases / sizeof cases[0] };

typedef struct adapted {
    family_model f;
    tn_lora     *lora;
    size_t       n_lora;
    const float *want;
    tn_st_file  *golden;
} adapted;

static void open_case(adapted *a, const adapter_case *c)
{
    char path[256];

    memset(a, 0, sizeof *a);
    family_open(&a->f, &(family_case){ c->family, 0 }, false);
    snprintf(path, sizeof path, "tests/golden/adapters/%s", c->name);
    assert_ok(tn_lora_read(&a->lora, &a->n_lora, a->f.m, path, err));
    snprintf(path, sizeof path, "tests/golden/adapters/%s/golden.safetensors", c->name);
    assert_ok(tn_st_open(&a->golden, path, err));
    a->want = tn_st_find(a->golden, "logits")->data;
}

static void close_case(adapted *a)
{
    tn_lora_free(a->lora, a->n_lora);
    tn_st_close(a->golden);
    family_close(&a->f);
}

static void forward(family_run *r, adapted *a, bool with, bool train)
{
    family_build(r, &a->f, a->f.n_token, train, false, with ? a->lora : NULL, with ? a->n_lora : 0);
    family_forward(r, a->f.tokens, &a->f.n_token, 1);
}

/* Largest difference over the largest entry. */
static double distance(const float *x, const float *want, int64_t n)
{
    double most = 0, d = 0;

    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)want[i]));
        d = fmax(d, fabs((double)x[i] - (double)want[i]));
    }
    return d / most;
}

static void logits_equal_peft(void **state)
{
    adapted    a;
    family_run r;

    open_case(&a, *state);
    int64_t n = a.f.n_token * a.f.n_vocab;
    forward(&r, &a, true, false);
    assert_true(distance(a.want, a.f.logits, n) > 1e-3); /* the adapter does something */
    assert_true(distance(family_logits(&r), a.want, n) <= 1e-5);
    family_run_free(&r);

    assert_ok(tn_model_merge_lora(a.f.m, a.lora, a.n_lora, err));
    forward(&r, &a, false, false);
    assert_true(distance(family_logits(&r), a.want, n) <= 2e-5);
    family_run_free(&r);
    close_case(&a);
}

static void zero_b_changes_no_bit(void **state)
{
    const adapter_case *c = *state;
    adapted             a;
    family_run          with, without;

    open_case(&a, c);
    for (size_t i = 0; i < a.n_lora; i++) {
        memset(a.lora[i].b.data, 0, tn_n_bytes(&a.lora[i].b));
        if (c->dora) { /* LoRA alone: a magnitude is no neutral element */
            free(a.lora[i].magnitude.data);
            a.lora[i].magnitude.data = NULL;
        }
    }
    forward(&with, &a, true, false);
    forward(&without, &a, false, false);
    assert_true(tn_same_bits(family_logits(&with), family_logits(&without), a.f.n_token * a.f.n_vocab,
                             &(int64_t){ 0 }));
    family_run_free(&with);
    family_run_free(&without);
    close_case(&a);
}

/* What the merged model's own files hold, beside PEFT's merge_and_unload: both sum in fp32, in another order,
 * so an element may differ by a few roundings of the largest entry. What no adapter is for keeps its bits. */
static void merged_files_equal_peft(void **state)
{
    const adapter_case *c = *state;
    char                dir[] = "/tmp/tn-merged-XXXXXX", path[300];
    adapted             a;
    tn_st_file         *want, *base, *got;
    size_t              n_found = 0;

    open_case(&a, c);
    assert_non_null(mkdtemp(dir));
    assert_ok(tn_model_merge_lora(a.f.m, a.lora, a.n_lora, err));
    snprintf(path, sizeof path, "%s/m", dir);
    assert_ok(tn_model_write(a.f.m, path, TN_F32, false, NULL, err));
    snprintf(path, sizeof path, "%s/m/model.safetensors", dir);
    assert_ok(tn_st_open(&got, path, err));
    snprintf(path, sizeof path, "tests/golden/adapters/%s/merged.safetensors", c->name);
    assert_ok(tn_st_open(&want, path, err));
    snprintf(path, sizeof path, "tests/golden/families/%s/model.safetensors", c->family);
    assert_ok(tn_st_open(&base, path, err));
    for (size_t i = 0; i < tn_st_count(got); i++) {
        const tn_st_entry *e = tn_st_at(got, i), *w = tn_st_find(want, e->name),
                          *b = tn_st_find(base, e->name);
        size_t bytes = (size_t)(e->end - e->begin);
        assert_non_null(b);
        if (w == NULL) {
            assert_int_equal(bytes, b->end - b->begin);
            assert_memory_equal(e->data, b->data, bytes);
            continue;
        }
        n_found++;
        assert_int_equal(e->dtype, TN_F32);
        assert_int_equal(bytes, w->end - w->begin);
        for (int d = 0; d < 2; d++) assert_int_equal(e->shape[d], w->shape[d]);
        double far = distance(e->data, w->data, (int64_t)(bytes / 4));
        if (!(far <= 2.5e-7))
            fail_msg("%s: %s is %g of its largest entry away from PEFT's", c->name, e->name, far);
        assert_true(distance(b->data, w->data, (int64_t)(bytes / 4)) > 1e-3);
    }
    assert_int_equal(n_found, tn_st_count(want));
    assert_int_equal(n_found, a.n_lora);
    tn_st_close(got);
    tn_st_close(want);
    tn_st_close(base);
    close_case(&a);
    assert_ok(tn_remove_tree(dir, err));
}

static double weighted(family_run *r, adapted *a, const float *seed)
{
    double sum = 0;

    family_forward(r, a->f.tokens, &a->f.n_token, 1);
    for (int64_t i = 0; i < a->f.n_token * a->f.n_vocab; i++)
        sum += (double)family_logits(r)[i] * (double)seed[i];
    return sum;
}

/* One element of each trained tensor of each adapter. DoRA takes the length of a row as a constant, so there
 * only the magnitude's gradient is the true one. */
static void gradients_match_finite_differences(void **state)
{
    const adapter_case *c = *state;
    adapted             a;
    family_run          r;

    open_case(&a, c);
    for (size_t i = 0; i < a.n_lora; i++) {
        tn_lora *l = &a.lora[i];
        l->da = l->a;
        l->db = l->b;
        l->dmagnitude = l->magnitude;
        l->da.data = calloc((size_t)tn_n_elem(&l->a), sizeof(float));
        l->db.data = calloc((size_t)tn_n_elem(&l->b), sizeof(float));
        if (c->dora) l->dmagnitude.data = calloc((size_t)tn_n_elem(&l->magnitude), sizeof(float));
    }
    forward(&r, &a, true, true);
    float *seed = tn_graph_data(r.g, r.seed);
    for (int64_t i = 0; i < a.f.n_token * a.f.n_vocab; i++) seed[i] = (float)((i * 7919) % 101 - 50) / 500;
    assert_ok(tn_graph_run_backward(r.g, err));
    for (size_t i = 0; i < a.n_lora; i++) {
        tn_lora   *l = &a.lora[i];
        tn_tensor *w[] = { &l->a, &l->b, &l->magnitude }, *g[] = { &l->da, &l->db, &l->dmagnitude };
        for (int k = c->dora ? 2 : 0; k < (c->dora ? 3 : 2); k++) {
            float *x = (float *)w[k]->data + tn_n_elem(w[k]) / 2, was = *x,
                  got = ((float *)g[k]->data)[tn_n_elem(w[k]) / 2];
            *x = was + 2e-3f;
            double up = weighted(&r, &a, seed), high = *x;
            *x = was - 2e-3f;
            double want = (up - weighted(&r, &a, seed)) / (high - *x);
            *x = was;
            if (!(fabs(want - (double)got) <= 2e-2 * fmax(0.1, fabs(want))))
                fail_msg("%s, tensor %d: %g, finite difference %g", l->name, k, (double)got, want);
        }
    }
    for (size_t i = 0; i < a.n_lora; i++) {
        free(a.lora[i].da.data);
        free(a.lora[i].db.data);
        if (c->dora) free(a.lora[i].dmagnitude.data);
    }
    family_run_free(&r);
    close_case(&a);
}

static void files_keep_every_value(void **state)
{
    char     dir[] = "/tmp/tn-adapter-XXXXXX";
    adapted  a;
    tn_lora *back;
    size_t   n;

    open_case(&a, *state);
    assert_non_null(mkdtemp(dir));
    assert_ok(tn_lora_write(a.f.m, a.lora, a.n_lora, dir, err));
    assert_ok(tn_lora_read(&back, &n, a.f.m, dir, err));
    assert_int_equal(n, a.n_lora);
    for (size_t i = 0; i < n; i++) {
        const tn_lora *l = &a.lora[i], *m = NULL;
        for (size_t k = 0; k < n; k++)
            if (strcmp(back[k].name, l->name) == 0) m = &back[k];
        assert_non_null(m);
        assert_true(m->scale == l->scale);
        assert_memory_equal(m->a.data, l->a.data, tn_n_bytes(&l->a));
        assert_memory_equal(m->b.data, l->b.data, tn_n_bytes(&l->b));
        assert_int_equal(m->magnitude.data != NULL, l->magnitude.data != NULL);
        if (l->magnitude.data != NULL)
            assert_memory_equal(m->magnitude.data, l->magnitude.data, tn_n_bytes(&l->magnitude));
    }
    tn_lora_free(back, n);
    close_case(&a);
    assert_ok(tn_remove_tree(dir, err));
}

static void adapters_of_other_models_are_refused(void **state)
{
    family_model f;
    tn_lora     *lora;
    size_t       n;
    tn_error     err;
    tn_graph    *g;

    (void)state;
    family_open(&f, &(family_case){ "qwen3", 0 }, false);
    assert_int_equal(tn_lora_read(&lora, &n, f.m, "tests/golden/adapters/llama-lora", &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "not the shape"));
    assert_int_equal(tn_lora_read(&lora, &n, f.m, "tests/golden/adapters/gpt2-lora", &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "another model"));
    assert_int_equal(tn_lora_read(&lora, &n, f.m, "tests/golden/adapters/none", &err), TN_NOTFOUND);

    tn_lora head = { .name = "token_embd.weight" };
    assert_int_equal(tn_graph_create(&g, 4, &err), TN_OK);
    tn_net net = { .g = g, .model = f.m, .lora = &head, .n_lora = 1 };
    assert_int_equal(tn_model_build(&net, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "token_embd.weight"));
    tn_graph_destroy(g);
    family_close(&f);
}

/* The rank in adapter_config.json is half of the scale: with another one than the tensors' the adapter would
 * mean something else. Tensors of a module that is no target would work here and nowhere else. */
static void a_config_that_is_not_the_tensors_is_refused(void **state)
{
    char        dir[] = "/tmp/tenet-adapter-XXXXXX", path[300], *text;
    const char *from = "tests/golden/adapters/llama-lora";
    adapted     a;
    tn_lora    *lora;
    size_t      n, bytes;
    json_t     *config;
    tn_error    why = { 0 };
    (void)state;

    open_case(&a, &cases[0]);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", from);
    assert_ok(tn_file_read_all(&text, &bytes, path, 1 << 20, err));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    assert_ok(tn_file_write_all(path, text, bytes, err));
    free(text);
    snprintf(path, sizeof path, "%s/adapter_config.json", from);
    assert_ok(tn_json_load(&config, path, 1 << 20, err));
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    assert_ok(tn_json_save(path, config, true, err));
    assert_ok(tn_lora_read(&lora, &n, a.f.m, dir, err));
    tn_lora_free(lora, n);
    json_object_set_new(config, "r", json_integer(json_integer_value(json_object_get(config, "r")) + 1));
    assert_ok(tn_json_save(path, config, true, err));
    assert_int_equal(tn_lora_read(&lora, &n, a.f.m, dir, &why), TN_MISMATCH);
    assert_non_null(strstr(why.msg, "has rank"));
    json_object_set_new(config, "r", json_integer(json_integer_value(json_object_get(config, "r")) - 1));
    json_t *targets = json_object_get(config, "target_modules");
    for (size_t i = json_array_size(targets); i-- > 0;)
        if (strcmp(json_string_value(json_array_get(targets, i)), "q_proj") == 0)
            json_array_remove(targets, i);
    json_array_append_new(targets, json_string("_proj")); /* an end, but not behind a dot */
    assert_ok(tn_json_save(path, config, true, err));
    assert_int_equal(tn_lora_read(&lora, &n, a.f.m, dir, &why), TN_MISMATCH);
    assert_non_null(strstr(why.msg, "target_modules"));
    json_array_append_new(targets, json_string("self_attn.q_proj"));
    assert_ok(tn_json_save(path, config, true, err));
    assert_ok(tn_lora_read(&lora, &n, a.f.m, dir, err));
    tn_lora_free(lora, n);
    /* PEFT would change the base while it loads these */
    static const char *const changing[] = { "pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga" };
    for (size_t i = 0; i < sizeof changing / sizeof changing[0]; i++) {
        json_object_set_new(config, "init_lora_weights", json_string(changing[i]));
        assert_ok(tn_json_save(path, config, true, err));
        assert_int_equal(tn_lora_read(&lora, &n, a.f.m, dir, &why), TN_UNSUPPORTED);
        assert_non_null(strstr(why.msg, changing[i]));
    }
    json_object_set_new(config, "init_lora_weights", json_string("eva"));
    json_object_set_new(config, "eva_config", json_pack("{s:f}", "rho", 2.0));
    assert_ok(tn_json_save(path, config, true, err));
    assert_ok(tn_lora_read(&lora, &n, a.f.m, dir, err));
    tn_lora_free(lora, n);
    json_decref(config);
    tn_remove_tree(dir, NULL);
    close_case(&a);
}

int main(void)
{
    enum { N_KIND = 5 };
    struct CMUnitTest tests[N_KIND * N_CASE + 2];
    char              names[N_KIND * N_CASE][96];
    int               n = 0;
    // clang-format off
    const struct { const char *name; CMUnitTestFunction fn; } kinds[N_KIND] = {
        { "logits equal peft's, merged too", logits_equal_peft }, { "B = 0 changes no bit", zero_b_changes_no_bit },
        { "gradients match finite differences", gradients_match_finite_differences }, { "files keep every value", files_keep_every_value },
        { "merged files equal peft's", merged_files_equal_peft },
    };
    // clang-format on

    for (int k = 0; k < N_KIND; k++)
        for (int i = 0; i < N_CASE; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", cases[i].name, kinds[k].name);
            tests[n] = (struct CMUnitTest){ .name = names[n],
                                            .test_func = kinds[k].fn,
                                            .initial_state = (void *)&cases[i] };
        }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(adapters_of_other_models_are_refused);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_config_that_is_not_the_tensors_is_refused);
    return _cmocka_run_group_tests("adapters", tests, (size_t)n, NULL, NULL);
}
