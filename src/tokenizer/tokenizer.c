/* tokenizer.c - the tokenizer object: made, finished, asked, released. */
#include "tokenizer/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tn_status tn_tokenizer_create(tn_tokenizer **out, int64_t n_vocab, const char *where, tn_error *err)
{
    tn_tokenizer *t = calloc(1, sizeof *t);

    *out = NULL;
    if (t == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a tokenizer", where);
    t->n_vocab = n_vocab;
    t->bos = t->eos = t->unk = t->pad = -1;
    t->type = calloc((size_t)n_vocab, 1);
    t->whole = calloc((size_t)n_vocab, 1);
    if (t->type == NULL || t->whole == NULL) {
        tn_tokenizer_destroy(t);
        return tn_fail(err, TN_NOMEM, "%s: no memory for %lld tokens", where, (long long)n_vocab);
    }
    *out = t;
    return TN_OK;
}

void tn_tokenizer_destroy(tn_tokenizer *t)
{
    if (t == NULL) return;
    tn_pool_free(&t->raw);
    tn_pool_free(&t->bytes);
    tn_pool_free(&t->lone);
    tn_index_free(&t->by_raw);
    tn_index_free(&t->by_bytes);
    tn_index_free(&t->by_lone);
    for (size_t i = 0; i < t->n_added; i++) free(t->added[i].text);
    free(t->added);
    tn_trie_free(&t->trie_raw);
    tn_trie_free(&t->trie_normalised);
    tn_trie_free(&t->pieces);
    tn_steps_free(t->normaliser, t->n_normaliser);
    tn_split_free(&t->split);
    free(t->type);
    free(t->in_model);
    free(t->score);
    free(t->merge);
    free(t->whole);
    free(t->prefix);
    free(t->suffix);
    free(t->recipe);
    free(t);
}

/* Tokens that end an answer: EOS, the file's end of turn, and the marks that models are known to end turns
 * with. */
void tn_tokenizer_stops(tn_tokenizer *t, int32_t eot)
{
    static const char *const names[] = {
        "<|im_end|>", "<|eot_id|>", "<|eom_id|>",    "<end_of_turn>",   "<|end|>",
        "<|return|>", "<|call|>",   "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"
    };
    bool harmony = tn_tokenizer_find(t, "<|return|>") >= 0;

    if (t->eos >= 0) t->stop[t->n_stop++] = t->eos;
    if (eot >= 0 && !tn_tokenizer_is_stop(t, eot)) t->stop[t->n_stop++] = eot;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int32_t id = tn_tokenizer_find(t, names[i]);

        if (id < 0 || tn_tokenizer_is_stop(t, id) || (harmony && strcmp(names[i], "<|end|>") == 0)) continue;
        if (t->type[id] == TN_TOKEN_CONTROL) t->stop[t->n_stop++] = id;
    }
}

static void hash_number(tn_sha256 *h, int64_t v) { tn_sha256_update(h, &v, sizeof v); }

static void hash_text(tn_sha256 *h, const char *text, size_t n)
{
    hash_number(h, (int64_t)n);
    tn_sha256_update(h, text, n);
}

/* Added tokens that are not special: only then does it matter which of them the model has too. */
static bool has_user_tokens(const tn_tokenizer *t)
{
    for (int64_t id = 0; id < t->n_vocab && t->in_model != NULL; id++)
        if (t->type[id] == TN_TOKEN_USER) return true;
    return false;
}

/* What decides ids and text: vocabulary, types, scores, merges, added tokens, normaliser, splitter (its name,
 * or the JSON that spells it out), flags. */
static tn_status make_digest(tn_tokenizer *t, tn_error *err)
{
    tn_sha256 *h = NULL;

    TN_TRY(tn_sha256_create(&h, err));
    hash_text(h, t->kind, strlen(t->kind));
    hash_number(h, t->n_vocab);
    hash_text(h, t->raw.p, t->raw.at[t->n_vocab]);
    tn_sha256_update(h, t->raw.at, ((size_t)t->n_vocab + 1) * sizeof *t->raw.at);
    tn_sha256_update(h, t->type, (size_t)t->n_vocab);
    if (has_user_tokens(t)) tn_sha256_update(h, t->in_model, (size_t)t->n_vocab);
    if (t->score != NULL) tn_sha256_update(h, t->score, (size_t)t->n_vocab * sizeof *t->score);
    if (t->merge != NULL) /* the table's layout follows from the merges in order */
        for (size_t i = 0; i < t->n_merge_slot; i++)
            if (t->merge[i].key != 0) {
                hash_number(h, (int64_t)t->merge[i].key);
                hash_number(h, t->merge[i].rank);
            }
    for (size_t i = 0; i < t->n_added; i++) {
        const tn_added *a = &t->added[i];

        hash_text(h, a->text, a->n);
        hash_number(h, a->id);
        hash_number(h,
                    a->special | a->lstrip << 1 | a->rstrip << 2 | a->single_word << 3 | a->normalised << 4);
    }
    for (size_t i = 0; i < t->n_normaliser; i++) {
        const tn_step *s = &t->normaliser[i];

        hash_number(h, s->kind | s->form << 8 | s->left << 16 | s->right << 17);
        hash_text(h, s->from != NULL ? s->from : "", s->from_n);
        hash_text(h, s->to != NULL ? s->to : "", s->to_n);
    }
    hash_text(h, t->recipe != NULL ? t->recipe : "", t->recipe != NULL ? strlen(t->recipe) : 0);
    hash_number(h, t->byte_level | t->byte_fallback << 1 | t->ignore_merges << 2 | t->fuse_unk << 3 |
                       t->add_space << 5 | t->strip_space << 6 | t->strip_marks << 9 | t->add_bos << 7 |
                       t->add_eos << 8);
    hash_number(h, t->bos);
    hash_number(h, t->eos);
    hash_number(h, t->unk);
    tn_sha256_final(h, &t->digest);
    tn_sha256_destroy(h);
    return TN_OK;
}

/* Where no token has U+2581 after another character, no merge crosses the place before a run of it: cutting
 * there changes no id and makes short pieces, most of them whole tokens. */
static void cut_at_marks(tn_tokenizer *t)
{
    if (t->byte_level || t->model == TN_MODEL_UNIGRAM || t->split.n_pass == TN_MAX_PASS ||
        tn_tokenizer_find(t, "\xe2\x96\x81") < 0)
        return;
    for (int64_t id = 0; id < t->n_vocab; id++) {
        size_t      n;
        const char *text = tn_pool_at(&t->raw, id, &n), *end = text + n;

        if (!tn_token_in_model(t, (int32_t)id) || (t->type[id] == TN_TOKEN_USER && t->in_model == NULL) ||
            t->type[id] == TN_TOKEN_BYTE)
            continue;
        for (const char *at = text; (at = memmem(at, (size_t)(end - at), "\xe2\x96\x81", 3)) != NULL; at += 3)
            if (at != text && (at - text < 3 || memcmp(at - 3, "\xe2\x96\x81", 3) != 0)) return;
    }
    t->split.pass[t->split.n_pass++] = (tn_pass){ .find = tn_find_marked_words };
}

tn_status tn_tokenizer_finish(tn_tokenizer *t, const char *where, tn_error *err)
{
    if (t->add_bos && t->bos < 0)
        return tn_fail(err, TN_FORMAT,
                       "%s: the tokenizer adds a beginning-of-text token but names none (bos_token_id)",
                       where);
    if (t->add_eos && t->eos < 0)
        return tn_fail(err, TN_FORMAT,
                       "%s: the tokenizer adds an end-of-text token but names none (eos_token_id)", where);
    TN_TRY(tn_added_finish(t, err));
    cut_at_marks(t);
    return make_digest(t, err);
}

int64_t     tn_tokenizer_n_vocab(const tn_tokenizer *t) { return t->n_vocab; }
int32_t     tn_tokenizer_bos(const tn_tokenizer *t) { return t->bos; }
int32_t     tn_tokenizer_eos(const tn_tokenizer *t) { return t->eos; }
bool        tn_tokenizer_adds_bos(const tn_tokenizer *t) { return t->add_bos; }
const char *tn_tokenizer_kind(const tn_tokenizer *t) { return t->kind; }
void        tn_tokenizer_digest(const tn_tokenizer *t, struct tn_digest *out) { *out = t->digest; }

bool tn_tokenizer_is_stop(const tn_tokenizer *t, int32_t id)
{
    for (int i = 0; i < t->n_stop; i++)
        if (t->stop[i] == id) return true;
    return false;
}

bool tn_tokenizer_is_special(const tn_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_vocab && (t->type[id] == TN_TOKEN_CONTROL || t->type[id] == TN_TOKEN_UNKNOWN);
}

int32_t tn_tokenizer_find(const tn_tokenizer *t, const char *token)
{
    return tn_index_find(&t->by_raw, &t->raw, token, strlen(token));
}

const char *tn_tokenizer_piece(const tn_tokenizer *t, int32_t id, size_t *n)
{
    *n = 0;
    return id >= 0 && id < t->n_vocab ? tn_pool_at(&t->raw, id, n) : NULL;
}
