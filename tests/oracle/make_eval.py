#!/usr/bin/env python3
"""make_eval.py - what the reference harness (lm-evaluation-harness 0.4.13, its hf model, fp32) gives, to hold `tenet eval` against.

    make_eval.py smollm MODEL.gguf DATA_DIR N OUT.json [CASE ...]     public rows: scores and log-probabilities of a real model
    make_eval.py tiny   OUT_DIR                                       a tiny random model with rows of its own, kept in the tests

DATA_DIR holds the public rows in the forms that docs/eval.md names. Packaged rows are turned back into the data sets' own
columns, so that the harness's own task files run unchanged but for where the rows come from. A case is a task with the
options of `tenet eval` that it is run with; OUT has its scores and, a row each, what was scored or generated."""
import glob
import json
import os
import random
import sys
import tempfile

import torch

torch.set_num_threads(int(os.environ.get("ORACLE_THREADS", "2")))

import lm_eval
import lm_eval.tasks
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

ROOT = os.path.join(os.path.dirname(lm_eval.tasks.__file__))


def read(data, pattern, n):
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


def lambada(r):
    return {"text": r["context"] + " " + r["continuation"].strip()}


# task: (the harness's file, split, {split: (rows, how a row is turned back, from, to)})
FILES = {
    "hellaswag": ("hellaswag/hellaswag.yaml", {"validation": ("hellaswag/*.jsonl", None, 0), "train": ("hellaswag/*.jsonl", None, 300)}),
    "arc_easy": ("arc/arc_easy.yaml", {"test": ("arc/arc_easy*.jsonl", arc, 0), "train": ("arc/arc_easy*.jsonl", arc, 300)}),
    "arc_challenge": ("arc/arc_easy.yaml", {"test": ("arc/arc_challenge*.jsonl", arc, 0)}),
    "winogrande": ("winogrande/default.yaml", {"validation": ("winogrande/winogrande*.jsonl", winogrande, 0), "train": ("winogrande/winogrande*.jsonl", winogrande, 300)}),
    "boolq": ("super_glue/boolq/default.yaml", {"validation": ("boolq/*.jsonl", boolq, 0), "train": ("boolq/*.jsonl", boolq, 300)}),
    "lambada_openai": ("lambada/lambada_openai.yaml", {"test": ("lambada/*.jsonl", lambada, 0)}),
    "truthfulqa_mc1": ("truthfulqa/truthfulqa_mc1.yaml", {"validation": ("truthfulqa/mc_task*.jsonl", truthfulqa, 0)}),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2.yaml", {"validation": ("truthfulqa/mc_task*.jsonl", truthfulqa, 0)}),
    "mmlu": ("mmlu/default/mmlu_abstract_algebra.yaml", {"test": ("mmlu/test*.jsonl", mmlu, 0), "dev": ("mmlu/dev.jsonl", mmlu, 0)}),
    "gsm8k": ("gsm8k/gsm8k.yaml", {"test": ("gsm8k/test*.jsonl", None, 0), "train": ("gsm8k/train*.jsonl", None, 0)}),
    "bbq": ("bbq/bbq_multiple_choice.yaml", {"test": ("bbq/Age*.jsonl", None, 0)}),
    "persona": ("model_written_evals/persona/agreeableness.yaml", {"validation": ("anthropic-evals/agreeableness.jsonl", None, 0)}),
    "power_seeking": ("model_written_evals/advanced_ai_risk/human-power-seeking-inclination.yaml",
                      {"validation": ("anthropic-evals/power-seeking-inclination.jsonl", None, 0)}),
    "piqa": ("piqa/piqa.yaml", {"validation": ("piqa/*.jsonl", None, 0)}),
    "wikitext": ("wikitext/wikitext.yaml", {"test": ("wikitext/*.jsonl", None, 0)}),
    "rolling_text": (None, {"test": ("inaugural/*.jsonl", lambda r: {"text": r["text"][:3000]}, 0)}),
}

ROLLING = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
           "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}]}

# case: (task, shots or None, chat, one turn each shot, system text)
CASES = {
    "hellaswag": ("hellaswag", None, False, True, None),
    "hellaswag-3-shot": ("hellaswag", 3, False, True, None),
    "hellaswag-chat-2-shot": ("hellaswag", 2, True, True, "You finish stories."),
    "arc_easy": ("arc_easy", None, False, True, None),
    "arc_easy-5-shot": ("arc_easy", 5, False, True, None),
    "arc_easy-7-shot": ("arc_easy", 7, False, True, None),
    "arc_easy-chat": ("arc_easy", None, True, True, None),
    "arc_easy-chat-one-turn-2-shot": ("arc_easy", 2, True, False, None),
    "arc_challenge": ("arc_challenge", None, False, True, None),
    "winogrande": ("winogrande", None, False, True, None),
    "winogrande-2-shot": ("winogrande", 2, False, True, None),
    "winogrande-chat-1-shot": ("winogrande", 1, True, True, None),
    "boolq": ("boolq", None, False, True, None),
    "boolq-2-shot": ("boolq", 2, False, True, "Answer from the passage."),
    "lambada_openai": ("lambada_openai", None, False, True, None),
    "truthfulqa_mc1": ("truthfulqa_mc1", None, False, True, None),
    "truthfulqa_mc2": ("truthfulqa_mc2", None, False, True, None),
    "truthfulqa_mc2-chat": ("truthfulqa_mc2", None, True, True, None),
    "mmlu-5-shot": ("mmlu", 5, False, True, None),
    "mmlu-chat-3-shot": ("mmlu", 3, True, True, None),
    "gsm8k": ("gsm8k", None, False, True, None),
    "gsm8k-chat-1-shot": ("gsm8k", 1, True, True, None),
    "bbq": ("bbq", None, False, True, None),
    "persona": ("persona", None, False, True, None),
    "power_seeking": ("power_seeking", None, False, True, None),
    "piqa": ("piqa", None, False, True, None),
    "wikitext": ("wikitext", None, False, True, None),
    "rolling_text": ("rolling_text", None, False, True, None),
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
            f.write(json.dumps(r, ensure_ascii=False) + "\n")
    return path


def value(v):
    return v if isinstance(v, (int, float)) else None


def run(lm, name, splits, n):
    """One case over {split: file}; the tested split is the first."""
    task, shots, chat, multiturn, system = CASES[name]
    file = FILES[task][0]
    config = dict(ROLLING) if file is None else load_config(os.path.join(ROOT, file))
    for key in ("training_split", "validation_split", "test_split", "tag", "group", "dataset_name", "task_alias"):
        config.pop(key, None)
    config.update({"task": task, "dataset_path": "json", "dataset_kwargs": {"data_files": splits}})
    for split in splits:
        if split in ("validation", "test"):
            config[split + "_split"] = split
        elif split == "train":
            config["training_split"] = split
    got = lm_eval.simple_evaluate(model=lm, tasks=[config], num_fewshot=shots, limit=n, bootstrap_iters=0, task_manager=TaskManager(), log_samples=True,
                                  apply_chat_template=chat, fewshot_as_multiturn=multiturn and chat, system_instruction=system, random_seed=0)
    scores = {k[: -len(",none")] if k.endswith(",none") else k: v for k, v in got["results"][task].items() if isinstance(v, float) and "stderr" not in k}
    rows, seen = [], set()
    for s in sorted(got["samples"][task], key=lambda s: s["doc_id"]):
        if s["doc_id"] in seen:
            continue
        seen.add(s["doc_id"])
        r = [x[0] for x in s["resps"]]
        rows.append(r if isinstance(r[0], str) else [float(x[0] if isinstance(x, (tuple, list)) else x) for x in r])
    case = {"task": task, "n": n, "scores": {k: v for k, v in scores.items() if v == v}, "rows": rows}
    if shots is not None:
        case["num_fewshot"] = shots
    if chat:
        case["chat"] = True
        case["multiturn"] = multiturn
    if system:
        case["system"] = system
    print(name, case["scores"], flush=True)
    return case


def save(path, result):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1, sort_keys=True, ensure_ascii=False)
        f.write("\n")


def smollm(model, data, n, out, names):
    lm = HFLM(pretrained=os.path.dirname(model) or ".", gguf_file=os.path.basename(model), dtype="float32", device="cpu", batch_size=1)
    result = {"rows": n, "cases": {}}
    if os.path.exists(out):
        result = json.load(open(out, encoding="utf-8"))
    with tempfile.TemporaryDirectory() as tmp:
        for name in names or CASES:
            task = CASES[name][0]
            if not glob.glob(os.path.join(data, next(iter(FILES[task][1].values()))[0])):
                continue
            m = 3 if task == "gsm8k" else min(n, 4) if task == "rolling_text" else n
            files = {}
            for split, (pattern, back, first) in FILES[task][1].items():
                rows = read(data, pattern, first + 60 if split == "train" else 5 if split == "dev" else first + m)[first:]
                files[split] = write_rows(tmp, f"{name}_{split}", [back(r) if back else r for r in rows])
            result["cases"][name] = run(lm, name, files, m)
            save(out, result)


# ------------------------------------------------------------------------------------------------- the tiny model's own rows

WORDS = ("river stone lamp garden winter copper window paper silver bridge mountain letter engine forest candle harbour "
         "teacher kitchen market summer ocean naïve café résumé Zürich 東京 orchard signal thunder meadow").split()


def tiny_rows(seed=5, n=9):
    """Rows of every data set's own columns; the words are drawn, the forms are the sets' own."""
    r = random.Random(seed)

    def phrase(lo, hi):
        return " ".join(r.choice(WORDS) for _ in range(r.randint(lo, hi)))

    def sentence():
        return phrase(3, 7).capitalize() + r.choice([".", "!", "?", "..."])

    out = {}
    for split, k in (("validation", n), ("train", 30)):
        out["hellaswag", split] = [{"ind": i, "activity_label": r.choice(WORDS).capitalize(), "ctx_a": sentence() + r.choice(["", " [step] ", " [title] "]) + sentence(),
                                    "ctx_b": r.choice(["", "the man"]) + r.choice(["", " IS"]), "ctx": "",
                                    "endings": [phrase(2, 6) + r.choice([".", " [substeps] x.", "  y."]) for _ in range(4)], "label": str(r.randrange(4))} for i in range(k)]
    for split, k in (("test", n), ("train", 26)):
        rows = []
        for i in range(k):
            m = r.choice([3, 4, 4, 5])
            labels = ["A", "B", "C", "D", "E"][:m] if r.random() < 0.7 else ["1", "2", "3", "4", "5"][:m]
            rows.append({"id": f"q{i}", "question": phrase(4, 8) + "?", "choices": {"text": [phrase(1, 4) for _ in range(m)], "label": labels}, "answerKey": r.choice(labels)})
        out["arc_easy", split] = rows
    for split, k in (("validation", n), ("train", 24)):
        out["winogrande", split] = [{"sentence": phrase(3, 5) + " because the _ " + phrase(2, 4) + ".", "option1": r.choice(WORDS), "option2": r.choice(WORDS),
                                     "answer": r.choice("12")} for _ in range(k)]
        out["boolq", split] = [{"passage": sentence() + " " + sentence(), "question": phrase(3, 5), "label": r.randrange(2)} for _ in range(k)]
        out["piqa", split] = [{"goal": phrase(3, 5), "sol1": phrase(3, 6), "sol2": phrase(3, 6), "label": r.randrange(2)} for _ in range(k)]
    out["lambada_openai", "test"] = [{"text": sentence() + " " + phrase(4, 8)} for _ in range(n)]
    rows = []
    for i in range(n):
        m = r.randint(2, 5)
        rows.append({"question": phrase(3, 6) + "?", "mc1_targets": {"choices": [phrase(2, 5) for _ in range(m)], "labels": [1] + [0] * (m - 1)},
                     "mc2_targets": {"choices": [phrase(2, 5) for _ in range(m + 2)], "labels": [1] * 2 + [0] * m}})
    out["truthfulqa_mc1", "validation"] = out["truthfulqa_mc2", "validation"] = rows
    for split, k in (("test", n), ("dev", 5)):
        out["mmlu", split] = [{"question": r.choice(["", " "]) + phrase(4, 7) + "?", "subject": "abstract_algebra", "choices": [phrase(1, 3) for _ in range(4)],
                               "answer": r.randrange(4)} for _ in range(k)]
    for split, k in (("test", 4), ("train", 12)):
        out["gsm8k", split] = [{"question": sentence() + " How many?", "answer": f"{phrase(3, 5)} {i} + {i}\n#### {2 * i:,}"} for i in range(k)]
    rows = []
    for i in range(3 * n):
        unknown = r.choice(["Unknown", "Can't be determined", "Not enough information", "Cannot answer"])
        young, old = ("The student", ["student", "nonOld"]), ("The pensioner", ["pensioner", "old"])
        answers = [young, old, (unknown, [unknown, "unknown"])]
        r.shuffle(answers)
        condition, polarity = r.choice(["ambig", "disambig"]), r.choice(["neg", "nonneg"])
        label = next(k for k, a in enumerate(answers) if (a[0] == unknown) == (condition == "ambig"))
        rows.append({"example_id": i, "question_index": str(i % 5), "question_polarity": polarity, "context_condition": condition, "category": "Age",
                     "answer_info": {f"ans{k}": a[1] for k, a in enumerate(answers)},
                     "additional_metadata": {"subcategory": "None", "stereotyped_groups": ["old"], "version": "a", "source": "made"},
                     "context": sentence(), "question": phrase(3, 5) + "?", "ans0": answers[0][0], "ans1": answers[1][0], "ans2": answers[2][0], "label": label})
    out["bbq", "test"] = rows
    out["persona", "validation"] = [{"question": f'Would you say this?\n"{sentence()}"', "statement": "", "label_confidence": 0.9,
                                     "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No"} for _ in range(n)]
    out["power_seeking", "validation"] = [{"question": phrase(4, 6) + "?\n\nChoices:\n (A) " + phrase(2, 4) + "\n (B) " + phrase(2, 4),
                                           "answer_matching_behavior": " (A)" if i % 2 else " (B)", "answer_not_matching_behavior": " (B)" if i % 2 else " (A)"} for i in range(n)]
    out["wikitext", "test"] = [{"page": "\n = " + phrase(1, 2) + " = \n\n " + " ".join(sentence()[:-1] + r.choice([" . ", " , ", " @-@ ", " ( " + phrase(1, 2) + " ) ", ' " ' + phrase(1, 2) + ' " '])
                                                                                for _ in range(60 if i == 0 else 4)) + "\n"} for i in range(3)]
    out["rolling_text", "test"] = [{"text": " ".join(sentence() for _ in range(50 if i == 0 else 3))} for i in range(3)]
    return out


CHATML = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou answer.<|im_end|>\n' }}{% endif %}"
          "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def tiny(out):
    import transformers as tf

    here = os.path.dirname(os.path.abspath(__file__))
    os.makedirs(os.path.join(out, "rows"), exist_ok=True)
    torch.manual_seed(11)
    config = tf.LlamaConfig(vocab_size=540, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                            max_position_embeddings=768, bos_token_id=520, eos_token_id=523, tie_word_embeddings=True, initializer_range=0.25,
                            rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    model = tf.LlamaForCausalLM(config).to(torch.float16)
    model.generation_config.eos_token_id = [523, 531, 533, 536]          # every mark of this vocabulary that ends a turn
    model.save_pretrained(out)
    with open(os.path.join(here, "..", "golden", "tokenizer", "bpe.json"), encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(out, "tokenizer.json"), "w", encoding="utf-8") as f:
        f.write(text)
    with open(os.path.join(out, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "chat_template": CHATML,
                   "clean_up_tokenization_spaces": False, "model_max_length": 768}, f, indent=1)
        f.write("\n")
    rows = tiny_rows()
    lm = HFLM(pretrained=out, dtype="float32", device="cpu", batch_size=1)
    result = {"cases": {}}
    for name in CASES:
        task = CASES[name][0]
        if task == "arc_challenge":
            continue
        splits = {split: write_rows(os.path.join(out, "rows"), f"{t}_{split}", list_of_rows) for (t, split), list_of_rows in rows.items() if t == task}
        n = len(next(v for (t, s), v in rows.items() if t == task and s in ("test", "validation")))
        result["cases"][name] = run(lm, name, splits, n)
    save(os.path.join(out, "golden.json"), result)


if __name__ == "__main__":
    if sys.argv[1] == "tiny":
        tiny(sys.argv[2])
    else:
        smollm(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], sys.argv[6:])
