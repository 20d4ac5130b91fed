/* option.c - option tables at work: defaults, YAML maps, flags, help and manifests all walk the same rows. */
#include "base/option.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const bool_words[][2] = {
    { "true", "false" },
    { "yes", "no" },
    { "on", "off" },
    { "1", "0" },
};

static void *field(void *config, const tn_option *o) { return (char *)config + o->offset; }

static const void *field_c(const void *config, const tn_option *o)
{
    return (const char *)config + o->offset;
}

static bool is_text(const tn_option *o)
{
    return o->type == TN_OPT_STR || o->type == TN_OPT_CHOICE || o->type == TN_OPT_LIST ||
           o->type == TN_OPT_MANY;
}

/* key with '_' and flag with '-' are the same word */
static bool same_word(const char *key, const char *flag, size_t n)
{
    if (strlen(key) != n) return false;
    for (size_t i = 0; i < n; i++)
        if (key[i] != flag[i] && !(key[i] == '_' && flag[i] == '-')) return false;
    return true;
}

static const tn_option *find(const tn_option *table, const char *word, size_t n)
{
    for (const tn_option *o = table; o->key != NULL; o++)
        if (same_word(o->key, word, n) || (o->alias != NULL && same_word(o->alias, word, n))) return o;
    return NULL;
}

static tn_status range_check(const tn_option *o, double v, const char *text, const char *where, tn_error *err)
{
    if ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max)) return TN_OK;
    return tn_fail(err, TN_USAGE, "%s: %s is %s: expected %.9g to %.9g%s%s", where, o->key, text, o->min,
                   o->max, o->unit != NULL && o->unit[0] != '\0' ? " " : "", o->unit != NULL ? o->unit : "");
}

static bool is_choice(const tn_option *o, const char *word, size_t n)
{
    for (const char *p = o->unit; p != NULL && *p != '\0';) {
        const char *bar = strchr(p, '|');
        size_t      w = bar != NULL ? (size_t)(bar - p) : strlen(p);

        if (w == n && memcmp(p, word, n) == 0) return true;
        p += w + (bar != NULL);
    }
    return false;
}

static tn_status no_choice(const tn_option *o, const char *word, size_t n, const char *where, tn_error *err)
{
    char *text = tn_strndup(word, n), *commas = tn_strdup(o->unit), **choices;

    for (char *p = commas; p != NULL && *p != '\0'; p++) *p = *p == '|' ? ',' : *p;
    choices = tn_list_split(commas, NULL);
    const char *near = text != NULL && choices != NULL ? tn_nearest(text, (const char *const *)choices)
                                                       : NULL;
    tn_status   status = tn_fail(err, TN_USAGE, "%s: %s is '%s': expected one of %s%s%s%s", where, o->key,
                               text != NULL ? text : word, o->unit, near != NULL ? "; did you mean '" : "",
                               near != NULL ? near : "", near != NULL ? "'?" : "");
    free(choices);
    free(commas);
    free(text);
    return status;
}

/* A list whose row names choices takes these alone. */
static tn_status choices_check(const tn_option *o, const char *text, const char *where, tn_error *err)
{
    const char *item;
    size_t      n = strlen(text);

    if (o->type == TN_OPT_CHOICE) return is_choice(o, text, n) ? TN_OK : no_choice(o, text, n, where, err);
    while (o->unit != NULL && o->unit[0] != '\0' && tn_list_next(&text, &item, &n))
        if (!is_choice(o, item, n)) return no_choice(o, item, n, where, err);
    return TN_OK;
}

static tn_status value_set(void *config, const tn_option *o, const char *text, const char *where,
                           tn_error *err)
{
    void *at = field(config, o);

    switch (o->type) {
    case TN_OPT_INT: {
        int64_t v;
        double  real;
        if (!tn_parse_i64(text, &v)) { /* 1e6 is a whole number too */
            bool number = tn_parse_f64(text, &real);
            if (number && fabs(real) > 9e15)
                return tn_fail(err, TN_USAGE, "%s: %s is %s: too large for a whole number of 64 bits", where,
                               o->key, text);
            if (!number || real != floor(real))
                return tn_fail(err, TN_USAGE, "%s: %s is '%s': expected a whole number", where, o->key, text);
            v = (int64_t)real;
        }
        TN_TRY(range_check(o, (double)v, text, where, err));
        memcpy(at, &v, sizeof v);
        return TN_OK;
    }
    case TN_OPT_REAL: {
        double v;
        if (!tn_parse_f64(text, &v) || isnan(v))
            return tn_fail(err, TN_USAGE, "%s: %s is '%s': expected a number", where, o->key, text);
        TN_TRY(range_check(o, v, text, where, err));
        if (isinf(v))
            return tn_fail(err, TN_USAGE, "%s: %s is infinite: expected a finite number", where, o->key);
        memcpy(at, &v, sizeof v);
        return TN_OK;
    }
    case TN_OPT_BOOL:
        for (size_t i = 0; i < sizeof bool_words / sizeof bool_words[0]; i++)
            for (int no = 0; no < 2; no++)
                if (strcasecmp(text, bool_words[i][no]) == 0) { /* True and Off are YAML 1.1's too */
                    bool v = no == 0;
                    memcpy(at, &v, sizeof v);
                    return TN_OK;
                }
        return tn_fail(err, TN_USAGE, "%s: %s is '%s': expected true or false", where, o->key, text);
    case TN_OPT_CHOICE:
    case TN_OPT_LIST: TN_TRY(choices_check(o, text, where, err)); break;
    case TN_OPT_STR:
    case TN_OPT_MANY: break;
    }
    char *copy, *old;
    memcpy(&old, at, sizeof old);
    copy = o->type == TN_OPT_MANY && old != NULL ? tn_strf("%s\n%s", old, text) : tn_strdup(text);
    if (copy == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for %s", where, o->key);
    free(old);
    memcpy(at, &copy, sizeof copy);
    return TN_OK;
}

tn_status tn_options_default(void *config, const tn_option *table, tn_error *err)
{
    for (const tn_option *o = table; o->key != NULL; o++)
        if (o->dflt != NULL) TN_TRY(value_set(config, o, o->dflt, "default", err));
    return TN_OK;
}

/* Every key of the tables, then of `also`, as one NULL-ended list for tn_nearest. made: free the array. */
static const char **all_keys(const tn_option_set_ref *sets, const char *const *also)
{
    size_t n = 0;

    for (const tn_option_set_ref *s = sets; s->table != NULL; s++)
        for (const tn_option *o = s->table; o->key != NULL; o++) n++;
    for (const char *const *a = also; a != NULL && *a != NULL; a++) n++;
    const char **keys = calloc(n + 1, sizeof *keys);
    if (keys == NULL) return NULL;
    n = 0;
    for (const tn_option_set_ref *s = sets; s->table != NULL; s++)
        for (const tn_option *o = s->table; o->key != NULL; o++) keys[n++] = o->key;
    for (const char *const *a = also; a != NULL && *a != NULL; a++) keys[n++] = *a;
    return keys;
}

static const tn_option *find_in(const tn_option_set_ref *sets, const char *key)
{
    const tn_option *o = NULL;

    for (const tn_option_set_ref *s = sets; key != NULL && s->table != NULL && o == NULL; s++)
        o = find(s->table, key, strlen(key));
    return o;
}

const char *tn_option_meant(const tn_option_set_ref *sets, const char *const *keys, const char *word,
                            const tn_option **o)
{
    const char *near = NULL;

    *o = find_in(sets, tn_option_elsewhere(word, false));
    if (*o == NULL && (near = tn_nearest(word, keys)) != NULL) *o = find_in(sets, near);
    else if (*o == NULL) *o = find_in(sets, tn_option_elsewhere(word, true));
    return *o != NULL ? (*o)->key : near;
}

static tn_status unknown(const tn_option_set_ref *sets, const char *const *also, const char *key,
                         const char *kind, const char *where, tn_error *err)
{
    const tn_option *o = NULL;
    const char     **keys = all_keys(sets, also);
    const char      *near = keys != NULL ? tn_option_meant(sets, keys, key, &o) : NULL;
    tn_status        status;

    if (near == NULL) status = tn_fail(err, TN_USAGE, "%s: unknown %s '%s'", where, kind, key);
    else
        status = tn_fail(err, TN_USAGE, "%s: unknown %s '%s'; did you mean '%s'%s%s%s?", where, kind, key,
                         near, o != NULL ? " (" : "", o != NULL ? o->help : "", o != NULL ? ")" : "");
    free(keys);
    return status;
}

tn_status tn_option_set(void *config, const tn_option *table, const char *key, const char *text,
                        const char *where, tn_error *err)
{
    const tn_option        *o = find(table, key, strlen(key));
    const tn_option_set_ref sets[] = { { table, config }, { NULL, NULL } };

    return o != NULL ? value_set(config, o, text, where, err) : unknown(sets, NULL, key, "key", where, err);
}

static tn_status list_from_yaml(void *config, const tn_option *o, const tn_yaml *v, const char *where,
                                tn_error *err)
{
    tn_str s = { 0 };

    for (size_t i = 0; i < v->n; i++) {
        const tn_yaml *item = v->items[i];
        if (item->kind != TN_YAML_SCALAR || strchr(item->text, ',') != NULL) {
            tn_str_free(&s);
            return tn_fail(err, TN_USAGE, "%s: items of %s must be plain text without commas", where, o->key);
        }
        if (i > 0) tn_str_add_char(&s, ',');
        tn_str_add(&s, item->text);
    }
    tn_status status = tn_str_check(&s, err);
    if (status == TN_OK) status = value_set(config, o, s.p != NULL ? s.p : "", where, err);
    tn_str_free(&s);
    return status;
}

/* YAML's ways to write nothing. A text that is empty on purpose is in quotes. */
static bool is_null(const tn_yaml *v)
{
    return !v->quoted &&
           (v->text[0] == '\0' || strcmp(v->text, "~") == 0 || strcasecmp(v->text, "null") == 0);
}

tn_status tn_options_yaml(void *config, const tn_option *table, const tn_yaml *map, const char *where,
                          const char *const *also, tn_error *err)
{
    const tn_option_set_ref sets[] = { { table, config }, { NULL, NULL } };
    char                    at[512];

    if (map == NULL) return TN_OK;
    if (map->kind != TN_YAML_MAP)
        return tn_fail(err, TN_USAGE, "%s:%d: expected keys and values", where, map->line);
    for (size_t i = 0; i < map->n; i++) {
        const char      *key = map->keys[i];
        const tn_yaml   *v = map->items[i];
        const tn_option *o = find(table, key, strlen(key));
        bool             known = false;

        for (const char *const *a = also; a != NULL && *a != NULL; a++) known = known || strcmp(*a, key) == 0;
        if (known) continue;
        snprintf(at, sizeof at, "%s:%d", where, map->key_lines[i]);
        if (o == NULL) return unknown(sets, also, key, "key", at, err);
        if (v->kind == TN_YAML_SEQ && o->type == TN_OPT_LIST) {
            TN_TRY(list_from_yaml(config, o, v, at, err));
            continue;
        }
        if (v->kind != TN_YAML_SCALAR) return tn_fail(err, TN_USAGE, "%s: %s takes one value", at, o->key);
        if (is_null(v))
            return tn_fail(err, TN_USAGE,
                           "%s: %s has no value: write one behind the colon, or leave the key out", at,
                           o->key);
        TN_TRY(value_set(config, o, v->text, at, err));
    }
    return TN_OK;
}

/* A list's flag may be given again (--set a=1 --set b=2): the values join. */
static tn_status list_append(void *config, const tn_option *o, const char *value, const char *where,
                             tn_error *err)
{
    char *old, *joined;

    memcpy(&old, (char *)config + o->offset, sizeof old);
    if (old == NULL) return value_set(config, o, value, where, err);
    if ((joined = tn_strf("%s,%s", old, value)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for %s", where, o->key);
    tn_status status = value_set(config, o, joined, where, err);
    free(joined);
    return status;
}

static tn_status flag_set(const tn_option_set_ref *sets, const char *word, const char *value,
                          const char *next, int *used, const tn_option **which, tn_error *err)
{
    size_t      n = strlen(word);
    const char *dashes = n == 1 ? "-" : "--"; /* as people write it */
    char        where[160];

    *used = 0;
    for (const tn_option_set_ref *s = sets; s->table != NULL; s++) {
        const tn_option *o = find(s->table, word, n);

        *which = o;
        snprintf(where, sizeof where, "%s%.140s", dashes, word);
        if (o == NULL && n > 3 && strncmp(word, "no-", 3) == 0) {
            o = find(s->table, word + 3, n - 3);
            *which = o;
            if (o != NULL && o->type == TN_OPT_BOOL && value == NULL)
                return value_set(s->config, o, "false", where, err);
            o = NULL;
        }
        if (o == NULL) continue;
        if (o->type == TN_OPT_BOOL && value == NULL) return value_set(s->config, o, "true", where, err);
        if (value == NULL) {
            if (next == NULL) return tn_fail(err, TN_USAGE, "%s%s needs a value (%s)", dashes, word, o->help);
            value = next;
            *used = 1;
        }
        if (o->type == TN_OPT_LIST && o->dflt == NULL) return list_append(s->config, o, value, where, err);
        return value_set(s->config, o, value, where, err);
    }
    return unknown(sets, NULL, word, "option", "command line", err);
}

/* "-5" and "-0.1" are numbers, "-" is standard input: neither is a flag. */
static bool is_flag(const char *a)
{
    double d;

    return a[0] == '-' && a[1] != '\0' && !tn_parse_f64(a, &d);
}

int tn_option_words(const tn_option *table, const char *arg)
{
    const char      *word = arg + (arg[0] == '-' && arg[1] == '-' ? 2 : 1);
    size_t           n = strcspn(word, "=");
    const tn_option *o;

    if (!is_flag(arg)) return 0;
    if ((o = find(table, word, n)) == NULL)
        return strncmp(word, "no-", 3) == 0 && (o = find(table, word + 3, n - (n < 3 ? n : 3))) != NULL &&
               o->type == TN_OPT_BOOL;
    return o->type == TN_OPT_BOOL || word[n] == '=' ? 1 : 2;
}

tn_status tn_options_argv(const tn_option_set_ref *sets, int argc, char **argv, const char **rest,
                          int *n_rest, const tn_option **owner, tn_error *err)
{
    const tn_option *which = NULL;
    bool             flags = true;

    *n_rest = 0;
    for (int i = 0; i < argc; i++) {
        char *a = argv[i], *eq, *word;
        int   used;

        if (owner != NULL) owner[i] = NULL;
        if (flags && strcmp(a, "--") == 0) {
            flags = false;
            continue;
        }
        if (!flags || !is_flag(a)) {
            rest[(*n_rest)++] = a;
            continue;
        }
        word = tn_strdup(a + (a[1] == '-' ? 2 : 1));
        if (word == NULL) return tn_fail(err, TN_NOMEM, "no memory for an option");
        if ((eq = strchr(word, '=')) != NULL) *eq = '\0';
        tn_status status = flag_set(sets, word, eq != NULL ? eq + 1 : NULL, i + 1 < argc ? argv[i + 1] : NULL,
                                    &used, &which, err);
        free(word);
        if (status != TN_OK) return status;
        for (int k = 0; owner != NULL && k <= used; k++) owner[i + k] = which;
        i += used;
    }
    return TN_OK;
}

static json_t *list_json(const char *text)
{
    json_t     *a = json_array();
    const char *item;
    size_t      n;

    while (a != NULL && tn_list_next(&text, &item, &n)) json_array_append_new(a, json_stringn(item, n));
    return a;
}

json_t *tn_options_json(const void *config, const tn_option *table)
{
    json_t *all = json_object();

    for (const tn_option *o = table; all != NULL && o->key != NULL; o++) {
        const void *at = field_c(config, o);
        json_t     *v = NULL;
        int64_t     i;
        double      d;
        bool        b;
        char       *t;

        switch (o->type) {
        case TN_OPT_INT:
            memcpy(&i, at, sizeof i);
            v = json_integer(i);
            break;
        case TN_OPT_REAL:
            memcpy(&d, at, sizeof d);
            v = json_real(d);
            break;
        case TN_OPT_BOOL:
            memcpy(&b, at, sizeof b);
            v = json_boolean(b);
            break;
        case TN_OPT_LIST:
            memcpy(&t, at, sizeof t);
            v = list_json(t);
            break;
        case TN_OPT_STR:
        case TN_OPT_MANY:
        case TN_OPT_CHOICE:
            memcpy(&t, at, sizeof t);
            v = t != NULL ? json_string(t) : json_null();
            break;
        }
        if (v == NULL || json_object_set_new(all, o->key, v) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

void tn_options_free(void *config, const tn_option *table)
{
    for (const tn_option *o = table; o->key != NULL; o++) {
        char *t, *none = NULL;

        if (!is_text(o)) continue;
        memcpy(&t, field(config, o), sizeof t);
        free(t);
        memcpy(field(config, o), &none, sizeof none);
    }
}

char *tn_options_help(const tn_option *table)
{
    static const char *const type_word[] = { "N", "X", "", "TEXT", "", "A,B,...", "TEXT" };
    tn_str                   s = { 0 };

    for (const tn_option *o = table; o->key != NULL; o++) {
        tn_str      flag = { 0 };
        const char *word = o->type == TN_OPT_CHOICE ? o->unit : type_word[o->type];

        if (o->alias != NULL) tn_str_addf(&flag, "%s%s, ", strlen(o->alias) == 1 ? "-" : "--", o->alias);
        tn_str_add(&flag, "--");
        for (const char *p = o->key; *p != '\0'; p++) tn_str_add_char(&flag, *p == '_' ? '-' : *p);
        if (word[0] != '\0') tn_str_addf(&flag, " %s", word);
        tn_str_addf(&s, "  %-30s  %s", flag.p != NULL ? flag.p : "", o->help);
        if (o->type != TN_OPT_CHOICE && o->unit != NULL && o->unit[0] != '\0')
            tn_str_addf(&s, " [%s]", o->unit);
        if (o->dflt != NULL && o->dflt[0] != '\0' &&
            !(o->type == TN_OPT_BOOL && strcmp(o->dflt, "false") == 0))
            tn_str_addf(&s, " (%s)", o->dflt);
        tn_str_add_char(&s, '\n');
        tn_str_free(&flag);
    }
    return tn_str_take(&s);
}
