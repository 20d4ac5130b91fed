/* compare.c - pairs of answers compared by a judge under drawn principles (RL-CAI's labels; also win rates
 * and screening).
 *
 *   samples | first + second | revisions ──→ pairs ── principles drawn, both wordings, both orders ──→ z a principle
 *   z ── the first group of the priority order that is sure decides; else the mean of all ──→ p = s(z / T), clamped
 *
 * A judge is used only as far as its measurement allows: below the soft floor the stage stops, between the
 * floors labels stay within [0.4, 0.6]. A pair whose sign flips when the answers change places is a tie and
 * trains nothing. */
#include "align/judge.h"
#include "align/judge_options.h"
#include "base/stats.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PRINCIPLES = 16 };
static const double SOFT_CLAMP = 0.4;

#define AT(f) offsetof(tn_align_compare_config, f)
// clang-format off
#define COMPARE_OPTIONS                                                                                                                              \
    { "principles",      TN_OPT_INT,    AT(principles),      "2",     1, MAX_PRINCIPLES, "", "principles drawn for a pair", NULL },                  \
    { "pairs",           TN_OPT_INT,    AT(pairs),           "2",     1, 32,    "pairs", "of samples compared a prompt", NULL },                     \
    { "clamp",           TN_OPT_REAL,   AT(clamp),           "0.2",   0, 0.5,   "", "labels stay within [clamp, 1 - clamp]", NULL },                 \
    { "clamp_reasoning", TN_OPT_REAL,   AT(clamp_reasoning), "0.4",   0, 0.5,   "", "the same with reasoning, whose labels are too sure", NULL },    \
    { "sure",            TN_OPT_REAL,   AT(sure),            "0.15",  0, 0.5,   "", "distance from 1/2 at which a group of principles decides", NULL }, \
    { "min_words",       TN_OPT_INT,    AT(min_words),       "5",     1, 1000,  "words", "shorter samples are not compared", NULL },                 \
    { "seed",            TN_OPT_INT,    AT(seed),            "1",     0, 1e15,  "", "of the draws", NULL },                                          \
    { "confidence",      TN_OPT_REAL,   AT(confidence),      "0.95",  0.5, 0.999, "", "of the win rate's interval", NULL },                          \
    { "bootstrap",       TN_OPT_INT,    AT(bootstrap),       "10000", 100, 1e6, "rounds", "of the same", NULL },                                     \
    { "on_weak",         TN_OPT_CHOICE, AT(on_weak),         "stop",  0, 0,     "stop|skip", "when the judge is below its bar", NULL }

const tn_option tn_align_compare_options[] = {
    TN_JUDGE_OPTIONS_ALL(tn_align_compare_config), COMPARE_OPTIONS,
    { .key = NULL }
};
const tn_option tn_align_compare_remote_options[] = {
    TN_JUDGE_OPTIONS_ALL(tn_align_compare_config), TN_JUDGE_OPTIONS_REMOTE(tn_align_compare_config), COMPARE_OPTIONS,
    { .key = NULL }
};
// clang-format on

/* Two answers to one prompt, the questions asked about them, and what came of it. */
typedef struct candidate {
    const tn_prompt    *prompt;
    char               *id;
    const char         *first, *second;
    bool                first_open, second_open;
    const tn_principle *principle[MAX_PRINCIPLES];
    int                 n_principle;
    size_t              at; /* its questions in the list: n_question of them */
    int                 n_question;
    const tn_principle *decided_by;
    double              z, p; /* p: that `first` is better, calibrated, not clamped */
    bool                tie, failed;
} candidate;

typedef struct comparing {
    const tn_align_compare_config *c;
    const tn_constitution         *charter;
    tn_judge_trust                 trust;
    candidate                     *at;
    size_t                         n, cap;
    tn_comparison                 *q;
    size_t                         n_q;
    tn_error                      *err;
} comparing;

/* --------------------------------------------------------------------------------------------- candidates */

static tn_status candidate_add(comparing *m, const tn_prompt *p, int number, const char *first,
                               const char *second, bool first_open, bool second_open,
                               const tn_principle *only)
{
    if (m->n == m->cap) {
        size_t     cap = m->cap > 0 ? 2 * m->cap : 64;
        candidate *grown = realloc(m->at, cap * sizeof *grown);
        if (grown == NULL) return tn_fail(m->err, TN_NOMEM, "no memory for pairs");
        m->at = grown;
        m->cap = cap;
    }
    candidate one = { .prompt = p,
                      .id = number > 0 ? tn_strf("%s#%d", p->id, number) : tn_strdup(p->id),
                      .first = first,
                      .second = second,
                      .first_open = first_open,
                      .second_open = second_open };
    if (only != NULL) one.principle[one.n_principle++] = only;
    m->at[m->n++] = one;
    return one.id != NULL ? TN_OK : tn_fail(m->err, TN_NOMEM, "no memory for pairs");
}

static bool is_open(const json_t *row)
{
    const char *stop = tn_row_text(row, "stop_reason");

    return stop != NULL && strcmp(stop, "length") == 0;
}

static tn_status from_samples(comparing *m, const tn_prompts *set, const tn_row_map *rows)
{
    for (size_t i = 0; i < set->n; i++) {
        const json_t *answers = json_object_get(tn_row_map_get(rows, set->at[i].id), "answers"),
                     *waiting = NULL;
        int made = 0;

        for (size_t k = 0; k < json_array_size(answers) && made < m->c->pairs; k++) {
            const json_t *a = json_array_get(answers, k);
            const char   *text = tn_row_text(a, "answer");

            if (text == NULL || tn_words(text) < m->c->min_words || tn_repetition(text) > 0.3) continue;
            if (waiting == NULL) {
                waiting = a;
                continue;
            }
            const char *other = tn_row_text(waiting, "answer");
            if (strcmp(other, text) == 0) continue;
            TN_TRY(candidate_add(m, &set->at[i], ++made, other, text, is_open(waiting), is_open(a), NULL));
            waiting = NULL;
        }
    }
    return m->n > 0
               ? TN_OK
               : tn_fail(
                     m->err, TN_MISMATCH,
                     "no prompt has two different samples of at least %lld words: sample more answers, at a "
                     "temperature above 0",
                     (long long)m->c->min_words);
}

static tn_status from_two(comparing *m, const tn_prompts *set, const tn_row_map *first,
                          const tn_row_map *second)
{
    for (size_t i = 0; i < set->n; i++) {
        const json_t *a = tn_row_map_get(first, set->at[i].id), *b = tn_row_map_get(second, set->at[i].id);

        if (a == NULL && b == NULL) continue;
        if (tn_row_text(a, "answer") == NULL || tn_row_text(b, "answer") == NULL)
            return tn_fail(m->err, TN_MISMATCH,
                           "prompt %s has an answer on one side only: both sets must answer the same prompts",
                           set->at[i].id);
        TN_TRY(candidate_add(m, &set->at[i], 0, tn_row_text(a, "answer"), tn_row_text(b, "answer"),
                             is_open(a), is_open(b), NULL));
    }
    return m->n > 0 ? TN_OK : tn_fail(m->err, TN_MISMATCH, "no prompt has answers in both sets");
}

static tn_status from_revisions(comparing *m, const tn_prompts *set, const tn_row_map *rows)
{
    for (size_t i = 0; i < set->n; i++) {
        const json_t *row = tn_row_map_get(rows, set->at[i].id);
        const char   *answer = tn_row_text(row, "answer"), *revision = tn_row_text(row, "revision"),
                   *id = tn_row_text(row, "principle");

        if (row == NULL) continue;
        if (answer == NULL || revision == NULL)
            return tn_fail(m->err, TN_FORMAT, "prompt %s: a revision without \"answer\" and \"revision\"",
                           set->at[i].id);
        TN_TRY(candidate_add(m, &set->at[i], 0, revision, answer, false, false,
                             id != NULL ? tn_constitution_find(m->charter, id) : NULL));
    }
    return m->n > 0 ? TN_OK : tn_fail(m->err, TN_MISMATCH, "no prompt has a revision");
}

/* ---------------------------------------------------------------------------------------------- questions */

/* Which principles may judge an answer to this prompt: to decline is no virtue where an answer is due. */
static bool may_judge(const tn_principle *p, const tn_prompt *x)
{
    const char *const topics[] = { x->topic };

    if (!tn_principle_applies(p, topics, 1)) return false;
    return x->kind == TN_PROMPT_DECLINE ? p->stance != TN_STANCE_ANSWER : p->stance != TN_STANCE_DECLINE;
}

/* Drawn by weight without replacement; a prompt's own principle comes first. */
static void principles_draw(comparing *m, candidate *x)
{
    const tn_constitution *c = m->charter;
    const tn_principle    *own = x->prompt->principle != NULL ? tn_constitution_find(c, x->prompt->principle)
                                                              : NULL;
    tn_rng_key key = { (uint64_t)m->c->seed, TN_RNG_PRINCIPLE, 3, tn_align_sample_id(x->id, "compare") };

    if (own != NULL && may_judge(own, x->prompt)) x->principle[x->n_principle++] = own;
    while (x->n_principle < m->c->principles) {
        double              total = 0, at;
        const tn_principle *last = NULL;

        for (int pass = 0; pass < 2; pass++) {
            if (pass == 1) at = tn_rng_unit(&key, (uint64_t)x->n_principle) * total;
            else at = 0;
            for (size_t i = 0; i < c->n_principle; i++) {
                const tn_principle *p = &c->principles[i];
                bool                taken = !may_judge(p, x->prompt);

                for (int k = 0; k < x->n_principle; k++) taken = taken || x->principle[k] == p;
                if (taken) continue;
                if (pass == 0) total += p->weight;
                else {
                    last = p;
                    if ((at -= p->weight) < 0) break;
                }
            }
        }
        if (last == NULL) break;
        x->principle[x->n_principle++] = last;
    }
}

static tn_status questions_add(comparing *m, candidate *x)
{
    int forms = strcmp(m->c->j.forms, "both") == 0 ? 2 : 1;

    if (x->n_principle == 0) principles_draw(m, x);
    if (x->n_principle == 0)
        return tn_fail(m->err, TN_MISMATCH,
                       "no principle of the constitution can judge answers to prompt %s (topic '%s')",
                       x->prompt->id, x->prompt->topic);
    x->at = m->n_q;
    if (strcmp(x->first, x->second) == 0) {
        x->tie = true;
        return TN_OK;
    } /* nothing to ask */
    tn_comparison *grown = realloc(m->q, (m->n_q + (size_t)(forms * x->n_principle)) * sizeof *grown);
    if (grown == NULL) return tn_fail(m->err, TN_NOMEM, "no memory for questions");
    m->q = grown;
    for (int i = 0; i < x->n_principle; i++)
        for (int f = 0; f < forms; f++, x->n_question++)
            m->q[m->n_q++] = (tn_comparison){ .id = x->id,
                                              .request = x->prompt->text,
                                              .first = x->first,
                                              .second = x->second,
                                              .worse = f == 1,
                                              .criterion = f == 0 ? x->principle[i]->compare_positive
                                                                  : x->principle[i]->compare_negative };
    return TN_OK;
}

/* ----------------------------------------------------------------------------------------------- verdicts */

/* Mean z of one principle over its wordings; *orders gets the two orders' own logits that the first answer is
 * better. */
static double principle_z(const comparing *m, const candidate *x, int i, double orders[2])
{
    int    forms = x->n_question / x->n_principle;
    double z = 0;

    for (int f = 0; f < forms; f++) {
        const tn_comparison *q = &m->q[x->at + (size_t)(i * forms + f)];
        double               sign = q->worse ? -1 : 1;

        z += q->z / forms;
        orders[0] += sign * (q->l[0][0] - q->l[0][1]) / forms;
        orders[1] += sign * (q->l[1][1] - q->l[1][0]) / forms;
    }
    return z;
}

static void decide(const comparing *m, candidate *x)
{
    double orders[2] = { 0 }, all = 0;

    for (int k = 0; k < x->n_question; k++) x->failed = x->failed || m->q[x->at + (size_t)k].failed;
    x->p = 0.5;
    if (x->failed || x->tie) return;
    for (size_t g = 0; g < m->charter->groups.n && x->decided_by == NULL; g++) {
        double z = 0, mine[2] = { 0 }, strongest = -1;
        int    n = 0;

        for (int i = 0; i < x->n_principle; i++) {
            if (x->principle[i]->priority != (int)g) continue;
            double one = principle_z(m, x, i, mine);
            z += one;
            n++;
            if (fabs(one) > strongest) strongest = fabs(one);
        }
        if (n == 0) continue;
        z /= n;
        if (fabs(tn_sigmoid(z / m->trust.temperature) - 0.5) <= m->c->sure) continue;
        for (int i = 0; i < x->n_principle && x->decided_by == NULL; i++) {
            double unused[2] = { 0 };
            if (x->principle[i]->priority == (int)g && fabs(principle_z(m, x, i, unused)) >= strongest)
                x->decided_by = x->principle[i];
        }
        x->z = z;
        orders[0] = mine[0];
        orders[1] = mine[1];
    }
    if (x->decided_by == NULL) { /* no group is sure: the mean of all, named after the first drawn */
        for (int i = 0; i < x->n_principle; i++) all += principle_z(m, x, i, orders) / x->n_principle;
        x->z = all;
        x->decided_by = x->principle[0];
    }
    x->p = tn_sigmoid(x->z / m->trust.temperature);
    x->tie = orders[0] * orders[1] <= 0 || x->z == 0;
}

/* ------------------------------------------------------------------------------------------------- output */

static json_t *asked_json(const comparing *m, const candidate *x)
{
    json_t *list = json_array();
    int     forms = x->n_principle > 0 ? x->n_question / x->n_principle : 0;

    for (int k = 0; k < x->n_question; k++) {
        const tn_comparison *q = &m->q[x->at + (size_t)k];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:[[f,f],[f,f]], s:f, s:f}", "principle", x->principle[k / forms]->id,
                            "form", q->worse ? "negative" : "positive", "logprobs", q->l[0][0], q->l[0][1],
                            q->l[1][0], q->l[1][1], "mass", q->mass, "z", q->z));
    }
    return list;
}

typedef struct outputs {
    tn_row_file comparisons, pairs, records;
    int64_t     n_pair;
} outputs;

static tn_status candidate_write(const comparing *m, const candidate *x, outputs *o)
{
    double clamp = m->trust.use == TN_JUDGE_SOFT ? SOFT_CLAMP
                   : m->c->j.reasoning > 0       ? m->c->clamp_reasoning
                                                 : m->c->clamp;
    bool   swap = x->p < 0.5;
    double p = swap ? 1 - x->p : x->p;
    char   hex[TN_SHA256_HEX];

    if (p > 1 - clamp) p = 1 - clamp;
    TN_TRY(tn_row_file_add(&o->comparisons,
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*, s:f, s:f, s:b, s:b, s:o}", "id", x->id,
                                     "kind", tn_prompt_kind_name(x->prompt->kind), "prompt", x->prompt->text,
                                     "first", x->first, "second", x->second, "principle",
                                     x->decided_by != NULL ? x->decided_by->id : NULL, "z", x->z, "p", x->p,
                                     "tie", x->tie, "failed", x->failed, "asked", asked_json(m, x)),
                           m->err));
    if (x->tie || x->failed) return TN_OK;
    const char *chosen = swap ? x->second : x->first, *rejected = swap ? x->first : x->second;
    bool open = swap ? x->second_open : x->first_open, rejected_open = swap ? x->first_open : x->second_open;
    TN_TRY(tn_row_file_add(&o->pairs,
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:b, s:b}", "id", x->id, "kind",
                                     tn_prompt_kind_name(x->prompt->kind), "prompt", x->prompt->text,
                                     "chosen", chosen, "rejected", rejected, "principle", x->decided_by->id,
                                     "p", p, "open", open, "rejected_open", rejected_open),
                           m->err));
    o->n_pair++;
    tn_hex(hex, &x->decided_by->digest);
    return tn_row_file_add(&o->records,
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:s}", "id", x->id,
                                     "kind", tn_prompt_kind_name(x->prompt->kind), "prompt", x->prompt->text,
                                     "principle", x->decided_by->id, "principle_sha256", hex, "chosen",
                                     chosen, "rejected", rejected, "how", "judge", "p", p, "z", x->z, "judge",
                                     m->trust.identity),
                           m->err);
}

/* Win rate of `first` (a tie is half), resampled by family; the same at equal length, by a line through
 * outcome and difference of words; and each deciding principle's share. */
static tn_status summary_make(json_t **out, const comparing *m, tn_error *err)
{
    tn_status   status = TN_OK;
    double     *y = calloc(m->n + 1, sizeof *y), sx = 0, sy = 0, sxx = 0, sxy = 0, len[2] = { 0 };
    int64_t    *family = calloc(m->n + 1, sizeof *family), n = 0, ties = 0, failed = 0;
    tn_interval w;
    json_t     *by = json_object();

    *out = NULL;
    if (y == NULL || family == NULL || by == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a summary");
        goto out;
    }
    for (size_t i = 0; i < m->n; i++) {
        const candidate *x = &m->at[i];

        failed += x->failed;
        if (x->failed) continue;
        double dx = (double)(tn_words(x->first) - tn_words(x->second)), won = x->tie       ? 0.5
                                                                              : x->p > 0.5 ? 1
                                                                                           : 0;
        ties += x->tie;
        len[0] += (double)tn_words(x->first);
        len[1] += (double)tn_words(x->second);
        sx += dx;
        sy += won;
        sxx += dx * dx;
        sxy += dx * won;
        family[n] = (int64_t)(tn_hash64(x->prompt->family, strlen(x->prompt->family)) >> 1);
        y[n++] = won;
        if (x->decided_by == NULL) continue;
        json_t *row = json_object_get(by, x->decided_by->id);
        double  count = json_number_value(json_object_get(row, "n")),
               wins = json_number_value(json_object_get(row, "first_wins"));
        json_object_set_new(by, x->decided_by->id,
                            json_pack("{s:I, s:f}", "n", (json_int_t)count + 1, "first_wins", wins + won));
    }
    if (n == 0) {
        status = tn_fail(err, TN_LIMIT, "none of the %zu pairs fits the judge: %s", m->n,
                         m->n_q > 0 ? m->q[0].why : "");
        goto out;
    }
    TN_GOTO(tn_bootstrap_mean(&w, y, family, n, (int)m->c->bootstrap, m->c->confidence, (uint64_t)m->c->seed,
                              err));
    double d = (double)n, var = sxx / d - (sx / d) * (sx / d),
           slope = var > 0 ? (sxy / d - sx / d * sy / d) / var : 0;
    *out = json_pack("{s:I, s:I, s:I, s:{s:f, s:f, s:f}, s:f, s:{s:f, s:f}, s:o}", "pairs", (json_int_t)n,
                     "ties", (json_int_t)ties, "failed", (json_int_t)failed, "win_rate", "mean", sy / d, "lo",
                     w.lo, "hi", w.hi, "win_rate_at_equal_length", sy / d - slope * sx / d, "mean_words",
                     "first", len[0] / d, "second", len[1] / d, "principles", by);
    by = NULL;
    if (*out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a summary");
out:
    json_decref(by);
    free(y);
    free(family);
    return status;
}

static tn_status outputs_write(comparing *m, bool skipped, const char *out_dir, json_t *metrics)
{
    tn_status          status = TN_OK;
    outputs            o = { 0 };
    tn_row_file *const files[] = { &o.comparisons, &o.pairs, &o.records, NULL };
    json_t            *summary = NULL;
    char              *path = NULL;

    TN_GOTO(tn_row_files_open(files, out_dir,
                              (const char *const[]){ "comparisons.jsonl", "pairs.jsonl", "records.jsonl" },
                              m->err));
    for (size_t i = 0; i < m->n && !skipped; i++) TN_GOTO(candidate_write(m, &m->at[i], &o));
    if (skipped) summary = json_object();
    else TN_GOTO(summary_make(&summary, m, m->err));
    if (summary == NULL) {
        status = tn_fail(m->err, TN_NOMEM, "no memory for a summary");
        goto out;
    }
    json_object_set_new(summary, "judge", json_string(m->trust.identity));
    json_object_set_new(summary, "trust", json_string(m->trust.why));
    json_object_set_new(summary, "skipped", json_boolean(skipped));
    json_object_set_new(summary, "trained_on", json_integer(o.n_pair));
    if ((path = tn_path(out_dir, "compare.json")) == NULL) {
        status = tn_fail(m->err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_save(path, summary, true, m->err));
    TN_GOTO(tn_row_files_commit(files, m->err));
    static const char *const told[] = { "pairs", "ties", "win_rate", "skipped", "trained_on" };
    for (size_t i = 0; metrics != NULL && i < sizeof told / sizeof told[0]; i++)
        if (json_object_get(summary, told[i]) != NULL)
            json_object_set(metrics, told[i], json_object_get(summary, told[i]));
out:
    tn_row_files_abandon(files);
    json_decref(summary);
    free(path);
    return status;
}

static tn_status inputs_check(const tn_compare_inputs *in, tn_error *err)
{
    int n = (in->samples != NULL) + (in->first != NULL && in->second != NULL) + (in->revisions != NULL);

    if (n == 1 && (in->first != NULL) == (in->second != NULL)) return TN_OK;
    return tn_fail(err, TN_USAGE, "compare needs one of: samples; first and second; revisions");
}

tn_status tn_align_compare_run(const tn_align_compare_config *c, const tn_judge_source *who,
                               const tn_compare_inputs *in, const char *out_dir, json_t *metrics,
                               tn_error *err)
{
    tn_status         status = TN_OK;
    tn_constitution  *charter = NULL;
    tn_prompts        set = { 0 };
    tn_row_map        first = { 0 }, second = { 0 };
    tn_judge          judge = { 0 };
    tn_judge_asking   asking = c->j;
    tn_align_sampling all = { .split = (char[]){ "all" } };
    comparing         m = { .c = c, .err = err };

    asking.seed = c->seed;
    TN_GOTO(inputs_check(in, err));
    TN_GOTO(tn_constitution_load(&charter, in->constitution, err));
    m.charter = charter;
    TN_GOTO(tn_prompts_select(&set, in->prompts, &all, err));
    TN_GOTO(tn_judge_open(&judge, who, &asking, err));
    TN_GOTO(tn_judge_trust_load(&m.trust, in->judge, &judge, &asking, false, err));
    if (m.trust.use == TN_JUDGE_NONE && strcmp(c->on_weak, "skip") != 0) {
        status = tn_judge_refused(&m.trust, "label", err);
        goto out;
    }
    if (m.trust.use != TN_JUDGE_NONE) {
        if (in->samples != NULL) TN_GOTO(tn_row_map_load(&first, in->samples, "samples.jsonl", err));
        if (in->revisions != NULL) TN_GOTO(tn_row_map_load(&first, in->revisions, "revisions.jsonl", err));
        if (in->first != NULL) TN_GOTO(tn_row_map_load(&first, in->first, "answers.jsonl", err));
        if (in->second != NULL) TN_GOTO(tn_row_map_load(&second, in->second, "answers.jsonl", err));
        TN_GOTO(in->samples != NULL     ? from_samples(&m, &set, &first)
                : in->revisions != NULL ? from_revisions(&m, &set, &first)
                                        : from_two(&m, &set, &first, &second));
        for (size_t i = 0; i < m.n; i++) TN_GOTO(questions_add(&m, &m.at[i]));
        TN_GOTO(tn_judge_compare(&judge, &asking, m.q, m.n_q, "compare", err));
        for (size_t i = 0; i < m.n; i++) decide(&m, &m.at[i]);
    }
    status = outputs_write(&m, m.trust.use == TN_JUDGE_NONE, out_dir, metrics);
out:
    for (size_t i = 0; i < m.n; i++) free(m.at[i].id);
    free(m.at);
    free(m.q);
    tn_judge_close(&judge);
    tn_row_map_free(&first);
    tn_row_map_free(&second);
    tn_prompts_free(&set);
    tn_constitution_free(charter);
    return status;
}
