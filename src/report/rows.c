/* rows.c - plots of one row a thing: dots with intervals, and bars (see report.h).
 *
 *   label (and detail)        |    o---(before)      ●--(after)      |   22 % → 81 %   +59        a page
 *   0 ................ left .............................. right ....  width
 *
 *   label                                   22 % → 81 %   +59        a phone: the words above the plot, which has the whole width
 *   (detail)  |   o---(before)      ●--(after)               |    */
#include "report/page.h"

#include <math.h>
#include <stdio.h>

enum { LABEL_W = 270, NUMBERS_W = 200, EDGE = 20, TOP = 44, LABEL_CHARS = 40, NARROW_CHARS = 32 };

typedef struct row_plot {
    tn_page          *p; /* set with the measures below, when drawn */
    const char       *before, *after;
    tn_unit           unit;
    double            lo, hi;
    bool              low_is_good, bars;
    const tn_dot_row *rows;
    size_t            n_row;
    bool              wide;
    double            width, left, right, row_h;
} row_plot;

static void draw_legend(const row_plot *r)
{
    tn_page *p = r->p;
    double   x = r->left;

    if (r->before == NULL) return;
    tn_str_addf(&p->body,
                r->bars ? "<rect x=\"%.0f\" y=\"5\" width=\"12\" height=\"8\" class=\"bar-b\"/>\n"
                        : "<circle cx=\"%.0f\" cy=\"9\" r=\"4.5\" class=\"dot-b\"/>\n",
                r->bars ? x : x + 6);
    report_label(p, x + 18, 13, "", "start", r->before, r->wide ? 24 : 18);
    x += r->wide ? 190 : 150;
    tn_str_addf(&p->body,
                r->bars ? "<rect x=\"%.0f\" y=\"5\" width=\"12\" height=\"8\" class=\"bar-a\"/>\n"
                        : "<circle cx=\"%.0f\" cy=\"9\" r=\"4.5\" class=\"dot-a\"/>\n",
                r->bars ? x : x + 6);
    report_label(p, x + 18, 13, "", "start", r->after, r->wide ? 24 : 18);
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
    a = report_axis_make(lo, hi, r->left, r->right, 5, false);
    for (int i = 0; report_axis_tick(&a, i, &v); i++) {
        double x = report_axis_at(&a, v);
        report_line(r->p, x, TOP - 8, x, bottom, "g");
        report_label(r->p, x, TOP - 14, "t", "middle", report_axis_number(&a, v, r->unit, text), 0);
    }
    return a;
}

static void draw_dot(const row_plot *r, const report_axis *a, const tn_estimate *e, double y, bool before)
{
    char x[32], yy[32];

    if (isnan(e->value)) return;
    if (isfinite(e->lo) && isfinite(e->hi))
        report_line(r->p, report_axis_at(a, e->lo), y, report_axis_at(a, e->hi), y, before ? "ci-b" : "ci-a");
    tn_str_addf(&r->p->body, "<circle cx=\"%s\" cy=\"%s\" r=\"4.5\" class=\"%s\"/>\n",
                report_xy(report_axis_at(a, e->value), x), report_xy(y, yy), before ? "dot-b" : "dot-a");
}

static void draw_bar(const row_plot *r, const report_axis *a, const tn_estimate *e, double y, bool before)
{
    char   x[32], yy[32], w[32];
    double zero = report_axis_at(a, 0), end;

    if (isnan(e->value)) return;
    end = report_axis_at(a, e->value);
    tn_str_addf(&r->p->body, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"8\" class=\"%s\"/>\n",
                report_xy(end < zero ? end : zero, x), report_xy(y - 4, yy), report_xy(fabs(end - zero), w),
                before ? "bar-b" : "bar-a");
    if (isfinite(e->lo) && isfinite(e->hi))
        report_line(r->p, report_axis_at(a, e->lo), y, report_axis_at(a, e->hi), y, "ci-k");
}

/* "22 % → 81 %" and the change, green or red by its direction. */
static void draw_numbers(const row_plot *r, const tn_dot_row *row, double y)
{
    char   text[80], a[32], b[32], change[40];
    double d = row->after.value - row->before.value,
           x = r->wide ? r->right + 16 : r->width - (r->before == NULL || isnan(d) ? 6 : 40);
    bool        better = r->low_is_good ? d < 0 : d > 0;
    const char *anchor = r->wide ? "start" : "end";

    if (r->before == NULL) {
        report_label(r->p, x, y, "", anchor, report_number(row->after.value, r->unit, a), 0);
        return;
    }
    snprintf(text, sizeof text, "%s \xe2\x86\x92 %s", report_number(row->before.value, r->unit, a),
             report_number(row->after.value, r->unit, b));
    report_label(r->p, x, y, "", anchor, text, 0);
    if (isnan(d)) return;
    if (r->unit == TN_UNIT_PERCENT)
        snprintf(change, sizeof change, "%s%.0f", d < 0 ? "\xe2\x88\x92" : "+", fabs(d) * 100);
    else snprintf(change, sizeof change, "%s%.3g", d < 0 ? "\xe2\x88\x92" : "+", fabs(d));
    report_label(r->p, r->width - 6, y, d == 0 ? "t" : better ? "b up" : "b down", "end", change, 0);
}

/* The words of a row, and where its dots or bars go. */
static double draw_words(const row_plot *r, const tn_dot_row *row, double top)
{
    double middle = top + r->row_h / 2;

    if (!r->wide) {
        report_label(r->p, 0, top + 14, "", "start", row->label,
                     r->before == NULL ? NARROW_CHARS + 8 : NARROW_CHARS);
        if (row->detail != NULL)
            report_label(r->p, 0, top + 27, "t", "start", row->detail, NARROW_CHARS + 20);
        draw_numbers(r, row, top + 14);
        return top + r->row_h - 14;
    }
    report_label(r->p, r->left - 14, row->detail != NULL ? middle - 2 : middle + 4, "", "end", row->label,
                 LABEL_CHARS);
    if (row->detail != NULL)
        report_label(r->p, r->left - 14, middle + 12, "t", "end", row->detail, LABEL_CHARS + 6);
    draw_numbers(r, row, middle + 4);
    return middle;
}

static double draw(tn_page *p, const void *arg, double width)
{
    row_plot    r = *(const row_plot *)arg;
    bool        details = false;
    double      bottom;
    report_axis a;

    r.p = p;
    r.width = width;
    r.wide = width == REPORT_WIDE;
    r.left = r.wide ? LABEL_W : EDGE;
    r.right = r.wide ? width - NUMBERS_W : width - EDGE;
    for (size_t i = 0; i < r.n_row; i++) details = details || r.rows[i].detail != NULL;
    r.row_h = (details ? 36 : 28) + (r.wide ? 0 : 18);
    bottom = TOP + r.row_h * (double)r.n_row;
    draw_legend(&r);
    a = draw_axis(&r, bottom);
    if (a.lo < 0 && a.hi > 0)
        report_line(p, report_axis_at(&a, 0), TOP - 8, report_axis_at(&a, 0), bottom, "ax");
    for (size_t i = 0; i < r.n_row; i++) {
        const tn_dot_row *row = &r.rows[i];
        double            y = draw_words(&r, row, TOP + r.row_h * (double)i), dy = r.before == NULL ? 0 : 5;
        if (r.before != NULL) (r.bars ? draw_bar : draw_dot)(&r, &a, &row->before, y - dy, true);
        (r.bars ? draw_bar : draw_dot)(&r, &a, &row->after, y + dy, false);
    }
    return bottom + 6;
}

void tn_page_dots(tn_page *p, const tn_dots *d)
{
    row_plot r = { .before = d->before,
                   .after = d->after,
                   .unit = d->unit,
                   .lo = d->lo,
                   .hi = d->hi,
                   .low_is_good = d->low_is_good,
                   .rows = d->rows,
                   .n_row = d->n_row };

    report_figure(p, d->title, draw, &r);
}

void tn_page_bars(tn_page *p, const tn_bars *b)
{
    row_plot r = { .before = b->before,
                   .after = b->after,
                   .unit = b->unit,
                   .hi = b->hi,
                   .low_is_good = b->low_is_good,
                   .bars = true,
                   .rows = b->rows,
                   .n_row = b->n_row };

    report_figure(p, b->title, draw, &r);
}
