/* test_family_forms.c - the same model in other forms: written as GGUF and read again, quantised and packed,
 * with an adapter over a GGUF's order of rows, in other profiles; and that running allocates nothing. */
#include "family_util.h"

#include "base/file.h"
#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* allocations are counted by the linker's --wrap; the one with number fail_at fails */
static long n_alloc, fail_at;
void       *__real_malloc(size_t n);
void       *__real_calloc(size_t a, size_t b);
void       *__real_realloc(void *p, size_t n);
void       *__wrap_malloc(size_t n);
void       *__wrap_calloc(size_t a, size_t b);
void       *__wrap_realloc(void *p, size_t n);
void       *__real_aligned_alloc(size_t a, size_t n);
void       *__wrap_aligned_alloc(size_t a, size_t n);
void       *__wrap_malloc(size_t n) { return ++n_alloc == fail_at ? NULL : __real_malloc(n); }
void       *__wrap_calloc(size_t a, size_t b) { return ++n_alloc == fail_at ? NULL : __real_calloc(a, b); }
void       *__wrap_aligned_alloc(size_t a, size_t n)
{
    return ++n_alloc == fail_at ? NULL : __real_aligned_alloc(a, n);
}
void *__wrap_realloc(void *p, size_t n) { return ++n_alloc == fail_at ? NULL : __real_realloc(p, n); }

static char folder[] = "/tmp/tn-forms-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return tn_remove_tree(folder, NULL) != TN_OK;
}

/* The golden model as a GGUF of `type`, opened again into g (which borrows f's tokens). */
static tn_status through_gguf(family_model *g, const family_model *f, const char *name, tn_dtype type,
                              bool pack, tn_error *err)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s-%s.gguf", folder, name, tn_dtype_name(type));
    *g = *f;
    g->m = NULL;
    TN_TRY(tn_model_write(f->m, path, type, false, NULL, err));
    return tn_model_open(&g->m, path, &(tn_model_options){ .weights = true, .pack = pack }, err);
}

static float *logits_of(family_model *f, const tn_lora *lora, size_t n_lora)
{
    family_run r;
    size_t     bytes = (size_t)(f->n_token * f->n_vocab) * sizeof(float);
    float     *y = malloc(bytes);

    family_build(&r, f, f->n_token, false, false, lora, n_lora);
    family_forward(&r, f->tokens, &f->n_token, 1);
    memcpy(y, family_logits(&r), bytes);
    family_run_free(&r);
    return y;
}

static void assert_close(const char *who, const float *x, const float *want, int64_t n, double bound)
{
    double most = 0, d = 0;

    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)x[i] - (double)want[i]);
        most = fmax(most, fabs((double)want[i]));
        if (!(e <= d)) d = e;
    }
    if (!(d <= bound * most)) fail_msg("%s: differs by %g, largest %g", who, d, most);
}

static void gguf_gives_the_same_answers(void **state)
{
    const family_case *c = *state;
    family_model       f, g;
    tn_error           err;

    family_open(&f, c, false);
    tn_status status = through_gguf(&g, &f, c->name, TN_F32, false, &err);
    if (strcmp(c->name, "llama-dynamic") == 0) { /* GGUF cannot say it */
        assert_int_equal(status, TN_UNSUPPORTED);
    } else {
        if (status != TN_OK) fail_msg("%s", err.msg);
        float *y = logits_of(&g, NULL, 0);
        assert_close(c->name, y, f.logits, f.n_token * f.n_vocab, 1e-5);
        free(y);
        tn_model_close(g.m);
    }
    family_close(&f);
}

/* strict: a quantised weight means its dequantised value, whatever kernel reads it. */
static void packed_and_quantised_equals_dequantised(void **state)
{
    // clang-format off
    static const struct { const char *name; tn_dtype type; } ways[] = {
        { "llama", TN_Q8_0 }, { "qwen2", TN_Q4_0 }, { "gemma2", TN_Q4_1 }, { "mixtral", TN_Q5_0 }, { "deepseek-v3", TN_Q8_0 },
        { "gpt-oss", TN_Q5_1 }, { "olmo2", TN_BF16 }, { "gpt2", TN_F16 },
    };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        family_model f, packed, plain;
        int64_t      at;
        family_open(&f, &(family_case){ ways[i].name, 0 }, false);
        assert_ok(through_gguf(&packed, &f, ways[i].name, ways[i].type, true, err));
        assert_ok(through_gguf(&plain, &f, ways[i].name, ways[i].type, false, err));
        assert_ok(tn_model_to_f32(plain.m, err));
        float *x = logits_of(&packed, NULL, 0), *y = logits_of(&plain, NULL, 0);
        if (!tn_same_bits(x, y, f.n_token * f.n_vocab, &at))
            fail_msg("%s: logit %lld is %a, not %a", ways[i].name, (long long)at, (double)x[at],
                     (double)y[at]);
        free(x);
        free(y);
        tn_model_close(packed.m);
        tn_model_close(plain.m);
        family_close(&f);
    }
}

static void adapters_follow_the_order_of_rows(void **state)
{
    family_model f, g;
    tn_lora     *lora;
    size_t       n;
    tn_st_file  *golden;

    (void)state;
    family_open(&f, &(family_case){ "llama", 0 }, false);
    assert_ok(through_gguf(&g, &f, "adapted", TN_F32, false, err));
    assert_true(tn_model_hparams(g.m)->rope_interleaved != tn_model_hparams(f.m)->rope_interleaved);
    assert_ok(tn_lora_read(&lora, &n, g.m, "tests/golden/adapters/llama-lora", err));
    assert_ok(tn_st_open(&golden, "tests/golden/adapters/llama-lora/golden.safetensors", err));
    float *y = logits_of(&g, lora, n);
    assert_close("llama-lora over GGUF", y, tn_st_find(golden, "logits")->data, f.n_token * f.n_vocab, 1e-5);
    free(y);

    char     dir[300];
    tn_lora *back;
    size_t   n_back;
    snprintf(dir, sizeof dir, "%s/written", folder);
    assert_ok(tn_lora_write(g.m, lora, n, dir, err));
    assert_ok(tn_lora_read(&back, &n_back, f.m, dir, err)); /* read by the model in Hugging Face's order */
    y = logits_of(&f, back, n_back);
    assert_close("written over GGUF", y, tn_st_find(golden, "logits")->data, f.n_token * f.n_vocab, 1e-5);
    free(y);
    tn_lora_free(back, n_back);
    tn_lora_free(lora, n);
    tn_st_close(golden);
    tn_model_close(g.m);
    family_close(&f);
}

/* Adapters over a packed, quantised base learn what they would learn over the same values in f32. */
static void adapters_train_over_a_quantised_base(void **state)
{
    float *grads[2] = { NULL, NULL };
    size_t n_grad = 0;

    (void)state;
    for (int pack = 0; pack < 2; pack++) {
        family_model f, g;
        family_run   r;
        tn_lora     *lora;
        size_t       n;
        family_open(&f, &(family_case){ "llama", 0 }, false);
        assert_ok(through_gguf(&g, &f, "base", TN_Q8_0, pack, err));
        if (!pack) assert_ok(tn_model_to_f32(g.m, err));
        assert_ok(tn_lora_read(&lora, &n, g.m, "tests/golden/adapters/llama-dora", err));
        for (size_t i = n_grad = 0; i < n; i++)
            n_grad += (size_t)(tn_n_elem(&lora[i].a) + tn_n_elem(&lora[i].b) + tn_n_elem(&lora[i].magnitude));
        float *at = grads[pack] = calloc(n_grad, sizeof *at);
        for (size_t i = 0; i < n; i++) {
            tn_tensor *w[] = { &lora[i].a, &lora[i].b, &lora[i].magnitude },
                      *d[] = { &lora[i].da, &lora[i].db, &lora[i].dmagnitude };
            for (int k = 0; k < 3; k++) {
                *d[k] = *w[k];
                d[k]->data = at;
                at += tn_n_elem(w[k]);
            }
        }
        family_build(&r, &g, f.n_token, true, pack, lora, n);
        family_forward(&r, f.tokens, &f.n_token, 1);
        float *seed = tn_graph_data(r.g, r.seed);
        for (int64_t i = 0; i < f.n_token * f.n_vocab; i++) seed[i] = (float)((i * 7919) % 101 - 50) / 500;
        assert_ok(tn_graph_run_backward(r.g, err));
        family_run_free(&r);
        tn_lora_free(lora, n);
        tn_model_close(g.m);
        family_close(&f);
    }
    int64_t i;
    assert_true(grads[0][0] != 0);
    if (!tn_same_bits(grads[1], grads[0], (int64_t)n_grad, &i))
        fail_msg("gradient %lld: %a, not %a", (long long)i, (double)grads[1][i], (double)grads[0][i]);
    free(grads[0]);
    free(grads[1]);
}

/* gpt-oss as it is published: MXFP4 experts in two tensors of bytes. */
static void published_mxfp4_is_read(void **state)
{
    static const char path[] = "tests/golden/families/gpt-oss-mxfp4";
    family_model      f, packed;
    int64_t           at;

    (void)state;
    family_open(&f, &(family_case){ "gpt-oss-mxfp4", 0 }, false);
    assert_int_equal(tn_model_find(f.m, "blk.1.ffn_up_exps.weight")->w.dtype, TN_MXFP4);
    packed = f;
    assert_ok(tn_model_open(&packed.m, path, &(tn_model_options){ .weights = true, .pack = true }, err));
    assert_ok(tn_model_to_f32(f.m, err));
    float *x = logits_of(&packed, NULL, 0), *y = logits_of(&f, NULL, 0);
    assert_close("gpt-oss-mxfp4", y, f.logits, f.n_token * f.n_vocab, 1e-5);
    assert_true(tn_same_bits(x, y, f.n_token * f.n_vocab, &at));
    free(x);
    free(y);
    tn_model_close(packed.m);
    family_close(&f);
}

/* DeepSeek as newer GGUF files have it: the expansion of keys and values in two tensors, the keys'
 * transposed. */
static void split_latent_expansion_is_joined(void **state)
{
    family_model f, g;

    (void)state;
    family_open(&f, &(family_case){ "deepseek-v3", 0 }, false);
    g = f;
    assert_ok(tn_model_open(&g.m, "tests/golden/families/deepseek-v3/split-kv-b.gguf",
                            &(tn_model_options){ .weights = true }, err));
    const tn_tensor *x = &tn_model_find(g.m, "blk.1.attn_kv_b.weight")->w,
                    *y = &tn_model_find(f.m, "blk.1.attn_kv_b.weight")->w;
    assert_int_equal(tn_n_bytes(x), tn_n_bytes(y));
    assert_memory_equal(x->data, y->data, tn_n_bytes(x));
    float *got = logits_of(&g, NULL, 0);
    assert_close("deepseek-v3, split", got, f.logits, f.n_token * f.n_vocab, 1e-5);
    free(got);
    tn_model_close(g.m);
    family_close(&f);
}

/* Other profiles are other numbers, near the strict ones, and keep the promise: a row decoded = the row in
 * training. */
static void other_profiles_decode_as_they_train(void **state)
{
    static const char *const names[] = { "llama", "mixtral", "deepseek-v3" };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        family_model f;
        family_run   r;
        int64_t      at;
        family_open(&f, &(family_case){ names[i], 0 }, false);
        float *strict = logits_of(&f, NULL, 0);
        f.profile = TN_PROFILE_STRICT_BF16;
        float *want = logits_of(&f, NULL, 0);
        assert_false(tn_same_bits(want, strict, f.n_token * f.n_vocab, &at));
        family_build_decode(&r, &f, 1, 1);
        for (int64_t t = 0; t < f.n_token; t++) {
            *(int32_t *)tn_graph_data(r.g, r.net.tokens) = f.tokens[t];
            *(int32_t *)tn_graph_data(r.g, r.net.pos) = (int32_t)t;
            *(int32_t *)tn_graph_data(r.g, r.net.pages) = 0;
            assert_ok(tn_graph_forward(r.g, 1, err));
            if (!tn_same_bits(family_logits(&r), want + t * f.n_vocab, f.n_vocab, &at))
                fail_msg("%s: row %lld, logit %lld", names[i], (long long)t, (long long)at);
        }
        free(strict);
        free(want);
        family_run_free(&r);
        family_close(&f);
    }
}

static void running_allocates_nothing(void **state)
{
    const family_case *c = *state;
    family_model       f;
    family_run         r;

    family_open(&f, c, true);
    family_build(&r, &f, f.n_token, true, true, NULL, 0);
    family_forward(&r, f.tokens, &f.n_token, 1);
    assert_ok(tn_graph_run_backward(r.g, err));
    long before = n_alloc;
    assert_true(before > 0);
    for (int64_t rows = f.n_token; rows > f.n_token - 3; rows--) {
        family_forward(&r, f.tokens, &rows, 1);
        assert_ok(tn_graph_run_backward(r.g, err));
    }
    assert_int_equal(n_alloc, before);
    family_run_free(&r);
    family_close(&f);
}

static tn_status build_all(family_model *f, tn_error *err)
{
    tn_graph *g = NULL;
    tn_value  seed;

    TN_TRY(tn_graph_create(&g, 4, err));
    tn_net    net = { .g = g, .model = f->m, .train = true };
    tn_status status = tn_model_build(&net, err);
    if (status == TN_OK) status = tn_graph_backward(g, &net.hidden, &seed, 1, false, err);
    if (status == TN_OK) status = tn_graph_plan(g, 0, NULL, err);
    tn_graph_destroy(g);
    return status;
}

static tn_status create(family_model *f, tn_error *err)
{
    tn_model *m;
    tn_status status = tn_model_create(&m, tn_model_hparams(f->m), NULL, 1, err);

    tn_model_close(m);
    return status;
}

static tn_status read_adapter(family_model *f, tn_error *err)
{
    tn_lora  *lora;
    size_t    n;
    tn_status status = tn_lora_read(&lora, &n, f->m, "tests/golden/adapters/llama-dora", err);

    if (status == TN_OK) status = tn_model_merge_lora(f->m, lora, n, err);
    tn_lora_free(lora, n);
    return status;
}

/* Every allocation fails once. */
static void out_of_memory_is_an_error(void **state)
{
    static const struct {
        const char *family;
        tn_status (*what)(family_model *f, tn_error *err);
    } works[] = {
        { "deepseek-v3", build_all },
        { "mixtral", create },
        { "llama", read_adapter },
    };

    (void)state;
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++) {
        family_model f;
        bool         reached = true;
        family_open(&f, &(family_case){ works[i].family, 0 }, i == 0);
        for (long at = 1; reached; at++) {
            tn_error err = { 0 };
            fail_at = n_alloc + at;
            tn_status status = works[i].what(&f, &err);
            reached = n_alloc >= fail_at;
            fail_at = 0;
            if (reached && status == TN_OK)
                fail_msg("%s: allocation %ld failed without an error", works[i].family, at);
            if (!reached && (status != TN_OK || at < 20))
                fail_msg("%s: after %ld allocations: %s", works[i].family, at, err.msg);
        }
        family_close(&f);
    }
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
        { "GGUF gives the same answers", gguf_gives_the_same_answers },
        { "running allocates nothing", running_allocates_nothing },
    };

    for (int k = 0; k < 2; k++)
        for (int i = 0; i < n_family_case; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", family_cases[i].name, kinds[k].name);
            tests[n] = (struct CMUnitTest){ .name = names[n],
                                            .test_func = kinds[k].fn,
                                            .initial_state = (void *)&family_cases[i] };
        }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(packed_and_quantised_equals_dequantised);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(adapters_follow_the_order_of_rows);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(adapters_train_over_a_quantised_base);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(published_mxfp4_is_read);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(split_latent_expansion_is_joined);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(out_of_memory_is_an_error);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(other_profiles_decode_as_they_train);
    return _cmocka_run_group_tests("forms of a model", tests, (size_t)n, make_folder, remove_folder);
}
