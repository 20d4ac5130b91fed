#!/bin/sh
# test_kernels.sh TENET MODEL - a wrong kernel in the program itself: a copy whose kernel does nothing (its first byte is a return) says so
# once, leaves it out and computes the same bits. 77: no kernel but ref here, or no tools to find one in the file.
set -u
tenet=$1 model=$(cd "$2" && pwd)
command -v nm >/dev/null && command -v readelf >/dev/null || exit 77
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TENET_STORE="$tmp/store"
bad() { echo "FAILED: $*"; head -c 900 "$tmp/err"; exit 1; }

isa=$("$tenet" selftest gated --rounds 0 --json 2>/dev/null | sed -n 's/.*"kernels":{"gated":"\([a-z0-9]*\)"}.*/\1/p')
case $isa in avx2 | avx512) ;; *) exit 77 ;; esac

# broken SYMBOL: a copy of the program in which this function returns at once
broken() {
    at=$(nm "$tenet" | awk -v s="$1" '$3 == s { print $1 }')
    [ -n "$at" ] || bad "there is no $1 in the program"
    set -- $(readelf -lW "$tenet" | awk '$1 == "LOAD" { print $2, $3, $5 }')
    while [ $# -gt 0 ]; do
        [ $((0x$at)) -ge $(($2)) ] && [ $((0x$at)) -lt $(($2 + $3)) ] && break
        shift 3
    done
    [ $# -gt 0 ] || bad "no segment holds $at"
    cp "$tenet" "$tmp/broken" && printf '\303' | dd of="$tmp/broken" bs=1 seek=$((0x$at - $2 + $1)) conv=notrunc 2>/dev/null
}
logits() { "$1" logits -m "$model" --tokens 1,5,9,2 -o "$tmp/$2.npy" >"$tmp/out" 2>"$tmp/err" || bad "logits of $2: exit $?"; }
train() {
    "$1" train "$tmp/t.yaml" --out "$tmp/$2" --quiet --json >"$tmp/out" 2>"$tmp/err" || bad "train of $2: exit $?"
    grep weights_root "$tmp/out" >"$tmp/$2.root" || bad "train of $2 says no root of its weights"
}

for i in 1 2 3 4 5 6 7 8; do echo "A quick brown fox jumps over a lazy dog, for the $i. time today."; done >"$tmp/text.txt"
printf 'model: %s\ndata: text.txt\nsteps: 2\nbatch: 2\nn_ctx: 16\n' "$model" >"$tmp/t.yaml"
logits "$tenet" right
[ -s "$tmp/err" ] && bad "the program as it is complains"
train "$tenet" right
# No memory for a case of the check says nothing about the kernel (a packed matrix takes 256 MiB of addresses).
for limit in 400000 300000; do
    (ulimit -v $limit && "$tenet" logits -m "$model" --tokens 1,5,9,2 --threads 1 -o "$tmp/small.npy") >"$tmp/out" 2>"$tmp/err" || continue
    grep -q 'left out' "$tmp/err" && bad "with little memory a kernel is taken for a wrong one"
    cmp -s "$tmp/right.npy" "$tmp/small.npy" || bad "with little memory other bits"
done
for op in gated attention; do
    broken "tn_${op}_fwd_$isa"
    logits "$tmp/broken" "$op"
    grep -q "$op: kernel $isa differs from its definition" "$tmp/err" || bad "no word about a kernel of $op that does nothing"
    cmp -s "$tmp/right.npy" "$tmp/$op.npy" || bad "a kernel of $op that does nothing was used"
done
for name in gated_bwd adamw block_sum; do
    broken "tn_${name}_$isa"
    train "$tmp/broken" "$name"
    [ "$(grep -c 'differs from its definition on this machine.*left out' "$tmp/err")" -eq 1 ] || bad "not one line about $name, which does nothing"
    cmp -s "$tmp/right.root" "$tmp/$name.root" || bad "$name does nothing, and was used"
done
echo "5 kernels that do nothing: each named, left out, and the bits right"
