"""make_masks.py OUT - ids and assistant masks of conversations by TRL's own training templates, for tests/train/test_masks.c.

For each format OUT/<format>/tokenizer.json is the byte tokenizer of tests/golden/train/pairs with the format's marks added, and OUT/masks.json holds
[{"format", "messages", "ids", "mask"}] (of qwen3 the format is in OUT/renderings.json's template). TRL (trl/chat_templates/*_training.jinja) marks what it trains by {% generation %}.
OUT/all is the same vocabulary with the marks of every format that tenet has, and OUT/renderings.json what TRL's published templates, dates pinned, make
of conversations with empty answers, white space at the edges and thoughts: {template name: {"template", "rows": [{"messages", "text"}]}}; text is null
where the template raises.
"""
import json, os, re, sys

import trl
from transformers import PreTrainedTokenizerFast

FORMATS = {
    "chatml": ("qwen2_5", None, "<|im_end|>", ["<|im_start|>", "<|im_end|>"]),
    "llama3": ("llama3", "<|begin_of_text|>", "<|eot_id|>", ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "gemma": ("gemma", "<bos>", "<end_of_turn>", ["<bos>", "<start_of_turn>", "<end_of_turn>"]),
    "deepseek3": ("deepseekv3", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
                  ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]),
    "harmony": ("gptoss", None, "<|return|>", ["<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"]),
    "phi3": ("phi3", None, "</s>", ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "</s>"]),
    "qwen3": ("qwen3", None, "<|im_end|>", ["<|im_start|>", "<|im_end|>"]),
}
U = lambda t: {"role": "user", "content": t}
A = lambda t: {"role": "assistant", "content": t}
S = lambda t: {"role": "system", "content": t}
TALKS = [
    [U("Why is the sky blue?"), A("Air scatters blue light most.")],
    [U("One"), A("Two\n\nlines"), U("Three?"), A("Grüße, 世界")],
    [S("Be brief."), U("What is 2 + 2?"), A("4"), U("And 3 + 3?"), A("6.")],
    [U("A list, please."), A("- a\n- b\n")],
    [U("x"), A("")],
    [U("x"), A(""), U("y"), A("z")],
    [U("x"), A("\n Yes"), U("y"), A(" z \n")],
]
# Every mark of chat.c, in a vocabulary whose EOS none of them is.
MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]",
         "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<start_of_turn>", "<end_of_turn>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
         "<｜User｜>", "<｜Assistant｜>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|system|>", "<|user|>", "<|assistant|>",
         "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"]
PUBLISHED = ["qwen2_5", "qwen3", "llama3", "gemma", "gemma3", "phi3", "gptoss", "deepseekv3"]
EDGES = ["", " ", "\n", "\n\nYes", " Yes", "\n Yes", "Yes\n\n", "Yes ", "Yes \n", "<think>hm</think>ok", "<think>\nhm\n</think>\n\nok", "<think>\n\n</think>\n\nok",
         "hm</think>", "hm</think>\n", "a</think>b</think>c", "<think>a<think>\nb\n\n</think>\n c", "<think>only"]


def edge_talks():
    for e in EDGES:
        yield [U("a"), A(e), U("b"), A("c")]
        yield [S("s"), U("a"), A("b"), U("c"), A(e)]
        yield [U("a"), A(e), U("b")]
    for e in ("\nYes", "<think>\nhm\n</think>\n\nok", ""):
        yield [U("a"), A(e), A(e)]
        yield [U("a"), U("b"), A(e)]
        yield [S("s"), A(e)]
        yield [A(e), U("a"), A(e)]


def vocabulary(folder, here, marks, bos, eos):
    t = json.load(open(f"{here}/../golden/train/pairs/tokenizer.json"))
    for m in marks:
        t["added_tokens"].append({"id": 256 + len(t["added_tokens"]), "content": m, "single_word": False, "lstrip": False, "rstrip": False,
                                  "normalized": False, "special": True})
    os.makedirs(folder, exist_ok=True)
    json.dump(t, open(f"{folder}/tokenizer.json", "w"), ensure_ascii=False)
    config = {"eos_token": eos, "tokenizer_class": "PreTrainedTokenizerFast"}
    if bos:
        config["bos_token"] = bos
    json.dump(config, open(f"{folder}/tokenizer_config.json", "w"), ensure_ascii=False)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def pinned(text):
    text = re.sub(r"Today Date: \d\d [A-Z][a-z]{2} 20\d\d", "Today Date: 26 Jul 2024", text)
    return re.sub(r"Current date: 20\d\d-\d\d-\d\d", "Current date: 2024-07-26", text)


def pin_ids(tok, row):
    """ids and mask with the date pinned: bytes and marks, so a date is as many tokens whatever it is."""
    pinned_ids = tok(pinned(tok.decode(row["ids"])), add_special_tokens=False)["input_ids"]
    assert len(pinned_ids) == len(row["ids"])
    return {"ids": pinned_ids}


def renderings(tok):
    out = {}
    for name in PUBLISHED:
        tok.chat_template = open(f"{os.path.dirname(trl.__file__)}/chat_templates/{name}.jinja").read()
        rows = []
        for talk in edge_talks():
            try:
                text = pinned(tok.apply_chat_template(talk, tokenize=False))
            except Exception as e:
                text = None                # roles that do not alternate, a system text
            rows.append({"messages": talk, "text": text})
        out[name] = {"template": tok.chat_template, "rows": rows}
    return out


def main(out):
    here = os.path.dirname(os.path.abspath(__file__))
    rows = []
    for name, (template, bos, stop, marks) in FORMATS.items():
        tok = vocabulary(f"{out}/{name}", here, marks, bos, stop)
        tok.chat_template = open(f"{os.path.dirname(trl.__file__)}/chat_templates/{template}_training.jinja").read()
        for talk in TALKS:
            if name in ("gemma",) and talk[0]["role"] == "system":
                continue                   # its template refuses one
            if name == "chatml" and talk[0]["role"] != "system":
                talk = [S("Be kind.")] + talk   # or the template puts Qwen's own in
            e = tok.apply_chat_template(talk, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            rows.append({"format": name, "messages": talk, "ids": list(e["input_ids"]), "mask": list(e["assistant_masks"])})
            if name == "harmony":          # the date that its template asks the clock for
                rows[-1] = {**rows[-1], **pin_ids(tok, rows[-1])}
    json.dump(rows, open(f"{out}/masks.json", "w"), ensure_ascii=False)
    tok = vocabulary(f"{out}/all", here, MARKS, "<s>", "</s>")
    json.dump(renderings(tok), open(f"{out}/renderings.json", "w"), ensure_ascii=False)


main(*sys.argv[1:])
