/* memo.c - requests that were answered before: looked up by everything that the answer depends on, else
 * computed and kept.
 *
 *   key = SHA-256("tenet/row/v1", type of the cache, context, sampling, sample id, prompt, forced tokens)
 *   row = {"ids":[...],"lp":[...],"text","stop"[,"greedy":"101"]}
 *
 * The model, its adapter and the profile are the memo's own (the caller opens one for each). The batch and
 * the other requests are no part of the key, because they are no part of the answer. Requests that stream or
 * want more than tokens are computed always. A row is kept as soon as its request ends, so an interrupted run
 * goes on from there. */
#include "infer/run.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct keeper {
    const tn_memo   *memo;
    const tn_digest *keys; /* of the requests that are computed, in their order */
    const tn_result *results;
} keeper;

static void add_ids(tn_str *s, const char *name, const int32_t *ids, int64_t n)
{
    tn_str_addf(s, "\n%s %" PRId64 " ", name, n);
    /* little-endian, as everywhere in tenet's formats */
    tn_str_add_n(s, (const char *)ids, (size_t)n * sizeof *ids);
}

static tn_status key_of(const tn_engine *e, const tn_request *r, tn_str *s, tn_digest *out, tn_error *err)
{
    const tn_sampling *p = &r->sampling;

    tn_str_clear(s);
    tn_str_addf(s, "tenet/row/v1\n%s %" PRId64 "\n", tn_dtype_name(e->o.kv_type), e->o.n_ctx);
    tn_str_addf(s, "%" PRId64 " %" PRId64 " %a %a %a %a %a %a %" PRIu64 " %d %" PRIu64, p->max_tokens,
                p->top_k, p->temperature, p->top_p, p->min_p, p->repetition_penalty, p->presence_penalty,
                p->frequency_penalty, p->seed, p->ignore_eos, r->sample_id);
    for (int i = 0; i < p->n_stop; i++) tn_str_addf(s, "\nstop %zu %s", strlen(p->stop[i]), p->stop[i]);
    add_ids(s, "prompt", r->prompt, r->n_prompt);
    add_ids(s, "forced", r->forced, r->n_forced);
    TN_TRY(tn_str_check(s, err));
    *out = tn_sha256_of(s->p, s->len);
    return TN_OK;
}

static json_t *row_of(const tn_result *r)
{
    json_t *ids = json_array(), *lp = json_array(), *row;
    char   *greedy = r->greedy != NULL ? calloc((size_t)r->n + 1, 1) : NULL;

    for (int64_t i = 0; i < r->n; i++) {
        json_array_append_new(ids, json_integer(r->tokens[i]));
        json_array_append_new(lp, tn_json_f32(r->logprobs[i]));
        if (greedy != NULL) greedy[i] = r->greedy[i] ? '1' : '0';
    }
    row = json_pack("{s:o,s:o,s:s,s:s,s:s*}", "ids", ids, "lp", lp, "text", r->text, "stop", r->stop_reason,
                    "greedy", greedy);
    free(greedy);
    return row; /* NULL: text that is not UTF-8; it is not kept */
}

/* false: a row that does not read as one; it is computed. */
static bool result_of(tn_result *out, const json_t *row, bool forced)
{
    const json_t *ids = json_object_get(row, "ids"), *lp = json_object_get(row, "lp");
    const char   *text = json_string_value(json_object_get(row, "text")),
               *stop = json_string_value(json_object_get(row, "stop"));
    const char *greedy = json_string_value(json_object_get(row, "greedy"));
    size_t      n = json_array_size(ids);

    memset(out, 0, sizeof *out);
    if (text == NULL || stop == NULL || strlen(stop) >= sizeof out->stop_reason || json_array_size(lp) != n ||
        forced != (greedy != NULL) || (forced && strlen(greedy) != n))
        return false;
    out->tokens = calloc(n + 1, sizeof *out->tokens);
    out->logprobs = calloc(n + 1, sizeof *out->logprobs);
    out->greedy = forced ? calloc(n + 1, sizeof *out->greedy) : NULL;
    out->text = tn_strdup(text);
    if (out->tokens == NULL || out->logprobs == NULL || out->text == NULL ||
        (forced && out->greedy == NULL)) {
        tn_result_free(out);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        out->tokens[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        out->logprobs[i] = (float)json_number_value(json_array_get(lp, i));
        if (forced) out->greedy[i] = greedy[i] == '1';
    }
    out->n = (int64_t)n;
    snprintf(out->stop_reason, sizeof out->stop_reason, "%s", stop);
    return true;
}

static bool may_be_known(const tn_engine *e, const tn_request *r)
{
    return e->o.hidden_layer < 0 && r->sampling.n_top_logprobs == 0 && r->on_token == NULL;
}

static void keep_one(void *arg, const tn_result *r)
{
    const keeper *k = arg;

    if (r->status == TN_OK && strcmp(r->stop_reason, "interrupted") != 0)
        k->memo->put(k->memo->arg, &k->keys[r - k->results], row_of(r));
}

tn_status tn_engine_run(tn_engine *e, const tn_request *requests, tn_result *results, int64_t n,
                        const char *progress, tn_error *err)
{
    tn_memo    *memo = e->o.memo;
    tn_request *rest = NULL;
    tn_result  *rest_results = NULL;
    tn_digest  *keys = NULL;
    int64_t    *place = NULL, n_rest = 0;
    tn_str      text = { .max = 1 << 26 };
    tn_status   status = TN_OK;

    if (memo == NULL) return tn_requests_run(e, requests, results, n, progress, err);
    memset(results, 0, (size_t)n * sizeof *results);
    rest = calloc((size_t)n + 1, sizeof *rest);
    rest_results = calloc((size_t)n + 1, sizeof *rest_results);
    keys = calloc((size_t)n + 1, sizeof *keys);
    place = calloc((size_t)n + 1, sizeof *place);
    if (rest == NULL || rest_results == NULL || keys == NULL || place == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " requests", n);
        goto out;
    }
    keeper k = { memo, keys, rest_results };
    for (int64_t i = 0; i < n; i++) {
        const json_t *row = NULL;
        bool          may = may_be_known(e, &requests[i]);
        if (may) {
            TN_GOTO(key_of(e, &requests[i], &text, &keys[n_rest], err));
            row = memo->get(memo->arg, &keys[n_rest]);
        }
        memo->n_row++;
        if (row != NULL && result_of(&results[i], row, requests[i].n_forced > 0)) {
            memo->n_known++;
            continue;
        }
        rest[n_rest] = requests[i];
        if (may) {
            rest[n_rest].on_done = keep_one;
            rest[n_rest].done_arg = &k;
        }
        place[n_rest++] = i;
    }
    if (memo->count_only && n_rest > 0) {
        status = tn_fail(err, TN_UNCHECKED, "counted: %" PRId64 " of %" PRId64 " rows are known",
                         memo->n_known, memo->n_row);
        goto out;
    }
    e->n_token_run = e->n_token_reused = 0;
    if (n_rest > 0) status = tn_requests_run(e, rest, rest_results, n_rest, progress, err);
    for (int64_t i = 0; i < n_rest; i++) results[place[i]] = rest_results[i];
out:
    tn_str_free(&text);
    free(rest);
    free(rest_results);
    free(keys);
    free(place);
    return status;
}
