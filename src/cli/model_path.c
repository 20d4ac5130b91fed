/* model_path.c - MODEL, as people write it, to a path: what is there as a file or folder, else a name or
 * digest of the store (see cli.h). */
#include "cli/cli.h"

#include "base/file.h"
#include "base/str.h"
#include "store/store.h"

#include <string.h>

tn_status tn_cli_model_path(const tn_common *common, const char *text, char **path, tn_error *err)
{
    tn_store *store = NULL;
    tn_digest root;
    tn_status status;

    *path = NULL;
    if (text == NULL || text[0] == '\0')
        return tn_fail(err, TN_USAGE,
                       "no model was named: give -m with a folder, a .gguf file or a name in the store");
    if (tn_exists(text)) {
        if ((*path = tn_strdup(text)) == NULL)
            return tn_fail(err, TN_NOMEM, "%s: no memory for its name", text);
        return TN_OK;
    }
    if (strchr(text, '/') != NULL || tn_ends_with(text, ".gguf"))
        return tn_fail(err, TN_NOTFOUND, "%s: no such file or folder", text);
    TN_TRY(tn_store_open(&store, common->store, err));
    if ((status = tn_store_resolve(store, text, &root, err)) == TN_OK)
        status = tn_store_path(store, &root, path, err);
    else if (status == TN_NOTFOUND)
        tn_fail_prefix(err, status, "%s: no such file or folder here, and in the store", text);
    tn_store_close(store);
    return status;
}
