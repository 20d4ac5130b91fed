/* metric.c - predictions by the public harness's rules, means with standard errors and intervals.
 *
 *   acc        argmax ll               acc_bytes  argmax ll / UTF-8 bytes of the choice
 *   acc_norm   argmax ll / characters  (the first maximum wins a tie)
 *   brier_score  sum over choices of (softmax(ll) - right)^2
 *   mc2        share of probability on the true answers
 *   perplexity exp(-mean ll); its error by the delta method: perplexity x error of the mean
 *   word_perplexity exp(-sum ll / words), byte_perplexity exp(-sum ll / bytes), bits_per_byte -sum ll / (ln 2 bytes) */
#include "eval/metric.h"
#include "base/stats.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_TIE 1e-4
#define CONFIDENCE 0.95

static int64_t count_chars(const char *s)
{
    int64_t n = 0;

    for (; *s != '\0'; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

typedef enum length { LENGTH_NONE, LENGTH_CHARS, LENGTH_BYTES } length;

static size_t best_of(const tn_ask *a, const tn_scored *s, length by)
{
    size_t best = 0;
    double top = -INFINITY;

    for (size_t i = 0; i < a->n; i++) {
        double v = s[i].ll;
        if (by == LENGTH_CHARS) v /= (double)count_chars(a->choice[i]);
        if (by == LENGTH_BYTES) v /= (double)strlen(a->choice[i]);
        if (v > top) {
            top = v;
            best = i;
        }
    }
    return best;
}

/* Probabilities of the choices against one another, into p[n]. */
static void softmax(double *p, const tn_scored *s, size_t n)
{
    double top = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++) top = fmax(top, s[i].ll);
    for (size_t i = 0; i < n; i++) sum += p[i] = exp(s[i].ll - top);
    for (size_t i = 0; i < n; i++) p[i] /= sum;
}

static double margin(const tn_scored *s, size_t n)
{
    double first = -INFINITY, second = -INFINITY;

    for (size_t i = 0; i < n; i++) {
        if (s[i].ll > first) {
            second = first;
            first = s[i].ll;
        } else if (s[i].ll > second) {
            second = s[i].ll;
        }
    }
    return n < 2 ? INFINITY : first - second;
}

static tn_status choice_scores(json_t *o, const tn_task *t, const tn_ask *a, const tn_scored *s, tn_error *err)
{
    double *p = calloc(a->n, sizeof *p), brier = 0, mass = 0;
    size_t  pred = best_of(a, s, LENGTH_NONE);

    if (p == NULL) return tn_fail(err, TN_NOMEM, "no memory for an item");
    softmax(p, s, a->n);
    for (size_t i = 0; i < a->n; i++) {
        brier += (p[i] - a->gold[i]) * (p[i] - a->gold[i]);
        if (a->gold[i]) mass += p[i];
    }
    free(p);
    if (t->mc2) json_object_set_new(o, "acc", json_real(mass));
    else json_object_set_new(o, "acc", json_integer(a->gold[pred]));
    json_object_set_new(o, "acc_norm", json_integer(a->gold[best_of(a, s, LENGTH_CHARS)]));
    json_object_set_new(o, "acc_bytes", json_integer(a->gold[best_of(a, s, LENGTH_BYTES)]));
    json_object_set_new(o, "brier_score", json_real(brier));
    json_object_set_new(o, "prediction", json_integer((json_int_t)pred));
    if (isfinite(margin(s, a->n))) json_object_set_new(o, "margin", json_real(margin(s, a->n)));
    return TN_OK;
}

/* Hash of everything that the model was asked about this row: all tokens, and where each context ends. */
static tn_status asked_hash(char hex[TN_SHA256_HEX], const tn_span *spans, size_t n, tn_error *err)
{
    tn_sha256 *h;
    tn_digest  d;

    TN_TRY(tn_sha256_create(&h, err));
    for (size_t i = 0; i < n; i++) {
        uint64_t at[2] = { (uint64_t)spans[i].n_context, (uint64_t)spans[i].n };
        tn_sha256_update(h, at, sizeof at);
        tn_sha256_update(h, spans[i].tokens, (size_t)spans[i].n * sizeof *spans[i].tokens);
    }
    tn_sha256_final(h, &d);
    tn_sha256_destroy(h);
    tn_hex(hex, &d);
    return TN_OK;
}

static void per_span(json_t *o, const tn_span *spans, const tn_scored *s, size_t n)
{
    json_t *ll = json_array(), *greedy = json_array(), *context = json_array(), *tokens = json_array();
    int     truncated = 0, boundary = 0;

    for (size_t i = 0; i < n; i++) {
        json_array_append_new(ll, json_real(s[i].ll));
        json_array_append_new(greedy, json_boolean(s[i].greedy));
        json_array_append_new(context, json_integer(spans[i].n_context));
        json_array_append_new(tokens, json_integer(spans[i].n - spans[i].n_context));
        truncated |= spans[i].truncated;
        boundary |= spans[i].boundary;
    }
    json_object_set_new(o, "ll", ll);
    json_object_set_new(o, "greedy", greedy);
    json_object_set_new(o, "context_tokens", context);
    json_object_set_new(o, "tokens", tokens);
    json_object_set_new(o, "truncated", json_boolean(truncated));
    json_object_set_new(o, "boundary", json_boolean(boundary));
}

tn_status tn_metric_item(json_t **out, const tn_task *t, const tn_doc *doc, size_t index, const tn_ask *a, const tn_span *spans, const tn_scored *s, size_t n_span, tn_error *err)
{
    char      id[TN_SHA256_HEX], asked[TN_SHA256_HEX];
    json_t   *o = json_object();
    tn_status status = TN_OK;

    if (o == NULL) return tn_fail(err, TN_NOMEM, "no memory for an item");
    for (size_t i = 0; i < n_span; i++)
        if (!isfinite(s[i].ll)) {
            status = tn_fail(err, TN_FORMAT, "%s: the model gives a log-probability that is no number: its weights or this context are broken", doc->where);
            goto out;
        }
    tn_hex(id, &doc->id);
    TN_GOTO(asked_hash(asked, spans, n_span, err));
    json_object_set_new(o, "task", json_string(t->name));
    json_object_set_new(o, "version", json_string(t->version));
    json_object_set_new(o, "index", json_integer((json_int_t)index));
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "asked", json_string(asked));
    per_span(o, spans, s, n_span);
    if (t->group_by != NULL && json_object_get(doc->row, t->group_by) != NULL) json_object_set(o, "group", json_object_get(doc->row, t->group_by));
    if (t->output == TN_TASK_CHOICE) {
        json_t *gold = json_array();
        for (size_t i = 0; i < a->n; i++)
            if (a->gold[i]) json_array_append_new(gold, json_integer((json_int_t)i));
        json_object_set_new(o, "gold", gold);
        TN_GOTO(choice_scores(o, t, a, s, err));
    } else if (t->output == TN_TASK_LOGLIKELIHOOD) {
        json_object_set_new(o, "acc", json_integer(s[0].greedy));
    } else {
        json_object_set_new(o, "words", json_integer(a->n_word));
        json_object_set_new(o, "bytes", json_integer(a->n_byte));
    }
    *out = o;
    o = NULL;
out:
    json_decref(o);
    return status;
}

/* --------------------------------------------------------------------------------------------------- aggregates */

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

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

    if (name != NULL) json_object_set_new(o, name, json_pack("[f, f]", v.lo, v.hi));
    free(name);
}

/* A mean over items: value, standard error, interval (Wilson for right-or-wrong, normal otherwise). */
static void mean_set(json_t *o, const char *key, const double *x, size_t n)
{
    double  mean = tn_mean(x, (int64_t)n), se = tn_stderr_mean(x, (int64_t)n), z = tn_normal_quantile(0.5 + CONFIDENCE / 2);
    int64_t hits = 0;
    bool    binary = true;

    for (size_t i = 0; i < n; i++) {
        hits += x[i] == 1;
        binary = binary && (x[i] == 0 || x[i] == 1);
    }
    set_number(o, key, "", mean);
    set_number(o, key, "_stderr", se);
    if (binary) set_interval(o, key, tn_wilson(hits, (int64_t)n, CONFIDENCE));
    else if (isfinite(se)) set_interval(o, key, (tn_interval){ mean - z * se, mean + z * se });
}

static void weighted_set(json_t *o, const char *key, const tn_items *items, size_t first, size_t n)
{
    double ll = 0, words = 0, bytes = 0;

    for (size_t i = 0; i < n; i++) {
        const json_t *item = tn_items_at(items, first + i);
        ll += ll_sum(item);
        words += number(item, "words");
        bytes += number(item, "bytes");
    }
    double v = strcmp(key, "word_perplexity") == 0 ? exp(-ll / words) : strcmp(key, "byte_perplexity") == 0 ? exp(-ll / bytes) : -ll / (log(2) * bytes);
    set_number(o, key, "", v);
    set_number(o, key, "_stderr", NAN);
}

static void metric_set(json_t *o, const char *key, const tn_items *items, size_t first, size_t n, double *x)
{
    if (strstr(key, "_per") != NULL) {               /* word_perplexity, byte_perplexity, bits_per_byte */
        weighted_set(o, key, items, first, n);
        return;
    }
    bool perplexity = strcmp(key, "perplexity") == 0;
    for (size_t i = 0; i < n; i++) x[i] = perplexity ? ll_sum(tn_items_at(items, first + i)) : number(tn_items_at(items, first + i), key);
    if (!perplexity) {
        mean_set(o, key, x, n);
        return;
    }
    double v = exp(-tn_mean(x, (int64_t)n));
    set_number(o, key, "", v);
    set_number(o, key, "_stderr", v * tn_stderr_mean(x, (int64_t)n));
}

/* {"subject": {"acc", "n"}} where the task has groups of rows. */
static void groups_set(json_t *o, const tn_items *items, size_t first, size_t n)
{
    json_t     *groups = json_object(), *g;
    const char *name;

    for (size_t i = 0; i < n; i++) {
        const json_t *item = tn_items_at(items, first + i);
        name = json_string_value(json_object_get(item, "group"));
        if (name == NULL) continue;
        if ((g = json_object_get(groups, name)) == NULL) {
            g = json_pack("{s:f, s:i}", "acc", 0.0, "n", 0);
            json_object_set_new(groups, name, g);
        }
        json_int_t seen = json_integer_value(json_object_get(g, "n"));
        json_object_set_new(g, "acc", json_real((number(g, "acc") * (double)seen + number(item, "acc")) / (double)(seen + 1)));
        json_object_set_new(g, "n", json_integer(seen + 1));
    }
    if (json_object_size(groups) > 0) json_object_set_new(o, "groups", groups);
    else json_decref(groups);
}

tn_status tn_metric_task(json_t **out, const tn_task *t, const tn_items *items, size_t first, size_t n, tn_error *err)
{
    double    *x = calloc(n + 1, sizeof *x);
    json_t    *o = json_object();
    json_int_t near = 0, truncated = 0, boundary = 0;

    *out = NULL;
    if (x == NULL || o == NULL) {
        free(x);
        json_decref(o);
        return tn_fail(err, TN_NOMEM, "no memory for the scores of %s", t->name);
    }
    for (size_t i = 0; i < t->metrics->n; i++) metric_set(o, tn_yaml_text(t->metrics->items[i], "metric"), items, first, n, x);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = tn_items_at(items, first + i), *m = json_object_get(item, "margin");
        near += m != NULL && json_number_value(m) < NEAR_TIE;
        truncated += json_is_true(json_object_get(item, "truncated"));
        boundary += json_is_true(json_object_get(item, "boundary"));
    }
    char *main_error = tn_strf("%s_stderr", tn_yaml_text(t->metrics->items[0], "metric"));
    if (main_error != NULL) json_object_set(o, "stderr", json_object_get(o, main_error));
    free(main_error);
    json_object_set_new(o, "n", json_integer((json_int_t)n));
    json_object_set_new(o, "near_ties", json_integer(near));
    json_object_set_new(o, "truncated", json_integer(truncated));
    json_object_set_new(o, "boundary", json_integer(boundary));
    json_object_set_new(o, "version", json_string(t->version));
    groups_set(o, items, first, n);
    free(x);
    *out = o;
    return TN_OK;
}
