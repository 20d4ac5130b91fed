/* rows.c - plots of one row a thing: dots with intervals, and bars (see report.h).
 *
 *   label (and detail)        |    o---(before)      ●--(after)      |   22 % → 81 %   +59
 *   0 ................ LABEL_W  ........................ PLOT_END ....  WIDTH                    */
#include "report/page.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 900, LABEL_W = 270, PLOT_END = 700, TEXT_X = 716, TOP = 44, LABEL_CHARS = 40 };

typedef struct row_plot {
    tn_page          *p;
    const char       *title, *before, *after;
    tn_unit           unit;
    double            lo, hi;
    bool              low_is_good, bars;
    const tn_dot_row *rows;
    size_t            n_row;
} row_plot;

static void draw_legend(const row_plot *r)
{
    tn_page *p = r->p;
    double   x = LABEL_W;

    if (r->before == NULL) return;
    tn_str_addf(&p->body, r->bars ? "<rect x=\"%.0f\" y=\"5\" width=\"12\" height=\"8\" class=\"bar-b\"/>\n"
                                  : "<circle cx=\"%.0f\" cy=\"9\" r=\"4.5\" class=\"dot-b\"/>\n", r->bars ? x : x + 6);
    report_label(p, x + 18, 13, "", "start", r->before, 24);
    x += 190;
    tn_str_addf(&p->body, r->bars ? "<rect x=\"%.0f\" y=\"5\" width=\"12\" height=\"8\" class=\"bar-a\"/>\n"
                                  : "<circle cx=\"%.0f\" cy=\"9\" r=\"4.5\" class=\"dot-a\"/>\n", r->bars ? x : x + 6);
    report_label(p, x + 18, 13, "", "start", r->after, 24);
}

static report_axis draw_axis(const row_plot *r, double bottom)
{
    double      lo = r->lo, hi = r->hi, v;
    char        text[32];
    report_axis a;

    if (lo == 0 && hi == 0) {
        lo = hi = r->bars || r->unit == TN_UNIT_PERCENT ? 0 : NAN;
        for (size_t i = 0; i < r->n_row; i++) {
            const tn_estimate *e[2] = { &r->rows[i].before, &r->rows[i].after };
            for (int k = r->before == NULL; k < 2; k++) {
                report_extend(&lo, &hi, e[k]->value);
                report_extend(&lo, &hi, e[k]->lo);
                report_extend(&lo, &hi, e[k]->hi);
            }
        }
    }
    a = report_axis_make(lo, hi, LABEL_W, PLOT_END, 5, false);
    for (int i = 0; report_axis_tick(&a, i, &v); i++) {
        double x = report_axis_at(&a, v);
        report_line(r->p, x, TOP - 8, x, bottom, "g");
        report_label(r->p, x, TOP - 14, "t", "middle", report_number(v, r->unit, text), 0);
    }
    return a;
}

static void draw_dot(const row_plot *r, const report_axis *a, const tn_estimate *e, double y, bool before)
{
    char x[32], yy[32];

    if (isnan(e->value)) return;
    if (isfinite(e->lo) && isfinite(e->hi))
        report_line(r->p, report_axis_at(a, e->lo), y, report_axis_at(a, e->hi), y, before ? "ci-b" : "ci-a");
    tn_str_addf(&r->p->body, "<circle cx=\"%s\" cy=\"%s\" r=\"4.5\" class=\"%s\"/>\n", report_xy(report_axis_at(a, e->value), x),
                report_xy(y, yy), before ? "dot-b" : "dot-a");
}

static void draw_bar(const row_plot *r, const report_axis *a, const tn_estimate *e, double y, bool before)
{
    char   x[32], yy[32], w[32];
    double zero = report_axis_at(a, 0), end;

    if (isnan(e->value)) return;
    end = report_axis_at(a, e->value);
    tn_str_addf(&r->p->body, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"8\" class=\"%s\"/>\n", report_xy(end < zero ? end : zero, x),
                report_xy(y - 4, yy), report_xy(fabs(end - zero), w), before ? "bar-b" : "bar-a");
    if (isfinite(e->lo) && isfinite(e->hi)) report_line(r->p, report_axis_at(a, e->lo), y, report_axis_at(a, e->hi), y, "ci-k");
}

/* "22 % → 81 %" and the change, green or red by its direction. */
static void draw_numbers(const row_plot *r, const tn_dot_row *row, double y)
{
    char   text[80], a[32], b[32], change[40];
    double d = row->after.value - row->before.value;
    bool   better = r->low_is_good ? d < 0 : d > 0;

    if (r->before == NULL) {
        report_label(r->p, TEXT_X, y + 4, "", "start", report_number(row->after.value, r->unit, a), 0);
        return;
    }
    snprintf(text, sizeof text, "%s \xe2\x86\x92 %s", report_number(row->before.value, r->unit, a), report_number(row->after.value, r->unit, b));
    report_label(r->p, TEXT_X, y + 4, "", "start", text, 0);
    if (isnan(d)) return;
    if (r->unit == TN_UNIT_PERCENT) snprintf(change, sizeof change, "%s%.0f", d < 0 ? "\xe2\x88\x92" : "+", fabs(d) * 100);
    else snprintf(change, sizeof change, "%s%.3g", d < 0 ? "\xe2\x88\x92" : "+", fabs(d));
    report_label(r->p, WIDTH - 6, y + 4, d == 0 ? "t" : better ? "b up" : "b down", "end", change, 0);
}

static void draw(const row_plot *r)
{
    bool        details = false;
    double      row_h, bottom;
    report_axis a;

    for (size_t i = 0; i < r->n_row; i++) details = details || r->rows[i].detail != NULL;
    row_h = details ? 36 : 28;
    bottom = TOP + row_h * (double)r->n_row;
    report_figure_begin(r->p, r->title, WIDTH, bottom + 6, r->title);
    draw_legend(r);
    a = draw_axis(r, bottom);
    if (a.lo < 0 && a.hi > 0) report_line(r->p, report_axis_at(&a, 0), TOP - 8, report_axis_at(&a, 0), bottom, "ax");
    for (size_t i = 0; i < r->n_row; i++) {
        const tn_dot_row *row = &r->rows[i];
        double            y = TOP + row_h * ((double)i + 0.5), dy = r->before == NULL ? 0 : 5;
        report_label(r->p, LABEL_W - 14, row->detail != NULL ? y - 2 : y + 4, "", "end", row->label, LABEL_CHARS);
        if (row->detail != NULL) report_label(r->p, LABEL_W - 14, y + 12, "t", "end", row->detail, LABEL_CHARS + 6);
        if (r->before != NULL) (r->bars ? draw_bar : draw_dot)(r, &a, &row->before, y - dy, true);
        (r->bars ? draw_bar : draw_dot)(r, &a, &row->after, y + dy, false);
        draw_numbers(r, row, y);
    }
    report_figure_end(r->p);
}

void tn_page_dots(tn_page *p, const tn_dots *d)
{
    row_plot r = { p, d->title, d->before, d->after, d->unit, d->lo, d->hi, d->low_is_good, false, d->rows, d->n_row };
    draw(&r);
}

void tn_page_bars(tn_page *p, const tn_bars *b)
{
    row_plot r = { p, b->title, b->before, b->after, b->unit, 0, b->hi, b->low_is_good, true, b->rows, b->n_row };
    draw(&r);
}
