/* recipe_impl.h - what the files of this room share. */
#ifndef TN_RECIPE_RECIPE_IMPL_H
#define TN_RECIPE_RECIPE_IMPL_H

#include "base/str.h"
#include "recipe/recipe.h"

#include <time.h>

/* Where one input comes from: a stage (or a path inside what it makes), a file, or the store. */
typedef struct recipe_ref {
    int       port;
    int       line;
    char     *text;  /* as written, variables put in; a path from --set by its last part alone */
    int       stage; /* index, or -1 */
    char     *sub;   /* path inside, or NULL */
    char     *path;  /* source file or directory; NULL: a name or digest of the store */
    bool      have_root;
    tn_digest root;
} recipe_ref;

typedef struct recipe_stage {
    char                *name, *file; /* file: of the recipe or of an include */
    int                  line;
    const tn_stage_kind *kind;
    void                *config;
    const char          *profile_name; /* its own `profile`, else the recipe's */
    tn_profile           profile;
    char                 salt[128]; /* what else its key holds (its kind says); known with the key */
    json_t              *params;    /* defaults included */
    recipe_ref          *refs;      /* ports in order */
    size_t               n_ref;
    /* while planning and running */
    bool      wanted, have_key, cached, have_root;
    tn_digest key, root;
    double    seconds;        /* of its execution in this run; -1: not executed */
    void     *held;           /* what its kind's `begin` made */
    int64_t   n_row, n_known; /* rows asked for and rows known from before; 0: no rows */
} recipe_stage;

typedef struct recipe_export {
    int   stage;
    char *to;
} recipe_export;

struct tn_recipe {
    char          *path, *dir, *name;
    char          *text; /* the whole recipe, includes and variables put in, nothing of this machine */
    const char    *profile_name;
    tn_profile     profile;
    recipe_stage  *stages; /* in the order of execution */
    size_t         n;
    recipe_export *exports;
    size_t         n_export;
    json_t        *vars; /* {name: value} as used */
    const tn_stage_kind *const *kinds;
};

int recipe_find(const tn_recipe *r, const char *name);
/* Marks `until` and what it needs; NULL: every stage. USAGE names the nearest stage. */
tn_status recipe_want(tn_recipe *r, const char *until, tn_error *err);
/* from its stamp if that is known */
tn_status recipe_source_root(tn_store *s, const char *path, tn_digest *root, tn_error *err);
/* Whether a file, or one in a directory, was changed between two moments. */
tn_status recipe_source_touched(const char *path, const struct timespec *from, const struct timespec *to,
                                bool *touched, tn_error *err);
/* USAGE, with the nearest name */
tn_status recipe_no_stage(const tn_recipe *r, const char *name, tn_error *err);
/* Roots of sources, then as far as roots are known: keys, and roots from the store; quick stages are
 * computed. */
tn_status recipe_sources(tn_recipe *r, tn_store *s, tn_error *err);
/* Roots of the stage's inputs; *ready false if a stage before it has none yet. Then its key. */
tn_status recipe_key(tn_recipe *r, tn_store *s, recipe_stage *st, bool *ready, tn_error *err);
/* [{"name",...}] of the stages that `st` is made of, itself left out, in order (see recipe.h). made. */
json_t *recipe_closure(const tn_recipe *r, const recipe_stage *st);
/* One row of that array; also what run records hold. */
json_t   *recipe_stage_json(const recipe_stage *st);
tn_status recipe_path_of(tn_recipe *r, tn_store *s, const recipe_ref *ref, char **path, tn_error *err);
/* {"type","started","machine",...}: what every record begins with. */
json_t     *recipe_record_begin(const char *type);
const char *recipe_build_id(void);

/* run.c: computes one stage, from its inputs to its record. */
tn_status recipe_run_stage(tn_recipe *r, tn_store *s, recipe_stage *st, bool rerun, tn_error *err);
/* Fills n_row and n_known of a stage that will run (both stay 0 when nothing is known); true: every row is
 * known. */
bool recipe_count_rows(tn_recipe *r, tn_store *s, recipe_stage *st);
/* changes.c: [{"id","change","fields"}] of the constitution since the newest run; NULL: none, or not known.
 * made. */
json_t *recipe_charter_changes(tn_recipe *r, tn_store *s);
/* Rows of the stage's artifact, and those that differ from its artifact before; false: there is none to
 * compare with. */
bool recipe_changed_rows(tn_recipe *r, tn_store *s, const recipe_stage *st, int64_t *n, int64_t *changed);
/* say.c */
void recipe_say_duration(char out[32], double seconds);
void recipe_say_plan(const tn_recipe *r, const json_t *plan);
void recipe_say_cached(tn_str *names);
/* another cached one; a full line is said first */
void recipe_add_name(tn_str *names, const char *name);
void recipe_say_done(const recipe_stage *st);

#endif
