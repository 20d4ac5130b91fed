/* shipped.c - files that come with the program (recipes, tasks, prompts): beside the folder that holds the
 * executable, above it, or in share/tenet there; for some also in the folder where the user works, which
 * comes first. */
#include "cli/cli.h"
#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

tn_status tn_cli_shipped(char **out, const char *name, bool here, const char *option, tn_error *err)
{
    static const char *const places[] = { "", "share/tenet/" };
    char                     exe[4096];
    ssize_t                  n = readlink("/proc/self/exe", exe, sizeof exe - 1);

    *out = NULL;
    if (here && tn_exists(name))
        return (*out = tn_strdup(name)) != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a path");
    exe[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(exe, '/');
        if (slash == NULL) break;
        *slash = '\0';
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            if ((*out = tn_strf("%s/%s%s", exe, places[i], name)) == NULL)
                return tn_fail(err, TN_NOMEM, "no memory for a path");
            if (tn_exists(*out)) return TN_OK;
            free(*out);
            *out = NULL;
        }
    }
    return tn_fail(err, TN_NOTFOUND, "%s is not found beside the program: name it with %s", name, option);
}
