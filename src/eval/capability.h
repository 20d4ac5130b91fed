/* capability.h - a page's section about two evaluations (private to this room). */
#ifndef TN_EVAL_CAPABILITY_H
#define TN_EVAL_CAPABILITY_H

#include "base/json.h"
#include "report/report.h"

/* before, after: folders of tn_eval_run. *out, made: what tn_eval_compare found. */
tn_status tn_capability_section(tn_page *p, const char *before, const char *after, json_t **out, tn_error *err);

#endif
