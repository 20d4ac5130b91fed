/* testing.h - what the tests of base share: cmocka with the headers that it wants, a private folder, small
 * texts. */
#ifndef TN_TESTS_BASE_TESTING_H
#define TN_TESTS_BASE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/str.h"

/* The message must hold this word: an error that says nothing useful is a failure too. */
#define assert_says(err, word)                                                                               \
    do {                                                                                                     \
        if (strstr((err).msg, (word)) == NULL)                                                               \
            fail_msg("the message '%s' does not say '%s'", (err).msg, (word));                               \
    } while (0)

/* A fresh folder, its path in *state; removed by folder_remove. */
static inline int folder_make(void **state)
{
    char *dir = tn_strf("%s/tenet-test-XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");

    if (dir == NULL || mkdtemp(dir) == NULL) return -1;
    *state = dir;
    return 0;
}

static inline int folder_remove(void **state)
{
    tn_error  err;
    tn_status status = tn_remove_tree(*state, &err);

    free(*state);
    return status == TN_OK ? 0 : -1;
}

#define folder_test(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)

#endif
