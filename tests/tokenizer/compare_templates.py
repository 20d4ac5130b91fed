#!/usr/bin/env python3
"""compare_templates.py - chat templates rendered by Jinja, against the built-in format that tenet recognises in their text.

    compare_templates.py DRIVER BPE.json TEMPLATE...

The environment is transformers' (trim_blocks, lstrip_blocks, tojson, raise_exception), its clock pinned to 26 July 2024. Each
template meets conversations with and without a system text, with one and several turns, with thoughts, with and without the
generation prompt; both sides' ids must be equal. So do the templates that tenet writes itself (chat_write.c). One that tenet refuses is listed with the reason. Exits 1 if any ids differ.
Needs jinja2."""
import datetime
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import jinja2
import jinja2.sandbox
from compare_llama_cpp import Driver

CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "You are kind."), ("user", "Hello")],
    [("system", "You are kind."), ("user", "Hello"), ("assistant", "Hi! How are you?"), ("user", "12 + 34?")],
    [("user", " Hi there \n"), ("assistant", " I am fine.\n"), ("user", "\nWhere?"), ("assistant", "Paris."), ("user", "Why not?")],
    [("system", " Be short.\n"), ("user", "今日は"), ("assistant", "naïve café"), ("user", "x\n\ny")],
    [("user", "Hello"), ("assistant", "Hi!")],
    [("system", "S"), ("user", "Hello"), ("assistant", "Hi!"), ("user", "So?"), ("assistant", "Well.")],
    [("user", "Hello"), ("assistant", "<think>\nhm\n</think>\n\nHi!"), ("user", "So?")],
    [("user", "q"), ("assistant", ""), ("user", "r"), ("assistant", "ok")],
    [("user", "q"), ("assistant", " \n"), ("user", "r")],
    [("system", "S"), ("user", "q"), ("assistant", "\n\nYes \n")],
    [("user", "q"), ("assistant", "<think>hm</think>ok")],
]


def environment():
    def fail(message):
        raise jinja2.exceptions.TemplateError(message)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = lambda x, indent=None, **_: json.dumps(x, ensure_ascii=False, indent=indent)
    env.globals["raise_exception"] = fail
    env.globals["strftime_now"] = lambda form: datetime.datetime(2024, 7, 26).strftime(form)
    return env


def main():
    driver, env, wrong = Driver(sys.argv[1], sys.argv[2]), environment(), 0
    templates = [("written: " + name, driver.written(name)) for name in driver.written().split("|")]
    for path in sys.argv[3:]:
        with open(path, encoding="utf-8") as f:
            templates.append((os.path.basename(path), f.read()))
    for name, text in templates:
        same = refused = raised = 0
        for c in CONVERSATIONS:
            messages = [{"role": r, "content": x} for r, x in c]
            for open_turn in (True, False):
                if open_turn and c[-1][0] == "assistant":
                    continue
                got = driver.chat(messages, template=text, open_turn=open_turn)
                if isinstance(got, str) and "Choose one with" in got:
                    refused += 1
                    reason = got
                    continue
                try:
                    want = env.from_string(text).render(messages=messages, add_generation_prompt=open_turn, bos_token="<s>", eos_token="</s>",
                                                         tools=None, documents=None)
                except jinja2.exceptions.TemplateError as e:
                    raised += 1                       # it asks for tools, or for other roles
                    if name.startswith("written") and not isinstance(got, str):
                        wrong += 1
                        print(f"  {name} raises {e}, ours renders {c}")
                    continue
                if "Mistral-Nemo" in name and c[0][0] == "system" and c[-1][0] == "assistant":
                    continue                          # it drops the system text there, ours keeps it (docs/tokenizer.md)
                ids = driver.ids(want, 1)
                if isinstance(got, str) or got[0] != ids:
                    wrong += 1
                    print(f"  {name} open={open_turn} {c}\n    want {want!r}\n    got  {driver.text(got[0]).decode() if not isinstance(got, str) else got!r}")
                else:
                    same += 1
        print(f"{name}: " + (f"refused: {reason.split('. Choose')[0]}" if refused else f"{same} equal" + (f", {raised} that the template itself refuses" if raised else "")), flush=True)
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
