#!/bin/sh
# train.sh [ROUNDS] - tenet and PyTorch in turn, one training step at the 135M Llama shape, batch 4 x 512: `tenet bench train`, then
# train_torch.py, ROUNDS times (2). PYTHON names an interpreter with torch and transformers; BUILD the build folder.
set -eu
build=${BUILD:-build}
python=${PYTHON:-python3}
rounds=${1:-2}
here=$(cd "$(dirname "$0")" && pwd)
"$python" -c 'import torch, transformers' 2>/dev/null || { echo "train.sh: $python has no torch and transformers; set PYTHON"; exit 2; }
threads=$(nproc)
i=0
while [ "$i" -lt "$rounds" ]; do
    "$build/tenet" bench train --json
    "$python" "$here/train_torch.py" "$threads" 2 2>/dev/null
    i=$((i + 1))
done
