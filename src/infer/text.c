/* text.c - the text of an answer while it grows: whole characters only, stop strings cut off before anybody
 * sees them; of an answer in several messages (gpt-oss) the one that is meant to be read. */
#include "infer/engine_impl.h"

#include <stdlib.h>
#include <string.h>

/* First occurrence of a stop string in p[from..n), or n. */
static size_t find_stop(const char *p, size_t n, size_t from, const tn_sampling *s)
{
    size_t best = n;

    for (int i = 0; i < s->n_stop; i++) {
        size_t      len = strlen(s->stop[i]);
        const char *hit = len == 0 || n - from < len ? NULL : memmem(p + from, n - from, s->stop[i], len);
        if (hit != NULL && (size_t)(hit - p) < best) best = (size_t)(hit - p);
    }
    return best;
}

/* An answer is a string to all who read it: a NUL, which no text holds, becomes U+FFFD rather than end it
 * there. */
static tn_status replace_nuls(tn_text *t, size_t from, tn_error *err)
{
    static const char sign[] = "\xef\xbf\xbd";

    for (char *at; (at = memchr(t->p + from, '\0', t->n - from)) != NULL;) {
        size_t i = (size_t)(at - t->p), grown = sizeof sign - 2;
        if (t->cap - t->n < grown + 1) {
            char *p = realloc(t->p, 2 * t->cap + 16);
            if (p == NULL) return tn_fail(err, TN_NOMEM, "no memory for an answer of %zu bytes", t->n);
            t->p = p;
            t->cap = 2 * t->cap + 16;
        }
        memmove(t->p + i + 1 + grown, t->p + i + 1, t->n - i); /* with the end's own NUL */
        memcpy(t->p + i, sign, sizeof sign - 1);
        t->n += grown;
        from = i + sizeof sign - 1;
    }
    return TN_OK;
}

static bool is_mark(const char *p, size_t n, const char *mark)
{
    return n == strlen(mark) && memcmp(p, mark, n) == 0;
}

/* Harmony writes <|start|>ROLE<|channel|>NAME<|message|>TEXT<|end|>, once or several times, an answer's first from
 * the channel on. Other special tokens, and other vocabularies, have no say in it. */
static void follow_message(tn_text *t, const tn_tokenizer *tok, int32_t id)
{
    size_t      n;
    const char *mark = tn_tokenizer_piece(tok, id, &n);

    if (tn_tokenizer_find(tok, "<|channel|>") < 0 || tn_tokenizer_find(tok, "<|message|>") < 0) return;
    if (is_mark(mark, n, "<|start|>")) t->part = TN_PART_ROLE;
    if (is_mark(mark, n, "<|message|>")) {
        bool other = t->part == TN_PART_CHANNEL && !is_mark(t->channel, t->n_channel, "final");
        t->part = other ? TN_PART_OTHER : TN_PART_TEXT;
    }
    if (is_mark(mark, n, "<|channel|>")) {
        t->part = TN_PART_CHANNEL;
        t->n_channel = 0;
        t->channel_told = false;
    } else t->channel_told = true; /* <|constrain|>, behind the name */
}

static void add_to_channel(tn_text *t, const tn_tokenizer *tok, int32_t id)
{
    size_t      n;
    const char *name = tn_tokenizer_piece(tok, id, &n);

    for (size_t i = 0; i < n && !t->channel_told && t->n_channel < sizeof t->channel; i++) {
        /* a blank, as it is or as a byte-level vocabulary writes it (U+0120), ends the name */
        t->channel_told = name[i] == ' ' || (unsigned char)name[i] == 0xc4;
        if (!t->channel_told) t->channel[t->n_channel++] = name[i];
    }
}

tn_status tn_text_push(tn_text *t, const tn_tokenizer *tok, int32_t id, const tn_sampling *s, bool *stopped,
                       tn_error *err)
{
    size_t before = t->n, longest = 0;

    *stopped = false;
    if (tok == NULL) return TN_OK;
    if (id >= 0 && tn_tokenizer_is_special(tok, id)) {
        follow_message(t, tok, id);
        return TN_OK;
    }
    if (id >= 0 && t->part == TN_PART_CHANNEL) add_to_channel(t, tok, id);
    if (id >= 0 && t->part != TN_PART_TEXT) return TN_OK;
    TN_TRY(tn_decode_next(tok, &t->decode, id, &t->p, &t->n, &t->cap, err));
    if (t->n > before) TN_TRY(replace_nuls(t, before, err));
    for (int i = 0; i < s->n_stop; i++)
        if (strlen(s->stop[i]) > longest) longest = strlen(s->stop[i]);
    if (longest == 0 || t->n == before) return TN_OK;
    size_t cut = find_stop(t->p, t->n, before >= longest ? before - longest + 1 : 0, s);
    if (cut < t->n) {
        *stopped = true;
        t->n = cut;
        t->p[cut] = '\0';
    }
    return TN_OK;
}

size_t tn_text_ready(const tn_text *t, const tn_sampling *s, bool last)
{
    size_t n = t->n - t->sent, hold = 0;

    if (last) return n;
    for (int i = 0; i < s->n_stop; i++) {
        size_t len = strlen(s->stop[i]);
        /* the longest proper beginning that ends the text */
        for (size_t k = len < n + 1 ? len : n + 1; k-- > 1;)
            if (k < len && k <= n && memcmp(t->p + t->n - k, s->stop[i], k) == 0) {
                if (k > hold) hold = k;
                break;
            }
    }
    return n - hold;
}
