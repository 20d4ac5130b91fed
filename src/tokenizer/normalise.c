/* normalise.c - the normaliser's steps over one text, each from one buffer into the other. */
#include "tokenizer/internal.h"
#include "tokenizer/regex.h"

#include <stdlib.h>
#include <string.h>

/* SentencePiece's precompiled_charsmap: a double-array trie from byte sequences to replacements.
 *
 *   u32 trie_bytes | trie_bytes / 4 units, u32 | replacements, each ended by NUL
 *   unit: bits 0-7 and 31 label, 8 has a leaf, 9 and 10-30 offset; a leaf's bits 0-30: where the replacement begins */
tn_status tn_charsmap_check(const char *blob, size_t n, const char *where, tn_error *err)
{
    uint32_t trie;

    if (n < 4 || (memcpy(&trie, blob, 4), trie % 4 != 0) || trie < 4 || trie > n - 4 ||
        (n - 4 - trie > 0 && blob[n - 1] != '\0'))
        return tn_fail(err, TN_FORMAT, "%s: precompiled_charsmap is malformed", where);
    return TN_OK;
}

static uint32_t unit_at(const char *blob, size_t i)
{
    uint32_t v;

    memcpy(&v, blob + 4 + 4 * i, 4);
    return v;
}

static uint32_t unit_offset(uint32_t u) { return (u >> 10) << ((u & (1u << 9)) >> 6); }

/* The longest rule at the front of s: its length, and the replacement. 0 if none fits. */
static size_t charsmap_longest(const char *blob, size_t blob_n, const uint8_t *s, size_t n, const char **to)
{
    uint32_t trie_bytes = (memcpy(&trie_bytes, blob, 4), trie_bytes), n_unit = trie_bytes / 4;
    size_t   best = 0, texts = 4 + (size_t)trie_bytes;
    uint32_t at = unit_offset(unit_at(blob, 0));

    for (size_t i = 0; i < n && s[i] != 0; i++) {
        uint32_t unit;

        at ^= s[i];
        if (at >= n_unit || ((unit = unit_at(blob, at)) & ((1u << 31) | 0xff)) != s[i]) break;
        at ^= unit_offset(unit);
        if ((unit >> 8 & 1) != 0) {
            uint32_t leaf;

            if (at >= n_unit) break;
            leaf = unit_at(blob, at) & 0x7fffffff;
            if (leaf >= blob_n - texts) break;
            *to = blob + texts + leaf;
            best = i + 1;
        }
    }
    return best;
}

static void step_charsmap(const tn_step *step, const uint8_t *s, size_t n, tn_str *out)
{
    for (size_t i = 0; i < n;) {
        const char *to = NULL;
        size_t      len = charsmap_longest(step->from, step->from_n, s + i, n - i, &to);

        if (len != 0) tn_str_add(out, to);
        else tn_str_add_n(out, s + i, len = tn_uc_char_bytes(s + i, n - i));
        i += len;
    }
}

static void step_replace(const tn_step *step, const uint8_t *s, size_t n, tn_str *out)
{
    for (size_t i = 0; i < n;) {
        const uint8_t *found = memmem(s + i, n - i, step->from, step->from_n);
        size_t         run = found != NULL ? (size_t)(found - s) - i : n - i;

        tn_str_add_n(out, s + i, run);
        i += run;
        if (found != NULL) {
            tn_str_add_n(out, step->to, step->to_n);
            i += step->from_n;
        }
    }
}

typedef struct regex_replace {
    const tn_step *step;
    const uint8_t *s;
    size_t         at;
    tn_str        *out;
} regex_replace;

static tn_status replace_match(void *arg, size_t begin, size_t end, tn_error *err)
{
    regex_replace *r = arg;

    (void)err;
    tn_str_add_n(r->out, r->s + r->at, begin - r->at);
    tn_str_add_n(r->out, r->step->to, r->step->to_n);
    r->at = end;
    return TN_OK;
}

static void step_strip(const tn_step *step, const uint8_t *s, size_t n, tn_str *out)
{
    size_t begin = 0, end = n, len;

    while (step->left && begin < end && (tn_uc_mask(tn_uc_decode(s + begin, &len)) & TN_UC_SPACE) != 0)
        begin += len;
    while (step->right && end > begin) {
        size_t at = end - 1;

        while (at > begin && (s[at] & 0xc0) == 0x80) at--;
        if ((tn_uc_mask(tn_uc_decode(s + at, &len)) & TN_UC_SPACE) == 0) break;
        end = at;
    }
    tn_str_add_n(out, s + begin, end - begin);
}

/* Nmt: control and zero-width characters go, odd spaces become plain ones. */
static void step_nmt(const uint8_t *s, size_t n, tn_str *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = tn_uc_decode(s + i, &len);

        if ((cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f || cp == 0x8f ||
            cp == 0x9f)
            continue;
        if (cp == 9 || cp == 0xa || cp == 0xc || cp == 0xd || cp == 0x1680 ||
            (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 || cp == 0xfeff ||
            cp == 0xfffd)
            tn_str_add_char(out, ' ');
        else tn_str_add_n(out, s + i, len);
    }
}

/* SentencePiece's white space: U+2581 for a space; one in front if `left`; runs made one and ends cut if
 * `right`. */
static void step_spaces(const tn_step *step, const uint8_t *s, size_t n, tn_str *out)
{
    bool in_word = false, begun = false;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') {
            in_word = false;
            if (!step->right) tn_str_add(out, "\xe2\x96\x81");
            continue;
        }
        if (!in_word) {
            in_word = true;
            if ((step->left && !begun) || (step->right && begun)) tn_str_add(out, "\xe2\x96\x81");
            begun = true;
        }
        tn_str_add_char(out, (char)s[i]);
    }
}

static void step_strip_accents(const uint8_t *s, size_t n, tn_str *out)
{
    for (size_t i = 0, len; i < n; i += len)
        if ((tn_uc_mask(tn_uc_decode(s + i, &len)) & TN_UC_MARK) == 0) tn_str_add_n(out, s + i, len);
}

static tn_status run_step(const tn_step *step, const uint8_t *s, size_t n, tn_str *out, tn_error *err)
{
    regex_replace r = { step, s, 0, out };

    switch (step->kind) {
    case TN_STEP_FORM: tn_uc_normalise(out, s, n, step->form); break;
    case TN_STEP_LOWER: tn_uc_lowercase(out, s, n); break;
    case TN_STEP_PREPEND:
        if (n > 0) tn_str_add_n(out, step->to, step->to_n);
        tn_str_add_n(out, s, n);
        break;
    case TN_STEP_REPLACE: step_replace(step, s, n, out); break;
    case TN_STEP_REPLACE_REGEX:
        TN_TRY(tn_regex_each(step->regex, s, n, replace_match, &r, err));
        tn_str_add_n(out, s + r.at, n - r.at);
        break;
    case TN_STEP_STRIP: step_strip(step, s, n, out); break;
    case TN_STEP_STRIP_ACCENTS: step_strip_accents(s, n, out); break;
    case TN_STEP_CHARSMAP: step_charsmap(step, s, n, out); break;
    case TN_STEP_NMT: step_nmt(s, n, out); break;
    case TN_STEP_SPACES: step_spaces(step, s, n, out); break;
    }
    return out->failed ? tn_fail(err, TN_NOMEM, "no memory to normalise a text of %zu bytes", n) : TN_OK;
}

tn_status tn_normalise(const tn_step *steps, size_t n_step, const uint8_t *s, size_t n, tn_str *out,
                       bool *changed, tn_error *err)
{
    tn_str    other = { .max = SIZE_MAX / 2 }, swap;
    tn_status status = TN_OK;

    *changed = n_step > 0;
    for (size_t i = 0; i < n_step; i++) {
        tn_str_clear(&other);
        TN_GOTO(run_step(&steps[i], s, n, &other, err));
        swap = *out;
        *out = other;
        other = swap;
        s = (const uint8_t *)(out->p != NULL ? out->p : "");
        n = out->len;
    }
out:
    tn_str_free(&other);
    return status;
}

void tn_steps_free(tn_step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(steps[i].from);
        free(steps[i].to);
        tn_regex_destroy(steps[i].regex);
    }
    free(steps);
}
