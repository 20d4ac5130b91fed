/* judge_remote.c - an OpenAI-compatible endpoint as the judge (POST URL/chat/completions).
 *
 *   question ──→ max_tokens 1, logprobs, top_logprobs 20 ──→ log-probabilities of the options among the likeliest tokens
 *            └─→ with votes: that many sampled replies, the letters counted (for endpoints that tell no log-probabilities)
 *
 * What an endpoint answers cannot be computed again: the stage kinds that use it are recorded ones. Each
 * answer is kept in WORK/answers.jsonl by the hash of its request, so that an interrupted stage goes on
 * without asking twice. */
#include "align/judge.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/str.h"
#include "net/net.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOP = 20, TRIES = 4 };
static const double ABSENT = 1e-6; /* the least that an option which is not listed may have */

typedef struct remote {
    char       *url, *name, *header;
    const char *headers[2];
    double      timeout;
    int64_t     votes;
    json_t     *known; /* replies by hash of the request */
    FILE       *journal;
    int64_t     n_asked, n_mute; /* questions, and those whose reply named no option */
} remote;

/* Waits before another try, a second at first; Ctrl-C ends it. */
static tn_status wait_s(int seconds, tn_error *err)
{
    for (int i = 0; i < 10 * seconds; i++) {
        struct timespec t = { 0, 100000000 };
        TN_TRY(tn_interrupted(err));
        nanosleep(&t, NULL);
    }
    return TN_OK;
}

static tn_status journal_open(remote *r, const char *work, tn_error *err)
{
    tn_status status = TN_OK;
    char     *path = NULL, *line = NULL;
    size_t    cap = 0, len;

    if ((r->known = json_object()) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for an endpoint's answers");
    if (work == NULL) return TN_OK;
    TN_TRY(tn_mkdirs(work, err));
    if ((path = tn_path(work, "answers.jsonl")) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a path");
    if ((r->journal = fopen(path, "a+")) == NULL) {
        status = tn_fail(err, TN_IO, "%s: cannot be opened to keep the endpoint's answers", path);
        goto out;
    }
    rewind(r->journal);
    while (tn_read_line(r->journal, &line, &cap, &len)) {
        json_t *row = NULL;
        /* The last line may be cut off by a kill: that question is asked again. */
        if (len == 0 || tn_json_parse(&row, line, len, path, NULL) != TN_OK) continue;
        const char *key = tn_row_text(row, "key");
        if (key != NULL) json_object_set(r->known, key, json_object_get(row, "reply"));
        json_decref(row);
    }
    fseek(r->journal, 0, SEEK_END);
    fputc('\n', r->journal);
out:
    free(line);
    free(path);
    return status;
}

static tn_status journal_add(remote *r, const char *key, json_t *reply, tn_error *err)
{
    if (json_object_set(r->known, key, reply) != 0)
        return tn_fail(err, TN_NOMEM, "no memory for an endpoint's answer");
    if (r->journal == NULL) return TN_OK;
    json_t *row = json_pack("{s:s, s:O}", "key", key, "reply", reply);
    char   *text = row != NULL ? tn_json_text(row) : NULL;
    bool    fine = text != NULL && fprintf(r->journal, "%s\n", text) > 0 && fflush(r->journal) == 0;

    free(text);
    json_decref(row);
    return fine ? TN_OK
                : tn_fail(err, TN_IO,
                          "the endpoint's answer cannot be written: free space, then run the same command");
}

/* The first choice of a reply to `body`, from the journal or the wire. *out is borrowed from r->known. */
static tn_status choice_get(remote *r, const json_t *body, const json_t **out, tn_error *err)
{
    tn_status status = TN_OK;
    char     *text = tn_json_text(body), key[TN_SHA256_HEX], *url = NULL;
    json_t   *reply = NULL;
    long      code = 0;

    if (text == NULL) return tn_fail(err, TN_NOMEM, "no memory for a request");
    tn_digest d = tn_sha256_of(text, strlen(text));
    tn_hex(key, &d);
    free(text);
    *out = json_object_get(r->known, key);
    if (*out != NULL) return TN_OK;
    if ((url = tn_strf("%s/chat/completions", r->url)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a URL");
    tn_http opts = { .headers = r->header != NULL ? r->headers : NULL, .timeout_s = r->timeout };
    for (int i = 0; i < TRIES; i++) {
        status = tn_http_post_json(&reply, &code, url, body, &opts, err);
        /* Busy or broken for a moment is worth waiting for; a server that is not there gets one more
         * chance. */
        if (status != TN_NETWORK || (code == 0 ? i == 1 : (code != 429 && code < 500) || i == TRIES - 1))
            break;
        TN_GOTO(wait_s(1 << i, err));
    }
    if (status != TN_OK) {
        status = tn_fail_prefix(
            err, status,
            "the judge at %s does not answer (nothing of this stage is recorded; the same command goes on "
            "from the %lld answers that are kept)",
            r->url, (long long)json_object_size(r->known));
        goto out;
    }
    json_t *first = json_array_get(json_object_get(reply, "choices"), 0);
    if (!json_is_object(first)) {
        status = tn_fail(err, TN_FORMAT,
                         "the judge at %s: a reply without \"choices\": is this the base URL of an "
                         "OpenAI-compatible server "
                         "(http://host:port/v1)?",
                         r->url);
        goto out;
    }
    TN_GOTO(journal_add(r, key, first, err));
    *out = json_object_get(r->known, key);
out:
    json_decref(reply);
    free(url);
    return status;
}

static json_t *body_of(const remote *r, const tn_message *m, size_t n, int64_t max_tokens, double temperature,
                       uint64_t seed)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", m[i].role, "content", m[i].content));
    return json_pack("{s:s, s:o, s:I, s:f, s:I}", "model", r->name, "messages", list, "max_tokens",
                     (json_int_t)max_tokens, "temperature", temperature, "seed",
                     (json_int_t)(seed & 0x7fffffff));
}

/* Which option a piece of text is: spaces, brackets and full stops around it do not count. -1: none. */
static int option_of(const tn_judge_ask *q, const char *text)
{
    static const char around[] = " \t\r\n()[]*.:'\"";

    text += strspn(text, around);
    for (int i = 0; i < q->n_option; i++) {
        size_t n = strlen(q->options[i]);
        if (strncmp(text, q->options[i], n) == 0 && strspn(text + n, around) == strlen(text + n)) return i;
    }
    return -1;
}

static tn_status ask_logprobs(remote *r, tn_judge_ask *q, tn_error *err)
{
    json_t       *body = body_of(r, q->messages, q->n_message, 1, 0, 0);
    const json_t *choice = NULL, *top;
    double        p[TN_JUDGE_OPTIONS] = { 0 }, least = 0, rest = 1;
    int           n_absent = 0;

    if (body == NULL || json_object_set_new(body, "logprobs", json_true()) != 0 ||
        json_object_set_new(body, "top_logprobs", json_integer(TOP)) != 0) {
        json_decref(body);
        return tn_fail(err, TN_NOMEM, "no memory for a request");
    }
    tn_status status = choice_get(r, body, &choice, err);
    json_decref(body);
    TN_TRY(status);
    top = json_object_get(json_array_get(json_object_get(json_object_get(choice, "logprobs"), "content"), 0),
                          "top_logprobs");
    if (json_array_size(top) == 0)
        return tn_fail(err, TN_FORMAT,
                       "the judge at %s tells no log-probabilities "
                       "(choices[0].logprobs.content[0].top_logprobs): set votes to "
                       "count sampled letters instead, or name a server that tells them",
                       r->url);
    for (size_t i = 0; i < json_array_size(top); i++) {
        const json_t *t = json_array_get(top, i), *lp = json_object_get(t, "logprob");
        const char   *token = tn_row_text(t, "token");

        if (token == NULL || !json_is_number(lp) || json_number_value(lp) > 1e-6)
            return tn_fail(
                err, TN_FORMAT,
                "the judge at %s: entry %zu of top_logprobs has no \"token\", or a \"logprob\" above 0",
                r->url, i + 1);
        int    k = option_of(q, token);
        double l = json_number_value(lp) < -700 ? -700 : json_number_value(lp);
        if (k >= 0) p[k] += tn_exp(l);
        if (l < least) least = l;
        rest -= tn_exp(l);
    }
    /* What is not listed is no likelier than the last that is, and shares what the list leaves. */
    for (int k = 0; k < q->n_option; k++) n_absent += p[k] <= 0;
    double absent = n_absent > 0 ? rest / n_absent : 0;
    if (absent > tn_exp(least)) absent = tn_exp(least);
    if (absent < ABSENT) absent = ABSENT;
    q->mass = 0;
    for (int k = 0; k < q->n_option; k++) {
        q->logprob[k] = tn_ln(p[k] > 0 ? p[k] : absent);
        q->mass += p[k];
    }
    r->n_mute += q->mass <= 0;
    return TN_OK;
}

/* Frequencies with half a vote added to each option; replies that name none count against the mass alone. */
static tn_status ask_votes(remote *r, tn_judge_ask *q, tn_error *err)
{
    int64_t count[TN_JUDGE_OPTIONS] = { 0 }, heard = 0;

    for (int64_t v = 0; v < r->votes; v++) {
        json_t       *body = body_of(r, q->messages, q->n_message, 8, 1, (uint64_t)v);
        const json_t *choice = NULL;

        if (body == NULL) return tn_fail(err, TN_NOMEM, "no memory for a request");
        tn_status status = choice_get(r, body, &choice, err);
        json_decref(body);
        TN_TRY(status);
        const char *text = tn_row_text(json_object_get(choice, "message"), "content");
        int         k = text != NULL ? option_of(q, text) : -1;
        if (k >= 0) count[k]++;
        heard += k >= 0;
    }
    q->mass = (double)heard / (double)r->votes;
    for (int k = 0; k < q->n_option; k++)
        q->logprob[k] = tn_ln(((double)count[k] + 0.5) / ((double)heard + 0.5 * q->n_option));
    r->n_mute += heard == 0;
    return TN_OK;
}

static tn_status remote_ask(void *self, tn_judge_ask *q, size_t n, tn_error *err)
{
    remote *r = self;

    for (size_t i = 0; i < n; i++) {
        TN_TRY(tn_interrupted(err));
        TN_TRY(r->votes > 0 ? ask_votes(r, &q[i], err) : ask_logprobs(r, &q[i], err));
        r->n_asked++;
        if (r->n_asked >= 8 && 2 * r->n_mute > r->n_asked)
            return tn_fail(err, TN_FORMAT,
                           "the judge at %s answers nonsense: %lld of %lld replies name none of the options "
                           "asked for (%s, %s ...). Is '%s' "
                           "a model that follows instructions?",
                           r->url, (long long)r->n_mute, (long long)r->n_asked, q[i].options[0],
                           q[i].options[1], r->name);
    }
    return TN_OK;
}

static tn_status remote_reason(void *self, tn_judge_reason *list, size_t n, int64_t max_tokens, uint64_t seed,
                               tn_error *err)
{
    remote *r = self;

    for (size_t i = 0; i < n; i++) {
        json_t *body = body_of(r, list[i].messages, list[i].n_message, max_tokens, 1, seed ^ list[i].id);
        const json_t *choice = NULL;

        if (body == NULL) return tn_fail(err, TN_NOMEM, "no memory for a request");
        tn_status status = choice_get(r, body, &choice, err);
        json_decref(body);
        TN_TRY(status);
        const char *text = tn_row_text(json_object_get(choice, "message"), "content");
        if (text == NULL)
            return tn_fail(err, TN_FORMAT, "the judge at %s: a reply without choices[0].message.content",
                           r->url);
        if ((list[i].text = tn_strdup(text)) == NULL)
            return tn_fail(err, TN_NOMEM, "no memory for reasoning");
    }
    return TN_OK;
}

static void remote_close(void *self)
{
    remote *r = self;

    if (r == NULL) return;
    if (r->journal != NULL) fclose(r->journal);
    json_decref(r->known);
    free(r->url);
    free(r->name);
    free(r->header);
    free(r);
}

tn_status tn_judge_open_remote(tn_judge *out, const tn_judge_source *source, const tn_judge_asking *o,
                               tn_error *err)
{
    tn_status   status = TN_OK;
    remote     *r;
    const char *secret = NULL;

    memset(out, 0, sizeof *out);
    if (o->url == NULL || o->url[0] == '\0' || o->name == NULL || o->name[0] == '\0')
        return tn_fail(err, TN_USAGE,
                       "a judge is needed: a model as input, or url (http://host:port/v1) and name of an "
                       "endpoint's model");
    if (strncmp(o->url, "http://", 7) != 0 && strncmp(o->url, "https://", 8) != 0)
        return tn_fail(err, TN_USAGE, "url is '%s': expected http://host:port/v1 or https://...", o->url);
    if (strchr(o->url, '@') != NULL)
        return tn_fail(err, TN_USAGE,
                       "url must not hold a user or password, as it is recorded: export the key and name the "
                       "variable with key_env");
    if (o->key_env != NULL && o->key_env[0] != '\0' && (secret = getenv(o->key_env)) == NULL)
        return tn_fail(
            err, TN_USAGE,
            "key_env is '%s', but there is no such environment variable: export the key under that name",
            o->key_env);
    if ((r = calloc(1, sizeof *r)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a judge");
    *out = (tn_judge){ .self = r, .ask = remote_ask, .reason = remote_reason, .close = remote_close };
    r->url = tn_strdup(o->url);
    r->name = tn_strdup(o->name);
    r->votes = o->votes;
    r->timeout = o->timeout;
    if (secret != NULL) r->header = tn_strf("Authorization: Bearer %s", secret);
    r->headers[0] = r->header;
    out->identity = tn_strf("endpoint %s %s", o->url, o->name);
    if (r->url == NULL || r->name == NULL || out->identity == NULL || (secret != NULL && r->header == NULL)) {
        status = tn_fail(err, TN_NOMEM, "no memory for a judge");
        goto out;
    }
    size_t n = strlen(r->url);
    while (n > 8 && r->url[n - 1] == '/') r->url[--n] = '\0';
    status = journal_open(r, source->work, err);
out:
    if (status != TN_OK) tn_judge_close(out);
    return status;
}
