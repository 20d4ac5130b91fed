/* items.h - the log of scored items: append-only JSON Lines with a running hash (private to this room). */
#ifndef TN_EVAL_ITEMS_H
#define TN_EVAL_ITEMS_H

#include "base/hash.h"
#include "base/json.h"

typedef struct tn_items tn_items;

/* path NULL: in memory only. A log that is there must begin with the same header (else MISMATCH) and is
 * continued; a torn last line is cut off. VERIFY: its running hash is wrong. */
tn_status     tn_items_open(tn_items **out, const char *path, const json_t *header, tn_error *err);
void          tn_items_close(tn_items *l);
size_t        tn_items_count(const tn_items *l);
const json_t *tn_items_at(const tn_items *l, size_t i);
/* Takes the item. Written to the file at tn_items_sync. */
tn_status tn_items_add(tn_items *l, json_t *item, tn_error *err);
tn_status tn_items_sync(tn_items *l, tn_error *err);
/* Merkle root over the items' canonical texts. */
tn_status tn_items_root(const tn_items *l, tn_digest *out, tn_error *err);
/* Only reads: header and items of a finished or unfinished log. */
tn_status     tn_items_load(tn_items **out, const char *path, tn_error *err);
const json_t *tn_items_header(const tn_items *l);

#endif
