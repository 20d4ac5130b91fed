/* provenance.h - digests of trees, OMS signatures, keys, in-toto statements, BOMs, step logs, transparency logs.
 * Pure functions of bytes and paths; nothing here knows a model or a run. Grows with its files: each has its part. */
#ifndef TN_PROVENANCE_PROVENANCE_H
#define TN_PROVENANCE_PROVENANCE_H

#include "base/hash.h"
#include "base/json.h"

/* ---- merkle.c: a directory as one digest --------------------------------------------------------------------- */
/* leaf = SHA-256(0x00 || entry), node = SHA-256(0x01 || l || r), RFC 9162 tree over the given leaves. n = 0: hash of "". */
void      tn_merkle_root(tn_digest *out, const tn_digest *leaves, size_t n);
/* Root over (name, mode, digest) of a tree, sorted by name: store.md draws the picture. A file: its SHA-256. */
tn_status tn_tree_digest(const char *path, tn_digest *out, uint64_t *bytes, tn_error *err);

/* ---- steplog.c: the hash chain of training -------------------------------------------------------------------- */
/* h_k = SHA-256("tenet/step/v1" || h_{k-1} || k || batch_root || lr bits || loss bits || grad-norm bits || state_root or 0) */
typedef struct tn_step_record {
    uint64_t  step;                 /* from 1 */
    tn_digest batch;                /* ordered sample ids, a function of (seed, manifest) */
    float     loss, grad_norm, lr;
    bool      has_state;
    tn_digest state;                /* Merkle root of weights and optimiser state, every k steps */
    char      note[32];             /* "" or the policy that acted ("skip", "back") */
    tn_digest chain;                /* h_k */
} tn_step_record;
typedef struct tn_steplog tn_steplog;
/* Opens for appending (JSON Lines, one record a line); existing records are checked; a torn last line is cut off;
 * records after `last_step` are cut off (resume from a checkpoint). genesis: digest of the run's configuration. */
tn_status tn_steplog_open(tn_steplog **out, const char *path, const tn_digest *genesis, uint64_t last_step, tn_error *err);
tn_status tn_steplog_append(tn_steplog *l, tn_step_record *r /* chain is filled */, tn_error *err);
tn_status tn_steplog_close(tn_steplog *l, tn_error *err);
/* Reads and checks a whole log; records made: free. */
tn_status tn_steplog_read(const char *path, const tn_digest *genesis, tn_step_record **out, size_t *n, tn_digest *root, tn_error *err);

#endif
