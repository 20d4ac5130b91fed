/* flow.c - how a thing was made: boxes in layers, each below everything that it reads (see report.h). */
#include "report/page.h"

#include <stdlib.h>
#include <string.h>

enum { BOX_W = 168, BOX_H = 58, GAP_X = 12, GAP_Y = 34 };

typedef struct place {
    int    layer;
    double x, y;
} place;

/* Layer of each node: one below its deepest input. Inputs that make a circle, or point nowhere, are left
 * out. */
static void find_layers(place *at, const tn_flow_node *nodes, size_t n)
{
    for (size_t round = 0; round < n; round++) { /* at most n rounds: a longest path has at most n nodes */
        bool moved = false;
        for (size_t i = 0; i < n; i++)
            for (const int *in = nodes[i].inputs; in != NULL && *in >= 0; in++) {
                if ((size_t)*in >= n || (size_t)*in == i || at[*in].layer + 1 <= at[i].layer ||
                    at[*in].layer + 1 >= (int)n)
                    continue;
                at[i].layer = at[*in].layer + 1;
                moved = true;
            }
        if (!moved) break;
    }
}

/* Places the boxes, layer by layer, a wide layer in several rows; returns the height. */
static double find_places(place *at, size_t n, int deepest, double width)
{
    double y = 4;
    size_t a_row = (size_t)((width + GAP_X) / (BOX_W + GAP_X));

    for (int layer = 0; layer <= deepest; layer++) {
        size_t count = 0, k = 0;
        for (size_t i = 0; i < n; i++) count += at[i].layer == layer;
        for (size_t i = 0; i < n; i++) {
            size_t row, in_row;
            if (at[i].layer != layer) continue;
            row = k / a_row;
            in_row = count - row * a_row < a_row ? count - row * a_row : a_row;
            at[i].x = (width - (double)in_row * (BOX_W + GAP_X) + GAP_X) / 2 +
                      (double)(k % a_row) * (BOX_W + GAP_X);
            at[i].y = y + (double)row * (BOX_H + GAP_Y / 2);
            k++;
        }
        if (count > 0) y += (double)((count - 1) / a_row) * (BOX_H + GAP_Y / 2) + BOX_H + GAP_Y;
    }
    return y - GAP_Y + 4;
}

static void draw_arrow(tn_page *p, const place *from, const place *to)
{
    char   a[32], b[32], c[32], d[32], e[32], f[32];
    double x1 = from->x + BOX_W / 2.0, y1 = from->y + BOX_H, x2 = to->x + BOX_W / 2.0, y2 = to->y - 5;

    tn_str_addf(&p->body, "<path class=\"arrow\" d=\"M%s,%s C%s,%s", report_xy(x1, a), report_xy(y1, b),
                report_xy(x1, c), report_xy(y1 + 22, d));
    tn_str_addf(&p->body, " %s,%s %s,%s\"/>", report_xy(x2, a), report_xy(y2 - 22, b), report_xy(x2, e),
                report_xy(y2, f));
    tn_str_addf(&p->body, "<path class=\"tip\" d=\"M%s,%s l-4,-6 h8 z\"/>\n", report_xy(x2, a),
                report_xy(y2 + 4, b));
}

typedef struct flow {
    const tn_flow_node *nodes;
    size_t              n;
    place              *at;
} flow;

static double draw(tn_page *p, const void *arg, double width)
{
    const flow         *f = arg;
    const tn_flow_node *nodes = f->nodes;
    const place        *at = f->at;
    int                 deepest = 0;

    for (size_t i = 0; i < f->n; i++)
        if (at[i].layer > deepest) deepest = at[i].layer;
    double height = find_places(f->at, f->n, deepest, width);
    for (size_t i = 0; i < f->n; i++)
        for (const int *in = nodes[i].inputs; in != NULL && *in >= 0; in++)
            if ((size_t)*in < f->n && at[*in].layer < at[i].layer) draw_arrow(p, &at[*in], &at[i]);
    for (size_t i = 0; i < f->n; i++) {
        char x[32], y[32];
        tn_str_addf(&p->body, "<rect x=\"%s\" y=\"%s\" width=\"%d\" height=\"%d\" rx=\"6\" class=\"box\"/>\n",
                    report_xy(at[i].x, x), report_xy(at[i].y, y), BOX_W, BOX_H);
        report_label(p, at[i].x + 10, at[i].y + 19, "b", "start", nodes[i].name, 24);
        if (nodes[i].kind != NULL)
            report_label(p, at[i].x + 10, at[i].y + 35, "t", "start", nodes[i].kind, 27);
        if (nodes[i].detail != NULL)
            report_label(p, at[i].x + 10, at[i].y + 50, "t", "start", nodes[i].detail, 27);
    }
    return height;
}

void tn_page_flow(tn_page *p, const char *title, const tn_flow_node *nodes, size_t n)
{
    flow f = { nodes, n, calloc(n + 1, sizeof *f.at) };

    if (f.at == NULL) {
        p->nomem = true;
        return;
    }
    find_layers(f.at, nodes, n);
    report_figure(p, title, draw, &f);
    free(f.at);
}
