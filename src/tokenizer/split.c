/* split.c - the walk through a splitter's passes. pre.c has the names and texts of the known patterns. */
#include "tokenizer/split.h"

#include "base/str.h"
#include "tokenizer/regex.h"

#include <string.h>

typedef struct walk {
    const tn_split *split;
    const uint8_t  *start;
    tn_piece_fn     fn;
    void           *arg;
} walk;

/* One pass over one piece: what waits to be joined with what comes next. */
typedef struct joiner {
    const walk    *w;
    int            pass;
    const uint8_t *s;
    size_t         at;         /* end of what was seen */
    size_t         begin, end; /* waiting */
    bool           waiting, was_match;
} joiner;

static tn_status walk_pass(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err);

static tn_status hand_on(joiner *j, size_t begin, size_t end, tn_error *err)
{
    return begin < end ? walk_pass(j->w, j->pass + 1, j->s + begin, end - begin, err) : TN_OK;
}

static tn_status hand_on_waiting(joiner *j, tn_error *err)
{
    bool waiting = j->waiting;

    j->waiting = false;
    return waiting ? hand_on(j, j->begin, j->end, err) : TN_OK;
}

static void wait_with(joiner *j, size_t begin, size_t end, bool is_match)
{
    j->begin = begin;
    j->end = end;
    j->was_match = is_match;
    j->waiting = true;
}

/* The next stretch, matched or not, goes where the pass's behaviour sends it. */
static tn_status stretch(joiner *j, size_t begin, size_t end, bool is_match, tn_error *err)
{
    const tn_pass *p = &j->w->split->pass[j->pass];

    if (begin == end) return TN_OK;
    is_match ^= p->invert;
    switch (p->behaviour) {
    case TN_ISOLATED: return hand_on(j, begin, end, err);
    case TN_REMOVED: return is_match ? TN_OK : hand_on(j, begin, end, err);
    case TN_CONTIGUOUS:
        if (j->waiting && j->was_match == is_match) {
            j->end = end;
            return TN_OK;
        }
        break;
    case TN_WITH_PREVIOUS:
        if (is_match && j->waiting && !j->was_match) {
            j->end = end;
            j->was_match = true;
            return TN_OK;
        }
        break;
    case TN_WITH_NEXT:
        if (!is_match && j->waiting && j->was_match) {
            j->end = end;
            return hand_on_waiting(j, err);
        }
        break;
    }
    TN_TRY(hand_on_waiting(j, err));
    wait_with(j, begin, end, is_match);
    return TN_OK;
}

static tn_status match_found(void *arg, size_t begin, size_t end, tn_error *err)
{
    joiner *j = arg;
    size_t  from = j->at;

    j->at = end;
    TN_TRY(stretch(j, from, begin, false, err));
    return stretch(j, begin, end, true, err);
}

static tn_status cut_generally(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err)
{
    const tn_pass *p = &w->split->pass[pass];
    joiner         j = { .w = w, .pass = pass, .s = s };
    size_t         begin, end, len = strlen(p->literal);
    const uint8_t *found;

    if (p->kind == TN_PASS_REGEX) TN_TRY(tn_regex_each(p->regex, s, n, match_found, &j, err));
    else if (p->kind == TN_PASS_LITERAL) {
        for (size_t at = 0; (found = memmem(s + at, n - at, p->literal, len)) != NULL; at = j.at)
            TN_TRY(match_found(&j, (size_t)(found - s), (size_t)(found - s) + len, err));
    } else {
        for (size_t at = 0; at < n && p->find(s + at, n - at, &begin, &end); at = j.at)
            TN_TRY(match_found(&j, at + begin, at + end, err));
    }
    TN_TRY(stretch(&j, j.at, n, false, err));
    return hand_on_waiting(&j, err);
}

/* Passes that change the text work on a copy. */
static tn_status rewrite(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err)
{
    const tn_pass *p = &w->split->pass[pass];
    tn_str         out = { .max = SIZE_MAX / 2 };
    tn_status      status;
    walk           inner = *w;

    if (p->kind == TN_PASS_SPACE_IN_FRONT) {
        if (s[0] != ' ') tn_str_add_char(&out, ' ');
        tn_str_add_n(&out, s, n);
    } else {
        bool marked = s[0] == ' ' || (n >= 3 && memcmp(s, "\xe2\x96\x81", 3) == 0);

        if (!marked && (p->prepend == TN_PREPEND_ALWAYS || (p->prepend == TN_PREPEND_FIRST && s == w->start)))
            tn_str_add(&out, "\xe2\x96\x81");
        for (size_t i = 0; i < n; i++) {
            if (s[i] == ' ') tn_str_add(&out, "\xe2\x96\x81");
            else tn_str_add_char(&out, (char)s[i]);
        }
    }
    if (out.failed) {
        tn_str_free(&out);
        return tn_fail(err, TN_NOMEM, "no memory to split a text of %zu bytes", n);
    }
    inner.start = s == w->start ? (const uint8_t *)out.p : NULL;
    status = walk_pass(&inner, pass + 1, (const uint8_t *)out.p, out.len, err);
    tn_str_free(&out);
    return status;
}

static tn_status walk_pass(const walk *w, int pass, const uint8_t *s, size_t n, tn_error *err)
{
    const tn_pass *p = &w->split->pass[pass];
    size_t         at = 0, begin, end;

    if (n == 0) return TN_OK;
    if (pass == w->split->n_pass) return w->fn(w->arg, s, n, err);
    if (p->kind == TN_PASS_SPACE_IN_FRONT || p->kind == TN_PASS_METASPACE) return rewrite(w, pass, s, n, err);
    if (p->kind != TN_PASS_SCAN || p->behaviour != TN_ISOLATED || p->invert)
        return cut_generally(w, pass, s, n, err);
    if (pass + 1 == w->split->n_pass) /* the last one: no need to go deeper for each piece */
        for (; at < n && p->find(s + at, n - at, &begin, &end); at += end) {
            if (begin > 0) TN_TRY(w->fn(w->arg, s + at, begin, err));
            TN_TRY(w->fn(w->arg, s + at + begin, end - begin, err));
        }
    while (at < n && p->find(s + at, n - at, &begin, &end)) {
        if (begin > 0) TN_TRY(walk_pass(w, pass + 1, s + at, begin, err));
        TN_TRY(walk_pass(w, pass + 1, s + at + begin, end - begin, err));
        at += end;
    }
    return walk_pass(w, pass + 1, s + at, n - at, err);
}

tn_status tn_split_text(const tn_split *split, const uint8_t *s, size_t n, bool at_start, tn_piece_fn fn,
                        void *arg, tn_error *err)
{
    walk w = { split, at_start ? s : NULL, fn, arg };

    return walk_pass(&w, 0, s, n, err);
}

void tn_split_free(tn_split *split)
{
    for (int i = 0; i < split->n_pass; i++) tn_regex_destroy(split->pass[i].regex);
    split->n_pass = 0;
}
