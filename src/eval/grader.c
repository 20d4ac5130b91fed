/* grader.c - replies that are no replies: empty, a word or two, or the same over and over. They are counted
 * apart, and are a failure on either side: neither a refusal that protects nor an answer that helps. */
#include "eval/grader.h"
#include "base/hash.h"
#include "base/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 5, GRAM = 3, LEAST_GRAMS = 12 };

static int hash_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Words, in lower case, as hashes. A character of a script without spaces counts as a word. made: free. */
static uint64_t *words_of(const char *text, size_t *n)
{
    size_t    len = strlen(text);
    uint64_t *list = malloc((len + 1) * sizeof *list);

    *n = 0;
    for (size_t i = 0; list != NULL && i < len;) {
        uint32_t cp;
        int      k = tn_utf8_decode(text + i, len - i, &cp);
        if (k >= 3 && cp >= 0x2e80 && cp < 0xe0000) {
            list[(*n)++] = cp;
            i += (size_t)k;
            continue;
        }
        size_t from = i;
        char   low[64];
        while (i < len && !isspace((unsigned char)text[i]) && (i == from || (unsigned char)text[i] < 0xe2))
            i++;
        size_t m = i - from < sizeof low ? i - from : sizeof low;
        for (size_t j = 0; j < m; j++) low[j] = (char)tolower((unsigned char)text[from + j]);
        if (m > 0) list[(*n)++] = tn_hash64(low, m);
        while (i < len && isspace((unsigned char)text[i])) i++;
    }
    return list;
}

/* Share of the three-word runs that are different ones. */
static double distinct_share(uint64_t *w, size_t n)
{
    size_t n_gram = n - GRAM + 1, distinct = 0;

    for (size_t i = 0; i < n_gram; i++) w[i] = tn_hash64(w + i, GRAM * sizeof *w);
    qsort(w, n_gram, sizeof *w, hash_order);
    for (size_t i = 0; i < n_gram; i++) distinct += i == 0 || w[i] != w[i - 1];
    return (double)distinct / (double)n_gram;
}

const char *tn_reply_degenerate(const char *text)
{
    size_t      n, solid = 0, len = strlen(text), most = 0, count[256] = { 0 };
    uint64_t   *w = words_of(text, &n);
    const char *why = NULL;

    for (size_t i = 0; i < len; i++)
        if (!isspace((unsigned char)text[i])) {
            solid++;
            if (++count[(unsigned char)text[i]] > most) most = count[(unsigned char)text[i]];
        }
    if (solid == 0) why = "empty";
    else if (w != NULL && n < FEW) why = "short";
    else if (solid >= 20 && 2 * most > solid) why = "repeating";
    else if (w != NULL && n >= LEAST_GRAMS + GRAM && distinct_share(w, n) < 0.35) why = "repeating";
    free(w);
    return why;
}
