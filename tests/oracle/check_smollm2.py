"""Compares tenet with transformers on one .gguf of family Llama: logits of 150 tokens, and 20 greedy answers.

  check_smollm2.py TENET MODEL.gguf

The weights are dequantised by the gguf package and put into LlamaForCausalLM in fp32: an independent run.
"""
import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

tenet, path = sys.argv[1:3]
r = gguf.GGUFReader(path)
key = lambda k: r.fields["llama." + k].contents()
cfg = LlamaConfig(hidden_size=key("embedding_length"), intermediate_size=key("feed_forward_length"), num_hidden_layers=key("block_count"),
                  num_attention_heads=key("attention.head_count"), num_key_value_heads=key("attention.head_count_kv"),
                  vocab_size=key("vocab_size"), max_position_embeddings=key("context_length"),
                  rms_norm_eps=key("attention.layer_norm_rms_epsilon"), rope_theta=key("rope.freq_base"), tie_word_embeddings=True)
names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def half_split(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


weights = {}
for t in r.tensors:
    w = dequantize(t.data, t.tensor_type).astype(np.float32)
    if t.name == "token_embd.weight":
        weights["model.embed_tokens.weight"] = weights["lm_head.weight"] = torch.from_numpy(w.copy())
    elif t.name == "output_norm.weight":
        weights["model.norm.weight"] = torch.from_numpy(w.copy())
    else:
        _, layer, what, _ = t.name.split(".")
        if what in ("attn_q", "attn_k"):
            w = half_split(w, cfg.num_attention_heads if what == "attn_q" else cfg.num_key_value_heads)
        weights[f"model.layers.{layer}.{names[what]}.weight"] = torch.from_numpy(w.copy())
model = LlamaForCausalLM(cfg).float().eval()
model.load_state_dict(weights, strict=True)
tok = AutoTokenizer.from_pretrained(os.path.dirname(path) or ".", gguf_file=os.path.basename(path))

with tempfile.TemporaryDirectory() as tmp:
    ids = np.random.default_rng(0).integers(3, cfg.vocab_size, size=150).tolist()
    out = os.path.join(tmp, "l.npy")
    subprocess.run([tenet, "logits", "-m", path, "--tokens", ",".join(map(str, ids)), "--out", out], check=True)
    with torch.no_grad():
        want = model(torch.tensor([ids])).logits[0].numpy()
    got = np.load(out)
    print("logits: largest difference / largest logit: %.2e, same best token: %.4f" %
          (np.abs(got - want).max() / np.abs(want).max(), (got.argmax(1) == want.argmax(1)).mean()))

    questions = ["What is the capital of France?", "Write a haiku about autumn.", "Explain photosynthesis in two sentences.", "List three prime numbers.",
                 "Translate 'good morning' into Spanish.", "Who wrote Hamlet?", "How do I boil an egg?", "What is 12 times 7?",
                 "Give me a synonym for happy.", "Describe the ocean.", "What is gravity?", "Tell me a joke.", "Name a programming language.",
                 "What causes rain?", "Summarize the story of Cinderella.", "What is the largest planet?", "Why is the sky blue?",
                 "Write a Python function that adds two numbers.", "What day comes after Monday?", "Give advice on sleeping well."]
    rows = os.path.join(tmp, "q.jsonl")
    with open(rows, "w") as f:
        for q in questions:
            f.write(json.dumps({"messages": [{"role": "user", "content": q}]}) + "\n")
    text = subprocess.run([tenet, "generate", "-m", path, "--file", rows, "-n", "32", "--json", "--top-logprobs", "2", "--quiet"],
                          check=True, capture_output=True, text=True).stdout
    same = 0
    for q, row in zip(questions, map(json.loads, text.splitlines())):
        ids = tok.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True)
        ids = ids if isinstance(ids, list) else ids["input_ids"]
        want = model.generate(torch.tensor([ids]), max_new_tokens=32, do_sample=False, pad_token_id=2, eos_token_id=2)[0, len(ids):].tolist()
        if want == row["tokens"]:
            same += 1
        else:
            k = next((k for k, (a, b) in enumerate(zip(want, row["tokens"])) if a != b), 0)
            print("parts at token", k, "two best:", row["top"][k], ":", q)
    print(f"greedy answers: {same} of {len(questions)} equal token by token")
    sys.exit(same != len(questions))
