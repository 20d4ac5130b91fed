/* metric.h - from log-probabilities and replies to an item (metric.c), from items to a task's scores
 * (scores.c); private to this room. */
#ifndef TN_EVAL_METRIC_H
#define TN_EVAL_METRIC_H

#include "eval/asker.h"
#include "eval/items.h"

/* One item of the log. made. grader: for tasks that count refusals. */
tn_status tn_metric_item(json_t **out, const tn_task *t, const tn_doc *doc, size_t index, const tn_asked *a,
                         const tn_refusal *grader, tn_error *err);
/* Scores of a task from its items [first, first + n). made. */
tn_status tn_metric_task(json_t **out, const tn_task *t, const tn_items *items, size_t first, size_t n,
                         tn_error *err);
/* Scores of a group from those of its members (already in `tasks`), as its file says. made. */
tn_status tn_metric_group(json_t **out, const tn_yaml *group, const char *path, const json_t *tasks,
                          const char *const *members, size_t n, tn_error *err);

/* The key of an item's and a task's score: the metric, and the pipeline where there are several. */
void tn_metric_key(char key[128], const tn_task *t, const char *metric, size_t i_pipeline);

#endif
