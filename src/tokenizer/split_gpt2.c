/* split_gpt2.c - the GPT-2 pattern and the ones built on it by passes before or after.
 *
 *   GPT-2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   StarCoder, SmolLM, Command R, Refact: \p{N} first     Falcon: punctuation first, then three ASCII digits
 *   Gemma 4: nothing but lines */
#include "tokenizer/scan.h"

INLINE size_t gpt2(const uint8_t *s, size_t n)
{
    size_t   first = s[0] == ' ', len;
    uint32_t mask;

    if (s[0] == '\'' && (len = contraction(s, n, false)) != 0) return len;
    if (first == n) return 1;
    mask = mask_at(s + first, &len);
    if ((mask & TN_UC_LETTER) != 0) return first + run_of(s + first, n - first, TN_UC_LETTER, SIZE_MAX);
    if ((mask & TN_UC_NUMBER) != 0) return first + run_of(s + first, n - first, TN_UC_NUMBER, SIZE_MAX);
    if ((mask & TN_UC_SPACE) == 0)
        return first + run_without(s + first, n - first, TN_UC_SPACE | TN_UC_LETTER | TN_UC_NUMBER);
    return white_space(s, n, false);
}

INLINE size_t one_number(const uint8_t *s, size_t n) { return run_of(s, n, TN_UC_NUMBER, 1); }
INLINE size_t numbers(const uint8_t *s, size_t n) { return run_of(s, n, TN_UC_NUMBER, SIZE_MAX); }

INLINE size_t three_ascii_digits(const uint8_t *s, size_t n)
{
    return n >= 3 && (unsigned)s[0] - '0' < 10 && (unsigned)s[1] - '0' < 10 && (unsigned)s[2] - '0' < 10 ? 3 : 0;
}

/* [\p{P}$+<=>^~|`]+, without the grave accent in the old default. */
INLINE size_t punctuation(const uint8_t *s, size_t n, bool grave)
{
    size_t i = 0, len;

    for (; i < n; i += len) {
        uint8_t c = s[i];
        bool    extra = c == '$' || c == '+' || c == '<' || c == '=' || c == '>' || c == '^' || c == '~' || c == '|' ||
                        (grave && c == '`');

        if ((mask_at(s + i, &len) & TN_UC_PUNCT) == 0 && !extra) break;
    }
    return i;
}

/* [^\n]+|[\n]+ : all that Gemma 4 asks for. */
INLINE size_t line(const uint8_t *s, size_t n)
{
    size_t i = 1;

    while (i < n && (s[i] == '\n') == (s[0] == '\n')) i++;
    return i;
}

FIND(tn_find_gpt2, gpt2(s + i, n - i))
FIND(tn_find_one_number, one_number(s + i, n - i))
FIND(tn_find_numbers, numbers(s + i, n - i))
FIND(tn_find_three_digits, three_ascii_digits(s + i, n - i))
FIND(tn_find_punctuation, punctuation(s + i, n - i, true))
FIND(tn_find_punctuation_default, punctuation(s + i, n - i, false))
FIND(tn_find_lines, line(s + i, n - i))
