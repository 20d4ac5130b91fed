"""make_families.py OUT [CASE ...] - tiny random models of every family, made by Hugging Face transformers in fp32.

For each case OUT/<case>/ holds what save_pretrained writes (config.json, model.safetensors), golden.safetensors with
  tokens  i32 [n]            logits  f32 [n][n_vocab]
and grad/, the same model with every parameter replaced by its gradient of the mean next-token cross-entropy: opening it
like a model maps names, transposes and stacks gradients exactly as weights.

Routing margins are clear: a seed is taken only if at every row the last chosen expert beats the first rejected one by
more than MARGIN in the scores that choose.
"""
import copy, json, os, shutil, sys

import torch
import transformers as tf
from safetensors.torch import save_file

N_TOKEN, N_VOCAB, MARGIN = 24, 56, 0.02
BASE = dict(vocab_size=N_VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def base(**kw):
    return {**BASE, **kw}


def rope(kind, theta=10000.0, **kw):
    return {"rope_type": kind, "rope_theta": theta, **kw}


CASES = {
    "gpt2": (tf.GPT2Config, dict(vocab_size=N_VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=48, bos_token_id=1, eos_token_id=2)),
    "gptneox": (tf.GPTNeoXConfig, dict(vocab_size=N_VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64, rotary_pct=0.5, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})),
    "gptneox-serial": (tf.GPTNeoXConfig, dict(vocab_size=N_VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64, use_parallel_residual=False, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25})),
    "llama": (tf.LlamaConfig, base(rope_parameters=rope("default", 500000.0), tie_word_embeddings=True)),
    "llama-bias": (tf.LlamaConfig, base(attention_bias=True, mlp_bias=True, head_dim=6, num_key_value_heads=1,
        rope_parameters=rope("default"), tie_word_embeddings=False)),
    "llama-linear": (tf.LlamaConfig, base(rope_parameters=rope("linear", factor=4.0))),
    "llama-dynamic": (tf.LlamaConfig, base(max_position_embeddings=16, rope_parameters=rope("dynamic", factor=2.0))),
    "llama-3.1": (tf.LlamaConfig, base(max_position_embeddings=256, rope_parameters=rope("llama3", 100.0, factor=8.0, low_freq_factor=1.0,
        high_freq_factor=4.0, original_max_position_embeddings=32))),
    "llama-yarn": (tf.LlamaConfig, base(max_position_embeddings=128, rope_parameters=rope("yarn", factor=4.0,
        original_max_position_embeddings=32, beta_fast=32.0, beta_slow=1.0))),
    "mistral": (tf.MistralConfig, base(sliding_window=7, head_dim=8, rope_parameters=rope("default"), tie_word_embeddings=False)),
    "mixtral": (tf.MixtralConfig, base(num_local_experts=4, num_experts_per_tok=2, sliding_window=None, intermediate_size=24,
        rope_parameters=rope("default", 1e6), tie_word_embeddings=False)),
    "qwen2": (tf.Qwen2Config, base(rope_parameters=rope("default", 1e6), tie_word_embeddings=True)),
    "qwen3": (tf.Qwen3Config, base(head_dim=16, rope_parameters=rope("default", 1e6), tie_word_embeddings=True)),
    "qwen3moe": (tf.Qwen3MoeConfig, base(head_dim=16, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[], rope_parameters=rope("default", 1e6), tie_word_embeddings=False)),
    "olmo2": (tf.Olmo2Config, base(rope_parameters=rope("default", 500000.0), tie_word_embeddings=False)),
    "olmo3": (tf.Olmo3Config, base(num_hidden_layers=4, sliding_window=7, intermediate_size=32, num_key_value_heads=4,
        rope_parameters={"sliding_attention": rope("default", 500000.0), "full_attention": rope("yarn", 500000.0, factor=4.0,
            original_max_position_embeddings=16, beta_fast=32.0, beta_slow=1.0)},
        tie_word_embeddings=False)),
    "gemma2": (tf.Gemma2Config, base(head_dim=8, sliding_window=7, query_pre_attn_scalar=12, attn_logit_softcapping=2.0,
        final_logit_softcapping=30.0, rope_parameters=rope("default"))),
    "gemma3": (tf.Gemma3TextConfig, base(num_hidden_layers=3, head_dim=8, sliding_window=7, query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={"sliding_attention": rope("default", 10000.0), "full_attention": rope("linear", 1e6, factor=8.0)})),
    "deepseek-v2": (tf.DeepseekV2Config, dict(vocab_size=N_VOCAB, hidden_size=32, intermediate_size=40, moe_intermediate_size=16,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, n_routed_experts=8, n_shared_experts=2,
        num_experts_per_tok=2, q_lora_rank=None, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6,
        first_k_dense_replace=1, topk_method="group_limited_greedy", n_group=4, topk_group=2, norm_topk_prob=False,
        routed_scaling_factor=2.0, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, rope_parameters=rope("default"))),
    "deepseek-v3": (tf.DeepseekV3Config, dict(vocab_size=N_VOCAB, hidden_size=32, intermediate_size=40, moe_intermediate_size=16,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, n_routed_experts=8, n_shared_experts=1,
        num_experts_per_tok=2, q_lora_rank=12, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6,
        first_k_dense_replace=1, n_group=4, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5,
        max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
        rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=32.0, beta_slow=1.0, mscale=1.0,
                             mscale_all_dim=1.0))),
    "gpt-oss": (tf.GptOssConfig, dict(vocab_size=N_VOCAB, hidden_size=32, intermediate_size=16, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=7, num_local_experts=4, num_experts_per_tok=2,
        max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
        rope_parameters=rope("yarn", 150000.0, factor=4.0, original_max_position_embeddings=32, beta_fast=32.0, beta_slow=1.0,
                             truncate=False))),
}


def fill(model, seed):
    """Weights large enough that attention, gates and routing are far from uniform."""
    gen = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()) + sorted(model.named_buffers()):
        if not (isinstance(p, torch.nn.Parameter) or "e_score_correction_bias" in name):
            continue
        noise = torch.randn(p.shape, generator=gen)
        with torch.no_grad():
            if "norm" in name and name.endswith("weight") or ".ln_" in name and name.endswith("weight"):
                p.copy_((0.0 if "gemma" in model.config.model_type else 1.0) + 0.2 * noise)
            elif p.dim() == 1:
                p.copy_(0.3 * noise)
            elif "embed" in name or "wte" in name or "wpe" in name or "embed_in" in name:
                p.copy_(0.5 * noise)
            elif "gate.weight" in name or "router.weight" in name:
                p.copy_(0.5 * noise)
            else:
                p.copy_(noise / min(p.shape[-1], p.shape[-2]) ** 0.5)


def margins(model, tokens):
    """The smallest gap between a chosen and a rejected expert, over all routers and rows."""
    gaps, cfg = [], model.config
    k = getattr(cfg, "num_experts_per_tok", None)
    if k is None:
        return float("inf")

    def hook(module, args, out):
        x = args[0].reshape(-1, args[0].shape[-1]).float()
        logits = x @ module.weight.float().t()
        if getattr(module, "bias", None) is not None:
            logits = logits + module.bias
        scores = logits
        if cfg.model_type == "deepseek_v3":
            scores = logits.sigmoid() + module.e_score_correction_bias
        if cfg.model_type.startswith("deepseek"):
            per = scores.shape[-1] // cfg.n_group
            groups = scores.view(-1, cfg.n_group, per)
            best = groups.topk(2, -1)[0].sum(-1) if cfg.model_type == "deepseek_v3" else groups.max(-1)[0]
            order = best.sort(-1, descending=True)
            gaps.append((order[0][:, cfg.topk_group - 1] - order[0][:, cfg.topk_group]).min().item())
            keep = torch.zeros_like(best).scatter_(1, order[1][:, :cfg.topk_group], 1).unsqueeze(-1).expand_as(groups).reshape(scores.shape)
            scores = scores.masked_fill(keep == 0, float("-inf"))
            if cfg.model_type == "deepseek_v3":      # rejected groups are masked with 0 there: chosen scores must be above it
                gaps.append(scores.topk(k, -1)[0].min().item())
        top = scores.topk(k + 1, -1)[0]
        gaps.append((top[:, k - 1] - top[:, k]).min().item())

    handles = [m.register_forward_hook(hook) for n, m in model.named_modules()
               if n.endswith(("mlp.gate", "mlp.router", "block_sparse_moe.gate")) and hasattr(m, "weight")]
    assert handles, "no router found"
    with torch.no_grad():
        model(tokens)
    for h in handles:
        h.remove()
    return min(gaps)


def make(out, case):
    cls, kw = CASES[case]
    config = cls(**kw)
    config._attn_implementation = "eager"
    config.dtype = torch.float32
    tokens = None
    for seed in range(1, 2000):
        torch.manual_seed(seed)
        model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        fill(model, seed)
        tokens = torch.randint(3, N_VOCAB, (1, N_TOKEN), generator=torch.Generator().manual_seed(seed))
        if margins(model, tokens) > MARGIN:
            break
    else:
        raise SystemExit(f"{case}: no seed with clear margins")
    logits = model(tokens, use_cache=False).logits.float()
    torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:]).backward()
    where = os.path.join(out, case)
    shutil.rmtree(where, ignore_errors=True)
    model.save_pretrained(where)
    grads = copy.deepcopy(model)
    with torch.no_grad():
        for (name, p), q in zip(model.named_parameters(), grads.parameters()):
            q.copy_(p.grad if p.grad is not None else torch.zeros_like(p))
            if p.grad is None:
                print(f"{case}: {name} has no gradient")
        for name, q in grads.named_buffers():
            if "e_score_correction_bias" in name:
                q.zero_()
    grads.save_pretrained(os.path.join(where, "grad"))
    save_file({"tokens": tokens[0].to(torch.int32), "logits": logits[0].detach().contiguous()}, os.path.join(where, "golden.safetensors"))
    for d, _, files in os.walk(where):
        for f in files:
            os.chmod(os.path.join(d, f), 0o644)
    for extra in (os.path.join(where, "generation_config.json"), os.path.join(where, "grad", "generation_config.json")):
        if os.path.exists(extra):
            os.remove(extra)
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(where) for f in fs)
    print(f"{case}: seed {seed}, {sum(p.numel() for p in model.parameters())} parameters, {size // 1024} KiB, largest logit {logits.abs().max():.3f}")


def make_mxfp4(out):
    """gpt-oss as it is published, experts in MXFP4: random codes and exponents, decoded by transformers for the logits."""
    from safetensors.torch import load_file
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    cls, kw = CASES["gpt-oss"]
    config = cls(**{**kw, "intermediate_size": 32})
    where = os.path.join(out, "gpt-oss-mxfp4")
    for seed in range(1, 2000):
        torch.manual_seed(seed)
        model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        fill(model, seed)
        packed = {}
        for i, layer in enumerate(model.model.layers):
            for which, rows, cols in (("gate_up_proj", 64, 32), ("down_proj", 32, 32)):
                blocks = torch.randint(0, 256, (4, rows, cols // 32, 16), dtype=torch.uint8)
                scales = torch.randint(122, 126, (4, rows, cols // 32), dtype=torch.uint8)
                with torch.no_grad():
                    getattr(layer.mlp.experts, which).copy_(convert_moe_packed_tensors(blocks, scales, dtype=torch.float32))
                packed[f"model.layers.{i}.mlp.experts.{which}_blocks"] = blocks
                packed[f"model.layers.{i}.mlp.experts.{which}_scales"] = scales
        tokens = torch.randint(3, N_VOCAB, (1, N_TOKEN), generator=torch.Generator().manual_seed(seed))
        if margins(model, tokens) > MARGIN:
            break
    logits = model(tokens, use_cache=False).logits.float()
    shutil.rmtree(where, ignore_errors=True)
    model.save_pretrained(where)
    path = os.path.join(where, "model.safetensors")
    plain = {k: v for k, v in load_file(path).items() if not k.endswith(("experts.gate_up_proj", "experts.down_proj"))}
    save_file({**plain, **packed}, path, metadata={"format": "pt"})
    config_path = os.path.join(where, "config.json")
    settings = json.load(open(config_path))
    settings["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                                                         "model.embed_tokens", "lm_head"]}
    json.dump(settings, open(config_path, "w"), indent=2)
    save_file({"tokens": tokens[0].to(torch.int32), "logits": logits[0].detach().contiguous()}, os.path.join(where, "golden.safetensors"))
    for f in os.listdir(where):
        os.remove(os.path.join(where, f)) if f == "generation_config.json" else os.chmod(os.path.join(where, f), 0o644)
    print(f"gpt-oss-mxfp4: seed {seed}, largest logit {logits.abs().max():.3f}")


if __name__ == "__main__":
    for c in sys.argv[2:] or [*CASES, "gpt-oss-mxfp4"]:
        make_mxfp4(sys.argv[1]) if c == "gpt-oss-mxfp4" else make(sys.argv[1], c)
