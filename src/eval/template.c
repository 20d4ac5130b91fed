/* template.c - "Question: {{question.strip()}}\nAnswer:" over one row of data.
 *
 *   {{ expression }}   {% set x = expression %}   {% if c %} ... {% elif c %} ... {% else %} ... {% endif %}
 *   {% for x in list %} ... {% endfor %}  (loop.index, loop.index0, loop.first, loop.last)   {# note #}
 *   a - at the inside of braces takes the white space at that side away
 *
 * Loops go over lists of the row only, and what they write is bounded, so a template always ends. */
#include "eval/template.h"
#include "base/str.h"
#include "eval/pytext.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 4 << 20, MAX_STEPS = 200000, MAX_NEST = 16 };

/* A template being walked: text from p on, results into out. */
typedef struct walk {
    const char   *p;
    tn_str       *out;
    const json_t *row;
    json_t       *vars;
    const char   *where;
    int64_t       steps;
    int           nest;
    tn_error     *err;
} walk;

/* inside of the braces; trims */
typedef struct tag {
    const char *begin, *end, *after;
    bool        left, right;
} tag;

/* -------------------------------------------------------------------------------------------------- texts */

static tn_status list_text(tn_str *s, const json_t *v, int depth);

/* repr() of a value: how a list or mapping shows its members. */
static tn_status repr(tn_str *s, const json_t *v, int depth)
{
    if (!json_is_string(v)) return list_text(s, v, depth);
    const char *p = json_string_value(v);
    char        quote = strchr(p, '\'') != NULL && strchr(p, '"') == NULL ? '"' : '\'';
    tn_str_add_char(s, quote);
    for (; *p != '\0'; p++) {
        if (*p == quote || *p == '\\') tn_str_add_char(s, '\\');
        if (*p == '\n') tn_str_add(s, "\\n");
        else if (*p == '\t') tn_str_add(s, "\\t");
        else if (*p == '\r') tn_str_add(s, "\\r");
        else tn_str_add_char(s, *p);
    }
    tn_str_add_char(s, quote);
    return TN_OK;
}

static tn_status list_text(tn_str *s, const json_t *v, int depth)
{
    char        buf[32];
    const char *key;
    json_t     *one;
    size_t      i;

    if (depth > TN_EXPR_DEPTH) return TN_LIMIT;
    if (json_is_integer(v)) tn_str_addf(s, "%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v)) tn_str_add(s, json_is_true(v) ? "True" : "False");
    else if (v == NULL || json_is_null(v)) tn_str_add(s, "None");
    else if (json_is_real(v)) {
        double      x = json_real_value(v);
        const char *text = tn_f64_text(x, buf);
        tn_str_add(s, text);
        if (x == floor(x) && fabs(x) < 1e16 && strpbrk(text, ".en") == NULL) tn_str_add(s, ".0");
    } else if (json_is_array(v)) {
        tn_str_add_char(s, '[');
        json_array_foreach(v, i, one) {
            if (i > 0) tn_str_add(s, ", ");
            TN_TRY(repr(s, one, depth + 1));
        }
        tn_str_add_char(s, ']');
    } else {
        bool first = true;
        tn_str_add_char(s, '{');
        json_object_foreach((json_t *)v, key, one) {
            json_t *k = json_string(key);
            if (!first) tn_str_add(s, ", ");
            first = false;
            repr(s, k, depth + 1);
            json_decref(k);
            tn_str_add(s, ": ");
            TN_TRY(repr(s, one, depth + 1));
        }
        tn_str_add_char(s, '}');
    }
    return TN_OK;
}

tn_status tn_template_text(char **out, const json_t *v, const char *where, tn_error *err)
{
    tn_str    s = { .max = MAX_TEXT };
    tn_status status = TN_OK;

    *out = NULL;
    if (json_is_string(v)) tn_str_add_n(&s, json_string_value(v), json_string_length(v));
    else status = list_text(&s, v, 0);
    if (status == TN_OK && !s.failed) *out = tn_str_take(&s);
    tn_str_free(&s);
    return *out != NULL ? TN_OK
                        : tn_fail(err, TN_NOMEM, "%s: no memory for a text, or it is over %d MiB", where,
                                  MAX_TEXT >> 20);
}

/* --------------------------------------------------------------------------------------------------- tags */

/* The end of what begins at p (after its braces), quotes respected: the place of "}}" or "%}", or NULL. */
static const char *closing(const char *p, char mark)
{
    int level = 0;

    for (char quote = 0; *p != '\0'; p++) {
        if (quote != 0 && *p == '\\' && p[1] != '\0') p++;
        else if (quote != 0) quote = *p == quote ? 0 : quote;
        else if (*p == '"' || *p == '\'') quote = *p;
        else if (*p == '{') level++;
        else if (level == 0 && p[0] == mark && p[1] == '}') return p;
        else if (*p == '}' && level > 0) level--;
    }
    return NULL;
}

static tn_status tag_at(walk *w, const char *open, tag *out)
{
    char mark = open[1] == '{' ? '}' : '%';

    if (open[1] == '#') {
        const char *end = strstr(open + 2, "#}");
        if (end == NULL) return tn_fail(w->err, TN_FORMAT, "%s: template: {# is not closed by #}", w->where);
        *out = (tag){ open + 2, end, end + 2, open[2] == '-', end > open + 2 && end[-1] == '-' };
        return TN_OK;
    }
    const char *end = closing(open + 2, mark);
    if (end == NULL)
        return tn_fail(w->err, TN_FORMAT, "%s: template: {%c is not closed by %c}", w->where, open[1], mark);
    *out = (tag){ open + 2, end, end + 2, open[2] == '-', end > open + 2 && end[-1] == '-' };
    out->begin += out->left;
    out->end -= out->right && out->end > out->begin;
    return TN_OK;
}

/* The next {{, {% or {#, or NULL. */
static const char *next_open(const char *p)
{
    while ((p = strchr(p, '{')) != NULL && p[1] != '{' && p[1] != '%' && p[1] != '#') p++;
    return p;
}

static tn_expr reader(walk *w, const tag *t, bool dry)
{
    return (tn_expr){ .p = t->begin,
                      .end = t->end,
                      .row = w->row,
                      .vars = w->vars,
                      .where = w->where,
                      .dry = dry,
                      .err = w->err };
}

static tn_status at_end(tn_expr *e)
{
    tn_expr_take(e, '\0');
    return e->p == e->end ? TN_OK : tn_expr_bad(e, "something is left");
}

static tn_status step(walk *w)
{
    if (++w->steps > MAX_STEPS)
        return tn_fail(w->err, TN_LIMIT, "%s: template: more than %d steps", w->where, MAX_STEPS);
    return TN_OK;
}

/* Text [from, to), its white space trimmed where the tags beside it ask for it. */
static void put_text(walk *w, const char *from, const char *to, bool trim_front, bool trim_back)
{
    size_t n = (size_t)(to - from);

    if (trim_front) {
        size_t k = tn_py_front(from, n);
        from += k;
        n -= k;
    }
    if (trim_back) n = tn_py_end(from, n);
    tn_str_add_n(w->out, from, n);
}

/* Walks until {% word %} of `ends` at this level (NULL: the end of the text). *stop: that tag; w->p stands
 * behind it. When `live` is false nothing is computed or written. */
static tn_status body(walk *w, bool live, bool trimmed, const char *const *ends, tag *stop);

static bool begins(const tag *t, const char *word)
{
    tn_expr e = { .p = t->begin, .end = t->end };

    return tn_expr_word(&e, word);
}

static tn_status do_set(walk *w, const tag *t, bool live)
{
    tn_expr e = reader(w, t, !live);
    char    name[64];
    json_t *v = NULL;

    tn_expr_word(&e, "set");
    TN_TRY(tn_expr_name(&e, name));
    if (!tn_expr_take(&e, '=')) return tn_expr_bad(&e, "= is expected");
    TN_TRY(tn_expr_value(&e, &v));
    if (live) json_object_set(w->vars, name, v != NULL ? v : json_null());
    json_decref(v);
    return at_end(&e);
}

static tn_status do_if(walk *w, tag t, bool live)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    bool                     done = false;

    for (const char *word = "if";; word = "elif") {
        bool yes = !done;
        if (!begins(&t, "else")) {
            tn_expr e = reader(w, &t, !live || done);
            json_t *v = NULL;
            tn_expr_word(&e, word);
            TN_TRY(tn_expr_value(&e, &v));
            yes = !done && tn_expr_true(v);
            json_decref(v);
            TN_TRY(at_end(&e));
        }
        TN_TRY(body(w, live && yes, t.right, ends, &t));
        done = done || yes;
        if (begins(&t, "endif")) return TN_OK;
    }
}

static void loop_set(walk *w, const char *a, const char *b, const json_t *item, size_t i, size_t n)
{
    if (b[0] == '\0') json_object_set(w->vars, a, (json_t *)item);
    else {
        json_object_set(w->vars, a, json_array_get(item, 0));
        json_object_set(w->vars, b, json_array_get(item, 1));
    }
    json_object_set_new(w->vars, "loop",
                        json_pack("{s:I, s:I, s:b, s:b, s:I}", "index", (json_int_t)i + 1, "index0",
                                  (json_int_t)i, "first", i == 0, "last", i + 1 == n, "length",
                                  (json_int_t)n));
}

static tn_status do_for(walk *w, const tag *t, bool live)
{
    static const char *const ends[] = { "endfor", NULL };
    tn_expr                  e = reader(w, t, !live);
    char                     a[64], b[64] = "";
    json_t                  *list = NULL;
    const char              *start = w->p;
    tag                      stop;
    tn_status                status = TN_OK;

    tn_expr_word(&e, "for");
    TN_GOTO(tn_expr_name(&e, a));
    if (tn_expr_take(&e, ',')) TN_GOTO(tn_expr_name(&e, b));
    if (!tn_expr_word(&e, "in")) {
        status = tn_expr_bad(&e, "in is expected");
        goto out;
    }
    TN_GOTO(tn_expr_value(&e, &list));
    TN_GOTO(at_end(&e));
    if (live && !json_is_array(list)) {
        status = tn_fail(w->err, TN_FORMAT, "%s: template: for goes over a list, this is something else",
                         w->where);
        goto out;
    }
    size_t n = json_array_size(list);
    if (!live || n == 0) TN_GOTO(body(w, false, false, ends, &stop));
    for (size_t i = 0; live && i < n; i++) {
        w->p = start;
        loop_set(w, a, b, json_array_get(list, i), i, n);
        TN_GOTO(body(w, true, t->right, ends, &stop));
    }
out:
    json_decref(list);
    return status;
}

static tn_status do_tag(walk *w, const tag *t, bool live)
{
    tn_status s;

    if (++w->nest > MAX_NEST)
        return tn_fail(w->err, TN_LIMIT, "%s: template: blocks nested deeper than %d", w->where, MAX_NEST);
    if (begins(t, "if")) s = do_if(w, *t, live);
    else if (begins(t, "for")) s = do_for(w, t, live);
    else if (begins(t, "set")) s = do_set(w, t, live);
    else
        s = tn_fail(w->err, TN_FORMAT,
                    "%s: template: {%% %.*s %%} is no block that is known here (if, for, set)", w->where,
                    (int)(t->end - t->begin > 40 ? 40 : t->end - t->begin), t->begin);
    w->nest--;
    return s;
}

static tn_status do_expression(walk *w, const tag *t, bool live)
{
    tn_expr   e = reader(w, t, !live);
    json_t   *v = NULL;
    char     *piece = NULL;
    tn_status status = TN_OK;

    TN_GOTO(tn_expr_value(&e, &v));
    TN_GOTO(at_end(&e));
    if (live) TN_GOTO(tn_template_text(&piece, v, w->where, w->err));
    if (live) tn_str_add(w->out, piece);
out:
    free(piece);
    json_decref(v);
    return status;
}

static tn_status body(walk *w, bool live, bool trimmed, const char *const *ends, tag *stop)
{
    const char *open;
    tag         t;

    while ((open = next_open(w->p)) != NULL) {
        TN_TRY(step(w));
        TN_TRY(tag_at(w, open, &t));
        if (live) put_text(w, w->p, open, trimmed, t.left);
        trimmed = t.right;
        w->p = t.after;
        if (open[1] == '#') continue;
        if (open[1] == '{') {
            TN_TRY(do_expression(w, &t, live));
            continue;
        }
        for (size_t i = 0; ends != NULL && ends[i] != NULL; i++)
            if (begins(&t, ends[i])) {
                *stop = t;
                return TN_OK;
            }
        TN_TRY(do_tag(w, &t, live));
        if (begins(&t, "if") || begins(&t, "for")) trimmed = w->p[-3] == '-'; /* the closing tag's own trim */
    }
    if (ends != NULL)
        return tn_fail(w->err, TN_FORMAT, "%s: template: a block is not closed by {%% %s %%}", w->where,
                       ends[0][0] == 'e' && ends[0][1] == 'n' ? ends[0] : "endif");
    if (live) put_text(w, w->p, w->p + strlen(w->p), trimmed, false);
    return tn_str_check(w->out, w->err);
}

/* -------------------------------------------------------------------------------------------------- whole */

tn_status tn_template_value(json_t **out, const char *text, const json_t *row, const char *where,
                            tn_error *err)
{
    tn_str    s = { .max = MAX_TEXT };
    walk      w = { .p = text, .out = &s, .row = row, .vars = json_object(), .where = where, .err = err };
    tag       t;
    tn_status status = TN_OK;

    *out = NULL;
    if (text[0] == '{' && text[1] == '{') { /* one expression alone keeps its type */
        TN_GOTO(tag_at(&w, text, &t));
        if (*t.after == '\0') {
            tn_expr e = reader(&w, &t, false);
            TN_GOTO(tn_expr_value(&e, out));
            TN_GOTO(at_end(&e));
            if (*out == NULL) status = tn_fail(err, TN_FORMAT, "%s: template: it gives nothing", where);
            goto out;
        }
    }
    TN_GOTO(body(&w, true, false, NULL, NULL));
    if ((*out = json_string(s.p != NULL ? s.p : "")) == NULL)
        status = tn_fail(err, TN_FORMAT, "%s: the text is not UTF-8", where);
out:
    if (status != TN_OK) {
        json_decref(*out);
        *out = NULL;
    }
    json_decref(w.vars);
    tn_str_free(&s);
    return status;
}

tn_status tn_template_field(json_t **out, const char *text, const json_t *row, const char *where,
                            tn_error *err)
{
    json_t *v = json_object_get(row, text);

    if (v == NULL) return tn_template_value(out, text, row, where, err);
    *out = json_incref(v);
    return TN_OK;
}

tn_status tn_template_list(json_t **out, const char *text, const char *where, tn_error *err)
{
    json_t *nothing = json_object();
    tn_expr e = { .p = text, .end = text + strlen(text), .row = nothing, .where = where, .err = err };

    tn_status s = tn_expr_value(&e, out);
    if (s == TN_OK) s = at_end(&e);
    if (s == TN_OK && !json_is_array(*out)) s = tn_fail(err, TN_FORMAT, "%s: a list is expected", where);
    json_decref(nothing);
    if (s == TN_OK) return TN_OK;
    json_decref(*out);
    *out = NULL;
    return s;
}
