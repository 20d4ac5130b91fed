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
    if (tn_direct_end(d, s, w, &why) != TN_OK) tn_log(TN_LOG_WARN, "%s is done, but it could not be recorded: %s", w->command, why.msg);
    tn_store_close(s);
}

void tn_cli_record_made(const tn_common *common, tn_direct *d, const char *command, const char *kind, const tn_option *options, const void *config,
                        const char *model, const char *made)
{
    char *path = NULL;

    if (model != NULL && tn_cli_model_path(common, model, &path, NULL) != TN_OK) path = NULL;
    tn_cli_record(common, d, &(tn_direct_what){ .command = command, .kind = kind, .params = tn_options_json(config, options), .profile = common->profile_id,
                                                .inputs = (const char *const[]){ "model", path, NULL }, .made = made });
    free(path);
}
