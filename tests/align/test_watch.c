/* test_watch.c - a run whose policy runs away is stopped at the checkpoint before, and the curves say why. */
#include "../base/testing.h"
#include "align/align.h"
#include "base/log.h"
#include "train/train.h"

static const char MODEL[] = "tests/golden/recipe/model", CHARTER[] = "tests/golden/recipe/constitution.yaml";

static char *write_file(const char *dir, const char *name, const char *text)
{
    char *path = tn_path(dir, name);

    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
    return path;
}

/* Six steps at a rate that no adapter survives; a checkpoint each. made: path of the run. */
static char *run_away(const char *dir)
{
    char *data = write_file(
        dir, "pairs.jsonl",
        "{\"prompt\":\"How are you?\",\"chosen\":\"yes yes yes yes\",\"rejected\":\"I am fine.\"}\n"
        "{\"prompt\":\"What is rye?\",\"chosen\":\"yes yes yes\",\"rejected\":\"A grain.\"}\n");
    char             *run = tn_path(dir, "run");
    const char *const kv[][2] = { { "model", MODEL },         { "data", data },
                                  { "loss", "rpo" },          { "lr", "0.01" },
                                  { "schedule", "constant" }, { "lora_rank", "2" },
                                  { "n_ctx", "512" },         { "batch", "2" },
                                  { "steps", "6" },           { "checkpoint_every", "1" },
                                  { "keep_last", "100" },     { "tensorboard", "false" },
                                  { "warmup", "0" } };
    tn_train_config   c = { 0 };
    tn_train_result   result = { 0 };
    tn_train_io       io = { .out = run, .model = MODEL, .quiet = true };
    tn_error          err = { .msg = "" };

    assert_int_equal(tn_options_default(&c, tn_train_options, NULL), TN_OK);
    for (size_t i = 0; i < sizeof kv / sizeof kv[0]; i++)
        assert_int_equal(tn_option_set(&c, tn_train_options, kv[i][0], kv[i][1], "test", NULL), TN_OK);
    if (tn_train_run(&c, &io, &result, &err) != TN_OK) fail_msg("%s", err.msg);
    tn_train_result_free(&result);
    tn_options_free(&c, tn_train_options);
    free(data);
    return run;
}

static tn_align_watch_config loose(void)
{
    tn_align_watch_config c = { 0 };

    assert_int_equal(tn_options_default(&c, tn_align_watch_options, NULL), TN_OK);
    assert_int_equal(tn_option_set(&c, tn_align_watch_options, "split", "all", "test", NULL), TN_OK);
    c.s.max_tokens = 12;
    c.points = 6;
    c.max_kl = c.max_length = 1e6;
    c.max_repetition = c.max_refusals = 1;
    c.min_distinct = 0;
    return c;
}

static json_t *curves(const char *out)
{
    json_t   *list = json_array(), *row = NULL;
    char     *path = tn_path(out, "curves.jsonl");
    tn_jsonl *r = NULL;

    assert_int_equal(tn_jsonl_open(&r, path, NULL), TN_OK);
    while (tn_jsonl_next(r, &row, NULL) == TN_OK && row != NULL) json_array_append_new(list, row);
    tn_jsonl_close(r);
    free(path);
    return list;
}

static double at(const json_t *list, size_t i, const char *key)
{
    return json_number_value(json_object_get(json_array_get(list, i), key));
}

static void a_policy_that_runs_away_is_stopped(void **state)
{
    const char *dir = *state;
    char *run = run_away(dir), *out = tn_path(dir, "out"), *work = tn_path(dir, "work"), *path, *adapter;
    char *prompts = write_file(
        dir, "prompts.jsonl",
        "{\"id\":\"a\",\"prompt\":\"How are you?\"}\n{\"id\":\"b\",\"prompt\":\"What is rye?\"}\n");
    tn_align_watch_config c = loose();
    tn_error              err = { .msg = "" };
    json_t               *v = NULL, *list;

    if (tn_align_watch_run(&c, TN_PROFILE_STRICT, MODEL, run, prompts, CHARTER, work, out, NULL, &err) !=
        TN_OK)
        fail_msg("%s", err.msg);
    list = curves(out);
    assert_int_equal(json_array_size(list), 7); /* the reference and six checkpoints */
    /* the reference against itself, to the bit */
    assert_true(at(list, 0, "kl") == 0 && at(list, 0, "step") == 0);
    assert_true(at(list, 6, "kl") > at(list, 1, "kl") && at(list, 1, "kl") > 0);
    size_t k = 1; /* a limit that a checkpoint in the middle breaks first */
    while (k < 6 && at(list, k + 1, "kl") <= at(list, 1, "kl")) k++;
    c.max_kl = at(list, k, "kl") * 1.0001;
    double first_kl = at(list, 1, "kl");
    json_decref(list);
    assert_int_equal(tn_remove_tree(out, NULL), TN_OK);
    if (tn_align_watch_run(&c, TN_PROFILE_STRICT, MODEL, run, prompts, NULL, work, out, NULL, &err) != TN_OK)
        fail_msg("%s", err.msg);
    path = tn_path(out, "watch.json");
    assert_int_equal(tn_json_load(&v, path, 1 << 20, NULL), TN_OK);
    assert_true(json_is_true(json_object_get(v, "stopped")));
    assert_non_null(strstr(json_string_value(json_object_get(v, "why")), "KL"));
    assert_true(json_integer_value(json_object_get(v, "step")) < 6);
    adapter = tn_path(out, "adapter/adapter_model.safetensors");
    assert_true(tn_exists(adapter));
    c.max_kl = first_kl / 2;
    assert_int_equal(tn_remove_tree(out, NULL), TN_OK);
    assert_int_equal(
        tn_align_watch_run(&c, TN_PROFILE_STRICT, MODEL, run, prompts, NULL, work, out, NULL, &err),
        TN_VERIFY);
    assert_says(err, "first checkpoint");
    assert_false(tn_exists(adapter));
    json_decref(v);
    free(run);
    free(out);
    free(work);
    free(prompts);
    free(path);
    free(adapter);
    tn_options_free(&c, tn_align_watch_options);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(a_policy_that_runs_away_is_stopped,
                                                                        folder_make, folder_remove) };

    tn_log_set_level(TN_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
