/* checkpoint.h - state to disk in the background (checkpoint.c), back and which stay (restore.c), and whether it fits (fits.c). Private to the room. */
#ifndef TN_TRAIN_CHECKPOINT_H
#define TN_TRAIN_CHECKPOINT_H

#include "train/run.h"

typedef struct progress_state { /* what the state is beside tensors */
    int64_t step, update, tokens;
    float   best_valid;
    int64_t best_step, worse; /* early stopping */
    bool    owed;             /* the validation after this step, which a signal came into */
    /* policies: batches up to skip_to are passed over; bad steps since the last good one */
    int64_t skip_to, bad;
} progress_state;
typedef struct checkpointer checkpointer;
tn_status train_checkpoint_create(checkpointer **out, run *r, const tn_digest *genesis, tn_error *err);
/* waits for a writer that runs; an unfinished one is left aside */
void train_checkpoint_destroy(checkpointer *k);
/* Starts the writer, which reads the state where it lies. An earlier one must have been finished. All ranks
 * together. */
tn_status train_checkpoint_begin(checkpointer *k, const progress_state *at, tn_error *err);
/* Before anything changes the state: copies what the writer has not written yet. */
void    train_checkpoint_before_update(checkpointer *k);
bool    train_checkpoint_busy(const checkpointer *k);
int64_t train_checkpoint_step(const checkpointer *k); /* of the one being written */
/* This rank's part is on disk (never blocks). */
bool train_checkpoint_done(checkpointer *k);
/* Waits, joins the parts; on rank 0 `root` is known before the directory gets its name: seal is called in
 * between. */
typedef tn_status (*checkpoint_seal)(void *arg, int64_t step, const tn_digest *root, tn_error *err);
tn_status train_checkpoint_finish(checkpointer *k, checkpoint_seal seal, void *arg, tn_error *err);
/* Leaf of the state root: what one slice of a tensor holds. */
void train_slice_leaf(tn_digest *leaf, const char *tensor, const char *kind, int64_t first, int64_t n,
                      const tn_digest *sha);
/* SHA-256 of a manifest without its own "seal", in hex; false: no memory. */
bool train_manifest_digest(json_t *m, char hex[TN_SHA256_HEX]);
/* restore.c. Which ones stay, of those up to step `newest`; rank 0. The log has the state of what the run
 * itself keeps: the newest ones of these stay, those at multiples of keep_every, `best`, and the one that a
 * policy goes back to. Any other is a stopgap, which a signal or stop_at asked for: it stays only while it is
 * the newest. */
tn_status train_retire(const char *out, const tn_train_config *c, const tn_steplog *log, int64_t newest,
                       int64_t best, tn_error *err);
/* The steps after `to`, up to `was`, are undone: their checkpoints are gone, also from the disk, before the
 * log forgets them. Rank 0. */
tn_status train_retire_after(const char *out, int64_t to, int64_t was, tn_error *err);
/* Is dir a whole checkpoint's? */
bool train_checkpoint_is(const char *dir);
/* What is no whole checkpoint gets the name dir.damaged: it neither counts among those that are kept, nor is
 * it lost. Rank 0. */
void train_put_aside(const char *dir);
/* MISMATCH if its weights are of another model than the run's; a replay takes what the run took. */
tn_status train_checkpoint_origin(const run *r, const char *dir, origin *out, tn_error *err);
/* fits.c. What the run's weights are of: a manifest's "model". made: json_decref; NULL: no memory. */
json_t *train_weights_of(const run *r);
/* MISMATCH names the first thing that is not as in the checkpoint's run. */
tn_status train_weights_fit(const run *r, const json_t *manifest, const char *dir, tn_error *err);
/* Newest complete checkpoint of run directory `out` with step <= most (or *step = 0). */
tn_status train_checkpoint_newest(const char *out, int64_t most, int64_t *step, tn_error *err);
/* Loads OUT/step-N. genesis NULL: any run's. state false: weights only. */
tn_status train_checkpoint_load(run *r, const char *dir, const tn_digest *genesis, bool state,
                                progress_state *at, tn_digest *root, tn_error *err);
/* The state root of the run as it is now, as a checkpoint would have it. One process. */
tn_status train_checkpoint_root(run *r, tn_digest *root, tn_error *err);
/* Extending another run: its weights, optimiser state and count of updates (nothing where there is none). */
tn_status train_extend(run *r, tn_error *err);

#endif
