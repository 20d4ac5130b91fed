#!/bin/sh
# infer.sh - tenet and llama.cpp in turn (ABAB) on the same .gguf files: loading, prefill of 512, decoding, 8 streams, a
# batch of short prompts, choices scored, memory; prints ratios.
#
#   bench/infer.sh MODEL.gguf [FOLDER WITH llama-bench AND llama-batched-bench] [ROUNDS]
#
# $TYPES (default "given f32 bf16 q8_0 q4_0") are the types that the model's weights are tried in; "given" is the file as it
# is. The others are made from it once, in $MODELS (default build/bench/models). $THREADS (2) for both programs. $OUT: a
# file that keeps the rows, with machine, compiler and commit.
set -eu
cd "$(dirname "$0")/.."
given=$1
llama=${2:-}
rounds=${3:-2}
threads=${THREADS:-2}
models=${MODELS:-build/bench/models}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

model_of() {                            # the file of a type, made if it is not there
    if [ "$1" = given ]; then echo "$given"; return; fi
    mkdir -p "$models"
    file=$models/$1.gguf
    if [ ! -f "$file" ]; then
        case $1 in
        f32 | bf16 | f16) build/tenet convert -q "$given" "$file" --type "$1" >/dev/null ;;
        *) build/tenet quantize -q "$(model_of f32)" "$file" --type "$1" >/dev/null ;;
        esac
    fi
    echo "$file"
}

profiles_of() {
    case $1 in
    f32) echo strict ;;
    bf16 | f16) echo strict strict-bf16 ;;
    *) echo strict q8act ;;
    esac
}

for t in ${TYPES:-given f32 bf16 q8_0 q4_0}; do model_of "$t" >/dev/null; done
i=0
while [ "$i" -lt "$rounds" ]; do
    for t in ${TYPES:-given f32 bf16 q8_0 q4_0}; do
        m=$(model_of "$t")
        for p in $(profiles_of "$t"); do
            build/bench/infer "$m" "$p" "$threads" | awk -F, -v t="$t" '{ print t, $2, $4, $5 }' >>"$out"
        done
        [ -n "$llama" ] || continue
        "$llama/llama-bench" -m "$m" -t "$threads" -p 512 -n 64 -r 2 -o csv 2>/dev/null | awk -v t="$t" '
            { gsub(/"/, "") }                       # the header has no quotes, the rows have; no value holds a comma but the CPU list
            NR == 1 { n = split($0, h, ","); for (k = 1; k <= n; k++) at[h[k]] = k - n; next }
            { n = split($0, v, ","); print t, "llama.cpp", (v[n + at["n_prompt"]] + 0 > 0 ? "prefill_512" : "decode"), v[n + at["avg_ts"]] }' >>"$out"
        "$llama/llama-batched-bench" -m "$m" -t "$threads" -c 2048 -b 512 -npp 1 -ntg 64 -npl 8 2>/dev/null |
            awk -F'|' -v t="$t" '$2 + 0 == 1 { print t, "llama.cpp", "decode_8", $9 + 0 }' >>"$out"
        grep -q "^$t llama.cpp decode_8 [1-9]" "$out" && grep -q "^$t llama.cpp prefill_512 [1-9]" "$out" || { echo "infer.sh: $llama answers nothing for $m (see its error output: does it crash?)"; exit 1; }
        # A batch of 24 short prompts, of which two thirds begin alike: all prompt tokens are shown to llama.cpp as shared (-pps),
        # which flatters it.
        "$llama/llama-batched-bench" -m "$m" -t "$threads" -c 8192 -b 512 -npp 45 -ntg 64 -npl 24 -pps 2>/dev/null |
            awk -F'|' -v t="$t" '$2 + 0 == 45 { print t, "llama.cpp", "batch", 24 * 64 / $10 }' >>"$out"
    done
    i=$((i + 1))
done
if [ -n "${OUT:-}" ]; then
    {
        echo "# $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, $(${CC:-cc} --version | head -n 1), $(git describe --always --dirty 2>/dev/null || echo unknown)"
        echo "type,program,question,value"
        tr ' ' , <"$out"
    } >"$OUT"
fi
awk '
    { key = $1 " " $2 " " $3; v = $4 + 0; small = $3 == "load" || $3 ~ /^memory/
      if (!(key in best) || (small ? v < best[key] : v > best[key])) best[key] = v
      if (!(($1 " " $2) in seen) && $2 != "llama.cpp") { order[++n] = $1 " " $2; seen[$1 " " $2] } }
    END {
        printf "%-9s %-12s %-15s %11s %11s %7s\n", "weights", "profile", "question", "tenet", "llama.cpp", "ratio"
        k = split("prefill_512 decode decode_8 batch score_4_choices load memory_over_weights_and_cache", q, " ")
        for (i = 1; i <= n; i++) {
            split(order[i], w, " ")
            for (j = 1; j <= k; j++) {
                t = best[order[i] " " q[j]]; l = best[w[1] " llama.cpp " q[j]]
                printf "%-9s %-12s %-15s %11.2f %11s %7s\n", w[1], w[2], substr(q[j], 1, 15), t, (l > 0 ? sprintf("%.1f", l) : "-"), (l > 0 ? sprintf("%.2f", t / l) : "-")
            }
        }
    }' "$out"
