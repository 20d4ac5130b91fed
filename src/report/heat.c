/* heat.c - a table of numbers as shades: principle by attack, kind by model (see report.h). */
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_W = 270, CELL_H = 26, LABEL_CHARS = 40, COL_CHARS = 26, BAND_COLS = 17 };

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

static void draw_cell(tn_page *p, const tn_heat *h, size_t r, size_t c, double x, double y, double w, double strength)
{
    double v = h->values[r * h->n_col + c];
    char   text[32], xx[32], yy[32], ww[32];

    tn_str_addf(&p->body, "<g><title>");
    report_escape(&p->body, h->rows[r]);
    tn_str_add(&p->body, " \xc3\x97 ");
    report_escape(&p->body, h->cols[c]);
    tn_str_addf(&p->body, ": %s", isnan(v) ? "not measured" : report_number(v, h->unit, text));
    if (h->counts != NULL) tn_str_addf(&p->body, ", n = %lld", (long long)h->counts[r * h->n_col + c]);
    tn_str_addf(&p->body, "</title><rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%d\" rx=\"2\" class=\"none\"/>", report_xy(x + 1, xx),
                report_xy(y + 1, yy), report_xy(w - 2, ww), CELL_H - 2);
    if (!isnan(v))
        tn_str_addf(&p->body, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%d\" rx=\"2\" class=\"%s\" fill-opacity=\"%.2f\"/>",
                    report_xy(x + 1, xx), report_xy(y + 1, yy), report_xy(w - 2, ww), CELL_H - 2, h->low_is_good ? "heat-r" : "heat-b", strength);
    report_number(v, h->unit, text);
    if (h->unit == TN_UNIT_PERCENT && !isnan(v)) text[strcspn(text, " ")] = '\0';      /* the sign stands in the title */
    report_label(p, x + w / 2, y + CELL_H / 2 + 4, strength > 0.6 ? "on" : "", "middle", text, 0);
    tn_str_add(&p->body, "</g>\n");
}

/* Columns [from, to) under each other's labels, `top` from the figure's upper edge at y0. */
static void draw_band(tn_page *p, const tn_heat *h, size_t from, size_t to, double w, double y0, double top, double lo, double hi)
{
    for (size_t c = from; c < to; c++) {
        double x = LABEL_W + w * ((double)(c - from) + 0.5);
        char   xx[32], yy[32];
        tn_str_addf(&p->body, "<text transform=\"translate(%s,%s) rotate(-35)\" class=\"t\">", report_xy(x - 2, xx), report_xy(y0 + top - 6, yy));
        report_escape_short(&p->body, h->cols[c], COL_CHARS);
        tn_str_add(&p->body, "</text>\n");
    }
    for (size_t r = 0; r < h->n_row; r++) {
        double y = y0 + top + CELL_H * (double)r;
        report_label(p, LABEL_W - 10, y + CELL_H / 2 + 4, "", "end", h->rows[r], LABEL_CHARS);
        for (size_t c = from; c < to; c++) {
            double v = h->values[r * h->n_col + c], strength = hi > lo ? (v - lo) / (hi - lo) : 0;
            if (!(strength > 0)) strength = 0;
            if (strength > 1) strength = 1;
            draw_cell(p, h, r, c, LABEL_W + w * (double)(c - from), y, w, strength);
        }
    }
}

/* More columns than a page is wide for go into bands below each other: shrunk to fit, forty attacks could not be read. */
void tn_page_heat(tn_page *p, const tn_heat *h)
{
    size_t n_band = (h->n_col + BAND_COLS - 1) / BAND_COLS, per = n_band > 0 ? (h->n_col + n_band - 1) / n_band : 0;
    double lo, hi, w = per > 0 ? 600.0 / (double)per : 0, top = 24, width, height;

    if (w > 76) w = 76;
    if (w < 34) w = 34;
    for (size_t c = 0; c < h->n_col; c++) {          /* slanted labels need height */
        double need = 16 + 4.2 * (double)(strlen(h->cols[c]) < COL_CHARS ? strlen(h->cols[c]) : COL_CHARS);
        if (need > top) top = need;
    }
    width = LABEL_W + w * (double)per + 70;
    if (width < 900) width = 900;
    height = top + CELL_H * (double)h->n_row + 6;
    find_range(h, &lo, &hi);
    report_figure_begin(p, h->title, width, height * (double)(n_band > 0 ? n_band : 1), h->title);
    for (size_t b = 0; b < n_band; b++) draw_band(p, h, b * per, (b + 1) * per < h->n_col ? (b + 1) * per : h->n_col, w, height * (double)b, top, lo, hi);
    report_figure_end(p);
}
