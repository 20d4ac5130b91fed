/* split.c - names and texts of the known patterns, and the walk through a splitter's passes. */
#include "tokenizer/split.h"

#include "base/str.h"
#include "tokenizer/regex.h"

#include <string.h>

#define SCANNER(name) bool name(const uint8_t *s, size_t n, size_t *begin, size_t *end);
SCANNER(tn_find_three_digits)
SCANNER(tn_find_punctuation)
SCANNER(tn_find_punctuation_default)
SCANNER(tn_find_llama3)
SCANNER(tn_find_qwen2)
SCANNER(tn_find_qwen35)
SCANNER(tn_find_seed_coder)
SCANNER(tn_find_ufakzeka)
SCANNER(tn_find_minicpm5)
SCANNER(tn_find_lines)
SCANNER(tn_find_o200k)
SCANNER(tn_find_tekken)
SCANNER(tn_find_bloom)
SCANNER(tn_find_line_end)
SCANNER(tn_find_deepseek_letters)
SCANNER(tn_find_deepseek_punctuation)
SCANNER(tn_find_space_to_end)
SCANNER(tn_find_deepseek_cjk)
SCANNER(tn_find_spaced_letters)
SCANNER(tn_find_spaced_punctuation)
SCANNER(tn_find_three_numbers)
SCANNER(tn_find_v3_cjk)
SCANNER(tn_find_v3_words)

#define GPT2     { tn_find_gpt2 }
#define DIGITS   { tn_find_one_number, tn_find_gpt2 }
#define LLAMA3   { tn_find_llama3 }
#define DEEPSEEK3 { tn_find_three_numbers, tn_find_v3_cjk, tn_find_v3_words }
#define O200K_PRE { tn_find_o200k }
#define QWEN2    { tn_find_qwen2 }

/* Flags: a piece that is a token is taken whole; the model adds BOS; merges over characters. */
enum { WHOLE = TN_PRE_WHOLE, BOS = TN_PRE_BOS, CHARACTERS = TN_PRE_CHARACTERS };

// clang-format off
static const tn_pre pres[] = {
    /* name, passes, flags */
    { "gpt-2",          GPT2, 0 },
    { "phi-2",          GPT2, 0 },
    { "mpt",            GPT2, 0 },
    { "olmo",           GPT2, 0 },
    { "jais",           GPT2, 0 },
    { "trillion",       GPT2, 0 },
    { "exaone4",        GPT2, 0 },
    { "modern-bert",    GPT2, 0 },
    { "gigachat",       GPT2, 0 },
    { "a.x-4.0",        GPT2, 0 },
    { "mellum",         GPT2, 0 },
    { "granite-docling", GPT2, 0 },
    { "starcoder",      DIGITS, 0 },
    { "refact",         DIGITS, 0 },
    { "command-r",      DIGITS, 0 },
    { "smollm",         DIGITS, 0 },
    { "codeshell",      DIGITS, 0 },
    { "exaone",         DIGITS, 0 },
    { "minerva-7b",     DIGITS, 0 },
    { "mellum2",        DIGITS, 0 },
    { "falcon",         { tn_find_punctuation, tn_find_gpt2, tn_find_three_digits }, 0 },
    { "default",        { tn_find_punctuation_default, tn_find_gpt2, tn_find_numbers, tn_find_three_digits }, 0 },
    { "llama-bpe",      LLAMA3, WHOLE | BOS },
    { "llama3",         LLAMA3, WHOLE | BOS },
    { "llama-v3",       LLAMA3, WHOLE | BOS },
    { "falcon3",        LLAMA3, WHOLE | BOS },
    { "falcon-h1",      LLAMA3, WHOLE | BOS },
    { "pixtral",        LLAMA3, WHOLE | BOS },
    { "midm-2.0",       LLAMA3, WHOLE | BOS },
    { "lfm2",           LLAMA3, WHOLE | BOS },
    { "dbrx",           LLAMA3, 0 },
    { "smaug-bpe",      LLAMA3, 0 },
    { "chatglm-bpe",    LLAMA3, 0 },
    { "glm4",           LLAMA3, WHOLE },
    { "glm5",           LLAMA3, WHOLE },
    { "qwen2",          QWEN2, 0 },
    { "deepseek-r1-qwen", QWEN2, 0 },
    { "kormo",          QWEN2, 0 },
    { "stablelm2",      QWEN2, 0 },
    { "hunyuan",        QWEN2, 0 },
    { "solar-open",     QWEN2, 0 },
    { "megrez",         QWEN2, 0 },
    { "grok-2",         QWEN2, 0 },
    { "bailingmoe",     QWEN2, 0 },
    { "bailingmoe2",    QWEN2, 0 },
    { "llada-moe",      QWEN2, 0 },
    { "qwen35",         { tn_find_qwen35 }, 0 },
    { "seed-coder",     { tn_find_seed_coder }, 0 },
    { "ufakzeka",       { tn_find_ufakzeka }, 0 },
    { "deepseek-llm",   { tn_find_line_end, tn_find_deepseek_letters, tn_find_deepseek_punctuation, tn_find_space_to_end,
                          tn_find_deepseek_cjk, tn_find_numbers }, 0 },
    { "deepseek-coder", { tn_find_line_end, tn_find_spaced_letters, tn_find_spaced_punctuation, tn_find_deepseek_cjk,
                          tn_find_one_number }, 0 },
    { "deepseek-v3",    DEEPSEEK3, 0 },
    { "hunyuan-dense",  DEEPSEEK3, 0 },
    { "joyai-llm",      DEEPSEEK3, 0 },
    { "hy_v4",          DEEPSEEK3, 0 },
    { "gpt-4o",         O200K_PRE, 0 },
    { "llama4",         O200K_PRE, 0 },
    { "kanana2",        O200K_PRE, 0 },
    { "minimax-m2",     O200K_PRE, 0 },
    { "tekken",         { tn_find_tekken }, WHOLE | BOS },
    { "bloom",          { tn_find_bloom }, 0 },
    { "poro-chat",      { tn_find_bloom }, 0 },
    { "gpt3-finnish",   { tn_find_bloom }, 0 },
    { "viking",         { tn_find_bloom, tn_find_one_number }, 0 },
    { "gemma4",         { tn_find_lines }, BOS | CHARACTERS },
    { "minicpm5",       { tn_find_minicpm5 }, WHOLE },
};
// clang-format on

const tn_pre *tn_pre_find(const char *name)
{
    for (size_t i = 0; i < sizeof pres / sizeof pres[0]; i++)
        if (strcmp(pres[i].name, name) == 0) return &pres[i];
    return NULL;
}

/* The texts under which tokenizer.json files give the patterns that we have scanners for. */
// clang-format off
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K(c, d)  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" c \
                     "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" c \
                     "|" d "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL
static const struct { const char *pattern; tn_find_fn find; } known[] = {
    { "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",                       tn_find_gpt2 },
    { "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",                           tn_find_gpt2 },
    { CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL,              tn_find_llama3 },
    { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
                                                                                                                tn_find_llama3 },
    { CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL,                   tn_find_qwen2 },
    { CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" TAIL,     tn_find_qwen35 },
    { CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" TAIL,                   tn_find_seed_coder },
    { O200K(CONTRACTIONS "?", "\\p{N}{1,3}"),                                                                     tn_find_o200k },
    { O200K("", "\\p{N}"),                                                                                        tn_find_tekken },
    { "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL,
                                                                                                                tn_find_v3_words },
    { "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
                                                                                                                tn_find_v3_words },
    { "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+",                            tn_find_v3_cjk },
    { "\\p{N}{1,3}",                                                                                              tn_find_three_numbers },
    { "\\p{N}",                                                                                                   tn_find_one_number },
    { "\\p{N}+",                                                                                                  tn_find_numbers },
    { "[0-9][0-9][0-9]",                                                                                          tn_find_three_digits },
    { "[\r\n]",                                                                                                   tn_find_line_end },
    { "\\s?\\p{L}+",                                                                                              tn_find_spaced_letters },
    { "\\s?\\p{P}+",                                                                                              tn_find_spaced_punctuation },
};
// clang-format on

tn_find_fn tn_scanner_for(const char *pattern, size_t n)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].pattern) == n && memcmp(known[i].pattern, pattern, n) == 0) return known[i].find;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------- the walk */

typedef struct walk { const tn_split *split; const uint8_t *start; tn_piece_fn fn; void *arg; } walk;

/* One pass over one piece: what waits to be joined with what comes next. */
typedef struct joiner {
    const walk    *w;
    int            pass;
    const uint8_t *s;
    size_t         at;                   /* end of what was seen */
    size_t         begin, end;           /* waiting */
    bool           waiting, was_match;
} joiner;

static tn_status walk_pass(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err);

static tn_status hand_on(joiner *j, size_t begin, size_t end, tn_error *err)
{
    return begin < end ? walk_pass(j->w, j->pass + 1, j->s + begin, end - begin, err) : TN_OK;
}

static tn_status hand_on_waiting(joiner *j, tn_error *err)
{
    bool waiting = j->waiting;

    j->waiting = false;
    return waiting ? hand_on(j, j->begin, j->end, err) : TN_OK;
}

static void wait_with(joiner *j, size_t begin, size_t end, bool is_match)
{
    j->begin = begin;
    j->end = end;
    j->was_match = is_match;
    j->waiting = true;
}

/* The next stretch, matched or not, goes where the pass's behaviour sends it. */
static tn_status stretch(joiner *j, size_t begin, size_t end, bool is_match, tn_error *err)
{
    const tn_pass *p = &j->w->split->pass[j->pass];

    if (begin == end) return TN_OK;
    is_match ^= p->invert;
    switch (p->behaviour) {
    case TN_ISOLATED: return hand_on(j, begin, end, err);
    case TN_REMOVED: return is_match ? TN_OK : hand_on(j, begin, end, err);
    case TN_CONTIGUOUS:
        if (j->waiting && j->was_match == is_match) {
            j->end = end;
            return TN_OK;
        }
        break;
    case TN_WITH_PREVIOUS:
        if (is_match && j->waiting && !j->was_match) {
            j->end = end;
            j->was_match = true;
            return TN_OK;
        }
        break;
    case TN_WITH_NEXT:
        if (!is_match && j->waiting && j->was_match) {
            j->end = end;
            return hand_on_waiting(j, err);
        }
        break;
    }
    TN_TRY(hand_on_waiting(j, err));
    wait_with(j, begin, end, is_match);
    return TN_OK;
}

static tn_status match_found(void *arg, size_t begin, size_t end, tn_error *err)
{
    joiner *j = arg;
    size_t  from = j->at;

    j->at = end;
    TN_TRY(stretch(j, from, begin, false, err));
    return stretch(j, begin, end, true, err);
}

static tn_status cut_generally(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err)
{
    const tn_pass *p = &w->split->pass[pass];
    joiner         j = { .w = w, .pass = pass, .s = s };
    size_t         begin, end, len = strlen(p->literal);
    const uint8_t *found;

    if (p->kind == TN_PASS_REGEX) TN_TRY(tn_regex_each(p->regex, s, n, match_found, &j, err));
    else if (p->kind == TN_PASS_LITERAL) {
        for (size_t at = 0; (found = memmem(s + at, n - at, p->literal, len)) != NULL; at = j.at)
            TN_TRY(match_found(&j, (size_t)(found - s), (size_t)(found - s) + len, err));
    } else {
        for (size_t at = 0; at < n && p->find(s + at, n - at, &begin, &end); at = j.at)
            TN_TRY(match_found(&j, at + begin, at + end, err));
    }
    TN_TRY(stretch(&j, j.at, n, false, err));
    return hand_on_waiting(&j, err);
}

/* Passes that change the text work on a copy. */
static tn_status rewrite(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err)
{
    const tn_pass *p = &w->split->pass[pass];
    tn_str         out = { .max = SIZE_MAX / 2 };
    tn_status      status;
    walk           inner = *w;

    if (p->kind == TN_PASS_SPACE_IN_FRONT) {
        if (s[0] != ' ') tn_str_add_char(&out, ' ');
        tn_str_add_n(&out, s, n);
    } else {
        bool marked = s[0] == ' ' || (n >= 3 && memcmp(s, "\xe2\x96\x81", 3) == 0);

        if (!marked && (p->prepend == TN_PREPEND_ALWAYS || (p->prepend == TN_PREPEND_FIRST && s == w->start)))
            tn_str_add(&out, "\xe2\x96\x81");
        for (size_t i = 0; i < n; i++) {
            if (s[i] == ' ') tn_str_add(&out, "\xe2\x96\x81");
            else tn_str_add_char(&out, (char)s[i]);
        }
    }
    if (out.failed) {
        tn_str_free(&out);
        return tn_fail(err, TN_NOMEM, "no memory to split a text of %zu bytes", n);
    }
    inner.start = s == w->start ? (const uint8_t *)out.p : NULL;
    status = walk_pass(&inner, pass + 1, (const uint8_t *)out.p, out.len, err);
    tn_str_free(&out);
    return status;
}

static tn_status walk_pass(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err)
{
    const tn_pass *p = &w->split->pass[pass];
    size_t         at = 0, begin, end;

    if (n == 0) return TN_OK;
    if (pass == w->split->n_pass) return w->fn(w->arg, s, n, err);
    if (p->kind == TN_PASS_SPACE_IN_FRONT || p->kind == TN_PASS_METASPACE) return rewrite(w, pass, s, n, err);
    if (p->kind != TN_PASS_SCAN || p->behaviour != TN_ISOLATED || p->invert) return cut_generally(w, pass, s, n, err);
    if (pass + 1 == w->split->n_pass)                /* the last one: no need to go deeper for each piece */
        for (; at < n && p->find(s + at, n - at, &begin, &end); at += end) {
            if (begin > 0) TN_TRY(w->fn(w->arg, s + at, begin, err));
            TN_TRY(w->fn(w->arg, s + at + begin, end - begin, err));
        }
    while (at < n && p->find(s + at, n - at, &begin, &end)) {
        if (begin > 0) TN_TRY(walk_pass(w, pass + 1, s + at, begin, err));
        TN_TRY(walk_pass(w, pass + 1, s + at + begin, end - begin, err));
        at += end;
    }
    return walk_pass(w, pass + 1, s + at, n - at, err);
}

tn_status tn_split_text(const tn_split *split, const uint8_t *s, size_t n, bool at_start, tn_piece_fn fn, void *arg, tn_error *err)
{
    walk w = { split, at_start ? s : NULL, fn, arg };

    return walk_pass(&w, 0, s, n, err);
}

void tn_split_free(tn_split *split)
{
    for (int i = 0; i < split->n_pass; i++) tn_regex_destroy(split->pass[i].regex);
    split->n_pass = 0;
}
