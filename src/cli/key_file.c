/* key_file.c - where signing keys lie, and how their passphrase is had (see key_file.h). */
#include "cli/key_file.h"

#include "base/file.h"
#include "base/str.h"
#include "store/store.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { PASSPHRASE_MAX = 1024 };

tn_status tn_key_paths(const tn_common *common, const char *name, char **path, char **pub, tn_error *err)
{
    tn_store *s = NULL;
    bool      ok = name[0] != '\0' && name[0] != '.' && name[0] != '-' && strlen(name) <= 64;

    *path = *pub = NULL;
    for (const char *p = name; *p != '\0'; p++) ok = ok && (isalnum((unsigned char)*p) || *p == '.' || *p == '_' || *p == '-');
    if (!ok) return tn_fail(err, TN_USAGE, "'%.80s' is no name for a key: letters, digits, '.', '_' and '-', at most 64", name);
    TN_TRY(tn_store_open(&s, common->store, err));
    *path = tn_strf("%s/identity/%s.pem", tn_store_dir(s), name);
    *pub = tn_strf("%s/identity/%s.pub.pem", tn_store_dir(s), name);
    tn_store_close(s);
    return *path == NULL || *pub == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;
}

void tn_key_wipe(char *passphrase)
{
    if (passphrase == NULL) return;
    explicit_bzero(passphrase, strlen(passphrase));
    free(passphrase);
}

/* One line from the terminal, not shown. */
static tn_status ask(FILE *tty, const char *prompt, char **out, tn_error *err)
{
    struct termios before, hidden;
    char           line[PASSPHRASE_MAX + 2];
    int            fd = fileno(tty);

    fprintf(tty, "%s: ", prompt);
    fflush(tty);
    if (tcgetattr(fd, &before) != 0) return tn_fail(err, TN_IO, "the terminal does not answer: %s", strerror(errno));
    hidden = before;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(fd, TCSAFLUSH, &hidden);
    bool got = fgets(line, sizeof line, tty) != NULL;
    tcsetattr(fd, TCSAFLUSH, &before);
    fputc('\n', tty);
    if (got) line[strcspn(line, "\r\n")] = '\0';
    *out = got ? tn_strdup(line) : NULL;
    explicit_bzero(line, sizeof line);
    return *out == NULL ? tn_fail(err, TN_IO, "no passphrase was given") : TN_OK;
}

static tn_status ask_terminal(const char *prompt, bool twice, char **out, tn_error *err)
{
    FILE     *tty = fopen("/dev/tty", "r+");
    char     *again = NULL;
    tn_status status;

    if (tty == NULL)
        return tn_fail(err, TN_USAGE, "a passphrase is needed and there is no terminal to ask at: set TENET_KEY_PASSPHRASE or give "
                       "--passphrase-file");
    status = ask(tty, prompt, out, err);
    if (status == TN_OK && twice) {
        status = ask(tty, "The same again", &again, err);
        if (status == TN_OK && strcmp(*out, again) != 0) status = tn_fail(err, TN_USAGE, "the two passphrases differ: nothing was made");
    }
    tn_key_wipe(again);
    if (status != TN_OK) {
        tn_key_wipe(*out);
        *out = NULL;
    }
    fclose(tty);
    return status;
}

tn_status tn_key_passphrase(const char *file, const char *prompt, bool twice, char **out, tn_error *err)
{
    const char *env = getenv("TENET_KEY_PASSPHRASE");
    size_t      n = 0;

    *out = NULL;
    if (file != NULL) {
        TN_TRY(tn_file_read_all(out, &n, file, PASSPHRASE_MAX, err));
        (*out)[strcspn(*out, "\r\n")] = '\0';
    } else if (env != NULL) {
        if ((*out = tn_strdup(env)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a passphrase");
    } else {
        TN_TRY(ask_terminal(prompt, twice, out, err));
    }
    if ((*out)[0] != '\0') return TN_OK;
    tn_key_wipe(*out);
    *out = NULL;
    return tn_fail(err, TN_USAGE, "the passphrase is empty: a signing key is kept encrypted, so it needs one");
}

tn_status tn_key_for_signing(const tn_common *common, const char *name, const char *passphrase_file, tn_key **out, tn_error *err)
{
    char     *path = NULL, *pub = NULL, *pass = NULL, *prompt = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    if (strchr(name, '/') != NULL || tn_ends_with(name, ".pem")) {
        if ((path = tn_strdup(name)) == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
    } else {
        status = tn_key_paths(common, name, &path, &pub, err);
    }
    if (status != TN_OK) goto out;
    if (!tn_exists(path)) {
        status = tn_fail(err, TN_NOTFOUND, "there is no key '%s' (looked for %s): `tenet key new NAME` makes one", name, path);
        goto out;
    }
    if (tn_key_is_encrypted(path)) {
        prompt = tn_strf("Passphrase of key %s", name);
        TN_GOTO(tn_key_passphrase(passphrase_file, prompt != NULL ? prompt : "Passphrase", false, &pass, err));
    }
    status = tn_key_load_private(out, path, pass, err);
out:
    tn_key_wipe(pass);
    free(prompt);
    free(path);
    free(pub);
    return status;
}
