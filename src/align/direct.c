/* direct.c - answers rated one by one: the expected number over the numbers' probabilities (d-RLAIF,
 * arXiv:2309.00267).
 *
 *   request + answer + principle ── "from 1 to 10" ──→ P(1) ... P(10) ──→ score = sum of s P(s), reward in [-1, 1]
 *   samples of one prompt ──→ best against worst, p = s((reward - reward) / T) ──→ pairs.jsonl
 *
 * "1" is also the first token of "10" in some tokenizers; judge.c gives each number its own share. */
#include "align/judge.h"
#include "align/judge_options.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { TOP = TN_JUDGE_OPTIONS, CHUNK = 128 };

static const char *const numbers[TOP] = { "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" };

static tn_status chunk_rate(tn_judge *j, tn_rating *r, size_t n, tn_error *err)
{
    tn_status     status = TN_OK;
    char        **question = calloc(n, sizeof *question);
    tn_message   *msg = calloc(n, sizeof *msg);
    tn_judge_ask *ask = calloc(n, sizeof *ask);

    if (question == NULL || msg == NULL || ask == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for questions");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        if ((question[i] = tn_judge_rating(r[i].criterion, r[i].request, r[i].answer, TOP)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a question");
            goto out;
        }
        msg[i] = (tn_message){ "user", question[i] };
        ask[i] = (tn_judge_ask){ .messages = &msg[i], .n_message = 1, .options = numbers, .n_option = TOP };
    }
    TN_GOTO(j->ask(j->self, ask, n, err));
    for (size_t i = 0; i < n; i++) {
        double sum = 0;

        r[i].failed = ask[i].failed != NULL;
        if (r[i].failed) {
            snprintf(r[i].why, sizeof r[i].why, "%.150s", ask[i].failed);
            continue;
        }
        r[i].score = 0;
        for (int k = 0; k < TOP; k++) sum += r[i].p[k] = tn_exp(ask[i].logprob[k]);
        for (int k = 0; k < TOP; k++) {
            r[i].p[k] = sum > 0 ? r[i].p[k] / sum : 1.0 / TOP;
            r[i].score += (k + 1) * r[i].p[k];
        }
        r[i].reward = (r[i].score - 0.5 * (1 + TOP)) / (0.5 * (TOP - 1));
        r[i].mass = ask[i].mass;
    }
out:
    for (size_t i = 0; i < n; i++) {
        if (question != NULL) free(question[i]);
        if (ask != NULL) free(ask[i].failed);
    }
    free(question);
    free(msg);
    free(ask);
    return status;
}

tn_status tn_judge_rate(tn_judge *j, tn_rating *r, size_t n, const char *progress, tn_error *err)
{
    tn_status    status = TN_OK;
    tn_progress *bar = NULL;

    if (progress != NULL) TN_TRY(tn_progress_start(&bar, progress, "answers", (int64_t)n, err));
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t m = n - at < CHUNK ? n - at : CHUNK;

        TN_GOTO(tn_interrupted(err));
        TN_GOTO(chunk_rate(j, r + at, m, err));
        if (bar != NULL) tn_progress_set(bar, (int64_t)(at + m), NULL);
    }
out:
    tn_progress_end(bar);
    return status;
}

/* ---------------------------------------------------------------------------------------------- the stage */

#define AT(f) offsetof(tn_align_direct_config, f)
// clang-format off
#define DIRECT_OPTIONS                                                                                                                  \
    { "clamp",     TN_OPT_REAL,   AT(clamp),     "0.2",  0, 0.5,  "", "labels stay within [clamp, 1 - clamp]", NULL },                  \
    { "margin",    TN_OPT_REAL,   AT(margin),    "0.05", 0, 2,    "", "least difference of rewards (in [-1, 1]) that makes a pair", NULL }, \
    { "min_words", TN_OPT_INT,    AT(min_words), "5",    1, 1000, "words", "shorter samples are not rated", NULL },                     \
    { "seed",      TN_OPT_INT,    AT(seed),      "1",    0, 1e15, "", "of the draws", NULL },                                           \
    { "on_weak",   TN_OPT_CHOICE, AT(on_weak),   "stop", 0, 0,    "stop|skip", "when the judge is below its bar", NULL }

const tn_option tn_align_direct_options[] = {
    TN_JUDGE_OPTIONS_ALL(tn_align_direct_config), DIRECT_OPTIONS,
    { .key = NULL }
};
const tn_option tn_align_direct_remote_options[] = {
    TN_JUDGE_OPTIONS_ALL(tn_align_direct_config), TN_JUDGE_OPTIONS_REMOTE(tn_align_direct_config), DIRECT_OPTIONS,
    { .key = NULL }
};
// clang-format on

/* One prompt's rated samples: [at, at + n) in the list of ratings. */
typedef struct group {
    const tn_prompt    *prompt;
    const tn_principle *principle;
    size_t              at, n;
} group;

static tn_status ratings_lay_out(tn_rating **out, const json_t ***answer, size_t *n, group *g,
                                 size_t *n_group, const tn_prompts *set, const tn_row_map *rows,
                                 const tn_constitution *charter, const tn_align_direct_config *c,
                                 tn_error *err)
{
    size_t cap = 1;

    for (size_t i = 0; i < set->n; i++)
        cap += json_array_size(json_object_get(tn_row_map_get(rows, set->at[i].id), "answers"));
    *out = calloc(cap, sizeof **out);
    *answer = calloc(cap, sizeof **answer);
    if (*out == NULL || *answer == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu ratings", cap);
    for (size_t i = 0; i < set->n; i++) {
        const json_t       *list = json_object_get(tn_row_map_get(rows, set->at[i].id), "answers");
        const tn_principle *p = tn_align_principle_of(charter, &set->at[i], (uint64_t)c->seed);

        if (json_array_size(list) == 0) continue;
        if (p == NULL)
            return tn_fail(err, TN_MISMATCH,
                           "no principle of the constitution applies to prompt %s (topic '%s')",
                           set->at[i].id, set->at[i].topic);
        group one = { &set->at[i], p, *n, 0 };
        for (size_t k = 0; k < json_array_size(list); k++) {
            const char *text = tn_row_text(json_array_get(list, k), "answer");

            if (text == NULL || tn_words(text) < c->min_words || tn_repetition(text) > 0.3) continue;
            (*answer)[*n] = json_array_get(list, k);
            (*out)[(*n)++] = (tn_rating){
                .id = set->at[i].id, .request = set->at[i].text, .answer = text, .criterion = p->text
            };
            one.n++;
        }
        g[(*n_group)++] = one;
    }
    return *n > 0 ? TN_OK
                  : tn_fail(err, TN_MISMATCH, "no sample of at least %lld words belongs to these prompts",
                            (long long)c->min_words);
}

static bool is_open(const json_t *a)
{
    const char *stop = tn_row_text(a, "stop_reason");

    return stop != NULL && strcmp(stop, "length") == 0;
}

typedef struct outputs {
    tn_row_file scores, pairs, records;
    int64_t     n_pair;
} outputs;

static tn_status group_write(outputs *o, const group *g, const tn_rating *r, const json_t *const *answer,
                             const tn_judge_trust *t, const tn_align_direct_config *c, tn_error *err)
{
    size_t best = 0, worst = 0, n = 0;
    double clamp = t->use == TN_JUDGE_SOFT ? 0.4 : c->clamp;
    char   hex[TN_SHA256_HEX];

    for (size_t k = g->at; k < g->at + g->n; k++) {
        json_t *p = json_array();

        for (int s = 0; s < TOP; s++) json_array_append_new(p, json_real(r[k].p[s]));
        TN_TRY(tn_row_file_add(&o->scores,
                               json_pack("{s:s, s:I, s:s, s:s, s:f, s:f, s:f, s:b, s:o}", "id", r[k].id, "k",
                                         (json_int_t)(k - g->at), "principle", g->principle->id, "answer",
                                         r[k].answer, "score", r[k].score, "reward", r[k].reward, "mass",
                                         r[k].mass, "failed", r[k].failed, "probabilities", p),
                               err));
        if (r[k].failed) continue;
        if (n == 0 || r[k].reward > r[best].reward) best = k;
        if (n == 0 || r[k].reward < r[worst].reward) worst = k;
        n++;
    }
    if (n < 2 || r[best].reward - r[worst].reward < c->margin || strcmp(r[best].answer, r[worst].answer) == 0)
        return TN_OK;
    double p = tn_sigmoid((r[best].reward - r[worst].reward) / t->temperature);
    if (p > 1 - clamp) p = 1 - clamp;
    TN_TRY(tn_row_file_add(&o->pairs,
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:b, s:b}", "id", g->prompt->id,
                                     "kind", tn_prompt_kind_name(g->prompt->kind), "prompt", g->prompt->text,
                                     "chosen", r[best].answer, "rejected", r[worst].answer, "principle",
                                     g->principle->id, "p", p, "open", is_open(answer[best]), "rejected_open",
                                     is_open(answer[worst])),
                           err));
    o->n_pair++;
    tn_hex(hex, &g->principle->digest);
    return tn_row_file_add(&o->records,
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:s}", "id",
                                     g->prompt->id, "kind", tn_prompt_kind_name(g->prompt->kind), "prompt",
                                     g->prompt->text, "principle", g->principle->id, "principle_sha256", hex,
                                     "chosen", r[best].answer, "rejected", r[worst].answer, "how", "rated",
                                     "p", p, "score_chosen", r[best].score, "score_rejected", r[worst].score,
                                     "judge", t->identity),
                           err);
}

tn_status tn_align_direct_run(const tn_align_direct_config *c, const tn_judge_source *who,
                              const tn_direct_inputs *in, const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status          status = TN_OK;
    tn_constitution   *charter = NULL;
    tn_prompts         set = { 0 };
    tn_row_map         rows = { 0 };
    tn_judge           judge = { 0 };
    tn_judge_trust     trust;
    tn_align_sampling  all = { .split = (char[]){ "all" } };
    tn_rating         *r = NULL;
    const json_t     **answer = NULL;
    group             *g = NULL;
    size_t             n = 0, n_group = 0;
    outputs            o = { 0 };
    tn_row_file *const files[] = { &o.scores, &o.pairs, &o.records, NULL };

    TN_GOTO(tn_constitution_load(&charter, in->constitution, err));
    TN_GOTO(tn_prompts_select(&set, in->prompts, &all, err));
    TN_GOTO(tn_row_map_load(&rows, in->samples, "samples.jsonl", err));
    TN_GOTO(tn_judge_open(&judge, who, &c->j, err));
    TN_GOTO(tn_judge_trust_load(&trust, in->judge, &judge, &c->j, true, err));
    bool skipped = trust.use == TN_JUDGE_NONE;
    if (skipped && strcmp(c->on_weak, "skip") != 0) {
        status = tn_judge_refused(&trust, "rate", err);
        goto out;
    }
    if ((g = calloc(set.n + 1, sizeof *g)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu prompts", set.n);
        goto out;
    }
    if (!skipped) {
        TN_GOTO(ratings_lay_out(&r, &answer, &n, g, &n_group, &set, &rows, charter, c, err));
        TN_GOTO(tn_judge_rate(&judge, r, n, "direct", err));
    }
    TN_GOTO(tn_row_files_open(files, out_dir,
                              (const char *const[]){ "scores.jsonl", "pairs.jsonl", "records.jsonl" }, err));
    for (size_t i = 0; i < n_group; i++) TN_GOTO(group_write(&o, &g[i], r, answer, &trust, c, err));
    TN_GOTO(tn_row_files_commit(files, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "rated", json_integer((json_int_t)n));
        json_object_set_new(metrics, "pairs", json_integer(o.n_pair));
        json_object_set_new(metrics, "skipped", json_boolean(skipped));
    }
out:
    tn_row_files_abandon(files);
    free(r);
    free(answer);
    free(g);
    tn_judge_close(&judge);
    tn_row_map_free(&rows);
    tn_prompts_free(&set);
    tn_constitution_free(charter);
    return status;
}
