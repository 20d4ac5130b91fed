/* unicode.h - character classes, normal forms and lower case, from generated tables (Unicode 16.0.0).
 *
 * The class of a character is one byte: general category in bits 0-4, White_Space in bit 5, script Han in bit
 * 6. As a mask, a set of categories is tested with one AND. */
#ifndef TN_TOKENIZER_UNICODE_H
#define TN_TOKENIZER_UNICODE_H

#include "base/str.h"

extern const uint16_t tn_uc_class_index[8704];
extern const uint8_t  tn_uc_class_block[];
extern const uint16_t tn_uc_norm_index[8704]; /* combining class in bits 0-7, then the TN_UC_NORM_ flags */
extern const uint16_t tn_uc_norm_block[];
/* rows of cp, canonical offset and length, compatible offset, length */
extern const uint32_t tn_uc_decomposition[];
extern const uint32_t tn_uc_decomposition_pool[];
extern const uint32_t tn_uc_composition[]; /* rows of first, second, composed; sorted */
extern const uint32_t tn_uc_lower[];       /* rows of cp, lower, second lower or 0; sorted */
extern const size_t   tn_uc_n_decomposition, tn_uc_n_composition, tn_uc_n_lower;

/* General categories in the order of the generator. */
enum {
    TN_GC_CN,
    TN_GC_LU,
    TN_GC_LL,
    TN_GC_LT,
    TN_GC_LM,
    TN_GC_LO,
    TN_GC_MN,
    TN_GC_MC,
    TN_GC_ME,
    TN_GC_ND,
    TN_GC_NL,
    TN_GC_NO,
    TN_GC_PC,
    TN_GC_PD,
    TN_GC_PS,
    TN_GC_PE,
    TN_GC_PI,
    TN_GC_PF,
    TN_GC_PO,
    TN_GC_SM,
    TN_GC_SC,
    TN_GC_SK,
    TN_GC_SO,
    TN_GC_ZS,
    TN_GC_ZL,
    TN_GC_ZP,
    TN_GC_CC,
    TN_GC_CF,
    TN_GC_CS,
    TN_GC_CO
};

#define TN_UC_LU (1u << TN_GC_LU)
#define TN_UC_LL (1u << TN_GC_LL)
#define TN_UC_UPPER (TN_UC_LU | 1u << TN_GC_LT) /* letters that only begin or are capitals */
#define TN_UC_CASELESS (1u << TN_GC_LM | 1u << TN_GC_LO)
#define TN_UC_LETTER (TN_UC_UPPER | TN_UC_LL | TN_UC_CASELESS) /* \p{L} */
#define TN_UC_MARK (7u << TN_GC_MN)                            /* \p{M} */
#define TN_UC_NUMBER (7u << TN_GC_ND)                          /* \p{N} */
#define TN_UC_PUNCT (127u << TN_GC_PC)                         /* \p{P} */
#define TN_UC_SYMBOL (15u << TN_GC_SM)                         /* \p{S} */
#define TN_UC_SPACE (1u << 30)                                 /* \s, that is White_Space */
#define TN_UC_HAN (1u << 31)

enum { TN_UC_NORM_CANON = 256, TN_UC_NORM_COMPAT = 512, TN_UC_NORM_SECOND = 1024 };

/* cp below 0x110000. */
static inline uint32_t tn_uc_mask(uint32_t cp)
{
    uint32_t c = tn_uc_class_block[(uint32_t)tn_uc_class_index[cp >> 7] * 128 + (cp & 127)];

    return 1u << (c & 31) | (c & 0x60) << 25;
}

/* \w: letters, marks, digits, connectors, joiners, and the symbols that Unicode counts as alphabetic (letters
 * in circles). */
static inline bool tn_uc_is_word(uint32_t cp)
{
    return (tn_uc_mask(cp) &
            (TN_UC_LETTER | TN_UC_MARK | 1u << TN_GC_ND | 1u << TN_GC_NL | 1u << TN_GC_PC)) != 0 ||
           cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9) ||
           (cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
           (cp >= 0x1f170 && cp <= 0x1f189);
}

/* One character of valid UTF-8; *len gets its bytes. */
static inline uint32_t tn_uc_decode(const uint8_t *s, size_t *len)
{
    if (s[0] < 0x80) {
        *len = 1;
        return s[0];
    }
    if (s[0] < 0xe0) {
        *len = 2;
        return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
    }
    if (s[0] < 0xf0) {
        *len = 3;
        return (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    }
    *len = 4;
    return (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

/* Bytes of a well-formed character at the front of s, or 0: no overlong forms, no surrogates, nothing over
 * U+10FFFF. */
size_t tn_uc_char_bytes(const uint8_t *s, size_t n);
/* Index of the first byte that is not part of well-formed UTF-8, or n. */
size_t tn_uc_valid_prefix(const uint8_t *s, size_t n);
/* Copies s, each ill-formed byte becoming U+FFFD. */
void tn_uc_repair(tn_str *out, const uint8_t *s, size_t n);

typedef enum tn_uc_form { TN_NFC, TN_NFD, TN_NFKC, TN_NFKD } tn_uc_form;
/* Appends the normal form of valid UTF-8 to out; check out->failed. */
void tn_uc_normalise(tn_str *out, const uint8_t *s, size_t n, tn_uc_form form);
/* Appends s in lower case, character by character (no context rules). */
void tn_uc_lowercase(tn_str *out, const uint8_t *s, size_t n);

#endif
