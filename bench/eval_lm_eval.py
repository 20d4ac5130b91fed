"""HellaSwag, zero-shot, by lm-evaluation-harness (its own task file, hf model, fp32): seconds of the evaluation, loading left out.

    eval_lm_eval.py MODEL_DIR ROWS.jsonl LIMIT [threads] [batch]      one JSON object: seconds, cpu_seconds, acc, acc_norm, rss_mib
"""
import json
import os
import resource
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 2)

import lm_eval
import lm_eval.tasks
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

config = load_yaml(os.path.join(os.path.dirname(lm_eval.tasks.__file__), "hellaswag", "hellaswag.yaml"), resolve_func=True)
for key in ("training_split", "test_split", "tag", "group", "dataset_name", "task_alias"):
    config.pop(key, None)
config.update({"task": "hellaswag", "dataset_path": "json", "dataset_kwargs": {"data_files": {"validation": os.path.abspath(sys.argv[2])}}, "validation_split": "validation"})
lm = HFLM(pretrained=sys.argv[1], dtype="float32", device="cpu", batch_size=int(sys.argv[5]) if len(sys.argv) > 5 else 16)
start, cpu = time.perf_counter(), time.process_time()
got = lm_eval.simple_evaluate(model=lm, tasks=[config], num_fewshot=0, limit=int(sys.argv[3]), bootstrap_iters=0, task_manager=TaskManager(), random_seed=0)["results"]["hellaswag"]
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps({"program": "lm_eval", "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "acc": got["acc,none"], "acc_norm": got["acc_norm,none"],
                  "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
