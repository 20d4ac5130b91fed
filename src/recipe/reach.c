/* reach.c - which stages feel a change of one source: those that read it, and all that come after them. */
#include "recipe/recipe_impl.h"

#include <stdlib.h>
#include <string.h>

tn_status tn_recipe_reach(const tn_recipe *r, const char *port, json_t **out, tn_error *err)
{
    bool *felt = calloc(r->n + 1, sizeof *felt);

    if (felt == NULL || (*out = json_array()) == NULL) {
        free(felt);
        return tn_fail(err, TN_NOMEM, "no memory for a list of stages");
    }
    for (size_t i = 0; i < r->n; i++) { /* in the order of execution: what comes before is decided */
        const recipe_stage *st = &r->stages[i];
        bool                reads = false;

        for (size_t k = 0; k < st->n_ref; k++) {
            const recipe_ref *ref = &st->refs[k];
            reads = reads || (ref->stage < 0 && strcmp(st->kind->inputs[ref->port].name, port) == 0);
            felt[i] = felt[i] || (ref->stage >= 0 && felt[ref->stage]);
        }
        felt[i] = felt[i] || reads;
        if (felt[i])
            json_array_append_new(*out, json_pack("{s:s, s:s, s:b, s:b}", "stage", st->name, "kind",
                                                  st->kind->name, "reads", reads, "rows", st->kind->rows));
    }
    free(felt);
    return TN_OK;
}
