"""train_text.py prepare SOURCE OUT | torch OUT RESULT - the same model and data as tests/soak/real-text.sh trains, by PyTorch.

prepare: every file below SOURCE is a document; each twentieth one is held out. Writes OUT/train.jsonl and OUT/valid.jsonl: the documents cut at
ends of lines into parts of about 800 bytes, those to train on in a random order; and OUT/tok/ with a byte-level BPE of 8192 tokens trained on
them. torch: LlamaForCausalLM from the weights in OUT/start/model, with the parts in the order of the file; prints and writes the mean loss over the
held-out tokens. Both sides start at the same place and see the same batches, so that what is left is the arithmetic of training, and not the luck
of a start and an order (with those of each side's own, 700 steps ended 1.5 % apart; that these two are the cause is not shown). Parts are cut into pieces of n_ctx tokens; a piece's last token still
predicts the next token of the part (pack: none).
"""
import json, math, os, random, sys, time

KEYS = {}


def config(path):
    for line in open(path):
        key, _, value = line.partition(":")
        if _ and not line.startswith("#"):
            KEYS[key.strip()] = value.strip()
    return KEYS


def parts(text):
    part = ""
    for line in text.splitlines(keepends=True):
        part += line
        if len(part) >= 800:
            yield part
            part = ""
    if part.strip():
        yield part


def prepare(source, out):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    files = sorted(os.path.join(d, f) for d, _, fs in os.walk(source) for f in fs)
    kept, n = {"train": [], "valid": []}, {"train": 0, "valid": 0}
    for i, path in enumerate(files):
        text = open(path, encoding="utf-8", errors="replace").read()
        if len(text) < 200:
            continue
        part = "valid" if i % 20 == 7 else "train"
        kept[part] += parts(text)
        n[part] += len(text.encode())
    random.Random(11).shuffle(kept["train"])
    for part, texts in kept.items():
        with open(f"{out}/{part}.jsonl", "w", encoding="utf-8") as f:
            for text in texts:
                f.write(json.dumps({"text": text}) + "\n")
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(kept["train"], trainers.BpeTrainer(vocab_size=8192, special_tokens=["<|endoftext|>"], show_progress=False,
                                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    os.makedirs(f"{out}/tok", exist_ok=True)
    t.save(f"{out}/tok/tokenizer.json")
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": 256}, open(f"{out}/tok/tokenizer_config.json", "w"))
    json.dump({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
               "intermediate_size": 64, "vocab_size": 8192, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "eos_token_id": 0, "bos_token_id": None},
              open(f"{out}/tok/config.json", "w"))
    print(f"{len(kept['train'])} parts of {n['train']} bytes, {len(kept['valid'])} held out of {n['valid']} bytes")
    assert n["train"] >= 10_000_000, "less than 10 MB to train on"


def pieces(path, tok, n_ctx):
    import torch
    out = []
    for line in open(path, encoding="utf-8"):
        ids = tok.encode(json.loads(line)["text"]).ids + [0]
        for at in range(0, len(ids) - 1, n_ctx):
            x = ids[at:at + n_ctx]
            y = ids[at + 1:at + n_ctx + 1]
            x = x[:len(y)]
            pad = n_ctx - len(x)
            out.append((torch.tensor(x + [0] * pad), torch.tensor(y + [-100] * pad)))
    return out


def by_torch(out, result):
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM
    c = config(f"{out}/text.yaml")
    i = lambda k: int(c[k])
    f = lambda k: float(c[k])
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    tok = Tokenizer.from_file(f"{out}/tok/tokenizer.json")
    train, valid = pieces(f"{out}/train.jsonl", tok, i("n_ctx")), pieces(f"{out}/valid.jsonl", tok, i("n_ctx"))
    model = LlamaForCausalLM.from_pretrained(f"{out}/start/model", dtype=torch.float32, attn_implementation="sdpa")
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.rms_norm_eps) == (i("n_embd"), i("n_layer"), 1e-5)
    named = list(model.named_parameters())
    print(sum(p.numel() for _, p in named), "parameters,", len(train), "pieces,", sum(int((y >= 0).sum()) for _, y in train), "targets", flush=True)
    decay = [p for n, p in named if p.dim() >= 2 and "embed_tokens" not in n]
    rest = [p for n, p in named if p.dim() < 2 or "embed_tokens" in n]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": f("weight_decay")}, {"params": rest, "weight_decay": 0.0}], lr=1.0,
                            betas=(0.9, 0.95), eps=1e-8)
    steps, warm, batch, micro = i("steps"), f("warmup"), i("batch"), i("micro_batch")

    def loss_of(rows):
        x, y = torch.stack([train_or[0] for train_or in rows]), torch.stack([r[1] for r in rows])
        logits = model(input_ids=x).logits
        return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), y.reshape(-1), reduction="sum", ignore_index=-100)

    def validation():
        with torch.no_grad():
            total = sum(float(loss_of(valid[a:a + micro])) for a in range(0, len(valid), micro))
        return total / sum(int((y >= 0).sum()) for _, y in valid)

    losses, began = [], time.time()
    for s in range(1, steps + 1):
        rows = [train[((s - 1) * batch + k) % len(train)] for k in range(batch)]
        n = sum(int((y >= 0).sum()) for _, y in rows)
        opt.zero_grad()
        loss = 0.0
        for a in range(0, batch, micro):
            part = loss_of(rows[a:a + micro]) / n
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        x = (s - 1 - warm) / (steps - warm)
        for g in opt.param_groups:
            g["lr"] = f("lr") * s / warm if s <= warm else f("lr_min") + (f("lr") - f("lr_min")) * 0.5 * (1 + math.cos(math.pi * x))
        opt.step()
        losses.append(loss)
        if s % 20 == 0:
            print(f"step {s}/{steps} loss {loss:.4f} {s * batch * i('n_ctx') / (time.time() - began):.0f} tok/s", flush=True)
    last = validation()
    print(f"validation loss {last:.5f}", flush=True)
    json.dump({"valid": last, "steps": steps, "losses": losses}, open(result, "w"))


{"prepare": prepare, "torch": by_torch}[sys.argv[1]](*sys.argv[2:])
