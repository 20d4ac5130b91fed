"""make_split_kv_b.py FAMILIES - deepseek-v3's golden as the newer GGUF files have it: one key/value head, the sizes of the
compressed cache, kv_b cut into a transposed k_b and v_b (what llama.cpp's convert_hf_to_gguf.py does). Written by the gguf package."""
import json, os, sys

import gguf, numpy as np
from safetensors.numpy import load_file

here = os.path.join(sys.argv[1], "deepseek-v3")
c, t = json.load(open(os.path.join(here, "config.json"))), load_file(os.path.join(here, "model.safetensors"))
r = c["rope_parameters"]
w = gguf.GGUFWriter(os.path.join(here, "split-kv-b.gguf"), "deepseek2")
u, f, a = w.add_uint32, w.add_float32, "deepseek2."
u(a + "block_count", c["num_hidden_layers"]); u(a + "context_length", c["max_position_embeddings"]); u(a + "embedding_length", c["hidden_size"])
u(a + "feed_forward_length", c["intermediate_size"]); u(a + "attention.head_count", c["num_attention_heads"]); u(a + "attention.head_count_kv", 1)
f(a + "rope.freq_base", r["rope_theta"]); f(a + "attention.layer_norm_rms_epsilon", c["rms_norm_eps"])
u(a + "expert_used_count", c["num_experts_per_tok"]); u(a + "expert_count", c["n_routed_experts"]); u(a + "expert_shared_count", c["n_shared_experts"])
u(a + "leading_dense_block_count", c["first_k_dense_replace"]); u(a + "vocab_size", c["vocab_size"])
u(a + "attention.q_lora_rank", c["q_lora_rank"]); u(a + "attention.kv_lora_rank", c["kv_lora_rank"])
u(a + "attention.key_length", c["kv_lora_rank"] + c["qk_rope_head_dim"]); u(a + "attention.value_length", c["kv_lora_rank"])
u(a + "attention.key_length_mla", c["qk_nope_head_dim"] + c["qk_rope_head_dim"]); u(a + "attention.value_length_mla", c["v_head_dim"])
u(a + "expert_feed_forward_length", c["moe_intermediate_size"]); f(a + "expert_weights_scale", c["routed_scaling_factor"])
w.add_bool(a + "expert_weights_norm", c["norm_topk_prob"]); u(a + "expert_gating_func", 2)
u(a + "expert_group_count", c["n_group"]); u(a + "expert_group_used_count", c["topk_group"]); u(a + "rope.dimension_count", c["qk_rope_head_dim"])
w.add_string(a + "rope.scaling.type", "yarn"); f(a + "rope.scaling.factor", r["factor"])
u(a + "rope.scaling.original_context_length", r["original_max_position_embeddings"]); f(a + "rope.scaling.yarn_log_multiplier", 0.1 * r["mscale_all_dim"])

names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm",
         "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
         "self_attn.o_proj": "attn_output", "mlp.gate": "ffn_gate_inp", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp"}
w.add_tensor("token_embd.weight", t["model.embed_tokens.weight"]); w.add_tensor("output_norm.weight", t["model.norm.weight"])
w.add_tensor("output.weight", t["lm_head.weight"])
for l in range(c["num_hidden_layers"]):
    p = f"model.layers.{l}."
    for hf, name in names.items():
        if p + hf + ".weight" in t:
            w.add_tensor(f"blk.{l}.{name}.weight", t[p + hf + ".weight"])
    if p + "mlp.gate.e_score_correction_bias" in t:
        w.add_tensor(f"blk.{l}.exp_probs_b.bias", t[p + "mlp.gate.e_score_correction_bias"])
        for which in ("gate", "up", "down"):
            w.add_tensor(f"blk.{l}.ffn_{which}_exps.weight", np.stack([t[f"{p}mlp.experts.{e}.{which}_proj.weight"] for e in range(c["n_routed_experts"])]))
    kv = t[p + "self_attn.kv_b_proj.weight"].reshape(c["num_attention_heads"], c["qk_nope_head_dim"] + c["v_head_dim"], c["kv_lora_rank"])
    k, v = np.split(kv, [c["qk_nope_head_dim"]], axis=1)
    w.add_tensor(f"blk.{l}.attn_k_b.weight", np.ascontiguousarray(k.transpose(0, 2, 1)))
    w.add_tensor(f"blk.{l}.attn_v_b.weight", np.ascontiguousarray(v))
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
