/* test_forest.c - the tree of sums: one association, whatever the order of arrival and the share of the
 * ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "dist/dist.h"

enum { N = 37, GROUPS = 16 };

static float value(int64_t group, int64_t i)
{
    tn_rng_key key = { 3, TN_RNG_TEST, (uint64_t)group, 0 };
    return (float)(tn_rng_normal(&key, (uint64_t)i) * (group % 3 == 0 ? 1e6 : 1e-3));
}

static void add_group(tn_forest *f, int64_t group)
{
    float *p;
    assert_int_equal(tn_forest_buffer(f, &p, NULL), TN_OK);
    for (int64_t i = 0; i < N; i++) p[i] = value(group, i);
    tn_forest_add(f, 0, group, p);
}

static float by_pairs(int64_t first, int64_t n, int64_t i)
{
    return n == 1 ? value(first, i) : by_pairs(first, n / 2, i) + by_pairs(first + n / 2, n / 2, i);
}

static void any_order_of_arrival_gives_the_pairwise_tree(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        tn_forest  f;
        tn_rng_key key = { seed, TN_RNG_TEST, 0, 0 };
        assert_int_equal(tn_forest_init(&f, N, GROUPS + 8, NULL), TN_OK);
        for (uint64_t k = 0; k < GROUPS; k++) add_group(&f, (int64_t)tn_rng_permute(&key, k, GROUPS));
        assert_int_equal(f.n_node, 1);
        assert_int_equal(f.node[0].level, 4);
        for (int64_t i = 0; i < N; i++) {
            float want = by_pairs(0, GROUPS, i);
            assert_memory_equal(&f.node[0].sum[i], &want, 4);
        }
        tn_forest_free(&f);
    }
}

/* The last group is added part by part, upwards through its siblings: the same tree. */
static void a_chain_added_in_parts_is_the_tree(void **state)
{
    (void)state;
    for (int64_t n_group = 1; n_group <= GROUPS; n_group *= 2) {
        tn_forest f;
        float     last[N], *out[TN_FOREST_LEVELS];
        assert_int_equal(tn_forest_init(&f, N, GROUPS + 8, NULL), TN_OK);
        for (int64_t g = 0; g + 1 < n_group; g++) add_group(&f, g);
        for (int64_t i = 0; i < N; i++) last[i] = value(n_group - 1, i);
        int n = tn_forest_chain(&f, 0, n_group - 1, out);
        assert_int_equal((int64_t)1 << n, n_group);
        for (int64_t a = 0; a < N; a += 5)
            for (int64_t i = a; i < a + 5 && i < N; i++)
                for (int k = 0; k < n; k++) out[k][i] += k == 0 ? last[i] : out[k - 1][i];
        for (int64_t i = 0; i < N; i++) {
            float want = by_pairs(0, n_group, i);
            assert_memory_equal(n == 0 ? &last[i] : &out[n - 1][i], &want, 4);
        }
        tn_forest_free(&f);
    }
}

static void a_full_forest_says_so(void **state)
{
    tn_forest f;
    float    *p;
    tn_error  err;
    (void)state;
    assert_int_equal(tn_forest_init(&f, N, 2, NULL), TN_OK);
    add_group(&f, 0);
    add_group(&f, 2);
    assert_int_equal(tn_forest_buffer(&f, &p, &err), TN_LIMIT);
    tn_forest_free(&f);
}

static void shares_tile_the_groups(void **state)
{
    (void)state;
    for (int size = 1; size <= 9; size++) {
        int64_t at = 0, first, last;
        for (int r = 0; r < size; r++) {
            tn_dist_share(GROUPS, r, size, &first, &last);
            assert_int_equal(first, at);
            assert_true(last - first >= GROUPS / size && last - first <= GROUPS / size + 1);
            at = last;
        }
        assert_int_equal(at, GROUPS);
    }
}

static void one_process_exchanges_with_itself(void **state)
{
    tn_dist *d;
    int      a[3] = { 1, 2, 3 }, b[3] = { 0 };
    (void)state;
    assert_int_equal(tn_dist_open(&d, "one", NULL), TN_OK);
    tn_dist_message s = { 0, a, sizeof a }, r = { 0, b, sizeof b };
    assert_int_equal(tn_dist_exchange(d, &s, 1, &r, 1, NULL), TN_OK);
    assert_memory_equal(a, b, sizeof a);
    r.bytes = 4;
    assert_int_equal(tn_dist_exchange(d, &s, 1, &r, 1, NULL), TN_MISMATCH);
    assert_int_equal(tn_dist_size(d), 1);
    tn_dist_close(d, TN_OK, NULL);
    assert_int_equal(tn_dist_open(&d, "pigeons", NULL), TN_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_of_arrival_gives_the_pairwise_tree),
        cmocka_unit_test(a_full_forest_says_so),
        cmocka_unit_test(a_chain_added_in_parts_is_the_tree),
        cmocka_unit_test(shares_tile_the_groups),
        cmocka_unit_test(one_process_exchanges_with_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
