"""make_preference.py MODEL OUT - six steps of every preference loss from the model in MODEL (Llama, byte tokenizer), as tests/train/test_pairs.c does.

MODEL/pairs.jsonl has 12 rows {prompt, chosen, rejected, p, weight}; four a step, in order, twice round. AdamW: lr 2e-3, betas 0.9, 0.999, eps 1e-8,
no decay, clip 1. dpo, hinge, ipo, robust, apo_zero and dpo_norm by TRL's DPOTrainer (p and weight left out); all others, and dpo with p and weight,
from their papers' formulas with autograd. Writes OUT: {"<loss>": [loss of each step]}. KTO's mismatched answers are those of the next pair of the file.
"""
import copy, json, sys

import torch
import torch.nn.functional as F
import transformers as tf
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

STEPS, BATCH, LR, BETA = 6, 4, 2e-3, 0.3
EPS, GAMMA, ORPO, RDPO, NLL, GOOD, BAD = 0.1, 0.7, 0.5, 0.05, 0.4, 1.2, 0.9
BY_TRL = {"dpo": "sigmoid", "hinge": "hinge", "ipo": "ipo", "robust": "robust", "apo_zero": "apo_zero", "dpo_norm": "sigmoid_norm"}


class InOrder(DPOTrainer):
    def _get_train_sampler(self, *a, **k):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def by_trl(name, folder, rows):
    model = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    ref = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    tok = tf.AutoTokenizer.from_pretrained(folder)
    tok.pad_token = tok.eos_token
    args = DPOConfig(output_dir="/tmp/make-preference", loss_type=[BY_TRL[name]], beta=BETA, label_smoothing=EPS if name == "robust" else 0.0,
                     per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=LR, lr_scheduler_type="constant", adam_beta2=0.999,
                     weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False, fp16=False,
                     gradient_checkpointing=False, disable_tqdm=True, disable_dropout=True, max_length=64)
    data = Dataset.from_list([{k: r[k] for k in ("prompt", "chosen", "rejected")} for r in rows])
    trainer = InOrder(model=model, ref_model=ref, args=args, train_dataset=data, processing_class=tok)
    trainer.train()
    return [h["loss"] for h in trainer.state.log_history if "loss" in h][:STEPS]


def logp(model, prompt, answer, per_token=False):
    ids = torch.tensor([list(prompt.encode()) + list(answer.encode()) + [256]])
    n = len(prompt.encode())
    lp = torch.log_softmax(model(input_ids=ids).logits[0, :-1].double(), -1).gather(1, ids[0, 1:, None])[:, 0]
    return lp[n - 1:].sum(), len(ids[0]) - n


def pair_loss(name, model, ref, rows, i, z):
    r = rows[i]
    (w, nw), (l, nl) = logp(model, r["prompt"], r["chosen"]), logp(model, r["prompt"], r["rejected"])
    with torch.no_grad():
        rw, rl = logp(ref, r["prompt"], r["chosen"])[0], logp(ref, r["prompt"], r["rejected"])[0]
    a, b = w - rw, l - rl
    p = r["p"] if name == "soft" else 1.0
    soft = lambda x: -p * F.logsigmoid(x) - (1 - p) * F.logsigmoid(-x)
    if name in ("soft", "rpo"):
        return soft(BETA * (a - b)) + (NLL * -w / nw if name == "rpo" else 0)
    if name == "kto":
        return GOOD * (1 - torch.sigmoid(BETA * (a - z))) + BAD * (1 - torch.sigmoid(BETA * (z - b)))
    if name == "orpo":
        odds = lambda m: m - torch.log1p(-torch.exp(m))
        return -w / nw - ORPO * F.logsigmoid(odds(w / nw) - odds(l / nl))
    if name == "simpo":
        return soft(BETA * (w / nw - l / nl) - GAMMA)
    if name == "r_dpo":
        return soft(BETA * (a - b) + RDPO * (nw - nl))
    raise KeyError(name)


def by_hand(name, folder, rows):
    model = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ref = copy.deepcopy(model)
    opt = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    out = []
    for s in range(STEPS):
        index = [(s * BATCH + k) % len(rows) for k in range(BATCH)]
        z = 0.0
        if name == "kto":
            with torch.no_grad():
                ratios = [logp(model, rows[i]["prompt"], rows[(i + 1) % len(rows)]["chosen"])[0]
                          - logp(ref, rows[i]["prompt"], rows[(i + 1) % len(rows)]["chosen"])[0] for i in index]
                z = max(0.0, float(sum(ratios) / len(ratios)))
        weight = [rows[i]["weight"] if name == "soft" else 1.0 for i in index]
        loss = sum(q * pair_loss(name, model, ref, rows, i, z) for q, i in zip(weight, index)) / sum(weight)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        out.append(float(loss))
    return out


def main(folder, out):
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in open(f"{folder}/pairs.jsonl")]
    got = {name: by_trl(name, folder, rows) for name in BY_TRL}
    got.update({name: by_hand(name, folder, rows) for name in ("soft", "rpo", "kto", "orpo", "simpo", "r_dpo")})
    json.dump(got, open(out, "w"), indent=1)


main(*sys.argv[1:])
