/* filter_choice.c - multi_choice_regex: which choice a free reply names (see filter.h).
 *
 *   reply ─ regex_pattern ─→ "(B)"   else   a choice's own text in the reply ─→ its letter   else   ": B" ─→ "(B)"   else   fallback
 *
 * The rules of the public harness. A choice's text is sought without case, punctuation or what
 * regexes_to_ignore names, where the task says so, on both sides; of two choices that begin alike the longer
 * is tried first. */
#include "eval/filter.h"
#include "base/str.h"
#include "eval/pytext.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IGNORED = 16, MAX_CHOICE = 26 };

struct tn_choice_filter {
    tn_pattern *pattern, *punctuation, *ignored[MAX_IGNORED];
    size_t      n_ignored;
    int64_t     which;
    bool        no_case, no_punctuation;
};

void tn_choice_filter_destroy(tn_choice_filter *f)
{
    if (f == NULL) return;
    tn_pattern_destroy(f->pattern);
    tn_pattern_destroy(f->punctuation);
    for (size_t i = 0; i < MAX_IGNORED; i++) tn_pattern_destroy(f->ignored[i]);
    free(f);
}

static bool is_true(const tn_yaml *y, const char *key)
{
    const char *text = tn_yaml_text(y, key);

    return text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "True") == 0);
}

tn_status tn_choice_filter_create(tn_choice_filter **out, const tn_yaml *y, const char *pattern,
                                  int64_t which, const char *where, tn_error *err)
{
    tn_choice_filter *f = calloc(1, sizeof *f);
    const tn_yaml    *list = tn_yaml_get(y, "regexes_to_ignore");
    tn_status         status = TN_OK;

    *out = NULL;
    if (f == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a filter", where);
    f->which = which;
    f->no_case = is_true(y, "ignore_case");
    f->no_punctuation = is_true(y, "ignore_punctuation");
    if (list != NULL && (list->kind != TN_YAML_SEQ || list->n > MAX_IGNORED)) {
        status = tn_fail(err, TN_FORMAT, "%s: \"regexes_to_ignore\" must be a list of at most %d patterns",
                         where, MAX_IGNORED);
        goto out;
    }
    TN_GOTO(tn_pattern_create(&f->pattern, pattern, where, err));
    TN_GOTO(tn_pattern_create(&f->punctuation, "\\p{P}", where, err));
    for (; list != NULL && f->n_ignored < list->n; f->n_ignored++)
        TN_GOTO(tn_pattern_create(
            &f->ignored[f->n_ignored],
            list->items[f->n_ignored]->kind == TN_YAML_SCALAR ? list->items[f->n_ignored]->text : "", where,
            err));
    *out = f;
    f = NULL;
out:
    tn_choice_filter_destroy(f);
    return status;
}

static char *stripped(const char *s)
{
    size_t n = strlen(s), a = tn_py_front(s, n);

    return tn_strndup(s + a, tn_py_end(s + a, n - a));
}

/* The text without what is not looked at. made. */
static tn_status bare(const tn_choice_filter *f, const char *s, char **out, tn_error *err)
{
    char *text = tn_strdup(s), *next = NULL;

    for (size_t i = 0; text != NULL && i < f->n_ignored + f->no_punctuation; i++) {
        if (i == f->n_ignored && f->no_case) { /* patterns first, then case, then punctuation */
            tn_str lower = { 0 };
            tn_py_cased(&lower, text, strlen(text), TN_PY_LOWER);
            free(text);
            if ((text = tn_str_take(&lower)) == NULL) break;
        }
        tn_status status = tn_pattern_replace(i < f->n_ignored ? f->ignored[i] : f->punctuation, text, "",
                                              &next, err);
        free(text);
        TN_TRY(status);
        text = next;
    }
    if (text != NULL && f->no_case && !f->no_punctuation) {
        tn_str lower = { 0 };
        tn_py_cased(&lower, text, strlen(text), TN_PY_LOWER);
        free(text);
        text = tn_str_take(&lower);
    }
    *out = text;
    return text != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for an answer");
}

static void add_escaped(tn_str *s, const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 128 && !isalnum((unsigned char)*text) && *text != '_')
            tn_str_add_char(s, '\\');
        tn_str_add_char(s, *text);
    }
}

/* One match of pattern, bare of blanks; NULL: none, or an empty one. made. */
static tn_status match(const tn_pattern *p, const char *reply, int64_t which, char **out, tn_error *err)
{
    char *found = NULL;

    *out = NULL;
    TN_TRY(tn_pattern_find(p, reply, which, &found, err));
    if (found == NULL) return TN_OK;
    *out = stripped(found);
    free(found);
    if (*out == NULL) return tn_fail(err, TN_NOMEM, "no memory for an answer");
    if ((*out)[0] == '\0') {
        free(*out);
        *out = NULL;
    }
    return TN_OK;
}

static int longer_first(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t      n = tn_py_chars(x), m = tn_py_chars(y);

    return n != m ? (n > m ? -1 : 1) : 0;
}

/* The letter of the choice whose text stands in the reply. */
static tn_status by_text(const tn_choice_filter *f, char *const *choice, size_t n, const char *reply,
                         char **out, tn_error *err)
{
    const char *order[MAX_CHOICE];
    char       *text = NULL, *found = NULL;
    tn_pattern *p = NULL;
    tn_str      all = { 0 };
    tn_status   status = TN_OK;

    for (size_t i = 0; i < n; i++) order[i] = choice[i];
    for (size_t i = 1; i < n; i++) /* stable, as Python sorts */
        for (size_t k = i; k > 0 && longer_first(&order[k - 1], &order[k]) > 0; k--) {
            const char *t = order[k];
            order[k] = order[k - 1];
            order[k - 1] = t;
        }
    for (size_t i = 0; i < n; i++) {
        tn_str_add(&all, i > 0 ? "|" : "");
        add_escaped(&all, order[i]);
    }
    TN_GOTO(tn_str_check(&all, err));
    TN_GOTO(tn_pattern_create(&p, all.p != NULL ? all.p : "", "multi_choice_regex", err));
    TN_GOTO(bare(f, reply, &text, err));
    TN_GOTO(match(p, text, f->which, &found, err));
    for (size_t i = n; found != NULL && i-- > 0;) /* of equal texts the last letter counts, as in a mapping */
        if (strcmp(choice[i], found) == 0) {
            free(found);
            found = tn_strf("(%c)", (char)('A' + i));
            break;
        }
    *out = found;
    found = NULL;
out:
    tn_str_free(&all);
    tn_pattern_destroy(p);
    free(found);
    free(text);
    return status;
}

static tn_status by_letter(const tn_choice_filter *f, size_t n, const char *reply, char **out, tn_error *err)
{
    tn_pattern *p = NULL;
    char       *found = NULL, text[40];
    tn_status   status;

    snprintf(text, sizeof text, ":\\s*([A-%c])", (char)('A' + n - 1));
    status = tn_pattern_create(&p, text, "multi_choice_regex", err);
    if (status == TN_OK) status = match(p, reply, f->which, &found, err);
    if (status == TN_OK && found != NULL) *out = tn_strf("(%s)", found);
    tn_pattern_destroy(p);
    free(found);
    return status;
}

tn_status tn_choice_filter_run(const tn_choice_filter *f, const json_t *row, const char *reply,
                               const char *fallback, char **out, tn_error *err)
{
    const json_t *choices = json_object_get(row, "choices");
    size_t        n = json_array_size(choices);
    char         *bared[MAX_CHOICE] = { NULL };
    tn_status     status = TN_OK;

    *out = NULL;
    if (n == 0 || n > MAX_CHOICE)
        return tn_fail(err, TN_FORMAT,
                       "multi_choice_regex needs a column \"choices\" with 1 to %d texts in every row",
                       MAX_CHOICE);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(choices, i));
        if (text == NULL) {
            status = tn_fail(err, TN_FORMAT,
                             "multi_choice_regex needs a column \"choices\" with 1 to %d texts in every row",
                             MAX_CHOICE);
            goto out;
        }
        char *trimmed = stripped(text);
        status = trimmed == NULL ? tn_fail(err, TN_NOMEM, "no memory for an answer")
                                 : bare(f, trimmed, &bared[i], err);
        free(trimmed);
        if (status != TN_OK) goto out;
    }
    TN_GOTO(match(f->pattern, reply, f->which, out, err));
    if (*out == NULL) TN_GOTO(by_text(f, bared, n, reply, out, err));
    if (*out == NULL) TN_GOTO(by_letter(f, n, reply, out, err));
    if (*out == NULL && (*out = tn_strdup(fallback)) == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory for an answer");
out:
    for (size_t i = 0; i < n && i < MAX_CHOICE; i++) free(bared[i]);
    return status;
}
