/* release_util.h - a release made by a recipe of toy stages, and ways to damage it. */
#ifndef TN_TESTS_RECIPE_RELEASE_UTIL_H
#define TN_TESTS_RECIPE_RELEASE_UTIL_H

#include "recipe/recipe.h"

extern const char *release_golden; /* folder of a small model in Hugging Face form */
int                release_setup(void **state);
int                release_teardown(void **state);
char              *release_at(const char *name);   /* path below the test's folder; a few are alive at once */
void               release_make(const char *name); /* run the recipe, with its release exported to `name` */
void               release_sign(const char *name); /* model.sig anew, with the same key */
json_t            *release_verdict(const char *name, int64_t replay);
void               release_without_store(bool without); /* verify as one who has nothing but the release */
/* checkpoints whose slices are not of the state that they name */
void release_other_state(bool other);
bool release_has_reason(const json_t *verdict, const char *what, const char *where);
/* Changes one byte after the first place of `text`, `skip` bytes on. */
void release_edit(const char *name, const char *text, size_t skip);
void release_flip_byte(const char *name, long offset);
/* random single bits, each found by verify, each put back */
void release_flips(const char *name, int n);
void release_replay_gives(tn_status status); /* what the stand-in for training answers */
int  release_replayed(void);                 /* stretches since the last call */

#endif
