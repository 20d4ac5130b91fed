#!/bin/sh
# test_cli.sh TENET - what people and scripts rely on: exit codes, clean stdout, help from the tables, nearest names.
set -u
tenet=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TENET_STORE="$tmp/store"
n=0
bad() { echo "FAILED: $*"; echo "--- stdout"; head -c 600 "$tmp/out"; echo "--- stderr"; head -c 600 "$tmp/err"; exit 1; }

# expect CODE WORD_OF_STDOUT WORD_OF_STDERR ARGS...   ("" expects nothing at all there, "*" does not care)
expect() {
    code=$1 out=$2 err=$3
    shift 3
    "$tenet" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    n=$((n + 1))
    [ "$rc" -eq "$code" ] || bad "tenet $*: exit $rc, expected $code"
    for pair in "out:$out" "err:$err"; do
        file=$tmp/${pair%%:*} word=${pair#*:}
        case $word in
        '*') ;;
        '') [ -s "$file" ] && bad "tenet $*: std${pair%%:*} should be empty" ;;
        *) grep -qF -e "$word" "$file" || bad "tenet $*: std${pair%%:*} should say '$word'" ;;
        esac
    done
}

expect 0 'selftest' ''
[ "$(wc -l <"$tmp/out")" -le 45 ] || bad "tenet without arguments fills more than one screen"
awk 'length($0) > 132 { exit 1 }' "$tmp/out" || bad "tenet without arguments has lines that are too long"
cp "$tmp/out" "$tmp/overview"
expect 0 'selftest' '' help
expect 0 'selftest' '' --help
expect 0 'selftest' '' help help
cmp -s "$tmp/out" "$tmp/overview" || bad "tenet help help shows something else than tenet help"
expect 0 'tenet 0.' '' --version
expect 2 '' "did you mean 'selftest'" selftst
expect 2 '' 'there is no command' frobnicate
expect 2 '' "did you mean 'bench'" help bnch
expect 0 'redteam' '' help stages
expect 0 'lora_rank' '' help stages train
expect 2 '' "did you mean 'release'" help stages relase
printf 'stages:\n  a: {kind: file, name: x, inputs: {from: "file:in"}}\n' >"$tmp/recipe.yaml"
mkdir "$tmp/in" && echo y >"$tmp/in/x"
expect 2 '' 'the recipe has no variables' run "$tmp/recipe.yaml" --set seed=1
expect 0 '' '' graph "$tmp/recipe.yaml" -o "$tmp/recipe.dot"
grep -q '^digraph' "$tmp/recipe.dot" || bad "graph -o FILE.dot is no text for Graphviz"
export TENET_KEY_PASSPHRASE=pass
expect 0 'BEGIN PUBLIC KEY' '*' key new tlog
expect 2 '' 'name its origin' tlog add "$tmp/log" "$tmp/in/x" --key tlog
[ ! -e "$tmp/log" ] || bad "a refused tlog add left a folder behind"
expect 2 '' "did you mean 'seconds'" bench --secnds 1
expect 2 '' 'tenet help bench' bench --secnds 1
expect 2 '' 'needs a value' bench --seconds
expect 2 '' 'expected' bench --seconds nine
expect 2 '' 'expected' bench --threads -1
expect 2 '' 'expected one of' bench --kernels mmx
expect 2 '' 'expected one of' bench --profile loose
expect 2 '' 'there is no benchmark' bench nonsuch
expect 2 '' 'there is no operation' selftest nonsuch
expect 2 '' 'usage: tenet pull' pull
expect 2 '' 'one word too many' pull a b
expect 2 '' 'hf:ORG/NAME' pull nonsuch
expect 2 '' 'expected hf:ORG/NAME' pull 'hf:../x'
HF_ENDPOINT=http://127.0.0.1:1 expect 2 '' "'../x'" pull hf:a/b --name ../x

# Common options before the command, numbers past 64 bits, and other programs' words for ours.
expect 0 '"sound":true' '' --json --threads 2 selftest scale
expect 2 '' "did you mean 'selftest'" --quiet selftst
expect 1 '' 'nowhere: no such file' generate -m nowhere -p --help
expect 0 'usage: tenet generate' '' generate -m nowhere --help
expect 2 '' 'too large' bench --seed 18446744073709551615
printf 'learning_rate: 1\n' >"$tmp/c.yaml"
expect 2 '' "did you mean 'lr' (peak learning rate)" train "$tmp/c.yaml"
printf 'learning_rte: 1\n' >"$tmp/c.yaml"
expect 2 '' "did you mean 'lr' (peak learning rate)" train "$tmp/c.yaml"
expect 0 '{"default":"3e-4","help":"peak learning rate","key":"lr"' '' train --keys --json
grep -qv '^{.*}$' "$tmp/out" && bad "tenet train --keys --json prints other lines than JSON"

# Every command of the list explains itself, with each of its options and the common ones.
for name in $(awk '/^  [a-z]+ +/ { print $1 }' "$tmp/overview"); do
    expect 0 "usage: tenet $name" '' help "$name"
    expect 0 '--threads' '' "$name" --help
    awk 'length($0) > 150 { exit 1 }' "$tmp/out" || bad "tenet help $name has lines that are too long"
done

# --hash-ops and --timing are for what runs a model; elsewhere they would write nothing and say nothing.
expect 2 '' 'runs no model' selftest scale --hash-ops "$tmp/hashes"
expect 2 '' 'runs no model' bench sha256 --seconds 0.01 --hash-ops "$tmp/hashes"
[ ! -e "$tmp/hashes" ] || bad "a refused --hash-ops made its file"
expect 2 '' '--timing: tenet selftest runs no model' selftest scale --timing
expect 2 '' '--timing: tenet tokenize runs no model' tokenize -m nowhere --timing

# A walk that is cut ends soon, with the signal's code and no verdict.
for signal in INT:130 TERM:143; do
    env --default-signal=INT "$tenet" selftest --json --rounds 1000000000 add >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
    sleep 0.5
    kill -"${signal%:*}" $pid
    tries=0
    while kill -0 $pid 2>/dev/null && [ $tries -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
    kill -9 $pid 2>/dev/null && bad "selftest goes on after SIG${signal%:*}"
    wait $pid
    rc=$?
    [ $rc -eq "${signal#*:}" ] || bad "selftest after SIG${signal%:*}: exit $rc"
    grep -q 'sound' "$tmp/out" && bad "a selftest that was cut says that it is sound"
    n=$((n + 1))
done

# One JSON object a line and no other byte, whatever the terminal says.
expect 0 '"name":"sha256"' '' bench sha256 --json --seconds 0.01
grep -qE '^\{"name":"[^"]*","shape":"[^"]*","dtype":"[^"]*","threads":[0-9]+,"value":[0-9.e+]+,"unit":"[^"]*","limit":(null|[0-9.e+]+),"ratio":(null|[0-9.e+-]+)\}$' \
    "$tmp/out" || bad "a row of tenet bench has another form"
expect 0 '"sound":true' '' selftest scale --json
expect 0 '"name":"sha256"' 'this process may use' bench sha256 --json --seconds 0.01 --threads 1000
expect 0 'ok' '' selftest scale --kernels ref --threads 3

# A full disk under stdout is an error, not a silent loss.
if [ -c /dev/full ]; then
    "$tenet" help >/dev/full 2>"$tmp/err"
    [ $? -eq 1 ] && grep -q 'standard output' "$tmp/err" || bad "a full disk under stdout went unnoticed"
    n=$((n + 1))
fi
"$tenet" help | head -n 1 >/dev/null                  # a reader that leaves early does not crash it

echo "$n commands behaved"
