#!/bin/sh
# faults.sh TENET - what must not go unnoticed: damaged or foreign checkpoints, ranks that were started differently, corrupted replicas, other starting
# points under the same name, weights that have gone wrong, leftovers of killed processes.
set -u
. "$(dirname "$0")/tiny.sh"
tiny_begin "$1"
tiny_text 300
tiny_config
bad=0
train() { out=$1; shift; "$tenet" train tiny.yaml --threads 1 --quiet --out "$out" "$@" >"$out.txt" 2>&1; }
log() { sha256sum <"$1/steps.jsonl" | cut -c1-12; }
ok() { echo "ok   $1"; }
fail() { echo "FAIL $1"; shift; for f in "$@"; do tail -n 3 "$f"; done; bad=1; }
same() { if [ "$(log "$2")" = "$(log plain)" ] && [ -d "$2/model" ]; then ok "$1"; else fail "$1: another log" "$2.txt"; fi; }
# refused NAME CODE GOT FILE WORD: ended with CODE, and FILE says WORD.
refused() { if [ "$2" = "$3" ] && grep -q "$5" "$4"; then ok "$1"; else fail "$1: ended with $3, expected $2 and '$5'" "$4"; fi; }

train plain
# -- checkpoints that are not what they say
# each NAME COMMAND: damage done to the newest of two checkpoints; the run goes back to the older one, and ends the same.
each() {
    name=$1
    train "$name" --set stop_at=7
    (cd "$name" && eval "$2")
    train "$name"
    same "damage: $name" "$name"
}
each counts "sed -i 's/\"update\":7/\"update\":5/' step-7/manifest.json"
each tokens "sed -i 's/\"worse\":0/\"worse\":4/' step-7/manifest.json"
each whose 'sed -i "s/\"run\":\"./\"run\":\"x/" step-7/manifest.json'
each missing 'rm step-7/rank-0000.bin'
each link 'rm step-7/rank-0000.bin; ln -s nowhere step-7/rank-0000.bin'
each folder 'rm step-7/rank-0000.bin; mkdir step-7/rank-0000.bin'
each renamed 'mv step-7 step-9'
each cut 'truncate -s 100 step-7/manifest.json'
# A folder of that name without a manifest is in the way when the step comes again.
train nameless --set stop_at=9
rm nameless/step-9/manifest.json
train nameless
same 'damage: nameless' nameless
[ -d nameless/step-9.damaged ] && [ -f nameless/step-9/manifest.json ] && ok 'and both are there' || fail 'a checkpoint without a manifest is gone, or in the way' nameless.txt
[ -d counts/step-7.damaged ] && ok 'the damaged one is kept aside' || fail 'the damaged one is gone'
# -- which ones stay
train stay --set stop_at=4 --set keep_last=1
mkdir stay/step-999
train stay --set stop_at=8 --set keep_last=1
[ -d stay/step-8 ] && [ ! -d stay/step-4 ] && [ -d stay/step-999 ] && ok 'a foreign folder does not count' || fail 'keep_last beside a foreign folder' stay.txt
mkdir -p mine/step-1 && echo x >mine/step-1/notes.txt
train mine; refused 'a folder step-1 of the user' 1 $? mine.txt 'no run' ; [ -f mine/step-1/notes.txt ] || fail 'a folder of the user is gone'
# -- a killed process leaves nothing behind for ever
TENET_FAULT=kill-writing@6 train left
mkdir -p left/data && : >left/data/.train-0.tns.77.tmp && : >left/.config.json.77.tmp && rm -f left/config.json
train left
same 'after a kill while a checkpoint was written' left
found=$(find left -name '*.tmp')
[ -z "$found" ] && [ -f left/config.json ] && ok 'no leftovers' || fail "leftovers: $found"
# -- going on from another run is part of what a run is
train other --set lr=1e-2
train from-plain --set checkpoint=plain/step-12
train from-other --set checkpoint=other/step-12
cmp -s from-plain/run.json from-other/run.json && fail 'two starting points, one run.json' || ok 'the starting point is in run.json'
train from-plain --set checkpoint=other/step-12; refused 'another starting point' 1 $? from-plain.txt 'another run'
train plain --set checkpoint=other/step-12; refused 'a starting point where there was none' 1 $? plain.txt 'another run'
train gone --set checkpoint=nonsuch/step-3; refused 'no such starting point' 1 $? gone.txt 'no checkpoint'
[ -e gone ] && fail 'a refused run left something'
# and it goes on with the data that the other run has not used: 12 steps and 12 more see other batches, the second 12 being those of one run of 24
train long --set steps=24
tail -n 12 long/steps.jsonl | sed 's/.*"batch":"\([0-9a-f]*\)".*/\1/' >a.txt
grep '"step":' from-plain/steps.jsonl | tail -n 12 | sed 's/.*"batch":"\([0-9a-f]*\)".*/\1/' >b.txt
cmp -s a.txt b.txt && ok 'the data go on' || fail 'an extended run takes other batches' a.txt b.txt
# The second half of one run is bit for bit what a run of its own makes of the first half: texts, and pairs with a reference, which is asked about the right ones.
awk 'BEGIN { for (i = 0; i < 40; i++) printf "{\"prompt\":\"q %d\",\"chosen\":\"yes %d\",\"rejected\":\"no\"}\n", i, i * 7 % 40 }' >pairs.jsonl
train wide --set n_ctx=64,steps=2
printf 'model: wide/model\ndata: pairs.jsonl\nloss: dpo\nchat_format: tulu\nn_ctx: 64\nlora_rank: 2\n' >dpo.yaml
halves() {                                                   # NAME CONFIG STEPS OF-THE-FIRST
    for r in "whole $3" "first $4" "second $(($3 - $4))"; do
        [ "${r% *}" = second ] && from=,checkpoint=$1-first || from=
        "$tenet" train "$2" --threads 1 --quiet --out "$1-${r% *}" --set "batch=4,micro_batch=2,group_size=1,schedule=constant,warmup=0,save_model=false,steps=${r#* }$from" >half.txt 2>&1 || fail "$1: ${r% *}" half.txt
        grep '"step":' "$1-${r% *}/steps.jsonl" | tail -n $(($3 - $4)) | sed 's/.*\("batch":[^,]*\).*\("grad_norm_bits":[^,]*\).*\("loss_bits":[^,]*\).*/\1 \2 \3/' >"$1-${r% *}.rows"
    done
    [ -s "$1-whole.rows" ] && cmp -s "$1-whole.rows" "$1-second.rows" && ok "halves: $1" || fail "halves: $1" "$1-whole.rows" "$1-second.rows"
}
halves texts tiny.yaml 8 4
halves pairs dpo.yaml 8 4
halves epochs dpo.yaml 24 4
"$tenet" train tiny.yaml --show-batch --json --set checkpoint=plain 2>/dev/null | head -n 1 | grep -q '"sample":192' && ok 'shown from where it goes on' || fail 'the batch that is shown is not the first one'
# -- going back is to a fixed step, however often a run was interrupted
TENET_FAULT=nan@8 train back1 --set on_nan=back
train back2 --set on_nan=back --set stop_at=7 --set keep_last=1
TENET_FAULT=nan@8 train back2 --set on_nan=back --set keep_last=1
[ "$(log back1)" = "$(log back2)" ] && ok 'back after a stop' || fail 'going back depends on interruptions' back2.txt
train back1 --set on_nan=back --set checkpoint_every=5; refused 'checkpoint_every is part of such a run' 1 $? back1.txt checkpoint_every
# -- weights that have gone wrong
for p in skip back; do
    train "wrong-$p" --set optimizer=sgd --set lr=10 --set clip=0 --set steps=60 --set schedule=constant --set warmup=0 --set on_nan=$p
    refused "a diverged run with $p" 1 $? "wrong-$p.txt" 'the weights themselves'
done

if command -v mpirun >/dev/null && ldd "$tenet" | grep -q libmpi; then
    ranks() { out=$1; shift; ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" timeout 100 mpirun --oversubscribe "$@" >"$out.txt" 2>&1; }
    one="$tenet train tiny.yaml --threads 1 --quiet"
    # -- ranks that were started differently
    for s in lr=1e-2 optimizer=muon stop_at=5 zero=0 n_layer=1 seed=3 check_every=0 checkpoint_every=4 batch=8 valid=text.txt; do
        # shellcheck disable=SC2086
        ranks "unlike-$s" -n 1 $one --out "unlike-$s" : -n 1 $one --out "unlike-$s" --set "$s"
        refused "ranks unlike in $s" 2 $? "unlike-$s.txt" "${s%%=*} of rank 1"
        [ -e "unlike-$s" ] && fail "unlike-$s left something"
    done
    "$tenet" train tiny.yaml --threads 1 --quiet --out base --set steps=1 >/dev/null 2>&1
    printf 'model: plain/model\ndata: text.txt\nn_ctx: 32\nbatch: 16\nmicro_batch: 2\ngroup_size: 1\nsteps: 2\nlora_rank: 4\n' >lora.yaml
    two="$tenet train lora.yaml --threads 1 --quiet --out ub"
    # shellcheck disable=SC2086
    ranks unlike-base -n 1 $two : -n 1 $two --set model=base/model
    refused 'ranks with other models' 2 $? unlike-base.txt 'other inputs'
    # -- a flipped bit is seen before anything is written or said, whoever owns it
    for z in 0 1 2; do
        for at in 4 11 12; do
            # shellcheck disable=SC2086
            TENET_FAULT=flip@$at:1 ranks "flip$z-$at" -n 2 $one --out "flip$z-$at" --set zero=$z --set check_every=100
            refused "a bit flipped after step $at, zero $z" 3 $? "flip$z-$at.txt" 'not sound'
            # shellcheck disable=SC2086
            ranks "flip$z-$at" -n 2 $one --out "flip$z-$at" --set zero=$z --set check_every=100
            same "and the run goes on from before" "flip$z-$at"
        done
    done
fi
exit $bad
