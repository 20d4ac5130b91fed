#!/bin/sh
# supervise.sh TENET - what --supervise takes for a hang and for progress: a long validation is none of the former, the same steps again none of
# the latter; a stopped process is killed and started again; SIGTERM ends the run with a checkpoint; what the child and its launcher are given.
set -u
. "$(dirname "$0")/tiny.sh"
tiny_begin "$1"
tiny_text 3000
tiny_config n_embd=128 n_head=2 n_ff=256 batch=8 save_model=false
bad=0
fail() { echo "FAIL $*"; cat err.txt; bad=1; }
train() { into=$1; shift; "$tenet" train tiny.yaml --threads 1 --quiet --out "$into" "$@" >out.txt 2>err.txt; }
step_of() { cut -d' ' -f1 "$1/heartbeat-0" 2>/dev/null; }
# signal NAME RUN: to the training process that RUN's heartbeat names, if that is a process of this test and no other.
signal() {
    rank=$(sed -n 's/^[0-9]* [0-9]* \([0-9][0-9]*\)@.*/\1/p' "$2/heartbeat-0" 2>/dev/null)
    [ -n "$rank" ] && [ "$(readlink "/proc/$rank/cwd")" = "$(pwd -P)" ] && kill "-$1" "$rank" 2>/dev/null
}
reaches() { n=0; until [ "$(step_of "$1")" -ge "$2" ] 2>/dev/null; do sleep 0.05; n=$((n + 1)); [ $n -lt 1200 ] || return 1; done; }

train plain || fail "a plain run"

# The process always dies at the same step: what was made before is no progress.
"$tenet" train tiny.yaml --threads 1 --quiet --out same --supervise --restarts 2 --set steps=100000,checkpoint_every=100 >out.txt 2>err.txt &
pid=$!
n=0
while [ $((n += 1)) -lt 6000 ] && kill -0 $pid 2>/dev/null; do [ "$(step_of same)" -ge 150 ] 2>/dev/null && signal KILL same; sleep 0.02; done
kill -TERM $pid 2>/dev/null                                  # one that would go on for ever
wait $pid
rc=$?
[ $rc -eq 1 ] && grep -q 'without a new step' err.txt || fail "a process that always dies: ended with $rc"

# Stopped (as by a debugger, or a dead disk): killed and started again.
TENET_HANG_SECONDS=1 "$tenet" train tiny.yaml --threads 1 --quiet --out stopped --supervise --set steps=300,checkpoint_every=100 >out.txt 2>err.txt &
pid=$!
reaches stopped 20 && signal STOP stopped
wait $pid || fail "a stopped process"
grep -q 'no step for too long; starting again' err.txt || fail "a stopped process was not started again"

# The supervisor and its run stopped together (a frozen container) and going on later: no hang. The time that it stands still in the supervisor's
# sight is a sixth of what it grants, as a loaded machine adds to it.
TENET_HANG_SECONDS=6 "$tenet" train tiny.yaml --threads 1 --quiet --out frozen --supervise --set steps=100000,checkpoint_every=100000 >out.txt 2>err.txt &
pid=$!
reaches frozen 20 || fail "a run to be frozen"
# At no time is the heartbeat empty: a rank stopped just then would have no name, and hold the run's directory for ever.
empty=0
n=0
while [ $((n += 1)) -lt 20000 ]; do [ -s frozen/heartbeat-0 ] || empty=$((empty + 1)); done
[ $empty -eq 0 ] || fail "the heartbeat was empty at $empty of 20000 looks"
sleep 1                                                      # the supervisor has seen some steps, and knows how long they take
signal STOP frozen
sleep 0.5                                                    # it has seen the last step too
kill -STOP $pid
sleep 8
at=$(step_of frozen)
kill -CONT $pid                                              # the supervisor wakes first, and sees a run that stands still
sleep 0.5
kill -CONT "$rank"
reaches frozen $((at + 20)) || fail "a frozen run did not go on"
kill -TERM $pid
wait $pid
rc=$?
[ $rc -eq 143 ] && ! grep -q 'starting again' err.txt || fail "a frozen run: ended with $rc"

# A validation that takes many times as long as a step is no hang.
TENET_HANG_SECONDS=4 train valid --supervise --restarts 1 --set valid=text.txt,valid_every=12,valid_samples=1000000,n_layer=4,n_embd=256,n_ff=1024,n_ctx=64
rc=$?
[ $rc -eq 0 ] && ! grep -q 'starting again' err.txt || fail "a long validation"

# SIGTERM to the supervisor: a checkpoint and an end, not another start.
"$tenet" train tiny.yaml --threads 1 --quiet --out ended --supervise --set steps=1000000,checkpoint_every=1000000 >out.txt 2>err.txt &
pid=$!
reaches ended 20 && kill -TERM $pid
wait $pid
rc=$?
[ $rc -eq 143 ] || fail "SIGTERM: ended with $rc"
[ -n "$(ls -d ended/step-* 2>/dev/null)" ] || fail "SIGTERM: no checkpoint"
# A stopped rank outlives its launcher, and would hold the run: it goes with the job, and no rank less is started.
if command -v mpirun >/dev/null && ldd "$tenet" | grep -q libmpi; then
    ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" TENET_HANG_SECONDS=4 "$tenet" train tiny.yaml --threads 1 --quiet --out ranks --supervise \
        --ranks 2 --launch "mpirun --oversubscribe -n %d" --set steps=300,checkpoint_every=100 >out.txt 2>err.txt &
    pid=$!
    reaches ranks 20 && signal STOP ranks
    wait $pid || fail "a stopped rank"
    grep -q 'no step for too long' err.txt && ! grep -q 'fewer ranks' err.txt || fail "a stopped rank kept the run's directory"
fi

# Whatever way the flags are written, the child has none of them: it would be a supervisor too, and start another one.
here=$(pwd -P)
ours() { find /proc -maxdepth 2 -name cwd -lname "$here" 2>/dev/null | cut -d/ -f3; }
for words in --supervise=true -supervise "--supervise=1 --restarts=3" "-restarts 3 -supervise --ranks=1 -launch=nonsuch%d"; do
    rm -rf spelled
    "$tenet" train tiny.yaml --threads 1 --quiet --out spelled $words --set steps=100000,checkpoint_every=100000 >out.txt 2>err.txt &
    pid=$!
    n=0
    until [ -s spelled/heartbeat-0 ] || [ $((n += 1)) -gt 100 ] || [ "$(ours | wc -l)" -gt 10 ]; do sleep 0.05; done
    [ -s spelled/heartbeat-0 ] || fail "$words: no run"
    kill -TERM $pid
    while [ $((n += 1)) -lt 400 ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
    left=0
    for round in 1 2 3 4 5 6 7 8; do
        for p in $(ours); do [ "$(readlink "/proc/$p/exe")" = "$tenet" ] && kill -KILL "$p" 2>/dev/null && left=$round; done
    done
    wait $pid
    [ $left -eq 0 ] || fail "$words: processes were left"
done

# The launcher's words: each %d is the number of ranks, wherever it stands; however many there are, all come.
cat >launcher <<'END'
#!/bin/sh
: >words.txt
while [ "$1" != env ]; do echo "$1" >>words.txt; shift; done
exec "$@"
END
chmod +x launcher
many=$(seq -s ' ' 1 100)
train launched --supervise --ranks 2 --launch "./launcher -n%d  --map=%d:%d $many" || fail "a launcher with many words"
[ "$(tr '\n' ' ' <words.txt)" = "-n2 --map=2:2 $many " ] || fail "the launcher's words: $(cat words.txt)"
# One that is not there will not be there the next time.
train absent --supervise --ranks 2 --launch "nonsuch -n %d"
rc=$?
[ $rc -eq 1 ] && grep -q "cannot run nonsuch" err.txt && grep -q "'nonsuch' is not there" err.txt && ! grep -q 'starting again' err.txt || fail "no launcher: ended with $rc"

for words in "--ranks 2" "--ranks=1" "--restarts 3" "--launch srun%d" "--supervise --ranks 2 --launch mpirun" "--estimate --supervise" "--estimate --show-batch" "--keys --estimate"; do
    train wrong $words
    rc=$?
    [ $rc -eq 2 ] && [ ! -e wrong ] || fail "$words: ended with $rc"
done
TENET_SUPERVISED=another train wrong --supervise
rc=$?
[ $rc -eq 2 ] && [ ! -e wrong ] || fail "a supervisor under a supervisor: ended with $rc"
exit $bad
