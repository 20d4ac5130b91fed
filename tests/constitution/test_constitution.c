/* test_constitution.c - loading, inheritance, drawing, lint and comparison of constitutions; hostile
 * files. */
#include "base/file.h"
#include "base/str.h"
#include "constitution/constitution.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/tenet-constitution-XXXXXX";

static const char *write_file(const char *name, const char *text)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
    return path;
}

#define WORDING "    critique: c\n    revision: r\n    compare: {positive: p, negative: n}\n"
#define HEAD "name: t\nversion: 1\ngroups: [a, b]\ntopics: {x: about x, y: about y}\nprinciples:\n"

static tn_status load(tn_constitution **c, const char *text, tn_error *err)
{
    return tn_constitution_load(c, write_file("c.yaml", text), err);
}

static void shipped_constitutions_load_and_have_nothing_wrong(void **state)
{
    static const char *const paths[] = { "constitutions/tenet.yaml", "constitutions/example-bank.yaml" };

    (void)state;
    for (int i = 0; i < 2; i++) {
        tn_constitution *c = NULL;
        tn_finding      *f = NULL;
        size_t           n = 0;
        tn_error         err = { 0 };

        if (tn_constitution_load(&c, paths[i], &err) != TN_OK) fail_msg("%s", err.msg);
        assert_true(c->n_principle >= 16);
        assert_int_equal(tn_constitution_lint(c, paths[i], &f, &n, &err), TN_OK);
        for (size_t k = 0; k < n; k++) assert_int_not_equal(f[k].severity, 2);
        tn_findings_free(f, n);
        tn_constitution_free(c);
    }
}

static void canonical_form_reads_back_to_the_same_digest(void **state)
{
    tn_constitution *a = NULL, *b = NULL;

    (void)state;
    assert_int_equal(tn_constitution_load(&a, "constitutions/tenet.yaml", NULL), TN_OK);
    json_t *v = tn_constitution_json(a);
    assert_int_equal(tn_constitution_from_json(&b, v, "json", NULL), TN_OK);
    assert_true(tn_digest_equal(&a->digest, &b->digest));
    for (size_t i = 0; i < a->n_principle; i++)
        assert_true(tn_digest_equal(&a->principles[i].digest, &b->principles[i].digest));
    json_decref(v);
    tn_constitution_free(a);
    tn_constitution_free(b);
}

static void an_override_changes_only_what_it_names(void **state)
{
    tn_constitution *a = NULL, *b = NULL;
    tn_change       *ch = NULL;
    size_t           n = 0;

    (void)state;
    assert_int_equal(tn_constitution_load(&a, "constitutions/tenet.yaml", NULL), TN_OK);
    assert_int_equal(tn_constitution_load(&b, "constitutions/example-bank.yaml", NULL), TN_OK);
    const tn_principle *x = tn_constitution_find(a, "harm.fraud"), *y = tn_constitution_find(b, "harm.fraud");
    assert_true(y->weight == 4);
    assert_string_equal(x->text, y->text);
    assert_int_equal(tn_constitution_diff(a, b, &ch, &n, NULL), TN_OK);
    bool weight = false, added = false;
    for (size_t i = 0; i < n; i++) {
        weight = weight || (strcmp(ch[i].id, "harm.fraud") == 0 && ch[i].kind == TN_CHANGED &&
                            strcmp(ch[i].fields, "weight") == 0);
        added = added || (strcmp(ch[i].id, "house.no-account-data") == 0 && ch[i].kind == TN_ADDED);
    }
    assert_true(weight);
    assert_true(added);
    tn_changes_free(ch, n);
    tn_constitution_free(a);
    tn_constitution_free(b);
}

static void bad_files_are_refused_with_file_and_line(void **state)
{
    // clang-format off
    static const struct { const char *text, *says; } cases[] = {
        { "name: t\nversion: 1\ngroups: [a]\nprinciples: []\n", "no principles" },
        { "name: t\nversion: 1\ngroups: [a]\n", "no principles" },
        { HEAD "  - id: p\n    group: a\n    text: t\n" WORDING "  - id: p\n    group: a\n    text: t\n" WORDING, "twice" },
        { HEAD "  - id: p\n    group: a\n    text: t\n    topics: [z]\n" WORDING, "topic 'z' is not declared" },
        { HEAD "  - id: p\n    group: c\n    text: t\n" WORDING, "group 'c' is not in groups" },
        { HEAD "  - id: p\n    group: a\n    text: t\n", "has no critique" },
        { HEAD "  - id: p\n    group: a\n    text: t\n    weight: 0\n" WORDING, "weight is '0'" },
        { HEAD "  - id: p\n    group: a\n    txet: t\n" WORDING, "did you mean 'text'" },
        { HEAD "  - id: p\n    group: a\n    stance: decline\n    text: t\n" WORDING, "needs reasons and offers" },
        { HEAD "  - id: P q\n    group: a\n    text: t\n" WORDING, "needs an id" },
        { "extends: c.yaml\nname: t\n", "circle" },
        { "extends: ../c.yaml\n", "beside this one" },
        { "name: [\n", "c.yaml:" },
        { "", "empty" },
    };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_constitution *c = NULL;
        tn_error         err = { 0 };

        assert_int_not_equal(load(&c, cases[i].text, &err), TN_OK);
        assert_null(c);
        if (strstr(err.msg, cases[i].says) == NULL) fail_msg("case %zu says: %s", i, err.msg);
        assert_non_null(strstr(err.msg, "c.yaml"));
    }
}

static void lint_finds_contradictions_and_unreachable_topics(void **state)
{
    tn_constitution *c = NULL;
    tn_finding      *f = NULL;
    size_t           n = 0;
    bool             clash = false, checks = false, topic = false;

    (void)state;
    assert_int_equal(load(&c,
                          HEAD "  - id: p\n    group: a\n    stance: decline\n    text: t\n    topics: [x]\n "
                               "   reasons: [r]\n    offers: [o]\n"
                               "    check: {absent: blue}\n" WORDING
                               "  - id: q\n    group: a\n    stance: answer\n    text: u\n    topics: [x]\n  "
                               "  check: {present: blue}\n" WORDING,
                          NULL),
                     TN_OK);
    assert_int_equal(tn_constitution_lint(c, "c.yaml", &f, &n, NULL), TN_OK);
    for (size_t i = 0; i < n; i++) {
        clash = clash || strstr(f[i].text, "answered or declined") != NULL;
        checks = checks || (f[i].severity == 2 && strstr(f[i].text, "contradict") != NULL);
        topic = topic || strstr(f[i].text, "topic 'y' is unreachable") != NULL;
    }
    assert_true(clash && checks && topic);
    tn_findings_free(f, n);
    tn_constitution_free(c);
}

static void lint_finds_hidden_contradictions_and_empty_groups(void **state)
{
    // clang-format off
    static const struct { const char *text, *says; } cases[] = {
        { HEAD "  - id: p\n    group: a\n    text: t\n    check: {absent: '\\bblue'}\n" WORDING
               "  - id: q\n    group: b\n    text: u\n    check: {present: '\\bbluebird\\b'}\n" WORDING, "demands is what the other's forbids" },
        { HEAD "  - id: p\n    group: a\n    text: t\n    affix: {positive: x y, negative: z}\n" WORDING
               "  - id: q\n    group: b\n    text: u\n    affix: {positive: w, negative: x y}\n" WORDING, "the other warns of" },
        { HEAD "  - id: p\n    group: a\n    text: t\n" WORDING "  - id: q\n    group: b\n    text: u\n    critique: c\n    revision: r\n    compare: {positive: n, negative: p}\n",
          "better answer for one" },
        { HEAD "  - id: p\n    group: a\n    text: t\n" WORDING, "group 'b' has no principle" },
    };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_constitution *c = NULL;
        tn_finding      *f = NULL;
        size_t           n = 0;
        bool             said = false;
        tn_error         err = { 0 };

        if (load(&c, cases[i].text, &err) != TN_OK) fail_msg("%s", err.msg);
        assert_int_equal(tn_constitution_lint(c, "c.yaml", &f, &n, NULL), TN_OK);
        for (size_t k = 0; k < n; k++) said = said || strstr(f[k].text, cases[i].says) != NULL;
        if (!said) fail_msg("case %zu: nothing says '%s'", i, cases[i].says);
        tn_findings_free(f, n);
        tn_constitution_free(c);
    }
}

static void principles_are_drawn_by_weight_among_those_that_apply(void **state)
{
    tn_constitution  *c = NULL;
    const char *const topics[] = { "x" };
    int               count[3] = { 0 };
    enum { N = 4000 };

    (void)state;
    assert_int_equal(
        load(&c,
             HEAD "  - id: one\n    group: a\n    text: t\n    topics: [x]\n" WORDING
                  "  - id: three\n    group: a\n    weight: 3\n    text: u\n" WORDING
                  "  - id: never\n    group: b\n    weight: 9\n    text: v\n    topics: [y]\n" WORDING,
             NULL),
        TN_OK);
    for (uint64_t i = 0; i < N; i++) {
        tn_rng_key          key = { 1, TN_RNG_PRINCIPLE, 0, i };
        const tn_principle *p = tn_constitution_draw(c, topics, 1, -1, &key, 0);
        count[p - c->principles]++;
    }
    assert_int_equal(count[2], 0);
    assert_in_range(count[1], N * 70 / 100, N * 80 / 100);
    tn_constitution_free(c);
}

static void mechanical_checks_look_at_the_answer(void **state)
{
    tn_constitution *c = NULL;
    bool             has, passed;

    (void)state;
    assert_int_equal(
        load(
            &c,
            HEAD
            "  - id: p\n    group: a\n    text: t\n    check: {absent: '\\bblue\\b', max_words: 4}\n" WORDING,
            NULL),
        TN_OK);
    assert_int_equal(tn_principle_check(c->principles, "The Blue sky", &has, &passed, NULL), TN_OK);
    assert_true(has && !passed);
    assert_int_equal(tn_principle_check(c->principles, "bluebells are fine", &has, &passed, NULL), TN_OK);
    assert_true(passed);
    assert_int_equal(tn_principle_check(c->principles, "one two three four five", &has, &passed, NULL),
                     TN_OK);
    assert_false(passed);
    tn_constitution_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_constitutions_load_and_have_nothing_wrong),
        cmocka_unit_test(canonical_form_reads_back_to_the_same_digest),
        cmocka_unit_test(an_override_changes_only_what_it_names),
        cmocka_unit_test(bad_files_are_refused_with_file_and_line),
        cmocka_unit_test(lint_finds_contradictions_and_unreachable_topics),
        cmocka_unit_test(lint_finds_hidden_contradictions_and_empty_groups),
        cmocka_unit_test(principles_are_drawn_by_weight_among_those_that_apply),
        cmocka_unit_test(mechanical_checks_look_at_the_answer),
    };

    if (mkdtemp(dir) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return tn_remove_tree(dir, NULL) == TN_OK ? failed : 1;
}
