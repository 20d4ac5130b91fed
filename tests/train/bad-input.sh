#!/bin/sh
# bad-input.sh TENET - what a training refuses: one sentence before the first step, nothing written over, and no folder left behind.
set -u
. "$(dirname "$0")/tiny.sh"
masks=$(realpath "$(dirname "$0")/../golden/train/masks")
tiny_begin "$1"
tiny_text 200
tiny_config n_layer=1 n_embd=32 n_head=2 n_ff=64 batch=8 steps=4 checkpoint_every=2
: >empty.txt
printf '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"%s"}]}\n' "$(printf '%0400d' 7)" >long.jsonl
bad=0 n=0
fail() { echo "FAIL $*"; bad=1; }
config=tiny.yaml
run() { "$tenet" train "$config" --threads 1 --quiet "$@" >out.txt 2>err.txt; }
# refused CODE WORDS ARGS: into folders that are not there and must not be there afterwards.
refused() {
    code=$1 words=$2
    shift 2
    n=$((n + 1))
    run --out new/deep/run "$@"
    rc=$?
    [ $rc -eq "$code" ] || fail "$*: ended with $rc, expected $code"
    grep -qF -e "$words" err.txt || { fail "$*: should say '$words':"; cat err.txt; }
    [ "$(wc -l <err.txt)" -eq 1 ] || { fail "$*: more than one line:"; cat err.txt; }
    ! [ -e new ] || { fail "$*: left behind:"; find new; rm -rf new; }
}
run --out run || { cat err.txt; exit 1; }
cp -r run/model other && sed -i 's/<|endoftext|>/<|other|>/g' other/tokenizer*.json
before=$(find run -type f -exec sha256sum {} + | sort)

# --quiet hides progress, not what is wrong with the data.
head -n 4 text.txt >few.txt
run --out few --set data=few.txt || { cat err.txt; bad=1; }
grep -q '^warning: the data have [0-9]* samples, fewer than a batch of 8' err.txt && [ "$(wc -l <err.txt)" -eq 1 ] || { fail "few samples: one warning expected:"; cat err.txt; }

refused 1 'empty.txt has nothing to learn' --set data=empty.txt
printf '\n\n' >tiny.txt
refused 1 'tiny.txt is tiny: its 3 tokens do not fill one sample of n_ctx 32' --set data=tiny.txt
refused 1 'nonsuch.txt: no such file' --set data=nonsuch.txt
refused 1 'choose one with chat_format' --set data=long.jsonl
refused 1 'no assistant turn within n_ctx' --set data=long.jsonl,chat_format=chatml
# Harmony's stop is for the last message; what is in the vocabulary is not called text.
printf '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"},{"role":"user","content":"so"}]}\n' >tail.jsonl
refused 1 'in the chat format harmony it is <|return|>, which no answer of the data ends with' --set tokenizer="$masks/all",data=tail.jsonl,chat_format=harmony,n_ctx=512
refused 1 'ends an answer with text that is no stop token' --set data=tail.jsonl,chat_format=phi3,n_ctx=512
run --out phi3 --set tokenizer="$masks/all",data=tail.jsonl,chat_format=phi3,n_ctx=512 || { echo "FAIL phi3 ends with a mark of the vocabulary:"; cat err.txt; bad=1; }
printf '{"messages":[{"role":"user","content":"hi"},{"role":"user","content":"ho"},{"role":"assistant","content":"yo"}]}\n' >twice.jsonl
refused 1 "twice.jsonl:1: message 2 has the role 'user'; in the chat format gemma user and assistant must alternate" --set tokenizer="$masks/all",data=twice.jsonl,chat_format=gemma,n_ctx=512
refused 2 'a learning rate above 0 is needed' --set lr=0
refused 2 'expected a number' --set lr=inf
refused 2 'lr_min 1 is above lr 0.003' --set lr_min=1
refused 2 'expected 2 to' --set n_ctx=1
refused 1 "n_vocab 10 is smaller than the tokenizer's 257 tokens" --set n_vocab=10
refused 1 'tokenizer' --set tokenizer="$dir/other",data=run/data/train-0.tns
refused 2 'warmup is 5 steps and the run has 4' --set warmup=5
refused 2 'warmup is 900 steps and the run has' --set warmup=900,steps=0,epochs=2
refused 1 'nonsuch/step-2' --set checkpoint=nonsuch/step-2
# An extended run keeps the model that the weights are of; what says how training goes on may change.
refused 1 'checkpoint: run/step-2 was made with n_ff 64, this run has 128' --set checkpoint=run/step-2,n_ff=128
refused 1 'checkpoint: run/step-4 was made with n_head 2, this run has 1' --set checkpoint=run,n_head=1
refused 1 'was made with the tokenizer ' --set checkpoint=run,tokenizer="$dir/other"
refused 1 'was made with family llama, this run has mistral' --set checkpoint=run,family=mistral
refused 1 'was made with rope_theta 10000.0, this run has 10.0' --set checkpoint=run,rope_theta=10
refused 1 'was made with norm_eps 1e-5, this run has 0.001' --set checkpoint=run,norm_eps=1e-3
for change in lr=1e-2,steps=8,schedule=constant n_ctx=16,seed=3 data=few.txt,batch=4 n_head_kv=2; do
    run --out "on-$change" --set "checkpoint=run,$change" || { cat err.txt; fail "an extended run with $change"; }
done
printf '%s: %s\n' model run/model data text.txt n_ctx 32 batch 4 micro_batch 1 steps 2 warmup 0 tensorboard false checkpoint run >own.yaml
config=own.yaml
run --out on-own || { cat err.txt; fail "an extended run that names the model that the other one wrote"; }
config=tiny.yaml
# Older manifests do not say what they are of: the run's papers do, where they are.
mkdir -p papers/step-2 alone/step-2
cp run/run.json run/config.json papers
sed 's/"model":{[^}]*},//; s#tenet-checkpoint/2#tenet-checkpoint/1#' run/step-2/manifest.json >papers/step-2/manifest.json
cp run/step-2/rank-0000.bin papers/step-2 && cp papers/step-2/* alone/step-2
grep -q '"model"' papers/step-2/manifest.json && fail "this is no older manifest"
refused 1 'checkpoint: papers/step-2 was made with n_head 2, this run has 1' --set checkpoint=papers,n_head=1
refused 1 'checkpoint: papers/step-2 was made with the tokenizer ' --set checkpoint=papers,tokenizer="$dir/other"
refused 1 'shape' --set checkpoint=alone/step-2,n_ff=128
run --out on-papers --set checkpoint=papers && run --out on-alone --set checkpoint=alone && cmp on-papers/steps.jsonl on-alone/steps.jsonl || { cat err.txt; fail "an older checkpoint"; }
"$tenet" export papers older --quiet >out.txt 2>err.txt && "$tenet" export run/step-2 newer --quiet >out.txt 2>err.txt && cmp older/model.safetensors newer/model.safetensors || { cat err.txt; fail "weights out of an older checkpoint"; }
refused 1 'holds no checkpoint; name one of a run' --set checkpoint=run/nothing
refused 1 'text.txt: cannot look for checkpoints' --set checkpoint=text.txt
refused 2 'above 0 is needed' --set lr=1e-50
refused 2 'd_head is 1' --set d_head=1
refused 2 'n_expert_used 8 is more than n_expert 4' --set family=mixtral,n_expert=4,n_expert_used=8
refused 2 'n_expert_used 2 is more than n_expert 0' --set n_expert_used=2
refused 2 'family llama has no experts' --set n_expert=4,n_expert_used=2
refused 2 'there are llama, ' --set family=lama
refused 2 'micro-batches' --set micro_batch=3
refused 2 'is for a model from scratch' --set model=run/model
refused 1 'learns from rows {"prompt", "chosen", "rejected"}: text.txt:1: not valid JSON' --set loss=dpo
refused 1 'empty.txt: no usable pair' --set loss=dpo,data=empty.txt
printf '{"prompt":"a","chosen":"b","rejected":"c","weight":0}\n' >light-pairs.jsonl
refused 1 'no usable pair: 0 are over n_ctx 32 tokens, 0 have equal sides, 1 have weight 0' --set loss=dpo,data=light-pairs.jsonl
printf '{"text":"a line","weight":0}\n' >light.jsonl
refused 1 'light.jsonl has nothing to learn: every row has "weight" 0' --set data=light.jsonl

# What would have no effect is not passed over: adapters' options without adapters, a shape beside 'like', labels that a loss cannot take.
for key in dora=true lora_alpha=8 lora_targets=q lora_layers=0-0 lora_rs=true lora_plus=2; do
    refused 2 "${key%=*} is for low-rank adapters, and none are trained: set lora_rank" --set "$key"
done
refused 2 'lora_rank needs a model to adapt' --set lora_rank=2
refused 2 'adapter needs the model that it adapts' --set adapter=run/model
refused 2 "n_layer is part of the shape that 'like' takes from run/model" --set like=run/model
refused 2 'init_std is 0' --set init_std=0
refused 2 'label_smoothing is 0.1, and the loss sft has no place for it' --set label_smoothing=0.1
for key in on_spike=back rpo_alpha=1 beta=0.2 gamma=2 alpha=2 kto_good=2 kto_bad=2 aux_coef=0.1 router_z=0.1 momentum=0.5 lr_min=1e-5,schedule=constant decay=0.5 \
           beta1=0.5,optimizer=sgd reference=run/model train_prompt=true valid_every=5 valid_samples=5 keep_every=3 keep_every=2,checkpoint_every=-1 \
           rope_theta=500,family=gpt2; do
    refused 2 "${key%%=*} would have no effect: " --set "$key"
done
# What the run comes to in the end, or would if it were longer, is an effect.
run --out effects --set keep_every=6,on_spike=back,spike=6,lr_min=1e-5,valid=text.txt,valid_every=5 || { cat err.txt; fail "options with an effect"; }
refused 2 'on_nan: back goes back to a checkpoint, and checkpoint_every is -1' --set on_nan=back,checkpoint_every=-1
refused 2 'on_spike: back goes back to a checkpoint, and checkpoint_every is 0' --set on_spike=back,spike=6,checkpoint_every=0
refused 2 'init_std is 1e-40' --set init_std=1e-40
refused 2 'clip is 1e-40' --set clip=1e-40
refused 2 'lr is 1e-40' --set lr=1e-40
refused 2 'n_layer is 600: expected 0 to 512' --set n_layer=600
refused 2 'norm_eps is 0' --set norm_eps=0
refused 2 "unknown chat format 'foo': choose one of chatml|" --set chat_format=foo
refused 2 'lr is given twice in one --set' --set lr=1e-3,steps=3,lr=1e-2
run --out later --set lr=1e-3 --set lr=1e-2 || { cat err.txt; fail "a later --set"; }
grep -q '"lr": 0.01,' later/config.json || fail "a later --set does not override"
# The words of other programs are answered with ours, and never taken.
while read -r word key; do
    refused 2 "unknown key '$word'; did you mean '$key' (" --set "$word=1"
done <<END
max_steps steps
save_steps checkpoint_every
eval_steps valid_every
base_model model
lora_r lora_rank
num_train_epochs epochs
per_device_train_batch_size micro_batch
gradient_accumulation_steps batch
max_seq_length n_ctx
sequence_len n_ctx
warmup_ratio warmup
gradient_checkpointing recompute
lr_scheduler_type schedule
target_modules lora_targets
bf16 dtype
val_set_size valid
learning_rate lr
END
refused 2 "unknown key 'output_dir'" --set output_dir=1
grep -q 'did you mean' err.txt && { fail "a hint at nothing like it:"; cat err.txt; }
refused 2 'seed' --seed -1
refused 2 'seed' --seed 9000000000000001
printf '%s: %s\n' model run/model data text.txt n_ctx 32 batch 4 micro_batch 1 steps 2 warmup 0 tensorboard false >tune.yaml
config=tune.yaml
run --out lora --set lora_rank=4,lora_targets=q || { cat err.txt; bad=1; }
run --out wide --set lora_rank=32 || { cat err.txt; fail "a rank as large as the matrices' sides"; }
refused 2 "lora_rank 60000 is more than any matrix of this model's lora_targets can have: at most 32" --set lora_rank=60000
refused 1 "lora is a run's folder; its adapter is lora/adapter" --set adapter=lora
run --out peft --set lora_rank=2,lora_targets=all-linear || { cat err.txt; fail "PEFT's all-linear"; }
run --out same --set adapter=lora/adapter,lora_rank=4,lora_targets=q,lora_alpha=8 || { cat err.txt; fail "an adapter that goes on, and its own shape"; }
for key in lora_rank=8 lora_alpha=9 dora=true lora_targets=v lora_rs=true; do
    refused 1 "${key%=*} is not as in the adapter lora/adapter, which has rank 4, scale 2" --set "adapter=lora/adapter,$key"
done
refused 2 'optimizer: muon is for the matrices of the layers' --set lora_rank=2,optimizer=muon
refused 2 'lora_plus is 0' --set lora_rank=2,lora_plus=0
refused 2 'all, upper, or FROM-TO between 0 and 0 (as 0-0)' --set lora_rank=2,lora_layers=1-1
refused 2 "lora_targets: 'x' is no kind of matrix; known: all" --set lora_rank=2,lora_targets=x
# A validation loss is a mean over something, and no number is never the best.
pair='"prompt":"1","chosen":"a","rejected":"b"'
for i in 1 2 3 4; do echo "{$pair}"; done >pair.jsonl
echo "{$pair,\"weight\":1e-9}" >light.jsonl
refused 1 'no usable pair' --set loss=dpo,lora_rank=2,n_ctx=32,chat_format=tulu,data=pair.jsonl,valid=light.jsonl
run --out huge --set lr=10,weight_decay=10,optimizer=sgd,schedule=constant,on_nan=skip,steps=24,valid=text.txt,valid_every=20 >out.txt || { cat err.txt; bad=1; }
grep -q '"valid":[^0-9]' huge/metrics.jsonl || fail "a validation loss that is no number is expected here"
grep -q '^best' out.txt && fail "a validation loss that is no number is called the best"
# Another base than the adapter's: named, and the way on.
run --out run2 --set lora_rank=0 || bad=1
"$tenet" export lora merged --merge -m run2/model --quiet >out.txt 2>err.txt && fail "an adapter went into another base"
grep -q 'the base model at run2/model is not what the run lora was trained with.*--model' err.txt && ! [ -e merged ] || { fail "another base:"; cat err.txt; }
"$tenet" export lora merged --merge --quiet --json >out.txt 2>err.txt || { cat err.txt; fail "merging"; }
# Adapters go on in their own base, at their own scale.
for change in lora_alpha=80:lora_alpha lora_rs=true:lora_alpha lora_rank=2:lora_rank dora=true:dora model=run2/model:'the base model'; do
    refused 1 "checkpoint: lora/step-2 was made with ${change#*:}" --set "lora_rank=4,lora_targets=q,checkpoint=lora" --set "${change%:*}"
done
refused 1 'checkpoint: lora/step-2 was made with lora_rank 4, this run has 0' --set checkpoint=lora
run --out on-lora --set lora_rank=4,lora_targets=q,lora_alpha=8,checkpoint=lora || { cat err.txt; fail "adapters that go on"; }
config=tiny.yaml
# A GGUF of a model from scratch speaks: its tokenizer is in it.
"$tenet" export run run.gguf --quiet >out.txt 2>err.txt || { cat err.txt; fail "a GGUF"; }
"$tenet" tokenize few.txt -m run.gguf --quiet >out.txt 2>err.txt || { fail "a GGUF from scratch has no tokenizer:"; cat err.txt; }
[ "$(find . -maxdepth 1 -name 'run.gguf*')" = ./run.gguf ] || fail "left beside the GGUF: $(ls -d run.gguf*)"
# From scratch with the tokenizer of a GGUF: its files lie beside the weights, and in a GGUF of them.
run --out reader --set tokenizer=run.gguf || { cat err.txt; fail "the tokenizer of a GGUF"; }
"$tenet" tokenize few.txt -m run.gguf --quiet >want.txt
"$tenet" tokenize few.txt -m reader/model --quiet >out.txt 2>err.txt && cmp out.txt want.txt || { cat err.txt; fail "a model from scratch lacks the tokenizer of its GGUF"; }
"$tenet" export reader reader.gguf --quiet >out.txt 2>err.txt && "$tenet" tokenize few.txt -m reader.gguf --quiet >out.txt 2>>err.txt && cmp out.txt want.txt || { cat err.txt; fail "and its GGUF"; }
# A path as long as a buffer once was: what it was cut to is the run's folder, and was removed.
part=$(printf '%0250d' 0)
long=$part/$part/$part/$part/0123456789012345678
mkdir -p "$long" && echo mine >"$long/mine"
run --out "$long" || { cat err.txt; bad=1; }
[ -f "$long/mine" ] && [ -d "$long/model" ] && [ -s "$long/run.json" ] || fail "a long path: the user's folder is gone"

# A shorter run with as long a warm-up as it has steps goes; an early end after the first step keeps what there is.
run --out short --set warmup=4 || fail "a warm-up as long as the run is refused"
# Ended within the first step: as if it had not been.
TENET_FAULT=term@1 run --out new/deep/run
rc=$?
[ $rc -eq 143 ] && ! [ -e new ] || { fail "ended within the first step: $rc, left behind:"; find new; rm -rf new; }
grep -q 'terminated before the first step: nothing is kept' err.txt || { fail "what is kept:"; cat err.txt; }
# Whatever ended a run, its curves and its steps are there, and what is said of checkpoints is so.
ended() {
    words=$1 state=$2
    shift 2
    rm -rf third
    run --out third "$@" && fail "$*: went through"
    grep -qF -e "$words" err.txt || { fail "$*: should say '$words':"; cat err.txt; }
    [ -s third/steps.jsonl ] || fail "$*: good steps are gone"
    grep -qF "<dd>$state" third/report.html || { fail "$*: no report says '$state'"; grep -o '<dd>[^<]*' third/report.html; }
}
export TENET_FAULT
TENET_FAULT=nan@3 ended 'The newest checkpoint, third/step-2, stays' '2 of 4 (ended: step 3: the loss is nan'
TENET_FAULT=nan@2 ended 'No checkpoint was made before it' '1 of 4 (ended: step 2: the loss is nan'
TENET_FAULT=nan@2 ended 'step 2 is bad, and no checkpoint was made before it to go back to' '1 of 4 (ended: step 2 is bad' --set on_nan=back
TENET_FAULT=term@3 ended 'terminated; what was finished is kept' '2 of 4 (ended: terminated'
unset TENET_FAULT
for case in '-1 3 no checkpoint was kept' '2 3 the same command goes on from there'; do
    rm -rf third
    every=${case%% *} words=${case#* }
    TENET_FAULT=term@${words%% *} "$tenet" train tiny.yaml --threads 1 --out third --set checkpoint_every="$every" >out.txt 2>err.txt
    grep -q "stopped after step 2: ${words#* }" err.txt || { fail "stopped with checkpoint_every $every:"; cat err.txt; }
done

# Another run's directory, or a directory of the user's: only our own goes.
for change in seed=2 n_layer=2 lr=1e-3 steps=9 batch=16 data=tiny.yaml; do
    run --out run --set $change && fail "$change: another run into the same directory"
    grep -q 'run holds another run' err.txt || { fail "$change"; cat err.txt; }
    n=$((n + 1))
done
grep -q '0\.00300000' err.txt && fail "a number is shown with its binary tail"
[ "$(find run -type f -exec sha256sum {} + | sort)" = "$before" ] || fail "the refused runs changed the directory"
mkdir -p mine/data && echo mine >mine/data/note.txt && run --out mine --set data=nonsuch.txt
[ "$(find mine -type f)" = mine/data/note.txt ] || { fail "the user's directory:"; find mine; }
# A folder with a corpus in ./data is no run's, and stays so when it became one.
mkdir -p project/data && cp text.txt project/data/corpus.txt
run --out project --set data=project/data && fail "a run beside a corpus called data"
grep -q "project/data/corpus.txt is there and no run's" err.txt || { fail "a corpus called data"; cat err.txt; }
cp -r run late && cp text.txt late/data/corpus.txt
run --out late && fail "a run goes on beside a corpus in its data"
cmp -s text.txt project/data/corpus.txt && cmp -s text.txt late/data/corpus.txt || fail "the user's corpus is gone"
# A model's folder, or that of a run without its run.json, is written over by nobody.
model=$(find run/model -type f -exec sha256sum {} + | sort)
run --out run/model && fail "a run into a model's folder"
grep -q 'run/model/config.json is there and no run' err.txt || { fail "a model's folder"; cat err.txt; }
[ "$(find run/model -type f -exec sha256sum {} + | sort)" = "$model" ] || fail "the model is changed"
# A log that somebody changed: no run goes on from it, and the way on is said.
run --out changed --set stop_at=2 && sed -i '2s/"loss":[0-9]/"loss":7/' changed/steps.jsonl
run --out changed
rc=$?
[ $rc -eq 3 ] && grep -q "begin another run with 'checkpoint: changed/step-2'.*steps.jsonl:2: step 1 was altered" err.txt || { fail "a changed log: $rc"; cat err.txt; }
# A run that stopped early is finished: the same command only reports.
run --out early --set steps=400,valid=text.txt,valid_every=1,valid_samples=2,early_stop=2,lr=3,optimizer=sgd || fail "an early stop"
grep -q '(stopped early: no better validation in 2)' early/report.html || fail "the report does not say that the run stopped early"
steps=$(wc -l <early/steps.jsonl)
[ "$steps" -lt 400 ] || fail "no early stop"
before=$(find early -type f ! -name 'heartbeat*' ! -path '*/tb/*' -exec sha256sum {} + | sort)
"$tenet" train tiny.yaml --threads 1 --quiet --out early --set steps=400,valid=text.txt,valid_every=1,valid_samples=2,early_stop=2,lr=3,optimizer=sgd >out.txt 2>err.txt || fail "an early stop again"
[ "$(find early -type f ! -name 'heartbeat*' ! -path '*/tb/*' -exec sha256sum {} + | sort)" = "$before" ] || fail "a run that stopped early is changed"
grep -q "^stopped early after [0-9]* of 400 steps" out.txt && grep -q '^report   early/report.html' out.txt || { fail "the end of a run that stopped early:"; cat out.txt; }
grep -q "best     validation .* at step .*: tenet export early/step-" out.txt || fail "the best step is not named"
# A damaged newest checkpoint is not passed over: the older one is named.
newest=$(cd early && ls -d step-* | sort -t- -k2n | tail -1)
older=$(cd early && ls -d step-* | sort -t- -k2n | tail -2 | head -1)
mv "early/$newest/manifest.json" m.json && sed 's/"tokens": *[0-9]/&1/' m.json >"early/$newest/manifest.json"
"$tenet" export early worn --quiet >out.txt 2>err.txt && fail "a damaged checkpoint is exported"
[ "$newest" != "$older" ] && grep -q "the checkpoint before this one is early/$older" err.txt && ! [ -e worn ] || { fail "a damaged checkpoint"; cat err.txt; }
mv m.json "early/$newest/manifest.json"
# More memory than there is: an error before the first step, that says what to lower; what fits runs. Nothing is said of what is only likely.
large=n_embd=256,n_ff=1024,batch=128,micro_batch=128,checkpoint_every=-1
export TENET_MEMORY=100M
refused 1 'and this machine has 0.10 GiB for them' --set $large
grep -q 'the steps need at least .*weights .*gradients .*optimiser .*activations .*: lower micro_batch (128 now) or n_ctx (32), set recompute' err.txt || { fail "too little memory:"; cat err.txt; }
refused 1 'the weights of a new model of this shape need 0.' --set n_embd=4096
run --out large --set $large --estimate && grep -q '^does not fit: this machine has 100.00 MiB free; lower micro_batch' out.txt || { fail "an estimate that does not fit:"; cat out.txt err.txt; }
least=$("$tenet" train tiny.yaml --set $large --out large --estimate --json | sed -n 's/.*"available": *104857600.*"fits": *false.*"memory_at_least": *\([0-9]*\).*/\1/p')
[ "${least:-0}" -gt 104857600 ] || fail "at least $least bytes"
export TENET_MEMORY=$((${least:-0} - 1))
refused 1 'the steps need at least' --set $large
export TENET_MEMORY="${least:-0}"
run --out large --set $large --estimate --json && grep -q '"fits": *true' out.txt || { fail "an estimate that just fits:"; cat out.txt err.txt; }
run --out large --set $large --set steps=1 || { fail "a run that just fits:"; cat err.txt; }
rm -rf large
TENET_MEMORY=2GB refused 2 'TENET_MEMORY=2GB is no amount of memory'
unset TENET_MEMORY
run --out /proc/tenet-run && fail "/proc can be written"
grep -q '/proc/tenet-run: cannot' err.txt || { fail "/proc"; cat err.txt; }
echo text >file && run --out file/run && fail "a file is no directory"
flock run/lock "$tenet" train tiny.yaml --quiet --out run >out.txt 2>err.txt && fail "two processes train into one directory"
grep -q 'another process is training' err.txt || { fail "two at once"; cat err.txt; }
[ -e run/lock ] || fail "the other one's lock is gone"
echo "$n refusals"
exit $bad
