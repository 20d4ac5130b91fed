/* test_why.c - what stands behind an answer: principles by the similarity of their records, critiques where
 * there were some. */
#include "../base/testing.h"
#include "align/align.h"

static json_t *parse(const char *text)
{
    json_t *v = NULL;

    assert_int_equal(tn_json_parse(&v, text, strlen(text), "test", NULL), TN_OK);
    return v;
}

static void principles_count_by_the_similarity_of_their_records(void **state)
{
    json_t *near = parse("[{\"id\":\"1\",\"principle\":\"a\",\"similarity\":0.3},{\"id\":\"2\",\"principle\":"
                         "\"b\",\"similarity\":0.5},"
                         "{\"id\":\"3\",\"principle\":\"a\",\"similarity\":0.4},{\"id\":\"4\",\"principle\":"
                         "\"c\",\"similarity\":-0.2}]");
    json_t *out = NULL, *first;

    (void)state;
    assert_int_equal(tn_align_involved(&out, near, NULL), TN_OK);
    assert_int_equal(json_array_size(out), 2);
    first = json_array_get(out, 0);
    assert_string_equal(json_string_value(json_object_get(first, "principle")), "a");
    assert_true(json_number_value(json_object_get(first, "share")) > 0.58 &&
                json_number_value(json_object_get(first, "share")) < 0.59);
    assert_int_equal(json_integer_value(json_object_get(first, "records")), 2);
    json_decref(out);
    json_decref(near);
}

static void critiques_come_from_the_chain_whose_revision_was_chosen(void **state)
{
    json_t *near = parse("[{\"id\":\"1\",\"chosen\":\"better\",\"principle\":\"a\"},{\"id\":\"2\",\"chosen\":"
                         "\"composed\",\"principle\":\"a\"}]");
    char   *path = tn_path(*state, "revisions.jsonl");
    const char *rows = "{\"id\":\"1\",\"revision\":\"better\",\"rounds\":[{\"critique\":\"first\"},{"
                       "\"critique\":\"last\",\"critique_request\":\"say what is wrong\"}]}\n"
                       "{\"id\":\"2\",\"revision\":\"not chosen\",\"rounds\":[{\"critique\":\"x\"}]}\n";

    assert_int_equal(tn_file_write_all(path, rows, strlen(rows), NULL), TN_OK);
    assert_int_equal(tn_align_add_critiques(near, path, NULL), TN_OK);
    assert_string_equal(json_string_value(json_object_get(json_array_get(near, 0), "critique")), "last");
    assert_string_equal(json_string_value(json_object_get(json_array_get(near, 0), "critique_request")),
                        "say what is wrong");
    assert_null(json_object_get(json_array_get(near, 1), "critique"));
    json_decref(near);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(principles_count_by_the_similarity_of_their_records),
        cmocka_unit_test_setup_teardown(critiques_come_from_the_chain_whose_revision_was_chosen, folder_make,
                                        folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
