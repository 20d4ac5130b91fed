/* decode.c - ids to text, whole or one id at a time. A stream gives bytes out only as whole characters. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one token, "" for a control token that is to be left out. */
static tn_status token_bytes(const tn_tokenizer *t, int32_t id, bool special, bool first, const char **p,
                             size_t *n, tn_error *err)
{
    if (id < 0 || id >= t->n_vocab)
        return tn_fail(err, TN_MISMATCH,
                       "token id %d is outside the vocabulary of %lld: these ids are of another tokenizer",
                       id, (long long)t->n_vocab);
    *p = tn_pool_at(&t->bytes, id, n);
    if (!special && tn_tokenizer_is_special(t, id)) *n = 0;
    if (first && t->strip_marks) {
        size_t      n_raw;
        const char *raw = tn_pool_at(&t->raw, id, &n_raw);
        for (; *n > 0 && **p == ' ' && n_raw >= 3 && memcmp(raw, "\xe2\x96\x81", 3) == 0;
             raw += 3, n_raw -= 3)
            ++*p, --*n;
    }
    if (first && t->strip_space && *n > 0 && **p == ' ') {
        ++*p;
        --*n;
    }
    return TN_OK;
}

tn_status tn_detokenize(const tn_tokenizer *t, const int32_t *ids, size_t n, bool special, char **out,
                        size_t *out_n, tn_error *err)
{
    tn_status status = TN_OK;
    tn_str    text = { .max = SIZE_MAX / 2 };
    bool      first = true;

    *out = NULL;
    *out_n = 0;
    for (size_t i = 0; i < n; i++) {
        const char *p = NULL;
        size_t      n_bytes = 0;

        TN_GOTO(token_bytes(t, ids[i], special, first, &p, &n_bytes, err));
        tn_str_add_n(&text, p, n_bytes);
        if (special || !tn_tokenizer_is_special(t, ids[i])) first = false;
    }
    if (text.failed) {
        status = tn_fail(err, TN_NOMEM, "no memory for the text of %zu tokens", n);
        goto out;
    }
    *out_n = text.len;
    if ((*out = tn_str_take(&text)) == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory for the text of %zu tokens", n);
out:
    tn_str_free(&text);
    return status;
}

static tn_status append(char **out, size_t *n, size_t *cap, const char *bytes, size_t n_bytes, tn_error *err)
{
    if (*cap - *n < n_bytes + 1) {
        size_t grown = 2 * *cap + n_bytes + 64;
        char  *p = realloc(*out, grown);

        if (p == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu bytes of text", grown);
        *out = p;
        *cap = grown;
    }
    memcpy(*out + *n, bytes, n_bytes);
    *n += n_bytes;
    (*out)[*n] = '\0';
    return TN_OK;
}

/* Bytes at the end of s that begin a character which more bytes could complete. */
static size_t incomplete_tail(const uint8_t *s, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        uint8_t c = s[n - k];
        size_t  need = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;

        if ((c & 0xc0) == 0x80) continue;
        if (need <= k) return 0;
        if (k >= 2 && ((c == 0xe0 && s[n - k + 1] < 0xa0) || (c == 0xed && s[n - k + 1] > 0x9f) ||
                       (c == 0xf0 && s[n - k + 1] < 0x90) || (c == 0xf4 && s[n - k + 1] > 0x8f)))
            return 0;
        return k;
    }
    return 0;
}

/* Bytes at s that begin a character and are not it: one replacement stands for them all, as the public
 * libraries decode. */
static size_t broken_part(const uint8_t *s, size_t n)
{
    uint8_t c = s[0],
            lo = c == 0xe0   ? 0xa0
                 : c == 0xf0 ? 0x90
                             : 0x80,
            hi = c == 0xed   ? 0x9f
                 : c == 0xf4 ? 0x8f
                             : 0xbf;
    size_t need = c >= 0xf0 && c <= 0xf4  ? 4
                  : c >= 0xe0 && c < 0xf0 ? 3
                  : c >= 0xc2 && c < 0xe0 ? 2
                                          : 1,
           k = 1;

    for (; k < need && k < n && s[k] >= lo && s[k] <= hi; k++) {
        lo = 0x80;
        hi = 0xbf;
    }
    return k;
}

static void repair(tn_str *out, const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t good = tn_uc_valid_prefix(s + i, n - i);

        tn_str_add_n(out, s + i, good);
        i += good;
        if (i == n) break;
        tn_str_add_n(out, "\xef\xbf\xbd", 3);
        i += broken_part(s + i, n - i);
    }
}

tn_status tn_decode_next(const tn_tokenizer *t, tn_decode_stream *s, int32_t id, char **out, size_t *n,
                         size_t *cap, tn_error *err)
{
    tn_str      text = { .max = SIZE_MAX / 2 }, fixed = { .max = SIZE_MAX / 2 };
    tn_status   status = TN_OK;
    const char *p = NULL;
    size_t      n_bytes = 0, tail;

    if (s->n_pending < 0 || s->n_pending > (int)sizeof s->pending)
        return tn_fail(err, TN_USAGE, "a decode stream must start as all zeros");
    if (id >= 0) {
        TN_TRY(token_bytes(t, id, false, !s->started, &p, &n_bytes, err));
        if (!tn_tokenizer_is_special(t, id)) s->started = true;
    }
    tn_str_add_n(&text, s->pending, (size_t)s->n_pending);
    tn_str_add_n(&text, p, n_bytes);
    tail = id >= 0 ? incomplete_tail((const uint8_t *)text.p, text.len) : 0;
    if (id < 0 && text.len > 0) tn_str_add(&fixed, "\xef\xbf\xbd");
    else repair(&fixed, (const uint8_t *)text.p, text.len - tail);
    if (text.failed || fixed.failed) {
        status = tn_fail(err, TN_NOMEM, "no memory for the text of a token");
        goto out;
    }
    if (fixed.len > 0) TN_GOTO(append(out, n, cap, fixed.p, fixed.len, err));
    if (tail > 0) memcpy(s->pending, text.p + text.len - tail, tail);
    s->n_pending = (int)tail;
out:
    tn_str_free(&text);
    tn_str_free(&fixed);
    return status;
}
