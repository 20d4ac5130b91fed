/* test_sample.c - which token is taken: filters, penalties, frequencies, and stop strings that nobody
 * sees. */
#include "infer/engine_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "base/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { V = 1000 };

static float   logits[V], work[2 * V];
static int32_t ids[V];

static void fill(void)
{
    tn_rng_key key = { .seed = 1, .purpose = TN_RNG_TEST };
    for (int i = 0; i < V; i++) logits[i] = (float)(2 * tn_rng_normal(&key, (uint64_t)i));
}

static tn_sampling plain(double temperature)
{
    tn_sampling s = tn_sampling_default();
    s.temperature = temperature;
    s.seed = 9;
    return s;
}

static int32_t sample(const tn_sampling *s, const tn_seen *seen, int64_t i)
{
    static const tn_seen none;
    return tn_sample(logits, V, s, seen != NULL ? seen : &none, 4, i, work, ids);
}

static void greedy_takes_the_best_and_the_lower_id_of_equals(void **state)
{
    tn_sampling s = plain(0);
    (void)state;
    fill();
    logits[700] = logits[300] = 50;
    assert_int_equal(sample(&s, NULL, 0), 300);
    logits[5] = NAN;
    assert_int_equal(sample(&s, NULL, 0), 300);
}

static void frequencies_follow_the_probabilities(void **state)
{
    tn_sampling s = plain(1.5);
    int         count[V] = { 0 }, n = 20000;
    double      total = 0, chi = 0;
    (void)state;
    fill();
    for (int i = 0; i < V; i++) logits[i] = i < 10 ? (float)(i % 5) : -1000;
    for (int i = 0; i < n; i++) count[sample(&s, NULL, i)]++;
    for (int i = 0; i < 10; i++) total += exp((double)logits[i] / 1.5);
    for (int i = 0; i < 10; i++) {
        double want = n * exp((double)logits[i] / 1.5) / total;
        chi += (count[i] - want) * (count[i] - want) / want;
    }
    assert_true(chi < 27.9); /* 9 degrees of freedom, p = 0.001; the numbers are always the same */
}

static void filters_keep_only_what_they_say(void **state)
{
    (void)state;
    fill();
    int32_t order[V];
    tn_top_k(logits, V, V, order);
    for (int i = 1; i < V; i++)
        assert_true(logits[order[i - 1]] > logits[order[i]] ||
                    (logits[order[i - 1]] == logits[order[i]] && order[i - 1] < order[i]));
    tn_sampling k = plain(3), p = plain(3), m = plain(3);
    k.top_k = 7;
    p.top_p = 0.3;
    m.min_p = 0.4;
    double all = 0, mass = 0;
    int    n_p = 0;
    for (int i = 0; i < V; i++) all += exp((double)(logits[i] - logits[order[0]]) / 3);
    while (mass < 0.3 * all) mass += exp((double)(logits[order[n_p++]] - logits[order[0]]) / 3);
    for (int i = 0; i < 2000; i++) {
        int32_t a = sample(&k, NULL, i), b = sample(&p, NULL, i), c = sample(&m, NULL, i);
        int     rank_a = 0, rank_b = 0;
        while (order[rank_a] != a) rank_a++;
        while (order[rank_b] != b) rank_b++;
        assert_true(rank_a < 7);
        assert_true(rank_b < n_p);
        assert_true(exp((double)(logits[c] - logits[order[0]]) / 3) >= 0.4 - 1e-6);
    }
}

static void penalties_change_the_choice(void **state)
{
    tn_sampling s = plain(0);
    tn_seen     seen = { calloc(V, sizeof(int32_t)), calloc(V, 1) };
    (void)state;
    fill();
    logits[10] = 20;
    logits[20] = 19;
    assert_int_equal(sample(&s, &seen, 0), 10);
    s.repetition_penalty = 1.5;
    seen.present[10] = 1;
    assert_int_equal(sample(&s, &seen, 0), 20);
    s.repetition_penalty = 1;
    s.frequency_penalty = 0.4;
    seen.n_generated[10] = 2;
    assert_int_equal(sample(&s, &seen, 0), 10);
    seen.n_generated[10] = 3;
    assert_int_equal(sample(&s, &seen, 0), 20);
    s.frequency_penalty = 0;
    s.presence_penalty = 1.1;
    assert_int_equal(sample(&s, &seen, 0), 20);
    free(seen.n_generated);
    free(seen.present);
}

static void the_number_depends_on_seed_sample_and_position_alone(void **state)
{
    tn_sampling s = plain(5);
    (void)state;
    fill();
    int32_t a = tn_sample(logits, V, &s, &(tn_seen){ 0 }, 4, 7, work, ids), n_other = 0;
    for (int i = 0; i < 50; i++)
        assert_int_equal(tn_sample(logits, V, &s, &(tn_seen){ 0 }, 4, 7, work, ids), a);
    for (int i = 0; i < 50; i++)
        n_other += tn_sample(logits, V, &s, &(tn_seen){ 0 }, 100 + (uint64_t)i, 7, work, ids) != a;
    assert_true(n_other > 40);
}

static void every_instruction_set_chooses_alike(void **state)
{
    tn_sampling s[4] = { plain(0.9), plain(1.2), plain(0.7), plain(2) };
    int32_t     want[4][64];
    (void)state;
    fill();
    s[1].top_p = 0.8;
    s[2].top_k = 70;
    s[2].top_p = 0.95;
    s[3].min_p = 0.02;
    static const char *const names[] = { "ref", "avx2", "avx512" };
    tn_error                 err = { 0 };
    for (int isa = 0; isa < 3; isa++) {
        if (tn_isa_set(names[isa], &err) != TN_OK) continue; /* not on this CPU */
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 64; i++) {
                int32_t id = sample(&s[k], NULL, i);
                if (isa == 0) want[k][i] = id;
                else assert_int_equal(id, want[k][i]);
            }
    }
    assert_int_equal(tn_isa_set("auto", &err), TN_OK);
}

/* The definition: weights of what is left, best first if sorted; the one at which the running sum passes u of
 * the whole. */
static void a_choice_is_where_the_running_sum_passes_the_number(void **state)
{
    tn_sampling s = plain(1.3);
    (void)state;
    fill();
    for (int i = 0; i < 200; i++) {
        tn_rng_key key = { .seed = s.seed, .purpose = TN_RNG_SAMPLE, .sample = 4 };
        double     goal = 0, sum = 0, top = (double)logits[tn_argmax(logits, V)];
        int        j = 0;
        for (int k = 0; k < V; k++) goal += exp(((double)logits[k] - top) / 1.3);
        goal *= tn_rng_unit(&key, (uint64_t)i);
        for (; j < V; j++)
            if ((sum += exp(((double)logits[j] - top) / 1.3)) > goal) break;
        if (fabs(sum - goal) > 1e-4 && fabs(sum - exp(((double)logits[j] - top) / 1.3) - goal) > 1e-4)
            assert_int_equal(sample(&s, NULL, i), j); /* not so near a border that rounding decides */
    }
}

static void text_that_may_begin_a_stop_string_is_held_back(void **state)
{
    const char *stops[] = { "END", "xyz" };
    tn_sampling s = { .stop = stops, .n_stop = 2 };
    tn_text     t = { .p = (char *)"hello EN", .n = 8 };
    (void)state;
    assert_int_equal(tn_text_ready(&t, &s, false), 6);
    assert_int_equal(tn_text_ready(&t, &s, true), 8);
    t.p = (char *)"hello xy";
    assert_int_equal(tn_text_ready(&t, &s, false), 6);
    t.p = (char *)"hello ab";
    assert_int_equal(tn_text_ready(&t, &s, false), 8);
    t = (tn_text){ .p = (char *)"E", .n = 1 };
    assert_int_equal(tn_text_ready(&t, &s, false), 0);
}

/* A model that says the byte token of NUL does not end its answer by it. */
static void a_nul_does_not_end_the_text(void **state)
{
    static const char    json[] = "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":0,\"<"
                                  "0x00>\":1,\"b\":2},\"merges\":[]}}";
    static const int32_t said[] = { 0, 1, 1, 2, 1 };
    tn_tokenizer        *tok;
    tn_sampling          s = { 0 };
    tn_text              t = { 0 };
    bool                 stopped;

    (void)state;
    assert_int_equal(tn_tokenizer_from_json(&tok, json, strlen(json), NULL, 0, "t.json", NULL), TN_OK);
    for (int round = 0; round < 40; round++) {
        size_t before = t.n;
        for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
            assert_int_equal(tn_text_push(&t, tok, said[i], &s, &stopped, NULL), TN_OK);
        assert_string_equal(t.p + before, "a\xef\xbf\xbd\xef\xbf\xbd"
                                          "b\xef\xbf\xbd");
        assert_int_equal(strlen(t.p), t.n);
    }
    free(t.p);
    tn_tokenizer_destroy(tok);
}

/* gpt-oss answers in messages: what it thinks and the headers are not its answer. */
static void of_messages_only_the_final_channel_is_text(void **state)
{
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"final\":0,\"analysis\":1,"
                               "\"assistant\":2,\"hm\":3,\"yo\":4,\"\\u0120to\":10},\"merges\":[]},"
                               "\"added_tokens\":[{\"id\":5,\"content\":\"<|start|>\",\"special\":true},{"
                               "\"id\":6,\"content\":\"<|channel|>\",\"special\":"
                               "true},{\"id\":7,\"content\":\"<|message|>\",\"special\":true},{\"id\":8,"
                               "\"content\":\"<|end|>\",\"special\":true},{\"id\":9,\"content\":\"<|"
                               "constrain|>\",\"special\":true}]}";
    static const struct {
        int32_t     said[16];
        int         n;
        const char *text;
    } rows[] = {
        { { 6, 0, 7, 4 }, 4, "yo" },
        { { 6, 1, 7, 3, 8, 5, 2, 6, 0, 7, 4, 4 }, 12, "yoyo" },
        { { 6, 1, 7, 3, 3 }, 5, "" },
        { { 6, 0, 9, 2, 7, 4 }, 6, "yo" }, /* final <|constrain|>json */
        { { 6, 0, 10, 2, 7, 4 }, 6, "yo" },
        { { 4, 3 }, 2, "yohm" },                    /* no header: all of it */
        { { 6, 1, 7, 3, 8, 5, 2, 7, 4 }, 9, "yo" }, /* a message without a channel */
    };
    tn_tokenizer *tok;
    tn_sampling   s = { 0 };
    bool          stopped;

    (void)state;
    assert_int_equal(tn_tokenizer_from_json(&tok, json, strlen(json), NULL, 0, "t.json", NULL), TN_OK);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        tn_text t = { 0 };
        for (int i = 0; i < rows[r].n; i++)
            assert_int_equal(tn_text_push(&t, tok, rows[r].said[i], &s, &stopped, NULL), TN_OK);
        assert_string_equal(t.p != NULL ? t.p : "", rows[r].text);
        free(t.p);
    }
    tn_tokenizer_destroy(tok);
}

static void the_logs_of_sums_are_right(void **state)
{
    double sum = 0;
    (void)state;
    fill();
    for (int i = 0; i < V; i++) sum += exp((double)logits[i]);
    assert_true(fabs((double)tn_logits_lse(logits, V) - log(sum)) < 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_best_and_the_lower_id_of_equals),
        cmocka_unit_test(frequencies_follow_the_probabilities),
        cmocka_unit_test(filters_keep_only_what_they_say),
        cmocka_unit_test(penalties_change_the_choice),
        cmocka_unit_test(the_number_depends_on_seed_sample_and_position_alone),
        cmocka_unit_test(every_instruction_set_chooses_alike),
        cmocka_unit_test(a_choice_is_where_the_running_sum_passes_the_number),
        cmocka_unit_test(text_that_may_begin_a_stop_string_is_held_back),
        cmocka_unit_test(a_nul_does_not_end_the_text),
        cmocka_unit_test(of_messages_only_the_final_channel_is_text),
        cmocka_unit_test(the_logs_of_sums_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
