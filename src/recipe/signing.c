/* signing.c - where signing keys lie, and how their passphrase is had.
 *
 *   <store>/identity/NAME.pem       private, encrypted, mode 0600
 *   <store>/identity/NAME.pub.pem   public */
#include "recipe/recipe.h"

#include "base/file.h"
#include "base/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { PASSPHRASE_MAX = 1024 };

static tn_ask_fn ask_terminal;

void tn_signing_ask(tn_ask_fn ask) { ask_terminal = ask; }

tn_status tn_signing_paths(const char *store_dir, const char *name, char **path, char **pub, tn_error *err)
{
    bool ok = name[0] != '\0' && name[0] != '.' && name[0] != '-' && strlen(name) <= 64;

    *path = *pub = NULL;
    for (const char *p = name; *p != '\0'; p++)
        ok = ok && (isalnum((unsigned char)*p) || *p == '.' || *p == '_' || *p == '-');
    if (!ok)
        return tn_fail(err, TN_USAGE,
                       "'%.80s' is no name for a key: letters, digits, '.', '_' and '-', at most 64", name);
    *path = tn_strf("%s/identity/%s.pem", store_dir, name);
    *pub = tn_strf("%s/identity/%s.pub.pem", store_dir, name);
    return *path == NULL || *pub == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;
}

void tn_signing_wipe(char *passphrase)
{
    if (passphrase == NULL) return;
    explicit_bzero(passphrase, strlen(passphrase));
    free(passphrase);
}

tn_status tn_signing_passphrase(const char *file, const char *prompt, char **out, tn_error *err)
{
    const char *env = getenv("TENET_KEY_PASSPHRASE");
    size_t      n = 0;

    *out = NULL;
    if (file != NULL) {
        TN_TRY(tn_file_read_all(out, &n, file, PASSPHRASE_MAX, err));
        (*out)[strcspn(*out, "\r\n")] = '\0';
    } else if (env != NULL) {
        if ((*out = tn_strdup(env)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a passphrase");
    } else if (ask_terminal != NULL) {
        TN_TRY(ask_terminal(prompt, out, err));
    } else {
        return tn_fail(err, TN_USAGE,
                       "a passphrase is needed: set TENET_KEY_PASSPHRASE or give --passphrase-file");
    }
    if ((*out)[0] != '\0') return TN_OK;
    tn_signing_wipe(*out);
    *out = NULL;
    return tn_fail(err, TN_USAGE,
                   "the passphrase is empty: a signing key is kept encrypted, so it needs one");
}

tn_status tn_signing_key(const char *store_dir, const char *name, const char *passphrase_file, tn_key **out,
                         tn_error *err)
{
    char     *path = NULL, *pub = NULL, *pass = NULL, *prompt = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    if (strchr(name, '/') != NULL || tn_ends_with(name, ".pem")) {
        if ((path = tn_strdup(name)) == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
    } else {
        status = tn_signing_paths(store_dir, name, &path, &pub, err);
    }
    if (status != TN_OK) goto out;
    if (!tn_exists(path)) {
        status = tn_fail(err, TN_NOTFOUND,
                         "there is no key '%s' (looked for %s): `tenet key new NAME` makes one", name, path);
        goto out;
    }
    if (tn_key_is_encrypted(path)) {
        prompt = tn_strf("Passphrase of key %s", name);
        TN_GOTO(tn_signing_passphrase(passphrase_file, prompt != NULL ? prompt : "Passphrase", &pass, err));
    }
    status = tn_key_load_private(out, path, pass, err);
out:
    tn_signing_wipe(pass);
    free(prompt);
    free(path);
    free(pub);
    return status;
}
