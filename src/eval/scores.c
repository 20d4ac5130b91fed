/* scores.c - a task's scores from its items: values by the public harness's rules, with errors and intervals
 * that fit.
 *
 *   right-or-wrong   Wilson's interval; where rows share a group, a bootstrap over groups (as soon as there are two)
 *   other means      normal interval, or the same bootstrap
 *   no hit at all    the upper end is exact: 1 - 0.05^(1/n), about 3/n
 *   perplexity exp(-mean ll), its error by the delta method; word_perplexity exp(-sum ll / words), byte_perplexity
 *   exp(-sum ll / bytes), bits_per_byte -sum ll / (ln 2 bytes); f1, mcc: intervals by resampling rows */
#include "base/rng.h"
#include "base/stats.h"
#include "base/str.h"
#include "eval/bbq.h"
#include "eval/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_TIE 1e-4
#define CONFIDENCE 0.95
enum { BOOTSTRAP = 2000 };

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static double ll_sum(const json_t *item)
{
    double        sum = 0;
    const json_t *ll = json_object_get(item, "ll");

    for (size_t i = 0; i < json_array_size(ll); i++) sum += json_number_value(json_array_get(ll, i));
    return sum;
}

static void set_number(json_t *o, const char *key, const char *tail, double v)
{
    char *name = tn_strf("%s%s", key, tail);

    if (name != NULL) json_object_set_new(o, name, isfinite(v) ? json_real(v) : json_null());
    free(name);
}

static void set_interval(json_t *o, const char *key, tn_interval v)
{
    char *name = tn_strf("%s_interval", key);

    if (name != NULL && isfinite(v.lo) && isfinite(v.hi))
        json_object_set_new(o, name, json_pack("[f, f]", v.lo, v.hi));
    free(name);
}

/* A run of items: rows of a task, or of one of its groups. */
typedef struct rows {
    double  *x;
    int64_t *cluster;
    int64_t  n, n_cluster;
    bool     binary;
    int64_t  hits;
} rows;

static tn_status rows_alloc(rows *r, size_t n, tn_error *err)
{
    *r = (rows){ .x = calloc(n + 1, sizeof *r->x),
                 .cluster = calloc(n + 1, sizeof *r->cluster),
                 .binary = true };
    return r->x != NULL && r->cluster != NULL
               ? TN_OK
               : tn_fail(err, TN_NOMEM, "no memory for the scores of %zu rows", n);
}

static void rows_free(rows *r)
{
    free(r->x);
    free(r->cluster);
}

static void rows_add(rows *r, double x, const json_t *item)
{
    const char *g = json_string_value(json_object_get(item, "group"));
    int64_t     cluster = g != NULL ? (int64_t)(tn_hash64(g, strlen(g)) >> 1) : r->n;
    bool        seen = false;

    for (int64_t i = r->n - 1; g != NULL && i >= 0 && !seen; i--) seen = r->cluster[i] == cluster;
    r->n_cluster += !seen;
    r->x[r->n] = x;
    r->cluster[r->n++] = cluster;
    r->binary = r->binary && (x == 0 || x == 1);
    r->hits += x == 1;
}

static void rows_clear(rows *r)
{
    r->n = r->n_cluster = r->hits = 0;
    r->binary = true;
}

/* Value, standard error, interval. */
static tn_status mean_set(json_t *o, const char *key, const rows *r, tn_error *err)
{
    double mean = tn_mean(r->x, r->n), se = tn_stderr_mean(r->x, r->n),
           z = tn_normal_quantile(0.5 + CONFIDENCE / 2), clustered;
    bool        grouped = r->n_cluster >= 2 && r->n_cluster < r->n;
    tn_interval ci = { mean - z * se, mean + z * se };

    set_number(o, key, "", mean);
    set_number(o, key, "_stderr", se);
    if (grouped) {
        TN_TRY(tn_stderr_clustered(&clustered, r->x, r->cluster, r->n, err));
        set_number(o, key, "_stderr_clustered", clustered);
        TN_TRY(tn_bootstrap_mean(&ci, r->x, r->cluster, r->n, BOOTSTRAP, CONFIDENCE, 1, err));
    }
    if (r->binary && (!grouped || r->hits == 0 || r->hits == r->n)) ci = tn_wilson(r->hits, r->n, CONFIDENCE);
    if (r->binary && r->hits == 0) ci.hi = fmax(ci.hi, tn_zero_hits_upper(r->n, CONFIDENCE));
    if (r->binary && r->hits == r->n) ci.lo = fmin(ci.lo, 1 - tn_zero_hits_upper(r->n, CONFIDENCE));
    set_interval(o, key, ci);
    if (r->binary && r->hits == 0) set_number(o, key, "_zero_upper", tn_zero_hits_upper(r->n, CONFIDENCE));
    return TN_OK;
}

static double weighted(const char *key, double ll, double words, double bytes)
{
    return strcmp(key, "word_perplexity") == 0   ? exp(-ll / words)
           : strcmp(key, "byte_perplexity") == 0 ? exp(-ll / bytes)
                                                 : -ll / (log(2) * bytes);
}

/* Sums over the corpus; no standard error, as in the public harness, but an interval by resampling rows. */
static tn_status weighted_set(json_t *o, const char *key, const tn_items *items, size_t first, size_t n,
                              tn_error *err)
{
    double *sums = calloc(3 * n + 1, sizeof *sums), *rep = calloc(BOOTSTRAP, sizeof *rep), all[3] = { 0 };

    if (sums == NULL || rep == NULL) {
        free(sums);
        free(rep);
        return tn_fail(err, TN_NOMEM, "no memory for the scores of %zu rows", n);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *item = tn_items_at(items, first + i);
        double        one[] = { ll_sum(item), number(item, "words"), number(item, "bytes") };
        memcpy(sums + 3 * i, one, sizeof one);
        for (int k = 0; k < 3; k++) all[k] += one[k];
    }
    set_number(o, key, "", weighted(key, all[0], all[1], all[2]));
    set_number(o, key, "_stderr", NAN);
    for (int r = 0; n > 1 && r < BOOTSTRAP; r++) {
        tn_rng_key k = { 1, TN_RNG_BOOTSTRAP, (uint64_t)r, 0 };
        double     s[3] = { 0 };
        for (size_t i = 0; i < n; i++) {
            const double *one = sums + 3 * tn_rng_below(&k, i, n);
            for (int j = 0; j < 3; j++) s[j] += one[j];
        }
        rep[r] = weighted(key, s[0], s[1], s[2]);
    }
    qsort(rep, BOOTSTRAP, sizeof *rep, tn_f64_order);
    if (n > 1)
        set_interval(o, key, (tn_interval){ rep[BOOTSTRAP / 40], rep[BOOTSTRAP - 1 - BOOTSTRAP / 40] });
    free(sums);
    free(rep);
    return TN_OK;
}

/* ------------------------------------------------------------------------------------- f1 and correlation */

typedef struct seen {
    int64_t gold, pred;
} seen;

/* Of two classes, 1 being the one that is looked for. */
static double f1_of(const seen *s, size_t n)
{
    double hit = 0, gold = 0, pred = 0;

    for (size_t i = 0; i < n; i++) {
        hit += s[i].gold == 1 && s[i].pred == 1;
        gold += s[i].gold == 1;
        pred += s[i].pred == 1;
    }
    return gold + pred > 0 ? 2 * hit / (gold + pred) : 0;
}

/* Matthews' correlation for any number of classes (Gorodkin 2004). */
static double mcc_of(const seen *s, size_t n)
{
    double right = 0, tp = 0, tt = 0, pp = 0, m = (double)n;

    for (size_t i = 0; i < n; i++) {
        double t = 0, p = 0;
        right += s[i].gold == s[i].pred;
        for (size_t j = 0; j < n; j++) {
            t += s[j].gold == s[i].gold;
            p += s[j].pred == s[i].gold;
        }
        tp += p; /* sum over classes of t_k p_k */
        tt += t;
        for (size_t j = 0; j < n; j++) pp += s[j].pred == s[i].pred;
    }
    double below = sqrt(m * m - pp) * sqrt(m * m - tt);
    return below > 0 ? (right * m - tp) / below : 0;
}

static tn_status resampled_set(json_t *o, const char *key, const tn_items *items, size_t first, size_t n,
                               tn_error *err)
{
    enum { ROUNDS = 200 };
    seen  *s = calloc(n + 1, sizeof *s), *t = calloc(n + 1, sizeof *t);
    double rep[ROUNDS];
    bool   f1 = strcmp(key, "f1") == 0;

    if (s == NULL || t == NULL) {
        free(s);
        free(t);
        return tn_fail(err, TN_NOMEM, "no memory for a score");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *item = tn_items_at(items, first + i);
        s[i] = (seen){ (int64_t)json_integer_value(json_array_get(json_object_get(item, "gold"), 0)),
                       (int64_t)number(item, "prediction") };
    }
    /* the correlation is quadratic: intervals from at most so many rows a round */
    size_t m = n < 2000 ? n : 2000;
    for (int r = 0; r < ROUNDS; r++) {
        tn_rng_key k = { 1, TN_RNG_BOOTSTRAP, (uint64_t)r, 0 };
        for (size_t i = 0; i < m; i++) t[i] = s[tn_rng_below(&k, i, n)];
        rep[r] = f1 ? f1_of(t, m) : mcc_of(t, m);
    }
    qsort(rep, ROUNDS, sizeof *rep, tn_f64_order);
    set_number(o, key, "", f1 ? f1_of(s, n) : mcc_of(s, n));
    set_number(o, key, "_stderr", tn_stderr_mean(rep, ROUNDS) * sqrt(ROUNDS));
    set_interval(o, key, (tn_interval){ rep[ROUNDS / 40], rep[ROUNDS - 1 - ROUNDS / 40] });
    free(s);
    free(t);
    return TN_OK;
}

/* -------------------------------------------------------------------------------------------------- tasks */

static tn_status metric_set(json_t *o, const char *key, const tn_items *items, size_t first, size_t n,
                            rows *r, tn_error *err)
{
    if (strcmp(key, "f1") == 0 || strcmp(key, "mcc") == 0) return resampled_set(o, key, items, first, n, err);
    if (strstr(key, "_perplexity") != NULL || strcmp(key, "bits_per_byte") == 0)
        return weighted_set(o, key, items, first, n, err);
    bool perplexity = strcmp(key, "perplexity") == 0;
    rows_clear(r);
    for (size_t i = 0; i < n; i++)
        rows_add(r,
                 perplexity ? ll_sum(tn_items_at(items, first + i))
                            : number(tn_items_at(items, first + i), key),
                 tn_items_at(items, first + i));
    if (!perplexity) return mean_set(o, key, r, err);
    double mean = tn_mean(r->x, r->n), se = tn_stderr_mean(r->x, r->n),
           z = tn_normal_quantile(0.5 + CONFIDENCE / 2);
    set_number(o, key, "", exp(-mean));
    set_number(o, key, "_stderr", exp(-mean) * se);
    set_interval(o, key, (tn_interval){ exp(-mean - z * se), exp(-mean + z * se) });
    return TN_OK;
}

/* {"NAME": {KEY, KEY_stderr, KEY_interval, n}} by a column of the items. */
static tn_status parts_set(json_t *o, const char *name, const char *by, const char *key,
                           const tn_items *items, size_t first, size_t n, rows *r, tn_error *err)
{
    json_t     *parts = json_object(), *one;
    const char *part;
    tn_status   status = TN_OK;

    for (size_t i = 0; i < n; i++) {
        part = json_string_value(json_object_get(tn_items_at(items, first + i), by));
        if (part != NULL && json_object_get(parts, part) == NULL)
            json_object_set_new(parts, part, json_object());
    }
    json_object_foreach(parts, part, one) {
        rows_clear(r);
        for (size_t i = 0; i < n; i++) {
            const json_t *item = tn_items_at(items, first + i), *g = json_object_get(item, by);
            if (!json_is_string(g) || strcmp(json_string_value(g), part) != 0) continue;
            rows_add(r, number(item, key), strcmp(by, "group") == 0 ? NULL : item);
        }
        if ((status = mean_set(one, key, r, err)) != TN_OK) break;
        json_object_set_new(one, "n", json_integer((json_int_t)r->n));
    }
    if (status == TN_OK && json_object_size(parts) > 0) json_object_set(o, name, parts);
    json_decref(parts);
    return status;
}

/* Refusals by section (safe, unsafe), as scores of their own too, so that a gate can name them. */
static tn_status sections_set(json_t *o, const tn_items *items, size_t first, size_t n, rows *r,
                              tn_error *err)
{
    const char *section;
    json_t     *one, *v;

    TN_TRY(parts_set(o, "sections", "section", "refused", items, first, n, r, err));
    json_object_foreach(json_object_get(o, "sections"), section, one) {
        static const char *const tails[] = { "", "_stderr", "_interval", "_zero_upper" };
        for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
            char from[64], *to = tn_strf("refused_%s%s", section, tails[i]);
            snprintf(from, sizeof from, "refused%s", tails[i]);
            if (to != NULL && (v = json_object_get(one, from)) != NULL) json_object_set(o, to, v);
            free(to);
        }
        char *to = tn_strf("refused_%s_n", section);
        if (to != NULL) json_object_set(o, to, json_object_get(one, "n"));
        free(to);
    }
    return TN_OK;
}

static void counts_set(json_t *o, const tn_items *items, size_t first, size_t n)
{
    json_int_t near = 0, truncated = 0, boundary = 0, cut = 0;

    for (size_t i = 0; i < n; i++) {
        const json_t *item = tn_items_at(items, first + i), *m = json_object_get(item, "margin"),
                     *stop = json_array_get(json_object_get(item, "stop"), 0);
        near += (m != NULL && json_number_value(m) < NEAR_TIE) ||
                json_is_true(json_object_get(item, "near_tie"));
        truncated += json_is_true(json_object_get(item, "truncated"));
        boundary += json_is_true(json_object_get(item, "boundary"));
        cut += json_is_string(stop) && (strcmp(json_string_value(stop), "length") == 0 ||
                                        strcmp(json_string_value(stop), "context") == 0);
    }
    json_object_set_new(o, "n", json_integer((json_int_t)n));
    json_object_set_new(o, "near_ties", json_integer(near));
    json_object_set_new(o, "truncated", json_integer(truncated));
    json_object_set_new(o, "boundary", json_integer(boundary));
    if (json_object_get(tn_items_at(items, first), "stop") != NULL)
        json_object_set_new(o, "cut_replies", json_integer(cut));
}

/* The first metric under its bare name, with its error as "stderr". */
static void main_set(json_t *o, const tn_task *t)
{
    char        key[128], error[160];
    const char *metric = tn_task_metric(t, 0);

    tn_metric_key(key, t, metric, 0);
    snprintf(error, sizeof error, "%s_stderr", key);
    if (json_object_get(o, error) != NULL) json_object_set(o, "stderr", json_object_get(o, error));
    if (json_object_get(o, metric) != NULL || json_object_get(o, key) == NULL) return;
    json_object_set(o, metric, json_object_get(o, key));
    snprintf(error, sizeof error, "%s_interval", key);
    char *bare = tn_strf("%s_interval", metric);
    if (bare != NULL) json_object_set(o, bare, json_object_get(o, error));
    free(bare);
}

static tn_status metrics_all(json_t *o, const tn_task *t, const tn_items *items, size_t first, size_t n,
                             rows *r, tn_error *err)
{
    size_t n_pipeline = t->pipelines != NULL && t->results == TN_RESULTS_PLAIN
                            ? tn_pipelines_count(t->pipelines)
                            : 1;
    char   key[128];

    for (size_t i = 0; i < t->metrics->n; i++)
        for (size_t k = 0; k < n_pipeline; k++) {
            tn_metric_key(key, t, tn_task_metric(t, i), k);
            if (t->results == TN_RESULTS_BBQ && strcmp(key, "acc") != 0) continue;
            TN_TRY(metric_set(o, key, items, first, n, r, err));
        }
    if (t->results == TN_RESULTS_BBQ) TN_TRY(tn_bbq_scores(o, items, first, n, err));
    if (t->results == TN_RESULTS_REFUSAL) TN_TRY(sections_set(o, items, first, n, r, err));
    tn_metric_key(key, t, tn_task_metric(t, 0), 0);
    return t->group_by != NULL ? parts_set(o, "groups", "group", key, items, first, n, r, err) : TN_OK;
}

tn_status tn_metric_task(json_t **out, const tn_task *t, const tn_items *items, size_t first, size_t n,
                         tn_error *err)
{
    json_t   *o = json_object();
    rows      r = { 0 };
    tn_status status = TN_OK;

    *out = NULL;
    TN_GOTO(rows_alloc(&r, n, err));
    TN_GOTO(metrics_all(o, t, items, first, n, &r, err));
    counts_set(o, items, first, n);
    main_set(o, t);
    json_object_set_new(o, "version", json_string(t->version));
    *out = o;
    o = NULL;
out:
    json_decref(o);
    rows_free(&r);
    return status;
}

/* ------------------------------------------------------------------------------------------------- groups */

/* Size-weighted (or plain) mean of the members' values, the error pooled as the public harness pools it. */
static void group_metric(json_t *o, const char *key, bool by_size, const json_t *tasks,
                         const char *const *members, size_t n_member)
{
    double sum = 0, weight = 0, pooled = 0, plain = 0, k = 0, rows_all = 0;
    char  *error = tn_strf("%s_stderr", key);

    for (size_t i = 0; i < n_member; i++) {
        const json_t *s = json_object_get(tasks, members[i]), *v = json_object_get(s, key);
        double        n = number(s, "n"), se = error != NULL ? number(s, error) : 0, w = by_size ? n : 1;
        if (!json_is_number(v)) continue;
        sum += w * json_number_value(v);
        weight += w;
        pooled += (n - 1) * se * se * n;
        plain += se * se;
        rows_all += n;
        k++;
    }
    free(error);
    if (weight == 0) return;
    double se = by_size ? sqrt(pooled / (rows_all - k) / rows_all) : sqrt(plain) / k,
           z = tn_normal_quantile(0.5 + CONFIDENCE / 2);
    set_number(o, key, "", sum / weight);
    set_number(o, key, "_stderr", se);
    set_interval(o, key, (tn_interval){ sum / weight - z * se, sum / weight + z * se });
    json_object_set_new(o, "n", json_integer((json_int_t)rows_all));
}

tn_status tn_metric_group(json_t **out, const tn_yaml *group, const char *path, const json_t *tasks,
                          const char *const *members, size_t n, tn_error *err)
{
    const tn_yaml *list = tn_yaml_get(group, "aggregate_metric_list");
    json_t        *o = json_object(), *names = json_array();

    *out = NULL;
    for (size_t i = 0; i < n; i++) json_array_append_new(names, json_string(members[i]));
    json_object_set_new(o, "tasks", names);
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        const char *metric = tn_yaml_text(list->items[i], "metric"),
                   *how = tn_yaml_text(list->items[i], "aggregation"),
                   *by = tn_yaml_text(list->items[i], "weight_by_size");
        const char *filter = tn_yaml_text(list->items[i], "filter_list");
        if (list->kind != TN_YAML_SEQ || metric == NULL || (how != NULL && strcmp(how, "mean") != 0)) {
            json_decref(o);
            return tn_fail(err, TN_FORMAT,
                           "%s:%d: an entry of aggregate_metric_list is {metric: NAME, aggregation: mean, "
                           "weight_by_size: true}",
                           path, list->line);
        }
        char *key = tn_strf("%s%s%s", metric, filter != NULL && strcmp(filter, "none") != 0 ? "," : "",
                            filter != NULL && strcmp(filter, "none") != 0 ? filter : "");
        if (key != NULL) group_metric(o, key, by == NULL || strcmp(by, "false") != 0, tasks, members, n);
        free(key);
    }
    *out = o;
    return TN_OK;
}
