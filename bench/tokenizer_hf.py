"""Hugging Face tokenizers on the vocabulary and text of bench_tokenizer: MB/s of one thread, best of 3; ids must agree with ours.

    tokenizer_hf.py VOCAB.gguf TEXT [TENET]      CSV: vocabulary, way, bytes, tokens, MB_per_s

The vocabulary of a .gguf with the Llama 3 pattern, made a tokenizers' one. Ways: one call over the whole text, and a batch of
its paragraphs without offsets (encode_batch_fast), which is the fastest that the library has. With TENET, the program, ids are compared.
"""
import os
import subprocess
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from gguf import GGUFReader
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def strings(reader, key):
    f = reader.fields[key]
    return [bytes(f.parts[i]).decode() for i in f.data]


r = GGUFReader(sys.argv[1])
vocab = {t: i for i, t in enumerate(strings(r, "tokenizer.ggml.tokens"))}
merges = [tuple(m.split(" ")) for m in strings(r, "tokenizer.ggml.merges")]
t = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
text = open(sys.argv[2], encoding="utf-8").read()
n_bytes = len(text.encode())
pieces = text.split("\n")


def best(f):
    seconds = []
    for _ in range(3):
        start = time.process_time()
        out = f()
        seconds.append(time.process_time() - start)
    return out, min(seconds)


whole, s = best(lambda: t.encode(text, add_special_tokens=False).ids)
print(f"{os.path.basename(sys.argv[1])},whole,{n_bytes},{len(whole)},{n_bytes / s / 1e6:.2f}")
parts, s = best(lambda: t.encode_batch_fast(pieces, add_special_tokens=False))
print(f"{os.path.basename(sys.argv[1])},batch,{n_bytes},{sum(len(p) for p in parts)},{n_bytes / s / 1e6:.2f}")
if len(sys.argv) > 3:
    ours = subprocess.run([sys.argv[3], "tokenize", "-m", sys.argv[1], "--json", sys.argv[2]], capture_output=True, text=True).stdout
    print("ids", "equal" if str(whole).replace(" ", "") in ours.replace(" ", "").replace("\n", "") else "DIFFERENT OR NOT COMPARED", file=sys.stderr)
