/* str.h - growable byte strings with a maximum set at creation, so that hostile input cannot grow memory. */
#ifndef TN_BASE_STR_H
#define TN_BASE_STR_H

#include "base/err.h"
#include <stdarg.h>

typedef struct tn_str {
    char  *p; /* always NUL-terminated after the first append; NULL before */
    size_t len;
    size_t cap;
    size_t max;    /* 0 means 1 GiB */
    bool   failed; /* out of memory or over max: further appends do nothing; check once at the end */
} tn_str;

void      tn_str_free(tn_str *s);
void      tn_str_clear(tn_str *s);
void      tn_str_add(tn_str *s, const char *text);
void      tn_str_add_n(tn_str *s, const void *bytes, size_t n);
void      tn_str_add_char(tn_str *s, char c);
void      tn_str_addf(tn_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void      tn_str_addv(tn_str *s, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
tn_status tn_str_check(const tn_str *s, tn_error *err); /* NOMEM/LIMIT if failed */
char     *tn_str_take(tn_str *s);                       /* made: caller frees; "" if empty; NULL if failed */

bool  tn_starts_with(const char *s, const char *prefix);
bool  tn_ends_with(const char *s, const char *suffix);
char *tn_strdup(const char *s); /* made: free */
char *tn_strndup(const char *s, size_t n);
/* made: free; NULL if out of memory */
char *tn_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The next item of a comma list, without the blanks around it; empty items do not count. *p moves on; false
 * at the end, or if it is NULL. */
bool tn_list_next(const char **p, const char **item, size_t *n);
/* The same for a list of key=value: an item without '=' belongs to the value before it ("data=a,b,steps=5"
 * has two). */
bool tn_list_next_set(const char **p, const char **item, size_t *n);
bool tn_list_has(const char *list, const char *item);
/* All its items, and NULL behind the last one. made: free (one block); NULL if out of memory. n may be
 * NULL. */
char **tn_list_split(const char *list, size_t *n);
/* Strict decimal parsers: no sign tricks, no trailing bytes, no locale. false if malformed or out of
 * range. */
bool tn_parse_i64(const char *s, int64_t *out);
bool tn_parse_u64(const char *s, uint64_t *out);
bool tn_parse_f64(const char *s, double *out);
/* Shortest text that reads back as the same float/double; buf at least 32 bytes. */
const char *tn_f32_text(float v, char buf[32]);
const char *tn_f64_text(double v, char buf[32]);
/* "91,263,104"; buf at least 32 bytes. */
const char *tn_i64_grouped(int64_t v, char buf[32]);
/* UTF-8: decodes one code point at s (n bytes left); returns its length, or 0 if malformed. */
int tn_utf8_decode(const char *s, size_t n, uint32_t *cp);
int tn_utf8_encode(uint32_t cp, char out[4]);
/* Characters as they are, U+FFFD for each byte that is none: what JSON can hold. */
void tn_str_add_utf8(tn_str *s, const char *text, size_t n);
bool tn_utf8_valid(const char *s, size_t n);
/* Bytes in front of the first that does not belong to a well-formed character; n if there is none. */
size_t tn_utf8_valid_prefix(const char *s, size_t n);
/* Of `names` (NULL-ended), the one nearest to `word` by edit distance (at most a third of its length), or
 * NULL. */
const char *tn_nearest(const char *word, const char *const *names);

#endif
