/* key_file.c - asks for a passphrase at the terminal, takes a signing key of the store, signs a folder (see
 * key_file.h). */
#include "cli/key_file.h"

#include "base/str.h"
#include "recipe/recipe.h"
#include "base/file.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

enum { LINE_MAX_BYTES = 1024 };

tn_status tn_cli_ask(const char *prompt, char **out, tn_error *err)
{
    struct termios before, hidden;
    char           line[LINE_MAX_BYTES];
    FILE          *tty = fopen("/dev/tty", "r+");

    *out = NULL;
    if (tty == NULL)
        return tn_fail(
            err, TN_USAGE,
            "a passphrase is needed and there is no terminal to ask at: set TENET_KEY_PASSPHRASE or give "
            "--passphrase-file");
    if (tcgetattr(fileno(tty), &before) != 0) {
        fclose(tty);
        return tn_fail(err, TN_IO, "the terminal does not answer: %s", strerror(errno));
    }
    fprintf(tty, "%s: ", prompt);
    fflush(tty);
    hidden = before;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(fileno(tty), TCSAFLUSH, &hidden);
    bool got = fgets(line, sizeof line, tty) != NULL;
    tcsetattr(fileno(tty), TCSAFLUSH, &before);
    fputc('\n', tty);
    fclose(tty);
    if (got) line[strcspn(line, "\r\n")] = '\0';
    *out = got ? tn_strdup(line) : NULL;
    explicit_bzero(line, sizeof line);
    return *out == NULL ? tn_fail(err, TN_IO, "no passphrase was given") : TN_OK;
}

tn_status tn_cli_ask_twice(const char *prompt, char **out, tn_error *err)
{
    char     *again = NULL;
    tn_status status = tn_cli_ask(prompt, out, err);

    if (status == TN_OK) status = tn_cli_ask("The same again", &again, err);
    if (status == TN_OK && strcmp(*out, again) != 0)
        status = tn_fail(err, TN_USAGE, "the two passphrases differ: nothing was made");
    tn_signing_wipe(again);
    if (status != TN_OK) {
        tn_signing_wipe(*out);
        *out = NULL;
    }
    return status;
}

tn_status tn_cli_sign_key(tn_key **out, const tn_common *common, const char *name,
                          const char *passphrase_file, tn_error *err)
{
    tn_store *store = NULL;
    tn_status status;

    *out = NULL;
    if (name == NULL) return TN_OK;
    TN_TRY(tn_store_open(&store, common->store, err));
    tn_signing_ask(tn_cli_ask);
    status = tn_signing_key(tn_store_dir(store), name, passphrase_file, out, err);
    tn_store_close(store);
    return status;
}

tn_status tn_cli_sign(const char *folder, const tn_key *key, tn_error *err)
{
    char     *real = realpath(folder, NULL); /* "." and "runs/" have a name too */
    tn_status status = TN_OK;

    if (key != NULL) status = tn_oms_sign(folder, tn_basename(real != NULL ? real : folder), key, err);
    free(real);
    return status;
}
