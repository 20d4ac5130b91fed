/* test_families.c - every family against transformers: logits within 1e-5 of the largest logit, the gradient
 * of every parameter within 1e-4 of that tensor's largest entry.
 *
 * Where the true gradient is zero (a bias of the keys cannot change a softmax) both sides hold rounding
 * noise; so the bound is never below 1e-7 of the largest gradient of the whole model. */
#include "family_util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double largest(const float *x, int64_t n)
{
    double most = 0;

    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

static double largest_difference(const float *x, const float *y, int64_t n)
{
    double most = 0;

    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        if (!(d <= most)) most = d; /* NaN is the largest */
    }
    return most;
}

/* dL/dlogits of the mean next-token cross-entropy, in double. */
static void seed_loss(float *seed, const float *logits, const int32_t *tokens, int64_t n, int64_t n_vocab)
{
    memset(seed, 0, (size_t)(n * n_vocab) * sizeof *seed);
    for (int64_t r = 0; r + 1 < n; r++) {
        const float *l = logits + r * n_vocab;
        double       top = (double)l[0], sum = 0;
        for (int64_t i = 1; i < n_vocab; i++) top = fmax(top, (double)l[i]);
        for (int64_t i = 0; i < n_vocab; i++) sum += exp((double)l[i] - top);
        for (int64_t i = 0; i < n_vocab; i++)
            seed[r * n_vocab + i] = (float)((exp((double)l[i] - top) / sum - (i == tokens[r + 1])) /
                                            (double)(n - 1));
    }
}

static void check_gradients(const family_case *c, family_model *f)
{
    family_model ref;
    char         name[128];
    double       all = 0;

    snprintf(name, sizeof name, "tests/golden/families/%s/grad", c->name);
    memset(&ref, 0, sizeof ref);
    assert_ok(tn_model_open(&ref.m, name, &(tn_model_options){ .weights = true }, err));
    assert_ok(tn_model_to_f32(ref.m, err));
    assert_int_equal(tn_model_n_tensor(ref.m), tn_model_n_tensor(f->m));
    for (size_t i = 0; i < tn_model_n_tensor(f->m); i++) {
        const tn_tensor *w = &tn_model_tensor(ref.m, i)->w;
        all = fmax(all, largest(w->data, tn_n_elem(w)));
    }
    assert_true(all > 1e-3);
    for (size_t i = 0; i < tn_model_n_tensor(f->m); i++) {
        const tn_param *p = tn_model_tensor(f->m, i), *q = tn_model_tensor(ref.m, i);
        assert_string_equal(p->name, q->name);
        double want = largest(q->w.data, tn_n_elem(&q->w)), bound = fmax(1e-4 * want, 1e-7 * all);
        double d = largest_difference(p->grad.data, q->w.data, tn_n_elem(&q->w));
        if (!(d <= bound))
            fail_msg("%s: gradient of %s differs by %g, largest entry %g", c->name, p->name, d, want);
    }
    tn_model_close(ref.m);
}

static void one_family(void **state)
{
    const family_case *c = *state;
    family_model       f;
    family_run         r;

    family_open(&f, c, true);
    family_build(&r, &f, f.n_token, true, false, NULL, 0);
    family_forward(&r, f.tokens, &f.n_token, 1);
    double most = largest(f.logits, f.n_token * f.n_vocab);
    double d = largest_difference(family_logits(&r), f.logits, f.n_token * f.n_vocab);
    if (!(d <= 1e-5 * most)) fail_msg("%s: logits differ by %g, largest %g", c->name, d, most);
    seed_loss(tn_graph_data(r.g, r.seed), family_logits(&r), f.tokens, f.n_token, f.n_vocab);
    assert_ok(tn_graph_run_backward(r.g, err));
    check_gradients(c, &f);
    family_run_free(&r);
    family_close(&f);
}

int main(void)
{
    struct CMUnitTest tests[64];

    for (int i = 0; i < n_family_case; i++)
        tests[i] = (struct CMUnitTest){ .name = family_cases[i].name,
                                        .test_func = one_family,
                                        .initial_state = (void *)&family_cases[i] };
    return _cmocka_run_group_tests("families equal transformers", tests, (size_t)n_family_case, NULL, NULL);
}
