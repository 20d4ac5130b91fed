/* curves.c - lines over one shared x axis, panel below panel (see report.h).
 *
 * A series of more points than pixels is drawn by the smallest and largest value of each pixel column, in the order in
 * which they came: no spike is lost, and the file does not grow with the run. */
#include "report/page.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 900, LEFT = 70, RIGHT = 884, PANEL_H = 130, PLOT_TOP = 26, PLOT_H = 92, COLUMNS = 800, N_COLOUR = 4 };

typedef struct pen { tn_page *p; bool down; } pen;

static void pen_to(pen *k, double x, double y)
{
    char a[32], b[32];

    tn_str_addf(&k->p->body, "%s%s,%s", k->down ? " " : "M", report_xy(x, a), report_xy(y, b));
    k->down = true;
}

static bool drawable(const tn_series *s, size_t i, bool log_y) { return isfinite(s->x[i]) && isfinite(s->y[i]) && (!log_y || s->y[i] > 0); }

static void draw_series(tn_page *p, const tn_series *s, const report_axis *ax, const report_axis *ay, int colour)
{
    pen    k = { p, false };
    size_t i = 0;

    tn_str_addf(&p->body, "<path class=\"l l%d\" d=\"", colour);
    while (i < s->n) {
        size_t least, most;
        double column;
        if (!drawable(s, i, ay->log)) {
            k.down = false;
            i++;
            continue;
        }
        if (s->n <= COLUMNS) {
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
        pen_to(&k, report_axis_at(ax, s->x[least < most ? least : most]), report_axis_at(ay, s->y[least < most ? least : most]));
        if (least != most) pen_to(&k, report_axis_at(ax, s->x[least < most ? most : least]), report_axis_at(ay, s->y[least < most ? most : least]));
    }
    tn_str_add(&p->body, "\"/>\n");
}

static void draw_panel(tn_page *p, const tn_panel *panel, const report_axis *ax, double top)
{
    double      lo = NAN, hi = NAN, v, x = RIGHT;
    char        text[32];
    report_axis ay;

    for (size_t k = 0; k < panel->n_series; k++)
        for (size_t i = 0; i < panel->series[k].n; i++)
            if (drawable(&panel->series[k], i, panel->log_y)) report_extend(&lo, &hi, panel->series[k].y[i]);
    ay = report_axis_make(lo, hi, top + PLOT_TOP + PLOT_H, top + PLOT_TOP, 4, panel->log_y);
    report_label(p, LEFT, top + 16, "b", "start", panel->title, 60);
    for (size_t k = panel->n_series; k-- > 0 && panel->n_series > 1;) {              /* the names, from the right edge in */
        char class_name[16];
        snprintf(class_name, sizeof class_name, "k%d", (int)(k % N_COLOUR));
        report_label(p, x, top + 16, class_name, "end", panel->series[k].name, 20);
        x -= 130;
    }
    for (int i = 0; report_axis_tick(&ay, i, &v); i++) {
        double y = report_axis_at(&ay, v);
        report_line(p, LEFT, y, RIGHT, y, "g");
        report_label(p, LEFT - 8, y + 4, "t", "end", report_number(v, panel->unit, text), 0);
    }
    for (size_t k = 0; k < panel->n_series; k++) draw_series(p, &panel->series[k], ax, &ay, (int)(k % N_COLOUR));
}

void tn_page_curves(tn_page *p, const tn_curves *c)
{
    double      lo = NAN, hi = NAN, bottom = PANEL_H * (double)c->n_panel, v;
    char        text[32];
    report_axis ax;

    for (size_t k = 0; k < c->n_panel; k++)
        for (size_t s = 0; s < c->panels[k].n_series; s++)
            for (size_t i = 0; i < c->panels[k].series[s].n; i++) report_extend(&lo, &hi, c->panels[k].series[s].x[i]);
    ax = report_axis_make(lo, hi, LEFT, RIGHT, 8, false);
    if (isfinite(lo) && hi > lo) {                   /* lines reach both edges; ticks stay round */
        ax.lo = lo;
        ax.hi = hi;
    }
    report_figure_begin(p, c->title, WIDTH, bottom + 40, c->title);
    for (size_t k = 0; k < c->n_panel; k++) draw_panel(p, &c->panels[k], &ax, PANEL_H * (double)k);
    for (v = ceil(ax.lo / ax.step) * ax.step; v <= ax.hi + ax.step * 1e-6; v += ax.step) {
        double x = report_axis_at(&ax, v);
        report_line(p, x, bottom - 12, x, bottom - 7, "ax");
        report_label(p, x, bottom + 8, "t", "middle", report_number(v, TN_UNIT_PLAIN, text), 0);
    }
    if (c->x_label != NULL) report_label(p, (LEFT + RIGHT) / 2.0, bottom + 28, "t", "middle", c->x_label, 60);
    report_figure_end(p);
}
