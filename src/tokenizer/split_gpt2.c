/* split_gpt2.c - the GPT-2 pattern and the ones built on it by passes before or after.
 *
 *   GPT-2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   StarCoder, SmolLM, Command R, Refact: \p{N} first     Falcon: punctuation first, then three ASCII digits
 *   Gemma 4: nothing but lines */
#include "tokenizer/scan.h"

#include <string.h>

INLINE size_t gpt2(const uint8_t *s, size_t n)
{
    size_t   first = s[0] == ' ', len;
    uint32_t mask;

    if (s[0] == '\'' && (len = contraction(s, n, false)) != 0) return len;
    if (first == n) return 1;
    mask = mask_at(s + first, &len);
    if ((mask & TN_UC_LETTER) != 0) return first + run_of_letters(s + first, n - first, TN_UC_LETTER);
    if ((mask & TN_UC_NUMBER) != 0) return first + run_of(s + first, n - first, TN_UC_NUMBER, SIZE_MAX);
    if ((mask & TN_UC_SPACE) == 0)
        return first + run_without(s + first, n - first, TN_UC_SPACE | TN_UC_LETTER | TN_UC_NUMBER);
    return white_space(s, n, false);
}

INLINE size_t numbers(const uint8_t *s, size_t n) { return run_of(s, n, TN_UC_NUMBER, SIZE_MAX); }

INLINE size_t three_ascii_digits(const uint8_t *s, size_t n)
{
    return n >= 3 && (unsigned)s[0] - '0' < 10 && (unsigned)s[1] - '0' < 10 && (unsigned)s[2] - '0' < 10 ? 3
                                                                                                         : 0;
}

/* [\p{P}$+<=>^~|`]+, without the grave accent in the old default. */
INLINE size_t punctuation(const uint8_t *s, size_t n, bool grave)
{
    size_t i = 0, len;

    for (; i < n; i += len) {
        uint8_t c = s[i];
        bool    extra = c == '$' || c == '+' || c == '<' || c == '=' || c == '>' || c == '^' || c == '~' ||
                     c == '|' || (grave && c == '`');

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

/*  ?[^(\s|.,!?…。，、।۔،)]+ of BLOOM: the parenthesis and the bar stand inside the class. */
INLINE size_t bloom(const uint8_t *s, size_t n)
{
    size_t first = s[0] == ' ', i = first, len;

    for (; i < n; i += len) {
        uint32_t cp = tn_uc_decode(s + i, &len);

        if ((tn_uc_mask(cp) & TN_UC_SPACE) != 0 || cp == '(' || cp == ')' || cp == '|' || cp == '.' ||
            cp == ',' || cp == '!' || cp == '?' || cp == 0x2026 || cp == 0x3002 || cp == 0xff0c ||
            cp == 0x3001 || cp == 0x964 || cp == 0x6d4 || cp == 0x60c)
            break;
    }
    return i > first ? i : 0;
}

/* ASCII punctuation and symbols, and \p{P} above: what Punctuation splits at. */
INLINE size_t one_punctuation(const uint8_t *s)
{
    size_t len;

    if (s[0] < 0x80)
        return (s[0] >= '!' && s[0] <= '/') || (s[0] >= ':' && s[0] <= '@') || (s[0] >= '[' && s[0] <= '`') ||
               (s[0] >= '{' && s[0] <= '~');
    return (mask_at(s, &len) & TN_UC_PUNCT) != 0 ? len : 0;
}

/* \w+|[^\w\s]+ */
INLINE size_t words(const uint8_t *s, size_t n)
{
    size_t i = 0, len;
    bool   word = false;

    for (; i < n; i += len) {
        uint32_t cp = tn_uc_decode(s + i, &len);
        bool     now = tn_uc_is_word(cp);
        if (i == 0) word = now;
        if (now != word || (!now && (tn_uc_mask(cp) & TN_UC_SPACE) != 0)) break;
    }
    return i;
}

INLINE size_t marked_word(const uint8_t *s, size_t n)
{
    size_t         i = 0;
    const uint8_t *next;

    while (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) i += 3;
    next = i < n ? memmem(s + i, n - i, "\xe2\x96\x81", 3) : NULL;
    return next != NULL ? (size_t)(next - s) : n;
}

FIND(tn_find_marked_words, marked_word(s + i, n - i))
FIND(tn_find_bloom, bloom(s + i, n - i))
FIND(tn_find_one_punctuation, one_punctuation(s + i))
FIND(tn_find_words, words(s + i, n - i))
FIND(tn_find_one_space, run_of(s + i, n - i, TN_UC_SPACE, 1))
FIND(tn_find_gpt2, gpt2(s + i, n - i))
/* Digits are rare in text: ASCII that is none is passed over byte by byte. */
bool tn_find_one_number(const uint8_t *s, size_t n, size_t *begin, size_t *end)
{
    for (size_t i = 0, len; i < n; i += len) {
        len = 1;
        if (s[i] < 0x80 ? (unsigned)s[i] - '0' < 10 : (mask_at(s + i, &len) & TN_UC_NUMBER) != 0) {
            *begin = i;
            *end = i + len;
            return true;
        }
    }
    return false;
}
FIND(tn_find_numbers, numbers(s + i, n - i))
FIND(tn_find_three_digits, three_ascii_digits(s + i, n - i))
FIND(tn_find_punctuation, punctuation(s + i, n - i, true))
FIND(tn_find_punctuation_default, punctuation(s + i, n - i, false))
FIND(tn_find_lines, line(s + i, n - i))
