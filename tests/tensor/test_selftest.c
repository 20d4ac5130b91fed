/* test_selftest.c - the walk over the table of operations. Arguments name operations; without any, all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_operation_passes_the_walk) };
    if (argc > 1) wanted = (const char *const *)(argv + 1);
    return cmocka_run_group_tests_name("selftest", tests, NULL, NULL);
}
