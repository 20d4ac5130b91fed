/* files.c - which files a folder of data means. */
#include "data/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

/* What lies in a folder without being meant as data: hidden files, those of hidden folders (.git,
 * .ipynb_checkpoints), and what editors leave (a.txt~, #a.txt#). rel: below the folder. */
static bool is_aside(const char *rel)
{
    for (const char *s = rel; *s != '\0';) {
        size_t n = strcspn(s, "/");
        if (n > 0 && (s[0] == '.' || s[n - 1] == '~' || (n > 1 && s[0] == '#' && s[n - 1] == '#')))
            return true;
        s += n + (s[n] == '/');
    }
    return false;
}

static tn_status folder_each(const char *path, tn_data_file_fn fn, void *arg, tn_error *err)
{
    char      **files = NULL;
    const char *aside = NULL;
    size_t      n_file = 0, n_aside = 0;
    tn_status   status = tn_list_files(&files, &n_file, path, err);

    for (size_t i = 0; status == TN_OK && i < n_file; i++) {
        if (is_aside(files[i])) {
            if (n_aside++ == 0) aside = files[i];
            continue;
        }
        char *full = tn_path(path, files[i]);
        status = full != NULL ? fn(arg, full, true, err) : tn_fail(err, TN_NOMEM, "%s: out of memory", path);
        free(full);
    }
    if (status == TN_OK && n_aside > 0 && n_aside == n_file)
        status = tn_fail(err, TN_FORMAT,
                         "%s holds hidden files and editors' copies only (%s), which are no data; name the "
                         "file itself to take it",
                         path, aside);
    if (status == TN_OK && n_aside > 0)
        tn_log(TN_LOG_INFO, "%s: %zu hidden files or editors' copies are left out, %s the first", path,
               n_aside, aside);
    tn_list_free(files, n_file);
    return status;
}

tn_status tn_data_each_file(const char *path, tn_data_file_fn fn, void *arg, tn_error *err)
{
    if (!tn_exists(path)) return tn_fail(err, TN_NOTFOUND, "%s: no such file or directory", path);
    return tn_is_dir(path) ? folder_each(path, fn, arg, err) : fn(arg, path, false, err);
}
