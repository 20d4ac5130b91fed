/* compare.c - two evaluations of the same rows, always paired.
 *
 *   d_i = b_i - a_i by row
 *   right-or-wrong      McNemar exact
 *   other row scores    paired bootstrap: p = 2 min(share <= 0, share >= 0), at least 1/rounds
 *   rows in groups      Student's t on clustered errors, groups - 1 degrees of freedom (a bootstrap of few groups finds too much)
 *   perplexities        paired bootstrap of the two corpus values
 *   Holm over all (task, metric) pairs: the family that "is anything different" asks about */
#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/stats.h"
#include "base/str.h"
#include "eval/eval.h"
#include "eval/report_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BOOTSTRAP = 10000 };
#define CONFIDENCE 0.95

typedef struct pair {
    double  *a, *b, *d;
    int64_t *cluster, n, n_cluster;
} pair;

/* A report with its log: rows are what is compared. */
static tn_status side_open(tn_report *s, const char *path, tn_error *err)
{
    TN_TRY(tn_report_open(s, path, NULL, err));
    if (s->items != NULL) return TN_OK;
    return tn_fail(err, TN_NOTFOUND,
                   "%s: there is no items.jsonl of its rows beside the report, and rows are what is compared",
                   path);
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

static tn_status pair_make(pair *p, const tn_report *a, const tn_report *b, const char *task,
                           const char *metric, tn_error *err)
{
    int64_t n_b;
    size_t  at_a = task_items(a->items, task, &p->n), at_b = task_items(b->items, task, &n_b);

    if (p->n != n_b || p->n == 0)
        return tn_fail(err, TN_MISMATCH,
                       "task %s: %" PRId64 " rows in the first report, %" PRId64
                       " in the second: a comparison needs the same rows",
                       task, p->n, n_b);
    p->a = calloc((size_t)p->n, sizeof *p->a);
    p->b = calloc((size_t)p->n, sizeof *p->b);
    p->d = calloc((size_t)p->n, sizeof *p->d);
    p->cluster = calloc((size_t)p->n, sizeof *p->cluster);
    if (p->a == NULL || p->b == NULL || p->d == NULL || p->cluster == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " pairs", p->n);
    for (int64_t i = 0; i < p->n; i++) {
        const json_t *x = tn_items_at(a->items, at_a + (size_t)i),
                     *y = tn_items_at(b->items, at_b + (size_t)i);
        if (!same_text(x, y, "id") || !same_text(x, y, "version"))
            return tn_fail(err, TN_MISMATCH,
                           "task %s, row %" PRId64
                           ": the reports were made on other rows or another version of the task",
                           task, i);
        p->a[i] = json_number_value(json_object_get(x, metric));
        p->b[i] = json_number_value(json_object_get(y, metric));
        p->d[i] = p->b[i] - p->a[i];
        p->cluster[i] = cluster_of(x, i);
        bool seen = false;
        for (int64_t k = i - 1; k >= 0 && !seen; k--) seen = p->cluster[k] == p->cluster[i];
        p->n_cluster += !seen;
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

/* --------------------------------------------------------------------------------------------- row scores */

/* Of replicates of a difference: percentile interval and two-sided p. */
static void from_replicates(double *rep, int n, tn_interval *ci, double *p)
{
    double below = 0, above = 0;
    int    tail = (int)((1 - CONFIDENCE) / 2 * n);

    for (int i = 0; i < n; i++) {
        below += rep[i] <= 0;
        above += rep[i] >= 0;
    }
    qsort(rep, (size_t)n, sizeof *rep, tn_f64_order);
    *ci = (tn_interval){ rep[tail], rep[n - 1 - tail] };
    *p = fmin(1, fmax(2 * fmin(below, above), 1) / n);
}

static tn_status row_bootstrap(const pair *x, int64_t seed, tn_interval *ci, double *p, tn_error *err)
{
    double *rep = calloc(BOOTSTRAP, sizeof *rep);

    if (rep == NULL) return tn_fail(err, TN_NOMEM, "no memory for a bootstrap");
    for (int r = 0; r < BOOTSTRAP; r++) {
        tn_rng_key key = { (uint64_t)seed, TN_RNG_BOOTSTRAP, (uint64_t)r, 0 };
        double     sum = 0;
        for (int64_t i = 0; i < x->n; i++) sum += x->d[tn_rng_below(&key, (uint64_t)i, (uint64_t)x->n)];
        rep[r] = sum / (double)x->n;
    }
    from_replicates(rep, BOOTSTRAP, ci, p);
    free(rep);
    return TN_OK;
}

static tn_status clustered_t(const pair *x, tn_interval *ci, double *p, tn_error *err)
{
    double se, mean = tn_mean(x->d, x->n), df = (double)(x->n_cluster - 1);

    TN_TRY(tn_stderr_clustered(&se, x->d, x->cluster, x->n, err));
    double t = tn_student_quantile(0.5 + CONFIDENCE / 2, df);
    *p = mean == 0 || !(se > 0) ? 1 : tn_student_p(mean / se, df);
    *ci = se > 0 ? (tn_interval){ mean - t * se, mean + t * se } : (tn_interval){ mean, mean };
    return TN_OK;
}

/* Where every row changed by the same (mostly: not at all), resampling and errors see no spread. As many rows
 * without one that differs leave room for a share of others, which may change from one end of the scale to
 * the other: two equal rows do not show two equal models. */
static void never_sure(tn_interval *ci, const pair *x, int64_t n)
{
    double most = tn_zero_hits_upper(n, CONFIDENCE);

    for (int64_t i = 0; i < x->n; i++)
        if (x->d[i] != x->d[0] || fabs(x->d[i]) > 1) return;
    if (x->n == 0) return;
    ci->lo = fmin(ci->lo, x->d[0] - most * (1 + x->d[0]));
    ci->hi = fmax(ci->hi, x->d[0] + most * (1 - x->d[0]));
}

static tn_status pair_json(json_t **out, const pair *x, const char *task, const char *metric, int64_t seed,
                           tn_error *err)
{
    tn_interval ci;
    int64_t     b = 0, c = 0;
    bool        binary = true, grouped = x->n_cluster >= 2 && x->n_cluster < x->n;
    double      p = 1;
    const char *test;

    for (int64_t i = 0; i < x->n; i++) {
        binary = binary && (x->a[i] == 0 || x->a[i] == 1) && (x->b[i] == 0 || x->b[i] == 1);
        b += x->a[i] > x->b[i];
        c += x->a[i] < x->b[i];
    }
    if (grouped) {
        test = "clustered t";
        TN_TRY(clustered_t(x, &ci, &p, err));
    } else if (binary) {
        test = "mcnemar";
        TN_TRY(tn_bootstrap_mean(&ci, x->d, NULL, x->n, BOOTSTRAP, CONFIDENCE, (uint64_t)seed, err));
        p = tn_mcnemar_exact(b, c);
    } else {
        test = "paired bootstrap";
        TN_TRY(row_bootstrap(x, seed, &ci, &p, err));
    }
    never_sure(&ci, x, grouped ? x->n_cluster : x->n);
    *out = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:[f, f], s:I, s:I, s:s, s:f}", "task", task, "metric",
                     metric, "n", (json_int_t)x->n, "a", tn_mean(x->a, x->n), "b", tn_mean(x->b, x->n),
                     "change", tn_mean(x->d, x->n), "interval", ci.lo, ci.hi, "only_a", (json_int_t)b,
                     "only_b", (json_int_t)c, "test", test, "p", p);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a comparison");
}

/* ------------------------------------------------------------------------------------------ corpus scores */

static double ll_sum(const json_t *item)
{
    double        sum = 0;
    const json_t *ll = json_object_get(item, "ll");

    for (size_t i = 0; i < json_array_size(ll); i++) sum += json_number_value(json_array_get(ll, i));
    return sum;
}

/* The value of a corpus metric from the sums over rows. */
static double corpus(const char *metric, double ll, double weight)
{
    return strcmp(metric, "bits_per_byte") == 0 ? -ll / (log(2) * weight) : exp(-ll / weight);
}

static tn_status corpus_json(json_t **out, const tn_report *a, const tn_report *b, const char *task,
                             const char *metric, int64_t seed, tn_error *err)
{
    const char *unit = strcmp(metric, "word_perplexity") == 0 ? "words"
                       : strcmp(metric, "perplexity") == 0    ? NULL
                                                              : "bytes";
    int64_t     n, n_b;
    size_t      at_a = task_items(a->items, task, &n), at_b = task_items(b->items, task, &n_b);
    double *ll = calloc(3 * (size_t)n + 1, sizeof *ll), *rep = calloc(BOOTSTRAP, sizeof *rep), sum[3] = { 0 },
           p;
    tn_interval ci;
    tn_status   status = ll != NULL && rep != NULL ? TN_OK
                                                   : tn_fail(err, TN_NOMEM, "no memory for a comparison");

    if (status == TN_OK && n != n_b)
        status = tn_fail(err, TN_MISMATCH,
                         "task %s: %" PRId64 " rows and %" PRId64 " rows: a comparison needs the same rows",
                         task, n, n_b);
    for (int64_t i = 0; status == TN_OK && i < n; i++) {
        const json_t *x = tn_items_at(a->items, at_a + (size_t)i),
                     *y = tn_items_at(b->items, at_b + (size_t)i);
        if (!same_text(x, y, "id") || !same_text(x, y, "version"))
            status = tn_fail(err, TN_MISMATCH,
                             "task %s, row %" PRId64
                             ": the reports were made on other rows or another version of the task",
                             task, i);
        ll[3 * i] = ll_sum(x);
        ll[3 * i + 1] = ll_sum(y);
        ll[3 * i + 2] = unit == NULL ? 1 : json_number_value(json_object_get(x, unit));
        for (int k = 0; k < 3; k++) sum[k] += ll[3 * i + k];
    }
    for (int r = 0; status == TN_OK && r < BOOTSTRAP; r++) {
        tn_rng_key key = { (uint64_t)seed, TN_RNG_BOOTSTRAP, (uint64_t)r, 0 };
        double     s[3] = { 0 };
        for (int64_t i = 0; i < n; i++) {
            const double *row = ll + 3 * tn_rng_below(&key, (uint64_t)i, (uint64_t)n);
            for (int k = 0; k < 3; k++) s[k] += row[k];
        }
        rep[r] = corpus(metric, s[1], s[2]) - corpus(metric, s[0], s[2]);
    }
    if (status == TN_OK) {
        from_replicates(rep, BOOTSTRAP, &ci, &p);
        double va = corpus(metric, sum[0], sum[2]), vb = corpus(metric, sum[1], sum[2]);
        *out = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:[f, f], s:s, s:f}", "task", task, "metric", metric,
                         "n", (json_int_t)n, "a", va, "b", vb, "change", vb - va, "interval", ci.lo, ci.hi,
                         "test", "paired bootstrap", "p", p);
        if (*out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a comparison");
    }
    free(ll);
    free(rep);
    return status;
}

/* +1: more is better; -1: less is; 0: neither can be said. */
static int direction(const char *metric)
{
    static const char *const less[] = {
        "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "refused_safe",
        NULL
    };

    for (size_t i = 0; less[i] != NULL; i++)
        if (strcmp(less[i], metric) == 0) return -1;
    return strncmp(metric, "acc", 3) == 0 || strncmp(metric, "exact_match", 11) == 0 ||
                   strcmp(metric, "refused_unsafe") == 0
               ? 1
               : 0;
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
            json_t *o = json_array_get(list, i);
            double  change = json_number_value(json_object_get(o, "change"));
            json_object_set_new(o, "p_holm", json_real(p[i]));
            int up = direction(json_string_value(json_object_get(o, "metric")));
            json_object_set_new(o, "verdict",
                                json_string(p[i] >= 0.05               ? "no difference shown"
                                            : up == 0                  ? (change > 0 ? "higher" : "lower")
                                            : (change > 0) == (up > 0) ? "better"
                                                                       : "worse"));
        }
    free(p);
    return status;
}

/* A section of refusals (safe, unsafe) is a metric of its own: refused_safe. Its rows only. */
static void keep_section(pair *p, const tn_report *a, const char *task, const char *section)
{
    int64_t n_all, n = 0;
    size_t  first = task_items(a->items, task, &n_all);

    for (int64_t i = 0; i < p->n; i++) {
        const char *s = json_string_value(
            json_object_get(tn_items_at(a->items, first + (size_t)i), "section"));
        if (s == NULL || strcmp(s, section) != 0) continue;
        p->a[n] = p->a[i];
        p->b[n] = p->b[i];
        p->d[n] = p->d[i];
        p->cluster[n++] = p->cluster[i];
    }
    p->n = n;
    p->n_cluster = 0;
    for (int64_t i = 0; i < n; i++) {
        bool seen = false;
        for (int64_t k = i - 1; k >= 0 && !seen; k--) seen = p->cluster[k] == p->cluster[i];
        p->n_cluster += !seen;
    }
}

static tn_status compare_metric(json_t *list, const tn_report *a, const tn_report *b, const char *task,
                                const char *metric, int64_t seed, tn_error *err)
{
    static const char *const whole[] = { "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte",
                                         NULL };
    const char              *section = strncmp(metric, "refused_", 8) == 0 ? metric + 8 : NULL;
    json_t                  *one = NULL;
    tn_status                status;
    pair                     p = { 0 };

    for (size_t i = 0; whole[i] != NULL; i++)
        if (strcmp(whole[i], metric) == 0) {
            TN_TRY(corpus_json(&one, a, b, task, metric, seed, err));
            json_array_append_new(list, one);
            return TN_OK;
        }
    status = pair_make(&p, a, b, task, section != NULL ? "refused" : metric, err);
    if (status == TN_OK && section != NULL) keep_section(&p, a, task, section);
    if (status == TN_OK && p.n > 0) status = pair_json(&one, &p, task, metric, seed, err);
    pair_free(&p);
    if (one != NULL) json_array_append_new(list, one);
    return status;
}

/* Metrics of a task that both reports give and that rows (or sums over rows) carry. */
static tn_status compare_task(json_t *list, const tn_report *a, const tn_report *b, const char *task,
                              const json_t *scores, const json_t *others, int64_t seed, tn_error *err)
{
    static const char *const rest[] = {
        "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "refused_safe", "refused_unsafe",
        NULL
    };
    int64_t       n;
    const json_t *item = tn_items_at(a->items, task_items(a->items, task, &n));
    const char   *key;
    json_t       *v;

    json_object_foreach((json_t *)scores, key, v) {
        /* Refusals of safe and of unsafe prompts are no one number: each section below. */
        if (strcmp(key, "refused") == 0 && json_object_get(scores, "sections") != NULL) continue;
        if (json_is_number(v) && json_object_get(others, key) != NULL &&
            json_is_number(json_object_get(item, key)) && strcmp(key, "n") != 0)
            TN_TRY(compare_metric(list, a, b, task, key, seed, err));
    }
    for (size_t i = 0; rest[i] != NULL; i++)
        if (json_is_number(json_object_get(scores, rest[i])) &&
            json_is_number(json_object_get(others, rest[i])))
            TN_TRY(compare_metric(list, a, b, task, rest[i], seed, err));
    return TN_OK;
}

tn_status tn_eval_compare(json_t **out, const char *path_a, const char *path_b, int64_t seed, tn_error *err)
{
    tn_report   a = { 0 }, b = { 0 };
    json_t     *list = json_array(), *scores, *others;
    const char *task;
    tn_status   status = TN_OK;

    *out = NULL;
    TN_GOTO(side_open(&a, path_a, err));
    TN_GOTO(side_open(&b, path_b, err));
    json_object_foreach(json_object_get(a.json, "tasks"), task, scores)
        if ((others = json_object_get(json_object_get(b.json, "tasks"), task)) != NULL)
            TN_GOTO(compare_task(list, &a, &b, task, scores, others, seed, err));
    if (json_array_size(list) == 0) {
        status = tn_fail(err, TN_MISMATCH, "%s and %s share no task with an item-wise score", path_a, path_b);
        goto out;
    }
    TN_GOTO(adjust(list, err));
    *out = json_pack("{s:O, s:s}", "comparisons", list, "family",
                     "all tasks and metrics listed; p_holm is adjusted over them");
    if (*out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a comparison");
out:
    json_decref(list);
    tn_report_close(&a);
    tn_report_close(&b);
    return status;
}
