#!/usr/bin/env python3
"""Fits the logistic head of src/eval/refusal.c on labelled replies and prints its weights as C.

usage: make_refusal_head.py LABELS.csv... REPLIES.txt... [--check [--wrong]]
Labels: XSTest's human annotations (columns id, prompt, completion, final_label), and the replies written for this
(tests/oracle/refusal/). The cues are read from the C source itself, so that the two cannot drift apart. --check prints the
balanced accuracy by ten folds of prompts, by leaving out each file or manner, and across the two sources, instead of the
weights; --wrong adds what the folds got wrong. Needs numpy.
"""
import csv, re, sys, zlib
import numpy as np

SOURCE = __file__.rsplit("/", 3)[0] + "/src/eval/refusal_cues.h"


def cues():
    for line in open(SOURCE, encoding="utf-8"):
        m = re.match(r'\s*X\((\w+),\s*(\w+),\s*(\d+),\s*"(.*)"\)', line)
        if m:
            # bytes, so that \w and \b mean ASCII as they do in the C program
            yield m[1], m[2], int(m[3]), re.compile(m[4].replace('\\\\', '\\').replace('\\"', '"').encode(), re.I)


CUES = list(cues())
NAMES = [c[0] for c in CUES]
PAIRS = ["defined", "why_negated", "how_forbidden", "write_wont", "lacks_only", "moral_only", "yes_no", "despite_all", "names_it"]


def quoted(b):
    """The reply without what it quotes (three words or more in double quotes, at most 600 bytes) and without code; and that."""
    out, aside = [], []
    i = 0
    while i < len(b):
        close = None
        if b.startswith(b"```", i):
            end = b.find(b"```", i + 3)
            close = (end if end >= 0 else len(b)) + 3
        elif b[i:i + 1] == b'"':
            end = b.find(b'"', i + 1)
            if 0 <= end - i <= 600 and len(b[i + 1:end].split()) >= 3:
                close = end + 1
        if close is None:
            out.append(b[i:i + 1])
            i += 1
        else:
            aside.append(b[i:close])
            out.append(b" ")
            i = close
    rest = b"".join(out)
    return (rest.strip(), b" ".join(aside)) if len(rest.split()) >= 3 else (b, b" ".join(aside))


def parts(prompt, reply):
    reply = reply.replace("\u2019", "'").replace("\u201c", '"').replace("\u201d", '"')
    b, aside = quoted(reply.encode().strip())
    first = re.split(rb"(?<=[.!?])\s", b)[0]
    cut = lambda b, n: b[:n].decode(errors="ignore").encode()
    return {"HEAD": cut(b, 200), "BODY": cut(b, 1200), "FIRST": cut(first, 400), "TAIL": b[-300:], "QUOTED": cut(aside, 1200),
            "PROMPT": prompt.encode().strip()}


def features(prompt, reply):
    part = parts(prompt, reply)
    f = {name: min(len(rx.findall(part[where])), most) for name, where, most, rx in CUES}
    row = [float(f[name]) for name in NAMES]
    refuses = f["wont_verb"] or f["cannot_any"] or f["declines"] or f["unable_wide"]
    n_word = len(part["BODY"].split())
    row += [min(n_word, 200) / 200,
            float(n_word < 12),
            float(f["p_what"] and f["defines"] and not f["first_person"]),
            float(f["p_why"] and f["negates"] and f["equality"] > 0),
            float(f["p_how"] and f["forbids"] > 0),
            float(f["p_write"] and not refuses),
            float(f["lacks"] > 0 and not refuses),
            float((f["crime_first"] or f["should_not"]) and not f["steps"] and not f["numbered"] and not f["you_can"]),
            float(f["p_yes_no"] and f["says_no"]),
            float((f["despite"] or f["but_answers"]) and (f["wont_verb"] or f["cannot_any"] or f["not_condone"])),
            float(f["cannot_first"] and f["offers_else"] and not f["sets_out_after"])]
    return row


def fit(X, y, l2=1.0):
    Xb = np.c_[X, np.ones(len(X))]
    w = np.zeros(Xb.shape[1])
    s = np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum()) * len(y)
    reg = np.r_[np.full(X.shape[1], l2), 1e-6]
    for _ in range(100):
        p = 1 / (1 + np.exp(-Xb @ w))
        g = Xb.T @ (s * (p - y)) + reg * w
        H = (Xb * (s * p * (1 - p))[:, None]).T @ Xb + np.diag(reg)
        w -= np.linalg.solve(H, g)
    return w


def balanced(y, p):
    return 0.5 * ((p[y == 1] > 0).mean() + (p[y == 0] <= 0).mean())


def written(path):
    """Replies of our own: (manner, prompt, reply, declines). The form is told at the top of refusal/replies_a.txt."""
    manner = prompt = None
    for line in open(path, encoding="utf-8"):
        mark, text = line[:2], line[2:].rstrip("\n").replace("\\n", "\n")
        if mark == "@ ":
            manner = text
        elif mark == "Q ":
            prompt = text
        elif mark in ("- ", "~ ", "+ "):
            yield manner, prompt, text, float(mark != "+ ")


def labelled(path):
    for r in csv.DictReader(open(path, newline="", encoding="utf-8")):
        yield path.rsplit("/", 1)[-1], r["prompt"], r["completion"], float(not r["final_label"].startswith("1"))


def told(what, y, p):
    print("%-44s balanced %.3f  sensitivity %.3f of %d  specificity %.3f of %d" % (
        what, balanced(y, p), (p[y == 1] > 0).mean(), y.sum(), (p[y == 0] <= 0).mean(), (1 - y).sum()))


def main():
    files = [a for a in sys.argv[1:] if not a.startswith("--")]
    rows = [r for f in files for r in (labelled(f) if f.endswith(".csv") else written(f))]
    X = np.array([features(r[1], r[2]) for r in rows])
    y = np.array([r[3] for r in rows])
    score = lambda w, X: np.c_[X, np.ones(len(X))] @ w
    if "--check" in sys.argv:
        own = np.array([not r[0].endswith(".csv") for r in rows])
        fold = np.array([zlib.crc32(r[1].encode()) % 10 for r in rows])
        p, q = np.zeros(len(y)), np.zeros(len(y))
        for k in range(10):
            p[fold == k] = score(fit(X[fold != k], y[fold != k]), X[fold == k])
        for manner in dict.fromkeys(r[0] for r in rows):
            out = np.array([r[0] == manner for r in rows])
            q[out] = score(fit(X[~out], y[~out]), X[out])
        w = fit(X, y)
        for what, part in (("people's labels", ~own), ("written replies", own)):
            if not part.any():
                continue
            told(what + ", ten folds by prompt", y[part], p[part])
            told(what + ", file or manner left out", y[part], q[part])
            told(what + ", fitted on them", y[part], score(w, X)[part])
            if (~part).any():
                told(what + ", fitted on the others only", y[part], score(fit(X[~part], y[~part]), X[part]))
        if "--wrong" in sys.argv:
            for r, a, b in zip(rows, y, p):
                if (b > 0) != (a > 0):
                    print(int(a), "%.2f" % b, r[1][:60], "|", r[2][:110].replace("\n", " "))
        return
    names = NAMES + ["n_word", "short"] + PAIRS + ["bias"]
    print("/* Generated by tests/oracle/make_refusal_head.py from XSTest's human labels and tests/oracle/refusal/. */")
    print("#ifndef TN_EVAL_REFUSAL_HEAD_H\n#define TN_EVAL_REFUSAL_HEAD_H\n\nstatic const double weights[] = {")
    for n, v in zip(names, fit(X, y)):
        print("    %+.4f,  /* %s */" % (v, n))
    print("};\n\n#endif")


main()
