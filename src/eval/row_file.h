/* row_file.h - a file of rows, CSV with a header line, JSON Lines or (.txt) a prompt a line by its suffix, as
 * one list of objects (private to this room). */
#ifndef TN_EVAL_ROW_FILE_H
#define TN_EVAL_ROW_FILE_H

#include "base/hash.h"
#include "base/json.h"

/* *rows, made: an array of objects; each has "@line", where it begins. CSV values are texts. digest (or
 * NULL): of the file. */
tn_status tn_row_file_load(json_t **rows, const char *path, tn_digest *digest, tn_error *err);
/* The first of these columns (NULL-ended) that holds a text, or NULL. An integer counts as a text: *made
 * (free) holds it. */
const char *tn_row_first(const json_t *row, const char *const *columns, char **made);

#endif
