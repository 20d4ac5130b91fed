/* http.c - one HTTP transfer by libcurl, with limits, and the requests made of it (see net.h). */
#include "net/http.h"

#include "base/log.h"
#include "base/str.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_TIMEOUT_S = 20,
    DEFAULT_TIMEOUT_S = 60,
    STALL_S = 60,
    MAX_REDIRECTS = 5,
    SHOWN_ERROR_BYTES = 300
};
static const size_t DEFAULT_MAX_BYTES = (size_t)64 << 20;

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode       curl_started;
static void           start_curl(void) { curl_started = curl_global_init(CURL_GLOBAL_DEFAULT); }

char *tn_url_shown(const char *url)
{
    const char *host = strstr(url, "://"), *end, *at = NULL;
    size_t      n;

    host = host != NULL ? host + 3 : url;
    n = strcspn(host, "?#");
    end = host + strcspn(host, "/?#");
    for (const char *p = host; p < end; p++)
        if (*p == '@') at = p;
    if (at == NULL) return tn_strf("%.*s%.*s", (int)(host - url), url, (int)n, host);
    return tn_strf("%.*s%.*s", (int)(host - url), url, (int)(host + n - at - 1), at + 1);
}

/* What the callbacks of libcurl share. */
typedef struct running {
    CURL        *curl;
    tn_transfer *t;
    tn_status    status; /* of our own callbacks; TN_OK while all is well */
    tn_error     error;
    bool         begun;
    tn_str       refused; /* first bytes of the body of an error answer */
} running;

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    running   *r = arg;
    curl_off_t length = -1;
    size_t     bytes = size * n;

    if (!r->begun) {
        curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->t->status);
        curl_easy_getinfo(r->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        r->begun = true;
        if (r->t->status <= 299 && r->t->begin != NULL)
            r->status = r->t->begin(r->t->arg, r->t->status, length, &r->error);
        if (r->status != TN_OK) return CURL_WRITEFUNC_ERROR;
    }
    if (r->t->status > 299) {
        tn_str_add_n(&r->refused, p, bytes < SHOWN_ERROR_BYTES ? bytes : SHOWN_ERROR_BYTES);
        return bytes;
    }
    r->status = r->t->write(r->t->arg, p, bytes, &r->error);
    return r->status == TN_OK ? bytes : CURL_WRITEFUNC_ERROR;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    running *r = arg;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    if (r->status == TN_OK) r->status = tn_interrupted(&r->error); /* a reason that is there already stays */
    return r->status != TN_OK;
}

/* The server's words on one line, as far as they are printable. */
static void flatten(tn_str *s)
{
    if (s->p == NULL) return;
    for (size_t i = 0; i < s->len; i++)
        if ((unsigned char)s->p[i] < 0x20 || s->p[i] == 0x7f) s->p[i] = ' ';
}

static tn_status answer_error(running *r, const char *shown, tn_error *err)
{
    long        code = r->t->status;
    const char *hint = code == 401 || code == 403 ? " (it wants a key or token, or refuses this one)"
                       : code == 429              ? " (too many requests: try again later)"
                                                  : "";

    flatten(&r->refused);
    return tn_fail(err, code == 404 || code == 410 ? TN_NOTFOUND : TN_NETWORK,
                   "%s: the server answered %ld%s%s%s", shown, code, hint, r->refused.len > 0 ? ": " : "",
                   r->refused.len > 0 ? r->refused.p : "");
}

static tn_status curl_error(CURLcode rc, const char *detail, const char *shown, tn_error *err)
{
    const char *hint = "";

    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        hint = " (no network, a wrong address, or a proxy is needed: https_proxy)";
        break;
    case CURLE_COULDNT_RESOLVE_PROXY: hint = " (the proxy of the environment: https_proxy, all_proxy)"; break;
    case CURLE_PEER_FAILED_VERIFICATION:
        hint = " (its certificate is not trusted here: SSL_CERT_FILE names your own)";
        break;
    case CURLE_PARTIAL_FILE:
        hint = " (the connection ended early: run it again, it goes on from there)";
        break;
    default: break;
    }
    return tn_fail(err, TN_NETWORK, "%s: %s%s", shown, detail[0] != '\0' ? detail : curl_easy_strerror(rc),
                   hint);
}

static tn_status add_headers(struct curl_slist **list, const tn_transfer *t, tn_error *err)
{
    struct curl_slist *more;
    const char *const *own = t->opts != NULL ? t->opts->headers : NULL;

    if (t->post != NULL) {
        if ((more = curl_slist_append(*list, "Content-Type: application/json")) == NULL) goto nomem;
        *list = more;
    }
    for (; own != NULL && *own != NULL; own++) {
        if ((more = curl_slist_append(*list, *own)) == NULL) goto nomem;
        *list = more;
    }
    return TN_OK;
nomem:
    return tn_fail(err, TN_NOMEM, "no memory for the headers of a request");
}

static void set_limits(CURL *c, const tn_transfer *t)
{
    bool   https = tn_starts_with(t->url, "https:");
    double timeout = t->opts != NULL && t->opts->timeout_s > 0 ? t->opts->timeout_s : DEFAULT_TIMEOUT_S;

    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, t->post == NULL ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    if (t->stream) {
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    } else curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(timeout * 1000));
    if (getenv("SSL_CERT_FILE") != NULL) curl_easy_setopt(c, CURLOPT_CAINFO, getenv("SSL_CERT_FILE"));
}

tn_status tn_transfer_run(tn_transfer *t, tn_error *err)
{
    struct curl_slist *headers = NULL;
    char               detail[CURL_ERROR_SIZE] = "", range[32], *shown = tn_url_shown(t->url);
    running            r = { .t = t, .refused = { .max = 4096 } };
    tn_status          status = TN_OK;
    CURLcode           rc;

    t->status = 0;
    pthread_once(&curl_once, start_curl);
    if (shown == NULL || curl_started != CURLE_OK || (r.curl = curl_easy_init()) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a request");
        goto out;
    }
    TN_GOTO(add_headers(&headers, t, err));
    curl_easy_setopt(r.curl, CURLOPT_URL, t->url);
    curl_easy_setopt(r.curl, CURLOPT_USERAGENT, "tenet");
    curl_easy_setopt(r.curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(r.curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(r.curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(r.curl, CURLOPT_WRITEDATA, &r);
    curl_easy_setopt(r.curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(r.curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(r.curl, CURLOPT_XFERINFODATA, &r);
    curl_easy_setopt(r.curl, CURLOPT_HTTPHEADER, headers);
    if (t->post != NULL) curl_easy_setopt(r.curl, CURLOPT_COPYPOSTFIELDS, t->post);
    if (t->from > 0) {
        snprintf(range, sizeof range, "%lld-", (long long)t->from);
        curl_easy_setopt(r.curl, CURLOPT_RANGE, range);
    }
    set_limits(r.curl, t);
    rc = curl_easy_perform(r.curl);
    curl_easy_getinfo(r.curl, CURLINFO_RESPONSE_CODE, &t->status);
    if (r.status != TN_OK) { /* our own callback stopped it: its reason counts */
        status = r.status;
        if (err != NULL) *err = r.error;
        goto out;
    }
    if (rc != CURLE_OK) status = curl_error(rc, detail, shown, err);
    else if (t->status > 299) status = answer_error(&r, shown, err);
    else if (!r.begun && t->begin != NULL) status = t->begin(t->arg, t->status, 0, err); /* an empty body */
out:
    tn_str_free(&r.refused);
    curl_slist_free_all(headers);
    if (r.curl != NULL) curl_easy_cleanup(r.curl);
    free(shown);
    return status;
}

/* --------------------------------------------------------------------------------------- bodies in memory */

static tn_status body_write(void *arg, const char *p, size_t n, tn_error *err)
{
    tn_str *s = arg;

    tn_str_add_n(s, p, n);
    if (s->failed)
        return tn_fail(err, TN_LIMIT, "an answer of more than %zu bytes is not taken here", s->max);
    return TN_OK;
}

static tn_status request(tn_transfer *t, char **body, size_t *n, tn_error *err)
{
    tn_str s = { .max = t->opts != NULL && t->opts->max_bytes > 0 ? t->opts->max_bytes : DEFAULT_MAX_BYTES };
    tn_status status;

    *body = NULL;
    t->write = body_write;
    t->arg = &s;
    if ((status = tn_transfer_run(t, err)) != TN_OK) goto out;
    *n = s.len;
    if ((*body = tn_str_take(&s)) == NULL) status = tn_fail(err, TN_NOMEM, "no memory for an answer");
out:
    tn_str_free(&s);
    return status;
}

tn_status tn_http_get(char **body, size_t *n, const char *url, const tn_http *opts, tn_error *err)
{
    tn_transfer t = { .url = url, .opts = opts };
    return request(&t, body, n, err);
}

static tn_status parse_answer(json_t **out, const char *url, const char *body, size_t n, tn_error *err)
{
    char     *shown = tn_url_shown(url);
    tn_status status = tn_json_parse(out, body, n, shown != NULL ? shown : "the answer", err);

    free(shown);
    return status;
}

tn_status tn_http_get_json(json_t **out, const char *url, const tn_http *opts, tn_error *err)
{
    char     *body;
    size_t    n;
    tn_status status;

    *out = NULL;
    TN_TRY(tn_http_get(&body, &n, url, opts, err));
    status = parse_answer(out, url, body, n, err);
    free(body);
    return status;
}

tn_status tn_http_post_json(json_t **out, long *http_status, const char *url, const json_t *value,
                            const tn_http *opts, tn_error *err)
{
    char       *text = tn_json_text(value), *body = NULL;
    tn_transfer t = { .url = url, .opts = opts, .post = text };
    tn_status   status;
    size_t      n;

    *out = NULL;
    if (text == NULL) return tn_fail(err, TN_NOMEM, "no memory for a request");
    status = request(&t, &body, &n, err);
    if (http_status != NULL) *http_status = t.status;
    if (status == TN_OK) status = parse_answer(out, url, body, n, err);
    free(body);
    free(text);
    return status;
}
