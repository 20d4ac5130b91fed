#!/bin/sh
# a model of 10 million parameters on 10 MB of real text (Debian's python3.11-doc), from nothing, against PyTorch: within 1 %
# PyTorch starts from tenet's random weights and sees the same batches.
#
# real-text.sh BUILD DIR. Needs a Python with torch, transformers and tokenizers ($PYTHON, default python3), and apt-get or
# TENET_TEXT=FOLDER of text files. THREADS: for PyTorch.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
tenet=$(realpath "$1")/tenet
python=${PYTHON:-python3}
cd "$2" || exit 1
TENET_STORE=$(pwd)/store
export TENET_STORE
"$python" -c 'import torch, transformers, tokenizers' 2>/dev/null || { echo "skipped: $python has no torch, transformers and tokenizers"; exit 77; }
text=${TENET_TEXT:-}
if [ -z "$text" ]; then
    apt-get download python3.11-doc >/dev/null 2>&1 || { echo "skipped: apt-get cannot download python3.11-doc; set TENET_TEXT"; exit 77; }
    dpkg -x python3.11-doc_*.deb doc && text=doc/usr/share/doc/python3.11/html/_sources
fi
cat >text.yaml <<YAML
tokenizer: tok
family: llama
n_layer: 7
n_embd: 256
n_head: 4
n_ff: 704
tied: false
data: train.jsonl
valid: valid.jsonl
shuffle: false
n_ctx: 256
pack: none
batch: 16
micro_batch: 8
group_size: 1
steps: ${STEPS:-700}
lr: 1e-3
lr_min: 1e-4
warmup: 50
weight_decay: 0.1
valid_every: 100000
valid_samples: 100000
checkpoint_every: 100
YAML
"$python" "$here/tests/oracle/train_text.py" prepare "$text" . || exit 1
# The start: a step so short that no weight can move.
"$tenet" train text.yaml --quiet --out start --set steps=1 --set warmup=0 --set lr=1e-30 --set lr_min=0 --set valid_samples=16 >/dev/null || exit 1
"$tenet" train text.yaml --out run 2>train.log >result.txt || { tail -n 3 train.log; exit 1; }
tail -n 1 train.log
"$python" "$here/tests/oracle/train_text.py" torch . torch.json || exit 1
"$python" - <<'PY'
import json, sys
rows = [json.loads(l) for l in open("run/metrics.jsonl")]
ours = [r["valid"] for r in rows if "valid" in r][-1]
torch = json.load(open("torch.json"))
theirs = torch["valid"]
for n in (10, 100, len(rows)):
    apart = max(abs(r["loss"] / t - 1) for r, t in zip(rows[:n], torch["losses"]))
    print(f"losses of the first {min(n, len(rows))} steps: at most {100 * apart:.4f} % apart")
print(f"validation loss {ours:.5f}, PyTorch {theirs:.5f}: {100 * (ours / theirs - 1):+.3f} %")
sys.exit(0 if abs(ours / theirs - 1) < 0.01 else 1)
PY
