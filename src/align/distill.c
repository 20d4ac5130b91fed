/* distill.c - context distillation (arXiv:2112.00861): what the model says with the constitution before its
 * eyes becomes what it is trained to say without it. The cheapest use of a constitution, and one that needs
 * no judge.
 *
 *   system: preamble + the principles of the prompt's topic | prompt ──→ answer ──→ sft.jsonl: prompt ──→ answer
 *   with the answers of the bare model: pairs.jsonl, the prompted answer before the bare one
 *
 * Rows that answer (look-alikes, everyday) and rows that may decline are kept in the share that is asked for:
 * of the declining ones, in a keyed order, as many as leave helpful_share to the others. */
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_distill_config, f)

// clang-format off
const tn_option tn_align_distill_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_distill_config, "96", "0", "train"),
    { "max_repetition", TN_OPT_REAL, AT(max_repetition), "0.2",   0, 1,    "", "share of repeated 4-grams above which an answer is dropped", NULL },
    { "helpful_share",  TN_OPT_REAL, AT(helpful_share),  "0.4",   0, 1,    "", "least share of rows that answer a harmless request", NULL },
    { "min_words",      TN_OPT_INT,  AT(min_words),      "5",     1, 1000, "words", "shorter answers are dropped", NULL },
    { "whole",          TN_OPT_BOOL, AT(whole),          "false", 0, 0,    "", "the whole constitution as system text, not only the topic's principles", NULL },
    { .key = NULL }
};
// clang-format on

typedef struct row {
    const tn_prompt    *prompt;
    const tn_principle *principle;
    const tn_result    *result;
    uint64_t            draw;
    bool                keep;
} row;

static int draw_order(const void *a, const void *b)
{
    const row *x = *(const row *const *)a, *y = *(const row *const *)b;

    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return strcmp(x->prompt->id, y->prompt->id);
}

/* Drops declining rows, last drawn first, until the others have their share. */
static tn_status share_keep(row *r, size_t n, double helpful_share, int64_t *dropped, tn_error *err)
{
    size_t m = 0, helpful = 0;
    row  **d = calloc(n + 1, sizeof *d);

    *dropped = 0;
    if (d == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu rows", n);
    for (size_t i = 0; i < n; i++) {
        if (!r[i].keep) continue;
        if (r[i].prompt->kind == TN_PROMPT_DECLINE) d[m++] = &r[i];
        else helpful++;
    }
    qsort(d, m, sizeof *d, draw_order);
    while (m > 0 && (double)helpful < helpful_share * (double)(helpful + m)) {
        d[--m]->keep = false;
        ++*dropped;
    }
    free(d);
    return TN_OK;
}

typedef struct outputs {
    tn_row_file sft, pairs, records;
    int64_t     n_sft, n_pair, n_helpful;
} outputs;

static tn_status row_write(outputs *o, const row *r, const tn_row_map *bare, const char *system_text,
                           tn_error *err)
{
    const tn_prompt *p = r->prompt;
    const json_t    *other = tn_row_map_get(bare, p->id);
    const char      *answer = r->result->text;
    const char      *own = tn_row_text(other, "answer");
    const char      *stop = tn_row_text(other, "stop_reason");
    bool             open = strcmp(r->result->stop_reason, "length") == 0;
    char             hex[TN_SHA256_HEX], system_hex[TN_SHA256_HEX];
    tn_digest        d = tn_sha256_of(system_text, strlen(system_text));

    tn_hex(hex, &r->principle->digest);
    tn_hex(system_hex, &d);
    TN_TRY(tn_row_file_add(&o->sft,
                           json_pack("{s:s, s:s, s:[{s:s,s:s},{s:s,s:s}], s:s, s:b}", "id", p->id, "kind",
                                     tn_prompt_kind_name(p->kind), "messages", "role", "user", "content",
                                     p->text, "role", "assistant", "content", answer, "principle",
                                     r->principle->id, "open", open),
                           err));
    o->n_sft++;
    o->n_helpful += p->kind != TN_PROMPT_DECLINE;
    if (own != NULL && own[0] != '\0' && strcmp(own, answer) != 0) {
        TN_TRY(tn_row_file_add(&o->pairs,
                               json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:b, s:b}", "id", p->id, "kind",
                                         tn_prompt_kind_name(p->kind), "prompt", p->text, "chosen", answer,
                                         "rejected", own, "principle", r->principle->id, "p", 1.0, "open",
                                         open, "rejected_open", stop != NULL && strcmp(stop, "length") == 0),
                               err));
        o->n_pair++;
    }
    return tn_row_file_add(&o->records,
                           json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:s, s:s, s:f}", "id", p->id,
                                     "kind", tn_prompt_kind_name(p->kind), "prompt", p->text, "principle",
                                     r->principle->id, "principle_sha256", hex, "chosen", answer, "rejected",
                                     own, "how", "distilled", "system_sha256", system_hex, "logprob",
                                     tn_align_logprob_sum(r->result)),
                           err);
}

tn_status tn_align_distill_run(const tn_align_distill_config *c, tn_profile profile, const char *model,
                               const char *prompts, const char *answers, const char *constitution,
                               const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status          status = TN_OK;
    tn_constitution   *charter = NULL;
    tn_prompts         set = { 0 };
    tn_align_engine    a = { 0 };
    tn_row_map         bare = { 0 };
    outputs            o = { 0 };
    tn_row_file *const files[] = { &o.sft, &o.pairs, &o.records, NULL };
    char             **text = NULL;
    tn_message        *msg = NULL;
    tn_dialogue       *d = NULL;
    tn_result         *r = NULL;
    row               *rows = NULL;
    tn_sampling        s = tn_align_sampling_of(&c->s);
    int64_t            unfit = 0, surplus = 0;

    if (c->s.system != NULL && c->s.system[0] != '\0')
        return tn_fail(
            err, TN_USAGE,
            "system: distillation makes its system text from the constitution; leave this option out");
    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    TN_GOTO(tn_prompts_select(&set, prompts, &c->s, err));
    if (answers != NULL) TN_GOTO(tn_row_map_load(&bare, answers, "answers.jsonl", err));
    TN_GOTO(tn_align_engine_open(&a, model, NULL, profile, c->s.batch, NULL, c->s.memo, err));
    text = calloc(set.n, sizeof *text);
    msg = calloc(2 * set.n, sizeof *msg);
    d = calloc(set.n, sizeof *d);
    r = calloc(set.n, sizeof *r);
    rows = calloc(set.n, sizeof *rows);
    if (text == NULL || msg == NULL || d == NULL || r == NULL || rows == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu prompts", set.n);
        goto out;
    }
    for (size_t i = 0; i < set.n; i++) {
        const char *const topics[] = { set.at[i].topic };

        if ((text[i] = tn_constitution_prompt(charter, topics, c->whole ? 0 : 1)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a system text");
            goto out;
        }
        msg[2 * i] = (tn_message){ "system", text[i] };
        msg[2 * i + 1] = (tn_message){ "user", set.at[i].text };
        d[i] = (tn_dialogue){ &msg[2 * i], 2, tn_align_sample_id(set.at[i].id, "distill") };
    }
    TN_GOTO(tn_align_sample(a.engine, a.model, d, set.n, &s, r, "distill", err));
    for (size_t i = 0; i < set.n; i++) {
        const tn_prompt *p = &set.at[i];
        tn_rng_key       key = { (uint64_t)c->s.seed, TN_RNG_PROMPT, 1, tn_align_sample_id(p->id, "share") };

        if (r[i].status != TN_OK) {
            status = tn_fail(err, r[i].status, "prompt %s: %s", p->id, r[i].message);
            goto out;
        }
        rows[i] = (row){ p, tn_align_principle_of(charter, p, (uint64_t)c->s.seed), &r[i],
                         tn_rng_u64(&key, 0), false };
        if (rows[i].principle == NULL) {
            status = tn_fail(err, TN_MISMATCH,
                             "no principle of the constitution applies to prompt %s (topic '%s')", p->id,
                             p->topic);
            goto out;
        }
        /* Declining a harmless request is the fault that distillation must not teach. */
        rows[i].keep = tn_words(r[i].text) >= c->min_words && tn_repetition(r[i].text) <= c->max_repetition &&
                       !(p->kind != TN_PROMPT_DECLINE && tn_looks_declining(r[i].text));
        unfit += !rows[i].keep;
    }
    TN_GOTO(share_keep(rows, set.n, c->helpful_share, &surplus, err));
    TN_GOTO(tn_row_files_open(files, out_dir,
                              (const char *const[]){ "sft.jsonl", "pairs.jsonl", "records.jsonl" }, err));
    for (size_t i = 0; i < set.n; i++)
        if (rows[i].keep) TN_GOTO(row_write(&o, &rows[i], &bare, text[i], err));
    if (o.n_sft == 0) {
        status = tn_fail(err, TN_MISMATCH,
                         "no row is left: %lld answers are degenerate, %lld were dropped for the share of "
                         "helpful rows (helpful_share %g): add "
                         "harmless prompts",
                         (long long)unfit, (long long)surplus, c->helpful_share);
        goto out;
    }
    TN_GOTO(tn_row_files_commit(files, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "rows", json_integer(o.n_sft));
        json_object_set_new(metrics, "pairs", json_integer(o.n_pair));
        json_object_set_new(metrics, "helpful_share", json_real((double)o.n_helpful / (double)o.n_sft));
        json_object_set_new(metrics, "degenerate", json_integer(unfit));
        json_object_set_new(metrics, "dropped_for_the_share", json_integer(surplus));
    }
out:
    tn_row_files_abandon(files);
    for (size_t i = 0; r != NULL && i < set.n; i++) tn_result_free(&r[i]);
    for (size_t i = 0; text != NULL && i < set.n; i++) free(text[i]);
    free(rows);
    free(r);
    free(d);
    free(msg);
    free(text);
    tn_align_engine_close(&a);
    tn_row_map_free(&bare);
    tn_prompts_free(&set);
    tn_constitution_free(charter);
    return status;
}
