/* test_refusals.c - the shape rules: what does not fit, wraps or makes no sense is refused by name. */
#include "ops_util.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_wrap_are_refused),
        cmocka_unit_test(shapes_that_do_not_fit_are_named),
        cmocka_unit_test(parameters_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}
