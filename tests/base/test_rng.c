/* test_rng.c - Philox against the authors' vectors; streams that never meet; distributions; permutations. */
#include "base/cpu.h"
#include "base/rng.h"
#include "testing.h"

#include <math.h>

static void the_authors_vectors_come_out(void **state) /* Random123's kat_vectors, philox4x32 10 */
{
    // clang-format off
    static const struct { uint32_t ctr[4], key[2], out[4]; } v[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }, { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        uint32_t c[4];
        memcpy(c, v[i].ctr, sizeof c);
        tn_philox4x32(c, v[i].key);
        assert_memory_equal(c, v[i].out, sizeof c);
    }
}

/* Part of the format: the numbers of a run never change. */
static void the_stream_is_fixed_for_ever(void **state)
{
    const tn_rng_key key = { 1234, TN_RNG_SAMPLE, 5, 6 };
    uint32_t         out[4];

    (void)state;
    tn_rng4(out, &key, 7);
    assert_int_equal(out[0], 0x9d8d7b5b);
    assert_int_equal(out[3], 0x186e476c);
}

static void no_two_streams_share_a_word(void **state)
{
    enum { N = 6 * 6 * 6 * 6 };
    static uint64_t seen[N];
    int             n = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++)
        for (uint32_t purpose = 1; purpose < 7; purpose++)
            for (uint64_t step = 0; step < 6; step++)
                for (uint64_t sample = 0; sample < 6; sample++) {
                    tn_rng_key key = { seed, purpose, step, sample };
                    seen[n++] = tn_rng_u64(&key, 0);
                }
    for (int i = 0; i < N; i++)
        for (int k = i + 1; k < N; k++) assert_true(seen[i] != seen[k]);
    /* the high words of step and sample count too */
    tn_rng_key a = { 1, 1, 1, 1 }, b = { 1, 1, (uint64_t)1 << 40 | 1, 1 },
               c = { 1, 1, 1, (uint64_t)1 << 40 | 1 };
    assert_true(tn_rng_u64(&a, 0) != tn_rng_u64(&b, 0));
    assert_true(tn_rng_u64(&a, 0) != tn_rng_u64(&c, 0));
    assert_true(tn_rng_u64(&a, 0) != tn_rng_u64(&a, (uint64_t)1 << 32));
}

/* Several at a time are the same bits, wherever they begin and whatever the instructions. */
static void many_normals_are_those_of_one_at_a_time(void **state)
{
    (void)state;
    tn_rng_key   key = { .seed = 9, .purpose = TN_RNG_TEST, .step = 3, .sample = 4 };
    static float got[20000];
    const char  *kernels[] = { "ref", "auto" };
    for (int k = 0; k < 2; k++) {
        assert_int_equal(tn_isa_set(kernels[k], NULL), TN_OK);
        for (uint64_t first = 0; first < 3; first++) {
            uint64_t from = first == 2 ? UINT32_MAX - 100 : first; /* a carry into the position's high word */
            tn_rng_normals(got, &key, from, 20000, 0.02);
            for (int i = 0; i < 20000; i++) {
                float want = (float)(0.02 * tn_rng_normal(&key, from + (uint64_t)i));
                assert_memory_equal(&got[i], &want, sizeof want);
            }
        }
    }
}

static void units_and_normals_have_their_moments(void **state)
{
    enum { N = 200000 };
    const tn_rng_key key = { 9, TN_RNG_TEST, 0, 0 };
    double           u = 0, z = 0, z2 = 0, z4 = 0;

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        double a = tn_rng_unit(&key, i), b = tn_rng_normal(&key, i);
        assert_true(a >= 0 && a < 1);
        assert_true(isfinite(b));
        u += a / N;
        z += b / N;
        z2 += b * b / N;
        z4 += b * b * b * b / N;
    }
    assert_true(fabs(u - 0.5) < 0.005);
    assert_true(fabs(z) < 0.01);
    assert_true(fabs(z2 - 1) < 0.02);
    assert_true(fabs(z4 - 3) < 0.15);
}

static void below_is_even_and_below(void **state)
{
    const tn_rng_key key = { 3, TN_RNG_TEST, 0, 0 };
    int              count[7] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < 70000; i++) count[tn_rng_below(&key, i, 7)]++;
    for (int i = 0; i < 7; i++) assert_true(abs(count[i] - 10000) < 500);
    assert_int_equal(tn_rng_below(&key, 0, 1), 0);
    assert_int_equal(tn_rng_below(&key, 0, 0), 0);
    for (uint64_t i = 0; i < 1000; i++) assert_true(tn_rng_below(&key, i, UINT64_MAX) < UINT64_MAX);
}

static void a_permutation_hits_everything_once(void **state)
{
    static const uint64_t sizes[] = { 1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097 };

    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        uint64_t n = sizes[k], moved = 0;
        char    *hit = calloc(n, 1);
        for (uint64_t i = 0; i < n; i++) {
            const tn_rng_key key = { 11, TN_RNG_SHUFFLE, 2, 0 };
            uint64_t         at = tn_rng_permute(&key, i, n);
            assert_true(at < n);
            assert_int_equal(hit[at], 0);
            hit[at] = 1;
            moved += at != i;
        }
        if (n >= 16) assert_true(moved > n * 3 / 4);
        free(hit);
    }
    const tn_rng_key key = { 11, TN_RNG_SHUFFLE, 2, 0 };
    assert_true(tn_rng_permute(&key, UINT64_C(1) << 40, UINT64_C(1) << 41) < UINT64_C(1) << 41);
}

/* Where an element goes must not show where it was: each pair of (low half before, high half after) comes up
 * alike. */
static void a_permutation_forgets_where_things_were(void **state)
{
    int count[16][16] = { { 0 } };

    (void)state;
    for (uint64_t step = 0; step < 50; step++)
        for (uint64_t i = 0; i < 256; i++) {
            const tn_rng_key key = { 5, TN_RNG_SHUFFLE, step, 0 };
            count[i % 16][tn_rng_permute(&key, i, 256) / 16]++;
        }
    for (int a = 0; a < 16; a++)
        for (int b = 0; b < 16; b++)
            if (count[a][b] < 20 || count[a][b] > 85)
                fail_msg("%d times from %d to %d, expected about 50", count[a][b], a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_authors_vectors_come_out),
        cmocka_unit_test(the_stream_is_fixed_for_ever),
        cmocka_unit_test(no_two_streams_share_a_word),
        cmocka_unit_test(units_and_normals_have_their_moments),
        cmocka_unit_test(many_normals_are_those_of_one_at_a_time),
        cmocka_unit_test(below_is_even_and_below),
        cmocka_unit_test(a_permutation_hits_everything_once),
        cmocka_unit_test(a_permutation_forgets_where_things_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
