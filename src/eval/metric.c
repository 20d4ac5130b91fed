/* metric.c - what one row shows, by the public harness's rules.
 *
 *   acc        argmax ll               acc_bytes  argmax ll / UTF-8 bytes of the choice
 *   acc_norm   argmax ll / characters  acc_mutual_info  argmax ll - ll without a context    (the first maximum wins a tie)
 *   exact_match  every token of the right choice was the likeliest one; of a reply: filtered reply = target
 *   brier_score  sum over choices of (softmax(ll) - right)^2
 *   matching   share of probability on the right choices: how far a model leans to a behaviour
 *   mc2        the same, under the name acc
 *   refused    the reply declines the request, as the refusal grader sees it */
#include "eval/metric.h"
#include "base/str.h"
#include "eval/bbq.h"
#include "eval/pytext.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum length { LENGTH_NONE, LENGTH_CHARS, LENGTH_BYTES, LENGTH_MUTUAL } length;

static size_t best_of(const tn_ask *a, const tn_scored *s, length by)
{
    size_t best = 0;
    double top = -INFINITY;

    for (size_t i = 0; i < a->n_choice; i++) {
        double v = s[i].ll;
        if (by == LENGTH_CHARS) v /= (double)tn_py_chars(a->choice[i]);
        if (by == LENGTH_BYTES) v /= (double)strlen(a->choice[i]);
        if (by == LENGTH_MUTUAL) v -= s[a->n_choice + i].ll;
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

static tn_status choice_scores(json_t *o, const tn_task *t, const tn_doc *doc, const tn_ask *a,
                               const tn_scored *s, tn_error *err)
{
    double *p = calloc(a->n_choice, sizeof *p), brier = 0, mass = 0;
    size_t  pred = best_of(a, s, LENGTH_NONE);
    bool    exact = false;

    if (p == NULL) return tn_fail(err, TN_NOMEM, "no memory for an item");
    softmax(p, s, a->n_choice);
    for (size_t i = 0; i < a->n_choice; i++) {
        brier += (p[i] - a->gold[i]) * (p[i] - a->gold[i]);
        if (a->gold[i]) mass += p[i];
        exact = exact || (a->gold[i] && s[i].greedy);
    }
    free(p);
    if (t->results == TN_RESULTS_MC2) json_object_set_new(o, "acc", json_real(mass));
    else json_object_set_new(o, "acc", json_integer(a->gold[pred]));
    json_object_set_new(o, "acc_norm", json_integer(a->gold[best_of(a, s, LENGTH_CHARS)]));
    json_object_set_new(o, "acc_bytes", json_integer(a->gold[best_of(a, s, LENGTH_BYTES)]));
    if (a->n > a->n_choice)
        json_object_set_new(o, "acc_mutual_info", json_integer(a->gold[best_of(a, s, LENGTH_MUTUAL)]));
    json_object_set_new(o, "exact_match", json_integer(exact));
    json_object_set_new(o, "brier_score", json_real(brier));
    json_object_set_new(o, "matching", json_real(mass));
    json_object_set_new(o, "prediction", json_integer((json_int_t)pred));
    if (isfinite(margin(s, a->n_choice))) json_object_set_new(o, "margin", json_real(margin(s, a->n_choice)));
    if (t->results == TN_RESULTS_BBQ) tn_bbq_item(o, doc->row, pred);
    return TN_OK;
}

static void per_span(json_t *o, const tn_scored *s, size_t n)
{
    json_t *ll = json_array(), *greedy = json_array(), *context = json_array(), *tokens = json_array();
    int     truncated = 0, boundary = 0;

    for (size_t i = 0; i < n; i++) {
        json_array_append_new(ll, json_real(s[i].ll));
        json_array_append_new(greedy, json_boolean(s[i].greedy));
        json_array_append_new(context, json_integer(s[i].n_context));
        json_array_append_new(tokens, json_integer(s[i].n_token));
        truncated |= s[i].truncated;
        boundary |= s[i].boundary;
    }
    json_object_set_new(o, "ll", ll);
    json_object_set_new(o, "greedy", greedy);
    json_object_set_new(o, "context_tokens", context);
    json_object_set_new(o, "tokens", tokens);
    json_object_set_new(o, "truncated", json_boolean(truncated));
    json_object_set_new(o, "boundary", json_boolean(boundary));
}

void tn_metric_key(char key[128], const tn_task *t, const char *metric, size_t i_pipeline)
{
    const char *name = t->pipelines != NULL && t->results == TN_RESULTS_PLAIN
                           ? tn_pipelines_name(t->pipelines, i_pipeline)
                           : "none";

    snprintf(key, 128, "%s%s%s", metric, strcmp(name, "none") == 0 ? "" : ",",
             strcmp(name, "none") == 0 ? "" : name);
}

/* Every pipeline's answer held against the targets. */
static tn_status matches_set(json_t *o, const tn_task *t, const json_t *row, const tn_asked *a,
                             const char *const *texts, tn_error *err)
{
    json_t   *answers = json_object();
    tn_status status = TN_OK;

    json_object_set_new(o, "answers", answers);
    for (size_t i = 0; i < tn_pipelines_count(t->pipelines); i++) {
        char key[128], *answer = NULL;
        bool right = false, same;
        TN_TRY(tn_pipelines_run(t->pipelines, i, row, texts, a->n_reply, &answer, err));
        json_object_set_new(answers, tn_pipelines_name(t->pipelines, i), json_string(answer));
        for (size_t k = 0; k < json_array_size(a->ask.targets) && status == TN_OK; k++) {
            status = tn_matcher_same(t->matcher, answer, json_string_value(json_array_get(a->ask.targets, k)),
                                     &same, err);
            right = right || (status == TN_OK && same);
        }
        free(answer);
        TN_TRY(status);
        tn_metric_key(key, t, "exact_match", i);
        json_object_set_new(o, key, json_integer(right));
    }
    return TN_OK;
}

/* A reply that stopped half way through a thought has no answer: what stands before </think> is never
 * graded. */
static const char *without_thought(const char *text)
{
    const char *end = strstr(text, "</think>"), *next;

    if (end == NULL) return strstr(text, "<think>") != NULL ? "" : text;
    while ((next = strstr(end + 1, "</think>")) != NULL) end = next;
    end += strlen("</think>");
    return end + tn_py_front(end, strlen(end));
}

static tn_status reply_scores(json_t *o, const tn_task *t, const tn_doc *doc, const tn_asked *a,
                              const tn_refusal *grader, tn_error *err)
{
    const char **texts = calloc(a->n_reply + 1, sizeof *texts);
    json_t      *replies = json_array(), *stops = json_array(), *tokens = json_array();
    bool         truncated = false, near_tie = false;
    tn_status    status = TN_OK;

    if (texts == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for an item");
        goto out;
    }
    for (size_t i = 0; i < a->n_reply; i++) {
        const tn_reply *r = &a->replies[i];
        texts[i] = without_thought(r->text);
        if (json_array_append_new(replies, json_string(r->text)) != 0) {
            status = tn_fail(err, TN_FORMAT, "%s: a reply is not UTF-8", doc->where);
            goto out;
        }
        json_array_append_new(stops, json_string(r->stop));
        json_array_append_new(tokens, json_integer(r->n_token));
        truncated = truncated || r->truncated;
        near_tie = near_tie || r->near_tie;
    }
    if (t->results == TN_RESULTS_REFUSAL) {
        double p = tn_refusal_probability(grader, a->ask.choice[0], texts[0]);
        json_object_set_new(o, "refused", json_integer(tn_is_refusal(p)));
        json_object_set_new(o, "p_refused", json_real(p));
        if (t->section != NULL) json_object_set_new(o, "section", json_string(t->section));
        else if (json_is_string(json_object_get(doc->row, "label")))
            json_object_set(o, "section", json_object_get(doc->row, "label"));
    } else {
        TN_GOTO(matches_set(o, t, doc->row, a, texts, err));
        json_object_set(o, "targets", a->ask.targets);
    }
    json_object_set(o, "replies", replies);
    json_object_set(o, "stop", stops);
    json_object_set(o, "tokens", tokens);
    json_object_set_new(o, "context_tokens", json_pack("[I]", (json_int_t)a->replies[0].n_context));
    json_object_set_new(o, "truncated", json_boolean(truncated));
    json_object_set_new(o, "near_tie", json_boolean(near_tie));
out:
    free(texts);
    json_decref(replies);
    json_decref(stops);
    json_decref(tokens);
    return status;
}

tn_status tn_metric_item(json_t **out, const tn_task *t, const tn_doc *doc, size_t index, const tn_asked *a,
                         const tn_refusal *grader, tn_error *err)
{
    json_t   *o = json_object();
    char      id[TN_SHA256_HEX];
    tn_status status = TN_OK;

    *out = NULL;
    if (o == NULL) return tn_fail(err, TN_NOMEM, "no memory for an item");
    tn_hex(id, &doc->id);
    json_object_set_new(o, "task", json_string(t->name));
    json_object_set_new(o, "version", json_string(t->version));
    json_object_set_new(o, "index", json_integer((json_int_t)index));
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "asked", json_string(a->hash));
    if (a->ask.question != NULL) json_object_set_new(o, "question", json_string(a->ask.question));
    if (t->group_by != NULL && json_object_get(doc->row, t->group_by) != NULL)
        json_object_set(o, "group", json_object_get(doc->row, t->group_by));
    if (t->output != TN_TASK_GENERATE) per_span(o, a->scored, a->n_span);
    if (t->output == TN_TASK_GENERATE) {
        TN_GOTO(reply_scores(o, t, doc, a, grader, err));
    } else if (t->output == TN_TASK_CHOICE) {
        json_t *gold = json_array();
        for (size_t i = 0; i < a->ask.n_choice; i++)
            if (a->ask.gold[i]) json_array_append_new(gold, json_integer((json_int_t)i));
        json_object_set_new(o, "gold", gold);
        json_t *choices = json_array();
        for (size_t i = 0; i < a->ask.n_choice; i++)
            json_array_append_new(choices, json_string(a->ask.choice[i]));
        json_object_set_new(o, "choices", choices);
        TN_GOTO(choice_scores(o, t, doc, &a->ask, a->scored, err));
    } else if (t->output == TN_TASK_LOGLIKELIHOOD) {
        json_object_set_new(o, "acc", json_integer(a->scored[0].greedy));
    }
    if (t->output == TN_TASK_LOGLIKELIHOOD || t->output == TN_TASK_ROLLING) {
        json_object_set_new(o, "words", json_integer(a->ask.n_word));
        json_object_set_new(o, "bytes", json_integer(a->ask.n_byte));
    }
    *out = o;
    o = NULL;
out:
    json_decref(o);
    return status;
}
