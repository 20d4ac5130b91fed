/* cmd_perplexity.c - `tenet perplexity FILE`: how well a model predicts a text, in rolling windows.
 *
 *   window 0     [prefix] t[0 .. L-1)                 predicts t[0 .. L)
 *   then         the L tokens before the last one     predicts the next p = min(L, rest) tokens
 *
 * Every token is scored once; full windows see one token of context (the public harness's rule). */
#include "cli/with_model.h"

#include "base/file.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct perplexity_config {
    tn_model_args a;
} perplexity_config;

static const tn_option options[] = {
    // clang-format off
    TN_MODEL_OPTIONS(perplexity_config, a),
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};

/* Pieces of a split on runs of white space; empty ones at the ends count. */
static int64_t count_words(const char *text, size_t n)
{
    int64_t words = 1;
    bool    space = false;

    for (size_t i = 0; i < n; i++) {
        bool now = isspace((unsigned char)text[i]) != 0;
        if (now && !space) words++;
        space = now;
    }
    return words;
}

typedef struct windows {
    const int32_t **context, **cont;
    int64_t        *n_context, *n_cont;
    tn_score       *scores;
    int64_t         n;
} windows;

static tn_status make_windows(windows *w, const int32_t *t, int64_t n, int64_t length, tn_error *err)
{
    int64_t most = n / length + 2;

    /* t[0] is the prefix token, the text begins at t[1] */
    w->context = calloc((size_t)most, sizeof *w->context);
    w->cont = calloc((size_t)most, sizeof *w->cont);
    w->n_context = calloc((size_t)most, sizeof *w->n_context);
    w->n_cont = calloc((size_t)most, sizeof *w->n_cont);
    w->scores = calloc((size_t)most, sizeof *w->scores);
    if (w->context == NULL || w->cont == NULL || w->n_context == NULL || w->n_cont == NULL ||
        w->scores == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " windows", most);
    for (int64_t done = 1; done < n; w->n++) {
        int64_t p = n - done < length ? n - done : length, end = done + p, start = end - 1 - length;
        if (start < 0) start = 0;
        w->context[w->n] = t + start;
        w->n_context[w->n] = done - start;
        w->cont[w->n] = t + done;
        w->n_cont[w->n] = p;
        done = end;
    }
    return TN_OK;
}

static tn_status report(const tn_common *common, double nll, int64_t n_token, int64_t n_word, size_t n_byte,
                        tn_error *err)
{
    double ppl = exp(nll / (double)n_token), word = exp(nll / (double)n_word),
           bits = nll / (log(2) * (double)n_byte);

    if (common->json)
        return tn_cli_print_json(json_pack("{s:f, s:I, s:f, s:f, s:f, s:I, s:I}", "nll", nll, "tokens",
                                           (json_int_t)n_token, "perplexity", ppl, "word_perplexity", word,
                                           "bits_per_byte", bits, "words", (json_int_t)n_word, "bytes",
                                           (json_int_t)n_byte),
                                 err);
    printf("perplexity %.4f a token, %.4f a word; %.4f bits a byte (%" PRId64 " tokens, nll %.3f)\n", ppl,
           word, bits, n_token, nll);
    return TN_OK;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const perplexity_config *c = config;
    tn_model                *m = NULL;
    tn_engine               *e = NULL;
    char                    *text = NULL;
    size_t                   n_byte = 0;
    tn_ids                   ids = { 0 };
    windows                  w = { 0 };
    double                   nll = 0;
    tn_status                status = TN_OK;

    (void)n_arg;
    TN_GOTO(tn_cli_model_open(&m, common, &c->a, true, err));
    TN_GOTO(tn_file_read_all(&text, &n_byte, args[0], (size_t)1 << 32, err));
    const tn_tokenizer *tok = tn_model_tokenizer(m);
    if (tok == NULL || n_byte == 0) {
        status = tok == NULL ? tn_fail(err, TN_UNSUPPORTED, "%s has no tokenizer, so it cannot read text",
                                       tn_model_path(m))
                             : tn_fail(err, TN_USAGE, "%s is empty", args[0]);
        goto out;
    }
    int32_t prefix = tn_tokenizer_bos(tok) >= 0 ? tn_tokenizer_bos(tok) : tn_tokenizer_eos(tok);
    ids.cap = n_byte + 16;
    if (prefix < 0 || (ids.p = malloc(ids.cap * sizeof *ids.p)) == NULL) {
        status = prefix < 0 ? tn_fail(err, TN_UNSUPPORTED,
                                      "%s: its tokenizer has no beginning or end token to start from",
                                      tn_model_path(m))
                            : tn_fail(err, TN_NOMEM, "no memory for %zu tokens", ids.cap);
        goto out;
    }
    ids.p[ids.n++] = prefix;
    TN_GOTO(tn_tokenize(tok, text, n_byte, c->a.special ? TN_TOK_SPECIAL : 0, &ids.p, &ids.n, &ids.cap, err));
    int64_t length = c->a.n_ctx > 0 ? c->a.n_ctx : tn_model_hparams(m)->n_ctx;
    TN_GOTO(make_windows(&w, ids.p, (int64_t)ids.n, length, err));
    TN_GOTO(tn_cli_engine(&e, m, &c->a, (int64_t)ids.n, w.n > 0 ? w.n : 1, err));
    TN_GOTO(tn_engine_score(e, w.context, w.n_context, w.cont, w.n_cont, w.n, w.scores,
                            common->quiet ? NULL : "perplexity", err));
    for (int64_t i = 0; i < w.n; i++) nll -= w.scores[i].logprob;
    TN_GOTO(report(common, nll, (int64_t)ids.n - 1, count_words(text, n_byte), n_byte, err));
out:
    free(w.context);
    free(w.cont);
    free(w.n_context);
    free(w.n_cont);
    free(w.scores);
    free(ids.p);
    free(text);
    tn_engine_destroy(e);
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_perplexity = {
    .name = "perplexity",
    .line = "how well a model predicts a text",
    .usage = "tenet perplexity -m MODEL FILE [--ctx L] [--json]",
    .options = options,
    .config_bytes = sizeof(perplexity_config),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
