/* test_selftest.c - the walk over the table of operations. Arguments name operations; without any, all of
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tensor/selftest.h"
#include "tensor/tensor.h"

static const char *const *wanted;

static void on_result(void *arg, const char *op, const char *what, bool passed, const char *detail)
{
    int *n_bad = arg;
    if (passed) return;
    print_message("%s: %s: %s\n", op, what, detail);
    ++*n_bad;
}

static void every_operation_passes_the_walk(void **state)
{
    int      n_bad = 0;
    tn_error err = { 0 };
    (void)state;
    if (tn_selftest(wanted, 6, 1, on_result, &n_bad, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_int_equal(n_bad, 0);
}

/* A case that cannot be laid out ends the walk with its reason, and leaves no packed weight behind. */
static tn_status no_shape(const tn_call *c, tn_error *err)
{
    (void)c;
    return tn_fail(err, TN_MISMATCH, "no shape is good enough");
}
static void drawn(tn_case *k, tn_draw *d)
{
    (void)d;
    k->n_in = 1;
    k->packed[0] = true;
    k->in[0] = (tn_tensor){ .dtype = TN_Q8_0, .n_dim = 2, .shape = { 3, 32 } };
}

static void a_case_that_cannot_be_laid_out_says_why(void **state)
{
    const tn_op picky = { .name = "picky", .n_in = 1, .n_out = 1, .shape = no_shape, .draw = drawn };
    int         n_bad = 0;
    tn_error    err = { 0 };
    (void)state;
    assert_int_equal(tn_selftest_shake(&picky, 1, 5, on_result, &n_bad, &err), TN_MISMATCH);
    assert_string_equal(err.msg, "[3][32]q8_0, round 0: no shape is good enough");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_operation_passes_the_walk),
                                        cmocka_unit_test(a_case_that_cannot_be_laid_out_says_why) };
    if (argc > 1) wanted = (const char *const *)(argv + 1);
    return cmocka_run_group_tests_name("selftest", tests, NULL, NULL);
}
