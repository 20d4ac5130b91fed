#!/bin/sh
# train-costs.sh - what exactness and safety cost a training run: checkpoints, hashes and logs, memory against --estimate, restart.
#
#   bench/train-costs.sh MODEL TEXT [STEPS]     MODEL: any that tenet opens (full fine-tuning of it); TEXT: at least a few hundred kilobytes
#
# One line a figure: what, measured, asked. $PROFILE (strict), $BATCH (4), $N_CTX (512), $THREADS (2), $BUILD the build folder, $WORK a folder.
set -eu
model=$1
text=$(realpath "$2")
steps=${3:-12}
here=$(cd "$(dirname "$0")/.." && pwd)
tenet=$(realpath "${BUILD:-$here/build}")/tenet
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"
cd "$work"
cat >costs.yaml <<END
model: $model
data: $text
n_ctx: ${N_CTX:-512}
batch: ${BATCH:-4}
lr: 1e-5
steps: $steps
tensorboard: false
END
set -- --profile "${PROFILE:-strict}" --threads "${THREADS:-2}"
always="$*"
at() { date +%s%N; }
# Seconds between the JSON rows of steps, as they come.
rows() { while read -r line; do case $line in *'"step"'*) echo "$(at) $line" ;; esac; done; }
# median of a column of numbers
median() { sort -g | awk '{ v[NR] = $1 } END { if (NR > 0) print v[int((NR + 1) / 2)] }'; }
run() {                                 # NAME ARGS: trains into NAME; the seconds of each step after the first go to NAME.steps
    name=$1
    shift
    rm -rf "$name"
    /usr/bin/time -f '%M' -o "$name.kib" "$tenet" train costs.yaml --json $always --out "$name" "$@" 2>"$name.err" | rows >"$name.rows" || true
    awk '{ if (NR > 1) printf "%.4f\n", ($1 - last) / 1e9; last = $1 }' "$name.rows" >"$name.steps"
}

"$tenet" train costs.yaml --estimate --json $always >estimate.json
memory=$(sed 's/.*"memory": *\([0-9]*\).*/\1/' estimate.json)

run without --set checkpoint_every=-1
run with --set checkpoint_every=4 --set keep_last=1
plain=$(median <without.steps)
# A step after which a checkpoint is made waits for the copy; the next ones share the processors with the writer. What a checkpoint costs is told at the
# default distance.
awk -v s="$plain" -v n_check="$((steps / 4))" '{ total += $1 - s; if ($1 - s > most) most = $1 - s } END {
    one = total / (n_check > 0 ? n_check : 1)
    printf "a checkpoint: %.2f s in all, longest step %.0f ms longer; every 200 steps that is %.2f %% of a run (asked: 1 %% of a run or 100 ms each)\n", one, most * 1e3, 100 * one / (200 * s) }' with.steps
awk -v s="$plain" 'BEGIN { printf "a step without checkpoints: %.3f s\n", s }'
awk -v k="$(cat with.kib)" -v m="$memory" 'BEGIN { printf "memory with a checkpoint being written: %.2f GiB, --estimate said %.2f: %.3f (asked: at most 1.05)\n", k / 1048576, m / 1073741824, k * 1024 / m }'
rm -rf timed
"$tenet" train costs.yaml --timing $always --out timed --set checkpoint_every=4 --quiet >/dev/null 2>timed.txt || true
grep -iE 'hash|log|outside|digest' timed.txt || tail -n 3 timed.txt

# Restart: killed in the middle by a signal that nobody can catch; from the death to the next step's row.
rm -rf killed
: >killed.rows
("$tenet" train costs.yaml --supervise --json $always --out killed --set checkpoint_every=2 2>killed.err | rows >killed.rows) &
while [ "$(wc -l <killed.rows 2>/dev/null || echo 0)" -lt 5 ]; do sleep 0.1; done
child=$(pgrep -f 'out killed' | while read -r p; do grep -q "^PPid:.$(pgrep -o -f 'supervise.*out killed')$" "/proc/$p/status" 2>/dev/null && echo "$p"; done | head -n 1)
kill -9 "$child"
died=$(at)
n=$(wc -l <killed.rows)
while [ "$(wc -l <killed.rows)" -le "$n" ]; do sleep 0.05; done
awk -v d="$died" -v n="$n" -v s="$plain" 'NR == n + 1 { printf "restart: %.1f s from the kill to the next step, of which a step takes %.1f (asked: 10 s and loading)\n", ($1 - d) / 1e9, s }' killed.rows
wait
sed 's/^[0-9]* //' killed.rows | sed 's/"tokens_per_s.*//' | sort -u | wc -l | awk -v s="$steps" '{ print (NR == 1 && $1 >= s ? "all steps are there after the kill" : "steps are missing after the kill") }'
