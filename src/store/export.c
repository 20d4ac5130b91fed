/* export.c - artifacts leave the store whole or not at all, and nothing is made from one that is not what its
 * name says.
 *
 *   objects/ab/cdef... ── copied ──→ .NAME.tenet-PID-n/out beside the target ── hashed, is it the artifact? ── renamed ──→ target
 *   objects/ab/cdef... ── hashed, once a process ──→ read by a stage, printed by `store cat`
 *
 * The copy is what is hashed, so a disk that wrote something else is found too. A place that a killed process
 * left beside the target is taken away by the next export to it: whoever works in one holds its lock. */
#include "store/store_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE_MARK ".tenet-"

/* ------------------------------------------------------------------------------------------- is it whole? */

static bool known_whole(const tn_store *s, const tn_digest *root)
{
    for (size_t i = 0; i < s->n_whole; i++)
        if (tn_digest_equal(&s->whole[i], root)) return true;
    return false;
}

void tn_store_know_whole(tn_store *s, const tn_digest *root)
{
    if (known_whole(s, root)) return;
    tn_digest *more = realloc(s->whole, (s->n_whole + 1) * sizeof *more);
    if (more == NULL) return; /* then it is hashed again */
    s->whole = more;
    s->whole[s->n_whole++] = *root;
}

tn_status tn_store_check(tn_store *s, const tn_digest *root, tn_error *err)
{
    char     *path = NULL, *want = NULL, *have = NULL;
    tn_digest found;
    tn_error  why = { .msg = "" };
    tn_status status = TN_OK;

    if (known_whole(s, root)) return TN_OK;
    TN_TRY(tn_store_path(s, root, &path, err));
    status = tn_tree_digest(path, &found, NULL, &why);
    if (status == TN_OK && tn_digest_equal(&found, root)) {
        tn_store_know_whole(s, root);
    } else if (status == TN_OK || status == TN_FORMAT) { /* other bytes, or a link where a file was */
        want = tn_digest_text(root);
        have = status == TN_OK ? tn_digest_text(&found) : tn_strdup(why.msg);
        status = tn_fail(err, TN_VERIFY,
                         "%.23s... is damaged in the store, found %s (`tenet store verify --remove` takes "
                         "damaged artifacts away; the next run makes them again)",
                         want != NULL ? want : path, have != NULL ? have : "something else");
    } else if (err != NULL) {
        *err = why;
    }
    free(path);
    free(want);
    free(have);
    return status;
}

/* ------------------------------------------------------------------------------------------------- copies */

/* One file: shared blocks where the file system can; a hard link only for what is too large to be worth a
 * copy, because whoever edits a link edits the store. Copies are writable again. */
static tn_status copy_file(const char *from, const char *to, bool may_link, tn_error *err)
{
    enum { LINK_BYTES = 1 << 30 };
    struct stat st, made;

    if (stat(from, &st) != 0) return tn_fail(err, TN_IO, "%s: %s", from, strerror(errno));
    TN_TRY(tn_file_clone(from, to, may_link && st.st_size >= LINK_BYTES, err));
    if (stat(to, &made) == 0 && made.st_ino != st.st_ino &&
        chmod(to, (st.st_mode & S_IXUSR) != 0 ? 0755 : 0644) != 0)
        return tn_fail(err, TN_IO, "%s: cannot set its mode: %s", to, strerror(errno));
    return TN_OK;
}

static tn_status no_memory(tn_error *err)
{
    return tn_fail(err, TN_NOMEM, "the store has no memory for a path");
}

tn_status tn_store_copy_tree(const char *from, const char *to, bool may_link, tn_error *err)
{
    struct stat st;
    char      **names = NULL;
    size_t      n = 0;
    tn_status   status = TN_OK;

    if (stat(from, &st) != 0)
        return tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: %s", from, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return copy_file(from, to, may_link, err);
    TN_TRY(tn_list_files(&names, &n, from, err));
    TN_GOTO(tn_mkdirs(to, err));
    for (size_t i = 0; i < n; i++) {
        char *a = tn_path(from, names[i]), *b = tn_path(to, names[i]),
             *slash = b == NULL ? NULL : strrchr(b, '/');
        if (a == NULL || b == NULL) {
            status = no_memory(err);
        } else {
            if (strchr(names[i], '/') != NULL) {
                *slash = '\0';
                status = tn_mkdirs(b, err);
                *slash = '/';
            }
            if (status == TN_OK) status = copy_file(a, b, may_link, err);
        }
        free(a);
        free(b);
        if (status != TN_OK) goto out;
    }
out:
    tn_list_free(names, n);
    return status;
}

/* ------------------------------------------------------------------------------ a place beside the target */

typedef struct place {
    char *dir;
    int   lock;
} place;

/* What nobody holds was left by a process that is gone. */
static void sweep_places(const char *folder, const char *mark)
{
    DIR           *d = opendir(folder);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (!tn_starts_with(e->d_name, mark)) continue;
        char *path = tn_path(folder, e->d_name);
        int   fd = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) tn_remove_tree(path, NULL);
        if (fd >= 0) close(fd);
        free(path);
    }
    if (d != NULL) closedir(d);
}

static tn_status place_open(place *p, const char *to, tn_error *err)
{
    static atomic_uint counter;
    const char        *name = tn_basename(to);
    char              *folder = name == to       ? tn_strdup(".")
                                : name == to + 1 ? tn_strdup("/")
                                                 : tn_strf("%.*s", (int)(name - to - 1), to),
         *mark = tn_strf(".%s" PLACE_MARK, name);
    struct stat held, named;
    tn_status   status = TN_OK;

    *p = (place){ NULL, -1 };
    if (folder == NULL || mark == NULL) {
        status = no_memory(err);
        goto out;
    }
    TN_GOTO(tn_mkdirs(folder, err));
    sweep_places(folder, mark);
    for (int attempt = 0; attempt < 100; attempt++) { /* a sweep may come between making and locking */
        char *dir = tn_strf("%s/%s%ld-%u", folder, mark, (long)getpid(), atomic_fetch_add(&counter, 1));
        if (dir == NULL || mkdir(dir, 0777) != 0) {
            status = dir == NULL
                         ? no_memory(err)
                         : tn_fail(err, TN_IO, "%s: cannot make the directory: %s", dir, strerror(errno));
            free(dir);
            goto out;
        }
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX) == 0 && fstat(fd, &held) == 0 && stat(dir, &named) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev) {
            *p = (place){ dir, fd };
            goto out;
        }
        if (fd >= 0) close(fd);
        free(dir);
    }
    status = tn_fail(err, TN_IO, "%s: cannot lock a place in it", folder);
out:
    free(folder);
    free(mark);
    return status;
}

static void place_close(place *p)
{
    if (p->dir != NULL) tn_remove_tree(p->dir, NULL);
    if (p->lock >= 0) close(p->lock);
    free(p->dir);
}

tn_status tn_store_export(tn_store *s, const tn_digest *root, const char *to, tn_error *err)
{
    char     *from = NULL, *copy = NULL, *target = tn_strdup(to);
    place     p = { NULL, -1 };
    tn_digest found;
    tn_status status = TN_OK;

    tn_path_trim(target);
    if (target == NULL) return no_memory(err);
    if (tn_exists(target)) {
        status = tn_fail(err, TN_USAGE, "%s exists already: choose another name, or remove it first", to);
        goto out;
    }
    TN_GOTO(tn_store_path(s, root, &from, err));
    TN_GOTO(place_open(&p, target, err));
    if ((copy = tn_path(p.dir, "out")) == NULL) {
        status = no_memory(err);
        goto out;
    }
    TN_GOTO(tn_store_copy_tree(from, copy, true, err));
    TN_GOTO(tn_tree_digest(copy, &found, NULL, err));
    if (!tn_digest_equal(&found, root)) {
        TN_GOTO(tn_store_check(s, root, err));
        status = tn_fail(
            err, TN_IO,
            "%s: what was written there reads back as something else: the disk or its driver is at fault",
            to);
        goto out;
    }
    tn_store_know_whole(s, root);
    status = tn_rename(copy, target, err);
out:
    if (status != TN_OK) tn_fail_prefix(err, status, "nothing was put at %s", to);
    place_close(&p);
    free(from);
    free(copy);
    free(target);
    return status;
}
