/* str.c - growable byte strings, strict number parsers, shortest float texts, UTF-8 (see str.h). */
#include "base/str.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 64 };
static const size_t DEFAULT_MAX = (size_t)1 << 30;

/* --------------------------------------------------------------------------------------- growable strings */

void tn_str_free(tn_str *s)
{
    free(s->p);
    s->p = NULL;
    s->len = s->cap = 0;
    s->failed = false;
}

void tn_str_clear(tn_str *s)
{
    s->len = 0;
    s->failed = false;
    if (s->p != NULL) s->p[0] = '\0';
}

/* Room for n more bytes and the NUL; false (and failed) if there is none. */
static bool str_reserve(tn_str *s, size_t n)
{
    size_t max = s->max == 0 ? DEFAULT_MAX : s->max, need, cap;
    char  *p;

    if (s->failed) return false;
    if (n > max || s->len > max - n) {
        s->failed = true;
        return false;
    }
    need = s->len + n + 1;
    if (need <= s->cap) return true;
    cap = s->cap < FIRST_CAP ? FIRST_CAP : s->cap;
    while (cap < need) cap += cap / 2 + 16;
    if (cap > max + 1) cap = max + 1;
    if ((p = realloc(s->p, cap)) == NULL) {
        s->failed = true;
        return false;
    }
    s->p = p;
    s->cap = cap;
    return true;
}

void tn_str_add_n(tn_str *s, const void *bytes, size_t n)
{
    if (!str_reserve(s, n)) return;
    if (n > 0) memcpy(s->p + s->len, bytes, n);
    s->len += n;
    s->p[s->len] = '\0';
}

void tn_str_add(tn_str *s, const char *text) { tn_str_add_n(s, text, strlen(text)); }
void tn_str_add_char(tn_str *s, char c) { tn_str_add_n(s, &c, 1); }

void tn_str_addv(tn_str *s, const char *fmt, va_list ap)
{
    va_list again;
    int     n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) {
        s->failed = true;
        return;
    }
    if (!str_reserve(s, (size_t)n)) return;
    vsnprintf(s->p + s->len, (size_t)n + 1, fmt, ap);
    s->len += (size_t)n;
}

void tn_str_addf(tn_str *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tn_str_addv(s, fmt, ap);
    va_end(ap);
}

tn_status tn_str_check(const tn_str *s, tn_error *err)
{
    if (!s->failed) return TN_OK;
    return tn_fail(err, TN_LIMIT,
                   "a text went over its limit of %zu bytes, or memory ran out (%zu bytes so far)",
                   s->max == 0 ? DEFAULT_MAX : s->max, s->len);
}

char *tn_str_take(tn_str *s)
{
    char *p = NULL;

    if (!s->failed) p = s->p != NULL ? s->p : calloc(1, 1);
    if (p == NULL) free(s->p);
    s->p = NULL;
    s->len = s->cap = 0;
    s->failed = false;
    return p;
}

bool tn_starts_with(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

bool tn_ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *tn_strdup(const char *s) { return tn_strndup(s, strlen(s)); }

char *tn_strndup(const char *s, size_t n)
{
    char *p;

    n = strnlen(s, n);
    if ((p = malloc(n + 1)) == NULL) return NULL;
    memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *tn_strf(const char *fmt, ...)
{
    tn_str  s = { 0 };
    va_list ap;

    va_start(ap, fmt);
    tn_str_addv(&s, fmt, ap);
    va_end(ap);
    return tn_str_take(&s);
}

/* -------------------------------------------------------------------------------------------- comma lists */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool tn_list_next(const char **p, const char **item, size_t *n)
{
    while (*p != NULL && **p != '\0') {
        const char *s = *p, *end = s + strcspn(s, ",");

        *p = end + (*end == ',');
        while (s < end && is_blank(*s)) s++;
        while (s < end && is_blank(end[-1])) end--;
        *item = s;
        *n = (size_t)(end - s);
        if (s < end) return true;
    }
    return false;
}

bool tn_list_next_set(const char **p, const char **item, size_t *n)
{
    const char *more;
    size_t      n_more;

    if (!tn_list_next(p, item, n)) return false;
    for (const char *q = *p; tn_list_next(&q, &more, &n_more) && memchr(more, '=', n_more) == NULL; *p = q)
        *n = (size_t)(more + n_more - *item);
    return true;
}

bool tn_list_has(const char *list, const char *item)
{
    const char *s;
    size_t      n;

    while (tn_list_next(&list, &s, &n))
        if (strlen(item) == n && memcmp(s, item, n) == 0) return true;
    return false;
}

/* The pointers, then the bytes that they point to. */
char **tn_list_split(const char *list, size_t *n)
{
    const char *p = list, *s;
    size_t      len, n_item = 0, n_byte = 0, i = 0;
    char      **items;

    while (tn_list_next(&p, &s, &len)) {
        n_item++;
        n_byte += len + 1;
    }
    if ((items = malloc((n_item + 1) * sizeof *items + n_byte)) == NULL) return NULL;
    char *at = (char *)(items + n_item + 1);
    for (p = list; tn_list_next(&p, &s, &len); i++) {
        items[i] = at;
        memcpy(at, s, len);
        at[len] = '\0';
        at += len + 1;
    }
    items[n_item] = NULL;
    if (n != NULL) *n = n_item;
    return items;
}

/* ------------------------------------------------------------------------------------------------ numbers */

bool tn_parse_u64(const char *s, uint64_t *out)
{
    uint64_t v = 0;

    if (*s == '\0') return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9') return false;
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool tn_parse_i64(const char *s, int64_t *out)
{
    bool     negative = *s == '-';
    uint64_t v;

    if (!tn_parse_u64(s + negative, &v)) return false;
    if (v > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* -?digits[.digits][e[+-]digits], with digits before or after the point. */
static bool real_shape(const char *s)
{
    int n_digit = 0;

    if (*s == '-') s++;
    for (; *s >= '0' && *s <= '9'; s++) n_digit++;
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++) n_digit++;
    if (n_digit == 0) return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        if (*s == '+' || *s == '-') s++;
        if (*s < '0' || *s > '9') return false;
        while (*s >= '0' && *s <= '9') s++;
    }
    return *s == '\0';
}

/* The "C" locale, so that a host program with a decimal comma gets and reads the same texts. */
static locale_t       c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static void           make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

static locale_t enter_c_locale(void)
{
    pthread_once(&c_locale_once, make_c_locale);
    return c_locale != (locale_t)0 ? uselocale(c_locale) : (locale_t)0;
}

static void leave_c_locale(locale_t before)
{
    if (before != (locale_t)0) uselocale(before);
}

bool tn_parse_f64(const char *s, double *out)
{
    locale_t before;
    double   v;

    if (!real_shape(s)) return false;
    before = enter_c_locale();
    v = strtod(s, NULL);
    leave_c_locale(before);
    if (!isfinite(v)) return false;
    *out = v;
    return true;
}

const char *tn_f32_text(float v, char buf[32])
{
    locale_t before = enter_c_locale();

    for (int digits = 1; digits <= 9; digits++) {
        snprintf(buf, 32, "%.*g", digits, (double)v);
        if (strtof(buf, NULL) == v) break; /* never true for a NaN: "nan" comes out all the same */
    }
    leave_c_locale(before);
    return buf;
}

const char *tn_f64_text(double v, char buf[32])
{
    locale_t before = enter_c_locale();

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, 32, "%.*g", digits, v);
        if (strtod(buf, NULL) == v) break;
    }
    leave_c_locale(before);
    return buf;
}

/* -------------------------------------------------------------------------------------------------- UTF-8 */

const char *tn_i64_grouped(int64_t v, char buf[32])
{
    char digits[24];
    int  n = snprintf(digits, sizeof digits, "%lld", (long long)v), k = 0;

    for (int i = 0; i < n; i++) {
        buf[k++] = digits[i];
        if (digits[i] != '-' && i < n - 1 && (n - 1 - i) % 3 == 0) buf[k++] = ',';
    }
    buf[k] = '\0';
    return buf;
}

int tn_utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    uint32_t             c, lowest;
    int                  len;

    if (n == 0) return 0;
    if (u[0] < 0x80) {
        *cp = u[0];
        return 1;
    }
    if ((u[0] & 0xe0) == 0xc0) {
        len = 2;
        c = u[0] & 0x1f;
        lowest = 0x80;
    } else if ((u[0] & 0xf0) == 0xe0) {
        len = 3;
        c = u[0] & 0x0f;
        lowest = 0x800;
    } else if ((u[0] & 0xf8) == 0xf0) {
        len = 4;
        c = u[0] & 0x07;
        lowest = 0x10000;
    } else return 0;
    if (n < (size_t)len) return 0;
    for (int i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    if (c < lowest || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
    *cp = c;
    return len;
}

int tn_utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp >= 0xd800 && cp <= 0xdfff) return 0;
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff) return 0;
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t tn_utf8_valid_prefix(const char *s, size_t n)
{
    uint32_t cp;
    size_t   i = 0;

    for (int len; i < n && (len = tn_utf8_decode(s + i, n - i, &cp)) > 0;) i += (size_t)len;
    return i;
}

bool tn_utf8_valid(const char *s, size_t n) { return tn_utf8_valid_prefix(s, n) == n; }

/* ------------------------------------------------------------------------------------------- nearest name */

enum { LONGEST_NAME = 64 };

/* Edit distance (insert, delete, replace, swap of neighbours) of two words of at most LONGEST_NAME bytes. */
static int edit_distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    int  row[3][LONGEST_NAME + 1]; /* two rows back, for swaps; one back; this one */
    int *two = row[0], *one = row[1], *now = row[2];

    for (size_t j = 0; j <= n_b; j++) one[j] = (int)j;
    for (size_t i = 1; i <= n_a; i++) {
        int *oldest = two;
        now[0] = (int)i;
        for (size_t j = 1; j <= n_b; j++) {
            int best = one[j - 1] + (a[i - 1] != b[j - 1]);
            if (one[j] + 1 < best) best = one[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            now[j] = best;
        }
        two = one;
        one = now;
        now = oldest;
    }
    return one[n_b];
}

const char *tn_nearest(const char *word, const char *const *names)
{
    size_t      n = strlen(word);
    int         best = (int)(n + 2) / 3; /* a third, rounded up: one slip in a word of three letters */
    const char *found = NULL;

    if (n == 0 || n > LONGEST_NAME) return NULL;
    for (; *names != NULL; names++) {
        size_t m = strlen(*names);
        int    d;
        if (m > LONGEST_NAME) continue;
        d = edit_distance(word, n, *names, m);
        if (d <= best && (found == NULL || d < best) && (size_t)d < m) {
            found = *names;
            best = d;
        }
    }
    return found;
}

void tn_str_add_utf8(tn_str *s, const char *text, size_t n)
{
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        int len = tn_utf8_decode(text + i, n - i, &cp);

        if (len > 0) tn_str_add_n(s, text + i, (size_t)len);
        else tn_str_add(s, "\xef\xbf\xbd");
        i += len > 0 ? (size_t)len : 1;
    }
}
