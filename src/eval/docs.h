/* docs.h - named built-ins that turn a data set's rows into the columns a task's templates read (private to
 * this room). */
#ifndef TN_EVAL_DOCS_H
#define TN_EVAL_DOCS_H

#include "base/json.h"

typedef tn_status tn_docs_fn(json_t **out, const json_t *row, const char *where, tn_error *err);

/* By the name that stands in `process_docs`; NULL if there is none. */
tn_docs_fn *tn_docs_find(const char *name);
/* All names, NULL-ended, for messages. */
const char *const *tn_docs_names(void);

#endif
