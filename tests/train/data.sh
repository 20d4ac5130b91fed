#!/bin/sh
# data.sh TENET - the data of a run: every row of several sources comes once an epoch, in the order that was asked for; what a folder of data
# leaves out; rows that are refused, and in which words.
set -u
. "$(dirname "$0")/tiny.sh"
tiny_begin "$1"
tiny_text 20
tiny_config n_layer=1 n_embd=32 n_head=2 n_ff=64 pack=none batch=8 steps=2 checkpoint_every=0
bad=0
fail() { echo "FAIL $*"; bad=1; }
rows() { awk -v a="$1" -v n="$2" 'BEGIN { for (i = 0; i < n; i++) printf "{\"text\":\"%s%03d\"}\n", a, i }'; }
# shown ARGS: the first letter and the number of each sample of the first batch, in its order.
shown() {
    "$tenet" train tiny.yaml --threads 1 --quiet --show-batch --json "$@" >out.txt 2>err.txt || cat err.txt
    sed 's/.*"text":"\([a-z]\)","trained".*"text":"\([0-9]*\)<.*/\1\2/' out.txt
}

rows a 3 >a.jsonl && rows b 5 >b.jsonl && cat a.jsonl b.jsonl >ab.jsonl
want=$(sed 's/.*:"\(.*\)"}/\1/' ab.jsonl)
shown --set data=ab.jsonl >one.txt
[ "$(sort one.txt)" = "$want" ] || { fail "one source:"; cat one.txt; }
shown --set data=a.jsonl,b.jsonl >two.txt
cmp -s one.txt two.txt || { fail "two sources are not as one:"; cat two.txt; }
[ "$(shown --set data=a.jsonl,b.jsonl,shuffle=false)" = "$want" ] || { fail "shuffle: false"; cat out.txt; }
# With weights each source keeps its own order, whatever the others do.
shown --set data=a.jsonl,b.jsonl,data_weights=1,1,shuffle=false,batch=8 >mixed.txt
for source in a b; do
    grep "^$source" mixed.txt | awk -v s=$source -v n="$(grep -c . $source.jsonl)" '{ if ($0 != sprintf("%s%03d", s, (NR - 1) % n)) exit 1 }' || { fail "$source of a mixture:"; cat mixed.txt; }
done
"$tenet" train tiny.yaml --quiet --out new --set data=a.jsonl,b.jsonl,data_weights=9999,1 >out.txt 2>err.txt && fail "a source that is never drawn"
grep -q 'data_weights: weight 2 of the mixture, 1, gives its source none of the 1024 draws of a round; raise it to 9.87' err.txt || { fail "the words:"; cat err.txt; }
# Validation over several files is over every row of them: as over one.
for valid in ab.jsonl a.jsonl,b.jsonl; do
    "$tenet" train tiny.yaml --quiet --threads 1 --out "v-$valid" --set valid=$valid,valid_every=1 >out.txt 2>err.txt || cat err.txt
    grep -o '"valid[_a-z]*":[0-9.e-]*' "v-$valid/metrics.jsonl" >"valid-$valid.txt"
done
[ -s valid-ab.jsonl.txt ] && cmp valid-ab.jsonl.txt valid-a.jsonl,b.jsonl.txt || fail "validation over two files"

# A batch of one without a loss would end the run in its middle: a long question, a last turn of the user, a row or pair of weight 0.
long=$(printf '%090d' 7)
{
    printf '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]%s}\n' '' ',"weight":0'
    printf '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes"},{"role":"user","content":"%s"}]}\n' "$long"
    printf '{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":"yes"}]}\n' "$long"
} >chats.jsonl
printf '{"prompt":"a","chosen":"b","rejected":"c","weight":%d}\n' 1 0 1 0 >pairs.jsonl
for set in data=chats.jsonl,pack=greedy data=chats.jsonl,pack=best-fit data=chats.jsonl,pack=none data=pairs.jsonl,loss=dpo,pack=best-fit; do
    for n_ctx in 70 100 120; do
        "$tenet" train tiny.yaml --quiet --threads 1 --out "c-$set-$n_ctx" --set $set,n_ctx=$n_ctx,batch=1,micro_batch=1,steps=6,chat_format=tulu >out.txt 2>err.txt || { fail "$set, n_ctx $n_ctx:"; cat err.txt; }
    done
done

# A run in a folder of its data would read what it wrote; a pipe is no file.
mkdir -p corpus/sub elsewhere && cp text.txt corpus && cp text.txt corpus/.notes && ln -s "$dir/corpus" linked && mkfifo pipe
for out in corpus/run corpus corpus/sub/new/run linked/run; do
    "$tenet" train tiny.yaml --quiet --out $out --set data=corpus >out.txt 2>err.txt && fail "a run into $out"
    grep -q "^$out, where the run would write, lies inside the data folder corpus: " err.txt || { fail "a run into $out:"; cat err.txt; }
done
(cd corpus && "$tenet" train ../tiny.yaml --quiet --out run --set data=. >../out.txt 2>../err.txt) && fail "a run into run"
grep -q "^run, where the run would write, lies inside the data folder .: " err.txt || { fail "a run into run:"; cat err.txt; }
"$tenet" train tiny.yaml --quiet --out corpus/run --set valid=corpus,valid_every=1 >out.txt 2>err.txt && fail "a run into corpus/run, for validation"
[ "$(find corpus -type f | sort | tr '\n' ' ')" = "corpus/.notes corpus/text.txt " ] || { fail "left behind:"; find corpus; }
"$tenet" train tiny.yaml --threads 1 --out corpus-run --set data=corpus >out.txt 2>err.txt || { fail "a run beside its data:"; cat err.txt; }
grep -q 'corpus: 1 hidden files or editors. copies are left out, .notes the first' err.txt out.txt || { fail "what is left out is not said:"; cat err.txt; }
timeout 20 "$tenet" train tiny.yaml --quiet --out new --set data=pipe >out.txt 2>err.txt
rc=$?
[ $rc -eq 1 ] && grep -q 'pipe is a pipe or a device; data are a file or a folder' err.txt || { fail "a pipe: $rc"; cat err.txt; }

# Rows that say something else than they would be taken for.
refused() {
    printf '%s\n' "$2" >row.jsonl
    "$tenet" train tiny.yaml --quiet --threads 1 --out new --set data=row.jsonl,chat_format=tulu,n_ctx=200 >out.txt 2>err.txt && fail "$2: goes"
    grep -qF -e "$1" err.txt || { fail "$2: should say '$1':"; cat err.txt; }
}
refused "'system' has the wrong type: expected a string" '{"system":5,"prompt":"a","answer":"b"}'
refused '"answer" and "completion" mean the same' '{"prompt":"a","answer":"b","completion":"c"}'
refused 'a string holds the character NUL (\u0000)' '{"text":"a\u0000b"}'
refused 'gpt "assistant"' '{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}'
refused '"output" is "answer"' '{"instruction":"a","input":"","output":"b"}'
refused '"weight" 0.5 of a message of the assistant' '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0.5}]}'
refused '"weight" 0 of a message of the user' '{"messages":[{"role":"user","content":"a","weight":0},{"role":"assistant","content":"b"}]}'
for key in '"tool_calls":[{"id":"1"}]' '"function_call":{"name":"f"}' '"reasoning_content":"so"'; do
    refused "$(echo "$key" | cut -d: -f1) would be lost" "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"\",$key}]}"
done
refused '"tools" would be lost' '{"tools":[{"name":"f"}],"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}'
refused '"reasoning_content" would be lost' '{"prompt":"a","answer":"","reasoning_content":"so"}'
# A turn of weight 0 is read, but not trained.
printf '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"first","weight":0},{"role":"user","content":"r"},{"role":"assistant","content":"second","weight":1}]}\n' >row.jsonl
for prompt in false true; do
    "$tenet" train tiny.yaml --quiet --threads 1 --show-batch --json --set data=row.jsonl,chat_format=tulu,n_ctx=200,train_prompt=$prompt >out.txt 2>err.txt || cat err.txt
    grep -q 'first[^}]*"trained":false' out.txt && grep -q 'second[^}]*"trained":true' out.txt || { fail "weight 0, train_prompt $prompt:"; cat out.txt; }
done

# Of a document that somebody typed null into a column of, that column is not there; a system text beside the messages is theirs.
row() { printf '%s\n' "$1" >row.jsonl; "$tenet" train tiny.yaml --quiet --threads 1 --show-batch --set data=row.jsonl,chat_format=tulu,n_ctx=200,pack=best-fit ${2:+--set "$2"} >out.txt 2>err.txt || cat err.txt; }
row '{"text":"abc def","messages":null,"prompt":null}' ,n_ctx=8 && grep -q 'bc def' out.txt || fail "null columns"
row '{"system":"BE GOOD","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"x"}]}' '' && grep -q 'BE GOOD' out.txt || fail "system beside messages"
row '{"system":"BE GOOD","messages":[{"role":"user","content":"q"}],"chosen":"x","rejected":"y"}' ,loss=dpo && [ "$(grep -c 'BE GOOD' out.txt)" -eq 2 ] || fail "system beside messages of a pair"
refused 'leave one of them out' '{"system":"a","messages":[{"role":"system","content":"b"},{"role":"user","content":"q"},{"role":"assistant","content":"x"}]}'
# A prompt longer than n_ctx teaches its own tokens where they are targets.
row "$(printf '{"prompt":"%0300d","answer":"x"}\n{"prompt":"q","answer":"x"}' 7)" ,train_prompt=true && grep -q '200 tokens, 199 trained' out.txt || fail "train_prompt, cut before the answer"
# Cut off where it was sampled, an answer ends with its own last word: no stop, and no space before it.
row '{"prompt":"q","answer":"yes I","open":true}
{"prompt":"q","answer":"yes"}' ,chat_format=llama2,pack=none && grep -q 'yes I⟧$' out.txt || { fail "open"; cat out.txt; }

row '{"tools":"[]","system":"","messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"x","tool_calls":null,"thinking":false}]}' '' && grep -q 'x' out.txt || fail "tools that are none"

# Pairs: TRL's lists, a folder, sides that the format makes equal, weights.
pairs() { set=$1; shift; printf '%s\n' "$@" >row.jsonl; "$tenet" train tiny.yaml --quiet --threads 1 --show-batch --set loss=dpo,data=row.jsonl,chat_format=llama2,n_ctx=200,pack=best-fit ${set:+--set "$set"} >out.txt 2>err.txt; }
pairs '' '{"prompt":"q","chosen":"x","rejected":"y"}' && cp out.txt want.txt
pairs '' '{"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"x"}],"rejected":[{"role":"assistant","content":"y"}]}'
cmp -s out.txt want.txt || { fail "a prompt and answers as lists"; cat out.txt err.txt; }
pairs '' '{"prompt":"q","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"x"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"y"}]}'
cmp -s out.txt want.txt || { fail "whole conversations as answers"; cat out.txt err.txt; }
pairs '' '{"prompt":"q","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"x"}],"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"x"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"y"}]}'
cmp -s out.txt want.txt || { fail "the chosen conversation once more"; cat out.txt err.txt; }
mkdir -p folder && cp row.jsonl folder && "$tenet" train tiny.yaml --quiet --threads 1 --show-batch --set loss=dpo,data=folder,chat_format=llama2,n_ctx=200,pack=best-fit >out.txt 2>err.txt
cmp -s out.txt want.txt || { fail "a folder of pairs"; cat out.txt err.txt; }
pairs '' '{"prompt":"q","chosen":"x","rejected":"y"}' '{"prompt":"q","chosen":"x","rejected":" x \n"}' && [ "$(grep -c '^sample' out.txt)" -eq 1 ] || { fail "equal once rendered"; cat out.txt err.txt; }
not() { words=$1; shift; pairs "$@" && fail "$*: goes"; grep -qF -e "$words" err.txt || { fail "$*: should say '$words':"; cat err.txt; }; }
not 'must have the same messages before the answer' '' '{"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"x"}],"rejected":[{"role":"user","content":"r"},{"role":"assistant","content":"y"}]}'
not 'ends with a message of the user' '' '{"prompt":"q","chosen":[{"role":"user","content":"q"}],"rejected":"y"}'
not "hh-rlhf's dialogues" '' '{"chosen":"\n\nHuman: q\n\nAssistant: x","rejected":"\n\nHuman: q\n\nAssistant: y"}'
for side in chosen rejected; do
    other=$([ $side = chosen ] && echo rejected || echo chosen)
    not '"tool_calls" would be lost' '' "{\"prompt\":\"q\",\"$side\":[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":1}]}],\"$other\":\"y\"}"
done
not "'principle' has the wrong type" '' '{"prompt":"q","chosen":"x","rejected":"y","principle":5}'
for key in pack=greedy train_prompt=true format=chat; do not "${key%%=*} would have no effect: the loss learns from pairs" ",$key" '{"prompt":"q","chosen":"x","rejected":"y"}'; done
not 'data_weights share the draws out' ',data_weights=1' '{"prompt":"q","chosen":"x","rejected":"y"}'
printf '{"system":"s","prompt":"q","chosen":"x","rejected":"y"}\n' >row.jsonl
"$tenet" train tiny.yaml --quiet --threads 1 --out new --set loss=dpo,data=row.jsonl,pack=best-fit >out.txt 2>err.txt && fail "a system text without a chat format"
grep -q 'row.jsonl:1: a prompt of several messages, but the model has no chat format' err.txt || { fail "a system text without a chat format:"; cat err.txt; }
not 'no stop token is ever trained' ',chat_format=phi3' '{"prompt":"q","chosen":"x","rejected":"y"}'
awk 'BEGIN { for (i = 0; i < 30; i++) printf "{\"prompt\":\"q\",\"chosen\":\"a%d\",\"rejected\":\"n\"}\n", i }' >pa.jsonl && sed 's/"a/"b/' pa.jsonl >pb.jsonl
weighted() { "$tenet" train tiny.yaml --quiet --threads 1 --show-batch --set loss=dpo,chat_format=tulu,n_ctx=200,batch=32,pack=best-fit --set data=pa.jsonl,pb.jsonl,data_weights="$1" >out.txt 2>err.txt; }
weighted 1,0 && grep -q '⟦a' out.txt && ! grep -q '⟦b' out.txt || { fail "data_weights 1,0 of pairs"; cat err.txt; }
weighted banana,1 && fail "data_weights banana"
grep -q "data_weights: 'banana' is no number" err.txt || { fail "data_weights banana:"; cat err.txt; }
"$tenet" train tiny.yaml --quiet --threads 1 --out w-pairs --set loss=dpo,data=pa.jsonl,pb.jsonl,data_weights=9,1,chat_format=tulu,n_ctx=200,batch=8,steps=9,pack=best-fit >out.txt 2>err.txt || { fail "weighted pairs:"; cat err.txt; }
grep -q '"kl"' w-pairs/metrics.jsonl || fail "no distance to the reference"
# A finished run only reports: what was counted on the way stays in its page.
awk 'BEGIN { for (i = 0; i < 30; i++) printf "{\"prompt\":\"q\",\"chosen\":\"a%d\",\"rejected\":\"n\",\"principle\":\"p%d\"}\n", i, i % 2 }' >principled.jsonl
for i in 1 2; do
    "$tenet" train tiny.yaml --threads 1 --out principled --set loss=dpo,data=principled.jsonl,chat_format=tulu,n_ctx=200,batch=8,steps=2,pack=best-fit >out.txt 2>err.txt || { fail "principles:"; cat err.txt; }
    grep -q '<td[^>]*>8</td>' principled/report.html || fail "the principles' pairs are not counted, time $i"
    grep -q ' 0 pairs' out.txt && fail "principles without pairs, time $i"
done
# A loss without a reference has no distance to one.
"$tenet" train tiny.yaml --threads 1 --out orpo --set loss=orpo,data=pa.jsonl,chat_format=tulu,n_ctx=200,batch=8,steps=1,pack=best-fit >out.txt 2>err.txt || { fail "orpo:"; cat err.txt; }
grep -q '"margin"' orpo/metrics.jsonl && ! grep -q '"kl"' orpo/metrics.jsonl && ! grep -q 'KL' out.txt err.txt || { fail "orpo and a KL:"; cat orpo/metrics.jsonl out.txt; }

# Rows that teach nothing do not stand for those that teach to stop: of weight 0, or of a source that is never drawn.
printf '{"prompt":"a","answer":"yes"}\n' >one.jsonl && printf '{"prompt":"b","answer":"no no","open":true}\n' >open.jsonl
sed 's/}/,"weight":0}/' one.jsonl | cat - open.jsonl >light.jsonl
for set in data=light.jsonl data=one.jsonl,open.jsonl,data_weights=0,1; do
    "$tenet" train tiny.yaml --quiet --threads 1 --out new --set $set,chat_format=tulu,n_ctx=64 >out.txt 2>err.txt && fail "$set: goes"
    grep -q 'no stop token is ever trained' err.txt || { fail "$set:"; cat err.txt; }
done

# An epoch is every sample, whatever the batch; a hair above a whole number is one.
rows e 21 >e.jsonl
for want in "3 epochs=1" "1 epochs=0.1" "6 epochs=2"; do
    "$tenet" train tiny.yaml --quiet --threads 1 --out "e-${want##*=}" --set data=e.jsonl,steps=0,"${want#* }" >out.txt 2>err.txt || cat err.txt
    grep -q "finished after ${want%% *} steps" out.txt || { fail "$want:"; cat out.txt; }
done
rows f 30 >f.jsonl && "$tenet" train tiny.yaml --quiet --threads 1 --out e-hair --set data=f.jsonl,steps=0,epochs=0.1,batch=3,micro_batch=3 >out.txt 2>err.txt
grep -q 'finished after 1 steps' out.txt || { fail "0.1 epochs of 30 samples in batches of 3:"; cat out.txt err.txt; }

"$tenet" train tiny.yaml --threads 1 --out twice --set data=e.jsonl,e.jsonl,valid=e.jsonl >out.txt 2>err.txt || cat err.txt
grep -q 'data names e.jsonl twice' err.txt && grep -q 'valid and data both name e.jsonl' err.txt || { fail "one file twice:"; cat err.txt; }

exit $bad
