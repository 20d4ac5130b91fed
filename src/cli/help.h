/* help.h - the texts of `tenet` and `tenet help`, made from the command and option tables. Private to cli. */
#ifndef TN_CLI_HELP_H
#define TN_CLI_HELP_H

#include "cli/cli.h"

/* What tenet can do, in one screen. */
tn_status tn_help_overview(void);
/* The kinds of stages that a recipe may name; with kind, its inputs and options. */
tn_status tn_help_stages(const char *kind, tn_error *err);
/* One command: usage, paragraphs, its options, the common ones. */
tn_status tn_help_command(const tn_command *c, const tn_option *common, tn_error *err);

#endif
