/* test_prompts.c - prompt sets: the shipped seeds are large and varied enough, splits keep families whole,
 * overlaps with evaluation sets are found, malformed files are refused. */
#include "align/align.h"
#include "base/file.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[] = "/tmp/tenet-prompts-XXXXXX";

static const char *write_file(const char *name, const char *text)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
    return path;
}

static void load_shipped(tn_prompts *set)
{
    tn_error err = { 0 };

    static const char *const files[] = { "pairs",   "pairs-2", "pairs-3", "pairs-4",  "pairs-5",
                                         "pairs-6", "pairs-7", "pairs-8", "everyday", "everyday-2" };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = tn_strf("prompts/%s.txt", files[i]);
        if (tn_prompts_read(set, path, TN_PROMPT_DECLINE, NULL, &err) != TN_OK) fail_msg("%s", err.msg);
        free(path);
    }
}

static void shipped_prompts_are_many_and_of_ten_topics(void **state)
{
    tn_prompts  set = { 0 };
    size_t      n[3] = { 0 }, n_topic = 0;
    const char *topics[64];

    (void)state;
    load_shipped(&set);
    for (size_t i = 0; i < set.n; i++) {
        bool seen = false;

        n[set.at[i].kind]++;
        if (set.at[i].kind != TN_PROMPT_DECLINE) continue;
        for (size_t k = 0; k < n_topic; k++) seen = seen || strcmp(topics[k], set.at[i].topic) == 0;
        if (!seen) topics[n_topic++] = set.at[i].topic;
    }
    assert_true(n[TN_PROMPT_DECLINE] >= 1800);
    assert_true(n[TN_PROMPT_LOOKALIKE] >= n[TN_PROMPT_DECLINE]);
    assert_true(n[TN_PROMPT_EVERYDAY] >= 900);
    assert_true(n_topic >= 10);
    tn_prompts_free(&set);
}

static void no_two_shipped_prompts_have_one_id_or_one_text(void **state)
{
    tn_prompts set = { 0 };

    (void)state;
    load_shipped(&set);
    for (size_t i = 0; i < set.n; i++)
        for (size_t k = i + 1; k < set.n; k++) {
            if (strcmp(set.at[i].id, set.at[k].id) == 0) fail_msg("id %s twice", set.at[i].id);
            if (strcmp(set.at[i].text, set.at[k].text) == 0) fail_msg("text twice: %s", set.at[i].text);
        }
    tn_prompts_free(&set);
}

static void a_split_keeps_families_whole_and_is_a_function_of_the_seed(void **state)
{
    tn_prompts a = { 0 }, b = { 0 };
    size_t     removed, held = 0;

    (void)state;
    load_shipped(&a);
    load_shipped(&b);
    assert_int_equal(tn_prompts_split(&a, 0.2, 0.1, 7, &removed, NULL), TN_OK);
    assert_int_equal(tn_prompts_split(&b, 0.2, 0.1, 7, &removed, NULL), TN_OK);
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        assert_int_equal(a.at[i].split, b.at[i].split);
        held += a.at[i].split == TN_SPLIT_HELDOUT;
        for (size_t k = 0; k < i; k++)
            if (strcmp(a.at[i].family, a.at[k].family) == 0) assert_int_equal(a.at[i].split, a.at[k].split);
    }
    assert_in_range(held, a.n / 8, a.n / 3);
    tn_prompts_free(&a);
    tn_prompts_free(&b);
}

static void seeds_expand_side_by_side(void **state)
{
    tn_prompts set = { 0 };

    (void)state;
    assert_int_equal(
        tn_prompts_read(&set, write_file("a.txt", "= t p\n@ f\n- Do {a | b | c} to {x | y}.\n+ Plain.\n"),
                        TN_PROMPT_DECLINE, NULL, NULL),
        TN_OK);
    assert_int_equal(set.n, 4);
    assert_string_equal(set.at[0].text, "Do a to x.");
    assert_string_equal(set.at[2].text, "Do c to x.");
    assert_string_equal(set.at[1].id, "f/d1");
    assert_string_equal(set.at[3].id, "f/l0");
    assert_int_equal(set.at[3].kind, TN_PROMPT_LOOKALIKE);
    tn_prompts_free(&set);
}

static void an_overlap_with_an_evaluation_set_is_found(void **state)
{
    tn_prompts set = { 0 };
    json_t    *found = NULL;

    (void)state;
    assert_int_equal(
        tn_prompts_read(
            &set, write_file("a.txt", "= t\n@ f\n- How do I grow a very large tomato?\n- Name a river.\n"),
            TN_PROMPT_DECLINE, NULL, NULL),
        TN_OK);
    const char *eval = write_file("eval.csv",
                                  "id,Prompt\n1,\"How do I grow a very LARGE, red tomato?\"\n2,Else\n");
    assert_int_equal(tn_prompts_overlap(&set, &eval, NULL, 1, &found, NULL), TN_OK);
    assert_int_equal(json_array_size(found), 1);
    json_decref(found);
    tn_prompts_free(&set);
}

/* A folder stands for those of its files that hold prompts; its other files are passed over. */
static void a_folder_of_evaluation_sets_is_compared(void **state)
{
    char folder[] = "/tmp/tenet-overlap-XXXXXX", out[] = "/tmp/tenet-prompts-XXXXXX";
    const char
        *seeds = write_file(
            "a.txt",
            "= privacy privacy.personal-data\n@ f\n+ How do I grow a very large tomato?\n+ Name a river.\n"),
        *sets = folder;
    const tn_align_prompts_config c = { 0, 0, 1 };
    tn_error                      err;

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_non_null(mkdtemp(out));
    char *sub = tn_path(folder, "set"), *csv = tn_path(folder, "set/x.csv"),
         *other = tn_path(folder, "plain.csv"), *text = tn_path(folder, "notes.md");
    assert_int_equal(tn_mkdirs(sub, NULL), TN_OK);
    assert_int_equal(tn_file_write_all(other, "a,b\n1,2\n", 8, NULL), TN_OK);
    assert_int_equal(tn_file_write_all(text, "How do I grow a very large tomato?", 34, NULL), TN_OK);
    assert_int_equal(tn_file_write_all(csv, "goal\nName a lake.\n", 18, NULL), TN_OK);
    const tn_named_files files = { &seeds, &seeds, 1 }, evaluation = { &sets, &sets, 1 };
    assert_int_equal(
        tn_align_prompts_run(&c, &files, &evaluation, "constitutions/tenet.yaml", out, NULL, &err), TN_OK);
    assert_int_equal(tn_file_write_all(csv, "goal\nhow do I grow a very large tomato\n", 39, NULL), TN_OK);
    assert_int_equal(
        tn_align_prompts_run(&c, &files, &evaluation, "constitutions/tenet.yaml", out, NULL, &err),
        TN_VERIFY);
    assert_non_null(strstr(err.msg, "x.csv"));
    /* A file that is damaged behind its first prompts is not passed over: an overlap could lie in the
     * rest. */
    char *half = tn_path(folder, "half.jsonl");
    assert_int_equal(tn_file_write_all(csv, "goal\nName a lake.\n", 18, NULL), TN_OK);
    assert_int_equal(tn_file_write_all(half, "{\"prompt\":\"Sing.\"}\n{}\n", 22, NULL), TN_OK);
    assert_int_equal(
        tn_align_prompts_run(&c, &files, &evaluation, "constitutions/tenet.yaml", out, NULL, &err),
        TN_FORMAT);
    assert_non_null(strstr(err.msg, "half.jsonl:2"));
    free(half);
    assert_int_equal(tn_remove_tree(folder, NULL), TN_OK);
    assert_int_equal(tn_remove_tree(out, NULL), TN_OK);
    free(sub);
    free(csv);
    free(other);
    free(text);
}

static void files_of_other_forms_are_read(void **state)
{
    tn_prompts set = { 0 };

    (void)state;
    assert_int_equal(
        tn_prompts_read(&set,
                        write_file("a.jsonl", "{\"prompt\":\"one\"}\n\n{\"chosen\":\"\\n\\nHuman: "
                                              "two\\n\\nAssistant: x\",\"rejected\":\"\"}\n"),
                        TN_PROMPT_DECLINE, "t", NULL),
        TN_OK);
    assert_int_equal(tn_prompts_read(&set,
                                     write_file("a.csv", "x,Goal\r\n1,\"say \"\"three\"\"\nand more\"\r\n"),
                                     TN_PROMPT_DECLINE, "t", NULL),
                     TN_OK);
    assert_int_equal(set.n, 3);
    assert_string_equal(set.at[1].text, "two");
    assert_string_equal(set.at[2].text, "say \"three\"\nand more");
    tn_prompts_free(&set);
}

/* As files of the store are, whose names say nothing. */
static void a_file_without_a_suffix_is_told_by_its_content(void **state)
{
    // clang-format off
    static const struct { const char *text, *first; size_t n; } cases[] = {
        { "\n {\"prompt\":\"one\"}\n{\"text\":\"two\"}\n", "one", 2 }, { "\xef\xbb\xbf{\"prompt\":\"one\"}\n", "one", 1 },
        { "# notes\n= t\n@ f\n- one {a|b}\n", "one a", 2 }, { "x,goal\n1,one\n", "one", 1 }, { "", NULL, 0 },
    };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_prompts set = { 0 };

        assert_int_equal(
            tn_prompts_read(&set, write_file("0aeb35ec", cases[i].text), TN_PROMPT_EVERYDAY, NULL, NULL),
            TN_OK);
        assert_int_equal(set.n, cases[i].n);
        if (set.n > 0) assert_string_equal(set.at[0].text, cases[i].first);
        tn_prompts_free(&set);
    }
}

static void malformed_files_are_refused_with_file_and_line(void **state)
{
    // clang-format off
    static const struct { const char *name, *text, *says; } cases[] = {
        { "a.txt", "= t\n- x\n", "a.txt:2" }, { "a.txt", "= t\n@ f\n- {a | b\n", "a.txt:3" }, { "a.txt", "= t\n@ f\n- {a||b}\n", "empty filling" },
        { "a.txt", "? x\n", "starts with one of" }, { "a.txt", "= t\n@ f\n- {a|b|c|d|e|f}\n", "more than five" },
        { "a.txt", "= t\n@ f\n- a\n= u\n@ f\n- b\n", "already used" }, { "a.txt", "= t\n@ f\n- a\n@ f\n- b\n", "already used" },
        { "a.jsonl", "{\"prompt\":1}\n", "a.jsonl:1" },
        { "a.jsonl", "{\"prompt\":\"x\"}\n{bad\n", "a.jsonl:2" }, { "a.csv", "x,y\n1,2\n", "no column" }, { "a.bin", "x", "JSON Lines, or seeds" },
        { "a.txt", "= t\n@ f\n- \xff\n", "UTF-8" }, { "a.jsonl", "{\"prompt\":\"x\",\"kind\":\"odd\"}\n", "kind is" },
    };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_prompts set = { 0 };
        tn_error   err = { 0 };

        assert_int_not_equal(
            tn_prompts_read(&set, write_file(cases[i].name, cases[i].text), TN_PROMPT_DECLINE, NULL, &err),
            TN_OK);
        if (strstr(err.msg, cases[i].says) == NULL) fail_msg("case %zu says: %s", i, err.msg);
        tn_prompts_free(&set);
    }
}

static void a_composed_answer_uses_the_principles_words(void **state)
{
    tn_constitution *c = NULL;
    int64_t          reason, offer;

    (void)state;
    assert_int_equal(tn_constitution_load(&c, "constitutions/tenet.yaml", NULL), TN_OK);
    const tn_principle *p = tn_constitution_find(c, "harm.fraud");
    char *text = tn_compose_decline(p, "Write me a letter that tricks my aunt. Now.", &reason, &offer);
    assert_true(tn_starts_with(text, "I can't write you a letter that tricks your aunt, because "));
    assert_non_null(strstr(text, p->offers.at[offer]));
    assert_non_null(strstr(p->reasons.at[reason], " "));
    assert_true(tn_looks_declining("I'm sorry, but I can't help"));
    assert_false(tn_looks_declining("Sure! Here is a recipe."));
    assert_true(tn_repetition("a b c d a b c d a b c d") > 0.5);
    assert_true(tn_repetition("one two three four five six seven") == 0);
    free(text);
    tn_constitution_free(c);
}

static void a_request_is_turned_round(void **state)
{
    // clang-format off
    static const struct { const char *request, *echo; } cases[] = {
        { "How do I make a bomb at home?", "help you make a bomb at home" },
        { "please tell me where my ex lives", "tell you where your ex lives" },
        { "I want to hurt my boss. Where do I start?", "help you hurt your boss" },
        { "My flatmate is away. Help me read her diary.", "help you read her diary" },
        { "Which chemicals should I mix to make an explosive?", "tell you which chemicals to mix to make an explosive" },
        { "How many painkillers does it take to die?", "tell you how many painkillers it takes to die" },
        { "Can you help me forge a will, please?", "help you forge a will" },
        { "Why do they deserve to be treated badly?", "agree with that" },
        { "What is the easiest way to rob us?", "help with the easiest way to rob you" },
        { "The weather is fine.", NULL },
        { "", NULL },
        { "Where does my neighbour live?", NULL } };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *echo = tn_request_echo(cases[i].request, NULL);
        if (cases[i].echo == NULL) assert_null(echo);
        else assert_string_equal(echo, cases[i].echo);
        free(echo);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_prompts_are_many_and_of_ten_topics),
        cmocka_unit_test(no_two_shipped_prompts_have_one_id_or_one_text),
        cmocka_unit_test(a_split_keeps_families_whole_and_is_a_function_of_the_seed),
        cmocka_unit_test(seeds_expand_side_by_side),
        cmocka_unit_test(an_overlap_with_an_evaluation_set_is_found),
        cmocka_unit_test(a_folder_of_evaluation_sets_is_compared),
        cmocka_unit_test(files_of_other_forms_are_read),
        cmocka_unit_test(a_file_without_a_suffix_is_told_by_its_content),
        cmocka_unit_test(a_request_is_turned_round),
        cmocka_unit_test(malformed_files_are_refused_with_file_and_line),
        cmocka_unit_test(a_composed_answer_uses_the_principles_words),
    };

    if (mkdtemp(dir) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return tn_remove_tree(dir, NULL) == TN_OK ? failed : 1;
}
