/* added.c - tokens that are looked for in the text before it is split: marks of roles, end of text, runs of
 * spaces.
 *
 * Leftmost, then longest. A trie over their bytes; the walk from a place ends after at most
 * TN_MAX_ADDED_BYTES bytes. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

tn_status tn_added_put(tn_tokenizer *t, const char *text, size_t n, int32_t id, bool special, tn_error *err)
{
    tn_added *grown;
    char     *copy;

    if (n == 0) return TN_OK;
    if (n > TN_MAX_ADDED_BYTES)
        return tn_fail(err, TN_LIMIT, "added token %d has %zu bytes, at most %d are read", id, n,
                       TN_MAX_ADDED_BYTES);
    if ((t->n_added & (t->n_added + 1)) == 0) { /* grow at 0, 1, 3, 7, ... */
        if ((grown = realloc(t->added, 2 * (t->n_added + 1) * sizeof *grown)) == NULL)
            return tn_fail(err, TN_NOMEM, "no memory for %zu added tokens", t->n_added + 1);
        t->added = grown;
    }
    if ((copy = tn_strndup(text, n)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for an added token");
    t->added[t->n_added++] = (tn_added){ .text = copy, .n = n, .id = id, .special = special };
    return TN_OK;
}

static tn_status build(tn_trie *trie, const tn_tokenizer *t, bool normalised, tn_error *err)
{
    tn_trie_key *keys = malloc((t->n_added + 1) * sizeof *keys);
    tn_status    status;
    size_t       n = 0;

    if (keys == NULL) return tn_fail(err, TN_NOMEM, "no memory for the trie of added tokens");
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].normalised == normalised)
            keys[n++] = (tn_trie_key){ t->added[i].text, t->added[i].n, (int32_t)i };
    status = tn_trie_build(trie, keys, n, err);
    free(keys);
    return status;
}

tn_status tn_added_finish(tn_tokenizer *t, tn_error *err)
{
    TN_TRY(build(&t->trie_raw, t, false, err));
    return build(&t->trie_normalised, t, true, err);
}

/* A single-word token must not touch a word. */
static bool is_word(const uint8_t *s, size_t n)
{
    size_t len;

    return tn_uc_char_bytes(s, n) != 0 && tn_uc_is_word(tn_uc_decode(s, &len));
}

static bool touches_word(const uint8_t *s, size_t n, size_t begin, size_t end)
{
    size_t at = begin;

    if (is_word(s + end, n - end)) return true;
    if (begin == 0) return false;
    do at--;
    while (at > 0 && (s[at] & 0xc0) == 0x80);
    return is_word(s + at, begin - at);
}

bool tn_added_find(const tn_tokenizer *t, bool normalised, bool special, const uint8_t *s, size_t n,
                   size_t from, size_t *begin, size_t *end, int32_t *index)
{
    const tn_trie *trie = normalised ? &t->trie_normalised : &t->trie_raw;

    if (trie->n == 0) return false;
    for (size_t i = from; i < n; i++) {
        int32_t at = trie->root[s[i]], best = -1;
        size_t  j = i + 1, best_end = i;

        while (at >= 0) {
            const tn_trie_node *node = &trie->node[at];

            if (node->value >= 0) {
                best = node->value;
                best_end = j;
            }
            if (j == n) break;
            at = tn_trie_child(trie, at, s[j++]);
        }
        if (best < 0) continue;
        /* As in Hugging Face tokenizers, a find that does not count is passed over as a whole: no other
         * begins inside it. */
        if ((t->added[best].special && !special) ||
            (t->added[best].single_word && touches_word(s, n, i, best_end))) {
            i = best_end - 1;
            continue;
        }
        *begin = i;
        *end = best_end;
        *index = best;
        return true;
    }
    return false;
}

size_t tn_added_space_before(const uint8_t *s, size_t from, size_t to)
{
    while (to > from) {
        size_t at = to - 1, len;

        while (at > from && (s[at] & 0xc0) == 0x80) at--;
        if (tn_uc_char_bytes(s + at, to - at) == 0 ||
            (tn_uc_mask(tn_uc_decode(s + at, &len)) & TN_UC_SPACE) == 0)
            break;
        to = at;
    }
    return to;
}

size_t tn_added_space_after(const uint8_t *s, size_t from, size_t n)
{
    size_t len;

    while (from < n && (len = tn_uc_char_bytes(s + from, n - from)) != 0 &&
           (tn_uc_mask(tn_uc_decode(s + from, &len)) & TN_UC_SPACE) != 0)
        from += len;
    return from;
}
