/* test_str.c - growable strings and their limit, strict numbers, shortest floats, UTF-8, nearest names. */
#include "testing.h"

#include <float.h>
#include <locale.h>
#include <math.h>

static void a_string_grows_up_to_its_maximum_and_no_further(void **state)
{
    tn_str   s = { .max = 10 };
    tn_error err;

    (void)state;
    tn_str_add(&s, "12345");
    tn_str_addf(&s, "%d", 67890);
    assert_string_equal(s.p, "1234567890");
    assert_int_equal(tn_str_check(&s, &err), TN_OK);
    tn_str_add_char(&s, 'x');
    assert_int_equal(tn_str_check(&s, &err), TN_LIMIT);
    assert_says(err, "10 bytes");
    tn_str_add(&s, "more");
    assert_null(tn_str_take(&s));
    tn_str_add(&s, "again"); /* after take it starts anew */
    assert_string_equal(s.p, "again");
    tn_str_free(&s);
}

static void whole_numbers_are_grouped_by_thousands(void **state)
{
    static const struct {
        int64_t     v;
        const char *text;
    } cases[] = { { 0, "0" },
                  { 999, "999" },
                  { 1000, "1,000" },
                  { 91263104, "91,263,104" },
                  { -1234567, "-1,234,567" },
                  { INT64_MIN, "-9,223,372,036,854,775,808" } };
    char buf[32];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(tn_i64_grouped(cases[i].v, buf), cases[i].text);
}

static void an_empty_string_is_taken_as_empty_text(void **state)
{
    tn_str s = { 0 };
    char  *p = tn_str_take(&s);

    (void)state;
    assert_string_equal(p, "");
    free(p);
    tn_str_add_n(&s, "a\0b", 3);
    assert_int_equal(s.len, 3);
    tn_str_free(&s);
}

static void whole_numbers_are_read_strictly(void **state)
{
    static const char *const bad[] = { "",
                                       "-",
                                       "+1",
                                       " 1",
                                       "1 ",
                                       "1.0",
                                       "0x10",
                                       "--1",
                                       "1e3",
                                       "9223372036854775808",
                                       "-9223372036854775809",
                                       "\xd9\xa1" };
    int64_t                  i;
    uint64_t                 u;

    (void)state;
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        if (tn_parse_i64(bad[k], &i)) fail_msg("'%s' was taken as a number", bad[k]);
    assert_true(tn_parse_i64("-9223372036854775808", &i));
    assert_true(i == INT64_MIN);
    assert_true(tn_parse_i64("9223372036854775807", &i));
    assert_true(i == INT64_MAX);
    assert_true(tn_parse_i64("-0", &i));
    assert_true(tn_parse_u64("18446744073709551615", &u));
    assert_true(u == UINT64_MAX);
    assert_false(tn_parse_u64("18446744073709551616", &u));
    assert_false(tn_parse_u64("-1", &u));
}

static void reals_are_read_strictly(void **state)
{
    static const char *const bad[] = { "",    ".",   "-",  "e5", "1e",    "1e+", "0x1p3", "inf",
                                       "nan", "1,5", " 1", "1 ", "1e999", "+1",  "1.2.3" };
    double                   d;

    (void)state;
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        if (tn_parse_f64(bad[k], &d)) fail_msg("'%s' was taken as a number", bad[k]);
    assert_true(tn_parse_f64("3e-4", &d) && d == 3e-4);
    assert_true(tn_parse_f64(".5", &d) && d == 0.5);
    assert_true(tn_parse_f64("-1.", &d) && d == -1);
    assert_true(tn_parse_f64("1e-400", &d) && d == 0);
}

static void float_texts_are_short_and_read_back_the_same(void **state)
{
    char     buf[32];
    uint32_t x = 1;

    (void)state;
    assert_string_equal(tn_f32_text(0.1f, buf), "0.1");
    assert_string_equal(tn_f32_text(1.0f / 3, buf), "0.33333334");
    assert_string_equal(tn_f64_text(0.1, buf), "0.1");
    assert_string_equal(tn_f64_text(1e23, buf), "1e+23");
    assert_string_equal(tn_f32_text(-0.0f, buf), "-0");
    for (int i = 0; i < 20000; i++) {
        float  f;
        double d;
        x = x * 1664525u + 1013904223u;
        memcpy(&f, &x, sizeof f);
        if (!isfinite(f)) continue;
        assert_true(strtof(tn_f32_text(f, buf), NULL) == f);
        d = (double)f * 1.2345678901234567;
        assert_true(strtod(tn_f64_text(d, buf), NULL) == d);
    }
    assert_true(strtod(tn_f64_text(DBL_MIN / 3, buf), NULL) == DBL_MIN / 3);
}

static void a_decimal_comma_of_the_host_changes_nothing(void **state)
{
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE" };
    char                     buf[32];
    double                   d;
    bool                     set = false;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !set; i++)
        set = setlocale(LC_ALL, names[i]) != NULL;
    if (!set) {
        print_message("skipped: no locale with a decimal comma is installed here\n");
        skip();
    }
    assert_string_equal(tn_f64_text(1.5, buf), "1.5");
    assert_true(tn_parse_f64("1.5", &d) && d == 1.5);
    setlocale(LC_ALL, "C");
}

static void every_code_point_survives_and_nothing_else_passes(void **state)
{
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",     "\xc1\xbf",         "\xe0\x80\x80",     "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xff",         "\xc3",         "\xe2\x82",         "\xf0\x9f\x98",     "\xc3("
    };
    char     out[4];
    uint32_t back;

    (void)state;
    for (uint32_t cp = 0; cp <= 0x110000; cp++) {
        int n = tn_utf8_encode(cp, out);
        if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_int_equal(tn_utf8_decode(out, (size_t)n, &back), n);
        assert_int_equal(back, cp);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (tn_utf8_valid(bad[i], strlen(bad[i]))) fail_msg("case %zu passed as UTF-8", i);
    assert_true(tn_utf8_valid("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", 11));
    assert_int_equal(tn_utf8_decode("\xf0\x9f\x98\x80", 3, &back), 0);
}

static void the_nearest_name_is_a_slip_away_or_none(void **state)
{
    static const char *const names[] = { "selftest", "bench", "generate", "lr", "warmup", NULL };

    (void)state;
    assert_string_equal(tn_nearest("selftst", names), "selftest");
    assert_string_equal(tn_nearest("genreate", names), "generate");
    assert_string_equal(tn_nearest("lrr", names), "lr");
    assert_string_equal(tn_nearest("wramup", names), "warmup");
    assert_null(tn_nearest("xyz", names));
    assert_null(tn_nearest("", names));
    assert_null(tn_nearest("serve-the-model-to-everybody-in-the-whole-wide-world-and-all-beyond-it", names));
}

static void prefixes_and_suffixes(void **state)
{
    char *p;

    (void)state;
    assert_true(tn_starts_with("abc", "ab"));
    assert_false(tn_starts_with("ab", "abc"));
    assert_true(tn_ends_with("a.gguf", ".gguf"));
    assert_false(tn_ends_with("gguf", ".gguf"));
    p = tn_strndup("abc", 2);
    assert_string_equal(p, "ab");
    free(p);
    p = tn_strndup("a", 10);
    assert_string_equal(p, "a");
    free(p);
}

static void a_comma_list_is_read_without_blanks_and_empty_items(void **state)
{
    static const char *const lists[] = { "q,v", "q , v", " q,\tv\n", ",q,, v ,", "q,v,", NULL };
    const char              *p, *item;
    char                   **items;
    size_t                   n;

    (void)state;
    for (const char *const *l = lists; *l != NULL; l++) {
        items = tn_list_split(*l, &n);
        assert_int_equal(n, 2);
        assert_string_equal(items[0], "q");
        assert_string_equal(items[1], "v");
        assert_null(items[2]);
        free(items);
        assert_true(tn_list_has(*l, "v"));
        assert_false(tn_list_has(*l, "qv") || tn_list_has(*l, ""));
    }
    p = "a short question, an instruction"; /* blanks within an item are its own */
    assert_true(tn_list_next(&p, &item, &n));
    assert_int_equal(n, strlen("a short question"));
    assert_true(tn_list_next(&p, &item, &n));
    assert_memory_equal(item, "an instruction", n);
    assert_false(tn_list_next(&p, &item, &n));
    for (const char *const *none = (const char *const[]){ "", " , ,", NULL }; *none != NULL; none++) {
        p = *none;
        assert_false(tn_list_next(&p, &item, &n));
    }
    items = tn_list_split(NULL, &n);
    assert_int_equal(n, 0);
    assert_null(items[0]);
    free(items);
}

static void a_setting_keeps_the_commas_of_its_value(void **state)
{
    static const char *const want[] = { "data=a, b,c", "steps=5", "lost", "system=Hello, you", NULL };
    const char              *p = "data=a, b,c , steps=5,", *item;
    size_t                   n, i = 0;

    (void)state;
    for (; tn_list_next_set(&p, &item, &n); i++)
        assert_true(n == strlen(want[i]) && memcmp(item, want[i], n) == 0);
    assert_int_equal(i, 2);
    p = "lost,system=Hello, you"; /* no key in front: it comes as it is, and the caller says so */
    for (; tn_list_next_set(&p, &item, &n); i++)
        assert_true(n == strlen(want[i]) && memcmp(item, want[i], n) == 0);
    assert_int_equal(i, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_comma_list_is_read_without_blanks_and_empty_items),
        cmocka_unit_test(a_setting_keeps_the_commas_of_its_value),
        cmocka_unit_test(a_string_grows_up_to_its_maximum_and_no_further),
        cmocka_unit_test(an_empty_string_is_taken_as_empty_text),
        cmocka_unit_test(whole_numbers_are_grouped_by_thousands),
        cmocka_unit_test(whole_numbers_are_read_strictly),
        cmocka_unit_test(reals_are_read_strictly),
        cmocka_unit_test(float_texts_are_short_and_read_back_the_same),
        cmocka_unit_test(a_decimal_comma_of_the_host_changes_nothing),
        cmocka_unit_test(every_code_point_survives_and_nothing_else_passes),
        cmocka_unit_test(the_nearest_name_is_a_slip_away_or_none),
        cmocka_unit_test(prefixes_and_suffixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
