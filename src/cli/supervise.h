/* supervise.h - keeping a training run alive: see supervise.c. Private to the room. */
#ifndef TN_CLI_SUPERVISE_H
#define TN_CLI_SUPERVISE_H

#include "base/err.h"

/* Runs this command line again without --supervise, as a child, until it ends well. out: the run's directory. */
tn_status tn_cli_supervise(const char *out, const char *launch, int ranks, int restarts, tn_error *err);

#endif
