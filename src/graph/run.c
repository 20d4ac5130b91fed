/* run.c - running a planned graph: the calls were made by the plan, so a run is a loop over them. Nothing is
 * allocated here, except scratch when the thread count was raised after the plan. */
#include "graph/graph_impl.h"

#include <string.h>

enum { REDZONE_SLACK = 128 }; /* behind a block: a sanitizer build puts a redzone there */

void graph_spread_shapes(tn_graph *g)
{
    for (tn_value v = 1; v < g->n_value; v++) {
        value *p = &g->values[v];
        if (p->seed != 0) memcpy(g->values[p->seed].t.shape, p->t.shape, sizeof p->t.shape);
    }
    for (tn_value v = 1; v < g->n_value; v++) {
        value *p = &g->values[v];
        p->shape_only = p->kind == VALUE_WEIGHT ? *p->weight : p->t;
        p->shape_only.data = NULL;
    }
    for (int32_t i = 0; i < g->n_slot; i++)
        if (g->slots[i].value != 0)
            memcpy(g->slots[i].t.shape, g->values[g->slots[i].value].t.shape, sizeof g->slots[i].t.shape);
}

/* What step s needs now, and what the plan gave it. */
static size_t scratch_need(const tn_graph *g, const step *s, size_t *have)
{
    *have = s->scratch_slot >= 0 ? g->slots[s->scratch_slot].bytes : 0;
    return s->kind == STEP_COPY || s->call.op->scratch == NULL
               ? 0
               : s->call.op->scratch(&s->call, s->kind == STEP_BACKWARD);
}

tn_status graph_check_scratch(tn_graph *g, tn_error *err)
{
    size_t most = 0, have;

    g->threads = tn_threads();
    for (int32_t i = 0; i < g->n_step; i++) {
        size_t need = scratch_need(g, &g->steps[i], &have);
        if (need > have && need > most) most = need;
    }
    if (most == 0 && g->extra.base == NULL) return TN_OK; /* as planned, and it always was */
    if (most > 0 && most + REDZONE_SLACK > g->extra.cap) {
        tn_arena_free(&g->extra);
        TN_TRY(tn_arena_init(&g->extra, most + REDZONE_SLACK, err));
        if (tn_arena_get(&g->extra, most, 1) == NULL) return tn_fail(err, TN_NOMEM, "no memory for scratch");
    }
    for (int32_t i = 0; i < g->n_step; i++) {
        step *s = &g->steps[i];
        bool  extra = scratch_need(g, s, &have) > have;
        s->call.scratch = extra ? g->extra.base : have > 0 ? g->slots[s->scratch_slot].t.data : NULL;
        s->call.scratch_bytes = extra ? g->extra.cap - REDZONE_SLACK : have;
    }
    return TN_OK;
}

static tn_status prepare(tn_graph *g, int64_t rows, tn_error *err)
{
    if (!g->planned) return tn_fail(err, TN_USAGE, "the graph is run before it is planned");
    if (rows < 1 || rows > g->rows_max)
        return tn_fail(err, TN_LIMIT, "a run of %lld rows: the graph is planned for 1 to %lld",
                       (long long)rows, (long long)g->rows_max);
    if (g->out_rows < 1 || g->out_rows > g->out_rows_max)
        return tn_fail(err, TN_LIMIT, "a run of %lld output rows: the graph is planned for 1 to %lld",
                       (long long)g->out_rows, (long long)g->out_rows_max);
    bool new_shape = rows != g->rows || g->out_rows != g->shape_out_rows;
    if (new_shape) {
        TN_TRY(graph_infer_shapes(g, rows, g->out_rows, err));
        graph_spread_shapes(g);
        g->rows = rows;
        g->shape_out_rows = g->out_rows;
    }
    if (new_shape || g->threads != tn_threads()) TN_TRY(graph_check_scratch(g, err));
    return TN_OK;
}

/* The n steps from i on, which are of one operation and one input, at once. */
static void run_together(tn_graph *g, int32_t i, int32_t n)
{
    const tn_call *calls[TN_TOGETHER];
    double         start = graph_timing_on ? tn_now() : 0;

    for (int32_t k = 0; k < n; k++) calls[k] = &g->steps[i + k].call;
    calls[0]->op->together(calls, n);
    for (int32_t k = 0; k < n && graph_timing_on; k++)
        graph_time_step(g, &g->steps[i + k], k == 0 ? tn_now() - start : 0);
}

static void run_steps(tn_graph *g, int32_t from, int32_t to)
{
    int32_t n_left = g->n_grad; /* gradients that on_grad does not know yet: the first of the list */
    for (int32_t i = from; i < to; i++) {
        step *s = &g->steps[i];
        if (s->kind == STEP_FORWARD && s->n_together > 1 && !graph_hashing()) {
            run_together(g, i, s->n_together);
            i += s->n_together - 1;
            continue;
        }
        double start = graph_timing_on ? tn_now() : 0;
        switch (s->kind) {
        case STEP_FORWARD:
        case STEP_AGAIN: tn_op_forward(&s->call); break;
        case STEP_BACKWARD: tn_op_backward(&s->call); break;
        case STEP_COPY: memcpy(s->call.out[0]->data, s->call.in[0]->data, tn_n_bytes(s->call.out[0])); break;
        }
        if (graph_timing_on) graph_time_step(g, s, tn_now() - start);
        if (graph_hashing()) graph_hash_step(g, s);
        if (g->on_grad == NULL || from < g->n_forward) continue;
        int32_t known = n_left;
        while (n_left > 0 && g->grad_step[n_left - 1] <= i) n_left--;
        g->on_grad(g->on_grad_arg, g->grads + n_left, known - n_left);
    }
}

tn_status tn_graph_forward(tn_graph *g, int64_t rows, tn_error *err)
{
    TN_TRY(prepare(g, rows, err));
    g->n_run++;
    run_steps(g, 0, g->n_forward);
    return graph_hash_check(err);
}

tn_status tn_graph_run_backward(tn_graph *g, tn_error *err)
{
    if (!g->has_backward)
        return tn_fail(err, TN_USAGE,
                       "the graph has no backward pass: tn_graph_backward comes before the plan");
    if (g->n_run == 0) return tn_fail(err, TN_USAGE, "a backward run comes after a forward run");
    TN_TRY(prepare(g, g->rows, err));
    run_steps(g, g->n_forward, g->n_step);
    return graph_hash_check(err);
}

void tn_graph_on_gradients(tn_graph *g, tn_graph_grad_fn fn, void *arg)
{
    g->on_grad = fn;
    g->on_grad_arg = arg;
}

void tn_graph_tell_gradients(const tn_graph *g, tn_graph_grad_fn fn, void *arg)
{
    for (int32_t last = g->n_grad, first; last > 0; last = first) {
        int32_t i = g->grad_step[last - 1] > g->n_forward ? g->grad_step[last - 1] : g->n_forward;
        for (first = last - 1; first > 0 && g->grad_step[first - 1] <= i;) first--;
        fn(arg, g->grads + first, last - first);
    }
}

void *tn_graph_data(tn_graph *g, tn_value v)
{
    return v > 0 && v < g->n_value ? graph_value_tensor(g, v)->data : NULL;
}

void *tn_graph_params(tn_graph *g, tn_value v)
{
    if (v <= 0 || v >= g->n_value || g->values[v].kind != VALUE_RESULT) return NULL;
    return g->nodes[g->values[v].node].params;
}

void tn_graph_each(tn_graph *g, tn_op_id op, void (*fn)(void *arg, void *params), void *arg)
{
    for (int32_t i = 0; i < g->n_node; i++)
        if (g->nodes[i].id == op) fn(arg, g->nodes[i].params);
}

void tn_graph_bind(tn_graph *g, tn_value input, void *data)
{
    if (input > 0 && input < g->n_value && g->values[input].kind == VALUE_INPUT)
        g->values[input].t.data = data;
}
