/* split_cl100k.c - the cl100k family: Llama 3, Qwen, GLM, DBRX and relatives.
 *
 *   C|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+      C: contractions, any case
 *
 * Relatives differ in how many digits make a piece, in whether marks count as letters (Qwen 3.5), in having
 * contractions, and in what may trail a run of symbols. */
#include "tokenizer/scan.h"

typedef enum trail { TRAIL_NONE, TRAIL_NEWLINES, TRAIL_NEWLINES_AND_SLASH } trail;

/* Each caller passes constants, so that each gets a scanner of its own. */
INLINE size_t cl100k(const uint8_t *s, size_t n, bool with_contractions, uint32_t letter, size_t max_digits,
                     trail tail)
{
    const uint32_t word = letter | TN_UC_NUMBER;
    size_t         len, first;
    uint32_t       mask = mask_at(s, &len);

    if ((mask & letter) == 0) {
        if (with_contractions && s[0] == '\'' && (first = contraction(s, n, true)) != 0) return first;
        if ((mask & TN_UC_NUMBER) != 0) return run_of(s, n, TN_UC_NUMBER, max_digits);
    }
    /* A letter run, with any one character in front that is no letter, digit or line end. */
    if ((mask & (TN_UC_LETTER | TN_UC_NUMBER)) == 0 && s[0] != '\r' && s[0] != '\n') {
        size_t run = run_of_letters(s + len, n - len, letter);

        if (run != 0) return len + run;
    }
    if ((mask & letter) != 0) return run_of_letters(s, n, letter);
    first = s[0] == ' ';
    if (first < n) {
        size_t run = 0;

        for (size_t i = first; i < n; i += len) {
            if ((mask_at(s + i, &len) & (TN_UC_SPACE | word)) != 0) break;
            if (tail == TRAIL_NONE && (s[i] == '\r' || s[i] == '\n')) break;
            run = i + len;
        }
        if (run != 0) {
            if (tail != TRAIL_NONE)
                while (run < n && (s[run] == '\r' || s[run] == '\n' ||
                                   (tail == TRAIL_NEWLINES_AND_SLASH && s[run] == '/')))
                    run++;
            return run;
        }
    }
    return white_space(s, n, true);
}

FIND(tn_find_llama3, cl100k(s + i, n - i, true, TN_UC_LETTER, 3, TRAIL_NEWLINES))
FIND(tn_find_qwen2, cl100k(s + i, n - i, true, TN_UC_LETTER, 1, TRAIL_NEWLINES))
FIND(tn_find_qwen35, cl100k(s + i, n - i, true, TN_UC_LETTER | TN_UC_MARK, 1, TRAIL_NEWLINES))
FIND(tn_find_seed_coder, cl100k(s + i, n - i, true, TN_UC_LETTER, 1, TRAIL_NONE))
FIND(tn_find_ufakzeka, cl100k(s + i, n - i, false, TN_UC_LETTER, 1, TRAIL_NEWLINES))
FIND(tn_find_minicpm5, cl100k(s + i, n - i, true, TN_UC_LETTER, SIZE_MAX, TRAIL_NEWLINES))
