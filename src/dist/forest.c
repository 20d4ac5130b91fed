/* forest.c - sums of groups in one fixed association: a node joins its sibling, and only its sibling.
 * left + right of each element; floating-point addition is commutative, so who came first changes nothing.
 * When the number of groups is a power of two the forest ends as one root. */
#include "dist/dist.h"

#include <stdlib.h>

#include "base/thread.h"

void tn_dist_share(int64_t n, int rank, int size, int64_t *first, int64_t *last)
{
    *first = n * rank / size;
    *last = n * (rank + 1) / size;
}

tn_status tn_forest_init(tn_forest *f, int64_t n, int cap, tn_error *err)
{
    *f = (tn_forest){ .n = n, .cap = cap };
    f->node = calloc((size_t)cap, sizeof *f->node);
    f->spare = calloc((size_t)cap, sizeof *f->spare);
    if (f->node == NULL || f->spare == NULL) {
        tn_forest_free(f);
        return tn_fail(err, TN_NOMEM, "no memory for a tree of %d sums", cap);
    }
    return TN_OK;
}

void tn_forest_free(tn_forest *f)
{
    for (int i = 0; i < f->n_node; i++) free(f->node[i].sum);
    for (int i = 0; i < f->n_spare; i++) free(f->spare[i]);
    free(f->node);
    free(f->spare);
    *f = (tn_forest){ 0 };
}

tn_status tn_forest_buffer(tn_forest *f, float **out, tn_error *err)
{
    if (f->n_spare > 0) {
        *out = f->spare[--f->n_spare];
        return TN_OK;
    }
    size_t bytes = ((size_t)f->n * sizeof(float) + 63) & ~(size_t)63;
    if (f->n_made == f->cap)
        return tn_fail(err, TN_LIMIT, "more than %d sums alive in the tree of gradients", f->cap);
    if ((*out = aligned_alloc(64, bytes ? bytes : 64)) == NULL)
        return tn_fail(
            err, TN_NOMEM,
            "a gradient sum needs %zu bytes more: use fewer groups (group_size larger) or more ranks", bytes);
    f->n_made++;
    return TN_OK;
}

typedef struct addition {
    float       *to;
    const float *from;
} addition;
static void add_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    addition *a = arg;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) a->to[i] += a->from[i];
}

int tn_forest_promise(tn_forest *f, int level, int64_t index, float *sum, tn_sum_pair *add)
{
    int n = 0;
    for (int i = 0; i < f->n_node;) {
        if (f->node[i].level != level || (f->node[i].index ^ 1) != index) {
            i++;
            continue;
        }
        float *to = f->node[i].sum;
        f->node[i] = f->node[--f->n_node];
        f->spare[f->n_spare++] = sum;
        add[n++] = (tn_sum_pair){ to, sum };
        sum = to;
        level++;
        index >>= 1;
        i = 0;
    }
    f->node[f->n_node++] = (tn_node){ level, index, sum };
    return n;
}

void tn_forest_add(tn_forest *f, int level, int64_t index, float *sum)
{
    tn_sum_pair add[TN_FOREST_LEVELS];
    for (int i = 0, n = tn_forest_promise(f, level, index, sum, add); i < n; i++)
        tn_parallel(f->n, 4096, add_range, &(addition){ add[i].to, add[i].from });
}

float *tn_forest_find(const tn_forest *f, int level, int64_t index)
{
    for (int i = 0; i < f->n_node; i++)
        if (f->node[i].level == level && f->node[i].index == index) return f->node[i].sum;
    return NULL;
}

int tn_forest_chain(const tn_forest *f, int level, int64_t index, float *out[TN_FOREST_LEVELS])
{
    int n = 0;
    while (n < TN_FOREST_LEVELS && (out[n] = tn_forest_find(f, level + n, (index >> n) ^ 1)) != NULL) n++;
    return n;
}

void tn_forest_clear(tn_forest *f)
{
    while (f->n_node > 0) f->spare[f->n_spare++] = f->node[--f->n_node].sum;
}
