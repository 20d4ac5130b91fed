#!/bin/sh
# evaluations of a real model killed at random items and resumed, in batches of 1, 7 and 64: the same report, to the byte
#
# eval-kills.sh BUILD DIR. Choices, likelihoods and sampled replies over the rows that come with tenet. SEED: of the kills (1);
# KILLS: of each batch size (5). ITEMS: of each task (60).
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
tenet=$(cd "$1" && pwd)/tenet
cd "$2" || exit 1
"$tenet" pull -q smollm2-135m-instruct >pull.log 2>&1 || { echo "skipped: the model could not be pulled: $(tail -n 1 pull.log)"; exit 77; }

mkdir tasks && cp -r "$here/tasks/capability" "$here/tasks/capability.yaml" "$here/tasks/chat_answers.yaml" tasks/ || exit 1
cat >tasks/replies.yaml <<'YAML'
task: replies
data_files:
  test: [capability/items.jsonl]
test_split: test
output_type: generate_until
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{choices[answer]}}"
metric_list:
  - metric: exact_match
generation_kwargs:
  until: ["\n"]
  do_sample: true
  temperature: 0.7
  max_gen_toks: 12
metadata:
  version: 1.0
YAML
# In the background this is the program itself, so that a kill meets it and not a shell around it.
ask() { exec "$tenet" eval --quiet -m smollm2-135m-instruct --task-dir tasks --tasks capability,chat_answers,replies --limit ${ITEMS:-60} --batch "$1" --out "$2" --json; }

(ask 16 whole) >whole.json 2>whole.log || { cat whole.log; exit 1; }
n=$(($(wc -l <whole/items.jsonl) - 1))
echo "$n items, report $(sha256sum <whole/report.json | cut -c 1-16)"
failed=0 killed=0 seed=${SEED:-1}
for batch in 1 7 64; do
    dir=batch-$batch
    for k in $(seq "${KILLS:-5}"); do
        # Dies as soon as this many rows are in its log: a number drawn anew each time, beyond what is there already.
        have=$(if [ -f "$dir/items.jsonl" ]; then wc -l <"$dir/items.jsonl"; else echo 0; fi)
        at=$(awk -v s="$seed$batch$k" -v a="$have" -v b="$n" 'BEGIN { srand(s); print a + 1 + int(rand() * (b - a) / 2) }')
        ask "$batch" "$dir" >/dev/null 2>&1 &
        pid=$!
        while kill -0 $pid 2>/dev/null && [ "$(cat "$dir/items.jsonl" 2>/dev/null | wc -l)" -lt "$at" ]; do sleep 0.05; done
        kill -9 $pid 2>/dev/null && killed=$((killed + 1))
        wait $pid 2>/dev/null
    done
    (ask "$batch" "$dir") >"$dir.json" 2>"$dir.log" || { cat "$dir.log"; failed=1; continue; }
    for file in items.jsonl report.json report.html; do cmp "whole/$file" "$dir/$file" || failed=1; done
    cmp whole.json "$dir.json" || failed=1
    echo "batch $batch: report $(sha256sum <"$dir/report.json" | cut -c 1-16)"
done
echo "$killed runs were killed"
[ "$killed" -gt 3 ] || { echo "too few runs were killed to say anything"; failed=1; }
exit $failed
