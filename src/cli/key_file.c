/* key_file.c - asking for a passphrase at the terminal (see key_file.h). */
#include "cli/key_file.h"

#include "base/str.h"
#include "recipe/recipe.h"

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
        return tn_fail(err, TN_USAGE, "a passphrase is needed and there is no terminal to ask at: set TENET_KEY_PASSPHRASE or give "
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
    if (status == TN_OK && strcmp(*out, again) != 0) status = tn_fail(err, TN_USAGE, "the two passphrases differ: nothing was made");
    tn_signing_wipe(again);
    if (status != TN_OK) {
        tn_signing_wipe(*out);
        *out = NULL;
    }
    return status;
}
