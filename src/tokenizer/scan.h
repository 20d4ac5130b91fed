/* scan.h - what the hand-written scanners share. Private to split_*.c.
 *
 * A scanner is an inline function from the front of a text to the length of the match there (0: none). FIND
 * makes the search of it: the first place with a match. Scanners never look behind, so this is what a regular
 * expression finds. */
#ifndef TN_TOKENIZER_SCAN_H
#define TN_TOKENIZER_SCAN_H

#include "tokenizer/split.h"
#include "tokenizer/unicode.h"

#include <string.h>

#define FIND(name, scan)                                                                                     \
    bool name(const uint8_t *s, size_t n, size_t *begin, size_t *end);                                       \
    bool name(const uint8_t *s, size_t n, size_t *begin, size_t *end)                                        \
    {                                                                                                        \
        size_t i = 0, len;                                                                                   \
                                                                                                             \
        while (i < n) {                                                                                      \
            if ((len = (scan)) != 0) {                                                                       \
                *begin = i;                                                                                  \
                *end = i + len;                                                                              \
                return true;                                                                                 \
            }                                                                                                \
            do i++;                                                                                          \
            while (i < n && (s[i] & 0xc0) == 0x80);                                                          \
        }                                                                                                    \
        return false;                                                                                        \
    }

#define INLINE static inline __attribute__((always_inline))

/* Class mask of the character at s, and its length. n > 0. */
INLINE uint32_t mask_at(const uint8_t *s, size_t *len)
{
    if (s[0] < 0x80) {
        uint32_t c = tn_uc_class_block[s[0]];

        *len = 1;
        return 1u << (c & 31) | (c & 0x60) << 25;
    }
    return tn_uc_mask(tn_uc_decode(s, len));
}

/* Bytes of ASCII letters at the front of eight: the lowest byte that is none. Bit tricks on one word (Warren,
 * Hacker's Delight, chapter 6): a byte is a letter when adding to its lower-case form carries for 'a' and not
 * for 'z' + 1. */
INLINE size_t ascii_letters_of_8(uint64_t v)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t       low = (v | 0x20 * ones) & ~high;
    uint64_t       from_a = low + (0x80 - 'a') * ones;
    uint64_t       after_z = low + (0x80 - 'z' - 1) * ones;
    uint64_t       other = ~(from_a & ~after_z & ~v) & high;

    return other == 0 ? 8 : (size_t)__builtin_ctzll(other) / 8;
}

/* Bytes of the longest run of characters of `set`, which contains the ASCII letters and no other ASCII
 * character. */
INLINE size_t run_of_letters(const uint8_t *s, size_t n, uint32_t set)
{
    size_t i = 0, len;

    for (;;) {
        uint64_t eight;
        size_t   k;

        while (n - i >= 8 && (memcpy(&eight, s + i, 8), (k = ascii_letters_of_8(eight)) > 0)) {
            i += k;
            if (k < 8) break;
        }
        if (i >= n || (mask_at(s + i, &len) & set) == 0) return i;
        i += len;
    }
}

/* Bytes of the longest run of at most `max` characters with a class in `set` at the front. */
INLINE size_t run_of(const uint8_t *s, size_t n, uint32_t set, size_t max)
{
    size_t i = 0, len;

    for (size_t k = 0; k < max && i < n && (mask_at(s + i, &len) & set) != 0; k++) i += len;
    return i;
}

/* Bytes of the longest run of characters that have no class of `set`. */
INLINE size_t run_without(const uint8_t *s, size_t n, uint32_t set)
{
    size_t i = 0, len;

    for (; i < n && (mask_at(s + i, &len) & set) == 0; i += len) {
    }
    return i;
}

/* 's 't 're 've 'm 'll 'd at the front; folded: in any case, where the long s (U+017F) counts as s. */
INLINE size_t contraction(const uint8_t *s, size_t n, bool fold)
{
    uint8_t a, b;

    if (n < 2 || s[0] != '\'') return 0;
    a = fold && s[1] < 0x80 ? s[1] | 0x20 : s[1];
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return fold || s[1] == a ? 2 : 0;
    if (n < 3) return 0;
    if (fold && s[1] == 0xc5 && s[2] == 0xbf) return 3;
    b = fold && s[2] < 0x80 ? s[2] | 0x20 : s[2];
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* White space at the front, by the rules that most patterns end with:
 *   newline:  \s*[\r\n]+ before all     then  \s+(?!\S) | \s+
 * A run before other text leaves its last character to what follows. */
INLINE size_t white_space(const uint8_t *s, size_t n, bool newline)
{
    size_t i = 0, last = 0, after_newline = 0, len;

    while (i < n && (mask_at(s + i, &len) & TN_UC_SPACE) != 0) {
        last = i;
        i += len;
        if (newline && (s[last] == '\n' || s[last] == '\r')) after_newline = i;
    }
    if (after_newline != 0) return after_newline;
    return i == n || last == 0 ? i : last;
}

#endif
