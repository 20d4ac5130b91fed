"""make_train.py FAMILIES OUT - 20 steps of AdamW by PyTorch on the tiny models of make_families.py, of LoRA by PEFT, and of DoRA with
rsLoRA on one layer.

Sequence i (of 80) holds the 24 tokens (7 i + 3 t + t * t // 5 + i * t) % 53 + 3; step s takes sequences 4 s .. 4 s + 3. Loss: mean over the
92 predicted tokens. AdamW: lr 1e-2 (linear warm-up of 4 steps, then cosine as in schedule.c), betas 0.9, 0.95, eps 1e-8, decay 0.1 on matrices but
embeddings, clip 1. Writes OUT/<case>.json {"loss": [...], "norm": [...]}, and OUT/lora/ with the adapter that PEFT starts from.
"""
import json, math, os, sys

import torch
import transformers as tf
from peft import LoraConfig, get_peft_model

N_STEP, N_SEQ, N_TOKEN, LR, WARM = 20, 4, 24, 1e-2, 4
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = ["llama", "gpt2", "mixtral", "deepseek-v2", "qwen3"]


def batch(step):
    return torch.tensor([[(7 * i + 3 * t + t * t // 5 + i * t) % 53 + 3 for t in range(N_TOKEN)]
                         for i in range(N_SEQ * step, N_SEQ * step + N_SEQ)])


def rate(t):
    return LR * t / WARM if t <= WARM else 0.5 * LR * (1 + math.cos(math.pi * (t - 1 - WARM) / (N_STEP - WARM)))


def train(model):
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    decay = [p for n, p in named if p.dim() >= 2 and not any(k in n for k in ("embed_tokens", "wte", "wpe"))]
    rest = [p for n, p in named if not any(p is d for d in decay)]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=LR, betas=(0.9, 0.95), eps=1e-8)
    loss_row, norm_row = [], []
    for s in range(N_STEP):
        x = batch(s)
        logits = model(input_ids=x).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]).float(), x[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        for g in opt.param_groups:
            g["lr"] = rate(s + 1)
        opt.step()
        loss_row.append(loss.item())
        norm_row.append(norm.item())
    return {"loss": loss_row, "norm": norm_row}


def main(families, out):
    torch.set_num_threads(1)
    os.makedirs(out, exist_ok=True)
    for case in CASES:
        model = tf.AutoModelForCausalLM.from_pretrained(f"{families}/{case}", dtype=torch.float32, attn_implementation="eager")
        model.eval()                      # no drop-out
        json.dump(train(model), open(f"{out}/{case}.json", "w"))
    adapter(families, out, "lora", 5, {})
    adapter(families, out, "dora", 6, {"use_dora": True, "use_rslora": True, "layers_to_transform": [1]})


def adapter(families, out, case, seed, more):
    torch.manual_seed(seed)
    base = tf.AutoModelForCausalLM.from_pretrained(f"{families}/llama", dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR, init_lora_weights=False, lora_dropout=0.0, **more))
    model.save_pretrained(f"{out}/{case}")
    os.remove(f"{out}/{case}/README.md")
    model.eval()
    json.dump(train(model), open(f"{out}/{case}.json", "w"))


main(*sys.argv[1:])
