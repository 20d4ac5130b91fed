/* speaker_endpoint.c - an OpenAI-compatible chat endpoint as a speaker: one request a conversation, tried
 * again when the server is busy. Its answers are no function of anything that we can hold on to: a run over
 * an endpoint is a recorded one. */
#include "eval/speaker.h"
#include "base/log.h"
#include "base/str.h"
#include "net/net.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { TRIES = 5, FIRST_WAIT_MS = 500, TOP = 20 };

typedef struct remote {
    char       *url, *model, *auth;
    const char *headers[2];
} remote;

static void remote_close(void *self)
{
    remote *r = self;

    if (r == NULL) return;
    free(r->url);
    free(r->model);
    free(r->auth);
    free(r);
}

static json_t *messages_of(const tn_talk *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "role", t->messages[i].role, "content", t->messages[i].content));
    return list;
}

/* Takes body. */
static tn_status post(const remote *r, json_t *body, json_t **out, tn_error *err)
{
    tn_http   o = { .headers = r->auth != NULL ? r->headers : NULL, .timeout_s = 300 };
    tn_status status = body == NULL ? tn_fail(err, TN_NOMEM, "no memory for a request") : TN_OK;

    for (int i = 0; status == TN_OK; i++) {
        long      code = 0;
        tn_status s = tn_http_post_json(out, &code, r->url, body, &o, err);
        if (s == TN_OK) break;
        if (s != TN_NETWORK || !(code == 429 || code >= 500) || i + 1 == TRIES) {
            status = s;
            break;
        }
        long ms = FIRST_WAIT_MS << i;
        nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
        if ((s = tn_interrupted(err)) != TN_OK) status = s;
    }
    json_decref(body);
    return status;
}

static const json_t *choice_of(const json_t *answer)
{
    return json_array_get(json_object_get(answer, "choices"), 0);
}

static tn_status remote_say(void *self, const tn_talk *talks, size_t n, const tn_say_options *o, tn_said *out,
                            tn_error *err)
{
    const remote *r = self;

    for (size_t i = 0; i < n; i++) {
        json_t *answer = NULL;
        TN_TRY(tn_interrupted(err));
        TN_TRY(
            post(r,
                 json_pack("{s:s, s:o, s:I, s:f, s:I}", "model", r->model, "messages", messages_of(&talks[i]),
                           "max_tokens", (json_int_t)o->max_tokens, "temperature", o->temperature, "seed",
                           (json_int_t)((o->seed ^ talks[i].sample_id) & 0x7fffffff)),
                 &answer, err));
        const json_t *choice = choice_of(answer),
                     *content = json_object_get(json_object_get(choice, "message"), "content");
        const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
        if (choice == NULL) {
            json_decref(answer);
            return tn_fail(err, TN_FORMAT,
                           "%s: the answer has no \"choices\": is this an OpenAI-compatible /v1 address?",
                           r->url);
        }
        /* null content is an empty answer: some servers filter so */
        out[i].text = tn_strdup(json_is_string(content) ? json_string_value(content) : "");
        out[i].n_token = json_integer_value(
            json_object_get(json_object_get(answer, "usage"), "completion_tokens"));
        out[i].cut = finish != NULL && strcmp(finish, "length") == 0;
        json_decref(answer);
        if (out[i].text == NULL) return tn_fail(err, TN_NOMEM, "no memory for a reply");
    }
    return TN_OK;
}

static bool same_word(const char *a, const char *b)
{
    while (isspace((unsigned char)*a)) a++;
    size_t n = strlen(b);
    return strncasecmp(a, b, n) == 0 && !isalnum((unsigned char)a[n]);
}

/* From the log-probabilities of the first token where the server gives them; else its one word counts as
 * certain. */
static void weights_read(const json_t *choice, const char *const *options, size_t n_option, double *logp)
{
    const json_t *first = json_array_get(json_object_get(json_object_get(choice, "logprobs"), "content"), 0),
                 *top = json_object_get(first, "top_logprobs"), *t;
    const char *text = json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
    size_t      i;
    bool        any = false;

    for (size_t k = 0; k < n_option; k++) logp[k] = NAN;
    json_array_foreach((json_t *)top, i, t)
        for (size_t k = 0; k < n_option; k++) {
            const char *token = json_string_value(json_object_get(t, "token"));
            if (token == NULL || !same_word(token, options[k]) ||
                !json_is_number(json_object_get(t, "logprob")))
                continue;
            double l = json_number_value(json_object_get(t, "logprob"));
            logp[k] = isnan(logp[k]) ? l : fmax(logp[k], l) + log1p(exp(-fabs(logp[k] - l)));
            any = true;
        }
    for (size_t k = 0; k < n_option; k++) {
        if (any && isnan(logp[k])) logp[k] = -20; /* below the listed ones */
        if (!any && text != NULL && same_word(text, options[k])) {
            for (size_t j = 0; j < n_option; j++) logp[j] = j == k ? 0 : -20;
            return;
        }
    }
}

static tn_status remote_weigh(void *self, const tn_talk *talks, size_t n, const char *const *options,
                              size_t n_option, double *logp, tn_error *err)
{
    const remote *r = self;

    for (size_t i = 0; i < n; i++) {
        json_t *answer = NULL;
        TN_TRY(tn_interrupted(err));
        TN_TRY(post(r,
                    json_pack("{s:s, s:o, s:i, s:f, s:b, s:i}", "model", r->model, "messages",
                              messages_of(&talks[i]), "max_tokens", 2, "temperature", 0.0, "logprobs", 1,
                              "top_logprobs", TOP),
                    &answer, err));
        weights_read(choice_of(answer), options, n_option, logp + i * n_option);
        json_decref(answer);
    }
    return TN_OK;
}

/* Without user and password. made. */
static char *url_public(const char *url)
{
    const char *host = strstr(url, "://"), *at = host != NULL ? strchr(host, '@') : NULL,
               *path = host != NULL ? strchr(host + 3, '/') : NULL;

    if (at == NULL || (path != NULL && at > path)) return tn_strdup(url);
    return tn_strf("%.*s://%s", (int)(host - url), url, at + 1);
}

tn_status tn_speaker_endpoint(tn_speaker *out, const char *url, const char *model, tn_error *err)
{
    remote     *r = calloc(1, sizeof *r);
    const char *key = getenv("TENET_API_KEY");
    char       *shown = url_public(url);
    size_t      n = strlen(url);
    tn_status   status = TN_OK;

    *out = (tn_speaker){ 0 };
    if (!tn_starts_with(url, "http://") && !tn_starts_with(url, "https://")) {
        status = tn_fail(err, TN_USAGE,
                         "endpoint \"%s\": an address such as http://127.0.0.1:8080/v1 is expected",
                         shown != NULL ? shown : "");
        goto out;
    }
    while (n > 0 && url[n - 1] == '/') n--;
    if (r != NULL) {
        r->url = tn_strf("%.*s/chat/completions", (int)n, url);
        r->model = tn_strdup(model);
        r->auth = key != NULL && key[0] != '\0' ? tn_strf("Authorization: Bearer %s", key) : NULL;
        r->headers[0] = r->auth;
    }
    json_t *identity = shown == NULL
                           ? NULL
                           : json_pack("{s:s, s:s, s:b}", "endpoint", shown, "model", model, "recorded", 1);
    if (r == NULL || r->url == NULL || r->model == NULL || identity == NULL) {
        json_decref(identity);
        status = tn_fail(err, TN_NOMEM, "no memory for an endpoint");
        goto out;
    }
    *out = (tn_speaker){
        .self = r, .identity = identity, .say = remote_say, .weigh = remote_weigh, .close = remote_close
    };
    r = NULL;
out:
    remote_close(r);
    free(shown);
    return status;
}
