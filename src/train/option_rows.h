/* option_rows.h - the options of a training run: one row drives the YAML key, --set, the help, the manifest,
 * and what else an option is. config.c includes it for each column of its own: ROW(flags, key, kind, where,
 * default, min, max, unit or choices, help, alias). */
ROW(PLACE, "model", TN_OPT_STR, AT(model), NULL, 0, 0, "",
    "model to start from (a directory, a .gguf, a name); none: from scratch", NULL)
ROW(PLACE, "adapter", TN_OPT_STR, AT(adapter), NULL, 0, 0, "", "LoRA adapter to go on with (PEFT's form)",
    NULL)
ROW(PLACE, "checkpoint", TN_OPT_STR, AT(checkpoint), NULL, 0, 0, "",
    "checkpoint of another run to extend: its weights and optimiser state", NULL)
ROW(PLACE | SCRATCH, "tokenizer", TN_OPT_STR, AT(tokenizer), NULL, 0, 0, "",
    "from scratch: a model (or a folder or file with a tokenizer alone) whose tokenizer is used, or 'bytes'",
    NULL)
ROW(0, "chat_format", TN_OPT_STR, AT(chat_format), NULL, 0, 0, "",
    "chat format, when the model does not tell", NULL)
ROW(PLACE, "reference", TN_OPT_STR, AT(reference), NULL, 0, 0, "",
    "reference of preference losses, and teacher of rows with \"distill\"; none: the model as it was at the "
    "start",
    NULL)
ROW(SHAPE, "family", TN_OPT_STR, AT(family), "llama", 0, 0, "", "from scratch: architecture", NULL)
ROW(PLACE | SCRATCH, "like", TN_OPT_STR, AT(like), NULL, 0, 0, "",
    "from scratch: shape of this model (a folder with config.json, that file, a .gguf), new weights", NULL)
ROW(SHAPE, "n_layer", TN_OPT_INT, AT(n_layer), "0", 0, 512, "layers", "from scratch", NULL)
ROW(SHAPE, "n_embd", TN_OPT_INT, AT(n_embd), "0", 0, 1 << 20, "", "from scratch: width", NULL)
ROW(SHAPE, "n_head", TN_OPT_INT, AT(n_head), "0", 0, 4096, "heads", "from scratch", NULL)
ROW(SHAPE, "n_head_kv", TN_OPT_INT, AT(n_head_kv), "0", 0, 4096, "heads",
    "from scratch: key and value heads; 0: as n_head", NULL)
ROW(SHAPE, "d_head", TN_OPT_INT, AT(d_head), "0", 0, 4096, "",
    "from scratch: width of a head; 0: n_embd / n_head", NULL)
ROW(SHAPE, "n_ff", TN_OPT_INT, AT(n_ff), "0", 0, 1 << 22, "", "from scratch: width of the feed-forward part",
    NULL)
ROW(SCRATCH, "n_vocab", TN_OPT_INT, AT(n_vocab), "0", 0, 1 << 24, "tokens",
    "from scratch: 0: the tokenizer's", NULL)
ROW(SHAPE, "n_expert", TN_OPT_INT, AT(n_expert), "0", 0, 4096, "", "from scratch: experts", NULL)
ROW(SHAPE, "n_expert_used", TN_OPT_INT, AT(n_expert_used), "0", 0, 4096, "", "from scratch: experts a token",
    NULL)
ROW(SHAPE, "tied", TN_OPT_BOOL, AT(tied), "true", 0, 0, "", "from scratch: head and embedding are one matrix",
    NULL)
ROW(SHAPE, "rope_theta", TN_OPT_REAL, AT(rope_theta), "10000", 1, 1e12, "", "from scratch", NULL)
ROW(SHAPE, "norm_eps", TN_OPT_REAL, AT(norm_eps), "1e-5", 1e-20, 1, "", "from scratch", NULL)
ROW(SCRATCH, "init_std", TN_OPT_REAL, AT(init_std), "0.02", 0, 10, "",
    "from scratch: standard deviation of the first weights", NULL)
ROW(PLACE, "data", TN_OPT_LIST, AT(data), NULL, 0, 0, "",
    "files or directories: text, JSONL, chat or pair JSONL, also .gz and .zst; or token shards (.tns)", NULL)
ROW(0, "data_weights", TN_OPT_LIST, AT(data_weights), NULL, 0, 0, "", "share of each source; none: by size",
    NULL)
ROW(PLACE, "valid", TN_OPT_LIST, AT(valid), NULL, 0, 0, "", "held-out files of the same kind", NULL)
ROW(0, "format", TN_OPT_CHOICE, AT(format), "auto", 0, 0, "auto|text|jsonl|chat", "what the files hold", NULL)
ROW(0, "pack", TN_OPT_CHOICE, AT(pack), "best-fit", 0, 0, "greedy|best-fit|none",
    "how documents fill a sequence", NULL)
ROW(0, "n_ctx", TN_OPT_INT, AT(n_ctx), "512", 2, 1 << 24, "tokens", "length of a sequence", NULL)
ROW(0, "shuffle", TN_OPT_BOOL, AT(shuffle), "true", 0, 0, "",
    "keyed order; false: as packed (best-fit: longest first)", NULL)
ROW(0, "train_prompt", TN_OPT_BOOL, AT(train_prompt), "false", 0, 0, "",
    "conversations: learn every token, not only the assistant's", NULL)
ROW(0, "loss", TN_OPT_CHOICE, AT(loss), "sft", 0, 0,
    "sft|dpo|robust|ipo|hinge|kto|orpo|simpo|dpo_norm|r_dpo|apo_zero|rpo", "objective", NULL)
ROW(0, "beta", TN_OPT_REAL, AT(beta), "0.1", 0, 100, "", "preference losses: strength (IPO: tau)", NULL)
ROW(0, "label_smoothing", TN_OPT_REAL, AT(label_smoothing), "0", 0, 0.499, "",
    "preference losses: share of wrong labels (cDPO, robust)", NULL)
ROW(0, "gamma", TN_OPT_REAL, AT(gamma), "1", 0, 100, "", "SimPO: margin", NULL)
ROW(0, "alpha", TN_OPT_REAL, AT(alpha), "1", 0, 100, "", "ORPO: lambda; R-DPO: length; RPO: as rpo_alpha",
    NULL)
ROW(0, "kto_good", TN_OPT_REAL, AT(kto_good), "1", 0, 100, "", "KTO: weight of good answers", NULL)
ROW(0, "kto_bad", TN_OPT_REAL, AT(kto_bad), "1", 0, 100, "", "KTO: weight of bad answers", NULL)
ROW(0, "rpo_alpha", TN_OPT_REAL, AT(rpo_alpha), "0", 0, 100, "",
    "any preference loss: weight of the chosen answer's mean NLL; 0: none (loss rpo: alpha)", NULL)
ROW(0, "z_loss", TN_OPT_REAL, AT(z_loss), "0", 0, 1, "", "weight of logsumexp^2", NULL)
ROW(0, "aux_coef", TN_OPT_REAL, AT(aux_coef), "0.01", 0, 10, "",
    "experts: weight of the loss that balances them", NULL)
ROW(0, "router_z", TN_OPT_REAL, AT(router_z), "0", 0, 10, "", "experts: weight of the router's logsumexp^2",
    NULL)
ROW(0, "batch", TN_OPT_INT, AT(batch), "8", 1, 1 << 24, "sequences",
    "sequences (or pairs) a step, all ranks together", NULL)
ROW(0, "micro_batch", TN_OPT_INT, AT(micro_batch), "0", 0, 1 << 20, "sequences",
    "computed at once: decides memory, part of the bits; 0: as many as 2048 tokens", NULL)
ROW(0, "group_size", TN_OPT_INT, AT(group_size), "0", 0, 1 << 20, "micro-batches",
    "added in order before the tree; part of the bits; 0: batch / micro_batch / 4", NULL)
ROW(FREE, "steps", TN_OPT_INT, AT(steps), "0", 0, 1e12, "steps", "optimiser steps; 0: by epochs", NULL)
ROW(FREE, "epochs", TN_OPT_REAL, AT(epochs), "1", 0, 1e6, "",
    "passes over the data, when steps is 0; a last batch is filled up from the next pass", NULL)
ROW(FREE, "stop_at", TN_OPT_INT, AT(stop_at), "0", 0, 1e12, "steps",
    "checkpoint and stop after this step; the same command goes on; 0: no", NULL)
ROW(0, "optimizer", TN_OPT_CHOICE, AT(optimizer), "adamw", 0, 0, "adamw|sgd|adafactor|muon",
    "muon: matrices of the layers; AdamW for the rest", NULL)
ROW(0, "schedule", TN_OPT_CHOICE, AT(schedule), "cosine", 0, 0, "constant|linear|cosine|wsd",
    "learning rate after the warm-up", NULL)
ROW(0, "lr", TN_OPT_REAL, AT(lr), "3e-4", 0, 10, "", "peak learning rate", NULL)
ROW(0, "lr_min", TN_OPT_REAL, AT(lr_min), "0", 0, 10, "", "learning rate at the end", NULL)
ROW(0, "warmup", TN_OPT_REAL, AT(warmup), "0.1", 0, 1e9, "", "steps, or below 1 a share of all steps", NULL)
ROW(0, "decay", TN_OPT_REAL, AT(decay), "0.2", 1e-6, 1, "",
    "WSD: share of all steps that decay, the last ones", NULL)
ROW(0, "beta1", TN_OPT_REAL, AT(beta1), "0.9", 0, 0.9999999, "", "AdamW", NULL)
ROW(0, "beta2", TN_OPT_REAL, AT(beta2), "0.95", 0, 0.9999999, "", "AdamW", NULL)
ROW(0, "eps", TN_OPT_REAL, AT(eps), "1e-8", 1e-20, 1, "", "AdamW", NULL)
ROW(0, "momentum", TN_OPT_REAL, AT(momentum), "0.95", 0, 0.9999999, "", "SGD and Muon", NULL)
ROW(0, "weight_decay", TN_OPT_REAL, AT(weight_decay), "0", 0, 10, "",
    "decoupled; never on norms, biases and embeddings", NULL)
ROW(0, "clip", TN_OPT_REAL, AT(clip), "1", 0, 1e9, "", "largest global gradient norm; 0: no limit", NULL)
ROW(0, "lora_rank", TN_OPT_INT, AT(lora_rank), "0", 0, 65536, "",
    "train low-rank adapters of this rank; 0: all weights", NULL)
ROW(LORA, "lora_alpha", TN_OPT_REAL, AT(lora_alpha), "0", 0, 1e6, "",
    "scale is alpha / rank; 0: twice the rank", NULL)
ROW(LORA, "lora_rs", TN_OPT_BOOL, AT(lora_rs), "false", 0, 0, "", "rsLoRA: scale is alpha / sqrt(rank)", NULL)
ROW(LORA, "lora_plus", TN_OPT_REAL, AT(lora_plus), "1", 0, 1000, "",
    "LoRA+: learning rate of B over that of A", NULL)
ROW(LORA, "dora", TN_OPT_BOOL, AT(dora), "false", 0, 0, "", "learn a magnitude for each output row too", NULL)
ROW(LORA, "lora_targets", TN_OPT_LIST, AT(lora_targets), "all", 0, 0, "",
    "all, or of q,k,v,o,gate,up,down,qkv,q_a,q_b,kv_a,kv_b (Hugging Face's names also: q_proj)", NULL)
ROW(LORA, "lora_layers", TN_OPT_STR, AT(lora_layers), "all", 0, 0, "",
    "all, upper (the second half), or FROM-TO: adapters on these layers only (from 0); no gradient flows "
    "below the first",
    NULL)
ROW(0, "dtype", TN_OPT_CHOICE, AT(dtype), "f32", 0, 0, "f32|bf16",
    "bf16: bf16 products with fp32 master weights", NULL)
ROW(0, "stochastic_rounding", TN_OPT_BOOL, AT(stochastic_rounding), "false", 0, 0, "",
    "bf16: round the weights by the counter RNG", NULL)
ROW(FREE, "recompute", TN_OPT_BOOL, AT(recompute), "false", 0, 0, "",
    "compute activations again in the backward pass: less memory, same bits", NULL)
ROW(FREE, "zero", TN_OPT_INT, AT(zero), "1", 0, 2, "",
    "ranks: 0 all hold everything, 1 share the optimiser state, 2 share the gradient sums too", NULL)
ROW(0, "seed", TN_OPT_INT, AT(seed), "0", 0, 9e15, "", "of initialisation, order and rounding", NULL)
ROW(FREE, "checkpoint_every", TN_OPT_INT, AT(checkpoint_every), "200", -1, 1e12, "steps",
    "0: only at the end; -1: never (measuring)", NULL)
ROW(FREE, "keep_last", TN_OPT_INT, AT(keep_last), "2", 1, 1e6, "checkpoints", "newest ones kept", NULL)
ROW(FREE, "keep_every", TN_OPT_INT, AT(keep_every), "0", 0, 1e12, "steps",
    "checkpoints at multiples of this are kept for ever; 0: none", NULL)
ROW(FREE, "valid_every", TN_OPT_INT, AT(valid_every), "100", 1, 1e12, "steps",
    "validation; the best one's weights are kept", NULL)
ROW(FREE, "valid_samples", TN_OPT_INT, AT(valid_samples), "64", 1, 1e9, "sequences", "used for a validation",
    NULL)
ROW(0, "early_stop", TN_OPT_INT, AT(early_stop), "0", 0, 1e9, "validations",
    "stop after so many without a better one; 0: never", NULL)
ROW(FREE, "check_every", TN_OPT_INT, AT(check_every), "10", 0, 1e12, "steps",
    "ranks compare weights and recompute a neighbour's micro-batch; 0: never", NULL)
ROW(FREE, "dist", TN_OPT_CHOICE, AT(dist), "auto", 0, 0, "auto|one|mpi", "ranks", NULL)
ROW(0, "on_nan", TN_OPT_CHOICE, AT(on_nan), "stop", 0, 0, "stop|skip|back",
    "a loss or gradient that is no number", NULL)
ROW(0, "on_spike", TN_OPT_CHOICE, AT(on_spike), "skip", 0, 0, "stop|skip|back",
    "a gradient norm far above the last 128", NULL)
ROW(0, "spike", TN_OPT_REAL, AT(spike), "0", 0, 1e6, "",
    "how many standard deviations make a spike; 0: never", NULL)
ROW(FREE, "save_model", TN_OPT_BOOL, AT(save_model), "true", 0, 0, "",
    "write OUT/model or OUT/adapter at the end", NULL)
ROW(FREE, "tensorboard", TN_OPT_BOOL, AT(tensorboard), "true", 0, 0, "", "write event files below OUT/tb",
    NULL)
