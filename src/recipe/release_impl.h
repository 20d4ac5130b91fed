/* release_impl.h - what the files that build a release share.
 *
 *   release.c         the order of building, copies, release.json and the card
 *   release_model.c   the model's files, the constitution, the recipe
 *   release_parts.c   reports, records, training runs, and what a replay reads
 *   release_papers.c  what is made of the content: bill of materials, statements */
#ifndef TN_RECIPE_RELEASE_IMPL_H
#define TN_RECIPE_RELEASE_IMPL_H

#include "recipe/release.h"

typedef struct release_builder {
    const tn_release_parts   *p;
    const tn_release_options *o;
    const char               *out;
    json_t                   *manifest, *parts;
    tn_digest                 model_root;
    char                     *recipe_hex, *log_root;
} release_builder;

tn_status release_no_memory(tn_error *err);
tn_status release_copy_file(const char *from, const char *to, tn_error *err);
/* An artifact to a place inside the release, byte for byte. */
tn_status release_copy_artifact(const char *from, const char *to, tn_error *err);
void      release_set_text(json_t *o, const char *key, const tn_digest *d);

tn_status release_put_model(release_builder *b, tn_error *err);
tn_status release_put_constitution(release_builder *b, tn_error *err);
tn_status release_put_recipe(release_builder *b, tn_error *err);
tn_status release_put_parts(release_builder *b, tn_error *err);
tn_status release_put_bom(release_builder *b, const tn_tree_file *files, size_t n, const tn_digest *content,
                          tn_error *err);
tn_status release_put_statements(release_builder *b, const tn_digest *content, tn_error *err);

#endif
