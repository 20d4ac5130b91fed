/* remote.c - questions answered by a model behind an OpenAI-compatible endpoint.
 *
 *   continuations   POST URL/completions {prompt, echo, logprobs, max_tokens 1}: the prompt comes back with a log-probability a
 *                   token and where each begins (text_offset, in characters); those behind the context are added up
 *   replies         POST URL/completions; conversations go to URL/chat/completions
 *
 * The context's end is found in the tokens as they came: a token across it belongs to the continuation, and
 * is reported as `boundary`. What cannot be scored (no echo, no log-probabilities) is an error, never a
 * guess. Answers of a remote model are recorded, not computed: the log's header says so. */
#include "eval/asker.h"
#include "base/log.h"
#include "base/str.h"
#include "eval/pytext.h"
#include "net/net.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PER_REQUEST = 16, TRIES = 4 };

typedef struct remote {
    tn_asker base;
    char    *url, *header;
} remote;

static tn_status hash_texts(char hex[TN_SHA256_HEX], const tn_ask *a, tn_error *err)
{
    tn_sha256 *h;
    tn_digest  d;

    TN_TRY(tn_sha256_create(&h, err));
    for (size_t i = 0; i < a->n; i++) {
        tn_sha256_update(h, a->context[i], strlen(a->context[i]) + 1);
        tn_sha256_update(h, a->continuation[i], strlen(a->continuation[i]) + 1);
    }
    tn_sha256_final(h, &d);
    tn_sha256_destroy(h);
    tn_hex(hex, &d);
    return TN_OK;
}

static tn_status prepare(tn_asker *base, tn_asked *one, const tn_task *t, const char *where, tn_error *err)
{
    (void)base;
    if (t->output == TN_TASK_ROLLING)
        return tn_fail(err, TN_UNSUPPORTED,
                       "task %s scores whole texts, which needs the model's own tokens: use a local model",
                       t->name);
    for (size_t i = 0; t->output != TN_TASK_GENERATE && i < one->ask.n; i++) {
        if (one->ask.context[i][0] == '[' && one->ask.context[i][1] == '{')
            return tn_fail(err, TN_UNSUPPORTED,
                           "task %s: log-probabilities of a conversation cannot be asked for over this "
                           "interface: add --apply-chat-template no",
                           t->name);
        if (tn_py_end(one->ask.context[i], strlen(one->ask.context[i])) == 0)
            return tn_fail(
                err, TN_UNSUPPORTED,
                "%s: the context is empty: an endpoint gives no log-probability for the first token", where);
    }
    one->n_span = t->output == TN_TASK_GENERATE ? 0 : one->ask.n;
    return hash_texts(one->hash, &one->ask, err);
}

/* Posts, and tries again where the server says that it may work later. */
static tn_status post(const remote *r, const char *path, const json_t *body, json_t **out, tn_error *err)
{
    const char *headers[] = { r->header, NULL };
    tn_http     o = { .headers = r->header != NULL ? headers : NULL, .timeout_s = 600 };
    char       *url = tn_strf("%s/%s", r->url, path);
    tn_status   status = url != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a URL");

    for (int i = 0; url != NULL && i < TRIES; i++) {
        long code = 0;
        status = tn_http_post_json(out, &code, url, body, &o, err);
        if (status != TN_NETWORK || (code != 429 && code < 500) || i + 1 == TRIES) break;
        tn_log(TN_LOG_WARN, "%s answers %ld, trying again", path, code);
        struct timespec wait = { 1 << i, 0 };
        nanosleep(&wait, NULL);
        if ((status = tn_interrupted(err)) != TN_OK) break;
    }
    free(url);
    return status;
}

static json_t *body_new(const remote *r, double temperature, int64_t max_tokens)
{
    json_t *o = json_pack("{s:f, s:I}", "temperature", temperature, "max_tokens", (json_int_t)max_tokens);

    if (r->base.o->model_name != NULL) json_object_set_new(o, "model", json_string(r->base.o->model_name));
    return o;
}

/* ------------------------------------------------------------------------------------------ continuations */

/* Does the likeliest token at this place score no better than the one that stands there? */
static bool likeliest(const json_t *top, double ll)
{
    const char *unused;
    json_t     *v;

    if (!json_is_object(top)) return false;
    json_object_foreach((json_t *)top, unused, v)
        if (json_number_value(v) > ll) return false;
    return true;
}

static tn_status score_take(tn_scored *out, const json_t *choice, const char *context, const char *whole,
                            tn_error *err)
{
    const json_t *lp = json_object_get(choice, "logprobs"), *ll = json_object_get(lp, "token_logprobs"),
                 *at = json_object_get(lp, "text_offset"), *top = json_object_get(lp, "top_logprobs");
    size_t  n = json_array_size(ll);
    int64_t head = 0, end = tn_py_chars(whole);

    for (size_t i = 0, k = tn_py_end(context, strlen(context)); i < k; i++)
        head += ((unsigned char)context[i] & 0xc0) != 0x80;
    if (n == 0 || json_array_size(at) != n)
        return tn_fail(err, TN_UNSUPPORTED,
                       "the endpoint gives no log-probabilities of the prompt (\"echo\" with \"logprobs\", "
                       "and \"text_offset\"): it cannot score continuations");
    const char *last = json_string_value(json_array_get(json_object_get(lp, "tokens"), n - 1));
    if (last != NULL && (int64_t)json_integer_value(json_array_get(at, n - 1)) + tn_py_chars(last) < end)
        return tn_fail(
            err, TN_FORMAT,
            "the endpoint's tokens end before the prompt does: its context may be too short for this task");
    *out = (tn_scored){ .greedy = true };
    for (size_t i = 0; i < n; i++) {
        int64_t from = (int64_t)json_integer_value(json_array_get(at, i)),
                to = i + 1 < n ? (int64_t)json_integer_value(json_array_get(at, i + 1)) : end;
        if (from >= end) break; /* what the model added */
        if (to <= head) {
            out->n_context++;
            continue;
        }
        const json_t *v = json_array_get(ll, i);
        if (!json_is_number(v))
            return tn_fail(err, TN_UNSUPPORTED,
                           "the endpoint gives no log-probability for token %zu of a prompt, where the "
                           "continuation begins",
                           i);
        out->boundary = out->boundary || from < head;
        out->ll += json_number_value(v);
        out->greedy = out->greedy && likeliest(json_array_get(top, i), json_number_value(v));
        out->n_token++;
    }
    if (out->n_token > 0) return TN_OK;
    return tn_fail(err, TN_FORMAT,
                   "the endpoint's tokens end before the continuation begins: was the prompt cut off? its "
                   "context may be too short");
}

typedef struct place {
    size_t row, span;
} place;

static tn_status score_some(const remote *r, tn_asked *list, const place *p, size_t n, tn_error *err)
{
    json_t   *body = body_new(r, 0, 1), *prompts = json_array(), *answer = NULL;
    char    **whole = calloc(n, sizeof *whole);
    tn_status status = TN_OK;

    json_object_set_new(body, "prompt", prompts);
    json_object_set_new(body, "echo", json_true());
    json_object_set_new(body, "logprobs", json_integer(1));
    for (size_t i = 0; whole != NULL && i < n; i++) {
        whole[i] = tn_strf("%s%s", list[p[i].row].ask.context[p[i].span],
                           list[p[i].row].ask.continuation[p[i].span]);
        json_array_append_new(prompts, json_string(whole[i] != NULL ? whole[i] : ""));
    }
    TN_GOTO(post(r, "completions", body, &answer, err));
    const json_t *choices = json_object_get(answer, "choices");
    if (json_array_size(choices) != n) {
        status = tn_fail(err, TN_FORMAT, "the endpoint answers %zu prompts with %zu choices", n,
                         json_array_size(choices));
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(choices, i), *index = json_object_get(c, "index");
        size_t        k = json_is_integer(index) && json_integer_value(index) >= 0 &&
                           (size_t)json_integer_value(index) < n
                              ? (size_t)json_integer_value(index)
                              : i;
        TN_GOTO(score_take(&list[p[k].row].scored[p[k].span], c, list[p[k].row].ask.context[p[k].span],
                           whole[k], err));
    }
out:
    for (size_t i = 0; whole != NULL && i < n; i++) free(whole[i]);
    free(whole);
    json_decref(body);
    json_decref(answer);
    return status;
}

static tn_status score(const remote *r, tn_asked *list, size_t n, tn_error *err)
{
    place  p[PER_REQUEST];
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < list[i].n_span; j++) {
            p[k++] = (place){ i, j };
            if (k < PER_REQUEST && !(i + 1 == n && j + 1 == list[i].n_span)) continue;
            TN_TRY(score_some(r, list, p, k, err));
            k = 0;
        }
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------ replies */

static void cut_at_stops(char *text, const tn_task_sampling *s)
{
    for (int i = 0; i < s->n_until; i++) {
        char *hit = strstr(text, s->until[i]);
        if (hit != NULL) *hit = '\0';
    }
}

static tn_status reply_one(const remote *r, tn_asked *a, const tn_task *t, size_t i, tn_error *err)
{
    const tn_task_sampling *s = &t->sampling;
    const char             *context = a->ask.context[0];
    bool                    chat = context[0] == '[' && context[1] == '{';
    json_t *body = body_new(r, s->temperature, s->max_tokens), *stops = json_array(), *answer = NULL,
           *messages = NULL;
    tn_status status = TN_OK;

    /* the interface takes four; all are cut below */
    for (int k = 0; k < s->n_until && k < 4; k++) json_array_append_new(stops, json_string(s->until[k]));
    json_object_set_new(body, "stop", stops);
    if (s->temperature > 0) json_object_set_new(body, "top_p", json_real(s->top_p));
    if (s->temperature > 0)
        json_object_set_new(body, "seed", json_integer((json_int_t)((a->sample_id + i) >> 33)));
    if (chat) {
        TN_GOTO(tn_json_parse(&messages, context, strlen(context), "messages", err));
        json_object_set(body, "messages", messages);
    } else {
        json_object_set_new(body, "prompt", json_string(context));
    }
    TN_GOTO(post(r, chat ? "chat/completions" : "completions", body, &answer, err));
    const json_t *c = json_array_get(json_object_get(answer, "choices"), 0),
                 *usage = json_object_get(answer, "usage");
    const char *text = json_string_value(chat ? json_object_get(json_object_get(c, "message"), "content")
                                              : json_object_get(c, "text"));
    const char *stop = json_string_value(json_object_get(c, "finish_reason"));
    if (text == NULL) {
        status = tn_fail(err, TN_FORMAT, "the endpoint's answer has no text (choices[0].%s)",
                         chat ? "message.content" : "text");
        goto out;
    }
    tn_reply *to = &a->replies[i];
    *to = (tn_reply){ .text = tn_strdup(text),
                      .n_context = json_is_object(usage)
                                       ? (int64_t)json_integer_value(json_object_get(usage, "prompt_tokens"))
                                       : -1,
                      .n_token = (int64_t)json_integer_value(json_object_get(usage, "completion_tokens")) };
    snprintf(to->stop, sizeof to->stop, "%.15s", stop != NULL ? stop : "");
    if (to->text != NULL) cut_at_stops(to->text, s);
    else status = tn_fail(err, TN_NOMEM, "no memory for a reply");
out:
    json_decref(messages);
    json_decref(body);
    json_decref(answer);
    return status;
}

static tn_status group(tn_asker *base, tn_asked *list, size_t n, const tn_task *t, tn_error *err)
{
    const remote *r = (const remote *)base;

    for (size_t i = 0; i < n; i++) {
        TN_TRY(tn_asked_room(&list[i], t, err));
        for (size_t k = 0; k < list[i].n_reply; k++) TN_TRY(reply_one(r, &list[i], t, k, err));
    }
    return t->output == TN_TASK_GENERATE ? TN_OK : score(r, list, n, err);
}

/* The address without user and password. */
static char *shown_url(const char *url)
{
    const char *scheme = strstr(url, "://"), *at = scheme != NULL ? strchr(scheme + 3, '@') : NULL,
               *slash = scheme != NULL ? strchr(scheme + 3, '/') : NULL;

    if (at == NULL || (slash != NULL && slash < at)) return tn_strdup(url);
    return tn_strf("%.*s%s", (int)(scheme + 3 - url), url, at + 1);
}

static tn_status describe(const tn_asker *base, json_t *header, tn_error *err)
{
    char *url = shown_url(((const remote *)base)->url);

    if (url == NULL) return tn_fail(err, TN_NOMEM, "no memory for an address");
    json_object_set_new(header, "endpoint", json_string(url));
    json_object_set_new(header, "model", json_string(base->o->model_name != NULL ? base->o->model_name : ""));
    json_object_set_new(header, "recorded", json_true());
    free(url);
    return TN_OK;
}

static void close_remote(tn_asker *base)
{
    remote *r = (remote *)base;

    free(r->url);
    free(r->header);
    free(r);
}

tn_status tn_remote_open(tn_asker **out, const char *url, const tn_eval_options *o, tn_error *err)
{
    static const tn_asker_kind kind = { prepare, group, describe, close_remote };
    remote                    *r = calloc(1, sizeof *r);
    size_t                     n = strlen(url);

    *out = NULL;
    if (r == NULL) return tn_fail(err, TN_NOMEM, "no memory for an evaluation");
    r->base = (tn_asker){ .kind = &kind, .o = o, .can_chat = true };
    while (n > 0 && url[n - 1] == '/') n--;
    r->url = tn_strndup(url, n);
    if (o->key != NULL) r->header = tn_strf("Authorization: Bearer %s", o->key);
    if (r->url != NULL && (o->key == NULL || r->header != NULL)) {
        *out = &r->base;
        return TN_OK;
    }
    close_remote(&r->base);
    return tn_fail(err, TN_NOMEM, "no memory for an evaluation");
}
