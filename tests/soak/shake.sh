#!/bin/sh
# random cases: every operation's kernels against its definition, and products of every kind, on shapes, options, weight types and thread
# counts that nobody chose, with a seed of today
#
# shake.sh BUILD DIR. ROUNDS: cases an operation (1000). SEED: which (seconds since 1970).
set -u
build=$(realpath "$1")
rounds=${ROUNDS:-1000}
seed=${SEED:-$(date +%s)}
echo "seed $seed, $rounds cases an operation"
"$build/tenet" selftest --rounds "$rounds" --seed "$seed" --quiet || exit 1
SHAKE=$((rounds * 10)) SEED=$seed "$build/tests/tensor/test_tensor_matmul" 2>&1 | tail -n 4 | tee matmul.log
grep -q FAILED matmul.log && exit 1
exit 0
