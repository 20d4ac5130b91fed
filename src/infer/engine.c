/* engine.c - an engine: the cache's pages, and one or two graphs over the same weights and the same cache. */
#include "infer/engine_impl.h"
#include "infer/run.h"

#include "base/memory.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* More rows at once would read the weights less often, which no longer shows, and need more memory for
 * activations. */
enum { PREFILL_ROWS = 256, SCORE_OUT_ROWS = 128 };

static tn_status lane_of_rows(tn_engine *e, tn_lane *lane, int64_t rows_max, int64_t out_max, tn_error *err)
{
    tn_net *net = &lane->net;

    lane->rows_max = rows_max;
    lane->out_max = out_max;
    TN_TRY(tn_graph_create(&lane->g, lane->rows_max, err));
    *net = (tn_net){ .g = lane->g,
                     .model = e->model,
                     .profile = tn_model_profile(e->model),
                     .lora = e->o.lora,
                     .n_lora = e->o.n_lora,
                     .kv = e->kv,
                     .kv_type = e->o.kv_type,
                     .n_page_max = e->n_page_max,
                     .n_out_max = out_max };
    TN_TRY(tn_model_build(net, err));
    lane->logits = tn_net_logits(net);
    if (e->o.hidden_layer >= 0) tn_graph_keep(lane->g, net->layer_out[e->o.hidden_layer]);
    TN_TRY(tn_graph_status(lane->g, err));
    TN_TRY(tn_graph_plan(lane->g, tn_memory_left(), NULL, err));
    lane->tokens = tn_graph_data(lane->g, net->tokens);
    lane->pos = tn_graph_data(lane->g, net->pos);
    lane->pages = tn_graph_data(lane->g, net->pages);
    lane->out_rows = tn_graph_data(lane->g, net->out_rows);
    return TN_OK;
}

/* A prompt is read with as many rows at once as there is memory for: no row's values depend on that. */
static tn_status make_lane(tn_engine *e, tn_lane *lane, int64_t out_max, tn_error *err)
{
    int64_t   least = e->o.n_batch, rows = e->o.n_prefill > least ? e->o.n_prefill : least;
    tn_status status;

    while ((status = lane_of_rows(e, lane, rows, out_max, err)) == TN_NOMEM && rows > least) {
        tn_graph_destroy(lane->g);
        *lane = (tn_lane){ 0 };
        rows = rows / 2 > least ? rows / 2 : least;
    }
    return status;
}

tn_status tn_engine_lane(tn_engine *e, bool scoring, tn_lane **out, tn_error *err)
{
    tn_lane *lane = &e->lanes[scoring];

    *out = lane;
    if (lane->g != NULL) return TN_OK;
    int64_t out_max = !scoring ? e->o.n_batch : e->o.n_batch > SCORE_OUT_ROWS ? e->o.n_batch : SCORE_OUT_ROWS;
    tn_status s = make_lane(e, lane, out_max, err);
    if (s != TN_OK) {
        tn_graph_destroy(lane->g);
        *lane = (tn_lane){ 0 };
        return s;
    }
    tn_job *jobs = realloc(e->jobs, (size_t)out_max * sizeof *jobs);
    if (jobs == NULL) return tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " rows of logits", out_max);
    e->jobs = jobs;
    return TN_OK;
}

static tn_status make_cache(tn_engine *e, tn_error *err)
{
    const tn_hparams *h = e->h;
    int64_t           d_v = h->d_value > 0 ? h->d_value : h->d_head, n = e->o.n_batch * e->n_page_max;

    if (e->o.kv_bytes > 0) {
        tn_kv *one;
        TN_TRY(tn_kv_create(&one, h->n_layer, h->n_head_kv, h->d_head, d_v, 1, e->o.kv_type, err));
        n = (int64_t)(e->o.kv_bytes / tn_kv_page_bytes(one));
        tn_kv_destroy(one);
        if (n < 1)
            return tn_fail(err, TN_USAGE, "a KV cache of %zu bytes holds not even one page of %d positions",
                           e->o.kv_bytes, TN_KV_PAGE);
    }
    TN_TRY(tn_kv_create(&e->kv, h->n_layer, h->n_head_kv, h->d_head, d_v, n, e->o.kv_type, err));
    return tn_pages_init(&e->pages, n, err);
}

tn_status tn_engine_create(tn_engine **out, tn_model *m, const tn_engine_options *o, tn_error *err)
{
    tn_engine *e = calloc(1, sizeof *e);
    tn_lane   *lane;
    tn_status  status = TN_OK;

    *out = NULL;
    if (e == NULL) return tn_fail(err, TN_NOMEM, "no memory for an engine");
    e->model = m;
    e->h = tn_model_hparams(m);
    if (o != NULL) e->o = *o;
    else e->o.hidden_layer = -1;
    if (e->o.n_batch < 1) e->o.n_batch = 1;
    if (e->o.n_ctx < 1) e->o.n_ctx = e->h->n_ctx;
    if (e->o.n_prefill < 1) e->o.n_prefill = PREFILL_ROWS;
    if (e->o.n_prefill > e->o.n_ctx) e->o.n_prefill = e->o.n_ctx;
    if (e->o.n_ctx > e->h->n_ctx) {
        status = tn_fail(err, TN_USAGE,
                         "a context of %" PRId64 " tokens is asked for, but the model knows %" PRId64
                         ": lower it",
                         e->o.n_ctx, e->h->n_ctx);
        goto out;
    }
    if (e->o.hidden_layer >= e->h->n_layer) {
        status = tn_fail(err, TN_USAGE, "layer %d is asked for, but the model has layers 0 to %" PRId64,
                         e->o.hidden_layer, e->h->n_layer - 1);
        goto out;
    }
    e->n_page_max = (e->o.n_ctx + TN_KV_PAGE - 1) / TN_KV_PAGE;
    TN_GOTO(make_cache(e, err));
    e->streams = calloc((size_t)e->o.n_batch, sizeof *e->streams);
    e->work = malloc((size_t)(e->o.n_batch * 2 * e->h->n_vocab) * sizeof *e->work);
    e->work_ids = malloc((size_t)(e->o.n_batch * e->h->n_vocab) * sizeof *e->work_ids);
    if (e->streams == NULL || e->work == NULL || e->work_ids == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " streams", e->o.n_batch);
        goto out;
    }
    TN_GOTO(tn_engine_lane(e, false, &lane, err));
    *out = e;
    e = NULL;
out:
    tn_engine_destroy(e);
    return status;
}

void tn_engine_destroy(tn_engine *e)
{
    if (e == NULL) return;
    for (int64_t i = 0; e->streams != NULL && i < e->o.n_batch; i++) tn_stream_end(e, &e->streams[i]);
    for (int i = 0; i < TN_SEQ_KEPT; i++) tn_seq_release(&e->kept[i], &e->pages);
    for (int i = 0; i < 2; i++) tn_graph_destroy(e->lanes[i].g);
    tn_kv_destroy(e->kv);
    tn_pages_free(&e->pages);
    free(e->streams);
    free(e->work);
    free(e->work_ids);
    free(e->jobs);
    free(e);
}

void tn_engine_rows(const tn_engine *e, int64_t *n_computed, int64_t *n_reused)
{
    *n_computed = e->n_token_run;
    *n_reused = e->n_token_reused;
}

void tn_result_free(tn_result *r)
{
    if (r == NULL) return;
    free(r->tokens);
    free(r->logprobs);
    free(r->greedy);
    free(r->top_ids);
    free(r->top_logprobs);
    free(r->text);
    free(r->hidden);
    *r = (tn_result){ 0 };
}
