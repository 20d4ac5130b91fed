/* cases.h - golden cases of tests/golden/tokenizer: blocks of lines, a blank line between, '#' begins a
 * comment. */
#ifndef TESTS_TOKENIZER_CASES_H
#define TESTS_TOKENIZER_CASES_H

#include "base/json.h"

#include <stdio.h>
#include "tokenizer/tokenizer.h"

enum { CASE_LINES = 4 };
typedef struct tok_case {
    char line[CASE_LINES][16384];
    int  n, at;
} tok_case;
typedef struct case_file {
    FILE  *f;
    char  *line;
    size_t cap;
    int    number;
} case_file;

/* below tests/golden/tokenizer; the tests' working folder is the root */
bool    case_open(case_file *c, const char *name);
bool    case_next(case_file *c, tok_case *out);
void    case_close(case_file *c);
json_t *case_json(const char *text); /* any JSON value; NULL if malformed */

/* bpe, llama, unigram (tokenizer.json) or spm (spm.vocab); NULL after printing why. */
tn_tokenizer *golden_tokenizer(const char *name);
/* A file below tests/golden/tokenizer. made: free. */
char *golden_text(const char *name, size_t *n);

#endif
