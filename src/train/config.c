/* config.c - the options of a training run: one row drives the YAML key, --set, the help and the manifest. */
#include "train/train.h"

#include "base/str.h"

#include <math.h>
#include <string.h>

#define AT(field) offsetof(tn_train_config, field)

const tn_option tn_train_options[] = {
    /* key                 kind           where                    default    min  max   unit or choices, help, alias */
    { "model",             TN_OPT_STR,    AT(model),               NULL,      0, 0,
      "", "model to start from (a directory, a .gguf, a name); none: from scratch", NULL },
    { "adapter",           TN_OPT_STR,    AT(adapter),             NULL,      0, 0,      "", "LoRA adapter to go on with (PEFT's form)", NULL },
    { "checkpoint",        TN_OPT_STR,    AT(checkpoint),          NULL,      0, 0,
      "", "checkpoint of another run to extend: its weights and optimiser state", NULL },
    { "tokenizer",         TN_OPT_STR,    AT(tokenizer),           NULL,      0, 0,
      "", "from scratch: a model (or a folder or file with a tokenizer alone) whose tokenizer is used, or 'bytes'", NULL },
    { "chat_format",       TN_OPT_STR,    AT(chat_format),         NULL,      0, 0,      "", "chat format, when the model does not tell", NULL },
    { "reference",         TN_OPT_STR,    AT(reference),           NULL,      0, 0,
      "", "reference of preference losses, and teacher of rows with \"distill\"; none: the model as it was at the start", NULL },
    { "family",            TN_OPT_STR,    AT(family),              "llama",   0, 0,      "", "from scratch: architecture", NULL },
    { "like",              TN_OPT_STR,    AT(like),                NULL,      0, 0,
      "", "from scratch: shape of this model (a folder with config.json, that file, a .gguf), new weights", NULL },
    { "n_layer",           TN_OPT_INT,    AT(n_layer),             "0",       0, 4096,   "layers", "from scratch", NULL },
    { "n_embd",            TN_OPT_INT,    AT(n_embd),              "0",       0, 1 << 20, "", "from scratch: width", NULL },
    { "n_head",            TN_OPT_INT,    AT(n_head),              "0",       0, 4096,   "heads", "from scratch", NULL },
    { "n_head_kv",         TN_OPT_INT,    AT(n_head_kv),           "0",       0, 4096,
      "heads", "from scratch: key and value heads; 0: as n_head", NULL },
    { "d_head",            TN_OPT_INT,    AT(d_head),              "0",       0, 4096,
      "", "from scratch: width of a head; 0: n_embd / n_head", NULL },
    { "n_ff",              TN_OPT_INT,    AT(n_ff),                "0",       0, 1 << 22, "", "from scratch: width of the feed-forward part", NULL },
    { "n_vocab",           TN_OPT_INT,    AT(n_vocab),             "0",       0, 1 << 24, "tokens", "from scratch: 0: the tokenizer's", NULL },
    { "n_expert",          TN_OPT_INT,    AT(n_expert),            "0",       0, 4096,   "", "from scratch: experts", NULL },
    { "n_expert_used",     TN_OPT_INT,    AT(n_expert_used),       "0",       0, 4096,   "", "from scratch: experts a token", NULL },
    { "tied",              TN_OPT_BOOL,   AT(tied),                "true",    0, 0,
      "", "from scratch: head and embedding are one matrix", NULL },
    { "rope_theta",        TN_OPT_REAL,   AT(rope_theta),          "10000",   1, 1e12,   "", "from scratch", NULL },
    { "norm_eps",          TN_OPT_REAL,   AT(norm_eps),            "1e-5",    0, 1,      "", "from scratch", NULL },
    { "init_std",          TN_OPT_REAL,   AT(init_std),            "0.02",    0, 10,
      "", "from scratch: standard deviation of the first weights", NULL },
    { "data",              TN_OPT_LIST,   AT(data),                NULL,      0, 0,
      "", "files or directories: text, JSONL, chat or pair JSONL, also .gz and .zst; or token shards (.tns)", NULL },
    { "data_weights",      TN_OPT_LIST,   AT(data_weights),        NULL,      0, 0,      "", "share of each source; none: by size", NULL },
    { "valid",             TN_OPT_LIST,   AT(valid),               NULL,      0, 0,      "", "held-out files of the same kind", NULL },
    { "format",            TN_OPT_CHOICE, AT(format),              "auto",    0, 0,      "auto|text|jsonl|chat", "what the files hold", NULL },
    { "pack",              TN_OPT_CHOICE, AT(pack),                "best-fit", 0, 0,
      "greedy|best-fit|none", "how documents fill a sequence", NULL },
    { "n_ctx",             TN_OPT_INT,    AT(n_ctx),               "512",     2, 1 << 24, "tokens", "length of a sequence", NULL },
    { "shuffle",           TN_OPT_BOOL,   AT(shuffle),             "true",    0, 0,      "", "keyed order; false: as packed (best-fit: longest first)", NULL },
    { "train_prompt",      TN_OPT_BOOL,   AT(train_prompt),        "false",   0, 0,
      "", "conversations: learn every token, not only the assistant's", NULL },
    { "loss",              TN_OPT_CHOICE, AT(loss),                "sft",     0, 0,
      "sft|dpo|robust|ipo|hinge|kto|orpo|simpo|dpo_norm|r_dpo|apo_zero|rpo", "objective", NULL },
    { "beta",              TN_OPT_REAL,   AT(beta),                "0.1",     0, 100,    "", "preference losses: strength (IPO: tau)", NULL },
    { "label_smoothing",   TN_OPT_REAL,   AT(label_smoothing),     "0",       0, 0.499,
      "", "preference losses: share of wrong labels (cDPO, robust)", NULL },
    { "gamma",             TN_OPT_REAL,   AT(gamma),               "1",       0, 100,    "", "SimPO: margin", NULL },
    { "alpha",             TN_OPT_REAL,   AT(alpha),               "1",       0, 100,
      "", "ORPO: lambda; R-DPO: length; RPO: as rpo_alpha", NULL },
    { "kto_good",          TN_OPT_REAL,   AT(kto_good),            "1",       0, 100,    "", "KTO: weight of good answers", NULL },
    { "kto_bad",           TN_OPT_REAL,   AT(kto_bad),             "1",       0, 100,    "", "KTO: weight of bad answers", NULL },
    { "rpo_alpha",         TN_OPT_REAL,   AT(rpo_alpha),           "0",       0, 100,
      "", "any preference loss: weight of the chosen answer's mean NLL; 0: none (loss rpo: alpha)", NULL },
    { "z_loss",            TN_OPT_REAL,   AT(z_loss),              "0",       0, 1,      "", "weight of logsumexp^2", NULL },
    { "aux_coef",          TN_OPT_REAL,   AT(aux_coef),            "0.01",    0, 10,     "", "experts: weight of the loss that balances them", NULL },
    { "router_z",          TN_OPT_REAL,   AT(router_z),            "0",       0, 10,     "", "experts: weight of the router's logsumexp^2", NULL },
    { "batch",             TN_OPT_INT,    AT(batch),               "8",       1, 1 << 24,
      "sequences", "sequences (or pairs) a step, all ranks together", NULL },
    { "micro_batch",       TN_OPT_INT,    AT(micro_batch),         "0",       0, 1 << 20,
      "sequences", "computed at once: decides memory, part of the bits; 0: as many as 2048 tokens", NULL },
    { "group_size",        TN_OPT_INT,    AT(group_size),          "0",       0, 1 << 20,
      "micro-batches", "added in order before the tree; part of the bits; 0: batch / micro_batch / 4", NULL },
    { "steps",             TN_OPT_INT,    AT(steps),               "0",       0, 1e12,   "steps", "optimiser steps; 0: by epochs", NULL },
    { "epochs",            TN_OPT_REAL,   AT(epochs),              "1",       0, 1e6,    "", "passes over the data, when steps is 0", NULL },
    { "stop_at",           TN_OPT_INT,    AT(stop_at),             "0",       0, 1e12,
      "steps", "checkpoint and stop after this step; the same command goes on; 0: no", NULL },
    { "optimizer",         TN_OPT_CHOICE, AT(optimizer),           "adamw",   0, 0,
      "adamw|sgd|adafactor|muon", "muon: matrices of the layers; AdamW for the rest", NULL },
    { "schedule",          TN_OPT_CHOICE, AT(schedule),            "cosine",  0, 0,
      "constant|linear|cosine|wsd", "learning rate after the warm-up", NULL },
    { "lr",                TN_OPT_REAL,   AT(lr),                  "3e-4",    0, 10,     "", "peak learning rate", NULL },
    { "lr_min",            TN_OPT_REAL,   AT(lr_min),              "0",       0, 10,     "", "learning rate at the end", NULL },
    { "warmup",            TN_OPT_REAL,   AT(warmup),              "0.1",     0, 1e9,    "", "steps, or below 1 a share of all steps", NULL },
    { "decay",             TN_OPT_REAL,   AT(decay),               "0.2",     1e-6, 1,   "", "WSD: share of all steps that decay, the last ones", NULL },
    { "beta1",             TN_OPT_REAL,   AT(beta1),               "0.9",     0, 0.9999999, "", "AdamW", NULL },
    { "beta2",             TN_OPT_REAL,   AT(beta2),               "0.95",    0, 0.9999999, "", "AdamW", NULL },
    { "eps",               TN_OPT_REAL,   AT(eps),                 "1e-8",    1e-20, 1,      "", "AdamW", NULL },
    { "momentum",          TN_OPT_REAL,   AT(momentum),            "0.95",    0, 0.9999999, "", "SGD and Muon", NULL },
    { "weight_decay",      TN_OPT_REAL,   AT(weight_decay),        "0",       0, 10,
      "", "decoupled; never on norms, biases and embeddings", NULL },
    { "clip",              TN_OPT_REAL,   AT(clip),                "1",       0, 1e9,    "", "largest global gradient norm; 0: no limit", NULL },
    { "lora_rank",         TN_OPT_INT,    AT(lora_rank),           "0",       0, 65536,
      "", "train low-rank adapters of this rank; 0: all weights", NULL },
    { "lora_alpha",        TN_OPT_REAL,   AT(lora_alpha),          "0",       0, 1e6,    "", "scale is alpha / rank; 0: twice the rank", NULL },
    { "lora_rs",           TN_OPT_BOOL,   AT(lora_rs),             "false",   0, 0,      "", "rsLoRA: scale is alpha / sqrt(rank)", NULL },
    { "lora_plus",         TN_OPT_REAL,   AT(lora_plus),           "1",       0, 1000,   "", "LoRA+: learning rate of B over that of A", NULL },
    { "dora",              TN_OPT_BOOL,   AT(dora),                "false",   0, 0,      "", "learn a magnitude for each output row too", NULL },
    { "lora_targets",      TN_OPT_LIST,   AT(lora_targets),        "all",     0, 0,
      "", "all, or of q,k,v,o,gate,up,down,qkv,q_a,q_b,kv_a,kv_b (Hugging Face's names also: q_proj)", NULL },
    { "lora_layers",       TN_OPT_STR,    AT(lora_layers),         "all",     0, 0,
      "", "all, upper (the second half), or FROM-TO: adapters on these layers only (from 0); no gradient flows below the first", NULL },
    { "dtype",             TN_OPT_CHOICE, AT(dtype),               "f32",     0, 0,
      "f32|bf16", "bf16: bf16 products with fp32 master weights", NULL },
    { "stochastic_rounding", TN_OPT_BOOL, AT(stochastic_rounding), "false",   0, 0,      "", "bf16: round the weights by the counter RNG", NULL },
    { "recompute",         TN_OPT_BOOL,   AT(recompute),           "false",   0, 0,
      "", "compute activations again in the backward pass: less memory, same bits", NULL },
    { "zero",              TN_OPT_INT,    AT(zero),                "1",       0, 2,
      "", "ranks: 0 all hold everything, 1 share the optimiser state, 2 share the gradient sums too", NULL },
    { "seed",              TN_OPT_INT,    AT(seed),                "0",       0, 9e15,   "", "of initialisation, order and rounding", NULL },
    { "checkpoint_every",  TN_OPT_INT,    AT(checkpoint_every),    "200",     -1, 1e12,  "steps", "0: only at the end; -1: never (measuring)", NULL },
    { "keep_last",         TN_OPT_INT,    AT(keep_last),           "2",       1, 1e6,    "checkpoints", "newest ones kept", NULL },
    { "keep_every",        TN_OPT_INT,    AT(keep_every),          "0",       0, 1e12,
      "steps", "checkpoints at multiples of this are kept for ever; 0: none", NULL },
    { "valid_every",       TN_OPT_INT,    AT(valid_every),         "100",     1, 1e12,
      "steps", "validation; the best one's weights are kept", NULL },
    { "valid_samples",     TN_OPT_INT,    AT(valid_samples),       "64",      1, 1e9,    "sequences", "used for a validation", NULL },
    { "early_stop",        TN_OPT_INT,    AT(early_stop),          "0",       0, 1e9,
      "validations", "stop after so many without a better one; 0: never", NULL },
    { "check_every",       TN_OPT_INT,    AT(check_every),         "10",      0, 1e12,
      "steps", "ranks compare weights and recompute a neighbour's micro-batch; 0: never", NULL },
    { "dist",              TN_OPT_CHOICE, AT(dist),                "auto",    0, 0,      "auto|one|mpi", "ranks", NULL },
    { "on_nan",            TN_OPT_CHOICE, AT(on_nan),              "stop",    0, 0,
      "stop|skip|back", "a loss or gradient that is no number", NULL },
    { "on_spike",          TN_OPT_CHOICE, AT(on_spike),            "skip",    0, 0,
      "stop|skip|back", "a gradient norm far above the last 128", NULL },
    { "spike",             TN_OPT_REAL,   AT(spike),               "0",       0, 1e6,
      "", "how many standard deviations make a spike; 0: never", NULL },
    { "save_model",        TN_OPT_BOOL,   AT(save_model),          "true",    0, 0,      "", "write OUT/model or OUT/adapter at the end", NULL },
    { "tensorboard",       TN_OPT_BOOL,   AT(tensorboard),         "true",    0, 0,      "", "write event files below OUT/tb", NULL },
    { NULL,                TN_OPT_INT,    0,                       NULL,      0, 0,      NULL, NULL, NULL },
};

tn_status tn_train_config_load(tn_train_config *c, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    tn_yaml *y = NULL;
    *c = (tn_train_config){0};
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
    static const char *const places[] = { "model", "adapter", "checkpoint", "tokenizer", "reference", "like", "data", "valid", NULL };

    for (int i = 0; places[i] != NULL; i++)
        for (const tn_option *o = tn_train_options; strcmp(places[i], key) == 0 && o->key != NULL; o++)
            if (strcmp(o->key, key) == 0) return o;
    return NULL;
}

/* The first key that `ignored` says would have no effect and that is not as by default; *key NULL: none. */
static tn_status given_find(const tn_train_config *c, bool (*ignored)(const tn_option *o), const char **key, tn_error *err)
{
    tn_train_config usual = {0};
    tn_status       status = tn_options_default(&usual, tn_train_options, err);
    json_t         *is = NULL, *by_default = NULL;

    *key = NULL;
    if (status == TN_OK && ((is = tn_options_json(c, tn_train_options)) == NULL || (by_default = tn_options_json(&usual, tn_train_options)) == NULL))
        status = tn_fail(err, TN_NOMEM, "no memory for the settings");
    for (const tn_option *o = tn_train_options; status == TN_OK && *key == NULL && o->key != NULL; o++) {
        const json_t *v = json_object_get(is, o->key);
        if (!ignored(o) || (json_is_string(v) && json_string_length(v) == 0)) continue;
        if (!json_equal(v, json_object_get(by_default, o->key))) *key = o->key;
    }
    json_decref(is);
    json_decref(by_default);
    tn_options_free(&usual, tn_train_options);
    return status;
}

/* What only a model from scratch has, which would be ignored beside 'model'; and what 'like' tells already. */
static bool is_scratch(const tn_option *o) { return tn_starts_with(o->help, "from scratch"); }

static bool is_shape(const tn_option *o)
{
    return is_scratch(o) && strcmp(o->key, "like") != 0 && strcmp(o->key, "tokenizer") != 0 && strcmp(o->key, "n_vocab") != 0 && strcmp(o->key, "init_std") != 0;
}

static bool is_lora(const tn_option *o) { return strcmp(o->key, "dora") == 0 || (tn_starts_with(o->key, "lora_") && strcmp(o->key, "lora_rank") != 0); }

static tn_status check_shape(const tn_train_config *c, tn_error *err)
{
    const char *key = NULL;
    if (c->model != NULL) TN_TRY(given_find(c, is_scratch, &key, err));
    if (key != NULL) return tn_fail(err, TN_USAGE, "%s is for a model from scratch, but 'model' names one to start from: leave one of the two out", key);
    if (c->model == NULL && c->like != NULL) TN_TRY(given_find(c, is_shape, &key, err));
    if (key != NULL)
        return tn_fail(err, TN_USAGE, "%s is part of the shape that 'like' takes from %s: leave one of the two out (n_vocab and init_std may stand beside 'like')", key,
                       c->like);
    if (c->model == NULL && c->init_std == 0)
        return tn_fail(err, TN_USAGE, "init_std is 0: the weights of a model from scratch would all be 0 and stay alike; 0.02 is usual");
    return TN_OK;
}

/* Low-rank adapters: nothing that is asked for is passed over. */
static tn_status check_lora(const tn_train_config *c, tn_error *err)
{
    const char *key = NULL;
    if (c->model == NULL && c->lora_rank > 0) return tn_fail(err, TN_USAGE, "lora_rank needs a model to adapt: name one with 'model'");
    if (c->model == NULL && c->adapter != NULL) return tn_fail(err, TN_USAGE, "adapter needs the model that it adapts: name it with 'model'");
    if (c->lora_rank == 0 && c->adapter == NULL) {
        TN_TRY(given_find(c, is_lora, &key, err));
        if (key != NULL)
            return tn_fail(err, TN_USAGE, "%s is for low-rank adapters, and none are trained: set lora_rank (16 is usual) or adapter, or leave %s out", key, key);
        return TN_OK;
    }
    if (c->lora_plus == 0) return tn_fail(err, TN_USAGE, "lora_plus is 0: the B of every adapter would stay 0 and nothing be learned; 1 is usual, 16 LoRA+'s");
    if (strcmp(c->optimizer, "muon") == 0)
        return tn_fail(err, TN_USAGE, "optimizer: muon is for the matrices of the layers, which are frozen here: adapters are trained with adamw (or sgd, adafactor)");
    if (strcmp(c->dtype, "bf16") == 0)
        return tn_fail(err, TN_USAGE, "dtype: bf16 trains all weights; with lora_rank the adapters are fp32 over the base as it is: leave dtype out");
    return TN_OK;
}

/* Which losses weigh both orders of a pair, as a share of wrong labels wants; of those, which take a pair's own p. */
static tn_status check_labels(const tn_train_config *c, tn_error *err)
{
    tn_pref_kind kind;
    if (c->label_smoothing == 0) return TN_OK;
    if (tn_pref_parse(c->loss, &kind) && (tn_pref_takes_p(kind) || kind == TN_PREF_ROBUST)) return TN_OK;
    return tn_fail(err, TN_USAGE, "label_smoothing is %g, and the loss %s has no place for it: leave it out, or choose dpo, robust, simpo, dpo_norm, r_dpo or rpo",
                   c->label_smoothing, c->loss);
}

tn_status tn_train_config_check(const tn_train_config *c, tn_error *err)
{
    bool pairs = strcmp(c->loss, "sft") != 0;
    if (c->data == NULL || c->data[0] == '\0') return tn_fail(err, TN_USAGE, "data: name at least one file to train on");
    if (!isfinite(c->lr) || (float)c->lr <= 0) return tn_fail(err, TN_USAGE, "lr is %g; a learning rate above 0 is needed", c->lr);
    if (c->lr_min > c->lr) return tn_fail(err, TN_USAGE, "lr_min %g is above lr %g", c->lr_min, c->lr);
    if (c->model == NULL && c->like == NULL && (c->n_layer == 0 || c->n_embd == 0 || c->n_head == 0 || c->n_ff == 0))
        return tn_fail(err, TN_USAGE, "no model: name one with 'model', or give n_layer, n_embd, n_head and n_ff to start from scratch");
    if (c->model == NULL && c->like == NULL && c->tokenizer == NULL && c->n_vocab == 0)
        return tn_fail(err, TN_USAGE, "from scratch a tokenizer is needed: name a model with 'tokenizer', or 'tokenizer: bytes'");
    TN_TRY(check_lora(c, err));
    if (c->model == NULL && c->like == NULL && c->n_embd % c->n_head != 0 && c->d_head == 0)
        return tn_fail(err, TN_USAGE, "n_embd %lld is no multiple of n_head %lld", (long long)c->n_embd, (long long)c->n_head);
    if (c->n_expert_used > c->n_expert)
        return tn_fail(err, TN_USAGE, "n_expert_used %lld is more than n_expert %lld", (long long)c->n_expert_used, (long long)c->n_expert);
    if (c->d_head == 1) return tn_fail(err, TN_USAGE, "d_head is 1; a head is at least 2 wide (0: n_embd / n_head)");
    TN_TRY(check_shape(c, err));
    if (c->early_stop > 0 && (c->valid == NULL || c->valid[0] == '\0'))
        return tn_fail(err, TN_USAGE, "early_stop looks at the validation loss: name held-out files with 'valid'");
    if (c->micro_batch > c->batch) return tn_fail(err, TN_USAGE, "micro_batch %lld is more than batch %lld", (long long)c->micro_batch, (long long)c->batch);
    if (c->micro_batch > 0) {
        int64_t l = c->batch / c->micro_batch;
        if (c->batch % c->micro_batch != 0 || !power_of_two(l))
            return tn_fail(err, TN_USAGE, "batch %lld / micro_batch %lld must be a power of two: the gradients of the micro-batches meet in a "
                           "tree of pairs", (long long)c->batch, (long long)c->micro_batch);
        if (c->group_size > 0 && (!power_of_two(c->group_size) || l % c->group_size != 0))
            return tn_fail(err, TN_USAGE, "group_size %lld must be a power of two that divides the %lld micro-batches", (long long)c->group_size, (long long)l);
    } else if (c->group_size > 0) {
        return tn_fail(err, TN_USAGE, "group_size needs micro_batch to be given");
    }
    if (c->steps == 0 && c->epochs <= 0) return tn_fail(err, TN_USAGE, "give steps, or epochs above 0");
    if (pairs && c->beta <= 0) return tn_fail(err, TN_USAGE, "beta is %g; %s needs one above 0", c->beta, c->loss);
    if (c->stochastic_rounding && strcmp(c->dtype, "bf16") != 0) return tn_fail(err, TN_USAGE, "stochastic_rounding needs dtype: bf16");
    return check_labels(c, err);
}
