/* check.c - samples held against the principles that a machine can check: the passing answer before the
 * failing one.
 *
 *   samples (one or more sets over the same prompts) ── check: absent, present, max_words ──→ passes | fails
 *   passes ≻ fails ──→ pairs.jsonl;  a passing answer ──→ sft.jsonl;  both with the principle's id ──→ records.jsonl
 *
 * No judge is needed where a pattern decides. A second set, sampled with the principle in its system text,
 * gives passing answers where the bare model has none (context distillation); its system text is not in the
 * rows. */
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_check_config, f)

// clang-format off
const tn_option tn_align_check_options[] = {
    { "max_repetition", TN_OPT_REAL, AT(max_repetition), "0.2", 0, 1,    "", "share of repeated 4-grams above which an answer is not chosen", NULL },
    { "pairs",          TN_OPT_INT,  AT(pairs),          "2",   1, 32,   "pairs", "a prompt and principle at most", NULL },
    { "min_words",      TN_OPT_INT,  AT(min_words),      "5",   1, 1000, "words", "shorter answers are not chosen", NULL },
    { .key = NULL }
};
// clang-format on

typedef struct checker {
    const tn_align_check_config *c;
    const tn_constitution       *charter;
    tn_row_file                  pairs, sft, records;
    int64_t                      n_pair, n_passed, n_failed;
    tn_error                    *err;
} checker;

enum { MAX_ANSWERS = 256 };

typedef struct sorted {
    const json_t *passed[MAX_ANSWERS], *failed[MAX_ANSWERS];
    size_t        n_passed, n_failed;
} sorted;

static bool is_open(const json_t *a)
{
    const char *stop = tn_row_text(a, "stop_reason");

    return stop != NULL && strcmp(stop, "length") == 0;
}

static bool has(const json_t *const *list, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tn_row_text(list[i], "answer"), text) == 0) return true;
    return false;
}

/* Different answers only; a degenerate one may fail, but is never an example. */
static tn_status answers_sort(checker *k, const tn_principle *p, const tn_row_map *sets, size_t n_set,
                              const char *id, sorted *s)
{
    for (size_t m = 0; m < n_set; m++) {
        const json_t *answers = json_object_get(tn_row_map_get(&sets[m], id), "answers");

        for (size_t i = 0; i < json_array_size(answers); i++) {
            const json_t *a = json_array_get(answers, i);
            const char   *text = tn_row_text(a, "answer");
            bool          checked, passed;

            if (text == NULL) return tn_fail(k->err, TN_FORMAT, "prompt %s: a sample without \"answer\"", id);
            TN_TRY(tn_principle_check(p, text, &checked, &passed, k->err));
            k->n_passed += passed;
            k->n_failed += !passed;
            if (!passed && s->n_failed < MAX_ANSWERS && text[0] != '\0' && !has(s->failed, s->n_failed, text))
                s->failed[s->n_failed++] = a;
            if (passed && s->n_passed < MAX_ANSWERS && tn_words(text) >= k->c->min_words &&
                tn_repetition(text) <= k->c->max_repetition && !has(s->passed, s->n_passed, text))
                s->passed[s->n_passed++] = a;
        }
    }
    return TN_OK;
}

static tn_status rows_write(checker *k, const tn_prompt *x, const tn_principle *p, const sorted *s)
{
    char hex[TN_SHA256_HEX];

    tn_hex(hex, &p->digest);
    for (size_t i = 0; i < s->n_passed && i < (size_t)k->c->pairs; i++) {
        const json_t *good = s->passed[i], *bad = s->n_failed > 0 ? s->failed[i % s->n_failed] : NULL;
        const char   *chosen = tn_row_text(good, "answer"), *rejected = tn_row_text(bad, "answer");
        char         *id = tn_strf("%s#%s%zu", x->id, p->id, i);

        if (id == NULL) return tn_fail(k->err, TN_NOMEM, "no memory for a row");
        tn_status status = tn_row_file_add(
            &k->sft,
            json_pack("{s:s, s:s, s:[{s:s,s:s},{s:s,s:s}], s:s, s:b}", "id", id, "kind",
                      tn_prompt_kind_name(x->kind), "messages", "role", "user", "content", x->text, "role",
                      "assistant", "content", chosen, "principle", p->id, "open", is_open(good)),
            k->err);
        if (status == TN_OK && bad != NULL) {
            k->n_pair++;
            status = tn_row_file_add(&k->pairs,
                                     json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:b, s:b}", "id", id,
                                               "kind", tn_prompt_kind_name(x->kind), "prompt", x->text,
                                               "chosen", chosen, "rejected", rejected, "principle", p->id,
                                               "p", 1.0, "open", is_open(good), "rejected_open",
                                               is_open(bad)),
                                     k->err);
        }
        if (status == TN_OK)
            status = tn_row_file_add(&k->records,
                                     json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:s}", "id", id, "kind",
                                               tn_prompt_kind_name(x->kind), "prompt", x->text, "principle",
                                               p->id, "principle_sha256", hex, "chosen", chosen, "rejected",
                                               rejected, "how", "checked"),
                                     k->err);
        free(id);
        TN_TRY(status);
    }
    return TN_OK;
}

static bool has_check(const tn_principle *p)
{
    return p->check.absent != NULL || p->check.present != NULL || p->check.max_words > 0;
}

tn_status tn_align_check_run(const tn_align_check_config *c, const char *prompts, const char *constitution,
                             const char *const *samples, size_t n_set, const char *out_dir, json_t *metrics,
                             tn_error *err)
{
    tn_status          status = TN_OK;
    tn_constitution   *charter = NULL;
    tn_prompts         set = { 0 };
    tn_row_map        *maps = calloc(n_set + 1, sizeof *maps);
    tn_align_sampling  all = { .split = (char[]){ "train" } };
    checker            k = { .c = c, .err = err };
    tn_row_file *const files[] = { &k.pairs, &k.sft, &k.records, NULL };
    size_t             n_checked = 0;
    sorted            *s = calloc(1, sizeof *s);

    if (maps == NULL || s == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu sets of samples", n_set);
        goto out;
    }
    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    k.charter = charter;
    for (size_t i = 0; i < charter->n_principle; i++) n_checked += has_check(&charter->principles[i]);
    if (n_checked == 0) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s: no principle has a check (absent, present or max_words): there is nothing that "
                         "a machine could check",
                         constitution);
        goto out;
    }
    TN_GOTO(tn_prompts_select(&set, prompts, &all, err));
    for (size_t i = 0; i < n_set; i++) TN_GOTO(tn_row_map_load(&maps[i], samples[i], "samples.jsonl", err));
    TN_GOTO(tn_row_files_open(files, out_dir,
                              (const char *const[]){ "pairs.jsonl", "sft.jsonl", "records.jsonl" }, err));
    for (size_t i = 0; i < set.n; i++)
        for (size_t p = 0; p < charter->n_principle; p++) {
            const char *const topics[] = { set.at[i].topic };
            if (!has_check(&charter->principles[p]) ||
                !tn_principle_applies(&charter->principles[p], topics, 1))
                continue;
            memset(s, 0, sizeof *s);
            TN_GOTO(answers_sort(&k, &charter->principles[p], maps, n_set, set.at[i].id, s));
            TN_GOTO(rows_write(&k, &set.at[i], &charter->principles[p], s));
        }
    if (k.n_pair == 0) {
        status = tn_fail(err, TN_MISMATCH,
                         "no pair could be made: %lld samples pass their checks and %lld fail, and no prompt "
                         "has both: sample more answers, or a second "
                         "set with the principle as system text",
                         (long long)k.n_passed, (long long)k.n_failed);
        goto out;
    }
    TN_GOTO(tn_row_files_commit(files, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "pairs", json_integer(k.n_pair));
        json_object_set_new(metrics, "passed", json_integer(k.n_passed));
        json_object_set_new(metrics, "failed", json_integer(k.n_failed));
    }
out:
    tn_row_files_abandon(files);
    for (size_t i = 0; maps != NULL && i < n_set; i++) tn_row_map_free(&maps[i]);
    free(maps);
    free(s);
    tn_prompts_free(&set);
    tn_constitution_free(charter);
    return status;
}
