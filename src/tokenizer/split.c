/* split.c - names and texts of the known patterns, and the walk through a splitter's passes. */
#include "tokenizer/split.h"

#include <string.h>

#define SCANNER(name) bool name(const uint8_t *s, size_t n, size_t *begin, size_t *end);
SCANNER(tn_find_gpt2)
SCANNER(tn_find_one_number)
SCANNER(tn_find_numbers)
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

typedef struct walk { const tn_split *split; tn_piece_fn fn; void *arg; } walk;

static tn_status walk_pass(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err)
{
    const tn_pass *p = &w->split->pass[pass];
    size_t         at = 0, begin, end;

    if (n == 0) return TN_OK;
    if (pass == w->split->n_pass) return w->fn(w->arg, s, n, err);
    while (at < n && p->find(s + at, n - at, &begin, &end)) {
        if (begin > 0) TN_TRY(walk_pass(w, pass + 1, s + at, begin, err));
        TN_TRY(walk_pass(w, pass + 1, s + at + begin, end - begin, err));
        at += end;
    }
    return walk_pass(w, pass + 1, s + at, n - at, err);
}

tn_status tn_split_text(const tn_split *split, const uint8_t *s, size_t n, tn_piece_fn fn, void *arg, tn_error *err)
{
    walk w = { split, fn, arg };

    return walk_pass(&w, 0, s, n, err);
}
