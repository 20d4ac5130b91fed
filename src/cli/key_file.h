/* key_file.h - passphrases asked for at the terminal, and folders signed by a key of the store. */
#ifndef TN_CLI_KEY_FILE_H
#define TN_CLI_KEY_FILE_H

#include "cli/cli.h"
#include "provenance/provenance.h"

/* One line from the terminal, not shown; as tn_ask_fn (recipe.h) wants it. */
tn_status tn_cli_ask(const char *prompt, char **out, tn_error *err);
/* The same, twice: for a new passphrase. */
tn_status tn_cli_ask_twice(const char *prompt, char **out, tn_error *err);
/* The key for --sign NAME (NULL: *out stays NULL); taken before the work that it signs, so that hours do not
 * end at a passphrase. */
tn_status tn_cli_sign_key(tn_key **out, const tn_common *common, const char *name,
                          const char *passphrase_file, tn_error *err);
/* model.sig over the folder, if there is a key. */
tn_status tn_cli_sign(const char *folder, const tn_key *key, tn_error *err);

#endif
