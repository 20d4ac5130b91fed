/* test_ops.c - what the walk cannot say: documents alone and packed, no rows at all, numbers out of range,
 * second outputs' gradients, sums and the optimiser's step under any cut, messages of the shape rules. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/thread.h"
#include "tensor/tensor.h"

static void *made(size_t n)
{
    void *p = aligned_alloc(64, (n + 127) / 64 * 64);
    memset(p, 0, (n + 127) / 64 * 64);
    return p;
}

static tn_tensor matrix(int64_t rows, int64_t cols, uint64_t seed)
{
    const tn_rng_key key = { .seed = seed, .purpose = TN_RNG_TEST };

    tn_tensor t = {
        .dtype = TN_F32, .n_dim = 2, .shape = { rows, cols }, .data = made((size_t)(rows * cols) * 4)
    };
    for (int64_t i = 0; seed != 0 && i < rows * cols; i++)
        ((float *)t.data)[i] = (float)tn_rng_normal(&key, (uint64_t)i);
    return t;
}

static tn_tensor ints(int64_t n, int32_t value)
{
    tn_tensor t = { .dtype = TN_I32, .n_dim = 1, .shape = { n }, .data = made((size_t)n * 4) };
    for (int64_t i = 0; i < n; i++) ((int32_t *)t.data)[i] = value;
    return t;
}

/* Scratch of the call, forward or backward; freed by the caller. */
static void give_scratch(tn_call *c)
{
    size_t a = c->op->scratch == NULL ? 0 : c->op->scratch(c, false),
           b = c->op->scratch == NULL ? 0 : c->op->scratch(c, true);
    c->scratch_bytes = a > b ? a : b;
    c->scratch = made(c->scratch_bytes + 64);
}

static bool same(const tn_tensor *a, const float *b) { return tn_same_bits(a->data, b, tn_n_elem(a), NULL); }

static void a_document_packed_gives_the_bits_of_the_document_alone(void **state)
{
    enum { H = 4, K = 2, D = 64, N = 230 };
    static const int          lengths[] = { 3, 100, 1, 126 };
    const tn_attention_params p = { H, K, D, D, 0, 0.125f, 0, TN_F32 };
    (void)state;
    for (const tn_kernel *k = tn_op_attention.kernels; k->name != NULL; k++) {
        if (!k->usable()) continue;
        tn_tensor q = matrix(N, H * D, 1), kk = matrix(N, K * D, 2), v = matrix(N, K * D, 3),
                  dout = matrix(N, H * D, 4), start = ints(N, 0);
        tn_tensor out = matrix(N, H * D, 0), lse = matrix(N, H, 0), dq = matrix(N, H * D, 0),
                  dk = matrix(N, K * D, 0), dv = matrix(N, K * D, 0);
        for (int i = 0, row = 0; i < 4; i++)
            for (int r = 0, s = row; r < lengths[i]; r++) ((int32_t *)start.data)[row++] = s;
        tn_call c = { .op = &tn_op_attention,
                      .params = &p,
                      .n_in = 4,
                      .n_out = 2,
                      .in = { &q, &kk, &v, &start },
                      .out = { &out, &lse },
                      .dout = { &dout },
                      .din = { &dq, &dk, &dv } };
        give_scratch(&c);
        k->fwd(&c);
        k->bwd(&c);
        for (int i = 0, row = 0; i < 4; row += lengths[i++]) {
            tn_tensor *whole[] = { &q, &kk, &v, &dout }, part[4], made_here[5] = { out, lse, dq, dk, dv },
                      alone = ints(lengths[i], 0);
            for (int t = 0; t < 4; t++) {
                part[t] = *whole[t];
                part[t].shape[0] = lengths[i];
                part[t].data = (float *)whole[t]->data + row * whole[t]->shape[1];
            }
            for (int t = 0; t < 5; t++) made_here[t] = matrix(lengths[i], made_here[t].shape[1], 0);
            tn_call d = { .op = c.op,
                          .params = &p,
                          .n_in = 4,
                          .n_out = 2,
                          .in = { &part[0], &part[1], &part[2], &alone },
                          .out = { &made_here[0], &made_here[1] },
                          .dout = { &part[3] },
                          .din = { &made_here[2], &made_here[3], &made_here[4] } };
            give_scratch(&d);
            k->fwd(&d);
            k->bwd(&d);
            tn_tensor *want[5] = { &out, &lse, &dq, &dk, &dv };
            for (int t = 0; t < 5; t++)
                if (!same(&made_here[t], (float *)want[t]->data + row * want[t]->shape[1]))
                    fail_msg("%s: result %d of document %d differs", k->name, t, i);
            for (int t = 0; t < 5; t++) free(made_here[t].data);
            free(alone.data);
            free(d.scratch);
        }
        tn_tensor *all[] = { &q, &kk, &v, &dout, &start, &out, &lse, &dq, &dk, &dv };
        for (int t = 0; t < 10; t++) free(all[t]->data);
        free(c.scratch);
    }
}

/* Both ways of cutting the backward pass: one long document of one head cannot fill eight threads. */
static void attention_gradients_do_not_depend_on_how_work_is_cut(void **state)
{
    enum { D = 48, N = 400 };
    const tn_attention_params p = { 2, 1, D, D, 90, 0.1f, 0, TN_F32 };
    int                       before = tn_threads();
    uint32_t                  first[3][TN_SHA256_BYTES];
    (void)state;
    for (int t = 0; t < 3; t++) {
        tn_threads_set(t == 0 ? 1 : t == 1 ? 5 : 8, NULL);
        tn_tensor q = matrix(N, 2 * D, 1), k = matrix(N, D, 2), v = matrix(N, D, 3),
                  dout = matrix(N, 2 * D, 4), start = ints(N, 0);
        tn_tensor out = matrix(N, 2 * D, 0), lse = matrix(N, 2, 0),
                  d[3] = { matrix(N, 2 * D, 0), matrix(N, D, 0), matrix(N, D, 0) };
        tn_call c = { .op = &tn_op_attention,
                      .params = &p,
                      .n_in = 4,
                      .n_out = 2,
                      .in = { &q, &k, &v, &start },
                      .out = { &out, &lse },
                      .dout = { &dout },
                      .din = { &d[0], &d[1], &d[2] } };
        give_scratch(&c);
        tn_op_forward(&c);
        tn_op_backward(&c);
        for (int i = 0; i < 3; i++) {
            struct tn_digest h;
            tn_tensor_hash(&h, &d[i]);
            if (t == 0) memcpy(first[i], &h, sizeof h);
            else assert_memory_equal(first[i], &h, sizeof h);
            free(d[i].data);
        }
        tn_tensor *all[] = { &q, &k, &v, &dout, &start, &out, &lse };
        for (int i = 0; i < 7; i++) free(all[i]->data);
        free(c.scratch);
    }
    tn_threads_set(before, NULL);
}

static void no_rows_are_no_work(void **state)
{
    tn_case k;
    (void)state;
    for (int id = 1; id < TN_OP_COUNT; id++) {
        const tn_op *op = tn_op_get((tn_op_id)id);
        if (op->cases == NULL || op->cases(&k, 0) == 0 || k.by_row == 0) continue;
        tn_tensor out[TN_MAX_OUT] = { 0 }, dout, din[TN_MAX_IN];
        tn_call   c = { .op = op, .params = k.params, .n_in = k.n_in, .n_out = op->n_out };
        int64_t   n_row = op == &tn_op_embedding ? k.in[0].shape[0] : k.in[__builtin_ctz(k.by_row)].shape[0];
        for (int i = 0; i < k.n_in; i++) {
            if (k.in[i].n_dim == 0) continue;
            if ((k.by_row >> i & 1) != 0 && k.in[i].shape[0] == n_row) k.in[i].shape[0] = 0;
            k.in[i].data = made(tn_n_bytes(&k.in[i]));
            c.in[i] = &k.in[i];
            din[i] = k.in[i];
            din[i].data = made(tn_n_bytes(&k.in[i]));
            c.din[i] = k.differentiable[i] ? &din[i] : NULL;
        }
        for (int i = 0; i < op->n_out; i++) c.out[i] = &out[i];
        tn_error err;
        if (op->shape(&c, &err) != TN_OK) fail_msg("%s: %s", op->name, err.msg);
        for (int i = 0; i < op->n_out; i++) out[i].data = made(tn_n_bytes(&out[i]));
        dout = out[0];
        dout.data = made(tn_n_bytes(&dout));
        c.dout[0] = &dout;
        give_scratch(&c);
        for (const tn_kernel *kernel = op->kernels; kernel->name != NULL; kernel++) {
            if (!kernel->usable()) continue;
            kernel->fwd(&c);
            if (kernel->bwd != NULL) kernel->bwd(&c);
        }
        for (int i = 0; i < k.n_in; i++)
            if (k.in[i].n_dim != 0) {
                free(k.in[i].data);
                free(din[i].data);
            }
        for (int i = 0; i < op->n_out; i++) free(out[i].data);
        free(dout.data);
        free(c.scratch);
    }
}

static void ids_out_of_range_give_nan_and_touch_nothing(void **state)
{
    tn_tensor w = matrix(5, 8, 1), ids = ints(3, 2), y = matrix(3, 8, 0), dy = matrix(3, 8, 2),
              dw = matrix(5, 8, 0);
    const tn_embedding_params p = { 1.0f };
    tn_call                   c = { .op = &tn_op_embedding,
                                    .params = &p,
                                    .n_in = 2,
                                    .n_out = 1,
                                    .in = { &ids, &w },
                                    .out = { &y },
                                    .dout = { &dy },
                                    .din = { NULL, &dw } };
    (void)state;
    ((int32_t *)ids.data)[0] = -1;
    ((int32_t *)ids.data)[1] = 5;
    tn_op_forward(&c);
    tn_op_backward(&c);
    for (int i = 0; i < 16; i++) assert_true(isnan(((float *)y.data)[i]));
    assert_true(tn_same_bits((float *)y.data + 16, (float *)w.data + 16, 8, NULL));
    for (int i = 0; i < 40; i++) assert_true(i / 8 == 2 || ((float *)dw.data)[i] == 0.0f);
    tn_tensor *all[] = { &w, &ids, &y, &dy, &dw };
    for (int t = 0; t < 5; t++) free(all[t]->data);
}

/* The same in a mixture of experts: every kernel says NaN for the row, and gives it no gradient. */
static void an_expert_that_does_not_exist_is_nan_in_every_kernel(void **state)
{
    enum { N = 4, E = 3, D = 21, F = 18 };
    const tn_moe_params p = {
        .n_expert = E, .k = 2, .n_ff = F, .act = TN_ACT_SILU, .profile = TN_PROFILE_STRICT
    };
    tn_tensor x = matrix(N, D, 1), weights = matrix(N, 2, 2), ids = ints(N * 2, 1),
              gate = matrix(E * F, D, 3), up = matrix(E * F, D, 4), down = matrix(E * D, F, 5),
              dy = matrix(N, D, 6);
    float *first[2] = { NULL };
    (void)state;
    ids.n_dim = 2, ids.shape[0] = N, ids.shape[1] = 2;
    ((int32_t *)ids.data)[1] = -1;
    ((int32_t *)ids.data)[4] = E;
    for (int i = 3; i < 8; i += 2) ((int32_t *)ids.data)[i] = 2;
    for (const tn_kernel *k = tn_op_moe.kernels; k->name != NULL; k++) {
        if (!k->usable()) continue;
        tn_tensor y = matrix(N, D, 0), g = matrix(N * 2, F, 0), u = matrix(N * 2, F, 0), dx = matrix(N, D, 7);
        tn_call   c = { .op = &tn_op_moe,
                        .params = &p,
                        .n_in = 6,
                        .n_out = 3,
                        .in = { &x, &weights, &ids, &gate, &up, &down },
                        .out = { &y, &g, &u },
                        .dout = { &dy },
                        .din = { &dx },
                        .add = { true } };
        give_scratch(&c);
        k->fwd(&c);
        k->bwd(&c);
        for (int i = 0; i < N * D; i++)
            assert_int_equal(isnan(((float *)y.data)[i]) != 0, i / D == 0 || i / D == 2);
        if (first[0] == NULL) first[0] = y.data, first[1] = dx.data;
        else if (!same(&y, first[0]) || !same(&dx, first[1]))
            fail_msg("%s differs from the definition", k->name);
        if (first[0] != y.data) free(y.data), free(dx.data);
        free(g.data), free(u.data), free(c.scratch);
    }
    tn_tensor *all[] = { &x, &weights, &ids, &gate, &up, &down, &dy };
    for (int t = 0; t < 7; t++) free(all[t]->data);
    free(first[0]), free(first[1]);
}

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

/* Loss over every output of the router, and over both of head_logprob, by central differences. */
static double all_outputs(tn_call *c, const tn_tensor *weights)
{
    double s = 0;
    tn_op_forward(c);
    for (int o = 0; o < c->n_out; o++) {
        if (c->out[o]->dtype != TN_F32) continue;
        for (int64_t i = 0; i < tn_n_elem(c->out[o]); i++)
            s += (double)((float *)c->out[o]->data)[i] * (double)((float *)weights[o].data)[i];
    }
    return s;
}

static void second_outputs_have_gradients(void **state)
{
    static const tn_router_params r[] = {
        { .n_expert = 6, .k = 2, .kind = TN_ROUTE_SOFTMAX_TOPK, .renormalise = true, .scale = 1 },
        { .n_expert = 6, .k = 2, .kind = TN_ROUTE_TOPK_SOFTMAX, .scale = 1 },
        { .n_expert = 6, .k = 2, .kind = TN_ROUTE_SIGMOID, .renormalise = true, .scale = 2 },
    };
    (void)state;
    for (int i = 0; i < 3; i++) {
        tn_tensor l = matrix(4, 6, 7),
                  out[4] = { matrix(4, 2, 0), ints(8, 0), matrix(1, 12, 0), matrix(4, 6, 0) },
                  g[4] = { matrix(4, 2, 8), ints(8, 0), matrix(1, 12, 9), matrix(4, 6, 10) };
        tn_tensor dl = matrix(4, 6, 0);
        tn_call   c = { .op = &tn_op_router,
                        .params = &r[i],
                        .n_in = 1,
                        .n_out = 4,
                        .in = { &l },
                        .out = { &out[0], &out[1], &out[2], &out[3] },
                        .dout = { &g[0], NULL, &g[2], &g[3] },
                        .din = { &dl } };
        for (int e = 0; e < 6; e++) ((float *)g[2].data)[e] = 0.0f; /* fractions are counts: no gradient */
        tn_op_forward(&c);
        tn_op_backward(&c);
        for (int j = 0; j < 24; j++) {
            float *x = (float *)l.data + j, was = *x, h = 0x1p-9f;
            *x = was + h;
            double a = all_outputs(&c, g);
            *x = was - h;
            double b = all_outputs(&c, g), fd = (a - b) / (2.0 * (double)h),
                   got = (double)((float *)dl.data)[j];
            *x = was;
            if (fabs(fd - got) > 5e-3 * (1.0 + fabs(got)))
                fail_msg("router %d, logit %d: gradient %g, finite difference %g", i, j, got, fd);
        }
        for (int t = 0; t < 4; t++) {
            free(out[t].data);
            free(g[t].data);
        }
        free(l.data);
        free(dl.data);
    }
}

/* The balancing and z losses that the router adds by itself. */
static void the_routers_own_losses_have_the_gradients_of_their_formulas(void **state)
{
    const tn_router_params p = {
        .n_expert = 5, .k = 2, .kind = TN_ROUTE_SOFTMAX_TOPK, .scale = 1, .aux_coef = 0.3f, .z_coef = 0.2f
    };
    tn_tensor l = matrix(4, 5, 3),
              out[4] = { matrix(4, 2, 0), ints(8, 0), matrix(1, 10, 0), matrix(4, 5, 0) },
              dw = matrix(4, 2, 0), dl = matrix(4, 5, 0);
    tn_call c = { .op = &tn_op_router,
                  .params = &p,
                  .n_in = 1,
                  .n_out = 4,
                  .in = { &l },
                  .out = { &out[0], &out[1], &out[2], &out[3] },
                  .dout = { &dw },
                  .din = { &dl } };
    (void)state;
    tn_op_forward(&c);
    tn_op_backward(&c);
    double fraction[5];
    for (int e = 0; e < 5; e++) fraction[e] = (double)((float *)out[2].data)[e];
    for (int j = 0; j < 20; j++) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            double total = 0, mean[5] = { 0 }, z = 0;
            for (int r = 0; r < 4; r++) {
                double s = 0, v[5];
                for (int e = 0; e < 5; e++)
                    s += v[e] = exp((double)((float *)l.data)[5 * r + e] +
                                    (5 * r + e == j ? (side == 0 ? 1e-4 : -1e-4) : 0));
                for (int e = 0; e < 5; e++) mean[e] += v[e] / s / 4;
                z += log(s) * log(s) / 4;
            }
            for (int e = 0; e < 5; e++) total += 0.3 * 5 * fraction[e] * mean[e];
            loss[side] = total + 0.2 * z;
        }
        double fd = (loss[0] - loss[1]) / 2e-4, got = (double)((float *)dl.data)[j];
        if (fabs(fd - got) > 1e-4 * (1 + fabs(got)))
            fail_msg("logit %d: gradient %g, expected %g", j, got, fd);
    }
    for (int t = 0; t < 4; t++) free(out[t].data);
    free(l.data);
    free(dw.data);
    free(dl.data);
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

static void long_sums_do_not_depend_on_threads_or_instructions(void **state)
{
    enum { N = 65536 * 5 + 777 };
    static const char *const isa[] = { "ref", "avx2", "avx512" };
    tn_tensor                x = matrix(1, N, 11);
    float                    sum = 0;
    double                   sq = 0, exact = 0, exact_sq = 0;
    int                      before = tn_threads();
    (void)state;
    for (int64_t i = 0; i < N; i++) {
        exact += (double)((float *)x.data)[i];
        exact_sq += (double)((float *)x.data)[i] * (double)((float *)x.data)[i];
    }
    for (int k = 0; k < 3; k++) {
        if (tn_isa_set(isa[k], NULL) != TN_OK) continue;
        for (int t = 1; t < 5; t++) {
            tn_threads_set(t, NULL);
            float  s = tn_block_tree_sum(x.data, N);
            double q = tn_sum_sq(x.data, N);
            if (k == 0 && t == 1) {
                sum = s;
                sq = q;
            }
            assert_true(s == sum && q == sq);
        }
    }
    tn_isa_set("auto", NULL);
    tn_threads_set(before, NULL);
    assert_true(fabs((double)sum - exact) < 1e-2 && fabs(sq / exact_sq - 1) < 1e-6);
    assert_true(tn_block_tree_sum(x.data, 0) == 0.0f);
    free(x.data);
}

static void an_adamw_step_is_the_formula_and_the_same_under_any_cut(void **state)
{
    enum { N = 1000 };
    static const char *const isa[] = { "ref", "avx2", "avx512" };
    const tn_adamw_params    a = { .lr = 1e-3f,
                                   .beta1 = 0.9f,
                                   .beta2 = 0.95f,
                                   .eps = 1e-8f,
                                   .weight_decay = 0.1f,
                                   .step = 7,
                                   .grad_scale = 0.5f };
    const tn_rng_key         round = { .seed = 3, .purpose = TN_RNG_ROUND, .step = 7 };
    uint16_t                 h[4][N];
    float                    first[3][N];
    (void)state;
    for (int k = 0; k < 4; k++) { /* three instruction sets, then one cut into odd pieces */
        tn_tensor p = matrix(1, N, 1), m = matrix(1, N, 2), v = matrix(1, N, 3), g = matrix(1, N, 4),
                  was[3] = { matrix(1, N, 1), matrix(1, N, 2), matrix(1, N, 3) };
        for (int i = 0; i < N; i++)
            ((float *)v.data)[i] = ((float *)was[2].data)[i] = fabsf(((float *)v.data)[i]);
        if (k < 3 && tn_isa_set(isa[k], NULL) != TN_OK) k = 3;
        if (k == 3) tn_isa_set("auto", NULL);
        float *pp = p.data, *mm = m.data, *vv = v.data, *gg = g.data;
        if (k < 3) tn_adamw_step(pp, mm, vv, gg, h[k], N, &a, &round, 64);
        else
            for (int i = 0, n; i < N; i += n) {
                n = 1 + i * 7 % 130;
                if (n > N - i) n = N - i;
                tn_adamw_step(pp + i, mm + i, vv + i, gg + i, h[k] + i, n, &a, &round, 64 + i);
            }
        if (k == 0) {
            memcpy(first[0], pp, sizeof first[0]);
            memcpy(first[1], mm, sizeof first[1]);
            memcpy(first[2], vv, sizeof first[2]);
        } else {
            assert_memory_equal(first[0], pp, sizeof first[0]);
            assert_memory_equal(first[1], mm, sizeof first[1]);
            assert_memory_equal(first[2], vv, sizeof first[2]);
            assert_memory_equal(h[0], h[k], sizeof h[0]);
        }
        for (int i = 0; i < N; i++) {
            double gr = 0.5 * (double)gg[i], m1 = 0.9 * (double)((float *)was[1].data)[i] + 0.1 * gr,
                   v1 = 0.95 * (double)((float *)was[2].data)[i] + 0.05 * gr * gr;
            double want = (double)((float *)was[0].data)[i] * (1 - 1e-4) -
                          1e-3 * (m1 / (1 - pow(0.9, 7))) / (sqrt(v1 / (1 - pow(0.95, 7))) + 1e-8);
            assert_true(fabs(want - (double)pp[i]) < 2e-6);
            float up = tn_bf16_to_f32(h[k][i]);
            assert_true(fabsf(up - pp[i]) <= fabsf(pp[i]) * 0x1p-7f);
        }
        tn_tensor *all[] = { &p, &m, &v, &g, &was[0], &was[1], &was[2] };
        for (int i = 0; i < 7; i++) free(all[i]->data);
    }
    tn_isa_set("auto", NULL);
}

/* An operation's mask of inputs without a gradient and its self-test's cases say the same. */
static void inputs_without_a_gradient_are_those_that_no_case_takes_one_of(void **state)
{
    (void)state;
    for (int id = 1; id < TN_OP_COUNT; id++) {
        const tn_op *op = tn_op_get((tn_op_id)id);
        uint32_t     there = 0, gives = 0;
        tn_case      k;
        if (op->kernels[0].bwd == NULL) continue;
        for (int i = 0; op->cases(&k, i) != 0; i++)
            for (int j = 0; j < k.n_in; j++) {
                there |= (uint32_t)(k.in[j].n_dim > 0 && k.in[j].dtype == TN_F32) << j;
                gives |= (uint32_t)k.differentiable[j] << j;
            }
        if ((there & ~gives) != op->no_grad_in || (op->held_in & ~op->no_grad_in) != 0)
            fail_msg("%s: no_grad_in is %#x, the cases say %#x; held_in is %#x", op->name, op->no_grad_in,
                     there & ~gives, op->held_in);
    }
}

/* The gradient of a row factor is one chain over all rows that ever come: two at once, or one and then the
 * other. */
static void the_gradient_of_a_row_factor_does_not_depend_on_the_runs(void **state)
{
    enum { N = 37 };
    (void)state;
    for (const tn_kernel *k = tn_op_mul.kernels; k->name != NULL; k++) {
        if (!k->usable()) continue;
        tn_tensor x = matrix(2, N, 1), dy = matrix(2, N, 2), row = matrix(1, N, 3), y = matrix(2, N, 0),
                  once = matrix(1, N, 0), twice = matrix(1, N, 0);
        tn_call c = { .op = &tn_op_mul,
                      .n_in = 2,
                      .n_out = 1,
                      .in = { &x, &row },
                      .out = { &y },
                      .dout = { &dy },
                      .din = { NULL, &once } };
        k->bwd(&c);
        c.din[1] = &twice;
        x.shape[0] = dy.shape[0] = y.shape[0] = 1;
        k->bwd(&c);
        x.data = (float *)x.data + N;
        dy.data = (float *)dy.data + N;
        c.add[1] = true;
        k->bwd(&c);
        if (!same(&once, twice.data))
            fail_msg("mul, %s: rows in two runs have another gradient than at once", k->name);
        free((float *)x.data - N), free((float *)dy.data - N), free(row.data), free(y.data), free(once.data),
            free(twice.data);
    }
}

/* Sizes whose products wrap, and numbers that are none. */
static void shapes_that_wrap_are_refused(void **state)
{
    const int64_t big = (int64_t)1 << 32;
    tn_tensor     none[2] = { { .n_dim = 2, .shape = { 2, 0 } }, { .n_dim = 2, .shape = { 2, 0 } } };
    tn_tensor     rows = { .n_dim = 2, .shape = { big * 256, 4 } };
    tn_tensor     w = { .n_dim = 2, .shape = { big / 4, 4 } };
    tn_tensor     less = { .n_dim = 2, .shape = { -4, 3 } };
    tn_tensor     few = { .n_dim = 2, .shape = { 4, 3 } };
    tn_tensor     q = { .n_dim = 2, .shape = { 2 * big, 1 } };
    tn_tensor     start = { .dtype = TN_I32, .n_dim = 1, .shape = { 2 * big } };
    tn_tensor     x = { .n_dim = 2, .shape = { big / 2, 4 } };
    tn_tensor     pair = { .n_dim = 2, .shape = { big / 2, 2 } };
    tn_tensor     ids = { .dtype = TN_I32, .n_dim = 2, .shape = { big / 2, 2 } };
    tn_tensor     up = { .n_dim = 2, .shape = { 32, 4 } };
    tn_tensor     down = { .n_dim = 2, .shape = { 16, 8 } };
    tn_tensor     t = { .dtype = TN_I32, .n_dim = 1, .shape = { 4 } };
    tn_tensor     one = { .n_dim = 1, .shape = { 4 } };
    tn_tensor     r = { .n_dim = 2, .shape = { 4, 4 } };
    tn_tensor     row3 = { .n_dim = 2, .shape = { 9, 3 } };
    // clang-format off
    const struct { const tn_op *op; const void *params; tn_tensor *in[6]; tn_status status; const char *words; } bad[] = {
        { &tn_op_cols, &(tn_cols_params){ big, big, 0, 2 }, { &none[0] }, TN_MISMATCH, "groups" },
        { &tn_op_cols, &(tn_cols_params){ 1, 3, INT64_MAX, 2 }, { &few }, TN_MISMATCH, "not inside" },
        { &tn_op_concat, &(tn_concat_params){ big, big, big, false }, { &none[0], &none[1] }, TN_MISMATCH, "groups" },
        { &tn_op_matmul, &(tn_matmul_params){ 0 }, { &rows, &w }, TN_LIMIT, "cannot be addressed" },
        { &tn_op_matmul, &(tn_matmul_params){ 0 }, { &less, &few }, TN_LIMIT, "cannot be addressed" },
        { &tn_op_matmul, &(tn_matmul_params){ 0 }, { &few, &less }, TN_LIMIT, "cannot be addressed" },
        { &tn_op_attention, &(tn_attention_params){ 1, 1, 1, 1, 0, 0.1f, 0, TN_F32 }, { &q, &q, &q, &start }, TN_LIMIT, "rows" },
        { &tn_op_attention, &(tn_attention_params){ 1, 1, 1, 1, 0, NAN, 0, TN_F32 }, { &q, &q, &q, &start }, TN_MISMATCH, "scale is nan" },
        { &tn_op_moe, &(tn_moe_params){ 4, 2, 8, TN_ACT_SILU, 0, TN_PROFILE_STRICT }, { &x, &pair, &ids, NULL, &up, &down }, TN_LIMIT, "experts each" },
        { &tn_op_router, &(tn_router_params){ .n_expert = 4, .k = 2, .scale = NAN }, { &r }, TN_MISMATCH, "scale is nan" },
        { &tn_op_router, &(tn_router_params){ .n_expert = 4, .k = 2, .scale = 1, .z_coef = INFINITY }, { &r }, TN_MISMATCH, "z_coef is inf" },
        { &tn_op_head_loss, &(tn_head_params){ .z_coef = NAN }, { &few, &row3, &t, &one }, TN_MISMATCH, "z_coef is nan" },
        { &tn_op_head_logprob, &(tn_head_logprob_params){ .temperature = INFINITY }, { &few, &row3, &t }, TN_MISMATCH, "temperature is inf" } };
    // clang-format on
    float table[8];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tn_tensor out[TN_MAX_OUT];
        tn_error  err = { 0 };
        tn_call   c = { .op = bad[i].op,
                        .params = bad[i].params,
                        .n_in = 6,
                        .n_out = bad[i].op->n_out,
                        .out = { &out[0], &out[1], &out[2], &out[3] } };
        memcpy(c.in, bad[i].in, sizeof bad[i].in);
        memset(out, 0, sizeof out);
        tn_status status = c.op->shape(&c, &err);
        if (status != bad[i].status || strstr(err.msg, bad[i].words) == NULL)
            fail_msg("case %zu, %s: status %d, '%s'", i, c.op->name, (int)status, err.msg);
    }
    tn_error err = { 0 };
    assert_int_equal(tn_rope_table(table, -1, 4, 1e4, NULL, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "-1 positions"));
    assert_int_equal(tn_rope_table(table, 2, 4, 1e4, &(tn_rope_scaling){ .kind = 77 }, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "number 77"));
}

static void a_dropped_row_keeps_its_mask_when_it_moves(void **state)
{
    tn_dropout_params p = { .p = 0.4f, .seed = 1, .step = 2, .node = 3 };
    tn_tensor x = matrix(4, 1000, 0), y = matrix(4, 1000, 0), z = matrix(4, 1000, 0), ids = ints(4, 0);

    tn_call c = {
        .op = &tn_op_dropout, .params = &p, .n_in = 2, .n_out = 1, .in = { &x, &ids }, .out = { &y }
    };
    int kept = 0;
    (void)state;
    for (int i = 0; i < 4000; i++) ((float *)x.data)[i] = 1.0f;
    for (int i = 0; i < 4; i++) ((int32_t *)ids.data)[i] = 10 + i;
    tn_op_forward(&c);
    for (int i = 0; i < 4; i++) ((int32_t *)ids.data)[i] = 13 - i;
    c.out[0] = &z;
    tn_op_forward(&c);
    for (int r = 0; r < 4; r++)
        assert_true(tn_same_bits((float *)y.data + 1000 * r, (float *)z.data + 1000 * (3 - r), 1000, NULL));
    for (int i = 0; i < 4000; i++) kept += ((float *)y.data)[i] != 0.0f;
    assert_in_range(kept, 2280, 2520); /* 2400 expected, sigma 31 */
    assert_false(tn_same_bits(y.data, (float *)y.data + 1000, 1000, NULL));
    p.step = 3;
    tn_op_forward(&c);
    assert_false(tn_same_bits((float *)y.data + 3000, z.data, 1000, NULL));
    tn_tensor *all[] = { &x, &y, &z, &ids };
    for (int i = 0; i < 4; i++) free(all[i]->data);
}

static void shapes_that_do_not_fit_are_named(void **state)
{
    tn_tensor x = { .dtype = TN_F32, .n_dim = 2, .shape = { 3, 10 } },
              w = { .dtype = TN_F32, .n_dim = 1, .shape = { 9 } },
              huge = { .dtype = TN_F32, .n_dim = 2, .shape = { INT64_MAX / 2, 16 } }, out[4];
    tn_error err;
    (void)state;
    tn_rmsnorm_params n = { .eps = 1e-5f };
    tn_call           c = { .op = &tn_op_rmsnorm,
                            .params = &n,
                            .n_in = 2,
                            .n_out = 2,
                            .in = { &x, &w },
                            .out = { &out[0], &out[1] } };
    assert_int_equal(c.op->shape(&c, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "rmsnorm"));
    assert_non_null(strstr(err.msg, "[9]"));
    assert_non_null(strstr(err.msg, "[10]"));
    c.in[0] = &huge;
    assert_int_equal(c.op->shape(&c, &err), TN_LIMIT);
    c.in[0] = NULL;
    assert_int_equal(c.op->shape(&c, &err), TN_MISMATCH);
    tn_attention_params a = { 3, 2, 8, 8, 0, 1, 0, TN_F32 };
    tn_call             d = { .op = &tn_op_attention,
                              .params = &a,
                              .n_in = 4,
                              .n_out = 2,
                              .in = { &x, &x, &x, &x },
                              .out = { &out[0], &out[1] } };
    assert_int_equal(d.op->shape(&d, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "3 query heads"));
    tn_kv *kv;
    assert_int_equal(tn_kv_create(&kv, 1, 1, 40, 40, 1, TN_Q8_0, &err), TN_MISMATCH);
    assert_int_equal(tn_kv_create(&kv, 60000, 60000, 4096, 4096, INT32_MAX, TN_F32, &err), TN_LIMIT);
    const char *const none[] = { "no_such", NULL };
    assert_int_equal(tn_selftest(none, 0, 0, NULL, NULL, &err), TN_USAGE);
}

static void run_ref(const tn_op *op, const void *params, tn_tensor *const in[4], tn_tensor *out,
                    tn_tensor *dout, tn_tensor *const din[4])
{
    tn_call c = {
        .op = op, .params = params, .n_in = op->n_in, .n_out = 1, .out = { out }, .dout = { dout }
    };
    for (int i = 0; i < op->n_in; i++) {
        c.in[i] = in[i];
        c.din[i] = din == NULL ? NULL : din[i];
        c.add[i] = true;
    }
    give_scratch(&c);
    if (din == NULL) op->kernels[0].fwd(&c);
    else op->kernels[0].bwd(&c);
    free(c.scratch);
}

/* Products and a sum, each by its definition, and the one operation that stands for them; every gradient
 * continues what is there. */
static void an_adapted_product_has_the_bits_of_its_parts(void **state)
{
    enum { IN = 45, OUT = 70, RANK = 5 };
    static const int        rows[] = { 3, 40, 700 };
    const tn_matmul_params  mm = { TN_PROFILE_STRICT };
    const tn_add_params     sum = { 0.7f };
    const tn_adapted_params p = { 0.7f, TN_PROFILE_STRICT };
    (void)state;
    for (const tn_kernel *k = tn_op_adapted.kernels; k->name != NULL; k++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows && k->usable(); i++) {
            int64_t   n = rows[i];
            tn_tensor x = matrix(n, IN, 1), w = matrix(OUT, IN, 2), a = matrix(RANK, IN, 3),
                      b = matrix(OUT, RANK, 4), dy = matrix(n, OUT, 5);
            tn_tensor low = matrix(n, RANK, 0), v = matrix(n, OUT, 0), up = matrix(n, OUT, 0),
                      want = matrix(n, OUT, 0), got = matrix(n, OUT, 0), kept = matrix(n, RANK, 0);
            tn_tensor dv = matrix(n, OUT, 0), dup = matrix(n, OUT, 0), dlow = matrix(n, RANK, 0),
                      dx = matrix(n, IN, 6), da = matrix(RANK, IN, 7), db = matrix(OUT, RANK, 8);
            tn_tensor dx2 = matrix(n, IN, 6), da2 = matrix(RANK, IN, 7), db2 = matrix(OUT, RANK, 8);
            run_ref(&tn_op_matmul, &mm, (tn_tensor *[4]){ &x, &a }, &low, NULL, NULL);
            run_ref(&tn_op_matmul, &mm, (tn_tensor *[4]){ &x, &w }, &v, NULL, NULL);
            run_ref(&tn_op_matmul, &mm, (tn_tensor *[4]){ &low, &b }, &up, NULL, NULL);
            run_ref(&tn_op_add, &sum, (tn_tensor *[4]){ &v, &up }, &want, NULL, NULL);
            run_ref(&tn_op_add, &sum, (tn_tensor *[4]){ &v, &up }, &want, &dy, (tn_tensor *[4]){ &dv, &dup });
            run_ref(&tn_op_matmul, &mm, (tn_tensor *[4]){ &low, &b }, &up, &dup,
                    (tn_tensor *[4]){ &dlow, &db });
            run_ref(&tn_op_matmul, &mm, (tn_tensor *[4]){ &x, &a }, &low, &dlow,
                    (tn_tensor *[4]){ &dx, &da });
            run_ref(&tn_op_matmul, &mm, (tn_tensor *[4]){ &x, &w }, &v, &dv, (tn_tensor *[4]){ &dx, NULL });
            tn_call c = { .op = &tn_op_adapted,
                          .params = &p,
                          .n_in = 4,
                          .n_out = 2,
                          .in = { &x, &w, &a, &b },
                          .out = { &got, &kept },
                          .dout = { &dy },
                          .din = { &dx2, NULL, &da2, &db2 },
                          .add = { true, false, true, true } };
            give_scratch(&c);
            k->fwd(&c);
            k->bwd(&c);
            if (!same(&got, want.data) || !same(&kept, low.data))
                fail_msg("%s: y of %d rows differs from its parts", k->name, rows[i]);
            if (!same(&dx2, dx.data) || !same(&da2, da.data) || !same(&db2, db.data))
                fail_msg("%s: a gradient of %d rows differs from its parts", k->name, rows[i]);
            tn_tensor *all[] = { &x,    &w,  &a,   &b,    &dy, &low, &v,  &up,  &want, &got,
                                 &kept, &dv, &dup, &dlow, &dx, &da,  &db, &dx2, &da2,  &db2 };
            for (size_t t = 0; t < sizeof all / sizeof *all; t++) free(all[t]->data);
            free(c.scratch);
        }
}

static void hashes_do_not_see_the_payload_of_a_nan(void **state)
{
    static const uint32_t nans[2] = { 0x7fc00000u, 0xffc12345u };
    float                 x[2][3] = { { 1, 0, 2 }, { 1, 0, 2 } };
    tn_tensor             t[2];
    struct tn_digest      h[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        memcpy(&x[i][1], &nans[i], 4);
        t[i] = (tn_tensor){ .dtype = TN_F32, .n_dim = 1, .shape = { 3 }, .data = x[i] };
        tn_tensor_hash(&h[i], &t[i]);
    }
    assert_true(tn_digest_equal(&h[0], &h[1]));
    x[1][2] = -2;
    tn_tensor_hash(&h[1], &t[1]);
    assert_false(tn_digest_equal(&h[0], &h[1]));
}

static void a_shared_prefix_inside_a_page_can_be_copied(void **state)
{
    static const tn_dtype types[] = { TN_F32, TN_BF16, TN_Q8_0 };
    (void)state;
    for (int i = 0; i < 3; i++) {
        const tn_attention_params p = { 2, 1, 32, 64, 0, 0.2f, 0, types[i] };
        tn_attention_cache_params cp = { .a = p };
        tn_tensor q = matrix(31, 64, 1), k = matrix(31, 32, 2), v = matrix(31, 64, 3), pos = ints(31, 0),
                  pages = ints(31, 0), out = matrix(31, 128, 0), again = matrix(1, 128, 0);
        pages.n_dim = 2;
        pages.shape[0] = 31;
        pages.shape[1] = 1;
        assert_int_equal(tn_kv_create(&cp.kv, 1, 1, 32, 64, 2, types[i], NULL), TN_OK);
        assert_true(tn_kv_page_bytes(cp.kv) > 0);
        for (int r = 0; r < 31; r++) ((int32_t *)pos.data)[r] = r;
        tn_call c = { .op = &tn_op_attention_cache,
                      .params = &cp,
                      .n_in = 5,
                      .n_out = 1,
                      .in = { &q, &k, &v, &pos, &pages },
                      .out = { &out } };
        give_scratch(&c);
        tn_op_forward(&c);
        tn_kv_copy_page(cp.kv, 1, 0, 30); /* then row 30 again, on the other page */
        tn_tensor  q1 = q, k1 = k, v1 = v, pos1 = pos, pages1 = pages;
        tn_tensor *one[] = { &q1, &k1, &v1, &pos1, &pages1 };
        for (int t = 0; t < 5; t++) {
            if (t == 3) one[t]->data = (int32_t *)one[t]->data + 30;
            else one[t]->data = (char *)one[t]->data + 30 * tn_n_bytes(one[t]) / 31;
            one[t]->shape[0] = 1;
            c.in[t] = one[t];
        }
        ((int32_t *)pages1.data)[0] = 1;
        c.out[0] = &again;
        tn_op_forward(&c);
        assert_true(tn_same_bits(again.data, (float *)out.data + 30 * 128, 128, NULL));
        tn_kv_destroy(cp.kv);
        tn_tensor *all[] = { &q, &k, &v, &pos, &pages, &out, &again };
        for (int t = 0; t < 7; t++) free(all[t]->data);
        free(c.scratch);
    }
}

/* Each row names a call that a shape rule let through; the last number is what it says. */
static void parameters_that_make_no_sense_are_refused(void **state)
{
    tn_tensor x = { .dtype = TN_F32, .n_dim = 2, .shape = { 2, 8 } },
              ids = { .dtype = TN_I32, .n_dim = 1, .shape = { 2 } },
              table = { .dtype = TN_F32, .n_dim = 3, .shape = { 5, 1, 2 } },
              one = { .dtype = TN_F32, .n_dim = 2, .shape = { 2, 1 } },
              none = { .dtype = TN_F32, .n_dim = 2, .shape = { 0, 8 } },
              thin = { .dtype = TN_F32, .n_dim = 2, .shape = { 8, 0 } },
              tall = { .dtype = TN_F32, .n_dim = 2, .shape = { 8, 1 } },
              square = { .dtype = TN_F32, .n_dim = 2, .shape = { 8, 8 } },
              logits = { .dtype = TN_F32, .n_dim = 2, .shape = { 2, 4 } }, out[4];
    const struct {
        const tn_op *op;
        union {
            tn_rope_params      rope;
            tn_moe_params       moe;
            tn_matmul_params    matmul;
            tn_router_params    router;
            tn_rmsnorm_params   rms;
            tn_layernorm_params layer;
            tn_unary_params     unary;
            tn_adapted_params   adapted;
            tn_scale_params     scale;
            tn_add_params       add;
            tn_adapter_params   adapter;
        } p;
        int         n_in;
        tn_tensor  *in[6];
        const char *says;
    } t[] = {
        { &tn_op_rope,
          { .rope = { 1, 8, INT64_MAX, 2, false, false } },
          3,
          { &x, &ids, &table },
          "cannot be rotated" },
        { &tn_op_rope,
          { .rope = { (int64_t)1 << 61, 8, 0, 2, false, false } },
          3,
          { &x, &ids, &table },
          "heads of 8" },
        { &tn_op_moe,
          { .moe = { 2, 1, 4, TN_ACT_OSS, 0, 0 } },
          6,
          { &x, &one, &ids, &square, &square, &square },
          "limit is 0" },
        { &tn_op_moe,
          { .moe = { 2, 1, 4, TN_ACT_OSS, NAN, 0 } },
          6,
          { &x, &one, &ids, &square, &square, &square },
          "limit is nan" },
        { &tn_op_moe,
          { .moe = { 65536, 1, (int64_t)1 << 60, 0, 0, 0 } },
          6,
          { &x, &one, &ids, &square, &square, &square },
          "width" },
        { &tn_op_moe,
          { .moe = { 2, (int64_t)1 << 62, 4, 0, 0, 0 } },
          6,
          { &x, &one, &ids, &square, &square, &square },
          "experts of width" },
        { &tn_op_matmul, { .matmul = { (tn_profile)7 } }, 2, { &x, &square }, "no profile has number 7" },
        { &tn_op_router,
          { .router = { .n_expert = 4, .k = 1, .kind = 9, .scale = 1 } },
          1,
          { &logits },
          "number 9" },
        { &tn_op_rmsnorm, { .rms = { .eps = -1 } }, 1, { &x }, "eps is -1" },
        { &tn_op_layernorm, { .layer = { .eps = NAN } }, 1, { &x }, "eps is nan" },
        { &tn_op_unary, { .unary = { TN_ACT_SILU, INFINITY } }, 1, { &x }, "soft cap is inf" },
        { &tn_op_scale, { .scale = { NAN } }, 1, { &x }, "s is nan" },
        { &tn_op_add, { .add = { NAN } }, 2, { &x, &x }, "s is nan" },
        { &tn_op_adapter, { .adapter = { INFINITY } }, 3, { &x, &one, &tall }, "s is inf" },
        { &tn_op_adapted,
          { .adapted = { 1, TN_PROFILE_STRICT } },
          4,
          { &x, &square, &none, &thin },
          "rank 0" },
    };
    float           angles[40];
    tn_rope_scaling scaling = { .kind = TN_ROPE_PLAIN, .attn_factor = INFINITY };
    tn_error        err;
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        tn_call c = { .op = t[i].op,
                      .params = &t[i].p,
                      .n_in = t[i].n_in,
                      .n_out = t[i].op->n_out,
                      .out = { &out[0], &out[1], &out[2], &out[3] } };
        for (int k = 0; k < t[i].n_in; k++) c.in[k] = t[i].in[k];
        err.msg[0] = '\0';
        if (c.op->shape(&c, &err) != TN_MISMATCH || strstr(err.msg, t[i].says) == NULL)
            fail_msg("%s, row %zu of the table, should say '%s': '%s'", c.op->name, i, t[i].says, err.msg);
    }
    assert_int_equal(tn_rope_table(angles, 5, 8, 1e4, &scaling, &err), TN_MISMATCH);
    scaling.attn_factor = NAN;
    assert_int_equal(tn_rope_table(angles, 5, 8, 1e4, &scaling, &err), TN_MISMATCH);
    scaling.attn_factor = 0;
    assert_int_equal(tn_rope_table(angles, 5, 8, 1e4, &scaling, &err), TN_OK);
    tn_weight *w = NULL;
    assert_int_equal(tn_weight_pack(&w, angles, TN_F32, 5, 8, (tn_profile)7, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "profile number 7"));
    assert_null(w);
}

/* n_in = 0: y is +0, and so is dw of no rows; n_out = 0: dx is +0, or what it held. */
static void an_empty_chain_is_zero(void **state)
{
    const tn_matmul_params p = { TN_PROFILE_STRICT };
    (void)state;
    for (const tn_kernel *k = tn_op_matmul.kernels; k->name != NULL; k++) {
        if (!k->usable()) continue;
        tn_tensor x = matrix(3, 0, 0), w = matrix(7, 0, 0), y = matrix(3, 7, 1), wide = matrix(3, 5, 1),
                  empty = matrix(0, 5, 0), dy = matrix(3, 0, 0), dx = matrix(3, 5, 1),
                  before = matrix(3, 5, 1);
        float   zero[21] = { 0 };
        tn_call c = {
            .op = &tn_op_matmul, .params = &p, .n_in = 2, .n_out = 1, .in = { &x, &w }, .out = { &y }
        };
        give_scratch(&c);
        k->fwd(&c);
        assert_true(same(&y, zero));
        free(c.scratch);
        tn_call d = { .op = &tn_op_matmul,
                      .params = &p,
                      .n_in = 2,
                      .n_out = 1,
                      .in = { &wide, &empty },
                      .out = { &dy },
                      .dout = { &dy },
                      .din = { &dx },
                      .add = { true } };
        give_scratch(&d);
        k->bwd(&d);
        assert_true(same(&dx, before.data));
        d.add[0] = false;
        k->bwd(&d);
        assert_true(same(&dx, zero));
        free(d.scratch);
        tn_tensor *all[] = { &x, &w, &y, &wide, &empty, &dy, &dx, &before };
        for (int t = 0; t < 8; t++) free(all[t]->data);
    }
}

/* A NaN logit is chosen wherever it stands, groups or not, and makes the weights of its row NaN; the other
 * row knows nothing of it. */
static void a_nan_logit_is_chosen_and_makes_the_weights_nan(void **state)
{
    enum { E = 12, K = 2 };
    (void)state;
    for (const tn_kernel *k = tn_op_router.kernels; k->name != NULL; k++)
        for (int kind = 0; kind < 3 && k->usable(); kind++)
            for (int at = 0; at < 2 * E; at++) {
                const tn_router_params p = { .n_expert = E,
                                             .k = K,
                                             .n_group = at < E ? 1 : 3,
                                             .n_group_used = at < E ? 1 : 2,
                                             .kind = TN_ROUTE_SOFTMAX_TOPK + kind,
                                             .renormalise = true,
                                             .group_sum2 = at % 2,
                                             .scale = 1 };
                tn_tensor              l = matrix(2, E, 5);
                tn_tensor              w = matrix(2, K, 0);
                tn_tensor              ids = ints(2 * K, 0);
                tn_tensor              aux = matrix(2, E, 0);
                tn_tensor              probs = matrix(2, E, 0);
                ((float *)l.data)[at % E] = NAN;
                tn_call c = { .op = &tn_op_router,
                              .params = &p,
                              .n_in = 1,
                              .n_out = 4,
                              .in = { &l },
                              .out = { &w, &ids, &aux, &probs } };
                k->fwd(&c);
                bool chosen = false;
                for (int i = 0; i < K; i++) {
                    chosen |= ((int32_t *)ids.data)[i] == at % E;
                    float own = ((float *)w.data)[i], other = ((float *)w.data)[K + i];
                    if (!isnan(own) || isnan(other))
                        fail_msg("%s, kind %d, NaN at %d: weights %g and %g", k->name, kind, at % E,
                                 (double)own, (double)other);
                }
                /* a softmax with a NaN is NaN everywhere */
                if (kind != 0 && !chosen)
                    fail_msg("%s, kind %d: the NaN at expert %d was not chosen", k->name, kind, at % E);
                tn_tensor *all[] = { &l, &w, &ids, &aux, &probs };
                for (int t = 0; t < 5; t++) free(all[t]->data);
            }
}

/* Numbers that no packing makes: every kernel has the reference's bits, forward and backward, and legal ones
 * among them keep theirs. */
static void nonsense_in_doc_start_is_the_same_in_every_kernel(void **state)
{
    enum { N = 7, H = 2, D = 16 };
    static const int32_t      starts[][N] = { { 0, 0, 0, 5, 0, 0, 0 }, { 0, 0, 0, -1, 0, 0, 0 },
                                              { 0, 0, 2, 2, 0, 0, 0 }, { 0, 0, 1, 1, 1, 1, 1 },
                                              { 0, 0, 0, 3, 3, 5, 5 }, { 4, 4, 4, 4, 4, 4, 4 } };
    const tn_attention_params p = { H, 1, D, D, 0, 0.25f, 0, TN_F32 };
    (void)state;
    for (size_t s = 0; s < sizeof starts / sizeof starts[0]; s++) {
        float want[4][N * H * D];
        for (const tn_kernel *k = tn_op_attention.kernels; k->name != NULL; k++) {
            if (!k->usable()) continue;
            tn_tensor q = matrix(N, H * D, 1), kk = matrix(N, D, 2), v = matrix(N, D, 3),
                      dout = matrix(N, H * D, 4), start = ints(N, 0);
            tn_tensor out = matrix(N, H * D, 0), lse = matrix(N, H, 0), dq = matrix(N, H * D, 0),
                      dk = matrix(N, D, 0), dv = matrix(N, D, 0), *got[] = { &out, &dq, &dk, &dv };
            memcpy(start.data, starts[s], sizeof starts[s]);
            tn_call c = { .op = &tn_op_attention,
                          .params = &p,
                          .n_in = 4,
                          .n_out = 2,
                          .in = { &q, &kk, &v, &start },
                          .out = { &out, &lse },
                          .dout = { &dout },
                          .din = { &dq, &dk, &dv } };
            give_scratch(&c);
            k->fwd(&c);
            k->bwd(&c);
            for (int i = 0; i < 4; i++) {
                if (k == tn_op_attention.kernels) memcpy(want[i], got[i]->data, tn_n_bytes(got[i]));
                else if (!same(got[i], want[i])) fail_msg("%s: doc_start %zu, result %d", k->name, s, i);
            }
            tn_tensor *all[] = { &q, &kk, &v, &dout, &start, &out, &lse, &dq, &dk, &dv };
            for (int t = 0; t < 10; t++) free(all[t]->data);
            free(c.scratch);
        }
    }
}

/* Row 3's key, then its value, holds a NaN in its second block: rows that see it are NaN in every kernel and
 * type, rows before are not. */
static void a_nan_in_the_cache_stays_one(void **state)
{
    enum { N = 6, D = 64 };
    static const tn_dtype types[] = { TN_F32, TN_BF16, TN_Q8_0 };
    (void)state;
    for (int i = 0; i < 12; i++)
        for (const tn_kernel *k = tn_op_attention_cache.kernels; k->name != NULL; k++) {
            if (!k->usable()) continue;
            tn_attention_cache_params cp = { .a = { 1, 1, D, D, 0, 0.2f, 0, types[i % 3] } };
            tn_tensor q = matrix(N, D, 1), key = matrix(N, D, 2), v = matrix(N, D, 3), pos = ints(N, 0),
                      pages = ints(N, 0), out = matrix(N, D, 0);
            pages.n_dim = 2;
            pages.shape[1] = 1;
            for (int r = 0; r < N; r++) ((int32_t *)pos.data)[r] = r;
            ((float *)(i / 3 % 2 == 0 ? key : v).data)[3 * D + 40] = i < 6 ? NAN : -INFINITY;
            assert_int_equal(tn_kv_create(&cp.kv, 1, 1, D, D, 1, types[i % 3], NULL), TN_OK);
            tn_call c = { .op = &tn_op_attention_cache,
                          .params = &cp,
                          .n_in = 5,
                          .n_out = 1,
                          .in = { &q, &key, &v, &pos, &pages },
                          .out = { &out } };
            give_scratch(&c);
            k->fwd(&c);
            for (int r = 0; r < N; r++)
                if (isnan(((float *)out.data)[r * D + 40]) != (r >= 3) &&
                    (i < 6 || r < 3 || types[i % 3] == TN_Q8_0))
                    fail_msg("%s, %s, case %d: row %d is %g", k->name, tn_dtype_name(types[i % 3]), i, r,
                             (double)((float *)out.data)[r * D + 40]);
            tn_kv_destroy(cp.kv);
            tn_tensor *all[] = { &q, &key, &v, &pos, &pages, &out };
            for (int t = 0; t < 6; t++) free(all[t]->data);
            free(c.scratch);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_packed_gives_the_bits_of_the_document_alone),
        cmocka_unit_test(attention_gradients_do_not_depend_on_how_work_is_cut),
        cmocka_unit_test(no_rows_are_no_work),
        cmocka_unit_test(ids_out_of_range_give_nan_and_touch_nothing),
        cmocka_unit_test(an_expert_that_does_not_exist_is_nan_in_every_kernel),
        cmocka_unit_test(a_target_outside_the_vocabulary_is_nan_in_every_kernel),
        cmocka_unit_test(second_outputs_have_gradients),
        cmocka_unit_test(the_routers_own_losses_have_the_gradients_of_their_formulas),
        cmocka_unit_test(the_log_partition_of_the_head_has_a_gradient),
        cmocka_unit_test(a_log_probability_over_many_words_is_the_formula),
        cmocka_unit_test(a_taught_row_learns_the_teachers_distribution),
        cmocka_unit_test(long_sums_do_not_depend_on_threads_or_instructions),
        cmocka_unit_test(an_adamw_step_is_the_formula_and_the_same_under_any_cut),
        cmocka_unit_test(inputs_without_a_gradient_are_those_that_no_case_takes_one_of),
        cmocka_unit_test(the_gradient_of_a_row_factor_does_not_depend_on_the_runs),
        cmocka_unit_test(shapes_that_wrap_are_refused),
        cmocka_unit_test(a_dropped_row_keeps_its_mask_when_it_moves),
        cmocka_unit_test(an_adapted_product_has_the_bits_of_its_parts),
        cmocka_unit_test(shapes_that_do_not_fit_are_named),
        cmocka_unit_test(parameters_that_make_no_sense_are_refused),
        cmocka_unit_test(an_empty_chain_is_zero),
        cmocka_unit_test(a_nan_logit_is_chosen_and_makes_the_weights_nan),
        cmocka_unit_test(nonsense_in_doc_start_is_the_same_in_every_kernel),
        cmocka_unit_test(a_nan_in_the_cache_stays_one),
        cmocka_unit_test(hashes_do_not_see_the_payload_of_a_nan),
        cmocka_unit_test(a_shared_prefix_inside_a_page_can_be_copied)
    };
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
