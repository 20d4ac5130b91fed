/* encode.c - text to ids: added tokens cut out, the rest normalised, split and given to the model. */
#include "tokenizer/cache.h"
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

bool tn_ids_grow(tn_ids *ids, size_t more)
{
    size_t   cap = *ids->cap;
    int32_t *p;

    if (ids->failed || *ids->n + more < more) return false;
    while (cap < *ids->n + more) cap = cap != 0 ? 2 * cap : 256;
    if (cap > SIZE_MAX / sizeof *p || (p = realloc(*ids->p, cap * sizeof *p)) == NULL) {
        ids->failed = true;
        return false;
    }
    *ids->p = p;
    *ids->cap = cap;
    return true;
}

typedef struct encoder {
    const tn_tokenizer *t;
    tn_ids             *out;
    const uint8_t      *skip;    /* [n_added] added tokens that are not looked for, or NULL */
    bool                special; /* special tokens in the text count */
    bool                stops;   /* a signal ends it */
    tn_cached          *cache;   /* for a long text, else NULL */
} encoder;

static tn_status encode_piece(void *arg, const uint8_t *s, size_t n, tn_error *err)
{
    encoder   *e = arg;
    tn_cached *c;
    uint64_t   key[2];
    size_t     before = *e->out->n;

    if (e->stops) TN_TRY(tn_interrupted(err));
    if (e->t->model == TN_MODEL_UNIGRAM) return tn_unigram_encode(e->t, s, n, e->out, err);
    if (e->cache == NULL || n > TN_CACHE_BYTES) return tn_bpe_encode(e->t, s, n, e->out, err);
    c = tn_cache_entry(e->cache, s, n, key);
    if (c->a == key[0] && c->b == key[1] && c->n_bytes == n && tn_ids_reserve(e->out, TN_CACHE_IDS)) {
        memcpy(*e->out->p + before, c->ids, sizeof c->ids);
        *e->out->n = before + c->n_id;
        return TN_OK;
    }
    TN_TRY(tn_bpe_encode(e->t, s, n, e->out, err));
    if (!e->out->failed && *e->out->n - before <= TN_CACHE_IDS) {
        c->a = key[0];
        c->b = key[1];
        c->n_bytes = (uint16_t)n;
        c->n_id = (uint16_t)(*e->out->n - before);
        memcpy(c->ids, *e->out->p + before, c->n_id * sizeof *c->ids);
    }
    return TN_OK;
}

typedef tn_status (*text_fn)(encoder *e, const uint8_t *s, size_t n, bool at_start, bool after_special,
                             tn_error *err);

/* Cuts s at the added tokens of one trie; the texts between them go to `fn`. */
static tn_status cut_at_added(encoder *e, bool normalised, const uint8_t *s, size_t n, bool at_start,
                              bool after_special, text_fn fn, tn_error *err)
{
    const tn_tokenizer *t = e->t;
    size_t              at = 0, from = 0, begin, end;
    int32_t             index;

    while (tn_added_find(t, normalised, e->special, s, n, from, &begin, &end, &index)) {
        const tn_added *a = &t->added[index];

        if (e->skip != NULL && e->skip[index] != 0) {
            from = begin + 1;
            continue;
        }
        /* As in Hugging Face tokenizers, the search goes on behind the token itself: one that lies in the
         * white space which this one takes with it is found too. */
        from = end;
        if (a->lstrip) begin = begin > at ? tn_added_space_before(s, at, begin) : at;
        if (a->rstrip) end = tn_added_space_after(s, end, n);
        if (begin > at) TN_TRY(fn(e, s + at, begin - at, at_start && at == 0, after_special, err));
        /* nothing is left of one that lies in what another took */
        if (begin < end) tn_ids_put(e->out, a->id);
        after_special = true;
        at = end;
    }
    return at < n ? fn(e, s + at, n - at, at_start && at == 0, after_special, err) : TN_OK;
}

static tn_status encode_normal(encoder *e, const uint8_t *s, size_t n, bool at_start, bool after_special,
                               tn_error *err)
{
    (void)after_special;
    return tn_split_text(&e->t->split, s, n, at_start, encode_piece, e, err);
}

/* A text between added tokens. `after_special`: at the start of everything or right after one. */
static tn_status encode_raw(encoder *e, const uint8_t *s, size_t n, bool at_start, bool after_special,
                            tn_error *err)
{
    const tn_tokenizer *t = e->t;
    tn_status           status = TN_OK;
    tn_str              whole = { .max = SIZE_MAX / 2 }, normal = { .max = SIZE_MAX / 2 };
    bool                changed = false, prefix = t->add_space && after_special;

    /* SentencePiece BPE gives ill-formed bytes to its byte tokens; the others take each as U+FFFD. */
    if (t->model != TN_MODEL_SPM && tn_uc_valid_prefix(s, n) != n) tn_uc_repair(&whole, s, n);
    else if (prefix) {
        tn_str_add_char(&whole, ' ');
        tn_str_add_n(&whole, s, n);
    }
    if (whole.failed) {
        status = tn_fail(err, TN_NOMEM, "no memory for a text of %zu bytes", n);
        goto out;
    }
    if (whole.p != NULL) {
        s = (const uint8_t *)whole.p;
        n = whole.len;
    }
    if (t->n_normaliser > 0)
        TN_GOTO(tn_normalise(t->normaliser, t->n_normaliser, s, n, &normal, &changed, err));
    if (changed) {
        s = (const uint8_t *)normal.p;
        n = normal.len;
    }
    if (n == 0) goto out;
    if (t->trie_normalised.n > 0)
        TN_GOTO(cut_at_added(e, true, s, n, at_start, after_special, encode_normal, err));
    else TN_GOTO(encode_normal(e, s, n, at_start, after_special, err));
out:
    tn_str_free(&whole);
    tn_str_free(&normal);
    return status;
}

static tn_status finish(const tn_ids *out, size_t n, tn_error *err)
{
    return out->failed ? tn_fail(err, TN_NOMEM, "no memory for the ids of a text of %zu bytes", n) : TN_OK;
}

tn_status tn_encode_fragment(const tn_tokenizer *t, const char *text, size_t n, bool at_start,
                             bool after_special, const uint8_t *skip, int32_t **ids, size_t *n_ids,
                             size_t *cap, tn_error *err)
{
    tn_ids  out = { ids, n_ids, cap, false };
    encoder e = { t, &out, skip, false, false, NULL };

    TN_TRY(cut_at_added(&e, false, (const uint8_t *)text, n, at_start, after_special, encode_raw, err));
    return finish(&out, n, err);
}

tn_status tn_tokenize(const tn_tokenizer *t, const char *text, size_t n_bytes, int flags, int32_t **ids,
                      size_t *n, size_t *cap, tn_error *err)
{
    tn_ids    out = { ids, n, cap, false };
    encoder   e = { t, &out, NULL, (flags & TN_TOK_SPECIAL) != 0, (flags & TN_TOK_STOPS) != 0, NULL };
    tn_status status;

    /* Without memory for it, the work is only slower. */
    if (n_bytes >= TN_CACHE_FROM) e.cache = calloc((size_t)1 << TN_CACHE_BITS, sizeof *e.cache);
    if ((flags & TN_TOK_BOS) != 0 && t->add_bos) {
        for (size_t i = 0; i < t->n_prefix; i++) tn_ids_put(&out, t->prefix[i]);
        if (t->n_prefix == 0) tn_ids_put(&out, t->bos);
    }
    status = cut_at_added(&e, false, (const uint8_t *)text, n_bytes, true, true, encode_raw, err);
    free(e.cache);
    if (status != TN_OK) return status;
    if ((flags & TN_TOK_EOS) != 0 && t->add_eos) {
        for (size_t i = 0; i < t->n_suffix; i++) tn_ids_put(&out, t->suffix[i]);
        if (t->n_suffix == 0) tn_ids_put(&out, t->eos);
    }
    return finish(&out, n_bytes, err);
}
