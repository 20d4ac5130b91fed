/* local.c - questions answered by a model in this program. The choices of a row share their context's keys
 * and values: the engine computes a beginning once. What runs together never changes an answer. */
#include "eval/asker.h"
#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_TIE 1e-4f

typedef struct local {
    tn_asker   base;
    tn_model  *model;
    tn_engine *engine;
    int64_t    engine_ctx;
} local;

/* Hash of all tokens, and of where each context ends. */
static tn_status hash_spans(char hex[TN_SHA256_HEX], const tn_span *spans, size_t n, tn_error *err)
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

static tn_status prepare(tn_asker *base, tn_asked *one, const tn_task *t, const char *where, tn_error *err)
{
    local              *l = (local *)base;
    const tn_tokenizer *tok = tn_model_tokenizer(l->model);
    int64_t             n_ctx = tn_model_hparams(l->model)->n_ctx;

    if (t->output == TN_TASK_ROLLING) {
        TN_TRY(tn_span_windows(&one->spans, &one->n_span, tok, one->ask.continuation[0], n_ctx, where, err));
    } else {
        if ((one->spans = calloc(one->ask.n, sizeof *one->spans)) == NULL)
            return tn_fail(err, TN_NOMEM, "%s: no memory for its tokens", where);
        if (t->output == TN_TASK_GENERATE) {
            if (t->sampling.max_tokens >= n_ctx)
                return tn_fail(err, TN_LIMIT,
                               "task %s asks for replies of up to %" PRId64
                               " tokens, the model's context holds %" PRId64 ": lower max_gen_toks",
                               t->name, t->sampling.max_tokens, n_ctx);
            one->n_span = 1;
            TN_TRY(tn_span_prompt(&one->spans[0], tok, one->ask.context[0], n_ctx - t->sampling.max_tokens,
                                  where, err));
        } else {
            for (; one->n_span < one->ask.n; one->n_span++)
                TN_TRY(tn_span_make(&one->spans[one->n_span], tok, one->ask.context[one->n_span],
                                    one->ask.continuation[one->n_span], n_ctx, where, err));
        }
    }
    return hash_spans(one->hash, one->spans, one->n_span, err);
}

/* An engine whose context holds the longest of these; kept as long as it is large enough. */
static tn_status engine_for(local *l, int64_t longest, tn_error *err)
{
    int64_t           n_ctx = tn_model_hparams(l->model)->n_ctx;
    tn_engine_options o = {
        .n_batch = l->base.o->n_batch, .kv_type = l->base.o->kv_type, .prefix_reuse = true, .hidden_layer = -1
    };

    if (l->engine != NULL && longest <= l->engine_ctx) return TN_OK;
    tn_engine_destroy(l->engine);
    l->engine = NULL;
    /* a little room: the next group may be longer */
    o.n_ctx = longest + longest / 4 < n_ctx ? longest + longest / 4 : n_ctx;
    l->engine_ctx = o.n_ctx;
    return tn_engine_create(&l->engine, l->model, &o, err);
}

static int64_t longest_of(const tn_asked *list, size_t n)
{
    int64_t longest = 1;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < list[i].n_span; k++)
            if (list[i].spans[k].n > longest) longest = list[i].spans[k].n;
    return longest;
}

static void score_take(tn_asked *a, size_t k, const tn_score *s)
{
    const tn_span *p = &a->spans[k];

    a->scored[k] = (tn_scored){ s->logprob,  s->greedy,    p->truncated,
                                p->boundary, p->n_context, p->n - p->n_context };
}

static tn_status score(local *l, tn_asked *list, size_t n, size_t n_span, tn_error *err)
{
    const int32_t **context = calloc(n_span + 1, sizeof *context), **cont = calloc(n_span + 1, sizeof *cont);
    int64_t  *n_context = calloc(n_span + 1, sizeof *n_context), *n_cont = calloc(n_span + 1, sizeof *n_cont);
    tn_score *scores = calloc(n_span + 1, sizeof *scores);
    size_t    k = 0;
    tn_status status = TN_OK;

    if (context == NULL || cont == NULL || n_context == NULL || n_cont == NULL || scores == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to score %zu texts", n_span);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < list[i].n_span; j++, k++) {
            const tn_span *s = &list[i].spans[j];
            context[k] = s->tokens;
            n_context[k] = s->n_context;
            cont[k] = s->tokens + s->n_context;
            n_cont[k] = s->n - s->n_context;
        }
    TN_GOTO(engine_for(l, longest_of(list, n), err));
    TN_GOTO(tn_engine_score(l->engine, context, n_context, cont, n_cont, (int64_t)n_span, scores, NULL, err));
    k = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < list[i].n_span; j++) score_take(&list[i], j, &scores[k++]);
out:
    free(context);
    free(cont);
    free(n_context);
    free(n_cont);
    free(scores);
    return status;
}

static tn_status reply_take(tn_reply *to, const tn_result *r, const tn_span *s, bool greedy, tn_error *err)
{
    if (r->status != TN_OK) return tn_fail(err, r->status, "a reply could not be made: %s", r->message);
    *to = (tn_reply){ .text = tn_strdup(r->text != NULL ? r->text : ""),
                      .n_context = s->n_context,
                      .n_token = r->n,
                      .truncated = s->truncated };
    /* go_on ended it */
    snprintf(to->stop, sizeof to->stop, "%s",
             strcmp(r->stop_reason, "interrupted") == 0 ? "stop" : r->stop_reason);
    for (int64_t i = 0; greedy && r->top_logprobs != NULL && i < r->n; i++)
        to->near_tie = to->near_tie || r->top_logprobs[2 * i] - r->top_logprobs[2 * i + 1] < NEAR_TIE;
    return to->text != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a reply");
}

/* Stop texts that are special tokens of the vocabulary: they never appear in a reply's text, so the token
 * itself ends it. */
typedef struct stops {
    int32_t id[16];
    int     n;
} stops;

static stops stops_of(const tn_tokenizer *t, const tn_task_sampling *p)
{
    stops s = { 0 };

    for (int i = 0; i < p->n_until; i++) {
        int32_t id = tn_tokenizer_find(t, p->until[i]);
        if (id >= 0 && tn_tokenizer_is_special(t, id)) s.id[s.n++] = id;
    }
    return s;
}

static bool go_on(void *arg, int32_t id, float logprob, const char *text, size_t n_text)
{
    const stops *s = arg;

    (void)logprob;
    (void)text;
    (void)n_text;
    for (int i = 0; i < s->n; i++)
        if (s->id[i] == id) return false;
    return true;
}

static tn_status reply(local *l, tn_asked *list, size_t n, const tn_task *t, tn_error *err)
{
    const tn_task_sampling *p = &t->sampling;
    size_t                  n_all = n * (size_t)t->repeats;
    stops                   ends = stops_of(tn_model_tokenizer(l->model), p);
    tn_request             *requests = calloc(n_all + 1, sizeof *requests);
    tn_result              *results = calloc(n_all + 1, sizeof *results);
    tn_status               status = TN_OK;

    if (requests == NULL || results == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to ask for %zu replies", n_all);
        goto out;
    }
    for (size_t i = 0; i < n_all; i++) {
        const tn_asked *a = &list[i / (size_t)t->repeats];
        uint64_t        key[2] = { a->sample_id, i % (size_t)t->repeats };
        tn_sampling     s = tn_sampling_default();
        s.max_tokens = p->max_tokens;
        s.temperature = p->temperature;
        s.top_k = p->top_k;
        s.top_p = p->top_p;
        s.min_p = 0;
        s.seed = (uint64_t)l->base.o->seed;
        s.stop = p->until;
        s.n_stop = p->n_until;
        s.n_top_logprobs = p->temperature == 0 ? 2 : 0;
        requests[i] = (tn_request){ .prompt = a->spans[0].tokens,
                                    .n_prompt = a->spans[0].n,
                                    .sampling = s,
                                    .sample_id = tn_hash64(key, sizeof key) };
        if (ends.n > 0) {
            requests[i].on_token = go_on;
            requests[i].arg = &ends;
        }
    }
    TN_GOTO(engine_for(l, longest_of(list, n) + p->max_tokens, err));
    TN_GOTO(tn_engine_run(l->engine, requests, results, (int64_t)n_all, NULL, err));
    for (size_t i = 0; i < n_all; i++) {
        tn_asked *a = &list[i / (size_t)t->repeats];
        TN_GOTO(reply_take(&a->replies[i % (size_t)t->repeats], &results[i], &a->spans[0],
                           p->temperature == 0, err));
    }
out:
    for (size_t i = 0; results != NULL && i < n_all; i++) tn_result_free(&results[i]);
    free(requests);
    free(results);
    return status;
}

static tn_status group(tn_asker *base, tn_asked *list, size_t n, const tn_task *t, tn_error *err)
{
    size_t n_span = 0;

    for (size_t i = 0; i < n; i++) {
        n_span += list[i].n_span;
        TN_TRY(tn_asked_room(&list[i], t, err));
    }
    return t->output == TN_TASK_GENERATE ? reply((local *)base, list, n, t, err)
                                         : score((local *)base, list, n, n_span, err);
}

static json_t *digest_json(const tn_digest *d)
{
    char   *text = tn_digest_text(d);
    json_t *v = text == NULL ? NULL : json_string(text);

    free(text);
    return v;
}

static tn_status describe(const tn_asker *base, json_t *header, tn_error *err)
{
    const local *l = (const local *)base;
    tn_digest    model, tokenizer;

    TN_TRY(tn_model_digest(l->model, &model, err));
    tn_tokenizer_digest(tn_model_tokenizer(l->model), &tokenizer);
    json_object_set_new(header, "model", digest_json(&model));
    json_object_set_new(header, "tokenizer", digest_json(&tokenizer));
    json_object_set_new(header, "profile", json_string(tn_profile_name(tn_model_profile(l->model))));
    json_object_set_new(header, "kv_type", json_string(tn_dtype_name(base->o->kv_type)));
    return TN_OK;
}

static void close_local(tn_asker *base)
{
    tn_engine_destroy(((local *)base)->engine);
    free(base);
}

tn_status tn_local_open(tn_asker **out, tn_model *m, const tn_eval_options *o, tn_error *err)
{
    static const tn_asker_kind kind = { prepare, group, describe, close_local };
    const tn_chat             *chat = NULL;
    local                     *l;

    *out = NULL;
    if (tn_model_tokenizer(m) == NULL)
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s has no tokenizer (tokenizer.json is missing), so it cannot read text",
                       tn_model_path(m));
    if ((l = calloc(1, sizeof *l)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for an evaluation");
    l->base = (tn_asker){ .kind = &kind, .o = o };
    l->model = m;
    l->base.can_chat = tn_model_chat(m, &chat, NULL) == TN_OK;
    l->base.style.tokenizer = tn_model_tokenizer(m);
    l->base.style.format = chat;
    *out = &l->base;
    return TN_OK;
}

tn_status tn_asked_room(tn_asked *a, const tn_task *t, tn_error *err)
{
    if (t->output == TN_TASK_GENERATE) {
        a->n_reply = (size_t)t->repeats;
        a->replies = calloc(a->n_reply, sizeof *a->replies);
    } else {
        a->scored = calloc(a->n_span + 1, sizeof *a->scored);
    }
    return a->replies != NULL || a->scored != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for answers");
}

void tn_asked_free(tn_asked *a)
{
    for (size_t i = 0; a->spans != NULL && i < a->n_span; i++) free(a->spans[i].tokens);
    for (size_t i = 0; a->replies != NULL && i < a->n_reply; i++) free(a->replies[i].text);
    free(a->spans);
    free(a->scored);
    free(a->replies);
    tn_ask_free(&a->ask);
    *a = (tn_asked){ 0 };
}
