/* derive.c - the backward pass, derived from the operations' backward rules.
 *
 *   forward   n0 n1 n2 ... nF
 *   backward  nF ... n2 n1 n0      a node runs if one of its outputs has a gradient and one of its inputs wants one
 *
 * The first node that gives a value a gradient writes it, later ones add to it, in this one order; so the
 * bits of a gradient are a function of the graph alone. Gradients of weights always add to the caller's
 * tensor: micro-batches continue one chain.
 *
 * Recomputation. Checkpoints cut the forward into segments. Values that live only inside a segment are
 * dropped after the forward pass; before the backward of the segment's last node, the nodes that made what
 * the backward rules read are run again, in forward order, from the checkpoint. The operations are pure, so
 * the bits are the same.
 *
 *   forward  [ seg 0 ] c0 [ seg 1 ] c1 [ tail ]      backward  tail' | seg 1 again, seg 1' | seg 0 again, seg 0' */
#include "graph/graph_impl.h"

#include <stdlib.h>
#include <string.h>

static step *step_new(tn_graph *g, step_kind kind, int32_t i_node)
{
    if (!graph_grow(&g->steps, &g->cap_step, g->n_step, sizeof *g->steps)) {
        graph_fail(g, TN_NOMEM, "no memory for a graph of %d steps", g->n_step);
        return NULL;
    }
    step *s = &g->steps[g->n_step++];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->node = i_node;
    s->scratch_slot = -1;
    return s;
}

tn_status graph_forward_steps(tn_graph *g, tn_error *err)
{
    if (g->status != TN_OK) return tn_graph_status(g, err);
    if (g->n_node == 0) return tn_fail(err, TN_USAGE, "the graph has no node");
    for (int32_t i = 0; i < g->n_node; i++)
        if (step_new(g, STEP_FORWARD, i) == NULL) return tn_graph_status(g, err);
    g->n_forward = g->n_step;
    return TN_OK;
}

/* Does a gradient of output k go back through the node? */
static bool gives_gradient(const node *n, int k)
{
    return n->op->kernels[0].bwd != NULL && ((n->op->grad_out != 0 ? n->op->grad_out : 1u) >> k & 1) != 0;
}

/* Does something that learns lead to input k of the node, and does its operation send a gradient there? */
static bool wants_gradient(const tn_graph *g, const node *n, int k)
{
    return n->in[k] != 0 && g->values[n->in[k]].needs_grad && (n->no_grad_in >> k & 1) == 0;
}

/* An input of which no gradient comes back, and something that learns leads there. A weight that the
 * operation holds for a constant may: it learns elsewhere. */
static bool is_cut_off(const tn_graph *g, const node *n, int k)
{
    if (n->in[k] == 0 || !g->values[n->in[k]].needs_grad || (n->no_grad_in >> k & 1) == 0) return false;
    return (n->op->held_in >> k & 1) == 0 || g->values[n->in[k]].kind != VALUE_WEIGHT;
}

/* An output with no gradient of its own (1/rms, gate and up of a mixture) would be a silent zero, or be asked
 * for what is not there; an input without one would keep what its memory held. */
static tn_status check_gradients(const tn_graph *g, const bool *reached, tn_error *err)
{
    for (int32_t i = 0; i < g->n_node; i++) {
        const node *n = &g->nodes[i];
        bool        any = false;
        for (int k = 0; k < n->op->n_out; k++) any |= reached[n->out + k];
        for (int k = 0; k < n->n_in && any; k++)
            if (is_cut_off(g, n, k))
                return tn_fail(err, TN_UNSUPPORTED,
                               "node '%s': %s has no gradient of its input %d (%s)%s, so what leads there "
                               "cannot be trained: give it no gradient",
                               n->name ? n->name : n->op->name, n->op->name, k,
                               g->values[n->in[k]].name ? g->values[n->in[k]].name : "without a name",
                               n->id == TN_OP_HEAD_LOSS && k == 0 ? " without train" : "");
        for (int k = 0; k < n->op->n_out; k++)
            if (reached[n->out + k] && !gives_gradient(n, k))
                return tn_fail(
                    err, TN_UNSUPPORTED,
                    "node '%s': output %d of %s has no gradient, so nothing can be trained through it",
                    n->name ? n->name : n->op->name, k, n->op->name);
    }
    return TN_OK;
}

/* Which values have a gradient: those from which a seeded value can be reached through backward rules. */
static void mark_reached(const tn_graph *g, bool *reached)
{
    for (int32_t i = g->n_node - 1; i >= 0; i--) {
        const node *n = &g->nodes[i];
        bool        any = false;
        for (int k = 0; k < n->op->n_out; k++) any |= reached[n->out + k];
        if (!any || n->op->kernels[0].bwd == NULL) continue;
        for (int k = 0; k < n->n_in; k++)
            if (wants_gradient(g, n, k)) reached[n->in[k]] = true;
    }
}

/* Does the backward pass run this node? */
static bool node_runs_backward(const tn_graph *g, const node *n, const bool *reached)
{
    bool any_out = false, any_in = false;

    for (int k = 0; k < n->op->n_out; k++) any_out |= reached[n->out + k];
    for (int k = 0; k < n->n_in; k++) any_in |= wants_gradient(g, n, k);
    return any_out && any_in && n->op->kernels[0].bwd != NULL;
}

/* Numbers the segments: node i is in segment s if s checkpoints were made before it. The tail is never
 * recomputed. */
static int32_t number_segments(tn_graph *g)
{
    int32_t n_segment = 0;

    for (int32_t i = 0; i < g->n_node; i++) {
        node *n = &g->nodes[i];
        n->segment = n_segment;
        if (!g->recompute) continue;
        for (int k = 0; k < n->op->n_out; k++)
            if (g->values[n->out + k].checkpoint) {
                n_segment++;
                break;
            }
    }
    return n_segment; /* the tail's number */
}

/* A value's forward instance serves the backward pass if it is a checkpoint, is kept, is used in another
 * segment, lies in the tail, or comes from a node that may not run twice. */
static void mark_persistent(tn_graph *g, int32_t tail)
{
    for (int32_t i = 1; i < g->n_value; i++) {
        value *v = &g->values[i];
        v->persistent = v->kind != VALUE_RESULT || v->keep || v->checkpoint ||
                        g->nodes[v->node].segment == tail || g->nodes[v->node].adds_head_grad;
    }
    for (int32_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            value *v = &g->values[g->nodes[i].in[k]];
            if (g->nodes[i].in[k] != 0 && v->kind == VALUE_RESULT &&
                g->nodes[v->node].segment != g->nodes[i].segment)
                v->persistent = true;
        }
}

/* Runs again the nodes of a segment that made what its backward rules read. */
static bool emit_again(tn_graph *g, int32_t segment, int32_t first, int32_t last, const bool *reached,
                       bool *wanted)
{
    for (int32_t i = first; i <= last; i++) {
        const node *n = &g->nodes[i];
        if (!node_runs_backward(g, n, reached)) continue;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != 0 && (n->op->bwd_in >> k & 1)) wanted[n->in[k]] = true;
        for (int k = 0; k < n->op->n_out; k++)
            if (n->op->bwd_out >> k & 1) wanted[n->out + k] = true;
    }
    /* what makes a wanted value is wanted, back to the checkpoint */
    for (int32_t i = last; i >= first; i--) {
        const node *n = &g->nodes[i];
        bool        any = false;
        for (int k = 0; k < n->op->n_out; k++) any |= wanted[n->out + k] && !g->values[n->out + k].persistent;
        if (!any) continue;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != 0 && !g->values[n->in[k]].persistent) wanted[n->in[k]] = true;
    }
    for (int32_t i = first; i <= last; i++) {
        const node *n = &g->nodes[i];
        bool        any = false;
        for (int k = 0; k < n->op->n_out; k++) any |= wanted[n->out + k] && !g->values[n->out + k].persistent;
        if (any && n->segment == segment && step_new(g, STEP_AGAIN, i) == NULL) return false;
    }
    return true;
}

static bool emit_backward(tn_graph *g, int32_t i_node, const bool *reached, bool *written)
{
    const node *n = &g->nodes[i_node];
    step       *s = step_new(g, STEP_BACKWARD, i_node);

    if (s == NULL) return false;
    for (int k = 0; k < n->op->n_out; k++) s->grad_of_out[k] = reached[n->out + k] ? n->out + k : 0;
    for (int k = 0; k < n->n_in; k++) {
        tn_value v = n->in[k];
        if (!wants_gradient(g, n, k)) continue;
        if (n->adds_head_grad && k == 1) continue; /* the forward pass has added it */
        for (int j = 0; j < k; j++)
            if (n->in[j] == v) {
                graph_fail(g, TN_UNSUPPORTED,
                           "node '%s': the same value twice has no backward; put a copy (scale by 1) "
                           "between",
                           n->name ? n->name : n->op->name);
                return false;
            }
        s->grad_of_in[k] = v;
        s->add[k] = g->values[v].kind == VALUE_WEIGHT || written[v];
        written[v] = true;
    }
    return true;
}

/* The seed of v: an input of its shape. */
static tn_value seed_new(tn_graph *g, tn_value v)
{
    int64_t shape[TN_MAX_DIM];

    memcpy(shape, g->values[v].t.shape, sizeof shape);
    tn_value seed = tn_graph_input(g, "seed", g->values[v].t.dtype, g->values[v].t.n_dim, shape);
    if (seed != 0) g->values[v].seed = seed;
    return seed;
}

/* Do nodes of this graph add to v's gradient? Then the seed is copied first, so that its memory stays the
 * caller's. */
static bool has_differentiable_use(const tn_graph *g, tn_value v, const bool *reached)
{
    for (int32_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] == v && node_runs_backward(g, &g->nodes[i], reached)) return true;
    return false;
}

/* When is a weight's gradient finished: the last step that adds to its memory. Two values may share it (a
 * tied weight). */
static bool list_last_steps(tn_graph *g)
{
    int32_t most = 0;
    for (tn_value v = 1; v < g->n_value; v++)
        most += g->values[v].kind == VALUE_WEIGHT && g->values[v].weight_grad != NULL;
    g->grad_step = calloc((size_t)most + 1, sizeof *g->grad_step);
    g->grads = calloc((size_t)most + 1, sizeof *g->grads);
    bool *seen = calloc((size_t)g->n_value, 1);
    if (g->grad_step == NULL || g->grads == NULL || seen == NULL) {
        free(seen);
        return graph_fail(g, TN_NOMEM, "no memory to derive a backward pass") != 0;
    }
    /* from the end: the first time a gradient is met is its last step */
    for (int32_t i = g->n_step - 1; i >= 0; i--) {
        const step *s = &g->steps[i];
        if (s->kind != STEP_BACKWARD && !(s->kind == STEP_FORWARD && g->nodes[s->node].adds_head_grad))
            continue;
        for (int k = 0; k < g->nodes[s->node].n_in; k++) {
            tn_value v = s->kind == STEP_BACKWARD ? s->grad_of_in[k] : k == 1 ? g->nodes[s->node].in[1] : 0;
            if (v == 0 || g->values[v].kind != VALUE_WEIGHT || seen[v]) continue;
            const tn_tensor *grad = g->values[v].weight_grad;
            for (tn_value w = 1; w < g->n_value; w++) seen[w] |= g->values[w].weight_grad == grad;
            g->grad_step[g->n_grad] = i;
            g->grads[g->n_grad++] = grad;
        }
    }
    free(seen);
    return true;
}

tn_status tn_graph_backward(tn_graph *g, const tn_value *values, tn_value *seeds, int n, bool recompute,
                            tn_error *err)
{
    tn_status status = TN_OK;
    bool     *reached = NULL, *written = NULL, *wanted = NULL;

    TN_TRY(tn_graph_status(g, err));
    if (g->has_backward || g->planned)
        return tn_fail(err, TN_USAGE, "the graph's backward is derived once, before the plan");
    for (int i = 0; i < n; i++) {
        if (values[i] <= 0 || values[i] >= g->n_value || g->values[values[i]].kind != VALUE_RESULT)
            return tn_fail(err, TN_USAGE, "a backward needs results of this graph to start from");
        if (!g->values[values[i]].needs_grad)
            return tn_fail(err, TN_USAGE, "'%s' depends on no weight that has a gradient: nothing to train",
                           g->values[values[i]].name ? g->values[values[i]].name : "the loss");
    }
    g->recompute = recompute;
    int32_t tail = number_segments(g);
    mark_persistent(g, tail);
    for (int i = 0; i < n; i++)
        if ((seeds[i] = seed_new(g, values[i])) == 0) return tn_graph_status(g, err);
    TN_TRY(graph_forward_steps(g, err));

    reached = calloc((size_t)g->n_value, 1);
    written = calloc((size_t)g->n_value, 1);
    wanted = calloc((size_t)g->n_value, 1);
    if (reached == NULL || written == NULL || wanted == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to derive a backward pass");
        goto out;
    }
    for (int i = 0; i < n; i++) reached[values[i]] = written[values[i]] = true;
    mark_reached(g, reached);
    TN_GOTO(check_gradients(g, reached, err));
    for (int i = 0; i < n; i++) {
        if (!has_differentiable_use(g, values[i], reached)) continue;
        step *s = step_new(g, STEP_COPY, -1);
        if (s == NULL) goto failed;
        s->copy_from = seeds[i];
        s->copy_to = values[i];
    }
    for (int32_t last = g->n_node - 1; last >= 0;) {
        int32_t first = last, segment = g->nodes[last].segment;
        while (first > 0 && g->nodes[first - 1].segment == segment) first--;
        if (segment != tail && !emit_again(g, segment, first, last, reached, wanted)) goto failed;
        for (int32_t i = last; i >= first; i--)
            if (node_runs_backward(g, &g->nodes[i], reached) && !emit_backward(g, i, reached, written))
                goto failed;
        last = first - 1;
    }
    if (!list_last_steps(g)) goto failed;
    g->has_backward = true;
    goto out;
failed:
    status = tn_graph_status(g, err);
out:
    free(reached);
    free(written);
    free(wanted);
    return status;
}
