/* test_arena.c - counting and real layouts agree; overflow and a full arena are flags, never crashes. */
#include "base/arena.h"
#include "testing.h"

typedef struct acts {
    float  *a;
    double *b;
    char   *c;
} acts;

static void lay_out(tn_arena *a, acts *t, int64_t n)
{
    t->a = TN_NEW(a, float, 3 * n);
    t->b = TN_NEW(a, double, n);
    t->c = TN_NEW(a, char, 1);
}

static void counting_and_allocating_are_the_same_code(void **state)
{
    tn_arena count = { .cap = SIZE_MAX }, real;
    acts     t;

    (void)state;
    for (int64_t n = 1; n < 2000; n += 37) {
        count.used = 0;
        lay_out(&count, &t, n);
        assert_false(count.full);
        assert_null(t.a);
        assert_int_equal(tn_arena_init(&real, count.used, NULL), TN_OK);
        lay_out(&real, &t, n);
        assert_false(real.full);
        assert_int_equal(real.used, count.used);
        assert_int_equal((uintptr_t)t.b % 64, 0);
        assert_int_equal((uintptr_t)t.c % 64, 0);
        for (int64_t i = 0; i < 3 * n; i++) assert_true(t.a[i] == 0);
        memset(t.a, 1, sizeof(float) * 3 * (size_t)n);
        assert_true(t.b[0] == 0);
        assert_null(TN_NEW(&real, char, 64));
        assert_true(real.full);
        tn_arena_free(&real);
    }
}

static void sizes_that_overflow_fill_the_arena(void **state)
{
    tn_arena a = { .cap = SIZE_MAX };

    (void)state;
    assert_null(tn_arena_get(&a, SIZE_MAX / 2, 4));
    assert_true(a.full);
    a = (tn_arena){ .cap = SIZE_MAX, .used = SIZE_MAX - 100 };
    assert_null(tn_arena_get(&a, 1, 200));
    assert_true(a.full);
    assert_null(tn_arena_get(&a, 1, 1)); /* and it stays full */
}

static void no_address_space_is_an_error_with_the_size(void **state)
{
    tn_arena a;
    tn_error err;

    (void)state;
    assert_int_equal(tn_arena_init(&a, SIZE_MAX / 2, &err), TN_NOMEM);
    assert_says(err, "9223372036854775807");
    assert_int_equal(tn_arena_init(&a, 0, &err), TN_OK);
    tn_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting_and_allocating_are_the_same_code),
        cmocka_unit_test(sizes_that_overflow_fill_the_arena),
        cmocka_unit_test(no_address_space_is_an_error_with_the_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
