/* judge_set.c - labelled comparisons, to measure a judge by.
 *
 *   = principle.id            the criterion of what follows (prompts/judge.txt)
 *   ? request                 a context: its comparisons stand and fall together
 *   1 best answer             ranks; every pair of answers with different ranks is a comparison
 *   2 ...
 *
 * or JSON Lines: {"prompt","chosen","rejected"} and optional "principle"; or hh-rlhf dialogues, whose common
 * turns are the request. */
#include "align/judge.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ANSWERS = 9, MAX_LABELLED = 200000 };

void tn_labelled_free(tn_labelled_set *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->at[i].id);
        free(s->at[i].request);
        free(s->at[i].chosen);
        free(s->at[i].rejected);
        free(s->at[i].principle);
    }
    free(s->at);
    *s = (tn_labelled_set){ 0 };
}

static tn_status add(tn_labelled_set *s, const char *path, int64_t line, const char *request,
                     const char *chosen, const char *rejected, const char *principle, tn_error *err)
{
    if (chosen[0] == '\0' || rejected[0] == '\0' || strcmp(chosen, rejected) == 0)
        return tn_fail(err, TN_FORMAT, "%s:%lld: a comparison needs two different answers that are not empty",
                       path, (long long)line);
    if (s->n >= MAX_LABELLED)
        return tn_fail(err, TN_LIMIT, "%s: more than %d comparisons", path, MAX_LABELLED);
    if ((s->n & (s->n - 1)) == 0) {
        tn_labelled *grown = realloc(s->at, (s->n == 0 ? 1 : 2 * s->n) * sizeof *grown);
        if (grown == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its comparisons", path);
        s->at = grown;
    }
    tn_labelled one = { tn_strf("judge/%zu", s->n),
                        tn_strdup(request),
                        tn_strdup(chosen),
                        tn_strdup(rejected),
                        principle != NULL ? tn_strdup(principle) : NULL,
                        tn_hash64(request, strlen(request)) };
    s->at[s->n++] = one;
    return one.id != NULL && one.request != NULL && one.chosen != NULL && one.rejected != NULL &&
                   (principle == NULL || one.principle != NULL)
               ? TN_OK
               : tn_fail(err, TN_NOMEM, "%s: no memory for its comparisons", path);
}

/* -------------------------------------------------------------------------------------------- ranked text */

typedef struct context {
    char   *principle, *request, *answers[MAX_ANSWERS];
    char    rank[MAX_ANSWERS];
    int     n;
    int64_t line;
} context;

static void context_clear(context *c)
{
    for (int i = 0; i < c->n; i++) free(c->answers[i]);
    free(c->request);
    c->request = NULL;
    c->n = 0;
}

static tn_status context_end(tn_labelled_set *s, context *c, const char *path, tn_error *err)
{
    tn_status status = TN_OK;

    if (c->request == NULL) return TN_OK;
    if (c->n < 2)
        return tn_fail(err, TN_FORMAT, "%s:%lld: this request has fewer than two ranked answers", path,
                       (long long)c->line);
    for (int i = 0; i < c->n && status == TN_OK; i++)
        for (int k = 0; k < c->n && status == TN_OK; k++)
            if (c->rank[i] < c->rank[k])
                status = add(s, path, c->line, c->request, c->answers[i], c->answers[k], c->principle, err);
    context_clear(c);
    return status;
}

static tn_status ranked_line(tn_labelled_set *s, context *c, const char *path, int64_t line, const char *text,
                             tn_error *err)
{
    char mark = text[0];

    if (mark == '\0' || mark == '#') return TN_OK;
    const char *rest = text + 1 + strspn(text + 1, " \t");
    if (rest[0] == '\0')
        return tn_fail(err, TN_FORMAT, "%s:%lld: nothing behind '%c'", path, (long long)line, mark);
    if (mark == '=') {
        TN_TRY(context_end(s, c, path, err));
        free(c->principle);
        return (c->principle = tn_strdup(rest)) != NULL ? TN_OK
                                                        : tn_fail(err, TN_NOMEM, "%s: no memory", path);
    }
    if (mark == '?') {
        TN_TRY(context_end(s, c, path, err));
        c->line = line;
        return (c->request = tn_strdup(rest)) != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory", path);
    }
    if (mark < '1' || mark > '9')
        return tn_fail(err, TN_FORMAT,
                       "%s:%lld: a line starts with one of = ? # or a rank 1 to 9 (the form is drawn at the "
                       "head of prompts/judge.txt)",
                       path, (long long)line);
    if (c->request == NULL)
        return tn_fail(err, TN_FORMAT, "%s:%lld: an answer before any request '?'", path, (long long)line);
    if (c->n == MAX_ANSWERS)
        return tn_fail(err, TN_LIMIT, "%s:%lld: more than %d answers to a request", path, (long long)line,
                       MAX_ANSWERS);
    c->rank[c->n] = mark;
    if ((c->answers[c->n] = tn_strdup(rest)) == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", path);
    c->n++;
    return TN_OK;
}

static tn_status ranked_read(tn_labelled_set *s, char *text, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    context   c = { 0 };
    int64_t   line = 0;

    for (char *p = text; *p != '\0';) {
        size_t n = strcspn(p, "\n"), end = n;
        bool   last = p[n] == '\0';

        while (end > 0 && (p[end - 1] == '\r' || p[end - 1] == ' ' || p[end - 1] == '\t')) end--;
        p[end] = '\0';
        TN_GOTO(ranked_line(s, &c, path, ++line, p, err));
        p += n + !last;
    }
    status = context_end(s, &c, path, err);
out:
    context_clear(&c);
    free(c.principle);
    return status;
}

/* --------------------------------------------------------------------------------------------- JSON Lines */

/* hh-rlhf: two dialogues "\n\nHuman: ...\n\nAssistant: ..." that part in the last answer. The request is
 * everything up to it. */
static tn_status dialogue_add(tn_labelled_set *s, const char *path, int64_t line, const char *chosen,
                              const char *rejected, const char *principle, tn_error *err)
{
    static const char mark[] = "\n\nAssistant:";
    const char       *at = NULL;
    tn_status         status;

    for (const char *p = chosen; (p = strstr(p, mark)) != NULL; p++) at = p;
    size_t n = at != NULL ? (size_t)(at - chosen) : 0;
    if (at == NULL || strncmp(rejected, chosen, n) != 0 ||
        strncmp(rejected + n, mark, sizeof mark - 1) != 0) {
        /* Dialogues may part earlier: up to where they still agree, cut at the last answer's mark there. */
        size_t same = 0;
        while (chosen[same] != '\0' && chosen[same] == rejected[same]) same++;
        at = NULL;
        for (const char *p = chosen;
             (p = strstr(p, mark)) != NULL && (size_t)(p - chosen) + sizeof mark - 1 <= same; p++)
            at = p;
        if (at == NULL)
            return tn_fail(err, TN_FORMAT,
                           "%s:%lld: chosen and rejected share no turns up to \"\\n\\nAssistant:\"", path,
                           (long long)line);
        n = (size_t)(at - chosen);
    }
    char       *request = tn_strndup(chosen, n);
    const char *a = chosen + n + sizeof mark - 1, *b = rejected + n + sizeof mark - 1;

    if (request == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its comparisons", path);
    a += strspn(a, " ");
    b += strspn(b, " ");
    const char *shown = request + strspn(request, "\n");
    /* one turn: the bare request */
    if (strncmp(shown, "Human: ", 7) == 0 && strstr(shown, mark) == NULL) shown += 7;
    /* A pair whose answers are the same or empty tells nothing: published files hold a few. */
    status = a[0] == '\0' || b[0] == '\0' || strcmp(a, b) == 0
                 ? TN_OK
                 : add(s, path, line, shown, a, b, principle, err);
    free(request);
    return status;
}

static tn_status rows_read(tn_labelled_set *s, const char *text, size_t n, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    int64_t   line = 0;
    json_t   *row = NULL;

    for (const char *p = text, *end = text + n; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t      len = nl != NULL ? (size_t)(nl - p) : (size_t)(end - p);
        char        where[300];

        snprintf(where, sizeof where, "%s:%lld", path, (long long)++line);
        if (strspn(p, " \t\r") < len) {
            TN_GOTO(tn_json_parse(&row, p, len, where, err));
            const char *request = tn_row_text(row, "prompt"), *chosen = tn_row_text(row, "chosen"),
                       *rejected = tn_row_text(row, "rejected");
            if (chosen == NULL || rejected == NULL) {
                status = tn_fail(
                    err, TN_FORMAT,
                    "%s: expected \"chosen\" and \"rejected\", with \"prompt\" or as whole dialogues", where);
                goto out;
            }
            status = request != NULL
                         ? add(s, path, line, request, chosen, rejected, tn_row_text(row, "principle"), err)
                         : dialogue_add(s, path, line, chosen, rejected, tn_row_text(row, "principle"), err);
            if (status != TN_OK) goto out;
            json_decref(row);
            row = NULL;
        }
        p += len + 1;
    }
out:
    json_decref(row);
    return status;
}

tn_status tn_labelled_read(tn_labelled_set *out, const char *path, tn_error *err)
{
    char  *text = NULL;
    size_t n = 0;

    *out = (tn_labelled_set){ 0 };
    TN_TRY(tn_file_read_all(&text, &n, path, (size_t)512 << 20, err));
    tn_status status = TN_OK;
    if (!tn_utf8_valid(text, n))
        status = tn_fail(err, TN_FORMAT, "%s: not valid UTF-8: save it as UTF-8", path);
    else if (memchr(text, '\0', n) != NULL)
        status = tn_fail(err, TN_FORMAT, "%s: holds NUL bytes: this is no text", path);
    else if (text[strspn(text, " \t\r\n")] == '{') status = rows_read(out, text, n, path, err);
    else status = ranked_read(out, text, path, err);
    free(text);
    if (status == TN_OK && out->n == 0) status = tn_fail(err, TN_FORMAT, "%s: no labelled comparisons", path);
    if (status != TN_OK) tn_labelled_free(out);
    return status;
}
