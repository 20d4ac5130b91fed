#!/usr/bin/env python3
"""compare_hf.py - ids against Hugging Face tokenizers, built from real GGUF vocabularies and the published patterns.

    compare_hf.py DRIVER MODELS_DIR N [UDHR.jsonl] [--speed TEXT]

For each byte-level BPE vocabulary: the 57 languages (if given), code, emoji, runs of spaces, broken UTF-8 (as the text
that Python's errors="replace" makes of it, byte by byte) and N random strings of seed SEED (1). Exits 1 if any id differs. With
--speed, megabytes a second of one core's work on TEXT for the Llama 3 vocabulary. Needs the packages tokenizers, gguf."""
import glob
import json
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import gguf
from compare_llama_cpp import Driver
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

C = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CJK = "[一-龥ࠀ-一가-퟿]+"
SMOLLM = [r"\p{N}", GPT2]


def patterns(models_dir):
    """By tokenizer.ggml.pre. The long class of cased letters is read from llama.cpp's source, not copied."""
    with open(os.path.join(models_dir, "..", "src", "llama-vocab.cpp"), encoding="utf-8") as f:
        cased = re.search(r'"\\\\s\?(\[A-Za-zµ.*?\]\+)"', f.read()).group(1)
    return {
        "gpt-2": [GPT2], "mpt": [GPT2], "smollm": SMOLLM, "starcoder": SMOLLM, "refact": SMOLLM, "command-r": SMOLLM,
        "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
        "llama-bpe": [C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL],
        "qwen2": [C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL],
        "qwen35": [C + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + TAIL],
        "deepseek-llm": ["[\r\n]", r"\s?" + cased, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CJK, r"\p{N}+"],
        "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    }


def build(path, table):
    """A Hugging Face tokenizer of the same vocabulary (None if its pattern is not in the table), its pattern's name, and
    the ASCII characters whose bytes it has no token for."""
    f = gguf.GGUFReader(path).fields
    pre = f["tokenizer.ggml.pre"].contents() if "tokenizer.ggml.pre" in f else ""
    if pre not in table or "tokenizer.ggml.merges" not in f:
        return None, pre, set()
    tokens, types, merges = (f["tokenizer.ggml." + k] for k in ("tokens", "token_type", "merges"))
    tokens = [bytes(tokens.parts[i]).decode() for i in tokens.data]
    types = [int(types.parts[i][0]) for i in types.data]
    pairs = []
    for i in merges.data:
        m = bytes(merges.parts[i]).decode()
        at = m.index(" ", 1)
        pairs.append((m[:at], m[at + 1:]))
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=pairs, ignore_merges=pre == "llama-bpe"))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in table[pre]] +
                                              [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.add_tokens([AddedToken(tokens[i], normalized=False) for i in range(len(tokens)) if types[i] == 4])
    return t, pre, missing_bytes(f)


def missing_bytes(fields):
    """ASCII characters that a byte-level vocabulary has no token for. Where it lacks a byte, llama.cpp's pieces end there and
    Hugging Face's merge across: not asked."""
    tokens = fields["tokenizer.ggml.tokens"]
    known = {bytes(tokens.parts[i]).decode() for i in tokens.data}
    return {chr(b) for b, spelled in byte_alphabet().items() if spelled not in known and b < 128}


def byte_alphabet():
    """GPT-2's character for each byte."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


ALPHABETS = [list(range(32, 127)), list(range(0x20, 0x100)), list(range(0, 0x20)), [0x20, 0x20, 0x20, 0x0a, 0x0d, 0x09, 0xa0, 0x3000, 0x2028, 0x85],
             list(range(0x300, 0x370)), list(range(0x370, 0x600)), list(range(0x900, 0xa00)), list(range(0x3040, 0x3100)),
             list(range(0x4e00, 0x4e80)), list(range(0xac00, 0xac40)), list(range(0x1f600, 0x1f650)),
             [0x200d, 0xfe0f, 0x20e3, 0xfeff, 0xfffd, 0x17f, 0x212a, 0x130, 0x131, 0xdf, 0x1c5, 0x2b0, 0x2160, 0xb2, 0x2460],
             [ord(c) for c in "'sStTreveVEmMlLdD "], [c for c in range(0x1000, 0x30000, 37) if not 0xd800 <= c < 0xe000]]


def random_text(rng):
    out = []
    for _ in range(rng.randint(1, 12)):
        a = rng.choice(ALPHABETS)
        out += [chr(rng.choice(a)) for _ in range(rng.randint(1, 6))]
    return "".join(out)


def fixed_texts(udhr):
    texts = [" " * k for k in (1, 2, 3, 31, 1000, 20000)] + ["a" * 5000, "\n" * 500, "\t\n " * 50, "👩‍👩‍👧‍👦🏳️‍🌈" * 20]
    for source in ("compare_hf.py", "driver.c"):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), source), encoding="utf-8") as f:
            texts.append(f.read())
    if udhr:
        with open(udhr, encoding="utf-8") as f:
            texts += [json.loads(line)["text"] for line in f]
    return texts


def broken(rng):
    """Bytes whose every ill-formed byte stands alone, and the text with U+FFFD for each."""
    parts = [bytes([rng.choice([0x80, 0xbf, 0xc0, 0xc1, 0xf5, 0xff])]) if rng.random() < 0.3 else random_text(rng).encode() for _ in range(6)]
    data = b"".join(parts)
    return data, data.decode("utf-8", errors="replace")


def speed(t, text):
    with open(text, encoding="utf-8") as f:
        whole = f.read()
    chunks = [whole[i:i + 10000] for i in range(0, min(len(whole), 300000), 10000)]
    n = sum(len(c.encode()) for c in chunks)
    start = time.process_time()
    for c in chunks:
        t.encode(c, add_special_tokens=False)
    print(f"Hugging Face tokenizers: {n / (time.process_time() - start) / 1e6:.2f} MB/s a core, in pieces of 10,000 characters")


def main():
    args = [a for a in sys.argv[1:] if a != "--speed"]
    text = args.pop() if "--speed" in sys.argv else None
    driver, models_dir, n = args[0], args[1], int(args[2])
    table, failed, n_vocab = patterns(models_dir), 0, 0
    for path in sorted(glob.glob(os.path.join(models_dir, "*.gguf"))):
        t, pre, missing = build(path, table)
        if t is None:
            continue
        if text is not None:
            if pre == "llama-bpe":
                speed(t, text)
            continue
        d, rng, bad, n_same = Driver(driver, path), random.Random(int(os.environ.get("SEED", "1"))), 0, 0
        pairs = [(x, x) for x in fixed_texts(args[3] if len(args) > 3 else None)] + [broken(rng) for _ in range(200)]
        texts = [random_text(rng) for _ in range(n)]
        for data, x in pairs + [(x, x) for x in texts]:
            if missing & set(x):
                continue
            want, got = t.encode(x, add_special_tokens=False).ids, d.ids(data)
            n_same += want == got
            if want != got:
                bad += 1
                if bad <= 3:
                    print(f"  {os.path.basename(path)}: {x[:60]!r}: want {want[:12]}, got {got[:12]}")
        print(f"{os.path.basename(path)} ({pre}): {n_same} of {n_same + bad} equal", flush=True)
        failed += bad != 0
        n_vocab += 1
    sys.exit(failed != 0 or (text is None and n_vocab < 8))


if __name__ == "__main__":
    main()
