/* template.c - "Question: {{question.strip()}}\nAnswer:" over one row of data. Expressions only: no loops, no conditions,
 * nothing that could run for long or reach outside the row.
 *
 *   expression = term { ("+" | "~") term }                 two strings, two lists or two integers
 *   term       = atom { "." name | "[" expression "]" | "." method "(" [expression {"," expression}] ")" | "|" filter }
 *   atom       = column | "string" | 'string' | integer | "[" list "]" | "(" expression ")"
 *   method     = strip lstrip rstrip lower upper capitalize replace split index join
 *   filter     = trim lower upper join(separator)
 */
#include "eval/template.h"
#include "base/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32, MAX_ARGS = 2 };

typedef struct parser { const char *p, *end; const json_t *row; const char *where; int depth; tn_error *err; } parser;

static tn_status expression(parser *t, json_t **out);

static void blanks(parser *t)
{
    while (t->p < t->end && isspace((unsigned char)*t->p)) t->p++;
}

static bool take(parser *t, char c)
{
    blanks(t);
    if (t->p == t->end || *t->p != c) return false;
    t->p++;
    return true;
}

static tn_status bad(parser *t, const char *what)
{
    int left = (int)(t->end - t->p);

    return tn_fail(t->err, TN_FORMAT, "%s: template: %s at \"%.*s\"", t->where, what, left > 40 ? 40 : left, t->p);
}

static tn_status made(parser *t, json_t *v, json_t **out)
{
    *out = v;
    return v != NULL ? TN_OK : tn_fail(t->err, TN_FORMAT, "%s: template: a value is no UTF-8 text, or memory is short", t->where);
}

static tn_status name(parser *t, char out[64])
{
    size_t n = 0;

    blanks(t);
    while (t->p < t->end && (isalnum((unsigned char)*t->p) || *t->p == '_') && n < 63) out[n++] = *t->p++;
    out[n] = '\0';
    return n > 0 ? TN_OK : bad(t, "a name is expected");
}

/* A quoted text; \n, \t, \\ and quotes may be escaped. */
static tn_status literal(parser *t, json_t **out)
{
    char      quote = *t->p++;
    tn_str    s = {0};
    tn_status status;

    while (t->p < t->end && *t->p != quote) {
        char c = *t->p++;
        if (c == '\\' && t->p < t->end) {
            c = *t->p++;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        tn_str_add_char(&s, c);
    }
    if (t->p == t->end) {
        tn_str_free(&s);
        return bad(t, "a quote is not closed");
    }
    t->p++;
    status = made(t, json_stringn(s.p != NULL ? s.p : "", s.len), out);
    tn_str_free(&s);
    return status;
}

static tn_status list(parser *t, json_t **out)
{
    json_t   *array = json_array(), *v = NULL;
    tn_status status = TN_OK;

    if (!take(t, ']'))
        do {
            TN_GOTO(expression(t, &v));
            if (json_array_append_new(array, v) != 0) status = tn_fail(t->err, TN_NOMEM, "%s: no memory for a list", t->where);
        } while (status == TN_OK && take(t, ','));
    else return made(t, array, out);
    if (status == TN_OK && !take(t, ']')) status = bad(t, "] is expected");
out:
    if (status != TN_OK) json_decref(array);
    else *out = array;
    return status;
}

static tn_status column(parser *t, json_t **out)
{
    char    key[64];
    json_t *v;

    TN_TRY(name(t, key));
    if ((v = json_object_get(t->row, key)) != NULL) {
        *out = json_incref(v);
        return TN_OK;
    }
    tn_str      has = {0};
    const char *k;
    json_t     *unused;
    json_object_foreach((json_t *)t->row, k, unused) tn_str_addf(&has, "%s%s", has.len > 0 ? ", " : "", k);
    tn_status s = tn_fail(t->err, TN_FORMAT, "%s: the row has no column \"%s\" (it has %s)", t->where, key, has.p != NULL ? has.p : "none");
    tn_str_free(&has);
    return s;
}

static tn_status atom(parser *t, json_t **out)
{
    blanks(t);
    if (t->p == t->end) return bad(t, "an expression is expected");
    if (*t->p == '"' || *t->p == '\'') return literal(t, out);
    if (take(t, '[')) return list(t, out);
    if (take(t, '(')) {
        TN_TRY(expression(t, out));
        if (take(t, ')')) return TN_OK;
        json_decref(*out);
        *out = NULL;
        return bad(t, ") is expected");
    }
    if (isdigit((unsigned char)*t->p) || *t->p == '-') {
        char  *end;
        long   v = strtol(t->p, &end, 10);
        if (end == t->p || end > t->end) return bad(t, "a number is expected");
        t->p = end;
        return made(t, json_integer(v), out);
    }
    return column(t, out);
}

/* ---------------------------------------------------------------------------------------------------- methods */

static json_t *stripped(const char *s, size_t n, bool left, bool right)
{
    size_t a = 0;

    while (left && a < n && isspace((unsigned char)s[a])) a++;
    while (right && n > a && isspace((unsigned char)s[n - 1])) n--;
    return json_stringn(s + a, n - a);
}

/* ASCII only: the texts that tasks change are English; other letters stay. */
static json_t *cased(const char *s, size_t n, bool first_up, bool rest_up)
{
    char *copy = tn_strndup(s, n);

    for (size_t i = 0; copy != NULL && i < n; i++)
        copy[i] = (char)((i == 0 ? first_up : rest_up) ? toupper((unsigned char)copy[i]) : tolower((unsigned char)copy[i]));
    json_t *v = copy == NULL ? NULL : json_stringn(copy, n);
    free(copy);
    return v;
}

static json_t *replaced(const char *s, const char *from, const char *to)
{
    tn_str  out = {0};
    size_t  n = strlen(from);
    json_t *v;

    for (const char *hit; n > 0 && (hit = strstr(s, from)) != NULL; s = hit + n) {
        tn_str_add_n(&out, s, (size_t)(hit - s));
        tn_str_add(&out, to);
    }
    tn_str_add(&out, s);
    v = out.failed ? NULL : json_string(out.p);
    tn_str_free(&out);
    return v;
}

static json_t *split(const char *s, const char *by)
{
    json_t *v = json_array();

    if (by != NULL) {
        for (const char *hit; (hit = strstr(s, by)) != NULL; s = hit + strlen(by)) json_array_append_new(v, json_stringn(s, (size_t)(hit - s)));
        json_array_append_new(v, json_string(s));
        return v;
    }
    while (*s != '\0') {
        size_t n = strcspn(s, " \t\r\n\v\f");
        if (n > 0) json_array_append_new(v, json_stringn(s, n));
        s += n;
        s += strspn(s, " \t\r\n\v\f");
    }
    return v;
}

static json_t *position(const json_t *list, const json_t *item)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), item)) return json_integer((json_int_t)i);
    return NULL;
}

static json_t *joined(const json_t *array, const char *by)
{
    tn_str  s = {0};
    json_t *v;

    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));
        if (text == NULL) {
            tn_str_free(&s);
            return NULL;
        }
        if (i > 0) tn_str_add(&s, by);
        tn_str_add(&s, text);
    }
    v = s.failed ? NULL : json_string(s.p != NULL ? s.p : "");
    tn_str_free(&s);
    return v;
}

static tn_status call(parser *t, const char *method, const json_t *self, json_t *const *arg, int n_arg, json_t **out)
{
    const char *s = json_string_value(self), *a = n_arg > 0 ? json_string_value(arg[0]) : NULL, *b = n_arg > 1 ? json_string_value(arg[1]) : NULL;
    size_t      n = json_string_length(self);
    json_t     *v = NULL;

    if (s != NULL && n_arg == 0) {
        if (strcmp(method, "strip") == 0 || strcmp(method, "trim") == 0) v = stripped(s, n, true, true);
        else if (strcmp(method, "lstrip") == 0) v = stripped(s, n, true, false);
        else if (strcmp(method, "rstrip") == 0) v = stripped(s, n, false, true);
        else if (strcmp(method, "lower") == 0) v = cased(s, n, false, false);
        else if (strcmp(method, "upper") == 0) v = cased(s, n, true, true);
        else if (strcmp(method, "capitalize") == 0) v = cased(s, n, true, false);
        else if (strcmp(method, "split") == 0) v = split(s, NULL);
    } else if (s != NULL && strcmp(method, "split") == 0 && a != NULL && a[0] != '\0') {
        v = split(s, a);
    } else if (s != NULL && strcmp(method, "replace") == 0 && a != NULL && b != NULL) {
        v = replaced(s, a, b);
    } else if (json_is_array(self) && strcmp(method, "index") == 0 && n_arg == 1) {
        v = position(self, arg[0]);
        if (v == NULL) return tn_fail(t->err, TN_FORMAT, "%s: template: the value that index() looks for is not in the list", t->where);
    } else if (json_is_array(self) && strcmp(method, "join") == 0 && a != NULL) {
        v = joined(self, a);
    }
    if (v == NULL)
        return tn_fail(t->err, TN_FORMAT, "%s: template: no %s() with %d arguments of these types (there are strip, lstrip, rstrip, lower, upper, "
                       "capitalize, split, replace, index, join)", t->where, method, n_arg);
    *out = v;
    return TN_OK;
}

/* After the name of a method or filter: its arguments, then the call. Takes over *v. */
static tn_status call_with_arguments(parser *t, const char *method, bool parens, json_t **v)
{
    json_t   *arg[MAX_ARGS] = {0}, *result = NULL;
    int       n = 0;
    tn_status status = TN_OK;

    if (parens && !take(t, ')')) {
        do {
            if (n == MAX_ARGS) {
                status = bad(t, "too many arguments");
                goto out;
            }
            TN_GOTO(expression(t, &arg[n]));
            n++;
        } while (take(t, ','));
        if (!take(t, ')')) {
            status = bad(t, ") is expected");
            goto out;
        }
    }
    TN_GOTO(call(t, method, *v, arg, n, &result));
    json_decref(*v);
    *v = result;
out:
    for (int i = 0; i < MAX_ARGS; i++) json_decref(arg[i]);
    return status;
}

static tn_status element(parser *t, const json_t *of, const json_t *key, json_t **out)
{
    json_t    *v = NULL;
    json_int_t i = json_integer_value(key);

    if (json_is_array(of) && json_is_integer(key)) v = json_array_get(of, (size_t)(i < 0 ? i + (json_int_t)json_array_size(of) : i));
    if (json_is_object(of) && json_is_string(key)) v = json_object_get(of, json_string_value(key));
    if (v == NULL) return tn_fail(t->err, TN_FORMAT, "%s: template: there is no such element (a list takes a position inside it, an object a key that it has)", t->where);
    *out = json_incref(v);
    return TN_OK;
}

static tn_status postfix(parser *t, json_t **v, bool *more)
{
    char      word[64];
    json_t   *key = NULL, *next = NULL;
    tn_status status = TN_OK;

    *more = true;
    if (take(t, '|')) {
        TN_TRY(name(t, word));
        return call_with_arguments(t, word, take(t, '('), v);
    }
    if (take(t, '.')) {
        TN_TRY(name(t, word));
        if (take(t, '(')) return call_with_arguments(t, word, true, v);
        TN_GOTO(made(t, json_string(word), &key));
    } else if (take(t, '[')) {
        TN_GOTO(expression(t, &key));
        if (!take(t, ']')) {
            status = bad(t, "] is expected");
            goto out;
        }
    } else {
        *more = false;
        return TN_OK;
    }
    TN_GOTO(element(t, *v, key, &next));
    json_decref(*v);
    *v = next;
out:
    json_decref(key);
    return status;
}

static tn_status term(parser *t, json_t **out)
{
    json_t   *v = NULL;
    bool      more = true;
    tn_status status = TN_OK;

    TN_GOTO(atom(t, &v));
    while (more) TN_GOTO(postfix(t, &v, &more));
    *out = v;
    v = NULL;
out:
    json_decref(v);
    return status;
}

static json_t *sum(const json_t *a, const json_t *b)
{
    if (json_is_string(a) && json_is_string(b)) {
        char   *text = tn_strf("%s%s", json_string_value(a), json_string_value(b));
        json_t *v = text == NULL ? NULL : json_string(text);
        free(text);
        return v;
    }
    if (json_is_integer(a) && json_is_integer(b)) return json_integer(json_integer_value(a) + json_integer_value(b));
    if (!json_is_array(a) || !json_is_array(b)) return NULL;
    json_t *v = json_array();
    json_array_extend(v, (json_t *)a);
    json_array_extend(v, (json_t *)b);
    return v;
}

static tn_status expression(parser *t, json_t **out)
{
    json_t   *v = NULL, *w = NULL;
    tn_status status = TN_OK;

    if (++t->depth > MAX_DEPTH) return bad(t, "too deeply nested");
    TN_GOTO(term(t, &v));
    while (take(t, '+') || take(t, '~')) {
        TN_GOTO(term(t, &w));
        json_t *s = sum(v, w);
        if (s == NULL) {
            status = bad(t, "+ joins two texts, two lists or two integers; these are something else, before");
            goto out;
        }
        json_decref(v);
        json_decref(w);
        v = s;
        w = NULL;
    }
    *out = v;
    v = NULL;
out:
    t->depth--;
    json_decref(v);
    json_decref(w);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ texts */

tn_status tn_template_text(char **out, const json_t *v, const char *where, tn_error *err)
{
    *out = NULL;
    if (json_is_string(v)) *out = tn_strdup(json_string_value(v));
    else if (json_is_integer(v)) *out = tn_strf("%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v)) *out = tn_strdup(json_is_true(v) ? "True" : "False");
    else return tn_fail(err, TN_FORMAT, "%s: a text is expected here, the template gives a list, an object or a real number", where);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for a text", where);
}

/* The end of the {{ }} that begins at p (after the braces), quotes respected, or NULL. */
static const char *closing(const char *p)
{
    for (char quote = 0; *p != '\0'; p++) {
        if (quote != 0 && *p == '\\' && p[1] != '\0') p++;
        else if (quote != 0) quote = *p == quote ? 0 : quote;
        else if (*p == '"' || *p == '\'') quote = *p;
        else if (p[0] == '}' && p[1] == '}') return p;
    }
    return NULL;
}

static tn_status braces(json_t **out, const char *p, const char *end, const json_t *row, const char *where, tn_error *err)
{
    parser t = { p, end, row, where, 0, err };

    TN_TRY(expression(&t, out));
    blanks(&t);
    if (t.p == t.end) return TN_OK;
    json_decref(*out);
    *out = NULL;
    return bad(&t, "something is left");
}

tn_status tn_template_value(json_t **out, const char *text, const json_t *row, const char *where, tn_error *err)
{
    tn_str      s = {0};
    json_t     *v = NULL;
    char       *piece = NULL;
    tn_status   status = TN_OK;
    const char *p = text, *open, *end;

    *out = NULL;
    if (strstr(text, "{%") != NULL)
        return tn_fail(err, TN_UNSUPPORTED, "%s: template: {%% %%} blocks are not part of this template language; expressions in {{ }} are", where);
    while ((open = strstr(p, "{{")) != NULL) {
        if ((end = closing(open + 2)) == NULL) {
            status = tn_fail(err, TN_FORMAT, "%s: template: {{ is not closed by }}", where);
            goto out;
        }
        TN_GOTO(braces(&v, open + 2, end, row, where, err));
        if (open == text && end[2] == '\0') {
            *out = v;
            v = NULL;
            goto out;
        }
        tn_str_add_n(&s, p, (size_t)(open - p));
        TN_GOTO(tn_template_text(&piece, v, where, err));
        tn_str_add(&s, piece);
        free(piece);
        piece = NULL;
        json_decref(v);
        v = NULL;
        p = end + 2;
    }
    tn_str_add(&s, p);
    TN_GOTO(tn_str_check(&s, err));
    if ((*out = json_string(s.p)) == NULL) status = tn_fail(err, TN_FORMAT, "%s: the text is not UTF-8", where);
out:
    free(piece);
    json_decref(v);
    tn_str_free(&s);
    return status;
}

tn_status tn_template_field(json_t **out, const char *text, const json_t *row, const char *where, tn_error *err)
{
    json_t *v = json_object_get(row, text);

    if (v == NULL) return tn_template_value(out, text, row, where, err);
    *out = json_incref(v);
    return TN_OK;
}
