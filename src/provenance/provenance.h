/* provenance.h - digests of trees, OMS signatures, keys, in-toto statements, BOMs, step logs, transparency
 * logs. Pure functions of bytes and paths; nothing here knows a model or a run. Grows with its files: each
 * has its part. */
#ifndef TN_PROVENANCE_PROVENANCE_H
#define TN_PROVENANCE_PROVENANCE_H

#include "base/hash.h"
#include "base/json.h"

/* ---- merkle.c: the RFC 9162 tree ----------------------------------------------------------------------- */
enum { TN_MERKLE_PROOF_MAX = 65 };
/* leaf = SHA-256(0x00 || entry), node = SHA-256(0x01 || l || r). */
void tn_merkle_leaf(tn_digest *out, const void *entry, size_t n);
void tn_merkle_node(tn_digest *out, const tn_digest *left, const tn_digest *right);
/* RFC 9162 tree over the given leaf hashes. n = 0: hash of "". */
void tn_merkle_root(tn_digest *out, const tn_digest *leaves, size_t n);
/* Proofs, leaf upwards; the number of hashes is returned (0 too when there is nothing to prove). */
size_t tn_merkle_inclusion(tn_digest proof[TN_MERKLE_PROOF_MAX], const tn_digest *leaves, size_t n,
                           size_t index);
bool   tn_merkle_check_inclusion(const tn_digest *root, size_t n, size_t index, const tn_digest *leaf,
                                 const tn_digest *proof, size_t n_proof);
size_t tn_merkle_consistency(tn_digest proof[TN_MERKLE_PROOF_MAX], const tn_digest *leaves, size_t n,
                             size_t old);
bool   tn_merkle_check_consistency(const tn_digest *old_root, size_t old, const tn_digest *new_root, size_t n,
                                   const tn_digest *proof, size_t n_proof);

/* ---- tree.c: a directory as one digest ----------------------------------------------------------------- */
typedef struct tn_tree_file {
    char     *name; /* relative, '/' between parts */
    uint32_t  mode; /* 0644 or 0755 */
    uint64_t  bytes;
    tn_digest digest; /* SHA-256 of the content */
} tn_tree_file;
/* Every file below dir, hashed, sorted by name (bytes). made: tn_tree_free. */
tn_status tn_tree_list(const char *dir, tn_tree_file **out, size_t *n, tn_error *err);
void      tn_tree_free(tn_tree_file *files, size_t n);
/* Root over (name, mode, digest): tree.c draws the picture. files sorted by name. */
tn_status tn_tree_root(const tn_tree_file *files, size_t n, tn_digest *out, tn_error *err);
/* A directory: its root. A file: its SHA-256. bytes (of all files) may be NULL. */
tn_status tn_tree_digest(const char *path, tn_digest *out, uint64_t *bytes, tn_error *err);
/* The same of many at once, their files side by side: what fails is told by its own job. INTERRUPTED after a
 * signal. */
typedef struct tn_tree_job {
    const char *path;
    tn_digest   root;
    uint64_t    bytes;
    tn_status   status;
    char       *why;
} tn_tree_job;
tn_status tn_tree_digests(tn_tree_job *jobs, size_t n, tn_error *err);
void      tn_tree_jobs_free(tn_tree_job *jobs, size_t n); /* only `why` */

/* ---- base64.c ------------------------------------------------------------------------------------------ */
char *tn_base64(const void *bytes, size_t n); /* with padding; made: free */
/* Only the one canonical text of some bytes is taken. made: free(*out); a NUL follows the bytes. */
bool tn_unbase64(uint8_t **out, size_t *n, const char *text);

/* ---- key.c: P-256 keys, deterministic signatures ------------------------------------------------------- */
enum { TN_SIGNATURE_MAX = 144 }; /* P-521 in DER */
typedef struct tn_key tn_key;
tn_status             tn_key_new(tn_key **out, tn_error *err);
tn_status             tn_key_from_scalar(tn_key **out, const uint8_t scalar[32], tn_error *err);
/* PEM: PKCS#8 (encrypted or not) or SEC1. passphrase NULL: USAGE if one is needed. */
tn_status tn_key_load_private(tn_key **out, const char *path, const char *passphrase, tn_error *err);
tn_status tn_key_load_public(tn_key **out, const char *path, tn_error *err);
/* The same from text that is at hand; `where` names it in messages. */
tn_status tn_key_from_pem(tn_key **out, const char *pem, size_t n, const char *where, tn_error *err);
/* certificate.c: the leaf's key of an OMS list of certificates, if it leads to one in the PEM file `roots`.
 * VERIFY says why not. */
tn_status tn_key_from_certificates(tn_key **out, const json_t *list, const char *roots, const char *where,
                                   tn_error *err);
bool      tn_key_is_encrypted(const char *path);
/* Encrypted PKCS#8, mode 0600. An empty passphrase is refused. */
tn_status   tn_key_save(const tn_key *k, const char *path, const char *passphrase, tn_error *err);
void        tn_key_free(tn_key *k);
const char *tn_key_pem(const tn_key *k);  /* SubjectPublicKeyInfo */
const char *tn_key_hint(const tn_key *k); /* SHA-256 of that text, hex */
/* "P-256", "P-384" or "P-521". */
const char *tn_key_curve(const tn_key *k);
/* ECDSA over the curve's hash (P-256: SHA-256), RFC 6979, low s, DER: the same input gives the same bytes. */
tn_status tn_key_sign(const tn_key *k, const void *bytes, size_t n, uint8_t out[TN_SIGNATURE_MAX],
                      size_t *n_out, tn_error *err);
bool      tn_key_verify(const tn_key *k, const void *bytes, size_t n, const uint8_t *sig, size_t n_sig);

/* ---- dsse.c: signed envelopes -------------------------------------------------------------------------- */
#define TN_INTOTO_TYPE "application/vnd.in-toto+json"
tn_status tn_dsse_sign(json_t **out, const void *payload, size_t n, const char *type, const tn_key *key,
                       const char *keyid, tn_error *err);
/* VERIFY says why. payload: made, free; a NUL follows it. */
tn_status tn_dsse_open(const json_t *envelope, const char *type, const tn_key *key, uint8_t **payload,
                       size_t *n, const char *where, tn_error *err);
/* VERIFY if o has a member that is not in the NULL-ended list. */
tn_status tn_json_only(const json_t *o, const char *const *allowed, const char *where, tn_error *err);

/* ---- oms.c: OpenSSF Model Signing v1.0 ----------------------------------------------------------------- */
#define TN_OMS_FILE "model.sig"
/* Signs every file below dir but git's and the signature; writes dir/model.sig. `name` is the subject's
 * name. */
tn_status tn_oms_sign(const char *dir, const char *name, const tn_key *key, tn_error *err);
/* The bundle's text alone (made: free); files sorted by name; sig_name joins the ignored paths unless
 * NULL. */
tn_status tn_oms_bundle(char **out, const tn_tree_file *files, size_t n, const char *name,
                        const char *sig_name, const tn_key *key, tn_error *err);
/* files by name; left_out: names that the signature says it leaves out, beyond git's files and itself. They
 * are not honoured: a file there is a difference like any other. */
/* compact: the bundle holds no byte that its content does not need, so that it has one form only (as we write
 * it). */
typedef struct tn_oms {
    tn_tree_file *files;
    size_t        n;
    tn_digest     root;
    char         *subject;
    char        **left_out;
    size_t        n_left_out;
    bool          compact;
} tn_oms;
/* Parses and checks a bundle against a trusted key. VERIFY: wrong; UNSUPPORTED: a kind that is not checked
 * here. */
tn_status tn_oms_open(tn_oms **out, const char *path, const tn_key *key, tn_error *err);
/* Whom a verifier trusts. */
typedef struct tn_oms_trust {
    const tn_key *key; /* or NULL */
    /* PEM file of trusted certificates, for bundles signed with a certificate; or NULL */
    const char *certificates;
} tn_oms_trust;
tn_status tn_oms_open_by(tn_oms **out, const char *path, const tn_oms_trust *trust, tn_error *err);
void      tn_oms_free(tn_oms *o);
/* Every file of a directory (tn_tree_list) against the signed list, both ways; differences are added to
 * reasons. ignored: names that the verifier himself leaves out, NULL-ended; or NULL. */
void tn_oms_compare(const tn_oms *o, const tn_tree_file *files, size_t n, bool git_allowed,
                    const char *const *ignored, json_t *reasons);
/* Is the name in the list, or below a folder that is? */
bool tn_oms_named(const char *const *list, const char *name);
/* {"what","where","expected","found"} */
void tn_reason(json_t *reasons, const char *what, const char *where, const char *expected, const char *found);

/* ---- statement.c: in-toto statements, canonical JSON; made: free --------------------------------------- */
/* row: a stage as a release's closure holds it (recipe.h). recipe_sha256, log_root ("sha256:..." or hex) may
 * be NULL. */
char *tn_statement_stage(const json_t *row, const char *recipe_sha256, const char *log_root);
char *tn_statement_report(const char *name, const char *root, const char *model_root);
char *tn_statement_release(const char *name, const char *content_root, const char *model_root);

/* ---- bom.c: CycloneDX 1.6 ------------------------------------------------------------------------------ */
/* sha256: 64 hex digits */
typedef struct tn_bom_material {
    const char *name, *sha256;
    bool        is_model;
} tn_bom_material;
typedef struct tn_bom_input {
    const char *name, *version, *license, *date; /* license, date (YYYY-MM-DD) may be NULL */
    bool        license_is_spdx;
    /* approach: "supervised", "reinforcement-learning", ... or NULL */
    const char *family, *architecture, *approach;
    const char *use_case, *limits;                                                            /* or NULL */
    const char *model_root, *weights_digest, *constitution_digest, *recipe_sha256, *log_root; /* or NULL */
    const tn_digest       *content_root;
    const tn_tree_file    *files;
    size_t                 n_file;
    const tn_bom_material *materials;
    size_t                 n_material;
} tn_bom_input;
enum { TN_BOM_SERIAL = 46 };
void      tn_bom_serial(char out[TN_BOM_SERIAL], const tn_digest *content_root);
tn_status tn_bom_build(json_t **out, const tn_bom_input *in, tn_error *err);

/* ---- note.c: signed checkpoints (C2SP) ----------------------------------------------------------------- */
typedef struct tn_checkpoint {
    char      origin[256];
    uint64_t  size;
    tn_digest root;
} tn_checkpoint;
tn_status tn_checkpoint_sign(char **out, const char *origin, uint64_t size, const tn_digest *root,
                             const tn_key *key, tn_error *err);
tn_status tn_checkpoint_open(tn_checkpoint *out, const char *note, const tn_key *key, const char *where,
                             tn_error *err);

/* ---- tlog.c: a transparency log in files (C2SP tlog-tiles) --------------------------------------------- */
/* What is logged of a file, a directory, or a release (its model.sig): a short text. made: free. */
tn_status tn_tlog_entry(const char *path, char **out, tn_error *err);
/* Appends; origin (needed for a new log) may be NULL after that. */
tn_status tn_tlog_add(const char *dir, const char *origin, const void *entry, size_t n, const tn_key *key,
                      uint64_t *index, tn_error *err);
/* "c2sp.org/tlog-proof@v1": an entry is in the log. made: free. NOTFOUND. */
tn_status tn_tlog_prove(const char *dir, const tn_key *key, const tn_digest *leaf, char **out, tn_error *err);
/* The log of today continues the one of `old` entries. made: free. */
tn_status tn_tlog_prove_growth(const char *dir, const tn_key *key, uint64_t old, char **out, tn_error *err);
/* Offline checks of the two; VERIFY says why not. */
tn_status tn_tlog_check(const char *proof, const tn_key *key, const tn_digest *leaf, tn_checkpoint *c,
                        uint64_t *index, const char *where, tn_error *err);
tn_status tn_tlog_check_growth(const char *proof, const char *old_note, const tn_key *key, tn_checkpoint *c,
                               const char *where, tn_error *err);
/* Every tile and entry of a log against its signed checkpoint. */
tn_status tn_tlog_verify(const char *dir, const tn_key *key, tn_checkpoint *c, tn_error *err);
/* With the log itself at hand, no proof is needed: where an entry lies (NOTFOUND), and whether an old
 * checkpoint still holds. */
tn_status tn_tlog_find(const char *dir, const tn_key *key, const tn_digest *leaf, uint64_t *index,
                       tn_error *err);
tn_status tn_tlog_continues(const char *dir, const tn_key *key, const char *old_note, tn_error *err);

/* ---- steplog.c: the hash chain of training ------------------------------------------------------------- */
/* h_k = SHA-256("tenet/step/v1" || h_{k-1} || k || batch || lr || loss || grad-norm bits || state or 0 ||
 * note) */
typedef struct tn_step_record {
    uint64_t  step;  /* from 1 */
    tn_digest batch; /* ordered sample ids, a function of (seed, manifest) */
    float     loss, grad_norm, lr;
    bool      has_state;
    tn_digest state;    /* Merkle root of weights and optimiser state, every k steps */
    char      note[32]; /* "" or the policy that acted ("skip", "back"): a-z, 0-9, '-', ' ' */
    tn_digest chain;    /* h_k */
} tn_step_record;
void                      tn_step_chain(tn_digest *out, const tn_digest *before, const tn_step_record *r);
typedef struct tn_steplog tn_steplog;
/* Opens for appending (JSON Lines, one record a line); existing records are checked; a torn last line is cut
 * off; records after `last_step` are cut off (resume from a checkpoint). genesis: digest of the run's
 * configuration. */
tn_status tn_steplog_open(tn_steplog **out, const char *path, const tn_digest *genesis, uint64_t last_step,
                          tn_error *err);
/* Is there a record of this step, with a state? */
bool      tn_steplog_has_state(const tn_steplog *l, uint64_t step);
tn_status tn_steplog_append(tn_steplog *l, tn_step_record *r /* chain is filled */, tn_error *err);
/* To be called before a checkpoint of the same step is committed: the log is never behind a checkpoint. */
tn_status tn_steplog_sync(tn_steplog *l, tn_error *err);
tn_status tn_steplog_close(tn_steplog *l, tn_error *err);
/* Reads and checks a whole log; records made: free. genesis NULL: whatever the log says. out, n, root may be
 * NULL. VERIFY names the first step that was altered. */
tn_status tn_steplog_read(const char *path, const tn_digest *genesis, tn_step_record **out, size_t *n,
                          tn_digest *root, tn_error *err);
/* The same up to last_step: what lies behind it, a torn line say, is not looked at. A log that ends before
 * gives fewer (one that is absent, none). */
tn_status tn_steplog_read_to(const char *path, const tn_digest *genesis, uint64_t last_step,
                             tn_step_record **out, size_t *n, tn_error *err);
tn_status tn_steplog_genesis(const char *path, tn_digest *out, tn_error *err);

#endif
