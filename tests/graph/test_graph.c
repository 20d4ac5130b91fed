/* test_graph.c - the graph alone, over toy operations: gradients, recomputation, the memory plan, rows,
 * errors. */
#include "graph/graph.h"
#include "toy_ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { WIDE = 6, ROWS = 5, N_LAYER = 4, N_W = 2 * N_LAYER + 1 };

/* allocations are counted by the linker's --wrap; the one with number fail_at fails */
static long n_alloc, fail_at;
void       *__real_malloc(size_t n);
void       *__real_calloc(size_t a, size_t b);
void       *__real_realloc(void *p, size_t n);
void       *__wrap_malloc(size_t n);
void       *__wrap_calloc(size_t a, size_t b);
void       *__wrap_realloc(void *p, size_t n);
void       *__wrap_malloc(size_t n) { return ++n_alloc == fail_at ? NULL : __real_malloc(n); }
void       *__wrap_calloc(size_t a, size_t b) { return ++n_alloc == fail_at ? NULL : __real_calloc(a, b); }
void       *__wrap_realloc(void *p, size_t n) { return ++n_alloc == fail_at ? NULL : __real_realloc(p, n); }

static float noise(unsigned *s)
{
    *s = *s * 1664525u + 1013904223u;
    return (float)(int32_t)*s / 2147483648.0f;
}

typedef struct toy_net {
    tn_graph       *g;
    tn_value        x, y, seed, mid;
    tn_tensor       w[N_W], dw[N_W];
    float           data[N_W][WIDE * WIDE], grad[N_W][WIDE * WIDE];
    tn_graph_memory memory;
} toy_net;

/* x + tanh(norm(x) W1) * (x W2), N_LAYER times, the first layer's branch once more in the last (a value that
 * crosses checkpoints); then a gather of rows and a last product. */
static tn_status net_try(toy_net *n, int64_t rows_max, bool recompute, tn_error *err)
{
    unsigned seed = 7;

    memset(n, 0, sizeof *n);
    TN_TRY(tn_graph_create(&n->g, rows_max, err));
    tn_value w[N_W];
    for (int i = 0; i < N_W; i++) {
        for (int k = 0; k < WIDE * WIDE; k++) n->data[i][k] = noise(&seed);
        n->w[i] = (tn_tensor){ .dtype = TN_F32, .n_dim = 2, .shape = { WIDE, WIDE }, .data = n->data[i] };
        n->dw[i] = n->w[i];
        n->dw[i].data = n->grad[i];
        w[i] = tn_graph_weight(n->g, "w", &n->w[i], &n->dw[i]);
    }
    n->x = tn_graph_input(n->g, "x", TN_F32, 2, (int64_t[]){ TN_ROWS, WIDE });
    tn_value rows = tn_graph_input(n->g, "rows", TN_I32, 1, (int64_t[]){ TN_OUT_ROWS });
    tn_value first = 0, h = tn_graph_op(n->g, "in", TN_OP_MATMUL, NULL, (tn_value[]){ n->x, w[0] }, 2);
    for (int i = 0; i < N_LAYER; i++) {
        tn_value norm = tn_graph_op(n->g, "norm", TN_OP_RMSNORM, NULL, (tn_value[]){ h }, 1);
        tn_value a = tn_graph_op(n->g, "a", TN_OP_MATMUL, NULL, (tn_value[]){ norm, w[2 * i + 1] }, 2);
        tn_value t = tn_graph_op(n->g, "tanh", TN_OP_UNARY, NULL, (tn_value[]){ a }, 1);
        tn_value b = tn_graph_op(n->g, "b", TN_OP_MATMUL, NULL, (tn_value[]){ h, w[2 * i + 2] }, 2);
        tn_value m = tn_graph_op(n->g, "mul", TN_OP_MUL, NULL, (tn_value[]){ t, b }, 2);
        if (i == 0) first = m;
        if (i == N_LAYER - 1) m = tn_graph_op(n->g, "skip", TN_OP_MUL, NULL, (tn_value[]){ m, first }, 2);
        h = tn_graph_op(n->g, "add", TN_OP_ADD, NULL, (tn_value[]){ h, m }, 2);
        if (i == 1) n->mid = h;
        tn_graph_checkpoint(n->g, h);
    }
    tn_value some = tn_graph_op(n->g, "gather", TN_OP_GATHER_ROWS, NULL, (tn_value[]){ h, rows }, 2);
    n->y = tn_graph_op(n->g, "scale", TN_OP_SCALE, &(tn_scale_params){ 0.5f }, (tn_value[]){ some }, 1);
    tn_graph_keep(n->g, n->y);
    TN_TRY(tn_graph_status(n->g, err));
    TN_TRY(tn_graph_backward(n->g, &n->y, &n->seed, 1, recompute, err));
    TN_TRY(tn_graph_plan(n->g, 0, &n->memory, err));
    for (int64_t i = 0; i < rows_max; i++) ((int32_t *)tn_graph_data(n->g, rows))[i] = (int32_t)i;
    for (int64_t i = 0; i < rows_max * WIDE; i++) {
        ((float *)tn_graph_data(n->g, n->x))[i] = noise(&seed);
        ((float *)tn_graph_data(n->g, n->seed))[i] = noise(&seed);
    }
    return TN_OK;
}

static void net_make(toy_net *n, int64_t rows_max, bool recompute)
{
    tn_error err;

    if (net_try(n, rows_max, recompute, &err) != TN_OK) fail_msg("%s", err.msg);
}

static void net_run(toy_net *n, int64_t rows)
{
    tn_error err;

    memset(n->grad, 0, sizeof n->grad);
    tn_graph_set_out_rows(n->g, rows);
    assert_int_equal(tn_graph_forward(n->g, rows, &err), TN_OK);
    assert_int_equal(tn_graph_run_backward(n->g, &err), TN_OK);
}

/* sum of y * seed in double */
static double net_loss(toy_net *n, int64_t rows)
{
    double   sum = 0;
    tn_error err;

    tn_graph_set_out_rows(n->g, rows);
    assert_int_equal(tn_graph_forward(n->g, rows, &err), TN_OK);
    for (int64_t i = 0; i < rows * WIDE; i++)
        sum += (double)((float *)tn_graph_data(n->g, n->y))[i] *
               (double)((float *)tn_graph_data(n->g, n->seed))[i];
    return sum;
}

static void derived_gradients_match_finite_differences(void **state)
{
    toy_net n;

    (void)state;
    net_make(&n, ROWS, false);
    net_run(&n, ROWS);
    float grad[N_W][WIDE * WIDE];
    memcpy(grad, n.grad, sizeof grad);
    for (int i = 0; i < N_W; i++)
        for (int k = 0; k < WIDE * WIDE; k += 5) {
            float was = n.data[i][k];
            n.data[i][k] = was + 1e-2f;
            double up = net_loss(&n, ROWS), high = n.data[i][k];
            n.data[i][k] = was - 1e-2f;
            double down = net_loss(&n, ROWS), low = n.data[i][k];
            n.data[i][k] = was;
            double want = (up - down) / (high - low);
            if (fabs(want - (double)grad[i][k]) > 2e-3 * (1 + fabs(want)))
                fail_msg("weight %d element %d: %g, finite difference %g", i, k, (double)grad[i][k], want);
        }
    tn_graph_destroy(n.g);
}

static void recomputation_gives_the_same_bits_with_less_memory(void **state)
{
    toy_net a, b;

    (void)state;
    net_make(&a, 400, false);
    net_make(&b, 400, true);
    net_run(&a, 400);
    memset(toy_forward_count, 0, sizeof toy_forward_count);
    net_run(&b, 400);
    assert_true(toy_forward_count[TN_OP_UNARY] == 2 * N_LAYER); /* every layer once more */
    assert_memory_equal(a.grad, b.grad, sizeof a.grad);
    assert_true(b.memory.planned < a.memory.planned);
    tn_graph_destroy(a.g);
    tn_graph_destroy(b.g);
}

static void gradients_of_weights_continue_the_chain(void **state)
{
    toy_net  n;
    tn_error err;

    (void)state;
    net_make(&n, ROWS, true);
    net_run(&n, ROWS);
    float once[WIDE * WIDE];
    memcpy(once, n.grad[3], sizeof once);
    assert_int_equal(tn_graph_forward(n.g, ROWS, &err), TN_OK);
    assert_int_equal(tn_graph_run_backward(n.g, &err), TN_OK);
    for (int i = 0; i < WIDE * WIDE; i++)
        assert_true(fabsf(n.grad[3][i] - 2 * once[i]) <= 1e-5f * (1 + fabsf(once[i])));
    tn_graph_destroy(n.g);
}

/* What on_gradients said: each gradient's values at that moment. */
typedef struct told {
    const toy_net *n;
    int            times[N_W], calls;
    float          then[N_W][WIDE * WIDE];
} told;

static void hear(void *arg, const tn_tensor *const *grad, int n)
{
    told *t = arg;
    t->calls++;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < N_W; i++) {
            if (grad[k] != &t->n->dw[i]) continue;
            t->times[i]++;
            memcpy(t->then[i], grad[k]->data, sizeof t->then[i]);
        }
}

static void a_gradient_said_to_be_final_changes_no_more(void **state)
{
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        static toy_net n;
        static told    t;
        tn_error       err;
        t = (told){ .n = &n };
        net_make(&n, ROWS, recompute);
        net_run(&n, ROWS);
        tn_graph_on_gradients(n.g, hear, &t);
        assert_int_equal(tn_graph_forward(n.g, ROWS, &err), TN_OK);
        assert_int_equal(t.calls, 0);
        assert_int_equal(tn_graph_run_backward(n.g, &err), TN_OK);
        for (int i = 0; i < N_W; i++) {
            assert_int_equal(t.times[i], 1);
            assert_memory_equal(t.then[i], n.grad[i], sizeof n.grad[i]);
        }
        assert_true(t.calls > N_W);
        tn_graph_destroy(n.g);
    }
}

static void fewer_rows_give_the_bits_of_those_rows(void **state)
{
    toy_net n;
    float   y[ROWS * WIDE];

    (void)state;
    net_make(&n, ROWS, false);
    net_loss(&n, ROWS);
    memcpy(y, tn_graph_data(n.g, n.y), sizeof y);
    net_loss(&n, 2);
    assert_int_equal(tn_graph_tensor(n.g, n.y)->shape[0], 2);
    assert_memory_equal(y, tn_graph_data(n.g, n.y), 2 * WIDE * sizeof *y);
    net_loss(&n, ROWS);
    assert_memory_equal(y, tn_graph_data(n.g, n.y), sizeof y);
    tn_graph_destroy(n.g);
}

static void the_plan_wastes_less_than_a_tenth(void **state)
{
    (void)state;
    for (int64_t rows = 1; rows < 3000; rows = rows * 3 + 1)
        for (int recompute = 0; recompute < 2; recompute++) {
            toy_net n;
            net_make(&n, rows, recompute);
            size_t live = tn_graph_live_set(n.g);
            assert_true(live > 0);
            assert_int_equal(live, n.memory.live_peak);
            /* boxes start at multiples of 64 bytes: for a few rows that is the waste */
            if ((double)n.memory.planned > 1.1 * (double)live + 64.0 * 60)
                fail_msg("%lld rows: planned %zu, live %zu", (long long)rows, n.memory.planned, live);
            tn_graph_destroy(n.g);
        }
}

static void running_allocates_nothing(void **state)
{
    toy_net n;

    (void)state;
    net_make(&n, ROWS, true);
    net_run(&n, ROWS);
    long before = n_alloc;
    assert_true(before > 0);
    for (int i = 0; i < 3; i++) net_run(&n, ROWS - i);
    assert_int_equal(n_alloc, before);
    tn_graph_destroy(n.g);
}

/* Every allocation fails once: an error each time, until building needs no more of them. */
static void out_of_memory_is_an_error(void **state)
{
    long n_failed = 0;

    (void)state;
    for (long at = 1;; at++) {
        toy_net  n;
        tn_error err = { 0 };
        fail_at = n_alloc + at;
        tn_status status = net_try(&n, ROWS, true, &err);
        bool      reached = n_alloc >= fail_at;
        fail_at = 0;
        if (reached && status != TN_NOMEM)
            fail_msg("allocation %ld: status %d, '%s'", at, (int)status, err.msg);
        tn_graph_destroy(n.g);
        if (!reached) break;
        n_failed++;
    }
    assert_true(n_failed > 20);
}

static void scratch_may_grow_after_the_plan(void **state)
{
    toy_net n, m;

    (void)state;
    net_make(&m, ROWS, false);
    net_run(&m, ROWS - 1);
    net_make(&n, ROWS, false);
    toy_scratch_bytes = 1 << 20; /* as if threads were added; toy matmul fills all of it with NaN */
    net_run(&n, ROWS - 1);
    toy_scratch_bytes = 256;
    assert_memory_equal(n.grad, m.grad, sizeof n.grad);
    tn_graph_destroy(n.g);
    tn_graph_destroy(m.g);
}

/* The seed's value is used by a further node, so its gradient is the seed plus what that node gives. */
static void a_seeded_value_may_be_used_further(void **state)
{
    tn_graph *g;
    tn_error  err;
    float     w_data[1] = { 3 }, w_grad[1] = { 0 };
    tn_tensor w = { .dtype = TN_F32, .n_dim = 2, .shape = { 1, 1 }, .data = w_data }, dw = w;

    (void)state;
    dw.data = w_grad;
    assert_int_equal(tn_graph_create(&g, 1, &err), TN_OK);
    tn_value x = tn_graph_input(g, "x", TN_F32, 2, (int64_t[]){ TN_ROWS, 1 });
    tn_value v = tn_graph_op(g, "v", TN_OP_MATMUL, NULL, (tn_value[]){ x, tn_graph_weight(g, "w", &w, &dw) },
                             2);
    tn_value y = tn_graph_op(g, "y", TN_OP_SCALE, &(tn_scale_params){ 10 }, (tn_value[]){ v }, 1);
    tn_value seeds[2];
    assert_int_equal(tn_graph_backward(g, (tn_value[]){ v, y }, seeds, 2, false, &err), TN_OK);
    assert_int_equal(tn_graph_plan(g, 0, NULL, &err), TN_OK);
    *(float *)tn_graph_data(g, x) = 2;
    *(float *)tn_graph_data(g, seeds[0]) = 1;
    *(float *)tn_graph_data(g, seeds[1]) = 1;
    for (int i = 0; i < 2; i++) {
        w_grad[0] = 0;
        assert_int_equal(tn_graph_forward(g, 1, &err), TN_OK);
        assert_int_equal(tn_graph_run_backward(g, &err), TN_OK);
        assert_true(w_grad[0] == 22); /* (1 + 10) * x */
        assert_true(*(float *)tn_graph_data(g, seeds[0]) == 1);
    }
    tn_graph_destroy(g);
}

/* Three products of x, one of which nobody reads, then one of x that also reads a product, which cannot be of
 * the group. */
static void products_of_one_input_run_at_once(void **state)
{
    tn_graph *g;
    tn_error  err;
    unsigned  seed = 3;
    float     data[3][WIDE * WIDE];
    tn_tensor w[3];
    tn_value  in[3], out[3];

    (void)state;
    assert_int_equal(tn_graph_create(&g, WIDE, &err), TN_OK);
    tn_value x = tn_graph_input(g, "x", TN_F32, 2, (int64_t[]){ TN_ROWS, WIDE });
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < WIDE * WIDE; k++) data[i][k] = noise(&seed);
        w[i] = (tn_tensor){ .dtype = TN_F32, .n_dim = 2, .shape = { WIDE, WIDE }, .data = data[i] };
        in[i] = tn_graph_weight(g, "w", &w[i], NULL);
    }
    tn_value h = tn_graph_op(g, "h", TN_OP_SCALE, &(tn_scale_params){ 2 }, (tn_value[]){ x }, 1);
    for (int i = 0; i < 3; i++) out[i] = tn_graph_op(g, "p", TN_OP_MATMUL, NULL, (tn_value[]){ h, in[i] }, 2);
    tn_value apart = tn_graph_op(g, "apart", TN_OP_MATMUL, NULL, (tn_value[]){ h, out[0] }, 2);
    tn_value y = tn_graph_op(g, "y", TN_OP_ADD, NULL, (tn_value[]){ out[2], apart }, 2);
    tn_graph_keep(g, y);
    assert_int_equal(tn_graph_plan(g, 0, NULL, &err), TN_OK);
    float *px = tn_graph_data(g, x), want[WIDE * WIDE], first[WIDE * WIDE];
    for (int i = 0; i < WIDE * WIDE; i++) px[i] = noise(&seed);
    toy_together_count = 0;
    memset(toy_forward_count, 0, sizeof toy_forward_count);
    assert_int_equal(tn_graph_forward(g, WIDE, &err), TN_OK);
    assert_int_equal(toy_together_count, 3);
    assert_int_equal(toy_forward_count[TN_OP_MATMUL], 4);
    for (int r = 0; r < WIDE; r++)
        for (int o = 0; o < WIDE; o++) {
            first[r * WIDE + o] = want[r * WIDE + o] = 0;
            for (int k = 0; k < WIDE; k++) {
                first[r * WIDE + o] = fmaf(2 * px[r * WIDE + k], data[0][o * WIDE + k], first[r * WIDE + o]);
                want[r * WIDE + o] = fmaf(2 * px[r * WIDE + k], data[2][o * WIDE + k], want[r * WIDE + o]);
            }
        }
    for (int r = 0; r < WIDE; r++)
        for (int o = 0; o < WIDE; o++) {
            float p = 0;
            for (int k = 0; k < WIDE; k++) p = fmaf(2 * px[r * WIDE + k], first[o * WIDE + k], p);
            want[r * WIDE + o] += p;
        }
    assert_memory_equal(tn_graph_data(g, y), want, sizeof want);
    tn_graph_destroy(g);
}

static void the_first_error_sticks_and_names_the_node(void **state)
{
    tn_graph *g;
    tn_error  err;
    tn_tensor w = { .dtype = TN_F32, .n_dim = 2, .shape = { 3, 9 } };

    (void)state;
    assert_int_equal(tn_graph_create(&g, 4, &err), TN_OK);
    tn_value x = tn_graph_input(g, "x", TN_F32, 2, (int64_t[]){ TN_ROWS, WIDE });
    tn_value y = tn_graph_op(g, "blk.0.ffn_up", TN_OP_MATMUL, NULL,
                             (tn_value[]){ x, tn_graph_weight(g, "w", &w, NULL) }, 2);
    assert_int_equal(y, 0);
    assert_int_equal(tn_graph_op(g, "later", TN_OP_SCALE, NULL, (tn_value[]){ x }, 1), 0);
    assert_int_equal(tn_graph_status(g, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "blk.0.ffn_up"));
    assert_null(strstr(err.msg, "later"));
    assert_int_equal(tn_graph_plan(g, 0, NULL, &err), TN_MISMATCH);
    tn_graph_destroy(g);

    assert_int_equal(tn_graph_create(&g, 0, &err), TN_LIMIT);
    assert_int_equal(tn_graph_create(&g, 1 << 20, &err), TN_OK);
    assert_int_equal(tn_graph_input(g, "big", TN_F32, 4, (int64_t[]){ TN_ROWS, 1 << 30, 1 << 30, 1 << 30 }),
                     0);
    assert_int_equal(tn_graph_status(g, &err), TN_LIMIT);
    tn_graph_destroy(g);
}

static void limits_of_rows_and_memory_are_errors(void **state)
{
    tn_graph *g;
    tn_error  err;

    (void)state;
    assert_int_equal(tn_graph_create(&g, 1000, &err), TN_OK);
    tn_value x = tn_graph_input(g, "x", TN_F32, 2, (int64_t[]){ TN_ROWS, 1000 });
    tn_graph_op(g, "y", TN_OP_SCALE, &(tn_scale_params){ 2 }, (tn_value[]){ x }, 1);
    assert_int_equal(tn_graph_forward(g, 1, &err), TN_USAGE);
    assert_int_equal(tn_graph_plan(g, 1000, NULL, &err), TN_NOMEM);
    assert_non_null(strstr(err.msg, "MiB"));
    tn_graph_destroy(g);

    toy_net n;
    net_make(&n, ROWS, false);
    assert_int_equal(tn_graph_forward(n.g, ROWS + 1, &err), TN_LIMIT);
    assert_int_equal(tn_graph_forward(n.g, 0, &err), TN_LIMIT);
    assert_int_equal(tn_graph_run_backward(n.g, &err), TN_USAGE);
    tn_graph_destroy(n.g);
}

static void hashes_tell_equal_runs_from_different_ones(void **state)
{
    char     path[] = "/tmp/tn-hash-XXXXXX", line[3][200];
    toy_net  n;
    tn_error err;

    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    net_make(&n, ROWS, false);
    for (int run = 0; run < 3; run++) {
        assert_int_equal(tn_graph_set_hash_file(path, &err), TN_OK);
        if (run == 2) ((float *)tn_graph_data(n.g, n.x))[0] += 1;
        net_run(&n, ROWS);
        assert_int_equal(tn_graph_set_hash_file(NULL, &err), TN_OK);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        assert_non_null(fgets(line[run], sizeof line[run], f));
        fclose(f);
    }
    assert_string_equal(strchr(line[0], ' '), strchr(line[1], ' '));
    assert_string_not_equal(strchr(line[0], ' '), strchr(line[2], ' '));
    assert_non_null(strstr(line[0], " in.out.0 "));
    remove(path);
    tn_graph_destroy(n.g);
}

/* A disk that is full makes the run fail as soon as the lines do not fit the buffer, and the end fail at the
 * latest. */
static void hashes_that_cannot_be_written_are_an_error(void **state)
{
    toy_net   n;
    tn_error  err = { 0 };
    tn_status status = TN_OK;

    (void)state;
    net_make(&n, ROWS, false);
    assert_int_equal(tn_graph_hash_lines(), -1);
    assert_int_equal(tn_graph_set_hash_file("/nosuch/folder", &err), TN_IO);
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(tn_graph_set_hash_file("/dev/full", &err), TN_OK);
        (void)tn_graph_forward(n.g, ROWS, &err);
        assert_true(tn_graph_hash_lines() > 0);
        assert_int_equal(tn_graph_set_hash_file(NULL, &err), TN_IO);
        assert_non_null(strstr(err.msg, "/dev/full"));
        assert_int_equal(tn_graph_set_hash_file("/dev/full", &err), TN_OK);
        for (int i = 0; i < 1000 && status == TN_OK; i++) status = tn_graph_forward(n.g, ROWS, &err);
        assert_int_equal(status, TN_IO);
        assert_int_equal(tn_graph_set_hash_file(NULL, &err), TN_IO);
    }
    net_run(&n, ROWS);
    assert_int_equal(tn_graph_set_hash_file(NULL, &err), TN_OK);
    tn_graph_destroy(n.g);
}

/* rmsnorm's 1/rms is kept for its own backward pass: a gradient of it goes nowhere, whether it is seeded or
 * comes from a use. */
static void outputs_without_a_gradient_are_refused(void **state)
{
    (void)state;
    for (int used = 0; used < 2; used++) {
        float     data[WIDE * WIDE] = { 0 }, grad[WIDE * WIDE];
        tn_tensor w = { .dtype = TN_F32, .n_dim = 2, .shape = { WIDE, WIDE }, .data = data }, dw = w;
        tn_graph *g;
        tn_error  err = { 0 };
        dw.data = grad;
        assert_int_equal(tn_graph_create(&g, ROWS, &err), TN_OK);
        tn_value x = tn_graph_input(g, "x", TN_F32, 2, (int64_t[]){ TN_ROWS, WIDE }), seed;
        tn_value h = tn_graph_op(g, "in", TN_OP_MATMUL, NULL,
                                 (tn_value[]){ x, tn_graph_weight(g, "w", &w, &dw) }, 2);
        tn_value norm = tn_graph_op(g, "norm", TN_OP_RMSNORM, NULL, (tn_value[]){ h }, 1),
                 end = tn_graph_out(g, norm, 1);
        if (used)
            end = tn_graph_op(g, "scale", TN_OP_SCALE, &(tn_scale_params){ 0.5f }, (tn_value[]){ end }, 1);
        assert_int_equal(tn_graph_status(g, &err), TN_OK);
        assert_int_equal(tn_graph_backward(g, &end, &seed, 1, false, &err), TN_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "'norm': output 1 of rmsnorm has no gradient"));
        tn_graph_destroy(g);
    }
}

/* What learns may not lead to an input of which no gradient comes back; a weight at a held one learns
 * elsewhere. */
static void inputs_without_a_gradient_are_refused(void **state)
{
    static const struct {
        tn_op_id op;
        bool     chain, refused;
    } t[] = { { TN_OP_BIAS, true, true },
              { TN_OP_BIAS, false, true },
              { TN_OP_WEIGHT_NORM, true, true },
              { TN_OP_WEIGHT_NORM, false, false } };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        float     data[2][WIDE * WIDE] = { { 0 } }, grad[2][WIDE * WIDE] = { { 0 } };
        tn_tensor w[2], dw[2];
        tn_graph *g;
        tn_error  err = { 0 };
        for (int k = 0; k < 2; k++) {
            w[k] = dw[k] = (tn_tensor){
                .dtype = TN_F32, .n_dim = 2, .shape = { WIDE, WIDE }, .data = data[k]
            };
            dw[k].data = grad[k];
            for (int j = 0; j < WIDE * WIDE; j++) data[k][j] = 1;
        }
        assert_int_equal(tn_graph_create(&g, WIDE, &err), TN_OK);
        tn_value x = tn_graph_input(g, "x", TN_F32, 2, (int64_t[]){ TN_ROWS, WIDE }), seed;
        tn_value a = tn_graph_op(g, "in", TN_OP_MATMUL, NULL,
                                 (tn_value[]){ x, tn_graph_weight(g, "w", &w[0], &dw[0]) }, 2),
                 b = tn_graph_weight(g, "b", &w[1], &dw[1]);
        if (t[i].chain)
            b = tn_graph_op(g, "chain", TN_OP_SCALE, &(tn_scale_params){ 0.5f }, (tn_value[]){ b }, 1);
        tn_value y = tn_graph_op(g, "sum", t[i].op, &(tn_add_params){ 1 }, (tn_value[]){ a, b }, 2);
        assert_int_equal(tn_graph_status(g, &err), TN_OK);
        assert_int_equal(tn_graph_backward(g, &y, &seed, 1, false, &err),
                         t[i].refused ? TN_UNSUPPORTED : TN_OK);
        if (t[i].refused) {
            assert_non_null(strstr(err.msg, "'sum': "));
            assert_non_null(strstr(err.msg, "has no gradient of its input 1"));
        } else {
            assert_int_equal(tn_graph_plan(g, 0, NULL, &err), TN_OK);
            for (int j = 0; j < WIDE * WIDE; j++)
                ((float *)tn_graph_data(g, x))[j] = ((float *)tn_graph_data(g, seed))[j] = 1;
            assert_int_equal(tn_graph_forward(g, WIDE, &err), TN_OK);
            assert_int_equal(tn_graph_run_backward(g, &err), TN_OK);
            assert_true(grad[0][0] == WIDE && grad[1][0] == 0);
        }
        tn_graph_destroy(g);
    }
}

/* One table for all graphs of the process, those that are gone too; it begins anew when it is switched on. */
static void timing_counts_calls_of_every_graph(void **state)
{
    char *text;
    long  n_first = 0;

    (void)state;
    tn_graph_set_timing(true);
    assert_null(tn_graph_timing_text());
    for (int i = 0; i < 3; i++) {
        toy_net n;
        if (i == 2) {
            tn_graph_timing_note("a note");
            tn_graph_set_timing(false);
        }
        net_make(&n, ROWS, false);
        net_run(&n, ROWS);
        assert_int_equal(tn_graph_timed_seconds(n.g) > 0, i < 2);
        tn_graph_destroy(n.g);
        text = tn_graph_timing_text();
        const char *row = strstr(text, "matmul             forward");
        assert_non_null(row);
        long n_call = strtol(row + strlen("matmul             forward"), NULL, 10);
        if (i == 0) n_first = n_call;
        assert_true(n_first > 0);
        assert_int_equal(n_call, i == 0 ? n_first : 2 * n_first);
        assert_non_null(strstr(text, "backward"));
        assert_int_equal(strstr(text, "%\na note\n") != NULL, i == 2);
        free(text);
    }
    tn_graph_set_timing(true);
    assert_null(tn_graph_timing_text());
    tn_graph_set_timing(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derived_gradients_match_finite_differences),
        cmocka_unit_test(recomputation_gives_the_same_bits_with_less_memory),
        cmocka_unit_test(gradients_of_weights_continue_the_chain),
        cmocka_unit_test(a_gradient_said_to_be_final_changes_no_more),
        cmocka_unit_test(fewer_rows_give_the_bits_of_those_rows),
        cmocka_unit_test(the_plan_wastes_less_than_a_tenth),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(out_of_memory_is_an_error),
        cmocka_unit_test(scratch_may_grow_after_the_plan),
        cmocka_unit_test(a_seeded_value_may_be_used_further),
        cmocka_unit_test(products_of_one_input_run_at_once),
        cmocka_unit_test(the_first_error_sticks_and_names_the_node),
        cmocka_unit_test(limits_of_rows_and_memory_are_errors),
        cmocka_unit_test(hashes_tell_equal_runs_from_different_ones),
        cmocka_unit_test(hashes_that_cannot_be_written_are_an_error),
        cmocka_unit_test(outputs_without_a_gradient_are_refused),
        cmocka_unit_test(inputs_without_a_gradient_are_refused),
        cmocka_unit_test(timing_counts_calls_of_every_graph),
    };
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
