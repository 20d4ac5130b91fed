/* test_stats.c - intervals and tests against values computed elsewhere (R and scipy; named beside each). */
#include "base/stats.h"
#include "testing.h"

#include <math.h>

#define assert_near(a, b, tolerance)                                                                         \
    do {                                                                                                     \
        double a_ = (a), b_ = (b);                                                                           \
        if (!(fabs(a_ - b_) <= (tolerance))) fail_msg("%.12g is not %.12g", a_, b_);                         \
    } while (0)

static void quantiles_of_the_normal(void **state) /* R: qnorm */
{
    (void)state;
    assert_near(tn_normal_quantile(0.975), 1.959963984540054, 1e-14);
    assert_near(tn_normal_quantile(0.5), 0, 1e-15);
    assert_near(tn_normal_quantile(1e-10), -6.361340902404056, 1e-11);
    assert_near(tn_normal_quantile(0.2), -0.8416212335729143, 1e-14);
    assert_true(isinf(tn_normal_quantile(0)) && isinf(tn_normal_quantile(1)) && isnan(tn_normal_quantile(2)));
}

static void wilson_intervals(void **state) /* scipy: binomtest(k, n).proportion_ci(method='wilson') */
{
    tn_interval i = tn_wilson(8, 10, 0.95);

    (void)state;
    assert_near(i.lo, 0.4901624715, 1e-9);
    assert_near(i.hi, 0.9433178485, 1e-9);
    i = tn_wilson(0, 20, 0.95);
    assert_true(i.lo == 0);
    assert_near(i.hi, 0.1611251581, 1e-9);
    i = tn_wilson(20, 20, 0.95);
    assert_true(i.hi == 1);
    i = tn_wilson(0, 0, 0.95);
    assert_true(i.lo == 0 && i.hi == 1);
}

static void zero_hits_bound_the_rate(void **state)
{
    (void)state;
    /* the "299 clean answers certify 1 %" rule */
    assert_near(tn_zero_hits_upper(299, 0.95), 0.00996921, 1e-7);
    assert_true(tn_zero_hits_upper(298, 0.95) > 0.01);
    assert_true(tn_zero_hits_upper(0, 0.95) == 1);
}

static void means_and_their_errors(void **state)
{
    const double  x[] = { 1, 2, 3, 4, 10 };
    const int64_t each[] = { 5, 4, 3, 2, 1 }, pairs[] = { 1, 1, 2, 2, 3 };
    double        se;

    (void)state;
    assert_near(tn_mean(x, 5), 4, 0);
    assert_near(tn_stderr_mean(x, 5), 1.5811388300841898, 1e-14); /* numpy: std(ddof=1)/sqrt(5) */
    assert_true(isnan(tn_mean(x, 0)) && isnan(tn_stderr_mean(x, 1)));
    /* with one item a cluster it is the same error */
    assert_int_equal(tn_stderr_clustered(&se, x, each, 5, NULL), TN_OK);
    assert_near(se, tn_stderr_mean(x, 5), 1e-14);
    /* clusters {1,2},{3,4},{10}: sums of deviations -5, -1, 6: sqrt(3/2 * 62) / 5 */
    assert_int_equal(tn_stderr_clustered(&se, x, pairs, 5, NULL), TN_OK);
    assert_near(se, sqrt(1.5 * 62) / 5, 1e-14);
}

static void mcnemar_is_the_exact_binomial(void **state) /* scipy: binomtest(min, n, .5).pvalue */
{
    (void)state;
    assert_near(tn_mcnemar_exact(1, 9), 0.021484375, 1e-12);
    assert_near(tn_mcnemar_exact(5, 5), 1, 1e-12);
    assert_near(tn_mcnemar_exact(0, 0), 1, 1e-12);
    assert_near(tn_mcnemar_exact(0, 20), 1.9073486328125e-06, 1e-17);
}

static void holm_steps_down_and_never_crosses(void **state) /* R: p.adjust(c(.01,.04,.03,.005), "holm") */
{
    double              p[] = { 0.01, 0.04, 0.03, 0.005 };
    static const double want[] = { 0.03, 0.06, 0.06, 0.02 };

    (void)state;
    assert_int_equal(tn_holm(p, 4, NULL), TN_OK);
    for (int i = 0; i < 4; i++) assert_near(p[i], want[i], 1e-15);
}

static void the_bootstrap_repeats_and_covers(void **state)
{
    double      x[100];
    tn_interval a, b;

    (void)state;
    for (int i = 0; i < 100; i++) x[i] = i % 4 == 0;
    assert_int_equal(tn_bootstrap_mean(&a, x, NULL, 100, 2000, 0.95, 7, NULL), TN_OK);
    assert_int_equal(tn_bootstrap_mean(&b, x, NULL, 100, 2000, 0.95, 7, NULL), TN_OK);
    assert_true(a.lo == b.lo && a.hi == b.hi);
    assert_near(a.lo, 0.25 - 1.96 * 0.0433, 0.02);
    assert_near(a.hi, 0.25 + 1.96 * 0.0433, 0.02);
    assert_int_equal(tn_bootstrap_mean(&a, x, NULL, 0, 100, 0.95, 7, NULL), TN_OK);
    assert_true(isnan(a.lo));
}

static void a_poor_judge_is_corrected_or_refused(void **state)
{
    (void)state;
    assert_near(tn_rogan_gladen(0.34, 0.9, 0.8), 0.2, 1e-12); /* 0.2 * 0.9 + 0.8 * 0.2 */
    assert_true(isnan(tn_rogan_gladen(0.3, 0.5, 0.55)));
    assert_true(tn_rogan_gladen(0.05, 0.9, 0.8) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_of_the_normal),
        cmocka_unit_test(wilson_intervals),
        cmocka_unit_test(zero_hits_bound_the_rate),
        cmocka_unit_test(means_and_their_errors),
        cmocka_unit_test(mcnemar_is_the_exact_binomial),
        cmocka_unit_test(holm_steps_down_and_never_crosses),
        cmocka_unit_test(the_bootstrap_repeats_and_covers),
        cmocka_unit_test(a_poor_judge_is_corrected_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
