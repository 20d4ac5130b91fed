/* record.h - a line in the ledger for what a command made by itself. */
#ifndef TN_CLI_RECORD_H
#define TN_CLI_RECORD_H

#include "cli/cli.h"
#include "recipe/recipe.h"

/* Best effort: where no store can be opened the command has done its work all the same. Takes d. */
void tn_cli_record(const tn_common *common, tn_direct *d, const tn_direct_what *w);
/* The same for a command that makes `made` of one model (as people name it; NULL: none that lies here). */
void tn_cli_record_made(const tn_common *common, tn_direct *d, const char *command, const char *kind, const tn_option *options, const void *config,
                        const char *model, const char *made);

#endif
