/* release_files.c - small facts about a release's files that building and checking share (see release.h). */
#include "recipe/release.h"

#include <stdlib.h>
#include <string.h>

bool recipe_release_is_derived(const char *name)
{
    return strcmp(name, RELEASE_BOM) == 0 || strcmp(name, RELEASE_STATEMENTS) == 0 ||
           strcmp(name, TN_OMS_FILE) == 0;
}

tn_status recipe_release_content_root(const tn_tree_file *files, size_t n, tn_digest *out, tn_error *err)
{
    tn_tree_file *content = calloc(n + 1, sizeof *content); /* names stay with `files` */
    size_t        k = 0;

    if (content == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu names", n);
    for (size_t i = 0; i < n; i++)
        if (!recipe_release_is_derived(files[i].name)) content[k++] = files[i];
    tn_status status = tn_tree_root(content, k, out, err);
    free(content);
    return status;
}
