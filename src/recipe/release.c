/* release.c - builds a release: copies, release.json, model card, bill of materials, statements, signature (see release.h).
 *
 *   model, constitution, recipe, parts ──→ content ── root ──→ BOM, statements ──→ model.sig
 *
 * Every byte is a function of the parts and the options: no clock, host, path or random number takes part. */
#include "recipe/release.h"
#include "recipe/verify.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "constitution/constitution.h"
#include "model/model.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define AT(field) offsetof(tn_release_options, field)
const tn_option tn_release_option_rows[] = {
    // clang-format off
    { "name",            TN_OPT_STR,  AT(name),            "model", 0, 0, "", "name of what is released",                                NULL },
    { "version",         TN_OPT_STR,  AT(version),         "1",     0, 0, "", "its version",                                             NULL },
    { "license",         TN_OPT_STR,  AT(license),         NULL,    0, 0, "", "licence: an SPDX id, in lowercase as hubs write it, or a name", NULL },
    { "base_model",      TN_OPT_STR,  AT(base_model),      NULL,    0, 0, "", "what it was made from, as hubs name it (ORG/NAME)",       NULL },
    { "languages",       TN_OPT_LIST, AT(languages),       NULL,    0, 0, "", "languages, as codes: en,de",                              NULL },
    { "date",            TN_OPT_STR,  AT(date),            NULL,    0, 0, "", "date of the release, YYYY-MM-DD; none is put in by itself", NULL },
    { "summary",         TN_OPT_STR,  AT(summary),         NULL,    0, 0, "", "what it is, in a sentence or two",                        NULL },
    { "use_case",        TN_OPT_STR,  AT(use_case),        NULL,    0, 0, "", "what it is meant for",                                    NULL },
    { "limits",          TN_OPT_STR,  AT(limits),          NULL,    0, 0, "", "what it is known not to do well",                         NULL },
    { "key",             TN_OPT_STR,  AT(key),             NULL,    0, 0, "", "signing key: a name of `tenet key`, or a PEM file",       NULL },
    { "passphrase_file", TN_OPT_STR,  AT(passphrase_file), NULL,    0, 0, "", "file whose first line is the key's passphrase",           NULL },
    { "hold_mb",         TN_OPT_INT,  AT(hold_mb),         "1024",  0, 1e9, "MB", "inputs of training up to this size are put in; larger ones are named by digest", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
#undef AT

static const char *const role_names[] = { "report", "record", "run", "input" };
static const char *const role_dirs[]  = { "reports", "records", "replay", "replay/inputs" };

typedef struct builder {
    const tn_release_parts   *p;
    const tn_release_options *o;
    const char *out;
    json_t     *manifest, *parts;
    tn_digest   model_root;
    char       *recipe_hex, *log_root;
} builder;

static tn_status no_memory(tn_error *err) { return tn_fail(err, TN_NOMEM, "no memory for a release"); }

static tn_status copy_file(const char *from, const char *to, tn_error *err)
{
    struct stat st;
    char       *dir = tn_strdup(to), *slash = dir == NULL ? NULL : strrchr(dir, '/');
    tn_status   status = TN_OK;

    if (dir == NULL) return no_memory(err);
    if (slash != NULL) {
        *slash = '\0';
        status = tn_mkdirs(dir, err);
    }
    free(dir);
    if (status == TN_OK) status = tn_file_clone(from, to, false, err);
    if (status == TN_OK && (stat(from, &st) != 0 || chmod(to, (st.st_mode & S_IXUSR) != 0 ? 0755 : 0644) != 0))
        status = tn_fail(err, TN_IO, "%s: cannot set its mode: %s", to, strerror(errno));
    return status;
}

/* An artifact to a place inside the release, byte for byte. */
static tn_status copy_artifact(const char *from, const char *to, tn_error *err)
{
    char    **names = NULL;
    size_t    n = 0;
    tn_status status = TN_OK;

    if (!tn_is_dir(from)) return copy_file(from, to, err);
    TN_TRY(tn_list_files(&names, &n, from, err));
    status = tn_mkdirs(to, err);
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        char *a = tn_path(from, names[i]), *b = tn_path(to, names[i]);
        status = a == NULL || b == NULL ? no_memory(err) : copy_file(a, b, err);
        free(a);
        free(b);
    }
    tn_list_free(names, n);
    return status;
}

static void set_text(json_t *o, const char *key, const tn_digest *d)
{
    char *text = tn_digest_text(d);

    if (text != NULL) json_object_set_new(o, key, json_string(text));
    free(text);
}

/* ----------------------------------------------------------------------------------------------------------- the model */

/* Names that mean something else in a release, or that a signature leaves out, get another name: release.json tells. */
static char *name_in_release(const char *name)
{
    static const char *const taken[] = { RELEASE_CARD, RELEASE_MANIFEST, RELEASE_BOM, RELEASE_STATEMENTS, RELEASE_RECIPE, RELEASE_CHARTER, TN_OMS_FILE };

    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(name, taken[i]) == 0) return tn_strf("source/%s", name);
    if (name[0] == '.' || tn_starts_with(name, "reports/") || tn_starts_with(name, "records/") || tn_starts_with(name, "replay/") ||
        tn_starts_with(name, "source/"))
        return tn_strf("source/%s%s", name[0] == '.' ? "dot" : "", name);
    return tn_strdup(name);
}

static tn_status put_model_file(builder *b, const char *from, const char *name, json_t *files, tn_error *err)
{
    char     *as = name_in_release(name), *to = as == NULL ? NULL : tn_path(b->out, as);
    tn_status status = to == NULL ? no_memory(err) : copy_file(from, to, err);

    if (status == TN_OK) json_array_append_new(files, json_pack("{s:s,s:s}", "name", name, "as", as));
    if (status == TN_OK && recipe_verify_is_weights(as)) {
        json_t *model = json_object_get(b->manifest, "model"), *entry = recipe_blocks_of(to, err);
        if (json_object_get(model, "blocks") == NULL) json_object_set_new(model, "blocks", json_object());
        if (entry == NULL) status = err != NULL ? err->code : TN_IO;
        else json_object_set_new(json_object_get(model, "blocks"), as, entry);
    }
    free(as);
    free(to);
    return status;
}

/* A digest a tensor, so that a verifier can say which one was changed. */
static tn_status tensor_digests(tn_model *m, json_t **out, tn_error *err)
{
    size_t     n = tn_model_n_tensor(m);
    tn_hash_span   *spans = calloc(n + 1, sizeof *spans);
    tn_digest *d = calloc(n + 1, sizeof *d);
    char       hex[TN_SHA256_HEX];
    tn_status  status = spans == NULL || d == NULL ? no_memory(err) : TN_OK;

    for (size_t i = 0; i < n && status == TN_OK; i++) {
        const tn_param *p = tn_model_tensor(m, i);
        if (p->w.data != NULL) spans[i] = (tn_hash_span){ p->w.data, tn_n_bytes(&p->w) };
    }
    if (status == TN_OK) status = tn_sha256_spans(spans, n, d, err);
    *out = json_object();
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        if (spans[i].p == NULL) continue;
        tn_hex(hex, &d[i]);
        json_object_set_new(*out, tn_model_tensor(m, i)->name, json_string(hex));
    }
    free(spans);
    free(d);
    return status;
}

static tn_status put_model(builder *b, tn_error *err)
{
    const tn_model_options mo = { .profile = TN_PROFILE_STRICT, .weights = true };
    json_t   *files = json_array(), *model = json_object(), *inspect, *tensors;
    char    **names = NULL;
    size_t    n = 0;
    tn_model *m = NULL;
    tn_status status = TN_OK;

    json_object_set_new(b->manifest, "model", model);
    json_object_set_new(model, "files", files);
    TN_TRY(tn_tree_digest(b->p->model, &b->model_root, NULL, err));
    set_text(model, "root", &b->model_root);
    if (b->p->model_from != NULL) json_object_set_new(model, "from", json_string(b->p->model_from));
    TN_TRY(tn_model_open(&m, b->p->model, &mo, err));
    if ((inspect = tn_model_inspect(m, err)) == NULL) {
        status = err != NULL ? err->code : TN_NOMEM;
        goto out;
    }
    json_object_set(model, "digest", json_object_get(inspect, "digest"));
    json_object_set_new(model, "inspect", inspect);
    status = tensor_digests(m, &tensors, err);
    json_object_set_new(model, "tensors", tensors);
    if (status != TN_OK) goto out;
    if (!tn_is_dir(b->p->model)) {
        json_object_set_new(model, "form", json_string("file"));
        status = put_model_file(b, b->p->model, "model.gguf", files, err);
        goto out;
    }
    json_object_set_new(model, "form", json_string("directory"));
    TN_GOTO(tn_list_files(&names, &n, b->p->model, err));
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        char *from = tn_path(b->p->model, names[i]);
        status = from == NULL ? no_memory(err) : put_model_file(b, from, names[i], files, err);
        free(from);
    }
out:
    tn_model_close(m);
    tn_list_free(names, n);
    return status;
}

static tn_status put_constitution(builder *b, tn_error *err)
{
    tn_constitution *c = NULL;
    tn_digest        root;
    json_t          *o;
    char            *to = tn_path(b->out, RELEASE_CHARTER);
    tn_status        status = TN_OK;

    if (b->p->constitution == NULL) goto out;
    if (to == NULL) {
        status = no_memory(err);
        goto out;
    }
    if (tn_is_dir(b->p->constitution)) {
        status = tn_fail(err, TN_USAGE, "%s: the constitution of a release is one file", b->p->constitution);
        goto out;
    }
    TN_GOTO(tn_sha256_file(b->p->constitution, &root, NULL, err));
    TN_GOTO(copy_file(b->p->constitution, to, err));
    if ((status = tn_constitution_load(&c, to, err)) != TN_OK) {       /* where it lies now: one that extends another fails here */
        tn_fail_prefix(err, status, "the constitution must stand by itself in a release");
        goto out;
    }
    o = json_pack("{s:s,s:s,s:I}", "name", c->name, "version", c->version, "principles", (json_int_t)c->n_principle);
    set_text(o, "digest", &c->digest);
    set_text(o, "root", &root);
    json_object_set_new(b->manifest, "constitution", o);
out:
    tn_constitution_free(c);
    free(to);
    return status;
}

static tn_status put_recipe(builder *b, tn_error *err)
{
    char      hex[TN_SHA256_HEX], *to;
    tn_digest d;

    if (b->p->recipe_text == NULL) return TN_OK;
    if ((to = tn_path(b->out, RELEASE_RECIPE)) == NULL) return no_memory(err);
    tn_status status = tn_file_write_all(to, b->p->recipe_text, strlen(b->p->recipe_text), err);
    free(to);
    d = tn_sha256_of(b->p->recipe_text, strlen(b->p->recipe_text));
    tn_hex(hex, &d);
    b->recipe_hex = tn_strdup(hex);
    json_object_set_new(b->manifest, "recipe", json_pack("{s:s}", "sha256", hex));
    return status;
}

/* ------------------------------------------------------------------------------------------------------------- the parts */

/* "file:a b/c.jsonl" -> "c.jsonl", "sft/model" -> "sft-model": a plain name of its own. */
static char *part_name(builder *b, const tn_release_part *part)
{
    const char *from = tn_starts_with(part->name, "file:") ? tn_basename(part->name + 5) : part->name;
    char       *name = tn_strdup(from[0] != '\0' ? from : "part");

    for (char *p = name; p != NULL && *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && *p != '.' && *p != '_' && *p != '-') *p = '-';
    if (name != NULL && name[0] == '.') name[0] = '_';
    for (int k = 2; name != NULL && k < 1000; k++) {
        char *path = tn_strf("%s/%s", role_dirs[part->role], name), *next;
        bool  used = false;
        size_t i;
        json_t *row;
        json_array_foreach(b->parts, i, row) used = used || (path != NULL && strcmp(json_string_value(json_object_get(row, "path")), path) == 0);
        free(path);
        if (!used) break;
        next = tn_strf("%s-%d", name, k);
        free(name);
        name = next;
    }
    return name;
}

static tn_status add_steplog(builder *b, const char *dir, const char *rel, tn_error *err)
{
    char           *path = tn_path(dir, "steps.jsonl");
    tn_digest       genesis, root;
    size_t          n = 0;
    json_t         *o, *logs = json_object_get(b->manifest, "steplogs");
    tn_step_record *records = NULL;
    tn_status       status = TN_OK;

    if (path == NULL) return no_memory(err);
    if (!tn_exists(path)) goto out;
    TN_GOTO(tn_steplog_genesis(path, &genesis, err));
    TN_GOTO(tn_steplog_read(path, &genesis, &records, &n, &root, err));
    o = json_pack("{s:s+,s:I}", "path", rel, "/steps.jsonl", "steps", (json_int_t)n);
    set_text(o, "genesis", &genesis);
    set_text(o, "root", &root);
    for (size_t i = n; i-- > 0;)
        if (records[i].has_state) {
            set_text(o, "state", &records[i].state);
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

static tn_status put_part(builder *b, const tn_release_part *part, const char *from, tn_error *err)
{
    char     *name = part_name(b, part), *rel = name == NULL ? NULL : tn_strf("%s/%s", role_dirs[part->role], name);
    char     *to = rel == NULL ? NULL : tn_path(b->out, rel);
    tn_digest root;
    json_t   *o;
    tn_status status = TN_OK;

    if (to == NULL) {
        status = no_memory(err);
        goto out;
    }
    TN_GOTO(tn_tree_digest(part->path, &root, NULL, err));
    TN_GOTO(copy_artifact(part->path, to, err));
    o = json_pack("{s:s,s:s,s:s,s:b}", "role", role_names[part->role], "path", rel, "from", from, "directory", tn_is_dir(part->path));
    set_text(o, "root", &root);
    json_array_append_new(b->parts, o);
    if (part->role == TN_RELEASE_RUN && tn_is_dir(part->path)) status = add_steplog(b, part->path, rel, err);
out:
    free(name);
    free(rel);
    free(to);
    return status;
}

static bool held_already(const builder *b, const char *root)
{
    size_t  i;
    json_t *row;

    if (strcmp(json_string_value(json_object_get(json_object_get(b->manifest, "model"), "root")), root) == 0) return true;
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

static tn_status hold_input(builder *b, const char *stage, const char *port, const char *root_text, tn_error *err)
{
    tn_digest       root;
    char           *path = NULL, name[TN_SHA256_HEX], *from;
    tn_release_part part = { TN_RELEASE_INPUT, name, NULL };
    tn_status       status = TN_OK;

    if (held_already(b, root_text) || strlen(root_text) != 71 || !tn_unhex(&root, root_text + 7)) return TN_OK;
    if (b->p->store == NULL || tn_store_path(b->p->store, &root, &path, NULL) != TN_OK) return TN_OK;
    from = tn_strf("%s.%s", stage, port);
    if (from == NULL) status = no_memory(err);
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
static tn_status hold_inputs(builder *b, tn_error *err)
{
    const json_t *closure = json_object_get(b->manifest, "closure");
    size_t        i, k;
    json_t       *row, *part, *root;
    const char   *port;

    json_array_foreach(closure, i, row) {
        bool is_run = false;
        json_array_foreach(b->parts, k, part)
            is_run = is_run || (strcmp(json_string_value(json_object_get(part, "role")), "run") == 0
                                && json_equal(json_object_get(part, "root"), json_object_get(row, "root")));
        if (!is_run) continue;
        json_object_foreach(json_object_get(row, "inputs"), port, root)
            TN_TRY(hold_input(b, json_string_value(json_object_get(row, "name")), port, json_string_value(root), err));
    }
    return TN_OK;
}

static tn_status put_parts(builder *b, tn_error *err)
{
    for (size_t i = 0; i < b->p->n_part; i++) TN_TRY(put_part(b, &b->p->parts[i], b->p->parts[i].name, err));
    return hold_inputs(b, err);
}

/* --------------------------------------------------------------------------------------------- what is made of the content */

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
            out[n++] = (tn_bom_material){ json_string_value(json_object_get(row, "name")), json_string_value(json_object_get(row, "root")) + 7,
                                          strcmp(json_string_value(json_object_get(row, "kind")), "pull") == 0 };
        json_object_foreach(json_object_get(row, "inputs"), port, root) {
            const char *from = json_string_value(json_object_get(json_object_get(row, "from"), port)), *hex = json_string_value(root) + 7;
            bool        known = false;
            if (!is_source(closure, from)) continue;
            for (size_t k = 0; k < n; k++) known = known || strcmp(out[k].sha256, hex) == 0;
            if (!known && n < cap) out[n++] = (tn_bom_material){ from, hex, strcmp(port, "model") == 0 };
        }
    }
    return n;
}

static bool looks_spdx(const char *license)
{
    static const char *const known[] = { "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "GPL-3.0-only", "GPL-3.0-or-later", "LGPL-3.0-only",
                                         "MPL-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "Unlicense", "ISC", "Zlib" };

    for (size_t i = 0; license != NULL && i < sizeof known / sizeof known[0]; i++)
        if (strcasecmp(license, known[i]) == 0) return strcmp(license, known[i]) == 0;
    return false;
}

static tn_status put_bom(builder *b, const tn_tree_file *files, size_t n, const tn_digest *content, tn_error *err)
{
    enum { MATERIALS = 512 };
    const json_t    *inspect = json_object_get(json_object_get(b->manifest, "model"), "inspect"), *charter = json_object_get(b->manifest, "constitution");
    tn_bom_material *materials = calloc(MATERIALS, sizeof *materials);
    char            *model_root = tn_digest_text(&b->model_root), *to = tn_path(b->out, RELEASE_BOM);
    json_t          *bom = NULL;
    tn_status        status = TN_OK;

    if (materials == NULL || model_root == NULL || to == NULL) {
        status = no_memory(err);
        goto out;
    }
    tn_bom_input in = {
        .name = b->o->name, .version = b->o->version, .license = b->o->license, .license_is_spdx = looks_spdx(b->o->license), .date = b->o->date,
        .family = json_string_value(json_object_get(inspect, "family")), .architecture = json_string_value(json_object_get(inspect, "family")),
        .use_case = b->o->use_case, .limits = b->o->limits, .model_root = model_root,
        .weights_digest = json_string_value(json_object_get(inspect, "digest")),
        .constitution_digest = json_string_value(json_object_get(charter, "digest")), .recipe_sha256 = b->recipe_hex, .log_root = b->log_root,
        .content_root = content, .files = files, .n_file = n, .materials = materials,
        .n_material = collect_materials(json_object_get(b->manifest, "closure"), materials, MATERIALS) };
    TN_GOTO(tn_bom_build(&bom, &in, err));
    status = tn_json_save(to, bom, true, err);
out:
    json_decref(bom);
    free(materials);
    free(model_root);
    free(to);
    return status;
}

static tn_status add_statement(builder *b, tn_str *lines, char *payload, tn_error *err)
{
    json_t   *envelope = NULL;
    char     *line = NULL;
    tn_status status = payload == NULL ? no_memory(err)
                     : tn_dsse_sign(&envelope, payload, strlen(payload), TN_INTOTO_TYPE, b->p->key, tn_key_hint(b->p->key), err);

    if (status == TN_OK && (line = json_dumps(envelope, JSON_COMPACT)) == NULL) status = no_memory(err);
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
static const char *log_of(const builder *b, const json_t *row)
{
    size_t  i, k;
    json_t *part, *log;

    json_array_foreach(b->parts, i, part) {
        const char *path = json_string_value(json_object_get(part, "path"));
        if (!json_equal(json_object_get(part, "root"), json_object_get(row, "root"))) continue;
        json_array_foreach(json_object_get(b->manifest, "steplogs"), k, log) {
            const char *log_path = json_string_value(json_object_get(log, "path"));
            size_t      n = strlen(path);
            if (strncmp(log_path, path, n) == 0 && strcmp(log_path + n, "/steps.jsonl") == 0) return json_string_value(json_object_get(log, "root"));
        }
    }
    return NULL;
}

static tn_status put_statements(builder *b, const tn_digest *content, tn_error *err)
{
    tn_str    lines = {0};
    char     *model = tn_digest_text(&b->model_root), *root = tn_digest_text(content), *to = tn_path(b->out, RELEASE_STATEMENTS);
    size_t    i;
    json_t   *row;
    tn_status status = model == NULL || root == NULL || to == NULL ? no_memory(err) : TN_OK;

    json_array_foreach(json_object_get(b->manifest, "closure"), i, row)
        if (status == TN_OK) status = add_statement(b, &lines, tn_statement_stage(row, b->recipe_hex, log_of(b, row)), err);
    json_array_foreach(b->parts, i, row)
        if (status == TN_OK && strcmp(json_string_value(json_object_get(row, "role")), "report") == 0)
            status = add_statement(b, &lines, tn_statement_report(json_string_value(json_object_get(row, "path")),
                                                                  json_string_value(json_object_get(row, "root")), model), err);
    if (status == TN_OK) status = add_statement(b, &lines, tn_statement_release(b->o->name, root, model), err);
    if (status == TN_OK) status = tn_str_check(&lines, err);
    if (status == TN_OK) status = tn_file_write_all(to, lines.p, lines.len, err);
    tn_str_free(&lines);
    free(model);
    free(root);
    free(to);
    return status;
}

static tn_status date_check(const char *date, tn_error *err)
{
    bool ok = date == NULL || (strlen(date) == 10 && date[4] == '-' && date[7] == '-');

    for (int i = 0; ok && date != NULL && i < 10; i++) ok = i == 4 || i == 7 || isdigit((unsigned char)date[i]);
    return ok ? TN_OK : tn_fail(err, TN_USAGE, "date is '%.40s': expected YYYY-MM-DD", date);
}

static tn_status put_manifest(builder *b, tn_error *err)
{
    char     *to = tn_path(b->out, RELEASE_MANIFEST), *readme = tn_path(b->out, RELEASE_CARD), *card = NULL;
    tn_status status = to == NULL || readme == NULL ? no_memory(err) : tn_json_save(to, b->manifest, true, err);

    if (status == TN_OK && (card = recipe_release_card(b->manifest, b->o)) == NULL) status = no_memory(err);
    if (status == TN_OK) status = tn_file_write_all(readme, card, strlen(card), err);
    free(card);
    free(readme);
    free(to);
    return status;
}

static tn_status put_derived(builder *b, json_t *metrics, tn_error *err)
{
    tn_tree_file *files = NULL;
    size_t        n = 0;
    tn_digest     content;
    tn_status     status;

    TN_TRY(tn_tree_list(b->out, &files, &n, err));
    TN_GOTO(recipe_release_content_root(files, n, &content, err));
    TN_GOTO(put_bom(b, files, n, &content, err));
    if (b->p->key != NULL) {
        TN_GOTO(put_statements(b, &content, err));
        TN_GOTO(tn_oms_sign(b->out, b->o->name, b->p->key, err));
    }
    if (metrics != NULL) {
        json_object_set_new(metrics, "files", json_integer((json_int_t)n + (b->p->key != NULL ? 3 : 1)));
        set_text(metrics, "content", &content);
    }
out:
    tn_tree_free(files, n);
    return status;
}

tn_status tn_release_build(const tn_release_parts *p, const tn_release_options *o, const char *out, json_t *metrics, tn_error *err)
{
    builder   b = { .p = p, .o = o, .out = out, .manifest = json_object(), .parts = json_array() };
    tn_status status = TN_OK;

    if (tn_exists(out)) {
        status = tn_fail(err, TN_USAGE, "%s exists already: choose another name, or remove it first", out);
        goto out;
    }
    TN_GOTO(date_check(o->date, err));
    TN_GOTO(tn_mkdirs(out, err));
    json_object_set_new(b.manifest, "format", json_string(RELEASE_FORMAT));
    json_object_set_new(b.manifest, "name", json_string(o->name));
    json_object_set_new(b.manifest, "version", json_string(o->version));
    if (o->date != NULL) json_object_set_new(b.manifest, "date", json_string(o->date));
    json_object_set(b.manifest, "parts", b.parts);
    json_object_set_new(b.manifest, "steplogs", json_array());
    json_object_set_new(b.manifest, "closure", p->closure != NULL ? json_deep_copy(p->closure) : json_array());
    TN_GOTO(put_model(&b, err));
    TN_GOTO(put_constitution(&b, err));
    TN_GOTO(put_recipe(&b, err));
    TN_GOTO(put_parts(&b, err));
    TN_GOTO(put_manifest(&b, err));
    status = put_derived(&b, metrics, err);
out:
    json_decref(b.manifest);
    json_decref(b.parts);
    free(b.recipe_hex);
    free(b.log_root);
    return status;
}
