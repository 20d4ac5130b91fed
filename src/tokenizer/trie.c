/* trie.c - strings as a trie: the children of a node lie together, sorted by byte; the first byte is a
 * table. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    const tn_trie_key *x = a, *y = b;
    int                c = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);

    return c != 0                ? c
           : x->n != y->n        ? (x->n < y->n ? -1 : 1)
           : x->value < y->value ? -1
                                 : x->value > y->value;
}

/* Lays the children of keys[lo, hi), which share their first `depth` bytes, side by side; then theirs. */
static tn_status lay_children(tn_trie *trie, const tn_trie_key *keys, size_t lo, size_t hi, size_t depth,
                              int32_t *first, int32_t *n_child, tn_error *err)
{
    size_t n = 0, at;

    while (lo < hi && keys[lo].n == depth) lo++; /* the strings that end here belong to the parent */
    for (size_t i = lo; i < hi; i++) n += i == lo || keys[i - 1].text[depth] != keys[i].text[depth];
    if (trie->n + n > trie->cap) {
        size_t        cap = 2 * trie->cap + n + 64;
        tn_trie_node *node = cap > INT32_MAX ? NULL : realloc(trie->node, cap * sizeof *node);

        if (node == NULL) return tn_fail(err, TN_NOMEM, "no memory for a trie of %zu nodes", cap);
        trie->node = node;
        trie->cap = cap;
    }
    at = trie->n;
    *first = (int32_t)at;
    *n_child = (int32_t)n;
    trie->n += n;
    for (size_t i = lo, j; i < hi; i = j) {
        tn_trie_node node = { .value = keys[i].n == depth + 1 ? keys[i].value : -1,
                              .byte = (uint8_t)keys[i].text[depth] };

        for (j = i; j < hi && (uint8_t)keys[j].text[depth] == node.byte;) j++;
        TN_TRY(lay_children(trie, keys, i, j, depth + 1, &node.first, &node.n_child, err));
        trie->node[at++] = node;
    }
    return TN_OK;
}

tn_status tn_trie_build(tn_trie *trie, tn_trie_key *keys, size_t n, tn_error *err)
{
    int32_t first = 0, n_child = 0;
    size_t  used = 0;

    for (size_t i = 0; i < n; i++)
        if (keys[i].n > 0) keys[used++] = keys[i];
    qsort(keys, used, sizeof *keys, by_text);
    for (int b = 0; b < 256; b++) trie->root[b] = -1;
    TN_TRY(lay_children(trie, keys, 0, used, 0, &first, &n_child, err));
    for (int32_t i = first; i < first + n_child; i++) trie->root[trie->node[i].byte] = i;
    return TN_OK;
}

int32_t tn_trie_child(const tn_trie *trie, int32_t at, uint8_t byte)
{
    const tn_trie_node *node = &trie->node[at];
    int32_t             lo = node->first, end = node->first + node->n_child, hi = end;

    while (lo < hi) {
        int32_t mid = (lo + hi) / 2;

        if (trie->node[mid].byte < byte) lo = mid + 1;
        else hi = mid;
    }
    return lo < end && trie->node[lo].byte == byte ? lo : -1;
}

void tn_trie_free(tn_trie *trie)
{
    free(trie->node);
    *trie = (tn_trie){ 0 };
}
