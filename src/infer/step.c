/* step.c - one run of the graph: every stream that writes gives one row, the others fill the rest with their
 * prompts.
 *
 *   rows   [stream 0: 1][stream 2: 1][stream 1: a piece of its prompt ...]      in a stream's order of positions
 *   outs   the rows whose logits somebody wants                                 ≤ the lane's out_max
 *
 * Which rows share a run depends on the moment; no row's values do. */
#include "infer/run.h"

#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows to compute before the next token can be chosen (or all have been scored). */
static int64_t rows_left(const tn_stream *s)
{
    int64_t last = s->request->n_forced > 0 ? s->seq.n - 1 : s->seq.n;
    return last - s->n_done;
}

static bool wants_logits(const tn_stream *s, int64_t pos)
{
    return s->request->n_forced > 0 ? pos >= s->request->n_prompt - 1 : pos == s->seq.n - 1;
}

static void place(const tn_engine *e, tn_lane *lane, tn_stream *s, int64_t *row, int64_t *out)
{
    int64_t n = rows_left(s);

    s->first_row = *row;
    s->first_out = *out;
    s->n_row = s->n_out = 0;
    for (int64_t i = 0; i < n && *row < lane->rows_max; i++) {
        int64_t pos = s->n_done + i;
        bool    wanted = wants_logits(s, pos);
        if (wanted && *out == lane->out_max) break;
        lane->tokens[*row] = s->seq.tokens[pos];
        lane->pos[*row] = (int32_t)pos;
        int32_t *pages = lane->pages + *row * e->n_page_max;
        memcpy(pages, s->seq.pages, (size_t)s->seq.n_page * sizeof *pages);
        memset(pages + s->seq.n_page, 0, (size_t)(e->n_page_max - s->seq.n_page) * sizeof *pages);
        if (wanted) {
            lane->out_rows[*out] = (int32_t)*row;
            e->jobs[*out] = (tn_job){ .s = s, .pos = pos };
            ++*out;
            s->n_out++;
        }
        ++*row;
        s->n_row++;
    }
}

typedef struct look {
    tn_engine *e;
} look;

/* Chooses or scores the token after each row that has logits. */
static void look_at(void *arg, int64_t begin, int64_t end, int i_thread)
{
    tn_engine *e = ((look *)arg)->e;

    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        tn_job           *j = &e->jobs[i];
        const tn_request *r = j->s->request;
        int64_t n_vocab = e->h->n_vocab, i_stream = j->s - e->streams, i_token = j->pos + 1 - r->n_prompt;
        if (r->n_forced > 0) {
            j->best = tn_argmax(j->logits, n_vocab);
            j->id = r->forced[i_token];
        } else {
            j->id = tn_sample(j->logits, n_vocab, &r->sampling, &j->s->seen, r->sample_id, i_token,
                              e->work + i_stream * 2 * n_vocab, e->work_ids + i_stream * n_vocab);
        }
        float lse = tn_logits_lse(j->logits, n_vocab);
        j->logprob = j->logits[j->id] - lse;
        int k = r->sampling.n_top_logprobs;
        if (k > 0 && k <= n_vocab) {
            int32_t *ids = j->s->result->top_ids + i_token * k;
            tn_top_k(j->logits, n_vocab, k, ids);
            for (int t = 0; t < k; t++) j->s->result->top_logprobs[i_token * k + t] = j->logits[ids[t]] - lse;
        }
    }
}

static void give_text(tn_stream *s, int32_t id, float logprob, bool last)
{
    const tn_request *r = s->request;

    if (r->on_token == NULL) return;
    size_t n = tn_text_ready(&s->text, &r->sampling, last);
    if (!r->on_token(r->arg, id, logprob, s->text.p != NULL ? s->text.p + s->text.sent : "", n))
        s->cancelled = true;
    s->text.sent += n;
}

static void finish(tn_stream *s, const char *reason)
{
    s->done = true;
    snprintf(s->result->stop_reason, sizeof s->result->stop_reason, "%s", reason);
}

/* A new token of a stream that writes. */
static tn_status write_token(tn_engine *e, tn_stream *s, const tn_job *j, tn_error *err)
{
    const tn_request   *r = s->request;
    const tn_tokenizer *tok = tn_model_tokenizer(e->model);
    tn_result          *out = s->result;
    const char         *reason = NULL;
    bool                stopped, eos = tn_model_is_stop(e->model, j->id) && !r->sampling.ignore_eos;

    if (r->sampling.max_tokens <= 0) {
        finish(s, "length");
        return TN_OK;
    }
    s->seq.tokens[s->seq.n++] = j->id;
    out->tokens[out->n] = j->id;
    out->logprobs[out->n++] = j->logprob;
    if (s->seen.n_generated != NULL) {
        s->seen.n_generated[j->id]++;
        s->seen.present[j->id] = 1;
    }
    TN_TRY(tn_text_push(&s->text, tok, j->id, &r->sampling, &stopped, err));
    if (stopped) reason = "stop";
    else if (eos) reason = "eos";
    else if (out->n >= r->sampling.max_tokens) reason = "length";
    else if (s->seq.n >= e->o.n_ctx) reason = "context";
    if (reason != NULL && !stopped) {
        bool again;
        TN_TRY(tn_text_push(&s->text, tok, -1, &r->sampling, &again, err));
    }
    give_text(s, j->id, j->logprob, reason != NULL);
    if (reason == NULL && s->cancelled) reason = "interrupted";
    if (reason != NULL) finish(s, reason);
    return TN_OK;
}

static void score_token(tn_stream *s, const tn_job *j)
{
    tn_result *out = s->result;

    out->tokens[out->n] = j->id;
    out->greedy[out->n] = j->best == j->id;
    out->logprobs[out->n++] = j->logprob;
    if (out->n == s->request->n_forced) finish(s, "scored");
}

/* A row whose logits are no numbers has no best token: 0 would be chosen for ever, and counted as an
 * answer. */
static bool no_number(tn_stream *s, const tn_job *j)
{
    if (isfinite(j->logprob)) return false;
    s->result->status = TN_FORMAT;
    snprintf(s->result->message, sizeof s->result->message,
             "the logits after token %lld are no finite numbers: the weights are damaged, or "
             "too large for their type (compare their digest with the source; tenet inspect prints it)",
             (long long)j->pos + 1);
    finish(s, "failed");
    return true;
}

static tn_status after_run(tn_engine *e, tn_lane *lane, tn_stream *s, tn_error *err)
{
    int64_t at = s->request->n_prompt - 1;

    if (s->n_row == 0) return TN_OK;
    if (e->o.hidden_layer >= 0 && at >= s->n_done && at < s->n_done + s->n_row) {
        const float *x = tn_graph_data(lane->g, lane->net.layer_out[e->o.hidden_layer]);
        memcpy(s->result->hidden, x + (s->first_row + at - s->n_done) * e->h->n_embd,
               (size_t)e->h->n_embd * sizeof *x);
    }
    s->n_done += s->n_row;
    for (int64_t i = s->first_out; i < s->first_out + s->n_out && !s->done; i++) {
        if (no_number(s, &e->jobs[i])) break;
        if (s->request->n_forced > 0) score_token(s, &e->jobs[i]);
        else TN_TRY(write_token(e, s, &e->jobs[i], err));
    }
    return TN_OK;
}

tn_status tn_step(tn_engine *e, int64_t *n_ended, tn_error *err)
{
    bool     scoring = false;
    int64_t  rows = 0, outs = 0;
    tn_lane *lane;

    for (int64_t i = 0; i < e->o.n_batch; i++)
        scoring |= e->streams[i].active && e->streams[i].request->n_forced > 0;
    TN_TRY(tn_engine_lane(e, scoring, &lane, err));
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < e->o.n_batch; i++) {
            tn_stream *s = &e->streams[i];
            if (s->active && (rows_left(s) == 1) == (pass == 0)) place(e, lane, s, &rows, &outs);
        }
    /* nobody's logits are wanted yet: the head sees one row for nothing */
    if (outs == 0) lane->out_rows[0] = 0;
    tn_graph_set_out_rows(lane->g, outs > 0 ? outs : 1);
    TN_TRY(tn_graph_forward(lane->g, rows, err));
    e->n_token_run += rows;
    const float *logits = tn_graph_data(lane->g, lane->logits);
    for (int64_t i = 0; i < outs; i++) e->jobs[i].logits = logits + i * e->h->n_vocab;
    tn_parallel(outs, 1, look_at, &(look){ e });

    *n_ended = 0;
    for (int64_t i = 0; i < e->o.n_batch; i++) {
        tn_stream *s = &e->streams[i];
        if (!s->active) continue;
        TN_TRY(after_run(e, lane, s, err));
        if (!s->done) continue;
        s->result->text = s->text.p;
        s->text.p = NULL;
        if (s->result->text == NULL && (s->result->text = calloc(1, 1)) == NULL)
            return tn_fail(err, TN_NOMEM, "no memory for an answer");
        if (s->request->on_done != NULL && s->result->status == TN_OK)
            s->request->on_done(s->request->done_arg, s->result);
        tn_stream_end(e, s);
        ++*n_ended;
    }
    return TN_OK;
}

/* Keeps the pages of an ended stream for requests that begin alike; the longest unused sequence makes
 * room. */
static void keep(tn_engine *e, tn_stream *s)
{
    tn_seq *slot = &e->kept[0];

    for (int i = 0; i < TN_SEQ_KEPT; i++)
        if (e->kept[i].last_use < slot->last_use) slot = &e->kept[i];
    tn_seq_release(slot, &e->pages);
    int64_t used = (s->n_done + TN_KV_PAGE - 1) / TN_KV_PAGE;
    while (s->seq.n_page > used) tn_cache_page_drop(&e->pages, s->seq.pages[--s->seq.n_page]);
    *slot = s->seq;
    slot->n = s->n_done;
    slot->last_use = ++e->clock;
    s->seq = (tn_seq){ 0 };
}

void tn_stream_end(tn_engine *e, tn_stream *s)
{
    if (!s->active) return;
    if (e->o.prefix_reuse && s->done) keep(e, s);
    else tn_seq_release(&s->seq, &e->pages);
    free(s->text.p);
    free(s->seen.n_generated);
    free(s->seen.present);
    *s = (tn_stream){ 0 };
}
