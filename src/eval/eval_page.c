/* eval_page.c - the page about an evaluation: scores with intervals, parts of tasks, what to be careful
 * about, items to look at.
 *
 *   report.json, items.jsonl ──→ report.html      the same files give the same bytes
 *
 * Texts that may do harm (replies that did not decline an unsafe request, and the request) are withheld
 * unless asked for: their hash stands in their place. */
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "eval/eval.h"
#include "eval/items.h"
#include "report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_ITEMS = 12, MAX_FIGURES = 6, MAX_ROWS = 4096 };

typedef struct maker {
    tn_page        *page;
    const json_t   *report;
    const tn_items *items;
    bool            harmful;
} maker;

/* One printed score. */
typedef struct line {
    const char *task, *metric;
    tn_estimate e;
    double      error, n;
    bool        share;
} line;

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const json_t *tailed(const json_t *o, const char *key, const char *tail)
{
    char         *name = tn_strf("%s%s", key, tail);
    const json_t *v = name != NULL ? json_object_get(o, name) : NULL;

    free(name);
    return v;
}

static bool is_tail(const char *key)
{
    static const char *const tails[] = { "_stderr", "_stderr_clustered", "_zero_upper", "_n", NULL };

    for (size_t i = 0; tails[i] != NULL; i++)
        if (tn_ends_with(key, tails[i])) return true;
    return strcmp(key, "stderr") == 0 || strcmp(key, "n") == 0;
}

static line line_of(const char *task, const char *key, const json_t *scores)
{
    const json_t *ci = tailed(scores, key, "_interval"), *se = tailed(scores, key, "_stderr"),
                 *n = tailed(scores, key, "_n");
    double v = number(scores, key), lo = NAN, hi = NAN;

    if (json_array_size(ci) == 2) {
        lo = json_number_value(json_array_get(ci, 0));
        hi = json_number_value(json_array_get(ci, 1));
    }
    return (line){ task,
                   key,
                   { v, lo, hi },
                   json_is_number(se) ? json_number_value(se) : NAN,
                   json_is_number(n) ? json_number_value(n) : number(scores, "n"),
                   v >= 0 && v <= 1 && !(hi > 1) && strstr(key, "perplexity") == NULL &&
                       strcmp(key, "bits_per_byte") != 0 && strstr(key, "bias") == NULL };
}

/* Scores of all tasks (or groups of tasks) in order. */
static size_t lines_make(line *out, size_t max, const json_t *table)
{
    const char *task, *key;
    json_t     *scores, *v;
    size_t      n = 0;

    json_object_foreach((json_t *)table, task, scores)
        json_object_foreach(scores, key, v)
            if (json_is_real(v) && !is_tail(key) && n < max) out[n++] = line_of(task, key, scores);
    return n;
}

static void figures(maker *m, const line *l, size_t n)
{
    tn_figure f[MAX_FIGURES];
    char      value[MAX_FIGURES][48], detail[MAX_FIGURES][96], label[MAX_FIGURES][160];
    size_t    k = 0;

    for (size_t i = 0; i < n && k < MAX_FIGURES; i++) {
        if (i > 0 && strcmp(l[i].task, l[i - 1].task) == 0) continue;
        snprintf(label[k], sizeof label[k], "%s, %s", l[i].task, l[i].metric);
        snprintf(value[k], sizeof value[k], l[i].share ? "%.1f %%" : "%.4g",
                 l[i].share ? 100 * l[i].e.value : l[i].e.value);
        if (isnan(l[i].e.lo)) snprintf(detail[k], sizeof detail[k], "%.0f rows", l[i].n);
        else
            snprintf(detail[k], sizeof detail[k],
                     l[i].share ? "%.1f … %.1f %% (95 %%), %.0f rows" : "%.4g … %.4g (95 %%), %.0f rows",
                     (l[i].share ? 100 : 1) * l[i].e.lo, (l[i].share ? 100 : 1) * l[i].e.hi, l[i].n);
        f[k] = (tn_figure){ label[k], value[k], detail[k], TN_TONE_PLAIN };
        k++;
    }
    tn_page_figures(m->page, f, k);
}

static void table(maker *m, const char *caption, const line *l, size_t n)
{
    static const char *const head[] = {
        "task", "metric", "value", "standard error", "95 % interval", "rows"
    };
    char(*text)[4][48] = calloc(n + 1, sizeof *text);
    const char **cells = calloc(6 * n + 1, sizeof *cells);

    for (size_t i = 0; text != NULL && cells != NULL && i < n; i++) {
        snprintf(text[i][0], 48, "%.4f", l[i].e.value);
        snprintf(text[i][1], 48, "%.4f", l[i].error);
        snprintf(text[i][2], 48, "%.4f … %.4f", l[i].e.lo, l[i].e.hi);
        snprintf(text[i][3], 48, "%.0f", l[i].n);
        const char *row[] = { l[i].task,
                              l[i].metric,
                              text[i][0],
                              isnan(l[i].error) ? NULL : text[i][1],
                              isnan(l[i].e.lo) ? NULL : text[i][2],
                              text[i][3] };
        memcpy(cells + 6 * i, row, sizeof row);
    }
    if (text != NULL && cells != NULL)
        tn_page_table(m->page, &(tn_table){ caption, "llrrrr", head, cells, n });
    free(text);
    free(cells);
}

static void dots(maker *m, const char *title, const line *l, size_t n)
{
    tn_dot_row *rows = calloc(n + 1, sizeof *rows);
    char(*label)[160] = calloc(n + 1, sizeof *label), (*detail)[48] = calloc(n + 1, sizeof *detail);
    size_t k = 0;

    for (size_t i = 0; rows != NULL && label != NULL && detail != NULL && i < n; i++) {
        if (!l[i].share || isnan(l[i].e.lo)) continue;
        if (l[i].metric[0] != '\0') snprintf(label[k], sizeof label[k], "%s, %s", l[i].task, l[i].metric);
        else snprintf(label[k], sizeof label[k], "%s", l[i].task);
        snprintf(detail[k], sizeof detail[k], "%.0f rows", l[i].n);
        rows[k] = (tn_dot_row){ label[k], detail[k], { NAN, NAN, NAN }, l[i].e };
        k++;
    }
    if (k > 0)
        tn_page_dots(m->page, &(tn_dots){ .title = title,
                                          .after = "value",
                                          .unit = TN_UNIT_PERCENT,
                                          .hi = 1,
                                          .rows = rows,
                                          .n_row = k });
    free(rows);
    free(label);
    free(detail);
}

/* Parts of a task (subjects, types, sections) as a plot behind a click. */
static void parts(maker *m, const char *task, const json_t *scores, const char *where)
{
    const json_t *table = json_object_get(scores, where), *v;
    size_t        n = json_object_size(table), k = 0;
    line         *l = calloc(n + 1, sizeof *l);
    const char   *part, *key;
    json_t       *one;

    json_object_foreach((json_t *)table, part, one)
        json_object_foreach(one, key, v)
            if (l != NULL && k < n && json_is_real(v) && !is_tail(key)) {
                l[k] = line_of(part, key, one);
                l[k++].metric = "";
                break;
            }
    if (k > 0) {
        char *title = tn_strf("%s by %s", task, strcmp(where, "sections") == 0 ? "section" : "group");
        tn_page_details_begin(m->page, title != NULL ? title : task);
        dots(m, title != NULL ? title : task, l, k);
        tn_page_details_end(m->page);
        free(title);
    }
    free(l);
}

/* -------------------------------------------------------------------------------------------------- items */

static bool withheld(const maker *m, const json_t *item)
{
    const char *section = json_string_value(json_object_get(item, "section"));

    return !m->harmful && section != NULL && strcmp(section, "unsafe") == 0;
}

/* The text, or its hash in its place. made. */
static char *shown(const char *text, bool hide)
{
    char hex[TN_SHA256_HEX];

    if (!hide) return tn_strdup(text != NULL ? text : "");
    tn_digest d = tn_sha256_of(text != NULL ? text : "", text != NULL ? strlen(text) : 0);
    tn_hex(hex, &d);
    return tn_strf("(withheld; SHA-256 %.16s…)", hex);
}

static void choices_show(tn_str *s, const json_t *item)
{
    const json_t *choices = json_object_get(item, "choices"), *ll = json_object_get(item, "ll"),
                 *gold = json_object_get(item, "gold");

    for (size_t i = 0; i < json_array_size(choices); i++) {
        bool right = false, said = (size_t)json_integer_value(json_object_get(item, "prediction")) == i;
        for (size_t k = 0; k < json_array_size(gold); k++)
            right = right || (size_t)json_integer_value(json_array_get(gold, k)) == i;
        tn_str_addf(s, "%s%s %10.4f  %s\n", right ? "right " : "      ", said ? "said" : "    ",
                    json_number_value(json_array_get(ll, i)), json_string_value(json_array_get(choices, i)));
    }
}

static void item_show(maker *m, const json_t *item)
{
    const json_t *reply = json_array_get(json_object_get(item, "replies"), 0);
    char         *question = shown(json_string_value(json_object_get(item, "question")), withheld(m, item));
    char         *tag = tn_strf("row %lld%s%s", (long long)json_integer_value(json_object_get(item, "index")),
                        json_object_get(item, "group") != NULL ? ", " : "",
                        json_is_string(json_object_get(item, "group"))
                                    ? json_string_value(json_object_get(item, "group"))
                                    : "");
    tn_str        s = { 0 };

    if (reply != NULL) {
        const json_t *answers = json_object_get(item, "answers");
        const char   *name;
        json_t       *v;
        bool          hide = withheld(m, item) && !(json_number_value(json_object_get(item, "refused")) == 1);
        char         *text = shown(json_string_value(reply), hide);
        tn_str_addf(&s, "%s\n", text != NULL ? text : "");
        json_object_foreach((json_t *)answers, name, v)
            tn_str_addf(&s, "\nanswer by %s: %s", name, json_string_value(v));
        if (json_array_size(json_object_get(item, "targets")) > 0)
            tn_str_addf(&s, "\nright: %s",
                        json_string_value(json_array_get(json_object_get(item, "targets"), 0)));
        if (json_object_get(item, "refused") != NULL)
            tn_str_addf(&s, "\n%s",
                        json_number_value(json_object_get(item, "refused")) == 1 ? "declined"
                                                                                 : "not declined");
        free(text);
    } else {
        choices_show(&s, item);
    }
    tn_answer a = { "answer", s.p != NULL ? s.p : "", false };
    tn_page_answers(m->page, question != NULL ? question : "", false, tag, &a, 1);
    tn_str_free(&s);
    free(question);
    free(tag);
}

/* Items of a task with score `key` below 1 first; so many of them. */
static void items_show(maker *m, const char *task, const char *key)
{
    size_t n = tn_items_count(m->items), shown_items = 0;

    tn_page_details_begin(m->page, task);
    for (int wrong = 1; wrong >= 0; wrong--)
        for (size_t i = 0; i < n && shown_items < SHOWN_ITEMS; i++) {
            const json_t *item = tn_items_at(m->items, i);
            const char   *name = json_string_value(json_object_get(item, "task"));
            if (name == NULL || strcmp(name, task) != 0 || json_object_get(item, "question") == NULL)
                continue;
            if ((json_number_value(json_object_get(item, key)) < 1) != (wrong == 1)) continue;
            item_show(m, item);
            shown_items++;
        }
    if (shown_items == 0)
        tn_page_text(m->page, "Its rows are whole texts: items.jsonl has their log-probabilities.");
    tn_page_details_end(m->page);
}

/* --------------------------------------------------------------------------------------------------- page */

static void care(maker *m)
{
    static const char *const head[] = { "task",      "rows",     "near ties",
                                        "truncated", "boundary", "replies cut at their longest" };
    const json_t            *tasks = json_object_get(m->report, "tasks");
    size_t                   n = json_object_size(tasks), k = 0;
    char(*text)[5][24] = calloc(n + 1, sizeof *text);
    const char **cells = calloc(6 * n + 1, sizeof *cells), *task;
    json_t      *s;

    json_object_foreach((json_t *)tasks, task, s) {
        static const char *const keys[] = { "n", "near_ties", "truncated", "boundary", "cut_replies" };
        if (text == NULL || cells == NULL) break;
        cells[6 * k] = task;
        for (int i = 0; i < 5; i++) {
            snprintf(text[k][i], 24, "%.0f", number(s, keys[i]));
            cells[6 * k + 1 + i] = isnan(number(s, keys[i])) ? NULL : text[k][i];
        }
        k++;
    }
    if (text != NULL && cells != NULL)
        tn_page_table(m->page, &(tn_table){ "What to be careful about", "lrrrrr", head, cells, k });
    tn_page_note(m->page, "Near ties: the two best choices (or tokens) are closer than 0.0001, so another "
                          "program's last bits may decide otherwise. Truncated: the context was too long "
                          "and lost its beginning. Boundary: the context's last token and the continuation's "
                          "first grew together.");
    free(text);
    free(cells);
}

static void facts(maker *m)
{
    static const char *const keys[] = { "model", "tokenizer", "profile", "kv_type", "endpoint", NULL };
    const json_t            *run = json_object_get(m->report, "run");
    tn_fact                  f[8];
    size_t                   n = 0;

    for (size_t i = 0; keys[i] != NULL; i++)
        if (json_is_string(json_object_get(run, keys[i])))
            f[n++] = (tn_fact){ keys[i], json_string_value(json_object_get(run, keys[i])) };
    f[n++] = (tn_fact){ "items", json_string_value(json_object_get(m->report, "items_root")) };
    tn_page_facts(m->page, f, n);
}

static const char *main_metric(const json_t *scores)
{
    const char *key;
    json_t     *v;

    json_object_foreach((json_t *)scores, key, v)
        if (json_is_real(v) && !is_tail(key)) return key;
    return "acc";
}

static tn_status page_fill(maker *m, const char *path, tn_error *err)
{
    const json_t *tasks = json_object_get(m->report, "tasks"), *groups = json_object_get(m->report, "groups");
    line         *l = calloc(MAX_ROWS, sizeof *l);
    const char   *task;
    json_t       *scores;

    if (l == NULL) return tn_fail(err, TN_NOMEM, "no memory for a page");
    size_t n = lines_make(l, MAX_ROWS, tasks);
    figures(m, l, n);
    facts(m);
    tn_page_section(m->page, "Scores");
    dots(m, "Shares, with 95 % intervals", l, n);
    table(m, "All scores", l, n);
    json_object_foreach((json_t *)tasks, task, scores) {
        parts(m, task, scores, "sections");
        parts(m, task, scores, "groups");
    }
    if (json_object_size(groups) > 0) {
        n = lines_make(l, MAX_ROWS, groups);
        tn_page_section(m->page, "Groups of tasks");
        table(m, "Common scores", l, n);
    }
    tn_page_section(m->page, "How sure");
    care(m);
    tn_page_section(m->page, "Items");
    tn_page_text(m->page, "Rows that were answered wrongly come first. items.jsonl has every row, each line "
                          "bound to those before it by a running hash; the root above is over all of them.");
    json_object_foreach((json_t *)tasks, task, scores) items_show(m, task, main_metric(scores));
    free(l);
    return tn_page_write(m->page, path, err);
}

tn_status tn_eval_page_write(const char *dir, bool harmful, tn_error *err)
{
    maker     m = { .harmful = harmful };
    json_t   *report = NULL;
    tn_items *items = NULL;
    char     *report_path = tn_path(dir, "report.json");
    char     *items_path = tn_path(dir, "items.jsonl");
    char     *page_path = tn_path(dir, "report.html");
    char     *digest = NULL;
    char     *under = NULL;
    tn_digest d;
    tn_status status = TN_OK;

    if (report_path == NULL || items_path == NULL || page_path == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_load(&report, report_path, (size_t)64 << 20, err));
    TN_GOTO(tn_items_load(&items, items_path, err));
    TN_GOTO(tn_sha256_file(report_path, &d, NULL, err));
    digest = tn_digest_text(&d);
    under = tn_strf("report.json %s", digest != NULL ? digest : "");
    TN_GOTO(tn_page_create(&m.page, "Evaluation", under, err));
    m.report = report;
    m.items = items;
    status = page_fill(&m, page_path, err);
out:
    tn_page_destroy(m.page);
    tn_items_close(items);
    json_decref(report);
    free(report_path);
    free(items_path);
    free(page_path);
    free(digest);
    free(under);
    return status;
}
