/* test_planted.c - the walk and the start-up check must see a wrong kernel: here are operations whose second
 * kernel has a bug planted, each of a kind that happens, and one whose kernel is right. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "tensor/loops.h"
#include "tensor/selftest.h"

/* Every operation of the table gets a twin: ref, and ref with its output spoiled afterwards in one place. */
static const tn_op *real;
static int          spoil_at; /* element of output 0 or of the first gradient, from its end if negative */
static bool         spoil_forward, spoil_backward, spoil_sign_only;
static bool (*spoil_if)(const tn_call *c); /* NULL: every call */

static void spoil(tn_tensor *t)
{
    int64_t  n = tn_n_elem(t), i = spoil_at < 0 ? n + spoil_at : spoil_at % n;
    uint32_t u;
    memcpy(&u, (float *)t->data + i, 4);
    u ^= spoil_sign_only ? 0x80000000u : 1u; /* the last bit */
    memcpy((float *)t->data + i, &u, 4);
}

static void fwd(const tn_call *c)
{
    real->kernels[0].fwd(c);
    if (spoil_forward && (spoil_if == NULL || spoil_if(c)) && c->out[0] != NULL && tn_n_elem(c->out[0]) > 0)
        spoil(c->out[0]);
}

static void bwd(const tn_call *c)
{
    real->kernels[0].bwd(c);
    if (!spoil_backward) return;
    for (int i = 0; i < c->n_in; i++)
        if (c->din[i] != NULL) {
            spoil(c->din[i]);
            return;
        }
}

static bool twin_passes(bool quick)
{
    const tn_kernel kernels[] = { real->kernels[0],
                                  { "avx2 twin", tn_cpu_any, fwd, real->kernels[0].bwd == NULL ? NULL : bwd },
                                  { .name = NULL } };
    tn_op           op = *real;
    char            detail[256];
    op.kernels = kernels;
    (void)quick;
    return tn_selftest_kernel_quick(&op, &kernels[1], detail, sizeof detail);
}

static void start_up_check_sees_one_wrong_bit_in_any_operation(void **state)
{
    tn_case k;
    (void)state;
    for (int id = 1; id < TN_OP_COUNT; id++) {
        real = tn_op_get((tn_op_id)id);
        assert_true(real->quick != NULL || real->cases(&k, 0) != 0);
        spoil_forward = spoil_backward = spoil_sign_only = false;
        if (!twin_passes(true)) fail_msg("%s: a right kernel was refused", real->name);
        for (spoil_at = -1; spoil_at < 1; spoil_at++) {
            spoil_forward = true;
            if (twin_passes(true)) fail_msg("%s: a wrong bit in the output was not seen", real->name);
            spoil_sign_only = true;
            if (twin_passes(true)) fail_msg("%s: a wrong sign in the output was not seen", real->name);
            spoil_forward = spoil_sign_only = false;
            spoil_backward = true;
            if (real->kernels[0].bwd != NULL && twin_passes(true))
                fail_msg("%s: a wrong bit in a gradient was not seen", real->name);
            spoil_backward = false;
        }
    }
}

static tn_dtype   one_type;
static tn_profile one_profile;
static bool       one_row, many_rows;
static bool       is_one_way(const tn_call *c)
{
    const tn_tensor *w = c->in[1];
    return w->packed != NULL && w->dtype == one_type &&
           ((const tn_matmul_params *)c->params)->profile == one_profile;
}
static bool is_strict_bf16(const tn_call *c)
{
    return c->in[1]->packed == NULL &&
           ((const tn_matmul_params *)c->params)->profile == TN_PROFILE_STRICT_BF16;
}
static bool is_of_rows(const tn_call *c)
{
    int64_t n = tn_rows(c->in[0]);
    return c->in[1]->packed != NULL && (one_row ? n == 1 : many_rows ? n > 16 : n > 1 && n < 9);
}

/* Every way of storing a weight has its own loops, so a bug may be in one alone. */
static void start_up_check_sees_a_bug_in_one_way_of_multiplying(void **state)
{
    static const tn_dtype strict[] = { TN_F32,  TN_F16,  TN_BF16, TN_Q8_0, TN_Q4_0, TN_Q4_1,
                                       TN_Q5_0, TN_Q5_1, TN_Q4_K, TN_Q5_K, TN_Q6_K },
                          q8act[] = {
                              TN_Q8_0, TN_Q4_0, TN_Q4_1, TN_Q5_0, TN_Q5_1, TN_Q4_K, TN_Q5_K, TN_Q6_K
                          };
    (void)state;
    real = &tn_op_matmul;
    spoil_forward = true;
    spoil_at = 0;
    spoil_if = is_one_way;
    for (int p = 0; p < 2; p++)
        for (size_t i = 0; i < (p == 0 ? sizeof strict : sizeof q8act) / sizeof *strict; i++) {
            one_type = p == 0 ? strict[i] : q8act[i];
            one_profile = p == 0 ? TN_PROFILE_STRICT : TN_PROFILE_Q8ACT;
            if (twin_passes(true))
                fail_msg("matmul: a wrong bit with packed %s, %s, was not seen", tn_dtype_name(one_type),
                         tn_profile_name(one_profile));
        }
    spoil_if = is_strict_bf16;
    if (twin_passes(true)) fail_msg("matmul: a wrong bit in strict-bf16 was not seen");
    spoil_if = is_of_rows;
    for (int n = 0; n < 3; n++) {
        one_row = n == 0;
        many_rows = n == 2;
        if (twin_passes(true))
            fail_msg("matmul: a wrong bit in a packed product of %s was not seen", one_row ? "one row"
                                                                                   : many_rows
                                                                                       ? "many rows"
                                                                                       : "a few rows");
    }
    spoil_if = NULL;
    spoil_forward = false;
}

static tn_loops_run right;
static void         one_bit_wrong(tn_isa isa, float *y, const float *x)
{
    right(isa, y, x);
    if (isa != TN_ISA_REF)
        memcpy(y,
               (uint32_t[]){ ((const union {
                                 float    f;
                                 uint32_t u;
                             } *)(const void *)y)
                                 ->u ^
                             1u },
               4);
}

static void start_up_check_sees_a_bug_in_the_loops_outside_the_table(void **state)
{
    static const tn_loops_run runs[] = {
#define X(NAME, name) tn_loops_run_##name,
        TN_LOOPS_LIST(X)
#undef X
    };
    char detail[256];
    (void)state;
    for (int l = 0; l < TN_LOOPS_COUNT; l++) {
        right = runs[l];
        if (!tn_cpu_avx2()) continue;
        if (!tn_selftest_loops_agree(right, TN_ISA_AVX2, detail, sizeof detail))
            fail_msg("loop %d: %s", l, detail);
        if (tn_selftest_loops_agree(one_bit_wrong, TN_ISA_AVX2, detail, sizeof detail))
            fail_msg("loop %d: a wrong bit was not seen", l);
        assert_int_equal(tn_loops_isa((tn_loops)l), tn_isa_limit());
    }
}

/* y = 2x; kernels with typical mistakes */
static tn_status shape(const tn_call *c, tn_error *err)
{
    (void)err;
    *c->out[0] = *c->in[0];
    c->out[0]->data = NULL;
    return TN_OK;
}

static void double_rows(const tn_call *c, int64_t n)
{
    for (int64_t i = 0; i < n; i++) ((float *)c->out[0]->data)[i] = 2.0f * ((const float *)c->in[0]->data)[i];
}

static void good(const tn_call *c) { double_rows(c, tn_n_elem(c->in[0])); }
static void forgets_the_tail(const tn_call *c) { double_rows(c, tn_n_elem(c->in[0]) / 16 * 16); }
static void writes_past_the_end(const tn_call *c) { double_rows(c, (tn_n_elem(c->in[0]) + 15) / 16 * 16); }
static void depends_on_threads(const tn_call *c)
{
    good(c);
    if (tn_threads() == 3) ((float *)c->out[0]->data)[1] += 1.0f;
}
static void flushes_denormals(const tn_call *c)
{
    good(c);
    for (int64_t i = 0; i < tn_n_elem(c->out[0]); i++)
        if (fabsf(((float *)c->out[0]->data)[i]) < 0x1p-126f) ((float *)c->out[0]->data)[i] = 0.0f;
}
static void wrong_slope(const tn_call *c)
{
    for (int64_t i = 0; i < tn_n_elem(c->in[0]); i++)
        ((float *)c->din[0]->data)[i] = 1.9f * ((const float *)c->dout[0]->data)[i] +
                                        (c->add[0] ? ((float *)c->din[0]->data)[i] : 0.0f);
}
static void looks_at_its_neighbour(const tn_call *c)
{
    good(c);
    if (tn_rows(c->in[0]) > 1)
        ((float *)c->out[0]->data)[0] += ((const float *)c->in[0]->data)[tn_cols(c->in[0])];
}

static int cases(tn_case *k, int i)
{
    if (i > 0) return 0;
    *k = (tn_case){ .n_in = 1, .differentiable = { true }, .by_row = 1u };
    k->in[0] = (tn_tensor){ .dtype = TN_F32, .n_dim = 2, .shape = { 3, 37 } };
    return 1;
}

static void count_failures(void *arg, const char *op, const char *what, bool passed, const char *detail)
{
    (void)op;
    (void)what;
    (void)detail;
    *(int *)arg += !passed;
}

static int failures(void (*forward)(const tn_call *), void (*second)(const tn_call *),
                    void (*backward)(const tn_call *))
{
    const tn_kernel kernels[] = { { "ref", tn_cpu_any, forward, backward },
                                  { "avx2", tn_cpu_any, second, backward },
                                  { .name = NULL } };

    const tn_op op = {
        .name = "double", .n_in = 1, .n_out = 1, .shape = shape, .kernels = kernels, .cases = cases
    };
    int n = 0;
    assert_int_equal(tn_selftest_op(&op, count_failures, &n, NULL), TN_OK);
    return n;
}

static void the_walk_sees_typical_mistakes(void **state)
{
    (void)state;
    assert_int_equal(failures(good, good, NULL), 0);
    assert_int_not_equal(failures(good, forgets_the_tail, NULL), 0);
    assert_int_not_equal(failures(good, writes_past_the_end, NULL), 0);
    assert_int_not_equal(failures(good, depends_on_threads, NULL), 0);
    assert_int_not_equal(failures(good, flushes_denormals, NULL), 0);
    assert_int_not_equal(failures(good, good, wrong_slope), 0);
    assert_int_not_equal(failures(looks_at_its_neighbour, looks_at_its_neighbour, NULL), 0);
}

static void the_start_up_check_is_quick_and_drops_nothing_here(void **state)
{
    (void)state;
    double t = tn_now();
    tn_ops_choose(true);
    double took = tn_now() - t;
    t = tn_now();
    tn_ops_choose(true);
    print_message("start-up check: %.0f ms, again: %.3f ms\n", 1e3 * took, 1e3 * (tn_now() - t));
    for (int id = 1; id < TN_OP_COUNT; id++) {
        const tn_op     *op = tn_op_get((tn_op_id)id);
        const tn_kernel *last = op->kernels;
        for (const tn_kernel *k = op->kernels; k->name != NULL; k++)
            if (tn_kernel_usable(k)) last = k;
        if (tn_op_kernel(op) != last)
            fail_msg("%s uses %s instead of %s", op->name, tn_op_kernel(op)->name, last->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_up_check_sees_one_wrong_bit_in_any_operation),
        cmocka_unit_test(start_up_check_sees_a_bug_in_one_way_of_multiplying),
        cmocka_unit_test(start_up_check_sees_a_bug_in_the_loops_outside_the_table),
        cmocka_unit_test(the_walk_sees_typical_mistakes),
        cmocka_unit_test(the_start_up_check_is_quick_and_drops_nothing_here)
    };
    return cmocka_run_group_tests_name("planted", tests, NULL, NULL);
}
