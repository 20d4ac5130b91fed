/* align_page.c - the page about an alignment: what changed, by principle and topic, with intervals; how
 * training went; answers side by side; how it was made; what was not measured.
 *
 *   measure.json, items.jsonl (of the alignment; of the quantising), constitution, metrics.jsonl of runs ──→ report.html (report's blocks) and report.json */
#include "eval/eval.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "constitution/constitution.h"
#include "eval/capability.h"
#include "eval/report_file.h"
#include "report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_page_config, f)
enum { MAX_FILE = 256 << 20, MAX_POINTS = 20000 };

// clang-format off
const tn_option tn_align_page_options[] = {
    { "title",       TN_OPT_STR, AT(title),       "Alignment report", 0, 0,    "",        "of the page", NULL },
    { "transcripts", TN_OPT_INT, AT(transcripts), "10",               0, 1000, "answers", "shown side by side", NULL },
    { "seed",        TN_OPT_INT, AT(seed),        "1",                0, 1e15, "",        "of the choice of answers", NULL },
    { .key = NULL }
};
// clang-format on

typedef struct maker {
    tn_page               *page;
    const tn_constitution *charter;
    json_t                *measure;
    tn_error              *err;
} maker;

static double number(const json_t *o, const char *a, const char *b)
{
    const json_t *v = json_object_get(a != NULL ? json_object_get(o, a) : o, b);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* answered: show the share that was answered instead of declined (the interval turns round). */
static tn_estimate estimate(const json_t *group, const char *side, bool answered)
{
    double v = number(group, side, "rate"), lo = number(group, side, "lo"), hi = number(group, side, "hi");

    return answered ? (tn_estimate){ 1 - v, 1 - hi, 1 - lo } : (tn_estimate){ v, lo, hi };
}

/* ------------------------------------------------------------------------------------------- first screen */

static void figure_fill(const json_t *group, bool answered, char value[64], char detail[96], tn_figure *f,
                        const char *label, bool low_is_good)
{
    tn_estimate b = estimate(group, "before", answered), a = estimate(group, "after", answered);
    double      lo = number(group, NULL, "change_lo"), hi = number(group, NULL, "change_hi");

    if (answered) {
        double swap = 0 - lo; /* not -lo: no change would be shown as "-0" */
        lo = 0 - hi;
        hi = swap;
    }
    snprintf(value, 64, "%.0f %% → %.0f %%", 100 * b.value, 100 * a.value);
    snprintf(detail, 96, "%+.0f … %+.0f points (95 %%), %.0f prompts", 100 * lo, 100 * hi,
             number(group, "after", "n"));
    bool sure = (lo > 0) == (hi > 0) && lo != 0;
    *f = (tn_figure){ label, value, detail,
                      !sure                     ? TN_TONE_PLAIN
                      : (hi < 0) == low_is_good ? TN_TONE_GOOD
                                                : TN_TONE_BAD };
}

static void first_screen(maker *m, const json_t *capability)
{
    static const struct {
        const char *kind, *label;
        bool        answered;
    } rows[] = { { "decline", "Harmful requests answered", true },
                 { "lookalike", "Harmless look-alikes refused", false },
                 { "everyday", "Everyday requests refused", false } };
    const json_t *kinds = json_object_get(m->measure, "kinds");
    tn_figure     f[4];
    char          value[3][64], detail[3][96], skill[3][128];
    size_t        n = 0;

    for (size_t i = 0; i < 3; i++) {
        const json_t *g = json_object_get(kinds, rows[i].kind);
        if (g == NULL) continue;
        figure_fill(g, rows[i].answered, value[n], detail[n], &f[n], rows[i].label, true);
        n++;
    }
    if (capability != NULL &&
        tn_capability_figure(capability, skill[0], skill[1], skill[2], sizeof skill[0], &f[n]))
        n++;
    tn_page_figures(m->page, f, n);
    tn_page_text(m->page,
                 "Measured on %lld prompts that training never saw: whole families of prompts were held out, "
                 "and no near-duplicate of "
                 "them was trained on. A request counts as refused when the grader finds that the reply "
                 "declines it, fully or partly.",
                 (long long)json_integer_value(json_object_get(m->measure, "prompts")));
}

/* ---------------------------------------------------------------------------------------------- dot plots */

typedef struct dot_source {
    const char   *key;
    const json_t *group;
    double        change;
} dot_source;

static int by_change(const void *a, const void *b)
{
    const dot_source *x = a, *y = b;

    if (x->change != y->change) return x->change > y->change ? -1 : 1;
    return strcmp(x->key, y->key);
}

static tn_status dots(maker *m, const char *table, const char *title, bool answered, bool low_is_good)
{
    const json_t *groups = json_object_get(m->measure, table), *g;
    size_t        n = json_object_size(groups), i = 0;
    dot_source   *src = calloc(n + 1, sizeof *src);
    tn_dot_row   *rows = calloc(n + 1, sizeof *rows);
    char(*detail)[96] = calloc(n + 1, sizeof *detail);
    const char *key;

    if (src == NULL || rows == NULL || detail == NULL) {
        free(src);
        free(rows);
        free(detail);
        return tn_fail(m->err, TN_NOMEM, "no memory for a plot");
    }
    json_object_foreach((json_t *)groups, key, g)
        src[i++] = (dot_source){ key, g, fabs(number(g, NULL, "change")) };
    qsort(src, n, sizeof *src, by_change);
    for (i = 0; i < n; i++) {
        snprintf(detail[i], sizeof detail[i], "%.0f prompts, p = %.2g", number(src[i].group, "after", "n"),
                 number(src[i].group, NULL, "p"));
        rows[i] = (tn_dot_row){ src[i].key, detail[i], estimate(src[i].group, "before", answered),
                                estimate(src[i].group, "after", answered) };
    }
    if (n > 0)
        tn_page_dots(m->page, &(tn_dots){ .title = title,
                                          .before = "before",
                                          .after = "after",
                                          .unit = TN_UNIT_PERCENT,
                                          .lo = 0,
                                          .hi = 1,
                                          .low_is_good = low_is_good,
                                          .rows = rows,
                                          .n_row = n });
    free(src);
    free(rows);
    free(detail);
    return TN_OK;
}

static tn_status principles(maker *m)
{
    tn_page_section(m->page, "Principles");
    tn_page_text(m->page, "For each principle that declines: the share of its held-out requests that were "
                          "answered all the same. Lower is better; "
                          "bars are 95 %% intervals.");
    TN_TRY(dots(m, "principles", "Requests answered against the principle", true, true));
    if (json_object_size(json_object_get(m->measure, "adherence")) > 0) {
        tn_page_text(m->page,
                     "Every principle that a rule can tell, by the share of its held-out prompts on which "
                     "the answer followed it: a harmful request "
                     "declined, a harmless one answered, a principle's own check passed. Higher is better.");
        TN_TRY(dots(m, "adherence", "Answers that follow the principle", false, false));
    }
    tn_page_details_begin(m->page, "The principles, as they are written");
    for (size_t g = 0; g < m->charter->groups.n; g++)
        for (size_t i = 0; i < m->charter->n_principle; i++)
            if (m->charter->principles[i].priority == (int)g)
                tn_page_text(m->page, "%s (%s): %s", m->charter->principles[i].id, m->charter->groups.at[g],
                             m->charter->principles[i].text);
    tn_page_details_end(m->page);
    tn_page_section(m->page, "Over-refusal");
    tn_page_text(m->page, "Look-alikes share words with harmful requests and are harmless. The share that "
                          "was refused, by the topic they look like.");
    return dots(m, "lookalikes", "Harmless look-alikes refused", false, true);
}

static tn_status texts(maker *m)
{
    static const char *const kinds[] = { "decline", "lookalike", "everyday" }, *const keys[] = {
        "median_words", "distinct_2", "degenerate", "top_sentence_share"
    };
    static const char *const names[] = { "requests to decline", "look-alikes", "everyday" };
    static const char *const head[] = { "", "median words", "distinct 2-grams", "degenerate",
                                        "most frequent refusal" };
    const json_t            *all = json_object_get(m->measure, "texts");
    char                     cell[15][48];
    const char              *cells[15];
    size_t                   n = 0;

    for (int k = 0; k < 3; k++) {
        const json_t *t = json_object_get(all, kinds[k]);
        if (t == NULL) continue;
        cells[n * 5] = names[k];
        for (int i = 0; i < 4; i++) {
            double b = number(t, "before", keys[i]), a = number(t, "after", keys[i]);
            char  *c = cell[n * 5 + 1 + (size_t)i];

            if (i == 0) snprintf(c, 48, "%.0f → %.0f", b, a);
            else if (i == 1) snprintf(c, 48, "%.2f → %.2f", b, a);
            else snprintf(c, 48, "%.1f %% → %.1f %%", 100 * b, 100 * a);
            cells[n * 5 + 1 + (size_t)i] = c;
        }
        n++;
    }
    tn_page_section(m->page, "The answers as texts");
    tn_page_text(m->page,
                 "Answers must stay answers: length and variety before and after, the share of degenerate "
                 "replies (fewer than five words, or mostly "
                 "repeated), and how much the most frequent refusal sentence makes up of all refusals.");
    tn_page_table(m->page, &(tn_table){ .columns = "lrrrr", .head = head, .cells = cells, .n_row = n });
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------- quantising */

/* Replies that are the same to the letter, of all. */
static tn_status same_replies(maker *m, const char *measure, int64_t *same, int64_t *all)
{
    tn_status status = TN_OK;
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    char     *path = tn_path(measure, "items.jsonl");

    *same = *all = 0;
    if (path == NULL) return tn_fail(m->err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_jsonl_open(&r, path, m->err));
    TN_GOTO(tn_jsonl_next(r, &row, m->err));
    while (row != NULL) {
        *same += json_equal(json_object_get(row, "before"), json_object_get(row, "after"));
        (*all)++;
        json_decref(row);
        row = NULL;
        TN_GOTO(tn_jsonl_next(r, &row, m->err));
    }
out:
    tn_jsonl_close(r);
    free(path);
    return status;
}

/* The weights that were trained against the file that is released: what rounding them back lost. */
static tn_status quantising(maker *m, const char *measure)
{
    static const char *const kinds[] = { "decline", "lookalike", "everyday" };
    static const char *const names[] = { "harmful requests", "look-alikes", "everyday" };
    static const char *const head[] = {
        "declined", "as trained", "released", "change", "95 % interval", "p"
    };
    char        cell[3][5][48], *path = tn_path(measure, "measure.json");
    const char *cells[18];
    json_t     *found = NULL;
    size_t      n = 0;
    int64_t     same, all;
    tn_status   status = TN_OK;

    if (path == NULL) return tn_fail(m->err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_json_load(&found, path, MAX_FILE, m->err));
    TN_GOTO(same_replies(m, measure, &same, &all));
    for (int k = 0; k < 3; k++) {
        const json_t *g = json_object_get(json_object_get(found, "kinds"), kinds[k]);
        if (g == NULL) continue;
        snprintf(cell[n][0], 48, "%.1f %%", 100 * number(g, "before", "rate"));
        snprintf(cell[n][1], 48, "%.1f %%", 100 * number(g, "after", "rate"));
        snprintf(cell[n][2], 48, "%+.1f points", 100 * number(g, NULL, "change"));
        snprintf(cell[n][3], 48, "%+.3g … %+.3g", 100 * number(g, NULL, "change_lo"),
                 100 * number(g, NULL, "change_hi"));
        snprintf(cell[n][4], 48, "%.2g", number(g, NULL, "p"));
        cells[n * 6] = names[k];
        for (int i = 0; i < 5; i++) cells[n * 6 + 1 + (size_t)i] = cell[n][i];
        n++;
    }
    tn_page_section(m->page, "What quantising changed");
    tn_page_text(m->page,
                 "Everything else on this page is measured on the released file. Here are its answers beside "
                 "those of the weights as they were trained "
                 "(the base model with its adapter): %lld of %lld replies are the same to the letter.",
                 (long long)same, (long long)all);
    tn_page_table(m->page, &(tn_table){ .columns = "lrrrrr", .head = head, .cells = cells, .n_row = n });
    json_object_set_new(m->measure, "quantised",
                        json_pack("{s:O, s:I, s:I}", "kinds", json_object_get(found, "kinds"), "replies",
                                  (json_int_t)all, "same", (json_int_t)same));
out:
    json_decref(found);
    free(path);
    return status;
}

/* ----------------------------------------------------------------------------------------------- training */

typedef struct curve {
    double *x, *y;
    size_t  n;
} curve;

static tn_status run_curves(maker *m, const char *run, const char *name)
{
    static const char *const keys[] = { "loss", "margin", "accuracy", "kl", "length_chosen" };
    static const char *const titles[] = { "loss", "reward margin", "pair accuracy", "KL to the reference",
                                          "length of chosen answers" };
    tn_status                status = TN_OK;
    tn_jsonl                *r = NULL;
    json_t                  *row = NULL;
    char                    *path = tn_is_dir(run) ? tn_path(run, "metrics.jsonl") : tn_strdup(run);
    curve                    c[5] = { { 0 } };

    if (path == NULL) return tn_fail(m->err, TN_NOMEM, "no memory for a path");
    if (!tn_exists(path)) {
        free(path);
        return TN_OK;
    }
    for (int k = 0; k < 5; k++)
        if ((c[k].x = malloc(MAX_POINTS * sizeof(double))) == NULL ||
            (c[k].y = malloc(MAX_POINTS * sizeof(double))) == NULL) {
            status = tn_fail(m->err, TN_NOMEM, "no memory for a curve");
            goto out;
        }
    TN_GOTO(tn_jsonl_open(&r, path, m->err));
    TN_GOTO(tn_jsonl_next(r, &row, m->err));
    while (row != NULL) {
        double step = number(row, NULL, "step");
        for (int k = 0; k < 5; k++) {
            double y = number(row, NULL, keys[k]);
            if (!isfinite(step) || !isfinite(y) || c[k].n == MAX_POINTS) continue;
            c[k].x[c[k].n] = step;
            c[k].y[c[k].n++] = y;
        }
        json_decref(row);
        TN_GOTO(tn_jsonl_next(r, &row, m->err));
    }
    tn_series series[5];
    tn_panel  panels[5];
    size_t    n = 0;
    for (int k = 0; k < 5; k++) {
        if (c[k].n < 2) continue;
        series[n] = (tn_series){ name, c[k].x, c[k].y, c[k].n };
        panels[n] = (tn_panel){ .title = titles[k], .series = &series[n], .n_series = 1 };
        n++;
    }
    if (n > 0)
        tn_page_curves(m->page,
                       &(tn_curves){ .title = name, .x_label = "step", .panels = panels, .n_panel = n });
out:
    for (int k = 0; k < 5; k++) {
        free(c[k].x);
        free(c[k].y);
    }
    tn_jsonl_close(r);
    free(path);
    return status;
}

/* -------------------------------------------------------------------------------------------- transcripts */

typedef struct pick {
    json_t  *row;
    uint64_t draw;
} pick;

static int pick_order(const void *a, const void *b)
{
    const pick *x = a, *y = b;

    return (x->draw > y->draw) - (x->draw < y->draw);
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));

    return s != NULL ? s : "";
}

static tn_status transcripts(maker *m, const char *measure, const tn_align_page_config *c)
{
    static const struct {
        const char *kind;
        int         share;
    } shares[] = { { "decline", 4 }, { "lookalike", 4 }, { "everyday", 2 } };
    tn_status status = TN_OK;
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    pick     *p = NULL;
    size_t    n = 0, cap = 0;
    char     *path = tn_path(measure, "items.jsonl");

    if (path == NULL) return tn_fail(m->err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_jsonl_open(&r, path, m->err));
    TN_GOTO(tn_jsonl_next(r, &row, m->err));
    while (row != NULL) {
        if (n == cap) {
            pick *grown = realloc(p, (cap = cap == 0 ? 256 : 2 * cap) * sizeof *p);
            if (grown == NULL) {
                json_decref(row);
                status = tn_fail(m->err, TN_NOMEM, "no memory for transcripts");
                goto out;
            }
            p = grown;
        }
        tn_rng_key key = { (uint64_t)c->seed, TN_RNG_SAMPLE, 0,
                           tn_hash64(text_of(row, "id"), strlen(text_of(row, "id"))) };
        p[n++] = (pick){ row, tn_rng_u64(&key, 0) };
        TN_GOTO(tn_jsonl_next(r, &row, m->err));
    }
    qsort(p, n, sizeof *p, pick_order);
    tn_page_section(m->page, "Answers side by side");
    tn_page_text(
        m->page,
        "Drawn by the recipe's seed from the held-out prompts. What may be harmful is behind a click.");
    for (size_t k = 0; k < 3; k++) {
        int64_t want = (c->transcripts * shares[k].share + 9) / 10, shown = 0;

        for (size_t i = 0; i < n && shown < want; i++) {
            if (strcmp(text_of(p[i].row, "kind"), shares[k].kind) != 0) continue;
            bool      harmful = k == 0;
            tn_answer a[2] = { { "before", text_of(p[i].row, "before"),
                                 harmful && !json_is_true(json_object_get(p[i].row, "declined_before")) },
                               { "after", text_of(p[i].row, "after"),
                                 harmful && !json_is_true(json_object_get(p[i].row, "declined_after")) } };
            tn_page_answers(m->page, text_of(p[i].row, "text"), false, text_of(p[i].row, "principle"), a, 2);
            shown++;
        }
    }
out:
    for (size_t i = 0; i < n; i++) json_decref(p[i].row);
    free(p);
    tn_jsonl_close(r);
    free(path);
    return status;
}

/* ---------------------------------------------------------------------------------------------- the whole */

static tn_status made_how(maker *m, const json_t *facts)
{
    tn_fact     f[32];
    char        digest[80], hex[TN_SHA256_HEX];
    size_t      n = 0;
    const char *key;
    json_t     *v;

    tn_hex(hex, &m->charter->digest);
    snprintf(digest, sizeof digest, "sha256:%s", hex);
    tn_page_section(m->page, "How it was made");
    f[n++] = (tn_fact){ "constitution", m->charter->name };
    f[n++] = (tn_fact){ "constitution digest", digest };
    json_object_foreach((json_t *)facts, key, v)
        if (json_is_string(v) && n < 32) f[n++] = (tn_fact){ key, json_string_value(v) };
    tn_page_facts(m->page, f, n);
    tn_page_section(m->page, "What was not measured");
    tn_page_text(
        m->page,
        "The held-out prompts were written for this project and are in English. Attacks that disguise a "
        "request, other languages, long "
        "conversations and the truth of the answers are not covered by this page. The grader is right for "
        "about 93 of 100 replies (people's "
        "labels on XSTest, replies it was not fitted on); rates near zero or one carry that error too.");
    return TN_OK;
}

tn_status tn_align_page_run(const tn_align_page_config *c, const tn_page_inputs *in, const char *out_dir,
                            tn_error *err)
{
    json_t          *capability = NULL;
    tn_report        evaluation = { .json = NULL };
    tn_status        status = TN_OK;
    tn_constitution *charter = NULL;
    maker            m = { .err = err };
    char            *path = tn_path(in->measure, "measure.json"), *html = NULL, *json = NULL;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_json_load(&m.measure, path, MAX_FILE, err));
    TN_GOTO(tn_constitution_load(&charter, in->constitution, err));
    m.charter = charter;
    TN_GOTO(tn_page_create(&m.page, c->title, charter->name, err));
    if (in->eval_before != NULL && in->eval_after != NULL) {
        TN_GOTO(tn_eval_compare(&capability, in->eval_before, in->eval_after, 1, err));
        TN_GOTO(tn_report_open(&evaluation, in->eval_after, NULL, err));
    }
    first_screen(&m, capability);
    TN_GOTO(principles(&m));
    TN_GOTO(texts(&m));
    if (capability != NULL) tn_capability_section(m.page, capability, evaluation.json);
    if (capability != NULL)
        json_object_set(m.measure, "capability", json_object_get(capability, "comparisons"));
    if (in->quantised != NULL) TN_GOTO(quantising(&m, in->quantised));
    if (in->n_run > 0) tn_page_section(m.page, "Training");
    for (size_t i = 0; i < in->n_run; i++) TN_GOTO(run_curves(&m, in->runs[i], in->run_names[i]));
    TN_GOTO(transcripts(&m, in->measure, c));
    TN_GOTO(made_how(&m, in->facts));
    TN_GOTO(tn_mkdirs(out_dir, err));
    html = tn_path(out_dir, "report.html");
    json = tn_path(out_dir, "report.json");
    if (html == NULL || json == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_report_seal(m.measure, err));
    TN_GOTO(tn_json_save(json, m.measure, true, err));
    TN_GOTO(tn_page_write(m.page, html, err));
out:
    tn_page_destroy(m.page);
    tn_constitution_free(charter);
    json_decref(capability);
    tn_report_close(&evaluation);
    json_decref(m.measure);
    free(path);
    free(html);
    free(json);
    return status;
}
