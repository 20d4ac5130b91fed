/* loop.h - where a run stands while it goes on: shared by loop.c (its steps) and resume.c (where it takes them up again).
 * Private to the two. */
#ifndef TN_TRAIN_LOOP_H
#define TN_TRAIN_LOOP_H

#include "train/checkpoint.h"
#include "train/policy.h"
#include "train/run.h"

/* What a rank saw since the last step. */
typedef struct seen {
    int32_t stop, checkpoint, written, slow;
} seen;

typedef struct loop {
    run             r;
    out_dir         dir;
    tn_digest       genesis;
    json_t         *description;
    checkpointer   *k;
    tn_steplog     *log;
    tn_step_record *held;
    int             n_held, cap_held; /* records that wait for a state root; rank 0 */
    metrics        *m;
    policy          policy;
    progress_state  at;
    int64_t         step, saved; /* last step done; of the newest checkpoint */
    tn_status       stop;        /* a signal that ended the loop, in whichever rank: all end alike */
    tn_step_record  last;
    tn_train_step   shown; /* the last step that was reported */
    double          smooth, smooth_share, started, ended, peak, step_seconds; /* of the last step */
    int64_t         started_step, started_tokens;
    tn_digest       state;                 /* of the checkpoint that was loaded */
    seen           *all;                   /* [size] of agree_on_signals */
    double          page_at, page_seconds; /* when the report was written last, and how long that took */
    float           loss;                  /* of the last step that was trained */
    bool            reports;               /* the run had ended before this process began */
} loop;

/* resume.c */

/* A mean in which each step counts 5 % less than the one after it; the shares so far add up to
 * smooth_share. */
void train_loop_smooth(loop *l, float loss);
/* The newest whole checkpoint of a step up to `most` that the log reaches; it is never behind one, unless
 * somebody cut it or took it away. */
tn_status train_loop_restore(loop *l, int64_t most, tn_error *err);
/* The log goes on behind `step`. Rank 0. */
tn_status train_loop_log_cut(loop *l, int64_t step, tn_error *err);

#endif
