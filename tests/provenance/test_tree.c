/* test_tree.c - directories as digests: what counts and what does not, and many at once, whatever the number
 * of threads. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tenet-tree-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

static char *at(const char *name)
{
    static char path[8][200];
    static int  turn;
    char       *p = path[turn++ % 8];

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

/* Name and content, in directories that are made on the way. */
static void put(const char *name, const char *text)
{
    char *path = at(name), *slash = strrchr(path, '/');

    *slash = '\0';
    assert_int_equal(tn_mkdirs(path, NULL), TN_OK);
    *slash = '/';
    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
}

static tn_digest digest(const char *name)
{
    tn_digest d;
    tn_error  err;

    if (tn_tree_digest(at(name), &d, NULL, &err) != TN_OK) fail_msg("%s", err.msg);
    return d;
}

static void names_bytes_and_the_execute_bit_count_and_nothing_else(void **state)
{
    (void)state;
    put("a/one.txt", "1");
    put("a/b/two.txt", "2");
    put("c/one.txt", "1");
    put("c/b/two.txt", "2");
    tn_digest a = digest("a"), c = digest("c");
    assert_true(tn_digest_equal(&a, &c));
    assert_int_equal(chmod(at("c/one.txt"), 0600), 0);
    assert_int_equal(mkdir(at("c/empty"), 0755), 0);
    c = digest("c");
    assert_true(tn_digest_equal(&a, &c));
    assert_int_equal(chmod(at("c/one.txt"), 0700), 0);
    c = digest("c");
    assert_false(tn_digest_equal(&a, &c));
    assert_int_equal(chmod(at("c/one.txt"), 0600), 0);
    assert_int_equal(rename(at("c/one.txt"), at("c/uno.txt")), 0);
    c = digest("c");
    assert_false(tn_digest_equal(&a, &c));
}

static void a_link_is_refused_and_named(void **state)
{
    tn_digest d;
    tn_error  err = { .msg = "" };

    (void)state;
    put("a/one.txt", "1");
    assert_int_equal(symlink("one.txt", at("a/link")), 0);
    assert_int_equal(tn_tree_digest(at("a"), &d, NULL, &err), TN_FORMAT);
    assert_non_null(strstr(err.msg, "a/link"));
    assert_int_equal(tn_tree_digest(at("a/link"), &d, NULL, &err), TN_FORMAT);
    assert_int_equal(tn_tree_digest(at("nothing"), &d, NULL, &err), TN_NOTFOUND);
}

/* Folders, files, something that is missing and something unfit, side by side: each job as if it were
 * alone. */
static void many_at_once_are_as_each_alone_for_any_number_of_threads(void **state)
{
    enum { N = 40 };
    char        name[64];
    tn_tree_job jobs[N];

    (void)state;
    for (int i = 0; i < N; i++)
        for (int k = 0; k <= i % 5; k++) {
            if (i % 5 == 0) snprintf(name, sizeof name, "x%d", i);
            else snprintf(name, sizeof name, "x%d/%d/f%d", i, k % 2, k);
            put(name, name);
        }
    unlink(at("x10"));
    assert_int_equal(symlink("f0", at("x13/0/link")), 0);
    for (int t = 1; t < 6; t++) {
        assert_int_equal(tn_threads_set(t, NULL), TN_OK);
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "x%d", i);
            jobs[i] = (tn_tree_job){ .path = strdup(at(name)) };
        }
        assert_int_equal(tn_tree_digests(jobs, N, NULL), TN_OK);
        for (int i = 0; i < N; i++) {
            tn_digest want;
            uint64_t  bytes = 0;
            tn_error  err = { .msg = "" };
            assert_int_equal(jobs[i].status, tn_tree_digest(jobs[i].path, &want, &bytes, &err));
            assert_int_equal(jobs[i].status, i == 10 ? TN_NOTFOUND : i == 13 ? TN_FORMAT : TN_OK);
            if (jobs[i].status != TN_OK) {
                assert_string_equal(jobs[i].why, err.msg);
                continue;
            }
            assert_true(tn_digest_equal(&jobs[i].root, &want));
            assert_int_equal(jobs[i].bytes, bytes);
        }
        tn_tree_jobs_free(jobs, N);
        for (int i = 0; i < N; i++) free((char *)jobs[i].path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_bytes_and_the_execute_bit_count_and_nothing_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_link_is_refused_and_named, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once_are_as_each_alone_for_any_number_of_threads, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
