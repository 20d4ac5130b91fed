/* test_yaml.c - small trees with lines; and what hostile YAML must not do: explode, nest without end, repeat
 * keys. */
#include "base/yaml.h"
#include "testing.h"

static tn_status parse(tn_yaml **y, const char *text, tn_error *err)
{
    return tn_yaml_parse(y, text, strlen(text), "r.yaml", err);
}

static void a_tree_keeps_words_order_and_lines(void **state)
{
    static const char text[] =
        "# comment\nname: no\nlist: [a, 'b', 3]\nnested:\n  - x: 1\n    y: |\n      two\n      lines\n";
    tn_yaml       *y;
    const tn_yaml *list, *item;

    (void)state;
    assert_int_equal(parse(&y, text, NULL), TN_OK);
    assert_int_equal(y->kind, TN_YAML_MAP);
    assert_int_equal(y->n, 3);
    assert_string_equal(tn_yaml_text(y, "name"), "no"); /* a word, not a boolean */
    assert_int_equal(y->key_lines[0], 2);
    list = tn_yaml_get(y, "list");
    assert_int_equal(list->kind, TN_YAML_SEQ);
    assert_int_equal(list->n, 3);
    assert_true(list->items[1]->quoted);
    assert_false(list->items[2]->quoted);
    item = tn_yaml_get(y, "nested")->items[0];
    assert_string_equal(tn_yaml_text(item, "y"), "two\nlines\n");
    assert_int_equal(tn_yaml_get(item, "x")->line, 5);
    assert_null(tn_yaml_get(y, "none"));
    assert_null(tn_yaml_text(y, "list"));
    assert_null(tn_yaml_get(NULL, "x"));
    tn_yaml_free(y);
}

static void wrong_yaml_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "a: 1\nb: 2\na: 3\n", "r.yaml:3: key 'a' is here twice (first on line 1)" },
        { "a:\n\tb: 1\n", "r.yaml:2" },
        { "a: [1, 2\n", "r.yaml" },
        { "", "empty" },
        { "a: *nowhere\n", "has no anchor" },
        { "? [a]\n: 1\n", "a key must be plain text" },
        { "a: 1\n---\nb: 2\n", "second YAML document" },
        { "a: \"x\\0y\"\n", "NUL byte" },
        { "a: \xff\n", "r.yaml" },
        { "a: 1\nb: !function utils.x\n", "r.yaml:2: the tag !function belongs to another program" },
        { "a: !python/tuple [1, 2]\n", "the tag !python/tuple" },
        { "a: !set {x: 1}\n", "the tag !set" },
    };
    tn_yaml *y;
    tn_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (parse(&y, cases[i].text, &err) == TN_OK) fail_msg("'%s' was taken", cases[i].text);
        assert_null(y);
        assert_says(err, cases[i].says);
    }
}

static void aliases_copy_but_cannot_explode(void **state)
{
    tn_str   s = { 0 };
    tn_yaml *y;
    tn_error err;

    (void)state;
    assert_int_equal(parse(&y, "a: &x {k: v}\nb: *x\n", &err), TN_OK);
    assert_string_equal(tn_yaml_text(tn_yaml_get(y, "b"), "k"), "v");
    tn_yaml_free(y);
    tn_str_add(&s, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"); /* ten to the ninth, if it could */
    for (int i = 1; i < 9; i++) {
        tn_str_addf(&s, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) tn_str_addf(&s, "%s*a%d", k > 0 ? "," : "", i - 1);
        tn_str_add(&s, "]\n");
    }
    assert_int_equal(parse(&y, s.p, &err), TN_LIMIT);
    assert_says(err, "more than 100000 YAML nodes");
    tn_str_free(&s);
    /* an anchor inside itself is not there yet */
    assert_int_equal(parse(&y, "a: &a [*a]\n", &err), TN_FORMAT);
}

static void nesting_and_width_have_a_limit(void **state)
{
    char    *text = malloc(400001);
    tn_yaml *y;
    tn_error err;

    (void)state;
    memset(text, '[', 3000);
    text[3000] = '\0';
    assert_int_equal(parse(&y, text, &err), TN_LIMIT);
    assert_says(err, "deeper than 64");
    for (size_t i = 0; i < 400000; i += 4) memcpy(text + i, "- x\n", 4);
    text[400000] = '\0';
    assert_int_equal(parse(&y, text, &err), TN_LIMIT);
    free(text);
}

static void any_bytes_are_read_or_refused_but_never_crash(void **state)
{
    static const char alphabet[] = "ab:- \n[]{}&*!|>'\"#%@`,?\t0~\\x\xc3\xa9";
    uint32_t          x = 7;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char     text[64];
        size_t   n = 0;
        tn_yaml *y;
        for (; n < sizeof text - 1 && (n < 3 || x >> 27 != 0); n++) {
            x = x * 1664525u + 1013904223u;
            text[n] = alphabet[(x >> 8) % (sizeof alphabet - 1)];
        }
        x = x * 1664525u + 1013904223u;
        if (tn_yaml_parse(&y, text, n, "f", NULL) == TN_OK) tn_yaml_free(y);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_keeps_words_order_and_lines),
        cmocka_unit_test(wrong_yaml_is_named_with_its_line),
        cmocka_unit_test(aliases_copy_but_cannot_explode),
        cmocka_unit_test(nesting_and_width_have_a_limit),
        cmocka_unit_test(any_bytes_are_read_or_refused_but_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
