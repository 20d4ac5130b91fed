/* admit.c - which request runs next, and what it can take over from others.
 *
 * A request gets all pages that it may come to need at once, so a running stream is never interrupted for
 * memory. Full pages of a shared beginning are shared by counting; the page in which the texts part is copied
 * up to there. A request that begins like one that is still reading its prompt waits for it. Nothing of this
 * can change an answer: keys and values of a prefix have the same bits whoever computed them. */
#include "infer/run.h"

#include "base/memory.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_AHEAD = 64 }; /* requests behind a waiting one that are tried */

/* Positions of the cache; the last forced token is only predicted, never read. */
static int64_t most_tokens(const tn_engine *e, const tn_request *r)
{
    int64_t more = r->n_forced > 0 ? r->n_forced - 1 : r->sampling.max_tokens, n = r->n_prompt + more;
    return n < e->o.n_ctx ? n : e->o.n_ctx;
}

static tn_status check_request(const tn_engine *e, const tn_request *r, tn_error *err)
{
    if (r->n_prompt < 1)
        return tn_fail(err, TN_USAGE, "the prompt is empty: at least one token is needed to begin from");
    if (r->n_prompt + (r->n_forced > 0 ? r->n_forced - 1 : 0) > e->o.n_ctx)
        return tn_fail(err, TN_LIMIT,
                       "the prompt has %" PRId64 " tokens%s, but the context holds %" PRId64 ": %s",
                       r->n_prompt + r->n_forced, r->n_forced > 0 ? " with its continuation" : "", e->o.n_ctx,
                       e->o.n_ctx < e->h->n_ctx ? "shorten it, or raise --ctx"
                                                : "shorten it; the model knows no longer texts");
    if (r->n_forced == 0 && r->sampling.max_tokens > 0 && r->n_prompt == e->o.n_ctx)
        return tn_fail(err, TN_LIMIT,
                       "the prompt fills the whole context of %" PRId64 " tokens: nothing can follow it",
                       e->o.n_ctx);
    for (int64_t i = 0; i < r->n_prompt + r->n_forced; i++) {
        int32_t id = i < r->n_prompt ? r->prompt[i] : r->forced[i - r->n_prompt];
        if (id < 0 || id >= e->h->n_vocab)
            return tn_fail(err, TN_USAGE,
                           "token %" PRId32 " at position %" PRId64 " is outside the vocabulary of %" PRId64,
                           id, i, e->h->n_vocab);
    }
    /* Whole pages of what is given will be filled; those of an answer may never be. */
    int64_t given = (r->n_prompt + r->n_forced) / TN_KV_PAGE - e->pages.n_used;
    size_t  bytes = given > 0 ? (size_t)given * tn_kv_page_bytes(e->kv) : 0;
    if (!tn_memory_has(bytes))
        return tn_fail(err, TN_NOMEM,
                       "the prompt's %" PRId64
                       " tokens%s need %.2f GiB more of KV cache, and this machine has "
                       "%.2f GiB free: shorten it, or choose a smaller --kv-type (bf16, q8_0)",
                       r->n_prompt + r->n_forced, r->n_forced > 0 ? " and its continuation's" : "",
                       (double)bytes / 0x1p30, (double)tn_memory_left() / 0x1p30);
    int64_t pages = (most_tokens(e, r) + TN_KV_PAGE - 1) / TN_KV_PAGE;
    if (pages > e->pages.n)
        return tn_fail(err, TN_LIMIT,
                       "prompt and answer need %" PRId64 " tokens of KV cache, but it holds %" PRId64
                       ": lower the longest answer "
                       "or give the cache more memory",
                       most_tokens(e, r), e->pages.n * TN_KV_PAGE);
    return TN_OK;
}

/* Tokens that r shares with a sequence (both may go on differently). */
static int64_t shared(const tn_request *r, const int32_t *tokens, int64_t n)
{
    int64_t k = tn_common_prefix(r->prompt, r->n_prompt, tokens, n);

    if (k == r->n_prompt && r->n_forced > 0) k += tn_common_prefix(r->forced, r->n_forced, tokens + k, n - k);
    return k;
}

/* The longest computed beginning of r that others hold; *wait: a running stream will soon hold a longer
 * one. */
static const tn_seq *find_prefix(const tn_engine *e, const tn_request *r, int64_t *n_shared, bool *wait)
{
    const tn_seq *best = NULL;
    /* the last row of the prompt is always computed: its logits are wanted */
    int64_t limit = r->n_prompt - 1, coming = 0;

    *n_shared = 0;
    *wait = false;
    if (!e->o.prefix_reuse || e->o.hidden_layer >= 0) return NULL;
    for (int64_t i = 0; i < e->o.n_batch; i++) {
        const tn_stream *s = &e->streams[i];
        if (!s->active) continue;
        int64_t all = shared(r, s->seq.tokens, s->seq.n), now = all < s->n_done ? all : s->n_done;
        if (all > limit) all = limit;
        if (now > limit) now = limit;
        if (all > coming) coming = all;
        if (now > *n_shared) {
            *n_shared = now;
            best = &s->seq;
        }
    }
    for (int i = 0; i < TN_SEQ_KEPT; i++) {
        int64_t now = shared(r, e->kept[i].tokens, e->kept[i].n);
        if (now > limit) now = limit;
        if (now > *n_shared) {
            *n_shared = now;
            best = &e->kept[i];
        }
    }
    *wait = coming - *n_shared >= TN_KV_PAGE / 2;
    return best;
}

/* Gives the pages of the longest unused kept sequence back. */
static bool evict_one(tn_engine *e, const tn_seq *but)
{
    tn_seq *oldest = NULL;

    for (int i = 0; i < TN_SEQ_KEPT; i++) {
        tn_seq *k = &e->kept[i];
        if (k->n_page > 0 && k != but && (oldest == NULL || k->last_use < oldest->last_use)) oldest = k;
    }
    if (oldest == NULL) return false;
    tn_seq_release(oldest, &e->pages);
    return true;
}

static tn_status seq_start(tn_engine *e, tn_stream *s, const tn_seq *from, int64_t n_shared, tn_error *err)
{
    int64_t full = n_shared / TN_KV_PAGE, part = n_shared % TN_KV_PAGE,
            n_page = (s->n_total + TN_KV_PAGE - 1) / TN_KV_PAGE;
    tn_seq *q = &s->seq;

    q->cap_tokens = s->n_total + 1;
    q->tokens = malloc((size_t)q->cap_tokens * sizeof *q->tokens);
    q->pages = malloc((size_t)n_page * sizeof *q->pages);
    if (q->tokens == NULL || q->pages == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a stream of %" PRId64 " tokens", s->n_total);
    for (int64_t i = 0; i < full; i++) {
        q->pages[q->n_page++] = from->pages[i];
        tn_cache_page_hold(&e->pages, from->pages[i]);
    }
    while (q->n_page < n_page) q->pages[q->n_page++] = tn_cache_page_take(&e->pages);
    if (part > 0) tn_kv_copy_page(e->kv, q->pages[full], from->pages[full], part);
    const tn_request *r = s->request;
    memcpy(q->tokens, r->prompt, (size_t)r->n_prompt * sizeof *q->tokens);
    if (r->n_forced > 0) memcpy(q->tokens + r->n_prompt, r->forced, (size_t)r->n_forced * sizeof *q->tokens);
    q->n = r->n_prompt + r->n_forced;
    s->n_done = n_shared;
    e->n_token_reused += n_shared;
    return TN_OK;
}

static tn_status result_start(const tn_engine *e, tn_stream *s, tn_error *err)
{
    const tn_request *r = s->request;
    tn_result        *out = s->result;
    size_t            n = (size_t)(s->n_total - r->n_prompt) + 1, k = (size_t)r->sampling.n_top_logprobs;

    out->tokens = malloc(n * sizeof *out->tokens);
    out->logprobs = malloc(n * sizeof *out->logprobs);
    if (r->n_forced > 0) out->greedy = malloc(n * sizeof *out->greedy);
    if (k > 0) out->top_ids = malloc(n * k * sizeof *out->top_ids);
    if (k > 0) out->top_logprobs = malloc(n * k * sizeof *out->top_logprobs);
    if (e->o.hidden_layer >= 0) out->hidden = malloc((size_t)e->h->n_embd * sizeof *out->hidden);
    const tn_sampling *p = &r->sampling;
    bool penalties = r->n_forced == 0 && ((p->repetition_penalty > 0 && p->repetition_penalty != 1) ||
                                          p->presence_penalty != 0 || p->frequency_penalty != 0);
    if (penalties) {
        s->seen.n_generated = calloc((size_t)e->h->n_vocab, sizeof *s->seen.n_generated);
        s->seen.present = calloc((size_t)e->h->n_vocab, 1);
        for (int64_t i = 0; i < r->n_prompt && s->seen.present != NULL; i++)
            s->seen.present[r->prompt[i]] = 1;
    }
    if (out->tokens == NULL || out->logprobs == NULL || (r->n_forced > 0 && out->greedy == NULL) ||
        (k > 0 && (out->top_ids == NULL || out->top_logprobs == NULL)) ||
        (e->o.hidden_layer >= 0 && out->hidden == NULL) ||
        (penalties && (s->seen.n_generated == NULL || s->seen.present == NULL)))
        return tn_fail(err, TN_NOMEM, "no memory for an answer of %zu tokens", n);
    return TN_OK;
}

/* *taken false: no room yet, or better wait for a prefix. */
static tn_status try_request(tn_engine *e, const tn_request *r, tn_result *result, bool *taken, tn_error *err)
{
    tn_stream    *s = NULL;
    int64_t       n_shared, total = most_tokens(e, r), need;
    bool          wait;
    const tn_seq *from = find_prefix(e, r, &n_shared, &wait);

    *taken = false;
    for (int64_t i = 0; i < e->o.n_batch && s == NULL; i++)
        if (!e->streams[i].active) s = &e->streams[i];
    if (wait || s == NULL) return TN_OK;
    need = (total + TN_KV_PAGE - 1) / TN_KV_PAGE - n_shared / TN_KV_PAGE;
    while (e->pages.n_free < need) {
        if (evict_one(e, from)) continue;
        /* the last kept sequence is the prefix itself: rather compute it again than wait for ever */
        if (from == NULL || from < e->kept || from >= e->kept + TN_SEQ_KEPT) return TN_OK;
        tn_seq_release(&e->kept[from - e->kept], &e->pages);
        from = NULL;
        n_shared = 0;
        need = (total + TN_KV_PAGE - 1) / TN_KV_PAGE;
    }
    *s = (tn_stream){ .active = true, .request = r, .result = result, .n_total = total };
    if (from != NULL) ((tn_seq *)from)->last_use = ++e->clock;
    TN_TRY(result_start(e, s, err));
    TN_TRY(seq_start(e, s, from, n_shared, err));
    *taken = true;
    return TN_OK;
}

tn_status tn_admit(tn_engine *e, const tn_request *requests, tn_result *results, int64_t *pending, int64_t n,
                   int64_t *first, int64_t *n_failed, tn_error *err)
{
    int64_t n_active = 0;

    for (int64_t i = 0; i < e->o.n_batch; i++) n_active += e->streams[i].active;
    while (*first < n && pending[*first] < 0) ++*first;
    for (int64_t k = *first, tried = 0; k < n && tried < LOOK_AHEAD && n_active < e->o.n_batch; k++) {
        int64_t  i = pending[k];
        tn_error why = { 0 };
        bool     taken;
        if (i < 0) continue;
        tried++;
        tn_result *r = &results[i];
        if ((r->status = check_request(e, &requests[i], &why)) != TN_OK) {
            snprintf(r->message, sizeof r->message, "%.250s", why.msg);
            pending[k] = -1;
            ++*n_failed;
            continue;
        }
        TN_TRY(try_request(e, &requests[i], r, &taken, err));
        if (!taken) continue;
        pending[k] = -1;
        n_active++;
    }
    return TN_OK;
}
