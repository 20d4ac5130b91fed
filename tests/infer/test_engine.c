/* test_engine.c - the same bits alone and in any batch, at any thread count, with and without shared
 * prefixes, read in pieces or at once; scoring agrees with the logits of the whole text; requests that cannot
 * run fail alone. */
#include "base/thread.h"
#include "base/memory.h"
#include "infer/infer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  err_ = { 0 };                                                                              \
        tn_error *err = &err_;                                                                               \
        if ((expr) != TN_OK) fail_msg("%s", err_.msg);                                                       \
    } while (0)

enum { N = 9, N_VOCAB = 61, LONGEST = 150 };

static tn_model *model;
static int32_t   prompts[N][LONGEST];
static int64_t   n_prompt[N];

static int make_model(void **state)
{
    tn_hparams h = { .family = "llama",
                     .n_layer = 2,
                     .n_embd = 48,
                     .n_head = 4,
                     .n_head_kv = 2,
                     .d_head = 32,
                     .d_value = 32,
                     .n_ff = 80,
                     .n_vocab = N_VOCAB,
                     .n_ctx = 256,
                     .norm_eps = 1e-5,
                     .rope_theta = 1e4,
                     .d_rope = 32,
                     .tied = true,
                     .embd_scale = 1,
                     .rotary_pct = 1,
                     .bos = -1,
                     .eos = -1,
                     .init_std = 0.3,
                     .attn_scale = 0.176777 };
    tn_rng_key key = { .seed = 5, .purpose = TN_RNG_TEST };
    (void)state;

    assert_ok(tn_model_create(&model, &h, NULL, 3, err));
    for (int i = 0; i < N; i++) {
        n_prompt[i] = i % 3 == 0 ? 1 + i : i % 3 == 1 ? 70 + 7 * i : 128;
        for (int64_t k = 0; k < n_prompt[i]; k++) /* the long ones begin alike, and part inside a page */
            prompts[i][k] = (int32_t)tn_rng_below(
                &key, (uint64_t)(k < 90 && n_prompt[i] > 60 ? k : 1000 * (i + 1) + k), N_VOCAB);
    }
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    tn_model_close(model);
    return 0;
}

static tn_request request(int i, double temperature)
{
    return (tn_request){ .prompt = prompts[i],
                         .n_prompt = n_prompt[i],
                         .sample_id = (uint64_t)i,
                         .sampling = { .max_tokens = 20,
                                       .temperature = temperature,
                                       .top_p = 0.9,
                                       .top_k = 40,
                                       .seed = 11,
                                       .repetition_penalty = i % 2 ? 1.2 : 1,
                                       .presence_penalty = i % 4 == 3 ? 0.5 : 0,
                                       .n_top_logprobs = 3 } };
}

static void run_all(tn_result *out, const tn_engine_options *o, double temperature)
{
    tn_request r[N];
    tn_engine *e;

    for (int i = 0; i < N; i++) r[i] = request(i, temperature);
    assert_ok(tn_engine_create(&e, model, o, err));
    assert_ok(tn_engine_run(e, r, out, N, NULL, err));
    tn_engine_destroy(e);
}

static void same_results(const tn_result *a, const tn_result *b, const char *what)
{
    for (int i = 0; i < N; i++) {
        if (a[i].status != TN_OK || b[i].status != TN_OK)
            fail_msg("%s: request %d: %s%s", what, i, a[i].message, b[i].message);
        if (a[i].n != b[i].n || memcmp(a[i].tokens, b[i].tokens, (size_t)a[i].n * sizeof(int32_t)) != 0)
            fail_msg("%s: request %d has other tokens", what, i);
        if (memcmp(a[i].logprobs, b[i].logprobs, (size_t)a[i].n * sizeof(float)) != 0)
            fail_msg("%s: request %d has other log-probabilities", what, i);
        if (memcmp(a[i].top_ids, b[i].top_ids, (size_t)a[i].n * 3 * sizeof(int32_t)) != 0)
            fail_msg("%s: request %d has other best tokens", what, i);
    }
}

static void free_results(tn_result *r)
{
    for (int i = 0; i < N; i++) tn_result_free(&r[i]);
}

static void batches_threads_pieces_and_prefixes_change_nothing(void **state)
{
    static const tn_dtype types[] = { TN_F32, TN_BF16, TN_Q8_0 };
    (void)state;

    for (int t = 0; t < 3; t++)
        for (int greedy = 0; greedy < (t == 0 ? 2 : 1); greedy++) {
            tn_engine_options alone = { .n_batch = 1, .kv_type = types[t], .hidden_layer = -1 };
            tn_result         want[N], got[N];
            double            temperature = greedy ? 0 : 0.8;
            run_all(want, &alone, temperature);
            static const struct {
                int  n_batch, n_prefill, threads;
                bool reuse;
            } forms[] = {
                { 3, 0, 1, false },  { 9, 7, 2, false }, { 4, 64, 3, true },
                { 9, 512, 1, true }, { 1, 5, 2, true },
            };
            for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
                tn_engine_options o = { .n_batch = forms[f].n_batch,
                                        .n_prefill = forms[f].n_prefill,
                                        .kv_type = types[t],
                                        .prefix_reuse = forms[f].reuse,
                                        .hidden_layer = -1 };
                assert_ok(tn_threads_set(forms[f].threads, err));
                run_all(got, &o, temperature);
                same_results(want, got, tn_dtype_name(types[t]));
                free_results(got);
            }
            assert_ok(tn_threads_set(2, err));
            free_results(want);
        }
}

static void a_small_cache_only_makes_requests_wait(void **state)
{
    tn_engine_options alone = { .n_batch = 1, .hidden_layer = -1 },
                      tight = { .n_batch = 5, .prefix_reuse = true, .hidden_layer = -1 };
    tn_result want[N], got[N];
    tn_kv    *one;
    (void)state;

    assert_ok(tn_kv_create(&one, 2, 2, 32, 32, 1, TN_F32, err));
    tight.kv_bytes = 4 * tn_kv_page_bytes(one); /* 256 positions for all */
    tn_kv_destroy(one);
    run_all(want, &alone, 0);
    run_all(got, &tight, 0);
    same_results(want, got, "four pages");
    free_results(want);
    free_results(got);
}

static void prefixes_are_shared(void **state)
{
    tn_engine_options o = { .n_batch = 4, .prefix_reuse = true, .hidden_layer = -1 };
    tn_request        r[4];
    tn_result         out[4];
    tn_engine        *e;
    int64_t           computed, reused;
    (void)state;

    for (int i = 0; i < 4; i++) {
        r[i] = request(2, 0.8);
        r[i].sample_id = (uint64_t)i;
    }
    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_run(e, r, out, 4, NULL, err));
    tn_engine_rows(e, &computed, &reused);
    assert_int_equal(reused, 3 * 127); /* all but the last row of the prompt */
    assert_int_not_equal(memcmp(out[0].tokens, out[1].tokens, 20 * sizeof(int32_t)), 0);
    for (int i = 0; i < 4; i++) tn_result_free(&out[i]);
    tn_engine_destroy(e);
}

/* Log-probability of the next token by the whole text's logits, in double. */
static double from_logits(const float *row, int32_t id)
{
    double max = (double)row[0], sum = 0;
    for (int k = 0; k < N_VOCAB; k++) max = (double)row[k] > max ? (double)row[k] : max;
    for (int k = 0; k < N_VOCAB; k++) sum += exp((double)row[k] - max);
    return (double)row[id] - max - log(sum);
}

static void scores_are_those_of_the_whole_text(void **state)
{
    tn_engine_options o = { .n_batch = 3, .n_prefill = 50, .prefix_reuse = true, .hidden_layer = -1 };
    const int32_t    *context[N], *cont[N];
    int64_t           n_context[N], n_cont[N];
    tn_score          score[N];
    tn_engine        *e;
    (void)state;

    for (int i = 0; i < N; i++) {
        n_context[i] = 1 + (n_prompt[i] - 1) / 2;
        n_cont[i] = n_prompt[i] - n_context[i];
        context[i] = prompts[i];
        cont[i] = prompts[i] + n_context[i];
    }
    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_score(e, context, n_context, cont, n_cont, N, score, NULL, err));
    for (int i = 0; i < N; i++) {
        float *logits;
        double want = 0;
        assert_ok(tn_logits(&logits, model, prompts[i], n_prompt[i], err));
        for (int64_t k = n_context[i]; k < n_prompt[i]; k++)
            want += from_logits(logits + (k - 1) * N_VOCAB, prompts[i][k]);
        assert_int_equal(score[i].n_token, n_cont[i]);
        if (fabs(score[i].logprob - want) > 1e-4 * (1 + fabs(want)))
            fail_msg("request %d scores %.9g, not %.9g", i, score[i].logprob, want);
        free(logits);
    }
    tn_engine_destroy(e);
}

/* With less memory fewer rows of a prompt are read at once, and the scores are the same; with none at all there is an
 * error that says how much is needed. */
static void little_memory_is_enough_or_named(void **state)
{
    tn_engine_options o = { .n_batch = 1, .n_prefill = 1024, .hidden_layer = -1 };
    const int32_t    *context = prompts[0], *cont = prompts[0] + 1;
    int64_t           one = 1, n_cont = n_prompt[0] - 1;
    tn_score          want, got;
    tn_engine        *e;
    int               n_failed = 0;
    (void)state;

    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_score(e, &context, &one, &cont, &n_cont, 1, &want, NULL, err));
    tn_engine_destroy(e);
    for (size_t more = 64; more != 0; more *= 2) {
        char text[32];
        snprintf(text, sizeof text, "%zu", tn_memory_now().own + more);
        setenv("TENET_MEMORY", text, 1);
        tn_error  why;
        tn_status status = tn_engine_create(&e, model, &o, &why);
        if (status == TN_OK) break;
        assert_int_equal(status, TN_NOMEM);
        assert_non_null(strstr(why.msg, "values need"));
        n_failed++;
    }
    unsetenv("TENET_MEMORY");
    assert_true(n_failed > 0);
    assert_ok(tn_engine_score(e, &context, &one, &cont, &n_cont, 1, &got, NULL, err));
    assert_true(got.logprob == want.logprob && got.n_token == want.n_token);
    tn_engine_destroy(e);
}

static void greedy_answers_score_as_greedy(void **state)
{
    tn_engine_options o = { .n_batch = 1, .hidden_layer = -1 };
    tn_request        r = request(0, 0), again;
    tn_result         a, b;
    tn_engine        *e;
    (void)state;

    r.sampling.repetition_penalty = 1;
    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_run(e, &r, &a, 1, NULL, err));
    assert_int_equal(a.n, 20);
    assert_string_equal(a.stop_reason, "length");
    again = r;
    again.forced = a.tokens;
    again.n_forced = a.n;
    assert_ok(tn_engine_run(e, &again, &b, 1, NULL, err));
    assert_int_equal(b.n, 20);
    assert_memory_equal(a.logprobs, b.logprobs, 20 * sizeof(float)); /* decoding = prefill, to the bit */
    for (int i = 0; i < 20; i++) assert_true(b.greedy[i]);
    tn_result_free(&a);
    tn_result_free(&b);
    tn_engine_destroy(e);
}

static void bad_requests_fail_alone(void **state)
{
    tn_engine_options o = { .n_batch = 2, .n_ctx = 100, .hidden_layer = -1 };
    int32_t           outside[] = { 3, N_VOCAB };
    tn_request        r[5] = { request(0, 0), request(2, 0), request(0, 0), request(0, 0), request(3, 0) };
    tn_result         out[5];
    tn_engine        *e;
    (void)state;

    r[2].n_prompt = 0;
    r[3].prompt = outside;
    r[3].n_prompt = 2;
    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_run(e, r, out, 5, NULL, err));
    assert_int_equal(out[0].status, TN_OK);
    assert_int_equal(out[1].status, TN_LIMIT); /* 128 tokens, a context of 100 */
    assert_non_null(strstr(out[1].message, "128"));
    assert_int_equal(out[2].status, TN_USAGE);
    assert_int_equal(out[3].status, TN_USAGE);
    assert_int_equal(out[4].status, TN_OK);
    for (int i = 0; i < 5; i++) tn_result_free(&out[i]);
    tn_engine_destroy(e);
}

static void an_answer_ends_with_the_context(void **state)
{
    tn_engine_options o = { .n_batch = 1, .n_ctx = 16, .hidden_layer = -1 };
    tn_request        r = request(0, 0);
    tn_result         out;
    tn_engine        *e;
    (void)state;

    r.sampling.max_tokens = 100;
    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_run(e, &r, &out, 1, NULL, err));
    assert_string_equal(out.stop_reason, "context");
    assert_int_equal(out.n, 15);
    tn_result_free(&out);
    tn_engine_destroy(e);
}

static void hidden_rows_are_handed_out(void **state)
{
    tn_engine_options o = { .n_batch = 4, .n_prefill = 30, .hidden_layer = 1 };
    tn_request        r[2] = { request(1, 0), request(2, 0) };
    tn_result         out[2], alone;
    tn_engine        *e;
    (void)state;

    r[0].sampling.max_tokens = r[1].sampling.max_tokens = 0;
    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_run(e, r, out, 2, NULL, err));
    assert_ok(tn_engine_run(e, &r[1], &alone, 1, NULL, err));
    assert_memory_equal(out[1].hidden, alone.hidden, 48 * sizeof(float));
    assert_int_not_equal(memcmp(out[0].hidden, out[1].hidden, 48 * sizeof(float)), 0);
    assert_int_equal(out[0].n, 0);
    tn_result_free(&out[0]);
    tn_result_free(&out[1]);
    tn_result_free(&alone);
    tn_engine_destroy(e);
}

static bool stop_after_three(void *arg, int32_t id, float logprob, const char *text, size_t n)
{
    (void)id;
    (void)logprob;
    (void)text;
    (void)n;
    return ++*(int *)arg < 3;
}

static void a_caller_can_stop_an_answer(void **state)
{
    tn_engine_options o = { .n_batch = 1, .hidden_layer = -1 };
    tn_request        r = request(0, 0);
    tn_result         out;
    tn_engine        *e;
    int               n = 0;
    (void)state;

    r.on_token = stop_after_three;
    r.arg = &n;
    assert_ok(tn_engine_create(&e, model, &o, err));
    assert_ok(tn_engine_run(e, &r, &out, 1, NULL, err));
    assert_int_equal(out.n, 3);
    assert_string_equal(out.stop_reason, "interrupted");
    tn_result_free(&out);
    tn_engine_destroy(e);
}

/* One weight that is no number: an error that says so, not token 0 for ever or a choice counted as right. */
static void logits_that_are_no_numbers_are_an_error(void **state)
{
    tn_engine_options o = { .n_batch = 4, .hidden_layer = -1, .prefix_reuse = true };
    tn_hparams        h = *tn_model_hparams(model);
    const int32_t    *context[] = { prompts[0] }, *cont[] = { prompts[3] };
    tn_request        r = request(0, 0);
    tn_result         out;
    tn_score          score;
    tn_model         *bad;
    tn_engine        *e;
    tn_param         *norm;
    tn_error          why = { 0 };
    (void)state;

    assert_ok(tn_model_create(&bad, &h, NULL, 3, err));
    norm = tn_model_find(bad, "output_norm.weight");
    assert_non_null(norm);
    ((float *)norm->w.data)[7] = NAN;
    assert_ok(tn_engine_create(&e, bad, &o, err));
    assert_ok(tn_engine_run(e, &r, &out, 1, NULL, err));
    assert_int_equal(out.status, TN_FORMAT);
    assert_non_null(strstr(out.message, "no finite numbers"));
    assert_int_equal(out.n, 0);
    tn_result_free(&out);
    assert_int_equal(tn_engine_score(e, context, &n_prompt[0], cont, &n_prompt[3], 1, &score, NULL, &why),
                     TN_FORMAT);
    assert_non_null(strstr(why.msg, "no finite numbers"));
    tn_engine_destroy(e);
    tn_model_close(bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_threads_pieces_and_prefixes_change_nothing),
        cmocka_unit_test(a_small_cache_only_makes_requests_wait),
        cmocka_unit_test(prefixes_are_shared),
        cmocka_unit_test(scores_are_those_of_the_whole_text),
        cmocka_unit_test(little_memory_is_enough_or_named),
        cmocka_unit_test(greedy_answers_score_as_greedy),
        cmocka_unit_test(bad_requests_fail_alone),
        cmocka_unit_test(an_answer_ends_with_the_context),
        cmocka_unit_test(hidden_rows_are_handed_out),
        cmocka_unit_test(a_caller_can_stop_an_answer),
        cmocka_unit_test(logits_that_are_no_numbers_are_an_error),
    };
    return cmocka_run_group_tests(tests, make_model, close_model);
}
