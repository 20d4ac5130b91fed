#!/bin/sh
# interrupted.sh TENET - which checkpoints a run keeps, what its log says and what its artifact and release hold are the run's alone: stopped, killed,
# with a torn log, going back, in the middle of a validation, it ends with the files of a run that was left alone.
set -u
. "$(dirname "$0")/tiny.sh"
tiny_begin "$1"
tiny_text 300
tiny_text 200 valid.txt
tiny_config
bad=0
config=tiny.yaml
train() { out=$1; shift; "$tenet" train $config --threads 1 --quiet --out "$out" "$@" >"$out.txt" 2>&1; }
ok() { echo "ok   $1"; }
fail() { echo "FAIL $1"; shift; for f in "$@"; do tail -n 3 "$f"; done; bad=1; }
kept() { (cd "$1" && find steps.jsonl result.json model adapter step-* -type f ! -path '*.damaged/*' -exec sha256sum {} + 2>/dev/null | sort -k 2); }
# same NAME RUN: all that RUN left is what $plain left.
same() {
    kept "$plain" >want.txt
    kept "$2" >got.txt
    if [ -s want.txt ] && cmp -s want.txt got.txt; then ok "$1"; else fail "$1" want.txt got.txt "$2.txt"; fi
}
# again NAME FAULT [KEY=VALUE]...: a run with that fault, and the same command again without it.
again() {
    name=$1 fault=$2
    shift 2
    TENET_FAULT=$fault train "$name" "$@" 2>/dev/null
    train "$name" "$@"
    same "$name" "$name"
}

# -- a checkpoint that a signal or stop_at asked for is a stopgap
plain=plain
train plain
for at in 7 11; do
    train "stop-$at" --set stop_at=$at
    [ -f "stop-$at/step-$at/manifest.json" ] || fail "no checkpoint where the run stopped" "stop-$at.txt"
    again "stop-$at" none
done
train twice --set stop_at=7
train twice --set stop_at=8
[ ! -e twice/step-7 ] && [ -e twice/step-3 ] && [ -e twice/step-6 ] && ok 'a stopgap gives way to the next one, and counts for none' || fail 'keep_last counts a stopgap' twice.txt
again twice none
again term term@5
for fault in kill@8 kill-writing@6 kill-naming@6 kill-named@9 kill-named@12; do again $fault $fault; done
# A finished run that only reports takes nothing away, whatever keep_last is now.
train plain --set keep_last=1
[ -d plain/step-9 ] && ok 'a finished run keeps what it has' || fail 'a finished run was changed' plain.txt

# -- a log that was torn behind the newest checkpoint, or cut before it
train torn --set stop_at=8
printf '{"batch":"00' >>torn/steps.jsonl
again torn none
train cut --set stop_at=8
head -n 7 cut/steps.jsonl >cut.jsonl && cp cut.jsonl cut/steps.jsonl
train cut
same cut cut
grep -q 'ends at step 6.*goes on from step 6' cut.txt && [ -d cut/step-8.damaged ] && ok 'and says so' || fail 'a log that was cut: no word' cut.txt
train lost --set stop_at=8
head -n 3 lost/steps.jsonl >lost.jsonl && cp lost.jsonl lost/steps.jsonl
train lost && fail 'a log that ends before every checkpoint' lost.txt
grep -q 'ends at step 2, before every checkpoint' lost.txt && [ -d lost/step-8 ] && ok 'a lost log is refused, and nothing touched' || fail 'a lost log' lost.txt

# -- a validation that was given up: at multiples and between, the best one, the last one, and the one that stops early
set="valid=valid.txt,valid_every=2,valid_samples=64"
plain=checked
train checked --set $set
for at in 2 6 12; do again "owed-$at" term-validating@$at --set $set; done
for at in 2 6 12; do again "checked-named-$at" kill-named@$at --set $set; done
# Whoever goes on without held-out data owes nothing, and the step is kept as it is.
TENET_FAULT=term-validating@12 train without --set "$set" 2>/dev/null
train without
tail -n 1 without/steps.jsonl | grep -q '"state":"' && [ -f without/step-12/manifest.json ] && ok 'without held-out data the end is still kept' || fail 'the end is gone' without.txt
set="valid=valid.txt,valid_every=1,valid_samples=2,early_stop=2,lr=3,optimizer=sgd,steps=400"
plain=early
train early --set $set
last=$(grep -c '"step":' early/steps.jsonl)
tail -n 1 early/steps.jsonl | grep -q '"state":"' && [ "$last" -lt 400 ] && ok 'an early stop has its state in the log' || fail 'an early stop without a state' early.txt
again early-owed "term-validating@$last" --set $set
again early-named "kill-named@$last" --set $set

# -- going back: killed on the second way, and stopped on it, where the batches that are passed over must still be known
set="on_nan=back,valid=valid.txt,valid_every=7,valid_samples=64"
plain=back
TENET_FAULT=nan@9 train back --set $set
for fault in kill@10 kill-naming@7 kill-named@7 kill-named@12; do
    TENET_FAULT=nan@9,$fault train "back-$fault" --set $set 2>/dev/null
    TENET_FAULT=nan@9 train "back-$fault" --set $set
    same "back-$fault" "back-$fault"
done
TENET_FAULT=nan@9,term-validating@9 train back-passed --set $set            # after batch 9 was bad: the validation is the one after step 7
grep -q '"skip_to":9' back-passed/step-7/manifest.json || fail 'what is to be passed over is not in the manifest' back-passed.txt
again back-passed none --set $set

# -- adapters
tiny_text 100 more.txt
printf 'model: plain/model\ndata: more.txt\nn_ctx: 32\nbatch: 16\nmicro_batch: 2\ngroup_size: 1\nsteps: 8\nlora_rank: 4\ncheckpoint_every: 3\ntensorboard: false\n' >lora.yaml
config=lora.yaml
plain=lora
train lora
for fault in kill@5 kill-writing@6 kill-naming@3 kill-named@8 term@5; do again "lora-$fault" $fault; done

# -- in a recipe: one artifact, and a release that is sound
{
    printf 'name: x\nstages:\n  t:\n    kind: train\n    inputs: {data: [file:text.txt]}\n'
    grep -v '^data:\|^tensorboard:' tiny.yaml | sed 's/^/    /'
    printf '  rel:\n    kind: release\n    name: x\n    key: k\n    inputs: {model: t/model, runs: [t]}\nexport:\n  rel: rel\n'
} >recipe.yaml
export TENET_KEY_PASSPHRASE=secret
root_of() { "$tenet" log --stage t | grep -o 'sha256:[0-9a-f]*' | tail -n 1; }
"$tenet" key new k >/dev/null 2>&1 && "$tenet" key show k >k.pem
"$tenet" run recipe.yaml --threads 1 --quiet >run.txt 2>&1 || fail 'a recipe' run.txt
want=$(root_of)
for fault in kill-named@12 term@12; do
    rm -rf rel store/objects store/runs store/ledger.sqlite store/names store/work store/rows store/seen store/pins
    TENET_FAULT=$fault "$tenet" run recipe.yaml --threads 1 --quiet >run.txt 2>&1 && fail "a recipe with $fault" run.txt
    "$tenet" run recipe.yaml --threads 1 --quiet >run.txt 2>&1 || fail "the recipe again after $fault" run.txt
    [ -n "$want" ] && [ "$(root_of)" = "$want" ] && ok "one artifact after $fault" || fail "another artifact: $(root_of), not $want" run.txt
done 2>/dev/null
"$tenet" verify rel --key k.pem --replay all >verify.txt 2>&1 && grep -q 'verdict: sound' verify.txt && ok 'a sound release' || fail 'an honest release' verify.txt
exit $bad
