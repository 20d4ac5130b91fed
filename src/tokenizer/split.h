/* split.h - pre-tokenisation: text into pieces that no merge crosses.
 *
 * A splitter is a list of passes. Each cuts the pieces of the pass before: matches and the text between them
 * become pieces. A known pattern is a hand-written scanner; an unknown one of tokenizer.json is a compiled
 * regular expression. Text given to a splitter is well-formed UTF-8. */
#ifndef TN_TOKENIZER_SPLIT_H
#define TN_TOKENIZER_SPLIT_H

#include "base/err.h"

/* Finds the next match in s[0, n): false if there is none; else 0 <= *begin < *end <= n. */
typedef bool (*tn_find_fn)(const uint8_t *s, size_t n, size_t *begin, size_t *end);

struct tn_regex;
/* What becomes of a match: its own piece, dropped, or joined to the text before or after it, or to the match
 * before. */
typedef enum tn_behaviour {
    TN_ISOLATED,
    TN_REMOVED,
    TN_WITH_PREVIOUS,
    TN_WITH_NEXT,
    TN_CONTIGUOUS
} tn_behaviour;

typedef enum tn_pass_kind {
    TN_PASS_SCAN,
    TN_PASS_REGEX,
    TN_PASS_LITERAL,        /* cut at matches */
    TN_PASS_SPACE_IN_FRONT, /* a space before a piece that does not begin with one */
    TN_PASS_METASPACE       /* spaces become U+2581, one in front as `prepend` says */
} tn_pass_kind;

typedef struct tn_pass {
    tn_pass_kind     kind;
    tn_find_fn       find;
    struct tn_regex *regex; /* owned */
    char             literal[16];
    tn_behaviour     behaviour;
    bool             invert; /* the text between matches is what counts as matched */
    enum { TN_PREPEND_NEVER, TN_PREPEND_FIRST, TN_PREPEND_ALWAYS } prepend;
} tn_pass;

enum { TN_MAX_PASS = 12 };
typedef struct tn_split {
    tn_pass pass[TN_MAX_PASS];
    int     n_pass;
} tn_split;

/* WHOLE: a piece that is a token is taken without merging. CHARACTERS: merges over characters, spaces as
 * U+2581; else over bytes. */
enum { TN_PRE_WHOLE = 1, TN_PRE_BOS = 2, TN_PRE_CHARACTERS = 4 };
/* A named family of patterns, as GGUF's tokenizer.ggml.pre calls it. */
typedef struct tn_pre {
    const char *name;
    tn_find_fn  pass[TN_MAX_PASS];
    unsigned    flags;
} tn_pre;
/* NULL if the name is not known. */
const tn_pre *tn_pre_find(const char *name);
/* The scanner that does the same as a pattern's text, or NULL. */
tn_find_fn tn_scanner_for(const char *pattern, size_t n);
struct tn_str;
/* split_deepseek.c: "\\s?[A-Za-z...]+", the pattern of tn_find_deepseek_letters. */
void tn_deepseek_letters_text(struct tn_str *out);

typedef tn_status (*tn_piece_fn)(void *arg, const uint8_t *s, size_t n, tn_error *err);
/* at_start: s is the very beginning of what is tokenised (TN_PREPEND_FIRST asks). */
tn_status tn_split_text(const tn_split *split, const uint8_t *s, size_t n, bool at_start, tn_piece_fn fn,
                        void *arg, tn_error *err);
void      tn_split_free(tn_split *split);

/* Scanners that tokenizer.json's own pre-tokenisers need. */
bool tn_find_gpt2(const uint8_t *s, size_t n, size_t *begin, size_t *end);
bool tn_find_one_number(const uint8_t *s, size_t n, size_t *begin, size_t *end);
bool tn_find_numbers(const uint8_t *s, size_t n, size_t *begin, size_t *end);
bool tn_find_one_punctuation(const uint8_t *s, size_t n, size_t *begin, size_t *end);
bool tn_find_words(const uint8_t *s, size_t n, size_t *begin, size_t *end);
/* U+2581* and what follows up to the next one. */
bool tn_find_marked_words(const uint8_t *s, size_t n, size_t *begin, size_t *end);
bool tn_find_one_space(const uint8_t *s, size_t n, size_t *begin, size_t *end);

#endif
