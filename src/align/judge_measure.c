/* judge_measure.c - how far a judge can be trusted, from labelled comparisons in both orders.
 *
 *   accuracy       share of comparisons with z on the label's side (a tie is half), interval by resampling contexts
 *   consistency    share that name the same answer in both orders; first_share: how often slot A is named
 *   longer         the same for "the longer answer": how the label goes, how the judge goes, and how the judge does where the
 *                  longer answer is right and where it is wrong
 *   calibration    T minimises the log-loss of s(z/T) on half of the contexts; ECE (10 bins of equal count, of the confidence),
 *                  Brier score and log-loss on the other half
 *
 * The verdict: a labeller's lower bound is over the floor and its orders agree; over the soft floor it may
 * give soft, clamped labels; else contrast pairs or distillation are the way. Sums in double, in order, with
 * our own exp and log. */
#include "align/judge.h"
#include "base/stats.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 10, LEAST_LENGTH_ITEMS = 10 };

double tn_sigmoid(double x) { return x >= 0 ? 1 / (1 + tn_exp(-x)) : tn_exp(x) / (1 + tn_exp(x)); }

double tn_log_sigmoid(double x) { return x < -30 ? x : x > 30 ? -tn_exp(-x) : -tn_ln(1 + tn_exp(-x)); }

/* 1 on the label's side, 0 on the other, a half for a tie. */
static double right(double z) { return z > 0 ? 1 : z < 0 ? 0 : 0.5; }

/* Half of the contexts, by a draw on the context's own hash. */
static bool fits_temperature(int64_t context, int64_t seed)
{
    tn_rng_key key = { (uint64_t)seed, TN_RNG_JUDGE, 0, (uint64_t)context };

    return tn_rng_u64(&key, 0) & 1;
}

static double log_loss(const tn_verdict *v, size_t n, int64_t seed, bool half, double temperature,
                       size_t *count)
{
    double sum = 0;

    *count = 0;
    for (size_t i = 0; i < n; i++) {
        if (fits_temperature(v[i].context, seed) != half) continue;
        sum -= tn_log_sigmoid(v[i].z / temperature);
        ++*count;
    }
    return *count > 0 ? sum / (double)*count : 0;
}

/* Golden section over log T in [-5, 7]: the loss is convex in 1/T, so it has one minimum. */
static double temperature_fit(const tn_verdict *v, size_t n, int64_t seed)
{
    const double shrink = 0.6180339887498949;
    double       a = -5, b = 7, x = b - shrink * (b - a), y = a + shrink * (b - a);
    size_t       count;
    double       fx = log_loss(v, n, seed, true, tn_exp(x), &count);
    double       fy = log_loss(v, n, seed, true, tn_exp(y), &count);

    for (int i = 0; i < 60 && count > 0; i++) {
        if (fx <= fy) {
            b = y;
            y = x;
            fy = fx;
            x = b - shrink * (b - a);
            fx = log_loss(v, n, seed, true, tn_exp(x), &count);
        } else {
            a = x;
            x = y;
            fx = fy;
            y = a + shrink * (b - a);
            fy = log_loss(v, n, seed, true, tn_exp(y), &count);
        }
    }
    return count > 0 ? tn_exp((a + b) / 2) : 1;
}

typedef struct guess {
    double confidence, right;
    size_t at;
} guess;

static int guess_order(const void *a, const void *b)
{
    const guess *x = a, *y = b;

    if (x->confidence != y->confidence) return x->confidence < y->confidence ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static tn_status calibration_json(json_t *out, const tn_verdict *v, size_t n, int64_t seed,
                                  double temperature, tn_error *err)
{
    guess *g = calloc(n + 1, sizeof *g);
    size_t m = 0, fitted;
    double brier = 0, ece = 0;

    if (g == NULL) return tn_fail(err, TN_NOMEM, "no memory for calibration");
    for (size_t i = 0; i < n; i++) {
        if (fits_temperature(v[i].context, seed)) continue;
        double p = tn_sigmoid(v[i].z / temperature);
        g[m++] = (guess){ p > 0.5 ? p : 1 - p, right(v[i].z), i };
        brier += (1 - p) * (1 - p);
    }
    qsort(g, m, sizeof *g, guess_order);
    for (size_t b = 0; b < BINS && m > 0; b++) {
        size_t lo = b * m / BINS, hi = (b + 1) * m / BINS;
        double confidence = 0, hit = 0;

        for (size_t i = lo; i < hi; i++) {
            confidence += g[i].confidence;
            hit += g[i].right;
        }
        ece += fabs(confidence - hit) / (double)m;
    }
    double loss = log_loss(v, n, seed, false, temperature, &fitted);
    json_object_set_new(out, "temperature", json_real(temperature));
    json_object_set_new(out, "calibration",
                        json_pack("{s:I, s:I, s:f, s:f, s:f}", "fitted_on", (json_int_t)(n - m), "tested_on",
                                  (json_int_t)m, "ece", ece, "brier", m > 0 ? brier / (double)m : 0.0,
                                  "log_loss", loss));
    free(g);
    return TN_OK;
}

typedef struct bias {
    double  consistency, first, mass, label_longer, judge_longer, when_right, when_wrong;
    int64_t n_right, n_wrong;
} bias;

static bias biases(const tn_verdict *v, size_t n)
{
    bias    b = { 0 };
    int64_t n_length = 0;

    for (size_t i = 0; i < n; i++) {
        b.consistency += v[i].consistent;
        b.first += v[i].first;
        b.mass += v[i].mass;
        if (v[i].longer == 0) continue;
        bool label = v[i].longer > 0;
        n_length++;
        b.label_longer += label;
        b.judge_longer += label ? right(v[i].z) : 1 - right(v[i].z);
        if (label) {
            b.when_right += right(v[i].z);
            b.n_right++;
        } else {
            b.when_wrong += right(v[i].z);
            b.n_wrong++;
        }
    }
    b.consistency /= (double)n;
    b.first /= (double)n;
    b.mass /= (double)n;
    if (n_length > 0) {
        b.label_longer /= (double)n_length;
        b.judge_longer /= (double)n_length;
    }
    if (b.n_right > 0) b.when_right /= (double)b.n_right;
    if (b.n_wrong > 0) b.when_wrong /= (double)b.n_wrong;
    return b;
}

/* What is the matter, one word a finding. */
static json_t *diagnosis(const bias *b, const tn_interval *acc, const tn_judge_bar *bar)
{
    json_t *list = json_array();

    /* other words than the options */
    if (b->mass < bar->mass) json_array_append_new(list, json_string("mumbles"));
    if (b->consistency < bar->consistency && (b->first > 0.65 || b->first < 0.35))
        json_array_append_new(list, json_string(b->first > 0.5 ? "prefers the first" : "prefers the second"));
    else if (b->consistency < bar->consistency)
        json_array_append_new(list, json_string("depends on the order"));
    if (b->n_right >= LEAST_LENGTH_ITEMS && b->n_wrong >= LEAST_LENGTH_ITEMS) {
        if (b->when_right - b->when_wrong > 0.4)
            json_array_append_new(list, json_string("prefers the longer"));
        if (b->when_wrong - b->when_right > 0.4)
            json_array_append_new(list, json_string("prefers the shorter"));
    }
    if (acc->lo <= 0.5 && acc->hi >= 0.5) json_array_append_new(list, json_string("no better than chance"));
    if (acc->hi < 0.5) json_array_append_new(list, json_string("worse than chance"));
    if (json_array_size(list) == 0)
        json_array_append_new(list, json_string(acc->lo > bar->floor ? "sound" : "weak"));
    return list;
}

static int i64_order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

tn_status tn_judge_measure(json_t **out, const tn_verdict *v, size_t n, const tn_judge_bar *bar,
                           tn_error *err)
{
    tn_status   status = TN_OK;
    double     *x = calloc(n + 1, sizeof *x);
    int64_t    *context = calloc(n + 1, sizeof *context), n_context = 0;
    tn_interval acc;

    *out = json_object();
    if (x == NULL || context == NULL || *out == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to measure a judge");
        goto out;
    }
    for (size_t i = 0; i < n; i++) context[i] = v[i].context;
    qsort(context, n, sizeof *context, i64_order);
    for (size_t i = 0; i < n; i++) n_context += i == 0 || context[i] != context[i - 1];
    for (size_t i = 0; i < n; i++) {
        x[i] = right(v[i].z);
        context[i] = v[i].context;
    }
    TN_GOTO(tn_bootstrap_mean(&acc, x, context, (int64_t)n, (int)bar->bootstrap, bar->confidence,
                              (uint64_t)bar->seed, err));
    bias   b = biases(v, n);
    double temperature = temperature_fit(v, n, bar->seed), mean = tn_mean(x, (int64_t)n);
    bool   orders_agree = b.consistency > bar->consistency, heard = b.mass >= bar->mass;
    bool   by_length = b.n_right >= LEAST_LENGTH_ITEMS && b.n_wrong >= LEAST_LENGTH_ITEMS &&
                     fabs(b.when_right - b.when_wrong) > 0.4;
    const char *verdict = acc.lo >= bar->floor && orders_agree && heard && !by_length ? "labels"
                          : acc.lo >= bar->soft && heard                              ? "soft"
                                                                                      : "none";

    json_object_set_new(*out, "items", json_integer((json_int_t)n));
    json_object_set_new(*out, "contexts", json_integer((json_int_t)n_context));
    json_object_set_new(*out, "accuracy",
                        json_pack("{s:f, s:f, s:f}", "mean", mean, "lo", acc.lo, "hi", acc.hi));
    json_object_set_new(*out, "consistency", json_real(b.consistency));
    json_object_set_new(*out, "first_share", json_real(b.first));
    json_object_set_new(*out, "mass", json_real(b.mass));
    json_object_set_new(*out, "longer",
                        json_pack("{s:f, s:f, s:f, s:f, s:I, s:I}", "label", b.label_longer, "judge",
                                  b.judge_longer, "accuracy_when_right", b.when_right, "accuracy_when_wrong",
                                  b.when_wrong, "n_right", (json_int_t)b.n_right, "n_wrong",
                                  (json_int_t)b.n_wrong));
    TN_GOTO(calibration_json(*out, v, n, bar->seed, temperature, err));
    json_object_set_new(*out, "diagnosis", diagnosis(&b, &acc, bar));
    json_object_set_new(*out, "verdict", json_string(verdict));
    json_object_set_new(*out, "bar",
                        json_pack("{s:f, s:f, s:f, s:f}", "floor", bar->floor, "soft", bar->soft,
                                  "consistency", bar->consistency, "mass", bar->mass));
out:
    free(x);
    free(context);
    if (status != TN_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}
