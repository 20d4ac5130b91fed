/* verify.h - what the files of verification share (see tn_release_verify in recipe.h).
 *
 *   verify.c          the order of the checks, the signature, the files
 *   verify_weights.c  which tensor and which byte of a weights file differ
 *   verify_content.c  release.json, model, parts, constitution, bill of materials, statements
 *   verify_made.c     closure, recipe, step logs
 *   verify_replay.c   stretches of training computed again (replay_train.c), and the model's file (replay_export.c)
 *   verdict_page.c    the verdict as a page */
#ifndef TN_RECIPE_VERIFY_H
#define TN_RECIPE_VERIFY_H

#include "recipe/release.h"

typedef struct verifier {
    const char              *dir;
    const tn_verify_options *o;
    tn_key                  *key;
    json_t                  *reasons, *checks;
    bool                     unchecked;
    tn_tree_file            *files; /* of the whole directory, by name */
    size_t                   n;
    json_t                  *manifest; /* release.json, or NULL */
    tn_digest                content;
} verifier;

/* The file of this name, or NULL. */
const tn_tree_file *recipe_verify_file(const verifier *v, const char *name);
/* Root of what lies at `path` of the release (a file or everything below). false: nothing there. */
bool recipe_verify_root_at(const verifier *v, const char *path, bool directory, tn_digest *out);
void recipe_verify_wrong(verifier *v, const char *what, const char *where, const char *expected,
                         const char *found);
/* One line of the verdict; ok, with this text (taken, freed), if no reason came since `before`; else wrong,
 * with the first reason. */
void recipe_verify_line(verifier *v, const char *name, size_t before, char *text);
/* The same with a state of its own: "ok", "wrong", "unchecked". The reasons since `before` are this
 * line's. */
void   recipe_verify_check(verifier *v, const char *name, const char *state, size_t before, const char *text);
size_t recipe_verify_mark(const verifier *v);
const char   *recipe_verify_text(const json_t *o, const char *key); /* "" if absent */
const json_t *recipe_verify_stage(const verifier *v, const char *name, size_t n_name);
/* What `from` names in the closure must have this root; false and a reason if not. */
bool recipe_verify_origin(verifier *v, const char *from, const char *root, const char *where);

/* verify_weights.c: adds to "file differs" of a weights file which tensor it is, and where. */
bool recipe_verify_is_weights(const char *name);
void recipe_verify_locate(verifier *v, json_t *reason);

/* replay_train.c: an option's value in JSON as the text that sets it (made: free); whether it is none. */
char *recipe_value_text(const json_t *v);
bool  recipe_value_is_empty(const json_t *v);

/* replay_export.c: the stage that `row` of the closure tells of, run again; what it makes, or what lies
 * `inside` of that, against the release's model. VERIFY: other bytes; UNCHECKED: an input that find does not
 * know. */
tn_status recipe_replay_export(const verifier *v, const json_t *row, const char *inside,
                               const char *(*find)(void *arg, const char *port), void *arg, tn_error *err);

tn_status recipe_verify_content(verifier *v, tn_error *err);
tn_status recipe_verify_made(verifier *v, tn_error *err);
tn_status recipe_verify_replay(verifier *v, tn_error *err);
tn_status recipe_verdict_page(const json_t *verdict, const char *dir, const char *path, tn_error *err);

#endif
