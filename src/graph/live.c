/* live.c - the largest live set, by a walk that shares nothing with the plan: it looks only at the calls that
 * will be executed, at which tensors they mention and when. What the plan needs beyond this is waste (tests
 * allow 10 %). */
#include "graph/graph_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct mention {
    const tn_tensor *t;
    int32_t          first, last, group;
} mention;

static int mention_compare(const void *a, const void *b)
{
    const mention *x = a, *y = b;

    return x->t < y->t ? -1 : x->t > y->t;
}

static mention *mention_find(mention *m, int32_t n, const tn_tensor *t)
{
    mention key = { .t = t };

    return t == NULL ? NULL : bsearch(&key, m, (size_t)n, sizeof *m, mention_compare);
}

/* Every tensor that lies in the arena, once. */
static int32_t collect(const tn_graph *g, mention *m)
{
    const uint8_t *low = g->arena.base, *high = low + g->arena.cap;
    int32_t        n = 0, n_unique = 0;

    for (int32_t i = 0; i < g->n_step; i++) {
        const tn_call   *c = &g->steps[i].call;
        const tn_tensor *all[2 * TN_MAX_IN + 2 * TN_MAX_OUT] = { 0 };
        for (int k = 0; k < TN_MAX_IN; k++) {
            all[k] = c->in[k];
            all[TN_MAX_IN + k] = c->din[k];
        }
        for (int k = 0; k < TN_MAX_OUT; k++) {
            all[2 * TN_MAX_IN + k] = c->out[k];
            all[2 * TN_MAX_IN + TN_MAX_OUT + k] = c->dout[k];
        }
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
            const uint8_t *p = all[k] != NULL ? all[k]->data : NULL;
            if (p != NULL && p >= low && p < high) m[n++] = (mention){ all[k], i, i, -1 };
        }
    }
    for (tn_value v = 1; v < g->n_value; v++) { /* the caller's: inputs always, kept values to the end */
        const value   *p = &g->values[v];
        const uint8_t *at = p->t.data;
        if (at == NULL || at < low || at >= high) continue;
        if (p->kind == VALUE_INPUT) m[n++] = (mention){ &p->t, 0, g->n_step, -1 };
        else if (p->keep) m[n++] = (mention){ &p->t, g->n_step, g->n_step, -1 };
    }
    qsort(m, (size_t)n, sizeof *m, mention_compare);
    for (int32_t i = 0; i < n; i++) {
        if (n_unique > 0 && m[n_unique - 1].t == m[i].t) {
            if (m[i].first < m[n_unique - 1].first) m[n_unique - 1].first = m[i].first;
            if (m[i].last > m[n_unique - 1].last) m[n_unique - 1].last = m[i].last;
        } else m[n_unique++] = m[i];
    }
    return n_unique;
}

size_t tn_graph_live_set(const tn_graph *g)
{
    size_t   most = 0, n_all = (size_t)g->n_step * (2 * TN_MAX_IN + 2 * TN_MAX_OUT) + (size_t)g->n_value;
    mention *m = g->planned ? malloc(n_all * sizeof *m) : NULL;
    int64_t *change = g->planned ? calloc((size_t)g->n_step + 2, sizeof *change) : NULL;

    if (m != NULL && change != NULL) {
        int32_t n = collect(g, m);
        for (int32_t i = 0; i < n; i++) m[i].group = i;
        for (int32_t i = 0; i < g->n_step; i++) { /* written in place: one piece of memory under two names */
            const step *s = &g->steps[i];
            bool        back = s->kind == STEP_BACKWARD;
            mention    *from = mention_find(m, n, back ? s->call.dout[0] : s->call.in[0]);
            mention    *to = mention_find(m, n, back ? s->call.din[0] : s->call.out[0]);
            if (from == NULL || to == NULL || from == to || from->t->data != to->t->data) continue;
            int32_t group = from->group;
            to->group = group;
            if (to->last > m[group].last) m[group].last = to->last;
        }
        for (int32_t i = 0; i < n; i++) {
            if (m[i].group != i) continue;
            change[m[i].first] += (int64_t)tn_n_bytes(m[i].t);
            change[m[i].last + 1] -= (int64_t)tn_n_bytes(m[i].t);
        }
        int64_t live = 0;
        for (int32_t i = 0; i <= g->n_step; i++) {
            live += change[i];
            size_t with = (size_t)live + (i < g->n_step ? g->steps[i].call.scratch_bytes : 0);
            if (with > most) most = with;
        }
    }
    free(m);
    free(change);
    return most;
}
