/* regex.c - patterns of tokenizer.json that no scanner knows. A hostile pattern may take exponential time:
 * matching has a step limit, and going over it is an error, not a wait. */
#include "tokenizer/regex.h"

#include "base/str.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PATTERN = 1 << 15,
    MATCH_LIMIT = 2000000,
    DEPTH_LIMIT = 100000,
    HEAP_KIB = 65536,
    JIT_STACK = 1 << 20
};

struct tn_regex {
    pcre2_code *code;
    char        head[64]; /* of the pattern, for messages */
};

/* What \w and \s are to Oniguruma, as the inside of a class (a hyphen behind it is one). PCRE2's \w lacks
 * marks and has every number, its \s has U+180E. */
#define WORD_BRACKET                                                                                         \
    "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}\\p{L}\\p{M}\\p{Nd}"  \
    "\\p{Nl}\\p{Pc}"
#define WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}" WORD_BRACKET
#define SPACE "\\x{9}-\\x{d}\\x{85}\\p{Z}"

#define GRAPH "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}"

/* What Oniguruma's POSIX brackets hold. PCRE2's have other symbols in [:punct:], no marks in [:alpha:], no
 * Roman numerals in [:upper:] ... */
// clang-format off
static const struct { const char *name, *set; } brackets[] = {
    { "alpha", "\\p{Alphabetic}" },  { "alnum", "\\p{Alphabetic}\\p{Nd}" }, { "upper", "\\p{Uppercase}" }, { "lower", "\\p{Lowercase}" },
    { "digit", "\\p{Nd}" },          { "xdigit", "0-9a-fA-F" },              { "punct", "\\p{P}\\p{S}" },   { "cntrl", "\\p{Cc}" },
    { "space", SPACE },              { "blank", "\\x{9}\\p{Zs}" },          { "graph", GRAPH },             { "print", GRAPH "\\p{Zs}" },
    { "word", WORD_BRACKET },
};
// clang-format on

/* The bracket [:name:] that begins at p, spelled out; *used: its bytes. Returns what is wrong with it, or
 * NULL. */
static const char *put_bracket(tn_str *out, const char *p, size_t n, size_t *used)
{
    for (size_t k = 0; k < sizeof brackets / sizeof *brackets; k++) {
        size_t len = strlen(brackets[k].name);

        if (n < len + 4 || memcmp(p + 2, brackets[k].name, len) != 0 || memcmp(p + 2 + len, ":]", 2) != 0)
            continue;
        tn_str_add(out, brackets[k].set);
        *used = len + 4;
        return NULL;
    }
    return n > 2 && p[2] == '^' ? "a negated POSIX bracket ([:^name:])"
                                : "a POSIX bracket of an unknown name";
}

/* An escape as PCRE2 needs it for Oniguruma's meaning. Returns what is wrong with it, or NULL. */
static const char *put_escape(tn_str *out, char c, bool in_class)
{
    const char *set = c == 'w' || c == 'W' || c == 'b' || c == 'B' ? WORD
                      : c == 's' || c == 'S'                       ? SPACE
                                                                   : NULL;

    if (c == 'h' || c == 'H') return "\\h";
    if (c == 'Q' || c == 'E') return "\\Q or \\E";
    if (in_class && (c == 'W' || c == 'S')) return c == 'W' ? "\\W inside a class" : "\\S inside a class";
    if (set == NULL || (in_class && (c == 'b' || c == 'B'))) tn_str_addf(out, "\\%c", c);
    else if (in_class) tn_str_add(out, c == 'w' ? WORD_BRACKET : set);
    else if (c == 'b') tn_str_addf(out, "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))", set, set, set, set);
    else if (c == 'B') tn_str_addf(out, "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))", set, set, set, set);
    else tn_str_addf(out, "[%s%s]", c == 'W' || c == 'S' ? "^" : "", set);
    return NULL;
}

/* \p{Name} of a script at p: PCRE2 takes that for the characters that the script shares with others too, as
 * U+3001, Oniguruma for its own. Returns the bytes of it, 0: it is no script. */
static size_t put_script(tn_str *out, const char *p, size_t n)
{
    size_t not = n > 3 && p[3] == '^' ? 1 : 0, len = 0;
    char        text[64];
    int         code;
    PCRE2_SIZE  at;
    pcre2_code *is;

    if (n < 5 || (p[1] != 'p' && p[1] != 'P') || p[2] != '{') return 0;
    while (3 + not +len < n && ((p[3 + not +len] | 32) >= 'a' && (p[3 + not +len] | 32) <= 'z')) len++;
    if (3 + not +len >= n || p[3 + not +len] != '}' || len > 40) return 0;
    bool yi = len == 2 && strncasecmp(p + 3 + not, "yi", 2) == 0;
    if (len < 3 && !yi) return 0; /* one or two letters: a category, but for that script */
    snprintf(text, sizeof text, "\\%c{%ssc:%.*s}", p[1], not ? "^" : "", (int)len, p + 3 + not );
    if ((is = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at,
                            NULL)) == NULL)
        return 0;
    pcre2_code_free(is);
    tn_str_add(out, text);
    return 4 + not +len;
}

/* Without regard to case Oniguruma takes "ss" for U+00DF, "fi" for U+FB01 and the other way round, which
 * PCRE2 does not: is that possible here? */
static bool folds_to_several(const char *p, size_t n, bool in_class)
{
    static const char *const several[] = { "ss", "ff", "fi", "fl", "st" };

    if ((p[0] & 0x80) != 0 || (p[0] == '\\' && n > 1 && (p[1] == 'x' || p[1] == 'u'))) return true;
    for (size_t k = 0; !in_class && n > 1 && k < sizeof several / sizeof *several; k++)
        if ((p[0] | 32) == several[k][0] && (p[1] | 32) == several[k][1]) return true;
    return false;
}

/* The options at the front of a group, (?flags: or (?flags); *end: its ':' or ')'. false: it has none. */
static bool options_read(const char *p, size_t n, bool *fold, size_t *end)
{
    bool on = true;

    if (n < 3 || p[1] != '?') return false;
    for (*end = 2; *end < n && ((p[*end] >= 'a' && p[*end] <= 'z') || p[*end] == '-'); ++*end) {
        if (p[*end] == '-') on = false;
        if (p[*end] == 'i') *fold = on;
    }
    return *end < n && (p[*end] == ':' || p[*end] == ')');
}

/* The options (?flags) at p[i] rule the rest of their group, which Oniguruma makes a group of its own: the
 * same where nothing stands before. */
static bool in_front(const char *p, size_t i)
{
    return i == 0 || p[i - 1] == '(' || p[i - 1] == '|' || (i > 1 && p[i - 2] == '?' && p[i - 1] == ':');
}

/* Oniguruma's {,n}, which is {0,n}. */
static bool is_at_most(const char *p, size_t n)
{
    size_t k = 2;

    while (k < n && p[k] >= '0' && p[k] <= '9') k++;
    return n > 3 && p[0] == '{' && p[1] == ',' && k > 2 && k < n && p[k] == '}';
}

/* The pattern p for PCRE2. Oniguruma's class intersections and nested classes, \h (a hex digit there) and
 * (?m) (dot matches all there) mean other things to it: such a pattern must not be read wrongly. Returns what
 * it uses of these, or NULL. */
static const char *translate(tn_str *out, const char *p, size_t n)
{
    enum { MAX_DEPTH = 256 };
    bool   in_class = false, fold[MAX_DEPTH] = { false };
    size_t depth = 0;

    for (size_t i = 0; i < n; i++) {
        size_t from = i, used;

        if (fold[depth] && folds_to_several(p + i, n - i, in_class))
            return "letters under (?i) that fold to several, or are not ASCII";
        if (p[i] == '\\' && i + 1 < n) {
            if ((used = put_script(out, p + i, n - i)) > 0) {
                i += used - 1;
                continue;
            }
            const char *strange = put_escape(out, p[++i], in_class);
            if (strange != NULL) return strange;
            continue;
        }
        if (!in_class) {
            if (p[i] == '[') {
                in_class = true;
                if (i + 1 < n && p[i + 1] == '^') i++;
                if (i + 1 < n && p[i + 1] == ']') i++;
            } else if (p[i] == '(') {
                bool inner = fold[depth];

                for (size_t k = i + 2;
                     k < n && p[i + 1] == '?' && ((p[k] >= 'a' && p[k] <= 'z') || p[k] == '-'); k++)
                    if (p[k] == 'm') return "(?m)";
                if (options_read(p + i, n - i, &inner, &used) && p[i + used] == ')') {
                    if (!in_front(p, i)) return "options in the middle of a group";
                    fold[depth] = inner;
                    i += used;
                } else {
                    if (++depth == MAX_DEPTH) return "too many groups inside each other";
                    fold[depth] = inner;
                }
            } else if (p[i] == ')' && depth > 0) depth--;
            else if (is_at_most(p + i, n - i)) {
                if (in_front(p, i)) return "{,n} with nothing before it";
                tn_str_add(out, "{0");
                continue;
            }
        } else if (p[i] == ']') in_class = false;
        else if (p[i] == '[' && i + 1 < n && p[i + 1] == ':') {
            const char *strange = put_bracket(out, p + i, n - i, &used);
            if (strange != NULL) return strange;
            i += used - 1;
            continue;
        } else if (p[i] == '[') return "a class inside a class";
        else if (p[i] == '&' && i + 1 < n && p[i + 1] == '&') return "a class intersection (&&)";
        tn_str_add_n(out, p + from, i + 1 - from);
    }
    return NULL;
}

tn_status tn_regex_create(tn_regex **out, const char *pattern, size_t n, const char *where, tn_error *err)
{
    int         code = 0;
    PCRE2_SIZE  at = 0;
    PCRE2_UCHAR text[120];
    const char *strange;
    tn_regex   *r;
    tn_str      own = { .max = 16 * MAX_PATTERN };

    *out = NULL;
    if (n > MAX_PATTERN)
        return tn_fail(err, TN_LIMIT, "%s: a pattern of %zu bytes, at most %d are read", where, n,
                       MAX_PATTERN);
    if ((strange = translate(&own, pattern, n)) != NULL || own.failed || (r = calloc(1, sizeof *r)) == NULL) {
        tn_status s = strange != NULL
                          ? tn_fail(err, TN_UNSUPPORTED,
                                    "%s: the pattern '%.80s' uses %s, which is not supported", where, pattern,
                                    strange)
                          : tn_fail(err, TN_NOMEM, "%s: no memory for a pattern, or it is too long", where);
        tn_str_free(&own);
        return s;
    }
    memcpy(r->head, pattern, n < sizeof r->head - 1 ? n : sizeof r->head - 1);
    r->code = pcre2_compile((PCRE2_SPTR)(own.p != NULL ? own.p : ""), own.len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at,
                            NULL);
    tn_str_free(&own);
    if (r->code == NULL) {
        pcre2_get_error_message(code, text, sizeof text);
        tn_regex_destroy(r);
        return tn_fail(err, TN_FORMAT, "%s: the pattern '%.80s' is malformed at byte %zu: %s", where, pattern,
                       (size_t)at, (const char *)text);
    }
    uint32_t empty = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty != 0) {
        tn_regex_destroy(r);
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: the pattern '%.80s' can match an empty text, which is not supported", where,
                       pattern);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without JIT the interpreter does the same, slower */
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
typedef struct scratch {
    pcre2_match_data    *match;
    pcre2_match_context *context;
    pcre2_jit_stack     *stack;
} scratch;

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

tn_status tn_regex_each(const tn_regex *r, const uint8_t *s, size_t n, tn_match_fn fn, void *arg,
                        tn_error *err)
{
    scratch   k = { 0 };
    tn_status status = TN_OK;
    size_t    from = 0;

    TN_GOTO(scratch_create(&k, err));
    while (from < n) {
        int rc = pcre2_match(r->code, s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, k.match, k.context);
        PCRE2_SIZE *span = pcre2_get_ovector_pointer(k.match);

        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) {
            status = tn_fail(
                err, TN_LIMIT,
                "the tokenizer's pattern '%s' takes too many steps on this text (PCRE2 error %d): "
                "the pattern is not usable",
                r->head, rc);
            goto out;
        }
        if (span[1] <= span[0] || span[0] < from) { /* \K and the like */
            status = tn_fail(err, TN_UNSUPPORTED,
                             "the tokenizer's pattern '%s' moves its own start, which is not supported",
                             r->head);
            goto out;
        }
        TN_GOTO(fn(arg, span[0], span[1], err));
        from = span[1];
    }
out:
    scratch_free(&k);
    return status;
}
