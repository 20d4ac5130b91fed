/* compare.c - two evaluations of the same rows, always paired.
 *
 *   d_i = b_i - a_i by item         right-or-wrong: McNemar exact       otherwise: paired bootstrap
 *   change = mean d, its interval by resampling rows (groups of rows where a task has them)
 *   Holm over all (task, metric) pairs: the family that "is anything different" asks about */
#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"
#include "eval/items.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BOOTSTRAP = 10000 };
#define CONFIDENCE 0.95

typedef struct pair { double *a, *b, *d; int64_t *cluster, n, n_cluster; } pair;
typedef struct side { json_t *report; tn_items *items; } side;

/* report.json or its folder; the log lies beside it, and its root must be the one that the report names. */
static tn_status side_open(side *s, const char *path, tn_error *err)
{
    bool        folder = tn_is_dir(path);
    const char *slash = strrchr(path, '/');
    char       *file = folder ? tn_path(path, "report.json") : tn_strdup(path), *text = NULL;
    char       *log = folder ? tn_path(path, "items.jsonl") : slash != NULL ? tn_strf("%.*s/items.jsonl", (int)(slash - path), path) : tn_strdup("items.jsonl");
    tn_digest   root;
    tn_status   status = TN_OK;

    if (file == NULL || log == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_load(&s->report, file, (size_t)64 << 20, err));
    TN_GOTO(tn_items_load(&s->items, log, err));
    TN_GOTO(tn_items_root(s->items, &root, err));
    const char *named = json_string_value(json_object_get(s->report, "items_root"));
    text = tn_digest_text(&root);
    if (named == NULL || text == NULL || strcmp(named, text) != 0)
        status = tn_fail(err, TN_MISMATCH, "%s names the items %s, %s holds %s: the two do not belong together", file, named != NULL ? named : "(none)", log, text != NULL ? text : "?");
out:
    free(text);
    free(file);
    free(log);
    return status;
}

static void side_close(side *s)
{
    json_decref(s->report);
    tn_items_close(s->items);
}

/* First item of a task; *n how many. */
static size_t task_items(const tn_items *l, const char *task, int64_t *n)
{
    size_t first = tn_items_count(l);

    *n = 0;
    for (size_t i = 0; i < tn_items_count(l); i++) {
        const char *name = json_string_value(json_object_get(tn_items_at(l, i), "task"));
        if (name == NULL || strcmp(name, task) != 0) continue;
        if (*n == 0) first = i;
        (*n)++;
    }
    return first;
}

static bool same_text(const json_t *a, const json_t *b, const char *key)
{
    return json_equal(json_object_get(a, key), json_object_get(b, key));
}

static int64_t cluster_of(const json_t *item, int64_t i)
{
    const json_t *g = json_object_get(item, "group");

    return json_is_string(g) ? (int64_t)(tn_hash64(json_string_value(g), json_string_length(g)) >> 1) : i;
}

static tn_status pair_make(pair *p, const side *a, const side *b, const char *task, const char *metric, tn_error *err)
{
    int64_t n_b;
    size_t  at_a = task_items(a->items, task, &p->n), at_b = task_items(b->items, task, &n_b);

    if (p->n != n_b || p->n == 0)
        return tn_fail(err, TN_MISMATCH, "task %s: %" PRId64 " rows in the first report, %" PRId64 " in the second: a comparison needs the same rows", task, p->n, n_b);
    p->a = calloc((size_t)p->n, sizeof *p->a);
    p->b = calloc((size_t)p->n, sizeof *p->b);
    p->d = calloc((size_t)p->n, sizeof *p->d);
    p->cluster = calloc((size_t)p->n, sizeof *p->cluster);
    if (p->a == NULL || p->b == NULL || p->d == NULL || p->cluster == NULL) return tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " pairs", p->n);
    for (int64_t i = 0; i < p->n; i++) {
        const json_t *x = tn_items_at(a->items, at_a + (size_t)i), *y = tn_items_at(b->items, at_b + (size_t)i);
        if (!same_text(x, y, "id") || !same_text(x, y, "version"))
            return tn_fail(err, TN_MISMATCH, "task %s, row %" PRId64 ": the reports were made on other rows or another version of the task", task, i);
        p->a[i] = json_number_value(json_object_get(x, metric));
        p->b[i] = json_number_value(json_object_get(y, metric));
        p->d[i] = p->b[i] - p->a[i];
        p->cluster[i] = cluster_of(x, i);
    }
    return TN_OK;
}

static void pair_free(pair *p)
{
    free(p->a);
    free(p->b);
    free(p->d);
    free(p->cluster);
}

/* Two-sided p of a mean difference by its clustered standard error: for what is not right-or-wrong, or has groups. */
static tn_status normal_p(double *p, const pair *x, tn_error *err)
{
    double se, mean = tn_mean(x->d, x->n);

    TN_TRY(tn_stderr_clustered(&se, x->d, x->cluster, x->n, err));
    *p = mean == 0 ? 1 : !(se > 0) ? 1 : erfc(fabs(mean) / se / sqrt(2));
    return TN_OK;
}

static tn_status pair_json(json_t **out, const pair *x, const char *task, const char *metric, int64_t seed, tn_error *err)
{
    tn_interval ci;
    int64_t     b = 0, c = 0;
    bool        binary = true, grouped = false;
    double      p;

    for (int64_t i = 0; i < x->n; i++) {
        binary = binary && (x->a[i] == 0 || x->a[i] == 1) && (x->b[i] == 0 || x->b[i] == 1);
        grouped = grouped || x->cluster[i] != i;
        b += x->a[i] > x->b[i];
        c += x->a[i] < x->b[i];
    }
    TN_TRY(tn_bootstrap_mean(&ci, x->d, x->cluster, x->n, BOOTSTRAP, CONFIDENCE, (uint64_t)seed, err));
    if (binary && !grouped) p = tn_mcnemar_exact(b, c);
    else TN_TRY(normal_p(&p, x, err));
    *out = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:[f, f], s:I, s:I, s:s, s:f}", "task", task, "metric", metric, "n", (json_int_t)x->n, "a", tn_mean(x->a, x->n),
                     "b", tn_mean(x->b, x->n), "change", tn_mean(x->d, x->n), "interval", ci.lo, ci.hi, "only_a", (json_int_t)b, "only_b", (json_int_t)c,
                     "test", binary && !grouped ? "mcnemar" : "clustered", "p", p);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a comparison");
}

static tn_status adjust(json_t *list, tn_error *err)
{
    size_t    n = json_array_size(list);
    double   *p = calloc(n + 1, sizeof *p);
    tn_status status;

    if (p == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu tests", n);
    for (size_t i = 0; i < n; i++) p[i] = json_number_value(json_object_get(json_array_get(list, i), "p"));
    if ((status = tn_holm(p, (int)n, err)) == TN_OK)
        for (size_t i = 0; i < n; i++) {
            json_t     *o = json_array_get(list, i);
            double      change = json_number_value(json_object_get(o, "change"));
            json_object_set_new(o, "p_holm", json_real(p[i]));
            json_object_set_new(o, "verdict", json_string(p[i] >= 0.05 ? "no difference shown" : change > 0 ? "better" : "worse"));
        }
    free(p);
    return status;
}

tn_status tn_eval_compare(json_t **out, const char *path_a, const char *path_b, int64_t seed, tn_error *err)
{
    static const char *const metrics[] = { "acc", "acc_norm", "acc_bytes" };
    side        a = {0}, b = {0};
    json_t     *list = json_array(), *scores, *one;
    const char *task;
    tn_status   status = TN_OK;

    *out = NULL;
    TN_GOTO(side_open(&a, path_a, err));
    TN_GOTO(side_open(&b, path_b, err));
    json_object_foreach(json_object_get(a.report, "tasks"), task, scores) {
        if (json_object_get(json_object_get(b.report, "tasks"), task) == NULL) continue;
        for (size_t m = 0; m < sizeof metrics / sizeof *metrics; m++) {
            if (json_object_get(scores, metrics[m]) == NULL) continue;
            pair p = {0};
            if ((status = pair_make(&p, &a, &b, task, metrics[m], err)) == TN_OK) status = pair_json(&one, &p, task, metrics[m], seed, err);
            pair_free(&p);
            if (status != TN_OK) goto out;
            json_array_append_new(list, one);
        }
    }
    if (json_array_size(list) == 0) {
        status = tn_fail(err, TN_MISMATCH, "%s and %s share no task with an item-wise score", path_a, path_b);
        goto out;
    }
    TN_GOTO(adjust(list, err));
    *out = json_pack("{s:O, s:s}", "comparisons", list, "family", "all tasks and metrics listed; p_holm is adjusted over them");
    if (*out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a comparison");
out:
    json_decref(list);
    side_close(&a);
    side_close(&b);
    return status;
}
