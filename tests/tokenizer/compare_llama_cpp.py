#!/usr/bin/env python3
"""compare_llama_cpp.py - the inputs and ids that llama.cpp publishes beside its vocabularies, through tokenizer_driver.

    compare_llama_cpp.py DRIVER MODELS_DIR     exits 1 if a BPE or SentencePiece vocabulary differs"""
import glob
import json
import os
import struct
import subprocess
import sys


class Driver:
    def __init__(self, program, *files):
        self.p = subprocess.Popen([program, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ids(self, text, flags=0):
        data = text.encode() if isinstance(text, str) else text
        self.p.stdin.write(struct.pack("<II", flags, len(data)) + data)
        self.p.stdin.flush()
        n, = struct.unpack("<I", self.p.stdout.read(4))
        if n == 0xffffffff:
            n, = struct.unpack("<I", self.p.stdout.read(4))
            return self.p.stdout.read(n).decode()
        return list(struct.unpack(f"<{n}i", self.p.stdout.read(4 * n)))

    def chat(self, messages, template=None, name=None, open_turn=False):
        """ids and mask, or the error's text"""
        o = {"messages": messages, "open": open_turn}
        o.update({"format": name} if name else {"template": template})
        data = json.dumps(o).encode()
        self.p.stdin.write(struct.pack("<II", 512, len(data)) + data)
        self.p.stdin.flush()
        n, = struct.unpack("<I", self.p.stdout.read(4))
        if n == 0xffffffff:
            n, = struct.unpack("<I", self.p.stdout.read(4))
            return self.p.stdout.read(n).decode()
        return list(struct.unpack(f"<{n}i", self.p.stdout.read(4 * n))), list(self.p.stdout.read(n))

    def written(self, name=""):
        """the template that tenet writes for a format; for no name the names of all"""
        self.p.stdin.write(struct.pack("<II", 1024, len(name)) + name.encode())
        self.p.stdin.flush()
        n, = struct.unpack("<I", self.p.stdout.read(4))
        return self.p.stdout.read(n).decode()

    def text(self, ids):
        self.p.stdin.write(struct.pack("<II", 256, 4 * len(ids)) + struct.pack(f"<{len(ids)}i", *ids))
        self.p.stdin.flush()
        n, = struct.unpack("<I", self.p.stdout.read(4))
        return self.p.stdout.read(n)


def main():
    driver, models = sys.argv[1:3]
    failed = 0
    for inp in sorted(glob.glob(os.path.join(models, "*.gguf.inp"))):
        name = os.path.basename(inp)[len("ggml-vocab-"):-len(".gguf.inp")]
        if name.startswith("bert"):
            continue                                          # WordPiece
        d = Driver(driver, inp[:-len(".inp")])
        with open(inp, encoding="utf-8", newline="") as f:
            texts = f.read().split("\n__ggml_vocab_test__\n")
        with open(inp[:-len(".inp")] + ".out") as f:
            wanted = [[int(x) for x in line.split()] for line in f.read().split("\n")]
        bad = 0
        for text, want in zip(texts, wanted):
            got = d.ids(text)
            if got != want:
                bad += 1
                if bad <= 2:
                    print(f"{name}: {text!r}\n  want {want}\n  got  {got}")
        print(f"{name}: {len(texts) - bad} of {len(texts)} equal")
        failed += bad != 0
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
