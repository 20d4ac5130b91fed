#!/bin/sh
# matrix.sh TENET - a sample of the matrix: ranks, ZeRO stages, kills inside and outside of checkpoint writing, hangs, bad
# batches, a flipped bit. One log of steps in every undamaged case. tests/soak/train-matrix.sh is the whole of it.
set -u
. "$(dirname "$0")/tiny.sh"
tiny_begin "$1"
tiny_text 300
tiny_config n_head_kv=2 n_ff=160 batch=8 micro_batch=1 steps=10 check_every=4
bad=0
want=
# expect NAME: the log of run NAME is the one of the first run.
expect() {
    got=$(sha256sum <"$1/steps.jsonl" 2>/dev/null)
    [ -n "$want" ] || want=$got
    if [ "$got" = "$want" ] && [ -d "$1/model" ]; then echo "ok   $1"; else echo "FAIL $1"; bad=1; fi
}
# outcome NAME CODE: the last command ended with CODE.
outcome() { if [ "$2" = "$3" ]; then echo "ok   $1"; else echo "FAIL $1: ended with $2, expected $3"; bad=1; fi; }
train() { out=$1; shift; "$tenet" train tiny.yaml --threads 1 --quiet --out "$out" "$@" >"$out.txt" 2>&1; }

train plain; expect plain
for fault in kill@2 kill@8 kill-writing@6 kill-naming@6; do
    TENET_FAULT=$fault train "$fault" 2>/dev/null
    train "$fault"; expect "$fault"
done
TENET_FAULT=kill@5 train supervised --supervise; expect supervised
TENET_HANG_SECONDS=1 TENET_FAULT=hang@5 train hung --supervise; expect hung
TENET_FAULT=nan@5 train nan-stop; outcome nan-stop $? 1
TENET_FAULT=nan@5 train nan-skip --set on_nan=skip; outcome nan-skip $? 0
grep -q '"note":"skip"' nan-skip/steps.jsonl || { echo "FAIL nan-skip: not in the log"; bad=1; }
TENET_FAULT=nan@5 train nan-back --set on_nan=back; outcome nan-back $? 0
[ "$(grep -c '"note":"back"' nan-back/steps.jsonl)" = 2 ] || { echo "FAIL nan-back: not in the log"; bad=1; }

if command -v mpirun >/dev/null && ldd "$tenet" | grep -q libmpi; then
    # Under sanitizers what Open MPI itself never frees would end every rank with 1; one process alone is looked at in the runs above.
    ranks() { n=$1 out=$2; shift 2; ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" mpirun --oversubscribe -n "$n" "$tenet" train tiny.yaml --threads 1 --quiet --out "$out" "$@" >"$out.txt" 2>&1; }
    for z in 0 1 2; do ranks 3 "ranks3-zero$z" --set zero=$z; expect "ranks3-zero$z"; done
    # Gradients leave while the backward pass still runs (--timing says what share): at 4 layers and grains of 65536, more than half.
    ranks 2 early --set n_layer=4 --set n_embd=128 --set n_ff=512 --set steps=2 --timing
    share=$(sed -n 's/^exchange *\([0-9]*\)\..*/\1/p' early.txt | head -n 1)
    [ "${share:-0}" -ge 50 ] && echo "ok   early: $share %" || { echo "FAIL early: ${share:-nothing} % was sent before the end"; bad=1; }
    # --hash-ops: a file a rank.
    ranks 2 hashed --set steps=1 --hash-ops hashes
    [ -s hashes ] && [ -s hashes.rank-1 ] && [ ! -e hashes.rank-0 ] && echo "ok   hashes of two ranks" || { echo "FAIL hashes of two ranks"; bad=1; }
    # Ranks part at grains inside AdamW's tensors, and at whole tensors where Muon or Adafactor need them: one layer with matrices larger than a grain. A
    # run goes on under another ZeRO stage and on other ranks.
    last=$want
    for o in adamw muon adafactor; do
        set -- --set n_layer=1 --set n_ff=1280 --set optimizer=$o
        want=
        train "$o" "$@"; expect "$o"
        for z in 0 1 2; do ranks 4 "$o-zero$z" "$@" --set zero=$z; expect "$o-zero$z"; done
        TENET_FAULT=kill@5:1 ranks 3 "$o-moved" "$@" --set zero=2 2>/dev/null
        ranks 2 "$o-moved" "$@" --set zero=1 --set stop_at=8; ranks 3 "$o-moved" "$@" --set zero=2; expect "$o-moved"
        largest=$(ls -l "$o-zero2"/step-9/rank-*.bin | awk '{ all += $5; if ($5 > most) most = $5 } END { print int(100 * most / all) }')
        [ "$largest" -le 40 ] && echo "ok   $o: at most $largest % on one of four ranks" || { echo "FAIL $o: one of four ranks owns $largest %"; bad=1; }
    done
    want=$last
    ranks 2 moved --set stop_at=4; train moved --set stop_at=6; ranks 4 moved; expect moved
    ranks 2 estimated --estimate
    for o in adamw muon; do                                  # each stage needs less than the one before
        for z in 0 1 2; do
            ranks 3 "estimated-$o-$z" --estimate --json --set optimizer=$o --set zero=$z
            sed -n 's/.*"memory": *\([0-9]*\).*/\1/p' "estimated-$o-$z.txt"
        done >sizes.txt
        sort -rnuc sizes.txt && [ "$(wc -l <sizes.txt)" = 3 ] || { echo "FAIL the estimates of zero 0, 1, 2 for $o:"; cat sizes.txt; bad=1; }
    done
    [ "$(grep -c '^memory' estimated.txt)" = 1 ] || { echo "FAIL an estimate for two ranks"; cat estimated.txt; bad=1; }
    TENET_FAULT=flip@4:1 ranks 2 flip; outcome flip $? 3
    ranks 4 too-many --set micro_batch=4; outcome too-many $? 2
fi
exit $bad
