/* verify.c - one verdict with reasons over a release: the order of the checks, the signature, the files.
 *
 *   signature ─ files ─ release.json ─ model, parts, constitution, BOM, statements ─ closure, recipe, step logs ─ replay
 *
 * Everything is looked at, also after something was found wrong: the reasons are complete. What cannot be
 * read as what it should be is wrong, not an error; an error is only what lies outside the release (no
 * memory, a disk that fails). */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { MANIFEST_MAX = 64 << 20 };

const char *recipe_verify_text(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text != NULL ? text : "";
}

const tn_tree_file *recipe_verify_file(const verifier *v, const char *name)
{
    size_t lo = 0, hi = v->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int    c = strcmp(v->files[mid].name, name);
        if (c == 0) return &v->files[mid];
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

bool recipe_verify_root_at(const verifier *v, const char *path, bool directory, tn_digest *out)
{
    const tn_tree_file *file = recipe_verify_file(v, path);
    tn_tree_file       *below;
    size_t              n = 0, skip = strlen(path) + 1;

    if (!directory) {
        if (file != NULL) *out = file->digest;
        return file != NULL;
    }
    if ((below = calloc(v->n + 1, sizeof *below)) == NULL) return false;
    for (size_t i = 0; i < v->n; i++)
        if (strncmp(v->files[i].name, path, skip - 1) == 0 && v->files[i].name[skip - 1] == '/') {
            below[n] = v->files[i];
            below[n++].name = v->files[i].name + skip;
        }
    bool ok = n > 0 && tn_tree_root(below, n, out, NULL) == TN_OK;
    free(below);
    return ok;
}

void recipe_verify_wrong(verifier *v, const char *what, const char *where, const char *expected,
                         const char *found)
{
    tn_reason(v->reasons, what, where, expected, found);
}

size_t recipe_verify_mark(const verifier *v) { return json_array_size(v->reasons); }

void recipe_verify_line(verifier *v, const char *name, size_t before, char *text)
{
    size_t        n = recipe_verify_mark(v) - before;
    const json_t *first = n > 0 ? json_array_get(v->reasons, before) : NULL;
    char         *wrong = first == NULL ? NULL
                                        : tn_strf("%s: %s", recipe_verify_text(first, "where"),
                                                  recipe_verify_text(first, "what"));

    recipe_verify_check(v, name, first == NULL ? "ok" : "wrong", before,
                        wrong != NULL  ? wrong
                        : text != NULL ? text
                                       : "");
    free(wrong);
    free(text);
}

void recipe_verify_check(verifier *v, const char *name, const char *state, size_t before, const char *text)
{
    json_array_append_new(v->checks, json_pack("{s:s,s:s,s:s,s:I,s:I}", "name", name, "state", state, "text",
                                               text, "first_reason", (json_int_t)before, "n_reason",
                                               (json_int_t)(recipe_verify_mark(v) - before)));
}

const json_t *recipe_verify_stage(const verifier *v, const char *name, size_t n_name)
{
    size_t  i;
    json_t *row;

    json_array_foreach(json_object_get(v->manifest, "closure"), i, row) {
        const char *have = recipe_verify_text(row, "name");
        if (strlen(have) == n_name && strncmp(have, name, n_name) == 0) return row;
    }
    return NULL;
}

bool recipe_verify_origin(verifier *v, const char *from, const char *root, const char *where)
{
    size_t        n = strcspn(from, "/"), i;
    const json_t *row = recipe_verify_stage(v, from, n);
    json_t       *part;
    char         *found = NULL;
    bool          ok = true;

    if (row == NULL) return true; /* a source: its digest is its origin */
    if (from[n] == '\0') {
        if (strcmp(recipe_verify_text(row, "root"), root) == 0) return true;
        recipe_verify_wrong(v, "not what the stage made", where, recipe_verify_text(row, "root"), root);
        return false;
    }
    json_array_foreach(json_object_get(v->manifest, "parts"), i, part) {
        tn_digest d;
        char     *path;
        if (strcmp(recipe_verify_text(part, "root"), recipe_verify_text(row, "root")) != 0) continue;
        path = tn_strf("%s/%s", recipe_verify_text(part, "path"), from + n + 1);
        bool there = path != NULL && recipe_verify_root_at(v, path, recipe_verify_file(v, path) == NULL, &d);
        if (there) found = tn_digest_text(&d);
        ok = there && found != NULL && strcmp(found, root) == 0;
        if (!ok)
            recipe_verify_wrong(v, "not what the stage made", where, root,
                                found != NULL ? found : "nothing there");
        free(found);
        free(path);
        return ok;
    }
    return true; /* the stage's artifact is not held: its digest must do */
}

/* ---------------------------------------------------------------------------------------------- signature */

static void say_files(verifier *v, const tn_oms *oms, size_t before)
{
    size_t  i;
    json_t *r;

    if (recipe_verify_mark(v) == before) {
        recipe_verify_line(v, "files", before, tn_strf("%zu of %zu match, none extra", oms->n, oms->n));
        return;
    }
    json_array_foreach(v->reasons, i, r)
        if (i >= before && recipe_verify_is_weights(recipe_verify_text(r, "where")) &&
            strcmp(recipe_verify_text(r, "what"), "file differs") == 0)
            recipe_verify_locate(v, r);
    recipe_verify_line(v, "files", before, NULL);
}

/* A digest of files does not see folders without any: they are no part of a release of ours, and could mean
 * something to whoever lists it. */
static tn_status check_bare(verifier *v, tn_error *err)
{
    char **bare = NULL;
    size_t n = 0;

    if (v->manifest == NULL) return TN_OK;
    TN_TRY(tn_list_bare(&bare, &n, v->dir, err));
    for (size_t i = 0; i < n; i++)
        if (!tn_oms_named(v->o->ignored, bare[i]))
            recipe_verify_wrong(v, "empty folder", bare[i], "no such folder", "a folder without files");
    tn_list_free(bare, n);
    return TN_OK;
}

static tn_status check_signature(verifier *v, tn_error *err)
{
    char     *path = tn_path(v->dir, TN_OMS_FILE);
    tn_oms   *oms = NULL;
    tn_error  why = { .msg = "" };
    size_t    before = recipe_verify_mark(v);
    tn_status status;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    status = tn_oms_open_by(&oms, path, &(tn_oms_trust){ v->key, v->o->certificates }, &why);
    if (status == TN_OK) {
        recipe_verify_line(
            v, "signature", before,
            v->key != NULL
                ? tn_strf("ECDSA %s, key %.8s..., signed content matches", tn_key_curve(v->key),
                          tn_key_hint(v->key))
                : tn_strdup("by a certificate that leads to a trusted one; signed content matches"));
        before = recipe_verify_mark(v);
        /* others may indent and end their line; a release of ours has one form */
        if (v->manifest != NULL && !oms->compact)
            recipe_verify_wrong(v, "signature is written in another way", TN_OMS_FILE,
                                "compact JSON, as it was signed", "further white space or escapes");
        tn_oms_compare(oms, v->files, v->n, v->manifest == NULL, v->o->ignored, v->reasons);
        if (check_bare(v, &why) != TN_OK) {
            if (err != NULL) *err = why;
            status = why.code;
            goto out;
        }
        say_files(v, oms, before);
    } else if (status == TN_UNSUPPORTED) {
        v->unchecked = true;
        recipe_verify_wrong(v, "signature cannot be checked here", TN_OMS_FILE,
                            "a signature by a key, over files", why.msg);
        recipe_verify_check(v, "signature", "unchecked", before,
                            "signed in a way that a public key cannot check");
    } else if (status == TN_NOTFOUND) {
        recipe_verify_wrong(v, "signature is missing", TN_OMS_FILE, "a signature", "no such file");
        recipe_verify_line(v, "signature", before, tn_strdup("missing"));
    } else if (status == TN_NOMEM || status == TN_IO) {
        if (err != NULL) *err = why;
        goto out;
    } else {
        recipe_verify_wrong(v, "signature does not hold", TN_OMS_FILE,
                            "a signature of the given key over these files", why.msg);
        recipe_verify_line(v, "signature", before, tn_strdup(why.msg));
    }
    status = TN_OK;
out:
    tn_oms_free(oms);
    free(path);
    return status;
}

/* Without a usable key nothing is proved; the rest is still looked at, so that what is broken is seen. */
static tn_status open_key(verifier *v, tn_error *err)
{
    tn_error why = { .msg = "" };

    if (v->o->key != NULL && tn_key_load_public(&v->key, v->o->key, &why) == TN_OK) return TN_OK;
    if (why.code == TN_NOMEM) {
        if (err != NULL) *err = why;
        return why.code;
    }
    if (v->o->key == NULL && v->o->certificates != NULL) return TN_OK;
    v->unchecked = true;
    recipe_verify_wrong(v, "signature was not checked", v->o->key != NULL ? v->o->key : "--key",
                        "the signer's public key, as PEM", v->o->key != NULL ? why.msg : "none given");
    recipe_verify_check(v, "signature", "unchecked", recipe_verify_mark(v) - 1,
                        "no public key: give --key PUB.pem");
    return TN_OK;
}

static tn_status list_files(verifier *v, tn_error *err)
{
    tn_error  why = { .msg = "" };
    tn_status status = tn_tree_list(v->dir, &v->files, &v->n, &why);

    if (status == TN_FORMAT) { /* a symlink, a socket: never part of a release */
        recipe_verify_wrong(v, "something that is no plain file", v->dir, "plain files and folders", why.msg);
        recipe_verify_line(v, "files", 0, tn_strdup(why.msg));
        return TN_OK;
    }
    if (status != TN_OK && err != NULL) *err = why;
    return status;
}

static tn_status load_manifest(verifier *v, tn_error *err)
{
    char     *path = tn_path(v->dir, RELEASE_MANIFEST);
    tn_error  why = { .msg = "" };
    tn_status status = TN_OK;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (recipe_verify_file(v, RELEASE_MANIFEST) == NULL) goto out;
    status = tn_json_load(&v->manifest, path, MANIFEST_MAX, &why);
    if (status == TN_FORMAT || status == TN_LIMIT) {
        recipe_verify_wrong(v, "does not parse", RELEASE_MANIFEST, "what the release is, as JSON", why.msg);
        status = TN_OK;
    } else if (status == TN_OK && strcmp(recipe_verify_text(v->manifest, "format"), RELEASE_FORMAT) != 0) {
        recipe_verify_wrong(v, "unknown format", RELEASE_MANIFEST, RELEASE_FORMAT,
                            recipe_verify_text(v->manifest, "format"));
        json_decref(v->manifest);
        v->manifest = NULL;
    }
    if (status != TN_OK && err != NULL) *err = why;
out:
    free(path);
    return status;
}

static tn_status check_all(verifier *v, tn_error *err)
{
    size_t before;

    TN_TRY(open_key(v, err));
    before = recipe_verify_mark(v);
    TN_TRY(list_files(v, err));
    if (v->files == NULL) return TN_OK;
    before = recipe_verify_mark(v);
    TN_TRY(load_manifest(v, err));
    bool broken = recipe_verify_mark(v) > before;
    if (v->key != NULL || v->o->certificates != NULL) TN_TRY(check_signature(v, err));
    if (broken) recipe_verify_line(v, "contents", before, tn_strdup(RELEASE_MANIFEST " does not parse"));
    if (v->manifest == NULL) {
        if (!broken)
            recipe_verify_check(v, "contents", "ok", recipe_verify_mark(v),
                                "no tenet release: nothing tells how these files were made");
        return TN_OK;
    }
    TN_TRY(recipe_verify_content(v, err));
    TN_TRY(recipe_verify_made(v, err));
    return v->o->replay != 0 ? recipe_verify_replay(v, err) : TN_OK;
}

/* wrong beats unchecked: of the reasons, those that only say "not checked" were counted in `unchecked` by
 * their makers. */
static const char *verdict_of(const verifier *v)
{
    size_t  i, n_wrong = 0;
    json_t *r;

    json_array_foreach(v->reasons, i, r) {
        const char *what = recipe_verify_text(r, "what");
        if (strcmp(what, "signature was not checked") != 0 &&
            strcmp(what, "signature cannot be checked here") != 0 &&
            strcmp(what, "replay was not checked") != 0)
            n_wrong++;
    }
    return n_wrong > 0 ? "wrong" : v->unchecked ? "unchecked" : "sound";
}

/* What the verdict is about, so that it can be kept apart from the release: the name and version that the
 * release gives itself, the root of its content as it lies here, and the key that was trusted. */
static json_t *about(const verifier *v)
{
    json_t   *o = json_object();
    tn_digest root;
    char     *text = v->files != NULL && recipe_release_content_root(v->files, v->n, &root, NULL) == TN_OK
                         ? tn_digest_text(&root)
                         : NULL;

    for (const char *const *k = (const char *const[]){ "name", "version", "date", NULL }; *k != NULL; k++)
        if (recipe_verify_text(v->manifest, *k)[0] != '\0')
            json_object_set_new(o, *k, json_string(recipe_verify_text(v->manifest, *k)));
    if (text != NULL) json_object_set_new(o, "content", json_string(text));
    if (v->key != NULL) json_object_set_new(o, "key", json_string(tn_key_hint(v->key)));
    free(text);
    return o;
}

tn_status tn_release_verify(const char *dir, const tn_verify_options *o, json_t **verdict, tn_error *err)
{
    verifier  v = { .dir = dir, .o = o, .reasons = json_array(), .checks = json_array() };
    tn_status status = TN_OK;

    *verdict = NULL;
    if (!tn_is_dir(dir)) {
        status = tn_fail(err, TN_NOTFOUND, "%s: no such folder: a release is a folder with %s in it", dir,
                         TN_OMS_FILE);
        goto out;
    }
    TN_GOTO(check_all(&v, err));
    *verdict = json_pack("{s:s,s:o,s:O,s:O}", "verdict", verdict_of(&v), "release", about(&v), "reasons",
                         v.reasons, "checks", v.checks);
    if (*verdict == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a verdict");
    if (status == TN_OK && o->html != NULL) status = recipe_verdict_page(*verdict, dir, o->html, err);
out:
    tn_key_free(v.key);
    tn_tree_free(v.files, v.n);
    json_decref(v.manifest);
    json_decref(v.reasons);
    json_decref(v.checks);
    return status;
}
