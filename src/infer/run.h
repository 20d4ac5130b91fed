/* run.h - the parts of one run: admitting requests, one step of all streams, ending them. Private to the
 * room. */
#ifndef TN_INFER_RUN_H
#define TN_INFER_RUN_H

#include "infer/engine_impl.h"

/* One row of logits to look at: of stream s, for the token at position pos + 1. */
typedef struct tn_job {
    tn_stream   *s;
    const float *logits;
    int64_t      pos;
    int32_t      id, best; /* chosen (or forced), and the most likely one */
    float        logprob;
} tn_job;

/* admit.c: takes requests from `pending` (indices, in order; taken ones become -1) while there are streams
 * and pages. */
tn_status tn_admit(tn_engine *e, const tn_request *requests, tn_result *results, int64_t *pending, int64_t n,
                   int64_t *first, int64_t *n_failed, tn_error *err);
/* step.c: one run of the graph over all streams and what follows from it. *n_ended: streams that came to
 * their end. */
tn_status tn_step(tn_engine *e, int64_t *n_ended, tn_error *err);
/* run.c: all requests, one after another as there is room; tn_engine_run is this plus what is known from
 * before (memo.c). */
tn_status tn_requests_run(tn_engine *e, const tn_request *requests, tn_result *results, int64_t n,
                          const char *progress, tn_error *err);
/* Frees what a stream holds; with prefix reuse its pages are kept for others. Fine on an inactive one. */
void tn_stream_end(tn_engine *e, tn_stream *s);

#endif
