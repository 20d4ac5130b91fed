/* unicode.c - UTF-8 validity, normal forms and lower case over the generated tables.
 *
 * Normal forms follow Unicode Standard Annex 15: decompose, put combining marks in canonical order, compose.
 * Text that has no character which could change (the usual case) is found by one pass and copied. */
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

size_t tn_uc_char_bytes(const uint8_t *s, size_t n)
{
    if (n == 0) return 0;
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    if (n < 2 || (s[1] & 0xc0) != 0x80) return 0;
    if (s[0] < 0xe0) return 2;
    if (n < 3 || (s[2] & 0xc0) != 0x80) return 0;
    if (s[0] < 0xf0) return (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ? 0 : 3;
    if (n < 4 || (s[3] & 0xc0) != 0x80) return 0;
    return (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f) ? 0 : 4;
}

size_t tn_uc_valid_prefix(const uint8_t *s, size_t n)
{
    size_t i = 0;

    while (i < n) {
        uint64_t eight;
        size_t   len;

        while (n - i >= 8 && (memcpy(&eight, s + i, 8), (eight & 0x8080808080808080u) == 0)) i += 8;
        if (i == n) break;
        if ((len = tn_uc_char_bytes(s + i, n - i)) == 0) return i;
        i += len;
    }
    return n;
}

void tn_uc_repair(tn_str *out, const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t good = tn_uc_valid_prefix(s + i, n - i);

        tn_str_add_n(out, s + i, good);
        i += good;
        if (i < n) {
            tn_str_add_n(out, "\xef\xbf\xbd", 3);
            i++;
        }
    }
}

static uint16_t norm_flags(uint32_t cp)
{
    return tn_uc_norm_block[(uint32_t)tn_uc_norm_index[cp >> 7] * 128 + (cp & 127)];
}

/* Hangul syllables are composed by arithmetic (Unicode Standard, section 3.12). */
enum {
    S_BASE = 0xac00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11a7,
    N_L = 19,
    N_V = 21,
    N_T = 28,
    N_S = N_L * N_V * N_T
};

/* The code points of one stretch between starters, waiting for order and composition. */
typedef struct norm_buffer {
    uint32_t *cp;
    size_t    n, cap;
    bool      failed;
} norm_buffer;

static void put(norm_buffer *b, uint32_t cp)
{
    if (b->n == b->cap) {
        size_t    cap = b->cap != 0 ? 2 * b->cap : 256;
        uint32_t *p = realloc(b->cp, cap * sizeof *p);

        if (p == NULL) {
            b->failed = true;
            return;
        }
        b->cp = p;
        b->cap = cap;
    }
    b->cp[b->n++] = cp;
}

static void decompose(norm_buffer *b, uint32_t cp, bool compat)
{
    size_t lo = 0, hi = tn_uc_n_decomposition;

    if (cp - S_BASE < N_S) {
        uint32_t s = cp - S_BASE;

        put(b, L_BASE + s / (N_V * N_T));
        put(b, V_BASE + s % (N_V * N_T) / N_T);
        if (s % N_T != 0) put(b, T_BASE + s % N_T);
        return;
    }
    if ((norm_flags(cp) & (compat ? TN_UC_NORM_COMPAT : TN_UC_NORM_CANON)) == 0) {
        put(b, cp);
        return;
    }
    while (lo < hi) {
        size_t          mid = (lo + hi) / 2;
        const uint32_t *row = tn_uc_decomposition + 5 * mid;

        if (row[0] == cp) {
            const uint32_t *p = tn_uc_decomposition_pool + row[compat ? 3 : 1];

            for (uint32_t i = 0; i < row[compat ? 4 : 2]; i++) put(b, p[i]);
            return;
        }
        if (row[0] < cp) lo = mid + 1;
        else hi = mid;
    }
    put(b, cp);
}

/* Marks between two starters sorted by combining class; insertion sort keeps equal classes in order. Hostile
 * runs of thousands of marks would be quadratic, so long runs are counted into place instead. */
static void order_marks(norm_buffer *b)
{
    for (size_t i = 0; i < b->n;) {
        size_t end = i;

        while (end < b->n && (norm_flags(b->cp[end]) & 255) != 0) end++;
        if (end - i > 32) {
            size_t    at[257] = { 0 }, n = end - i;
            uint32_t *sorted = malloc(n * sizeof *sorted);

            if (sorted == NULL) {
                b->failed = true;
                return;
            }
            for (size_t k = i; k < end; k++) at[(norm_flags(b->cp[k]) & 255) + 1]++;
            for (size_t k = 1; k < 257; k++) at[k] += at[k - 1];
            for (size_t k = i; k < end; k++) sorted[at[norm_flags(b->cp[k]) & 255]++] = b->cp[k];
            memcpy(b->cp + i, sorted, n * sizeof *sorted);
            free(sorted);
        } else {
            for (size_t k = i + 1; k < end; k++) {
                uint32_t cp = b->cp[k];
                size_t   j = k;

                for (; j > i && (norm_flags(b->cp[j - 1]) & 255) > (norm_flags(cp) & 255); j--)
                    b->cp[j] = b->cp[j - 1];
                b->cp[j] = cp;
            }
        }
        i = end + 1;
    }
}

static uint32_t compose_pair(uint32_t a, uint32_t c)
{
    size_t lo = 0, hi = tn_uc_n_composition;

    if (a - L_BASE < N_L && c - V_BASE < N_V) return S_BASE + ((a - L_BASE) * N_V + (c - V_BASE)) * N_T;
    if (a - S_BASE < N_S && (a - S_BASE) % N_T == 0 && c - T_BASE - 1 < N_T - 1) return a + (c - T_BASE);
    while (lo < hi) {
        size_t          mid = (lo + hi) / 2;
        const uint32_t *row = tn_uc_composition + 3 * mid;

        if (row[0] == a && row[1] == c) return row[2];
        if (row[0] < a || (row[0] == a && row[1] < c)) lo = mid + 1;
        else hi = mid;
    }
    return 0;
}

static void compose(norm_buffer *b)
{
    size_t starter = SIZE_MAX, out = 0;
    int    last_class = 0; /* of the character before, since the starter; 0 right after it */

    for (size_t i = 0; i < b->n; i++) {
        uint32_t cp = b->cp[i], joined = 0;
        int      ccc = norm_flags(cp) & 255;

        if (starter != SIZE_MAX && (norm_flags(cp) & TN_UC_NORM_SECOND) != 0 &&
            (out == starter + 1 || last_class < ccc))
            joined = compose_pair(b->cp[starter], cp);
        if (joined != 0) {
            b->cp[starter] = joined;
            continue;
        }
        if (ccc == 0) starter = out;
        last_class = ccc;
        b->cp[out++] = cp;
    }
    b->n = out;
}

void tn_uc_normalise(tn_str *out, const uint8_t *s, size_t n, tn_uc_form form)
{
    bool        compat = form == TN_NFKC || form == TN_NFKD, composed = form == TN_NFC || form == TN_NFKC;
    unsigned    touchy = 255u | TN_UC_NORM_SECOND | (compat ? TN_UC_NORM_COMPAT : TN_UC_NORM_CANON);
    norm_buffer b = { 0 };

    for (size_t i = 0; i < n;) {
        size_t start = i, len, safe = i; /* `safe`: the last starter seen before something that may change */

        for (; i < n; i += len) {
            uint32_t cp = tn_uc_decode(s + i, &len);

            if (cp >= 0x300 || (compat && cp >= 0xa0) || (!composed && cp >= 0xc0)) {
                if ((norm_flags(cp) & touchy) != 0 || (!composed && cp - S_BASE < N_S)) break;
            }
            safe = i;
        }
        if (i == n) {
            tn_str_add_n(out, s + start, n - start);
            break;
        }
        tn_str_add_n(out, s + start, safe - start);
        b.n = 0;
        for (i = safe; i < n; i += len) { /* up to the next starter that nothing before it can change */
            uint32_t cp = tn_uc_decode(s + i, &len);

            if (i > safe && cp < 0x300 && cp < (compat ? 0xa0u : 0xc0u)) break;
            decompose(&b, cp, compat);
        }
        order_marks(&b);
        if (composed) compose(&b);
        for (size_t k = 0; k < b.n; k++) {
            char utf8[4];

            tn_str_add_n(out, utf8, (size_t)tn_utf8_encode(b.cp[k], utf8));
        }
        if (b.failed) {
            out->failed = true;
            break;
        }
    }
    free(b.cp);
}

void tn_uc_lowercase(tn_str *out, const uint8_t *s, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = tn_uc_decode(s + i, &len);
        size_t   lo = 0, hi = tn_uc_n_lower;
        char     utf8[4];

        if (cp < 0x80) {
            tn_str_add_char(out, (char)(cp - 'A' < 26 ? cp + 32 : cp));
            continue;
        }
        while (lo < hi && tn_uc_lower[3 * ((lo + hi) / 2)] != cp) {
            size_t mid = (lo + hi) / 2;

            if (tn_uc_lower[3 * mid] < cp) lo = mid + 1;
            else hi = mid;
        }
        if (lo >= hi) {
            tn_str_add_n(out, s + i, len);
            continue;
        }
        for (int k = 1; k <= 2 && (k == 1 || tn_uc_lower[3 * ((lo + hi) / 2) + 2] != 0); k++)
            tn_str_add_n(out, utf8,
                         (size_t)tn_utf8_encode(tn_uc_lower[3 * ((lo + hi) / 2) + (size_t)k], utf8));
    }
}
