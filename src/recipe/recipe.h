/* recipe.h - recipes: graphs of stages in YAML, planned, run from the store, compared, drawn, released,
 * verified.
 *
 *   recipe.yaml ── load (whole validation) ──→ tn_recipe ── run ──→ artifacts in the store, records under runs/
 *   release/    ── verify ──→ verdict {sound | wrong | unchecked, reasons}
 *
 * The "closure" of a stage, as release stages and records hold it, is an array in the order of execution:
 *   [{"name","kind","kind_version","params":{},"profile","inputs":{PORT:ROOT},"from":{PORT:SOURCE},"key","root","recorded"}...]
 * PORT of a list is "reports.0", "reports.1", ...; SOURCE is a stage's name, "NAME/path/inside", or what the
 * recipe wrote. */
#ifndef TN_RECIPE_RECIPE_H
#define TN_RECIPE_RECIPE_H

#include "recipe/stage.h"

typedef struct tn_recipe tn_recipe;

typedef struct tn_recipe_options {
    const char *const          *sets;    /* "key=value" or "stage.key=value", NULL-ended; or NULL */
    const tn_stage_kind *const *kinds;   /* NULL: the built-in table */
    const char                 *profile; /* NULL: the recipe's, else strict */
    int64_t                     seed;
    bool                        seed_given;
} tn_recipe_options;

/* Reads and validates everything that can be known before anything runs. USAGE and FORMAT name file and
 * line. */
tn_status   tn_recipe_load(tn_recipe **out, const char *path, const tn_recipe_options *o, tn_error *err);
void        tn_recipe_free(tn_recipe *r);
const char *tn_recipe_name(const tn_recipe *r);
/* The kinds of stages that a recipe may name; with kind, its inputs and options. made: free(*out). */
tn_status tn_recipe_kinds_help(char **out, const char *kind, tn_error *err);

typedef struct tn_run_options {
    const char *until; /* only this stage and what it needs; NULL: all */
    bool        rerun; /* compute even what is cached; VERIFY if a root differs */
    bool        quiet;
} tn_run_options;

/* {"recipe","stages":[{"name","kind","state":"cached|done|will
 * run","key"?,"root"?,"estimate_s"?,"rows"?,"rows_known"?,
 * "rows_changed"?}],"constitution"?:[{"id","change","fields"}]}. made. Kinds that take no time are computed
 * on the way ("done"), so that what comes after them is known; rows_known: rows of a stage that need no
 * computing. */
tn_status tn_recipe_plan(tn_recipe *r, tn_store *s, const char *until, json_t **out, tn_error *err);
/* The plan in words; made: free. */
tn_status tn_plan_text(const json_t *plan, char **out, tn_error *err);
/* Runs what is not in the store. *out (made, also on failure, may be NULL): the run's record with its
 * "id". */
tn_status tn_recipe_run(tn_recipe *r, tn_store *s, const tn_run_options *o, json_t **out, tn_error *err);
/* Why a stage would run again: {"stage","state","why":[{"what","before","now"}],"compared_with"}. made. */
tn_status tn_recipe_explain(tn_recipe *r, tn_store *s, const char *stage, json_t **out, tn_error *err);
/* The stages that read a source by this port ("constitution"), and all that come after them, in order:
 * [{"stage","kind","reads","rows"}]; rows: a change computes only the rows that it touches. made. */
tn_status tn_recipe_reach(const tn_recipe *r, const char *port, json_t **out, tn_error *err);
/* The graph as text; made: free. */
tn_status tn_recipe_dot(const tn_recipe *r, char **out, tn_error *err);
tn_status tn_recipe_svg(const tn_recipe *r, char **out, tn_error *err);

/* What differs between two run records: {"same":bool,"stages":[{"stage","what","a","b"}]}. made. */
tn_status tn_run_diff(const json_t *first, const json_t *second, json_t **out, tn_error *err);

/* A command that makes by itself what a stage makes, with the same function, computes always and is recorded
 * all the same: begin before the work, then end (which frees, whatever it returns) or drop. inputs:
 * NULL-ended pairs of port name and path (NULL: not given; a comma list where the kind's port takes many);
 * made: what its root is taken of. direct.c. */
typedef struct tn_direct tn_direct;
typedef struct tn_direct_what {
    const char        *command, *kind;
    json_t            *params; /* given: of tn_options_json */
    tn_profile         profile;
    const char *const *inputs;
    const char        *made;
    /* inputs below this folder are the command's own copies, which nobody else changes; or NULL */
    const char *own;
} tn_direct_what;
tn_direct *tn_direct_begin(void); /* NULL: no memory, which tn_direct_end then says */
tn_status  tn_direct_end(tn_direct *d, tn_store *s, const tn_direct_what *w, tn_error *err);
void       tn_direct_drop(tn_direct *d);

/* ---- releases: release.h draws the directory ----------------------------------------------------------- */
typedef struct tn_release_options {
    char *name, *version, *license, *base_model, *languages, *date, *summary, *use_case, *limits, *key,
        *passphrase_file;
    int64_t hold_mb;
} tn_release_options;
/* The rows of every table with them; at: where they lie in its config. */
// clang-format off
#define TN_RELEASE_OPTIONS(at, name_, name_help)                                                                                                                                                           \
    { "name",            TN_OPT_STR,  (at) + offsetof(tn_release_options, name),            name_,  0, 0, "", name_help, NULL },                                                                           \
    { "version",         TN_OPT_STR,  (at) + offsetof(tn_release_options, version),         "1",    0, 0, "", "its version", NULL },                                                                       \
    { "license",         TN_OPT_STR,  (at) + offsetof(tn_release_options, license),         NULL,   0, 0, "", "licence: an SPDX id, in lowercase as hubs write it, or a name", NULL },                     \
    { "base_model",      TN_OPT_STR,  (at) + offsetof(tn_release_options, base_model),      NULL,   0, 0, "", "what it was made from, as hubs name it (ORG/NAME)", NULL },                                 \
    { "languages",       TN_OPT_LIST, (at) + offsetof(tn_release_options, languages),       NULL,   0, 0, "", "languages, as codes: en,de", NULL },                                                        \
    { "date",            TN_OPT_STR,  (at) + offsetof(tn_release_options, date),            NULL,   0, 0, "", "date of the release, YYYY-MM-DD; none is put in by itself", NULL },                         \
    { "summary",         TN_OPT_STR,  (at) + offsetof(tn_release_options, summary),         NULL,   0, 0, "", "what it is, in a sentence or two", NULL },                                                  \
    { "use_case",        TN_OPT_STR,  (at) + offsetof(tn_release_options, use_case),        NULL,   0, 0, "", "what it is meant for", NULL },                                                              \
    { "limits",          TN_OPT_STR,  (at) + offsetof(tn_release_options, limits),          NULL,   0, 0, "", "what it is known not to do well", NULL },                                                   \
    { "key",             TN_OPT_STR,  (at) + offsetof(tn_release_options, key),             NULL,   0, 0, "", "signing key: a name of `tenet key`, or a PEM file", NULL },                                 \
    { "passphrase_file", TN_OPT_STR,  (at) + offsetof(tn_release_options, passphrase_file), NULL,   0, 0, "", "file whose first line is the key's passphrase", NULL },                                     \
    { "hold_mb",         TN_OPT_INT,  (at) + offsetof(tn_release_options, hold_mb),         "1024", 0, 1e9, "MB", "inputs of training up to this size are put in; larger ones are named by digest", NULL }
// clang-format on
extern const tn_option tn_release_option_rows[];

/* A training run's folder without what tells of a clock, a host, a speed or a path: what the artifact of a
 * train stage holds. Of such an artifact it makes the same bytes again. */
tn_status tn_train_run_take(const char *run, const char *out, tn_error *err);

typedef enum tn_release_role {
    TN_RELEASE_REPORT,
    TN_RELEASE_RECORD,
    TN_RELEASE_RUN,
    TN_RELEASE_INPUT
} tn_release_role;
typedef struct tn_release_part {
    tn_release_role role;
    const char     *name, *path;
} tn_release_part;
typedef struct tn_release_parts {
    const char            *model;        /* a directory in Hugging Face form, or a .gguf */
    const char            *model_from;   /* the stage it came from, as recipes write sources; or NULL */
    const char            *constitution; /* or NULL */
    const tn_release_part *parts;
    size_t                 n_part;
    const json_t          *closure;     /* or NULL: not made by a recipe */
    const char            *recipe_text; /* or NULL */
    tn_store              *store;       /* where inputs of training stages are found, to be held; or NULL */
    const tn_key          *key;         /* NULL: unsigned */
} tn_release_parts;
/* Builds the directory `out`, which must not exist; the same parts and options give the same bytes. */
tn_status tn_release_build(const tn_release_parts *p, const tn_release_options *o, const char *out,
                           json_t *metrics, tn_error *err);

/* A stretch of training to be computed again: steps from + 1 ... from + n of the run in run_dir. */
typedef struct tn_replay_request {
    const char   *run_dir;
    const json_t *stage; /* its row in the closure, or NULL */
    int64_t       from, n;
    /* path of an input of the stage, or NULL if it is not at hand */
    const char *(*find)(void *arg, const char *port);
    void       *arg;
    const char *missing; /* out: the port that was needed and is not at hand (status UNCHECKED) */
} tn_replay_request;
typedef tn_status (*tn_replay_fn)(tn_replay_request *q, tn_error *err); /* VERIFY: other bits */
extern const tn_replay_fn tn_replay_training;                           /* by the train room */

typedef struct tn_verify_options {
    const char        *key;          /* public key, PEM; NULL: verdict unchecked */
    const char        *certificates; /* trusted certificates, PEM, for directories signed with one; or NULL */
    const char *const *ignored;      /* names that may be left out of the signature, NULL-ended; or NULL */
    int64_t            replay;       /* stretches to compute again; -1: all; 0: none */
    uint64_t           coin;         /* fresh randomness for the choice of stretches */
    tn_replay_fn       replay_fn;    /* NULL: this build trains nothing, a replay is unchecked */
    tn_store          *store;        /* inputs that the release names but does not hold; or NULL */
    const char        *html;         /* where the verdict goes as a page; or NULL */
} tn_verify_options;
/* {"verdict":"sound|wrong|unchecked","reasons":[...],"checks":[{"name","state","text"}]}; made. A release
 * that is wrong is no error: status is TN_OK, the verdict says it. */
tn_status tn_release_verify(const char *dir, const tn_verify_options *o, json_t **verdict, tn_error *err);

/* ---- signing keys: <store>/identity/NAME.pem and NAME.pub.pem ------------------------------------------ */
/* How a passphrase is asked for at a terminal; set by cli. made: *out, wiped and freed by the caller. */
typedef tn_status (*tn_ask_fn)(const char *prompt, char **out, tn_error *err);
void      tn_signing_ask(tn_ask_fn ask);
tn_status tn_signing_paths(const char *store_dir, const char *name, char **path, char **pub, tn_error *err);
/* A name, or the path of a PEM file; passphrase from the file, TENET_KEY_PASSPHRASE, or asked for. */
tn_status tn_signing_passphrase(const char *file, const char *prompt, char **out, tn_error *err);
void      tn_signing_wipe(char *passphrase);
tn_status tn_signing_key(const char *store_dir, const char *name, const char *passphrase_file, tn_key **out,
                         tn_error *err);

#endif
