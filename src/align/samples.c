/* samples.c - the stages that answer each prompt of a set: once, or several times with every token's
 * log-probability.
 *
 *   prompt ── a draw, keyed by (prompt id, "answer") ──→ answers.jsonl: text, log-probability
 *   prompt ── K draws, each keyed by (prompt id, number) ──→ samples.jsonl: texts, tokens, log-probabilities
 *
 * The sampler runs the trainer's operations, so the recorded log-probabilities are those of the first
 * training step, to the bit. Nothing is cut from the distribution unless top_p says so: they are over the
 * whole vocabulary. */
#include "align/rows.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
const tn_option tn_align_answers_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_answers_config, "96", "0", "train"),
    { "kv_type", TN_OPT_CHOICE, offsetof(tn_align_answers_config, kv_type), "f32", 0, 0, "f32|bf16|q8_0", "type of the KV cache", NULL },
    { .key = NULL }
};

const tn_option tn_align_samples_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_samples_config, "96", "1", "train"),
    { "samples", TN_OPT_INT, offsetof(tn_align_samples_config, samples), "4", 1, 64, "answers", "to each prompt", NULL },
    { .key = NULL }
};
// clang-format on

/* Both references are taken; NULL if either is, as json_pack gives it out of memory. */
static json_t *joined(json_t *row, json_t *more)
{
    if (row == NULL || more == NULL || json_object_update(row, more) != 0) {
        json_decref(row);
        row = NULL;
    }
    json_decref(more);
    return row;
}

/* What is asked, and what came of it: k answers to prompt i stand at r[i * k]. */
typedef struct drawing {
    const tn_align_sampling *s;
    tn_profile               profile;
    const char              *model, *adapter, *kv_type, *prompts;
    size_t                   k; /* 0: one, which is not numbered */
    tn_prompts               set;
    tn_result               *r;
    size_t                   n;
} drawing;

static void drawing_free(drawing *o)
{
    for (size_t i = 0; o->r != NULL && i < o->n; i++) tn_result_free(&o->r[i]);
    free(o->r);
    tn_prompts_free(&o->set);
}

static tn_status draw(drawing *o, tn_error *err)
{
    tn_status       status = TN_OK;
    tn_align_engine a = { 0 };
    tn_message     *msg = NULL;
    tn_dialogue    *d = NULL;
    tn_sampling     s = tn_align_sampling_of(o->s);
    size_t          k = o->k > 0 ? o->k : 1;

    TN_GOTO(tn_prompts_select(&o->set, o->prompts, o->s, err));
    TN_GOTO(
        tn_align_engine_open(&a, o->model, o->adapter, o->profile, o->s->batch, o->kv_type, o->s->memo, err));
    o->n = o->set.n * k;
    msg = calloc(2 * o->set.n, sizeof *msg);
    d = calloc(o->n, sizeof *d);
    o->r = calloc(o->n, sizeof *o->r);
    if (msg == NULL || d == NULL || o->r == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu answers", o->n);
        goto out;
    }
    for (size_t i = 0; i < o->set.n; i++) {
        size_t m = tn_align_messages(&msg[2 * i], o->s, o->set.at[i].text);

        for (size_t x = 0; x < k; x++) {
            char what[32] = "answer";
            if (o->k > 0) snprintf(what, sizeof what, "sample/%zu", x);
            d[i * k + x] = (tn_dialogue){ &msg[2 * i], m, tn_align_sample_id(o->set.at[i].id, what) };
        }
    }
    TN_GOTO(tn_align_sample(a.engine, a.model, d, o->n, &s, o->r, o->k > 0 ? "samples" : "answers", err));
    for (size_t i = 0; i < o->n; i++)
        if (o->r[i].status != TN_OK) {
            status = tn_fail(err, o->r[i].status, "prompt %s: %s", o->set.at[i / k].id, o->r[i].message);
            goto out;
        }
out:
    free(d);
    free(msg);
    tn_align_engine_close(&a);
    return status;
}

tn_status tn_align_answers_run(const tn_align_answers_config *c, tn_profile profile, const char *model,
                               const char *adapter, const char *prompts, const char *out_dir, json_t *metrics,
                               tn_error *err)
{
    tn_status   status = TN_OK;
    drawing     o = { .s = &c->s,
                      .profile = profile,
                      .model = model,
                      .adapter = adapter,
                      .kv_type = c->kv_type,
                      .prompts = prompts };
    tn_row_file rows = { 0 };
    int64_t     n_token = 0, n_open = 0;

    TN_GOTO(draw(&o, err));
    TN_GOTO(tn_row_file_open(&rows, out_dir, "answers.jsonl", err));
    for (size_t i = 0; i < o.n; i++) {
        const tn_result *r = &o.r[i];
        json_t *said = json_pack("{s:s, s:I, s:f, s:s}", "answer", r->text, "n_token", (json_int_t)r->n,
                                 "logprob", tn_align_logprob_sum(r), "stop_reason", r->stop_reason);

        TN_GOTO(tn_row_file_add(&rows, joined(tn_prompt_json(&o.set.at[i]), said), err));
        n_token += r->n;
        n_open += strcmp(r->stop_reason, "length") == 0;
    }
    TN_GOTO(tn_row_file_commit(&rows, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "answers", json_integer((json_int_t)o.n));
        json_object_set_new(metrics, "tokens", json_integer((json_int_t)n_token));
        json_object_set_new(metrics, "cut_at_max_tokens", json_integer((json_int_t)n_open));
    }
out:
    tn_row_file_abandon(&rows);
    drawing_free(&o);
    return status;
}

static json_t *answer_json(const tn_result *r)
{
    json_t *tokens = json_array(), *logprobs = json_array();

    for (int64_t i = 0; i < r->n; i++) {
        json_array_append_new(tokens, json_integer(r->tokens[i]));
        json_array_append_new(logprobs, tn_json_f32(r->logprobs[i]));
    }
    return json_pack("{s:s, s:o, s:o, s:f, s:s}", "answer", r->text, "tokens", tokens, "logprobs", logprobs,
                     "logprob", tn_align_logprob_sum(r), "stop_reason", r->stop_reason);
}

tn_status tn_align_samples_run(const tn_align_samples_config *c, tn_profile profile, const char *model,
                               const char *adapter, const char *prompts, const char *out_dir, json_t *metrics,
                               tn_error *err)
{
    tn_status   status = TN_OK;
    drawing     o = { .s = &c->s,
                      .profile = profile,
                      .model = model,
                      .adapter = adapter,
                      .prompts = prompts,
                      .k = (size_t)c->samples };
    tn_row_file rows = { 0 };

    TN_GOTO(draw(&o, err));
    TN_GOTO(tn_row_file_open(&rows, out_dir, "samples.jsonl", err));
    for (size_t i = 0; i < o.set.n; i++) {
        json_t *answers = json_array();

        for (size_t x = 0; x < o.k; x++) json_array_append_new(answers, answer_json(&o.r[i * o.k + x]));
        TN_GOTO(tn_row_file_add(
            &rows, joined(tn_prompt_json(&o.set.at[i]), json_pack("{s:o}", "answers", answers)), err));
    }
    TN_GOTO(tn_row_file_commit(&rows, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "prompts", json_integer((json_int_t)o.set.n));
        json_object_set_new(metrics, "answers", json_integer((json_int_t)o.n));
    }
out:
    tn_row_file_abandon(&rows);
    drawing_free(&o);
    return status;
}
