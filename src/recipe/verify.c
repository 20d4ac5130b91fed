/* verify.c - one verdict with reasons over a release: the order of the checks, the signature, the files.
 *
 *   signature ─ files ─ release.json ─ model, parts, constitution, BOM, statements ─ closure, recipe, step logs ─ replay
 *
 * Everything is looked at, also after something was found wrong: the reasons are complete. What cannot be read as what it
 * should be is wrong, not an error; an error is only what lies outside the release (no memory, a disk that fails). */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "model/model.h"

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

void recipe_verify_wrong(verifier *v, const char *what, const char *where, const char *expected, const char *found)
{
    tn_reason(v->reasons, what, where, expected, found);
}

size_t recipe_verify_mark(const verifier *v) { return json_array_size(v->reasons); }

void recipe_verify_line(verifier *v, const char *name, size_t before, char *text)
{
    json_array_append_new(v->checks, json_pack("{s:s,s:s,s:s}", "name", name, "state", recipe_verify_mark(v) == before ? "ok" : "wrong", "text",
                                               text != NULL ? text : ""));
    free(text);
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

    if (row == NULL) return true;                             /* a source: its digest is its origin */
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
        if (!ok) recipe_verify_wrong(v, "not what the stage made", where, root, found != NULL ? found : "nothing there");
        free(found);
        free(path);
        return ok;
    }
    return true;                                              /* the stage's artifact is not held: its digest must do */
}

/* ------------------------------------------------------------------------------------------------------------ signature */

/* Which tensor differs, when the model's file still reads as a model. */
static char *tensor_that_differs(const verifier *v)
{
    const tn_model_options mo = { .profile = TN_PROFILE_STRICT, .weights = true };
    const json_t *tensors = json_object_get(json_object_get(v->manifest, "model"), "tensors");
    tn_model     *m = NULL;
    char         *name = NULL, *path = NULL;

    if (!json_is_object(tensors)) return NULL;
    if (strcmp(recipe_verify_text(json_object_get(v->manifest, "model"), "form"), "file") == 0) path = tn_path(v->dir, "model.gguf");
    else path = tn_strdup(v->dir);
    if (path != NULL && tn_model_open(&m, path, &mo, NULL) == TN_OK)
        for (size_t i = 0; i < tn_model_n_tensor(m) && name == NULL; i++) {
            const tn_param *p = tn_model_tensor(m, i);
            const char     *want = json_string_value(json_object_get(tensors, p->name));
            char            hex[TN_SHA256_HEX];
            if (p->w.data == NULL) continue;
            tn_digest d = tn_sha256_of(p->w.data, tn_n_bytes(&p->w));
            tn_hex(hex, &d);
            if (want == NULL || strcmp(want, hex) != 0) name = tn_strdup(p->name);
        }
    tn_model_close(m);
    free(path);
    return name;
}

static bool is_weights(const char *name)
{
    return tn_ends_with(name, ".safetensors") || tn_ends_with(name, ".gguf");
}

static void name_tensor(json_t *reason, const char *tensor)
{
    char *what = tn_strf("%s, tensor %s", recipe_verify_text(reason, "what"), tensor);

    if (what != NULL) json_object_set_new(reason, "what", json_string(what));
    free(what);
}

static void say_files(verifier *v, const tn_oms *oms, size_t before)
{
    size_t  n_bad = recipe_verify_mark(v) - before, i;
    json_t *r;
    bool    weights = false;

    if (n_bad == 0) {
        recipe_verify_line(v, "files", before, tn_strf("%zu of %zu match, none extra", oms->n, oms->n));
        return;
    }
    json_array_foreach(v->reasons, i, r)
        if (i >= before && is_weights(recipe_verify_text(r, "where")) && strcmp(recipe_verify_text(r, "what"), "file differs") == 0) weights = true;
    char *tensor = weights ? tensor_that_differs(v) : NULL;
    if (tensor != NULL)
        json_array_foreach(v->reasons, i, r)
            if (i >= before && is_weights(recipe_verify_text(r, "where"))) name_tensor(r, tensor);
    const json_t *first = json_array_get(v->reasons, before);
    recipe_verify_line(v, "files", before, tn_strf("%s: %s%s", recipe_verify_text(first, "where"), recipe_verify_text(first, "what"), n_bad > 1 ? " (and more)" : ""));
    free(tensor);
}

static tn_status check_signature(verifier *v, tn_error *err)
{
    char     *path = tn_path(v->dir, TN_OMS_FILE);
    tn_oms   *oms = NULL;
    tn_error  why = { .msg = "" };
    size_t    before = recipe_verify_mark(v);
    tn_status status;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    status = tn_oms_open(&oms, path, v->key, &why);
    if (status == TN_OK) {
        recipe_verify_line(v, "signature", before, tn_strf("key %.8s..., signed content is of that key", tn_key_hint(v->key)));
        before = recipe_verify_mark(v);
        tn_oms_compare(oms, v->files, v->n, v->manifest == NULL, v->reasons);
        say_files(v, oms, before);
    } else if (status == TN_UNSUPPORTED) {
        v->unchecked = true;
        recipe_verify_wrong(v, "signature cannot be checked here", TN_OMS_FILE, "a signature by a key, over files", why.msg);
        recipe_verify_line(v, "signature", before, tn_strdup(why.msg));
    } else if (status == TN_NOTFOUND) {
        recipe_verify_wrong(v, "signature is missing", TN_OMS_FILE, "a signature", "no such file");
        recipe_verify_line(v, "signature", before, tn_strdup("missing"));
    } else if (status == TN_NOMEM || status == TN_IO) {
        if (err != NULL) *err = why;
        goto out;
    } else {
        recipe_verify_wrong(v, "signature does not hold", TN_OMS_FILE, "a signature of the given key over these files", why.msg);
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
    v->unchecked = true;
    recipe_verify_wrong(v, "signature was not checked", v->o->key != NULL ? v->o->key : "--key", "the signer's public key, as PEM",
                 v->o->key != NULL ? why.msg : "none given");
    json_array_append_new(v->checks, json_pack("{s:s,s:s,s:s}", "name", "signature", "state", "unchecked", "text", "no public key: give --key PUB.pem"));
    return TN_OK;
}

static tn_status list_files(verifier *v, tn_error *err)
{
    tn_error  why = { .msg = "" };
    tn_status status = tn_tree_list(v->dir, &v->files, &v->n, &why);

    if (status == TN_FORMAT) {                                /* a symlink, a socket: never part of a release */
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
        recipe_verify_wrong(v, "unknown format", RELEASE_MANIFEST, RELEASE_FORMAT, recipe_verify_text(v->manifest, "format"));
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
    if (v->key != NULL) TN_TRY(check_signature(v, err));
    if (broken) recipe_verify_line(v, "contents", before, tn_strdup(RELEASE_MANIFEST " does not parse"));
    if (v->manifest == NULL) {
        if (!broken) json_array_append_new(v->checks, json_pack("{s:s,s:s,s:s}", "name", "contents", "state", "ok", "text",
                                           "signed files only: this is no tenet release, nothing tells how it was made"));
        return TN_OK;
    }
    TN_TRY(recipe_verify_content(v, err));
    TN_TRY(recipe_verify_made(v, err));
    return v->o->replay != 0 ? recipe_verify_replay(v, err) : TN_OK;
}

/* wrong beats unchecked: of the reasons, those that only say "not checked" were counted in `unchecked` by their makers. */
static const char *verdict_of(const verifier *v)
{
    size_t  i, n_wrong = 0;
    json_t *r;

    json_array_foreach(v->reasons, i, r) {
        const char *what = recipe_verify_text(r, "what");
        if (strcmp(what, "signature was not checked") != 0 && strcmp(what, "signature cannot be checked here") != 0
            && strcmp(what, "replay was not checked") != 0) n_wrong++;
    }
    return n_wrong > 0 ? "wrong" : v->unchecked ? "unchecked" : "sound";
}

tn_status tn_release_verify(const char *dir, const tn_verify_options *o, json_t **verdict, tn_error *err)
{
    verifier  v = { .dir = dir, .o = o, .reasons = json_array(), .checks = json_array() };
    tn_status status = TN_OK;

    *verdict = NULL;
    if (!tn_is_dir(dir)) {
        status = tn_fail(err, TN_NOTFOUND, "%s: no such folder: a release is a folder with %s in it", dir, TN_OMS_FILE);
        goto out;
    }
    TN_GOTO(check_all(&v, err));
    *verdict = json_pack("{s:s,s:O,s:O}", "verdict", verdict_of(&v), "reasons", v.reasons, "checks", v.checks);
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
