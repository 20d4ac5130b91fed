#!/bin/sh
# eval.sh MODEL.gguf DATA [TENET] - scores against those of the public harness (tests/golden/eval, made by tests/oracle/make_eval.py).
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
tenet=${3:-$here/build/tenet}
golden=$here/tests/golden/eval/smollm2-135m-instruct.json
python3 - "$golden" "$tenet" "$1" "$2" "$here/tasks" <<'PY'
import json, subprocess, sys
golden, tenet, model, data, tasks = sys.argv[1:]
want = json.load(open(golden))
got = {}
for shots in sorted({want["shots"].get(t, 0) for t in want["tasks"]}):
    names = [t for t in sorted(want["tasks"]) if want["shots"].get(t, 0) == shots]
    out = subprocess.run([tenet, "eval", "--quiet", "-m", model, "--task-dir", tasks, "--data", data, "--limit", str(want["rows"]),
                          "--num-fewshot", str(shots), "--tasks", ",".join(names), "--json"], check=True, capture_output=True, text=True).stdout
    got.update(json.loads(out)["tasks"])
bad = 0
for task, scores in sorted(want["tasks"].items()):
    for metric, value in sorted(scores.items()):
        mine = got[task][metric]
        same = abs(mine - value) < 5e-5 * max(1, abs(value))
        bad += not same
        print(f"{'ok  ' if same else 'DIFF'} {task} {metric}: {mine:.6f}, reference {value:.6f}")
sys.exit(1 if bad else 0)
PY
