/* test_preference.c - the preference losses: known values, derivatives by finite differences, invariances. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "train/train.h"

static const tn_pref base = {
    .beta = 0.3, .eps = 0.1, .gamma = 0.7, .alpha = 0.2, .good = 1.2, .bad = 0.9, .nll = 0.3
};
static const tn_pref_pair pair = { .chosen = -11.5,
                                   .rejected = -9.25,
                                   .ref_chosen = -12.75,
                                   .ref_rejected = -9.5,
                                   .p = 0.8,
                                   .z = 0.15,
                                   .n_chosen = 7,
                                   .n_rejected = 5 };

static double loss_at(const tn_pref *o, double dc, double dr)
{
    tn_pref_pair x = pair;
    x.chosen += dc;
    x.rejected += dr;
    return tn_pref_loss(o, &x).loss;
}

static void derivatives_match_finite_differences(void **state)
{
    (void)state;
    for (int k = TN_PREF_DPO; k <= TN_PREF_RPO; k++) {
        tn_pref o = base;
        o.kind = (tn_pref_kind)k;
        tn_pref_out  r = tn_pref_loss(&o, &pair);
        const double h = 1e-4;
        double       dc = (loss_at(&o, h, 0) - loss_at(&o, -h, 0)) / (2 * h);
        double       dr = (loss_at(&o, 0, h) - loss_at(&o, 0, -h)) / (2 * h);
        if (fabs(dc - r.dchosen) > 1e-6 || fabs(dr - r.drejected) > 1e-6)
            fail_msg("loss %d: %g %g, differences %g %g", k, r.dchosen, r.drejected, dc, dr);
    }
}

/* h = 0: loss ln 2, derivative -beta/2; p = 1/2: none. */
static void dpo_starts_at_ln_2(void **state)
{
    tn_pref      o = { .kind = TN_PREF_DPO, .beta = 0.1 };
    tn_pref_pair x = { .chosen = -3,
                       .rejected = -5,
                       .ref_chosen = -3,
                       .ref_rejected = -5,
                       .p = 1,
                       .n_chosen = 2,
                       .n_rejected = 2 };
    (void)state;
    tn_pref_out r = tn_pref_loss(&o, &x);
    assert_true(fabs(r.loss - 0.69314718055994531) < 1e-15);
    assert_true(fabs(r.dchosen + 0.05) < 1e-15 && fabs(r.drejected - 0.05) < 1e-15);
    x.p = 0.5;
    r = tn_pref_loss(&o, &x);
    assert_true(r.dchosen == 0 && r.drejected == 0);
}

static void smoothed_labels_have_their_optimum_where_the_odds_are(void **state)
{
    tn_pref o = { .kind = TN_PREF_DPO, .beta = 0.5, .eps = 0.1 };
    /* beta h = log(.9/.1) = 2.197 */
    tn_pref_pair x = { .chosen = 2 * log(9.0), .p = 1, .n_chosen = 1, .n_rejected = 1 };
    (void)state;
    assert_true(fabs(tn_pref_loss(&o, &x).dchosen) < 1e-15);
}

static void ipo_has_its_minimum_at_half_the_inverse_of_tau(void **state)
{
    tn_pref o = { .kind = TN_PREF_IPO, .beta = 0.25 };
    /* h' = 2 = 1/(2 tau) */
    tn_pref_pair x = { .chosen = 8, .rejected = 0, .p = 1, .n_chosen = 4, .n_rejected = 3 };
    (void)state;
    tn_pref_out r = tn_pref_loss(&o, &x);
    assert_true(r.loss == 0 && r.dchosen == 0 && r.drejected == 0);
}

static void simpo_does_not_see_repetition(void **state)
{
    tn_pref      o = { .kind = TN_PREF_SIMPO, .beta = 2, .gamma = 1 };
    tn_pref_pair x = { .chosen = -6, .rejected = -9, .p = 1, .n_chosen = 3, .n_rejected = 4 }, twice = x;
    (void)state;
    twice.chosen *= 2;
    twice.n_chosen *= 2;
    twice.rejected *= 2;
    twice.n_rejected *= 2;
    assert_true(tn_pref_loss(&o, &x).loss == tn_pref_loss(&o, &twice).loss);
}

/* KTO: a side that is absent adds nothing; at the reference both are half of their weights. */
static void kto_takes_one_side(void **state)
{
    tn_pref      o = { .kind = TN_PREF_KTO, .beta = 0.1, .good = 1, .bad = 2 };
    tn_pref_pair x = { .chosen = -4, .ref_chosen = -4, .p = 1, .n_chosen = 3 };
    (void)state;
    tn_pref_out r = tn_pref_loss(&o, &x);
    assert_true(r.loss == 0.5 && r.drejected == 0 && r.dchosen < 0);
    x = (tn_pref_pair){ .rejected = -4, .ref_rejected = -4, .p = 1, .n_rejected = 3 };
    r = tn_pref_loss(&o, &x);
    assert_true(r.loss == 1 && r.dchosen == 0 && r.drejected > 0);
}

static void far_values_stay_finite(void **state)
{
    (void)state;
    for (int k = TN_PREF_DPO; k <= TN_PREF_RPO; k++)
        for (int sign = -1; sign <= 1; sign += 2) {
            tn_pref      o = base;
            tn_pref_pair x = pair;
            o.kind = (tn_pref_kind)k;
            x.chosen = sign > 0 ? -1e-9 : -4000;
            x.rejected = sign > 0 ? -4000 : -1e-9;
            tn_pref_out r = tn_pref_loss(&o, &x);
            if (!isfinite(r.loss) || !isfinite(r.dchosen) || !isfinite(r.drejected))
                fail_msg("loss %d is not finite", k);
        }
}

static void schedules_meet_their_ends(void **state)
{
    static char     constant[] = "constant", linear[] = "linear", cosine[] = "cosine", wsd[] = "wsd";
    tn_train_config c = { .lr = 1, .lr_min = 0.1, .warmup = 10, .decay = 0.2, .schedule = cosine };
    (void)state;
    assert_true(tn_schedule_lr(&c, 1, 110) == 0.1 && tn_schedule_lr(&c, 10, 110) == 1 &&
                tn_schedule_lr(&c, 11, 110) == 1);
    assert_true(fabs(tn_schedule_lr(&c, 61, 110) - 0.55) < 1e-12);
    c.schedule = linear;
    assert_true(fabs(tn_schedule_lr(&c, 61, 110) - 0.55) < 1e-12);
    c.schedule = constant;
    assert_true(tn_schedule_lr(&c, 110, 110) == 1);
    c.schedule = wsd;
    /* 22 of 110 steps decay */
    assert_true(tn_schedule_lr(&c, 89, 110) == 1 && tn_schedule_lr(&c, 90, 110) < 1 &&
                tn_schedule_lr(&c, 110, 110) > 0.1);
    c.decay = 1; /* as many as there are after the warm-up */
    assert_true(tn_schedule_lr(&c, 11, 110) == 1 && tn_schedule_lr(&c, 12, 110) < 1);
    c.warmup = 0.29; /* 28.999... in binary */
    assert_true(tn_schedule_lr(&c, 28, 100) < 1 && tn_schedule_lr(&c, 29, 100) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derivatives_match_finite_differences),
        cmocka_unit_test(dpo_starts_at_ln_2),
        cmocka_unit_test(smoothed_labels_have_their_optimum_where_the_odds_are),
        cmocka_unit_test(ipo_has_its_minimum_at_half_the_inverse_of_tau),
        cmocka_unit_test(simpo_does_not_see_repetition),
        cmocka_unit_test(kto_takes_one_side),
        cmocka_unit_test(far_values_stay_finite),
        cmocka_unit_test(schedules_meet_their_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
