/* draw_svg.c - a recipe as an SVG picture that stands by itself.
 *
 *   stages, sources ─→ columns (longest way from a source; a source just before its first use)
 *                   ─→ lanes: what is used further to the right passes each column between on one line of its own
 *                   ─→ order inside columns (each cell goes to the middle of its neighbours, a few rounds) ─→ places ─→ SVG
 *
 *      [ pull ] ──┬──→ [ pairs ] ──→ [ sft ] ──→ [ release ]
 *                 └───────────────────────────────┘
 *
 * No line runs behind a box, so that what goes where can be followed by eye. */
#include "recipe/recipe_impl.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum {
    BOX_W = 150,
    BOX_H = 46,
    LANE_H = 6,
    GAP_X = 70,
    GAP_Y = 16,
    MARGIN = 20,
    ROUNDS = 12,
    LANE_NONE = -1
};

/* A box, or the crossing of a column by what box `node` gives. */
typedef struct cell {
    int    column, order, node;
    double y, pull;
    bool   lane;
} cell;
typedef struct hop {
    int         from, to;
    const char *label;
} hop; /* label: NULL between lanes */

typedef struct picture {
    const tn_recipe *r;
    const char     **sources;
    int              n_source, n_node, n_column, n_cell, n_hop;
    cell            *cells; /* stages, then sources, then lanes */
    hop             *hops;
    int             *lanes;  /* [n_node][n_column] */
    int             *column; /* room for the cells of one column */
} picture;

static void add_xml(tn_str *s, const char *text)
{
    for (; *text != '\0'; text++) switch (*text) {
        case '<': tn_str_add(s, "&lt;"); break;
        case '>': tn_str_add(s, "&gt;"); break;
        case '&': tn_str_add(s, "&amp;"); break;
        case '"': tn_str_add(s, "&quot;"); break;
        default: tn_str_add_char(s, *text);
        }
}

/* ------------------------------------------------------------------------------------------------ columns */

static int source_node(picture *p, const char *text)
{
    int i = 0;

    while (i < p->n_source && strcmp(p->sources[i], text) != 0) i++;
    if (i == p->n_source) p->sources[p->n_source++] = text;
    return (int)p->r->n + i;
}

static int ref_node(picture *p, const recipe_ref *ref)
{
    return ref->stage >= 0 ? ref->stage : source_node(p, ref->text);
}

static void columns_set(picture *p)
{
    const tn_recipe *r = p->r;

    for (size_t i = 0; i < r->n; i++) { /* stages are in the order of execution */
        for (size_t k = 0; k < r->stages[i].n_ref; k++) {
            int before = r->stages[i].refs[k].stage < 0 ? 0 : p->cells[r->stages[i].refs[k].stage].column;
            if (before + 1 > p->cells[i].column) p->cells[i].column = before + 1;
            ref_node(p, &r->stages[i].refs[k]);
        }
        if (p->cells[i].column + 1 > p->n_column) p->n_column = p->cells[i].column + 1;
    }
    p->n_node = p->n_cell = (int)r->n + p->n_source;
    for (int s = (int)r->n; s < p->n_node; s++) p->cells[s].column = p->n_column;
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->stages[i].n_ref; k++) {
            cell *s = &p->cells[ref_node(p, &r->stages[i].refs[k])];
            if (r->stages[i].refs[k].stage < 0 && p->cells[i].column - 1 < s->column)
                s->column = p->cells[i].column - 1;
        }
    for (int i = 0; i < p->n_node; i++) p->cells[i].node = i;
}

/* The cell where what `node` gives leaves column c: its box, or its lane there, which is made. */
static int exit_at(picture *p, int node, int c)
{
    int *lane = &p->lanes[node * p->n_column + c];

    if (c == p->cells[node].column) return node;
    if (*lane != LANE_NONE) return *lane;
    int from = exit_at(p, node, c - 1);
    p->hops[p->n_hop++] = (hop){ from, p->n_cell, NULL };
    p->cells[p->n_cell] = (cell){ .column = c, .node = node, .lane = true };
    return *lane = p->n_cell++;
}

static void hops_set(picture *p)
{
    for (size_t i = 0; i < p->r->n; i++)
        for (size_t k = 0; k < p->r->stages[i].n_ref; k++) {
            const recipe_ref *ref = &p->r->stages[i].refs[k];
            int               from = exit_at(p, ref_node(p, ref), p->cells[i].column - 1);
            p->hops[p->n_hop++] = (hop){ from, (int)i, p->r->stages[i].kind->inputs[ref->port].name };
        }
}

/* ------------------------------------------------------------------------------------------------- places */

static int height(const cell *c) { return c->lane ? LANE_H : BOX_H; }

/* Cells of one column by their pull, ties as they were. Insertion: columns are short, and equal ones must not
 * move. */
static int column_sort(picture *p, int c)
{
    int n = 0;

    for (int i = 0; i < p->n_cell; i++) {
        if (p->cells[i].column != c) continue;
        int at = n++;
        for (; at > 0; at--) {
            const cell *a = &p->cells[p->column[at - 1]], *b = &p->cells[i];
            if (a->pull < b->pull || (a->pull == b->pull && a->order <= b->order)) break;
            p->column[at] = p->column[at - 1];
        }
        p->column[at] = i;
    }
    for (int k = 0; k < n; k++) p->cells[p->column[k]].order = k;
    return n;
}

/* Mean of `value` over the neighbours on one side; `own` where there is none. */
static double middle(const picture *p, int i, bool left, bool of_y, double own)
{
    double sum = 0;
    int    n = 0;

    for (int h = 0; h < p->n_hop; h++) {
        const cell *other = &p->cells[left ? p->hops[h].from : p->hops[h].to];
        if ((left ? p->hops[h].to : p->hops[h].from) != i) continue;
        sum += of_y ? other->y + height(other) / 2.0 : other->order;
        n++;
    }
    return n > 0 ? sum / n : own;
}

static void order_set(picture *p)
{
    for (int i = 0; i < p->n_cell; i++) p->cells[i].order = i;
    for (int c = 0; c < p->n_column; c++) column_sort(p, c);
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < p->n_column; k++) {
            bool left = round % 2 == 0;
            int  c = left ? k : p->n_column - 1 - k;
            for (int i = 0; i < p->n_cell; i++)
                if (p->cells[i].column == c) p->cells[i].pull = middle(p, i, left, false, p->cells[i].order);
            column_sort(p, c);
        }
}

/* Stacked in order, each as near to the middle of its neighbours on the left as those above leave room for.
 * Returns the height. */
static int places_set(picture *p)
{
    double low = 1e9, high = 0;

    for (int c = 0; c < p->n_column; c++) {
        double end = -1e9, shift = 0;
        int    n;
        for (int i = 0; i < p->n_cell; i++) p->cells[i].pull = p->cells[i].order;
        n = column_sort(p, c);
        for (int k = 0; k < n; k++) {
            cell  *x = &p->cells[p->column[k]];
            double want = middle(p, p->column[k], true, true, k == 0 ? 0 : end + height(x) / 2.0) -
                          height(x) / 2.0;
            x->y = want > end ? want : end;
            shift += x->y - want; /* how far they were pushed down, to go back up by its mean */
            end = x->y + height(x) + GAP_Y;
        }
        for (int k = 0; k < n; k++) {
            cell *x = &p->cells[p->column[k]];
            x->y -= shift / n;
            if (x->y < low) low = x->y;
            if (x->y + height(x) > high) high = x->y + height(x);
        }
    }
    for (int i = 0; i < p->n_cell; i++) p->cells[i].y += MARGIN - low;
    return (int)(high - low) + 2 * MARGIN;
}

/* ---------------------------------------------------------------------------------------------------- SVG */

static int left_of(const cell *c) { return MARGIN + c->column * (BOX_W + GAP_X); }
static int middle_of(const cell *c) { return (int)(c->y + height(c) / 2.0); }

static void add_hop(tn_str *s, const picture *p, const hop *h)
{
    const cell *a = &p->cells[h->from], *b = &p->cells[h->to];
    int x1 = left_of(a) + BOX_W, y1 = middle_of(a), x2 = left_of(b), y2 = middle_of(b), bend = GAP_X / 2;

    tn_str_add(s, "<path class=\"e\" d=\"");
    if (a->lane) tn_str_addf(s, "M%d %d L%d %d ", left_of(a), y1, x1, y1);
    else tn_str_addf(s, "M%d %d ", x1, y1);
    tn_str_addf(s, "C%d %d %d %d %d %d\"", x1 + bend, y1, x2 - bend, y2, b->lane ? x2 : x2 - 4, y2);
    tn_str_add(s, b->lane ? "><title>" : " marker-end=\"url(#a)\"><title>");
    add_xml(s, a->node < (int)p->r->n ? p->r->stages[a->node].name : p->sources[a->node - (int)p->r->n]);
    if (h->label != NULL) {
        tn_str_add(s, " → ");
        add_xml(s, h->label);
    }
    tn_str_add(s, "</title></path>\n");
}

static void add_box(tn_str *s, const picture *p, int node)
{
    const cell *c = &p->cells[node];
    bool        source = node >= (int)p->r->n;
    const char *title = source ? p->sources[node - (int)p->r->n] : p->r->stages[node].name;
    int         x = left_of(c), y = (int)c->y;

    tn_str_addf(s, "<g><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>",
                source ? "f" : "s", x, y, BOX_W, BOX_H);
    tn_str_addf(s, "<text class=\"t\" x=\"%d\" y=\"%d\">", x + BOX_W / 2, y + 20);
    size_t n = strlen(title), from = n > 20 ? n - 19 : 0;
    /* never half a character */
    while (from > 0 && from < n && ((unsigned char)title[from] & 0xc0) == 0x80) from++;
    if (from > 0) tn_str_add(s, "…"); /* the end of a long path says more than its beginning */
    add_xml(s, title + from);
    tn_str_addf(s, "</text><text class=\"k\" x=\"%d\" y=\"%d\">", x + BOX_W / 2, y + 36);
    if (source) tn_str_add(s, "input");
    else tn_str_addf(s, "%s %d", p->r->stages[node].kind->name, p->r->stages[node].kind->version);
    tn_str_add(s, "</text><title>");
    add_xml(s, title);
    tn_str_add(s, "</title></g>\n");
}

static const char svg_style[] =
    "<style>text{font-family:sans-serif;text-anchor:middle}.t{font-size:13px;fill:#1a1a1a}.k{font-size:11px;"
    "fill:#555}"
    ".s{fill:#eef4ff;stroke:#3566b0}.f{fill:#faf6ea;stroke:#a08540}.e{fill:none;stroke:#777;stroke-width:1.4}"
    "@media(prefers-color-scheme:dark){.t{fill:#eee}.k{fill:#aaa}.s{fill:#1d2a40;stroke:#6f9ae0}.f{fill:#"
    "35301f;stroke:#c0a860}.e{stroke:#999}}"
    "</style><defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"7\" "
    "markerHeight=\"7\" orient=\"auto\">"
    "<path d=\"M0 0L8 4L0 8z\" fill=\"#777\"/></marker></defs>\n";

static tn_status picture_room(picture *p, tn_error *err)
{
    size_t n_ref = 0, n;

    for (size_t i = 0; i < p->r->n; i++) n_ref += p->r->stages[i].n_ref;
    n = (p->r->n + n_ref + 1) * (p->r->n + 2); /* boxes, and a lane for each in every column at most */
    p->n_column = 1;
    p->sources = calloc(n_ref + 1, sizeof *p->sources);
    p->cells = calloc(n, sizeof *p->cells);
    p->hops = calloc(n + n_ref, sizeof *p->hops);
    p->column = calloc(n, sizeof *p->column);
    p->lanes = malloc(n * sizeof *p->lanes);
    if (p->sources == NULL || p->cells == NULL || p->hops == NULL || p->column == NULL || p->lanes == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for a picture", p->r->path);
    for (size_t i = 0; i < n; i++) p->lanes[i] = LANE_NONE;
    return TN_OK;
}

tn_status tn_recipe_svg(const tn_recipe *r, char **out, tn_error *err)
{
    picture   p = { .r = r };
    tn_str    s = { 0 };
    tn_status status;

    *out = NULL;
    TN_GOTO(picture_room(&p, err));
    columns_set(&p);
    hops_set(&p);
    order_set(&p);
    int h = places_set(&p), w = 2 * MARGIN + p.n_column * BOX_W + (p.n_column - 1) * GAP_X;
    tn_str_addf(&s,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
                "role=\"img\"><title>",
                w, h, w, h);
    add_xml(&s, r->name);
    tn_str_addf(&s, "</title>%s", svg_style);
    for (int i = 0; i < p.n_hop; i++) add_hop(&s, &p, &p.hops[i]);
    for (int i = 0; i < p.n_node; i++) add_box(&s, &p, i);
    tn_str_add(&s, "</svg>\n");
    TN_GOTO(tn_str_check(&s, err));
    if ((*out = tn_str_take(&s)) == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a picture");
out:
    tn_str_free(&s);
    free(p.sources);
    free(p.cells);
    free(p.hops);
    free(p.column);
    free(p.lanes);
    return status;
}
