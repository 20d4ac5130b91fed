#!/bin/sh
# balance.sh TENET [OUT] - the experts' balance and router losses in training: six steps of a small Mixtral against PyTorch's losses
# (tests/golden/train/balance.txt, made by tests/oracle/make_balance.py from the start and data that OUT is given).
set -u
tenet=$(realpath "$1")
golden=$(cd "$(dirname "$0")/../golden/train" && pwd)/balance.txt
dir=${2:-$(mktemp -d)}
[ $# -gt 1 ] || trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
export TENET_STORE="$dir/store"
# 64 bytes and the end token: one full sample a document
awk 'BEGIN { s = 7; for (i = 0; i < 24; i++) { t = ""; for (j = 0; j < 64; j++) { s = (s * 75 + 74) % 65537; t = t substr("abcdefgh ", s % 9 + 1, 1) } print "{\"text\": \"" t "\"}" } }' >text.jsonl
cat >moe.yaml <<END
tokenizer: bytes
family: mixtral
n_layer: 1
n_embd: 32
n_head: 2
n_ff: 48
n_expert: 4
n_expert_used: 2
tied: false
data: text.jsonl
shuffle: false
pack: none
n_ctx: 64
batch: 4
micro_batch: 4
group_size: 1
steps: 6
schedule: constant
lr: 1e-2
warmup: 0
clip: 0
tensorboard: false
checkpoint_every: -1
END
"$tenet" train moe.yaml --quiet --set steps=1 --set lr=1e-30 --out start >/dev/null || exit 1
bad=0 n=0
for micro in 4 2; do for coefficients in "0.5 0.1" "0 0"; do
    "$tenet" train moe.yaml --quiet --set micro_batch=$micro --set aux_coef="${coefficients% *}" --set router_z="${coefficients#* }" --out run >/dev/null || exit 1
    sed -n 's/.*"loss": *\([0-9.e+-]*\).*/\1/p' run/metrics.jsonl | while read -r loss; do echo "$micro $coefficients $loss"; done >>ours.txt
    rm -rf run
done; done
[ $# -eq 1 ] || exit 0
paste -d ' ' "$golden" ours.txt | awk '{ d = $4 - $8; if (d < 0) d = -d; if ($1 != $5 || $2 != $6 || $3 != $7 || !($4 > 0) || d > 1e-5 * $4) { print "FAIL micro " $1 ", aux " $2 ", z " $3 ": loss " $8 ", PyTorch " $4; bad = 1 } n++ }
    END { if (n != 24) { print "FAIL " n " losses, expected 24"; bad = 1 } exit bad }' || exit 1
echo "24 losses of a mixture, with and without its balance and router losses: PyTorch's within 1e-5"
