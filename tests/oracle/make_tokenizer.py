#!/usr/bin/env python3
"""make_tokenizer.py - tests/golden/tokenizer/: tiny tokenizers, and what other implementations do with them.

    make_tokenizer.py OUT_DIR

Trained here on the text below (ours), by Hugging Face tokenizers 0.23 and sentencepiece 0.2:
    bpe.json        byte-level BPE, the Llama 3 pattern, role marks of every chat format as special tokens
    llama.json      BPE over characters with byte fallback, Prepend and Replace (as Llama 2's file)
    unigram.json    Unigram with NFKC, Metaspace
    spm.vocab       a SentencePiece BPE as rows of piece, score, type
    encode.case     tokenizer, text, ids          split.case   pattern, text, pieces
    chat.case       format, conversation, text that the format's published template gives, ids of it
A case is three or four lines; texts are JSON strings; a blank line ends it."""
import io
import json
import os
import random
import sys

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = """The quick brown fox jumps over the lazy dog, and it's the dog's own fault that they're late; we'll see.
Numbers: 1, 22, 333, 4444, 55555 and 3.14159. Code: for (int i = 0; i < n; i++) { sum += a[i]; }
    indented text\twith tabs\r\nand carriage returns\n\n\nand blank lines.
Über den Wolken muss die Freiheit wohl grenzenlos sein. Garçon, où est la bibliothèque? El niño comió piñas.
Ein ganz kleines Wörterbuch für kleine Versuche; a very small dictionary for very small trials.
Съешь же ещё этих мягких французских булок. Η γρήγορη αλεπού. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया।
今日は良い天気ですね。你好,世界! 안녕하세요 세계. สวัสดีชาวโลก 😀 👩‍👩‍👧 naïve café résumé
You are a helpful assistant. Hello! How are you? I am fine, thank you. Paris is the capital of France.
"""
C = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL


def o200k(c, digits):
    return (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + c +
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + c + "|" + digits +
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL)


PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
    "llama-bpe": [LLAMA3],
    "qwen2": [C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL],
    "qwen35": [C + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + TAIL],
    "gpt-4o": [o200k(C + "?", r"\p{N}{1,3}")],
    "tekken": [o200k("", r"\p{N}")],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
                    r"""| ?[\p{P}\p{S}]+[\r\n]*|""" + TAIL],
}
ALPHABETS = [list(range(32, 127)), list(range(0x20, 0x100)), [0x20, 0x20, 0x20, 0x0a, 0x0d, 0x09, 0xa0, 0x3000, 0x2028, 0x85],
             list(range(0x300, 0x370)), list(range(0x370, 0x600)), list(range(0x900, 0xa00)), list(range(0x3040, 0x3100)),
             list(range(0x4e00, 0x4e80)), list(range(0xac00, 0xac40)), list(range(0x1f600, 0x1f650)),
             [0x200d, 0xfe0f, 0x20e3, 0xfeff, 0xfffd, 0x17f, 0x212a, 0x130, 0x131, 0xdf, 0x1c5, 0x2b0, 0x2160, 0xb2, 0x2460],
             [ord(c) for c in "'sStTreveVEmMlLdD "]]
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<|begin_of_text|>",
           "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<｜User｜>", "<｜Assistant｜>",
           "<｜end▁of▁sentence｜>"]


def random_text(rng):
    out = []
    for _ in range(rng.randint(1, 6)):
        a = rng.choice(ALPHABETS)
        out += [chr(rng.choice(a)) for _ in range(rng.randint(1, 6))]
    return "".join(out)


def texts(n, seed):
    rng = random.Random(seed)
    fixed = ["", " ", "  ", "\n", " \n", "a", "Hello", " Hello  world", "it's WE'LL 'S 'ſ", "12345 678", "   x", "x   ", "\t\n \r\n y", "!!!\n\n",
             "a" * 300, " " * 100, "e\u0301 \u1e9b\u0323 ﬁ", "<s> not special </s>", "\u0000x"]
    fixed += ["".join(rng.choice("theandigor") for _ in range(n_letter)) for n_letter in (60, 70, 200, 900)]      # short and long merging
    letters = "".join(c for c in TEXT if c.isalpha())
    fixed += [letters[:100], letters[:500], letters, letters[::-1].lower(), "".join(rng.sample(TEXT[:400].split(), 60)).replace(".", "")]
    return fixed + TEXT.split("\n") + [random_text(rng) for _ in range(n)]


def case(f, *lines):
    f.write("".join(line + "\n" for line in lines) + "\n")


def js(v):
    return json.dumps(v, ensure_ascii=True)


def make_bpe():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=520, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIAL])
    t.add_tokens([AddedToken("<think>", normalized=False), AddedToken(" mask", normalized=False, lstrip=True, rstrip=True),
                  AddedToken("word", normalized=False, single_word=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", t.token_to_id("<s>"))])
    return t


def make_llama():
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.train_from_iterator([TEXT[:600]], trainers.BpeTrainer(vocab_size=220, show_progress=False))
    base = json.loads(words.to_str())["model"]
    vocab = {s: i for i, s in enumerate(["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])}
    for piece in sorted(base["vocab"], key=base["vocab"].get):
        vocab.setdefault(piece, len(vocab))
    t.model = models.BPE(vocab=vocab, merges=[tuple(m) for m in base["merges"]], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in ("<unk>", "<s>", "</s>")])
    return t


def make_unigram():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(TEXT.split("\n"), trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>", "<s>"], show_progress=False))
    return t


def make_spm(out):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT.split("\n")), model_writer=model, vocab_size=600, model_type="bpe",
                                             byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                                             minloglevel=2)
    p = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    with open(os.path.join(out, "spm.vocab"), "w", encoding="utf-8") as f:
        for i in range(p.vocab_size()):
            kind = 2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 1
            f.write(f"{js(p.id_to_piece(i))} {p.get_score(i)!r} {kind}\n")
    return p


TURN = {"chatml": lambda r, x: f"<|im_start|>{r}\n{x}<|im_end|>\n",
        "llama3": lambda r, x: f"<|start_header_id|>{r}<|end_header_id|>\n\n{x.strip()}<|eot_id|>"}


def chat_text(name, messages):
    """The text of each format by its published template, for alternating messages; ends with the generation prompt."""
    s = messages[0]["content"] if messages[0]["role"] == "system" else None
    rest = messages[1:] if s is not None else messages
    last = max(i for i, m in enumerate(rest) if m["role"] == "user")
    out = ""
    if name in TURN:
        out = "<s>" if name == "llama3" else ""
        out += "".join(TURN[name](m["role"], m["content"]) for m in messages)
        return out + ("<|im_start|>assistant\n" if name == "chatml" else "<|start_header_id|>assistant<|end_header_id|>\n\n")
    if name == "gemma":
        out = "<s>"
        for i, m in enumerate(rest):
            role = "model" if m["role"] == "assistant" else "user"
            out += f"<start_of_turn>{role}\n{s + chr(10) * 2 if s is not None and i == 0 else ''}{m['content'].strip()}<end_of_turn>\n"
        return out + "<start_of_turn>model\n"
    if name == "zephyr":
        return "".join(f"<|{m['role']}|>\n{m['content']}</s>\n" for m in messages) + "<|assistant|>\n"
    if name == "deepseek3":
        return "<s>" + (s or "") + "".join((f"<｜User｜>{m['content']}" if m["role"] == "user" else
                                            f"<｜Assistant｜>{m['content']}<｜end▁of▁sentence｜>") for m in rest) + "<｜Assistant｜>"
    if name == "deepseek2":
        return "<s>" + (s + "\n\n" if s else "") + "".join((f"User: {m['content']}\n\n" if m["role"] == "user" else
                                                            f"Assistant: {m['content']}</s>") for m in rest) + "Assistant:"
    for i, m in enumerate(rest):
        x = m["content"]
        if name == "llama2":
            if s is not None and i == 0:
                x = f"<<SYS>>\n{s}\n<</SYS>>\n\n{x}"
            out += f"<s>[INST] {x.strip()} [/INST]" if m["role"] == "user" else f" {x.strip()} </s>"
        elif name == "mistral-v1":
            x = s + "\n\n" + x if s is not None and i == 0 else x
            out += f" [INST] {x} [/INST]" if m["role"] == "user" else f" {x}</s>"
        elif name in ("mistral-v3", "mistral-tekken"):
            g = " " if name == "mistral-v3" else ""
            x = s + "\n\n" + x if s is not None and i == last else x
            out += f"[INST]{g}{x}[/INST]" if m["role"] == "user" else f"{g}{x.strip() if g else x}</s>"
        else:
            out += f"[INST] {x}[/INST]" if m["role"] == "user" else f" {x}</s>"
    if name == "mistral-v7" and s is not None:
        out = f"[SYSTEM_PROMPT] {s}[/SYSTEM_PROMPT]" + out
    return out if name == "llama2" else "<s>" + out


CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "You are kind."), ("user", "Hello"), ("assistant", "Hi! How are you?"), ("user", "12 + 34?")],
    [("user", " Hi there \n"), ("assistant", " I am fine.\n"), ("user", "\nWhere?"), ("assistant", "Paris."), ("user", "Why not?")],
    [("system", "Be short."), ("user", "今日は"), ("assistant", "naïve café"), ("user", "x\n\ny")],
]


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    bpe = make_bpe()
    named = {"bpe": bpe, "llama": make_llama(), "unigram": make_unigram()}
    spm = make_spm(out)
    with open(os.path.join(out, "encode.case"), "w", encoding="ascii") as f:
        f.write("# tokenizer, text, ids; made by tests/oracle/make_tokenizer.py\n\n")
        for name, t in named.items():
            t.save(os.path.join(out, name + ".json"), pretty=False)
            for x in texts(120, 1) + ["a mask b", "word wordy sword word", "<think>x</think>"]:
                if any(sp in x for sp in SPECIAL):
                    continue                                  # ours takes no special tokens from text unless asked
                case(f, name, js(x), js(t.encode(x, add_special_tokens=False).ids))
        for x in texts(120, 2):
            if x and "\0" not in x:
                case(f, "spm", js(x), js(spm.encode(x)))
    with open(os.path.join(out, "split.case"), "w", encoding="ascii") as f:
        f.write("# pattern, text, pieces; made by tests/oracle/make_tokenizer.py\n\n")
        for name, passes in PATTERNS.items():
            split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in passes])
            for x in texts(80, 3):
                case(f, name, js(x), js([p for p, _ in split.pre_tokenize_str(x)]))
    with open(os.path.join(out, "chat.case"), "w", encoding="ascii") as f:
        f.write("# format, conversation, text of the published template, its ids; made by tests/oracle/make_tokenizer.py\n\n")
        for name in ("chatml", "llama2", "llama3", "mistral-v1", "mistral-v3", "mistral-tekken", "mistral-v7", "gemma", "zephyr", "deepseek2",
                     "deepseek3"):
            for c in CONVERSATIONS:
                messages = [{"role": r, "content": x} for r, x in c]
                text = chat_text(name, messages)
                case(f, name, js(messages), js(text), js(bpe.encode(text, add_special_tokens=False).ids))


main()
