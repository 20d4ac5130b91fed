/* key_file.h - asking for a passphrase at the terminal. */
#ifndef TN_CLI_KEY_FILE_H
#define TN_CLI_KEY_FILE_H

#include "base/err.h"

/* One line from the terminal, not shown; as tn_ask_fn (recipe.h) wants it. */
tn_status tn_cli_ask(const char *prompt, char **out, tn_error *err);
/* The same, twice: for a new passphrase. */
tn_status tn_cli_ask_twice(const char *prompt, char **out, tn_error *err);

#endif
