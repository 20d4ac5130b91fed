/* record.h - a line in the ledger for what a command made by itself. */
#ifndef TN_CLI_RECORD_H
#define TN_CLI_RECORD_H

#include "cli/cli.h"
#include "recipe/recipe.h"

/* Best effort: where no store can be opened the command has done its work all the same. Takes d. */
void tn_cli_record(const tn_common *common, tn_direct *d, const tn_direct_what *w);
/* The same for a command that makes `made` of a model and, as `also` (NULL-ended pairs of port and value;
 * NULL: of nothing else) says, of other models and files. Models as people name them; what is NULL or lies
 * elsewhere (an address) is no input. */
void tn_cli_record_made(const tn_common *common, tn_direct *d, const char *command, const char *kind,
                        const tn_option *options, const void *config, const char *model,
                        const char *const *also, const char *made);

#endif
