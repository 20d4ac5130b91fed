/* shots.c - which rows are shown before a question. The same rows as the public harness shows with the same
 * seed: one generator a task, advanced row by row, so a row's shots depend on its place in the data and on
 * nothing that was run.
 *
 *   where from   fewshot_config.split, else fewshot_split; else samples; else training, validation, test: the first that has rows
 *   how          default: drawn without replacement;  first_n: the first ones (with group_by: of the row's own group)
 *   the row itself is taken out where the pool is the tested split: one more is drawn, then the row removed */
#include "eval/task.h"
#include "base/str.h"
#include "eval/pytext.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool same_name(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static tn_status pool_find(tn_shots *s, const tn_task *t, const char *data, tn_error *err)
{
    const char *const places[] = { t->train, t->validation, t->test };

    if (t->shot_split != NULL) return tn_task_docs(t, t->shot_split, data, 0, false, &s->pool, err);
    if (t->samples != NULL) return tn_task_samples(t, &s->pool, err);
    for (size_t i = 0; i < 3 && s->pool.n == 0; i++)
        if (places[i] != NULL) TN_TRY(tn_task_docs(t, places[i], data, 0, true, &s->pool, err));
    if (s->pool.n > 0) return TN_OK;
    return tn_fail(err, TN_NOTFOUND,
                   "%s: shots are asked for, and no split of task %s has rows for them: give --data DIR with "
                   "its training file, or write "
                   "\"fewshot_config: {samples: [...]}\"",
                   t->path[0], t->name);
}

static tn_status pool_choose(tn_shots *s, const tn_task *t, tn_error *err)
{
    tn_doc *list;

    if (t->n_shot_index == 0) return TN_OK;
    if ((list = calloc((size_t)t->n_shot_index, sizeof *list)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for shots");
    for (int64_t i = 0; i < t->n_shot_index; i++) {
        if (t->shot_index[i] >= (int64_t)s->pool.n) {
            tn_status bad = tn_fail(err, TN_FORMAT,
                                    "%s: fewshot_indices names row %" PRId64 ", there are %zu", t->path[0],
                                    t->shot_index[i], s->pool.n);
            for (int64_t k = 0; k < i; k++) {
                json_decref(list[k].row);
                free(list[k].where);
            }
            free(list);
            return bad;
        }
        const tn_doc *d = &s->pool.list[t->shot_index[i]];
        list[i] = (tn_doc){ json_incref(d->row), tn_strdup(d->where), d->id };
    }
    tn_docs_free(&s->pool);
    s->pool = (tn_docs){ .list = list, .n = (size_t)t->n_shot_index, .cap = (size_t)t->n_shot_index };
    return TN_OK;
}

static bool same_row(const tn_doc *a, const tn_doc *b) { return json_equal(a->row, b->row); }

/* The first n of the row's group, in order. own: the row is in the pool, and never its own shot. */
static tn_status first_rows(const tn_shots *s, const tn_task *t, const tn_doc *doc, bool own, int64_t *out,
                            tn_error *err)
{
    int64_t n = 0;

    for (size_t i = 0; i < s->pool.n && n < s->n; i++) {
        const tn_doc *d = &s->pool.list[i];
        if (t->group_by != NULL && json_object_get(d->row, t->group_by) != NULL &&
            !json_equal(json_object_get(d->row, t->group_by), json_object_get(doc->row, t->group_by)))
            continue;
        if (!own || !same_row(d, doc)) out[n++] = (int64_t)i;
    }
    if (n == s->n) return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s: task %s asks for %" PRId64 " shots, there are %" PRId64 "%s%s",
                   doc->where, t->name, s->n, n, t->group_by != NULL ? " with the same " : "",
                   t->group_by != NULL ? t->group_by : "");
}

/* draw: s->n + 1 places of scratch; others: as many as the pool has. */
static tn_status drawn_rows(const tn_shots *s, const tn_task *t, const tn_doc *doc, bool own, tn_py_random *r,
                            int64_t *draw, int64_t *others, int64_t *out, tn_error *err)
{
    int64_t n_draw = s->n + own, n = 0, n_other = 0;

    if (n_draw > (int64_t)s->pool.n)
        return tn_fail(err, TN_FORMAT, "%s: task %s asks for %" PRId64 " shots%s, the pool has %zu rows",
                       doc->where, t->name, s->n,
                       own ? " and one more to put in the place of the row itself" : "", s->pool.n);
    TN_TRY(tn_py_sample(r, (int64_t)s->pool.n, n_draw, draw, err));
    for (int64_t k = 0; k < n_draw && n < s->n; k++)
        if (!own || !same_row(&s->pool.list[draw[k]], doc)) out[n++] = draw[k];
    if (n == s->n) return TN_OK;
    /* the row stands in the pool more than once: draw from all others */
    for (size_t i = 0; i < s->pool.n; i++)
        if (!same_row(&s->pool.list[i], doc)) others[n_other++] = (int64_t)i;
    TN_TRY(tn_py_sample(r, n_other, s->n, draw, err));
    for (int64_t k = 0; k < s->n; k++) out[k] = others[draw[k]];
    return TN_OK;
}

tn_status tn_shots_draw(tn_shots *out, const tn_task *t, const tn_docs *docs, int64_t n, int64_t seed,
                        const char *data, tn_error *err)
{
    tn_py_random r;
    int64_t     *draw = NULL, *others = NULL;
    bool         own = same_name(t->shot_split, t->test);
    tn_status    status = TN_OK;

    *out = (tn_shots){ .n = n };
    if (n == 0) return TN_OK;
    TN_GOTO(pool_find(out, t, data, err));
    TN_GOTO(pool_choose(out, t, err));
    out->pick = calloc(docs->n * (size_t)n + 1, sizeof *out->pick);
    draw = calloc((size_t)n + 2, sizeof *draw);
    others = calloc(out->pool.n + 1, sizeof *others);
    if (out->pick == NULL || draw == NULL || others == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the shots of %zu rows", docs->n);
        goto out;
    }
    tn_py_seed(&r, (uint64_t)seed);
    for (size_t i = 0; i < docs->n; i++) {
        int64_t *to = out->pick + (int64_t)i * n;
        TN_GOTO(t->first_n ? first_rows(out, t, &docs->list[i], own, to, err)
                           : drawn_rows(out, t, &docs->list[i], own, &r, draw, others, to, err));
    }
out:
    free(draw);
    free(others);
    if (status != TN_OK) tn_shots_free(out);
    return status;
}

void tn_shots_free(tn_shots *s)
{
    tn_docs_free(&s->pool);
    free(s->pick);
    *s = (tn_shots){ 0 };
}
