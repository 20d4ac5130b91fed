/* release_papers.c - what is said about the content of a release: the bill of materials, and one signed
 * statement a stage, a report and the release itself. Functions of the content's root and of release.json, so
 * a verifier can make them again. */
#include "recipe/release_impl.h"

#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static bool is_source(const json_t *closure, const char *from)
{
    size_t  i;
    json_t *row;

    json_array_foreach(closure, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        size_t      n = strlen(name);
        if (strncmp(name, from, n) == 0 && (from[n] == '\0' || from[n] == '/')) return false;
    }
    return true;
}

/* Sources of the closure (no stage made them) and recorded artifacts: what went in from outside. */
static size_t collect_materials(const json_t *closure, tn_bom_material *out, size_t cap)
{
    size_t      n = 0, i;
    json_t     *row, *root;
    const char *port;

    json_array_foreach(closure, i, row) {
        if (json_is_true(json_object_get(row, "recorded")) && n < cap)
            out[n++] = (tn_bom_material){ json_string_value(json_object_get(row, "name")),
                                          json_string_value(json_object_get(row, "root")) + 7,
                                          strcmp(json_string_value(json_object_get(row, "kind")), "pull") ==
                                              0 };
        json_object_foreach(json_object_get(row, "inputs"), port, root) {
            const char *from = json_string_value(json_object_get(json_object_get(row, "from"), port)),
                       *hex = json_string_value(root) + 7;
            bool known = false;
            if (!is_source(closure, from)) continue;
            for (size_t k = 0; k < n; k++) known = known || strcmp(out[k].sha256, hex) == 0;
            if (!known && n < cap) out[n++] = (tn_bom_material){ from, hex, strcmp(port, "model") == 0 };
        }
    }
    return n;
}

static bool looks_spdx(const char *license)
{
    static const char *const known[] = { "Apache-2.0",    "MIT",          "BSD-2-Clause",
                                         "BSD-3-Clause",  "GPL-3.0-only", "GPL-3.0-or-later",
                                         "LGPL-3.0-only", "MPL-2.0",      "CC0-1.0",
                                         "CC-BY-4.0",     "CC-BY-SA-4.0", "CC-BY-NC-4.0",
                                         "Unlicense",     "ISC",          "Zlib" };

    for (size_t i = 0; license != NULL && i < sizeof known / sizeof known[0]; i++)
        if (strcasecmp(license, known[i]) == 0) return strcmp(license, known[i]) == 0;
    return false;
}

tn_status release_put_bom(release_builder *b, const tn_tree_file *files, size_t n, const tn_digest *content,
                          tn_error *err)
{
    enum { MATERIALS = 512 };
    const json_t *inspect = json_object_get(json_object_get(b->manifest, "model"), "inspect"),
                 *charter = json_object_get(b->manifest, "constitution");
    tn_bom_material *materials = calloc(MATERIALS, sizeof *materials);
    char            *model_root = tn_digest_text(&b->model_root), *to = tn_path(b->out, RELEASE_BOM);
    json_t          *bom = NULL;
    tn_status        status = TN_OK;

    if (materials == NULL || model_root == NULL || to == NULL) {
        status = release_no_memory(err);
        goto out;
    }
    tn_bom_input in = { .name = b->o->name,
                        .version = b->o->version,
                        .license = b->o->license,
                        .license_is_spdx = looks_spdx(b->o->license),
                        .date = b->o->date,
                        .family = json_string_value(json_object_get(inspect, "family")),
                        .architecture = json_string_value(json_object_get(inspect, "family")),
                        .use_case = b->o->use_case,
                        .limits = b->o->limits,
                        .model_root = model_root,
                        .weights_digest = json_string_value(json_object_get(inspect, "digest")),
                        .constitution_digest = json_string_value(json_object_get(charter, "digest")),
                        .recipe_sha256 = b->recipe_hex,
                        .log_root = b->log_root,
                        .content_root = content,
                        .files = files,
                        .n_file = n,
                        .materials = materials,
                        .n_material = collect_materials(json_object_get(b->manifest, "closure"), materials,
                                                        MATERIALS) };
    TN_GOTO(tn_bom_build(&bom, &in, err));
    status = tn_json_save(to, bom, true, err);
out:
    json_decref(bom);
    free(materials);
    free(model_root);
    free(to);
    return status;
}

static tn_status add_statement(release_builder *b, tn_str *lines, char *payload, tn_error *err)
{
    json_t   *envelope = NULL;
    char     *line = NULL;
    tn_status status = payload == NULL ? release_no_memory(err)
                                       : tn_dsse_sign(&envelope, payload, strlen(payload), TN_INTOTO_TYPE,
                                                      b->p->key, tn_key_hint(b->p->key), err);

    if (status == TN_OK && (line = json_dumps(envelope, JSON_COMPACT)) == NULL)
        status = release_no_memory(err);
    if (status == TN_OK) {
        tn_str_add(lines, line);
        tn_str_add_char(lines, '\n');
    }
    free(line);
    free(payload);
    json_decref(envelope);
    return status;
}

/* The log that the run of this stage holds, or NULL. */
static const char *log_of(const release_builder *b, const json_t *row)
{
    size_t  i, k;
    json_t *part, *log;

    json_array_foreach(b->parts, i, part) {
        const char *path = json_string_value(json_object_get(part, "path"));
        if (!json_equal(json_object_get(part, "root"), json_object_get(row, "root"))) continue;
        json_array_foreach(json_object_get(b->manifest, "steplogs"), k, log) {
            const char *log_path = json_string_value(json_object_get(log, "path"));
            size_t      n = strlen(path);
            if (strncmp(log_path, path, n) == 0 && strcmp(log_path + n, "/steps.jsonl") == 0)
                return json_string_value(json_object_get(log, "root"));
        }
    }
    return NULL;
}

tn_status release_put_statements(release_builder *b, const tn_digest *content, tn_error *err)
{
    tn_str lines = { 0 };
    char  *model = tn_digest_text(&b->model_root), *root = tn_digest_text(content),
         *to = tn_path(b->out, RELEASE_STATEMENTS);
    size_t    i;
    json_t   *row;
    tn_status status = model == NULL || root == NULL || to == NULL ? release_no_memory(err) : TN_OK;

    json_array_foreach(json_object_get(b->manifest, "closure"), i, row)
        if (status == TN_OK)
            status = add_statement(b, &lines, tn_statement_stage(row, b->recipe_hex, log_of(b, row)), err);
    json_array_foreach(b->parts, i, row)
        if (status == TN_OK && strcmp(json_string_value(json_object_get(row, "role")), "report") == 0)
            status = add_statement(b, &lines,
                                   tn_statement_report(json_string_value(json_object_get(row, "path")),
                                                       json_string_value(json_object_get(row, "root")),
                                                       model),
                                   err);
    if (status == TN_OK)
        status = add_statement(b, &lines, tn_statement_release(b->o->name, root, model), err);
    if (status == TN_OK) status = tn_str_check(&lines, err);
    if (status == TN_OK) status = tn_file_write_all(to, lines.p, lines.len, err);
    tn_str_free(&lines);
    free(model);
    free(root);
    free(to);
    return status;
}
