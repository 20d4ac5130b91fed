/* test_head.c - the head's operations against their formulas: gradients of every output, many words, a teacher's
 * distribution, targets that are no word. */
#include "ops_util.h"

/* The head says NaN for a target that is no word, in the loss and in the gradient of that row alone. */
static void a_target_outside_the_vocabulary_is_nan_in_every_kernel(void **state)
{
    enum { N = 4, D = 21, V = 37 };
    const tn_head_params         loss = { .train = true };
    const tn_head_params         capped = { .train = true, .softcap = 3.0f, .z_coef = 0.1f };
    const tn_head_logprob_params logp = { .temperature = 0.7f };
    const struct {
        const tn_op *op;
        const void  *params;
    } t[] = { { &tn_op_head_loss, &loss }, { &tn_op_head_loss, &capped }, { &tn_op_head_logprob, &logp } };
    tn_tensor x = matrix(N, D, 1), w = matrix(V, D, 2), target = ints(N, 3), weight = matrix(1, N, 3);
    (void)state;
    weight.n_dim = 1, weight.shape[0] = N;
    ((int32_t *)target.data)[1] = V;
    ((int32_t *)target.data)[2] = -1;
    ((int32_t *)target.data)[3] = -2;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        bool is_loss = t[i].op == &tn_op_head_loss;
        for (const tn_kernel *k = t[i].op->kernels; k->name != NULL; k++) {
            if (!k->usable()) continue;
            tn_tensor sum = matrix(1, 1, 0), row = matrix(1, N, 0), kept = matrix(N, D, 0),
                      dx = matrix(N, D, 0), dout = matrix(1, N, 4);
            tn_call c = { .op = t[i].op,
                          .params = t[i].params,
                          .n_in = is_loss ? 4 : 3,
                          .n_out = is_loss ? 3 : 1,
                          .in = { &x, &w, &target, &weight },
                          .dout = { &dout },
                          .din = { &dx } };
            if (is_loss) c.out[0] = &sum, c.out[1] = &row, c.out[2] = &kept;
            else c.out[0] = &row;
            give_scratch(&c);
            k->fwd(&c);
            k->bwd(&c);
            for (int r = 0; r < N; r++)
                if ((isnan(((float *)row.data)[r]) != 0) != (r == 1 || r == 3))
                    fail_msg("%s %zu, %s: row %d is %g", c.op->name, i, k->name, r,
                             (double)((float *)row.data)[r]);
            for (int j = 0; j < N * D; j++)
                if ((isnan(((float *)dx.data)[j]) != 0) != (j / D == 1 || j / D == 3))
                    fail_msg("%s %zu, %s: gradient %d of row %d is %g", c.op->name, i, k->name, j % D, j / D,
                             (double)((float *)dx.data)[j]);
            free(sum.data), free(row.data), free(kept.data), free(dx.data), free(dout.data), free(c.scratch);
        }
    }
    free(x.data), free(w.data), free(target.data), free(weight.data);
}

static void the_log_partition_of_the_head_has_a_gradient(void **state)
{
    const tn_head_logprob_params p = { .softcap = 4.0f, .temperature = 0.8f };
    tn_tensor                    x = matrix(3, 6, 1);
    tn_tensor                    w = matrix(9, 6, 2);
    tn_tensor                    t = ints(3, 4);
    tn_tensor                    out[2] = { matrix(1, 3, 0), matrix(1, 3, 0) };
    tn_tensor                    g[2] = { matrix(1, 3, 3), matrix(1, 3, 4) };
    tn_tensor                    dx = matrix(3, 6, 0), dw = matrix(9, 6, 0);
    tn_call                      c = { .op = &tn_op_head_logprob,
                                       .params = &p,
                                       .n_in = 3,
                                       .n_out = 2,
                                       .in = { &x, &w, &t },
                                       .out = { &out[0], &out[1] },
                                       .dout = { &g[0], &g[1] },
                                       .din = { &dx, &dw } };
    (void)state;
    give_scratch(&c);
    tn_op_forward(&c);
    tn_op_backward(&c);
    for (int j = 0; j < 18 + 54; j++) {
        float *v = j < 18 ? (float *)x.data + j : (float *)w.data + j - 18, was = *v, h = 0x1p-8f;
        *v = was + h;
        double a = all_outputs(&c, g);
        *v = was - h;
        double b = all_outputs(&c, g), fd = (a - b) / (2.0 * (double)h),
               got = (double)(j < 18 ? ((float *)dx.data)[j] : ((float *)dw.data)[j - 18]);
        *v = was;
        if (fabs(fd - got) > 5e-3 * (1.0 + fabs(got)))
            fail_msg("element %d: gradient %g, finite difference %g", j, got, fd);
    }
    tn_tensor *all[] = { &x, &w, &t, &out[0], &out[1], &g[0], &g[1], &dx, &dw };
    for (int i = 0; i < 9; i++) free(all[i]->data);
    free(c.scratch);
}

/* So many words that rows of logits do not lie one behind the other: what it returns, and its gradient into
 * x, by the formula. */
static void a_log_probability_over_many_words_is_the_formula(void **state)
{
    enum { ROWS = 3, IN = 6, WORDS = 5000 };
    const tn_head_logprob_params p = { .temperature = 1.0f };
    tn_tensor                    x = matrix(ROWS, IN, 1);
    tn_tensor                    w = matrix(WORDS, IN, 2);
    tn_tensor                    t = ints(ROWS, 4);
    tn_tensor                    out[2] = { matrix(1, ROWS, 0), matrix(1, ROWS, 0) };
    tn_tensor                    g = matrix(1, ROWS, 3);
    tn_tensor                    dx = matrix(ROWS, IN, 0);
    tn_call                      c = { .op = &tn_op_head_logprob,
                                       .params = &p,
                                       .n_in = 3,
                                       .n_out = 2,
                                       .in = { &x, &w, &t },
                                       .out = { &out[0], &out[1] },
                                       .dout = { &g },
                                       .din = { &dx } };
    (void)state;
    for (int i = 0; i < ROWS; i++) ((int32_t *)t.data)[i] = 1999 * i + 7;
    give_scratch(&c);
    tn_op_forward(&c);
    tn_op_backward(&c);
    for (int i = 0; i < ROWS; i++) {
        int    word = 1999 * i + 7;
        double z = 0, at = 0, mean[IN] = { 0 };
        for (int j = 0; j < WORDS; j++) {
            double l = 0;
            for (int k = 0; k < IN; k++)
                l += (double)((float *)x.data)[i * IN + k] * (double)((float *)w.data)[j * IN + k];
            z += exp(l);
            for (int k = 0; k < IN; k++) mean[k] += exp(l) * (double)((float *)w.data)[j * IN + k];
            if (j == word) at = l;
        }
        assert_true(fabs(at - log(z) - (double)((float *)out[0].data)[i]) < 2e-5);
        for (int k = 0; k < IN; k++) {
            double want = (double)((float *)g.data)[i] *
                          ((double)((float *)w.data)[word * IN + k] - mean[k] / z);
            assert_true(fabs(want - (double)((float *)dx.data)[i * IN + k]) < 1e-5);
        }
    }
    tn_tensor *all[] = { &x, &w, &t, &out[0], &out[1], &g, &dx };
    for (int i = 0; i < 7; i++) free(all[i]->data);
    free(c.scratch);
}

/* A teacher's distribution as the target, against the formula in double: KL(q || p), and p - q through the
 * head, into x and into w. */
static void taught_rows(int n_vocab)
{
    enum { ROWS = 3, IN = 6, WIDE = 7 };
    const tn_head_params p = { .train = true };
    tn_tensor            x = matrix(ROWS, IN, 1);
    tn_tensor            w = matrix(n_vocab, IN, 2);
    tn_tensor            t = ints(ROWS, 4);
    tn_tensor            weight = matrix(1, ROWS, 0);
    tn_tensor            tx = matrix(ROWS, WIDE, 5);
    tn_tensor            one = matrix(1, 1, 0);
    tn_tensor            tw = matrix(n_vocab, WIDE, 6);
    tn_tensor            taught = ints(ROWS, 1);
    tn_tensor            loss = matrix(1, 1, 0);
    tn_tensor            nll = matrix(1, ROWS, 0);
    tn_tensor            dx = matrix(ROWS, IN, 0);
    tn_tensor            dw = matrix(n_vocab, IN, 0);
    tn_call              c = { .op = &tn_op_head_loss,
                               .params = &p,
                               .n_in = 7,
                               .n_out = 3,
                               .in = { &x, &w, &t, &weight, &tx, &tw, &taught },
                               .out = { &loss, &nll, &dx },
                               .dout = { &one },
                               .din = { NULL, &dw } };
    double              *l = calloc((size_t)n_vocab, sizeof *l), *s = calloc((size_t)n_vocab, sizeof *s),
           *gw = calloc((size_t)n_vocab * IN, sizeof *gw), total = 0;
    for (int i = 0; i < ROWS; i++) {
        ((int32_t *)t.data)[i] = i;
        ((int32_t *)taught.data)[i] = i != 1; /* row 1 keeps its word */
        ((float *)weight.data)[i] = 1.0f + (float)i;
    }
    ((float *)one.data)[0] = 1.0f;
    give_scratch(&c);
    tn_op_forward(&c);
    tn_op_backward(&c);
    for (int i = 0; i < ROWS; i++) {
        double zl = 0, zs = 0, want = 0, g[IN] = { 0 };
        for (int j = 0; j < n_vocab; j++) {
            l[j] = s[j] = 0;
            for (int k = 0; k < IN; k++)
                l[j] += (double)((float *)x.data)[i * IN + k] * (double)((float *)w.data)[j * IN + k];
            for (int k = 0; k < WIDE; k++)
                s[j] += (double)((float *)tx.data)[i * WIDE + k] * (double)((float *)tw.data)[j * WIDE + k];
            zl += exp(l[j]);
            zs += exp(s[j]);
        }
        for (int j = 0; j < n_vocab; j++) {
            double pj = exp(l[j]) / zl, qj = i == 1 ? j == i : exp(s[j]) / zs;
            if (qj > 0) want += qj * (log(qj) - log(pj));
            for (int k = 0; k < IN; k++) {
                g[k] += (1.0 + i) * (pj - qj) * (double)((float *)w.data)[j * IN + k];
                gw[j * IN + k] += (1.0 + i) * (pj - qj) * (double)((float *)x.data)[i * IN + k];
            }
        }
        total += (1.0 + i) * want;
        if (fabs(want - (double)((float *)nll.data)[i]) > 2e-5)
            fail_msg("%d words, row %d: %g, expected %g", n_vocab, i, (double)((float *)nll.data)[i], want);
        for (int k = 0; k < IN; k++) assert_true(fabs(g[k] - (double)((float *)dx.data)[i * IN + k]) < 1e-5);
    }
    for (int j = 0; j < n_vocab * IN; j++)
        if (fabs(gw[j] - (double)((float *)dw.data)[j]) > 1e-5)
            fail_msg("%d words, w element %d: %g, expected %g", n_vocab, j, (double)((float *)dw.data)[j],
                     gw[j]);
    assert_true(fabs(total - (double)((float *)loss.data)[0]) < 1e-4);
    tn_tensor *all[] = { &x, &w, &t, &weight, &tx, &one, &tw, &taught, &loss, &nll, &dx, &dw };
    for (int i = 0; i < 12; i++) free(all[i]->data);
    free(c.scratch);
    free(l);
    free(s);
    free(gw);
}

/* From some thousand words on rows of logits do not lie one behind the other; the reference shares that with
 * the kernels, the formula does not. */
static void a_taught_row_learns_the_teachers_distribution(void **state)
{
    (void)state;
    taught_rows(9);
    taught_rows(5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_outside_the_vocabulary_is_nan_in_every_kernel),
        cmocka_unit_test(the_log_partition_of_the_head_has_a_gradient),
        cmocka_unit_test(a_log_probability_over_many_words_is_the_formula),
        cmocka_unit_test(a_taught_row_learns_the_teachers_distribution),
    };
    return cmocka_run_group_tests_name("head", tests, NULL, NULL);
}
