/* draw.c - a recipe as a picture: DOT for other tools, and an SVG of its own.
 *
 *   column = longest way from a source; rows inside a column in the order of execution
 *
 *      [ pull ] ──┬──→ [ pairs ] ──→ [ sft ] ──→ [ release ]
 *                 └─────────────────────┘ */
#include "recipe/recipe_impl.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { BOX_W = 150, BOX_H = 46, GAP_X = 70, GAP_Y = 22, MARGIN = 20 };

static void add_xml(tn_str *s, const char *text)
{
    for (; *text != '\0'; text++) switch (*text) {
        case '<': tn_str_add(s, "&lt;"); break;
        case '>': tn_str_add(s, "&gt;"); break;
        case '&': tn_str_add(s, "&amp;"); break;
        case '"': tn_str_add(s, "&quot;"); break;
        default:  tn_str_add_char(s, *text);
        }
}

static void add_dot(tn_str *s, const char *text)
{
    tn_str_add_char(s, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') tn_str_add_char(s, '\\');
        tn_str_add_char(s, *text);
    }
    tn_str_add_char(s, '"');
}

static tn_status finish(tn_str *s, char **out, tn_error *err)
{
    tn_status status = tn_str_check(s, err);

    if (status == TN_OK && (*out = tn_str_take(s)) == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a picture");
    tn_str_free(s);
    return status;
}

/* An input that is no stage, seen first here: files are drawn once. */
static bool first_mention(const tn_recipe *r, size_t i, size_t k)
{
    for (size_t a = 0; a <= i; a++)
        for (size_t b = 0; b < (a == i ? k : r->stages[a].n_ref); b++)
            if (r->stages[a].refs[b].stage < 0 && strcmp(r->stages[a].refs[b].text, r->stages[i].refs[k].text) == 0) return false;
    return true;
}

tn_status tn_recipe_dot(const tn_recipe *r, char **out, tn_error *err)
{
    tn_str s = {0};

    *out = NULL;
    tn_str_add(&s, "digraph ");
    add_dot(&s, r->name);
    tn_str_add(&s, " {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for (size_t i = 0; i < r->n; i++) {
        const recipe_stage *st = &r->stages[i];
        tn_str_add(&s, "  ");
        add_dot(&s, st->name);
        tn_str_addf(&s, " [label=\"%s\\n%s %d\"];\n", st->name, st->kind->name, st->kind->version);
        for (size_t k = 0; k < st->n_ref; k++) {
            const recipe_ref *ref = &st->refs[k];
            if (ref->stage < 0 && first_mention(r, i, k)) {
                tn_str_add(&s, "  ");
                add_dot(&s, ref->text);
                tn_str_add(&s, " [shape=note];\n");
            }
            tn_str_add(&s, "  ");
            add_dot(&s, ref->stage >= 0 ? r->stages[ref->stage].name : ref->text);
            tn_str_add(&s, " -> ");
            add_dot(&s, st->name);
            tn_str_addf(&s, " [label=\"%s\"];\n", st->kind->inputs[ref->port].name);
        }
    }
    tn_str_add(&s, "}\n");
    return finish(&s, out, err);
}

typedef struct box { int column, row; } box;

static void box_at(const box *b, int *x, int *y)
{
    *x = MARGIN + b->column * (BOX_W + GAP_X);
    *y = MARGIN + b->row * (BOX_H + GAP_Y);
}

static void add_edge(tn_str *s, const box *from, const box *to, const char *label)
{
    int x1, y1, x2, y2;

    box_at(from, &x1, &y1);
    box_at(to, &x2, &y2);
    x1 += BOX_W;
    y1 += BOX_H / 2;
    y2 += BOX_H / 2;
    int bend = (x2 - x1) / 2;
    tn_str_addf(s, "<path class=\"e\" d=\"M%d %d C%d %d %d %d %d %d\" marker-end=\"url(#a)\"><title>", x1, y1, x1 + bend, y1, x2 - bend, y2,
                x2 - 4, y2);
    add_xml(s, label);
    tn_str_add(s, "</title></path>\n");
}

static void add_box(tn_str *s, const box *b, const char *title, const char *sub, bool source)
{
    int x, y;

    box_at(b, &x, &y);
    tn_str_addf(s, "<g><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>", source ? "f" : "s", x, y, BOX_W, BOX_H);
    tn_str_addf(s, "<text class=\"t\" x=\"%d\" y=\"%d\">", x + BOX_W / 2, y + 20);
    size_t n = strlen(title);
    if (n > 20) {                                             /* the end of a long path says more than its beginning */
        tn_str_add(s, "…");
        add_xml(s, title + n - 19);
    } else {
        add_xml(s, title);
    }
    tn_str_addf(s, "</text><text class=\"k\" x=\"%d\" y=\"%d\">", x + BOX_W / 2, y + 36);
    add_xml(s, sub);
    tn_str_add(s, "</text><title>");
    add_xml(s, title);
    tn_str_add(s, "</title></g>\n");
}

static const char svg_style[] =
    "<style>text{font-family:sans-serif;text-anchor:middle}.t{font-size:13px;fill:#1a1a1a}.k{font-size:11px;fill:#555}"
    ".s{fill:#eef4ff;stroke:#3566b0}.f{fill:#faf6ea;stroke:#a08540}.e{fill:none;stroke:#777;stroke-width:1.4}"
    "@media(prefers-color-scheme:dark){.t{fill:#eee}.k{fill:#aaa}.s{fill:#1d2a40;stroke:#6f9ae0}.f{fill:#35301f;stroke:#c0a860}.e{stroke:#999}}"
    "</style><defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">"
    "<path d=\"M0 0L8 4L0 8z\" fill=\"#777\"/></marker></defs>\n";

tn_status tn_recipe_svg(const tn_recipe *r, char **out, tn_error *err)
{
    size_t n_source = 0, n_ref = 0;
    box   *boxes = NULL;
    int   *rows = NULL, n_row = 1, n_column = 1;
    tn_str s = {0}, edges = {0};

    *out = NULL;
    for (size_t i = 0; i < r->n; i++) n_ref += r->stages[i].n_ref;
    boxes = calloc(r->n + n_ref + 1, sizeof *boxes);          /* stages, then sources */
    rows = calloc(r->n + 2, sizeof *rows);
    if (boxes == NULL || rows == NULL) {
        free(boxes);
        free(rows);
        return tn_fail(err, TN_NOMEM, "%s: no memory for a picture", r->path);
    }
    for (size_t i = 0; i < r->n; i++) {
        const recipe_stage *st = &r->stages[i];
        for (size_t k = 0; k < st->n_ref; k++) {
            int before = st->refs[k].stage < 0 ? 0 : boxes[st->refs[k].stage].column;
            if (before + 1 > boxes[i].column) boxes[i].column = before + 1;
            if (st->refs[k].stage < 0 && first_mention(r, i, k)) {
                boxes[r->n + n_source].row = rows[0]++;
                add_box(&s, &boxes[r->n + n_source++], st->refs[k].text, "input", true);
            }
        }
        boxes[i].row = rows[boxes[i].column]++;
        if (boxes[i].column + 1 > n_column) n_column = boxes[i].column + 1;
        char *sub = tn_strf("%s %d", st->kind->name, st->kind->version);
        add_box(&s, &boxes[i], st->name, sub != NULL ? sub : "", false);
        free(sub);
    }
    for (size_t i = 0; i <= r->n; i++)
        if (rows[i] > n_row) n_row = rows[i];
    for (size_t i = 0, at = 0; i < r->n; i++)                 /* sources get their boxes in the order of first mention */
        for (size_t k = 0; k < r->stages[i].n_ref; k++) {
            const recipe_ref *ref = &r->stages[i].refs[k];
            const char       *label = r->stages[i].kind->inputs[ref->port].name;
            if (ref->stage >= 0) {
                add_edge(&edges, &boxes[ref->stage], &boxes[i], label);
                continue;
            }
            size_t b = at;
            if (first_mention(r, i, k)) {
                at++;
            } else {                                          /* find its first mention again */
                b = 0;
                bool found = false;
                for (size_t i2 = 0; i2 <= i && !found; i2++)
                    for (size_t k2 = 0; k2 < r->stages[i2].n_ref && !found; k2++) {
                        if (r->stages[i2].refs[k2].stage >= 0 || !first_mention(r, i2, k2)) continue;
                        if (strcmp(r->stages[i2].refs[k2].text, ref->text) == 0) found = true;
                        else b++;
                    }
            }
            add_edge(&edges, &boxes[r->n + b], &boxes[i], label);
        }
    tn_str whole = {0};
    int    w = 2 * MARGIN + n_column * BOX_W + (n_column - 1) * GAP_X, h = 2 * MARGIN + n_row * BOX_H + (n_row - 1) * GAP_Y;
    tn_str_addf(&whole, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\"><title>", w, h, w, h);
    add_xml(&whole, r->name);
    tn_str_addf(&whole, "</title>%s", svg_style);
    tn_str_add(&whole, edges.p != NULL ? edges.p : "");
    tn_str_add(&whole, s.p != NULL ? s.p : "");
    tn_str_add(&whole, "</svg>\n");
    whole.failed = whole.failed || s.failed || edges.failed;
    tn_str_free(&s);
    tn_str_free(&edges);
    free(boxes);
    free(rows);
    return finish(&whole, out, err);
}
