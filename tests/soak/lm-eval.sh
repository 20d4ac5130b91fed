#!/bin/sh
# task files of lm-evaluation-harness, unchanged, over made-up rows of a tiny random model: the harness's scores to 4 decimals
set -eu
python=${TENET_ORACLE_PYTHON:-python3}
"$python" -c 'import lm_eval, torch, transformers' 2>/dev/null || { echo "needs: pip install lm-eval==0.4.13 torch transformers (TENET_ORACLE_PYTHON names the python)"; exit 77; }
HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 "$python" tests/oracle/check_lm_eval.py "$(cd "$1" && pwd)/tenet" tests/golden/eval/tiny "$2" 2>"$2/log" || { tail -n 20 "$2/log"; exit 1; }
