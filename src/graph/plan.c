/* plan.c - the memory plan: every instance of every value gets an interval of steps and a place in one arena.
 *
 *   bytes
 *     ^   +--------------+        a box is a slot: as wide as its life, as high as its size;
 *     |   |   residual   |        two boxes may share bytes if their lives do not meet
 *     |   +---+------+---+---+
 *     |   | q | attn |  ffn  |
 *     +---+---+------+-------+--> steps
 *
 * Boxes are placed one after the other into the smallest gap that holds them (best fit), in a few orders
 * (largest first, longest first, ...); the lowest arena wins. A node whose operation allows it writes over
 * its first input when that input dies there. Scratch is a box of one step. */
#include "graph/graph_impl.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static size_t round_up(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static bool slot_new(tn_graph *g, int32_t *out, tn_value v)
{
    if (!graph_grow(&g->slots, &g->cap_slot, g->n_slot, sizeof *g->slots)) {
        graph_fail(g, TN_NOMEM, "no memory to plan a graph of %d values", g->n_value);
        return false;
    }
    slot *s = &g->slots[g->n_slot];
    memset(s, 0, sizeof *s);
    s->t = g->values[v].t; /* value 0 (scratch) has an empty tensor */
    s->value = v;
    s->first = INT32_MAX;
    s->last = -1;
    s->root = g->n_slot;
    if (v != 0 && !graph_tensor_bytes(&s->t, &s->bytes)) {
        graph_fail(g, TN_LIMIT, "'%s' is too large", g->values[v].name ? g->values[v].name : "a value");
        return false;
    }
    *out = g->n_slot++;
    return true;
}

static bool make_slots(tn_graph *g)
{
    for (tn_value v = 1; v < g->n_value; v++) {
        value *p = &g->values[v];
        if (p->present && (p->kind == VALUE_INPUT || p->kind == VALUE_RESULT) && !slot_new(g, &p->slot, v))
            return false;
    }
    for (int32_t i = 0; i < g->n_step; i++) {
        step *s = &g->steps[i];
        if (s->kind == STEP_AGAIN)
            for (int k = 0; k < g->nodes[s->node].op->n_out; k++) {
                value *p = &g->values[g->nodes[s->node].out + k];
                if (p->present && !slot_new(g, &p->slot_again, g->nodes[s->node].out + k)) return false;
            }
        if (s->kind != STEP_BACKWARD) continue;
        for (int k = 0; k < TN_MAX_IN; k++) {
            tn_value v = s->grad_of_in[k];
            if (v == 0 || g->values[v].kind == VALUE_WEIGHT || g->values[v].slot_grad >= 0) continue;
            if (!slot_new(g, &g->values[v].slot_grad, v)) return false;
        }
    }
    for (tn_value v = 1; v < g->n_value; v++) /* a seed that nobody adds to is the gradient itself */
        if (g->values[v].seed != 0 && g->values[v].slot_grad < 0)
            g->values[v].slot_grad = g->values[g->values[v].seed].slot;
    return true;
}

static void touch(tn_graph *g, int32_t i_slot, int32_t i_step)
{
    if (i_slot < 0) return;
    slot *s = &g->slots[i_slot];
    if (i_step < s->first) s->first = i_step;
    if (i_step > s->last) s->last = i_step;
}

/* The tensor of v's data as step i sees it; `again` chooses the recomputed instance where there is one. */
static tn_tensor *data_of(tn_graph *g, tn_value v, bool again, int32_t i_step)
{
    value *p = &g->values[v];

    if (v == 0 || !p->present) return NULL;
    if (p->kind == VALUE_WEIGHT || p->kind == VALUE_CONSTANT) return graph_value_tensor(g, v);
    if (again && !p->persistent && p->slot_again >= 0) {
        touch(g, p->slot_again, i_step);
        return &g->slots[p->slot_again].t;
    }
    touch(g, p->slot, i_step);
    return &p->t;
}

static tn_tensor *grad_of(tn_graph *g, tn_value v, int32_t i_step)
{
    value *p = &g->values[v];

    if (v == 0) return NULL;
    if (p->kind == VALUE_WEIGHT) return p->weight_grad;
    touch(g, p->slot_grad, i_step);
    return &g->slots[p->slot_grad].t;
}

static void make_call(tn_graph *g, int32_t i_step)
{
    step    *s = &g->steps[i_step];
    tn_call *c = &s->call;

    memset(c, 0, sizeof *c);
    if (s->kind == STEP_COPY) {
        c->in[0] = data_of(g, s->copy_from, false, i_step);
        c->out[0] = grad_of(g, s->copy_to, i_step);
        return;
    }
    node *n = &g->nodes[s->node];
    c->op = n->op;
    c->params = n->params;
    c->n_in = n->n_in;
    c->n_out = n->op->n_out;
    for (int k = 0; k < n->n_in; k++) {
        value *p = &g->values[n->in[k]];
        bool   read = s->kind != STEP_BACKWARD || (n->op->bwd_in >> k & 1) || p->kind == VALUE_WEIGHT;
        c->in[k] = n->in[k] == 0 ? NULL
                   : read        ? data_of(g, n->in[k], s->kind != STEP_FORWARD, i_step)
                                 : &p->shape_only;
    }
    for (int k = 0; k < c->n_out; k++) {
        value *p = &g->values[n->out + k];
        if (!p->present) continue;
        if (s->kind == STEP_AGAIN) {
            touch(g, p->slot_again, i_step);
            c->out[k] = &g->slots[p->slot_again].t;
        } else {
            bool read = s->kind == STEP_FORWARD || (n->op->bwd_out >> k & 1);
            c->out[k] = read ? data_of(g, n->out + k, s->kind != STEP_FORWARD, i_step) : &p->shape_only;
        }
    }
    if (n->adds_head_grad && s->kind == STEP_FORWARD) c->out[3] = g->values[n->in[1]].weight_grad;
    if (s->kind != STEP_BACKWARD) return;
    for (int k = 0; k < c->n_out; k++) c->dout[k] = grad_of(g, s->grad_of_out[k], i_step);
    for (int k = 0; k < n->n_in; k++) {
        c->din[k] = grad_of(g, s->grad_of_in[k], i_step);
        c->add[k] = s->add[k];
    }
}

static bool make_scratch(tn_graph *g, int32_t i_step)
{
    step *s = &g->steps[i_step];

    if (s->kind == STEP_COPY || s->call.op->scratch == NULL) return true;
    size_t bytes = s->call.op->scratch(&s->call, s->kind == STEP_BACKWARD);
    if (bytes == 0) return true;
    if (!slot_new(g, &s->scratch_slot, 0)) return false;
    g->slots[s->scratch_slot].bytes = bytes;
    touch(g, s->scratch_slot, i_step);
    return true;
}

/* Inputs live for ever (the caller may set them once); kept values live until the next run. */
static void extend_lives(tn_graph *g)
{
    for (tn_value v = 1; v < g->n_value; v++) {
        value *p = &g->values[v];
        if (p->slot < 0) continue;
        if (p->kind == VALUE_INPUT) touch(g, p->slot, 0);
        if (p->kind == VALUE_INPUT || p->keep) touch(g, p->slot, g->n_step);
    }
}

static int32_t slot_of_tensor(const tn_graph *g, const tn_tensor *t, tn_value v, bool again)
{
    const value *p = &g->values[v];

    if (v == 0 || p->kind != VALUE_RESULT) return -1;
    if (again && p->slot_again >= 0 && t == &g->slots[p->slot_again].t) return p->slot_again;
    return t == &p->t ? p->slot : -1;
}

/* out[0] over in[0], where the operation allows it and in[0] is not read afterwards. In step order, so that a
 * chain of such nodes ends up in one place. */
static void share_in_place(tn_graph *g)
{
    for (int32_t i = 0; i < g->n_step; i++) {
        step *s = &g->steps[i];
        if ((s->kind != STEP_FORWARD && s->kind != STEP_AGAIN) || s->call.op->in_place != 1) continue;
        node   *n = &g->nodes[s->node];
        bool    again = s->kind == STEP_AGAIN;
        int32_t from = slot_of_tensor(g, s->call.in[0], n->in[0], again);
        int32_t to = slot_of_tensor(g, s->call.out[0], n->out, again);
        bool    twice = false;
        for (int k = 1; k < n->n_in; k++) twice |= n->in[k] != 0 && n->in[k] == n->in[0];
        if (from < 0 || to < 0 || twice) continue;
        slot *f = &g->slots[g->slots[from].root], *t = &g->slots[to];
        if (f->last != i || f->bytes != t->bytes || t->first != i) continue;
        t->root = g->slots[from].root;
        f->last = t->last;
    }
}

/* The same for gradients that are passed on as they are: a sum's. What came in is read for the last time by
 * the step that passes it on. */
static void share_grad_in_place(tn_graph *g)
{
    for (int32_t i = 0; i < g->n_step; i++) {
        step *s = &g->steps[i];
        if (s->kind != STEP_BACKWARD || s->call.op->grad_in_place != 1 || s->add[0]) continue;
        tn_value in = s->grad_of_in[0], out = s->grad_of_out[0];
        if (in == 0 || out == 0 || g->values[in].kind != VALUE_RESULT || g->values[out].kind != VALUE_RESULT)
            continue;
        int32_t from = g->values[out].slot_grad, to = g->values[in].slot_grad;
        if (from < 0 || to < 0) continue;
        slot *f = &g->slots[g->slots[from].root], *t = &g->slots[to];
        if (f->last != i || f->bytes != t->bytes || t->first != i) continue;
        t->root = g->slots[from].root;
        f->last = t->last;
    }
}

/* Neighbouring forward steps of one operation and one in[0] can run as one, if it knows how: at the last
 * one's step all their outputs and inputs are alive, so its scratch lies beside them. */
static void find_together(tn_graph *g)
{
    for (int32_t i = 0, n; i < g->n_step; i += n) {
        const step *s = &g->steps[i];
        for (n = 1; i + n < g->n_step && n < TN_TOGETHER; n++) {
            const step *t = &g->steps[i + n];
            if (s->kind != STEP_FORWARD || t->kind != STEP_FORWARD || s->call.op != t->call.op ||
                s->call.op->together == NULL || s->call.in[0] != t->call.in[0])
                break;
            bool follows = false; /* it reads what another of the group makes */
            for (int k = 1; k < t->call.n_in; k++) {
                tn_value v = g->nodes[t->node].in[k];
                follows |= v != 0 && g->values[v].kind == VALUE_RESULT;
            }
            if (follows) break;
        }
        g->steps[i].n_together = n;
    }
}

/* What dies inside a group (an output that nobody reads) must not make room for the next one's. */
static void live_together(tn_graph *g)
{
    for (int32_t i = 0; i < g->n_step; i += g->steps[i].n_together)
        for (int32_t k = 0; k < g->steps[i].n_together - 1; k++)
            touch(g, g->values[g->nodes[g->steps[i + k].node].out].slot, i + g->steps[i].n_together - 1);
}

typedef struct order {
    size_t  key;
    int32_t i;
} order;

static int order_compare(const void *a, const void *b)
{
    const order *x = a, *y = b;

    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

/* Best fit of all roots in the given order; offsets into `offset`, returns the height. `placed` is work
 * space. */
static size_t place(const tn_graph *g, const order *o, int32_t n, size_t *offset, int32_t *placed)
{
    size_t  height = 0;
    int32_t n_placed = 0;

    for (int32_t k = 0; k < n; k++) {
        const slot *s = &g->slots[o[k].i];
        size_t      need = round_up(s->bytes), end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
        for (int32_t j = 0; j < n_placed; j++) { /* in order of offset */
            const slot *p = &g->slots[placed[j]];
            if (p->last < s->first || s->last < p->first) continue;
            size_t at = offset[placed[j]];
            if (at > end && at - end >= need && at - end < best_gap) {
                best = end;
                best_gap = at - end;
            }
            if (at + round_up(p->bytes) > end) end = at + round_up(p->bytes);
        }
        size_t  where = best != SIZE_MAX ? best : end;
        int32_t j = n_placed++;
        for (; j > 0 && offset[placed[j - 1]] > where; j--) placed[j] = placed[j - 1];
        placed[j] = o[k].i;
        offset[o[k].i] = where;
        if (where + need > height) height = where + need;
    }
    return height;
}

static size_t order_key(const slot *s, int how)
{
    size_t life = (size_t)(s->last - s->first + 1);

    switch (how) {
    case 0: return s->bytes;
    case 1: return life;
    case 2: return s->bytes > SIZE_MAX / life ? SIZE_MAX : s->bytes * life;
    default: return SIZE_MAX - (size_t)s->first; /* as a run would ask for them */
    }
}

/* Offsets of all roots; returns the arena's size, 0 when out of memory. */
static size_t place_all(tn_graph *g)
{
    size_t   best = SIZE_MAX;
    order   *o = malloc((size_t)g->n_slot * sizeof *o);
    size_t  *offset = malloc((size_t)g->n_slot * sizeof *offset);
    int32_t *placed = malloc((size_t)g->n_slot * sizeof *placed);

    for (int how = 0; how < 4 && o != NULL && offset != NULL && placed != NULL; how++) {
        int32_t n = 0;
        for (int32_t i = 0; i < g->n_slot; i++)
            if (g->slots[i].root == i && g->slots[i].last >= g->slots[i].first)
                o[n++] = (order){ order_key(&g->slots[i], how), i };
        qsort(o, (size_t)n, sizeof *o, order_compare);
        size_t height = place(g, o, n, offset, placed);
        if (height >= best) continue;
        best = height;
        for (int32_t i = 0; i < n; i++) g->slots[o[i].i].offset = offset[o[i].i];
    }
    free(o);
    free(offset);
    free(placed);
    return best == SIZE_MAX ? 0 : best;
}

static void point(tn_graph *g)
{
    for (int32_t i = 0; i < g->n_slot; i++) {
        slot *s = &g->slots[i], *r = &g->slots[s->root];
        s->t.data = r->last >= r->first ? g->arena.base + r->offset : NULL;
    }
    for (tn_value v = 1; v < g->n_value; v++)
        if (g->values[v].slot >= 0) g->values[v].t.data = g->slots[g->values[v].slot].t.data;
    for (int32_t i = 0; i < g->n_step; i++) {
        step *s = &g->steps[i];
        if (s->scratch_slot < 0) continue;
        s->call.scratch = g->slots[s->scratch_slot].t.data;
        s->call.scratch_bytes = g->slots[s->scratch_slot].bytes;
    }
}

tn_status tn_graph_plan(tn_graph *g, size_t max_bytes, tn_graph_memory *out, tn_error *err)
{
    TN_TRY(tn_graph_status(g, err));
    if (g->planned) return tn_fail(err, TN_USAGE, "the graph is planned already");
    tn_ops_choose(true); /* whatever computes plans first: the start-up check cannot be forgotten */
    if (!g->has_backward) {
        for (int32_t i = 1; i < g->n_value; i++) g->values[i].persistent = true;
        TN_TRY(graph_forward_steps(g, err));
    }
    if (!make_slots(g)) return tn_graph_status(g, err);
    graph_spread_shapes(g);
    /* A scratch slot may move the array of slots, and calls point into it: each is made just before it is
     * asked, and all of them anew afterwards. */
    for (int32_t i = 0; i < g->n_step; i++) {
        make_call(g, i);
        if (!make_scratch(g, i)) return tn_graph_status(g, err);
    }
    for (int32_t i = 0; i < g->n_step; i++) make_call(g, i);
    find_together(g);
    live_together(g);
    extend_lives(g);
    share_in_place(g);
    share_grad_in_place(g);

    size_t bytes = place_all(g);
    if (bytes == 0) return tn_fail(err, TN_NOMEM, "no memory to plan a graph of %d nodes", g->n_node);
    if (max_bytes != 0 && bytes > max_bytes)
        return tn_fail(err, TN_NOMEM,
                       "values need %.1f MiB of memory, and there are %.1f MiB: lower the rows of a run "
                       "(sequences a micro-batch, length)%s",
                       (double)bytes / 0x1p20, (double)max_bytes / 0x1p20,
                       g->has_backward && !g->recompute ? " or switch recomputation on" : "");
    /* One block: under a sanitizer it is followed by a redzone, for which the slack is. */
    if (tn_arena_init(&g->arena, bytes + 128, NULL) != TN_OK || tn_arena_get(&g->arena, bytes, 1) == NULL)
        return tn_fail(err, TN_NOMEM,
                       "values need %.1f MiB, which this machine does not have: lower the rows of a run "
                       "(sequences a micro-batch, length)",
                       (double)bytes / 0x1p20);
    g->planned = true;
    g->threads = tn_threads();
    point(g);
    if (out == NULL) return TN_OK;
    out->planned = bytes;
    if ((out->live_peak = tn_graph_live_set(g)) == 0)
        return tn_fail(err, TN_NOMEM, "no memory to measure the plan");
    out->n_node = g->n_node;
    out->scratch = 0;
    for (int32_t i = 0; i < g->n_step; i++)
        if (g->steps[i].call.scratch_bytes > out->scratch) out->scratch = g->steps[i].call.scratch_bytes;
    return TN_OK;
}
