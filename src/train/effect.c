/* effect.c - options that would do nothing beside the others are refused where they are given: nothing that
 * is asked for is passed over. */
#include "train/run.h"

#include <string.h>

/* 0 and false ask for nothing. */
static bool is_asked(const json_t *given, const char *key)
{
    const json_t *v = json_object_get(given, key);
    return v != NULL && !json_is_false(v) && !(json_is_number(v) && json_number_value(v) == 0);
}

static bool is(const char *choice, const char *word) { return strcmp(choice, word) == 0; }

static bool any_pairs(const tn_train_config *c) { return !is(c->loss, "sft"); }
static bool any_texts(const tn_train_config *c) { return !any_pairs(c); }
static bool with_beta(const tn_train_config *c) { return any_pairs(c) && !is(c->loss, "orpo"); }
static bool with_gamma(const tn_train_config *c) { return is(c->loss, "simpo"); }
static bool with_alpha(const tn_train_config *c)
{
    return is(c->loss, "orpo") || is(c->loss, "r_dpo") || (is(c->loss, "rpo") && c->rpo_alpha == 0);
}
static bool with_kto(const tn_train_config *c) { return is(c->loss, "kto"); }
static bool with_spike(const tn_train_config *c) { return c->spike > 0; }
static bool with_momentum(const tn_train_config *c)
{
    return is(c->optimizer, "sgd") || is(c->optimizer, "muon");
}
static bool with_adam(const tn_train_config *c)
{
    return is(c->optimizer, "adamw") || is(c->optimizer, "muon");
}
static bool with_end(const tn_train_config *c) { return !is(c->schedule, "constant"); }
static bool with_wsd(const tn_train_config *c) { return is(c->schedule, "wsd"); }
static bool with_valid(const tn_train_config *c) { return c->valid != NULL && c->valid[0] != '\0'; }
static bool with_rope(const tn_train_config *c) { return !is(c->family, "gpt2"); }

/* Checkpoints are made at multiples of checkpoint_every; the first that is one of keep_every too must lie
 * within a run that comes to keep_every. */
static bool meets_checkpoint(const tn_train_config *c)
{
    int64_t a = c->checkpoint_every, b = c->keep_every;
    if (with_valid(c)) return true; /* the best one may be such a multiple */
    if (a <= 0) return false;
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    double first = (double)c->checkpoint_every / (double)a * (double)c->keep_every;
    return c->steps == 0 || c->keep_every > c->steps || first <= (double)c->steps;
}

// clang-format off
static const struct { const char *key; bool (*used)(const tn_train_config *c); const char *because; } rows[] = {
    { "format",        any_texts,        "the loss learns from pairs, one a row: choose sft" },
    { "pack",          any_texts,        "the loss learns from pairs, one a row: choose sft" },
    { "train_prompt",  any_texts,        "the loss learns from pairs, of which the answers are trained: choose sft" },
    { "beta",          with_beta,        "the loss has no place for it: choose a preference loss other than orpo" },
    { "gamma",         with_gamma,       "the loss has no place for it: choose simpo" },
    { "alpha",         with_alpha,       "the loss has no place for it: choose orpo, r_dpo or rpo (with which rpo_alpha stands in for it)" },
    { "kto_good",      with_kto,         "the loss has no place for it: choose kto" },
    { "kto_bad",       with_kto,         "the loss has no place for it: choose kto" },
    { "rpo_alpha",     any_pairs,        "the loss has no place for it: choose a preference loss" },
    { "on_spike",      with_spike,       "spike is 0: give how many standard deviations make a spike (6 is usual)" },
    { "momentum",      with_momentum,    "the optimizer has none: choose sgd or muon (AdamW's is beta1)" },
    { "beta1",         with_adam,        "the optimizer has no place for it: choose adamw or muon" },
    { "beta2",         with_adam,        "the optimizer has no place for it: choose adamw or muon" },
    { "eps",           with_adam,        "the optimizer has no place for it: choose adamw or muon" },
    { "lr_min",        with_end,         "with schedule: constant the learning rate stays lr: choose linear, cosine or wsd" },
    { "decay",         with_wsd,         "the schedule has no such part: choose wsd" },
    { "rope_theta",    with_rope,        "gpt2 has learned positions: choose another family" },
    { "valid_every",   with_valid,       "nothing is held out: name files with 'valid'" },
    { "valid_samples", with_valid,       "nothing is held out: name files with 'valid'" },
    { "keep_every",    meets_checkpoint, "no checkpoint is made at a multiple of it: give a multiple of checkpoint_every" },
};
// clang-format on
enum { N_ROW = sizeof rows / sizeof *rows };

tn_status train_effect_check(const tn_train_config *c, tn_error *err)
{
    json_t   *given = train_given(c, err);
    tn_status status = given != NULL ? TN_OK : TN_NOMEM;

    for (int i = 0; status == TN_OK && i < N_ROW; i++)
        if (is_asked(given, rows[i].key) && !rows[i].used(c))
            status = tn_fail(err, TN_USAGE, "%s would have no effect: %s, or leave %s out", rows[i].key,
                             rows[i].because, rows[i].key);
    json_decref(given);
    return status;
}

static bool with_experts(const run *r) { return tn_model_hparams(r->model)->n_expert > 0; }
static bool with_chat(const run *r) { return !r->data.pairs && r->data.stats.n_chat > 0; }

/* Is there anything that the other model is asked about? */
static bool with_reference(const run *r)
{
    return r->data.pairs ? tn_pref_needs_reference(r->data.pref.kind)
                         : r->data.teacher.n > 0 || r->valid.teacher.n > 0;
}

// clang-format off
static const struct { const char *key; bool (*used)(const run *r); const char *because; } known[] = {
    { "aux_coef",     with_experts,   "the model has no experts" },
    { "router_z",     with_experts,   "the model has no experts" },
    { "train_prompt", with_chat,      "it is for conversations, and of a text every token is learned anyway" },
    { "reference",    with_reference, "the loss compares with no other model, and no row has \"distill\"" },
};
// clang-format on
enum { N_KNOWN = sizeof known / sizeof *known };

tn_status train_effect_known(const run *r, tn_error *err)
{
    json_t   *given = train_given(r->c, err);
    tn_status status = given != NULL ? TN_OK : TN_NOMEM;

    for (int i = 0; status == TN_OK && i < N_KNOWN; i++)
        if (is_asked(given, known[i].key) && !known[i].used(r))
            status = tn_fail(err, TN_USAGE, "%s would have no effect: %s; leave %s out", known[i].key,
                             known[i].because, known[i].key);
    json_decref(given);
    return status;
}
