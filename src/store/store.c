/* store.c - opening a store, private work places, and artifacts by digest.
 *
 * An artifact comes into being in one rename: it is hashed and synced where it was made, then moved to its
 * name. Whoever sees the name sees the whole artifact. Two processes that make the same artifact move it to
 * the same place; the first wins and the second drops its copy, which had the same bytes. */
#include "store/store_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const rooms[] = {
    "objects", "keys", "seen", "names", "pins", "runs", "tmp", "work", "rows"
};

char *tn_store_hash_path(const tn_store *s, const char *room, const tn_digest *d)
{
    char hex[TN_SHA256_HEX];

    tn_hex(hex, d);
    return tn_strf("%s/%s/%.2s/%s", s->dir, room, hex, hex + 2);
}

static tn_status no_memory(tn_error *err)
{
    return tn_fail(err, TN_NOMEM, "the store has no memory for a path");
}

static tn_status default_dir(char **out, tn_error *err)
{
    const char *env = getenv("TENET_STORE"), *home = getenv("HOME");

    *out = NULL;
    if (env != NULL && env[0] != '\0') *out = tn_strdup(env);
    else if (home != NULL && home[0] != '\0') *out = tn_strf("%s/.local/share/tenet", home);
    else
        return tn_fail(err, TN_USAGE,
                       "neither --store, TENET_STORE nor HOME says where the store lies: give --store DIR");
    return *out == NULL ? no_memory(err) : TN_OK;
}

/* ---------------------------------------------------------------------------- private work places in tmp/ */

/* tmp/X belongs to whoever holds the lock of tmp/X.lock. What nobody holds was left by a process that is
 * gone. */
static void sweep_temp(tn_store *s)
{
    char          *tmp = tn_path(s->dir, "tmp");
    DIR           *d = tmp == NULL ? NULL : opendir(tmp);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (!tn_ends_with(e->d_name, ".lock")) continue;
        char *lock_path = tn_path(tmp, e->d_name);
        char *dir_path = tn_strndup(lock_path, lock_path == NULL ? 0 : strlen(lock_path) - 5);
        int   fd = lock_path == NULL ? -1 : open(lock_path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && dir_path != NULL && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (tn_remove_tree(dir_path, NULL) == TN_OK) unlink(lock_path);
        }
        if (fd >= 0) close(fd);
        free(lock_path);
        free(dir_path);
    }
    if (d != NULL) closedir(d);
    free(tmp);
}

/* Takes a lock file that no sweep has removed between its making and its locking. */
static tn_status lock_session(tn_store *s, const char *lock_path, tn_error *err)
{
    struct stat held, named;

    for (int attempt = 0; attempt < 100; attempt++) {
        int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) return tn_fail(err, TN_IO, "%s: cannot make it: %s", lock_path, strerror(errno));
        if (flock(fd, LOCK_EX) == 0 && fstat(fd, &held) == 0 && stat(lock_path, &named) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev) {
            s->session_lock = fd;
            return TN_OK;
        }
        close(fd);
    }
    return tn_fail(err, TN_IO, "%s: cannot lock it: %s", lock_path, strerror(errno));
}

static tn_status session_start(tn_store *s, tn_error *err)
{
    struct timespec t;
    char           *session = NULL, *lock_path = NULL;
    tn_status       status = TN_OK;

    if (s->session != NULL) return TN_OK;
    sweep_temp(s);
    clock_gettime(CLOCK_REALTIME, &t);
    session = tn_strf("%s/tmp/%ld-%lx%lx", s->dir, (long)getpid(), (long)t.tv_sec, t.tv_nsec);
    lock_path = session == NULL ? NULL : tn_strf("%s.lock", session);
    if (lock_path == NULL) {
        status = no_memory(err);
        goto out;
    }
    TN_GOTO(lock_session(s, lock_path, err));
    TN_GOTO(tn_mkdirs(session, err));
    s->session = session;
    session = NULL;
out:
    free(session);
    free(lock_path);
    return status;
}

tn_status tn_store_temp(tn_store *s, char **path, tn_error *err)
{
    *path = NULL;
    TN_TRY(session_start(s, err));
    char *dir = tn_strf("%s/%lld", s->session, (long long)s->n_temp++);
    if (dir == NULL) return no_memory(err);
    tn_status status = tn_mkdirs(dir, err);
    if (status == TN_OK) *path = dir;
    else free(dir);
    return status;
}

static void session_end(tn_store *s)
{
    if (s->session == NULL) return;
    char *lock_path = tn_strf("%s.lock", s->session);
    tn_remove_tree(s->session, NULL);
    if (lock_path != NULL) unlink(lock_path);
    close(s->session_lock);
    free(lock_path);
    free(s->session);
    s->session = NULL;
}

/* ----------------------------------------------------------------------------------------- open and close */

tn_status tn_store_open(tn_store **out, const char *dir, tn_error *err)
{
    tn_status status = TN_OK;
    tn_store *s = calloc(1, sizeof *s);
    char     *path = NULL;

    *out = NULL;
    if (s == NULL) return no_memory(err);
    s->lock = s->session_lock = -1;
    if (dir != NULL && dir[0] != '\0') {
        if ((s->dir = tn_strdup(dir)) == NULL) status = no_memory(err);
    } else {
        status = default_dir(&s->dir, err);
    }
    if (status != TN_OK) goto out;
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        free(path);
        if ((path = tn_path(s->dir, rooms[i])) == NULL) {
            status = no_memory(err);
            goto out;
        }
        if (tn_is_dir(path)) continue;
        if (tn_mkdirs(path, err) != TN_OK) {
            status = tn_fail_prefix(err, TN_IO,
                                    "the store at %s cannot be made (choose another with --store DIR or "
                                    "TENET_STORE)",
                                    s->dir);
            goto out;
        }
    }
    free(path);
    if ((path = tn_path(s->dir, "lock")) == NULL) {
        status = no_memory(err);
        goto out;
    }
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    /* a store on read-only media can still be read */
    if (s->lock < 0) s->lock = open(path, O_RDONLY | O_CLOEXEC);
    if (s->lock >= 0 && flock(s->lock, LOCK_SH | LOCK_NB) != 0) {
        tn_log(TN_LOG_INFO, "%s: waiting for a garbage collection to end", s->dir);
        if (flock(s->lock, LOCK_SH) != 0) {
            status = tn_fail(err, TN_IO, "%s: cannot lock it: %s", path, strerror(errno));
            goto out;
        }
    }
    *out = s;
    s = NULL;
out:
    free(path);
    tn_store_close(s);
    return status;
}

void tn_store_close(tn_store *s)
{
    if (s == NULL) return;
    session_end(s);
    tn_ledger_close(s);
    if (s->lock >= 0) close(s->lock);
    free(s->whole);
    free(s->dir);
    free(s);
}

const char *tn_store_dir(const tn_store *s) { return s->dir; }

/* ---------------------------------------------------------------------------------------------- artifacts */

static tn_status sync_path(const char *path, tn_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0) {
        tn_status status = tn_fail(err, TN_IO, "%s: cannot sync: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return status;
    }
    close(fd);
    return TN_OK;
}

/* Makes every file read-only and everything durable, children before parents. */
static tn_status seal(const char *path, tn_error *err)
{
    struct stat    st;
    DIR           *d;
    struct dirent *e;
    tn_status      status = TN_OK;

    if (lstat(path, &st) != 0) return tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode)) {
        if (chmod(path, (st.st_mode & S_IXUSR) != 0 ? 0555 : 0444) != 0)
            return tn_fail(err, TN_IO, "%s: cannot make it read-only: %s", path, strerror(errno));
        return sync_path(path, err);
    }
    if ((d = opendir(path)) == NULL) return tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
    while (status == TN_OK && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *child = tn_path(path, e->d_name);
        status = child == NULL ? no_memory(err) : seal(child, err);
        free(child);
    }
    closedir(d);
    return status == TN_OK ? sync_path(path, err) : status;
}

bool tn_store_has(tn_store *s, const tn_digest *root)
{
    char *path = tn_store_hash_path(s, "objects", root);
    bool  has = path != NULL && tn_exists(path);

    free(path);
    return has;
}

/* Moves what is sealed at `path` to its name. */
static tn_status move_in(const char *path, char *object, tn_error *err)
{
    char     *slash = strrchr(object, '/');
    tn_status status;

    *slash = '\0';
    status = tn_mkdirs(object, err);
    *slash = '/';
    TN_TRY(status);
    if (rename(path, object) != 0) {
        if (errno != EEXIST && errno != ENOTEMPTY && errno != EISDIR && errno != ENOTDIR)
            return tn_fail(err, TN_IO, "%s: cannot be moved into the store: %s", path, strerror(errno));
        return tn_remove_tree(path, err); /* another process was first, with the same bytes */
    }
    *slash = '\0';
    status = tn_fsync_dir(object, err);
    *slash = '/';
    return status;
}

tn_status tn_store_put(tn_store *s, const char *path, tn_digest *root, tn_error *err)
{
    char       *object = NULL;
    struct stat st, mine;
    tn_status   status = TN_OK;

    TN_TRY(tn_tree_digest(path, root, NULL, err));
    if ((object = tn_store_hash_path(s, "objects", root)) == NULL) return no_memory(err);
    if (tn_exists(object)) {
        tn_error why;
        if (tn_store_check(s, root, &why) == TN_OK) {
            status = tn_remove_tree(path, err);
            goto out;
        }
        tn_log(TN_LOG_WARN, "%s; this time it is replaced by what was made just now", why.msg);
        TN_GOTO(tn_remove_tree(object, err));
    }
    if (stat(path, &mine) != 0 || stat(s->dir, &st) != 0) {
        status = tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (mine.st_dev != st.st_dev) { /* another file system: a rename cannot cross */
        TN_GOTO(tn_store_add(s, path, root, err));
        status = tn_remove_tree(path, err);
        goto out;
    }
    TN_GOTO(seal(path, err));
    status = move_in(path, object, err);
    if (status == TN_OK) tn_store_know_whole(s, root);
out:
    free(object);
    return status;
}

tn_status tn_store_add(tn_store *s, const char *path, tn_digest *root, tn_error *err)
{
    char     *temp = NULL, *copy = NULL;
    tn_status status = TN_OK;

    TN_TRY(tn_store_temp(s, &temp, err));
    if ((copy = tn_path(temp, "copy")) == NULL) status = no_memory(err);
    if (status == TN_OK) status = tn_store_copy_tree(path, copy, false, err);
    if (status == TN_OK) status = tn_store_put(s, copy, root, err);
    tn_remove_tree(temp, NULL);
    free(temp);
    free(copy);
    return status;
}

tn_status tn_store_path(tn_store *s, const tn_digest *root, char **path, tn_error *err)
{
    char hex[TN_SHA256_HEX];

    if ((*path = tn_store_hash_path(s, "objects", root)) == NULL) return no_memory(err);
    if (tn_exists(*path)) return TN_OK;
    free(*path);
    *path = NULL;
    tn_hex(hex, root);
    return tn_fail(err, TN_NOTFOUND, "sha256:%s is not in the store at %s", hex, s->dir);
}

static int digest_order(const void *a, const void *b) { return memcmp(a, b, sizeof(tn_digest)); }

tn_status tn_store_list(tn_store *s, tn_digest **out, size_t *n, tn_error *err)
{
    char          *objects = tn_path(s->dir, "objects");
    DIR           *d = objects == NULL ? NULL : opendir(objects);
    struct dirent *e, *f;
    size_t         cap = 0;
    tn_status      status = TN_OK;

    *out = NULL;
    *n = 0;
    if (d == NULL) status = tn_fail(err, TN_IO, "%s/objects: %s", s->dir, strerror(errno));
    while (status == TN_OK && (e = readdir(d)) != NULL) {
        if (strlen(e->d_name) != 2 || e->d_name[0] == '.') continue;
        char *sub = tn_path(objects, e->d_name);
        DIR  *ds = sub == NULL ? NULL : opendir(sub);
        while (ds != NULL && status == TN_OK && (f = readdir(ds)) != NULL) {
            char      hex[80];
            tn_digest digest;
            snprintf(hex, sizeof hex, "%.2s%.70s", e->d_name, f->d_name);
            if (!tn_unhex(&digest, hex)) continue;
            if (*n == cap) {
                tn_digest *more = realloc(*out, (cap = cap == 0 ? 64 : 2 * cap) * sizeof **out);
                if (more == NULL) {
                    status = no_memory(err);
                    break;
                }
                *out = more;
            }
            (*out)[(*n)++] = digest;
        }
        if (ds != NULL) closedir(ds);
        free(sub);
    }
    if (d != NULL) closedir(d);
    free(objects);
    if (*n > 0) qsort(*out, *n, sizeof **out, digest_order);
    return status;
}
