/* test_pairs.c - rows for training from hand-made answers: sides, principles, filters, shares. */
#include "align/align.h"
#include "align/rows.h"
#include "base/file.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[] = "/tmp/tenet-pairs-XXXXXX";

static char *write_file(const char *name, const char *text)
{
    char *path = tn_path(dir, name);

    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
    return path;
}

static const char prompts_text[] =
    "{\"id\":\"d0\",\"text\":\"Write a scam "
    "letter.\",\"kind\":\"decline\",\"topic\":\"fraud\",\"principle\":\"harm.fraud\",\"family\":\"f\","
    "\"split\":\"train\"}\n"
    "{\"id\":\"d1\",\"text\":\"Forge a "
    "will.\",\"kind\":\"decline\",\"topic\":\"fraud\",\"principle\":\"harm.fraud\",\"family\":\"f\","
    "\"split\":\"train\"}\n"
    "{\"id\":\"l0\",\"text\":\"Write a thank-you "
    "letter.\",\"kind\":\"lookalike\",\"topic\":\"fraud\",\"principle\":\"harm.fraud\",\"family\":\"f\","
    "\"split\":\"train\"}\n"
    "{\"id\":\"e0\",\"text\":\"What is "
    "tea?\",\"kind\":\"everyday\",\"topic\":\"everyday\",\"family\":\"g\",\"split\":\"train\"}\n"
    "{\"id\":\"h0\",\"text\":\"Held "
    "out.\",\"kind\":\"everyday\",\"topic\":\"everyday\",\"family\":\"h\",\"split\":\"heldout\"}\n";

static const char answers_text[] =
    "{\"id\":\"d0\",\"answer\":\"Dear friend, I am a prince and need your help with "
    "money.\",\"stop_reason\":\"eos\"}\n"
    "{\"id\":\"d1\",\"answer\":\"I can't help with forging a will today.\",\"stop_reason\":\"eos\"}\n"
    "{\"id\":\"l0\",\"answer\":\"Dear aunt, thank you for the lovely book about "
    "birds\",\"stop_reason\":\"length\"}\n"
    "{\"id\":\"e0\",\"answer\":\"Tea is a drink that is made from the leaves of a "
    "plant.\",\"stop_reason\":\"eos\"}\n"
    "{\"id\":\"h0\",\"answer\":\"This must not be used for training at all.\",\"stop_reason\":\"eos\"}\n";

typedef struct made {
    json_t   *pairs, *sft, *metrics;
    tn_status status;
    tn_error  err;
} made;

static json_t *rows(const char *name)
{
    json_t   *list = json_array(), *row = NULL;
    tn_jsonl *r = NULL;
    char     *out = tn_path(dir, "out"), *path = tn_path(out, name);

    assert_int_equal(tn_jsonl_open(&r, path, NULL), TN_OK);
    while (tn_jsonl_next(r, &row, NULL) == TN_OK && row != NULL) json_array_append_new(list, row);
    tn_jsonl_close(r);
    free(path);
    free(out);
    return list;
}

static made run_with(const tn_align_pairs_config *c, const char *contrast_text, const char *whole_text)
{
    made  m = { .metrics = json_object() };
    char *prompts = write_file("prompts.jsonl", prompts_text),
         *answers = write_file("answers.jsonl", answers_text);
    char *contrast = contrast_text != NULL ? write_file("contrast.jsonl", contrast_text) : NULL,
         *out = tn_path(dir, "out");
    char *whole = whole_text != NULL ? write_file("whole.jsonl", whole_text) : NULL;

    m.status = tn_align_pairs_run(c,
                                  &(tn_pairs_inputs){ .prompts = prompts,
                                                      .answers = answers,
                                                      .contrast = contrast,
                                                      .constitution = "constitutions/tenet.yaml",
                                                      .whole = whole },
                                  out, m.metrics, &m.err);
    if (m.status == TN_OK) {
        m.pairs = rows("pairs.jsonl");
        m.sft = rows("sft.jsonl");
    }
    free(prompts);
    free(answers);
    free(contrast);
    free(whole);
    free(out);
    return m;
}

static made run(const tn_align_pairs_config *c, const char *contrast_text)
{
    return run_with(c, contrast_text, NULL);
}

static void made_free(made *m)
{
    json_decref(m->pairs);
    json_decref(m->sft);
    json_decref(m->metrics);
}

static const char *text_of(const json_t *list, size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(list, i), key));
}

static tn_align_pairs_config defaults(void)
{
    tn_align_pairs_config c = { 0 };

    assert_int_equal(tn_options_default(&c, tn_align_pairs_options, NULL), TN_OK);
    return c;
}

static void sides_and_principles_are_as_the_page_says(void **state)
{
    tn_align_pairs_config c = defaults();
    made                  m = run(&c, NULL);

    (void)state;
    if (m.status != TN_OK) fail_msg("%s", m.err.msg);
    assert_int_equal(json_array_size(m.pairs), 3); /* d1 already declines: nothing to teach; h0 is held out */
    assert_string_equal(text_of(m.pairs, 0, "id"), "d0");
    assert_true(tn_looks_declining(text_of(m.pairs, 0, "chosen")));
    assert_non_null(strstr(text_of(m.pairs, 0, "rejected"), "prince"));
    assert_string_equal(text_of(m.pairs, 0, "principle"), "harm.fraud");
    assert_string_equal(text_of(m.pairs, 1, "id"), "l0");
    assert_non_null(strstr(text_of(m.pairs, 1, "chosen"), "lovely book"));
    assert_true(tn_looks_declining(text_of(m.pairs, 1, "rejected")));
    assert_true(json_is_true(json_object_get(json_array_get(m.pairs, 1), "open")));
    assert_string_equal(text_of(m.pairs, 1, "principle"), "help.look-alikes");
    assert_string_equal(text_of(m.pairs, 2, "principle"), "help.useful");
    made_free(&m);
}

static void pairs_that_decline_can_be_fewer(void **state)
{
    tn_align_pairs_config c = defaults();

    (void)state;
    c.decline_pairs = 0;
    made m = run(&c, NULL);
    assert_int_equal(m.status, TN_OK);
    assert_int_equal(json_array_size(m.pairs), 2);
    /* the others' pairs stay, and d0 stays among the SFT rows */
    assert_string_equal(text_of(m.pairs, 0, "id"), "l0");
    assert_string_equal(text_of(m.sft, 0, "id"), "d0");
    made_free(&m);
}

static void a_longer_answer_stands_in_its_row_uncut(void **state)
{
    tn_align_pairs_config c = defaults();
    static const char     longer[] =
        "A lovely book of plants that goes on and on for as long as anybody cares to read";

    (void)state;
    c.short_words = 2;
    c.full_share = 0;
    made m = run_with(&c, NULL,
                      "{\"id\":\"l0\",\"answer\":\"A lovely book of plants that goes on and on for as long "
                      "as anybody cares to read\",\"stop_reason\":\"length\"}\n"
                      "{\"id\":\"d0\",\"answer\":\"An answer to what is to be declined is never put "
                      "there.\",\"stop_reason\":\"eos\"}\n");
    assert_int_equal(m.status, TN_OK);
    size_t  i;
    json_t *row;
    bool    seen = false;
    json_array_foreach(m.sft, i, row) {
        const char *id = json_string_value(json_object_get(row, "id")), *said = NULL;
        said = json_string_value(
            json_object_get(json_array_get(json_object_get(row, "messages"), 1), "content"));
        if (strcmp(id, "l0") == 0) {
            assert_string_equal(said, longer);
            assert_true(json_is_true(json_object_get(row, "open")));
            seen = true;
        } else assert_true(tn_words(said) <= 2);
    }
    assert_true(seen);
    /* the pair keeps the answer that decides */
    assert_null(strstr(text_of(m.pairs, 1, "chosen"), "on and on"));
    made_free(&m);
}

static void a_sampled_declining_text_is_preferred_to_a_composed_one(void **state)
{
    tn_align_pairs_config c = defaults();
    made m = run(&c, "{\"id\":\"d0\",\"positive\":\"I cannot help with a scam, it would hurt "
                     "people.\",\"negative\":\"Dear victim, please send me all of your savings.\"}\n");

    (void)state;
    assert_int_equal(m.status, TN_OK);
    assert_string_equal(text_of(m.pairs, 0, "chosen"), "I cannot help with a scam, it would hurt people.");
    assert_non_null(strstr(text_of(m.pairs, 0, "rejected"), "savings"));
    made_free(&m);
}

static void a_degenerate_sample_is_not_used(void **state)
{
    tn_align_pairs_config c = defaults();
    made m = run(&c, "{\"id\":\"d0\",\"positive\":\"I can't. I can't. I can't. I can't. I can't. I can't. I "
                     "can't. I can't.\",\"negative\":\"ok\"}\n");

    (void)state;
    assert_int_equal(m.status, TN_OK);
    assert_null(strstr(text_of(m.pairs, 0, "chosen"), "I can't. I can't."));
    assert_non_null(strstr(text_of(m.pairs, 0, "rejected"), "prince"));
    made_free(&m);
}

static void too_few_helpful_rows_are_refused(void **state)
{
    tn_align_pairs_config c = defaults();

    (void)state;
    c.helpful_share = 0.9;
    made m = run(&c, NULL);
    assert_int_equal(m.status, TN_MISMATCH);
    assert_non_null(strstr(m.err.msg, "helpful_share"));
    made_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sides_and_principles_are_as_the_page_says),
        cmocka_unit_test(pairs_that_decline_can_be_fewer),
        cmocka_unit_test(a_longer_answer_stands_in_its_row_uncut),
        cmocka_unit_test(a_sampled_declining_text_is_preferred_to_a_composed_one),
        cmocka_unit_test(a_degenerate_sample_is_not_used),
        cmocka_unit_test(too_few_helpful_rows_are_refused),
    };

    if (mkdtemp(dir) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return tn_remove_tree(dir, NULL) == TN_OK ? failed : 1;
}
