/* template.h - the template language of task files, over one row of data (private to this room): a bounded
 * part of Jinja, no code of anyone's, nothing that reaches outside the row.
 *
 *   template.c   text, {{ expression }}, {% if %}, {% for %}, {% set %}, {# note #}
 *   expr.c       expressions: values, operators, tests
 *   expr_call.c  methods and filters */
#ifndef TN_EVAL_TEMPLATE_H
#define TN_EVAL_TEMPLATE_H

#include "base/json.h"

/* Value of a template over a row. Text that is one {{ expression }} keeps the expression's type (a list stays
 * a list); any other text becomes a string. made: json_decref. `where` (file:line) begins every message. */
tn_status tn_template_value(json_t **out, const char *text, const json_t *row, const char *where,
                            tn_error *err);
/* As above; also the plain name of a column of the row is its value, as task files use it. */
tn_status tn_template_field(json_t **out, const char *text, const json_t *row, const char *where,
                            tn_error *err);
/* Text of a value, as Python's str() gives it. */
tn_status tn_template_text(char **out, const json_t *v, const char *where, tn_error *err);
/* A list written as text ("['a', 'b']"), as a literal. FORMAT if it is none. */
tn_status tn_template_list(json_t **out, const char *text, const char *where, tn_error *err);

/* ---- between the files of the language */

enum { TN_EXPR_DEPTH = 32, TN_EXPR_ARGS = 3 };

typedef struct tn_expr {
    const char   *p, *end; /* what is still to be read */
    const json_t *row;     /* columns */
    json_t       *vars;    /* set and for; they hide columns */
    const char   *where;
    int           depth;
    bool          dry; /* read, but do not compute: the other side of an if */
    tn_error     *err;
} tn_expr;

tn_status tn_expr_value(tn_expr *t, json_t **out);    /* a whole expression */
bool      tn_expr_take(tn_expr *t, char c);           /* c, after white space */
bool      tn_expr_word(tn_expr *t, const char *word); /* a whole word */
tn_status tn_expr_name(tn_expr *t, char out[64]);
tn_status tn_expr_bad(tn_expr *t, const char *what);
bool      tn_expr_true(const json_t *v); /* as Python's bool() */
/* A method (filter false) or filter of a value. */
tn_status tn_expr_call(tn_expr *t, const char *name, bool filter, const json_t *self, json_t *const *arg,
                       int n_arg, json_t **out);

#endif
