/* verify_content.c - does a release hold what its own papers say: model, parts, constitution, bill of
 * materials, statements? */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "constitution/constitution.h"

#include <stdlib.h>
#include <string.h>

enum { BOM_MAX = 64 << 20 };

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tn_tree_file *)a)->name, ((const tn_tree_file *)b)->name);
}

/* The model artifact again from the files that it became. */
static bool model_root(const verifier *v, tn_digest *out)
{
    const json_t *model = json_object_get(v->manifest, "model"), *files = json_object_get(model, "files");
    tn_tree_file *list = calloc(json_array_size(files) + 1, sizeof *list);
    size_t        i, n = 0;
    json_t       *f;
    bool          ok = list != NULL;

    json_array_foreach(files, i, f) {
        const tn_tree_file *file = recipe_verify_file(v, recipe_verify_text(f, "as"));
        ok = ok && file != NULL;
        if (!ok) break;
        list[n] = *file;
        list[n++].name = (char *)recipe_verify_text(f, "name");
    }
    if (ok && strcmp(recipe_verify_text(model, "form"), "file") == 0) {
        ok = n == 1;
        if (ok) *out = list[0].digest;
    } else if (ok) {
        qsort(list, n, sizeof *list, by_name);
        ok = tn_tree_root(list, n, out, NULL) == TN_OK;
    }
    free(list);
    return ok;
}

static void check_model(verifier *v)
{
    const json_t *model = json_object_get(v->manifest, "model");
    size_t        before = recipe_verify_mark(v);
    tn_digest     d;
    bool          there = model_root(v, &d);
    char         *found = there ? tn_digest_text(&d) : NULL;

    if (found == NULL || strcmp(found, recipe_verify_text(model, "root")) != 0)
        recipe_verify_wrong(v, "weights differ from those that were released", "model",
                            recipe_verify_text(model, "root"), found != NULL ? found : "files are missing");
    else if (recipe_verify_text(model, "from")[0] != '\0')
        recipe_verify_origin(v, recipe_verify_text(model, "from"), found, "model");
    recipe_verify_line(v, "model", before,
                       tn_strf("%s, %.19s", recipe_verify_text(json_object_get(model, "inspect"), "family"),
                               recipe_verify_text(model, "root")));
    free(found);
}

static void check_parts(verifier *v)
{
    const json_t *parts = json_object_get(v->manifest, "parts");
    size_t        before = recipe_verify_mark(v), i;
    json_t       *p;

    json_array_foreach(parts, i, p) {
        const char *path = recipe_verify_text(p, "path"), *root = recipe_verify_text(p, "root"),
                   *from = recipe_verify_text(p, "from");
        tn_digest d;
        bool      there = tn_path_is_plain(path) &&
                     recipe_verify_root_at(v, path, json_is_true(json_object_get(p, "directory")), &d);
        char *found = there ? tn_digest_text(&d) : NULL;
        if (found == NULL || strcmp(found, root) != 0)
            recipe_verify_wrong(v, "artifact differs from its root", path, root,
                                found != NULL ? found : "nothing there");
        else if (strcmp(recipe_verify_text(p, "role"), "input") != 0)
            recipe_verify_origin(v, from, root, path);
        free(found);
    }
    if (json_array_size(parts) > 0)
        recipe_verify_line(v, "parts", before,
                           tn_strf("%zu artifacts as their roots say", json_array_size(parts)));
}

static tn_status check_constitution(verifier *v, tn_error *err)
{
    const json_t       *c = json_object_get(v->manifest, "constitution");
    size_t              before = recipe_verify_mark(v);
    const tn_tree_file *file = recipe_verify_file(v, RELEASE_CHARTER);
    tn_constitution    *charter = NULL;
    tn_error            why = { .msg = "" };
    char               *path = tn_path(v->dir, RELEASE_CHARTER), *digest = NULL, *root = NULL;
    tn_status           status = TN_OK;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (c == NULL) {
        if (file != NULL)
            recipe_verify_wrong(v, "constitution that the release does not name", RELEASE_CHARTER, "none",
                                "a file");
        goto out;
    }
    if (file == NULL || (root = tn_digest_text(&file->digest)) == NULL ||
        strcmp(root, recipe_verify_text(c, "root")) != 0) {
        recipe_verify_wrong(v, "constitution differs from the one named", RELEASE_CHARTER,
                            recipe_verify_text(c, "root"), root != NULL ? root : "no such file");
    } else if ((status = tn_constitution_load(&charter, path, &why)) != TN_OK) {
        if (status == TN_NOMEM || status == TN_IO) {
            if (err != NULL) *err = why;
            goto out;
        }
        recipe_verify_wrong(v, "constitution does not parse", RELEASE_CHARTER, "a constitution", why.msg);
        status = TN_OK;
    } else if ((digest = tn_digest_text(&charter->digest)) == NULL ||
               strcmp(digest, recipe_verify_text(c, "digest")) != 0) {
        recipe_verify_wrong(v, "constitution has another digest", RELEASE_CHARTER,
                            recipe_verify_text(c, "digest"), digest != NULL ? digest : "");
    }
    recipe_verify_line(v, "constitution", before,
                       tn_strf("%.15s..., %lld principles, as signed", recipe_verify_text(c, "digest"),
                               (long long)json_integer_value(json_object_get(c, "principles"))));
out:
    tn_constitution_free(charter);
    free(digest);
    free(root);
    free(path);
    return status;
}

/* -------------------------------------------------------------------------------------- bill of materials */

static void check_bom_files(verifier *v, const json_t *components)
{
    size_t  i, n = 0, n_content = 0;
    json_t *c;
    char    hex[TN_SHA256_HEX];

    json_array_foreach(components, i, c) {
        const char *name = recipe_verify_text(c, "name"),
                   *listed = recipe_verify_text(json_array_get(json_object_get(c, "hashes"), 0), "content");
        const tn_tree_file *f;
        if (strcmp(recipe_verify_text(c, "type"), "file") != 0) continue;
        n++;
        if ((f = recipe_verify_file(v, name)) == NULL || recipe_release_is_derived(name)) {
            recipe_verify_wrong(v, "bill of materials lists a file that is not there", name, listed,
                                "no such file");
            continue;
        }
        tn_hex(hex, &f->digest);
        if (strcmp(hex, listed) != 0)
            recipe_verify_wrong(v, "bill of materials disagrees with the content", name, listed, hex);
    }
    for (i = 0; i < v->n; i++) n_content += !recipe_release_is_derived(v->files[i].name);
    if (n != n_content) {
        char want[32], found[32];
        snprintf(want, sizeof want, "%zu files", n_content);
        snprintf(found, sizeof found, "%zu files", n);
        recipe_verify_wrong(v, "bill of materials is not complete", RELEASE_BOM, want, found);
    }
}

static const char *property(const json_t *component, const char *name)
{
    size_t  i;
    json_t *p;

    json_array_foreach(json_object_get(component, "properties"), i, p)
        if (strcmp(recipe_verify_text(p, "name"), name) == 0) return recipe_verify_text(p, "value");
    return "";
}

static tn_status check_bom(verifier *v, tn_error *err)
{
    char     *path = tn_path(v->dir, RELEASE_BOM), serial[TN_BOM_SERIAL];
    json_t   *bom = NULL;
    size_t    before = recipe_verify_mark(v);
    tn_error  why = { .msg = "" };
    tn_status status = path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path")
                                    : tn_json_load(&bom, path, BOM_MAX, &why);

    if (path == NULL) return status;
    if (status != TN_OK) {
        if (status == TN_NOMEM || status == TN_IO) {
            if (err != NULL) *err = why;
            goto out;
        }
        recipe_verify_wrong(v, status == TN_NOTFOUND ? "bill of materials is missing" : "does not parse",
                            RELEASE_BOM, "a CycloneDX 1.6 document", why.msg);
        status = TN_OK;
    } else {
        const json_t *model = json_object_get(json_object_get(bom, "metadata"), "component"),
                     *m = json_object_get(v->manifest, "model");
        tn_bom_serial(serial, &v->content);
        if (strcmp(recipe_verify_text(bom, "bomFormat"), "CycloneDX") != 0 ||
            strcmp(recipe_verify_text(bom, "specVersion"), "1.6") != 0)
            recipe_verify_wrong(v, "unknown format", RELEASE_BOM, "CycloneDX 1.6",
                                recipe_verify_text(bom, "specVersion"));
        if (strcmp(recipe_verify_text(bom, "serialNumber"), serial) != 0)
            recipe_verify_wrong(v, "serial number is not that of the content", RELEASE_BOM, serial,
                                recipe_verify_text(bom, "serialNumber"));
        if (strcmp(property(model, "tenet:model:root"), recipe_verify_text(m, "root")) != 0)
            recipe_verify_wrong(v, "bill of materials names other weights", RELEASE_BOM,
                                recipe_verify_text(m, "root"), property(model, "tenet:model:root"));
        check_bom_files(v, json_object_get(bom, "components"));
    }
    recipe_verify_line(v, "materials", before, tn_strdup("bill of materials agrees with the content"));
out:
    json_decref(bom);
    free(path);
    return status;
}

/* --------------------------------------------------------------------------------------------- statements */

static void expect(json_t *list, char *text)
{
    json_t *o = NULL;

    if (text != NULL && tn_json_parse(&o, text, strlen(text), "statement", NULL) == TN_OK)
        json_array_append_new(list, o);
    free(text);
}

static const char *log_root(const verifier *v, const json_t *row)
{
    size_t  i, k;
    json_t *part, *log;

    json_array_foreach(json_object_get(v->manifest, "parts"), i, part) {
        if (strcmp(recipe_verify_text(part, "root"), recipe_verify_text(row, "root")) != 0) continue;
        json_array_foreach(json_object_get(v->manifest, "steplogs"), k, log) {
            size_t n = strlen(recipe_verify_text(part, "path"));
            if (strncmp(recipe_verify_text(log, "path"), recipe_verify_text(part, "path"), n) == 0 &&
                recipe_verify_text(log, "path")[n] == '/')
                return recipe_verify_text(log, "root");
        }
    }
    return NULL;
}

/* What the statements must say, from the manifest: one a stage, one a report, one for the release. */
static json_t *expected_statements(const verifier *v)
{
    const json_t *m = v->manifest;
    const char   *recipe = json_string_value(json_object_get(json_object_get(m, "recipe"), "sha256")),
               *model = recipe_verify_text(json_object_get(m, "model"), "root");
    json_t *list = json_array(), *row;
    size_t  i;
    char   *content = tn_digest_text(&v->content);

    json_array_foreach(json_object_get(m, "closure"), i, row)
        expect(list, tn_statement_stage(row, recipe, log_root(v, row)));
    json_array_foreach(json_object_get(m, "parts"), i, row)
        if (strcmp(recipe_verify_text(row, "role"), "report") == 0)
            expect(list, tn_statement_report(recipe_verify_text(row, "path"), recipe_verify_text(row, "root"),
                                             model));
    expect(list, tn_statement_release(recipe_verify_text(m, "name"), content != NULL ? content : "", model));
    free(content);
    return list;
}

static const char *subject_of(const json_t *statement)
{
    return recipe_verify_text(json_array_get(json_object_get(statement, "subject"), 0), "name");
}

/* One line: signed by the key, and one of the expected ones, which is then struck out. */
static void check_statement(verifier *v, json_t *expected, const json_t *envelope, int64_t line)
{
    char     where[64];
    uint8_t *payload = NULL;
    size_t   n = 0, i;
    json_t  *s = NULL, *e;
    tn_error why = { .msg = "" };

    snprintf(where, sizeof where, "%s:%lld", RELEASE_STATEMENTS, (long long)line);
    if (v->key != NULL) {
        if (tn_dsse_open(envelope, TN_INTOTO_TYPE, v->key, &payload, &n, where, &why) != TN_OK) {
            recipe_verify_wrong(v, "statement is not signed by the key", where, "a signed statement",
                                why.msg);
            return;
        }
    } else if (!tn_unbase64(&payload, &n, recipe_verify_text(envelope, "payload"))) {
        recipe_verify_wrong(v, "statement does not parse", where, "a signed statement", "no base64");
        return;
    }
    if (tn_json_parse(&s, (const char *)payload, n, where, &why) != TN_OK) {
        recipe_verify_wrong(v, "statement does not parse", where, "an in-toto statement", why.msg);
    } else {
        bool found = false;
        json_array_foreach(expected, i, e)
            if (json_equal(e, s)) {
                json_array_remove(expected, i);
                found = true;
                break;
            }
        if (!found)
            recipe_verify_wrong(v, "statement disagrees with the content", where,
                                "what release.json says of its subject", subject_of(s));
    }
    json_decref(s);
    free(payload);
}

static tn_status check_statements(verifier *v, tn_error *err)
{
    char     *path = tn_path(v->dir, RELEASE_STATEMENTS);
    tn_jsonl *r = NULL;
    json_t   *row = NULL, *expected = expected_statements(v);
    size_t    before = recipe_verify_mark(v), n = json_array_size(expected), i;
    tn_error  why = { .msg = "" };
    tn_status status = path == NULL ? TN_NOMEM : tn_jsonl_open(&r, path, &why);

    while (status == TN_OK && (status = tn_jsonl_next(r, &row, &why)) == TN_OK && row != NULL) {
        check_statement(v, expected, row, tn_jsonl_line(r));
        json_decref(row);
    }
    if (status == TN_NOMEM || status == TN_IO) {
        if (err != NULL) *err = why;
        goto out;
    }
    if (status == TN_NOTFOUND)
        recipe_verify_wrong(v, "statements are missing", RELEASE_STATEMENTS, "one line a stage",
                            "no such file");
    else if (status != TN_OK)
        recipe_verify_wrong(v, "does not parse", RELEASE_STATEMENTS, "one envelope a line", why.msg);
    if (status != TN_NOTFOUND)
        json_array_foreach(expected, i, row)
            recipe_verify_wrong(v, "statement is missing", RELEASE_STATEMENTS, subject_of(row),
                                "no such statement");
    status = TN_OK;
    recipe_verify_line(v, "statements", before, tn_strf("%zu, signed, agree with the content", n));
out:
    tn_jsonl_close(r);
    json_decref(expected);
    free(path);
    return status;
}

/* Execute bits are part of the content's root and of no list, and a file system without them (a stick, a
 * share) sets them all. If the content without any is the one that the papers were made from, each bit is
 * named, and the rest is looked at without them. */
static tn_status check_modes(verifier *v, tn_error *err)
{
    char     *path = tn_path(v->dir, RELEASE_BOM), serial[TN_BOM_SERIAL];
    json_t   *bom = NULL;
    uint32_t *modes = calloc(v->n + 1, sizeof *modes);
    tn_digest plain;
    size_t    before = recipe_verify_mark(v);
    tn_status status = TN_OK;

    if (path == NULL || modes == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu files", v->n);
        goto out;
    }
    for (size_t i = 0; i < v->n; i++) {
        modes[i] = (uint32_t)v->files[i].mode;
        v->files[i].mode = 0644;
    }
    TN_GOTO(recipe_release_content_root(v->files, v->n, &plain, err));
    tn_bom_serial(serial, &plain);
    bool same = !tn_digest_equal(&plain, &v->content) && tn_json_load(&bom, path, BOM_MAX, NULL) == TN_OK &&
                strcmp(serial, recipe_verify_text(bom, "serialNumber")) == 0;
    for (size_t i = 0; i < v->n; i++) {
        if (same && modes[i] != 0644 && !recipe_release_is_derived(v->files[i].name))
            recipe_verify_wrong(v, "execute permission was added", v->files[i].name,
                                "a plain file (chmod a-x)", "an executable one");
        if (!same) v->files[i].mode = modes[i];
    }
    if (same) {
        v->content = plain;
        recipe_verify_line(v, "permissions", before, NULL);
    }
out:
    json_decref(bom);
    free(modes);
    free(path);
    return status;
}

tn_status recipe_verify_content(verifier *v, tn_error *err)
{
    TN_TRY(recipe_release_content_root(v->files, v->n, &v->content, err));
    TN_TRY(check_modes(v, err));
    check_model(v);
    check_parts(v);
    TN_TRY(check_constitution(v, err));
    TN_TRY(check_bom(v, err));
    return check_statements(v, err);
}
