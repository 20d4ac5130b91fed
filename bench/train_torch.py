"""A training step of PyTorch at the shape of `tenet bench train` (SmolLM2-135M, batch 4 x 512): tokens a second.

    train_torch.py [threads] [steps] [KIND]      one JSON object: name, dtype, tokens_per_s, peak_rss_gib

KIND: eager (fp32), bf16 (all weights), autocast (to bf16), compile and compile-autocast (torch.compile): one a process, so that the
peak is its own. AdamW, gradient clipping, new weights, counted tokens. transformers' Llama. The first step is not counted; the
median of the others is.
"""
import json
import resource
import statistics
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

threads = int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads()
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 3
torch.set_num_threads(threads)
config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                     num_key_value_heads=3, max_position_embeddings=512, rope_theta=1e5, tie_word_embeddings=True)
ids = (torch.arange(4 * 512) * 2654435761 % 2**32 % 49152).reshape(4, 512)

name = sys.argv[3] if len(sys.argv) > 3 else "eager"
dtype = torch.bfloat16 if name == "bf16" else torch.float32
autocast = "autocast" in name
torch.manual_seed(0)
model = LlamaForCausalLM(config).to(dtype)
step_of = torch.compile(model) if "compile" in name else model
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
seconds = []
for _ in range(steps + 1):
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = step_of(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    seconds.append(time.perf_counter() - start)
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"name": name, "dtype": str(dtype), "tokens_per_s": 2048 / statistics.median(seconds[1:]), "peak_rss_gib": round(rss, 2)}), flush=True)
