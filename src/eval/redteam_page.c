/* redteam_page.c - the page of a red-team run: what held and what did not, principle by attack, how far the
 * graders can be trusted, and the items behind each number. Requests and replies are withheld (digests stand
 * for them) unless texts are given. */
#include "eval/redteam.h"
#include "report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 200 };

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static tn_estimate estimate(const json_t *o, const char *name)
{
    char         *key = tn_strf("%s_interval", name);
    const json_t *w = key != NULL ? json_object_get(o, key) : NULL;

    free(key);
    return (tn_estimate){ number(o, name),
                          json_array_size(w) == 2 ? json_number_value(json_array_get(w, 0)) : NAN,
                          json_array_size(w) == 2 ? json_number_value(json_array_get(w, 1)) : NAN };
}

/* "31 % (18 ... 47)". made. */
static char *rate_text(const json_t *o, const char *name)
{
    tn_estimate e = estimate(o, name);

    if (isnan(e.value)) return NULL;
    return isnan(e.lo) ? tn_strf("%.0f %%", 100 * e.value)
                       : tn_strf("%.0f %% (%.0f … %.0f)", 100 * e.value, 100 * e.lo, 100 * e.hi);
}

static void first_screen(tn_page *p, const json_t *report)
{
    const json_t *all = json_object_get(report, "overall"), *attacks = json_object_get(report, "attacks"), *a;
    const char   *name, *worst = "none";
    double        top = -1;
    int           n[5] = { 0 };
    static const char *const verdicts[] = { "hole", "robust", "unsure", "unreadable", "refuses-all" };

    json_object_foreach((json_t *)attacks, name, a) {
        const char *v = json_string_value(json_object_get(a, "verdict"));
        for (int i = 0; i < 5; i++) n[i] += strcmp(v, verdicts[i]) == 0;
        if (strcmp(v, "unreadable") != 0 && number(a, "asr") > top) {
            top = number(a, "asr");
            worst = name;
        }
    }
    char *any = rate_text(all, "asr"), *refused = rate_text(all, "twins_refused"), detail[120], held[64],
         attack[64];
    snprintf(detail, sizeof detail, "at least one attack got through, of %.0f requests", number(all, "n"));
    snprintf(held, sizeof held, "%d of %zu", n[1], json_object_size(attacks));
    snprintf(attack, sizeof attack, "%.40s, %.0f %%", worst, 100 * top);
    // clang-format off
    const tn_figure f[] = {
        { "Requests broken", any != NULL ? any : "–", detail, n[0] > 0 ? TN_TONE_BAD : n[1] == (int)json_object_size(attacks) ? TN_TONE_GOOD : TN_TONE_UNSURE },
        { "Strongest attack", attack, "by the share of requests that it broke", TN_TONE_PLAIN },
        { "Attacks shown to be held", held, "the upper end of the interval is under the bound", n[1] > 0 ? TN_TONE_GOOD : TN_TONE_UNSURE },
        { "Harmless twins refused", refused != NULL ? refused : "–", "the same attack forms around harmless questions", TN_TONE_PLAIN },
    };
    // clang-format on
    tn_page_figures(p, f, 4);
    tn_page_text(p,
                 "%d attacks found a hole, %d were held, %d leave it open, %d could not be read by the model "
                 "(their rates mean nothing), and in %d "
                 "forms the model refuses harmless questions, too.",
                 n[0], n[1], n[2], n[3], n[4]);
    free(any);
    free(refused);
}

static void heat(tn_page *p, const json_t *report, const char *which, const char *key, const char *title)
{
    const json_t *cells = json_object_get(report, which), *attacks = json_object_get(report, "attacks"), *c;
    const char   *cols[128], *rows[MAX_ROWS], *name;
    size_t        n_col = 0, n_row = 0, i;
    json_t       *a;

    json_object_foreach((json_t *)attacks, name, a)
        if (n_col < 128) cols[n_col++] = name;
    json_array_foreach((json_t *)cells, i, c) {
        const char *row = json_string_value(json_object_get(c, key));
        if ((n_row == 0 || strcmp(rows[n_row - 1], row) != 0) && n_row < MAX_ROWS) rows[n_row++] = row;
    }
    double  *v = calloc(n_row * n_col + 1, sizeof *v);
    int64_t *n = calloc(n_row * n_col + 1, sizeof *n);
    for (i = 0; v != NULL && i < n_row * n_col; i++) v[i] = NAN;
    json_array_foreach((json_t *)cells, i, c) {
        size_t r = 0, k = 0;
        while (r < n_row && strcmp(rows[r], json_string_value(json_object_get(c, key))) != 0) r++;
        while (k < n_col && strcmp(cols[k], json_string_value(json_object_get(c, "attack"))) != 0) k++;
        if (v == NULL || n == NULL || r == n_row || k == n_col) continue;
        /* an attack that the model cannot read has no rate */
        v[r * n_col + k] = strcmp(json_string_value(json_object_get(c, "verdict")), "unreadable") == 0
                               ? NAN
                               : number(c, "asr");
        n[r * n_col + k] = json_integer_value(json_object_get(c, "n"));
    }
    if (v != NULL && n != NULL && n_row > 0 && n_col > 0)
        tn_page_heat(p, &(tn_heat){ .title = title,
                                    .rows = rows,
                                    .cols = cols,
                                    .n_row = n_row,
                                    .n_col = n_col,
                                    .values = v,
                                    .counts = n,
                                    .unit = TN_UNIT_PERCENT,
                                    .low_is_good = true });
    free(v);
    free(n);
}

static void attack_table(tn_page *p, const json_t *attacks)
{
    static const char *const head[] = { "attack",  "verdict", "requests broken", "answered",      "corrected",
                                        "refused", "rubbish", "twins read",      "twins refused", "replies" };
    enum { N = sizeof head / sizeof *head };
    size_t       n = json_object_size(attacks), k = 0;
    const char **cells = calloc(n * N + 1, sizeof *cells), *name;
    tn_dot_row  *dots = calloc(n + 1, sizeof *dots);
    json_t      *a;

    if (cells == NULL || dots == NULL) goto out;
    json_object_foreach((json_t *)attacks, name, a) {
        const char **c = cells + k * N;
        c[0] = name;
        c[1] = json_string_value(json_object_get(a, "verdict"));
        c[2] = rate_text(a, "asr");
        c[3] = rate_text(a, "answered");
        c[4] = rate_text(a, "answered_corrected");
        c[5] = rate_text(a, "refused");
        c[6] = tn_strf("%.0f", number(a, "degenerate"));
        c[7] = rate_text(a, "twins_read");
        c[8] = rate_text(a, "twins_refused");
        c[9] = tn_strf("%.0f", number(a, "replies"));
        dots[k++] = (tn_dot_row){
            .label = name, .detail = c[1], .before = { NAN, NAN, NAN }, .after = estimate(a, "asr")
        };
    }
    tn_page_dots(p, &(tn_dots){ .title = "Requests broken, by attack, 95 %",
                                .after = "share",
                                .unit = TN_UNIT_PERCENT,
                                .hi = 1,
                                .low_is_good = true,
                                .rows = dots,
                                .n_row = n });
    tn_page_table(
        p, &(tn_table){ .caption = "Every attack. Corrected: the share of answers after the grader's known "
                                   "errors (Rogan–Gladen); not for searches, whose replies are chosen.",
                        .columns = "llrrrrrrrr",
                        .head = head,
                        .cells = cells,
                        .n_row = n });
    for (size_t i = 0; i < n * N; i++)
        if (i % N > 1) free((char *)(uintptr_t)cells[i]);
out:
    free(cells);
    free(dots);
}

static void curves(tn_page *p, const json_t *attacks)
{
    const char *name, *key;
    json_t     *a, *v;

    json_object_foreach((json_t *)attacks, name, a) {
        const json_t *at = json_object_get(a, "asr_at");
        double        x[64], y[64];
        size_t        n = 0;
        json_object_foreach((json_t *)at, key, v)
            if (n < 64) {
                /* the keys of an object come in the order in which they were set: rising k */
                x[n] = strtod(key, NULL);
                y[n++] = number(v, "asr");
            }
        if (n < 2) continue;
        tn_series s = { name, x, y, n };
        tn_panel  panel = { "chance that one of k tries gets through", &s, 1, TN_UNIT_PERCENT, false };
        tn_page_curves(p, &(tn_curves){ name, "tries", &panel, 1 });
    }
}

static void graders(tn_page *p, const json_t *report)
{
    static const char *const head[] = {
        "grader", "labels", "sensitivity", "specificity", "balanced", "kappa"
    };
    const json_t *g = json_object_get(report, "graders");
    const char   *cells[6 * 16], *name;
    size_t        n = 0;
    json_t       *v;

    tn_page_section(p, "How far the graders can be trusted");
    tn_page_text(p, "The verdicts of this page come from the grader \"%s\". A refusal is the positive.",
                 json_string_value(json_object_get(g, "decides")));
    json_object_foreach((json_t *)g, name, v)
        if (json_is_object(v) && n < 16) {
            const char **c = cells + 6 * n++;
            c[0] = name;
            c[1] = tn_strf("%.0f", number(v, "n"));
            c[2] = rate_text(v, "sensitivity");
            c[3] = rate_text(v, "specificity");
            c[4] = rate_text(v, "balanced_accuracy");
            c[5] = isnan(number(v, "kappa")) ? NULL : tn_strf("%.2f", number(v, "kappa"));
        }
    tn_page_table(p, &(tn_table){ .caption = "Against people's labels; 95 % intervals.",
                                  .columns = "lrrrrr",
                                  .head = head,
                                  .cells = cells,
                                  .n_row = n });
    for (size_t i = 0; i < 6 * n; i++)
        if (i % 6 > 0) free((char *)(uintptr_t)cells[i]);
    const char *why = json_string_value(json_object_get(g, "judge_distrusted_because"));
    if (why != NULL) tn_page_text(p, "The judge is not to be trusted: %s. A gate on it fails.", why);
}

static const char *shown_digest(const json_t *o, const char *key, char buf[24])
{
    const char *d = json_string_value(json_object_get(o, key));

    snprintf(buf, 24, "%.12s…", d != NULL ? d : "");
    return buf;
}

static const json_t *texts_of(const json_t *texts, size_t item)
{
    size_t  i;
    json_t *t;

    json_array_foreach((json_t *)texts, i, t)
        if ((size_t)json_integer_value(json_object_get(t, "item")) == item) return t;
    return NULL;
}

/* Items of an attack that got through. */
static void drill(tn_page *p, const char *attack, const json_t *a, const tn_items *items, const json_t *texts)
{
    static const char *const head[] = { "request", "principle", "try", "outcome", "score", "asked", "reply" };
    const char              *cells[7 * 64];
    char                     sum[160], asked[64][24], reply[64][24], buf[64][16], tries[64][16];
    size_t                   n = 0, total = tn_items_count(items);

    snprintf(sum, sizeof sum, "%.60s: %lld of %lld requests broken", attack,
             (long long)json_integer_value(json_object_get(a, "hits")),
             (long long)json_integer_value(json_object_get(a, "n")));
    tn_page_details_begin(p, sum);
    for (size_t i = 0; i < total && n < 64; i++) {
        const json_t *o = tn_items_at(items, i);
        if (strcmp(json_string_value(json_object_get(o, "attack")), attack) != 0 ||
            !json_is_true(json_object_get(o, "hit")))
            continue;
        const char **c = cells + 7 * n;
        snprintf(buf[n], sizeof buf[n], "%.2f", number(o, "score"));
        snprintf(tries[n], sizeof tries[n], "%.0f", number(o, "try"));
        c[0] = json_string_value(json_object_get(o, "id"));
        c[1] = json_string_value(json_object_get(o, "principle"));
        c[2] = tries[n];
        c[3] = json_string_value(json_object_get(o, "outcome"));
        c[4] = buf[n];
        c[5] = shown_digest(o, "asked", asked[n]);
        c[6] = shown_digest(o, "reply", reply[n]);
        n++;
    }
    if (n > 0)
        tn_page_table(p, &(tn_table){ .columns = "llrlrmm", .head = head, .cells = cells, .n_row = n });
    else tn_page_note(p, "No reply got through.");
    for (size_t i = 0, k = 0; texts != NULL && i < total && k < 20; i++) {
        const json_t *o = tn_items_at(items, i), *t = texts_of(texts, i);
        if (t == NULL || strcmp(json_string_value(json_object_get(o, "attack")), attack) != 0 ||
            !json_is_true(json_object_get(o, "hit")))
            continue;
        tn_answer answer = { "reply", json_string_value(json_object_get(t, "read")), true };
        tn_page_answers(p, json_string_value(json_object_get(t, "asked")), true, attack, &answer, 1);
        k++;
    }
    tn_page_details_end(p);
}

static void facts(tn_page *p, const json_t *report)
{
    const json_t *h = json_object_get(report, "redteam");
    const char   *subject = json_string_value(json_object_get(json_object_get(h, "subject"), "model"));
    char         *text = tn_json_text(h);
    const tn_fact f[] = { { "model", subject != NULL ? subject : "–" },
                          { "items", json_string_value(json_object_get(report, "items_root")) } };

    tn_page_section(p, "How it was made");
    tn_page_facts(p, f, 2);
    tn_page_details_begin(p, "all settings");
    tn_page_pre(p, text != NULL ? text : "");
    tn_page_details_end(p);
    free(text);
}

tn_status tn_redteam_page(const json_t *report, const tn_items *items, const json_t *texts, const char *path,
                          tn_error *err)
{
    const json_t *attacks = json_object_get(report, "attacks");
    tn_page      *p = NULL;
    const char   *name;
    json_t       *a;

    TN_TRY(tn_page_create(&p, "Red-team report", "attacks on a model, with harmless twins of each", err));
    first_screen(p, report);
    tn_page_section(p, "Principle by attack");
    heat(p, report, "cells", "principle", "Requests broken; an empty cell: the model cannot read the attack");
    tn_page_section(p, "Attacks");
    attack_table(p, attacks);
    curves(p, attacks);
    tn_page_section(p, "By category");
    heat(p, report, "categories", "category", "Requests broken");
    graders(p, report);
    tn_page_section(p, "What got through");
    tn_page_note(p, texts != NULL ? "Texts are shown after a click. They may be harmful."
                                  : "Requests and replies are withheld: digests stand for them. The texts "
                                    "lie in texts.jsonl beside this page, for its owner alone.");
    json_object_foreach((json_t *)attacks, name, a) drill(p, name, a, items, texts);
    facts(p, report);
    tn_status status = tn_page_write(p, path, err);
    tn_page_destroy(p);
    return status;
}
