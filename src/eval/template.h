/* template.h - the small template language of task files, over one row of data (private to this room). */
#ifndef TN_EVAL_TEMPLATE_H
#define TN_EVAL_TEMPLATE_H

#include "base/json.h"

/* Value of a template over a row. Text that is one {{ expression }} keeps the expression's type (a list stays a list);
 * any other text becomes a string. made: json_decref. `where` (file:line) begins every message. */
tn_status tn_template_value(json_t **out, const char *text, const json_t *row, const char *where, tn_error *err);
/* As above; also the plain name of a column of the row is its value, as task files use it. */
tn_status tn_template_field(json_t **out, const char *text, const json_t *row, const char *where, tn_error *err);
/* Text of a value: strings as they are, integers in decimals, true and false as True and False. */
tn_status tn_template_text(char **out, const json_t *v, const char *where, tn_error *err);

#endif
