/* config.c - the options of a training run (option_rows.h), and what contradicts in them. */
#include "train/run.h"

#include "base/str.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define AT(field) offsetof(tn_train_config, field)

const tn_option tn_train_options[] = {
#define ROW(flags, ...) { __VA_ARGS__ },
#include "train/option_rows.h"
#undef ROW
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
};

/* SCRATCH: only a model from scratch has it, so it would be ignored beside 'model'; SHAPE: and 'like' tells
 * it already; LORA: of adapters. */
enum { PLACE = TRAIN_PLACE, FREE = TRAIN_FREE, SCRATCH = 4, SHAPE = 8 | SCRATCH, LORA = 16 };
static const unsigned option_flags[] = {
#define ROW(flags, ...) flags,
#include "train/option_rows.h"
#undef ROW
};

bool train_option_is(const tn_option *o, unsigned flag)
{
    return (option_flags[o - tn_train_options] & flag) == flag;
}

tn_status tn_train_config_load(tn_train_config *c, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    tn_yaml  *y = NULL;
    *c = (tn_train_config){ 0 };
    TN_GOTO(tn_options_default(c, tn_train_options, err));
    TN_GOTO(tn_yaml_load(&y, path, err));
    TN_GOTO(tn_options_yaml(c, tn_train_options, y, path, NULL, err));
out:
    tn_yaml_free(y);
    if (status != TN_OK) tn_train_config_free(c);
    return status;
}

void tn_train_config_free(tn_train_config *c) { tn_options_free(c, tn_train_options); }

static bool power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

const tn_option *tn_train_place(const char *key)
{
    for (const tn_option *o = tn_train_options; o->key != NULL; o++)
        if (train_option_is(o, PLACE) && strcmp(o->key, key) == 0) return o;
    return NULL;
}

json_t *train_given(const tn_train_config *c, tn_error *err)
{
    tn_train_config usual = { 0 };
    tn_status       status = tn_options_default(&usual, tn_train_options, err);
    json_t         *given = NULL, *by_default = NULL;

    if (status == TN_OK && ((given = tn_options_json(c, tn_train_options)) == NULL ||
                            (by_default = tn_options_json(&usual, tn_train_options)) == NULL)) {
        status = tn_fail(err, TN_NOMEM, "no memory for the settings");
        json_decref(given);
        given = NULL;
    }
    for (const tn_option *o = tn_train_options; status == TN_OK && o->key != NULL; o++) {
        const json_t *v = json_object_get(given, o->key);
        if ((json_is_string(v) && json_string_length(v) == 0) ||
            json_equal(v, json_object_get(by_default, o->key)))
            json_object_del(given, o->key);
    }
    json_decref(by_default);
    tn_options_free(&usual, tn_train_options);
    return given;
}

/* The first key with this flag that is given; *key NULL: none. */
static tn_status given_find(const tn_train_config *c, unsigned flag, const char **key, tn_error *err)
{
    json_t *given = train_given(c, err);

    *key = NULL;
    for (const tn_option *o = tn_train_options; given != NULL && *key == NULL && o->key != NULL; o++)
        if (train_option_is(o, flag) && json_object_get(given, o->key) != NULL) *key = o->key;
    json_decref(given);
    return given != NULL ? TN_OK : TN_NOMEM;
}

static tn_status check_shape(const tn_train_config *c, tn_error *err)
{
    const char *key = NULL;
    if (c->model != NULL) TN_TRY(given_find(c, SCRATCH, &key, err));
    if (key != NULL)
        return tn_fail(
            err, TN_USAGE,
            "%s is for a model from scratch, but 'model' names one to start from: leave one of the two out",
            key);
    if (c->model == NULL && c->like != NULL) TN_TRY(given_find(c, SHAPE, &key, err));
    if (key != NULL)
        return tn_fail(err, TN_USAGE,
                       "%s is part of the shape that 'like' takes from %s: leave one of the two out (n_vocab "
                       "and init_std may stand beside 'like')",
                       key, c->like);
    if (c->model == NULL && (float)c->init_std < FLT_MIN)
        return tn_fail(err, TN_USAGE,
                       "init_std is %g: the weights of a model from scratch would all be 0 and stay alike; "
                       "0.02 is usual",
                       c->init_std);
    return TN_OK;
}

/* Low-rank adapters: nothing that is asked for is passed over. */
static tn_status check_lora(const tn_train_config *c, tn_error *err)
{
    const char *key = NULL;
    if (c->model == NULL && c->lora_rank > 0)
        return tn_fail(err, TN_USAGE, "lora_rank needs a model to adapt: name one with 'model'");
    if (c->model == NULL && c->adapter != NULL)
        return tn_fail(err, TN_USAGE, "adapter needs the model that it adapts: name it with 'model'");
    if (c->lora_rank == 0 && c->adapter == NULL) {
        TN_TRY(given_find(c, LORA, &key, err));
        if (key != NULL)
            return tn_fail(err, TN_USAGE,
                           "%s is for low-rank adapters, and none are trained: set lora_rank (16 is usual) "
                           "or adapter, or leave %s out",
                           key, key);
        return TN_OK;
    }
    if (c->lora_plus == 0)
        return tn_fail(err, TN_USAGE,
                       "lora_plus is 0: the B of every adapter would stay 0 and nothing be learned; 1 is "
                       "usual, 16 LoRA+'s");
    if (strcmp(c->optimizer, "muon") == 0)
        return tn_fail(err, TN_USAGE,
                       "optimizer: muon is for the matrices of the layers, which are frozen here: adapters "
                       "are trained with adamw (or sgd, adafactor)");
    if (strcmp(c->dtype, "bf16") == 0)
        return tn_fail(err, TN_USAGE,
                       "dtype: bf16 trains all weights; with lora_rank the adapters are fp32 over the base "
                       "as it is: leave dtype out");
    return TN_OK;
}

/* Which losses weigh both orders of a pair, as a share of wrong labels wants; of those, which take a pair's
 * own p. */
static tn_status check_labels(const tn_train_config *c, tn_error *err)
{
    tn_pref_kind kind;
    if (c->label_smoothing == 0) return TN_OK;
    if (tn_pref_parse(c->loss, &kind) && (tn_pref_takes_p(kind) || kind == TN_PREF_ROBUST)) return TN_OK;
    return tn_fail(err, TN_USAGE,
                   "label_smoothing is %g, and the loss %s has no place for it: leave it out, or choose dpo, "
                   "robust, simpo, dpo_norm, r_dpo or rpo",
                   c->label_smoothing, c->loss);
}

/* Back needs something to go back to. */
static tn_status check_back(const tn_train_config *c, tn_error *err)
{
    const char *key = strcmp(c->on_nan, "back") == 0                     ? "on_nan"
                      : c->spike > 0 && strcmp(c->on_spike, "back") == 0 ? "on_spike"
                                                                         : NULL;
    if (key == NULL || c->checkpoint_every > 0) return TN_OK;
    return tn_fail(err, TN_USAGE,
                   "%s: back goes back to a checkpoint, and checkpoint_every is %lld: none is made on the "
                   "way; give how many steps lie between two, or choose skip",
                   key, (long long)c->checkpoint_every);
}

tn_status train_config_sound(const tn_train_config *c, tn_error *err)
{
    bool pairs = strcmp(c->loss, "sft") != 0;
    if (c->data == NULL || c->data[0] == '\0')
        return tn_fail(err, TN_USAGE, "data: name at least one file to train on");
    if (!isfinite(c->lr) || (float)c->lr < FLT_MIN)
        return tn_fail(err, TN_USAGE, "lr is %g; a learning rate above 0 is needed", c->lr);
    if (c->clip > 0 && (float)c->clip < FLT_MIN)
        return tn_fail(err, TN_USAGE, "clip is %g, which is nothing in 32 bits; 1 is usual, 0: no limit",
                       c->clip);
    if (c->lr_min > c->lr) return tn_fail(err, TN_USAGE, "lr_min %g is above lr %g", c->lr_min, c->lr);
    if (c->model == NULL && c->like == NULL &&
        (c->n_layer == 0 || c->n_embd == 0 || c->n_head == 0 || c->n_ff == 0))
        return tn_fail(err, TN_USAGE,
                       "no model: name one with 'model', or give n_layer, n_embd, n_head and n_ff to start "
                       "from scratch");
    if (c->model == NULL && c->like == NULL && c->tokenizer == NULL && c->n_vocab == 0)
        return tn_fail(
            err, TN_USAGE,
            "from scratch a tokenizer is needed: name a model with 'tokenizer', or 'tokenizer: bytes'");
    TN_TRY(check_lora(c, err));
    if (c->model == NULL && c->like == NULL && c->n_embd % c->n_head != 0 && c->d_head == 0)
        return tn_fail(err, TN_USAGE, "n_embd %lld is no multiple of n_head %lld", (long long)c->n_embd,
                       (long long)c->n_head);
    if (c->n_expert_used > c->n_expert)
        return tn_fail(err, TN_USAGE, "n_expert_used %lld is more than n_expert %lld",
                       (long long)c->n_expert_used, (long long)c->n_expert);
    if (c->d_head == 1)
        return tn_fail(err, TN_USAGE, "d_head is 1; a head is at least 2 wide (0: n_embd / n_head)");
    TN_TRY(check_shape(c, err));
    if (c->early_stop > 0 && (c->valid == NULL || c->valid[0] == '\0'))
        return tn_fail(err, TN_USAGE,
                       "early_stop looks at the validation loss: name held-out files with 'valid'");
    if (c->micro_batch > c->batch)
        return tn_fail(err, TN_USAGE, "micro_batch %lld is more than batch %lld", (long long)c->micro_batch,
                       (long long)c->batch);
    if (c->micro_batch > 0) {
        int64_t l = c->batch / c->micro_batch;
        if (c->batch % c->micro_batch != 0 || !power_of_two(l))
            return tn_fail(err, TN_USAGE,
                           "batch %lld / micro_batch %lld must be a power of two: the gradients of the "
                           "micro-batches meet in a "
                           "tree of pairs",
                           (long long)c->batch, (long long)c->micro_batch);
        if (c->group_size > 0 && (!power_of_two(c->group_size) || l % c->group_size != 0))
            return tn_fail(err, TN_USAGE,
                           "group_size %lld must be a power of two that divides the %lld micro-batches",
                           (long long)c->group_size, (long long)l);
    } else if (c->group_size > 0) {
        return tn_fail(err, TN_USAGE, "group_size needs micro_batch to be given");
    }
    if (c->steps == 0 && c->epochs <= 0) return tn_fail(err, TN_USAGE, "give steps, or epochs above 0");
    if (pairs && c->beta <= 0 && strcmp(c->loss, "orpo") != 0)
        return tn_fail(err, TN_USAGE, "beta is %g; %s needs one above 0", c->beta, c->loss);
    if (c->stochastic_rounding && strcmp(c->dtype, "bf16") != 0)
        return tn_fail(err, TN_USAGE, "stochastic_rounding needs dtype: bf16");
    TN_TRY(check_labels(c, err));
    return check_back(c, err);
}

tn_status tn_train_config_check(const tn_train_config *c, tn_error *err)
{
    TN_TRY(train_config_sound(c, err));
    return train_effect_check(c, err);
}
