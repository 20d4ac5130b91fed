/* stage_file.c - kind `file`: takes one file out of an artifact, or a whole artifact under another name.
 * A recipe uses it where a later stage wants a part of what an earlier one made. */
#include "recipe/stage.h"

#include "base/file.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct file_config {
    char *name;
} file_config;

// clang-format off
static const tn_option file_options[] = {
    { "name", TN_OPT_STR, offsetof(file_config, name), NULL, 0, 0, "", "path of the file inside the artifact", NULL },
    { NULL, TN_OPT_STR, 0, NULL, 0, 0, NULL, NULL, NULL },
};
// clang-format on

static const tn_stage_port file_inputs[] = {
    { "from", false, false, "the artifact to take it from" },
    { NULL, false, false, NULL },
};

static tn_status file_check(const void *config, const bool *given, tn_error *err)
{
    const file_config *c = config;

    (void)given;
    if (c->name == NULL)
        return tn_fail(err, TN_USAGE, "name is missing: the path of a file inside the artifact");
    return tn_path_is_plain(c->name)
               ? TN_OK
               : tn_fail(err, TN_USAGE, "name: expected a relative path inside the artifact, found '%s'",
                         c->name);
}

static tn_status file_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                          json_t *metrics, tn_error *err)
{
    const file_config *c = config;

    (void)r, (void)metrics;
    if (!tn_is_dir(inputs[0]))
        return tn_fail(
            err, TN_USAGE,
            "'from' is one file, not a folder with '%s' in it: give the file itself to what needs it",
            c->name);
    char *path = tn_path(inputs[0], c->name);
    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    tn_status status = tn_exists(path)
                           ? tn_file_clone(path, out, false, err)
                           : tn_fail(
                                 err, TN_NOTFOUND,
                                 "there is no '%s' in what 'from' names (`tenet store show` lists its files)",
                                 c->name);
    free(path);
    return status;
}

const tn_stage_kind tn_stage_file = {
    .name = "file",
    .version = 1,
    .line = "one file out of an artifact",
    .options = file_options,
    .config_bytes = sizeof(file_config),
    .inputs = file_inputs,
    .output = "a file",
    .quick = true,
    .check = file_check,
    .run = file_run,
};
