/* score.c - log-probabilities of given continuations, and the logits of every position of a sequence. */
#include "infer/engine_impl.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

tn_status tn_engine_score(tn_engine *e, const int32_t *const *context, const int64_t *n_context,
                          const int32_t *const *cont, const int64_t *n_cont, int64_t n, tn_score *out,
                          const char *progress, tn_error *err)
{
    tn_request *requests = calloc((size_t)n + 1, sizeof *requests);
    tn_result  *results = calloc((size_t)n + 1, sizeof *results);
    tn_status   status = TN_OK;

    if (requests == NULL || results == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to score %" PRId64 " continuations", n);
        goto out;
    }
    for (int64_t i = 0; i < n; i++)
        requests[i] = (tn_request){ .prompt = context[i],
                                    .n_prompt = n_context[i],
                                    .forced = cont[i],
                                    .n_forced = n_cont[i],
                                    /* an empty continuation ends at once */
                                    .sampling = { .max_tokens = 0 } };
    TN_GOTO(tn_engine_run(e, requests, results, n, progress, err));
    for (int64_t i = 0; i < n; i++) {
        if (results[i].status != TN_OK) {
            status = tn_fail(err, results[i].status, "continuation %" PRId64 ": %s", i, results[i].message);
            goto out;
        }
        out[i] = (tn_score){ .n_token = results[i].n, .greedy = true };
        for (int64_t t = 0; t < results[i].n; t++) {
            out[i].logprob += (double)results[i].logprobs[t];
            out[i].greedy = out[i].greedy && results[i].greedy[t];
        }
    }
out:
    for (int64_t i = 0; i < n && results != NULL; i++) tn_result_free(&results[i]);
    free(requests);
    free(results);
    return status;
}

tn_status tn_logits(float **out, tn_model *m, const int32_t *tokens, int64_t n, tn_error *err)
{
    const tn_hparams *h = tn_model_hparams(m);
    tn_graph         *g = NULL;
    tn_net            net = { .model = m, .profile = tn_model_profile(m) };
    tn_value          logits;
    tn_status         status = TN_OK;

    *out = NULL;
    if (n < 1 || n > h->n_ctx)
        return tn_fail(err, TN_LIMIT, "%" PRId64 " tokens are given; 1 to %" PRId64 " fit the context", n,
                       h->n_ctx);
    for (int64_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= h->n_vocab)
            return tn_fail(err, TN_USAGE,
                           "token %" PRId32 " at position %" PRId64 " is outside the vocabulary of %" PRId64,
                           tokens[i], i, h->n_vocab);
    TN_GOTO(tn_graph_create(&g, n, err));
    net.g = g;
    TN_GOTO(tn_model_build(&net, err));
    logits = tn_net_logits(&net);
    TN_GOTO(tn_graph_status(g, err));
    TN_GOTO(tn_graph_plan(g, tn_memory_left(), NULL, err));
    int32_t *in = tn_graph_data(g, net.tokens), *pos = tn_graph_data(g, net.pos),
            *start = tn_graph_data(g, net.doc_start);
    for (int64_t i = 0; i < n; i++) {
        in[i] = tokens[i];
        pos[i] = (int32_t)i;
        start[i] = 0;
    }
    TN_GOTO(tn_graph_forward(g, n, err));
    size_t bytes = (size_t)(n * h->n_vocab) * sizeof(float);
    if ((*out = malloc(bytes)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " rows of %" PRId64 " logits", n,
                         h->n_vocab);
        goto out;
    }
    memcpy(*out, tn_graph_data(g, logits), bytes);
out:
    tn_graph_destroy(g);
    return status;
}
