#!/bin/sh
# signals.sh TENET - what a run does with what comes from outside: closed standard files, a limit on the size of files, a terminal that closes, SIGUSR1
# before and after the steps, a shard that is cut off, SIGTERM to one rank of several and in the middle of a validation.
set -u
. "$(dirname "$0")/tiny.sh"
tiny_begin "$1"
tiny_text 1000
tiny_config save_model=false
bad=0
fail() { echo "FAIL $*"; cat err.txt; bad=1; }
run="$tenet train tiny.yaml --threads 1"
step_of() { cut -d' ' -f1 "$1/heartbeat-0" 2>/dev/null; }
until_true() { n=0; until "$@"; do sleep 0.05; n=$((n + 1)); [ $n -lt 2400 ] || return 1; done; }
beyond() { [ "$(step_of "$1")" -ge "$2" ] 2>/dev/null; }
reaches() { until_true beyond "$1" "$2"; }
# As if from an interactive shell: without the signals that a shell ignores for what it runs behind itself, or a nohup for us.
fresh=
env --default-signal=HUP,INT,QUIT,TSTP true 2>/dev/null && fresh="env --default-signal=HUP,INT,QUIT,TSTP"

# Closed standard files: their numbers must not come to the run's files, where messages would be written into them.
$run --out open >out.txt 2>err.txt || fail "a plain run"
(exec 2>&-; exec $run --out closed >&-)
(exec 0<&- 1>&- 2>&-; exec $run --out all)
cmp open/steps.jsonl closed/steps.jsonl && cmp open/steps.jsonl all/steps.jsonl || fail "closed standard files: the log is another one"
"$tenet" train --keys >&- 2>err.txt && fail "a result for nobody is no error"

# A limit on the size of files: an error with a message, not the end by a signal.
: >err.txt
(ulimit -f 8; exec $run --out limited) >out.txt 2>>err.txt
rc=$?
[ $rc -eq 1 ] && [ -s err.txt ] || fail "ulimit -f: ended with $rc"
# It comes to the curves first: no holes in them. Before that, what --json says of a step is the row of metrics.jsonl and the loss to the bit.
awk 'BEGIN { for (i = 0; i < 20; i++) printf "{\"prompt\":\"say %d\",\"chosen\":\"yes %d\",\"rejected\":\"no\"}\n", i, i }' >pairs.jsonl
pairs="--set data=pairs.jsonl,loss=orpo,n_ctx=64,batch=2,micro_batch=1,n_layer=1,checkpoint_every=-1,save_model=false,tensorboard=true"
$run --out curves $pairs --json >out.txt 2>err.txt || fail "a run with pairs"
grep -v weights_root out.txt | sed 's/"loss_bits":[0-9]*,//' | cmp - curves/metrics.jsonl || fail "rows of --json and of metrics.jsonl differ"
(ulimit -f 64; exec $run --out holes $pairs --set steps=90) >out.txt 2>err.txt
rc=$?
[ $rc -eq 1 ] && grep -q 'cannot write the row of step' err.txt || fail "no room for the curves: ended with $rc"

# The terminal closes, which may be said twice: a checkpoint and an end. Under nohup: nothing.
$fresh $run --quiet --out hup --set steps=1000000,checkpoint_every=1000000 >out.txt 2>err.txt &
pid=$!
reaches hup 20 && kill -HUP $pid && kill -HUP $pid
wait $pid
rc=$?
[ $rc -eq 143 ] && [ -n "$(ls -d hup/step-* 2>/dev/null)" ] || fail "SIGHUP: ended with $rc"
nohup $run --quiet --out nohup --set steps=1000000,checkpoint_every=1000000 >out.txt 2>err.txt &
pid=$!
reaches nohup 20 && kill -HUP $pid
reaches nohup $(($(step_of nohup) + 40)) || fail "SIGHUP under nohup"
kill -TERM $pid
wait $pid

# SIGUSR1 from the first moment that can be told from outside (its config is a pipe) to the last.
mkfifo pipe.yaml
"$tenet" train pipe.yaml --threads 1 --quiet --out usr1 >out.txt 2>err.txt &
pid=$!
exec 3>pipe.yaml                                             # it is there to read
kill -USR1 $pid
cat tiny.yaml >&3
exec 3>&-
while kill -USR1 $pid 2>/dev/null; do sleep 0.002; done
wait $pid
rc=$?
[ $rc -eq 0 ] || fail "SIGUSR1 all the time: ended with $rc"

# A shard that is cut off under a run: the end says which.
$run --quiet --out cut --set steps=1000000,checkpoint_every=1000000 >out.txt 2>err.txt &
pid=$!
reaches cut 20
for shard in cut/data/*.tns; do : >"$shard"; done
wait $pid
rc=$?
[ $rc -gt 128 ] && grep -q 'made shorter.*/cut/data/.*\.tns' err.txt || fail "a shard cut off: ended with $rc"

# SIGTERM within a validation: it is given up, and made good by the run that goes on; nothing shows it. Twice: after step 2, and after the last.
tiny_text 200 valid.txt
set="steps=4,checkpoint_every=2,valid_every=2,valid=valid.txt,valid_samples=1000000,save_model=true"
$run --quiet --out undisturbed --set $set >out.txt 2>err.txt || fail "a validation"
for at in 2 4; do
    TENET_FAULT=term-validating@$at $run --quiet --out valid --set $set >out.txt 2>err.txt
    rc=$?
    [ $rc -eq 143 ] && grep -q '"validation_owed": *true' valid/step-$at/manifest.json || fail "SIGTERM in the validation after step $at: ended with $rc"
    [ ! -e valid/result.json ] || fail "a run without its last validation is finished"
done
$run --quiet --out valid --set $set >out.txt 2>err.txt || fail "the validation made good"
cmp undisturbed/steps.jsonl valid/steps.jsonl && cmp undisturbed/model/model.safetensors valid/model/model.safetensors || fail "a validation given up changes the run"
for r in undisturbed valid; do sed 's/"tokens_per_s": *[^,}]*//' $r/metrics.jsonl >$r.rows; done
cmp undisturbed.rows valid.rows || { fail "a validation given up changes the metrics"; diff undisturbed.rows valid.rows; }

# SIGTERM to one rank of several: all stop, none waits for another.
if command -v mpirun >/dev/null && ldd "$tenet" | grep -q libmpi; then
    ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" mpirun --oversubscribe -n 2 $run --quiet --out ranks --set steps=1000000,checkpoint_every=1000000 >out.txt 2>err.txt &
    pid=$!
    reaches ranks 20
    rank=$(sed -n 's/^[0-9]* [0-9]* \([0-9][0-9]*\)@.*/\1/p' ranks/heartbeat-0)
    [ "$(readlink "/proc/$rank/cwd")" = "$(pwd -P)" ] && kill -TERM "$rank"
    wait $pid
    rc=$?
    [ $rc -eq 143 ] && ! grep -q 'MPI_ABORT\|error: rank' err.txt || fail "SIGTERM to one rank: ended with $rc"
    [ -n "$(ls -d ranks/step-* 2>/dev/null)" ] || fail "SIGTERM to one rank: no checkpoint"
fi
exit $bad
