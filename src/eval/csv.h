/* csv.h - rows of a CSV file (RFC 4180) as objects of texts (private to this room). */
#ifndef TN_EVAL_CSV_H
#define TN_EVAL_CSV_H

#include "base/json.h"

typedef struct tn_csv tn_csv;
/* The first record names the columns. */
tn_status tn_csv_open(tn_csv **out, const char *path, tn_error *err);
/* *row = NULL at the end; made: json_decref. *line: where the record begins. */
tn_status tn_csv_next(tn_csv *c, json_t **row, int64_t *line, tn_error *err);
void      tn_csv_close(tn_csv *c);

#endif
