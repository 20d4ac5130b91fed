#!/bin/sh
# every fuzz target under clang's fuzzer with ASan and UBSan, FUZZ_SECONDS (60) each, from its small corpus.
set -eu
dir=$2
seconds=${FUZZ_SECONDS:-60}
command -v clang >/dev/null || { echo "skipped: clang is not installed"; exit 77; }

CC=clang meson setup "$dir/build" -Dfuzz=true -Doptimization=1 -Ddebug=true -Db_sanitize=address,undefined -Db_lundef=false \
    -Dc_args=-fsanitize=fuzzer-no-link >"$dir/setup.log" 2>&1 || { tail "$dir/setup.log"; exit 1; }
targets=$(sed -n "s/^ *\['\([a-z]*\)', \[.*/\1/p; s/^foreach.*\['\([a-z]*\)', \[.*/\1/p" tests/fuzz/meson.build)
failed=0
for t in $targets; do
    ninja -C "$dir/build" --quiet "tests/fuzz/fuzzer_$t" >"$dir/ninja.log" 2>&1 || { tail "$dir/ninja.log"; exit 1; }
    mkdir -p "$dir/corpus-$t"
    for seed in $(grep "\['$t'," tests/fuzz/meson.build | grep -oE "tests/golden/[^']*|constitutions/[^']*|recipes/[^']*|tasks/[^']*"); do
        [ -f "$seed" ] && cp "$seed" "$dir/corpus-$t/" || [ ! -d "$seed" ] || cp "$seed"/* "$dir/corpus-$t/"
    done
    if "$dir/build/tests/fuzz/fuzzer_$t" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=4096 -timeout=20 -artifact_prefix="$dir/crash-$t-" \
        "$dir/corpus-$t" >"$dir/$t.log" 2>&1; then
        echo "$t: $(grep -oE '^#[0-9]+' "$dir/$t.log" | tail -n 1 | tr -d '#') inputs in $seconds s, nothing found"
    else
        failed=1
        echo "$t: FOUND SOMETHING"
        grep -E 'ERROR|SUMMARY|runtime error' "$dir/$t.log" | head -n 5
        mkdir -p docs/measured && cp "$dir"/crash-"$t"-* docs/measured/ 2>/dev/null || true
    fi
done
exit $failed
