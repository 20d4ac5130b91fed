#!/bin/sh
# infer.sh - tenet and llama.cpp in turn (ABAB) on the same .gguf: prefill of 512, decoding, 8 streams; prints ratios.
#   bench/infer.sh MODEL.gguf [FOLDER WITH llama-bench AND llama-batched-bench] [ROUNDS]
set -eu
cd "$(dirname "$0")/.."
model=$1
llama=${2:-}
rounds=${3:-2}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
i=0
while [ "$i" -lt "$rounds" ]; do
    for profile in strict q8act; do
        build/bench/infer "$model" "$profile" 2 | awk -F, -v p="$profile" '$6 == "tok/s" { print "tenet-" p, $4, $5 }' >> "$out"
    done
    if [ -n "$llama" ]; then
        "$llama/llama-bench" -m "$model" -t 2 -p 512 -n 64 -r 2 -o csv 2> /dev/null | awk -F'","' '
            NR == 1 { for (k = 1; k <= NF; k++) { gsub(/"/, "", $k); at[$k] = k }; next }
            { gsub(/"/, ""); print "llama", ($(at["n_prompt"]) + 0 > 0 ? "prefill_512" : "decode"), $(at["avg_ts"]) }' >> "$out"
        "$llama/llama-batched-bench" -m "$model" -t 2 -c 2048 -b 512 -npp 1 -ntg 64 -npl 8 2> /dev/null |
            awk -F'|' '$2 + 0 == 1 { print "llama", "decode_8", $9 + 0 }' >> "$out"
    fi
    i=$((i + 1))
done
awk '
    { key = $1 " " $2; if ($3 > best[key]) best[key] = $3; who[$1]; what[$2] }
    END {
        printf "%-14s %12s %14s %14s %10s %10s\n", "question", "llama.cpp", "tenet strict", "tenet q8act", "strict x", "q8act x"
        n = split("prefill_512 decode decode_8", q, " ")
        for (i = 1; i <= n; i++) {
            l = best["llama " q[i]]; s = best["tenet-strict " q[i]]; a = best["tenet-q8act " q[i]]
            printf "%-14s %12.1f %14.1f %14.1f %10s %10s\n", q[i], l, s, a, l > 0 ? sprintf("%.2f", s / l) : "-", l > 0 ? sprintf("%.2f", a / l) : "-"
        }
    }' "$out"
