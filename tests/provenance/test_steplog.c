/* test_steplog.c - the chain of training steps: written, resumed, torn and altered. */
#include "provenance/provenance.h"

#include "base/file.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_STEP = 12 };
static char      dir[] = "/tmp/tenet-steplog-XXXXXX", path[64];
static tn_digest genesis;

static tn_step_record record(uint64_t k)
{
    tn_step_record r = {
        .step = k, .loss = 3.0f / (float)k, .grad_norm = k == 4 ? NAN : 0.1f * (float)k, .lr = 1e-4f
    };

    r.batch = tn_sha256_of(&k, sizeof k);
    r.has_state = k % 4 == 0;
    if (r.has_state) r.state = tn_sha256_of("state", 5);
    if (k == 5) memcpy(r.note, "skip", 5);
    return r;
}

static void write_log(uint64_t from, uint64_t to)
{
    tn_steplog *l = NULL;

    assert_int_equal(tn_steplog_open(&l, path, &genesis, from - 1, NULL), TN_OK);
    for (uint64_t k = from; k <= to; k++) {
        tn_step_record r = record(k);
        assert_int_equal(tn_steplog_append(l, &r, NULL), TN_OK);
    }
    assert_int_equal(tn_steplog_close(l, NULL), TN_OK);
}

static void a_resumed_log_is_the_undisturbed_log(void **state)
{
    char  *whole = NULL, *resumed = NULL;
    size_t n, m;

    (void)state;
    write_log(1, N_STEP);
    assert_int_equal(tn_file_read_all(&whole, &n, path, 1 << 20, NULL), TN_OK);
    write_log(9, 10); /* back to step 8, two steps, then torn in the next */
    FILE *f = fopen(path, "ab");
    fputs("{\"batch\":\"00", f);
    fclose(f);
    write_log(11, N_STEP);
    assert_int_equal(tn_file_read_all(&resumed, &m, path, 1 << 20, NULL), TN_OK);
    assert_int_equal(n, m);
    assert_memory_equal(whole, resumed, n);
    free(whole);
    free(resumed);
}

static void what_was_written_is_read_and_the_root_holds_it(void **state)
{
    tn_step_record *r = NULL;
    size_t          n = 0;
    tn_digest       root, other, g;

    (void)state;
    unlink(path);
    write_log(1, N_STEP);
    assert_int_equal(tn_steplog_read(path, &genesis, &r, &n, &root, NULL), TN_OK);
    assert_int_equal(n, N_STEP);
    assert_true(r[2].loss == 1.0f && isnan(r[3].grad_norm) && r[3].has_state && !r[4].has_state);
    assert_string_equal(r[4].note, "skip");
    free(r);
    assert_int_equal(tn_steplog_genesis(path, &g, NULL), TN_OK);
    assert_true(tn_digest_equal(&g, &genesis));
    unlink(path);
    write_log(1, N_STEP - 1);
    assert_int_equal(tn_steplog_read(path, NULL, NULL, NULL, &other, NULL), TN_OK);
    assert_false(tn_digest_equal(&root, &other));
}

static void every_flipped_bit_is_found(void **state)
{
    char     *text = NULL;
    size_t    n = 0;
    tn_digest root;

    (void)state;
    unlink(path);
    write_log(1, 3);
    assert_int_equal(tn_file_read_all(&text, &n, path, 1 << 20, NULL), TN_OK);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ (1 << bit));
            FILE *f = fopen(path, "wb");
            fwrite(text, 1, n, f);
            fclose(f);
            if (tn_steplog_read(path, &genesis, NULL, NULL, &root, NULL) == TN_OK)
                fail_msg("bit %d of byte %zu", bit, i);
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    free(text);
}

static void the_altered_step_is_named(void **state)
{
    char     *text = NULL, *p;
    size_t    n = 0;
    tn_error  err;
    tn_digest root;

    (void)state;
    unlink(path);
    write_log(1, N_STEP);
    assert_int_equal(tn_file_read_all(&text, &n, path, 1 << 20, NULL), TN_OK);
    p = strstr(text, "\"step\":7}") - 100;
    while (*p != '\n') p--;
    p[12] = p[12] == '0' ? '1' : '0'; /* a digit of the batch digest */
    assert_int_equal(tn_file_write_all(path, text, n, NULL), TN_OK);
    free(text);
    assert_int_equal(tn_steplog_read(path, &genesis, NULL, NULL, &root, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "step 7 "));
    genesis.b[0] ^= 1;
    assert_int_equal(tn_steplog_read(path, &genesis, NULL, NULL, &root, &err), TN_MISMATCH);
    genesis.b[0] ^= 1;
}

static void only_what_is_needed_is_read(void **state)
{
    tn_step_record *r = NULL;
    size_t          n = 0;
    tn_error        err;

    (void)state;
    unlink(path);
    assert_int_equal(tn_steplog_read_to(path, &genesis, 3, &r, &n, NULL), TN_OK);
    assert_int_equal(n, 0); /* there is none */
    write_log(1, 6);
    FILE *f = fopen(path, "ab");
    fputs("{\"batch\":\"00", f); /* torn behind step 6 */
    fclose(f);
    assert_int_equal(tn_steplog_read_to(path, &genesis, 6, &r, &n, &err), TN_OK);
    assert_true(n == 6 && r[5].step == 6);
    free(r);
    assert_int_equal(tn_steplog_read_to(path, &genesis, 9, &r, &n, &err), TN_OK);
    assert_int_equal(n, 6); /* it ends before */
    free(r);
    assert_int_equal(tn_steplog_read(path, &genesis, NULL, NULL, NULL, &err), TN_VERIFY);
}

static void a_line_that_could_not_be_written_leaves_a_whole_log(void **state)
{
    struct rlimit   before, small;
    struct stat     st;
    tn_steplog     *l = NULL;
    tn_step_record *records = NULL;
    size_t          n = 0;
    tn_error        err;

    (void)state;
    unlink(path);
    write_log(1, 4);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(tn_steplog_open(&l, path, &genesis, 4, NULL), TN_OK);
    assert_true(tn_steplog_has_state(l, 4) && !tn_steplog_has_state(l, 3) && !tn_steplog_has_state(l, 5));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)st.st_size + 100; /* the next line does not fit */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tn_step_record r = record(5);
    tn_status      status = tn_steplog_append(l, &r, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, TN_IO);
    assert_int_equal(tn_steplog_read(path, &genesis, &records, &n, NULL, &err), TN_OK);
    assert_int_equal(n, 4);
    free(records);
    for (uint64_t k = 5; k <= 8; k++) { /* and it goes on when there is room again */
        r = record(k);
        assert_int_equal(tn_steplog_append(l, &r, NULL), TN_OK);
    }
    assert_true(tn_steplog_has_state(l, 8));
    assert_int_equal(tn_steplog_close(l, NULL), TN_OK);
    assert_int_equal(tn_steplog_read(path, &genesis, NULL, &n, NULL, &err), TN_OK);
    assert_int_equal(n, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_log_is_the_undisturbed_log),
        cmocka_unit_test(what_was_written_is_read_and_the_root_holds_it),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(the_altered_step_is_named),
        cmocka_unit_test(only_what_is_needed_is_read),
        cmocka_unit_test(a_line_that_could_not_be_written_leaves_a_whole_log),
    };
    genesis = tn_sha256_of("configuration", 13);
    if (mkdtemp(dir) == NULL) return 1;
    snprintf(path, sizeof path, "%s/steps.jsonl", dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tn_remove_tree(dir, NULL);
    return failed;
}
