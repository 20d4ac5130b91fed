/* build.c - building a graph: inputs, weights, constants, nodes. Shapes are checked at once, by the
 * operation's own rule, with the most rows a run may have. The first error sticks and every later call
 * returns 0. */
#include "graph/graph_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool graph_grow(void *array, int32_t *cap, int32_t n, size_t size)
{
    void **p = array;

    if (n < *cap) return true;
    int32_t want = *cap < 64 ? 64 : *cap > INT32_MAX / 2 ? INT32_MAX : 2 * *cap;
    if (n >= want) return false;
    unsigned char *grown = realloc(*p, (size_t)want * size);
    if (grown == NULL) return false;
    memset(grown + (size_t)*cap * size, 0, (size_t)(want - *cap) * size);
    *p = grown;
    *cap = want;
    return true;
}

tn_value graph_fail(tn_graph *g, tn_status code, const char *fmt, ...)
{
    char    text[900];
    va_list ap;

    if (g->status != TN_OK) return 0;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    g->status = tn_fail(&g->error, code, "%s", text);
    return 0;
}

bool graph_tensor_bytes(const tn_tensor *t, size_t *bytes)
{
    size_t n = 1;

    if (t->n_dim < 1 || t->n_dim > TN_MAX_DIM) return false;
    for (int i = 0; i < t->n_dim; i++)
        if (t->shape[i] < 1) return false;
    for (int i = 0; i + 1 < t->n_dim; i++)
        if (!tn_mul_size(n, (size_t)t->shape[i], &n)) return false;
    size_t row = tn_row_bytes(t->dtype, t->shape[t->n_dim - 1]);
    return row > 0 && tn_mul_size(n, row, bytes) && *bytes < SIZE_MAX / 2;
}

tn_tensor *graph_value_tensor(tn_graph *g, tn_value v)
{
    value *p = &g->values[v];

    return p->kind == VALUE_WEIGHT ? p->weight : &p->t;
}

tn_status tn_graph_create(tn_graph **out, int64_t rows_max, tn_error *err)
{
    *out = NULL;
    if (rows_max < 1 || rows_max > INT32_MAX)
        return tn_fail(err, TN_LIMIT, "a graph needs 1 to %d rows, not %lld", INT32_MAX, (long long)rows_max);
    tn_graph *g = calloc(1, sizeof *g);
    if (g == NULL) return tn_fail(err, TN_NOMEM, "no memory for a graph");
    g->rows_max = g->out_rows_max = g->out_rows = rows_max;
    g->n_value = 1; /* value 0 means none */
    if (!graph_grow(&g->values, &g->cap_value, 1, sizeof *g->values)) {
        tn_graph_destroy(g);
        return tn_fail(err, TN_NOMEM, "no memory for a graph");
    }
    *out = g;
    return TN_OK;
}

void tn_graph_destroy(tn_graph *g)
{
    if (g == NULL) return;
    for (int32_t i = 0; i < g->n_value && g->values != NULL; i++) free(g->values[i].name);
    for (int32_t i = 0; i < g->n_node; i++) {
        free(g->nodes[i].name);
        free(g->nodes[i].params);
    }
    for (int32_t i = 0; i < g->n_owned; i++) free(g->owned[i]);
    tn_arena_free(&g->arena);
    tn_arena_free(&g->extra);
    free(g->values);
    free(g->nodes);
    free(g->steps);
    free(g->slots);
    free(g->owned);
    free(g->grad_step);
    free(g->grads);
    free(g);
}

void tn_graph_set_out_rows_max(tn_graph *g, int64_t n)
{
    if (n < 1 || n > INT32_MAX) {
        graph_fail(g, TN_LIMIT, "a graph needs 1 to %d output rows, not %lld", INT32_MAX, (long long)n);
        return;
    }
    g->out_rows_max = g->out_rows = n;
}

void tn_graph_set_out_rows(tn_graph *g, int64_t n) { g->out_rows = n; }

static char *copy_name(const char *name) { return name == NULL ? NULL : strdup(name); }

/* A new value, or 0 with the error set. */
static tn_value value_new(tn_graph *g, const char *name, value_kind kind)
{
    if (g->status != TN_OK) return 0;
    if (g->planned || g->n_step > 0)
        return graph_fail(g, TN_USAGE, "'%s' is added to a graph that is already planned",
                          name ? name : "a value");
    if (!graph_grow(&g->values, &g->cap_value, g->n_value, sizeof *g->values))
        return graph_fail(g, TN_NOMEM, "no memory for a graph of %d values", g->n_value);
    value *v = &g->values[g->n_value];
    memset(v, 0, sizeof *v);
    v->name = copy_name(name);
    v->kind = kind;
    v->node = v->slot = v->slot_again = v->slot_grad = -1;
    v->present = true;
    return g->n_value++;
}

/* dtype, shape (with symbols replaced by their most) into t. False if it cannot be. */
static bool set_shape(const tn_graph *g, tn_tensor *t, tn_dtype dtype, int n_dim, const int64_t *shape,
                      int64_t *symbol)
{
    size_t bytes;

    t->dtype = dtype;
    t->n_dim = n_dim;
    if (n_dim < 1 || n_dim > TN_MAX_DIM) return false;
    for (int i = 0; i < n_dim; i++) t->shape[i] = shape[i];
    *symbol = shape[0] == TN_ROWS || shape[0] == TN_OUT_ROWS ? shape[0] : 0;
    if (*symbol == TN_ROWS) t->shape[0] = g->rows_max;
    if (*symbol == TN_OUT_ROWS) t->shape[0] = g->out_rows_max;
    return graph_tensor_bytes(t, &bytes);
}

tn_value tn_graph_input(tn_graph *g, const char *name, tn_dtype dtype, int n_dim, const int64_t *shape)
{
    tn_value v = value_new(g, name, VALUE_INPUT);

    if (v == 0) return 0;
    value *p = &g->values[v];
    if (!set_shape(g, &p->t, dtype, n_dim, shape, &p->symbol))
        return graph_fail(g, TN_LIMIT, "input '%s': a shape of %d dimensions that has no size",
                          name ? name : "?", n_dim);
    return v;
}

tn_value tn_graph_weight(tn_graph *g, const char *name, tn_tensor *w, tn_tensor *grad)
{
    tn_value v = value_new(g, name, VALUE_WEIGHT);

    if (v == 0) return 0;
    value *p = &g->values[v];
    p->weight = w;
    p->weight_grad = grad;
    p->needs_grad = grad != NULL;
    if (grad != NULL && (grad->dtype != TN_F32 || tn_n_elem(grad) != tn_n_elem(w)))
        return graph_fail(g, TN_MISMATCH,
                          "weight '%s': its gradient must be f32 and have %lld elements, not %lld",
                          name ? name : "?", (long long)tn_n_elem(w), (long long)tn_n_elem(grad));
    return v;
}

tn_value tn_graph_constant(tn_graph *g, const char *name, tn_dtype dtype, int n_dim, const int64_t *shape)
{
    size_t   bytes;
    tn_value v = value_new(g, name, VALUE_CONSTANT);

    if (v == 0) return 0;
    value *p = &g->values[v];
    if (!set_shape(g, &p->t, dtype, n_dim, shape, &p->symbol) || p->symbol != 0 ||
        !graph_tensor_bytes(&p->t, &bytes))
        return graph_fail(g, TN_LIMIT, "constant '%s': a shape that has no fixed size", name ? name : "?");
    if (!graph_grow(&g->owned, &g->cap_owned, g->n_owned, sizeof *g->owned))
        return graph_fail(g, TN_NOMEM, "no memory for constant '%s'", name ? name : "?");
    if ((p->t.data = aligned_alloc(64, (bytes + 63) / 64 * 64)) == NULL)
        return graph_fail(g, TN_NOMEM, "no memory for constant '%s' (%zu bytes)", name ? name : "?", bytes);
    memset(p->t.data, 0, bytes);
    g->owned[g->n_owned++] = p->t.data;
    return v;
}

/* Fills a call with the node's inputs and the given outputs, for the shape and scratch rules. */
static void shape_call(tn_graph *g, const node *n, tn_call *c, tn_tensor *outs)
{
    memset(c, 0, sizeof *c);
    c->op = n->op;
    c->params = n->params;
    c->n_in = n->n_in;
    c->n_out = n->op->n_out;
    for (int i = 0; i < n->n_in; i++) c->in[i] = n->in[i] ? graph_value_tensor(g, n->in[i]) : NULL;
    for (int i = 0; i < n->op->n_out; i++) {
        memset(&outs[i], 0, sizeof outs[i]);
        c->out[i] = &outs[i];
    }
}

static bool has_backward_rule(const tn_op *op)
{
    return op->kernels != NULL && op->kernels[0].name != NULL && op->kernels[0].bwd != NULL;
}

/* head_loss forms the gradient of its weight inside the forward chunk (out 3): point that output at the
 * weight's own gradient, where the backward pass would have added it. */
static void head_grad(tn_graph *g, node *n)
{
    const tn_head_params *p = n->params;

    if (n->id != TN_OP_HEAD_LOSS || !p->add_dw || n->n_in < 2 || n->in[1] == 0) return;
    if (g->values[n->in[1]].kind != VALUE_WEIGHT || g->values[n->in[1]].weight_grad == NULL)
        graph_fail(g, TN_USAGE, "node '%s': add_dw needs a weight with a gradient as the head",
                   n->name ? n->name : "head_loss");
    n->adds_head_grad = true;
}

/* Of which inputs no gradient comes back. head_loss forms its dx in the forward pass, with train alone. */
static uint32_t no_grad_in(const node *n)
{
    bool no_dx = n->id == TN_OP_HEAD_LOSS && !((const tn_head_params *)n->params)->train;

    return n->op->no_grad_in | (no_dx ? 1u : 0);
}

tn_value tn_graph_op(tn_graph *g, const char *name, tn_op_id id, const void *params, const tn_value *in,
                     int n_in)
{
    const tn_op *op = tn_op_get(id);
    const char  *label = name ? name : op ? op->name : "?";
    tn_call      call;
    tn_tensor    outs[TN_MAX_OUT];
    size_t       bytes;

    if (g->status != TN_OK) return 0;
    if (op == NULL)
        return graph_fail(g, TN_UNSUPPORTED, "node '%s': operation %d does not exist", label, (int)id);
    if (n_in > op->n_in || n_in > TN_MAX_IN)
        return graph_fail(g, TN_MISMATCH, "node '%s': %s takes at most %d inputs, not %d", label, op->name,
                          op->n_in, n_in);
    for (int i = 0; i < n_in; i++)
        if (in[i] < 0 || in[i] >= g->n_value || (in[i] > 0 && !g->values[in[i]].present))
            return graph_fail(g, TN_MISMATCH, "node '%s': input %d is no value of this graph", label, i);
    if (!graph_grow(&g->nodes, &g->cap_node, g->n_node, sizeof *g->nodes))
        return graph_fail(g, TN_NOMEM, "no memory for a graph of %d nodes", g->n_node);

    node *n = &g->nodes[g->n_node];
    memset(n, 0, sizeof *n);
    n->op = op;
    n->id = id;
    n->n_in = n_in;
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    n->name = copy_name(name);
    /* one byte at least: an operation without parameters still gets a pointer */
    if ((n->params = calloc(1, op->params_bytes ? op->params_bytes : 1)) == NULL) {
        free(n->name);
        return graph_fail(g, TN_NOMEM, "node '%s': no memory", label);
    }
    if (params != NULL) memcpy(n->params, params, op->params_bytes);
    g->n_node++; /* from here on tn_graph_destroy frees it */
    head_grad(g, n);
    n->no_grad_in = no_grad_in(n);

    bool grad = false;
    for (int i = 0; i < n_in; i++) grad |= in[i] != 0 && g->values[in[i]].needs_grad;
    grad = grad && has_backward_rule(op);

    shape_call(g, n, &call, outs);
    tn_error err = { 0 };
    if (g->status == TN_OK && op->shape(&call, &err) != TN_OK)
        return graph_fail(g, err.code ? err.code : TN_MISMATCH, "node '%s': %s", label, err.msg);
    for (int i = 0; i < op->n_out; i++) {
        tn_value v = value_new(g, name, VALUE_RESULT);
        if (v == 0) return 0;
        if (i == 0) g->nodes[g->n_node - 1].out = v;
        value *p = &g->values[v];
        p->node = g->n_node - 1;
        p->i_out = i;
        p->t = outs[i];
        p->t.data = NULL;
        p->present = outs[i].n_dim > 0 && !(i == 3 && g->nodes[g->n_node - 1].adds_head_grad);
        p->needs_grad = grad && p->present && outs[i].dtype == TN_F32;
        if (p->present && !graph_tensor_bytes(&p->t, &bytes))
            return graph_fail(g, TN_LIMIT, "node '%s': output %d of %s is too large", label, i, op->name);
    }
    return g->nodes[g->n_node - 1].out;
}

tn_value tn_graph_out(tn_graph *g, tn_value first, int i)
{
    if (g->status != TN_OK || first <= 0 || first >= g->n_value) return 0;
    const value *v = &g->values[first];
    if (v->kind != VALUE_RESULT || v->i_out != 0 || i < 0 || i >= g->nodes[v->node].op->n_out)
        return graph_fail(g, TN_USAGE, "value %d has no output %d", first, i);
    return g->values[first + i].present ? first + i : 0;
}

tn_status tn_graph_status(const tn_graph *g, tn_error *err)
{
    if (g->status != TN_OK && err != NULL) *err = g->error;
    return g->status;
}

void tn_graph_set_error(tn_graph *g, tn_status code, const char *text) { graph_fail(g, code, "%s", text); }

const tn_tensor *tn_graph_tensor(const tn_graph *g, tn_value v)
{
    if (v <= 0 || v >= g->n_value) return NULL;
    return g->values[v].kind == VALUE_WEIGHT ? g->values[v].weight : &g->values[v].t;
}

void tn_graph_keep(tn_graph *g, tn_value v)
{
    if (v > 0 && v < g->n_value) g->values[v].keep = true;
}

void tn_graph_checkpoint(tn_graph *g, tn_value v)
{
    if (v > 0 && v < g->n_value) g->values[v].checkpoint = true;
}

tn_status graph_infer_shapes(tn_graph *g, int64_t rows, int64_t out_rows, tn_error *err)
{
    tn_call   call;
    tn_tensor outs[TN_MAX_OUT];

    for (int32_t i = 1; i < g->n_value; i++) {
        value *v = &g->values[i];
        if (v->symbol == TN_ROWS) v->t.shape[0] = rows;
        if (v->symbol == TN_OUT_ROWS) v->t.shape[0] = out_rows;
    }
    for (int32_t i = 0; i < g->n_node; i++) {
        node *n = &g->nodes[i];
        shape_call(g, n, &call, outs);
        TN_TRY(n->op->shape(&call, err));
        n->flops = n->op->flops != NULL ? n->op->flops(&call) : 0;
        for (int k = 0; k < n->op->n_out; k++)
            memcpy(g->values[n->out + k].t.shape, outs[k].shape, sizeof outs[k].shape);
    }
    return TN_OK;
}
