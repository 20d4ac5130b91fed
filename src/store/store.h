/* store.h - artifacts by hash, stage keys, records of runs, the ledger.
 *
 *   <store>/objects/ab/cdef...   artifacts: a file, or a directory, named by SHA-256 / Merkle root, read-only
 *   <store>/keys/ab/cdef...      stage key -> artifact root (a small file; the cache)
 *   <store>/names/NAME           a name -> root (smollm2-135m-instruct)
 *   <store>/pins/HEX             this artifact is kept, whatever runs say
 *   <store>/runs/ID.json         one record an execution: key, root, machine, times
 *   <store>/ledger.sqlite        rebuilt from runs/ whenever it is missing or damaged
 *   <store>/seen/ab/cdef...      stamp of a source file -> root (a small file)
 *   <store>/work/ab/cdef...      unfinished work of a stage, by its key: a resumed run goes on in it
 *   <store>/rows/ab/cdef...      rows that stages computed, by the model that computed them (lines; a cache)
 *   <store>/tmp/                 work in progress; swept when its owner is gone
 *   <store>/lock                 shared by every process that has the store open; whole only during gc
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

/* ---- artifacts ----------------------------------------------------------------------------------------- */
/* A fresh private directory below tmp/ (made: free the path). Removed on the next sweep if left. */
tn_status tn_store_temp(tn_store *s, char **path, tn_error *err);
/* Moves a file or directory into the store under its digest (a copy that is already there wins). */
tn_status tn_store_put(tn_store *s, const char *path, tn_digest *root, tn_error *err);
/* The same by copy (a reflink where the file system can): `path` stays as it is. */
tn_status tn_store_add(tn_store *s, const char *path, tn_digest *root, tn_error *err);
bool      tn_store_has(tn_store *s, const tn_digest *root);
/* Path of an artifact (made: free). NOTFOUND. */
tn_status tn_store_path(tn_store *s, const tn_digest *root, char **path, tn_error *err);
/* Puts an artifact at `to`: by reflink where the file system can, files of 1 GiB and more by hard link
 * (read-only, as the store has them), else by copy. It appears whole, and only if it is what its name says.
 * USAGE if `to` is there; VERIFY: damaged. */
tn_status tn_store_export(tn_store *s, const tn_digest *root, const char *to, tn_error *err);
/* Is the artifact what its name says? Hashed once a process. VERIFY: it is damaged; nothing may be made from
 * it or given out. */
tn_status tn_store_check(tn_store *s, const tn_digest *root, tn_error *err);
/* Every artifact, sorted by digest; made: free(*out). */
tn_status tn_store_list(tn_store *s, tn_digest **out, size_t *n, tn_error *err);

/* ---- names and pins ------------------------------------------------------------------------------------ */
/* "sha256:...", a prefix of at least 8 digits, or a name; NOTFOUND names the nearest. */
tn_status tn_store_resolve(tn_store *s, const char *text, tn_digest *root, tn_error *err);
/* Names: letters, digits, '.', '_', '-'; at most 128 bytes; not led by '.' or '-'. root NULL takes the name
 * away. */
tn_status tn_store_name(tn_store *s, const char *name, const tn_digest *root, tn_error *err);
tn_status tn_store_name_check(const char *name, tn_error *err); /* before work that ends in a name */
tn_status tn_store_names(tn_store *s, json_t **out /* {"name": "sha256:..."}; made */, tn_error *err);
tn_status tn_store_pin(tn_store *s, const tn_digest *root, bool pinned, tn_error *err);
bool      tn_store_pinned(tn_store *s, const tn_digest *root);

/* ---- the cache: key of a stage -> root ----------------------------------------------------------------- */
/* found only if the artifact is there too. */
tn_status tn_store_key_get(tn_store *s, const tn_digest *key, tn_digest *root, bool *found, tn_error *err);
tn_status tn_store_key_set(tn_store *s, const tn_digest *key, const tn_digest *root, tn_error *err);
/* What a file's stamp (path, size, times) was found to hash to: a recipe's sources are not read again while
 * they rest. */
tn_status tn_store_seen_get(tn_store *s, const tn_digest *stamp, tn_digest *root, bool *found, tn_error *err);
tn_status tn_store_seen_set(tn_store *s, const tn_digest *stamp, const tn_digest *root, tn_error *err);
/* The directory where the stage of this key works (made: free); `lock` is held until tn_store_work_end, so
 * that two processes never work on one key: the second waits. remove: what is in it is not needed any
 * more. */
typedef struct tn_store_work {
    char *path;
    int   lock;
} tn_store_work;
tn_status tn_store_work_begin(tn_store *s, const tn_digest *key, tn_store_work *out, tn_error *err);
void      tn_store_work_end(tn_store *s, tn_store_work *w, bool remove);

/* ---- rows: what a stage computed row by row, kept by the hash of all that a row depends on (a cache; rows.c) ------ */
typedef struct tn_store_rows tn_store_rows;
/* `space` names what all its rows share (model, adapter, profile). Without `write` nothing is kept. */
tn_status tn_store_rows_open(tn_store *s, const tn_digest *space, bool write, tn_store_rows **out,
                             tn_error *err);
size_t    tn_store_rows_count(const tn_store_rows *r);
/* As tn_memo wants them; `rows` is the tn_store_rows. */
const json_t *tn_store_rows_get(void *rows, const tn_digest *key);
void          tn_store_rows_put(void *rows, const tn_digest *key, json_t *row);
void          tn_store_rows_close(tn_store_rows *r);

/* ---- records and the ledger ---------------------------------------------------------------------------- */
/* One execution's record (JSON object); id is derived from its content. The ledger learns it too. id may be
 * NULL. */
tn_status tn_store_record_id(tn_store *s, const json_t *record, char id[17], tn_error *err);
tn_status tn_store_record(tn_store *s, const json_t *record, tn_error *err);
/* A record by id or unique prefix (made). NOTFOUND. */
tn_status tn_store_record_get(tn_store *s, const char *id, json_t **out, tn_error *err);
/* Newest first: [{"id","type","started","recipe","stage","kind","key","root","seconds","status"}]; type,
 * stage and recipe may be NULL (any); type "asked": runs, and what commands did outside of recipes; at most
 * `limit` rows. From the ledger, which is brought up to date from runs/ first. made. */
tn_status tn_store_log(tn_store *s, const char *type, const char *recipe, const char *stage, int64_t limit,
                       json_t **out, tn_error *err);
/* Drops the ledger and builds it anew from runs/; damaged records are named in a warning and left out. */
tn_status tn_store_ledger_rebuild(tn_store *s, int64_t *n_records, tn_error *err);

/* ---- upkeep -------------------------------------------------------------------------------------------- */
typedef struct tn_gc_result {
    int64_t  kept, removed;
    uint64_t kept_bytes, removed_bytes;
} tn_gc_result;
/* Removes what neither names, pins, releases nor the newest keep_runs runs reach; dry_run only counts.
 * MISMATCH if another process has the store open. */
tn_status tn_store_gc(tn_store *s, int64_t keep_runs, bool dry_run, tn_gc_result *out, tn_error *err);
/* Hashes every artifact (or the one given); bad: [{"what","where","expected","found"}], made. remove: damaged
 * artifacts are taken away, so that the next run makes them again; records stay, since nothing makes those
 * again. */
tn_status tn_store_verify(tn_store *s, const tn_digest *only, bool remove, json_t **bad, int64_t *n_checked,
                          tn_error *err);

#endif
