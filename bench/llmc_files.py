"""The three files that llm.c's train_gpt2 (CPU) reads, in its forms, with random weights and tokens: its speed does not depend on them.

    llmc_files.py DIR      DIR/gpt2_124M.bin and DIR/dev/data/tinyshakespeare/tiny_shakespeare_{train,val}.bin; run train_gpt2 in DIR
"""
import os
import sys

import numpy as np

rng = np.random.default_rng(0)
head = np.zeros(256, np.int32)
T, V, L, H, C, P = 1024, 50257, 12, 12, 768, 50304
head[:8] = 20240326, 3, T, V, L, H, C, P
n = P * C + T * C + L * (2 * C + 3 * C * C + 3 * C + C * C + C + 2 * C + 4 * C * C + 4 * C + 4 * C * C + C) + 2 * C
folder = os.path.join(sys.argv[1], "dev/data/tinyshakespeare")
os.makedirs(folder, exist_ok=True)
with open(os.path.join(sys.argv[1], "gpt2_124M.bin"), "wb") as f:
    head.tofile(f)
    (rng.standard_normal(n, np.float32) * 0.02).tofile(f)
for name, count in (("train", 64 * 1024), ("val", 8 * 1024)):
    head = np.zeros(256, np.int32)
    head[:3] = 20240520, 1, count
    with open(os.path.join(folder, f"tiny_shakespeare_{name}.bin"), "wb") as f:
        head.tofile(f)
        rng.integers(0, V, count, np.uint16).tofile(f)
