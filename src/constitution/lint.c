/* lint.c - what a reader should know of a constitution that loads: findings, and the difference between
 * two. */
#include "constitution/constitution.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct findings {
    tn_finding *at;
    size_t      n;
    bool        failed;
} findings;

static void add(findings *f, int severity, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static void add(findings *f, int severity, const char *file, int line, const char *fmt, ...)
{
    tn_finding *grown = realloc(f->at, (f->n + 1) * sizeof *grown);
    va_list     ap;
    tn_str      s = { 0 };

    if (grown == NULL) {
        f->failed = true;
        return;
    }
    f->at = grown;
    va_start(ap, fmt);
    tn_str_addv(&s, fmt, ap);
    va_end(ap);
    grown[f->n] = (tn_finding){ severity, tn_strf("%s:%d", file, line), tn_str_take(&s) };
    f->failed = f->failed || grown[f->n].where == NULL || grown[f->n].text == NULL;
    f->n++;
}

void tn_findings_free(tn_finding *f, size_t n)
{
    for (size_t i = 0; f != NULL && i < n; i++) {
        free(f[i].where);
        free(f[i].text);
    }
    free(f);
}

static bool share_topic(const tn_principle *a, const tn_principle *b, const char **topic)
{
    for (size_t i = 0; i < a->topics.n; i++)
        for (size_t k = 0; k < b->topics.n; k++)
            if (strcmp(a->topics.at[i], b->topics.at[k]) == 0) {
                *topic = a->topics.at[i];
                return true;
            }
    return false;
}

static bool same(const char *a, const char *b) { return a != NULL && b != NULL && strcmp(a, b) == 0; }

/* Does what a's check demands, taken as a plain text (\\b and anchors left out), match what b's check
 * forbids? */
static bool demanded_is_forbidden(const tn_principle *a, const tn_principle *b)
{
    tn_principle ban = {
        .id = b->id, .file = b->file, .line = b->line, .check = { .absent = b->check.absent }
    };
    tn_str plain = { 0 };
    bool   has = false, passed = true;

    if (a->check.present == NULL || b->check.absent == NULL || same(a->check.present, b->check.absent))
        return false;
    for (const char *p = a->check.present; *p != '\0'; p++) {
        if (p[0] == '\\' && p[1] == 'b') {
            p++;
            continue;
        }
        if (*p == '^' || *p == '$') continue;
        /* a real pattern: too hard to say */
        if (strchr("\\[](){}*+?.|", *p) != NULL) {
            tn_str_free(&plain);
            return false;
        }
        tn_str_add_char(&plain, *p);
    }
    char *text = tn_str_take(&plain);
    if (text != NULL && text[0] != '\0' && tn_principle_check(&ban, text, &has, &passed, NULL) != TN_OK)
        passed = true;
    free(text);
    return has && !passed;
}

/* Two principles pull against each other when one wants a topic declined and the other wants it answered and
 * no priority decides, or when one's check forbids what the other's demands. */
static void contradictions(const tn_constitution *c, findings *f)
{
    for (size_t i = 0; i < c->n_principle; i++)
        for (size_t k = i + 1; k < c->n_principle; k++) {
            const tn_principle *a = &c->principles[i], *b = &c->principles[k];
            const char         *topic = NULL;

            if (((a->stance == TN_STANCE_DECLINE && b->stance == TN_STANCE_ANSWER) ||
                 (a->stance == TN_STANCE_ANSWER && b->stance == TN_STANCE_DECLINE)) &&
                share_topic(a, b, &topic) && a->priority == b->priority)
                add(f, 1, b->file, b->line,
                    "'%s' wants topic '%s' answered or declined against '%s', and both are in group '%s': "
                    "put "
                    "them into different groups, so that one wins",
                    b->id, topic, a->id, a->group);
            if (same(a->check.absent, b->check.present) || same(a->check.present, b->check.absent))
                add(f, 2, b->file, b->line,
                    "'%s' and '%s' contradict each other: one's check demands what the other's forbids",
                    b->id, a->id);
            if (demanded_is_forbidden(a, b) || demanded_is_forbidden(b, a))
                add(f, 2, b->file, b->line,
                    "'%s' and '%s' contradict each other: the text that one's check demands is what the "
                    "other's forbids",
                    b->id, a->id);
            if (same(a->affix_positive, b->affix_negative) || same(a->affix_negative, b->affix_positive))
                add(f, 2, b->file, b->line,
                    "'%s' and '%s' contradict each other: one asks for the assistant that the other warns of "
                    "(affix)",
                    b->id, a->id);
            if (same(a->compare_positive, b->compare_negative) ||
                same(a->compare_negative, b->compare_positive))
                add(f, 2, b->file, b->line,
                    "'%s' and '%s' contradict each other: the same question finds the better answer for one "
                    "and the worse for the other",
                    b->id, a->id);
            if (strcmp(a->text, b->text) == 0)
                add(f, 1, b->file, b->line, "'%s' has the same text as '%s': one of them is enough", b->id,
                    a->id);
        }
}

static void groups_used(const tn_constitution *c, const char *path, findings *f)
{
    for (size_t g = 0; g < c->groups.n; g++) {
        bool used = false;
        for (size_t i = 0; i < c->n_principle; i++) used = used || c->principles[i].priority == (int)g;
        if (!used)
            add(f, 1, path, 1,
                "group '%s' has no principle: leave it out of groups, or put a principle into it",
                c->groups.at[g]);
    }
}

static void topics_reached(const tn_constitution *c, const char *path, findings *f)
{
    for (size_t t = 0; t < c->n_topic; t++) {
        bool reached = false;

        for (size_t i = 0; i < c->n_principle; i++)
            for (size_t k = 0; k < c->principles[i].topics.n; k++)
                reached = reached || strcmp(c->principles[i].topics.at[k], c->topics[t].id) == 0;
        if (!reached)
            add(f, 1, path, c->topics[t].line,
                "topic '%s' is unreachable: no principle names it, so only principles without topics apply",
                c->topics[t].id);
    }
}

tn_status tn_constitution_lint(const tn_constitution *c, const char *path, tn_finding **out, size_t *n,
                               tn_error *err)
{
    findings f = { 0 };
    double   total = 0;

    for (size_t i = 0; i < c->n_principle; i++) total += c->principles[i].weight;
    groups_used(c, path, &f);
    topics_reached(c, path, &f);
    contradictions(c, &f);
    for (size_t i = 0; i < c->n_principle; i++) {
        const tn_principle *p = &c->principles[i];
        tn_error            e = { 0 };
        bool                has, passed;

        if (p->weight / total < 0.002)
            add(&f, 1, p->file, p->line, "'%s' has %.2f %% of all weight: it will hardly ever be drawn",
                p->id, 100 * p->weight / total);
        if (p->affix_positive == NULL || p->affix_negative == NULL)
            add(&f, 1, p->file, p->line,
                "'%s' has no affix pair: contrast pairs (the default for small models) skip it", p->id);
        else if (strcmp(p->affix_positive, p->affix_negative) == 0)
            add(&f, 2, p->file, p->line, "'%s': both affixes are the same text: a contrast needs two sides",
                p->id);
        if (strcmp(p->compare_positive, p->compare_negative) == 0)
            add(&f, 2, p->file, p->line, "'%s': both forms of compare are the same text", p->id);
        if (tn_principle_check(p, "", &has, &passed, &e) != TN_OK) add(&f, 2, p->file, p->line, "%s", e.msg);
    }
    if (f.failed) {
        tn_findings_free(f.at, f.n);
        return tn_fail(err, TN_NOMEM, "%s: no memory for findings", path);
    }
    *out = f.at;
    *n = f.n;
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------- difference */

static tn_status change_add(tn_change **list, size_t *n, const char *id, int kind, char *fields,
                            tn_error *err)
{
    tn_change *grown = realloc(*list, (*n + 1) * sizeof *grown);

    if (grown != NULL) *list = grown;
    char *copy = tn_strdup(id);
    if (grown == NULL || copy == NULL || fields == NULL) {
        free(copy);
        free(fields);
        return tn_fail(err, TN_NOMEM, "no memory for a comparison");
    }
    grown[(*n)++] = (tn_change){ .id = copy, .kind = kind, .fields = fields };
    return TN_OK;
}

void tn_changes_free(tn_change *c, size_t n)
{
    for (size_t i = 0; c != NULL && i < n; i++) {
        free(c[i].id);
        free(c[i].fields);
    }
    free(c);
}

/* Names of the members of two canonical objects that differ, comma-separated. made: free. */
static char *fields_changed(const json_t *a, const json_t *b)
{
    tn_str      s = { 0 };
    const char *key;
    json_t     *v;

    json_object_foreach((json_t *)a, key, v)
        if (!json_equal(v, json_object_get(b, key))) tn_str_addf(&s, "%s%s", s.len > 0 ? ", " : "", key);
    json_object_foreach((json_t *)b, key, v)
        if (json_object_get(a, key) == NULL) tn_str_addf(&s, "%s%s", s.len > 0 ? ", " : "", key);
    return tn_str_take(&s);
}

static json_t *list_find(const json_t *list, const char *id)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "id")), id) == 0)
            return json_array_get(list, i);
    return NULL;
}

tn_status tn_constitution_diff(const tn_constitution *a, const tn_constitution *b, tn_change **out, size_t *n,
                               tn_error *err)
{
    static const char *const top[] = { "preamble", "groups", "topics", NULL };
    tn_status                status = TN_OK;
    json_t                  *ja = tn_constitution_json(a), *jb = tn_constitution_json(b);
    json_t                  *la = json_object_get(ja, "principles"), *lb = json_object_get(jb, "principles");

    *out = NULL;
    *n = 0;
    for (int i = 0; top[i] != NULL; i++) {
        const json_t *x = json_object_get(ja, top[i]), *y = json_object_get(jb, top[i]);
        if (x != y && (x == NULL || y == NULL || !json_equal(x, y)))
            TN_GOTO(change_add(out, n, top[i], TN_CHANGED, tn_strdup(""), err));
    }
    for (size_t i = 0; i < a->n_principle; i++) {
        const json_t *x = list_find(la, a->principles[i].id), *y = list_find(lb, a->principles[i].id);
        if (y == NULL) TN_GOTO(change_add(out, n, a->principles[i].id, TN_REMOVED, tn_strdup(""), err));
        else if (!json_equal(x, y))
            TN_GOTO(change_add(out, n, a->principles[i].id, TN_CHANGED, fields_changed(x, y), err));
    }
    for (size_t i = 0; i < b->n_principle; i++)
        if (list_find(la, b->principles[i].id) == NULL)
            TN_GOTO(change_add(out, n, b->principles[i].id, TN_ADDED, tn_strdup(""), err));
out:
    json_decref(ja);
    json_decref(jb);
    if (status != TN_OK) {
        tn_changes_free(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}
