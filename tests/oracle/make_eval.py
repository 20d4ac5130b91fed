#!/usr/bin/env python3
"""make_eval.py - scores of the reference harness (lm-evaluation-harness 0.4.13, its hf model, fp32), to compare `tenet eval` with.

    make_eval.py MODEL.gguf DATA_DIR N OUT.json [TASK ...]

DATA_DIR holds the public rows in the forms that docs/eval.md names. Packaged rows are turned back into the data sets' own
columns, so that the harness's own task files run unchanged but for where the rows come from."""
import glob
import json
import os
import sys
import tempfile

import lm_eval
import lm_eval.tasks
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

ROOT = os.path.join(os.path.dirname(lm_eval.tasks.__file__))


def rows(data, pattern, n):
    path = sorted(glob.glob(os.path.join(data, pattern)))[0]
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for _, line in zip(range(n), f)]


def arc(r):
    labels = [chr(65 + i) for i in range(len(r["choices"]))]
    return {"question": r["query"][len("Question: "):], "choices": {"text": r["choices"], "label": labels}, "answerKey": labels[r["gold"]]}


def boolq(r):
    passage, question = r["query"][len("Passage: "):].rsplit("\nQuestion: ", 1)
    return {"passage": passage, "question": question.rstrip("?"), "label": r["gold"]}


def winogrande(r):
    a, b = r["context_options"]
    n = len(os.path.commonprefix([a, b]))
    while n > 0 and a[n - 1] != " ":
        n -= 1
    return {"sentence": a[:n] + "_ " + r["continuation"], "option1": a[n:], "option2": b[n:], "answer": str(r["gold"] + 1)}


def truthfulqa(r):
    out = {"question": r["question"]}
    for k in ("mc1_targets", "mc2_targets"):
        out[k] = {"choices": list(r[k]), "labels": list(r[k].values())}
    return out


def mmlu(r):
    return {"question": r["question"], "subject": r["subject"], "choices": r["choices"], "answer": "ABCD".index(r["answer"])}


# task: (the harness's file, rows, how a row is turned back, split, shots)
TASKS = {
    "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag/*.jsonl", None, "validation", 0),
    "arc_easy": ("arc/arc_easy.yaml", "arc/arc_easy*.jsonl", arc, "test", 0),
    "arc_challenge": ("arc/arc_easy.yaml", "arc/arc_challenge*.jsonl", arc, "test", 0),
    "winogrande": ("winogrande/default.yaml", "winogrande/winogrande*.jsonl", winogrande, "validation", 0),
    "boolq": ("super_glue/boolq/default.yaml", "boolq/*.jsonl", boolq, "validation", 0),
    "lambada_openai": ("lambada/lambada_openai.yaml", "lambada/*.jsonl", lambda r: {"text": r["context"] + " " + r["continuation"].strip()}, "test", 0),
    "truthfulqa_mc1": ("truthfulqa/truthfulqa_mc1.yaml", "truthfulqa/mc_task*.jsonl", truthfulqa, "validation", 0),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2.yaml", "truthfulqa/mc_task*.jsonl", truthfulqa, "validation", 0),
    "mmlu": ("mmlu/default/mmlu_abstract_algebra.yaml", "mmlu/test*.jsonl", mmlu, "test", 5),
}


def load_config(path):
    try:
        from lm_eval.tasks._yaml_loader import load_yaml
        return load_yaml(path, resolve_func=True)
    except ImportError:
        from lm_eval.utils import load_yaml_config
        return load_yaml_config(path, mode="full")


def write_rows(folder, name, list_of_rows):
    path = os.path.join(folder, name + ".jsonl")
    with open(path, "w", encoding="utf-8") as f:
        for r in list_of_rows:
            f.write(json.dumps(r) + "\n")
    return path


def main():
    model, data, n, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    names = sys.argv[5:] or list(TASKS)
    lm = HFLM(pretrained=os.path.dirname(model) or ".", gguf_file=os.path.basename(model), dtype="float32", device="cpu", batch_size=1)
    result = {"rows": n, "shots": {name: TASKS[name][4] for name in names if TASKS[name][4]}, "tasks": {}}
    with tempfile.TemporaryDirectory() as tmp:
        for name in names:
            file, pattern, back, split, shots = TASKS[name]
            config = load_config(os.path.join(ROOT, file))
            files = {split: write_rows(tmp, name, [back(r) if back else r for r in rows(data, pattern, n)])}
            if shots:
                files["dev"] = write_rows(tmp, name + "_dev", [back(r) for r in rows(data, "mmlu/dev.jsonl", shots)])
            for key in ("training_split", "validation_split", "test_split", "tag", "group", "dataset_name", "task_alias"):
                config.pop(key, None)
            config.update({"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}, split + "_split": split})
            scores = lm_eval.simple_evaluate(model=lm, tasks=[config], num_fewshot=shots, bootstrap_iters=0, task_manager=TaskManager())
            got = scores["results"][name]
            result["tasks"][name] = {k.split(",")[0]: v for k, v in got.items() if isinstance(v, float) and "stderr" not in k}
            print(name, result["tasks"][name], flush=True)
    with open(out, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1, sort_keys=True)
        f.write("\n")


if __name__ == "__main__":
    main()
