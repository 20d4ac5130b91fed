/* report_file.h - report.json as evidence (private to this room). */
#ifndef TN_EVAL_REPORT_FILE_H
#define TN_EVAL_REPORT_FILE_H

#include "base/json.h"
#include "eval/items.h"
#include "provenance/provenance.h"

/* Sets "report_root", the hash of everything else in the report. Last of all: what changes the report
 * afterwards breaks it. */
tn_status tn_report_seal(json_t *report, tn_error *err);

typedef struct tn_report {
    json_t   *json;
    tn_items *items;
} tn_report; /* items NULL: no log beside it */
/* path: report.json, or its folder. Its hash must be its own, the log beside it the one that it names and,
 * with a key, model.sig of its folder or of a release around it signed by that key and true of every file
 * beside the report. VERIFY says what is not. */
tn_status tn_report_open(tn_report *out, const char *path, const tn_key *key, tn_error *err);
void      tn_report_close(tn_report *r);

#endif
