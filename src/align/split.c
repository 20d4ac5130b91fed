/* split.c - which prompts are held out, and what a prompt set shares with evaluation sets.
 *
 * Likeness is by words: lower-cased runs of letters and digits, as a set; Jaccard = shared / all. Word sets
 * are sorted arrays of 64-bit hashes, so that a comparison is one merge. */
#include "align/rows.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static const double NEAR_SPLIT = 0.6, NEAR_EVALUATION = 0.7;

typedef struct words {
    uint64_t *h;
    size_t    n;
} words;

static int u64_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool is_word_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

static bool words_of(words *w, const char *text)
{
    size_t cap = strlen(text) / 2 + 1;

    w->n = 0;
    if ((w->h = malloc(cap * sizeof *w->h)) == NULL) return false;
    for (const char *p = text; *p != '\0';) {
        char   word[64];
        size_t n = 0;

        while (*p != '\0' && !is_word_byte((unsigned char)*p)) p++;
        while (is_word_byte((unsigned char)*p)) {
            char c = *p++;
            if (n < sizeof word) word[n++] = (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
        }
        if (n > 0) w->h[w->n++] = tn_hash64(word, n);
    }
    qsort(w->h, w->n, sizeof *w->h, u64_order);
    size_t kept = 0;
    for (size_t i = 0; i < w->n; i++)
        if (kept == 0 || w->h[i] != w->h[kept - 1]) w->h[kept++] = w->h[i];
    w->n = kept;
    return true;
}

static double jaccard(const words *a, const words *b)
{
    size_t i = 0, k = 0, both = 0;

    while (i < a->n && k < b->n) {
        if (a->h[i] == b->h[k]) {
            both++;
            i++;
            k++;
        } else if (a->h[i] < b->h[k]) i++;
        else k++;
    }
    size_t all = a->n + b->n - both;
    return all > 0 ? (double)both / (double)all : 1;
}

double tn_words_alike(const char *a, const char *b)
{
    words x = { 0 }, y = { 0 };
    /* out of memory: a copy rather than a leak */
    double like = words_of(&x, a) && words_of(&y, b) ? jaccard(&x, &y) : 1;

    free(x.h);
    free(y.h);
    return like;
}

static void words_free(words *w, size_t n)
{
    for (size_t i = 0; w != NULL && i < n; i++) free(w[i].h);
    free(w);
}

static words *words_of_all(const tn_prompts *set)
{
    words *w = calloc(set->n + 1, sizeof *w);

    for (size_t i = 0; w != NULL && i < set->n; i++)
        if (!words_of(&w[i], set->at[i].text)) {
            words_free(w, i);
            return NULL;
        }
    return w;
}

/* A family and its place in the draw of its topic. */
typedef struct family {
    const char *topic, *name;
    uint64_t    draw;
    tn_split    split;
} family;

static int family_order(const void *a, const void *b)
{
    const family *x = a, *y = b;
    int           c = strcmp(x->topic, y->topic);

    if (c != 0) return c;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return strcmp(x->name, y->name);
}

static family *family_find(family *f, size_t n, const tn_prompt *p)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(f[i].name, p->family) == 0) return &f[i];
    return NULL;
}

/* The first shares of each topic's families in the order of a keyed draw are held out, the next are for
 * development. At least one family of a topic with three or more is held out. */
static void families_assign(family *f, size_t n, double heldout, double dev)
{
    for (size_t i = 0; i < n;) {
        size_t m = i;

        while (m < n && strcmp(f[m].topic, f[i].topic) == 0) m++;
        size_t count = m - i, n_held = (size_t)((double)count * heldout + 0.5),
               n_dev = (size_t)((double)count * dev + 0.5);
        if (heldout > 0 && n_held == 0 && count >= 3) n_held = 1;
        for (size_t k = 0; k < count; k++)
            f[i + k].split = k < n_held           ? TN_SPLIT_HELDOUT
                             : k < n_held + n_dev ? TN_SPLIT_DEV
                                                  : TN_SPLIT_TRAIN;
        i = m;
    }
}

tn_status tn_prompts_split(tn_prompts *set, double heldout, double dev, uint64_t seed, size_t *removed,
                           tn_error *err)
{
    tn_status status = TN_OK;
    size_t    n_family = 0, kept = 0;
    family   *f = calloc(set->n + 1, sizeof *f);
    words    *w = words_of_all(set);
    bool     *drop = calloc(set->n + 1, sizeof *drop);

    *removed = 0;
    if (f == NULL || w == NULL || drop == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to split %zu prompts", set->n);
        goto out;
    }
    for (size_t i = 0; i < set->n; i++) {
        const tn_prompt *p = &set->at[i];
        tn_rng_key       key = { seed, TN_RNG_PROMPT, 0, tn_hash64(p->family, strlen(p->family)) };

        if (family_find(f, n_family, p) == NULL)
            f[n_family++] = (family){ p->topic, p->family, tn_rng_u64(&key, 0), TN_SPLIT_TRAIN };
    }
    qsort(f, n_family, sizeof *f, family_order);
    families_assign(f, n_family, heldout, dev);
    for (size_t i = 0; i < set->n; i++) set->at[i].split = family_find(f, n_family, &set->at[i])->split;
    for (size_t i = 0; i < set->n; i++)
        for (size_t k = 0; k < set->n && !drop[i]; k++)
            drop[i] = set->at[k].split > set->at[i].split && jaccard(&w[i], &w[k]) >= NEAR_SPLIT;
    for (size_t i = 0; i < set->n; i++) {
        if (drop[i]) {
            free(set->at[i].id);
            free(set->at[i].text);
            free(set->at[i].topic);
            free(set->at[i].principle);
            free(set->at[i].family);
            (*removed)++;
        } else set->at[kept++] = set->at[i];
    }
    words_free(w, set->n);
    w = NULL;
    set->n = kept;
out:
    words_free(w, set->n);
    free(f);
    free(drop);
    return status;
}

tn_status tn_prompts_overlap(const tn_prompts *set, const char *const *files, const char *const *names,
                             size_t n_file, json_t **out, tn_error *err)
{
    tn_status  status = TN_OK;
    tn_prompts eval = { 0 };
    words     *ours = words_of_all(set), *theirs = NULL;
    json_t    *found = json_array();

    *out = NULL;
    if (ours == NULL || found == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to compare %zu prompts", set->n);
        goto out;
    }
    for (size_t f = 0; f < n_file; f++) {
        const char *name = names != NULL ? names[f] : files[f];

        tn_prompts_free(&eval);
        TN_GOTO(tn_prompts_read_as(&eval, files[f], name, TN_PROMPT_DECLINE, NULL, err));
        if ((theirs = words_of_all(&eval)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory to compare its prompts", name);
            goto out;
        }
        for (size_t i = 0; i < set->n; i++)
            for (size_t k = 0; k < eval.n; k++) {
                double like = jaccard(&ours[i], &theirs[k]);
                if (like < NEAR_EVALUATION) continue;
                json_array_append_new(found,
                                      json_pack("{s:s, s:s, s:s, s:s, s:f}", "id", set->at[i].id, "prompt",
                                                set->at[i].text, "evaluation", eval.at[k].text, "file",
                                                tn_basename(name), "similarity", like));
            }
        words_free(theirs, eval.n);
        theirs = NULL;
    }
    *out = found;
    found = NULL;
out:
    json_decref(found);
    words_free(ours, set->n);
    words_free(theirs, eval.n);
    tn_prompts_free(&eval);
    return status;
}
