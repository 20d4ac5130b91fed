/* test_golden.c - scores, log-probabilities and replies equal to the public harness's (0.4.13, its hf model,
 * fp32) on a tiny random model: every kind of task, drawn shots, chat formats. The expected values and rows
 * are made by tests/oracle/make_eval.py. */
#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"

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
#define TINY "tests/golden/eval/tiny"

static char      dir[] = "/tmp/tenet-golden-XXXXXX";
static tn_model *model;
static json_t   *golden;

static int open_all(void **state)
{
    tn_model_options o = { .profile = TN_PROFILE_STRICT, .weights = true, .pack = true };

    (void)state;
    assert_ok(tn_model_open(&model, TINY, &o, err));
    assert_ok(tn_json_load(&golden, TINY "/golden.json", 1 << 24, err));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    tn_model_close(model);
    json_decref(golden);
    return 0;
}

static bool close_to(double a, double b, double relative)
{
    return fabs(a - b) <= relative * fmax(1, fabs(b));
}

static void rows_agree(const char *name, const json_t *rows, const char *out)
{
    char     *path = tn_path(out, "items.jsonl");
    tn_jsonl *r = NULL;
    json_t   *line = NULL, *row;
    size_t    i;

    assert_ok(tn_jsonl_open(&r, path, err));
    assert_ok(tn_jsonl_next(r, &line, err));
    json_array_foreach((json_t *)rows, i, row) {
        json_decref(line);
        assert_ok(tn_jsonl_next(r, &line, err));
        const json_t *item = json_object_get(line, "item"), *ll = json_object_get(item, "ll"),
                     *replies = json_object_get(item, "replies");
        if (json_is_string(json_array_get(row, 0))) {
            if (!json_equal((json_t *)replies, row))
                fail_msg("%s, row %zu: \"%s\", not \"%s\"", name, i,
                         json_string_value(json_array_get(replies, 0)),
                         json_string_value(json_array_get(row, 0)));
            continue;
        }
        bool   rolling = json_object_get(item, "words") != NULL;
        double sum = 0;
        for (size_t k = 0; k < json_array_size(ll); k++) sum += json_number_value(json_array_get(ll, k));
        assert_int_equal(json_array_size(row), rolling ? 1 : json_array_size(ll));
        for (size_t k = 0; k < json_array_size(row); k++) {
            double mine = rolling ? sum : json_number_value(json_array_get(ll, k)),
                   want = json_number_value(json_array_get(row, k));
            if (!close_to(mine, want, 1e-5))
                fail_msg("%s, row %zu, choice %zu: %.9g, not %.9g", name, i, k, mine, want);
        }
    }
    json_decref(line);
    tn_jsonl_close(r);
    free(path);
}

static void case_agrees(const char *name, const json_t *c)
{
    const char     *task = json_string_value(json_object_get(c, "task")), *key;
    const char     *tasks[] = { task };
    char           *out = tn_path(dir, name);
    json_t         *report = NULL, *v;
    bool            chat = json_is_true(json_object_get(c, "chat"));
    tn_eval_options o = { .task_dir = "tasks",
                          .data = TINY "/rows",
                          .out_dir = out,
                          .n_shot = -1,
                          .shot_seed = 1234,
                          .n_batch = 8,
                          .kv_type = TN_F32,
                          .chat = chat ? TN_EVAL_CHAT_ON : TN_EVAL_CHAT_OFF,
                          .one_turn = chat && !json_is_true(json_object_get(c, "multiturn")),
                          .system = json_string_value(json_object_get(c, "system")),
                          .limit = (int64_t)json_integer_value(json_object_get(c, "n")) };

    if (json_is_integer(json_object_get(c, "num_fewshot")))
        o.n_shot = (int64_t)json_integer_value(json_object_get(c, "num_fewshot"));
    /* its pattern takes any rows */
    if (strcmp(task, "rolling_text") == 0) o.data = TINY "/rows/rolling_text_test.jsonl";
    assert_ok(tn_eval_run(&report, model, tasks, 1, &o, err));
    const json_t *scores = json_object_get(json_object_get(report, "tasks"), task);
    json_object_foreach(json_object_get(c, "scores"), key, v) {
        const json_t *mine = json_object_get(scores, key);
        bool          share = json_number_value(v) <= 1;
        if (!json_is_number(mine)) fail_msg("%s: no %s", name, key);
        if (share ? fabs(json_number_value(mine) - json_number_value(v)) > 5e-5
                  : !close_to(json_number_value(mine), json_number_value(v), 1e-4))
            fail_msg("%s %s: %.9g, not %.9g", name, key, json_number_value(mine), json_number_value(v));
    }
    rows_agree(name, json_object_get(c, "rows"), out);
    json_decref(report);
    free(out);
}

static void every_case_of_the_golden_agrees(void **state)
{
    const char *name;
    json_t     *c;

    (void)state;
    assert_true(json_object_size(json_object_get(golden, "cases")) >= 25);
    json_object_foreach(json_object_get(golden, "cases"), name, c) case_agrees(name, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_case_of_the_golden_agrees) };

    if (mkdtemp(dir) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, open_all, close_all);
    return tn_remove_tree(dir, NULL) == TN_OK ? failed : 1;
}
