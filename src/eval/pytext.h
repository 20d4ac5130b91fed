/* pytext.h - text as the public harness's Python sees it: white space, case, characters, and its random draws
 * (private to this room). Rows, choices and shots must come out as they do there. */
#ifndef TN_EVAL_PYTEXT_H
#define TN_EVAL_PYTEXT_H

#include "base/str.h"

bool tn_py_space(uint32_t cp); /* str.isspace of one character */
/* Bytes of white space at the front of s[n]; length of s[n] without the white space at its end. */
size_t  tn_py_front(const char *s, size_t n);
size_t  tn_py_end(const char *s, size_t n);
int64_t tn_py_chars(const char *s); /* len() */
typedef enum tn_py_case { TN_PY_LOWER, TN_PY_UPPER, TN_PY_CAPITALIZE, TN_PY_TITLE } tn_py_case;
/* Appends s[n] in another case, by the characters' simple mappings. */
void tn_py_cased(tn_str *out, const char *s, size_t n, tn_py_case how);
/* Pieces of re.split(r"\s+", s): empty ones at the ends count. */
int64_t tn_py_words(const char *s);

/* random.Random(seed): the Mersenne Twister (Matsumoto and Nishimura 1998), as Python seeds it with a whole
 * number. */
typedef struct tn_py_random {
    uint32_t state[624];
    int      at;
} tn_py_random;
void     tn_py_seed(tn_py_random *r, uint64_t seed);
uint64_t tn_py_below(tn_py_random *r, uint64_t n); /* randrange(n), n >= 1 */
/* sample(range(n), k) into out[k]. LIMIT if k > n. */
tn_status tn_py_sample(tn_py_random *r, int64_t n, int64_t k, int64_t *out, tn_error *err);

#endif
