/* contrast.c - contrast pairs (RLCD, arXiv:2307.12950): the same prompt answered under the two affixes of one
 * principle.
 *
 *   prompt + principle ──→ system "You are {affix+}" ──→ positive    (label by construction: positive wins)
 *                     └──→ system "You are {affix-}" ──→ negative
 *
 * The principle: a prompt's own for requests to decline; drawn by weight among those that ask for an answer
 * otherwise. */
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

// clang-format off
const tn_option tn_align_contrast_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_contrast_config, "96", "0", "train"),
    { .key = NULL }
};
// clang-format on

const tn_principle *tn_align_principle_of(const tn_constitution *c, const tn_prompt *p, uint64_t seed)
{
    tn_rng_key          key = { seed, TN_RNG_PRINCIPLE, 0, tn_align_sample_id(p->id, "principle") };
    const char *const   topics[] = { p->topic };
    const tn_principle *own = p->principle != NULL ? tn_constitution_find(c, p->principle) : NULL;

    if (p->kind == TN_PROMPT_DECLINE) {
        if (own != NULL && own->stance == TN_STANCE_DECLINE) return own;
        return tn_constitution_draw(c, topics, 1, TN_STANCE_DECLINE, &key, 0);
    }
    const tn_principle *answer = tn_constitution_draw(c, topics, 1, TN_STANCE_ANSWER, &key, 0);
    return answer != NULL ? answer : tn_constitution_draw(c, topics, 1, TN_STANCE_STYLE, &key, 0);
}

tn_status tn_align_contrast_run(const tn_align_contrast_config *c, tn_profile profile, const char *model,
                                const char *prompts, const char *constitution, const char *out_dir,
                                json_t *metrics, tn_error *err)
{
    tn_status            status = TN_OK;
    tn_constitution     *charter = NULL;
    tn_prompts           set = { 0 };
    tn_align_engine      a = { 0 };
    tn_row_file          rows = { 0 };
    const tn_principle **principle = NULL;
    char               **system = NULL;
    tn_message          *msg = NULL;
    tn_dialogue         *d = NULL;
    tn_result           *r = NULL;
    tn_sampling          s = tn_align_sampling_of(&c->s);
    size_t               n = 0;

    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    TN_GOTO(tn_prompts_select(&set, prompts, &c->s, err));
    TN_GOTO(tn_align_engine_open(&a, model, NULL, profile, c->s.batch, NULL, c->s.memo, err));
    principle = calloc(set.n, sizeof *principle);
    system = calloc(2 * set.n, sizeof *system);
    msg = calloc(4 * set.n, sizeof *msg);
    d = calloc(2 * set.n, sizeof *d);
    r = calloc(2 * set.n, sizeof *r);
    if (principle == NULL || system == NULL || msg == NULL || d == NULL || r == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu prompts", set.n);
        goto out;
    }
    /* Prompts whose principle has no affix pair are left out: a contrast needs two sides. */
    size_t kept = 0;
    for (size_t i = 0; i < set.n; i++) {
        const tn_principle *p = tn_align_principle_of(charter, &set.at[i], (uint64_t)c->s.seed);

        if (p == NULL || p->affix_positive == NULL || p->affix_negative == NULL) continue;
        tn_prompt swap = set.at[kept];
        set.at[kept] = set.at[i];
        set.at[i] = swap;
        principle[kept++] = p;
    }
    for (size_t i = 0; i < kept; i++)
        for (size_t side = 0; side < 2; side++, n++) {
            system[n] = tn_strf("You are %s.",
                                side == 0 ? principle[i]->affix_positive : principle[i]->affix_negative);
            if (system[n] == NULL) {
                status = tn_fail(err, TN_NOMEM, "no memory for a system text");
                goto out;
            }
            msg[2 * n] = (tn_message){ "system", system[n] };
            msg[2 * n + 1] = (tn_message){ "user", set.at[i].text };
            d[n] = (tn_dialogue){ &msg[2 * n], 2,
                                  tn_align_sample_id(set.at[i].id, side == 0 ? "positive" : "negative") };
        }
    TN_GOTO(tn_align_sample(a.engine, a.model, d, n, &s, r, "contrast", err));
    TN_GOTO(tn_row_file_open(&rows, out_dir, "contrast.jsonl", err));
    int64_t declined[2] = { 0 };
    for (size_t i = 0; i < kept; i++) {
        const tn_result *pos = &r[2 * i], *neg = pos + 1;

        if (pos->status != TN_OK || neg->status != TN_OK) {
            const tn_result *bad = pos->status != TN_OK ? pos : neg;
            status = tn_fail(err, bad->status, "prompt %s: %s", set.at[i].id, bad->message);
            goto out;
        }
        declined[0] += tn_looks_declining(pos->text);
        declined[1] += tn_looks_declining(neg->text);
        TN_GOTO(tn_row_file_add(&rows,
                                json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:s, s:s, s:s}", "id", set.at[i].id,
                                          "principle", principle[i]->id, "positive", pos->text, "negative",
                                          neg->text, "logprob_positive", tn_align_logprob_sum(pos),
                                          "logprob_negative", tn_align_logprob_sum(neg), "stop_positive",
                                          pos->stop_reason, "stop_negative", neg->stop_reason, "kind",
                                          tn_prompt_kind_name(set.at[i].kind)),
                                err));
    }
    TN_GOTO(tn_row_file_commit(&rows, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "pairs", json_integer((json_int_t)kept));
        json_object_set_new(metrics, "positive_declines", json_integer(declined[0]));
        json_object_set_new(metrics, "negative_declines", json_integer(declined[1]));
    }
out:
    tn_row_file_abandon(&rows);
    for (size_t i = 0; r != NULL && i < n; i++) tn_result_free(&r[i]);
    for (size_t i = 0; system != NULL && i < n; i++) free(system[i]);
    free(r);
    free(d);
    free(msg);
    free(system);
    free(principle);
    tn_align_engine_close(&a);
    tn_prompts_free(&set);
    tn_constitution_free(charter);
    return status;
}
