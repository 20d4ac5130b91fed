/* test_replay.c - what a replay of training needs: an input that is not at hand makes it unchecked, never
 * wrong; and the model written again. */
#include "base/file.h"
#include "base/str.h"
#include "model/model.h"
#include "recipe/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* As a verifier who lacks the inputs whose ports end in `arg`. */
static const char *find(void *arg, const char *port)
{
    if (strcmp(port, "data") == 0) return NULL; /* several files: their ports are data.0, data.1 */
    return tn_ends_with(port, arg) ? NULL : "/dev/null";
}

static void one_of_several_data_files_that_is_missing_leaves_it_unchecked(void **state)
{
    static const char *const lacking[] = { ".0", ".1" };
    char                     dir[] = "/tmp/tenet-replay-XXXXXX", *config, *run;
    json_t *stage = json_pack("{s:{s:s, s:s, s:s}, s:{}}", "inputs", "model", "sha256:00", "data.0",
                              "sha256:01", "data.1", "sha256:02", "params");

    (void)state;
    assert_non_null(mkdtemp(dir));
    config = tn_path(dir, "config.json");
    run = tn_path(dir, "run.json");
    assert_int_equal(tn_file_write_all(config, "{\"data\":[\"data\"]}", 17, NULL), TN_OK);
    assert_int_equal(tn_file_write_all(run, "{\"profile\":\"strict\"}", 20, NULL), TN_OK);
    for (size_t i = 0; i < sizeof lacking / sizeof lacking[0]; i++) {
        tn_replay_request q = { .run_dir = dir,
                                .stage = stage,
                                .from = 1,
                                .n = 1,
                                .find = find,
                                .arg = (void *)(uintptr_t)lacking[i] };
        tn_error          err = { .msg = "" };
        if (tn_replay_training(&q, &err) != TN_UNCHECKED) fail_msg("without data%s: %s", lacking[i], err.msg);
        assert_non_null(q.missing);
        assert_string_equal(q.missing, "data");
        assert_non_null(strstr(err.msg, "neither in the release nor in the store"));
    }
    tn_remove_tree(dir, NULL);
    json_decref(stage);
    free(config);
    free(run);
}

static const char *find_model(void *arg, const char *port) { return strcmp(port, "model") == 0 ? arg : NULL; }

/* Whoever holds the key can write another model than the one that training made, with papers that agree: the
 * stage run again tells. */
static void a_model_that_its_stage_does_not_make_is_found(void **state)
{
    const tn_model_options o = { .weights = true, .nameless = true };
    char      dir[] = "/tmp/tenet-export-XXXXXX", *base = tn_strdup("tests/golden/recipe/model"), *path;
    json_t   *row = json_pack("{s:s, s:s, s:{s:s, s:s, s:n}, s:{s:s}}", "kind", "export", "profile", "strict",
                              "params", "type", "q8_0", "form", "gguf", "chat_format", "inputs", "model",
                              "sha256:00");
    verifier  v = { .dir = dir,
                    .manifest = json_pack("{s:{s:s, s:[{s:s, s:s}]}}", "model", "form", "file", "files",
                                          "name", "model.gguf", "as", "model.gguf") };
    tn_model *m = NULL;
    tn_error  err = { .msg = "" };

    (void)state;
    assert_non_null(mkdtemp(dir));
    path = tn_path(dir, "model.gguf");
    assert_int_equal(tn_model_open(&m, base, &o, NULL), TN_OK);
    assert_int_equal(tn_model_write(m, path, TN_Q8_0, false, NULL, NULL), TN_OK);
    tn_model_close(m);
    if (recipe_replay_export(&v, row, "/model.gguf", find_model, base, &err) != TN_OK)
        fail_msg("%s", err.msg);

    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -1, SEEK_END);
    int last = fgetc(f);
    fseek(f, -1, SEEK_END);
    fputc(last ^ 1, f);
    fclose(f);
    assert_int_equal(recipe_replay_export(&v, row, "/model.gguf", find_model, base, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "model.gguf: byte "));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(recipe_replay_export(&v, row, "/model.gguf", find_model, base, &err), TN_VERIFY);

    json_object_set_new(json_object_get(row, "inputs"), "adapter", json_string("sha256:01"));
    assert_int_equal(recipe_replay_export(&v, row, "/model.gguf", find_model, base, &err), TN_UNCHECKED);
    assert_non_null(strstr(err.msg, "'adapter' of the stage"));
    tn_remove_tree(dir, NULL);
    json_decref(row);
    json_decref(v.manifest);
    free(path);
    free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(
                                            one_of_several_data_files_that_is_missing_leaves_it_unchecked),
                                        cmocka_unit_test(a_model_that_its_stage_does_not_make_is_found) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
