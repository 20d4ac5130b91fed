/* adherence.h - private to eval: how well each principle is followed, before and after. */
#ifndef TN_EVAL_ADHERENCE_H
#define TN_EVAL_ADHERENCE_H

#include "constitution/constitution.h"
#include "eval/eval.h"

/* One prompt with its answers before and after, and the probability that each declines. Borrowed. */
typedef struct tn_adherence_item {
    const char *kind, *topic, *principle; /* any may be NULL */
    const char *answer[2];
    double      p_decline[2];
    int64_t     family;
} tn_adherence_item;

/* {ID: {"how","before":{"n","followed","rate","lo","hi"},"after",...,"change","change_lo","change_hi","p"}}
 * for the principles that can be told: those with a check, and those whose matter is declining or answering.
 * made. */
tn_status tn_adherence_json(json_t **out, const tn_adherence_item *items, size_t n, const tn_constitution *c,
                            const tn_measure_config *config, tn_error *err);

#endif
