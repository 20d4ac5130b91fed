/* shipped.c - files that come with the program (recipes): beside the folder that holds the executable, or above it. */
#include "cli/cli.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

tn_status tn_cli_shipped(char **out, const char *name, tn_error *err)
{
    char    exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

    for (int up = 0; n > 0 && up < 3; up++) {
        exe[n] = '\0';
        char *slash = strrchr(exe, '/');
        if (slash == NULL) break;
        n = slash - exe;
        exe[n] = '\0';
        char *path = tn_path(exe, name);
        if (path != NULL && tn_exists(path)) {
            *out = path;
            return TN_OK;
        }
        free(path);
    }
    return tn_fail(err, TN_NOTFOUND, "%s is not found beside the program: name it with --recipe", name);
}
