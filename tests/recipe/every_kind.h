/* every_kind.h - a store of the test's own, and the recipe of tests/golden/recipe that uses every stage
 * kind. */
#ifndef TN_TESTS_RECIPE_EVERY_KIND_H
#define TN_TESTS_RECIPE_EVERY_KIND_H

#include "recipe/recipe.h"

extern const char *every_kind_dir; /* tests/golden/recipe; set by main from its first argument */
int                every_kind_setup(void **state); /* a store with the signing key "lab" */
int                every_kind_teardown(void **state);
tn_store          *every_kind_store(void);
/* A path below the test's folder; a few are alive at once. */
char *every_kind_at(const char *name);
/* Runs `path` (NULL: every-kind.yaml) in the store; record made, or NULL not wanted. */
tn_status every_kind_run(const char *path, const char *const *sets, const tn_run_options *o, json_t **record,
                         tn_error *err);
/* A stage's row of a run's record. */
json_t *every_kind_row(const json_t *record, const char *stage);

#endif
