/* samples.c - several answers to each prompt, with every token's log-probability.
 *
 *   prompt ── K draws, each keyed by (prompt id, number) ──→ samples.jsonl: texts, tokens, log-probabilities
 *
 * The sampler runs the trainer's operations, so the recorded log-probabilities are those of the first training step, to the
 * bit. Nothing is cut from the distribution unless top_p says so: they are over the whole vocabulary. */
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

// clang-format off
const tn_option tn_align_samples_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_samples_config, "96", "1", "train"),
    { "samples", TN_OPT_INT, offsetof(tn_align_samples_config, samples), "4", 1, 64, "answers", "to each prompt", NULL },
    { .key = NULL }
};
// clang-format on

static json_t *answer_json(const tn_result *r)
{
    json_t *tokens = json_array(), *logprobs = json_array();

    for (int64_t i = 0; i < r->n; i++) {
        json_array_append_new(tokens, json_integer(r->tokens[i]));
        json_array_append_new(logprobs, tn_json_f32(r->logprobs[i]));
    }
    return json_pack("{s:s, s:o, s:o, s:f, s:s}", "answer", r->text, "tokens", tokens, "logprobs", logprobs, "logprob", tn_align_logprob_sum(r),
                     "stop_reason", r->stop_reason);
}

tn_status tn_align_samples_run(const tn_align_samples_config *c, tn_profile profile, const char *model, const char *adapter, const char *prompts,
                               const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status       status = TN_OK;
    tn_prompts      set = {0};
    tn_align_engine a = {0};
    tn_row_file     rows = {0};
    tn_message     *msg = NULL;
    tn_dialogue    *d = NULL;
    tn_result      *r = NULL;
    tn_sampling     s = tn_align_sampling_of(&c->s);
    size_t          k = (size_t)c->samples, n = 0;

    TN_GOTO(tn_prompts_select(&set, prompts, &c->s, err));
    TN_GOTO(tn_align_engine_open(&a, model, adapter, profile, c->s.batch, NULL, c->s.memo, err));
    n = set.n * k;
    msg = calloc(2 * set.n, sizeof *msg);
    d = calloc(n, sizeof *d);
    r = calloc(n, sizeof *r);
    if (msg == NULL || d == NULL || r == NULL) { status = tn_fail(err, TN_NOMEM, "no memory for %zu answers", n); goto out; }
    for (size_t i = 0; i < set.n; i++) {
        size_t m = tn_align_messages(&msg[2 * i], &c->s, set.at[i].text);

        for (size_t x = 0; x < k; x++) {
            char what[32];
            snprintf(what, sizeof what, "sample/%zu", x);
            d[i * k + x] = (tn_dialogue){ &msg[2 * i], m, tn_align_sample_id(set.at[i].id, what) };
        }
    }
    TN_GOTO(tn_align_sample(a.engine, a.model, d, n, &s, r, "samples", err));
    TN_GOTO(tn_row_file_open(&rows, out_dir, "samples.jsonl", err));
    for (size_t i = 0; i < set.n; i++) {
        const tn_prompt *p = &set.at[i];
        json_t          *answers = json_array();

        for (size_t x = 0; x < k; x++) {
            const tn_result *one = &r[i * k + x];
            if (one->status != TN_OK) {
                json_decref(answers);
                status = tn_fail(err, one->status, "prompt %s: %s", p->id, one->message);
                goto out;
            }
            json_array_append_new(answers, answer_json(one));
        }
        TN_GOTO(tn_row_file_add(&rows, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*, s:o}", "id", p->id, "text", p->text, "kind", tn_prompt_kind_name(p->kind),
                                                 "topic", p->topic, "family", p->family, "principle", p->principle, "answers", answers), err));
    }
    TN_GOTO(tn_row_file_commit(&rows, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "prompts", json_integer((json_int_t)set.n));
        json_object_set_new(metrics, "answers", json_integer((json_int_t)n));
    }
out:
    tn_row_file_abandon(&rows);
    for (size_t i = 0; r != NULL && i < n; i++) tn_result_free(&r[i]);
    free(r);
    free(d);
    free(msg);
    tn_align_engine_close(&a);
    tn_prompts_free(&set);
    return status;
}
