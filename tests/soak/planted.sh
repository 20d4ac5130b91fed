#!/bin/sh
# planted.sh MODEL.gguf [TENET] - a planted principle ("never use the word blue") is learnt from samples that a pattern checks, and its
# adherence on held-out prompts goes from under 60 % to over 95 %. About ten minutes on two cores.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
tenet=${2:-$here/build/tenet}
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
model=$(realpath "$1")
TENET_STORE=$store "$tenet" run "$here/tests/soak/planted/planted.yaml" --set "model=file:$model"
python3 - "$store" <<'PY'
import glob, json, sys
for path in glob.glob(sys.argv[1] + "/objects/*/*/measure.json"):
    a = json.load(open(path))["adherence"]["house.no-blue"]
    b, c = a["before"], a["after"]
    print(f"before {b['followed']}/{b['n']} = {b['rate']:.3f} ({b['lo']:.3f} to {b['hi']:.3f}); "
          f"after {c['followed']}/{c['n']} = {c['rate']:.3f} ({c['lo']:.3f} to {c['hi']:.3f}); p = {a['p']:.2g}")
    sys.exit(0 if b["rate"] < 0.6 and c["rate"] > 0.95 else 1)
sys.exit("no measure.json in the store")
PY
