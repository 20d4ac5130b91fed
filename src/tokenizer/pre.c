/* pre.c - the known pre-tokenisers: their names in GGUF (tokenizer.ggml.pre), their scanners, and the texts
 * of their patterns in tokenizer.json. One table for each direction of reading, and both directions of
 * writing use the same. */
#include "tokenizer/internal.h"
#include "tokenizer/split.h"

#include "base/str.h"
#include "tokenizer/regex.h"

#include <stdlib.h>
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

// clang-format off
#define GPT2                                                                                                 \
    {                                                                                                        \
        tn_find_gpt2                                                                                         \
    }
#define DIGITS                                                                                               \
    {                                                                                                        \
        tn_find_one_number, tn_find_gpt2                                                                     \
    }
#define LLAMA3                                                                                               \
    {                                                                                                        \
        tn_find_llama3                                                                                       \
    }
#define DEEPSEEK3                                                                                            \
    {                                                                                                        \
        tn_find_three_numbers, tn_find_v3_cjk, tn_find_v3_words                                              \
    }
#define O200K_PRE                                                                                            \
    {                                                                                                        \
        tn_find_o200k                                                                                        \
    }
#define QWEN2                                                                                                \
    {                                                                                                        \
        tn_find_qwen2                                                                                        \
    }
// clang-format on

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
    { "\\s?[!-/:-~\xef\xbc\x81-\xef\xbc\x8f\xef\xbc\x9a-\xef\xbd\x9e\xe2\x80\x98-\xe2\x80\x9f\xe3\x80\x80-\xe3\x80\x82]+", tn_find_deepseek_punctuation },
    { "\\s+$",                                                                                                    tn_find_space_to_end },
    { "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+",                       tn_find_deepseek_cjk },
    { "[\\p{P}\\$\\+<=>\\^~\\|`]+",                                                                               tn_find_punctuation },
    { "[\\p{P}\\$\\+<=>\\^~\\|]+",                                                                                tn_find_punctuation_default },
};
// clang-format on

/* The class of letters in DeepSeek LLM's pattern is long: split_deepseek.c spells it from its table. */
static char *letters_text(void)
{
    tn_str s = { .max = 1 << 16 };

    tn_deepseek_letters_text(&s);
    return tn_str_take(&s);
}

tn_find_fn tn_scanner_for(const char *pattern, size_t n)
{
    char *letters;
    bool  same;

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].pattern) == n && memcmp(known[i].pattern, pattern, n) == 0) return known[i].find;
    if (n < 200 || n > 4096) return NULL; /* the letters' text has 700 bytes */
    letters = letters_text();
    same = letters != NULL && strlen(letters) == n && memcmp(letters, pattern, n) == 0;
    free(letters);
    return same ? tn_find_deepseek_letters : NULL;
}

/* The text of a scanner's pattern; made, NULL if tokenizer.json has no form for it. */
static char *text_of(tn_find_fn find)
{
    if (find == tn_find_deepseek_letters) return letters_text();
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].find == find) return tn_strdup(known[i].pattern);
    return NULL;
}

/* Patterns that leave no text between matches: keeping only the matches is the same as cutting at them. */
static bool matches_everything(tn_find_fn find)
{
    return find == tn_find_gpt2 || find == tn_find_llama3 || find == tn_find_qwen2 ||
           find == tn_find_qwen35 || find == tn_find_o200k || find == tn_find_tekken;
}

static bool same_passes(const tn_split *split, const tn_pre *pre)
{
    int i = 0;

    for (; i < split->n_pass && pre->pass[i] != NULL; i++) {
        const tn_pass *p = &split->pass[i];
        bool           isolated = p->behaviour == TN_ISOLATED && !p->invert;

        if (p->behaviour == TN_REMOVED && p->invert && matches_everything(p->find)) isolated = true;
        if (p->kind != TN_PASS_SCAN || p->find != pre->pass[i] || !isolated) return false;
    }
    return i == split->n_pass && (i == TN_MAX_PASS || pre->pass[i] == NULL);
}

const char *tn_tokenizer_pre(const tn_tokenizer *t)
{
    /* Names that other readers know best come first; the table has their relatives. */
    static const char *const first[] = { "gpt-2", "smollm",      "llama-bpe", "dbrx",
                                         "qwen2", "deepseek-v3", "gpt-4o",    NULL };

    if (t->model != TN_MODEL_BPE || !t->byte_level) return NULL;
    /* readers of GGUF do not normalise; NFC they leave to the caller */
    for (size_t i = 0; i < t->n_normaliser; i++)
        if (t->normaliser[i].kind != TN_STEP_FORM || t->normaliser[i].form != TN_NFC) return NULL;
    for (size_t i = 0; first[i] != NULL; i++) {
        const tn_pre *p = tn_pre_find(first[i]);

        if (((p->flags & TN_PRE_WHOLE) != 0) == t->ignore_merges && same_passes(&t->split, p)) return p->name;
    }
    for (size_t i = 0; i < sizeof pres / sizeof pres[0]; i++)
        if ((pres[i].flags & TN_PRE_CHARACTERS) == 0 &&
            ((pres[i].flags & TN_PRE_WHOLE) != 0) == t->ignore_merges && same_passes(&t->split, &pres[i]))
            return pres[i].name;
    return NULL;
}

bool tn_pre_spell(const char *name, char *pattern[TN_PRE_PASSES], bool *ignore_merges)
{
    const tn_pre *pre = tn_pre_find(name);
    int           n = 0;

    memset(pattern, 0, TN_PRE_PASSES * sizeof *pattern);
    if (pre == NULL || (pre->flags & TN_PRE_CHARACTERS) != 0) return false;
    *ignore_merges = (pre->flags & TN_PRE_WHOLE) != 0;
    for (; n < TN_MAX_PASS && pre->pass[n] != NULL && (pattern[n] = text_of(pre->pass[n])) != NULL; n++) {
    }
    if (n < TN_MAX_PASS && pre->pass[n] == NULL) return true;
    while (n-- > 0) {
        free(pattern[n]);
        pattern[n] = NULL;
    }
    return false;
}
