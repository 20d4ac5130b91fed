/* compose.c - texts put together from a principle's own words, and two cheap looks at sampled texts.
 *
 * A model too small to write a revision gets its principle's reasons and offers instead: the constitution's
 * wording is the training data, and changing a wording changes exactly the rows that used it. The refusal
 * names the request (echo.c) and always begins with the same two words, so that whether to decline is decided
 * in one place; which reason and which offer follow hangs on the request's verb and form, which the model can
 * learn, and not on a draw, which it could only average. */
#include "align/align.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* The clause of a reason that can stand after "because": what follows its own "because" or "since", without
 * the full stop. NULL: it has none, or another sentence follows. */
static const char *clause_of(const char *reason, size_t *n)
{
    static const char *const joints[] = { " because ", " since " };

    for (size_t k = 0; k < sizeof joints / sizeof *joints; k++) {
        const char *at = strstr(reason, joints[k]);
        if (at == NULL) continue;
        at += strlen(joints[k]);
        if (tn_starts_with(at, "of ")) continue;
        *n = strlen(at);
        if (*n > 1 && at[*n - 1] == '.' && memchr(at, '.', *n - 1) == NULL) {
            (*n)--;
            return at;
        }
    }
    return NULL;
}

/* The word that carries a turned request: its first, or the next after "help you" and "explain how to". */
static uint64_t key_word(const char *echo)
{
    static const char *const lead[] = { "help you ", "explain how to ", "help with ", "tell you " };

    for (size_t k = 0; k < sizeof lead / sizeof *lead; k++)
        if (tn_starts_with(echo, lead[k])) {
            echo += strlen(lead[k]);
            break;
        }
    return tn_hash64(echo, strcspn(echo, " "));
}

char *tn_compose_decline(const tn_principle *p, const char *request, int64_t *i_reason, int64_t *i_offer)
{
    if (p->reasons.n == 0 || p->offers.n == 0) return NULL;
    int         form = -1;
    char       *echo = request != NULL ? tn_request_echo(request, &form) : NULL, *text = NULL;
    const char *plain = "help with that", *clause = NULL;
    uint64_t    word = echo != NULL
                           ? key_word(echo)
                           : tn_hash64(request != NULL ? request : "", request != NULL ? strlen(request) : 0);
    size_t      r = (size_t)(word % p->reasons.n), n = 0;
    uint64_t    seeds[2] = { (uint64_t)(int64_t)form, form < 0 ? word : 0 };
    size_t      o = (size_t)(tn_hash64(seeds, sizeof seeds) % p->offers.n);

    /* the first reason from r on that has a clause */
    for (size_t k = 0; k < p->reasons.n && (clause = clause_of(p->reasons.at[r], &n)) == NULL; k++)
        r = (r + 1) % p->reasons.n;
    if (clause != NULL)
        text = tn_strf("I can't %s, because %.*s. %s", echo != NULL ? echo : plain, (int)n, clause,
                       p->offers.at[o]);
    else text = tn_strf("%s %s", p->reasons.at[r], p->offers.at[o]);
    if (i_reason != NULL) *i_reason = (int64_t)r;
    if (i_offer != NULL) *i_offer = (int64_t)o;
    free(echo);
    return text;
}

bool tn_looks_declining(const char *text)
{
    static const char *const marks[] = { "i can't",
                                         "i cannot",
                                         "i can not",
                                         "i won't",
                                         "i will not",
                                         "i'm sorry",
                                         "i am sorry",
                                         "sorry,",
                                         "i'm not able",
                                         "i am not able",
                                         "i'm unable",
                                         "i am unable",
                                         "i must decline",
                                         "i have to decline",
                                         "i'm declining",
                                         "as an ai",
                                         "i'm not going to",
                                         "no, i won't",
                                         "i have to refuse",
                                         "i refuse",
                                         "it is not appropriate",
                                         "i'm not willing",
                                         "i have to say no",
                                         "i have to turn" };
    char                     lower[161];
    size_t                   n = 0;

    for (; n < sizeof lower - 1 && text[n] != '\0'; n++)
        lower[n] = (char)(text[n] >= 'A' && text[n] <= 'Z' ? text[n] + 'a' - 'A' : text[n]);
    lower[n] = '\0';
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strstr(lower, marks[i]) != NULL) return true;
    return false;
}

double tn_repetition(const char *text)
{
    enum { GRAM = 4, MAX = 4096 };
    uint64_t *gram = malloc(MAX * sizeof *gram);
    uint64_t  window[GRAM] = { 0 };
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
