/* judge.c - a local model as the judge, and comparisons by any judge.
 *
 *   pair + criterion ── question (A first) ──→ lA - lB = d0  ┐
 *                    └─ question (B first) ──→ lA - lB = d1  ┴──→ z = (d0 - d1) / 2, turned round if the criterion asks for worse
 *
 * Whatever a judge adds to a slot is in d0 and in d1 alike and falls out of z. With reasoning, the options'
 * probabilities are averaged over the pieces of reasoning first. A model without a chat format is asked in
 * plain text. */
#include "align/judge.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 }; /* questions of one engine run: bounds memory, never a result */

typedef struct local {
    tn_align_engine a;
    const tn_chat  *chat;
} local;

/* Ids of the messages with the judge's turn open, and of the stub with one option behind. */
static tn_status context_ids(const local *l, const tn_message *m, size_t n, int32_t **ids, size_t *n_id,
                             tn_error *err)
{
    size_t cap = 0;

    *ids = NULL;
    *n_id = 0;
    if (l->chat != NULL)
        return tn_chat_render(tn_model_tokenizer(l->a.model), l->chat, m, n, TN_TURN_ANSWERED, ids, NULL,
                              n_id, &cap, err);
    tn_str s = { 0 };
    for (size_t i = 0; i < n; i++) tn_str_addf(&s, "%s\n\n", m[i].content);
    tn_status status = tn_str_check(&s, err);
    if (status == TN_OK)
        status = tn_tokenize(tn_model_tokenizer(l->a.model), s.p, s.len, TN_TOK_BOS, ids, n_id, &cap, err);
    tn_str_free(&s);
    return status;
}

typedef struct option_ids {
    int32_t *ids;
    size_t   n;
} option_ids;

/* Stub and option are cut into tokens together: an option alone may be cut differently. What all of them
 * share belongs to the context. */
static tn_status options_tokenize(const local *l, const char *const *options, int n, option_ids *o,
                                  size_t *shared, tn_error *err)
{
    tn_status status = TN_OK;

    for (int i = 0; i < n && status == TN_OK; i++) {
        char  *text = tn_strf("%s %s", tn_judge_stub, options[i]);
        size_t cap = 0;

        if (text == NULL) return tn_fail(err, TN_NOMEM, "no memory for an option");
        status = tn_tokenize(tn_model_tokenizer(l->a.model), text, strlen(text), 0, &o[i].ids, &o[i].n, &cap,
                             err);
        free(text);
    }
    if (status != TN_OK) return status;
    *shared = o[0].n;
    for (int i = 1; i < n; i++) {
        size_t k = 0;
        while (k < *shared && k < o[i].n && o[i].ids[k] == o[0].ids[k]) k++;
        *shared = k;
    }
    for (int i = 0; i < n; i++)
        if (*shared == o[i].n) *shared = o[i].n - 1; /* one option is the beginning of another */
    return TN_OK;
}

static bool is_prefix(const option_ids *a, const option_ids *b)
{
    return a->n < b->n && memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0;
}

/* "1" is also the beginning of "10": what goes on to the longer option is not a vote for the shorter one. */
static void options_settle(tn_judge_ask *q, const option_ids *o)
{
    double p[TN_JUDGE_OPTIONS];

    q->mass = 0;
    for (int i = 0; i < q->n_option; i++) {
        p[i] = tn_exp(q->logprob[i]);
        for (int k = 0; k < q->n_option; k++)
            if (is_prefix(&o[i], &o[k])) p[i] -= tn_exp(q->logprob[k]);
        if (p[i] < 0) p[i] = 0;
    }
    for (int i = 0; i < q->n_option; i++) {
        bool longer_exists = false;
        for (int k = 0; k < q->n_option; k++) longer_exists = longer_exists || is_prefix(&o[i], &o[k]);
        if (longer_exists) q->logprob[i] = p[i] > 0 ? tn_ln(p[i]) : -1e4;
        q->mass += p[i];
    }
}

static tn_status ask_chunk(local *l, tn_judge_ask *q, size_t n, const option_ids *o, size_t shared,
                           tn_error *err)
{
    tn_status   status = TN_OK;
    int         per = q[0].n_option;
    tn_request *req = calloc(n * (size_t)per, sizeof *req);
    tn_result  *res = calloc(n * (size_t)per, sizeof *res);
    int32_t   **ids = calloc(n, sizeof *ids);

    if (req == NULL || res == NULL || ids == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu questions", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        size_t n_id = 0;

        TN_GOTO(context_ids(l, q[i].messages, q[i].n_message, &ids[i], &n_id, err));
        int32_t *grown = realloc(ids[i], (n_id + shared + 1) * sizeof *grown);
        if (grown == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a question");
            goto out;
        }
        ids[i] = grown;
        memcpy(grown + n_id, o[0].ids, shared * sizeof *grown);
        for (int k = 0; k < per; k++)
            req[i * (size_t)per + (size_t)k] = (tn_request){ .prompt = ids[i],
                                                             .n_prompt = (int64_t)(n_id + shared),
                                                             .forced = o[k].ids + shared,
                                                             .n_forced = (int64_t)(o[k].n - shared),
                                                             .sampling = { .max_tokens = 0 } };
    }
    TN_GOTO(tn_engine_run(l->a.engine, req, res, (int64_t)n * per, NULL, err));
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < per && q[i].failed == NULL; k++) {
            const tn_result *r = &res[i * (size_t)per + (size_t)k];
            if (r->status == TN_OK) q[i].logprob[k] = tn_align_logprob_sum(r);
            else if ((q[i].failed = tn_strdup(r->message)) == NULL) {
                status = tn_fail(err, TN_NOMEM, "no memory for a message");
                goto out;
            }
        }
        if (q[i].failed == NULL) options_settle(&q[i], o);
    }
out:
    for (size_t i = 0; res != NULL && i < n * (size_t)per; i++) tn_result_free(&res[i]);
    for (size_t i = 0; ids != NULL && i < n; i++) free(ids[i]);
    free(ids);
    free(res);
    free(req);
    return status;
}

static tn_status local_ask(void *self, tn_judge_ask *q, size_t n, tn_error *err)
{
    tn_status  status;
    option_ids o[TN_JUDGE_OPTIONS] = { { 0 } };
    size_t     shared = 0;

    TN_GOTO(options_tokenize(self, q[0].options, q[0].n_option, o, &shared, err));
    status = ask_chunk(self, q, n, o, shared, err);
out:
    for (int i = 0; i < TN_JUDGE_OPTIONS; i++) free(o[i].ids);
    return status;
}

static tn_status local_reason(void *self, tn_judge_reason *r, size_t n, int64_t max_tokens, uint64_t seed,
                              tn_error *err)
{
    local      *l = self;
    tn_status   status = TN_OK;
    tn_request *req = calloc(n, sizeof *req);
    tn_result  *res = calloc(n, sizeof *res);
    int32_t   **ids = calloc(n, sizeof *ids);
    tn_sampling s = tn_sampling_default();

    s.max_tokens = max_tokens;
    s.temperature = 1;
    s.seed = seed;
    if (req == NULL || res == NULL || ids == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu pieces of reasoning", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        size_t n_id = 0;
        TN_GOTO(context_ids(l, r[i].messages, r[i].n_message, &ids[i], &n_id, err));
        req[i] = (tn_request){
            .prompt = ids[i], .n_prompt = (int64_t)n_id, .sampling = s, .sample_id = r[i].id
        };
    }
    TN_GOTO(tn_engine_run(l->a.engine, req, res, (int64_t)n, NULL, err));
    for (size_t i = 0; i < n; i++) {
        if (res[i].status != TN_OK) {
            status = tn_fail(err, res[i].status, "reasoning of the judge: %s", res[i].message);
            goto out;
        }
        if ((r[i].text = tn_strdup(res[i].text)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for reasoning");
            goto out;
        }
    }
out:
    for (size_t i = 0; res != NULL && i < n; i++) tn_result_free(&res[i]);
    for (size_t i = 0; ids != NULL && i < n; i++) free(ids[i]);
    free(ids);
    free(res);
    free(req);
    return status;
}

static void local_close(void *self)
{
    local *l = self;

    if (l != NULL) tn_align_engine_close(&l->a);
    free(l);
}

tn_status tn_judge_open(tn_judge *out, const tn_judge_source *source, const tn_judge_asking *o, tn_error *err)
{
    tn_status status = TN_OK;
    local    *l;
    tn_digest d;

    memset(out, 0, sizeof *out);
    if (source->model == NULL) return tn_judge_open_remote(out, source, o, err);
    if ((l = calloc(1, sizeof *l)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a judge");
    *out = (tn_judge){ .self = l, .ask = local_ask, .reason = local_reason, .close = local_close };
    TN_GOTO(
        tn_align_engine_open(&l->a, source->model, NULL, source->profile, o->batch, NULL, source->memo, err));
    if (tn_model_chat(l->a.model, &l->chat, NULL) != TN_OK) l->chat = NULL;
    TN_GOTO(tn_model_digest(l->a.model, &d, err));
    char *text = tn_digest_text(&d);
    out->identity = text != NULL ? tn_strf("model %s", text) : NULL;
    free(text);
    if (out->identity == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a judge");
out:
    if (status != TN_OK) tn_judge_close(out);
    return status;
}

void tn_judge_close(tn_judge *j)
{
    if (j->close != NULL) j->close(j->self);
    free(j->identity);
    memset(j, 0, sizeof *j);
}

/* -------------------------------------------------------------------------------------------- comparisons */

/* Questions of one chunk: for pair i and order k at [2 i + k]. */
typedef struct chunk {
    char        *question[2 * CHUNK];
    tn_message   first[2 * CHUNK], three[2 * CHUNK][3];
    tn_judge_ask ask[2 * CHUNK];
} chunk;

static tn_status questions_make(chunk *k, const tn_comparison *c, size_t n, bool reasoning, tn_error *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t order = 0; order < 2; order++) {
            size_t at = 2 * i + order;

            k->question[at] = tn_judge_question(c[i].criterion, c[i].request,
                                                order == 0 ? c[i].first : c[i].second,
                                                order == 0 ? c[i].second : c[i].first, reasoning);
            if (k->question[at] == NULL) return tn_fail(err, TN_NOMEM, "no memory for a question");
            k->first[at] = (tn_message){ "user", k->question[at] };
            k->ask[at] = (tn_judge_ask){
                .messages = &k->first[at], .n_message = 1, .options = tn_judge_letters, .n_option = 2
            };
        }
    return TN_OK;
}

/* One piece of reasoning for every question, then the letters after it; probabilities add up in p. */
static tn_status reasoned_ask(tn_judge *j, const tn_judge_asking *o, chunk *k, const tn_comparison *c,
                              size_t n, int64_t round, double (*p)[2], tn_error *err)
{
    tn_status        status = TN_OK;
    tn_judge_reason *r = calloc(2 * n, sizeof *r);

    if (r == NULL) return tn_fail(err, TN_NOMEM, "no memory for reasoning");
    for (size_t at = 0; at < 2 * n; at++) {
        char what[48];
        snprintf(what, sizeof what, "reason/%zu/%lld", at % 2, (long long)round);
        r[at] = (tn_judge_reason){ .messages = &k->first[at],
                                   .n_message = 1,
                                   .id = tn_align_sample_id(c[at / 2].id, what) };
    }
    TN_GOTO(j->reason(j->self, r, 2 * n, o->reasoning, (uint64_t)o->seed, err));
    for (size_t at = 0; at < 2 * n; at++) {
        k->three[at][0] = k->first[at];
        k->three[at][1] = (tn_message){ "assistant", r[at].text };
        k->three[at][2] = (tn_message){ "user", tn_judge_decide };
        free(k->ask[at].failed);
        k->ask[at] = (tn_judge_ask){
            .messages = k->three[at], .n_message = 3, .options = tn_judge_letters, .n_option = 2
        };
    }
    TN_GOTO(j->ask(j->self, k->ask, 2 * n, err));
    for (size_t at = 0; at < 2 * n; at++)
        for (int x = 0; x < 2; x++) p[at][x] += tn_exp(k->ask[at].logprob[x]) / (double)o->reasonings;
out:
    for (size_t at = 0; at < 2 * n; at++) free(r[at].text);
    free(r);
    return status;
}

static tn_status chunk_compare(tn_judge *j, const tn_judge_asking *o, chunk *k, tn_comparison *c, size_t n,
                               tn_error *err)
{
    tn_status status = TN_OK;
    double    p[2 * CHUNK][2] = { { 0 } };

    TN_TRY(questions_make(k, c, n, o->reasoning > 0, err));
    if (o->reasoning <= 0) TN_GOTO(j->ask(j->self, k->ask, 2 * n, err));
    for (int64_t round = 0; o->reasoning > 0 && round < o->reasonings; round++)
        TN_GOTO(reasoned_ask(j, o, k, c, n, round, p, err));
    for (size_t i = 0; i < n; i++) {
        c[i].mass = 0;
        for (size_t order = 0; order < 2; order++) {
            const tn_judge_ask *q = &k->ask[2 * i + order];

            for (int x = 0; x < 2; x++) {
                double one = p[2 * i + order][x];
                c[i].l[order][x] = o->reasoning <= 0 ? q->logprob[x] : one > 0 ? tn_ln(one) : -1e4;
                c[i].mass += 0.5 * tn_exp(c[i].l[order][x]);
            }
            if (q->failed == NULL) continue;
            c[i].failed = true;
            snprintf(c[i].why, sizeof c[i].why, "%.150s", q->failed);
        }
        double z = 0.5 * ((c[i].l[0][0] - c[i].l[0][1]) - (c[i].l[1][0] - c[i].l[1][1]));
        c[i].z = c[i].worse ? -z : z;
    }
out:
    return status;
}

tn_status tn_judge_compare(tn_judge *j, const tn_judge_asking *o, tn_comparison *c, size_t n,
                           const char *progress, tn_error *err)
{
    tn_status    status = TN_OK;
    tn_progress *bar = NULL;
    chunk       *k = calloc(1, sizeof *k);

    if (k == NULL) return tn_fail(err, TN_NOMEM, "no memory for questions");
    if (progress != NULL) TN_GOTO(tn_progress_start(&bar, progress, "pairs", (int64_t)n, err));
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t m = n - at < CHUNK ? n - at : CHUNK;

        TN_GOTO(tn_interrupted(err));
        status = chunk_compare(j, o, k, c + at, m, err);
        for (size_t i = 0; i < 2 * m; i++) {
            free(k->question[i]);
            free(k->ask[i].failed);
        }
        memset(k, 0, sizeof *k);
        if (status != TN_OK) goto out;
        if (bar != NULL) tn_progress_set(bar, (int64_t)(at + m), NULL);
    }
out:
    tn_progress_end(bar);
    free(k);
    return status;
}
