/* store_impl.h - what the files of this room share. */
#ifndef TN_STORE_STORE_IMPL_H
#define TN_STORE_STORE_IMPL_H

#include "store/store.h"

#include <sqlite3.h>

struct tn_store {
    char      *dir;
    int        lock;    /* fd of <store>/lock, held shared; -1: a store that cannot be written to */
    char      *session; /* tmp/<session>, made by the first tn_store_temp */
    int        session_lock;
    int64_t    n_temp;
    sqlite3   *ledger; /* opened by the first use */
    tn_digest *whole;  /* artifacts that this process has hashed, and that are what their names say */
    size_t     n_whole;
};

/* <store>/<room>/ab/cdef...; made: free. NULL if out of memory. */
char *tn_store_hash_path(const tn_store *s, const char *room, const tn_digest *d);
/* A file whose content is "sha256:<hex>\n". NOTFOUND, FORMAT. */
tn_status tn_store_read_root(const char *path, tn_digest *root, tn_error *err);
tn_status tn_store_write_root(const char *path, const tn_digest *root, tn_error *err);
/* Adds a record to the open ledger (opening it if need be). */
tn_status tn_ledger_add(tn_store *s, const char *id, const json_t *record, tn_error *err);
void      tn_ledger_close(tn_store *s);
/* export.c: a file or a directory by reflink, link (only large files, if allowed) or bytes. */
tn_status tn_store_copy_tree(const char *from, const char *to, bool may_link, tn_error *err);
void      tn_store_know_whole(tn_store *s, const tn_digest *root);
/* Every id under runs/, sorted; made: tn_list_free. */
tn_status tn_store_run_ids(tn_store *s, char ***out, size_t *n, tn_error *err);

#endif
