/* pytext.c - Python's rules about text (see pytext.h). Case follows the C library's tables of the C.UTF-8
 * locale. */
#include "eval/pytext.h"

#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

bool tn_py_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

size_t tn_py_front(const char *s, size_t n)
{
    size_t   at = 0;
    uint32_t cp;

    for (int k; at < n && (k = tn_utf8_decode(s + at, n - at, &cp)) > 0 && tn_py_space(cp);) at += (size_t)k;
    return at;
}

size_t tn_py_end(const char *s, size_t n)
{
    uint32_t cp;

    while (n > 0) {
        size_t at = n - 1;
        while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80) at--;
        if (tn_utf8_decode(s + at, n - at, &cp) != (int)(n - at) || !tn_py_space(cp)) break;
        n = at;
    }
    return n;
}

int64_t tn_py_chars(const char *s)
{
    int64_t n = 0;

    for (; *s != '\0'; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

int64_t tn_py_words(const char *s)
{
    int64_t  n = 1;
    bool     blank = false;
    uint32_t cp;

    for (size_t left = strlen(s); left > 0;) {
        int k = tn_utf8_decode(s, left, &cp);
        if (k <= 0) k = 1, cp = 0xfffd;
        n += tn_py_space(cp) && !blank;
        blank = tn_py_space(cp);
        s += k;
        left -= (size_t)k;
    }
    return n;
}

/* --------------------------------------------------------------------------------------------------- case */

static locale_t       letters;
static pthread_once_t letters_once = PTHREAD_ONCE_INIT;

static void letters_open(void) { letters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0); }

static uint32_t mapped(uint32_t cp, bool up)
{
    if (cp < 128) return up ? (cp >= 'a' && cp <= 'z' ? cp - 32 : cp) : cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    if (letters == (locale_t)0) return cp;
    return (uint32_t)(up ? towupper_l((wint_t)cp, letters) : towlower_l((wint_t)cp, letters));
}

void tn_py_cased(tn_str *out, const char *s, size_t n, tn_py_case how)
{
    bool     first = true;
    uint32_t cp;

    pthread_once(&letters_once, letters_open);
    while (n > 0) {
        char buf[4];
        int  k = tn_utf8_decode(s, n, &cp);
        if (k <= 0) {
            tn_str_add_char(out, *s++);
            n--;
            continue;
        }
        bool     up = how == TN_PY_UPPER || (how != TN_PY_LOWER && first);
        uint32_t to = mapped(cp, up);
        /* the one common letter that becomes two */
        if (up && cp == 0xdf) tn_str_add(out, how == TN_PY_UPPER ? "SS" : "Ss");
        else tn_str_add_n(out, buf, (size_t)tn_utf8_encode(to, buf));
        /* a word begins after what has no case */
        first = how == TN_PY_TITLE && mapped(cp, true) == mapped(cp, false);
        s += k;
        n -= (size_t)k;
    }
}

/* ------------------------------------------------------------------------------------------------- random */

static void twister_init(tn_py_random *r, uint32_t s)
{
    r->state[0] = s;
    for (uint32_t i = 1; i < 624; i++)
        r->state[i] = 1812433253u * (r->state[i - 1] ^ (r->state[i - 1] >> 30)) + i;
    r->at = 624;
}

void tn_py_seed(tn_py_random *r, uint64_t seed)
{
    uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) }, *m = r->state;
    size_t   n = key[1] != 0 ? 2 : 1, i = 1, j = 0;

    twister_init(r, 19650218u);
    for (int k = 0; k < 624; k++) {
        m[i] = (m[i] ^ ((m[i - 1] ^ (m[i - 1] >> 30)) * 1664525u)) + key[j] + (uint32_t)j;
        if (++i == 624) m[0] = m[623], i = 1;
        if (++j == n) j = 0;
    }
    for (int k = 0; k < 623; k++) {
        m[i] = (m[i] ^ ((m[i - 1] ^ (m[i - 1] >> 30)) * 1566083941u)) - (uint32_t)i;
        if (++i == 624) m[0] = m[623], i = 1;
    }
    m[0] = 0x80000000u;
}

static uint32_t twister_next(tn_py_random *r)
{
    uint32_t *m = r->state;

    if (r->at >= 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (m[i] & 0x80000000u) | (m[(i + 1) % 624] & 0x7fffffffu);
            m[i] = m[(i + 397) % 624] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0dfu : 0);
        }
        r->at = 0;
    }
    uint32_t y = m[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static uint64_t bits(tn_py_random *r, int k)
{
    if (k <= 32) return twister_next(r) >> (32 - k);
    uint64_t low = twister_next(r); /* the first word is the lower half */
    return low | (uint64_t)(twister_next(r) >> (64 - k)) << 32;
}

uint64_t tn_py_below(tn_py_random *r, uint64_t n)
{
    int      k = 64 - __builtin_clzll(n);
    uint64_t v;

    do v = bits(r, k);
    while (v >= n);
    return v;
}

/* Python draws from a shrinking list where that takes less room than a set of what was drawn, else by trying
 * again. */
tn_status tn_py_sample(tn_py_random *r, int64_t n, int64_t k, int64_t *out, tn_error *err)
{
    int64_t set_size = 21, power = 1;

    if (k > n)
        return tn_fail(err, TN_LIMIT, "%lld shots are to be drawn from %lld rows", (long long)k,
                       (long long)n);
    if (k > 5) {
        while (power < 3 * k) power *= 4;
        set_size += power;
    }
    if (n <= set_size) {
        int64_t *pool = malloc((size_t)(n + 1) * sizeof *pool);
        if (pool == NULL)
            return tn_fail(err, TN_NOMEM, "no memory to draw shots from %lld rows", (long long)n);
        for (int64_t i = 0; i < n; i++) pool[i] = i;
        for (int64_t i = 0; i < k; i++) {
            int64_t j = (int64_t)tn_py_below(r, (uint64_t)(n - i));
            out[i] = pool[j];
            pool[j] = pool[n - i - 1];
        }
        free(pool);
        return TN_OK;
    }
    for (int64_t i = 0; i < k; i++) {
        bool again = true;
        while (again) {
            out[i] = (int64_t)tn_py_below(r, (uint64_t)n);
            again = false;
            for (int64_t j = 0; j < i; j++) again = again || out[j] == out[i];
        }
    }
    return TN_OK;
}
