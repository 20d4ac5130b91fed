/* store.h - artifacts by hash, stage keys, records of runs, the ledger.
 *
 *   <store>/objects/ab/cdef...   artifacts: a file, or a directory, named by SHA-256 / Merkle root, read-only
 *   <store>/keys/ab/cdef...      stage key -> artifact root (a small file; the cache)
 *   <store>/names/NAME           a name -> root (smollm2-135m-instruct), pins
 *   <store>/runs/ID.json         one record an execution: key, root, machine, times
 *   <store>/ledger.sqlite        rebuilt from runs/ whenever it is missing or damaged
 *   <store>/tmp/                 work in progress; swept when its owner is gone
 *
 * Everything is written aside, synced, renamed. Two processes at once are safe. */
#ifndef TN_STORE_STORE_H
#define TN_STORE_STORE_H

#include "base/hash.h"
#include "base/json.h"
#include "provenance/provenance.h"

typedef struct tn_store tn_store;
/* dir NULL: $TENET_STORE, else ~/.local/share/tenet. Made if absent. */
tn_status   tn_store_open(tn_store **out, const char *dir, tn_error *err);
void        tn_store_close(tn_store *s);
const char *tn_store_dir(const tn_store *s);

/* A fresh private directory below tmp/ (made: free the path). Removed on the next sweep if left. */
tn_status tn_store_temp(tn_store *s, char **path, tn_error *err);
/* Moves a file or directory into the store under its digest (a copy that is already there wins). */
tn_status tn_store_put(tn_store *s, const char *path, tn_digest *root, tn_error *err);
/* Path of an artifact (made: free). NOTFOUND. */
tn_status tn_store_path(tn_store *s, const tn_digest *root, char **path, tn_error *err);
/* "sha256:...", a prefix of at least 8 digits, or a name; NOTFOUND names the nearest. */
tn_status tn_store_resolve(tn_store *s, const char *text, tn_digest *root, tn_error *err);
tn_status tn_store_name(tn_store *s, const char *name, const tn_digest *root, tn_error *err);

/* The cache: key of a stage -> root. */
tn_status tn_store_key_get(tn_store *s, const tn_digest *key, tn_digest *root, bool *found, tn_error *err);
tn_status tn_store_key_set(tn_store *s, const tn_digest *key, const tn_digest *root, tn_error *err);

/* One execution's record (JSON object); id is derived from its content. The ledger learns it too. */
tn_status tn_store_record(tn_store *s, const json_t *record, tn_error *err);

#endif
