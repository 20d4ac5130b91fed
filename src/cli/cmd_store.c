/* cmd_store.c - `tenet store ls|show|cat|export|verify|gc|pin`: what is kept, where, and whether it is
 * whole. */
#include "cli/cli.h"
#include "store/store.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct store_config {
    int64_t keep_runs;
    bool    dry_run, remove;
} store_config;

#define AT(field) offsetof(store_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "keep_runs", TN_OPT_INT,  AT(keep_runs), "20", 0, 1e6, "runs", "gc: newest runs whose artifacts stay",        NULL },
    { "dry_run",   TN_OPT_BOOL, AT(dry_run),   NULL, 0, 0,   "",     "gc: only say what would go",                  "n"  },
    { "remove",    TN_OPT_BOOL, AT(remove),    NULL, 0, 0,   "",     "pin: take the pin away; verify: take damaged artifacts away", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

static void bytes_text(char out[32], uint64_t n)
{
    static const char *const unit[] = { "B", "kB", "MB", "GB", "TB" };
    double                   x = (double)n;
    int                      u = 0;

    while (x >= 1000 && u < 4) {
        x /= 1000;
        u++;
    }
    snprintf(out, 32, u == 0 ? "%.0f %s" : "%.1f %s", x, unit[u]);
}

/* Files of an artifact with their sizes; a file is its own only entry. */
static tn_status files_of(const char *path, tn_tree_file **files, size_t *n, bool *is_dir, uint64_t *bytes,
                          tn_error *err)
{
    *files = NULL;
    *n = 0;
    *bytes = 0;
    *is_dir = tn_is_dir(path);
    if (!*is_dir) {
        tn_map m;
        TN_TRY(tn_map_open(&m, path, err));
        *bytes = m.n;
        tn_map_close(&m);
        return TN_OK;
    }
    TN_TRY(tn_tree_list(path, files, n, err));
    for (size_t i = 0; i < *n; i++) *bytes += (*files)[i].bytes;
    return TN_OK;
}

static tn_status size_of(const char *path, bool *is_dir, size_t *n_file, uint64_t *bytes, tn_error *err)
{
    char **names = NULL;
    tn_map m;

    *bytes = 0;
    *n_file = 1;
    if ((*is_dir = tn_is_dir(path))) TN_TRY(tn_list_files(&names, n_file, path, err));
    for (size_t i = 0; i < (*is_dir ? *n_file : 1); i++) {
        char *p = *is_dir ? tn_path(path, names[i]) : tn_strdup(path);
        if (p != NULL && tn_map_open(&m, p, NULL) == TN_OK) {
            *bytes += m.n;
            tn_map_close(&m);
        }
        free(p);
    }
    if (*is_dir) tn_list_free(names, *n_file);
    return TN_OK;
}

static tn_status list(const tn_common *common, tn_store *s, tn_error *err)
{
    tn_digest  *all = NULL;
    size_t      n = 0;
    json_t     *names = NULL, *v;
    const char *name;
    tn_status   status;

    TN_GOTO(tn_store_list(s, &all, &n, err));
    TN_GOTO(tn_store_names(s, &names, err));
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        char    *root = tn_digest_text(&all[i]), *path = NULL, size[32];
        bool     is_dir, pinned = tn_store_pinned(s, &all[i]);
        size_t   n_file;
        uint64_t bytes;
        json_t  *mine = json_array();
        json_object_foreach(names, name, v)
            if (root != NULL && strcmp(json_string_value(v), root) == 0)
                json_array_append_new(mine, json_string(name));
        status = tn_store_path(s, &all[i], &path, err);
        if (status == TN_OK) status = size_of(path, &is_dir, &n_file, &bytes, err);
        if (status == TN_OK && common->json) {
            status = tn_cli_print_json(json_pack("{s:s,s:s,s:I,s:I,s:O,s:b}", "digest", root, "type",
                                                 is_dir ? "directory" : "file", "files", (json_int_t)n_file,
                                                 "bytes", (json_int_t)bytes, "names", mine, "pinned", pinned),
                                       err);
        } else if (status == TN_OK) {
            bytes_text(size, bytes);
            printf("%.23s  %9s  %4zu file%s%s", root, size, n_file, n_file == 1 ? " " : "s",
                   pinned ? "  pinned" : "");
            for (size_t k = 0; k < json_array_size(mine); k++)
                printf("  %s", json_string_value(json_array_get(mine, k)));
            putchar('\n');
        }
        json_decref(mine);
        free(path);
        free(root);
    }
out:
    free(all);
    json_decref(names);
    return status;
}

/* Executions that made or read this artifact. */
static json_t *history(tn_store *s, const char *root)
{
    json_t *rows = NULL, *found = json_array(), *row;
    size_t  i;

    if (tn_store_log(s, "stage", NULL, NULL, 1000, &rows, NULL) == TN_OK)
        json_array_foreach(rows, i, row) {
            const char *r = json_string_value(json_object_get(row, "root"));
            if (r != NULL && strcmp(r, root) == 0) json_array_append(found, row);
        }
    json_decref(rows);
    return found;
}

static tn_status show(const tn_common *common, tn_store *s, const tn_digest *root, tn_error *err)
{
    char         *text = tn_digest_text(root), *path = NULL, size[32];
    tn_tree_file *files = NULL;
    size_t        n = 0, i;
    uint64_t      bytes = 0;
    bool          is_dir = false;
    json_t       *rows = NULL, *row;
    tn_status     status;

    TN_GOTO(tn_store_path(s, root, &path, err));
    TN_GOTO(files_of(path, &files, &n, &is_dir, &bytes, err));
    rows = history(s, text);
    if (common->json) {
        json_t *list_ = json_array();
        for (i = 0; i < n; i++) {
            char hex[TN_SHA256_HEX];
            tn_hex(hex, &files[i].digest);
            json_array_append_new(list_, json_pack("{s:s,s:I,s:s}", "name", files[i].name, "bytes",
                                                   (json_int_t)files[i].bytes, "sha256", hex));
        }
        status = tn_cli_print_json(json_pack("{s:s,s:s,s:s,s:I,s:o,s:O}", "digest", text, "type",
                                             is_dir ? "directory" : "file", "path", path, "bytes",
                                             (json_int_t)bytes, "files", list_, "made_by", rows),
                                   err);
    } else {
        bytes_text(size, bytes);
        printf("%s\n  %s, %s\n  %s\n", text, is_dir ? "directory" : "file", size, path);
        for (i = 0; i < n; i++) {
            bytes_text(size, files[i].bytes);
            printf("  %9s  %s\n", size, files[i].name);
        }
        json_array_foreach(rows, i, row)
            printf("  made by %s / %s, %.19s\n",
                   json_string_value(json_object_get(row, "recipe")) != NULL
                       ? json_string_value(json_object_get(row, "recipe"))
                       : "-",
                   json_string_value(json_object_get(row, "stage")),
                   json_string_value(json_object_get(row, "started")));
    }
out:
    tn_tree_free(files, n);
    json_decref(rows);
    free(path);
    free(text);
    return status;
}

static tn_status cat(tn_store *s, const tn_digest *root, const char *inside, tn_error *err)
{
    char     *path = NULL, *file = NULL;
    tn_map    m = { NULL, 0, NULL };
    tn_status status;

    TN_GOTO(tn_store_path(s, root, &path, err));
    if (inside == NULL && tn_is_dir(path)) {
        status = tn_fail(err, TN_USAGE,
                         "it is a directory: name a file in it (`tenet store show` lists them)");
        goto out;
    }
    if (inside != NULL && !tn_path_is_plain(inside)) {
        status = tn_fail(err, TN_USAGE, "'%s' is no path inside an artifact", inside);
        goto out;
    }
    file = inside == NULL ? tn_strdup(path) : tn_path(path, inside);
    if (file == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    if (!tn_exists(file) || tn_is_dir(file)) {
        status = tn_fail(err, TN_NOTFOUND, "it has no file '%s' (`tenet store show` lists them)",
                         inside != NULL ? inside : "");
        goto out;
    }
    TN_GOTO(tn_store_check(s, root, err)); /* of a directory, all of it: its root is over all files */
    TN_GOTO(tn_map_open(&m, file, err));
    if (fwrite(m.p, 1, m.n, stdout) != m.n)
        status = tn_fail(err, TN_IO, "standard output: %s", strerror(errno));
    tn_map_close(&m);
out:
    free(path);
    free(file);
    return status;
}

static tn_status verify(const tn_common *common, tn_store *s, const store_config *c, const tn_digest *only,
                        tn_error *err)
{
    json_t   *bad = NULL, *row;
    int64_t   n = 0;
    size_t    i;
    tn_status status;

    TN_GOTO(tn_store_verify(s, only, c->remove, &bad, &n, err));
    if (common->json) {
        TN_GOTO(tn_cli_print_json(json_pack("{s:I,s:O}", "checked", (json_int_t)n, "bad", bad), err));
    } else {
        json_array_foreach(bad, i, row)
            printf("%s\n  expected %s\n  found    %s\n", json_string_value(json_object_get(row, "where")),
                   json_string_value(json_object_get(row, "expected")),
                   json_string_value(json_object_get(row, "found")));
        printf("%lld artifact%s checked, %zu damaged\n", (long long)n, n == 1 ? "" : "s",
               json_array_size(bad));
    }
    if (json_array_size(bad) > 0)
        status = tn_fail(err, TN_VERIFY,
                         c->remove ? "%zu damaged in the store at %s; damaged artifacts were taken away, and "
                                     "the next run makes them again"
                                   : "%zu damaged in the store at %s (--remove takes damaged artifacts away; "
                                     "the next run makes them again)",
                         json_array_size(bad), tn_store_dir(s));
out:
    json_decref(bad);
    return status;
}

static tn_status gc(const tn_common *common, tn_store *s, const store_config *c, tn_error *err)
{
    tn_gc_result g;
    char         kept[32], gone[32];

    TN_TRY(tn_store_gc(s, c->keep_runs, c->dry_run, &g, err));
    bytes_text(kept, g.kept_bytes);
    bytes_text(gone, g.removed_bytes);
    if (common->json)
        return tn_cli_print_json(json_pack("{s:b,s:I,s:I,s:I,s:I}", "dry_run", c->dry_run, "kept",
                                           (json_int_t)g.kept, "kept_bytes", (json_int_t)g.kept_bytes,
                                           "removed", (json_int_t)g.removed, "removed_bytes",
                                           (json_int_t)g.removed_bytes),
                                 err);
    printf("%lld artifacts kept (%s), %lld %s (%s)\n", (long long)g.kept, kept, (long long)g.removed,
           c->dry_run ? "would go" : "removed", gone);
    return TN_OK;
}

/* What pin and export have to say is their exit code; --json still asks for an object. */
static tn_status done(const tn_common *common, const tn_digest *root, const char *key, json_t *value,
                      tn_error *err)
{
    char     *text = tn_digest_text(root);
    tn_status status = text != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for the result");

    if (common->json && text != NULL)
        status = tn_cli_print_json(json_pack("{s:s,s:O?}", "digest", text, key, value), err);
    json_decref(value);
    free(text);
    return status;
}

static tn_status with_artifact(tn_common *common, tn_store *s, const store_config *c, int n_arg,
                               const char **args, tn_error *err)
{
    tn_digest root;

    if (n_arg < 2)
        return tn_fail(err, TN_USAGE,
                       "store %s: which artifact? Give a digest, its first 8 digits, or a name", args[0]);
    TN_TRY(tn_store_resolve(s, args[1], &root, err));
    if (strcmp(args[0], "show") == 0) return show(common, s, &root, err);
    if (strcmp(args[0], "cat") == 0) return cat(s, &root, n_arg > 2 ? args[2] : NULL, err);
    if (strcmp(args[0], "verify") == 0) return verify(common, s, c, &root, err);
    if (strcmp(args[0], "pin") == 0) {
        TN_TRY(tn_store_pin(s, &root, !c->remove, err));
        return done(common, &root, "pinned", json_boolean(!c->remove), err);
    }
    if (n_arg < 3) return tn_fail(err, TN_USAGE, "store export: where to? tenet store export DIGEST PATH");
    TN_TRY(tn_store_export(s, &root, args[2], err));
    return done(common, &root, "out", tn_json_name(args[2]), err);
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    static const char *const words[] = { "ls", "show", "cat", "export", "verify", "gc", "pin", NULL };
    const store_config      *c = config;
    tn_store                *s = NULL;
    tn_status                status;
    size_t                   w = 0;

    while (words[w] != NULL && strcmp(words[w], args[0]) != 0) w++;
    if (words[w] == NULL) {
        const char *near = tn_nearest(args[0], words);
        return tn_fail(err, TN_USAGE,
                       "store: unknown word '%s'%s%s%s: expected ls, show, cat, export, verify, gc or pin",
                       args[0], near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?" : "");
    }
    TN_TRY(tn_store_open(&s, common->store, err));
    if (strcmp(args[0], "ls") == 0) status = list(common, s, err);
    else if (strcmp(args[0], "gc") == 0) status = gc(common, s, c, err);
    else if (strcmp(args[0], "verify") == 0 && n_arg == 1) status = verify(common, s, c, NULL, err);
    else status = with_artifact(common, s, c, n_arg, args, err);
    tn_store_close(s);
    return status;
}

const tn_command tn_cmd_store = {
    .name = "store",
    .line = "list, show, export, check and clean up what is kept",
    .usage = "tenet store ls | show A | cat A [FILE] | export A PATH | verify [A] [--remove] | gc "
             "[--keep-runs N] [-n] | pin A [--remove]",
    .more = "A is a digest (sha256:...), its first 8 digits or more, or a name. gc keeps what the newest "
            "runs, names, pins and releases\n"
            "reach. Exported files of 1 GiB and more are links to the store where the file system can share "
            "blocks no other way.",
    .options = options,
    .config_bytes = sizeof(store_config),
    .min_args = 1,
    .max_args = 3,
    .run = run,
};
