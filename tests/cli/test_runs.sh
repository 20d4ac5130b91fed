#!/bin/sh
# test_runs.sh TENET RECIPES - recipes, the store and the log as a person meets them: hostile recipes are refused before anything
# runs, --explain and diff say what changed, and `tenet tlog verify` is about what it was asked.
set -u
tenet=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") recipes=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TENET_STORE="$tmp/store" TENET_KEY_PASSPHRASE=pass
cp -r "$recipes" "$tmp/proj" && cd "$tmp/proj" || exit 1
n=0
bad() { echo "FAILED: $*"; echo "--- stdout"; head -c 900 "$tmp/out"; echo "--- stderr"; head -c 900 "$tmp/err"; exit 1; }

# expect CODE WORDS ARGS...: the exit code, and words that stdout or stderr must say ("" does not care)
expect() {
    code=$1 words=$2
    shift 2
    "$tenet" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    n=$((n + 1))
    [ "$rc" -eq "$code" ] || bad "tenet $*: exit $rc, expected $code"
    [ -z "$words" ] || cat "$tmp/out" "$tmp/err" | grep -qF -e "$words" || bad "tenet $*: should say '$words'"
}
silent_about() { cat "$tmp/out" "$tmp/err" | grep -qF -e "$1" && bad "should not say '$1'"; }
recipe() { printf "$1" >bad.yaml; }
prompts='stages:\n  p:\n    kind: prompts\n    inputs: {constitution: file:constitution.yaml, files: [file:prompts.txt]}\n'

# Paths that leave the folder of the recipe by a symlink, anywhere on their way; the user's own word is another matter.
mkdir ../outside inside && cp prompts.txt ../outside/ && cp prompts.txt inside/ && ln -s ../outside away && ln -s inside here && ln -s ../outside/prompts.txt link.txt
recipe 'stages:\n  p:\n    kind: prompts\n    inputs: {constitution: file:constitution.yaml, files: [file:away/prompts.txt]}\n'
expect 2 "bad.yaml:4: stage 'p': 'away/prompts.txt' goes through a symlink and lies outside" run bad.yaml
recipe 'stages:\n  p:\n    kind: prompts\n    inputs: {constitution: file:constitution.yaml, files: [file:link.txt]}\n'
expect 2 'is a symlink' run bad.yaml
recipe 'stages:\n  p:\n    kind: prompts\n    inputs: {constitution: file:constitution.yaml, files: [file:here/prompts.txt]}\n'
expect 0 '' run bad.yaml
recipe 'vars: {h: 0.25}\nname: shares\nstages:\n  p:\n    kind: prompts\n    inputs: {constitution: file:constitution.yaml, files: [file:prompts.txt]}\n    heldout: ${h}\n'
expect 0 '' run bad.yaml
expect 0 "parameter 'heldout'" run bad.yaml --explain p --set h=0.5
recipe 'stages:\n  sft:\n    kind: train\n    inputs: {model: file:model, data: [file:data/animals.jsonl]}\n    learning_rte: 3\n'
expect 2 "bad.yaml:5: unknown key 'learning_rte' in stage 'sft'; did you mean 'lr' (peak learning rate)?" run bad.yaml
printf 'model: model\ndata: data/animals.jsonl\nsteps: 1\n' >tune.yaml
expect 2 'lr is a key of the config: --set lr=VALUE' train tune.yaml --lr 5
expect 2 'weight_decay is a key of the config' train tune.yaml --weight-decay=5
expect 2 "n_layer is for a model from scratch, but 'model' names one" train tune.yaml --out none --set n_layer=3
expect 2 "family is for a model from scratch" train tune.yaml --out none --set family=gpt2
expect 2 "early_stop looks at the validation loss" train tune.yaml --out none --set early_stop=1
expect 2 'expected 1e-20 to 1' train tune.yaml --out none --set eps=0
expect 2 'expected 0 to 0.9999999' train tune.yaml --out none --set beta1=1
[ -e none ] && bad "a refused training left its folder"
expect 0 '' train tune.yaml --out low --set "lora_rank=2,lora_targets=q , v,data=prompts.txt,batch=2"
silent_about 'could not be recorded'
cp prompts.txt 'a,b.txt'
expect 2 "a,b.txt: a comma parts the files of a list" train tune.yaml --out none --set lora_rank=2,data=a,b.txt,batch=2
expect 2 'there is no task "nonsuch" in tasks; there are animals' eval -m model --tasks nonsuch
(mkdir -p ../bare/a/b && cp "$tenet" ../bare/a/b/tenet && cd ../bare/a/b && ./tenet eval -m "$tmp/proj/model" --tasks nonsuch) >"$tmp/out" 2>"$tmp/err" && bad "a task without a folder of tasks"
grep -qF 'this folder has no nonsuch.yaml, and no folder of tasks' "$tmp/err" || bad "no folder of tasks should be said"
# --hash-ops: every command that runs a model writes its lines, one that cannot says so, and so does one that had nothing to write.
for i in 1 2; do expect 0 '' train tune.yaml --out "hashed$i" --set lora_rank=2,data=prompts.txt,batch=2 --threads "$i" --hash-ops "hashes$i"; done
grep -q '\.grad\.' hashes1 || bad "train --hash-ops wrote no gradients"
expect 0 '' diff hashes1 hashes2
expect 0 'no operation was run' train tune.yaml --out hashed1 --set lora_rank=2,data=prompts.txt,batch=2 --hash-ops hashes3
expect 1 '/nosuch/x' train tune.yaml --out hashed3 --hash-ops /nosuch/x
expect 0 '' train tune.yaml --out hashed4 --set lora_rank=2,data=prompts.txt,batch=2 --supervise --hash-ops hashes4
silent_about 'no operation was run'
expect 0 '' diff hashes1 hashes4
OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 expect 0 '' perplexity -m model prompts.txt --hash-ops hashes5
[ -s hashes5.rank-1 ] && [ ! -e hashes5 ] || bad "a rank of two wrote the hashes of rank 0"
# --timing: so too; one table, at the end, on standard error.
timed() { expect 0 '          forward  ' "$@" --timing; [ "$(grep -c '^operation  *pass ' "$tmp/err")" -eq 1 ] || bad "tenet $*: not one table of --timing"; }
timed logits -m model --tokens 1,2,3 --out timed.npy
timed perplexity -m model prompts.txt
timed generate -m model -p x -n 2
timed eval -m model --tasks animals --data data --limit 2 --json
timed train tune.yaml --out timed1 --set lora_rank=2,data=prompts.txt,batch=2
grep -q '^outside .* of the steps. ' "$tmp/err" || bad "train --timing does not say what was outside of the operations"
expect 0 '--timing: no operation was run' train tune.yaml --out timed1 --set lora_rank=2,data=prompts.txt,batch=2 --timing
timed train tune.yaml --out timed2 --set lora_rank=2,data=prompts.txt,batch=2 --supervise
silent_about 'no operation was run'
recipe 'stages:\n  sft:\n    kind: train\n    inputs: {model: file:model, data: [file:prompts.txt]}\n    lora_rank: 2\n    steps: 1\n    batch: 2\n'
timed run bad.yaml
expect 0 '--timing: no operation was run' run bad.yaml --timing
# It replaces an earlier run's hashes, at the end, and nothing else.
cp hashes1 hashes6 && cp prompts.txt precious.txt && : >hashes7
expect 0 '' perplexity -m model prompts.txt --hash-ops hashes6
cmp -s hashes1 hashes6 && bad "--hash-ops did not replace the hashes of an earlier run"
cp hashes6 hashes8
expect 0 '' perplexity -m model prompts.txt --hash-ops hashes7
cmp -s hashes6 hashes7 || bad "two runs of one command differ in their hashes"
expect 2 'precious.txt is there already and holds no hashes' perplexity -m model prompts.txt --hash-ops precious.txt
cmp -s prompts.txt precious.txt || bad "--hash-ops destroyed a file that was no file of hashes"
expect 2 'holds no hashes' perplexity -m model prompts.txt --hash-ops model/model.safetensors
expect 1 '' perplexity -m nosuch prompts.txt --hash-ops hashes6
cmp -s hashes6 hashes8 || bad "a command that did not run replaced the hashes of an earlier one"
expect 2 'both name same' logits -m model --tokens 1,2 -o same --hash-ops same
if [ -c /dev/full ]; then
    expect 1 '/dev/full of --hash-ops cannot be written' perplexity -m model prompts.txt --hash-ops /dev/full
    expect 1 '/dev/full of --hash-ops cannot be written' train tune.yaml --out hashed5 --set lora_rank=2,data=prompts.txt,batch=2 --hash-ops /dev/full
fi
# Weights that are not finite do not become numbers on the way into blocks; f16 keeps them. (64 x 32 values of mlp.down_proj lie 9344 bytes before the end.)
cp -r model broken && printf '\000\000\300\177' | dd of=broken/model.safetensors bs=1 seek=$(($(wc -c <model/model.safetensors) - 9344 + 4)) conv=notrunc 2>/dev/null
expect 1 "blk.0.ffn_down.weight' holds 1 values that are not finite (the first in row 0, column 1)" quantize broken broken.gguf --type q8_0
[ -e broken.gguf ] && bad "a refused quantize left its file"
expect 1 'are not finite' quantize broken broken.gguf --type q4_0
expect 0 '' quantize broken broken.gguf --type f16
expect 0 '' quantize model sound.gguf --type q8_0
# Finite values that a half, or the scale of their block, cannot hold: 1e30 in the same place.
cp -r model wide && printf '\312\362\111\161' | dd of=wide/model.safetensors bs=1 seek=$(($(wc -c <model/model.safetensors) - 9344 + 4)) conv=notrunc 2>/dev/null
expect 1 "blk.0.ffn_down.weight' holds 1 finite values that f16 would make infinite or no number (the first in row 0, column 1)" quantize wide wide.gguf --type f16
for type in q8_0 q4_0 q4_1 q5_0 q5_1; do expect 1 "blk.0.ffn_down.weight' holds 32 finite values that $type" quantize wide wide.gguf --type $type; done
[ -e wide.gguf ] && bad "a refused quantize left its file"
expect 0 '' quantize wide wide.gguf --type bf16
# Words of the environment that make faults on purpose are no less checked than options.
TENET_FAULT=kil@5 expect 2 "TENET_FAULT: 'kil@5' is no fault" train tune.yaml --out none --set lora_rank=2,data=prompts.txt,batch=2
TENET_HANG_SECONDS=soon expect 2 "TENET_HANG_SECONDS is 'soon'" train tune.yaml --out none --supervise --set lora_rank=2,data=prompts.txt,batch=2
# The record names all that was read, as a stage's does: what may have changed meanwhile is said to be unnamed instead.
newest() { "$tenet" log "$("$tenet" log -n 1 2>/dev/null | awk '{ print $1 }')" --json 2>/dev/null; }
prompts_root=sha256:$(sha256sum <prompts.txt | cut -c 1-64)
{ cat prompts.txt; echo "One more line."; } >more.txt
expect 0 "" train tune.yaml --out valid --set lora_rank=2,data=prompts.txt,more.txt,batch=2,valid=prompts.txt
for input in '"model":"sha256:' "\"data.0\":\"$prompts_root" "\"data.1\":\"sha256:$(sha256sum <more.txt | cut -c 1-64)" "\"valid.0\":\"$prompts_root"; do
    newest | grep -q '"inputs":{[^}]*'"$input" || bad "the record of a training does not name $input"
done
mkdir mixed && cp prompts.txt mixed/
expect 2 'mixed' train tune.yaml --out mixed/run --set lora_rank=2,data=mixed,batch=2       # a run inside its data
cp -r model beside
expect 0 'does not name its input model: beside: was changed while the command ran' train tune.yaml --out beside/run --set model=beside,lora_rank=2,data=prompts.txt,batch=2
newest | grep -q '"unnamed":{"model":' || bad "the record does not say which input it does not name"
newest | grep -q '"model":"sha256:' && bad "a digest is named that may not be of what was read"
expect 1 'gone/low: no such folder' export gone/low low.gguf
expect 1 'low/data: no checkpoint' export low/data low.gguf
expect 1 'low is the folder of a training run: `tenet export low DIR --merge`' inspect low
expect 1 'low/adapter is an adapter, no model' inspect low/adapter
expect 1 'is a checkpoint of training: `tenet export low/step-' inspect "$(ls -d low/step-* | head -n 1)"
expect 2 'low.gguf: the adapter alone is a folder' export low low.gguf
[ -e low.gguf ] && bad "a refused export left something"
expect 0 '' export low low.gguf --merge
expect 0 '' export low low-adapter
expect 2 'low-adapter: is there already and not empty' export low low-adapter
expect 0 '{"out":"a \"b\".gguf",' export low 'a "b".gguf' --merge --json
expect 0 "\"out\":\"x$(printf '\357\277\275')\"" convert model "$(printf 'x\377')" --json
expect 2 'no valid UTF-8: give another with --name' release --model "$(printf 'x\377')" --out rel-3 --key lab3
# A slash at the end of a folder's name changes nothing.
expect 0 '' export low/ low-merged/ --merge
expect 0 '' convert model model-again/
expect 0 '' convert model-again/ again.gguf
head -c 300 again.gguf | tr '\000' ' ' | grep -qa 'general.name.*model-again' || bad "a model is not called as its folder is"
# A release says nothing of the machine: two runs of one training give the same bytes.
expect 0 '' key new lab3
for i in 1 2; do
    expect 0 '' train tune.yaml --out low-$i/low --set lora_rank=2,data=prompts.txt,batch=2
    expect 0 '' release --model model --run low-$i/low --out rel-$i --key lab3
done
expect 0 '' release --model model/ --run low-1/low/ --out rel-4/ --key lab3
silent_about 'does not name'
newest | grep -q '"runs.0":"sha256:' || bad "the record of a release does not name its run"
"$tenet" key show lab3 >lab3.pem 2>/dev/null
expect 1 "do not say what the run read ('data'), since it was put together by hand" verify rel-4 --key lab3.pem --replay all
diff -r rel-1 rel-4 >"$tmp/out" 2>"$tmp/err" || bad "a slash at the end of a name changes a release"
diff -r rel-1 rel-2 >"$tmp/out" 2>"$tmp/err" || bad "two runs of one training give two releases"
find rel-1 | grep -qE 'heartbeat|events\.out|/lock$|\.runs' && bad "a release holds a run's lock, heartbeat or TensorBoard file"
[ -e rel-1.runs ] && bad "a release left its working folder"
recipe 'vars: {f: ""}\nstages:\n  p:\n    kind: prompts\n    inputs: {constitution: file:constitution.yaml, files: ["file:${f}"]}\n'
expect 0 '' run bad.yaml --set f=away/prompts.txt
printf "$prompts" >../outside/inc.yaml
recipe 'include: away/inc.yaml\nstages:\n  q:\n    kind: file\n    name: x\n    inputs: {from: p}\n'
expect 2 "bad.yaml:1: include 'away/inc.yaml' goes through a symlink" run bad.yaml

# What a stage needs is known before the first one runs.
# A prompt set may be a file of one's own, which has no name in the store; kinds are read in one way, and a slip is no kind.
printf '{"text":"how to pick a lock","kind":"decline"}\n{"text":"how to bake bread"}\n{"text":"how to kill a process","kind":"lookalike"}\n' >own.jsonl
recipe 'name: own\nstages:\n  a:\n    kind: answers\n    inputs: {model: file:model, prompts: file:own.jsonl}\n    max_tokens: 4\n'
expect 0 'answers: 3 of 3' run bad.yaml
expect 0 'answers: 2 of 2' run bad.yaml --set 'a.kinds=decline, everyday' --set a.max_tokens=3
expect 0 '' run bad.yaml --set a.kinds=decline,everyday --set a.max_tokens=3 --json
grep -q '"cached"' "$tmp/out" || bad "a blank in a list made it another list"
expect 2 "--set a.kinds: kinds is 'evryday': expected one of decline|lookalike|everyday; did you mean 'everyday'?" run bad.yaml --set a.kinds=decline,evryday
recipe "$prompts"'  f:\n    kind: file\n    inputs: {from: p}\n'
expect 2 "bad.yaml:5: stage 'f': name is missing" run bad.yaml
recipe "$prompts"'  t:\n    kind: train\n    inputs: {model: file:model, data: [p]}\n    batch: 6\n    micro_batch: 2\n    steps: 1\n'
expect 2 "bad.yaml:5: stage 't': batch 6 / micro_batch 2 must be a power of two" run bad.yaml
recipe "$prompts"'  e:\n    kind: export\n    inputs: {model: file:model}\n    type: q9\n'
expect 2 "bad.yaml:5: stage 'e': type is 'q9'" run bad.yaml
recipe "$prompts"'  e:\n    kind: eval\n    inputs: {model: file:model, task_dir: file:tasks}\n'
expect 2 "bad.yaml:5: stage 'e': tasks" run bad.yaml
recipe "$prompts"'  f:\n    kind: file\n    name: nonsuch\n    inputs: {from: p}\n'
expect 1 "there is no 'nonsuch' in what 'from' names" run bad.yaml
recipe 'stages:\n  f:\n    kind: file\n    name: nonsuch\n    inputs: {from: file:prompts.txt}\n'
expect 2 "'from' is one file" run bad.yaml

# Data of a stage are named as the recipe names them, and where; what a weight became instead of what was asked is said, quiet or not.
recipe "$prompts"'  t:\n    kind: train\n    inputs:\n      model: file:model\n      data: [p/prompts.jsonl]\n    loss: dpo\n    steps: 1\n'
expect 1 "stage 't': p/prompts.jsonl:1: a row needs \"chosen\" and \"rejected\", or \"completion\" and \"label\" (true or false) ('p/prompts.jsonl' stands at bad.yaml:9 and is " run bad.yaml
recipe 'stages:\n  e:\n    kind: export\n    inputs: {model: file:model}\n    type: q4_k\n    form: gguf\n'
expect 0 'f16 instead of q4_k (rows are no multiple of its block)' run bad.yaml --quiet
"$tenet" log "$("$tenet" log --stage e -n 1 2>/dev/null | awk '{ print $1 }')" --json 2>/dev/null | grep -q '"fallbacks":\["blk.0' || bad "the record does not name what became another type"

# An export never takes the place of what the recipe reads.
cp prompts.txt before.txt
recipe "$prompts"'export: {p: prompts.txt}\n'
expect 2 "bad.yaml:5: export: 'prompts.txt' is where stage 'p' has its input 'files' from" run bad.yaml
cmp prompts.txt before.txt || bad "the export replaced an input of its own recipe"

# Names that are nearly right.
expect 2 "did you mean 'sft'" run every-kind.yaml --explain sfy
expect 2 "did you mean 'sft'" run every-kind.yaml --until sfy
expect 2 "--set sfy.lr=1: every-kind.yaml has no stage 'sfy'; did you mean 'sft'" run every-kind.yaml --set sfy.lr=1

# What changed, and nothing that did not.
expect 0 '' run every-kind.yaml --until weights
expect 0 '' run every-kind.yaml --until sft --set sft.lr=0.01
expect 0 '"estimate_s"' run every-kind.yaml --dry-run --until sft --set sft.lr=0.02 --json
expect 0 '"will run"' run every-kind.yaml --dry-run --until sft --set sft.lr=0.02 --json --profile strict-bf16
silent_about '"estimate_s"'                              # another arithmetic has another speed
ids=$("$tenet" log 2>/dev/null | awk 'NR <= 2 { print $1 }')
# shellcheck disable=SC2086
expect 0 "parameter 'lr'" diff $ids
grep -q '^only in the second run: dpo, aligned, weights$' "$tmp/out" || bad "stages of one run alone are not one line"
silent_about 'stage is only in'
sed -i 's/critique: Say where/critique: Name where/' constitution.yaml
expect 0 "stage 'pairs', which gives 'data', will run first" run every-kind.yaml --explain sft
silent_about 'is nothing'
expect 1 "it has no file 'nonsuch'" store cat "$("$tenet" store ls --json 2>/dev/null | sed -n 's/.*"digest":"\(sha256:[0-9a-f]*\)".*/\1/p' | head -n 1)" nonsuch
"$tenet" log 2>"$tmp/err" | head -n 1 >/dev/null
[ -s "$tmp/err" ] && bad "a reader that has seen enough is told of"
"$tenet" help run 2>"$tmp/err" | true
[ -s "$tmp/err" ] && bad "a reader that has seen enough is told of"

# The transparency log: an entry that is not there, a log rolled back, another history, questions that mix two things.
"$tenet" key new log --quiet >log.pem
for i in 1 2 3; do
    echo "$i" >"file$i"
    expect 0 "entry $((i - 1))" tlog add tl "file$i" --key log --origin example.org/models
    cp tl/checkpoint "checkpoint$i"
done
echo 4 >file4
expect 0 'sound: entry 1 of example.org/models (3 entries)' tlog verify tl file2 --key log.pem
expect 3 'none of its 3 entries is file4' tlog verify tl file4 --key log.pem
expect 0 'sound: example.org/models, 3 entries' tlog verify tl --old checkpoint2 --key log.pem
cp -r tl back && cp checkpoint1 back/checkpoint
expect 0 '1 entries' tlog verify back --key log.pem
expect 3 'rolled back' tlog verify back --old checkpoint3 --key log.pem
expect 0 '' tlog add other file3 --key log --origin example.org/models
expect 0 '' tlog add other file2 --key log
expect 3 'history was changed' tlog verify other --old checkpoint1 --key log.pem
expect 0 '' tlog add third file1 --key log --origin example.org/others
expect 3 'the old checkpoint is of example.org/models' tlog verify third --old checkpoint1 --key log.pem
expect 0 '' tlog prove tl --old checkpoint1 --key log.pem --out growth
expect 0 'sound: example.org/models, 3 entries' tlog verify growth --old checkpoint1 --key log.pem
expect 2 'leave out file1' tlog verify growth file1 --old checkpoint1 --key log.pem
expect 2 'leave out file1' tlog prove tl file1 --old checkpoint1 --key log.pem

# Ranks by judged pairs: red beats blue 3 of 4 times, blue and green are level, so red stands 400 log10(3) over blue, all but the
# half virtual tie; green meets only blue, and so has a rating all the same.
for i in $(seq 400); do
    [ $((i % 4)) -eq 0 ] && w=b || w=a
    echo "{\"prompt\":\"p$i\",\"a\":\"red\",\"b\":\"blue\",\"winner\":\"$w\"}"
done >pairs.jsonl
{
    echo 'question_id,model_a,model_b,winner'
    for i in $(seq 100); do echo "q$i,green,blue,tie (bothbad)"; done
} >ties.csv
expect 0 '"anchor":"blue","failed":0,"pairs":500' compare --judged pairs.jsonl ties.csv --anchor blue --json
rating() { tr '{' '\n' <"$tmp/out" | sed -n 's/.*"model":"'"$1"'","rating":\([0-9.e+]*\).*/\1/p' | awk '{ printf "%d", $1 }'; }
[ "$(rating red)" = 1190 ] && [ "$(rating blue)" = 1000 ] || bad "ratings: red $(rating red), blue $(rating blue); expected 1190 and 1000"
[ "$(rating green)" -ge 995 ] && [ "$(rating green)" -le 1005 ] || bad "green stands at $(rating green), expected about 1000"
expect 0 'red' compare --judged pairs.jsonl
echo '{"prompt":"x","a":"far","b":"away","winner":"tie"}' >lonely.jsonl
expect 1 "'red' and 'far' never meet" compare --judged pairs.jsonl lonely.jsonl
echo '{"prompt":"x","a":"red","b":"blue","winner":"green"}' >odd.jsonl
expect 1 "odd.jsonl:1: winner is 'green'" compare --judged pairs.jsonl odd.jsonl
echo '{"prompt":"x","a":"red","winner":"a"}' >odd.jsonl
expect 1 "odd.jsonl:1: 'b' is missing" compare --judged odd.jsonl
expect 2 "did you mean 'blue'" compare --judged pairs.jsonl --anchor bleu
expect 2 'two reports are expected' compare pairs.jsonl
expect 0 '' run every-kind.yaml --until compare
expect 0 'after' compare --judged "after:before=$TENET_STORE/objects/$("$tenet" run every-kind.yaml --until compare 2>/dev/null | sed -n 's|^compare sha256:\(..\)\([0-9a-f]*\).*|\1/\2|p')"

# A command by itself computes what the stage computes, to the byte, and is in the ledger beside the runs.
expect 0 '' run every-kind.yaml --until eval
made() { "$tenet" run every-kind.yaml --until "$1" 2>/dev/null | sed -n 's|^'"$1"' \(sha256:[0-9a-f]*\).*|\1|p'; }
expect 0 '' store export "$(made aligned)" aligned
expect 0 '' store export "$(made eval)" from-recipe
expect 0 '' eval -m aligned --task-dir tasks --data data --tasks " animals ," --seed 1 --out direct
for file in items.jsonl report.json report.html; do cmp direct/$file from-recipe/$file || bad "tenet eval and the stage differ in $file"; done
flock direct/items.jsonl "$tenet" eval -m aligned --task-dir tasks --data data --tasks animals --seed 1 --out direct >"$tmp/out" 2>"$tmp/err" && bad "two runs write one log"
grep -q 'another run is writing it' "$tmp/err" || bad "it is not said that another run writes the log"
expect 0 "tenet eval  $(made eval | cut -c 1-19)" log -n 3
newest | grep -q '"data":"sha256:.*"task_dir":"sha256:' || bad "the record of an eval does not name its tasks and rows"
expect 0 '' convert aligned aligned.gguf
expect 2 'is the file that the model is read from' quantize aligned.gguf aligned.gguf --type q8_0
expect 0 '' quantize aligned.gguf small.gguf --type q8_0
ids=$("$tenet" log -n 2 2>/dev/null | awk '{ print $1 }')
# shellcheck disable=SC2086
expect 0 "export: parameter 'type'" diff $ids
expect 0 "\"root\":\"sha256:$(sha256sum <small.gguf | cut -c 1-64)\"" log --json -n 1
# What became another type: a line a kind of weight, with --json each of them.
expect 0 'blk.*.attn_q.weight: q5_0 instead of q4_k (rows are no multiple of its block), in 2 layers' quantize "$recipes/../families/llama" types.gguf
expect 0 '"blk.1.attn_q.weight: q5_0 instead of q4_k' quantize "$recipes/../families/llama" types.gguf --json
expect 1 'no-folder/x.gguf: cannot write there: No such file or directory (its folder: make it first)' convert aligned no-folder/x.gguf
expect 0 '' key new lab2
expect 2 'expected a day' release --model aligned --out signed --key lab2 --date 2026-02-29
expect 0 '' release --model aligned --out signed --key lab2 --report direct
expect 0 'tenet release' log -n 1
expect 0 '"reports.0":' log "$("$tenet" log -n 1 2>/dev/null | awk '{ print $1 }')" --json
expect 0 '{"digest":"sha256:' store pin "$(made aligned)" --json
# A model that the store has is known to the record by what it is, not as a file of that name.
sed "s/^model: .*/model: $(made aligned)/" tune.yaml >named.yaml
expect 0 '' train named.yaml --out named --set lora_rank=2,data=prompts.txt,batch=2
silent_about 'could not be recorded'
expect 0 '{"index":0' tlog add tl2 signed --key lab2 --origin example.org/x --json
"$tenet" key show lab2 >lab2.pem 2>/dev/null || bad "no public key"
expect 0 '{"log":"tl2","proof":"c2sp.org/tlog-proof' tlog prove tl2 signed --key lab2.pem --json
HOME=/proc/nowhere TENET_STORE='' "$tenet" convert aligned again.gguf >"$tmp/out" 2>"$tmp/err" || bad "without a store a command does not do its work"
cmp aligned.gguf again.gguf || bad "the same conversion twice gives other bytes"

# Ids that end an answer: what is no id is refused, what no token has is said.
cp -r model stops && chmod -R u+w stops
printf '{"eos_token_id":[3,"x"]}' >stops/generation_config.json
expect 1 "generation_config.json: 'eos_token_id' must be the id of a token" generate -m stops -p a -n 1
printf '{"eos_token_id":[3,99999]}' >stops/generation_config.json
expect 0 "names token 99999, but the vocabulary has" generate -m stops -p a -n 1

# A model whose template is foreign: align says how to go on, and --chat-format takes it through to a release that says its format.
cp -r model foreign && chmod -R u+w foreign
printf '%s' '{% for m in messages %}<<{{ m.role }}>> {{ m.content }}{% endfor %}' >foreign/chat_template.jinja
sed -i 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 2048/' foreign/config.json
small=sft.epochs=1,sft.steps=1,dpo.steps=1,teach=2,held_out=2,answer_tokens=8,sft.n_ctx=1024,dpo.n_ctx=1024,pairs.min_words=1,pairs.max_repetition=1,pairs.helpful_share=0
expect 1 'Choose one with --chat-format chatml|' align -m foreign --constitution "$recipes/../../../constitutions/tenet.yaml" --out aligned-1 --key lab2 --set "$small"
expect 2 "chat_format is 'chatlm'" align -m foreign --constitution "$recipes/../../../constitutions/tenet.yaml" --out aligned-1 --key lab2 --set "$small" --chat-format chatlm
expect 1 'ends an answer with text that is no stop token of this vocabulary' \
    align -m foreign --constitution "$recipes/../../../constitutions/tenet.yaml" --out aligned-1 --key lab2 --set "$small" --chat-format chatml
expect 0 'aligned-1/release' align -m foreign --constitution "$recipes/../../../constitutions/tenet.yaml" --out aligned-1 --key lab2 --set "$small" --chat-format tulu
expect 0 '"chat_format":"tulu"' inspect aligned-1/release --json
expect 0 'equal bit for bit' verify aligned-1/release --key lab2.pem --replay all
# The model is written again, too; it carries no digest for a name.
expect 0 "and the model's file: equal bit for bit" verify aligned-1/release --key lab2.pem --replay 1
head -c 400 aligned-1/release/model.gguf | tr -d '\000' | grep -qa 'general.name.*[0-9a-f]\{32\}' && bad "a digest is given as the model's name"
expect 0 '' convert foreign formatted --chat-format zephyr
expect 0 '"chat_format":"zephyr"' inspect formatted --json
echo "$n commands behaved"
