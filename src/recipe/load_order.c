/* load_order.c - stages in the order of execution: what a stage needs comes before it; a circle is named
 * whole. */
#include "recipe/load.h"

#include "base/str.h"

#include <stdlib.h>

static tn_status circle(const tn_recipe *r, const int *state, size_t at, tn_error *err)
{
    tn_str s = { .max = 600 };
    size_t i = at;

    tn_str_add(&s, r->stages[at].name);
    do { /* every stage in a circle has an unfinished input */
        const recipe_stage *st = &r->stages[i];
        size_t              k = 0;
        while (k < st->n_ref && !(st->refs[k].stage >= 0 && state[st->refs[k].stage] == 1)) k++;
        if (k == st->n_ref) break;
        i = (size_t)st->refs[k].stage;
        tn_str_addf(&s, " <- %s", r->stages[i].name);
    } while (i != at && !s.failed);
    tn_status status = tn_fail(err, TN_USAGE, "%s:%d: stage '%s' needs itself: %s", r->stages[at].file,
                               r->stages[at].line, r->stages[at].name, s.p != NULL ? s.p : "");
    tn_str_free(&s);
    return status;
}

/* state: 0 new, 1 being looked at, 2 placed. */
static tn_status place(const tn_recipe *r, size_t i, int *state, size_t *order, size_t *n, tn_error *err)
{
    if (state[i] == 2) return TN_OK;
    if (state[i] == 1) return circle(r, state, i, err);
    state[i] = 1;
    for (size_t k = 0; k < r->stages[i].n_ref; k++)
        if (r->stages[i].refs[k].stage >= 0)
            TN_TRY(place(r, (size_t)r->stages[i].refs[k].stage, state, order, n, err));
    state[i] = 2;
    order[(*n)++] = i;
    return TN_OK;
}

tn_status recipe_load_order(loader *l, tn_error *err)
{
    tn_recipe    *r = l->r;
    int          *state = calloc(r->n, sizeof *state), *new_index = calloc(r->n, sizeof *new_index);
    size_t       *order = calloc(r->n, sizeof *order), n = 0;
    recipe_stage *sorted = calloc(r->n, sizeof *sorted);
    tn_status     status = state == NULL || new_index == NULL || order == NULL || sorted == NULL
                               ? recipe_load_no_memory(l, err)
                               : TN_OK;

    for (size_t i = 0; i < r->n && status == TN_OK; i++) status = place(r, i, state, order, &n, err);
    if (status == TN_OK) {
        for (size_t i = 0; i < n; i++) new_index[order[i]] = (int)i;
        for (size_t i = 0; i < n; i++) {
            sorted[i] = r->stages[order[i]];
            for (size_t k = 0; k < sorted[i].n_ref; k++)
                if (sorted[i].refs[k].stage >= 0)
                    sorted[i].refs[k].stage = new_index[sorted[i].refs[k].stage];
        }
        free(r->stages);
        r->stages = sorted;
        sorted = NULL;
    }
    free(state);
    free(new_index);
    free(order);
    free(sorted);
    return status;
}
