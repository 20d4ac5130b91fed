/* regex.h - patterns of tokenizer.json that no scanner knows, by PCRE2 with limits. Private to this room. */
#ifndef TN_TOKENIZER_REGEX_H
#define TN_TOKENIZER_REGEX_H

#include "base/err.h"

typedef struct tn_regex tn_regex;
/* UNSUPPORTED if the pattern uses what PCRE2 reads otherwise than Oniguruma does. */
tn_status tn_regex_create(tn_regex **out, const char *pattern, size_t n, const char *where, tn_error *err);
void      tn_regex_destroy(tn_regex *r);
typedef tn_status (*tn_match_fn)(void *arg, size_t begin, size_t end, tn_error *err);
/* Every non-empty match, left to right. LIMIT when matching costs too much. Shared by threads. s is
 * well-formed UTF-8. */
tn_status tn_regex_each(const tn_regex *r, const uint8_t *s, size_t n, tn_match_fn fn, void *arg,
                        tn_error *err);

#endif
