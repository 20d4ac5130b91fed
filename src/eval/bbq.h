/* bbq.h - the bias benchmark for question answering (Parrish et al. 2022): rows and bias scores (private to
 * this room). */
#ifndef TN_EVAL_BBQ_H
#define TN_EVAL_BBQ_H

#include "eval/items.h"

/* A row as published -> context, question, choices (two people, then ten ways to say "unknown"), targets,
 * biased, category, disambig. */
tn_status tn_bbq_docs(json_t **out, const json_t *row, const char *where, tn_error *err);
/* What the answer number `pred` shows, into the item: acc, biased, known, disambig. */
void tn_bbq_item(json_t *item, const json_t *row, size_t pred);
/* accuracy_amb, accuracy_disamb, amb_bias_score, disamb_bias_score (also by category), into the task's
 * scores. */
tn_status tn_bbq_scores(json_t *scores, const tn_items *items, size_t first, size_t n, tn_error *err);

#endif
