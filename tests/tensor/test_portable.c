/* test_portable.c - a CPU without AVX-512, and one without AVX2: everything takes the next path down, with
 * the same bits; asking for what is not there is an error. The process hides what its CPU has
 * (tn_cpu_hide_above), so the order of the tests matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/machine.h"
#include "base/thread.h"
#include "tensor/tensor.h"

enum { M = 37, N = 80, K = 96, N_ADAM = 70000 };

static float *numbers(size_t n, uint64_t seed)
{
    const tn_rng_key key = { .seed = seed, .purpose = TN_RNG_TEST };
    float           *p = aligned_alloc(64, (n * 4 + 63) / 64 * 64);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = (float)tn_rng_normal(&key, i);
    return p;
}

/* One product with a packed weight of this type, a sum and an optimiser's step: what goes through the table
 * and what does not. */
static tn_digest all_of_it(tn_dtype type, tn_profile profile)
{
    tn_matmul_params params = { profile };
    float *x = numbers(M * K, 1), *w = numbers(N * K, 2), *y = numbers(M * N, 3), *p = numbers(N_ADAM, 4),
          *m = numbers(N_ADAM, 5), *v = numbers(N_ADAM, 6), *g = numbers(N_ADAM, 7);
    uint8_t        *rows = malloc((size_t)N * tn_row_bytes(type, K));
    tn_weight      *packed = NULL;
    tn_adamw_params a = { 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 3, 0.5f };
    tn_sha256      *h = NULL;
    tn_digest       out;
    tn_error        err;

    assert_non_null(rows);
    for (int i = 0; i < N_ADAM; i++) v[i] *= v[i];
    for (int64_t i = 0; i < N; i++)
        tn_row_from_f32(rows + (size_t)i * tn_row_bytes(type, K), w + i * K, type, K);
    assert_int_equal(tn_weight_pack(&packed, rows, type, N, K, profile, &err), TN_OK);
    tn_tensor xt = { .n_dim = 2, .shape = { M, K }, .data = x },
              wt = { .dtype = type, .n_dim = 2, .shape = { N, K }, .packed = packed },
              yt = { .n_dim = 2, .shape = { M, N }, .data = y };
    tn_call c = {
        .op = &tn_op_matmul, .params = &params, .n_in = 2, .n_out = 1, .in = { &xt, &wt }, .out = { &yt }
    };
    c.scratch_bytes = c.op->scratch(&c, false);
    c.scratch = aligned_alloc(64, (c.scratch_bytes + 127) / 64 * 64);
    tn_op_forward(&c);
    tn_adamw_step(p, m, v, g, NULL, N_ADAM, &a, NULL, 0);
    double square = tn_sum_sq(p, N_ADAM);
    assert_int_equal(tn_sha256_create(&h, &err), TN_OK);
    tn_sha256_update(h, y, M * N * 4);
    tn_sha256_update(h, p, N_ADAM * 4);
    tn_sha256_update(h, &square, sizeof square);
    tn_sha256_final(h, &out);
    tn_sha256_destroy(h);
    tn_weight_free(packed);
    free(x), free(w), free(y), free(p), free(m), free(v), free(g), free(rows), free(c.scratch);
    return out;
}

static const struct {
    tn_dtype   type;
    tn_profile profile;
} kinds[] = { { TN_F32, TN_PROFILE_STRICT },
              { TN_BF16, TN_PROFILE_STRICT_BF16 },
              { TN_Q8_0, TN_PROFILE_STRICT },
              { TN_Q8_0, TN_PROFILE_Q8ACT },
              { TN_Q4_0, TN_PROFILE_STRICT } };
enum { N_KIND = sizeof kinds / sizeof *kinds };
static tn_digest as_it_is[N_KIND];

static void compare(void)
{
    for (int i = 0; i < N_KIND; i++) {
        tn_digest d = all_of_it(kinds[i].type, kinds[i].profile);
        if (!tn_digest_equal(&d, &as_it_is[i]))
            fail_msg("%s, profile %s: other bits", tn_dtype_name(kinds[i].type),
                     tn_profile_name(kinds[i].profile));
    }
    assert_true(tn_peak_f32(0.01) > 0);
    assert_true(tn_peak_bf16(0.01) > 0);
}

static void the_cpu_as_it_is(void **state)
{
    (void)state;
    tn_ops_choose(true);
    for (int i = 0; i < N_KIND; i++) as_it_is[i] = all_of_it(kinds[i].type, kinds[i].profile);
}

static void without_avx512(void **state)
{
    tn_error err;
    (void)state;
    tn_cpu_hide_above(TN_ISA_AVX2);
    assert_int_equal(tn_isa_set("avx512", &err), TN_USAGE);
    assert_non_null(strstr(err.msg, "cannot run here"));
    tn_ops_choose(true);
    for (int i = 1; i < TN_OP_COUNT; i++)
        assert_null(strstr(tn_op_kernel(tn_op_get((tn_op_id)i))->name, "avx512"));
    compare();
}

static void without_avx2(void **state)
{
    tn_error err;
    (void)state;
    tn_cpu_hide_above(TN_ISA_REF);
    assert_int_equal(tn_isa_limit(), TN_ISA_REF);
    assert_int_equal(tn_isa_set("avx2", &err), TN_USAGE);
    tn_ops_choose(true);
    for (int i = 1; i < TN_OP_COUNT; i++)
        assert_string_equal(tn_op_kernel(tn_op_get((tn_op_id)i))->name, "ref");
    compare();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_as_it_is),
        cmocka_unit_test(without_avx512),
        cmocka_unit_test(without_avx2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
