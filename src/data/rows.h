/* rows.h - what files of rows have in common, whatever is learned from them. Private to the room. */
#ifndef TN_DATA_ROWS_H
#define TN_DATA_ROWS_H

#include "data/data.h"

enum { TN_ROW_MESSAGES = 4096 }; /* of one conversation */

/* A row's member; NULL where it has none, or null: tables with columns for several layouts write null into
 * the others. */
const json_t *tn_row_get(const json_t *row, const char *key);
/* Puts the row's "system", if it has one, at the front; m is empty. Content is borrowed from the row, here
 * and below. UNSUPPORTED, here and below: tools or thoughts, which have no place in what is rendered. */
tn_status tn_row_system(const json_t *row, tn_message *m, size_t *n, const char *where, tn_error *err);
/* UNSUPPORTED names what a row or a message holds beside its text that would be left aside. */
tn_status tn_row_nothing_lost(const json_t *o, const char *where, tn_error *err);
/* Appends a list of messages; m holds at most TN_ROW_MESSAGES. A system message is refused where m has
 * one. */
tn_status tn_row_messages(const json_t *list, const char *key, tn_message *m, size_t *n, const char *where,
                          tn_error *err);

/* How many tokens are left of a conversation whose last answer was cut off where it was sampled: without what
 * the format ends it with. */
size_t tn_data_cut(const uint8_t *mask, size_t n);

/* files.c: a file, or what is meant as data of those below a folder, in name order. listed: nobody named it.
 * NOTFOUND. */
typedef tn_status (*tn_data_file_fn)(void *arg, const char *path, bool listed, tn_error *err);
tn_status tn_data_each_file(const char *path, tn_data_file_fn fn, void *arg, tn_error *err);

#endif
