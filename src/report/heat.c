/* heat.c - a table of numbers as shades: principle by attack, kind by model (see report.h). */
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL_H = 26, LABEL_CHARS = 40, COL_CHARS = 26 };

/* Where the cells are: on a page right of the rows' names, on a phone below them (name_h). */
typedef struct grid {
    bool   wide;
    double left, w, top, name_h, lo, hi;
} grid;

static void find_range(const tn_heat *h, double *lo, double *hi)
{
    *lo = h->lo;
    *hi = h->hi;
    if (*lo != 0 || *hi != 0) return;
    if (h->unit == TN_UNIT_PERCENT) {
        *hi = 1;
        return;
    }
    *lo = *hi = NAN;
    for (size_t i = 0; i < h->n_row * h->n_col; i++) report_extend(lo, hi, h->values[i]);
}

static void draw_cell(tn_page *p, const tn_heat *h, size_t r, size_t c, double x, double y, double w,
                      double strength)
{
    double v = h->values[r * h->n_col + c];
    char   text[32], xx[32], yy[32], ww[32];

    tn_str_addf(&p->body, "<g><title>");
    report_escape(&p->body, h->rows[r]);
    tn_str_add(&p->body, " \xc3\x97 ");
    report_escape(&p->body, h->cols[c]);
    tn_str_addf(&p->body, ": %s", isnan(v) ? "not measured" : report_number(v, h->unit, text));
    if (h->counts != NULL) tn_str_addf(&p->body, ", n = %lld", (long long)h->counts[r * h->n_col + c]);
    tn_str_addf(&p->body,
                "</title><rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%d\" rx=\"2\" class=\"none\"/>",
                report_xy(x + 1, xx), report_xy(y + 1, yy), report_xy(w - 2, ww), CELL_H - 2);
    if (!isnan(v))
        tn_str_addf(&p->body,
                    "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%d\" rx=\"2\" class=\"%s\" "
                    "fill-opacity=\"%.2f\"/>",
                    report_xy(x + 1, xx), report_xy(y + 1, yy), report_xy(w - 2, ww), CELL_H - 2,
                    h->low_is_good ? "heat-r" : "heat-b", strength);
    report_number(v, h->unit, text);
    /* the sign stands in the title */
    if (h->unit == TN_UNIT_PERCENT && !isnan(v)) text[strcspn(text, " ")] = '\0';
    report_label(p, x + w / 2, y + CELL_H / 2 + 4, strength > 0.6 ? "on" : "", "middle", text, 0);
    tn_str_add(&p->body, "</g>\n");
}

/* Columns [from, to) under each other's labels, from y0 on. */
static void draw_band(tn_page *p, const tn_heat *h, const grid *g, size_t from, size_t to, double y0)
{
    for (size_t c = from; c < to; c++) {
        double x = g->left + g->w * ((double)(c - from) + 0.5);
        char   xx[32], yy[32];
        tn_str_addf(&p->body, "<text transform=\"translate(%s,%s) rotate(-35)\" class=\"t\">",
                    report_xy(x - 2, xx), report_xy(y0 + g->top - 6, yy));
        report_escape_short(&p->body, h->cols[c], COL_CHARS);
        tn_str_add(&p->body, "</text>\n");
    }
    for (size_t r = 0; r < h->n_row; r++) {
        double y = y0 + g->top + (CELL_H + g->name_h) * (double)r + g->name_h;
        if (g->wide) report_label(p, g->left - 10, y + CELL_H / 2 + 4, "", "end", h->rows[r], LABEL_CHARS);
        else report_label(p, 0, y - 4, "", "start", h->rows[r], LABEL_CHARS);
        for (size_t c = from; c < to; c++) {
            double v = h->values[r * h->n_col + c],
                   strength = g->hi > g->lo ? (v - g->lo) / (g->hi - g->lo) : 0;
            if (!(strength > 0)) strength = 0;
            if (strength > 1) strength = 1;
            draw_cell(p, h, r, c, g->left + g->w * (double)(c - from), y, g->w, strength);
        }
    }
}

/* More columns than the width takes go into bands below each other: shrunk to fit, forty attacks could not be
 * read. */
static double draw(tn_page *p, const void *arg, double width)
{
    const tn_heat *h = arg;
    grid           g = { .wide = width == REPORT_WIDE, .top = 24 };
    size_t         most = g.wide ? 17 : 8;
    size_t         n_band = (h->n_col + most - 1) / most;
    size_t         per = n_band > 0 ? (h->n_col + n_band - 1) / n_band : 0;
    double         height;

    g.left = g.wide ? 270 : 0;
    g.name_h = g.wide ? 0 : 20;
    /* the last label leans out to the right */
    g.w = per > 0 ? (width - g.left - (g.wide ? 30 : 70)) / (double)per : 0;
    if (g.w > 76) g.w = 76;
    if (g.w < 34) g.w = 34;
    for (size_t c = 0; c < h->n_col; c++) { /* slanted labels need height */
        double need = 16 + 4.2 * (double)(strlen(h->cols[c]) < COL_CHARS ? strlen(h->cols[c]) : COL_CHARS);
        if (need > g.top) g.top = need;
    }
    height = g.top + (CELL_H + g.name_h) * (double)h->n_row + 6;
    find_range(h, &g.lo, &g.hi);
    for (size_t b = 0; b < n_band; b++)
        draw_band(p, h, &g, b * per, (b + 1) * per < h->n_col ? (b + 1) * per : h->n_col, height * (double)b);
    return height * (double)(n_band > 0 ? n_band : 1);
}

void tn_page_heat(tn_page *p, const tn_heat *h) { report_figure(p, h->title, draw, h); }
