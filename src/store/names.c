/* names.c - names, pins, stage keys and the work places of stages: small files, each written whole by one
 * rename. */
#include "store/store_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static tn_status no_memory(tn_error *err)
{
    return tn_fail(err, TN_NOMEM, "the store has no memory for a path");
}

tn_status tn_store_read_root(const char *path, tn_digest *root, tn_error *err)
{
    char     *text = NULL;
    size_t    n = 0;
    tn_status status = tn_file_read_all(&text, &n, path, 256, err);

    if (status != TN_OK) return status;
    if (n == 72 && memcmp(text, "sha256:", 7) == 0 && text[71] == '\n') {
        text[71] = '\0';
        if (tn_unhex(root, text + 7)) {
            free(text);
            return TN_OK;
        }
    }
    free(text);
    return tn_fail(err, TN_FORMAT,
                   "%s: expected one line sha256:<64 hex digits>; remove the file, it will be made again",
                   path);
}

tn_status tn_store_write_root(const char *path, const tn_digest *root, tn_error *err)
{
    char line[80], hex[TN_SHA256_HEX];

    tn_hex(hex, root);
    int n = snprintf(line, sizeof line, "sha256:%s\n", hex);
    return tn_file_write_all(path, line, (size_t)n, err);
}

/* -------------------------------------------------------------------------------------------------- names */

tn_status tn_store_name_check(const char *name, tn_error *err)
{
    size_t n = strlen(name);
    bool   ok = n > 0 && n <= 128 && name[0] != '.' && name[0] != '-';

    for (size_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)name[i]) || name[i] == '.' || name[i] == '_' || name[i] == '-';
    if (!ok)
        return tn_fail(
            err, TN_USAGE,
            "'%.60s' is no name for the store: letters, digits, '.', '_' and '-', at most 128, not "
            "led by '.' or '-'",
            name);
    return TN_OK;
}

tn_status tn_store_name(tn_store *s, const char *name, const tn_digest *root, tn_error *err)
{
    TN_TRY(tn_store_name_check(name, err));
    char *path = tn_strf("%s/names/%s", s->dir, name);
    if (path == NULL) return no_memory(err);
    tn_status status = TN_OK;
    if (root != NULL) status = tn_store_write_root(path, root, err);
    else if (unlink(path) != 0 && errno != ENOENT)
        status = tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
    free(path);
    return status;
}

tn_status tn_store_names(tn_store *s, json_t **out, tn_error *err)
{
    char          *dir = tn_path(s->dir, "names");
    DIR           *d = dir == NULL ? NULL : opendir(dir);
    struct dirent *e;

    *out = json_object();
    while (d != NULL && (e = readdir(d)) != NULL) {
        tn_digest root;
        char     *path, *text;
        if (tn_store_name_check(e->d_name, NULL) != TN_OK) continue;
        path = tn_path(dir, e->d_name);
        if (path != NULL && tn_store_read_root(path, &root, NULL) == TN_OK &&
            (text = tn_digest_text(&root)) != NULL) {
            json_object_set_new(*out, e->d_name, json_string(text));
            free(text);
        }
        free(path);
    }
    if (d == NULL) tn_fail(err, TN_IO, "%s/names: %s", s->dir, strerror(errno));
    else closedir(d);
    free(dir);
    return d == NULL ? TN_IO : TN_OK;
}

static bool all_hex(const char *text)
{
    for (; *text != '\0'; text++)
        if (!((*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'f'))) return false;
    return true;
}

static tn_status resolve_prefix(tn_store *s, const char *prefix, tn_digest *root, bool *found, tn_error *err)
{
    tn_digest *all = NULL;
    size_t     n = 0, hits = 0, n_prefix = strlen(prefix);

    *found = false;
    TN_TRY(tn_store_list(s, &all, &n, err));
    for (size_t i = 0; i < n; i++) {
        char hex[TN_SHA256_HEX];
        tn_hex(hex, &all[i]);
        if (strncmp(hex, prefix, n_prefix) != 0) continue;
        *root = all[i];
        hits++;
    }
    free(all);
    if (hits > 1) return tn_fail(err, TN_USAGE, "%s... fits %zu artifacts: give more digits", prefix, hits);
    *found = hits == 1;
    return TN_OK;
}

static tn_status unknown_name(tn_store *s, const char *text, tn_error *err)
{
    json_t      *names = NULL, *v;
    const char  *key, *near = NULL;
    const char **list = NULL;
    size_t       n = 0;

    if (tn_store_names(s, &names, NULL) == TN_OK &&
        (list = calloc(json_object_size(names) + 1, sizeof *list)) != NULL) {
        json_object_foreach(names, key, v) list[n++] = key;
        near = tn_nearest(text, list);
    }
    tn_status status =
        near != NULL
            ? tn_fail(err, TN_NOTFOUND, "the store at %s has no artifact or name '%s'; did you mean '%s'?",
                      s->dir, text, near)
            : tn_fail(err, TN_NOTFOUND,
                      "the store at %s has no artifact or name '%s' (`tenet store ls` lists what is there)",
                      s->dir, text);
    free(list);
    json_decref(names);
    return status;
}

tn_status tn_store_resolve(tn_store *s, const char *text, tn_digest *root, tn_error *err)
{
    bool        is_digest = tn_starts_with(text, "sha256:"), found = false;
    const char *hex = is_digest ? text + 7 : text;

    if (is_digest && (!all_hex(hex) || strlen(hex) < 8 || strlen(hex) > 64))
        return tn_fail(err, TN_USAGE, "'%s' is no digest: sha256: and 8 to 64 lowercase hex digits", text);
    if (!is_digest && tn_store_name_check(text, NULL) == TN_OK) {
        char     *path = tn_strf("%s/names/%s", s->dir, text);
        tn_status status = path == NULL ? no_memory(err) : tn_store_read_root(path, root, err);
        free(path);
        if (status != TN_NOTFOUND) return status;
    }
    if (all_hex(hex) && strlen(hex) == 64 && tn_unhex(root, hex)) found = tn_store_has(s, root);
    else if (all_hex(hex) && strlen(hex) >= 8 && strlen(hex) < 64)
        TN_TRY(resolve_prefix(s, hex, root, &found, err));
    return found ? TN_OK : unknown_name(s, text, err);
}

/* --------------------------------------------------------------------------------------------------- pins */

static char *pin_path(const tn_store *s, const tn_digest *root)
{
    char hex[TN_SHA256_HEX];

    tn_hex(hex, root);
    return tn_strf("%s/pins/%s", s->dir, hex);
}

tn_status tn_store_pin(tn_store *s, const tn_digest *root, bool pinned, tn_error *err)
{
    char     *path = pin_path(s, root);
    tn_status status = TN_OK;

    if (path == NULL) return no_memory(err);
    if (pinned) status = tn_store_write_root(path, root, err);
    else if (unlink(path) != 0 && errno != ENOENT)
        status = tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
    free(path);
    return status;
}

bool tn_store_pinned(tn_store *s, const tn_digest *root)
{
    char *path = pin_path(s, root);
    bool  is = path != NULL && tn_exists(path);

    free(path);
    return is;
}

/* --------------------------------------------------------------------------------------------------- keys */

static tn_status get(tn_store *s, const char *room, const tn_digest *key, tn_digest *root, bool *found,
                     tn_error *err)
{
    char     *path = tn_store_hash_path(s, room, key);
    tn_error  why;
    tn_status status;

    *found = false;
    if (path == NULL) return no_memory(err);
    status = tn_store_read_root(path, root, &why);
    if (status == TN_FORMAT) tn_log(TN_LOG_WARN, "%s", why.msg);
    else if (status != TN_OK && status != TN_NOTFOUND && err != NULL) *err = why;
    *found = status == TN_OK;
    free(path);
    return status == TN_NOTFOUND || status == TN_FORMAT ? TN_OK : status;
}

static tn_status set(tn_store *s, const char *room, const tn_digest *key, const tn_digest *root,
                     tn_error *err)
{
    char     *path = tn_store_hash_path(s, room, key), *slash;
    tn_status status;

    if (path == NULL) return no_memory(err);
    slash = strrchr(path, '/');
    *slash = '\0';
    status = tn_mkdirs(path, err);
    *slash = '/';
    if (status == TN_OK) status = tn_store_write_root(path, root, err);
    free(path);
    return status;
}

tn_status tn_store_key_get(tn_store *s, const tn_digest *key, tn_digest *root, bool *found, tn_error *err)
{
    TN_TRY(get(s, "keys", key, root, found, err));
    *found = *found && tn_store_has(s, root);
    return TN_OK;
}

tn_status tn_store_key_set(tn_store *s, const tn_digest *key, const tn_digest *root, tn_error *err)
{
    return set(s, "keys", key, root, err);
}

tn_status tn_store_seen_get(tn_store *s, const tn_digest *stamp, tn_digest *root, bool *found, tn_error *err)
{
    return get(s, "seen", stamp, root, found, err);
}

tn_status tn_store_seen_set(tn_store *s, const tn_digest *stamp, const tn_digest *root, tn_error *err)
{
    return set(s, "seen", stamp, root, err);
}

/* -------------------------------------------------------------------------------------- places for stages */

tn_status tn_store_work_begin(tn_store *s, const tn_digest *key, tn_store_work *out, tn_error *err)
{
    char *path = tn_store_hash_path(s, "work", key),
         *lock_path = path == NULL ? NULL : tn_strf("%s.lock", path);
    struct stat held, named;
    tn_status   status = TN_OK;

    out->path = NULL;
    out->lock = -1;
    if (lock_path == NULL) {
        status = no_memory(err);
        goto out;
    }
    TN_GOTO(tn_mkdirs(path, err));
    for (;;) {
        int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) {
            status = tn_fail(err, TN_IO, "%s: cannot make it: %s", lock_path, strerror(errno));
            goto out;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            tn_log(TN_LOG_INFO, "another process works on this stage: waiting for it");
            while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
                if ((status = tn_interrupted(err)) != TN_OK) {
                    close(fd);
                    goto out;
                }
                usleep(50000);
            }
        }
        if (fstat(fd, &held) == 0 && stat(lock_path, &named) == 0 && held.st_ino == named.st_ino) {
            out->lock = fd;
            break;
        }
        close(fd); /* its last owner has removed it: take the new one */
    }
    TN_GOTO(tn_mkdirs(path, err));
    out->path = path;
    path = NULL;
out:
    free(path);
    free(lock_path);
    return status;
}

void tn_store_work_end(tn_store *s, tn_store_work *w, bool remove)
{
    (void)s;
    if (w->path == NULL) return;
    if (remove) {
        char *lock_path = tn_strf("%s.lock", w->path);
        tn_remove_tree(w->path, NULL);
        if (lock_path != NULL) unlink(lock_path);
        free(lock_path);
    }
    close(w->lock);
    free(w->path);
    w->path = NULL;
    w->lock = -1;
}
