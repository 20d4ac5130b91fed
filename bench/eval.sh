#!/bin/sh
# eval.sh - `tenet eval` and lm-evaluation-harness in turn on the same HellaSwag rows, zero-shot, fp32 weights: seconds, scores, memory.
#
#   bench/eval.sh MODEL ROWS.jsonl [LIMIT] [ROUNDS]      MODEL: any that tenet opens; its weights become a Hugging Face folder once
#
# tenet's seconds are the whole process, the harness's leave loading out: what it loses by that is ours to lose. $PYTHON has lm_eval
# and transformers (else only tenet runs), $THREADS (2), $BUILD the build folder, $WORK (build/bench/eval) keeps the converted weights.
set -eu
model=$1
rows=$2
limit=${3:-100}
rounds=${4:-1}
build=${BUILD:-build}
threads=${THREADS:-2}
work=${WORK:-build/bench/eval}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
[ -d "$work/hf" ] || "$build/tenet" convert -q "$model" "$work/hf" --type f32 >/dev/null
i=0
while [ "$i" -lt "$rounds" ]; do
    /usr/bin/time -f '{"program":"tenet","seconds":%e,"user":%U,"system":%S,"rss_kib":%M}' "$build/tenet" eval -q -m "$work/hf" --tasks hellaswag --data "$rows" \
        --limit "$limit" --threads "$threads" --json
    if [ -n "${PYTHON:-}" ]; then "$PYTHON" "$here/eval_lm_eval.py" "$work/hf" "$rows" "$limit" "$threads" 16 2>/dev/null | tail -n 1; fi
    i=$((i + 1))
done
