/* speaker.c - a local model as a speaker: conversations in the model's chat format, through the engine. */
#include "eval/speaker.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void tn_said_free(tn_said *s, size_t n)
{
    for (size_t i = 0; s != NULL && i < n; i++) free(s[i].text);
    free(s);
}

void tn_speaker_close(tn_speaker *s)
{
    if (s->close != NULL) s->close(s->self);
    json_decref(s->identity);
    *s = (tn_speaker){ 0 };
}

typedef struct local {
    tn_model      *model;
    const tn_chat *chat;
    tn_engine     *engine;
    int64_t        engine_ctx, n_batch;
    tn_dtype       kv_type;
} local;

typedef struct ids {
    int32_t *p;
    size_t   n, cap;
} ids;

static void local_close(void *self)
{
    local *l = self;

    if (l != NULL) tn_engine_destroy(l->engine);
    free(l);
}

/* An engine whose context holds the longest of these; kept as long as it is large enough. */
static tn_status engine_for(local *l, int64_t longest, tn_error *err)
{
    int64_t           n_ctx = tn_model_hparams(l->model)->n_ctx;
    tn_engine_options o = {
        .n_batch = l->n_batch, .kv_type = l->kv_type, .prefix_reuse = true, .hidden_layer = -1
    };

    if (l->engine != NULL && (longest <= l->engine_ctx || l->engine_ctx == n_ctx)) return TN_OK;
    tn_engine_destroy(l->engine);
    l->engine = NULL;
    o.n_ctx = longest + longest / 4 < n_ctx ? longest + longest / 4 : n_ctx;
    l->engine_ctx = o.n_ctx;
    return tn_engine_create(&l->engine, l->model, &o, err);
}

static tn_status render(const local *l, const tn_talk *t, ids *out, tn_error *err)
{
    const tn_tokenizer *tok = tn_model_tokenizer(l->model);

    out->n = 0;
    bool prefilled = t->prefill != NULL && t->prefill[0] != '\0';
    TN_TRY(tn_chat_render(tok, l->chat, t->messages, t->n, prefilled ? TN_TURN_ANSWERED : TN_TURN_OPEN,
                          &out->p, NULL, &out->n, &out->cap, err));
    if (!prefilled) return TN_OK;
    return tn_tokenize(tok, t->prefill, strlen(t->prefill), 0, &out->p, &out->n, &out->cap, err);
}

static tn_status local_say(void *self, const tn_talk *talks, size_t n, const tn_say_options *o, tn_said *out,
                           tn_error *err)
{
    local      *l = self;
    tn_request *req = calloc(n + 1, sizeof *req);
    tn_result  *res = calloc(n + 1, sizeof *res);
    ids        *text = calloc(n + 1, sizeof *text);
    int64_t     longest = 1;
    tn_sampling s = tn_sampling_default();
    tn_status   status = TN_OK;

    if (req == NULL || res == NULL || text == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu conversations", n);
        goto out;
    }
    s.max_tokens = o->max_tokens;
    s.temperature = o->temperature;
    s.seed = o->seed;
    for (size_t i = 0; i < n; i++) {
        TN_GOTO(render(l, &talks[i], &text[i], err));
        req[i] = (tn_request){ .prompt = text[i].p,
                               .n_prompt = (int64_t)text[i].n,
                               .sampling = s,
                               .sample_id = talks[i].sample_id };
        if ((int64_t)text[i].n + o->max_tokens > longest) longest = (int64_t)text[i].n + o->max_tokens;
    }
    TN_GOTO(engine_for(l, longest, err));
    TN_GOTO(tn_engine_run(l->engine, req, res, (int64_t)n, NULL, err));
    for (size_t i = 0; i < n; i++) {
        if (res[i].status != TN_OK) {
            snprintf(out[i].why, sizeof out[i].why, "%.199s", res[i].message);
            continue;
        }
        out[i].text = tn_strdup(res[i].text != NULL ? res[i].text : "");
        out[i].n_token = res[i].n;
        out[i].cut = strcmp(res[i].stop_reason, "length") == 0 || strcmp(res[i].stop_reason, "context") == 0;
        if (out[i].text == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a reply");
    }
out:
    for (size_t i = 0; res != NULL && i < n; i++) tn_result_free(&res[i]);
    for (size_t i = 0; text != NULL && i < n; i++) free(text[i].p);
    free(req);
    free(res);
    free(text);
    return status;
}

static tn_status local_weigh(void *self, const tn_talk *talks, size_t n, const char *const *options,
                             size_t n_option, double *logp, tn_error *err)
{
    local              *l = self;
    size_t              total = n * n_option;
    const tn_tokenizer *tok = tn_model_tokenizer(l->model);
    ids                *text = calloc(n + 1, sizeof *text), *option = calloc(n_option + 1, sizeof *option);
    const int32_t **context = calloc(total + 1, sizeof *context), **cont = calloc(total + 1, sizeof *cont);
    int64_t *n_context = calloc(total + 1, sizeof *n_context), *n_cont = calloc(total + 1, sizeof *n_cont),
            longest = 1;
    tn_score *score = calloc(total + 1, sizeof *score);
    tn_status status = TN_OK;

    if (text == NULL || option == NULL || context == NULL || cont == NULL || n_context == NULL ||
        n_cont == NULL || score == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu weighings", total);
        goto out;
    }
    for (size_t k = 0; k < n_option; k++)
        TN_GOTO(tn_tokenize(tok, options[k], strlen(options[k]), 0, &option[k].p, &option[k].n,
                            &option[k].cap, err));
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        TN_GOTO(render(l, &talks[i], &text[i], err));
        bool fits = (int64_t)text[i].n + 16 < tn_model_hparams(l->model)->n_ctx;
        for (size_t k = 0; k < n_option; k++) {
            logp[i * n_option + k] = NAN;
            if (!fits) continue;
            context[m] = text[i].p;
            n_context[m] = (int64_t)text[i].n;
            cont[m] = option[k].p;
            n_cont[m] = (int64_t)option[k].n;
            if (n_context[m] + n_cont[m] > longest) longest = n_context[m] + n_cont[m];
            m++;
        }
    }
    TN_GOTO(engine_for(l, longest, err));
    if (m > 0)
        TN_GOTO(tn_engine_score(l->engine, context, n_context, cont, n_cont, (int64_t)m, score, NULL, err));
    for (size_t i = 0, j = 0; i < n; i++)
        for (size_t k = 0; k < n_option; k++)
            if (j < m && context[j] == text[i].p) logp[i * n_option + k] = score[j++].logprob;
out:
    for (size_t i = 0; text != NULL && i < n; i++) free(text[i].p);
    for (size_t k = 0; option != NULL && k < n_option; k++) free(option[k].p);
    free(text);
    free(option);
    free(context);
    free(cont);
    free(n_context);
    free(n_cont);
    free(score);
    return status;
}

tn_status tn_speaker_local(tn_speaker *out, tn_model *m, tn_dtype kv_type, int64_t n_batch, tn_error *err)
{
    tn_digest model, tokenizer;
    local    *l = calloc(1, sizeof *l);
    tn_status status = TN_OK;

    *out = (tn_speaker){ 0 };
    if (l == NULL) return tn_fail(err, TN_NOMEM, "no memory for a speaker");
    *l = (local){ .model = m, .n_batch = n_batch, .kv_type = kv_type };
    if (tn_model_tokenizer(m) == NULL) {
        status = tn_fail(err, TN_UNSUPPORTED, "%s has no tokenizer, so it cannot be talked to",
                         tn_model_path(m));
        goto out;
    }
    TN_GOTO(tn_model_chat(m, &l->chat, err));
    TN_GOTO(tn_model_digest(m, &model, err));
    tn_tokenizer_digest(tn_model_tokenizer(m), &tokenizer);
    char   *a = tn_digest_text(&model), *b = tn_digest_text(&tokenizer);
    json_t *identity = a == NULL || b == NULL
                           ? NULL
                           : json_pack("{s:s, s:s, s:s, s:s, s:s}", "model", a, "tokenizer", b, "profile",
                                       tn_profile_name(tn_model_profile(m)), "kv_type",
                                       tn_dtype_name(kv_type), "chat", tn_chat_format_name(l->chat->format));
    free(a);
    free(b);
    if (identity == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a speaker");
        goto out;
    }
    *out = (tn_speaker){ .self = l,
                         .identity = identity,
                         .prefills = true,
                         .model = m,
                         .say = local_say,
                         .weigh = local_weigh,
                         .close = local_close };
    l = NULL;
out:
    local_close(l);
    return status;
}
