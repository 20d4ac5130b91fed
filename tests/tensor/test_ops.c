/* test_ops.c - what the walk cannot say: documents alone and packed, no rows at all, numbers out of range, second
 * outputs' gradients, sums and the optimiser's step under any cut. */
#include "ops_util.h"

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
        cmocka_unit_test(second_outputs_have_gradients),
        cmocka_unit_test(the_routers_own_losses_have_the_gradients_of_their_formulas),
        cmocka_unit_test(long_sums_do_not_depend_on_threads_or_instructions),
        cmocka_unit_test(an_adamw_step_is_the_formula_and_the_same_under_any_cut),
        cmocka_unit_test(inputs_without_a_gradient_are_those_that_no_case_takes_one_of),
        cmocka_unit_test(the_gradient_of_a_row_factor_does_not_depend_on_the_runs),
        cmocka_unit_test(a_dropped_row_keeps_its_mask_when_it_moves),
        cmocka_unit_test(an_adapted_product_has_the_bits_of_its_parts),
        cmocka_unit_test(hashes_do_not_see_the_payload_of_a_nan),
        cmocka_unit_test(a_shared_prefix_inside_a_page_can_be_copied),
        cmocka_unit_test(an_empty_chain_is_zero),
        cmocka_unit_test(a_nan_logit_is_chosen_and_makes_the_weights_nan),
        cmocka_unit_test(nonsense_in_doc_start_is_the_same_in_every_kernel),
        cmocka_unit_test(a_nan_in_the_cache_stays_one),
    };
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
