/* report.h - self-contained HTML pages with tables and SVG plots, from data: one file, no network, no script,
 * light and dark, prints on paper. The same data give the same bytes: no clock, no random ids.
 *
 *   tn_page_create ── blocks, in reading order ──→ tn_page_write (or tn_page_take)
 *
 * Every text is escaped here, whatever it came from; a model's answers are shown in isolated, inert blocks.
 * Blocks copy what they are given. A failure (memory, a page over 64 MiB) is kept and told once, by
 * tn_page_write or tn_page_take. NaN means "not measured" and is drawn as a dash. */
#ifndef TN_REPORT_REPORT_H
#define TN_REPORT_REPORT_H

#include "base/err.h"

typedef struct tn_page tn_page;

tn_status tn_page_create(tn_page **out, const char *title, const char *subtitle /* or NULL */, tn_error *err);
void      tn_page_destroy(tn_page *p);
/* The whole page. made: free. Ends the page: nothing may follow but destroy. */
tn_status tn_page_take(tn_page *p, char **html, size_t *n, tn_error *err);
tn_status tn_page_write(tn_page *p, const char *path, tn_error *err); /* aside, synced, renamed */

/* ---- words --------------------------------------------------------------------------------------------- */
void tn_page_section(tn_page *p, const char *title); /* also in the list at the top */
void tn_page_text(tn_page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tn_page_note(tn_page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* small, muted */
void tn_page_pre(tn_page *p, const char *text); /* as it stands, wrapped */
/* What lies between is behind a click. May be nested; end closes the innermost. */
void tn_page_details_begin(tn_page *p, const char *summary);
void tn_page_details_end(tn_page *p);

typedef enum tn_tone { TN_TONE_PLAIN, TN_TONE_GOOD, TN_TONE_BAD, TN_TONE_UNSURE } tn_tone;

/* The first screen: a few large numbers. {"Harmful requests answered", "91 % → 31 %", "−66 … −54 points (95
 * %)", GOOD} */
typedef struct tn_figure {
    const char *label, *value, *detail;
    tn_tone     tone;
} tn_figure;
void tn_page_figures(tn_page *p, const tn_figure *f, size_t n);
/* "constitution   sha256:9b1e…": labels and values; a digest is set in a fixed-width face and may be copied whole. */
typedef struct tn_fact {
    const char *label, *value;
} tn_fact;
void tn_page_facts(tn_page *p, const tn_fact *f, size_t n);

/* ---- tables -------------------------------------------------------------------------------------------- */
/* columns: one letter each: 'l' text left, 'r' right (numbers), 'm' fixed-width. cells: n_row * n_col texts
 * by row, NULL is a dash. head may be NULL. */
typedef struct tn_table {
    const char        *caption, *columns;
    const char *const *head, *const *cells;
    size_t n_row;
} tn_table;
void tn_page_table(tn_page *p, const tn_table *t);

/* ---- plots --------------------------------------------------------------------------------------------- */
typedef enum tn_unit { TN_UNIT_PLAIN, TN_UNIT_PERCENT } tn_unit; /* percent: the value 0.31 shows as 31 % */
/* lo, hi NaN: no interval; value NaN: not measured */
typedef struct tn_estimate {
    double value, lo, hi;
} tn_estimate;

/* Rows of dots with intervals, before and after. In the order given (sort by change yourself). */
typedef struct tn_dot_row {
    const char *label, *detail;
    tn_estimate before, after;
} tn_dot_row;
typedef struct tn_dots {
    const char *title, *before, *after; /* names of the two: "before", "after"; before NULL: one dot a row */
    tn_unit     unit;
    double      lo, hi; /* of the axis; both 0: from the data */
    bool        low_is_good;
    const tn_dot_row *rows;
    size_t            n_row;
} tn_dots;
void tn_page_dots(tn_page *p, const tn_dots *d);

/* values[n_row][n_col]; counts (or NULL) are shown as "n = 12" when the pointer rests on a cell. */
typedef struct tn_heat {
    const char        *title;
    const char *const *rows, *const *cols;
    size_t         n_row, n_col;
    const double  *values;
    const int64_t *counts;
    tn_unit        unit;
    double         lo, hi;      /* palest and strongest; both 0: 0..1 for percent, else from the data */
    bool           low_is_good; /* strong cells are then red, else blue */
} tn_heat;
void tn_page_heat(tn_page *p, const tn_heat *h);

/* Panels one below the other, on one x axis. A line breaks where y is not finite. Any number of points. */
typedef struct tn_series {
    const char   *name;
    const double *x, *y;
    size_t        n;
} tn_series;
typedef struct tn_panel {
    const char      *title;
    const tn_series *series;
    size_t           n_series;
    tn_unit          unit;
    bool             log_y;
} tn_panel;
typedef struct tn_curves {
    const char     *title, *x_label;
    const tn_panel *panels;
    size_t          n_panel;
} tn_curves;
void tn_page_curves(tn_page *p, const tn_curves *c);

/* Horizontal bars, one or two a row. */
typedef struct tn_bars {
    const char       *title, *before, *after; /* before NULL: one bar a row (after) */
    tn_unit           unit;
    double            hi; /* end of the axis; 0: from the data */
    bool              low_is_good;
    const tn_dot_row *rows;
    size_t            n_row;
} tn_bars;
void tn_page_bars(tn_page *p, const tn_bars *b);

/* Answers side by side. harmful: shown only after a click. */
typedef struct tn_answer {
    const char *name, *text;
    bool        harmful;
} tn_answer;
void tn_page_answers(tn_page *p, const char *prompt, bool prompt_harmful, const char *tag /* or NULL */,
                     const tn_answer *a, size_t n);

/* How it was made: boxes and arrows, each box below those it reads. inputs: indices of other nodes, ended by
 * -1. */
typedef struct tn_flow_node {
    const char *name, *kind, *detail;
    const int  *inputs;
} tn_flow_node;
void tn_page_flow(tn_page *p, const char *title, const tn_flow_node *nodes, size_t n);

#endif
