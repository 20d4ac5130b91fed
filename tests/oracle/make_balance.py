"""make_balance.py DIR - losses of six AdamW steps of the Mixtral in DIR/start/model on DIR/text.jsonl (tests/train/balance.sh TENET DIR makes both), with

    loss = mean NLL + aux * n_expert * sum_e(fraction of assignments_e * mean probability_e) + z * mean(logsumexp(logits)^2)

where fraction, means and logsumexp are of one micro-batch (Fedus et al. 2101.03961; Zoph et al. 2202.08906). Lines: micro aux z NLL, of PyTorch and
transformers, fp32. Into tests/golden/train/balance.txt.
"""
import json, sys, torch
from transformers import AutoModelForCausalLM

d = sys.argv[1]
vocab = json.load(open(f"{d}/start/model/tokenizer.json"))["model"]["vocab"]
plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
names, n = {b: chr(b) for b in plain}, 0
for b in range(256):
    if b not in names:
        names[b] = chr(256 + n)
        n += 1
rows = [[vocab[names[b]] for b in json.loads(line)["text"].encode()] + [256] for line in open(f"{d}/text.jsonl")]
for micro in (4, 2):
    for aux, z in ((0.5, 0.1), (0, 0)):
        m = AutoModelForCausalLM.from_pretrained(f"{d}/start/model", dtype=torch.float32, attn_implementation="eager")
        opt = torch.optim.AdamW(m.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0)
        for s in range(6):
            batch, total = rows[4 * s:4 * s + 4], 0.0
            opt.zero_grad()
            for at in range(0, 4, micro):
                x = torch.tensor([r[:64] for r in batch[at:at + micro]])
                y = torch.tensor([r[1:] for r in batch[at:at + micro]])
                o = m(input_ids=x, output_router_logits=True)
                nll = torch.nn.functional.cross_entropy(o.logits.reshape(-1, o.logits.shape[-1]), y.reshape(-1))
                extra = 0
                for l in o.router_logits:
                    p = torch.softmax(l.float(), -1)
                    top = p.topk(2, -1).indices.reshape(-1)
                    fraction = torch.zeros(4).index_add(0, top, torch.ones(top.numel())) / top.numel()
                    extra = extra + aux * 4 * (fraction * p.mean(0)).sum() + z * torch.logsumexp(l.float(), -1).pow(2).mean()
                ((nll + extra) * micro / 4).backward()
                total += nll.item() * micro / 4
            opt.step()
            print(micro, aux, z, f"{total:.7f}")
