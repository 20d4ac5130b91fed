#!/usr/bin/env python3
"""compare_readers.py - what tenet writes, opened by transformers and by llama.cpp, for each tiny family.

    compare_readers.py TENET LLAMA_DRIVER [FAMILY[+tied]...]

A copy of each golden model gets a tokenizer of its 56 rows. Then HF -> GGUF -> HF: tokenizer.json and the other JSON files come back byte
by byte (config.json by meaning), every weight by value (Gemma's norms within rounding), transformers opens the folder; sharded
folders give the same weights; 24 greedy tokens after a prompt equal in transformers, tenet and llama.cpp on the GGUF - where they part,
the two best logits must lie closer than 1e-4 of the largest. Exits 1 on any difference. Needs torch, transformers, safetensors."""
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tokenizer"))
import torch
from compare_llama_cpp import Driver
from safetensors import safe_open
from safetensors.torch import save_file
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT, N = "hello brave new world", 24
# llama.cpp knows a DeepSeek V2 without q_lora_rank (the Lite one) by its 27 layers.
NOT_IN_LLAMA_CPP = {"deepseek-v2"}
# It takes Mistral for a Llama and has no sliding window there: texts longer than the window part.
NO_WINDOW_IN_LLAMA_CPP = {"mistral"}
# Its forward wants a head of its own, also where that is the embedding.
TIED_TOO = ["gptneox", "olmo2", "olmo3", "gpt-oss"]


def tokenizer(folder):
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,"
    vocab = {c: i for i, c in enumerate(letters[:54] + "Ġ")}
    vocab["<|endoftext|>"] = 55
    t = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
         "added_tokens": [{"id": 55, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}],
         "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
         "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
         "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                   "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}}
    files = {"tokenizer.json": t, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": 4096},
             "generation_config.json": {"eos_token_id": 55, "_from_model_config": True}}
    for name, v in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(v, f, ensure_ascii=False, indent=1)
    return files


def weights(folder):
    out = {}
    for path in glob.glob(os.path.join(folder, "*.safetensors")):
        with safe_open(path, "pt") as f:
            out.update({k: f.get_tensor(k) for k in f.keys()})
    return out


def run(*words):
    p = subprocess.run(words, capture_output=True, text=True)
    if p.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:2])}: {p.stderr.strip()[:300]}")
    return p.stdout


def compare_weights(a, b, what, problems):
    if a.keys() != b.keys():
        problems.append(f"{what}: other tensors: {sorted(a.keys() ^ b.keys())[:6]}")
    for k in a.keys() & b.keys():
        x, y = a[k].float() if a[k].dtype != torch.uint8 else a[k], b[k].float() if b[k].dtype != torch.uint8 else b[k]
        near = "norm" in k and x.shape == y.shape and x.dtype == torch.float32 and torch.allclose(x, y, rtol=0, atol=2e-7)
        if x.shape != y.shape or not (torch.equal(x, y) or (near and "gemma" in what)):
            problems.append(f"{what}: {k} differs")


def tie(folder):
    """The head becomes the embedding."""
    config, weights_file = (os.path.join(folder, f) for f in ("config.json", "model.safetensors"))
    with open(config, encoding="utf-8") as f:
        v = json.load(f)
    with open(config, "w", encoding="utf-8") as f:
        json.dump({**v, "tie_word_embeddings": True}, f)
    save_file({k: t for k, t in weights(folder).items() if k not in ("lm_head.weight", "embed_out.weight")}, weights_file, {"format": "pt"})


def family(tenet, llama, source, tmp, problems):
    name, tied = os.path.basename(source), source.endswith("+tied")
    hf, gguf, back, shards = (os.path.join(tmp, x) for x in ("hf", "a.gguf", "back", "shards"))
    os.mkdir(hf)
    for f in ("config.json", "model.safetensors"):
        shutil.copy(os.path.join(source.removesuffix("+tied"), f), hf)
    if tied:
        tie(hf)
    files = tokenizer(hf)
    model = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(hf)(PROMPT)["input_ids"]
    with torch.no_grad():
        want = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=N, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True)[0].tolist()[len(ids):]

    def same_text(who, got):
        for i, (x, y) in enumerate(zip(got, want)):
            if x == y:
                continue
            with torch.no_grad():
                logits = model(torch.tensor([ids + want[:i]])).logits[0, -1]
            gap = float(logits[y] - logits[x]) / float(logits.abs().max())
            if gap > 1e-4:
                problems.append(f"{who} parts at token {i}: {x}, not {y}; the gap is {gap:.2e} of the largest logit")
            return f"parts at {i}, gap {gap:.1e}"
        if len(got) != len(want):
            problems.append(f"{who}: {len(got)} tokens, not {len(want)}")
        return "equal"

    def ours(m):
        row = json.loads(run(tenet, "generate", "-m", m, "-p", PROMPT, "-n", str(N), "--temperature", "0", "--ignore-eos", "--json", "-q").splitlines()[0])
        return row["tokens"]

    said = "folder " + same_text("tenet, folder", ours(hf))
    run(tenet, "convert", hf, shards, "--max-shard", "20000", "-q", "--type", "f32")
    n_shard = len(glob.glob(os.path.join(shards, "model-*.safetensors")))
    compare_weights({k: v for k, v in weights(hf).items()} if "mxfp4" not in name else weights(shards), weights(shards), name + " shards", problems)
    AutoModelForCausalLM.from_pretrained(shards, dtype=torch.float32)
    said += f", {n_shard} shards {same_text('tenet, shards', ours(shards))}"
    run(tenet, "convert", hf, gguf, "-q")
    run(tenet, "convert", gguf, back, "-q")
    for f in files:
        with open(os.path.join(hf, f), "rb") as x, open(os.path.join(back, f), "rb") as y:
            if x.read() != y.read():
                problems.append(f"{f} does not come back byte by byte")
    if "mxfp4" not in name:
        compare_weights(weights(hf), weights(back), name + " back", problems)
    again = AutoModelForCausalLM.from_pretrained(back, dtype=torch.float32)
    if AutoTokenizer.from_pretrained(back)(PROMPT)["input_ids"] != ids:
        problems.append("transformers: other ids from the folder that came back")
    with torch.no_grad():
        x, y = model(torch.tensor([ids + want])).logits, again(torch.tensor([ids + want])).logits
    if (x - y).abs().max() > 1e-5 * x.abs().max():
        problems.append(f"transformers: logits of the folder that came back are off by {float((x - y).abs().max()):.2e}")
    said += ", GGUF " + same_text("tenet, GGUF", ours(gguf))
    d = Driver(llama, gguf)
    try:
        if d.ids(PROMPT) != ids:
            problems.append("llama.cpp: other ids")
        d.p.stdin.write(struct.pack("<II", 2048 + N, 4 * len(ids)) + struct.pack(f"<{len(ids)}i", *ids))
        d.p.stdin.flush()
        n, = struct.unpack("<I", d.p.stdout.read(4))
        got = list(struct.unpack(f"<{n}i", d.p.stdout.read(4 * n)))
        said += ", llama.cpp " + ("has no window" if name in NO_WINDOW_IN_LLAMA_CPP else same_text("llama.cpp", got))
    except (struct.error, BrokenPipeError):
        said += ", llama.cpp does not open it"
        if name not in NOT_IN_LLAMA_CPP:
            problems.append("llama.cpp does not open the GGUF")
    return said


def main():
    tenet, llama = sys.argv[1:3]
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error(), transformers.utils.logging.disable_progress_bar()
    # Dynamic RoPE scaling has no form in GGUF, and its context of 16 holds no such text.
    root, failed = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "families"), 0
    for source in [os.path.join(root, n) for n in (sys.argv[3:] or sorted(set(os.listdir(root)) - {"llama-dynamic"}) + [n + "+tied" for n in TIED_TOO])]:
        problems, tmp = [], tempfile.mkdtemp()
        try:
            said = family(tenet, llama, source, tmp, problems)
        except Exception as e:
            said = ""
            problems.append(f"{type(e).__name__}: {str(e)[:400]}")
        shutil.rmtree(tmp)
        print(f"{os.path.basename(source)}: {said}" + "".join("\n  " + p for p in problems), flush=True)
        failed += bool(problems)
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
