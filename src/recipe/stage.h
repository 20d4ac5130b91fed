/* stage.h - what a stage kind is: one row, a pure function from artifacts and parameters to one artifact.
 *
 * To add a kind: write stage_<kind>.c with `const tn_stage_kind tn_stage_<kind> = { ... };`, add it to
 * TN_STAGE_LIST in kinds.h and to meson.build. docs/recipe.md has the whole example.
 *
 *   key  = SHA-256 of {kind, version, params with defaults, input roots, profile}
 *   root = digest of what the function made
 *
 * Whenever the output for the same key would change, raise `version`: the golden roots in the tests insist on
 * it. */
#ifndef TN_RECIPE_STAGE_H
#define TN_RECIPE_STAGE_H

#include "base/memo.h"
#include "base/option.h"
#include "store/store.h"
#include "tensor/tensor.h"

/* One named input. What it takes is an artifact: a file or a directory. */
typedef struct tn_stage_port {
    const char *name; /* "model", "constitution", ... */
    bool        optional;
    bool        many; /* takes a list; its paths come from tn_stage_many */
    const char *help; /* one line */
} tn_stage_port;      /* a table ends with name NULL */

/* One input as it was given: `port` is its row in the kind's table. */
typedef struct tn_stage_input {
    int       port;
    char     *label; /* name of the stage it came from, or the path or name that the recipe wrote */
    char     *path;
    tn_digest root;
} tn_stage_input;

typedef struct tn_stage_run {
    const char           *stage; /* its name in the recipe, for progress lines */
    const char           *work;  /* a private directory that outlives an interrupted run of the same key: put
                                        * checkpoints there, and go on from them when they are there */
    tn_profile            profile;
    const tn_stage_input *all; /* every input, ports in order */
    size_t                n_all;
    /* kinds with sees_closure: the stages this one is made of (see recipe.h) */
    const json_t *closure;
    /* kinds with sees_closure: the recipe, with includes and variables put in */
    const char *recipe_text;
    tn_store   *store;
    /* kinds with `rows`: rows of before by this model, adapter and profile; NULL: compute all */
    tn_memo *memo;
    /* what the kind's `begin` made; NULL if it has none, or runs alone without it */
    void *held;
} tn_stage_run;

/* Makes `out` (a file or a directory; it does not exist yet, its parent does) from `config` and `inputs`: one
 * path a port, in the order of the table, NULL for an absent optional port and for `many` ports. `out` may
 * hold no clock, host name, speed or path: it must be the same bytes on every machine. What a person may want
 * to know goes into `metrics` (an object; it is recorded, not hashed). Long loops poll tn_interrupted and
 * return its status, leaving `work` fit to go on. */
typedef tn_status (*tn_stage_fn)(tn_stage_run *r, const void *config, const char *const *inputs,
                                 const char *out, json_t *metrics, tn_error *err);

typedef struct tn_stage_kind {
    const char *name;
    int         version; /* raise it whenever the same inputs give other bytes */
    const char *line;    /* one line for help */
    /* parameters; an option named "seed" gets the recipe's seed as its default */
    const tn_option     *options;
    size_t               config_bytes;
    const tn_stage_port *inputs;
    const char          *output; /* what it makes, in words: "a model directory" */
    bool recorded;     /* not a pure function (network, remote judge): its artifact is kept as recorded,
                                        * --rerun and replay start from it */
    bool sees_closure; /* the closure is part of its key (release) */
    /* What the result depends on beyond inputs and parameters (the signing key behind a name); its text is
     * part of the key. NULL: nothing. */
    tn_status (*salt)(tn_store *s, const void *config, char out[128], tn_error *err);
    /* Called before the first stage of a run, for each stage that will run: what a person has to give (a
     * passphrase) is asked for and checked here, not an hour later. What it makes reaches `run` as r->held;
     * `end` frees it. NULL: nothing. */
    tn_status (*begin)(tn_store *s, const void *config, void **held, tn_error *err);
    void (*end)(void *held);
    /* takes no model and no time: a plan computes it, so that what comes after it is known */
    bool quick;
    bool rows; /* answers row by row through an engine over the model of its port "model" or "judge" (and
                                        * "adapter"): rows whose prompt and model did not change are taken
                                        * from before (docs/decisions/064) */
    /* Whether this configuration can work at all, before anything runs; given[i]: port i of the table has an
     * input. NULL: the ranges of the options say everything. */
    tn_status (*check)(const void *config, const bool *given, tn_error *err);
    tn_stage_fn run;
} tn_stage_kind;

/* Paths given to a `many` port, in order (borrowed); returns how many. paths may be NULL to count. */
size_t tn_stage_many(const tn_stage_run *r, const tn_stage_kind *kind, const char *port, const char **paths,
                     const char **labels);
/* Path of one named port, or NULL. */
const char *tn_stage_path(const tn_stage_run *r, const tn_stage_kind *kind, const char *port);
/* The root of one named port; false if absent. */
bool tn_stage_root(const tn_stage_run *r, const tn_stage_kind *kind, const char *port, tn_digest *out);

/* Files of a work folder that go into an artifact, under the same names (NULL-ended). */
tn_status tn_stage_keep(const char *from, const char *to, const char *const *names, tn_error *err);

/* The built-in table, NULL-ended (kinds.c). */
extern const tn_stage_kind *const tn_stage_kinds[];
const tn_stage_kind              *tn_stage_find(const tn_stage_kind *const *kinds, const char *name);

#endif
