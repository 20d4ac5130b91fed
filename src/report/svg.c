/* svg.c - escaping, numbers, axes and the few shapes that every plot draws with (see page.h). */
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char REPLACEMENT[] = "\xef\xbf\xbd", DASH[] = "\xe2\x80\x93", ELLIPSIS[] = "\xe2\x80\xa6";

/* One character of text at t (n bytes left), escaped; returns how many bytes it had. */
static size_t escape_one(tn_str *s, const char *t, size_t n)
{
    uint32_t cp;
    int      len = tn_utf8_decode(t, n, &cp);

    if (len == 0) {
        tn_str_add(s, REPLACEMENT);
        return 1;
    }
    if (cp == '&') tn_str_add(s, "&amp;");
    else if (cp == '<') tn_str_add(s, "&lt;");
    else if (cp == '>') tn_str_add(s, "&gt;");
    else if (cp == '"') tn_str_add(s, "&quot;");
    else if (cp == '\'') tn_str_add(s, "&#39;");
    else if ((cp < 0x20 && cp != '\n' && cp != '\t') || (cp >= 0x7f && cp < 0xa0) || cp == 0xfffe ||
             cp == 0xffff)
        tn_str_add(s, REPLACEMENT);
    else tn_str_add_n(s, t, (size_t)len);
    return (size_t)len;
}

void report_escape(tn_str *s, const char *text)
{
    size_t n;

    if (text == NULL) {
        tn_str_add(s, DASH);
        return;
    }
    n = strlen(text);
    for (size_t i = 0; i < n;) i += escape_one(s, text + i, n - i);
}

void report_escape_short(tn_str *s, const char *text, int columns)
{
    size_t n, i = 0;
    int    shown = 0, total = 0;

    if (text == NULL || columns <= 0) {
        report_escape(s, text);
        return;
    }
    n = strlen(text);
    for (size_t k = 0; k < n; k++) total += ((unsigned char)text[k] & 0xc0) != 0x80;
    while (i < n && shown < (total > columns ? columns - 1 : columns)) {
        i += escape_one(s, text + i, n - i);
        shown++;
    }
    if (i < n) tn_str_add(s, ELLIPSIS);
}

const char *report_number(double v, tn_unit unit, char buf[32])
{
    double a = fabs(v);

    if (isnan(v)) snprintf(buf, 32, "%s", DASH);
    else if (unit == TN_UNIT_PERCENT)
        snprintf(buf, 32, a * 100 < 0.95 && a > 0 ? "%.1f %%" : "%.0f %%", v * 100);
    else if (v == floor(v) && a < 1e6) snprintf(buf, 32, "%.0f", v);
    else if (a >= 1e5 || a < 1e-3) snprintf(buf, 32, "%.2g", v);
    else if (a >= 100) snprintf(buf, 32, "%.0f", v);
    else if (a >= 10) snprintf(buf, 32, "%.1f", v);
    else snprintf(buf, 32, "%.3g", v);
    return buf;
}

const char *report_xy(double v, char buf[32])
{
    long long hundredths = llround(v * 100);
    long long whole = hundredths / 100, rest = hundredths % 100;

    if (rest < 0) rest = -rest;
    snprintf(buf, 32,
             rest == 0        ? "%s%lld"
             : rest % 10 == 0 ? "%s%lld.%lld"
                              : "%s%lld.%02lld",
             hundredths < 0 && whole == 0 ? "-" : "", whole, rest % 10 == 0 ? rest / 10 : rest);
    return buf;
}

/* --------------------------------------------------------------------------------------------------- axes */

void report_extend(double *lo, double *hi, double v)
{
    if (!isfinite(v)) return;
    if (!(*lo <= v)) *lo = v; /* also when *lo is still NaN */
    if (!(*hi >= v)) *hi = v;
}

/* 1, 2 or 5 times a power of ten, at least x. */
static double round_step(double x)
{
    double p = pow(10, floor(log10(x)));

    if (x <= p * 1.0001) return p;
    if (x <= 2 * p * 1.0001) return 2 * p;
    if (x <= 5 * p * 1.0001) return 5 * p;
    return 10 * p;
}

report_axis report_axis_make(double lo, double hi, double from, double to, int n_tick, bool log)
{
    report_axis a = { .lo = lo, .hi = hi, .from = from, .to = to, .log = log };

    if (!isfinite(lo) || !isfinite(hi)) a.lo = 0, a.hi = 1, a.log = false;
    if (a.log && !(a.lo > 0)) a.log = false;
    if (a.log) {
        a.lo = floor(log10(a.lo) + 1e-9);
        a.hi = ceil(log10(a.hi) - 1e-9);
        if (a.hi <= a.lo) a.hi = a.lo + 1;
        a.step = ceil((a.hi - a.lo) / n_tick);
        return a;
    }
    if (a.hi <= a.lo) {
        double pad = a.lo == 0 ? 1 : fabs(a.lo) * 0.1;
        a.lo -= pad;
        a.hi += pad;
    }
    a.step = round_step((a.hi - a.lo) / n_tick);
    a.lo = floor(a.lo / a.step + 1e-9) * a.step;
    a.hi = ceil(a.hi / a.step - 1e-9) * a.step;
    return a;
}

double report_axis_at(const report_axis *a, double v)
{
    double x = a->log ? (v > 0 ? log10(v) : a->lo) : v;

    if (x < a->lo) x = a->lo;
    if (x > a->hi) x = a->hi;
    return a->from + (x - a->lo) / (a->hi - a->lo) * (a->to - a->from);
}

bool report_axis_tick(const report_axis *a, int i, double *v)
{
    double x = a->lo + a->step * i;

    if (x > a->hi + a->step * 1e-6) return false;
    if (fabs(x) < a->step * 1e-9) x = 0;
    *v = a->log ? pow(10, x) : x;
    return true;
}

const char *report_axis_number(const report_axis *a, double v, tn_unit unit, char buf[32])
{
    double step = unit == TN_UNIT_PERCENT ? a->step * 100 : a->step;
    int    digits = a->log || !(step < 1) ? 0 : (int)ceil(-log10(step) - 1e-9);

    if (digits == 0 || digits > 6 || fabs(v) >= 1e5) return report_number(v, unit, buf);
    snprintf(buf, 32, unit == TN_UNIT_PERCENT ? "%.*f %%" : "%.*f", digits,
             unit == TN_UNIT_PERCENT ? v * 100 : v);
    return buf;
}

/* ------------------------------------------------------------------------------------------------- shapes */

static void draw_at(tn_page *p, const char *title, report_draw draw, const void *arg, double width)
{
    tn_str *s = &p->body, before = *s;
    double  height;

    *s = (tn_str){ .max = before.max }; /* its height is known only when it is drawn */
    height = draw(p, arg, width);
    tn_str plot = *s;
    *s = before;
    tn_str_addf(s, "<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"",
                width == REPORT_WIDE ? "wide" : "narrow", width, height);
    report_escape(s, title);
    tn_str_add(s, "\">\n");
    if (plot.len > 0) tn_str_add_n(s, plot.p, plot.len);
    tn_str_add(s, "</svg>\n");
    p->nomem = p->nomem || plot.failed;
    tn_str_free(&plot);
}

void report_figure(tn_page *p, const char *title, report_draw draw, const void *arg)
{
    tn_str *s = &p->body;

    tn_str_add(s, "<figure>\n");
    if (title != NULL) {
        tn_str_add(s, "<figcaption>");
        report_escape(s, title);
        tn_str_add(s, "</figcaption>\n");
    }
    draw_at(p, title, draw, arg, REPORT_WIDE);
    draw_at(p, title, draw, arg, REPORT_NARROW);
    tn_str_add(s, "</figure>\n");
}

void report_label(tn_page *p, double x, double y, const char *class_name, const char *anchor,
                  const char *text, int columns)
{
    char a[32], b[32];

    tn_str_addf(&p->body, "<text x=\"%s\" y=\"%s\" class=\"%s\" text-anchor=\"%s\">", report_xy(x, a),
                report_xy(y, b), class_name, anchor);
    report_escape_short(&p->body, text, columns);
    tn_str_add(&p->body, "</text>\n");
}

void report_line(tn_page *p, double x1, double y1, double x2, double y2, const char *class_name)
{
    char a[32], b[32], c[32], d[32];

    tn_str_addf(&p->body, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" class=\"%s\"/>\n", report_xy(x1, a),
                report_xy(y1, b), report_xy(x2, c), report_xy(y2, d), class_name);
}
