/* test_replay.c - what a replay of training needs: an input that is not at hand makes it unchecked, never wrong. */
#include "base/file.h"
#include "base/str.h"
#include "recipe/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* As a verifier who lacks the inputs whose ports end in `arg`. */
static const char *find(void *arg, const char *port)
{
    if (strcmp(port, "data") == 0) return NULL;              /* several files: their ports are data.0, data.1 */
    return tn_ends_with(port, arg) ? NULL : "/dev/null";
}

static void one_of_several_data_files_that_is_missing_leaves_it_unchecked(void **state)
{
    static const char *const lacking[] = { ".0", ".1" };
    char    dir[] = "/tmp/tenet-replay-XXXXXX", *config, *run;
    json_t *stage = json_pack("{s:{s:s, s:s, s:s}, s:{}}", "inputs", "model", "sha256:00", "data.0", "sha256:01", "data.1", "sha256:02", "params");

    (void)state;
    assert_non_null(mkdtemp(dir));
    config = tn_path(dir, "config.json");
    run = tn_path(dir, "run.json");
    assert_int_equal(tn_file_write_all(config, "{\"data\":[\"data\"]}", 17, NULL), TN_OK);
    assert_int_equal(tn_file_write_all(run, "{\"profile\":\"strict\"}", 20, NULL), TN_OK);
    for (size_t i = 0; i < sizeof lacking / sizeof lacking[0]; i++) {
        tn_replay_request q = { .run_dir = dir, .stage = stage, .from = 1, .n = 1, .find = find, .arg = (void *)(uintptr_t)lacking[i] };
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

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(one_of_several_data_files_that_is_missing_leaves_it_unchecked) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
