#!/bin/sh
# supervise-job.sh TENET - whom a supervisor signals and who signals it: never another run in the same directory, its own job always, with one rank and
# with several; nothing is left behind; an error that all ranks meet ends the job.
set -u
. "$(dirname "$0")/tiny.sh"
tenet=$(realpath "$1")
dir=$(mktemp -d)
cd "$dir" || exit 1
# Nothing of ours survives the test, whatever it finds.
ours() {                                                     # ranks, supervisors and launchers, not our shells
    for p in /proc/[0-9]*; do
        [ "$(readlink "$p/cwd" 2>/dev/null)" = "$(pwd -P)" ] || continue
        case $(readlink "$p/exe") in "$tenet" | */orterun | */mpirun* | */mpiexec* | */prterun*) echo "${p#/proc/}" ;; esac
    done
}
trap 'exit 1' INT TERM
trap 'for p in $(ours); do kill -KILL "$p"; done 2>/dev/null; cd /; rm -rf "$dir"' EXIT
export TENET_STORE="$dir/store"
tiny_text 300
tiny_config save_model=false steps=1000000 checkpoint_every=1000000
bad=0
fail() { echo "FAIL $*"; cat err.txt; bad=1; }
run="$tenet train tiny.yaml --threads 1 --quiet"
step_of() { cut -d' ' -f1 "$1/heartbeat-0" 2>/dev/null; }
until_true() { n=0; until "$@"; do sleep 0.05; n=$((n + 1)); [ $n -lt 2400 ] || return 1; done; }
beyond() { [ "$(step_of "$1")" -ge "$2" ] 2>/dev/null; }
reaches() { until_true beyond "$1" "$2"; }
goes_on() { reaches "$1" $(($(step_of "$1") + 20)); }
checkpointed() { [ -n "$(ls -d "$1"/step-* 2>/dev/null | grep -v tmp)" ]; }
nobody() { [ -z "$(ours)" ]; }
stopped() { for p in $(ours); do grep -q '^State:.T' "/proc/$p/status" 2>/dev/null || return 1; done; }
fresh=
env --default-signal=HUP,INT,QUIT,TSTP true 2>/dev/null && fresh="env --default-signal=HUP,INT,QUIT,TSTP"
ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
export ASAN_OPTIONS
mpi=
command -v mpirun >/dev/null && ldd "$tenet" | grep -q libmpi && mpi=2

# Another run holds the directory: it is left alone, and we end with the lock's message.
$run --out held >out.txt 2>held.txt &
holder=$!
reaches held 20 || fail "a run that holds its directory"
for ranks in 1 $mpi; do
    timeout 100 $run --out held --supervise --ranks $ranks --launch "mpirun --oversubscribe -n %d" >out.txt 2>err.txt
    rc=$?
    [ $rc -eq 1 ] && grep -q 'another process is training' err.txt && ! grep -q 'starting again' err.txt || fail "$ranks ranks in a directory that is held: ended with $rc"
    goes_on held || fail "$ranks ranks, supervised, ended another run"
done
kill -TERM $holder
wait $holder
rc=$?
[ $rc -eq 143 ] || fail "the other run ended with $rc"

# A rank that is not sound, once: the job is started again, and ends well.
if [ -n "$mpi" ]; then
    TENET_FAULT=flip@4:1 timeout 100 $run --out flipped --set steps=12,checkpoint_every=3 --supervise --ranks $mpi --launch "mpirun --oversubscribe -n %d" >out.txt 2>err.txt
    rc=$?
    [ $rc -eq 0 ] && grep -q 'something is not sound; starting again' err.txt || fail "a bit flipped in one rank: ended with $rc"
fi

for ranks in 1 $mpi; do
    # An error that all meet before the first step.
    timeout 100 $run --out wrong --set data=nonsuch.txt --supervise --ranks $ranks --launch "mpirun --oversubscribe -n %d" >out.txt 2>err.txt
    rc=$?
    [ $rc -eq 1 ] && grep -q 'nonsuch.txt' err.txt && ! grep -q 'starting again' err.txt && [ ! -e wrong ] || fail "$ranks ranks without data: ended with $rc"

    # A log that was altered: every start would find that.
    $run --out "altered-$ranks" --set steps=12,checkpoint_every=3,stop_at=6 >out.txt 2>err.txt || fail "a run to be altered"
    sed -i '3s/"loss_bits":"./"loss_bits":"x/' "altered-$ranks/steps.jsonl"
    timeout 100 $run --out "altered-$ranks" --set steps=12,checkpoint_every=3 --supervise --ranks $ranks --launch "mpirun --oversubscribe -n %d" >out.txt 2>err.txt
    rc=$?
    [ $rc -eq 3 ] && grep -q "steps.jsonl:3" err.txt && ! grep -q 'starting again' err.txt || fail "$ranks ranks with an altered log: ended with $rc"

    start() { $fresh $run --out "$1" --supervise --ranks $ranks --launch "mpirun --oversubscribe -n %d" >out.txt 2>err.txt & pid=$!; reaches "$1" 20 || fail "$1: no start"; }

    # A checkpoint on the way; standing still, going on; the end of the supervisor alone.
    start "killed-$ranks"
    kill -USR1 $pid
    until_true checkpointed "killed-$ranks" && goes_on "killed-$ranks" || fail "$ranks ranks: SIGUSR1"
    if [ -n "$fresh" ]; then
        kill -TSTP $pid
        until_true stopped || fail "$ranks ranks: SIGTSTP"
        at=$(step_of "killed-$ranks")
        sleep 1
        [ "$(step_of "killed-$ranks")" = "$at" ] || fail "$ranks ranks: SIGTSTP leaves the job running"
        kill -CONT $pid
        goes_on "killed-$ranks" || fail "$ranks ranks: SIGCONT"
    fi
    kill -KILL $pid
    wait $pid 2>/dev/null
    until_true nobody || fail "$ranks ranks: the run outlives its supervisor"

    for signal in HUP ${fresh:+QUIT}; do
        start "$signal-$ranks"
        kill -$signal $pid
        wait $pid
        rc=$?
        [ $rc -eq 143 ] && checkpointed "$signal-$ranks" && ! grep -q 'starting again\|MPI_ABORT' err.txt || fail "$ranks ranks: SIG$signal: ended with $rc"
        until_true nobody || fail "$ranks ranks: SIG$signal leaves somebody behind"
    done
done
exit $bad
