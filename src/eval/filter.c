/* filter.c - reply pipelines and exact match (see filter.h).
 *
 *   replies ─ regex ─ lowercase ─ ... ─ take_first ─→ one answer
 *
 * A filter without a match gives its fallback, "[invalid]": an answer that is never right, and never lost. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "eval/filter.h"
#include "base/str.h"
#include "eval/pytext.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { MATCH_STEPS = 5000000, MAX_STEPS = 12, MAX_IGNORED = 16 };

struct tn_pattern {
    pcre2_code          *code;
    pcre2_match_context *limits;
    uint32_t             n_group;
    char                *text;
};

tn_status tn_pattern_create(tn_pattern **out, const char *text, const char *where, tn_error *err)
{
    tn_pattern *p = calloc(1, sizeof *p);
    int         code;
    PCRE2_SIZE  at;
    PCRE2_UCHAR why[160];

    *out = NULL;
    if (p == NULL || (p->text = tn_strdup(text)) == NULL ||
        (p->limits = pcre2_match_context_create(NULL)) == NULL) {
        tn_pattern_destroy(p);
        return tn_fail(err, TN_NOMEM, "%s: no memory for a pattern", where);
    }
    pcre2_set_match_limit(p->limits, MATCH_STEPS);
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (p->code == NULL) {
        pcre2_get_error_message(code, why, sizeof why);
        tn_pattern_destroy(p);
        return tn_fail(err, TN_FORMAT, "%s: the pattern \"%.200s\" does not compile: %s, at character %zu",
                       where, text, (const char *)why, (size_t)at);
    }
    pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &p->n_group);
    *out = p;
    return TN_OK;
}

void tn_pattern_destroy(tn_pattern *p)
{
    if (p == NULL) return;
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->limits);
    free(p->text);
    free(p);
}

/* One match from *at on; false: none. *at moves on as Python's scanner does: after an empty match the next is
 * longer or later. */
static tn_status next_match(const tn_pattern *p, const char *s, size_t n, size_t *at, bool *empty,
                            pcre2_match_data *m, bool *found, tn_error *err)
{
    int r = *at > n ? PCRE2_ERROR_NOMATCH
                    : pcre2_match(p->code, (PCRE2_SPTR)s, n, *at, *empty ? PCRE2_NOTEMPTY_ATSTART : 0, m,
                                  p->limits);

    *found = r > 0;
    if (r == PCRE2_ERROR_NOMATCH) return TN_OK;
    if (r < 0)
        return tn_fail(err, TN_LIMIT,
                       "the pattern \"%.200s\" takes too long on a reply, or the reply is not UTF-8: write a "
                       "simpler pattern",
                       p->text);
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);
    *empty = v[0] == v[1];
    *at = v[1];
    return TN_OK;
}

/* Of the match: the whole, the one group, or the first group that is not empty (NULL: all are). */
static char *chosen(const tn_pattern *p, const char *s, pcre2_match_data *m)
{
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);

    if (p->n_group == 0) return tn_strndup(s + v[0], v[1] - v[0]);
    for (uint32_t g = 1; g <= p->n_group; g++) {
        bool set = v[2 * g] != PCRE2_UNSET && v[2 * g + 1] > v[2 * g];
        if (set) return tn_strndup(s + v[2 * g], v[2 * g + 1] - v[2 * g]);
        if (p->n_group == 1) return tn_strdup("");
    }
    return NULL;
}

tn_status tn_pattern_find(const tn_pattern *p, const char *s, int64_t which, char **out, tn_error *err)
{
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(p->code, NULL);
    size_t            n = strlen(s), at = 0;
    bool              empty = false, found = true;
    char            **all = NULL;
    int64_t           n_all = 0, cap = 0;
    tn_status         status = m != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a match");

    *out = NULL;
    while (status == TN_OK && (which < 0 || n_all <= which)) {
        TN_GOTO(next_match(p, s, n, &at, &empty, m, &found, err));
        if (!found) break;
        if (n_all == cap) {
            char **more = realloc(all, (size_t)(cap = 2 * cap + 16) * sizeof *all);
            if (more == NULL) {
                status = tn_fail(err, TN_NOMEM, "no memory for matches");
                goto out;
            }
            all = more;
        }
        all[n_all++] = chosen(p, s, m);
    }
    if (which < 0) which += n_all;
    if (status == TN_OK && which >= 0 && which < n_all) {
        *out = all[which];
        all[which] = NULL;
    }
out:
    for (int64_t i = 0; i < n_all; i++) free(all[i]);
    free(all);
    pcre2_match_data_free(m);
    return status;
}

static void put_replacement(tn_str *out, const char *with, const char *s, pcre2_match_data *m,
                            uint32_t n_group)
{
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);

    for (; *with != '\0'; with++) {
        uint32_t g = with[0] == '\\' && with[1] >= '0' && with[1] <= '9' ? (uint32_t)(with[1] - '0')
                                                                         : UINT32_MAX;
        if (g > n_group) {
            tn_str_add_char(out, *with);
            continue;
        }
        if (v[2 * g] != PCRE2_UNSET) tn_str_add_n(out, s + v[2 * g], v[2 * g + 1] - v[2 * g]);
        with++;
    }
}

tn_status tn_pattern_replace(const tn_pattern *p, const char *s, const char *with, char **out, tn_error *err)
{
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(p->code, NULL);
    size_t            n = strlen(s), at = 0, copied = 0;
    bool              empty = false, found;
    tn_str            r = { 0 };
    tn_status         status = m != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a match");

    *out = NULL;
    while (status == TN_OK) {
        TN_GOTO(next_match(p, s, n, &at, &empty, m, &found, err));
        if (!found) break;
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);
        tn_str_add_n(&r, s + copied, v[0] - copied);
        put_replacement(&r, with, s, m, p->n_group);
        copied = v[1];
    }
    tn_str_add_n(&r, s + copied, n - copied);
    TN_GOTO(tn_str_check(&r, err));
    *out = tn_str_take(&r);
out:
    tn_str_free(&r);
    pcre2_match_data_free(m);
    return status;
}

/* ---------------------------------------------------------------------------------------------- pipelines */

// clang-format off
#define FILTER_LIST(X)                                                                                       \
    X(regex)                                                                                                 \
    X(take_first) X(take_first_k) X(majority_vote) X(lowercase) X(uppercase) X(remove_whitespace) X(map)     \
        X(multi_choice_regex)
// clang-format on
typedef enum filter_kind {
#define X(name) FILTER_##name,
    FILTER_LIST(X)
#undef X
        N_FILTER
} filter_kind;
static const char *const filter_names[] = {
#define X(name) #name,
    FILTER_LIST(X)
#undef X
        NULL
};

typedef struct filter_step {
    filter_kind       kind;
    tn_pattern       *pattern;
    tn_choice_filter *choice;
    int64_t           number;
    const char       *fallback;
    const tn_yaml    *map;
} filter_step;
typedef struct pipeline {
    const char *name;
    filter_step step[MAX_STEPS];
    size_t      n;
} pipeline;
struct tn_pipelines {
    pipeline *list;
    size_t    n;
};

static tn_status step_key(const tn_yaml *y, const char *const *known, const char *path, tn_error *err)
{
    for (size_t i = 0; i < y->n; i++) {
        size_t k = 0;
        while (known[k] != NULL && strcmp(known[k], y->keys[i]) != 0) k++;
        if (known[k] == NULL)
            return tn_fail(err, TN_UNSUPPORTED,
                           "%s:%d: a filter here has no \"%s\" (function, regex_pattern, group_select, "
                           "fallback, k, mapping_dict, default_value; multi_choice_regex: ignore_case, "
                           "ignore_punctuation, regexes_to_ignore)",
                           path, y->key_lines[i], y->keys[i]);
    }
    return TN_OK;
}

static tn_status step_read(filter_step *s, const tn_yaml *y, const char *path, tn_error *err)
{
    static const char *const known[] = { "function", "regex_pattern", "group_select",  "fallback",
                                         "k",        "mapping_dict",  "default_value", NULL };
    static const char *const known_of_choices[] = { "function",          "regex_pattern",
                                                    "group_select",      "fallback",
                                                    "ignore_case",       "ignore_punctuation",
                                                    "regexes_to_ignore", NULL };
    const char              *name = tn_yaml_text(y, "function");
    const char              *pattern = tn_yaml_text(y, "regex_pattern");
    const char              *group = tn_yaml_text(y, "group_select");
    const char              *k = tn_yaml_text(y, "k");
    char                     where[300];
    int                      kind = 0;

    if (y->kind != TN_YAML_MAP || name == NULL)
        return tn_fail(err, TN_FORMAT, "%s:%d: a filter is {function: NAME, ...}", path, y->line);
    TN_TRY(step_key(y, strcmp(name, "multi_choice_regex") == 0 ? known_of_choices : known, path, err));
    while (filter_names[kind] != NULL && strcmp(filter_names[kind], name) != 0) kind++;
    if (kind == N_FILTER) {
        const char *near = tn_nearest(name, filter_names);
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s:%d: no filter is called \"%s\"%s%s%s; there are regex, take_first, take_first_k, "
                       "majority_vote, lowercase, uppercase, "
                       "remove_whitespace, map, multi_choice_regex",
                       path, y->line, name, near != NULL ? " (did you mean \"" : "", near != NULL ? near : "",
                       near != NULL ? "\"?)" : "");
    }
    *s = (filter_step){ .kind = (filter_kind)kind, .fallback = tn_yaml_text(y, "fallback") };
    if (s->kind == FILTER_regex || s->kind == FILTER_multi_choice_regex) {
        snprintf(where, sizeof where, "%.250s:%d", path, y->line);
        if (s->fallback == NULL) s->fallback = "[invalid]";
        if (group != NULL && !tn_parse_i64(group, &s->number))
            return tn_fail(err, TN_FORMAT, "%s: \"group_select\" must be a whole number, it is %s", where,
                           group);
        if (pattern == NULL) pattern = "#### (\\-?[0-9\\.\\,]+)";
        return s->kind == FILTER_regex
                   ? tn_pattern_create(&s->pattern, pattern, where, err)
                   : tn_choice_filter_create(&s->choice, y, pattern, s->number, where, err);
    }
    if (s->kind == FILTER_take_first_k && (k == NULL || !tn_parse_i64(k, &s->number) || s->number < 1))
        return tn_fail(err, TN_FORMAT, "%s:%d: take_first_k needs \"k\", at least 1", path, y->line);
    if (s->kind != FILTER_map) return TN_OK;
    s->map = tn_yaml_get(y, "mapping_dict");
    s->fallback = tn_yaml_text(y, "default_value");
    return s->map != NULL && s->map->kind == TN_YAML_MAP
               ? TN_OK
               : tn_fail(err, TN_FORMAT, "%s:%d: map needs \"mapping_dict\"", path, y->line);
}

static tn_status pipeline_read(pipeline *p, const tn_yaml *y, const char *path, tn_error *err)
{
    const tn_yaml *steps = tn_yaml_get(y, "filter");

    p->name = tn_yaml_text(y, "name");
    if (y->kind != TN_YAML_MAP || p->name == NULL || steps == NULL || steps->kind != TN_YAML_SEQ ||
        steps->n == 0 || steps->n > MAX_STEPS)
        return tn_fail(err, TN_FORMAT,
                       "%s:%d: a pipeline of filter_list is {name: NAME, filter: [1 to %d filters]}", path,
                       y->line, MAX_STEPS);
    for (; p->n < steps->n; p->n++) TN_TRY(step_read(&p->step[p->n], steps->items[p->n], path, err));
    if (p->step[p->n - 1].kind == FILTER_take_first) return TN_OK;
    return tn_fail(err, TN_UNSUPPORTED,
                   "%s:%d: the pipeline \"%s\" must end with take_first, so that there is one answer", path,
                   y->line, p->name);
}

tn_status tn_pipelines_create(tn_pipelines **out, const tn_yaml *list, const char *path, tn_error *err)
{
    size_t        n = list != NULL ? list->n : 1;
    tn_pipelines *p = calloc(1, sizeof *p);
    tn_status     status = TN_OK;

    *out = NULL;
    if (p == NULL || (p->list = calloc(n + 1, sizeof *p->list)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for filters", path);
        goto out;
    }
    if (list == NULL) {
        p->n = 1;
        p->list[0] = (pipeline){ .name = "none", .step = { { .kind = FILTER_take_first } }, .n = 1 };
    } else if (list->kind != TN_YAML_SEQ || n == 0) {
        status = tn_fail(err, TN_FORMAT, "%s:%d: \"filter_list\" must be a list of pipelines", path,
                         list->line);
        goto out;
    }
    while (p->n < n) {
        p->n++; /* counted first: destroy sees what a failure left */
        TN_GOTO(pipeline_read(&p->list[p->n - 1], list->items[p->n - 1], path, err));
    }
    *out = p;
    p = NULL;
out:
    tn_pipelines_destroy(p);
    return status;
}

void tn_pipelines_destroy(tn_pipelines *p)
{
    if (p == NULL) return;
    for (size_t i = 0; p->list != NULL && i < p->n; i++)
        for (size_t k = 0; k < MAX_STEPS; k++) {
            tn_pattern_destroy(p->list[i].step[k].pattern);
            tn_choice_filter_destroy(p->list[i].step[k].choice);
        }
    free(p->list);
    free(p);
}

size_t tn_pipelines_count(const tn_pipelines *p) { return p->n; }

const char *tn_pipelines_name(const tn_pipelines *p, size_t i) { return p->list[i].name; }

static char *changed(const char *s, tn_py_case how)
{
    tn_str out = { 0 };

    tn_py_cased(&out, s, strlen(s), how);
    return tn_str_take(&out);
}

static char *stripped(const char *s)
{
    size_t n = strlen(s), a = tn_py_front(s, n);

    return tn_strndup(s + a, tn_py_end(s + a, n - a));
}

static tn_status step_one(const filter_step *f, const json_t *row, char **text, tn_error *err)
{
    char *to = NULL;

    if (f->kind == FILTER_regex) {
        TN_TRY(tn_pattern_find(f->pattern, *text, f->number, &to, err));
        char *bare = to != NULL ? stripped(to) : tn_strdup(f->fallback);
        free(to);
        to = bare;
    } else if (f->kind == FILTER_multi_choice_regex) {
        TN_TRY(tn_choice_filter_run(f->choice, row, *text, f->fallback, &to, err));
    } else if (f->kind == FILTER_map) {
        const char *v = tn_yaml_text(f->map, *text);
        to = tn_strdup(v != NULL ? v : f->fallback != NULL ? f->fallback : "None");
    } else {
        to = f->kind == FILTER_remove_whitespace
                 ? stripped(*text)
                 : changed(*text, f->kind == FILTER_lowercase ? TN_PY_LOWER : TN_PY_UPPER);
    }
    if (to == NULL) return tn_fail(err, TN_NOMEM, "no memory for an answer");
    free(*text);
    *text = to;
    return TN_OK;
}

/* Puts the most frequent text first (the earliest of equals) and leaves one. */
static size_t vote(char **list, size_t n)
{
    size_t best = 0, most = 0;

    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        for (size_t j = 0; j < n; j++) k += strcmp(list[i], list[j]) == 0;
        if (k > most) {
            most = k;
            best = i;
        }
    }
    char *keep = list[best];
    list[best] = list[0];
    list[0] = keep;
    return 1;
}

tn_status tn_pipelines_run(const tn_pipelines *all, size_t i, const json_t *row, const char *const *replies,
                           size_t n, char **out, tn_error *err)
{
    const pipeline *p = &all->list[i];
    char          **list = calloc(n + 1, sizeof *list);
    size_t          m = n;
    tn_status status = list != NULL && n > 0 ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for %zu replies", n);

    *out = NULL;
    for (size_t k = 0; status == TN_OK && k < n; k++)
        if ((list[k] = tn_strdup(replies[k])) == NULL)
            status = tn_fail(err, TN_NOMEM, "no memory for a reply");
    for (size_t k = 0; status == TN_OK && k < p->n; k++) {
        const filter_step *f = &p->step[k];
        if (f->kind == FILTER_majority_vote) m = vote(list, m);
        else if (f->kind == FILTER_take_first) m = 1;
        else if (f->kind == FILTER_take_first_k) {
            if ((int64_t)m < f->number)
                status = tn_fail(
                    err, TN_FORMAT,
                    "pipeline %s: take_first_k takes %lld replies, there are %zu: raise \"repeats\"", p->name,
                    (long long)f->number, m);
            else m = (size_t)f->number;
        } else
            for (size_t r = 0; status == TN_OK && r < m; r++) status = step_one(f, row, &list[r], err);
    }
    if (status == TN_OK) {
        *out = list[0];
        list[0] = NULL;
    }
    for (size_t k = 0; list != NULL && k < n; k++) free(list[k]);
    free(list);
    return status;
}

/* -------------------------------------------------------------------------------------------- exact match */

struct tn_matcher {
    tn_pattern *ignored[MAX_IGNORED];
    size_t      n;
    bool        no_case, no_punctuation, no_numbers;
};

static tn_status flag(const tn_yaml *y, const char *key, bool *out, const char *path, tn_error *err)
{
    const char *text = tn_yaml_text(y, key);

    *out = text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "True") == 0);
    if (text == NULL || *out || strcmp(text, "false") == 0 || strcmp(text, "False") == 0) return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s:%d: \"%s\" must be true or false, it is %s", path, y->line, key, text);
}

tn_status tn_matcher_create(tn_matcher **out, const tn_yaml *y, const char *path, tn_error *err)
{
    const tn_yaml *list = tn_yaml_get(y, "regexes_to_ignore");
    tn_matcher    *m = calloc(1, sizeof *m);
    char           where[300];
    tn_status      status = TN_OK;

    *out = NULL;
    if (m == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a metric", path);
    TN_GOTO(flag(y, "ignore_case", &m->no_case, path, err));
    TN_GOTO(flag(y, "ignore_punctuation", &m->no_punctuation, path, err));
    TN_GOTO(flag(y, "ignore_numbers", &m->no_numbers, path, err));
    if (list != NULL && (list->kind != TN_YAML_SEQ || list->n > MAX_IGNORED)) {
        status = tn_fail(err, TN_FORMAT, "%s:%d: \"regexes_to_ignore\" must be a list of at most %d patterns",
                         path, list->line, MAX_IGNORED);
        goto out;
    }
    for (; list != NULL && m->n < list->n; m->n++) {
        const tn_yaml *one = list->items[m->n];
        snprintf(where, sizeof where, "%.250s:%d", path, one->line);
        TN_GOTO(
            tn_pattern_create(&m->ignored[m->n], one->kind == TN_YAML_SCALAR ? one->text : "", where, err));
    }
    *out = m;
    m = NULL;
out:
    tn_matcher_destroy(m);
    return status;
}

void tn_matcher_destroy(tn_matcher *m)
{
    for (size_t i = 0; m != NULL && i < MAX_IGNORED; i++) tn_pattern_destroy(m->ignored[i]);
    free(m);
}

static tn_status plain(const tn_matcher *m, const char *s, char **out, tn_error *err)
{
    char  *text = tn_strdup(s), *next = NULL;
    size_t n = 0;

    for (size_t i = 0; i < m->n && text != NULL; i++) {
        tn_status status = tn_pattern_replace(m->ignored[i], text, "", &next, err);
        free(text);
        if (status != TN_OK) return status;
        text = next;
    }
    if (m->no_case && text != NULL) {
        next = changed(text, TN_PY_LOWER);
        free(text);
        text = next;
    }
    for (char *p = text; p != NULL && *p != '\0'; p++) {
        bool digit = *p >= '0' && *p <= '9',
             mark = *p > ' ' && *p < 127 && !digit && !((*p | 32) >= 'a' && (*p | 32) <= 'z');
        if (!(m->no_punctuation && mark) && !(m->no_numbers && digit)) text[n++] = *p;
    }
    if (text != NULL) text[n] = '\0';
    *out = text;
    return text != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for an answer");
}

tn_status tn_matcher_same(const tn_matcher *m, const char *a, const char *b, bool *same, tn_error *err)
{
    char     *x = NULL, *y = NULL;
    tn_status status = TN_OK;

    TN_GOTO(plain(m, a, &x, err));
    TN_GOTO(plain(m, b, &y, err));
    *same = strcmp(x, y) == 0;
out:
    free(x);
    free(y);
    return status;
}
