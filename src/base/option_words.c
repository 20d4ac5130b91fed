/* option_words.c - what other programs call our options, for "did you mean": Transformers and TRL, PEFT,
 * Axolotl. Never taken as a key. */
#include "base/option.h"
#include "base/str.h"

#include <string.h>

// clang-format off
static const struct { const char *word, *key; } words[] = {
    /* what is trained */
    { "base_model", "model" },                  { "model_name", "model" },                   { "model_name_or_path", "model" },
    { "pretrained_model_name_or_path", "model" }, { "ref_model", "reference" },              { "teacher_model", "reference" },
    { "resume_from_checkpoint", "checkpoint" }, { "output_dir", "out" },                     { "chat_template", "chat_format" },
    { "d_model", "n_embd" },                    { "dim", "n_embd" },                        { "num_layers", "n_layer" },
    { "hidden_size", "n_embd" },                { "intermediate_size", "n_ff" },             { "num_hidden_layers", "n_layer" },
    { "num_attention_heads", "n_head" },        { "num_key_value_heads", "n_head_kv" },      { "head_dim", "d_head" },
    { "vocab_size", "n_vocab" },                { "num_experts", "n_expert" },               { "num_local_experts", "n_expert" },
    { "num_experts_per_tok", "n_expert_used" }, { "rms_norm_eps", "norm_eps" },              { "initializer_range", "init_std" },
    { "tie_word_embeddings", "tied" },          { "model_type", "family" },
    /* data */
    { "dataset", "data" },                      { "datasets", "data" },                      { "dataset_name", "data" },
    { "train_file", "data" },                   { "train_dataset", "data" },                 { "test_datasets", "valid" },
    { "eval_dataset", "valid" },                { "validation_file", "valid" },              { "val_set_size", "valid" },
    { "context_length", "n_ctx" },              { "seq_len", "n_ctx" },                     { "seq_length", "n_ctx" },
    { "max_seq_length", "n_ctx" },              { "max_length", "n_ctx" },                   { "sequence_len", "n_ctx" },
    { "block_size", "n_ctx" },                  { "packing", "pack" },                       { "sample_packing", "pack" },
    { "train_on_inputs", "train_prompt" },      { "assistant_only_loss", "train_prompt" },
    /* objective */
    { "loss_type", "loss" },                    { "rl", "loss" },                            { "label_smoothing_factor", "label_smoothing" },
    { "simpo_gamma", "gamma" },                 { "desirable_weight", "kto_good" },          { "undesirable_weight", "kto_bad" },
    { "router_aux_loss_coef", "aux_coef" },
    /* batch and length */
    { "per_device_train_batch_size", "micro_batch" }, { "micro_batch_size", "micro_batch" }, { "gradient_accumulation_steps", "batch" },
    { "batch_size", "batch" },                  { "train_batch_size", "batch" },             { "max_steps", "steps" },
    { "num_train_epochs", "epochs" },           { "num_epochs", "epochs" },
    /* optimiser */
    { "optim", "optimizer" },                   { "learning_rate", "lr" },                   { "lr_scheduler", "schedule" },
    { "lr_scheduler_type", "schedule" },        { "min_lr", "lr_min" },                      { "warmup_steps", "warmup" },
    { "warmup_ratio", "warmup" },               { "adam_beta1", "beta1" },                   { "adam_beta2", "beta2" },
    { "adam_epsilon", "eps" },                  { "max_grad_norm", "clip" },                 { "gradient_clipping", "clip" },
    /* adapters */
    { "r", "lora_rank" },                       { "rank", "lora_rank" },                    { "lora", "lora_rank" },
                          { "lora_r", "lora_rank" },                   { "target_modules", "lora_targets" },
    { "lora_target_modules", "lora_targets" },  { "lora_target_linear", "lora_targets" },    { "layers_to_transform", "lora_layers" },
    { "peft_layers_to_transform", "lora_layers" }, { "use_dora", "dora" },                   { "peft_use_dora", "dora" },
    { "use_rslora", "lora_rs" },                { "peft_use_rslora", "lora_rs" },            { "loraplus_lr_ratio", "lora_plus" },
    { "lora_model_dir", "adapter" },
    /* precision and the run */
    { "bf16", "dtype" },                        { "fp16", "dtype" },                         { "torch_dtype", "dtype" },
    { "gradient_checkpointing", "recompute" },  { "save_steps", "checkpoint_every" },        { "save_total_limit", "keep_last" },
    { "eval_steps", "valid_every" },            { "early_stopping_patience", "early_stop" }, { "report_to", "tensorboard" },
    { "random_seed", "seed" },
};
// clang-format on
enum { N_WORD = sizeof words / sizeof *words };

static bool same(const char *word, const char *key)
{
    for (; *word != '\0' && (*word == *key || (*word == '_' && *key == '-')); word++) key++;
    return *word == *key;
}

const char *tn_option_elsewhere(const char *key, bool nearly)
{
    const char *names[N_WORD + 1] = { 0 }, *near;

    for (int i = 0; i < N_WORD; i++)
        if (same(words[i].word, key)) return words[i].key;
    for (int i = 0; i < N_WORD; i++) names[i] = words[i].word;
    if (!nearly || (near = tn_nearest(key, names)) == NULL) return NULL;
    for (int i = 0; i < N_WORD; i++)
        if (names[i] == near) return words[i].key;
    return NULL;
}
