/* span.c - texts to tokens, cut where the public harness cuts.
 *
 *   context          continuation        white space at the context's end moves to the continuation
 *   "Answer:"        " yes"              whole = encode(both), head = encode(context); the context's tokens are the
 *   [ head ......... | rest .... ]       beginning that whole and head share */
#include "base/str.h"
#include "eval/prompt.h"
#include "eval/pytext.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct ids {
    int32_t *p;
    size_t   n, cap;
} ids;

static tn_status prefix_token(const tn_tokenizer *t, int32_t *out, const char *where, tn_error *err)
{
    *out = tn_tokenizer_bos(t) >= 0 ? tn_tokenizer_bos(t) : tn_tokenizer_eos(t);
    if (*out >= 0) return TN_OK;
    return tn_fail(err, TN_UNSUPPORTED,
                   "%s: the context is empty, and the tokenizer has no beginning or end token to start from",
                   where);
}

/* With what the tokenizer puts in front, but not twice: a chat format may have written it already. */
static tn_status encode(const tn_tokenizer *t, const char *text, size_t n_text, ids *out, tn_error *err)
{
    int32_t     bos = tn_tokenizer_bos(t) >= 0 ? tn_tokenizer_bos(t) : tn_tokenizer_eos(t);
    size_t      n = 0;
    const char *piece = bos >= 0 ? tn_tokenizer_piece(t, bos, &n) : NULL;
    bool        there = piece != NULL && n > 0 && n <= n_text && memcmp(text, piece, n) == 0;

    return tn_tokenize(t, text, n_text, TN_TOK_SPECIAL | (there ? 0 : TN_TOK_BOS), &out->p, &out->n,
                       &out->cap, err);
}

static tn_status span_fill(tn_span *s, const tn_tokenizer *t, const ids *whole, const ids *head,
                           const char *where, tn_error *err)
{
    int32_t first = -1;
    size_t  n = 0;

    while (n < head->n && n < whole->n && head->p[n] == whole->p[n]) n++;
    s->boundary = n < head->n;
    if (n == whole->n && n > 0) { /* all of it would be context: the last token stays to be scored */
        n--;
        s->boundary = true;
    }
    if (n == 0 && whole->n > 0 && whole->p[0] == tn_tokenizer_bos(t)) n = 1;
    if (n == 0) TN_TRY(prefix_token(t, &first, where, err));
    if ((s->tokens = malloc((whole->n + 1) * sizeof *s->tokens)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for its tokens", where);
    if (first >= 0) s->tokens[s->n++] = first;
    s->n_context = first >= 0 ? 1 : (int64_t)n;
    memcpy(s->tokens + s->n, whole->p, whole->n * sizeof *whole->p);
    s->n += (int64_t)whole->n;
    return TN_OK;
}

tn_status tn_span_make(tn_span *out, const tn_tokenizer *t, const char *context, const char *continuation,
                       int64_t n_max, const char *where, tn_error *err)
{
    size_t    n = strlen(context);
    char     *text = tn_strf("%s%s", context, continuation);
    ids       whole = { 0 }, head = { 0 };
    tn_status status = TN_OK;

    *out = (tn_span){ 0 };
    if (text == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a text", where);
    n = tn_py_end(context, n);
    TN_GOTO(encode(t, text, strlen(text), &whole, err));
    if (n > 0) TN_GOTO(encode(t, text, n, &head, err));
    TN_GOTO(span_fill(out, t, &whole, &head, where, err));
    if (out->n == out->n_context) {
        status = tn_fail(err, TN_FORMAT, "%s: a continuation has no tokens", where);
        goto out;
    }
    if (out->n - out->n_context > n_max) {
        status = tn_fail(err, TN_LIMIT,
                         "%s: a continuation has %" PRId64 " tokens, the model's context holds %" PRId64,
                         where, out->n - out->n_context, n_max);
        goto out;
    }
    int64_t over = out->n - 1 - n_max; /* the last token is only predicted, it needs no place */
    if (over > 0) {
        memmove(out->tokens, out->tokens + over, (size_t)(out->n - over) * sizeof *out->tokens);
        out->n -= over;
        out->n_context -= over;
        out->truncated = true;
    }
out:
    if (status != TN_OK) {
        free(out->tokens);
        *out = (tn_span){ 0 };
    }
    free(text);
    free(whole.p);
    free(head.p);
    return status;
}

tn_status tn_span_windows(tn_span **out, size_t *n, const tn_tokenizer *t, const char *text, int64_t n_max,
                          const char *where, tn_error *err)
{
    ids       v = { malloc(16 * sizeof *v.p), 0, 16 };
    tn_span  *list = NULL;
    tn_status status = TN_OK;

    *n = 0;
    *out = NULL;
    if (v.p == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its tokens", where);
    TN_GOTO(prefix_token(t, &v.p[v.n++], where, err));
    TN_GOTO(encode(t, text, strlen(text), &v, err));
    int64_t total = (int64_t)v.n;
    if ((list = calloc((size_t)(total / n_max) + 2, sizeof *list)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its windows", where);
        goto out;
    }
    /* v[0] is the prefix token; full windows see one token of context */
    for (int64_t done = 1; done < total;) {
        int64_t  left = total - done, p = left < n_max ? left : n_max, start = done + p - 1 - n_max;
        tn_span *s = &list[(*n)++];
        if (start < 0) start = 0;
        *s = (tn_span){ .tokens = malloc((size_t)(done + p - start) * sizeof *s->tokens),
                        .n_context = done - start,
                        .n = done + p - start };
        if (s->tokens == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for its windows", where);
            goto out;
        }
        memcpy(s->tokens, v.p + start, (size_t)s->n * sizeof *s->tokens);
        done += p;
    }
    *out = list;
    list = NULL;
out:
    for (size_t i = 0; list != NULL && i < *n; i++) free(list[i].tokens);
    free(list);
    free(v.p);
    return status;
}

tn_status tn_span_prompt(tn_span *out, const tn_tokenizer *t, const char *context, int64_t n_max,
                         const char *where, tn_error *err)
{
    ids       v = { 0 };
    tn_status status = TN_OK;

    *out = (tn_span){ 0 };
    TN_GOTO(encode(t, context, strlen(context), &v, err));
    if (v.n == 0) {
        v.p = malloc(sizeof *v.p);
        if (v.p == NULL) status = tn_fail(err, TN_NOMEM, "%s: no memory for its tokens", where);
        else TN_GOTO(prefix_token(t, &v.p[v.n++], where, err));
    }
    int64_t over = (int64_t)v.n - n_max;
    if (status == TN_OK && over > 0) memmove(v.p, v.p + over, (size_t)n_max * sizeof *v.p);
    *out = (tn_span){ .tokens = v.p,
                      .n_context = over > 0 ? n_max : (int64_t)v.n,
                      .n = over > 0 ? n_max : (int64_t)v.n,
                      .truncated = over > 0 };
    v.p = NULL;
out:
    free(v.p);
    return status;
}
