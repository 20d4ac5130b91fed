/* test_golden.c - attention, rotary tables, routers and mixtures of experts against what PyTorch and
 * transformers computed (tests/oracle/make_tensor.py wrote tests/golden/tensor). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/tensor.h"

enum { MAX_ENTRY = 160 };
typedef struct entry {
    char    name[64];
    int64_t n;
    double *v;
} entry;
typedef struct golden {
    entry e[MAX_ENTRY];
    int   n;
} golden;

static golden *golden_read(const char *name)
{
    char    path[512];
    golden *g = calloc(1, sizeof *g);
    snprintf(path, sizeof path, "%s/tensor/%s.txt", TN_GOLDEN_DIR, name);
    FILE *f = fopen(path, "r");
    if (f == NULL || g == NULL) {
        fail_msg("%s cannot be read", path);
        abort();
    }
    for (long long n; g->n < MAX_ENTRY && fscanf(f, "%63s %lld", g->e[g->n].name, &n) == 2; g->n++) {
        entry *e = &g->e[g->n];
        e->n = n;
        e->v = calloc((size_t)n + 1, sizeof *e->v);
        for (long long i = 0; i < n; i++)
            if (fscanf(f, "%lf", &e->v[i]) != 1) fail_msg("%s: %s is cut off", path, e->name);
    }
    fclose(f);
    return g;
}

static void golden_free(golden *g)
{
    for (int i = 0; i < g->n; i++) free(g->e[i].v);
    free(g);
}

static const entry *find(const golden *g, const char *group, const char *key)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s%s", group, group[0] ? "." : "", key);
    for (int i = 0; i < g->n; i++)
        if (strcmp(g->e[i].name, name) == 0) return &g->e[i];
    fail_msg("no entry %s", name);
    return NULL;
}

static void *made(size_t n)
{
    void *p = aligned_alloc(64, (n + 127) / 64 * 64);
    memset(p, 0, (n + 127) / 64 * 64);
    return p;
}

/* A tensor [rows][cols] with the golden's values, or zeros for key NULL. */
static tn_tensor load(const golden *g, const char *group, const char *key, tn_dtype t, int64_t rows,
                      int64_t cols)
{
    tn_tensor x = {
        .dtype = t, .n_dim = 2, .shape = { rows, cols }, .data = made((size_t)(rows * cols) * 4)
    };
    if (key == NULL) return x;
    const entry *e = find(g, group, key);
    assert_int_equal(e->n, rows * cols);
    for (int64_t i = 0; i < e->n; i++) {
        if (t == TN_F32) ((float *)x.data)[i] = (float)e->v[i];
        else ((int32_t *)x.data)[i] = (int32_t)e->v[i];
    }
    return x;
}

static void close_to(const golden *g, const char *group, const char *key, const tn_tensor *got,
                     double tolerance)
{
    const entry *e = find(g, group, key);
    assert_int_equal(e->n, tn_n_elem(got));
    for (int64_t i = 0; i < e->n; i++) {
        double x = (double)((const float *)got->data)[i];
        if (!(fabs(x - e->v[i]) <= tolerance * (1.0 + fabs(e->v[i]))))
            fail_msg("%s.%s: element %lld is %.9g, expected %.9g", group, key, (long long)i, x, e->v[i]);
    }
}

/* Runs forward and backward with every usable kernel of the call's operation, checking after each. */
static void with_each_kernel(tn_call *c, void (*check)(void *arg), void *arg)
{
    size_t a = c->op->scratch == NULL ? 0 : c->op->scratch(c, false),
           b = c->op->scratch == NULL ? 0 : c->op->scratch(c, true);
    c->scratch_bytes = a > b ? a : b;
    c->scratch = made(c->scratch_bytes);
    for (const tn_kernel *k = c->op->kernels; k->name != NULL; k++) {
        if (!k->usable()) continue;
        k->fwd(c);
        k->bwd(c);
        check(arg);
    }
    free(c->scratch);
}

/* ---------------------------------------------------------------------------------------------- attention */

typedef struct attention_case {
    const golden *g;
    const char   *name;
    tn_tensor     out, dq, dk, dv, ds;
    bool          sinks;
} attention_case;

static void check_attention(void *arg)
{
    attention_case *a = arg;
    close_to(a->g, a->name, "out", &a->out, 2e-6);
    close_to(a->g, a->name, "dq", &a->dq, 5e-6);
    close_to(a->g, a->name, "dk", &a->dk, 5e-6);
    close_to(a->g, a->name, "dv", &a->dv, 5e-6);
    if (a->sinks) close_to(a->g, a->name, "dsinks", &a->ds, 5e-6);
}

static void attention_agrees_with_pytorch(void **state)
{
    enum { N = 13, H = 4, K = 2, DK = 8, DV = 6 };
    static const char *const names[] = { "plain", "window", "softcap", "sinks", "all" };
    golden                  *g = golden_read("attention");
    (void)state;
    for (int i = 0; i < 5; i++) {
        const entry *how = NULL;
        for (int k = 0; k < g->n; k++)
            if (strcmp(g->e[k].name, names[i]) == 0) how = &g->e[k];
        assert_non_null(how);
        tn_attention_params p = { H, K, DK, DV, (int64_t)how->v[0], 0.3f, (float)how->v[1], TN_F32 };
        attention_case      a = { .g = g, .name = names[i], .sinks = how->v[2] != 0 };
        tn_tensor           q = load(g, names[i], "q", TN_F32, N, H * DK);
        tn_tensor           k = load(g, names[i], "k", TN_F32, N, K * DK);
        tn_tensor           v = load(g, names[i], "v", TN_F32, N, K * DV);
        tn_tensor           sinks = load(g, names[i], "sinks", TN_F32, 1, H),
                  dout = load(g, names[i], "dout", TN_F32, N, H * DV),
                  start = load(g, "", "start", TN_I32, 1, N);
        tn_tensor lse = load(g, NULL, NULL, TN_F32, N, H);
        a.out = load(g, NULL, NULL, TN_F32, N, H * DV);
        a.dq = load(g, NULL, NULL, TN_F32, N, H * DK);
        a.dk = load(g, NULL, NULL, TN_F32, N, K * DK);
        a.dv = load(g, NULL, NULL, TN_F32, N, K * DV);
        a.ds = load(g, NULL, NULL, TN_F32, 1, H);
        tn_call c = { .op = &tn_op_attention,
                      .params = &p,
                      .n_in = 5,
                      .n_out = 2,
                      .in = { &q, &k, &v, &start, a.sinks ? &sinks : NULL },
                      .out = { &a.out, &lse },
                      .dout = { &dout },
                      .din = { &a.dq, &a.dk, &a.dv, NULL, a.sinks ? &a.ds : NULL } };
        with_each_kernel(&c, check_attention, &a);
        tn_tensor *all[] = { &q, &k, &v, &sinks, &dout, &start, &lse, &a.out, &a.dq, &a.dk, &a.dv, &a.ds };
        for (size_t t = 0; t < sizeof all / sizeof all[0]; t++) free(all[t]->data);
    }
    golden_free(g);
}

/* --------------------------------------------------------------------------------------------------- rope */

static void rotary_tables_agree_with_transformers(void **state)
{
    static const float long_factors[4] = { 1.0f, 1.5f, 8.0f, 30.0f };
    // clang-format off
    static const struct { const char *name; double theta; int64_t n_rot; tn_rope_scaling s; } t[] = {
        { "plain", 1e4, 32, { .kind = TN_ROPE_PLAIN } },
        { "linear", 1e4, 32, { .kind = TN_ROPE_LINEAR, .factor = 4 } },
        { "llama3", 5e5, 64, { .kind = TN_ROPE_LLAMA3, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .n_ctx_orig = 8192 } },
        { "yarn", 1e4, 64, { .kind = TN_ROPE_YARN, .factor = 40, .n_ctx_orig = 4096, .beta_fast = 32, .beta_slow = 1, .mscale = 1, .mscale_all_dim = 1, .truncate = true } },
        { "yarn_oss", 1.5e5, 64, { .kind = TN_ROPE_YARN, .factor = 32, .n_ctx_orig = 4096, .beta_fast = 32, .beta_slow = 1 } },
        { "longrope", 1e4, 8, { .kind = TN_ROPE_LONGROPE, .factor = 32, .n_ctx_orig = 4096, .freq_factors = long_factors } } };
    // clang-format on
    golden      *g = golden_read("rope");
    const entry *pos = find(g, "", "positions");
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        tn_error err;
        int64_t  half = t[i].n_rot / 2;
        float   *table = made((size_t)(4096 * t[i].n_rot) * 4);
        if (tn_rope_table(table, 4096, t[i].n_rot, t[i].theta, &t[i].s, &err) != TN_OK)
            fail_msg("%s", err.msg);
        for (int part = 0; part < 2; part++) {
            const entry *e = find(g, t[i].name, part == 0 ? "cos" : "sin");
            for (int64_t k = 0; k < e->n; k++) {
                int64_t p = (int64_t)pos->v[k / half];
                double  x = (double)table[p * t[i].n_rot + 2 * (k % half) + part];
                /* transformers keeps the frequencies in fp32 */
                if (fabs(x - e->v[k]) > 1e-6 + 2e-7 * (double)p)
                    fail_msg("%s: %s of frequency %lld at %lld is %.9g, expected %.9g", t[i].name,
                             part == 0 ? "cos" : "sin", (long long)(k % half), (long long)p, x, e->v[k]);
            }
        }
        free(table);
    }
    golden_free(g);
}

static void rotation_agrees_in_both_layouts(void **state)
{
    golden   *g = golden_read("rope");
    tn_tensor x = load(g, "apply", "x", TN_F32, 2, 10), y = load(g, NULL, NULL, TN_F32, 2, 10),
              table = { .dtype = TN_F32, .n_dim = 3, .shape = { 8, 3, 2 }, .data = made(8 * 6 * 4) };
    int32_t   three[2] = { 3, 3 };
    tn_tensor pos = { .dtype = TN_I32, .n_dim = 1, .shape = { 2 }, .data = three };
    (void)state;
    assert_int_equal(tn_rope_table(table.data, 8, 6, 1e4, NULL, NULL), TN_OK);
    for (int inter = 0; inter < 2; inter++)
        for (const tn_kernel *k = tn_op_rope.kernels; k->name != NULL; k++) {
            tn_rope_params p = {
                .n_head = 1, .d_head = 10, .first = 2, .n_rot = 6, .interleaved = inter == 1
            };
            tn_call c = { .op = &tn_op_rope,
                          .params = &p,
                          .n_in = 3,
                          .n_out = 1,
                          .in = { &x, &pos, &table },
                          .out = { &y } };
            if (!k->usable()) continue;
            k->fwd(&c);
            close_to(g, "apply", inter == 1 ? "interleaved" : "half", &y, 1e-6);
        }
    free(x.data);
    free(y.data);
    free(table.data);
    golden_free(g);
}

/* -------------------------------------------------------------------------------------------- router, moe */

enum { E = 8, D = 6, FF = 5, ROWS = 7 };

typedef struct moe_case {
    const golden *g;
    const char   *name;
    tn_tensor     y, dw, d[9];
    bool          oss;
} moe_case;

static void check_moe(void *arg)
{
    moe_case                *m = arg;
    static const char *const keys[9] = { "dx", NULL, NULL, "dwg", "dwu", "dwd", "dbg", "dbu", "dbd" };
    close_to(m->g, m->name, "y", &m->y, 2e-6);
    for (int i = 0; i < (m->oss ? 9 : 6); i++)
        if (keys[i] != NULL) close_to(m->g, m->name, keys[i], &m->d[i], 1e-5);
}

static void routers_and_experts_agree_with_pytorch(void **state)
{
    // clang-format off
    static const struct { const char *name; tn_router_params r; tn_moe_params m; } t[] = {
        { "mixtral", { .n_expert = E, .k = 2, .kind = TN_ROUTE_SOFTMAX_TOPK, .renormalise = true, .scale = 1 }, { E, 2, FF, TN_ACT_SILU, 0, TN_PROFILE_STRICT } },
        { "oss", { .n_expert = E, .k = 3, .kind = TN_ROUTE_TOPK_SOFTMAX, .scale = 1 }, { E, 3, FF, TN_ACT_OSS, 1.0f, TN_PROFILE_STRICT } },
        { "deepseek", { .n_expert = E, .k = 3, .n_group = 4, .n_group_used = 2, .kind = TN_ROUTE_SIGMOID, .renormalise = true, .group_sum2 = true, .scale = 2.5f },
          { E, 3, FF, TN_ACT_SILU, 0, TN_PROFILE_STRICT } } };
    // clang-format on
    golden *g = golden_read("moe");
    (void)state;
    for (int i = 0; i < 3; i++) {
        const char *name = t[i].name;
        int64_t     k = t[i].r.k;
        moe_case    m = { .g = g, .name = name, .oss = i == 1 };
        tn_tensor   logits = load(g, name, "logits", TN_F32, ROWS, E),
                  bias = load(g, name, "bias", TN_F32, 1, E), w = load(g, NULL, NULL, TN_F32, ROWS, k);
        tn_tensor ids = load(g, NULL, NULL, TN_I32, ROWS, k), aux = load(g, NULL, NULL, TN_F32, 1, 2 * E),
                  probs = load(g, NULL, NULL, TN_F32, ROWS, E);
        tn_call r = { .op = &tn_op_router,
                      .params = &t[i].r,
                      .n_in = 2,
                      .n_out = 4,
                      .in = { &logits, i == 2 ? &bias : NULL },
                      .out = { &w, &ids, &aux, &probs } };
        tn_op_forward(&r);
        close_to(g, name, "w", &w, 2e-6);
        const entry *want = find(g, name, "ids");
        for (int64_t j = 0; j < want->n; j++) assert_int_equal(((int32_t *)ids.data)[j], (int32_t)want->v[j]);

        tn_tensor in[9] = { load(g, name, "x", TN_F32, ROWS, D),
                            w,
                            ids,
                            load(g, name, "wg", TN_F32, E * FF, D),
                            load(g, name, "wu", TN_F32, E * FF, D),
                            load(g, name, "wd", TN_F32, E * D, FF) };
        tn_tensor dy = load(g, name, "dy", TN_F32, ROWS, D),
                  keep_g = load(g, NULL, NULL, TN_F32, ROWS * k, FF),
                  keep_u = load(g, NULL, NULL, TN_F32, ROWS * k, FF);
        if (m.oss) {
            in[6] = load(g, name, "bg", TN_F32, 1, E * FF);
            in[7] = load(g, name, "bu", TN_F32, 1, E * FF);
            in[8] = load(g, name, "bd", TN_F32, 1, E * D);
        }
        m.y = load(g, NULL, NULL, TN_F32, ROWS, D);
        tn_call c = { .op = &tn_op_moe,
                      .params = &t[i].m,
                      .n_in = m.oss ? 9 : 6,
                      .n_out = 3,
                      .out = { &m.y, &keep_g, &keep_u },
                      .dout = { &dy } };
        for (int j = 0; j < c.n_in; j++) {
            c.in[j] = &in[j];
            if (j == 2) continue;
            m.d[j] = load(g, NULL, NULL, TN_F32, in[j].shape[0], in[j].shape[1]);
            c.din[j] = &m.d[j];
        }
        with_each_kernel(&c, check_moe, &m);
        /* on to the router's logits */
        tn_tensor dlogits = load(g, NULL, NULL, TN_F32, ROWS, E);
        r.dout[0] = &m.d[1];
        r.din[0] = &dlogits;
        tn_op_backward(&r);
        close_to(g, name, "dlogits", &dlogits, 1e-5);
        free(dlogits.data);
        for (int j = 0; j < 9; j++) {
            free(m.d[j].data);
            free(in[j].data);
        }
        tn_tensor *all[] = { &logits, &bias, &aux, &probs, &dy, &keep_g, &keep_u, &m.y };
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++) free(all[j]->data);
    }
    golden_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(attention_agrees_with_pytorch),
                                        cmocka_unit_test(rotary_tables_agree_with_transformers),
                                        cmocka_unit_test(rotation_agrees_in_both_layouts),
                                        cmocka_unit_test(routers_and_experts_agree_with_pytorch) };
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
