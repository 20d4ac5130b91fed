/* record.c - a line in the ledger for what a command made by itself (see record.h). */
#include "cli/record.h"

#include "base/log.h"

#include <stdlib.h>

void tn_cli_record(const tn_common *common, tn_direct *d, const tn_direct_what *w)
{
    tn_store *s = NULL;
    tn_error  why = { .msg = "" };

    if (tn_store_open(&s, common->store, &why) != TN_OK) {
        tn_direct_drop(d);
        json_decref(w->params);
        tn_log(TN_LOG_DEBUG, "not recorded: %s", why.msg);
        return;
    }
    if (tn_direct_end(d, s, w, &why) != TN_OK)
        tn_log(TN_LOG_WARN, "%s is done, but it could not be recorded: %s", w->command, why.msg);
    tn_store_close(s);
}

enum { INPUTS_MAX = 16 }; /* the most ports of a kind that a command records */

void tn_cli_record_made(const tn_common *common, tn_direct *d, const char *command, const char *kind,
                        const tn_option *options, const void *config, const char *model,
                        const char *const *also, const char *made)
{
    const char *inputs[2 * INPUTS_MAX + 1] = { "model", model };
    char       *paths[INPUTS_MAX] = { NULL };
    size_t      n = 1;

    for (; also != NULL && also[2 * (n - 1)] != NULL; n++) {
        if (n == INPUTS_MAX) tn_bug("%s records more than %d inputs", command, INPUTS_MAX);
        inputs[2 * n] = also[2 * (n - 1)];
        inputs[2 * n + 1] = also[2 * (n - 1) + 1];
    }
    for (size_t i = 0; i < n; i++) {
        if (inputs[2 * i + 1] != NULL &&
            tn_cli_model_path(common, inputs[2 * i + 1], &paths[i], NULL) != TN_OK)
            paths[i] = NULL;
        inputs[2 * i + 1] = paths[i];
    }
    tn_cli_record(common, d,
                  &(tn_direct_what){ .command = command,
                                     .kind = kind,
                                     .params = tn_options_json(config, options),
                                     .profile = common->profile_id,
                                     .inputs = inputs,
                                     .made = made });
    for (size_t i = 0; i < n; i++) free(paths[i]);
}
