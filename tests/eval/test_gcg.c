/* test_gcg.c - the gradient suffix search on a tiny random model: gradients against finite differences,
 * losses that fall, the same suffix every time, and a whole hunt through the red team; and a classifier of
 * replies on its hidden states. */
#include "../base/testing.h"
#include "eval/redteam.h"

#include <math.h>

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  failed_ = { 0 };                                                                           \
        tn_error *why = &failed_;                                                                            \
        if ((expr) != TN_OK) fail_msg("%s", failed_.msg);                                                    \
    } while (0)

static char      dir[] = "/tmp/tenet-gcg-XXXXXX";
static tn_model *model;

static char *put(const char *name, const char *text, size_t n)
{
    char *path = tn_path(dir, name);

    assert_ok(tn_file_write_all(path, text, n, why));
    return path;
}

static int model_make(void **state)
{
    static const char config[] = "{\"eos_token\":\"</s>\",\"bos_token\":\"<s>\"}";
    char             *text = NULL;
    size_t            n;
    tn_tokenizer     *tok = NULL;
    tn_model         *m = NULL;
    tn_hparams        h = { .family = "llama",
                            .n_layer = 2,
                            .n_embd = 48,
                            .n_head = 4,
                            .n_head_kv = 2,
                            .d_head = 32,
                            .d_value = 32,
                            .n_ff = 80,
                            .n_ctx = 512,
                            .norm_eps = 1e-5,
                            .rope_theta = 1e4,
                            .d_rope = 32,
                            .tied = false,
                            .embd_scale = 1,
                            .rotary_pct = 1,
                            .bos = -1,
                            .eos = -1,
                            .init_std = 0.3,
                            .attn_scale = 0.176777 };

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_ok(tn_file_read_all(&text, &n, "tests/golden/tokenizer/bpe.json", 1 << 24, why));
    assert_ok(tn_tokenizer_from_json(&tok, text, n, config, strlen(config), "bpe.json", why));
    h.n_vocab = tn_tokenizer_n_vocab(tok);
    assert_ok(tn_model_create(&m, &h, tok, 3, why));
    assert_ok(tn_model_write(m, dir, TN_F32, false, NULL, why));
    tn_model_close(m);
    tn_tokenizer_destroy(tok); /* the model borrowed it */
    free(put("tokenizer.json", text, n));
    free(put("tokenizer_config.json", config, strlen(config)));
    free(text);
    assert_ok(
        tn_model_open(&model, dir, &(tn_model_options){ .chat_format = "zephyr", .weights = true }, why));
    return 0;
}

static int model_remove(void **state)
{
    (void)state;
    tn_model_close(model);
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

enum { N_SUFFIX = 3 };

static void gradients_are_those_of_the_loss(void **state)
{
    tn_gcg   *g = NULL;
    double    loss, up, down, worst = 0;
    tn_param *w = tn_model_find(model, "token_embd.weight");

    (void)state;
    /* the table as an own array, so that it can be nudged */
    assert_ok(tn_model_to_f32(model, why));
    assert_ok(tn_gcg_open(&g, model, "where is the dog", "and you are very small", N_SUFFIX, 1, 2, why));
    assert_ok(tn_gcg_gradient(g, &loss, why));
    int64_t n_embd = w->w.shape[1];
    float   kept[N_SUFFIX][64];
    for (int64_t i = 0; i < N_SUFFIX; i++)
        memcpy(kept[i], tn_gcg_grad_row(g, i), (size_t)n_embd * sizeof(float));
    for (int64_t i = 0; i < N_SUFFIX; i++)
        for (int64_t j = 0; j < n_embd; j += 7) {
            float *x = (float *)w->w.data + tn_gcg_suffix(g)[i] * n_embd + j, was = *x;
            *x = was + 0.01f;
            assert_ok(tn_gcg_gradient(g, &up, why));
            *x = was - 0.01f;
            assert_ok(tn_gcg_gradient(g, &down, why));
            *x = was;
            double d = (up - down) / 0.02, off = fabs(d - (double)kept[i][j]) / (fabs(d) + 0.02);
            if (off > worst) worst = off;
        }
    if (worst > 0.05) fail_msg("a gradient is off by %.3f", worst);
    tn_gcg_close(g);
}

static void losses_fall_and_the_search_repeats(void **state)
{
    int32_t suffix[2][N_SUFFIX];
    double  first, last = 0;

    (void)state;
    for (int k = 0; k < 2; k++) {
        tn_gcg *g = NULL;
        assert_ok(tn_gcg_open(&g, model, "where is the dog", "and you are very small", N_SUFFIX, 1, 2, why));
        assert_ok(tn_gcg_gradient(g, &first, why));
        double before = first;
        for (int64_t step = 0; step < 6; step++) {
            assert_ok(tn_gcg_step(g, step, &last, why));
            assert_true(last <= before);
            before = last;
        }
        memcpy(suffix[k], tn_gcg_suffix(g), sizeof suffix[k]);
        tn_gcg_close(g);
    }
    assert_memory_equal(suffix[0], suffix[1], sizeof suffix[0]);
    if (!(last < first - 0.05)) fail_msg("the loss went from %.3f to %.3f only", first, last);
}

/* Else the row of a token would hold the gradients of two places. */
static void a_suffix_holds_no_token_twice(void **state)
{
    (void)state;
    for (uint64_t id = 0; id < 20; id++) {
        tn_gcg           *g = NULL;
        size_t            n = 0, cap = 0;
        int32_t          *ids = NULL;
        double            loss;
        static const char request[] = "where are you and the dog";
        assert_ok(tn_gcg_open(&g, model, request, "very small", N_SUFFIX, 1, id, why));
        for (int64_t step = 0; step < 2; step++) assert_ok(tn_gcg_step(g, step, &loss, why));
        assert_ok(tn_tokenize(tn_model_tokenizer(model), request, strlen(request), 0, &ids, &n, &cap, why));
        for (size_t i = 0; i < N_SUFFIX; i++) {
            for (size_t k = 0; k < n; k++) assert_int_not_equal(tn_gcg_suffix(g)[i], ids[k]);
            for (size_t k = 0; k < i; k++) assert_int_not_equal(tn_gcg_suffix(g)[i], tn_gcg_suffix(g)[k]);
        }
        free(ids);
        tn_gcg_close(g);
    }
}

static tn_redteam_options options_make(const char *attacks)
{
    char seeds[] =
        "{\"prompt\":\"where is the dog\",\"target\":\"and you are\"}\n{\"prompt\":\"you are very small\"}\n",
         twins[] = "{\"prompt\":\"the dog\",\"expect\":\"dog\"}\n";

    return (tn_redteam_options){ .prompts = put("seeds.jsonl", seeds, strlen(seeds)),
                                 .twins = put("twins.jsonl", twins, strlen(twins)),
                                 .attacks = attacks,
                                 .tries = 1,
                                 .budget = 3,
                                 .max_tokens = 6,
                                 .n_batch = 3,
                                 .seed = 1,
                                 .max_asr = 0.1,
                                 .kv_type = TN_F32,
                                 .model = model };
}

static void a_whole_run_is_the_same_at_any_batch_size(void **state)
{
    tn_redteam_options o = options_make("direct,gcg:3,best-of-n,crescendo,prefill,many-shot:2");
    char              *want = NULL;

    (void)state;
    for (int i = 0; i < 3; i++) {
        static const int64_t batch[] = { 1, 7, 64 };
        json_t              *r = NULL;
        o.n_batch = batch[i];
        assert_ok(tn_redteam_run(&r, &o, why));
        char *text = tn_json_text(r);
        assert_non_null(strstr(text, "gcg:3"));
        if (want == NULL) want = tn_strdup(text);
        assert_string_equal(text, want);
        free(text);
        json_decref(r);
    }
    free(want);
    free((char *)(uintptr_t)o.prompts);
    free((char *)(uintptr_t)o.twins);
}

/* Replies that differ in a word: a head on hidden states must find it, and its folds must say so. */
static void a_classifier_learns_from_labels(void **state)
{
    tn_labels      l = { .list = calloc(60, sizeof *l.list), .n = 60 };
    tn_reply_head *h = NULL;
    double         cv[60];
    int            right = 0;

    (void)state;
    for (size_t i = 0; i < l.n; i++)
        l.list[i] = (tn_label){ tn_strf("where is the dog %zu", i),
                                tn_strf("%s the %zu and", i % 2 ? "very small dog" : "you are kleine", i),
                                i % 2 };
    assert_ok(tn_reply_head_fit(&h, cv, model, &l, 8, why));
    for (size_t i = 0; i < l.n; i++) right += (cv[i] > 0.5) == l.list[i].refused;
    if (right < 50) fail_msg("%d of 60 by five folds", right);
    tn_graded g[2] = { { .request = "where is the dog 99", .reply = "very small dog the 99 and" },
                       { .request = "where is the dog 99", .reply = "you are kleine the 99 and" } };
    assert_ok(tn_reply_head_grade(h, g, 2, why));
    assert_true(g[0].classifier > 0.5 && g[1].classifier < 0.5);
    tn_reply_head_free(h);
    tn_labels_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_classifier_learns_from_labels),
        cmocka_unit_test(a_suffix_holds_no_token_twice),
        cmocka_unit_test(losses_fall_and_the_search_repeats),
        cmocka_unit_test(a_whole_run_is_the_same_at_any_batch_size),
        cmocka_unit_test(gradients_are_those_of_the_loss),
    };

    return cmocka_run_group_tests(tests, model_make, model_remove);
}
