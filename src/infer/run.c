/* run.c - many requests through one engine: admit, step, collect, until all are done. */
#include "infer/run.h"

#include "base/log.h"

#include <stdlib.h>

tn_status tn_requests_run(tn_engine *e, const tn_request *requests, tn_result *results, int64_t n,
                          const char *progress, tn_error *err)
{
    int64_t     *pending = malloc((size_t)(n + 1) * sizeof *pending), first = 0, done = 0, ended, failed;
    tn_progress *bar = NULL;
    tn_status    status = TN_OK;

    if (pending == NULL) return tn_fail(err, TN_NOMEM, "no memory for the list of requests");
    for (int64_t i = 0; i < n; i++) {
        pending[i] = i;
        results[i] = (tn_result){ 0 };
    }
    e->n_token_run = e->n_token_reused = 0;
    if (progress != NULL) TN_GOTO(tn_progress_start(&bar, progress, "rows", n, err));
    while (done < n) {
        failed = 0;
        TN_GOTO(tn_interrupted(err));
        TN_GOTO(tn_admit(e, requests, results, pending, n, &first, &failed, err));
        done += failed;
        if (done == n) break;
        TN_GOTO(tn_step(e, &ended, err));
        done += ended;
        if (bar != NULL) tn_progress_set(bar, done, NULL);
    }
out:
    for (int64_t i = 0; i < e->o.n_batch; i++) tn_stream_end(e, &e->streams[i]);
    tn_progress_end(bar);
    free(pending);
    return status;
}
