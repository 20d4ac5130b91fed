/* capability.h - a page's section about two evaluations (private to this room). */
#ifndef TN_EVAL_CAPABILITY_H
#define TN_EVAL_CAPABILITY_H

#include "base/json.h"
#include "report/report.h"

/* compared: what tn_eval_compare found; report: the report.json of the evaluation after, whose "joined" and
 * "absent" name the public sets that were and were not there. Two sections: capability, public sets. */
void tn_capability_section(tn_page *p, const json_t *compared, const json_t *report);
/* The one number for a first screen: perplexity where it was measured, else the first share. false: there is
 * neither. */
bool tn_capability_figure(const json_t *compared, char *label, char *value, char *detail, size_t cap,
                          tn_figure *f);

#endif
