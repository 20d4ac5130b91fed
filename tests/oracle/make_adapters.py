"""make_adapters.py FAMILIES OUT [CASE...] - adapters made by the peft package over the tiny models of make_families.py.

OUT/<case>/ holds what save_pretrained writes (adapter_config.json, adapter_model.safetensors), golden.safetensors with
the logits of the adapted model on the family's own tokens, and merged.safetensors with the tensors that merge_and_unload
changes. A and B are random, so that the adapters do something.
"""
import os, shutil, sys

import peft, torch
import transformers as tf
from safetensors.torch import load_file, save_file

CASES = {
    "llama-lora": ("llama", dict(r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])),
    "llama-rslora": ("llama", dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "down_proj"])),
    "llama-patterns": ("llama", dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "up_proj"], rank_pattern={"model.layers.1.self_attn.q_proj": 2, "v_proj": 3},
                                     alpha_pattern={"up_proj": 10, "layers.0.self_attn.v_proj": 1})),
    "llama-dora": ("llama", dict(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "v_proj", "up_proj"])),
    "gpt2-lora": ("gpt2", dict(r=2, lora_alpha=4, fan_in_fan_out=True, target_modules=["c_attn", "c_fc"])),
    "gptneox-dora": ("gptneox", dict(r=2, lora_alpha=4, use_dora=True, target_modules=["query_key_value", "dense_4h_to_h"])),
}

if __name__ == "__main__":
    families, out = sys.argv[1:3]
    for case, (family, kw) in CASES.items():
        if len(sys.argv) > 3 and case not in sys.argv[3:]:
            continue
        torch.manual_seed(len(case))
        base = tf.AutoModelForCausalLM.from_pretrained(os.path.join(families, family), dtype=torch.float32, attn_implementation="eager")
        model = peft.get_peft_model(base, peft.LoraConfig(**kw)).eval()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_A" in name or "lora_B" in name:
                    p.copy_(0.3 * torch.randn_like(p))
                elif "magnitude" in name:
                    p.mul_(1 + 0.3 * torch.rand_like(p))
            where = os.path.join(out, case)
            shutil.rmtree(where, ignore_errors=True)
            model.save_pretrained(where)
            tokens = load_file(os.path.join(families, family, "golden.safetensors"))["tokens"].long()
            logits = model(tokens[None], use_cache=False).logits[0].float().contiguous()
        save_file({"logits": logits}, os.path.join(where, "golden.safetensors"))
        before = {n: t.clone() for n, t in tf.AutoModelForCausalLM.from_pretrained(os.path.join(families, family), dtype=torch.float32).state_dict().items()}
        merged = {n: t.contiguous() for n, t in model.merge_and_unload().state_dict().items() if not torch.equal(t, before[n])}
        save_file(merged, os.path.join(where, "merged.safetensors"))
        for f in os.listdir(where):
            if f == "README.md":
                os.remove(os.path.join(where, f))
            else:
                os.chmod(os.path.join(where, f), 0o644)
        # where the base lay on the maker's disk is of no use to anyone
        config = os.path.join(where, "adapter_config.json")
        text = open(config).read().replace(os.path.join(families, family), family)
        open(config, "w").write(text)
        print(case, sum(os.path.getsize(os.path.join(where, f)) for f in os.listdir(where)), "bytes")
