#!/bin/sh
# planted.sh BUILD DIR - a planted principle ("never use the word blue") is learnt: adherence from under 60 % to over 95 %, on held-out prompts
# The model is TENET_MODEL, or the pulled smollm2-135m-instruct. About four minutes on two idle cores with AMX.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
tenet=$(cd "$1" && pwd)/tenet
model=${TENET_MODEL:-$("$tenet" store show smollm2-135m-instruct 2>/dev/null | sed -n '3s/^ *//p')}
[ -n "$model" ] && [ -f "$model" ] || { echo "no model: tenet pull smollm2-135m-instruct, or set TENET_MODEL to a .gguf"; exit 77; }
TENET_STORE=$2/store "$tenet" run --quiet "$here/tests/soak/planted/planted.yaml" --set "model=file:$(realpath "$model")"
python3 - "$2/store" <<'PY'
import glob, json, sys
for path in glob.glob(sys.argv[1] + "/objects/*/*/measure.json"):
    a = json.load(open(path))["adherence"]["house.no-blue"]
    b, c = a["before"], a["after"]
    print(f"before {b['followed']}/{b['n']} = {b['rate']:.3f} ({b['lo']:.3f} to {b['hi']:.3f}); "
          f"after {c['followed']}/{c['n']} = {c['rate']:.3f} ({c['lo']:.3f} to {c['hi']:.3f}); p = {a['p']:.2g}")
    sys.exit(0 if b["rate"] < 0.6 and c["rate"] > 0.95 else 1)
sys.exit("no measure.json in the store")
PY
