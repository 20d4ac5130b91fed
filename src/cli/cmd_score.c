/* cmd_score.c - `tenet score`: log-probabilities of given continuations after their contexts, in input order.
 *
 * Tokens as the public harness makes them: white space at the context's end moves to the continuation, both
 * are tokenised together, and the continuation's tokens are those after the tokens of the context alone.
 * Where the two do not share a boundary, the longest common beginning is the context. */
#include "cli/with_model.h"

#include "base/json.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct score_config {
    tn_model_args a;
    char         *file;
} score_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    TN_MODEL_OPTIONS(score_config, a),
    { "file", TN_OPT_STR, offsetof(score_config, file), NULL, 0, 0, "", "JSON Lines with \"context\" and \"continuation\"", "f" },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

typedef struct row {
    json_t  *id;
    int32_t *tokens;
    int64_t  n_context, n;
} row;
typedef struct rows {
    row    *list;
    int64_t n, cap, n_longest;
} rows;

/* A text without a context starts from the model's beginning token, or its end token. */
static tn_status prefix_token(const tn_model *m, int32_t *out, tn_error *err)
{
    const tn_tokenizer *t = tn_model_tokenizer(m);

    *out = tn_tokenizer_bos(t) >= 0 ? tn_tokenizer_bos(t) : tn_tokenizer_eos(t);
    if (*out < 0)
        return tn_fail(err, TN_UNSUPPORTED,
                       "the context is empty, and the tokenizer has no beginning or end token to start from");
    return TN_OK;
}

static tn_status row_tokens(row *r, const tn_model *m, const char *context, const char *continuation,
                            bool special, tn_error *err)
{
    size_t    n = strlen(context);
    tn_ids    whole = { 0 }, head = { 0 };
    tn_status status = TN_OK;

    while (n > 0 && strchr(" \t\r\n\v\f", context[n - 1]) != NULL) n--;
    char *text = tn_strf("%s%s", context, continuation), *start = tn_strndup(context, n);
    if (text == NULL || start == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a text");
        goto out;
    }
    TN_GOTO(tn_cli_tokens(m, text, special, &whole, err));
    if (n > 0) {
        TN_GOTO(tn_cli_tokens(m, start, special, &head, err));
        while (r->n_context < (int64_t)head.n && r->n_context < (int64_t)whole.n &&
               head.p[r->n_context] == whole.p[r->n_context])
            r->n_context++;
    }
    int32_t prefix = -1;
    bool    has_bos = whole.n > 0 && whole.p[0] == tn_tokenizer_bos(tn_model_tokenizer(m));
    if (r->n_context == 0 && has_bos) r->n_context = 1;
    if (r->n_context == 0) TN_GOTO(prefix_token(m, &prefix, err));
    r->tokens = malloc((whole.n + 1) * sizeof *r->tokens);
    if (r->tokens == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a text");
        goto out;
    }
    if (prefix >= 0) r->tokens[r->n++] = prefix;
    if (prefix >= 0) r->n_context = 1;
    memcpy(r->tokens + r->n, whole.p, whole.n * sizeof *r->tokens);
    r->n += (int64_t)whole.n;
out:
    free(text);
    free(start);
    free(whole.p);
    free(head.p);
    return status;
}

typedef struct reader {
    rows               *b;
    const tn_model     *m;
    const score_config *c;
} reader;

static tn_status add_row(void *ctx, const json_t *o, const char *where, tn_error *err)
{
    const reader       *x = ctx;
    const score_config *c = x->c;
    rows               *b = x->b;
    const char         *context, *continuation;

    TN_TRY(tn_json_str(o, "context", &context, where, err));
    TN_TRY(tn_json_str(o, "continuation", &continuation, where, err));
    if (b->n == b->cap) {
        int64_t cap = b->cap == 0 ? 64 : 2 * b->cap;
        row    *list = realloc(b->list, (size_t)cap * sizeof *list);
        if (list == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its row", where);
        b->list = list;
        b->cap = cap;
    }
    row *r = &b->list[b->n++];
    *r = (row){ .id = json_incref(json_object_get(o, "id")) };
    TN_TRY(row_tokens(r, x->m, context, continuation, c->a.special, err));
    int64_t limit = c->a.n_ctx > 0 ? c->a.n_ctx : tn_model_hparams(x->m)->n_ctx, over = r->n - 1 - limit;
    if (r->n - r->n_context > limit)
        return tn_fail(err, TN_LIMIT,
                       "%s: the continuation has %" PRId64 " tokens, the context holds %" PRId64
                       ": shorten it",
                       where, r->n - r->n_context, limit);
    if (over > 0) { /* the beginning of a long context falls away, as in the public harness */
        memmove(r->tokens, r->tokens + over, (size_t)(r->n - over) * sizeof *r->tokens);
        r->n -= over;
        r->n_context -= over;
    }
    if (r->n > b->n_longest) b->n_longest = r->n;
    return TN_OK;
}

static tn_status score_all(tn_engine *e, const rows *b, tn_score *scores, bool quiet, tn_error *err)
{
    const int32_t **context = calloc((size_t)b->n + 1, sizeof *context),
                  **cont = calloc((size_t)b->n + 1, sizeof *cont);
    int64_t *n_context = calloc((size_t)b->n + 1, sizeof *n_context),
            *n_cont = calloc((size_t)b->n + 1, sizeof *n_cont);
    tn_status status;

    if (context == NULL || cont == NULL || n_context == NULL || n_cont == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " rows", b->n);
    } else {
        for (int64_t i = 0; i < b->n; i++) {
            const row *r = &b->list[i];
            context[i] = r->tokens;
            n_context[i] = r->n_context;
            cont[i] = r->tokens + r->n_context;
            n_cont[i] = r->n - r->n_context;
        }
        status = tn_engine_score(e, context, n_context, cont, n_cont, b->n, scores,
                                 b->n > 1 && !quiet ? "score" : NULL, err);
    }
    free(context);
    free(cont);
    free(n_context);
    free(n_cont);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const score_config *c = config;
    tn_model           *m = NULL;
    tn_engine          *e = NULL;
    rows                b = { 0 };
    tn_score           *scores = NULL;
    tn_status           status = TN_OK;

    (void)n_arg;
    (void)args;
    if (c->file == NULL) return tn_fail(err, TN_USAGE, "score: give --file IN.jsonl");
    TN_GOTO(tn_cli_model_open(&m, common, &c->a, true, err));
    TN_GOTO(tn_jsonl_each(c->file, add_row, &(reader){ &b, m, c }, err));
    TN_GOTO(tn_cli_engine(&e, m, &c->a, b.n_longest, b.n > 0 ? b.n : 1, err));
    if ((scores = calloc((size_t)b.n + 1, sizeof *scores)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " scores", b.n);
        goto out;
    }
    TN_GOTO(score_all(e, &b, scores, common->quiet, err));
    for (int64_t i = 0; i < b.n; i++) {
        if (!common->json) {
            printf("%" PRId64 "\t%.6f\t%" PRId64 "\t%s\n", i, scores[i].logprob, scores[i].n_token,
                   scores[i].greedy ? "greedy" : "-");
            continue;
        }
        json_t *o = json_pack("{s:I, s:f, s:I, s:b}", "index", (json_int_t)i, "logprob", scores[i].logprob,
                              "tokens", (json_int_t)scores[i].n_token, "greedy", (int)scores[i].greedy);
        if (o != NULL && b.list[i].id != NULL) json_object_set(o, "id", b.list[i].id);
        TN_GOTO(tn_cli_print_json(o, err));
    }
out:
    for (int64_t i = 0; i < b.n; i++) {
        json_decref(b.list[i].id);
        free(b.list[i].tokens);
    }
    free(b.list);
    free(scores);
    tn_engine_destroy(e);
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_score = {
    .name = "score",
    .line = "log-probabilities of given continuations",
    .usage = "tenet score -m MODEL --file IN.jsonl --json",
    .more = "Rows: {\"context\", \"continuation\"}. Out: the sum of the continuation's log-probabilities, "
            "its number of tokens, and\n"
            "whether each was the most likely one.",
    .options = options,
    .config_bytes = sizeof(score_config),
    .min_args = 0,
    .max_args = 0,
    .computes = true,
    .run = run,
};
