/* test_numbers.c - the statistics of evaluations: Python's draws, Student's t, ranks, power; and that a
 * comparison of a model with itself, sampled with two seeds, finds a difference about as often as it
 * should. */
#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"
#include "eval/filter.h"
#include "eval/pytext.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  failed_ = { 0 };                                                                           \
        tn_error *err = &failed_;                                                                            \
        if ((expr) != TN_OK) fail_msg("%s", failed_.msg);                                                    \
    } while (0)

static char dir[] = "/tmp/tenet-numbers-XXXXXX";

static char *put(const char *name, const char *text)
{
    char *path = tn_path(dir, name);

    assert_ok(tn_file_write_all(path, text, strlen(text), err));
    return path;
}

static void draws_are(tn_py_random *r, int64_t n, int64_t k, const int64_t *want)
{
    int64_t got[16];

    assert_ok(tn_py_sample(r, n, k, got, err));
    assert_memory_equal(got, want, (size_t)k * sizeof *got);
}

/* Values of Python 3.11's random.Random(seed).sample(range(n), k). */
static void shots_are_drawn_as_python_draws(void **state)
{
    tn_py_random r;

    (void)state;
    tn_py_seed(&r, 1234);
    draws_are(&r, 30, 3, (int64_t[]){ 24, 14, 3 });
    draws_are(&r, 30, 3, (int64_t[]){ 0, 2, 29 });
    draws_are(&r, 1000, 7, (int64_t[]){ 965, 961, 826, 596, 35, 687, 709 });
    draws_are(&r, 26, 6, (int64_t[]){ 2, 3, 11, 7, 0, 21 });
    assert_int_equal(tn_py_below(&r, 1000000000000u), 867526220199);
    tn_py_seed(&r, ((uint64_t)1 << 40) + 5);
    draws_are(&r, 50, 5, (int64_t[]){ 32, 33, 17, 42, 1 });
    assert_int_equal(tn_py_sample(&r, 2, 3, (int64_t[3]){ 0 }, NULL), TN_LIMIT);
}

static void text_is_as_python_sees_it(void **state)
{
    const char *s = "\xc2\xa0 a\xe3\x80\x80"; /* no-break space, space, a, ideographic space */
    tn_str      out = { 0 };

    (void)state;
    assert_int_equal(tn_py_front(s, strlen(s)), 3);
    assert_int_equal(tn_py_end(s, strlen(s)), 4);
    assert_int_equal(tn_py_chars(s), 4);
    assert_int_equal(tn_py_words(" a  b\n"), 4);
    tn_py_cased(&out, "\xc3\x89T\xc3\x89 a", 7, TN_PY_CAPITALIZE);
    assert_string_equal(out.p, "\xc3\x89t\xc3\xa9 a");
    tn_str_free(&out);
}

static void found(const char *pattern, const char *text, int64_t which, const char *want)
{
    tn_pattern *p = NULL;
    char       *got = NULL;

    assert_ok(tn_pattern_create(&p, pattern, "test", err));
    assert_ok(tn_pattern_find(p, text, which, &got, err));
    if (want == NULL) assert_null(got);
    else assert_string_equal(got, want);
    free(got);
    tn_pattern_destroy(p);
}

static void patterns_find_what_pythons_findall_finds(void **state)
{
    tn_pattern *p = NULL;
    char       *got = NULL;

    (void)state;
    found("(-?[$0-9.,]{2,})|(-?[0-9]+)", "so 7 and then 1,234. end", -1, "1,234.");
    found("(-?[$0-9.,]{2,})|(-?[0-9]+)", "so 7", -1, "7");
    found("#### (\\-?[0-9\\.\\,]+)", "x #### -12.5 y #### 3", 0, "-12.5");
    found("#### (\\-?[0-9\\.\\,]+)", "none", 0, NULL);
    found("a*", "baa", 1, "aa"); /* '', 'aa', '' */
    found("a*", "baa", 2, "");
    found("a*", "baa", 3, NULL);
    assert_ok(tn_pattern_create(&p, "(?s).*#### ", "test", err));
    assert_ok(tn_pattern_replace(p, "a\nb #### 42", "", &got, err));
    assert_string_equal(got, "42");
    free(got);
    tn_pattern_destroy(p);
    assert_ok(tn_pattern_create(&p, "(a+)+$", "test", err)); /* would take for ever */
    assert_int_equal(tn_pattern_find(p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 0, &got, NULL),
                     TN_LIMIT);
    tn_pattern_destroy(p);
}

static void students_t_has_its_known_values(void **state)
{
    (void)state;
    assert_true(fabs(tn_student_p(2.5, 3) - 0.0877066470) < 1e-9);
    assert_true(fabs(tn_student_p(1.0, 100) - 0.3197241558) < 1e-9);
    assert_true(fabs(tn_student_quantile(0.975, 7) - 2.3646242516) < 1e-8);
    assert_true(fabs(tn_student_quantile(0.025, 7) + 2.3646242516) < 1e-8);
}

static void ranks_are_the_maximum_of_the_likelihood(void **state)
{
    enum { N = 400 };
    tn_battle list[N];
    tn_rank   two[2], three[3];

    (void)state;
    /* 1 wins three of four: 400 log10(3) points */
    for (int i = 0; i < N; i++) list[i] = (tn_battle){ 0, 1, i % 4 != 0, i };
    assert_ok(tn_bradley_terry(two, 2, list, N, 0, 200, 0.95, 1, err));
    assert_true(two[0].rating == 1000);
    /* with the half virtual tie */
    assert_true(fabs(two[1].rating - 1000 - 400 * log10(300.25 / 100.25)) < 1e-6);
    assert_true(two[1].interval.lo > 1100 && two[1].interval.hi < 1290 &&
                two[1].interval.lo < two[1].rating && two[1].interval.hi > two[1].rating);
    /* 2 ties with 0 and beats 1 always */
    for (int i = 0; i < N; i++) list[i] = (tn_battle){ i % 2, 2, i % 2 == 0 ? 0.5 : 1, i };
    assert_ok(tn_bradley_terry(three, 3, list, N, 0, 50, 0.95, 1, err));
    assert_true(fabs(three[2].rating - 1000) < 1 && three[1].rating < 300 && isfinite(three[1].rating));
    list[0].b = 0;
    list[0].a = 0;
    assert_int_equal(tn_bradley_terry(two, 2, list, 1, 0, 0, 0.95, 1, NULL), TN_FORMAT);
}

static void power_says_what_can_be_seen(void **state)
{
    const char *names[] = { "a", "b" };
    int64_t     n[] = { 100, 10000 };
    json_t     *list = tn_eval_power(names, n, 2);
    double      few = json_number_value(json_object_get(json_array_get(list, 0), "smallest"));
    double      many = json_number_value(json_object_get(json_array_get(list, 1), "smallest"));

    (void)state;
    assert_true(fabs(few - 2.8015852 * sqrt((0.2 - few * few) / 100)) < 1e-6); /* z = 1.96 + 0.84 */
    assert_true(many < few / 9 && many > 0.01);
    json_decref(list);
}

static void a_model_compared_with_itself_differs_as_often_as_chance(void **state)
{
    enum { ROWS = 24 };
    const int        pairs = getenv("TENET_SOAK") != NULL ? 500 : 120; /* all 500: tests/soak/eval.sh */
    tn_model_options mo = { .profile = TN_PROFILE_STRICT, .weights = true, .pack = true };
    const char      *tasks[] = { "says" };
    tn_model        *m = NULL;
    int              found_one = 0;
    char            *a = tn_path(dir, "a"), *b = tn_path(dir, "b");
    tn_str           rows = { 0 };

    (void)state;
    assert_ok(tn_model_open(&m, "tests/golden/eval/tiny", &mo, err));
    free(put(
        "says.yaml",
        "task: says\ndata_files: {test: says.jsonl}\ntest_split: test\ndoc_to_text: text\ndoc_to_target: e\n"
        "generation_kwargs: {until: [], max_gen_toks: 3, do_sample: true, temperature: 6}\n"
        "filter_list: [{name: has, filter: [{function: regex, regex_pattern: e, fallback: none}, {function: "
        "take_first}]}]\n"
        "metric_list: [{metric: exact_match}]\n"));
    for (int i = 0; i < ROWS; i++) tn_str_addf(&rows, "{\"text\":\"%d river\"}\n", i);
    free(put("says.jsonl", rows.p));
    tn_str_free(&rows);
    for (int i = 0; i < pairs; i++) {
        json_t         *x = NULL, *y = NULL, *c = NULL;
        tn_eval_options o = { .task_dir = dir,
                              .data = dir,
                              .out_dir = a,
                              .n_shot = -1,
                              .n_batch = ROWS,
                              .kv_type = TN_F32,
                              .seed = 2 * i };
        assert_ok(tn_remove_tree(a, err));
        assert_ok(tn_remove_tree(b, err));
        assert_ok(tn_eval_run(&x, m, tasks, 1, &o, err));
        o.out_dir = b;
        o.seed = 2 * i + 1;
        assert_ok(tn_eval_run(&y, m, tasks, 1, &o, err));
        assert_ok(tn_eval_compare(&c, a, b, 1, err));
        found_one += json_number_value(
                         json_object_get(json_array_get(json_object_get(c, "comparisons"), 0), "p")) < 0.05;
        if (i == 0) {
            double rate = json_number_value(
                json_object_get(json_object_get(json_object_get(x, "tasks"), "says"), "exact_match"));
            assert_true(rate > 0.1 && rate < 0.9); /* else there is nothing to find */
        }
        json_decref(x);
        json_decref(y);
        json_decref(c);
    }
    print_message("%d of %d comparisons under 0.05\n", found_one, pairs);
    assert_true(found_one > 0 && found_one <= pairs * 0.075);
    tn_model_close(m);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shots_are_drawn_as_python_draws),
        cmocka_unit_test(text_is_as_python_sees_it),
        cmocka_unit_test(patterns_find_what_pythons_findall_finds),
        cmocka_unit_test(students_t_has_its_known_values),
        cmocka_unit_test(ranks_are_the_maximum_of_the_likelihood),
        cmocka_unit_test(power_says_what_can_be_seen),
        cmocka_unit_test(a_model_compared_with_itself_differs_as_often_as_chance),
    };

    if (mkdtemp(dir) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return tn_remove_tree(dir, NULL) == TN_OK ? failed : 1;
}
