#!/bin/sh
# train.sh [ROUNDS] - tenet and PyTorch in turn, one training step at the 135M Llama shape, batch 4 x 512: `tenet bench train`, then
# train_torch.py a kind a process, ROUNDS times (2). KINDS: of train_torch.py. Where two bf16 kinds are asked, the best counts. PYTHON names an interpreter with torch and transformers; BUILD the build folder.
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
    for k in ${KINDS:-eager bf16 autocast compile compile-autocast}; do
        "$python" "$here/train_torch.py" "$threads" 2 "$k" 2>/dev/null || echo "{\"name\":\"$k\",\"failed\":true}"
    done
    i=$((i + 1))
done
