/* split_deepseek.c - the patterns of DeepSeek LLM, Coder and V3, each a sequence of passes.
 *
 *   LLM     [\r\n] · \s?[cased letters]+ · \s?[ASCII and full-width punctuation]+ · \s+$ · [CJK, Hangul]+ · \p{N}+
 *   Coder   [\r\n] · \s?\p{L}+ · \s?\p{P}+ · [CJK, Hangul]+ · \p{N}
 *   V3      \p{N}{1,3} · [CJK, Kana]+ · [ASCII punct][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
 *           |\s*[\r\n]+|\s+(?!\S)|\s+ */
#include "tokenizer/scan.h"

#include "base/str.h"

/* The letters that the LLM pattern lists: those with case, as of the Unicode version its authors used. First,
 * last. */
// clang-format off
static const uint32_t cased[][2] = {
    {0xb5, 0xb5}, {0xc0, 0xd6}, {0xd8, 0xf6}, {0xf8, 0x1ba}, {0x1bc, 0x1bf}, {0x1c4, 0x293}, {0x295, 0x2af},
    {0x370, 0x373}, {0x376, 0x377}, {0x37b, 0x37d}, {0x37f, 0x37f}, {0x386, 0x386}, {0x388, 0x38a}, {0x38c, 0x38c},
    {0x38e, 0x3a1}, {0x3a3, 0x3f5}, {0x3f7, 0x481}, {0x48a, 0x52f}, {0x531, 0x556}, {0x10a0, 0x10c5},
    {0x13a0, 0x13f5}, {0x13f8, 0x13fd}, {0x1c90, 0x1cba}, {0x1cbd, 0x1cbf}, {0x1d00, 0x1d2b}, {0x1d6b, 0x1d77},
    {0x1d79, 0x1d9a}, {0x1e00, 0x1f15}, {0x1f18, 0x1f1d}, {0x1f20, 0x1f45}, {0x1f48, 0x1f4d}, {0x1f50, 0x1f57},
    {0x1f59, 0x1f59}, {0x1f5b, 0x1f5b}, {0x1f5d, 0x1f5d}, {0x1f5f, 0x1f7d}, {0x1f80, 0x1fb4}, {0x1fb6, 0x1fbc},
    {0x1fbe, 0x1fbe}, {0x1fc2, 0x1fc4}, {0x1fc6, 0x1fcc}, {0x1fd0, 0x1fd3}, {0x1fd6, 0x1fdb}, {0x1fe0, 0x1fec},
    {0x1ff2, 0x1ff4}, {0x1ff6, 0x1ffc}, {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210a, 0x2113}, {0x2115, 0x2115},
    {0x2119, 0x211d}, {0x2124, 0x2124}, {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212a, 0x212d}, {0x212f, 0x2134},
    {0x2139, 0x2139}, {0x213c, 0x213f}, {0x2145, 0x2149}, {0x214e, 0x214e}, {0x2183, 0x2184}, {0x2c00, 0x2c7b},
    {0x2c7e, 0x2ce4}, {0x2ceb, 0x2cee}, {0x2cf2, 0x2cf3}, {0xa640, 0xa66d}, {0xa680, 0xa69b}, {0xa722, 0xa76f},
    {0xa771, 0xa787}, {0xa78b, 0xa78e}, {0xab70, 0xabbf}, {0xfb00, 0xfb06}, {0xfb13, 0xfb17}, {0xff21, 0xff3a},
    {0xff41, 0xff5a}, {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2},
    {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};
// clang-format on

static bool is_cased(uint32_t cp)
{
    size_t lo = 0, hi = sizeof cased / sizeof cased[0];

    if (cp < 0x80) return (cp | 0x20) - 'a' < 26;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (cased[mid][1] < cp) lo = mid + 1;
        else hi = mid;
    }
    return lo < sizeof cased / sizeof cased[0] && cased[lo][0] <= cp;
}

static bool is_llm_punctuation(uint32_t cp)
{
    return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '~') || (cp >= 0xff01 && cp <= 0xff0f) ||
           (cp >= 0xff1a && cp <= 0xff5e) || (cp >= 0x2018 && cp <= 0x201f) || (cp >= 0x3000 && cp <= 0x3002);
}

/* U+4E00 to U+9FA5, U+0800 to U+4E00, U+AC00 to U+D7FF. */
static bool is_llm_cjk(uint32_t cp)
{
    return (cp >= 0x800 && cp <= 0x9fa5) || (cp >= 0xac00 && cp <= 0xd7ff);
}
static bool is_v3_cjk(uint32_t cp)
{
    return (cp >= 0x4e00 && cp <= 0x9fa5) || (cp >= 0x3040 && cp <= 0x30ff);
}

static void add_character(tn_str *s, uint32_t cp)
{
    char buf[4];
    int  n = tn_utf8_encode(cp, buf);

    tn_str_add_n(s, buf, (size_t)n);
}

void tn_deepseek_letters_text(tn_str *out)
{
    tn_str_add(out, "\\s?[A-Za-z");
    for (size_t i = 0; i < sizeof cased / sizeof cased[0]; i++) {
        add_character(out, cased[i][0]);
        if (cased[i][1] > cased[i][0] + 1) tn_str_add_char(out, '-');
        if (cased[i][1] > cased[i][0]) add_character(out, cased[i][1]);
    }
    tn_str_add(out, "]+");
}

/* A run of characters that `is` accepts, with one white space in front if `space`. */
INLINE size_t run_if(const uint8_t *s, size_t n, bool (*is)(uint32_t), bool space)
{
    size_t i = 0, len, start = 0;

    for (int attempt = 0; attempt < 2; attempt++) {
        start = 0;
        if (attempt == 0) { /* \s? takes a space first, and gives it back if nothing follows */
            if (!space || (mask_at(s, &len) & TN_UC_SPACE) == 0) continue;
            start = len;
        }
        for (i = start; i < n; i += len)
            if (!is(tn_uc_decode(s + i, &len))) break;
        if (i > start) return i;
    }
    return 0;
}

INLINE size_t run_of_class(const uint8_t *s, size_t n, uint32_t set, bool space)
{
    size_t len, start = space && (mask_at(s, &len) & TN_UC_SPACE) != 0 ? len : 0,
                run = run_of(s + start, n - start, set, SIZE_MAX);

    return run != 0 ? start + run : 0;
}

INLINE size_t line_end(const uint8_t *s) { return s[0] == '\r' || s[0] == '\n'; }

INLINE size_t space_to_end(const uint8_t *s, size_t n)
{
    size_t run = run_of(s, n, TN_UC_SPACE, SIZE_MAX);

    return run == n ? run : 0;
}

static bool is_ascii_letter(uint8_t c) { return (c | 0x20u) - 'a' < 26; }
static bool is_ascii_punctuation(uint8_t c)
{
    return c > ' ' && c < 0x7f && !is_ascii_letter(c) && (c < '0' || c > '9');
}

INLINE size_t v3_words(const uint8_t *s, size_t n)
{
    const uint32_t word = TN_UC_LETTER | TN_UC_MARK, sign = TN_UC_PUNCT | TN_UC_SYMBOL;
    size_t         len, first, run;
    uint32_t       mask = mask_at(s, &len);

    if (is_ascii_punctuation(s[0]) && n > 1 && is_ascii_letter(s[1])) {
        for (run = 2; run < n && is_ascii_letter(s[run]);) run++;
        return run;
    }
    if ((mask & (TN_UC_LETTER | sign)) == 0 && s[0] != '\r' && s[0] != '\n' &&
        (run = run_of(s + len, n - len, word, SIZE_MAX)) != 0)
        return len + run;
    if ((mask & word) != 0) return run_of(s, n, word, SIZE_MAX);
    first = s[0] == ' ';
    if ((run = run_of(s + first, n - first, sign, SIZE_MAX)) != 0) {
        for (run += first; run < n && (s[run] == '\r' || s[run] == '\n');) run++;
        return run;
    }
    return white_space(s, n, true);
}

FIND(tn_find_line_end, line_end(s + i))
FIND(tn_find_deepseek_letters, run_if(s + i, n - i, is_cased, true))
FIND(tn_find_deepseek_punctuation, run_if(s + i, n - i, is_llm_punctuation, true))
FIND(tn_find_space_to_end, space_to_end(s + i, n - i))
FIND(tn_find_deepseek_cjk, run_if(s + i, n - i, is_llm_cjk, false))
FIND(tn_find_spaced_letters, run_of_class(s + i, n - i, TN_UC_LETTER, true))
FIND(tn_find_spaced_punctuation, run_of_class(s + i, n - i, TN_UC_PUNCT, true))
FIND(tn_find_three_numbers, run_of(s + i, n - i, TN_UC_NUMBER, 3))
FIND(tn_find_v3_cjk, run_if(s + i, n - i, is_v3_cjk, false))
FIND(tn_find_v3_words, v3_words(s + i, n - i))
