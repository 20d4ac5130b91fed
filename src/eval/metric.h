/* metric.h - from log-probabilities to an item, from items to a task's scores (private to this room). */
#ifndef TN_EVAL_METRIC_H
#define TN_EVAL_METRIC_H

#include "eval/items.h"
#include "eval/prompt.h"

/* What was measured about one continuation. */
typedef struct tn_scored { double ll; bool greedy; } tn_scored;

/* One item of the log. made. spans: as asked; s[n_span] their scores (rolling: one a window). */
tn_status tn_metric_item(json_t **out, const tn_task *t, const tn_doc *doc, size_t index, const tn_ask *a, const tn_span *spans, const tn_scored *s, size_t n_span, tn_error *err);
/* Scores of a task from its items [first, first + n). made. */
tn_status tn_metric_task(json_t **out, const tn_task *t, const tn_items *items, size_t first, size_t n, tn_error *err);

#endif
