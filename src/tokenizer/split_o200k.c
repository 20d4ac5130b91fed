/* split_o200k.c - the o200k pattern (GPT-4o, gpt-oss) and Tekken, which has no contractions and single
 * digits.
 *
 *   U = Lu Lt Lm Lo M, W = Ll Lm Lo M, C = contractions in any case
 *   P?U*W+C? | P?U+W*C? | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n/]* | \s*[\r\n]+ | \s+(?!\S) | \s+        P = [^\r\n\p{L}\p{N}] */
#include "tokenizer/scan.h"

#define SHARED (TN_UC_CASELESS | TN_UC_MARK) /* in U and in W */
#define UPPER (TN_UC_UPPER | SHARED)
#define LOWER (TN_UC_LL | SHARED)

/* U*W+ at the front: U* takes all it can; if no W follows it gives back down to its last character that is
 * also in W. */
INLINE size_t upper_then_lower(const uint8_t *s, size_t n)
{
    size_t   i = 0, len, shared_end = 0, run;
    uint32_t mask;

    for (; i < n && ((mask = mask_at(s + i, &len)) & UPPER) != 0; i += len)
        if ((mask & SHARED) != 0) shared_end = i + len;
    if ((run = run_of(s + i, n - i, LOWER, SIZE_MAX)) != 0) return i + run;
    return shared_end;
}

/* U+W* at the front. */
INLINE size_t upper_maybe_lower(const uint8_t *s, size_t n)
{
    size_t run = run_of(s, n, UPPER, SIZE_MAX);

    return run != 0 ? run + run_of(s + run, n - run, LOWER, SIZE_MAX) : 0;
}

INLINE size_t o200k(const uint8_t *s, size_t n, bool with_contractions, size_t max_digits)
{
    size_t   len, first, run = 0;
    uint32_t mask = mask_at(s, &len);
    bool     prefix = (mask & (TN_UC_LETTER | TN_UC_NUMBER)) == 0 && s[0] != '\r' && s[0] != '\n';
    bool     word = (mask & (UPPER | LOWER)) != 0;

    if (prefix && (run = upper_then_lower(s + len, n - len)) != 0) run += len;
    if (run == 0 && word) run = upper_then_lower(s, n);
    if (run == 0 && prefix && (run = upper_maybe_lower(s + len, n - len)) != 0) run += len;
    if (run == 0 && word) run = upper_maybe_lower(s, n);
    if (run != 0) return run + (with_contractions ? contraction(s + run, n - run, true) : 0);
    if ((mask & TN_UC_NUMBER) != 0) return run_of(s, n, TN_UC_NUMBER, max_digits);
    first = s[0] == ' ';
    if ((run = run_without(s + first, n - first, TN_UC_SPACE | TN_UC_LETTER | TN_UC_NUMBER)) != 0) {
        for (run += first; run < n && (s[run] == '\r' || s[run] == '\n' || s[run] == '/');) run++;
        return run;
    }
    return white_space(s, n, true);
}

FIND(tn_find_o200k, o200k(s + i, n - i, true, 3))
FIND(tn_find_tekken, o200k(s + i, n - i, false, 1))
