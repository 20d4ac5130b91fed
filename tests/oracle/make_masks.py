"""make_masks.py OUT - ids and assistant masks of conversations by TRL's own training templates, for tests/train/test_masks.c.

For each format OUT/<format>/tokenizer.json is the byte tokenizer of tests/golden/train/pairs with the format's marks added, and OUT/masks.json holds
[{"format", "messages", "ids", "mask"}]. TRL (trl/chat_templates/*_training.jinja) marks what it trains by {% generation %}.
"""
import json, os, sys

import trl
from transformers import PreTrainedTokenizerFast

FORMATS = {
    "chatml": ("qwen2_5", None, "<|im_end|>", ["<|im_start|>", "<|im_end|>"]),
    "llama3": ("llama3", "<|begin_of_text|>", "<|eot_id|>", ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "gemma": ("gemma", "<bos>", "<end_of_turn>", ["<bos>", "<start_of_turn>", "<end_of_turn>"]),
    "deepseek3": ("deepseekv3", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
                  ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]),
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
]


def main(out):
    here = os.path.dirname(os.path.abspath(__file__))
    rows = []
    for name, (template, bos, stop, marks) in FORMATS.items():
        t = json.load(open(f"{here}/../golden/train/pairs/tokenizer.json"))
        for m in marks:
            t["added_tokens"].append({"id": 256 + len(t["added_tokens"]), "content": m, "single_word": False, "lstrip": False, "rstrip": False,
                                      "normalized": False, "special": True})
        os.makedirs(f"{out}/{name}", exist_ok=True)
        json.dump(t, open(f"{out}/{name}/tokenizer.json", "w"), ensure_ascii=False)
        config = {"eos_token": stop, "tokenizer_class": "PreTrainedTokenizerFast"}
        if bos:
            config["bos_token"] = bos
        json.dump(config, open(f"{out}/{name}/tokenizer_config.json", "w"), ensure_ascii=False)
        tok = PreTrainedTokenizerFast.from_pretrained(f"{out}/{name}")
        tok.chat_template = open(f"{os.path.dirname(trl.__file__)}/chat_templates/{template}_training.jinja").read()
        for talk in TALKS:
            if name in ("gemma",) and talk[0]["role"] == "system":
                continue                   # its template refuses one
            if name == "chatml" and talk[0]["role"] != "system":
                talk = [S("Be kind.")] + talk   # or the template puts Qwen's own in
            e = tok.apply_chat_template(talk, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            rows.append({"format": name, "messages": talk, "ids": list(e["input_ids"]), "mask": list(e["assistant_masks"])})
    json.dump(rows, open(f"{out}/masks.json", "w"), ensure_ascii=False)


main(*sys.argv[1:])
