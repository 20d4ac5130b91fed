/* curves.c - lines over one shared x axis, panel below panel (see report.h).
 *
 *   0 .. left: numbers .......... plot .......... width - EDGE       a page;   on a phone the names stand below the title
 *
 * A series of more points than pixels is drawn by the smallest and largest value of each pixel column, in the
 * order in which they came: no spike is lost, and the file does not grow with the run. */
#include "report/page.h"

#include <math.h>
#include <stdio.h>

enum { EDGE = 16, PLOT_TOP = 26, PLOT_H = 92, BELOW = 12, NAMES_H = 15, N_COLOUR = 4 };

/* left, right: of the plots; panel_h: of one with its title, and its series' names where they have a line of
 * their own. */
typedef struct frame {
    bool   wide;
    double left, right, panel_h, names_h;
} frame;

typedef struct pen {
    tn_page *p;
    bool     down;
} pen;

static void pen_to(pen *k, double x, double y)
{
    char a[32], b[32];

    tn_str_addf(&k->p->body, "%s%s,%s", k->down ? " " : "M", report_xy(x, a), report_xy(y, b));
    k->down = true;
}

static bool drawable(const tn_series *s, size_t i, bool log_y)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]) && (!log_y || s->y[i] > 0);
}

static void draw_series(tn_page *p, const tn_series *s, const report_axis *ax, const report_axis *ay,
                        int colour)
{
    pen    k = { p, false };
    size_t i = 0, columns = (size_t)(ax->to - ax->from), alone = s->n;

    for (size_t j = 0, n = 0; j < s->n && n < 2; j++) /* one point is no line: a dot shows it */
        if (drawable(s, j, ay->log)) alone = n++ == 0 ? j : s->n;
    if (alone < s->n) {
        char x[32], y[32];
        tn_str_addf(&p->body, "<circle class=\"k%d\" cx=\"%s\" cy=\"%s\" r=\"3\"/>\n", colour,
                    report_xy(report_axis_at(ax, s->x[alone]), x),
                    report_xy(report_axis_at(ay, s->y[alone]), y));
        return;
    }

    tn_str_addf(&p->body, "<path class=\"l l%d\" d=\"", colour);
    while (i < s->n) {
        size_t least, most;
        double column;
        if (!drawable(s, i, ay->log)) {
            k.down = false;
            i++;
            continue;
        }
        if (s->n <= columns) {
            pen_to(&k, report_axis_at(ax, s->x[i]), report_axis_at(ay, s->y[i]));
            i++;
            continue;
        }
        column = floor(report_axis_at(ax, s->x[i]));
        least = most = i;
        for (; i < s->n && drawable(s, i, ay->log) && floor(report_axis_at(ax, s->x[i])) == column; i++) {
            if (s->y[i] < s->y[least]) least = i;
            if (s->y[i] > s->y[most]) most = i;
        }
        pen_to(&k, report_axis_at(ax, s->x[least < most ? least : most]),
               report_axis_at(ay, s->y[least < most ? least : most]));
        if (least != most)
            pen_to(&k, report_axis_at(ax, s->x[least < most ? most : least]),
                   report_axis_at(ay, s->y[least < most ? most : least]));
    }
    tn_str_add(&p->body, "\"/>\n");
}

static void draw_names(tn_page *p, const tn_panel *panel, const frame *f, double top)
{
    double x = f->right;
    char   class_name[16];

    for (size_t k = panel->n_series; k-- > 0;) { /* from the right edge in, or in a line of their own */
        size_t at = f->wide ? k : panel->n_series - 1 - k;
        snprintf(class_name, sizeof class_name, "k%d", (int)(at % N_COLOUR));
        if (f->wide) report_label(p, x, top + 16, class_name, "end", panel->series[at].name, 20);
        else
            report_label(p, f->left + (f->right - f->left) / (double)panel->n_series * (double)at,
                         top + 16 + NAMES_H, class_name, "start", panel->series[at].name,
                         panel->n_series > 2 ? 12 : 20);
        x -= 130;
    }
}

static void draw_panel(tn_page *p, const tn_panel *panel, const report_axis *ax, const frame *f, double top)
{
    double      lo = NAN, hi = NAN, v, plot = top + PLOT_TOP + f->names_h;
    char        text[32];
    report_axis ay;

    for (size_t k = 0; k < panel->n_series; k++)
        for (size_t i = 0; i < panel->series[k].n; i++)
            if (drawable(&panel->series[k], i, panel->log_y)) report_extend(&lo, &hi, panel->series[k].y[i]);
    /* shares that never change: none of them is below 0 */
    if (panel->unit == TN_UNIT_PERCENT && lo == hi) lo = 0, hi = 1;
    ay = report_axis_make(lo, hi, plot + PLOT_H, plot, 4, panel->log_y);
    report_label(p, f->left, top + 16, "b", "start", panel->title, f->wide ? 60 : 44);
    if (panel->n_series > 1) draw_names(p, panel, f, top);
    for (int i = 0; report_axis_tick(&ay, i, &v); i++) {
        double y = report_axis_at(&ay, v);
        report_line(p, f->left, y, f->right, y, "g");
        report_label(p, f->left - 8, y + 4, "t", "end", report_axis_number(&ay, v, panel->unit, text), 0);
    }
    for (size_t k = 0; k < panel->n_series; k++)
        draw_series(p, &panel->series[k], ax, &ay, (int)(k % N_COLOUR));
}

static double draw(tn_page *p, const void *arg, double width)
{
    const tn_curves *c = arg;
    frame f = { .wide = width == REPORT_WIDE, .left = width == REPORT_WIDE ? 70 : 66, .right = width - EDGE };
    double      lo = NAN, hi = NAN, bottom, v;
    char        text[32];
    report_axis ax;

    for (size_t k = 0; k < c->n_panel; k++) {
        if (c->panels[k].n_series > 1 && !f.wide) f.names_h = NAMES_H;
        for (size_t s = 0; s < c->panels[k].n_series; s++)
            for (size_t i = 0; i < c->panels[k].series[s].n; i++)
                report_extend(&lo, &hi, c->panels[k].series[s].x[i]);
    }
    f.panel_h = PLOT_TOP + PLOT_H + BELOW + f.names_h;
    bottom = f.panel_h * (double)c->n_panel;
    ax = report_axis_make(lo, hi, f.left, f.right, f.wide ? 8 : 4, false);
    if (isfinite(lo) && hi > lo) { /* lines reach both edges; ticks stay round */
        ax.lo = lo;
        ax.hi = hi;
    }
    for (size_t k = 0; k < c->n_panel; k++) draw_panel(p, &c->panels[k], &ax, &f, f.panel_h * (double)k);
    for (v = ceil(ax.lo / ax.step) * ax.step; v <= ax.hi + ax.step * 1e-6; v += ax.step) {
        double x = report_axis_at(&ax, v);
        report_line(p, x, bottom - 12, x, bottom - 7, "ax");
        report_label(p, x, bottom + 8, "t", "middle", report_axis_number(&ax, v, TN_UNIT_PLAIN, text), 0);
    }
    if (c->x_label != NULL)
        report_label(p, (f.left + f.right) / 2, bottom + 28, "t", "middle", c->x_label, f.wide ? 60 : 40);
    return bottom + 40;
}

void tn_page_curves(tn_page *p, const tn_curves *c) { report_figure(p, c->title, draw, c); }
