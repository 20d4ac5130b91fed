/* supervise.h - keeping a training run alive: see supervise.c. Private to the room. */
#ifndef TN_CLI_SUPERVISE_H
#define TN_CLI_SUPERVISE_H

#include "base/err.h"

/* In the environment of all that a supervisor started: the name of its job. */
#define TN_SUPERVISED "TENET_SUPERVISED"

/* How a supervised process ends in place of 1 and 3 after an error that all ranks met together, and would meet
 * again. 1 and 3 may be one rank's alone, or the launcher's own; 3 is also how a rank ends that is not sound. */
enum { TN_SUPERVISED_ERROR = 4, TN_SUPERVISED_WRONG = 5 };

/* Runs this program with `words` (NULL-ended) as a child, again and again until it ends well. out: the run's
 * directory. launch: of several ranks. */
tn_status tn_cli_supervise(const char *const *words, const char *out, const char *launch, int ranks,
                           int restarts, tn_error *err);

#endif
