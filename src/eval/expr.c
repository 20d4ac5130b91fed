/* expr.c - expressions of task templates.
 *
 *   expression = or [ "if" or [ "else" expression ] ]
 *   or, and, not, comparison (== != < > <= >= in, not in, is [not] defined), sum (+ - ~), product (* / // %), - term
 *   term = atom { "." name | "[" index or slice "]" | "." method "(" arguments ")" | "|" filter [ "(" arguments ")" ] }
 *   atom = column | "text" | 12 | 1.5 | [list] | (expression) | {key: value} | true false none
 *
 * Nothing loops: an expression is read once, and its cost is bounded by its length and by the row. */
#include "eval/template.h"
#include "eval/pytext.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void blanks(tn_expr *t)
{
    while (t->p < t->end && isspace((unsigned char)*t->p)) t->p++;
}

bool tn_expr_take(tn_expr *t, char c)
{
    blanks(t);
    if (t->p == t->end || *t->p != c) return false;
    t->p++;
    return true;
}

static bool letter(char c) { return isalnum((unsigned char)c) || c == '_'; }

bool tn_expr_word(tn_expr *t, const char *word)
{
    size_t n = strlen(word);

    blanks(t);
    if ((size_t)(t->end - t->p) < n || strncmp(t->p, word, n) != 0) return false;
    if (letter(word[0]) && t->p + n < t->end && letter(t->p[n])) return false;
    t->p += n;
    return true;
}

tn_status tn_expr_bad(tn_expr *t, const char *what)
{
    int left = (int)(t->end - t->p);

    return tn_fail(t->err, TN_FORMAT, "%s: template: %s at \"%.*s\"", t->where, what, left > 40 ? 40 : left,
                   t->p);
}

static tn_status made(tn_expr *t, json_t *v, json_t **out)
{
    *out = v;
    return v != NULL ? TN_OK
                     : tn_fail(t->err, TN_FORMAT,
                               "%s: template: a value is no UTF-8 text, or memory is short", t->where);
}

tn_status tn_expr_name(tn_expr *t, char out[64])
{
    size_t n = 0;

    blanks(t);
    while (t->p < t->end && letter(*t->p) && n < 63) out[n++] = *t->p++;
    out[n] = '\0';
    return n > 0 ? TN_OK : tn_expr_bad(t, "a name is expected");
}

bool tn_expr_true(const json_t *v)
{
    if (v == NULL || json_is_null(v) || json_is_false(v)) return false;
    if (json_is_true(v)) return true;
    if (json_is_number(v)) return json_number_value(v) != 0;
    if (json_is_string(v)) return json_string_length(v) > 0;
    return json_is_array(v) ? json_array_size(v) > 0 : json_object_size(v) > 0;
}

/* -------------------------------------------------------------------------------------------------- atoms */

static bool quotes_ahead(const tn_expr *t, char quote, int n)
{
    for (int i = 0; i < n; i++)
        if (t->end - t->p <= i || t->p[i] != quote) return false;
    return true;
}

/* A quoted text; \n, \t, \r, \\ and quotes may be escaped; any other escape stays as it is, as in Python.
 * Three quotes: Python's long form, in lists that a template wrote down. */
static tn_status literal(tn_expr *t, json_t **out)
{
    char      quote = *t->p;
    int       n = quotes_ahead(t, quote, 3) ? 3 : 1;
    tn_str    s = { 0 };
    tn_status status;

    t->p += n;
    while (t->p < t->end && !quotes_ahead(t, quote, n)) {
        char c = *t->p++;
        if (c == '\\' && t->p < t->end) {
            char e = *t->p++;
            if (strchr("ntr\\'\"", e) == NULL) tn_str_add_char(&s, '\\');
            c = e == 'n' ? '\n' : e == 't' ? '\t' : e == 'r' ? '\r' : e;
        }
        tn_str_add_char(&s, c);
    }
    if (t->p == t->end) {
        tn_str_free(&s);
        return tn_expr_bad(t, "a quote is not closed");
    }
    t->p += n;
    status = made(t, json_stringn(s.p != NULL ? s.p : "", s.len), out);
    tn_str_free(&s);
    return status;
}

static tn_status list(tn_expr *t, char close, json_t *array, json_t **out)
{
    json_t   *v = NULL;
    tn_status status = array != NULL ? TN_OK
                                     : tn_fail(t->err, TN_NOMEM, "%s: no memory for a list", t->where);

    while (status == TN_OK && !tn_expr_take(t, close)) {
        TN_GOTO(tn_expr_value(t, &v));
        if (v == NULL) v = json_null();
        if (json_array_append_new(array, v) != 0)
            status = tn_fail(t->err, TN_NOMEM, "%s: no memory for a list", t->where);
        v = NULL;
        if (status == TN_OK && !tn_expr_take(t, ',')) {
            if (!tn_expr_take(t, close))
                status = tn_expr_bad(t, close == ']' ? "] is expected" : ") is expected");
            break;
        }
    }
out:
    if (status != TN_OK) json_decref(array);
    else *out = array;
    return status;
}

static tn_status dict(tn_expr *t, json_t **out)
{
    json_t   *o = json_object(), *k = NULL, *v = NULL;
    tn_status status = TN_OK;

    while (!tn_expr_take(t, '}')) {
        TN_GOTO(tn_expr_value(t, &k));
        if (!tn_expr_take(t, ':') || (!t->dry && !json_is_string(k))) {
            status = tn_expr_bad(t, "a text as key, then : is expected");
            goto out;
        }
        TN_GOTO(tn_expr_value(t, &v));
        if (k != NULL && v != NULL) json_object_set(o, json_string_value(k), v);
        json_decref(k);
        json_decref(v);
        k = v = NULL;
        if (tn_expr_take(t, ',')) continue;
        if (!tn_expr_take(t, '}')) status = tn_expr_bad(t, "} is expected");
        break;
    }
out:
    json_decref(k);
    json_decref(v);
    if (status != TN_OK) json_decref(o);
    else *out = o;
    return status;
}

static json_t *variable(const tn_expr *t, const char *key)
{
    json_t *v = t->vars != NULL ? json_object_get(t->vars, key) : NULL;

    return v != NULL ? v : json_object_get(t->row, key);
}

static tn_status no_column(tn_expr *t, const char *key)
{
    tn_str      has = { 0 };
    const char *k;
    json_t     *unused;

    json_object_foreach((json_t *)t->row, k, unused) tn_str_addf(&has, "%s%s", has.len > 0 ? ", " : "", k);
    tn_status s = tn_fail(t->err, TN_FORMAT, "%s: the row has no column \"%s\" (it has %.600s)", t->where,
                          key, has.p != NULL ? has.p : "none");
    tn_str_free(&has);
    return s;
}

/* A column, or a word of the language; `x is defined` and `x | default(...)` may ask for what is not
 * there. */
static tn_status column(tn_expr *t, json_t **out)
{
    char key[64];

    TN_TRY(tn_expr_name(t, key));
    if (t->dry) return TN_OK;
    if (strcmp(key, "true") == 0 || strcmp(key, "True") == 0) return made(t, json_true(), out);
    if (strcmp(key, "false") == 0 || strcmp(key, "False") == 0) return made(t, json_false(), out);
    if (strcmp(key, "none") == 0 || strcmp(key, "None") == 0) return made(t, json_null(), out);
    json_t *v = variable(t, key);
    if (v != NULL) {
        *out = json_incref(v);
        return TN_OK;
    }
    tn_expr     ahead = *t;
    const char *start = t->p;
    /* called by term */
    if (strcmp(key, "range") == 0 && tn_expr_take(&ahead, '(')) return made(t, json_null(), out);
    if (tn_expr_word(&ahead, "is") ||
        (tn_expr_take(&ahead, '|') && (tn_expr_word(&ahead, "default") || tn_expr_word(&ahead, "d")))) {
        t->p = start;
        return TN_OK; /* NULL: not defined */
    }
    return no_column(t, key);
}

static tn_status number(tn_expr *t, json_t **out)
{
    char   text[40];
    size_t n = 0;
    bool   real = false;

    while (t->p < t->end && n < sizeof text - 1 &&
           (isdigit((unsigned char)*t->p) ||
            (*t->p == '.' && !real && t->p + 1 < t->end && isdigit((unsigned char)t->p[1])))) {
        real = real || *t->p == '.';
        text[n++] = *t->p++;
    }
    text[n] = '\0';
    int64_t i;
    double  x;
    if (!real && tn_parse_i64(text, &i)) return made(t, json_integer((json_int_t)i), out);
    if (real && tn_parse_f64(text, &x)) return made(t, json_real(x), out);
    return tn_expr_bad(t, "a number is expected");
}

static tn_status atom(tn_expr *t, json_t **out)
{
    blanks(t);
    if (t->p == t->end) return tn_expr_bad(t, "an expression is expected");
    if (*t->p == '"' || *t->p == '\'') {
        TN_TRY(literal(t, out));
        /* texts side by side are one */
        for (blanks(t); t->p < t->end && (*t->p == '"' || *t->p == '\''); blanks(t)) {
            json_t *more;
            TN_TRY(literal(t, &more));
            json_t *both = json_sprintf("%s%s", json_string_value(*out), json_string_value(more));
            json_decref(more);
            json_decref(*out);
            TN_TRY(made(t, both, out));
        }
        return TN_OK;
    }
    if (tn_expr_take(t, '[')) return list(t, ']', json_array(), out);
    if (tn_expr_take(t, '{')) return dict(t, out);
    if (tn_expr_take(t, '(')) {
        TN_TRY(tn_expr_value(t, out));
        if (tn_expr_take(t, ')')) return TN_OK;
        if (tn_expr_take(t, ',')) { /* a tuple: a list to us */
            json_t *array = json_array();
            json_array_append_new(array, *out != NULL ? *out : json_null());
            *out = NULL;
            return list(t, ')', array, out);
        }
        json_decref(*out);
        *out = NULL;
        return tn_expr_bad(t, ") is expected");
    }
    if (isdigit((unsigned char)*t->p)) return number(t, out);
    return column(t, out);
}

/* -------------------------------------------------------------------------------------------------- terms */

/* [at], or the slice [from:to]; positions count from the end when negative. Texts by characters. */
static size_t byte_of_char(const char *s, int64_t i)
{
    size_t at = 0;

    for (; i > 0 && s[at] != '\0'; i--) do
            at++;
        while (((unsigned char)s[at] & 0xc0) == 0x80);
    return at;
}

static int64_t length_of(const json_t *v)
{
    return json_is_string(v)  ? tn_py_chars(json_string_value(v))
           : json_is_array(v) ? (int64_t)json_array_size(v)
                              : 0;
}

static tn_status slice(tn_expr *t, const json_t *of, const json_t *from, const json_t *to, json_t **out)
{
    int64_t n = length_of(of), a = json_is_integer(from) ? json_integer_value(from) : 0,
            b = json_is_integer(to) ? json_integer_value(to) : n;

    if (!json_is_string(of) && !json_is_array(of))
        return tn_fail(t->err, TN_FORMAT,
                       "%s: template: a slice is taken of something that is neither text nor list", t->where);
    a = a < 0 ? a + n : a;
    b = b < 0 ? b + n : b;
    a = a < 0 ? 0 : a > n ? n : a;
    b = b < a ? a : b > n ? n : b;
    if (json_is_string(of)) {
        const char *s = json_string_value(of);
        size_t      x = byte_of_char(s, a);
        return made(t, json_stringn(s + x, byte_of_char(s + x, b - a)), out);
    }
    json_t *v = json_array();
    for (int64_t i = a; i < b; i++) json_array_append(v, json_array_get(of, (size_t)i));
    return made(t, v, out);
}

static tn_status element(tn_expr *t, const json_t *of, const json_t *key, json_t **out)
{
    json_t    *v = NULL;
    json_int_t i = json_is_boolean(key) ? json_is_true(key) : json_integer_value(key);
    int64_t    n = length_of(of);

    if (json_is_integer(key) || json_is_boolean(key)) {
        i += i < 0 ? n : 0;
        if (json_is_array(of) && i >= 0 && i < n) v = json_incref(json_array_get(of, (size_t)i));
        if (json_is_string(of) && i >= 0 && i < n) {
            const char *s = json_string_value(of) + byte_of_char(json_string_value(of), i);
            v = json_stringn(s, byte_of_char(s, 1));
        }
    }
    if (json_is_object(of) && json_is_string(key))
        v = json_incref(json_object_get(of, json_string_value(key)));
    if (v == NULL)
        return tn_fail(t->err, TN_FORMAT,
                       "%s: template: there is no such element (a list takes a position inside it, an object "
                       "a key that it has)",
                       t->where);
    *out = v;
    return TN_OK;
}

/* After the name of a method or filter: its arguments, then the call. Takes over *v. */
static tn_status call_with_arguments(tn_expr *t, const char *name, bool filter, bool parens, json_t **v)
{
    json_t     *arg[TN_EXPR_ARGS] = { 0 }, *result = NULL;
    int         n = 0;
    const char *back;
    tn_status   status = TN_OK;

    back = t->p; /* the one argument that templates give by its name: map(attribute='text') */
    if (parens && filter && strcmp(name, "map") == 0 &&
        !(tn_expr_word(t, "attribute") && tn_expr_take(t, '='))) {
        t->p = back;
        return tn_expr_bad(t, "map takes attribute='NAME' alone");
    }
    if (parens && !tn_expr_take(t, ')')) {
        do {
            if (n == TN_EXPR_ARGS) {
                status = tn_expr_bad(t, "too many arguments");
                goto out;
            }
            TN_GOTO(tn_expr_value(t, &arg[n]));
            n++;
        } while (tn_expr_take(t, ','));
        if (!tn_expr_take(t, ')')) {
            status = tn_expr_bad(t, ") is expected");
            goto out;
        }
    }
    if (!t->dry) TN_GOTO(tn_expr_call(t, name, filter, *v, arg, n, &result));
    json_decref(*v);
    *v = result;
out:
    for (int i = 0; i < TN_EXPR_ARGS; i++) json_decref(arg[i]);
    return status;
}

/* After [ : one index, or a slice. Takes over *v. */
static tn_status bracket(tn_expr *t, json_t **v)
{
    json_t   *a = NULL, *b = NULL, *next = NULL;
    bool      sliced;
    tn_status status = TN_OK;

    blanks(t);
    if (t->p < t->end && *t->p != ':') TN_GOTO(tn_expr_value(t, &a));
    sliced = tn_expr_take(t, ':');
    blanks(t);
    if (sliced && t->p < t->end && *t->p != ']') TN_GOTO(tn_expr_value(t, &b));
    if (!tn_expr_take(t, ']')) {
        status = tn_expr_bad(t, "] is expected");
        goto out;
    }
    if (!t->dry) TN_GOTO(sliced ? slice(t, *v, a, b, &next) : element(t, *v, a, &next));
    json_decref(*v);
    *v = next;
out:
    json_decref(a);
    json_decref(b);
    return status;
}

static tn_status member(tn_expr *t, json_t **v)
{
    char    word[64];
    json_t *key, *next = NULL;

    TN_TRY(tn_expr_name(t, word));
    if (tn_expr_take(t, '(')) return call_with_arguments(t, word, false, true, v);
    if (t->dry) return TN_OK;
    if ((key = json_string(word)) == NULL)
        return tn_fail(t->err, TN_NOMEM, "%s: no memory for a name", t->where);
    tn_status s = element(t, *v, key, &next);
    json_decref(key);
    if (s == TN_OK) {
        json_decref(*v);
        *v = next;
    }
    return s;
}

static tn_status term(tn_expr *t, json_t **out)
{
    json_t   *v = NULL;
    bool      minus = false, calls_range;
    tn_status status = TN_OK;
    char      word[64];

    while (tn_expr_take(t, '-')) minus = !minus;
    blanks(t);
    calls_range = (size_t)(t->end - t->p) > 6 && strncmp(t->p, "range(", 6) == 0;
    TN_GOTO(atom(t, &v));
    for (;;) {
        if (calls_range && tn_expr_take(t, '(')) {
            calls_range = false;
            TN_GOTO(call_with_arguments(t, "range", false, true, &v));
        } else if (tn_expr_take(t, '.')) {
            TN_GOTO(member(t, &v));
        } else if (tn_expr_take(t, '[')) {
            TN_GOTO(bracket(t, &v));
        } else if (tn_expr_take(t, '|')) {
            TN_GOTO(tn_expr_name(t, word));
            TN_GOTO(call_with_arguments(t, word, true, tn_expr_take(t, '('), &v));
        } else {
            break;
        }
    }
    if (minus && !t->dry) {
        json_t *neg = json_is_integer(v) ? json_integer(-json_integer_value(v))
                      : json_is_real(v)  ? json_real(-json_real_value(v))
                                         : NULL;
        if (neg == NULL) {
            status = tn_expr_bad(t, "- stands before something that is no number");
            goto out;
        }
        json_decref(v);
        v = neg;
    }
    *out = v;
    v = NULL;
out:
    json_decref(v);
    return status;
}

/* ---------------------------------------------------------------------------------------------- operators */

static json_t *plus(const json_t *a, const json_t *b, bool join)
{
    if (join || (json_is_string(a) && json_is_string(b))) {
        char   *x = NULL, *y = NULL;
        json_t *v = NULL;
        if (tn_template_text(&x, a, "", NULL) == TN_OK && tn_template_text(&y, b, "", NULL) == TN_OK)
            v = json_sprintf("%s%s", x, y);
        free(x);
        free(y);
        return v;
    }
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer((json_int_t)((uint64_t)json_integer_value(a) + (uint64_t)json_integer_value(b)));
    if (json_is_number(a) && json_is_number(b)) return json_real(json_number_value(a) + json_number_value(b));
    if (!json_is_array(a) || !json_is_array(b)) return NULL;
    json_t *v = json_array();
    json_array_extend(v, (json_t *)a);
    json_array_extend(v, (json_t *)b);
    return v;
}

static json_t *arithmetic(char op, const json_t *a, const json_t *b)
{
    if (op == '+' || op == '~') return plus(a, b, op == '~');
    if (!json_is_number(a) || !json_is_number(b)) return NULL;
    double x = json_number_value(a), y = json_number_value(b), v;
    if ((op == '/' || op == 'd' || op == '%') && y == 0) return NULL;
    v = op == '-'   ? x - y
        : op == '*' ? x * y
        : op == '/' ? x / y
        : op == 'd' ? floor(x / y)
                    : x - y * floor(x / y);
    bool whole = json_is_integer(a) && json_is_integer(b) && op != '/';
    return whole && fabs(v) < 9e15 ? json_integer((json_int_t)v) : json_real(v);
}

static tn_status operate(tn_expr *t, char op, json_t **v, json_t *w)
{
    json_t *s = t->dry ? NULL : arithmetic(op, *v, w);

    json_decref(w);
    if (t->dry) return TN_OK;
    json_decref(*v);
    *v = s;
    if (s != NULL) return TN_OK;
    return tn_expr_bad(
        t, op == '+' ? "+ joins two texts, two lists or two numbers; these are something else, before"
                     : "these values cannot be reckoned with, before");
}

/* The right side of an operator. A reader that fails may have read a part of it. */
static tn_status operand(tn_expr *t, tn_status (*read)(tn_expr *t, json_t **out), json_t **w)
{
    *w = NULL;
    tn_status status = read(t, w);

    if (status == TN_OK) return TN_OK;
    json_decref(*w);
    *w = NULL;
    return status;
}

static tn_status product(tn_expr *t, json_t **out)
{
    json_t *w;

    TN_TRY(term(t, out));
    for (;;) {
        char op = tn_expr_word(t, "//") ? 'd' : '\0';
        blanks(t);
        if (op == '\0' && t->end - t->p >= 2 && t->p[0] == '%' && t->p[1] == '}') return TN_OK;
        if (op == '\0')
            op = tn_expr_take(t, '*') ? '*' : tn_expr_take(t, '/') ? '/' : tn_expr_take(t, '%') ? '%' : '\0';
        if (op == '\0') return TN_OK;
        TN_TRY(operand(t, term, &w));
        TN_TRY(operate(t, op, out, w));
    }
}

static tn_status sum(tn_expr *t, json_t **out)
{
    json_t *w;

    TN_TRY(product(t, out));
    for (;;) {
        char op = tn_expr_take(t, '+') ? '+' : tn_expr_take(t, '~') ? '~' : tn_expr_take(t, '-') ? '-' : '\0';
        if (op == '\0') return TN_OK;
        TN_TRY(operand(t, product, &w));
        TN_TRY(operate(t, op, out, w));
    }
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return a != NULL && b != NULL && json_equal((json_t *)a, (json_t *)b);
}

static bool within(const json_t *item, const json_t *of)
{
    if (json_is_string(of))
        return json_is_string(item) && strstr(json_string_value(of), json_string_value(item)) != NULL;
    if (json_is_object(of))
        return json_is_string(item) && json_object_get(of, json_string_value(item)) != NULL;
    for (size_t i = 0; i < json_array_size(of); i++)
        if (same(item, json_array_get(of, i))) return true;
    return false;
}

static bool compared(const char *op, const json_t *a, const json_t *b)
{
    double d = json_is_string(a) && json_is_string(b) ? strcmp(json_string_value(a), json_string_value(b))
                                                      : json_number_value(a) - json_number_value(b);

    if (strcmp(op, "==") == 0) return same(a, b);
    if (strcmp(op, "!=") == 0) return !same(a, b);
    if (strcmp(op, "in") == 0) return within(a, b);
    if (strcmp(op, "<=") == 0) return d <= 0;
    if (strcmp(op, ">=") == 0) return d >= 0;
    return op[0] == '<' ? d < 0 : d > 0;
}

static tn_status is_test(tn_expr *t, json_t **v)
{
    char word[64];
    bool no = tn_expr_word(t, "not"), yes;

    TN_TRY(tn_expr_name(t, word));
    if (strcmp(word, "defined") == 0) yes = *v != NULL;
    else if (strcmp(word, "undefined") == 0) yes = *v == NULL;
    else if (strcmp(word, "none") == 0) yes = json_is_null(*v);
    else if (strcmp(word, "string") == 0) yes = json_is_string(*v);
    else if (strcmp(word, "number") == 0) yes = json_is_number(*v);
    else return tn_expr_bad(t, "a test is defined, undefined, none, string or number, not what stands");
    json_decref(*v);
    *v = json_boolean(yes != no);
    return TN_OK;
}

static tn_status comparison(tn_expr *t, json_t **out)
{
    static const char *const ops[] = { "==", "!=", "<=", ">=", "<", ">", "in" };
    json_t                  *w;

    TN_TRY(sum(t, out));
    for (;;) {
        const char *op = NULL, *start = t->p;
        if (tn_expr_word(t, "is")) {
            TN_TRY(is_test(t, out));
            continue;
        }
        bool no = tn_expr_word(t, "not");
        for (size_t i = no ? 6 : 0; i < sizeof ops / sizeof *ops && op == NULL; i++)
            if (tn_expr_word(t, ops[i])) op = ops[i];
        if (op == NULL) {
            t->p = start;
            return TN_OK;
        }
        TN_TRY(operand(t, sum, &w));
        bool yes = !t->dry && compared(op, *out, w) != no;
        json_decref(w);
        json_decref(*out);
        *out = t->dry ? NULL : json_boolean(yes);
    }
}

static tn_status negation(tn_expr *t, json_t **out)
{
    bool no = false, any = false;

    while (tn_expr_word(t, "not")) {
        no = !no;
        any = true;
    }
    TN_TRY(comparison(t, out));
    if (!any || t->dry) return TN_OK;
    bool yes = tn_expr_true(*out) != no;
    json_decref(*out);
    *out = json_boolean(yes);
    return TN_OK;
}

/* and, or: the value that decides, as in Python; the side that does not count is read dry. */
static tn_status logic(tn_expr *t, bool either, json_t **out);
static tn_status both(tn_expr *t, json_t **out) { return logic(t, false, out); }

static tn_status logic(tn_expr *t, bool either, json_t **out)
{
    json_t *w;

    TN_TRY(either ? both(t, out) : negation(t, out));
    while (tn_expr_word(t, either ? "or" : "and")) {
        bool decided = t->dry || tn_expr_true(*out) == either, dry = t->dry;
        t->dry = decided;
        tn_status s = operand(t, either ? both : negation, &w);
        t->dry = dry;
        TN_TRY(s);
        if (decided) {
            json_decref(w); /* a text or list is made even when it is only read */
            continue;
        }
        json_decref(*out);
        *out = w;
    }
    return TN_OK;
}

/* Does "if" stand at this level of brackets, before what ends the expression? */
static bool has_condition(const tn_expr *t)
{
    int level = 0;

    for (const char *p = t->p; p < t->end; p++) {
        if (*p == '"' || *p == '\'') {
            char quote = *p++;
            for (; p < t->end && *p != quote; p++) p += *p == '\\' && p + 1 < t->end;
        } else if (strchr("([{", *p) != NULL) {
            level++;
        } else if (strchr(")]}", *p) != NULL) {
            if (level-- == 0) return false;
        } else if (*p == ',' && level == 0) {
            return false;
        } else if (level == 0 && p > t->p && !letter(p[-1]) && t->end - p > 2 && p[0] == 'i' && p[1] == 'f' &&
                   !letter(p[2])) {
            return true;
        }
    }
    return false;
}

/* a if c else b: the condition stands behind the value, so the value is read dry first, and for real when it
 * is wanted. */
static tn_status conditional(tn_expr *t, json_t **out)
{
    const char *start = t->p;
    json_t     *c = NULL;
    bool        dry = t->dry;

    if (!has_condition(t)) return logic(t, true, out);
    t->dry = true;
    tn_status s = logic(t, true, out);
    t->dry = dry;
    TN_TRY(s);
    json_decref(*out);
    *out = NULL;
    if (!tn_expr_word(t, "if")) return tn_expr_bad(t, "an operator is expected");
    if ((s = logic(t, true, &c)) != TN_OK) {
        json_decref(c);
        return s;
    }
    bool yes = !dry && tn_expr_true(c);
    json_decref(c);
    if (tn_expr_word(t, "else")) {
        t->dry = dry || yes;
        s = tn_expr_value(t, out);
        t->dry = dry;
        TN_TRY(s);
    } else if (!dry && !yes) {
        *out = json_string("");
    }
    if (!yes) return TN_OK;
    json_decref(*out);
    *out = NULL;
    const char *after = t->p;
    t->p = start;
    TN_TRY(logic(t, true, out));
    t->p = after;
    return TN_OK;
}

tn_status tn_expr_value(tn_expr *t, json_t **out)
{
    *out = NULL;
    if (t->depth >= TN_EXPR_DEPTH) return tn_expr_bad(t, "too deeply nested");
    t->depth++;
    tn_status s = conditional(t, out);
    t->depth--;
    if (s != TN_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return s;
}
