/* test_mathfn.c - the transcendental functions: their error against the C library's doubles, special values,
 * and the vector forms against the scalar ones. `test_mathfn all` looks at all 2^32 inputs (./dev soak). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "tensor/cpu/kernels.h"

static uint64_t step = 4093; /* a prime: every exponent and all kinds of mantissas */

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

typedef struct function {
    const char *name;
    float (*f)(float);
    double (*truth)(double);
    double bound; /* ulp */
    void (*avx2)(float *, const float *, int64_t);
    void (*avx512)(float *, const float *, int64_t);
} function;

// clang-format off
static const function functions[] = {
    { "exp",      tn_expf,      exp,      2.0, tn_exp_each_avx2,     tn_exp_each_avx512     },
    { "log",      tn_logf,      log,      2.0, tn_log_each_avx2,     tn_log_each_avx512     },
    { "tanh",     tn_tanhf,     tanh,     2.0, tn_tanh_each_avx2,    tn_tanh_each_avx512    },
    { "erf",      tn_erff,      erf,      2.0, tn_erf_each_avx2,     tn_erf_each_avx512     },
    { "sin",      tn_sinf,      sin,      1.0, NULL,                 NULL                   },
    { "cos",      tn_cosf,      cos,      1.0, NULL,                 NULL                   },
    { "sigmoid",  tn_sigmoidf,  sigmoid,  3.0, tn_sigmoid_each_avx2, tn_sigmoid_each_avx512 },
    { "softplus", tn_softplusf, softplus, 3.0, NULL,                 NULL                   } };
// clang-format on
enum { N_FUNCTION = sizeof functions / sizeof functions[0] };

static float of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* Distance in units of the last place of the true value. Infinity is 2^128 here. */
static double ulps(float got, double want)
{
    int e;
    if (want != want || got != got) return want != want && got != got ? 0.0 : INFINITY;
    if (isinf(want)) return (double)got == want ? 0.0 : INFINITY;
    double g = isinf(got) ? copysign(0x1p128, (double)got) : (double)got;
    double w = fabs(want) >= 0x1p128 ? copysign(0x1p128, want) : want;
    (void)frexp(w, &e);
    return fabs(g - w) / (fabs(w) < 0x1p-126 ? 0x1p-149 : ldexp(1.0, e - 24));
}

typedef struct search {
    const function *fn;
    double          worst[64];
    float           at[64];
} search;

static void search_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    search *s = arg;
    for (int64_t i = begin; i < end; i++) {
        float  x = of_bits((uint32_t)((uint64_t)i * step));
        double d = ulps(s->fn->f(x), s->fn->truth((double)x));
        if (!(d <= s->worst[i_thread])) {
            s->worst[i_thread] = d;
            s->at[i_thread] = x;
        }
    }
}

static void errors_stay_below_their_bounds(void **state)
{
    (void)state;
    for (int k = 0; k < N_FUNCTION; k++) {
        search s = { .fn = &functions[k] };
        double worst = 0;
        float  at = 0;
        tn_parallel((int64_t)((((uint64_t)1 << 32) + step - 1) / step), 1, search_piece, &s);
        for (int t = 0; t < 64; t++)
            if (!(s.worst[t] <= worst)) {
                worst = s.worst[t];
                at = s.at[t];
            }
        print_message("%-9s %.3f ulp at %a\n", functions[k].name, worst, (double)at);
        if (!(worst <= functions[k].bound))
            fail_msg("%s: %g ulp at %a", functions[k].name, worst, (double)at);
    }
}

enum { CHUNK = 4099 };
typedef struct comparison {
    const function *fn;
    void (*each)(float *, const float *, int64_t);
    uint32_t bad[64];
    bool     differs[64];
} comparison;

static void compare_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    comparison *c = arg;
    float       x[CHUNK], y[CHUNK];
    while (begin < end) {
        int64_t n = end - begin < CHUNK ? end - begin : CHUNK;
        for (int64_t i = 0; i < n; i++) x[i] = of_bits((uint32_t)((uint64_t)(begin + i) * step));
        c->each(y, x, n);
        for (int64_t i = 0; i < n; i++) {
            float want = c->fn->f(x[i]);
            if (tn_same_bits(&y[i], &want, 1, NULL)) continue;
            c->differs[i_thread] = true;
            c->bad[i_thread] = (uint32_t)((uint64_t)(begin + i) * step);
        }
        begin += n;
    }
}

static void vectors_give_the_bits_of_scalars(void **state)
{
    (void)state;
    for (int k = 0; k < N_FUNCTION; k++)
        for (int isa = 0; isa < 2; isa++) {
            comparison c = { .fn = &functions[k],
                             .each = isa == 0 ? functions[k].avx2 : functions[k].avx512 };
            if (c.each == NULL || !(isa == 0 ? tn_cpu_avx2() : tn_cpu_avx512())) continue;
            tn_parallel((int64_t)((((uint64_t)1 << 32) + step - 1) / step), 1, compare_piece, &c);
            for (int t = 0; t < 64; t++)
                if (c.differs[t])
                    fail_msg("%s, %s: differs at bits 0x%08x", functions[k].name,
                             isa == 0 ? "avx2" : "avx512", c.bad[t]);
        }
}

static void special_values_are_right(void **state)
{
    (void)state;
    assert_true(tn_expf(-INFINITY) == 0.0f && tn_expf(INFINITY) == INFINITY && tn_expf(0.0f) == 1.0f &&
                tn_expf(-0.0f) == 1.0f);
    assert_true(isnan(tn_expf(NAN)) && isnan(tn_logf(NAN)) && isnan(tn_tanhf(NAN)) && isnan(tn_erff(NAN)) &&
                isnan(tn_sigmoidf(NAN)) && isnan(tn_softplusf(NAN)));
    assert_true(tn_logf(0.0f) == -INFINITY && tn_logf(-0.0f) == -INFINITY && isnan(tn_logf(-1.0f)) &&
                isnan(tn_logf(-INFINITY)) && tn_logf(INFINITY) == INFINITY);
    assert_true(tn_logf(1.0f) == 0.0f && !signbit(tn_logf(1.0f)));
    assert_true(tn_tanhf(INFINITY) == 1.0f && tn_tanhf(-INFINITY) == -1.0f && signbit(tn_tanhf(-0.0f)) &&
                !signbit(tn_tanhf(0.0f)));
    assert_true(tn_erff(INFINITY) == 1.0f && tn_erff(-INFINITY) == -1.0f && signbit(tn_erff(-0.0f)));
    assert_true(isnan(tn_sinf(INFINITY)) && isnan(tn_cosf(-INFINITY)) && tn_cosf(0.0f) == 1.0f &&
                signbit(tn_sinf(-0.0f)));
    assert_true(tn_sigmoidf(-INFINITY) == 0.0f && tn_sigmoidf(INFINITY) == 1.0f && tn_sigmoidf(0.0f) == 0.5f);
    assert_true(tn_softplusf(-INFINITY) == 0.0f && tn_softplusf(INFINITY) == INFINITY);
}

static void doubles_are_as_good_as_the_library(void **state)
{
    const tn_rng_key key = { .seed = 4, .purpose = TN_RNG_TEST };
    (void)state;
    for (uint64_t i = 0; i < 200000; i++) {
        double u = tn_rng_unit(&key, 3 * i), x = (u - 0.5) * 1400.0, y = exp(x),
               z = ldexp(tn_rng_unit(&key, 3 * i + 1) + 0.5, (int)tn_rng_below(&key, 3 * i + 2, 1030) - 30);
        if (fabs(tn_exp(x) / y - 1.0) > 4e-16) fail_msg("exp(%a)", x);
        if (y > 0 && y < INFINITY && fabs(tn_ln(y) - log(y)) > 4e-16 * fabs(log(y))) fail_msg("ln(%a)", y);
        if (fabs(tn_sin(z) - sin(z)) > 4e-16 || fabs(tn_cos(z) - cos(z)) > 4e-16)
            fail_msg("sin or cos(%a)", z);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(errors_stay_below_their_bounds),
                                        cmocka_unit_test(vectors_give_the_bits_of_scalars),
                                        cmocka_unit_test(special_values_are_right),
                                        cmocka_unit_test(doubles_are_as_good_as_the_library) };
    if (argc > 1 && strcmp(argv[1], "all") == 0) step = 1;
    return cmocka_run_group_tests_name("mathfn", tests, NULL, NULL);
}
