#!/bin/sh
# demo-settings.sh - what the demo sets of its recipe by the peaks of a machine: nothing with a matrix unit, fewer prompts and the faster
# arithmetic without one.
set -eu
fail() { echo "demo-settings: $*"; exit 1; }
row() { printf '{"name":"peak","shape":"%s","dtype":"%s","threads":2,"value":%s,"unit":"GFLOP/s","limit":null,"ratio":null}\n' "$1" "$2" "$3"; }
is() {                                  # WANTED, rows on stdin
    found=$(tools/demo-settings)
    [ "$found" = "$1" ] || fail "expected \"$1\", found \"$found\""
}
strict="--set sft.profile=strict --set dpo.profile=strict"
{ row fma f32 458; row fma bf16 227; row amx bf16 6600; } | is ""
{ row fma f32 458; row fma bf16 227; } | is "$strict --set teach=720 --set whole=280"
{ row fma f32 233; row fma bf16 466; } | is "--set teach=620 --set whole=241"
row fma f32 90 | is "$strict --set teach=280 --set whole=108"
is "$strict --set teach=280 --set whole=108" </dev/null
echo "demo-settings: five machines"
