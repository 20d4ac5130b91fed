/* regex.c - patterns of tokenizer.json that no scanner knows. A hostile pattern may take exponential time: matching has a
 * step limit, and going over it is an error, not a wait. */
#include "tokenizer/regex.h"

#include "base/str.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATTERN = 1 << 15, MATCH_LIMIT = 2000000, DEPTH_LIMIT = 100000, HEAP_KIB = 65536, JIT_STACK = 1 << 20 };

struct tn_regex {
    pcre2_code *code;
    char        head[64];                /* of the pattern, for messages */
};

/* What \w and \s are to Oniguruma, as the inside of a class (a hyphen behind it is one). PCRE2's \w lacks marks and has every number, its \s has U+180E. */
#define WORD  "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"
#define SPACE "\\x{9}-\\x{d}\\x{85}\\p{Z}"

/* An escape as PCRE2 needs it for Oniguruma's meaning. Returns what is wrong with it, or NULL. */
static const char *put_escape(tn_str *out, char c, bool in_class)
{
    const char *set = c == 'w' || c == 'W' || c == 'b' || c == 'B' ? WORD : c == 's' || c == 'S' ? SPACE : NULL;

    if (c == 'h' || c == 'H') return "\\h";
    if (in_class && (c == 'W' || c == 'S')) return c == 'W' ? "\\W inside a class" : "\\S inside a class";
    if (set == NULL || (in_class && (c == 'b' || c == 'B'))) tn_str_addf(out, "\\%c", c);
    else if (in_class) tn_str_add(out, set);
    else if (c == 'b') tn_str_addf(out, "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))", set, set, set, set);
    else if (c == 'B') tn_str_addf(out, "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))", set, set, set, set);
    else tn_str_addf(out, "[%s%s]", c == 'W' || c == 'S' ? "^" : "", set);
    return NULL;
}

/* The pattern p for PCRE2. Oniguruma's class intersections and nested classes, \h (a hex digit there) and (?m) (dot matches all there) mean
 * other things to it: such a pattern must not be read wrongly. Returns what it uses of these, or NULL. */
static const char *translate(tn_str *out, const char *p, size_t n)
{
    bool in_class = false;

    for (size_t i = 0; i < n; i++) {
        size_t from = i;

        if (p[i] == '\\' && i + 1 < n) {
            const char *strange = put_escape(out, p[++i], in_class);
            if (strange != NULL) return strange;
            continue;
        }
        if (!in_class) {
            if (p[i] == '[') {
                in_class = true;
                if (i + 1 < n && p[i + 1] == '^') i++;
                if (i + 1 < n && p[i + 1] == ']') i++;
            } else if (p[i] == '(' && i + 2 < n && p[i + 1] == '?') {
                for (size_t k = i + 2; k < n && ((p[k] >= 'a' && p[k] <= 'z') || p[k] == '-'); k++)
                    if (p[k] == 'm') return "(?m)";
            }
        } else if (p[i] == ']') in_class = false;
        else if (p[i] == '[' && !(i + 1 < n && p[i + 1] == ':')) return "a class inside a class";
        else if (p[i] == '&' && i + 1 < n && p[i + 1] == '&') return "a class intersection (&&)";
        else if (p[i] == '[') {                      /* a POSIX class: its own bracket does not end ours */
            const char *close = memchr(p + i, ']', n - i);

            if (close != NULL) i = (size_t)(close - p);
        }
        tn_str_add_n(out, p + from, i + 1 - from);
    }
    return NULL;
}

tn_status tn_regex_create(tn_regex **out, const char *pattern, size_t n, const char *where, tn_error *err)
{
    int           code = 0;
    PCRE2_SIZE    at = 0;
    PCRE2_UCHAR   text[120];
    const char   *strange;
    tn_regex     *r;
    tn_str        own = { .max = 16 * MAX_PATTERN };

    *out = NULL;
    if (n > MAX_PATTERN) return tn_fail(err, TN_LIMIT, "%s: a pattern of %zu bytes, at most %d are read", where, n, MAX_PATTERN);
    if ((strange = translate(&own, pattern, n)) != NULL || own.failed || (r = calloc(1, sizeof *r)) == NULL) {
        tn_status s = strange != NULL ? tn_fail(err, TN_UNSUPPORTED, "%s: the pattern '%.80s' uses %s, which is not supported", where, pattern, strange)
                                      : tn_fail(err, TN_NOMEM, "%s: no memory for a pattern, or it is too long", where);
        tn_str_free(&own);
        return s;
    }
    memcpy(r->head, pattern, n < sizeof r->head - 1 ? n : sizeof r->head - 1);
    r->code = pcre2_compile((PCRE2_SPTR)(own.p != NULL ? own.p : ""), own.len, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    tn_str_free(&own);
    if (r->code == NULL) {
        pcre2_get_error_message(code, text, sizeof text);
        tn_regex_destroy(r);
        return tn_fail(err, TN_FORMAT, "%s: the pattern '%.80s' is malformed at byte %zu: %s", where, pattern, (size_t)at, (const char *)text);
    }
    uint32_t empty = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty != 0) {
        tn_regex_destroy(r);
        return tn_fail(err, TN_UNSUPPORTED, "%s: the pattern '%.80s' can match an empty text, which is not supported", where, pattern);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);  /* without JIT the interpreter does the same, slower */
    *out = r;
    return TN_OK;
}

void tn_regex_destroy(tn_regex *r)
{
    if (r == NULL) return;
    pcre2_code_free(r->code);
    free(r);
}

/* Working memory of one walk over a text. */
typedef struct scratch { pcre2_match_data *match; pcre2_match_context *context; pcre2_jit_stack *stack; } scratch;

static tn_status scratch_create(scratch *k, tn_error *err)
{
    k->match = pcre2_match_data_create(64, NULL);
    k->context = pcre2_match_context_create(NULL);
    k->stack = pcre2_jit_stack_create(32768, JIT_STACK, NULL);
    if (k->match == NULL || k->context == NULL) return tn_fail(err, TN_NOMEM, "no memory to match a pattern");
    pcre2_set_match_limit(k->context, MATCH_LIMIT);
    pcre2_set_depth_limit(k->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(k->context, HEAP_KIB);
    if (k->stack != NULL) pcre2_jit_stack_assign(k->context, NULL, k->stack);
    return TN_OK;
}

static void scratch_free(scratch *k)
{
    pcre2_match_data_free(k->match);
    pcre2_match_context_free(k->context);
    pcre2_jit_stack_free(k->stack);
}

tn_status tn_regex_each(const tn_regex *r, const uint8_t *s, size_t n, tn_match_fn fn, void *arg, tn_error *err)
{
    scratch   k = {0};
    tn_status status = TN_OK;
    size_t    from = 0;

    TN_GOTO(scratch_create(&k, err));
    while (from < n) {
        int         rc = pcre2_match(r->code, s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, k.match, k.context);
        PCRE2_SIZE *span = pcre2_get_ovector_pointer(k.match);

        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) {
            status = tn_fail(err, TN_LIMIT, "the tokenizer's pattern '%s' takes too many steps on this text (PCRE2 error %d): "
                             "the pattern is not usable", r->head, rc);
            goto out;
        }
        if (span[1] <= span[0] || span[0] < from) {  /* \K and the like */
            status = tn_fail(err, TN_UNSUPPORTED, "the tokenizer's pattern '%s' moves its own start, which is not supported", r->head);
            goto out;
        }
        TN_GOTO(fn(arg, span[0], span[1], err));
        from = span[1];
    }
out:
    scratch_free(&k);
    return status;
}
