/* expr_call.c - methods and filters of task templates, with Python's and Jinja's meanings.
 *
 *   of a text    strip lstrip rstrip lower upper capitalize title split rsplit splitlines replace startswith endswith find
 *                index count join
 *   of a list    index count join          of a mapping   keys values items get
 *   filters      trim lower upper capitalize title replace join length count first last int float string list map default d
 *                reverse sort unique abs round regex_replace tojson */
#include "eval/filter.h"
#include "eval/pytext.h"
#include "eval/template.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANGE = 10000 };

static json_t *stripped(const char *s, size_t n, const char *set, bool left, bool right)
{
    size_t a = 0;

    if (set == NULL) {
        a = left ? tn_py_front(s, n) : 0;
        if (right) n = a + tn_py_end(s + a, n - a);
        return json_stringn(s + a, n - a);
    }
    while (left && a < n && strchr(set, s[a]) != NULL) a++; /* sets of ASCII characters */
    while (right && n > a && strchr(set, s[n - 1]) != NULL) n--;
    return json_stringn(s + a, n - a);
}

static json_t *taken(tn_str *s)
{
    json_t *v = s->failed ? NULL : json_stringn(s->p != NULL ? s->p : "", s->len);

    tn_str_free(s);
    return v;
}

static json_t *cased(const char *s, size_t n, tn_py_case how)
{
    tn_str out = { 0 };

    tn_py_cased(&out, s, n, how);
    return taken(&out);
}

static json_t *replaced(const char *s, const char *from, const char *to)
{
    tn_str out = { 0 };
    size_t n = strlen(from);

    for (const char *hit; n > 0 && (hit = strstr(s, from)) != NULL; s = hit + n) {
        tn_str_add_n(&out, s, (size_t)(hit - s));
        tn_str_add(&out, to);
    }
    tn_str_add(&out, s);
    return taken(&out);
}

/* Pieces between `by`; by NULL: words between white space. most < 0: as many as there are. */
static json_t *split(const char *s, const char *by, int64_t most)
{
    json_t *v = json_array();
    size_t  left = strlen(s);

    if (by == NULL) {
        for (;;) {
            size_t skip = tn_py_front(s, left), n = 0;
            s += skip;
            left -= skip;
            if (left == 0) return v;
            while (n < left && tn_py_front(s + n, left - n) == 0) n++;
            if (most >= 0 && (int64_t)json_array_size(v) == most) n = tn_py_end(s, left);
            json_array_append_new(v, json_stringn(s, n));
            s += n;
            left -= n;
        }
    }
    for (const char *hit; (most < 0 || (int64_t)json_array_size(v) < most) && (hit = strstr(s, by)) != NULL;
         s = hit + strlen(by))
        json_array_append_new(v, json_stringn(s, (size_t)(hit - s)));
    json_array_append_new(v, json_string(s));
    return v;
}

/* As split, but the cuts are made from the end. */
static json_t *rsplit(const char *s, const char *by, int64_t most)
{
    json_t *all = split(s, by, -1);
    size_t  n = json_array_size(all);

    if (most < 0 || by == NULL || (int64_t)n <= most + 1) return all;
    tn_str head = { 0 };
    for (size_t i = 0; i + (size_t)most < n; i++)
        tn_str_addf(&head, "%s%s", i > 0 ? by : "", json_string_value(json_array_get(all, i)));
    json_t *v = json_array();
    json_array_append_new(v, taken(&head));
    for (size_t i = n - (size_t)most; i < n; i++) json_array_append(v, json_array_get(all, i));
    json_decref(all);
    return v;
}

static json_t *lines(const char *s)
{
    json_t *v = json_array();

    while (*s != '\0') {
        size_t n = strcspn(s, "\r\n");
        json_array_append_new(v, json_stringn(s, n));
        s += n;
        s += s[0] == '\r' && s[1] == '\n' ? 2 : *s != '\0';
    }
    return v;
}

static json_t *joined(const json_t *array, const char *by)
{
    tn_str s = { 0 };

    for (size_t i = 0; i < json_array_size(array); i++) {
        char *text = NULL;
        if (tn_template_text(&text, json_array_get(array, i), "", NULL) != TN_OK) s.failed = true;
        if (i > 0) tn_str_add(&s, by);
        tn_str_add(&s, text != NULL ? text : "");
        free(text);
    }
    return taken(&s);
}

static json_t *chars_before(const char *s, const char *hit)
{
    int64_t n = 0;

    for (; s < hit; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return json_integer((json_int_t)n);
}

static json_t *occurrences(const char *s, const char *what)
{
    json_int_t n = 0;

    for (const char *hit; what[0] != '\0' && (hit = strstr(s, what)) != NULL; s = hit + strlen(what)) n++;
    return json_integer(n);
}

static json_t *of_text(const char *m, const char *s, size_t n, json_t *const *arg, int n_arg)
{
    const char *a = n_arg > 0 ? json_string_value(arg[0]) : NULL,
               *b = n_arg > 1 ? json_string_value(arg[1]) : NULL;
    int64_t most = n_arg == 2 && json_is_integer(arg[1]) ? (int64_t)json_integer_value(arg[1]) : -1;

    if ((n_arg == 0 || a != NULL) && n_arg <= 1) {
        if (strcmp(m, "strip") == 0) return stripped(s, n, a, true, true);
        if (strcmp(m, "lstrip") == 0) return stripped(s, n, a, true, false);
        if (strcmp(m, "rstrip") == 0) return stripped(s, n, a, false, true);
    }
    if (n_arg == 0) {
        if (strcmp(m, "lower") == 0) return cased(s, n, TN_PY_LOWER);
        if (strcmp(m, "upper") == 0) return cased(s, n, TN_PY_UPPER);
        if (strcmp(m, "capitalize") == 0) return cased(s, n, TN_PY_CAPITALIZE);
        if (strcmp(m, "title") == 0) return cased(s, n, TN_PY_TITLE);
        if (strcmp(m, "split") == 0) return split(s, NULL, -1);
        if (strcmp(m, "splitlines") == 0) return lines(s);
    }
    if (a != NULL && a[0] != '\0' && strcmp(m, "split") == 0) return split(s, a, most);
    if (a != NULL && a[0] != '\0' && strcmp(m, "rsplit") == 0) return rsplit(s, a, most);
    if (a != NULL && b != NULL && a[0] != '\0' && strcmp(m, "replace") == 0) return replaced(s, a, b);
    if (n_arg == 1 && json_is_array(arg[0]) && strcmp(m, "join") == 0) return joined(arg[0], s);
    if (n_arg != 1 || a == NULL) return NULL;
    const char *hit = strstr(s, a);
    if (strcmp(m, "startswith") == 0) return json_boolean(tn_starts_with(s, a));
    if (strcmp(m, "endswith") == 0) return json_boolean(tn_ends_with(s, a));
    if (strcmp(m, "find") == 0) return hit == NULL ? json_integer(-1) : chars_before(s, hit);
    if (strcmp(m, "index") == 0 && hit != NULL) return chars_before(s, hit);
    return strcmp(m, "count") == 0 ? occurrences(s, a) : NULL;
}

static json_t *of_mapping(const char *m, const json_t *o, json_t *const *arg, int n_arg)
{
    json_t     *v, *value;
    const char *key;

    if (strcmp(m, "get") == 0 && n_arg >= 1 && json_is_string(arg[0])) {
        value = json_object_get(o, json_string_value(arg[0]));
        return value != NULL ? json_incref(value) : n_arg > 1 ? json_incref(arg[1]) : json_null();
    }
    if (n_arg != 0 || (strcmp(m, "keys") != 0 && strcmp(m, "values") != 0 && strcmp(m, "items") != 0))
        return NULL;
    v = json_array();
    json_object_foreach((json_t *)o, key, value) {
        if (m[0] == 'k') json_array_append_new(v, json_string(key));
        else if (m[0] == 'v') json_array_append(v, value);
        else json_array_append_new(v, json_pack("[s, O]", key, value));
    }
    return v;
}

static json_t *of_list(const char *m, const json_t *l, json_t *const *arg, int n_arg)
{
    json_int_t n = 0;

    for (size_t i = 0; n_arg == 1 && i < json_array_size(l); i++) {
        bool same = json_equal(json_array_get(l, i), arg[0]);
        if (same && strcmp(m, "index") == 0) return json_integer((json_int_t)i);
        n += same;
    }
    return strcmp(m, "count") == 0 && n_arg == 1 ? json_integer(n) : NULL;
}

/* ------------------------------------------------------------------------------------------------ filters */

static int by_text(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;

    if (json_is_number(x) && json_is_number(y))
        return (json_number_value(x) > json_number_value(y)) - (json_number_value(x) < json_number_value(y));
    return json_is_string(x) && json_is_string(y) ? strcmp(json_string_value(x), json_string_value(y)) : 0;
}

static json_t *ordered(const char *f, const json_t *l)
{
    size_t   n = json_array_size(l);
    json_t **list = calloc(n + 1, sizeof *list), *v = json_array();

    for (size_t i = 0; list != NULL && i < n; i++)
        list[i] = json_array_get(l, strcmp(f, "reverse") == 0 ? n - 1 - i : i);
    if (list != NULL && strcmp(f, "sort") == 0) qsort(list, n, sizeof *list, by_text);
    for (size_t i = 0; list != NULL && i < n; i++) {
        bool seen = false;
        for (size_t j = 0; strcmp(f, "unique") == 0 && j < i; j++)
            seen = seen || json_equal(list[i], list[j]);
        if (!seen) json_array_append(v, list[i]);
    }
    free(list);
    return v;
}

static json_t *whole(const json_t *v)
{
    int64_t i;

    if (json_is_string(v) && tn_parse_i64(json_string_value(v), &i)) return json_integer((json_int_t)i);
    return json_is_number(v) ? json_integer((json_int_t)json_number_value(v)) : json_integer(0);
}

static json_t *size_of(const json_t *v)
{
    if (json_is_string(v)) return json_integer((json_int_t)tn_py_chars(json_string_value(v)));
    return json_integer((json_int_t)(json_is_array(v) ? json_array_size(v) : json_object_size(v)));
}

static json_t *chars_of(const char *s)
{
    json_t *v = json_array();

    for (size_t left = strlen(s); left > 0;) {
        uint32_t cp;
        int      k = tn_utf8_decode(s, left, &cp);
        if (k <= 0) break;
        json_array_append_new(v, json_stringn(s, (size_t)k));
        s += k;
        left -= (size_t)k;
    }
    return v;
}

static json_t *end_of(const json_t *v, bool last)
{
    size_t  n = json_array_size(v);
    json_t *l = json_is_string(v) ? chars_of(json_string_value(v)) : NULL, *r;

    if (l != NULL) n = json_array_size(l);
    r = n == 0 ? NULL : json_incref(json_array_get(l != NULL ? l : v, last ? n - 1 : 0));
    json_decref(l);
    return r;
}

static json_t *numeric(const char *f, const json_t *v, json_t *const *arg, int n_arg)
{
    double x = 0, scale = 1;

    if (strcmp(f, "float") == 0) {
        if (json_is_string(v)) return tn_parse_f64(json_string_value(v), &x) ? json_real(x) : json_real(0);
        return json_is_number(v) ? json_real(json_number_value(v)) : json_real(0);
    }
    if (!json_is_number(v)) return NULL;
    if (strcmp(f, "abs") == 0)
        return json_is_integer(v) ? json_integer(llabs(json_integer_value(v)))
                                  : json_real(fabs(json_real_value(v)));
    for (int64_t i = n_arg > 0 ? (int64_t)json_integer_value(arg[0]) : 0; i > 0 && i < 18; i--) scale *= 10;
    return json_real(nearbyint(json_number_value(v) * scale) / scale);
}

/* The member of this name of every element. */
static json_t *members(const json_t *list, const char *name)
{
    json_t *v = json_array(), *one, *m;
    size_t  i;

    json_array_foreach((json_t *)list, i, one) {
        if ((m = json_object_get(one, name)) == NULL) {
            json_decref(v);
            return NULL;
        }
        json_array_append(v, m);
    }
    return v;
}

static json_t *filtered(const char *f, const json_t *self, json_t *const *arg, int n_arg)
{
    char   *text = NULL;
    json_t *v = NULL;

    if (strcmp(f, "length") == 0 || (strcmp(f, "count") == 0 && n_arg == 0)) return size_of(self);
    if (strcmp(f, "int") == 0) return whole(self);
    if (strcmp(f, "float") == 0 || strcmp(f, "abs") == 0 || strcmp(f, "round") == 0)
        return numeric(f, self, arg, n_arg);
    if (strcmp(f, "first") == 0 || strcmp(f, "last") == 0) return end_of(self, f[0] == 'l');
    if (strcmp(f, "list") == 0)
        return json_is_string(self)  ? chars_of(json_string_value(self))
               : json_is_array(self) ? json_incref((json_t *)self)
                                     : of_mapping("keys", self, NULL, 0);
    if (json_is_array(self) &&
        (strcmp(f, "reverse") == 0 || strcmp(f, "sort") == 0 || strcmp(f, "unique") == 0))
        return ordered(f, self);
    if (strcmp(f, "map") == 0)
        return json_is_array(self) && n_arg == 1 && json_is_string(arg[0])
                   ? members(self, json_string_value(arg[0]))
                   : NULL;
    if (strcmp(f, "join") == 0 && json_is_array(self))
        return joined(self, n_arg > 0 && json_is_string(arg[0]) ? json_string_value(arg[0]) : "");
    if (strcmp(f, "string") == 0) {
        if (tn_template_text(&text, self, "", NULL) == TN_OK) v = json_string(text);
        free(text);
        return v;
    }
    if (strcmp(f, "tojson") == 0) {
        text = json_dumps(self, JSON_ENCODE_ANY);
        v = text != NULL ? json_string(text) : NULL;
        free(text);
        return v;
    }
    if (!json_is_string(self)) return NULL;
    return of_text(strcmp(f, "trim") == 0 ? "strip" : f, json_string_value(self), json_string_length(self),
                   arg, n_arg);
}

static tn_status regex_replace(tn_expr *t, const json_t *self, json_t *const *arg, json_t **out)
{
    tn_pattern *p = NULL;
    char       *text = NULL;
    tn_status   status = TN_OK;

    TN_GOTO(tn_pattern_create(&p, json_string_value(arg[0]), t->where, t->err));
    TN_GOTO(tn_pattern_replace(p, json_string_value(self), json_string_value(arg[1]), &text, t->err));
    *out = json_string(text);
out:
    tn_pattern_destroy(p);
    free(text);
    return status;
}

static json_t *range(json_t *const *arg, int n_arg)
{
    json_int_t a = n_arg > 1 ? json_integer_value(arg[0]) : 0, b = json_integer_value(arg[n_arg > 1 ? 1 : 0]);
    json_t    *v = json_array();

    for (json_int_t i = a; i < b && i - a < MAX_RANGE; i++) json_array_append_new(v, json_integer(i));
    return v;
}

tn_status tn_expr_call(tn_expr *t, const char *name, bool filter, const json_t *self, json_t *const *arg,
                       int n_arg, json_t **out)
{
    json_t *v = NULL;

    if (filter && (strcmp(name, "default") == 0 || strcmp(name, "d") == 0))
        v = self != NULL ? json_incref((json_t *)self) : n_arg > 0 ? json_incref(arg[0]) : json_string("");
    else if (filter && strcmp(name, "regex_replace") == 0 && n_arg == 2 && json_is_string(self) &&
             json_is_string(arg[0]) && json_is_string(arg[1]))
        return regex_replace(t, self, arg, out);
    else if (!filter && strcmp(name, "range") == 0 && n_arg >= 1 && json_is_null(self)) v = range(arg, n_arg);
    else if (self != NULL && filter) v = filtered(name, self, arg, n_arg);
    else if (json_is_string(self))
        v = of_text(name, json_string_value(self), json_string_length(self), arg, n_arg);
    else if (json_is_object(self)) v = of_mapping(name, self, arg, n_arg);
    else if (json_is_array(self)) v = of_list(name, self, arg, n_arg);
    if (v == NULL && strcmp(name, "index") == 0)
        return tn_fail(t->err, TN_FORMAT, "%s: template: the value that index() looks for is not in the list",
                       t->where);
    if (v == NULL)
        return tn_fail(t->err, TN_FORMAT,
                       "%s: template: no %s %s with %d arguments of these types (docs/eval.md lists those "
                       "that there are)",
                       t->where, filter ? "filter" : "method", name, n_arg);
    *out = v;
    return TN_OK;
}
