/* unigram.c - the SentencePiece Unigram model: of all ways to cut a text into pieces, the one whose scores
 * add up highest (Viterbi, Kudo 2018, arXiv:1804.10959). A character that no piece covers costs the lowest
 * score less 10; neighbours of that kind become one unknown token, or their bytes. Sums are in double, ties
 * go to the first found, as elsewhere. */
#include "tokenizer/internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

tn_status tn_unigram_create(tn_tokenizer *t, tn_error *err)
{
    tn_trie_key *keys = malloc((size_t)t->n_vocab * sizeof *keys);
    tn_status    status;
    double       lowest = DBL_MAX;
    size_t       n = 0;

    if (keys == NULL) return tn_fail(err, TN_NOMEM, "no memory for %lld pieces", (long long)t->n_vocab);
    for (int32_t id = 0; id < t->n_vocab; id++) {
        size_t      len;
        const char *text = tn_pool_at(&t->raw, id, &len);

        if (isnan(t->score[id])) {
            free(keys);
            return tn_fail(err, TN_FORMAT, "score of token %d is not a number", id);
        }
        if ((t->type[id] == TN_TOKEN_NORMAL ||
             (t->type[id] == TN_TOKEN_USER && t->in_model != NULL && t->in_model[id])) &&
            t->score[id] < lowest)
            lowest = t->score[id];
        if (tn_token_in_model(t, id) && (t->type[id] == TN_TOKEN_NORMAL || t->type[id] == TN_TOKEN_USER ||
                                         t->type[id] == TN_TOKEN_UNUSED))
            keys[n++] = (tn_trie_key){ text, len, id };
    }
    t->unk_score = (lowest == DBL_MAX ? 0 : lowest) - 10;
    status = tn_trie_build(&t->pieces, keys, n, err);
    free(keys);
    return status;
}

/* best way to reach this byte; id -1: unknown */
typedef struct cell {
    double   score;
    uint32_t from;
    int32_t  id;
} cell;

/* Fills best[0, n] by going over the characters; best[i].from leads back. */
static void viterbi(const tn_tokenizer *t, const uint8_t *s, size_t n, cell *best)
{
    for (size_t i = 0; i <= n; i++) best[i] = (cell){ -DBL_MAX, 0, -1 };
    best[0].score = 0;
    for (size_t i = 0, len; i < n; i += len) {
        int32_t at = t->pieces.root[s[i]];
        bool    covered = false;

        if ((len = tn_uc_char_bytes(s + i, n - i)) == 0) len = 1;
        for (size_t j = i + 1; at >= 0; j++) {
            int32_t id = t->pieces.node[at].value;

            if (id >= 0) {
                double score = best[i].score +
                               (t->type[id] == TN_TOKEN_USER && t->in_model == NULL ? 0.0 : t->score[id]);

                covered |= j - i == len;
                if (score > best[j].score) best[j] = (cell){ score, (uint32_t)i, id };
            }
            at = j < n ? tn_trie_child(&t->pieces, at, s[j]) : -1;
        }
        if (!covered && best[i].score + t->unk_score > best[i + len].score)
            best[i + len] = (cell){ best[i].score + t->unk_score, (uint32_t)i, -1 };
    }
}

static void put_unknown(const tn_tokenizer *t, const uint8_t *s, size_t n, tn_ids *out)
{
    bool all = t->byte_fallback;

    for (size_t i = 0; all && i < n; i++) all = t->byte_id[s[i]] >= 0;
    for (size_t i = 0; all && i < n; i++) tn_ids_put(out, t->byte_id[s[i]]);
    if (!all && t->unk >= 0) tn_ids_put(out, t->unk);
}

tn_status tn_unigram_encode(const tn_tokenizer *t, const uint8_t *s, size_t n, tn_ids *out, tn_error *err)
{
    cell *best;

    if (n > UINT32_MAX / 2)
        return tn_fail(err, TN_LIMIT, "a text without a place to cut has %zu bytes: cut it into smaller ones",
                       n);
    if ((best = malloc((n + 1) * sizeof *best)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory to tokenise %zu bytes", n);
    viterbi(t, s, n, best);
    /* Turn the way back into a way forward: the score of a cell on the path is not needed any more and takes
     * the end of the piece that begins there. */
    for (size_t end = n; end > 0; end = best[end].from) best[best[end].from].score = (double)end;
    for (size_t i = 0; i < n;) {
        size_t  end = (size_t)best[i].score;
        int32_t id = best[end].id;

        if (id >= 0) tn_ids_put(out, id);
        else {
            while (end < n && best[(size_t)best[end].score].id < 0) end = (size_t)best[end].score;
            put_unknown(t, s + i, end - i, out);
        }
        i = end;
    }
    free(best);
    return TN_OK;
}
