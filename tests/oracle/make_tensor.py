#!/usr/bin/env python3
"""Makes tests/golden/tensor/*.txt: attention, rotary tables, routers and mixtures of experts as PyTorch (in double) and
transformers compute them. Each line: name, number of values, values. Usage: make_tensor.py OUT_DIR
"""
import os
import sys

import torch

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)
out_dir = sys.argv[1]
os.makedirs(out_dir, exist_ok=True)


class File:
    def __init__(self, name):
        self.f = open(os.path.join(out_dir, name + ".txt"), "w")

    def put(self, name, t):
        v = [x for x in torch.as_tensor(t).detach().reshape(-1).tolist()]
        self.f.write(f"{name} {len(v)} " + " ".join(("%d" % x) if isinstance(x, (int, bool)) else ("%.9g" % x) for x in v) + "\n")


def f32(*shape):
    """Random values that fp32 holds exactly, so that both sides start from the same numbers."""
    return torch.randn(*shape).to(torch.float32).to(torch.float64).requires_grad_()


# ------------------------------------------------------------------------------------------------------- attention
docs = [4, 1, 8]
n = sum(docs)
start, s = [], 0
for d in docs:
    start += [s] * d
    s += d
H, K, dk, dv = 4, 2, 8, 6
f = File("attention")
f.put("start", start)
for name, window, cap, use_sinks in (("plain", 0, 0.0, 0), ("window", 3, 0.0, 0), ("softcap", 0, 1.5, 0), ("sinks", 0, 0.0, 1), ("all", 2, 2.5, 1)):
    q, k, v, sinks, do = f32(n, H, dk), f32(n, K, dk), f32(n, K, dv), f32(H), torch.randn(n, H, dv).float().double()
    i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
    st = torch.tensor(start)
    ok = (j <= i) & (j >= st[:, None])
    if window:
        ok &= i - j < window
    kk, vv = k.repeat_interleave(H // K, 1), v.repeat_interleave(H // K, 1)
    sc = torch.einsum("ihd,jhd->hij", q, kk) * 0.3
    if cap:
        sc = cap * torch.tanh(sc / cap)
    sc = sc.masked_fill(~ok, float("-inf"))
    if use_sinks:
        p = torch.softmax(torch.cat([sc, sinks[:, None, None].expand(H, n, 1)], 2), 2)[:, :, :-1]
    else:
        p = torch.softmax(sc, 2)
    o = torch.einsum("hij,jhd->ihd", p, vv)
    (o * do).sum().backward()
    f.put(name, [window, cap, use_sinks])
    for key, t in (("q", q), ("k", k), ("v", v), ("sinks", sinks), ("dout", do), ("out", o), ("dq", q.grad), ("dk", k.grad), ("dv", v.grad)):
        f.put(name + "." + key, t)
    if use_sinks:
        f.put(name + ".dsinks", sinks.grad)

# ------------------------------------------------------------------------------------------------------------- rope
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

f = File("rope")
positions = [0, 1, 2, 77, 1000, 4095]


def table(name, inv, scale):
    pos = torch.tensor(positions, dtype=torch.float64)
    a = pos[:, None] * inv.double()[None, :]
    f.put(name + ".cos", torch.cos(a) * scale)
    f.put(name + ".sin", torch.sin(a) * scale)


def config(theta, n_rot, max_pos, scaling):
    c = LlamaConfig(hidden_size=n_rot * 2, num_attention_heads=2, head_dim=n_rot, max_position_embeddings=max_pos)
    c.rope_parameters = dict(scaling, rope_theta=theta)
    c.rope_theta = theta
    c.rope_scaling = c.rope_parameters
    return c


f.put("positions", positions)
cases = {
    "plain": (10000.0, 32, 2048, dict(rope_type="default")),
    "linear": (10000.0, 32, 4096, dict(rope_type="linear", factor=4.0)),
    "llama3": (500000.0, 64, 131072, dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
    "yarn": (10000.0, 64, 163840, dict(rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)),
    "yarn_oss": (150000.0, 64, 131072, dict(rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, beta_fast=32.0, beta_slow=1.0, truncate=False)),
    "longrope": (10000.0, 8, 131072, dict(rope_type="longrope", factor=32.0, short_factor=[1.0] * 4, long_factor=[1.0, 1.5, 8.0, 30.0], original_max_position_embeddings=4096)),
}
for name, (theta, n_rot, max_pos, scaling) in cases.items():
    c = config(theta, n_rot, max_pos, scaling)
    if name == "plain":
        inv, scale = 1.0 / theta ** (torch.arange(0, n_rot, 2, dtype=torch.float64) / n_rot), 1.0
    else:
        inv, scale = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](c, device="cpu", **({"seq_len": 100000} if name == "longrope" else {}))
    table(name, inv, scale)
x = f32(2, 10)
ang = torch.tensor([3.0])[:, None] * (1.0 / 10000.0 ** (torch.arange(0, 6, 2) / 6.0))[None, :]
co, si = torch.cos(ang), torch.sin(ang)
rot = x.clone()
half = torch.cat([x[:, 2:5] * co - x[:, 5:8] * si, x[:, 5:8] * co + x[:, 2:5] * si], 1)
f.put("apply.x", x)
f.put("apply.half", torch.cat([x[:, :2], half, x[:, 8:]], 1))
inter = torch.stack([x[:, 2:8:2] * co - x[:, 3:8:2] * si, x[:, 3:8:2] * co + x[:, 2:8:2] * si], 2).reshape(2, 6)
f.put("apply.interleaved", torch.cat([x[:, :2], inter, x[:, 8:]], 1))

# --------------------------------------------------------------------------------------------------- router and moe
f = File("moe")
E, d, ff, rows = 8, 6, 5, 7


def silu(g):
    return g * torch.sigmoid(g)


def route(kind, logits, k, bias):
    if kind == "mixtral":
        p = torch.softmax(logits, 1)
        w, ids = torch.topk(p, k)
        return w / w.sum(1, keepdim=True), ids
    if kind == "oss":
        w, ids = torch.topk(logits, k)
        return torch.softmax(w, 1), ids
    # deepseek-v3: 4 groups, the best 2 by the sum of their two best biased scores
    s = torch.sigmoid(logits)
    b = s + bias
    g = b.view(rows, 4, E // 4).topk(2, 2)[0].sum(2)
    keep = torch.zeros_like(g).scatter_(1, g.topk(2, 1)[1], 1).bool().repeat_interleave(E // 4, 1)
    ids = b.masked_fill(~keep, float("-inf")).topk(k, 1)[1]
    w = s.gather(1, ids)
    return w / (w.sum(1, keepdim=True) + 1e-20) * 2.5, ids


for kind, k in (("mixtral", 2), ("oss", 3), ("deepseek", 3)):
    x, logits, bias = f32(rows, d), f32(rows, E), f32(E)
    wg, wu, wd = f32(E, ff, d), f32(E, ff, d), f32(E, d, ff)
    bg, bu, bd = f32(E, ff), f32(E, ff), f32(E, d)
    dy = torch.randn(rows, d).float().double()
    w, ids = route(kind, logits, k, bias.detach())
    y = torch.zeros(rows, d)
    parts = []
    for r in range(rows):
        acc = torch.zeros(d)
        for slot in range(k):
            e = int(ids[r, slot])
            g, u = wg[e] @ x[r], wu[e] @ x[r]
            if kind == "oss":
                g, u = torch.clamp(g + bg[e], max=1.0), torch.clamp(u + bu[e], -1.0, 1.0)
                a = (u + 1) * g * torch.sigmoid(1.702 * g)
                o = wd[e] @ a + bd[e]
            else:
                o = wd[e] @ (silu(g) * u)
            acc = acc + w[r, slot] * o
        parts.append(acc)
    y = torch.stack(parts)
    (y * dy).sum().backward()
    tensors = dict(x=x, logits=logits, bias=bias, wg=wg, wu=wu, wd=wd, dy=dy, y=y, w=w, ids=ids, dx=x.grad, dlogits=logits.grad, dwg=wg.grad, dwu=wu.grad, dwd=wd.grad)
    if kind == "oss":
        tensors.update(bg=bg, bu=bu, bd=bd, dbg=bg.grad, dbu=bu.grad, dbd=bd.grad)
    for key, t in tensors.items():
        f.put(kind + "." + key, t)
