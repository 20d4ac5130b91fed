#!/usr/bin/env python3
"""flip_config.py - every key of every family's config.json, changed: tenet must refuse it or compute what transformers computes.

    flip_config.py TENET [FAMILY...]

For each golden model, each key that transformers writes for its configuration (defaults included) gets another value of its kind. Then
either tenet refuses the folder with a message that names the key, or its logits equal those of transformers with the same changed
configuration and the same weights. "silent" is a value that changes transformers' logits and not ours, or that transformers
cannot build and we compute unmoved. Exits 1 if there is one. Needs torch, transformers, numpy."""
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
TOKENS = [3, 9, 4, 17, 30, 2, 8, 5, 41, 12, 7, 3, 20, 11, 6, 33]
STRINGS = {"hidden_act": "relu", "hidden_activation": "relu", "activation_function": "relu", "model_type": None, "torch_dtype": None, "dtype": None,
           "transformers_version": None}
# They say nothing about the forward of given weights: training, generation, sizes that the weights show, or where to look.
IGNORED = {"architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "model_type", "return_dict", "output_attentions", "output_hidden_states", "use_cache"}


def other(key, v):
    if isinstance(v, bool):
        return [not v]
    if isinstance(v, int):
        return [v * 2 if v > 0 else 1, max(v - 1, 1)]
    if isinstance(v, float):
        return [v * 1.5 if v != 0 else 0.5]
    if isinstance(v, str):
        return [STRINGS.get(key, v + "x")] if STRINGS.get(key, "") is not None else []
    if v is None:
        return [3.0, 3, True]
    if isinstance(v, list) and v and isinstance(v[0], str):
        return [v[::-1], v[:-1]]
    if isinstance(v, list):
        return [[0]]
    return []


def paths(config):
    for k, v in config.items():
        if k in IGNORED:
            continue
        if isinstance(v, dict):
            for q, w in v.items():
                if isinstance(w, dict):
                    for r, x in w.items():
                        yield (k, q, r), x
                else:
                    yield (k, q), w
        else:
            yield (k,), v


def put(config, path, value):
    c = copy.deepcopy(config)
    at = c
    for p in path[:-1]:
        at = at.setdefault(p, {})
    at[path[-1]] = value
    return c


def theirs(config, state):
    """Logits, or None where the weights do not fit or the configuration cannot be built."""
    try:
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "config.json"), "w") as f:
                json.dump(config, f)
            c = AutoConfig.from_pretrained(d)
        m = AutoModelForCausalLM.from_config(c, attn_implementation="eager").float().eval()
        if c.tie_word_embeddings:
            state = {k: v for k, v in state.items() if "lm_head" not in k and "embed_out" not in k}
        lost = m.load_state_dict(state, strict=False)
        if [k for k in lost.missing_keys if "lm_head" not in k and "embed_out" not in k] or lost.unexpected_keys:
            return None
        m.tie_weights()
        with torch.no_grad():
            return m(torch.tensor([TOKENS])).logits[0].numpy()
    except Exception:
        return None


def ours(tenet, folder):
    out = os.path.join(folder, "out.npy")
    p = subprocess.run([tenet, "logits", "-m", folder, "--tokens", ",".join(map(str, TOKENS)), "--out", out, "--threads", "1", "-q"], capture_output=True, text=True)
    return (None, p.stderr.strip()) if p.returncode != 0 else (np.load(out), "")


def near(a, b):
    return a is not None and b is not None and a.shape == b.shape and np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


def family(tenet, source):
    with open(os.path.join(source, "config.json")) as f:
        base = json.load(f)
    every = {**AutoConfig.from_pretrained(source).to_dict(), **base}      # also what this file leaves at its default
    state = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).state_dict()
    tmp = tempfile.mkdtemp()
    os.symlink(os.path.abspath(os.path.join(source, "model.safetensors")), os.path.join(tmp, "model.safetensors"))

    def both(c):
        with open(os.path.join(tmp, "config.json"), "w") as f:
            json.dump(c, f)
        return ours(tenet, tmp)

    plain, said = both(base)
    want = theirs(base, state)
    if not near(plain, want):
        print(f"{os.path.basename(source)}: the unchanged configuration: {said or 'other logits'}")
        return 1
    n = refused = followed = idle = silent = unchecked = 0
    for path, v in list(paths(every)) + [(("a_key_that_nobody_knows",), None)]:
        for value in other(path[-1], v):
            n += 1
            c = put(base, path, value)
            got, said = both(c)
            if got is None:
                refused += 1
                if path[-1] not in said and path[0] not in said and "tensor" not in said and "weight" not in said and "rope" not in said.lower():
                    print(f"  {os.path.basename(source)}: {'.'.join(path)} = {value!r}: refused without naming it: {said[:200]}")
                continue
            t = theirs(c, state)
            if near(got, t):
                followed += not near(got, want)
                idle += near(got, want)
            elif path[0] == "a_key_that_nobody_knows":
                silent += 1
                print(f"  {os.path.basename(source)}: an unknown key is taken")
            elif t is None and (v is None or not near(got, want)):
                unchecked += 1                        # transformers wants the value in another kind
            else:
                silent += 1
                print(f"  {os.path.basename(source)}: {'.'.join(path)} = {value!r} (was {v!r}): ours {'unmoved' if near(got, want) else 'moved'}, transformers "
                      f"{'cannot' if t is None else 'unmoved' if near(t, want) else 'moved'}")
    shutil.rmtree(tmp)
    print(f"{os.path.basename(source)}: {n} changes: {refused} refused, {followed} followed, {idle} change nothing in either, {unchecked} not comparable, {silent} silent", flush=True)
    return silent


def main():
    torch.set_num_threads(1)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "families")
    names = sys.argv[2:] or ["gpt2", "gptneox", "llama", "llama-3.1", "llama-yarn", "mistral", "mixtral", "qwen2", "qwen3", "qwen3moe", "olmo2", "olmo3", "gemma2",
                             "gemma3", "deepseek-v2", "deepseek-v3", "gpt-oss"]
    sys.exit(sum(family(sys.argv[1], os.path.join(root, n)) for n in names) != 0)


if __name__ == "__main__":
    main()
