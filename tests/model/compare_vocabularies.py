#!/usr/bin/env python3
"""compare_vocabularies.py - llama.cpp's vocabularies through `tenet convert`: GGUF to tokenizer.json and back.

    compare_vocabularies.py TENET DRIVER LLAMA_DRIVER MODELS_DIR N [UDHR.jsonl]

Each vocabulary gets a tiny random model of the family Llama around it. The folder that tenet writes must give, in Hugging Face
tokenizers, the ids that llama.cpp gives for the first file; the GGUF that tenet writes of a copy of that folder must give them
in llama.cpp again; and tenet's own ids equal llama.cpp's: the fixed texts of compare_hf.py, broken UTF-8 (of tenet and
llama.cpp) and N seeded random strings. Exits 1 if any id differs. Needs tokenizers, gguf, numpy."""
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tokenizer"))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import gguf
import numpy as np
from compare_hf import fixed_texts, missing_bytes, random_text
from compare_llama_cpp import Driver
from tokenizers import Tokenizer


def tiny_model(vocabulary, out):
    r = gguf.GGUFReader(vocabulary)
    w = gguf.GGUFWriter(out, "llama")
    for name, f in r.fields.items():
        if name.startswith("tokenizer."):
            kind = f.types[0]
            w.add_key_value(name, f.contents(), kind, f.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    n = len(r.fields["tokenizer.ggml.tokens"].data)
    w.add_context_length(4096), w.add_embedding_length(32), w.add_block_count(1), w.add_feed_forward_length(32)
    w.add_head_count(2), w.add_head_count_kv(2), w.add_layer_norm_rms_eps(1e-5), w.add_rope_dimension_count(16)
    w.add_rope_freq_base(10000.0), w.add_vocab_size(n)
    rng = np.random.default_rng(1)
    for t, shape in {"token_embd": (n, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,), "blk.0.attn_q": (32, 32),
                     "blk.0.attn_k": (32, 32), "blk.0.attn_v": (32, 32), "blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (32, 32),
                     "blk.0.ffn_up": (32, 32), "blk.0.ffn_down": (32, 32)}.items():
        w.add_tensor(t + ".weight", rng.standard_normal(shape).astype(np.float32))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


class Llama(Driver):
    def __init__(self, program, path):
        self.p = subprocess.Popen([program, path, "vocab"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def broken(rng, spm):
    """Ill-formed bytes that stand alone. In SentencePiece vocabularies llama.cpp lets a leading byte without followers swallow the
    characters behind it; we do not (decision 050), so there only continuation bytes are asked."""
    alone = [0x80, 0xbf] if spm else [0x80, 0xbf, 0xc0, 0xc1, 0xf5, 0xff]
    return b"".join(random_text(rng).encode() if k % 2 == 0 else bytes([rng.choice(alone)]) for k in range(7))


def comparable(name, missing, text):
    """Not asked: bytes that the vocabulary lacks; characters younger than Python's Unicode tables (llama.cpp's are older than ours);
    white space beyond ASCII, which the regular expressions that llama.cpp uses for DeepSeek LLM alone do not know."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if any(unicodedata.category(c) == "Cn" for c in text):
        return False
    return not (missing & set(text)) and not (name == "deepseek-llm" and any(c.isspace() and ord(c) > 127 or c == "\ufeff" for c in text))


def main():
    tenet, driver, llama, models, n = *sys.argv[1:5], int(sys.argv[5])
    failed = 0
    for path in sorted(glob.glob(os.path.join(models, "*.gguf"))):
        name, tmp = os.path.basename(path)[len("ggml-vocab-"):-len(".gguf")], tempfile.mkdtemp()
        try:
            f = gguf.GGUFReader(path).fields
            kind = f["tokenizer.ggml.model"].contents()
            if kind not in ("gpt2", "llama"):
                continue
            a, hf, b = (os.path.join(tmp, x) for x in ("a.gguf", "hf", "b.gguf"))
            tiny_model(path, a)
            said = subprocess.run([tenet, "convert", a, hf, "-q"], capture_output=True, text=True)
            if not os.path.exists(os.path.join(hf, "tokenizer.json")):
                print(f"{name}: no tokenizer.json: {said.stderr.strip()[:200]}", flush=True)
                continue
            said = subprocess.run([tenet, "convert", hf, b, "-q"], capture_output=True, text=True)
            ours, theirs = Driver(driver, a), Llama(llama, a)
            again = Llama(llama, b) if said.returncode == 0 else None
            if again is None:
                print(f"{name}: no GGUF of its folder: {said.stderr.strip()[:200]}")
            t = Tokenizer.from_file(os.path.join(hf, "tokenizer.json"))
            nfc = json.load(open(os.path.join(hf, "tokenizer.json"))).get("normalizer") == {"type": "NFC"}
            rng, bad, seen = random.Random(7), {"tenet": 0, "tokenizer.json": 0, "GGUF again": 0}, 0
            texts = fixed_texts(sys.argv[6] if len(sys.argv) > 6 else None) + [broken(rng, kind == "llama") for _ in range(500)] + [random_text(rng) for _ in range(n)]
            missing = set() if kind == "llama" else missing_bytes(f)
            for x in texts:
                if not comparable(name, missing, x):
                    continue
                want = theirs.ids(x)
                seen += 1
                got = {"tenet": ours.ids(x)}
                if again is not None:
                    got["GGUF again"] = again.ids(x)
                if isinstance(x, str) and not (nfc and unicodedata.normalize("NFC", x) != x):
                    got["tokenizer.json"] = t.encode(x, add_special_tokens=False).ids
                for who, ids in got.items():
                    if ids != want:
                        bad[who] += 1
                        if bad[who] <= 2:
                            print(f"  {name}, {who}: {x[:70]!r}: want {want[:14]}, got {ids[:14]}")
            print(f"{name}: {seen} texts; differ: " + ", ".join(f"{k} {v}" for k, v in bad.items()), flush=True)
            failed += any(bad.values())
        finally:
            shutil.rmtree(tmp)
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
