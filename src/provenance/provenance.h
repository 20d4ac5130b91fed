/* provenance.h - digests of trees, OMS signatures, keys, in-toto statements, BOMs, step logs, transparency logs.
 * Pure functions of bytes and paths; nothing here knows a model or a run. Grows with its files: each has its part. */
#ifndef TN_PROVENANCE_PROVENANCE_H
#define TN_PROVENANCE_PROVENANCE_H

#include "base/hash.h"
#include "base/json.h"

/* ---- merkle.c: the RFC 9162 tree ------------------------------------------------------------------------------ */
enum { TN_MERKLE_PROOF_MAX = 65 };
/* leaf = SHA-256(0x00 || entry), node = SHA-256(0x01 || l || r). */
void      tn_merkle_leaf(tn_digest *out, const void *entry, size_t n);
void      tn_merkle_node(tn_digest *out, const tn_digest *left, const tn_digest *right);
/* RFC 9162 tree over the given leaf hashes. n = 0: hash of "". */
void      tn_merkle_root(tn_digest *out, const tn_digest *leaves, size_t n);
/* Proofs, leaf upwards; the number of hashes is returned (0 too when there is nothing to prove). */
size_t    tn_merkle_inclusion(tn_digest proof[TN_MERKLE_PROOF_MAX], const tn_digest *leaves, size_t n, size_t index);
bool      tn_merkle_check_inclusion(const tn_digest *root, size_t n, size_t index, const tn_digest *leaf,
                                    const tn_digest *proof, size_t n_proof);
size_t    tn_merkle_consistency(tn_digest proof[TN_MERKLE_PROOF_MAX], const tn_digest *leaves, size_t n, size_t old);
bool      tn_merkle_check_consistency(const tn_digest *old_root, size_t old, const tn_digest *new_root, size_t n,
                                      const tn_digest *proof, size_t n_proof);

/* ---- tree.c: a directory as one digest ------------------------------------------------------------------------ */
typedef struct tn_tree_file {
    char     *name;                    /* relative, '/' between parts */
    uint32_t  mode;                    /* 0644 or 0755 */
    uint64_t  bytes;
    tn_digest digest;                  /* SHA-256 of the content */
} tn_tree_file;
/* Every file below dir, hashed, sorted by name (bytes). made: tn_tree_free. */
tn_status tn_tree_list(const char *dir, tn_tree_file **out, size_t *n, tn_error *err);
void      tn_tree_free(tn_tree_file *files, size_t n);
/* Root over (name, mode, digest): tree.c draws the picture. files sorted by name. */
tn_status tn_tree_root(const tn_tree_file *files, size_t n, tn_digest *out, tn_error *err);
/* A directory: its root. A file: its SHA-256. bytes (of all files) may be NULL. */
tn_status tn_tree_digest(const char *path, tn_digest *out, uint64_t *bytes, tn_error *err);

/* ---- steplog.c: the hash chain of training -------------------------------------------------------------------- */
/* h_k = SHA-256("tenet/step/v1" || h_{k-1} || k || batch || lr || loss || grad-norm bits || state or 0 || note) */
typedef struct tn_step_record {
    uint64_t  step;                 /* from 1 */
    tn_digest batch;                /* ordered sample ids, a function of (seed, manifest) */
    float     loss, grad_norm, lr;
    bool      has_state;
    tn_digest state;                /* Merkle root of weights and optimiser state, every k steps */
    char      note[32];             /* "" or the policy that acted ("skip", "back"): a-z, 0-9, '-', ' ' */
    tn_digest chain;                /* h_k */
} tn_step_record;
void      tn_step_chain(tn_digest *out, const tn_digest *before, const tn_step_record *r);
typedef struct tn_steplog tn_steplog;
/* Opens for appending (JSON Lines, one record a line); existing records are checked; a torn last line is cut off;
 * records after `last_step` are cut off (resume from a checkpoint). genesis: digest of the run's configuration. */
tn_status tn_steplog_open(tn_steplog **out, const char *path, const tn_digest *genesis, uint64_t last_step, tn_error *err);
tn_status tn_steplog_append(tn_steplog *l, tn_step_record *r /* chain is filled */, tn_error *err);
/* To be called before a checkpoint of the same step is committed: the log is never behind a checkpoint. */
tn_status tn_steplog_sync(tn_steplog *l, tn_error *err);
tn_status tn_steplog_close(tn_steplog *l, tn_error *err);
/* Reads and checks a whole log; records made: free. genesis NULL: whatever the log says. out, n, root may be NULL.
 * VERIFY names the first step that was altered. */
tn_status tn_steplog_read(const char *path, const tn_digest *genesis, tn_step_record **out, size_t *n, tn_digest *root, tn_error *err);
tn_status tn_steplog_genesis(const char *path, tn_digest *out, tn_error *err);

#endif
