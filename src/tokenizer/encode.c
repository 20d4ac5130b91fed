/* encode.c - text to ids: added tokens cut out, the rest normalised, split and given to the model. */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

bool tn_ids_reserve(tn_ids *ids, size_t more)
{
    size_t   cap = *ids->cap;
    int32_t *p;

    if (ids->failed || *ids->n + more < more) return false;
    if (*ids->n + more <= cap) return true;
    while (cap < *ids->n + more) cap = cap != 0 ? 2 * cap : 256;
    if (cap > SIZE_MAX / sizeof *p || (p = realloc(*ids->p, cap * sizeof *p)) == NULL) {
        ids->failed = true;
        return false;
    }
    *ids->p = p;
    *ids->cap = cap;
    return true;
}

typedef struct encoder { const tn_tokenizer *t; tn_ids *out; } encoder;

static tn_status encode_piece(void *arg, const uint8_t *s, size_t n, tn_error *err)
{
    encoder *e = arg;

    return tn_bpe_encode(e->t, s, n, e->out, err);
}

/* A text between added tokens. `after_special`: at the start of everything or right after one. */
static tn_status encode_text(encoder *e, const uint8_t *s, size_t n, bool after_special, tn_error *err)
{
    const tn_tokenizer *t = e->t;
    tn_status           status = TN_OK;
    tn_str              changed = { .max = SIZE_MAX / 2 };

    if (n == 0) return TN_OK;
    if (t->byte_level && tn_uc_valid_prefix(s, n) != n) {
        tn_uc_repair(&changed, s, n);
    } else if (t->escape_spaces) {
        if (t->add_space && after_special) tn_str_add(&changed, "\xe2\x96\x81");
        for (size_t i = 0; i < n;) {
            const uint8_t *space = memchr(s + i, ' ', n - i);
            size_t         run = space != NULL ? (size_t)(space - s) - i : n - i;

            tn_str_add_n(&changed, s + i, run);
            i += run;
            if (i < n) {
                tn_str_add(&changed, "\xe2\x96\x81");
                i++;
            }
        }
    }
    if (changed.failed) { status = tn_fail(err, TN_NOMEM, "no memory to normalise a text of %zu bytes", n); goto out; }
    if (changed.p != NULL) {
        s = (const uint8_t *)changed.p;
        n = changed.len;
    }
    TN_GOTO(tn_split_text(&t->split, s, n, encode_piece, e, err));
out:
    tn_str_free(&changed);
    return status;
}

/* skip: [n_added] added tokens that are not looked for, or NULL. */
static tn_status encode_mixed(encoder *e, const uint8_t *s, size_t n, bool special, bool after_special, const uint8_t *skip, tn_error *err)
{
    size_t  at = 0, from = 0, begin, end;
    int32_t index;

    while (tn_added_find(e->t, false, special, s, n, from, &begin, &end, &index)) {
        from = end;
        if (skip != NULL && skip[index] != 0) {
            from = begin + 1;
            continue;
        }
        TN_TRY(encode_text(e, s + at, begin - at, after_special, err));
        tn_ids_put(e->out, e->t->added[index].id);
        after_special = true;
        at = end;
    }
    return encode_text(e, s + at, n - at, after_special, err);
}

tn_status tn_encode_fragment(const tn_tokenizer *t, const char *text, size_t n, bool after_special, const uint8_t *skip,
                             int32_t **ids, size_t *n_ids, size_t *cap, tn_error *err)
{
    tn_ids  out = { ids, n_ids, cap, false };
    encoder e = { t, &out };

    TN_TRY(encode_mixed(&e, (const uint8_t *)text, n, false, after_special, skip, err));
    return out.failed ? tn_fail(err, TN_NOMEM, "no memory for the ids of a text of %zu bytes", n) : TN_OK;
}

tn_status tn_tokenize(const tn_tokenizer *t, const char *text, size_t n_bytes, int flags, int32_t **ids, size_t *n, size_t *cap,
                      tn_error *err)
{
    tn_ids  out = { ids, n, cap, false };
    encoder e = { t, &out };

    if ((flags & TN_TOK_BOS) != 0 && t->add_bos) tn_ids_put(&out, t->bos);
    TN_TRY(encode_mixed(&e, (const uint8_t *)text, n_bytes, (flags & TN_TOK_SPECIAL) != 0, true, NULL, err));
    if ((flags & TN_TOK_EOS) != 0 && t->add_eos) tn_ids_put(&out, t->eos);
    return out.failed ? tn_fail(err, TN_NOMEM, "no memory for the ids of a text of %zu bytes", n_bytes) : TN_OK;
}
