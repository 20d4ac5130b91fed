/* compose.c - texts put together from a principle's own words, and two cheap looks at sampled texts.
 *
 * A model too small to write a revision gets its principle's reasons and offers instead, drawn by key: the constitution's
 * wording is the training data, and changing a wording changes exactly the rows that used it. */
#include "align/align.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

char *tn_compose_decline(const tn_principle *p, const tn_rng_key *key, int64_t *i_reason, int64_t *i_offer)
{
    if (p->reasons.n == 0 || p->offers.n == 0) return NULL;
    uint64_t r = tn_rng_below(key, 0, p->reasons.n), o = tn_rng_below(key, 1, p->offers.n);

    if (i_reason != NULL) *i_reason = (int64_t)r;
    if (i_offer != NULL) *i_offer = (int64_t)o;
    return tn_strf("%s %s", p->reasons.at[r], p->offers.at[o]);
}

bool tn_looks_declining(const char *text)
{
    static const char *const marks[] = {
        "i can't", "i cannot", "i can not", "i won't", "i will not", "i'm sorry", "i am sorry", "sorry,", "i'm not able", "i am not able",
        "i'm unable", "i am unable", "i must decline", "i have to decline", "i'm declining", "as an ai", "i'm not going to",
        "no, i won't", "i have to refuse", "i refuse", "it is not appropriate", "i'm not willing", "i have to say no", "i have to turn" };
    char lower[161];
    size_t n = 0;

    for (; n < sizeof lower - 1 && text[n] != '\0'; n++) lower[n] = (char)(text[n] >= 'A' && text[n] <= 'Z' ? text[n] + 'a' - 'A' : text[n]);
    lower[n] = '\0';
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strstr(lower, marks[i]) != NULL) return true;
    return false;
}

double tn_repetition(const char *text)
{
    enum { GRAM = 4, MAX = 4096 };
    uint64_t *gram = malloc(MAX * sizeof *gram);
    uint64_t  window[GRAM] = {0};
    size_t    n_word = 0, n_gram = 0, repeated = 0;

    if (gram == NULL) return 0;
    for (const char *p = text; *p != '\0' && n_gram < MAX;) {
        p += strspn(p, " \n\t\r");
        size_t n = strcspn(p, " \n\t\r");
        if (n == 0) break;
        memmove(window, window + 1, sizeof window - sizeof window[0]);
        window[GRAM - 1] = tn_hash64(p, n);
        p += n;
        if (++n_word < GRAM) continue;
        uint64_t h = tn_hash64(window, sizeof window);
        bool     seen = false;
        for (size_t i = 0; i < n_gram && !seen; i++) seen = gram[i] == h;
        repeated += seen;
        gram[n_gram++] = h;
    }
    free(gram);
    return n_gram > 0 ? (double)repeated / (double)n_gram : 0;
}
