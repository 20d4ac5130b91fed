#!/bin/sh
# scores, log-probabilities and replies against those of the public harness on a real model, and 500 comparisons of a model with itself
#
# eval.sh BUILD DIR. The golden is tests/golden/eval/smollm2-135m-instruct.json (tests/oracle/make_eval.py); its rows come from
# TENET_DATA, the folder of public data sets (../shared/data). CASES: only these.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
tenet=$build/tenet
data=${TENET_DATA:-$here/../shared/data}
[ -d "$data" ] || { echo "skipped: no public data sets at $data; set TENET_DATA"; exit 77; }
command -v python3 >/dev/null || { echo "skipped: python3 is not there"; exit 77; }
data=$(cd "$data" && pwd)
cd "$2"
"$tenet" pull -q smollm2-135m-instruct >pull.log 2>&1 || { echo "skipped: the model could not be pulled: $(tail -n 1 pull.log)"; exit 77; }
mkdir work
python3 - "$here" "$tenet" smollm2-135m-instruct "$data" "$2/work" <<'PY'
import glob, json, os, subprocess, sys
here, tenet, model, data, work = sys.argv[1:]
golden = json.load(open(here + "/tests/golden/eval/smollm2-135m-instruct.json"))
# The same rows as the golden's: the first ones are asked, rows 300 to 359 are the pool of shots (GSM8K: 0 to 59 of train).
def rows(pattern, first, last, name, change=lambda r: r):
    path = sorted(glob.glob(os.path.join(data, pattern)))[0]
    with open(os.path.join(work, name), "w") as f:
        for i, line in enumerate(open(path, encoding="utf-8")):
            if first <= i < last:
                f.write(json.dumps(change(json.loads(line))) + "\n")
for task, pattern, split, train in (("hellaswag", "hellaswag/*.jsonl", "validation", 300), ("arc_easy", "arc/arc_easy*.jsonl", "test", 300), ("arc_challenge", "arc/arc_challenge*.jsonl", "test", None),
                                    ("winogrande", "winogrande/winogrande*.jsonl", "validation", 300), ("boolq", "boolq/*.jsonl", "validation", 300), ("lambada_openai", "lambada/*.jsonl", "test", None),
                                    ("truthfulqa", "truthfulqa/mc_task*.jsonl", "validation", None), ("mmlu", "mmlu/test*.jsonl", "test", None), ("gsm8k", "gsm8k/test*.jsonl", "test", None),
                                    ("bbq", "bbq/Age*.jsonl", "test", None), ("persona", "anthropic-evals/agreeableness.jsonl", "validation", None),
                                    ("power_seeking", "anthropic-evals/power-seeking-inclination.jsonl", "validation", None)):
    rows(pattern, 0, 60, f"{task}_{split}.jsonl")
    if train is not None:
        rows(pattern, train, train + 60, f"{task}_train.jsonl")
rows("gsm8k/train*.jsonl", 0, 60, "gsm8k_train.jsonl")
rows("mmlu/dev.jsonl", 0, 5, "mmlu_dev.jsonl")
rows("inaugural/*.jsonl", 0, 4, "rolling.jsonl", lambda r: {"text": r["text"][:3000]})
bad = 0
only = os.environ.get("CASES", "").split()
for name, c in sorted(golden["cases"].items()):
    if only and name not in only: continue
    task, out = c["task"], os.path.join(work, "out-" + name)
    args = [tenet, "eval", "--quiet", "-m", model, "--task-dir", here + "/tasks", "--tasks", task, "--limit", str(c["n"]), "--json", "--out", out,
            "--data", work + "/rolling.jsonl" if task == "rolling_text" else work, "--apply-chat-template", "yes" if c.get("chat") else "no"]
    if "num_fewshot" in c: args += ["--num-fewshot", str(c["num_fewshot"])]
    if c.get("chat") and not c.get("multiturn"): args += ["--one-turn"]
    if c.get("system"): args += ["--system-instruction", c["system"]]
    got = json.loads(subprocess.run(args, check=True, capture_output=True, text=True).stdout)["tasks"][task]
    items = [json.loads(line)["item"] for line in open(out + "/items.jsonl").readlines()[1:]]
    for key, value in sorted(c["scores"].items()):
        same = abs(got[key] - value) < 5e-5 * max(1, abs(value))
        bad += not same
        print(f"{'ok  ' if same else 'DIFF'} {name} {key}: {got[key]:.6f}, reference {value:.6f}")
    worst = replies = 0
    for row, item in zip(c["rows"], items):
        if isinstance(row[0], str):
            replies += item["replies"] == row
        else:
            mine = [sum(item["ll"])] if "words" in item else item["ll"]
            worst = max([worst] + [abs(a - b) / max(1, abs(b)) for a, b in zip(mine, row)])
    if isinstance(c["rows"][0][0], str): print(f"     {name}: {replies} of {len(c['rows'])} replies the same to the last letter")
    else: print(f"     {name}: log-probabilities within {worst:.1e}")
    bad += worst > 1e-4
sys.exit(1 if bad else 0)
PY
cd "$here" && TENET_SOAK=1 "$build/tests/eval/test_numbers"
