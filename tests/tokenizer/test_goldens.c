/* test_goldens.c - ids, pieces and conversations equal to those of Hugging Face tokenizers and
 * sentencepiece. */
#include "base/str.h"
#include "tokenizer/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"

typedef struct named {
    char          name[32];
    tn_tokenizer *t;
} named;

static tn_tokenizer *tokenizer_of(named *list, const char *name)
{
    int i = 0;

    for (; list[i].t != NULL; i++)
        if (strcmp(list[i].name, name) == 0) return list[i].t;
    snprintf(list[i].name, sizeof list[i].name, "%.31s", name);
    list[i].t = golden_tokenizer(name);
    assert_non_null(list[i].t);
    return list[i].t;
}

static int differs(const char *what, int at, const int32_t *ids, size_t n, const json_t *want)
{
    bool   same = n == json_array_size(want);
    size_t i = 0;

    for (; i < n && i < json_array_size(want) && ids[i] == json_integer_value(json_array_get(want, i));) i++;
    same = same && i == n;
    if (!same)
        fprintf(stderr, "%s:%d: %zu ids, expected %zu; first difference at %zu: %d, expected %lld\n", what,
                at, n, json_array_size(want), i, i < n ? ids[i] : -1,
                i < json_array_size(want) ? (long long)json_integer_value(json_array_get(want, i)) : -1);
    return !same;
}

static void ids_equal_the_other_implementations_and_text_comes_back(void **state)
{
    case_file c;
    tok_case *row = malloc(sizeof *row);
    named     list[8] = { 0 };
    int       n_case = 0, bad = 0;
    int32_t  *ids = NULL;
    size_t    n, cap = 0, n_text;
    char     *text;

    (void)state;
    assert_true(case_open(&c, "encode.case"));
    while (case_next(&c, row)) {
        tn_tokenizer *t = tokenizer_of(list, row->line[0]);
        json_t       *in = case_json(row->line[1]), *want = case_json(row->line[2]);
        tn_error      err = { 0 };

        n = 0;
        assert_int_equal(
            tn_tokenize(t, json_string_value(in), json_string_length(in), 0, &ids, &n, &cap, &err), TN_OK);
        bad += differs("encode.case", row->at, ids, n, want);
        assert_int_equal(tn_detokenize(t, ids, n, true, &text, &n_text, &err), TN_OK);
        if (strcmp(row->line[0], "bpe") == 0 && strstr(json_string_value(in), " mask") == NULL) {
            /* byte-level: nothing is lost (but what lstrip takes) */
            assert_int_equal(n_text, json_string_length(in));
            assert_memory_equal(text, json_string_value(in), n_text);
        }
        free(text);
        json_decref(in);
        json_decref(want);
        n_case++;
    }
    case_close(&c);
    for (int i = 0; list[i].t != NULL; i++) tn_tokenizer_destroy(list[i].t);
    free(ids);
    free(row);
    assert_int_equal(bad, 0);
    assert_true(n_case > 500);
}

typedef struct pieces {
    const json_t *want;
    size_t        at;
    int           bad;
} pieces;

static tn_status check_piece(void *arg, const uint8_t *s, size_t n, tn_error *err)
{
    pieces       *p = arg;
    const json_t *want = json_array_get(p->want, p->at++);

    (void)err;
    p->bad |= want == NULL || json_string_length(want) != n || memcmp(json_string_value(want), s, n) != 0;
    return TN_OK;
}

static void pieces_equal_the_regular_expressions(void **state)
{
    case_file c;
    tok_case *row = malloc(sizeof *row);
    int       n_case = 0, bad = 0;

    (void)state;
    assert_true(case_open(&c, "split.case"));
    while (case_next(&c, row)) {
        const tn_pre *pre = tn_pre_find(row->line[0]);
        tn_split      split = { 0 };
        json_t       *in = case_json(row->line[1]), *want = case_json(row->line[2]);
        pieces        p = { want, 0, 0 };

        assert_non_null(pre);
        for (int i = 0; i < TN_MAX_PASS && pre->pass[i] != NULL; i++)
            split.pass[split.n_pass++] = (tn_pass){ .find = pre->pass[i] };
        assert_int_equal(tn_split_text(&split, (const uint8_t *)json_string_value(in), json_string_length(in),
                                       true, check_piece, &p, NULL),
                         TN_OK);
        if (p.bad != 0 || p.at != json_array_size(want)) {
            fprintf(stderr, "split.case:%d: %s %s\n", row->at, row->line[0], row->line[1]);
            bad++;
        }
        json_decref(in);
        json_decref(want);
        n_case++;
    }
    case_close(&c);
    free(row);
    assert_int_equal(bad, 0);
    assert_true(n_case > 800);
}

static size_t read_messages(const json_t *list, tn_message *m)
{
    const json_t *row;
    size_t        i;

    json_array_foreach(list, i, row)
        m[i] = (tn_message){ json_string_value(json_object_get(row, "role")),
                             json_string_value(json_object_get(row, "content")) };
    return json_array_size(list);
}

static void conversations_render_as_the_published_templates_do(void **state)
{
    case_file     c;
    tok_case     *row = malloc(sizeof *row);
    tn_tokenizer *t = golden_tokenizer("bpe");
    int           n_case = 0, bad = 0;

    (void)state;
    assert_non_null(t);
    assert_true(case_open(&c, "chat.case"));
    while (case_next(&c, row)) {
        json_t    *in = case_json(row->line[1]), *want = case_json(row->line[3]);
        tn_chat    chat = { 0 };
        tn_message m[16];
        tn_error   err = { 0 };
        int32_t   *ids = NULL;
        uint8_t   *mask = NULL;
        size_t     n = 0, cap = 0;

        assert_true(tn_chat_format_parse(row->line[0], &chat.format));
        assert_string_equal(tn_chat_format_name(chat.format), row->line[0]);
        assert_int_equal(tn_chat_render(t, &chat, m, read_messages(in, m), true, &ids, &mask, &n, &cap, &err),
                         TN_OK);
        bad += differs("chat.case", row->at, ids, n, want);
        free(ids);
        free(mask);
        json_decref(in);
        json_decref(want);
        n_case++;
    }
    case_close(&c);
    tn_tokenizer_destroy(t);
    free(row);
    assert_int_equal(bad, 0);
    assert_int_equal(n_case, 44);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_the_other_implementations_and_text_comes_back),
        cmocka_unit_test(pieces_equal_the_regular_expressions),
        cmocka_unit_test(conversations_render_as_the_published_templates_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
