/* release_parts.c - the parts of a release: reports, records, training runs with their step logs, and what
 * those runs read.
 *
 *   part ──→ reports/NAME  records/NAME  replay/NAME      a row of release.json: role, path, where it is from, root
 *   run ──→ every input of its stage, up to hold_mb ──→ replay/inputs/HEX */
#include "recipe/release_impl.h"

#include "base/file.h"
#include "base/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const role_names[] = { "report", "record", "run", "input" };
static const char *const role_dirs[] = { "reports", "records", "replay", "replay/inputs" };

/* "file:a b/c.jsonl" -> "c.jsonl", "sft/model" -> "sft-model": a plain name of its own. */
static char *part_name(release_builder *b, const tn_release_part *part)
{
    const char *from = tn_starts_with(part->name, "file:") ? tn_basename(part->name + 5) : part->name;
    char       *name = tn_strdup(from[0] != '\0' ? from : "part");

    for (char *p = name; p != NULL && *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && *p != '.' && *p != '_' && *p != '-') *p = '-';
    if (name != NULL && name[0] == '.') name[0] = '_';
    for (int k = 2; name != NULL && k < 1000; k++) {
        char   *path = tn_strf("%s/%s", role_dirs[part->role], name), *next;
        bool    used = false;
        size_t  i;
        json_t *row;
        json_array_foreach(b->parts, i, row)
            used = used ||
                   (path != NULL && strcmp(json_string_value(json_object_get(row, "path")), path) == 0);
        free(path);
        if (!used) break;
        next = tn_strf("%s-%d", name, k);
        free(name);
        name = next;
    }
    return name;
}

static tn_status add_steplog(release_builder *b, const char *dir, const char *rel, tn_error *err)
{
    char           *path = tn_path(dir, "steps.jsonl");
    tn_digest       genesis, root;
    size_t          n = 0;
    json_t         *o, *logs = json_object_get(b->manifest, "steplogs");
    tn_step_record *records = NULL;
    tn_status       status = TN_OK;

    if (path == NULL) return release_no_memory(err);
    if (!tn_exists(path)) goto out;
    TN_GOTO(tn_steplog_genesis(path, &genesis, err));
    TN_GOTO(tn_steplog_read(path, &genesis, &records, &n, &root, err));
    o = json_pack("{s:s+,s:I}", "path", rel, "/steps.jsonl", "steps", (json_int_t)n);
    release_set_text(o, "genesis", &genesis);
    release_set_text(o, "root", &root);
    for (size_t i = n; i-- > 0;)
        if (records[i].has_state) {
            release_set_text(o, "state", &records[i].state);
            json_object_set_new(o, "state_step", json_integer((json_int_t)records[i].step));
            break;
        }
    json_array_append_new(logs, o);
    free(b->log_root);
    b->log_root = tn_digest_text(&root);
out:
    free(records);
    free(path);
    return status;
}

static tn_status put_part(release_builder *b, const tn_release_part *part, const char *from, tn_error *err)
{
    char *name = part_name(b, part),
         *rel = name == NULL ? NULL : tn_strf("%s/%s", role_dirs[part->role], name);
    char     *to = rel == NULL ? NULL : tn_path(b->out, rel);
    tn_digest root;
    json_t   *o;
    tn_status status = TN_OK;

    if (to == NULL) {
        status = release_no_memory(err);
        goto out;
    }
    TN_GOTO(tn_tree_digest(part->path, &root, NULL, err));
    TN_GOTO(release_copy_artifact(part->path, to, err));
    o = json_pack("{s:s,s:s,s:s,s:b}", "role", role_names[part->role], "path", rel, "from", from, "directory",
                  tn_is_dir(part->path));
    release_set_text(o, "root", &root);
    json_array_append_new(b->parts, o);
    if (part->role == TN_RELEASE_RUN && tn_is_dir(part->path)) status = add_steplog(b, part->path, rel, err);
out:
    free(name);
    free(rel);
    free(to);
    return status;
}

static bool held_already(const release_builder *b, const char *root)
{
    size_t  i;
    json_t *row;

    if (strcmp(json_string_value(json_object_get(json_object_get(b->manifest, "model"), "root")), root) == 0)
        return true;
    json_array_foreach(b->parts, i, row)
        if (strcmp(json_string_value(json_object_get(row, "root")), root) == 0) return true;
    return false;
}

static uint64_t artifact_bytes(const char *path)
{
    char      **names = NULL;
    size_t      n = 0;
    struct stat st;
    uint64_t    sum = 0;

    if (!tn_is_dir(path)) return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    if (tn_list_files(&names, &n, path, NULL) != TN_OK) return 0;
    for (size_t i = 0; i < n; i++) {
        char *p = tn_path(path, names[i]);
        if (p != NULL && stat(p, &st) == 0) sum += (uint64_t)st.st_size;
        free(p);
    }
    tn_list_free(names, n);
    return sum;
}

static tn_status hold_input(release_builder *b, const char *stage, const char *port, const char *root_text,
                            tn_error *err)
{
    tn_digest       root;
    char           *path = NULL, name[TN_SHA256_HEX], *from;
    tn_release_part part = { TN_RELEASE_INPUT, name, NULL };
    tn_status       status = TN_OK;

    if (held_already(b, root_text) || strlen(root_text) != 71 || !tn_unhex(&root, root_text + 7))
        return TN_OK;
    if (b->p->store == NULL || tn_store_path(b->p->store, &root, &path, NULL) != TN_OK) return TN_OK;
    from = tn_strf("%s.%s", stage, port);
    if (from == NULL) status = release_no_memory(err);
    else if (artifact_bytes(path) <= (uint64_t)b->o->hold_mb << 20) {
        tn_hex(name, &root);
        part.path = path;
        status = put_part(b, &part, from, err);
    }
    free(from);
    free(path);
    return status;
}

/* Inputs of every training stage: a stage whose artifact is among the runs. */
static tn_status hold_inputs(release_builder *b, tn_error *err)
{
    const json_t *closure = json_object_get(b->manifest, "closure");
    size_t        i, k;
    json_t       *row, *part, *root;
    const char   *port;

    json_array_foreach(closure, i, row) {
        bool is_run = false;
        json_array_foreach(b->parts, k, part)
            is_run = is_run || (strcmp(json_string_value(json_object_get(part, "role")), "run") == 0 &&
                                json_equal(json_object_get(part, "root"), json_object_get(row, "root")));
        if (!is_run) continue;
        json_object_foreach(json_object_get(row, "inputs"), port, root)
            TN_TRY(hold_input(b, json_string_value(json_object_get(row, "name")), port,
                              json_string_value(root), err));
    }
    return TN_OK;
}

tn_status release_put_parts(release_builder *b, tn_error *err)
{
    for (size_t i = 0; i < b->p->n_part; i++) TN_TRY(put_part(b, &b->p->parts[i], b->p->parts[i].name, err));
    return hold_inputs(b, err);
}
