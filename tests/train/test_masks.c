/* test_masks.c - which tokens of a conversation are trained, against TRL's own training templates (make_masks.py): the same ids, and the
 * same mask but for what TRL trains beside the answer and its stop token:
 *
 *   chatml      the newline before the answer, and the one after <|im_end|>
 *   gemma       the newline after <end_of_turn>
 *   deepseek3   the mark <|Assistant|> before the answer
 *
 * None of these is sampled by the model in use: they belong to the prompt, or come after the stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/str.h"
#include "model/model.h"

/* Is it one of the differences above: right before the answer (or its stop token, if the answer is empty), or right after the stop token? */
static bool explained(const char *format, const tn_tokenizer *t, const int32_t *ids, const uint8_t *mine, size_t n, size_t i)
{
    bool before = i + 1 < n && (mine[i + 1] || tn_tokenizer_is_stop(t, ids[i + 1])), after = i > 0 && mine[i - 1] && tn_tokenizer_is_stop(t, ids[i - 1]);
    if (strcmp(format, "chatml") == 0) return before || after;
    if (strcmp(format, "gemma") == 0) return after;
    if (strcmp(format, "deepseek3") == 0) return before;
    return false;
}

static void one(const json_t *row)
{
    const char *format = json_string_value(json_object_get(row, "format"));
    const json_t *list = json_object_get(row, "messages"), *want = json_object_get(row, "ids"), *trained = json_object_get(row, "mask"), *e;
    char *folder = tn_strf("tests/golden/train/masks/%s", format), *text = NULL;
    tn_tokenizer *t;
    tn_chat chat = {0};
    tn_message m[8];
    size_t n_message = 0, i, n = 0, cap = 0, len;
    int32_t *ids = NULL;
    uint8_t *mask = NULL;
    tn_error err = {0};

    if (tn_model_open_tokenizer(&t, folder, &err) != TN_OK) fail_msg("%s: %s", format, err.msg);
    assert_true(tn_chat_format_parse(format, &chat.format));
    json_array_foreach(list, i, e)
        m[n_message++] = (tn_message){ json_string_value(json_object_get(e, "role")), json_string_value(json_object_get(e, "content")) };
    if (tn_chat_render(t, &chat, m, n_message, false, &ids, &mask, &n, &cap, &err) != TN_OK) fail_msg("%s: %s", format, err.msg);
    assert_int_equal(tn_detokenize(t, ids, n, true, &text, &len, &err), TN_OK);
    if (n != json_array_size(want)) fail_msg("%s: %zu tokens, TRL has %zu: %s", format, n, json_array_size(want), text);
    for (i = 0; i < n; i++) {
        if (json_integer_value(json_array_get(want, i)) != ids[i]) fail_msg("%s: token %zu differs: %s", format, i, text);
        bool theirs = json_integer_value(json_array_get(trained, i)) != 0;
        if (theirs == (mask[i] != 0)) continue;
        if (!theirs || !explained(format, t, ids, mask, n, i)) fail_msg("%s: token %zu of '%s' is trained %s", format, i, text, theirs ? "by TRL only" : "here only");
    }
    tn_tokenizer_destroy(t);
    free(folder);
    free(text);
    free(ids);
    free(mask);
}

static void masks_are_those_of_trl(void **state)
{
    json_t *rows;
    const json_t *row;
    size_t i;
    (void)state;
    assert_int_equal(tn_json_load(&rows, "tests/golden/train/masks/masks.json", 1 << 20, NULL), TN_OK);
    assert_true(json_array_size(rows) >= 18);
    json_array_foreach(rows, i, row) one(row);
    json_decref(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(masks_are_those_of_trl) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
