/* added.c - tokens that are looked for in the text before it is split: marks of roles, end of text, runs of spaces.
 *
 * Leftmost, then longest. A trie over their bytes; the walk from a place ends after at most TN_MAX_ADDED_BYTES bytes. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

tn_status tn_added_put(tn_tokenizer *t, const char *text, size_t n, int32_t id, bool special, tn_error *err)
{
    tn_added *grown;
    char     *copy;

    if (n == 0) return TN_OK;
    if (n > TN_MAX_ADDED_BYTES)
        return tn_fail(err, TN_LIMIT, "added token %d has %zu bytes, at most %d are read", id, n, TN_MAX_ADDED_BYTES);
    if ((t->n_added & (t->n_added + 1)) == 0) {      /* grow at 0, 1, 3, 7, ... */
        if ((grown = realloc(t->added, 2 * (t->n_added + 1) * sizeof *grown)) == NULL)
            return tn_fail(err, TN_NOMEM, "no memory for %zu added tokens", t->n_added + 1);
        t->added = grown;
    }
    if ((copy = tn_strndup(text, n)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for an added token");
    t->added[t->n_added++] = (tn_added){ .text = copy, .n = n, .id = id, .special = special };
    return TN_OK;
}

static int by_text(const void *a, const void *b)
{
    const tn_added *x = *(const tn_added *const *)a, *y = *(const tn_added *const *)b;
    int             c = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);

    return c != 0 ? c : x->n != y->n ? (x->n < y->n ? -1 : 1) : x < y ? -1 : x > y;
}

/* Lays the children of the texts list[lo, hi), which share their first `depth` bytes, side by side; then theirs. */
static tn_status trie_children(tn_trie *trie, const tn_added *const *list, const tn_added *base, size_t lo, size_t hi,
                               size_t depth, int32_t *first, int32_t *n_child, tn_error *err)
{
    size_t n = 0, at;

    for (size_t i = lo; i < hi; i++)
        if (list[i]->n > depth && (i == lo || list[i - 1]->n <= depth || list[i]->text[depth] != list[i - 1]->text[depth])) n++;
    if (trie->n + n > trie->cap) {
        size_t        cap = 2 * trie->cap + n + 64;
        tn_trie_node *node = realloc(trie->node, cap * sizeof *node);

        if (node == NULL) return tn_fail(err, TN_NOMEM, "no memory for the trie of added tokens");
        trie->node = node;
        trie->cap = cap;
    }
    at = trie->n;
    *first = (int32_t)at;
    *n_child = (int32_t)n;
    trie->n += n;
    for (size_t i = lo; i < hi;) {
        size_t  j = i;
        uint8_t byte;
        int32_t child_first, child_n, value = -1;

        if (list[i]->n <= depth) { i++; continue; }
        byte = (uint8_t)list[i]->text[depth];
        while (j < hi && (uint8_t)list[j]->text[depth] == byte) j++;
        if (list[i]->n == depth + 1) value = (int32_t)(list[i] - base);
        TN_TRY(trie_children(trie, list, base, i, j, depth + 1, &child_first, &child_n, err));
        trie->node[at++] = (tn_trie_node){ child_first, child_n, value, byte };
        i = j;
    }
    return TN_OK;
}

static tn_status trie_build(tn_trie *trie, const tn_tokenizer *t, bool normalised, tn_error *err)
{
    const tn_added **list = malloc((t->n_added + 1) * sizeof *list);
    tn_status        status = TN_OK;
    int32_t          first, n_child;
    size_t           n = 0;

    if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for the trie of added tokens");
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].normalised == normalised) list[n++] = &t->added[i];
    qsort(list, n, sizeof *list, by_text);
    for (int b = 0; b < 256; b++) trie->root[b] = -1;
    TN_GOTO(trie_children(trie, list, t->added, 0, n, 0, &first, &n_child, err));
    for (int32_t i = first; i < first + n_child; i++) trie->root[trie->node[i].byte] = i;
out:
    free(list);
    return status;
}

tn_status tn_added_finish(tn_tokenizer *t, tn_error *err)
{
    TN_TRY(trie_build(&t->trie_raw, t, false, err));
    return trie_build(&t->trie_normalised, t, true, err);
}

/* Letters, digits, marks and connectors make words; a single-word token must not touch one. */
static bool touches_word(const uint8_t *s, size_t n, size_t begin, size_t end)
{
    const uint32_t word = TN_UC_LETTER | TN_UC_MARK | TN_UC_NUMBER | 1u << TN_GC_PC;
    size_t         len, at = begin;

    if (end < n && (tn_uc_mask(tn_uc_decode(s + end, &len)) & word) != 0) return true;
    if (begin == 0) return false;
    do at--;
    while (at > 0 && (s[at] & 0xc0) == 0x80);
    return (tn_uc_mask(tn_uc_decode(s + at, &len)) & word) != 0;
}

bool tn_added_find(const tn_tokenizer *t, bool normalised, bool special, const uint8_t *s, size_t n, size_t from,
                   size_t *begin, size_t *end, int32_t *index)
{
    const tn_trie *trie = normalised ? &t->trie_normalised : &t->trie_raw;

    if (trie->n == 0) return false;
    for (size_t i = from; i < n; i++) {
        int32_t at = trie->root[s[i]], best = -1;
        size_t  j = i + 1, best_end = i;

        while (at >= 0) {
            const tn_trie_node *node = &trie->node[at];
            int32_t             lo = node->first, hi = node->first + node->n_child;

            if (node->value >= 0 && (special || !t->added[node->value].special)) {
                best = node->value;
                best_end = j;
            }
            if (j == n) break;
            while (lo < hi) {
                int32_t mid = (lo + hi) / 2;

                if (trie->node[mid].byte < s[j]) lo = mid + 1;
                else hi = mid;
            }
            at = lo < node->first + node->n_child && trie->node[lo].byte == s[j] ? lo : -1;
            j++;
        }
        if (best < 0 || (t->added[best].single_word && touches_word(s, n, i, best_end))) continue;
        *begin = i;
        *end = best_end;
        *index = best;
        return true;
    }
    return false;
}
