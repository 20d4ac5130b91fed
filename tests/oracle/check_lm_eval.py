#!/usr/bin/env python3
"""check_lm_eval.py - task files of the public harness (lm-evaluation-harness 0.4.13), unchanged, asked by it and by tenet.

    check_lm_eval.py TENET MODEL_DIR WORK_DIR [TASK ...]

The rows are made up, in the columns that each file reads; both sides read the same rows of the same model. Scores must agree to 4
decimals and log-probabilities within 2e-4 a row; replies must be the same text. What tenet does not take must be an error that names the field."""
import json
import os
import random
import subprocess
import sys

import torch

torch.set_num_threads(1)

import lm_eval
import lm_eval.tasks
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

ROOT = os.path.dirname(lm_eval.tasks.__file__)
WORDS = ("river stone lamp garden winter copper window paper silver bridge mountain letter engine forest candle harbour teacher kitchen market "
         "summer ocean naïve café résumé orchard signal thunder meadow it's don't").split()
r = random.Random(7)


def phrase(lo=2, hi=5):
    return " ".join(r.choice(WORDS) for _ in range(r.randint(lo, hi)))


def text(lo=3, hi=7):
    return phrase(lo, hi).capitalize() + r.choice([".", "!", "?", "..."])


def many(n, make=phrase):
    return [make() for _ in range(n)]


def pair(*names):
    return lambda: {**{k: text() for k in names}, "label": r.randrange(2)}


def wic():
    a = text(4, 6)
    start = a.index(" ") + 1
    return {"word": "x", "sentence1": a, "sentence2": text(), "start1": start, "end1": start + 5, "label": r.randrange(2)}


def letters(n, key="answerKey", labels="ABCDE"):
    return lambda: {"question": phrase(3, 6) + "? ", "question_stem": phrase(4, 6), "choices": {"text": many(n), "label": list(labels[:n])}, key: r.choice(labels[:n])}


def headqa():
    return {"qtext": phrase(4, 7), "ra": r.randint(1, 4), "answers": [{"aid": i + 1, "atext": phrase()} for i in range(4)]}


def story():
    return {**{f"input_sentence_{i}": text() for i in range(1, 5)}, "sentence_quiz1": text(), "sentence_quiz2": text(), "answer_right_ending": r.randint(1, 2)}


# the harness's file: (part of the set or None, {split: rows}, what a row is, shots)
CASES = {
    "glue/mrpc/default.yaml": ({"validation": 12, "train": 20}, pair("sentence1", "sentence2"), [None, 3]),
    "glue/cola/default.yaml": ({"validation": 14, "train": 9}, pair("sentence"), [None]),
    "glue/qnli/default.yaml": ({"validation": 8, "train": 9}, pair("question", "sentence"), [None, 2]),
    "glue/rte/default.yaml": ({"validation": 8, "train": 9}, pair("sentence1", "sentence2"), [1]),
    "anli/anli_r1.yaml": ({"test_r1": 9, "dev_r1": 3, "train_r1": 12}, lambda: {"premise": text(), "hypothesis": text(), "label": r.randrange(3)}, [None, 4]),
    "blimp/transitive.yaml": ({"train": 10}, lambda: {"sentence_good": text(), "sentence_bad": text()}, [None]),
    "hendrycks_ethics/justice.yaml": ({"test": 9, "train": 12}, pair("scenario"), [None, 2]),
    "hendrycks_ethics/virtue.yaml": ({"test": 9, "train": 12}, lambda: {"scenario": text(), "trait": r.choice(WORDS), "label": r.randrange(2)}, [None]),
    "unscramble/anagrams2.yaml": ({"validation": 5}, lambda: {"context": phrase(3, 5) + " =", "completion": r.choice(WORDS)}, [None]),
    "asdiv/default.yaml": ({"validation": 8}, lambda: {"body": text(), "question": phrase(3, 5) + "?", "answer": f"{r.randint(1, 99)} (apples)"}, [None]),
    "lambada_cloze/lambada_openai_cloze.yaml": ({"test": 8}, lambda: {"text": text() + " " + phrase(4, 6)}, [None]),
    "openbookqa/openbookqa.yaml": ({"test": 9, "validation": 3, "train": 12}, letters(4), [None, 3]),
    "sciq/sciq.yaml": ({"test": 9, "train": 9}, lambda: {"support": r.choice([" ", ""]) + text(), "question": phrase(), "distractor1": phrase(), "distractor2": phrase(),
                                                       "distractor3": phrase(), "correct_answer": phrase()}, [None, 1]),
    "siqa/siqa.yaml": ({"validation": 9, "train": 9}, lambda: {"context": text(), "question": phrase() + "?", "answerA": phrase(), "answerB": phrase(), "answerC": phrase(),
                                                             "label": str(r.randint(1, 3))}, [None, 2]),
    "commonsense_qa/default.yaml": ({"validation": 9, "train": 9}, letters(5), [None, 2]),
    "swag/swag.yaml": ({"validation": 9, "train": 9}, lambda: {"startphrase": phrase(), **{f"ending{i}": phrase() for i in range(4)}, "label": r.randrange(4)}, [None]),
    "storycloze/storycloze_2016.yaml": ({"test": 9, "validation": 5}, story, [None]),
    "headqa/headqa_en.yaml": ({"test": 9, "train": 9, "validation": 3}, headqa, [None, 2]),
    "belebele/belebele_eng_Latn.yaml": ({"test": 12}, lambda: {"flores_passage": text(), "question": phrase() + "?", **{f"mc_answer{i}": phrase() for i in range(1, 5)},
                                                               "correct_answer_num": str(r.randint(1, 4))}, [None, 2]),
    "qa4mre/qa4mre_2011.yaml": ({"train": 8}, lambda: {"document_str": text() + " ", "question_str": phrase() + "?", "correct_answer_id": str(r.randint(1, 3)),
                                                       "answer_options": {"answer_id": ["1", "2", "3"], "answer_str": many(3)}}, [None]),
    "triviaqa/default.yaml": ({"validation": 5, "train": 8}, lambda: {"question": phrase(), "answer": {"aliases": many(3), "value": phrase()}}, [None, 2]),
    "babi/babi.yaml": ({"test": 5, "train": 8, "valid": 4}, lambda: {"passage": text() + "\n", "question": phrase() + "?", "answer": r.choice(WORDS)}, [None, 2]),
    "piqa/piqa.yaml": ({"validation": 9, "train": 9}, lambda: {"goal": phrase(), "sol1": phrase(), "sol2": phrase(), "label": r.randrange(2)}, [None, 2]),
    "super_glue/wic/default.yaml": ({"validation": 9, "train": 9}, wic, [None, 2]),
    "super_glue/multirc/default.yaml": ({"validation": 9, "train": 9}, pair("paragraph", "question", "answer"), [None, 1]),
    "super_glue/boolq/default.yaml": ({"validation": 9, "train": 9}, pair("passage", "question"), [2]),
    "gsm8k/gsm8k-cot.yaml": ({"test": 2}, lambda: {"question": text(), "answer": f"{phrase()} #### {r.randint(1, 99)}"}, [None, 1]),
    "arc/arc_challenge_chat.yaml": ({"test": 4, "train": 5, "validation": 3}, letters(4), [None, 1]),
    "pile/pile_arxiv.yaml": ({"train": 3}, lambda: {"text": " ".join(text() for _ in range(8))}, [None]),
    "xstorycloze/default_en.yaml": ({"eval": 9, "train": 9}, story, [None]),
    "mmlu/default/mmlu_anatomy.yaml": ({"test": 9, "dev": 5}, lambda: {"question": phrase() + "?", "choices": many(4), "answer": r.randrange(4)}, [None, 5]),
    "mmlu/flan_cot_zeroshot/mmlu_anatomy.yaml": ({"test": 5, "dev": 5, "validation": 3}, lambda: {"question": phrase() + "?", "choices": [r.choice(["a", "b", "e", "t"])] + many(3),
                                                                                       "answer": r.randrange(4)}, [None]),
    "race/race.yaml": ({"test": 4}, lambda: {"article": text(), "problems": "[]"}, [None]),
    "translation/wmt14_en-fr.yaml": ({"test": 3}, lambda: {"translation": {"en": text(), "fr": text()}}, [None]),
}


def load_config(path):
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(path, resolve_func=True)


def harness(lm, manager, config, splits, shots):
    """Scores, and a row each what was scored or generated."""
    config = dict(config)
    name = config["task"]
    for key in ("tag", "group", "dataset_name", "task_alias", "test_split" if config.get("test_split") is None else "", "validation_split" if config.get("validation_split") is None else ""):
        config.pop(key, None)
    config.update({"dataset_path": "json", "dataset_kwargs": {"data_files": splits}})
    got = lm_eval.simple_evaluate(model=lm, tasks=[config], num_fewshot=shots, bootstrap_iters=0, task_manager=manager, log_samples=True, random_seed=0)
    scores = {k: v for k, v in got["results"][name].items() if isinstance(v, float) and "stderr" not in k and v == v}
    rows = {}
    for s in got["samples"][name]:
        one = [x[0] for x in s["resps"]]
        rows.setdefault(s["doc_id"], one if isinstance(one[0], str) else [float(x[0] if isinstance(x, (tuple, list)) else x) for x in one])
    return scores, [rows[i] for i in sorted(rows)]


def ours(tenet, model, path, data, out, shots):
    command = [tenet, "eval", "-m", model, "--tasks", path, "--data", data, "--out", out, "--json", "-q", "--profile", "strict"]
    if shots is not None:
        command += ["--num-fewshot", str(shots)]
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode != 0:
        return None, p.stderr.strip().splitlines()[0]
    report = json.loads(p.stdout)
    rows = []
    for line in open(os.path.join(out, "items.jsonl"), encoding="utf-8"):
        item = json.loads(line).get("item", json.loads(line))
        if "ll" in item or "reply" in item or "replies" in item:
            rows.append(item.get("ll", item.get("replies", item.get("reply"))))
    return next(iter(report["tasks"].values())), rows


def main():
    tenet, model, work = sys.argv[1:4]
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=1)
    manager = TaskManager()
    bad = n = refused = 0
    for file in sys.argv[4:] or CASES:
        sizes, make, all_shots = CASES[file]
        path = os.path.join(ROOT, file)
        config = load_config(path)
        name, part = config["dataset_path"].split("/")[-1], config.get("dataset_name")
        data = os.path.join(work, file.replace("/", "_"))
        folder = os.path.join(data, name, part) if part else os.path.join(data, name)
        os.makedirs(folder, exist_ok=True)
        splits = {}
        for split, k in sizes.items():
            splits[split] = os.path.join(folder, split + ".jsonl")
            with open(splits[split], "w", encoding="utf-8") as f:
                f.writelines(json.dumps(make(), ensure_ascii=False) + "\n" for _ in range(k))
        for shots in all_shots:
            n += 1
            label = f"{file}{'' if shots is None else f' {shots}-shot'}"
            mine, rows = ours(tenet, model, path, data, os.path.join(data, f"out{shots}"), shots)
            if mine is None:
                refused += 1
                print(f"refused  {label}: {rows.replace(ROOT + '/', '')}", flush=True)
                continue
            theirs, their_rows = harness(lm, manager, config, splits, shots)
            wrong = []
            for key, v in theirs.items():
                metric, pipeline = key.split(",")
                have = mine.get(f"{metric},{pipeline}", mine.get(metric))
                if have is None:
                    wrong.append(f"no {key} ({v:.4f}); there are {sorted(k for k in mine if isinstance(mine[k], float))}")
                elif abs(have - v) > 5e-5 * max(1, abs(v) / 100 if "perplexity" in metric else 1):
                    wrong.append(f"{key} {have:.6f}, not {v:.6f}")
            if len(rows) != len(their_rows):
                wrong.append(f"{len(rows)} rows, not {len(their_rows)}")
            for i, (a, b) in enumerate(zip(rows, their_rows)):
                a = a if isinstance(a, list) else [a]
                if isinstance(b[0], str):
                    if a != [x.split("\0")[0] for x in b]:          # tenet's texts end at a NUL
                        wrong.append(f"row {i}: {a!r}, not {b!r}")
                elif len(a) != len(b) or max(abs(x - y) for x, y in zip(a, b)) > 2e-4 * max(1.0, max(map(abs, b)) / 10):
                    wrong.append(f"row {i}: {a}, not {b}")
            bad += bool(wrong)
            print(f"{'WRONG  ' if wrong else 'equal  '}  {label}: " + ("; ".join(wrong[:3]) if wrong else ", ".join(f"{k.split(',')[0]} {v:.4f}" for k, v in theirs.items())), flush=True)
    print(f"{n} cases: {n - bad - refused} equal, {bad} differ, {refused} refused by tenet")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
