#!/bin/sh
# train-matrix.sh BUILD DIR - the whole matrix of training: ranks x threads x kernels x recomputation x ZeRO, one hash for each optimiser; then
# 200 kills at random times, inside checkpoint writing and around the name that a checkpoint gets: the same log, and the same checkpoints.
# OPTIMIZERS (default "adamw muon adafactor"). KILLS (default 200). EVERY=n: each n-th combination only (default 1: all 144 of each). FIRST=n: from
# the n-th on, to go on after a stop.
set -u
. "$(dirname "$0")/../train/tiny.sh"
tenet=$(realpath "$1")/tenet
cd "$2" || exit 1
TENET_STORE=$(pwd)/store
export TENET_STORE
tiny_text 400
# Matrices larger than a grain (65536 elements), so that borders between ranks fall inside of them.
tiny_config n_layer=1 n_head_kv=2 n_ff=1280 batch=8 micro_batch=1 check_every=5
bad=0 n=0
# left RUN: its log, and which checkpoints it keeps
left() { (cd "$1" && ls -d step-* && cat steps.jsonl) | sha256sum; }
# plain OPTIMIZER: what every run of it must leave
plain() {
    optimizer=$1
    rm -rf plain
    "$tenet" train tiny.yaml --quiet --set optimizer=$optimizer --out plain >/dev/null || exit 1
    want=$(left plain)
}
same() {
    n=$((n + 1))
    [ "$(left "$1")" = "$want" ] || { echo "FAIL $1"; bad=1; }
    rm -rf "$1"
}
# train INTO RANKS ARGS
train() {
    into=$1 on=$2
    shift 2
    mpirun --oversubscribe -n "$on" "$tenet" train tiny.yaml --quiet --set optimizer=$optimizer --set dist=mpi --out "$into" "$@" >/dev/null 2>&1
}
i=0
for o in ${OPTIMIZERS:-adamw muon adafactor}; do plain $o; for ranks in 1 2 3 4; do for threads in 1 2; do for kernels in ref avx2 avx512; do for recompute in false true; do for zero in 0 1 2; do
    i=$((i + 1))
    [ $i -ge ${FIRST:-1} ] && [ $((i % ${EVERY:-1})) -eq 0 ] || continue
    "$tenet" selftest add --kernels $kernels >/dev/null 2>&1 || continue       # not on this machine
    set -- --threads $threads --kernels $kernels --set recompute=$recompute --set zero=$zero
    name=$o-r$ranks-t$threads-$kernels-$recompute-z$zero
    train $name $ranks "$@"
    same $name
    # one rank is killed at some step; another number of ranks goes on
    TENET_FAULT=kill@$((i * 7 % 12 + 1)):$((i % ranks)) train $name-killed $ranks "$@"
    train $name-killed $((i % 4 + 1)) "$@"
    same $name-killed
done; done; done; done; done; done
echo "$n runs of the matrix done"
plain adamw
k=0
while [ $k -lt ${KILLS:-200} ]; do
    name=kill$k
    case $((k % 5)) in
    0) TENET_FAULT=kill-writing@$((k % 12 / 3 * 3 + 3)) "$tenet" train tiny.yaml --quiet --out $name >/dev/null 2>&1 ;;
    1) TENET_FAULT=kill-naming@$((k % 12 / 3 * 3 + 3)) "$tenet" train tiny.yaml --quiet --out $name >/dev/null 2>&1 ;;
    2) TENET_FAULT=kill-named@$((k % 12 / 3 * 3 + 3)) "$tenet" train tiny.yaml --quiet --out $name >/dev/null 2>&1 ;;
    *) "$tenet" train tiny.yaml --quiet --out $name >/dev/null 2>&1 &
       sleep 0.$(printf %02d $((k * 37 % 97 + 2)))
       kill -KILL $!
       wait $! ;;                                            # until it is gone: its lock on the folder goes with it
    esac
    "$tenet" train tiny.yaml --quiet --out $name >/dev/null
    same $name
    k=$((k + 1))
done 2>/dev/null
echo "$n runs, $([ $bad -eq 0 ] && echo 'one log of steps' || echo 'NOT one log of steps')"
exit $bad
