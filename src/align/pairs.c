/* pairs.c - rows for training from prompts, answers, contrast pairs and revisions.
 *
 *   decline    chosen: a declining text (contrast's positive, the revision, or composed from the principle's words)
 *              rejected: the model's own answer (or contrast's negative)
 *   lookalike  chosen: the model's own answer      rejected: the declining text of the principle it is mistaken for
 *   everyday   the same, against the declining text of a drawn principle
 *
 * A prompt that is answered in `whole` has that answer in its SFT row, uncut: training on the first words
 * alone lets the model drift behind them (decisions/132).
 *
 * Both sides of each look-alike pair are in the data, so the words alone decide nothing. Degenerate texts
 * (empty, short, repeating) never become a chosen side. Each row keeps the principle that made it;
 * records.jsonl keeps how. */
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_pairs_config, f)

// clang-format off
const tn_option tn_align_pairs_options[] = {
    { "helpful_share",  TN_OPT_REAL, AT(helpful_share),  "0.4",  0, 1,    "",      "least share of answered requests in the SFT rows", NULL },
    { "max_repetition", TN_OPT_REAL, AT(max_repetition), "0.2",  0, 1,    "",      "share of repeated 4-grams above which a text is dropped", NULL },
    { "label",          TN_OPT_REAL, AT(label),          "1",    0.5, 1,  "",      "probability that chosen is better (below 1: soft)", NULL },
    { "min_words",      TN_OPT_INT,  AT(min_words),      "5",    1, 1000, "words", "shorter texts are dropped", NULL },
    { "seed",           TN_OPT_INT,  AT(seed),           "1",    0, 1e15, "",      "of the draws", NULL },
    { "short_words",    TN_OPT_INT,  AT(short_words),    "0",    0, 1000, "words", "cut the SFT texts after this many words; 0: none is cut", NULL },
    { "pair_share",     TN_OPT_REAL, AT(pair_share),     "1",    0.001, 1, "",     "share of the prompts that also give a preference pair", NULL },
    { "decline_pairs",  TN_OPT_REAL, AT(decline_pairs),  "1",    0, 1,    "",      "pair_share of requests to decline, as a part of the others': below 1 leans to answering", NULL },
    { "answer_weight",  TN_OPT_REAL, AT(answer_weight),  "1",    0.1, 16, "",      "weight of SFT rows that answer: above 1 declines less readily", NULL },
    { "full_share",     TN_OPT_REAL, AT(full_share),     "0.3",  0, 1,    "",      "short_words: share of the prompts whose texts stay whole", NULL },
    { "distill_answers", TN_OPT_BOOL, AT(distill_answers), "false", 0, 0, "",      "SFT rows that answer keep the model's distribution, not only its words", NULL },
    { "compose",        TN_OPT_BOOL, AT(compose),        "true", 0, 0,    "",      "compose a declining text where the model gave none", NULL },
    { .key = NULL }
};
// clang-format on

typedef struct maker {
    const tn_align_pairs_config *c;
    const tn_constitution       *charter;
    tn_row_map                   answers, contrast, revisions, whole;
    tn_row_file                  pairs, sft, records;
    int64_t                      n_pair, n_decline, n_answer, n_dropped, n_composed;
    tn_error                    *err;
} maker;

static bool sound(const maker *m, const char *text)
{
    return text != NULL && tn_words(text) >= m->c->min_words && tn_repetition(text) <= m->c->max_repetition;
}

/* A declining text for a principle: what the model wrote under it if that declines and is sound, else its own
 * words put together. *how names the source. made: free; NULL: none. */
static char *declining_text(maker *m, const tn_prompt *p, const tn_principle *principle, const char **how,
                            int64_t *reason, int64_t *offer)
{
    const char              *candidates[] = { tn_row_text(tn_row_map_get(&m->revisions, p->id), "revision"),
                                              tn_row_text(tn_row_map_get(&m->contrast, p->id), "positive") };
    static const char *const names[] = { "revision", "contrast" };

    *reason = *offer = -1;
    for (int i = 0; p->kind == TN_PROMPT_DECLINE && i < 2; i++)
        if (sound(m, candidates[i]) && tn_looks_declining(candidates[i])) {
            *how = names[i];
            return tn_strdup(candidates[i]);
        }
    if (!m->c->compose || principle == NULL) return NULL;
    *how = "composed";
    return tn_compose_decline(principle, p->text, reason, offer);
}

/* The principle that would have declined: a prompt's own, or one drawn among all that decline. */
static const tn_principle *mistaken_for(const maker *m, const tn_prompt *p)
{
    const tn_principle *own = p->principle != NULL ? tn_constitution_find(m->charter, p->principle) : NULL;
    tn_rng_key key = { (uint64_t)m->c->seed, TN_RNG_PRINCIPLE, 2, tn_align_sample_id(p->id, "mistaken") };
    double     total = 0;

    if (own != NULL && own->stance == TN_STANCE_DECLINE) return own;
    for (size_t i = 0; i < m->charter->n_principle; i++)
        if (m->charter->principles[i].stance == TN_STANCE_DECLINE) total += m->charter->principles[i].weight;
    double at = tn_rng_unit(&key, 0) * total;
    for (size_t i = 0; i < m->charter->n_principle; i++) {
        const tn_principle *q = &m->charter->principles[i];
        if (q->stance == TN_STANCE_DECLINE && (at -= q->weight) < 0) return q;
    }
    return NULL;
}

static bool is_cut(const json_t *row, const char *key)
{
    const char *stop = tn_row_text(row, key);

    return stop != NULL && strcmp(stop, "length") == 0;
}

/* Whether to decline is settled in the first words, so most rows need no more: training on them costs a
 * third, and the decision is not drowned by the wording. A share of the prompts, drawn by key, keeps whole
 * texts for the wording's sake. made: free; *open says that the end was cut off. */
static char *sft_text(const maker *m, const tn_prompt *p, const char *text, bool *open)
{
    tn_rng_key    key = { (uint64_t)m->c->seed, TN_RNG_PRINCIPLE, 3, tn_align_sample_id(p->id, "whole") };
    int64_t       n = 0;
    size_t        end = 0;
    const json_t *longer = p->kind != TN_PROMPT_DECLINE ? tn_row_map_get(&m->whole, p->id) : NULL;
    const char   *whole = tn_row_text(longer, "answer");

    if (sound(m, whole) && !tn_looks_declining(whole)) {
        *open = is_cut(longer, "stop_reason");
        return tn_strdup(whole);
    }
    if (m->c->short_words == 0 || tn_rng_unit(&key, 0) < m->c->full_share) return tn_strdup(text);
    while (text[end] != '\0') {
        end += strspn(text + end, " \n\t\r");
        size_t word = strcspn(text + end, " \n\t\r");
        if (word == 0 || ++n > m->c->short_words) break;
        end += word;
    }
    while (end > 0 && strchr(" \n\t\r", text[end - 1]) != NULL) end--;
    *open = *open || text[end] != '\0';
    return tn_strndup(text, end);
}

static tn_status row_emit(maker *m, const tn_prompt *p, const tn_principle *principle, const char *chosen,
                          bool chosen_open, const char *rejected, bool rejected_open, const char *how,
                          int64_t reason, int64_t offer)
{
    char hex[TN_SHA256_HEX];

    tn_hex(hex, &principle->digest);
    tn_rng_key drawn = { (uint64_t)m->c->seed, TN_RNG_PRINCIPLE, 4, tn_align_sample_id(p->id, "pair") };
    double     share = m->c->pair_share * (p->kind == TN_PROMPT_DECLINE ? m->c->decline_pairs : 1);
    if (tn_rng_unit(&drawn, 0) < share && rejected != NULL && rejected[0] != '\0' &&
        strcmp(chosen, rejected) != 0) {
        TN_TRY(tn_row_file_add(&m->pairs,
                               json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:b, s:b}", "id", p->id, "kind",
                                         tn_prompt_kind_name(p->kind), "prompt", p->text, "chosen", chosen,
                                         "rejected", rejected, "principle", principle->id, "p", m->c->label,
                                         "open", chosen_open, "rejected_open", rejected_open),
                               m->err));
        m->n_pair++;
    }
    char *target = sft_text(m, p, chosen, &chosen_open);
    if (target == NULL) return tn_fail(m->err, TN_NOMEM, "no memory for a text");
    tn_status status = tn_row_file_add(
        &m->sft,
        json_pack("{s:s, s:s, s:[{s:s,s:s},{s:s,s:s}], s:s, s:b, s:f, s:b}", "id", p->id, "kind",
                  tn_prompt_kind_name(p->kind), "messages", "role", "user", "content", p->text, "role",
                  "assistant", "content", target, "principle", principle->id, "open", chosen_open, "weight",
                  p->kind == TN_PROMPT_DECLINE ? 1.0 : m->c->answer_weight, "distill",
                  m->c->distill_answers && p->kind != TN_PROMPT_DECLINE),
        m->err);
    free(target);
    if (status != TN_OK) return status;
    if (p->kind == TN_PROMPT_DECLINE) m->n_decline++;
    else m->n_answer++;
    return tn_row_file_add(&m->records,
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:s, s:I, s:I}", "id", p->id,
                                     "kind", tn_prompt_kind_name(p->kind), "prompt", p->text, "principle",
                                     principle->id, "principle_sha256", hex, "chosen", chosen, "rejected",
                                     rejected, "how", how, "reason", (json_int_t)reason, "offer",
                                     (json_int_t)offer),
                           m->err);
}

static tn_status prompt_use(maker *m, const tn_prompt *p)
{
    const json_t *own_row = tn_row_map_get(&m->answers, p->id),
                 *contrast = tn_row_map_get(&m->contrast, p->id);
    const char         *own = tn_row_text(own_row, "answer"), *how = "own";
    const tn_principle *principle = tn_align_principle_of(m->charter, p, (uint64_t)m->c->seed);
    int64_t             reason, offer;
    tn_status           status = TN_OK;

    if (own == NULL)
        return tn_fail(m->err, TN_MISMATCH,
                       "no answer to prompt %s: run the answers stage over the same prompts", p->id);
    if (principle == NULL)
        return tn_fail(m->err, TN_MISMATCH,
                       "no principle of the constitution applies to prompt %s (topic '%s')", p->id, p->topic);
    if (p->kind == TN_PROMPT_DECLINE) {
        char       *text = declining_text(m, p, principle, &how, &reason, &offer);
        const char *worse = tn_row_text(contrast, "negative");

        bool cut = is_cut(contrast, "stop_negative");

        if (!sound(m, worse) || tn_looks_declining(worse)) {
            worse = own;
            cut = is_cut(own_row, "stop_reason");
        }
        if (text == NULL || tn_looks_declining(worse)) m->n_dropped++;
        else status = row_emit(m, p, principle, text, false, worse, cut, how, reason, offer);
        m->n_composed += text != NULL && strcmp(how, "composed") == 0;
        free(text);
        return status;
    }
    if (!sound(m, own) || tn_looks_declining(own)) {
        m->n_dropped++;
        return TN_OK;
    }
    const char *how_rejected;
    char       *refusal = declining_text(m, p, mistaken_for(m, p), &how_rejected, &reason, &offer);
    status = row_emit(m, p, principle, own, is_cut(own_row, "stop_reason"), refusal, false, "own", reason,
                      offer);
    free(refusal);
    return status;
}

tn_status tn_align_pairs_run(const tn_align_pairs_config *c, const tn_pairs_inputs *in, const char *out_dir,
                             json_t *metrics, tn_error *err)
{
    tn_status          status = TN_OK;
    tn_constitution   *charter = NULL;
    tn_prompts         set = { 0 };
    tn_align_sampling  all = { .split = (char[]){ "train" } };
    maker              m = { .c = c, .err = err };
    tn_row_file *const files[] = { &m.pairs, &m.sft, &m.records, NULL };

    TN_GOTO(tn_constitution_load(&charter, in->constitution, err));
    m.charter = charter;
    TN_GOTO(tn_prompts_select(&set, in->prompts, &all, err));
    TN_GOTO(tn_row_map_load(&m.answers, in->answers, "answers.jsonl", err));
    if (in->contrast != NULL) TN_GOTO(tn_row_map_load(&m.contrast, in->contrast, "contrast.jsonl", err));
    if (in->revisions != NULL) TN_GOTO(tn_row_map_load(&m.revisions, in->revisions, "revisions.jsonl", err));
    if (in->whole != NULL) TN_GOTO(tn_row_map_load(&m.whole, in->whole, "answers.jsonl", err));
    TN_GOTO(tn_row_files_open(files, out_dir,
                              (const char *const[]){ "pairs.jsonl", "sft.jsonl", "records.jsonl" }, err));
    for (size_t i = 0; i < set.n; i++)
        if (tn_row_map_get(&m.answers, set.at[i].id) != NULL) TN_GOTO(prompt_use(&m, &set.at[i]));
    if (m.n_pair == 0) {
        status = tn_fail(
            err, TN_MISMATCH,
            "no pair could be made: %lld prompts were dropped (degenerate answers, or no declining text)",
            (long long)m.n_dropped);
        goto out;
    }
    double share = (double)m.n_answer / (double)(m.n_answer + m.n_decline);
    if (share < c->helpful_share) {
        status = tn_fail(err, TN_MISMATCH,
                         "only %.0f %% of the SFT rows answer a request, %.0f %% are asked for "
                         "(helpful_share): add look-alikes "
                         "and everyday prompts",
                         100 * share, 100 * c->helpful_share);
        goto out;
    }
    TN_GOTO(tn_row_files_commit(files, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "pairs", json_integer(m.n_pair));
        json_object_set_new(metrics, "declining", json_integer(m.n_decline));
        json_object_set_new(metrics, "answering", json_integer(m.n_answer));
        json_object_set_new(metrics, "dropped", json_integer(m.n_dropped));
        json_object_set_new(metrics, "composed", json_integer(m.n_composed));
    }
out:
    tn_row_files_abandon(files);
    tn_row_map_free(&m.answers);
    tn_row_map_free(&m.contrast);
    tn_row_map_free(&m.revisions);
    tn_row_map_free(&m.whole);
    tn_prompts_free(&set);
    tn_constitution_free(charter);
    return status;
}
