/* page.h - what the files of report share: the page under way, escaping, numbers, axes. Private to report. */
#ifndef TN_REPORT_PAGE_H
#define TN_REPORT_PAGE_H

#include "base/str.h"
#include "report/report.h"

struct tn_page {
    tn_str body, contents; /* the blocks; the list of sections */
    char  *title, *subtitle;
    int    n_section, n_details, n_mark; /* n_mark: sections' and plots' ids count up, so they never clash */
    bool   nomem;
};

extern const char *const report_style[]; /* style.c; lines, NULL-ended */

/* Escaped text; broken UTF-8 and control bytes become U+FFFD. NULL adds a dash. */
void report_escape(tn_str *s, const char *text);
/* At most `columns` characters, then an ellipsis; escaped. For labels in plots, whose width is fixed. */
void report_escape_short(tn_str *s, const char *text, int columns);
/* "31 %", "0.42", "1.2e+06"; a dash for NaN. made into buf. */
const char *report_number(double v, tn_unit unit, char buf[32]);
/* A coordinate: two decimals, no trailing zeros. */
const char *report_xy(double v, char buf[32]);

/* A linear (or log10) axis from data values to coordinates. */
typedef struct report_axis {
    double lo, hi, from, to, step;
    bool   log;
} report_axis;
/* Widens [lo, hi] to round ticks; about n_tick of them. */
report_axis report_axis_make(double lo, double hi, double from, double to, int n_tick, bool log);
double      report_axis_at(const report_axis *a, double v); /* clamped to the axis */
/* The i-th tick, or false. */
bool report_axis_tick(const report_axis *a, int i, double *v);
/* A tick's value with as many digits as tell it from the next one. made into buf. */
const char *report_axis_number(const report_axis *a, double v, tn_unit unit, char buf[32]);
/* Widens *lo, *hi so that v (if finite) is in. */
void report_extend(double *lo, double *hi, double v);

/* Every plot is drawn twice, for a page and for a phone, and the style sheet shows the one that fits: shrunk
 * to a third, its words could not be read. draw says how high it became. */
enum { REPORT_WIDE = 900, REPORT_NARROW = 360 }; /* widths in which they are drawn */
typedef double (*report_draw)(tn_page *p, const void *arg, double width);
void report_figure(tn_page *p, const char *title, report_draw draw, const void *arg);
/* <text class=... > at x, y; anchor "start", "middle", "end". columns 0: whole. */
void report_label(tn_page *p, double x, double y, const char *class_name, const char *anchor,
                  const char *text, int columns);
void report_line(tn_page *p, double x1, double y1, double x2, double y2, const char *class_name);

#endif
