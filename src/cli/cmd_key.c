/* cmd_key.c - `tenet key new NAME`, `tenet key show NAME`: signing keys, kept encrypted under
 * <store>/identity/. */
#include "cli/cli.h"
#include "cli/key_file.h"
#include "recipe/recipe.h"

#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct key_config {
    char *passphrase_file;
} key_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "passphrase_file", TN_OPT_STR, offsetof(key_config, passphrase_file), NULL, 0, 0, "", "file whose first line is the passphrase", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

static tn_status paths(const tn_common *common, const char *name, char **path, char **pub, tn_error *err)
{
    tn_store *s = NULL;

    *path = *pub = NULL;
    TN_TRY(tn_store_open(&s, common->store, err));
    tn_status status = tn_signing_paths(tn_store_dir(s), name, path, pub, err);
    tn_store_close(s);
    return status;
}

static tn_status say(const tn_common *common, const char *name, const tn_key *k, const char *path,
                     tn_error *err)
{
    if (common->json)
        return tn_cli_print_json(json_pack("{s:s,s:s,s:s,s:s}", "name", name, "hint", tn_key_hint(k), "pem",
                                           tn_key_pem(k), "path", path),
                                 err);
    fputs(tn_key_pem(k), stdout);
    return TN_OK;
}

static tn_status key_new(const tn_common *common, const key_config *c, const char *name, tn_error *err)
{
    char     *path = NULL, *pub = NULL, *dir = NULL, *pass = NULL, *slash;
    tn_key   *k = NULL;
    tn_status status = TN_OK;

    TN_GOTO(paths(common, name, &path, &pub, err));
    if (tn_exists(path)) {
        status = tn_fail(err, TN_USAGE,
                         "there is a key '%s' already (%s): choose another name; a key is never overwritten",
                         name, path);
        goto out;
    }
    tn_signing_ask(tn_cli_ask_twice);
    TN_GOTO(tn_signing_passphrase(c->passphrase_file, "Passphrase for the new key", &pass, err));
    TN_GOTO(tn_key_new(&k, err));
    if ((dir = tn_strdup(path)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    if ((slash = strrchr(dir, '/')) != NULL) {
        *slash = '\0';
        TN_GOTO(tn_mkdirs(dir, err));
    }
    TN_GOTO(tn_key_save(k, path, pass, err));
    TN_GOTO(tn_file_write_all(pub, tn_key_pem(k), strlen(tn_key_pem(k)), err));
    if (!common->quiet)
        fprintf(stderr, "key '%s': private part %s (encrypted), public part %s\n", name, path, pub);
    status = say(common, name, k, pub, err);
out:
    tn_signing_wipe(pass);
    tn_key_free(k);
    free(path);
    free(pub);
    free(dir);
    return status;
}

static tn_status key_show(const tn_common *common, const char *name, tn_error *err)
{
    char     *path = NULL, *pub = NULL;
    tn_key   *k = NULL;
    tn_status status;

    TN_GOTO(paths(common, name, &path, &pub, err));
    if ((status = tn_key_load_public(&k, pub, err)) == TN_NOTFOUND)
        status = tn_fail(err, TN_NOTFOUND,
                         "there is no key '%s' (looked for %s): `tenet key new %s` makes it", name, pub,
                         name);
    if (status == TN_OK) status = say(common, name, k, pub, err);
out:
    tn_key_free(k);
    free(path);
    free(pub);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    (void)n_arg;
    if (strcmp(args[0], "new") == 0) return key_new(common, config, args[1], err);
    if (strcmp(args[0], "show") == 0) return key_show(common, args[1], err);
    return tn_fail(err, TN_USAGE, "key: unknown word '%s': expected new or show", args[0]);
}

const tn_command tn_cmd_key = {
    .name = "key",
    .line = "make a signing key, or show its public part",
    .usage = "tenet key new NAME | tenet key show NAME",
    .more = "ECDSA P-256. The private part is kept encrypted with a passphrase, which is asked for at a "
            "terminal, or read from\n"
            "TENET_KEY_PASSPHRASE or --passphrase-file. `tenet key show NAME > NAME.pem` gives what others "
            "need to verify.",
    .options = options,
    .config_bytes = sizeof(key_config),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
