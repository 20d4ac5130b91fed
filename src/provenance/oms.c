/* oms.c - OpenSSF Model Signing v1.0: model.sig over a directory, method "files".
 *
 *   model.sig   Sigstore bundle (compact JSON) > DSSE envelope > in-toto statement > list of (name, SHA-256)
 *
 *   {"mediaType":...,"verificationMaterial":{"publicKey":{"hint":"<64 hex>"},"tlogEntries":[]},"dsseEnvelope":{...}}
 *   {"_type":...,"subject":[{"name":NAME,"digest":{"sha256":ROOT}}],"predicateType":...,
 *    "predicate":{"serialization":{...},"resources":[{"name","algorithm","digest"}...]}}      resources in byte order
 *   ROOT = SHA-256 over the raw digests in list order
 *
 * Stricter than the reference where it is loose: one signature, no unknown or repeated member, canonical
 * base64 and DER, lowercase hex, nothing before or after the JSON (but a last line feed), no duplicate or
 * escaping name, no empty list, nothing ignored but git's files, the signature and what the verifier himself
 * names: what a signature says it leaves out is not honoured. Bundles of before v1.1 (the key itself instead
 * of its hint) and of certificates are read, never written. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUNDLE_TYPE "application/vnd.dev.sigstore.bundle.v0.3+json"
#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE "https://model_signing/signature/v1.0"

enum { BUNDLE_MAX = 64 << 20 };

static const char *const git_files[] = { ".git", ".gitattributes", ".github", ".gitignore", NULL };

/* "a/b" is in "a" */
static bool is_below(const char *name, const char *top)
{
    size_t n = strlen(top);

    return strncmp(name, top, n) == 0 && (name[n] == '\0' || name[n] == '/');
}

static bool git_ignored(const char *name)
{
    for (size_t i = 0; git_files[i] != NULL; i++)
        if (is_below(name, git_files[i])) return true;
    return false;
}

static tn_status root_digest(const tn_tree_file *files, size_t n, tn_digest *out, tn_error *err)
{
    tn_sha256 *h = NULL;

    TN_TRY(tn_sha256_create(&h, err));
    for (size_t i = 0; i < n; i++) tn_sha256_update(h, files[i].digest.b, TN_SHA256_BYTES);
    tn_sha256_final(h, out);
    tn_sha256_destroy(h);
    return TN_OK;
}

tn_status tn_oms_bundle(char **out, const tn_tree_file *files, size_t n, const char *name,
                        const char *sig_name, const tn_key *key, tn_error *err)
{
    json_t *resources = json_array(), *ignore = json_array(), *statement = NULL, *envelope = NULL,
           *bundle = NULL;
    char      hex[TN_SHA256_HEX], *payload = NULL;
    tn_digest root;
    tn_status status = TN_OK;

    *out = NULL;
    if (n == 0) {
        status = tn_fail(err, TN_USAGE, "there is no file to sign");
        goto out;
    }
    TN_GOTO(root_digest(files, n, &root, err));
    for (size_t i = 0; i < n; i++) {
        if (!tn_path_is_plain(files[i].name) || !tn_utf8_valid(files[i].name, strlen(files[i].name))) {
            status = tn_fail(err, TN_FORMAT, "'%s': a signed name must be plain UTF-8", files[i].name);
            goto out;
        }
        tn_hex(hex, &files[i].digest);
        json_array_append_new(resources, json_pack("{s:s,s:s,s:s}", "name", files[i].name, "algorithm",
                                                   "sha256", "digest", hex));
    }
    for (size_t i = 0; git_files[i] != NULL; i++) json_array_append_new(ignore, json_string(git_files[i]));
    if (sig_name != NULL) json_array_append_new(ignore, json_string(sig_name));
    tn_hex(hex, &root);
    statement = json_pack("{s:s,s:[{s:s,s:{s:s}}],s:s,s:{s:{s:s,s:s,s:b,s:O},s:O}}", "_type", STATEMENT_TYPE,
                          "subject", "name", name, "digest", "sha256", hex, "predicateType", PREDICATE_TYPE,
                          "predicate", "serialization", "method", "files", "hash_type", "sha256",
                          "allow_symlinks", 0, "ignore_paths", ignore, "resources", resources);
    payload = statement == NULL ? NULL : json_dumps(statement, JSON_COMPACT);
    if (payload == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a signature over %zu files", n);
        goto out;
    }
    TN_GOTO(tn_dsse_sign(&envelope, payload, strlen(payload), TN_INTOTO_TYPE, key, "", err));
    bundle = json_pack("{s:s,s:{s:{s:s},s:[]},s:O}", "mediaType", BUNDLE_TYPE, "verificationMaterial",
                       "publicKey", "hint", tn_key_hint(key), "tlogEntries", "dsseEnvelope", envelope);
    if (bundle == NULL || (*out = json_dumps(bundle, JSON_COMPACT)) == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory for a signature over %zu files", n);
out:
    json_decref(resources);
    json_decref(ignore);
    json_decref(statement);
    json_decref(envelope);
    json_decref(bundle);
    free(payload);
    return status;
}

tn_status tn_oms_sign(const char *dir, const char *name, const tn_key *key, tn_error *err)
{
    tn_tree_file *files = NULL, *kept = NULL;
    size_t        n = 0, n_kept = 0;
    char         *bundle = NULL, *path = tn_path(dir, TN_OMS_FILE);
    tn_status     status = TN_OK;

    TN_GOTO(tn_tree_list(dir, &files, &n, err));
    kept = calloc(n + 1, sizeof *kept);
    if (kept == NULL || path == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its list of files", dir);
        goto out;
    }
    for (size_t i = 0; i < n; i++) /* names stay with `files` */
        if (strcmp(files[i].name, TN_OMS_FILE) != 0 && !git_ignored(files[i].name)) kept[n_kept++] = files[i];
    TN_GOTO(tn_oms_bundle(&bundle, kept, n_kept, name, TN_OMS_FILE, key, err));
    status = tn_file_write_all(path, bundle, strlen(bundle), err);
out:
    tn_tree_free(files, n);
    free(kept);
    free(bundle);
    free(path);
    return status;
}

/* ------------------------------------------------------------------------------------------------ reading */

void tn_oms_free(tn_oms *o)
{
    if (o == NULL) return;
    tn_tree_free(o->files, o->n);
    tn_list_free(o->left_out, o->n_left_out);
    free(o->subject);
    free(o);
}

static tn_status wrong(tn_error *err, const char *where, const char *what, const char *expected,
                       const char *found)
{
    return tn_fail(err, TN_VERIFY, "%s: %s: expected %s, found %.100s", where, what, expected,
                   found != NULL ? found : "none");
}

static tn_status check_string(const json_t *o, const char *key, const char *expected, const char *where,
                              tn_error *err)
{
    const char *found = json_string_value(json_object_get(o, key));

    return found != NULL && strcmp(found, expected) == 0 ? TN_OK : wrong(err, where, key, expected, found);
}

/* jansson passes over white space around the value; a signature file with something after its end is another
 * file. The Go signer ends its file with one line feed, as text files do: that is let pass here, and
 * `compact` says that it is not ours. */
static tn_status check_edges(const char *text, size_t n, const char *where, tn_error *err)
{
    if (n > 1 && text[n - 1] == '\n') n--;
    if (n > 1 && text[0] == '{' && text[n - 1] == '}') return TN_OK;
    return tn_fail(err, TN_VERIFY, "%s: expected one JSON object and no other byte, found something %s it",
                   where, n > 1 && text[0] == '{' ? "after" : "before");
}

static bool is_compact(const json_t *bundle, const char *text)
{
    char *again = json_dumps(bundle, JSON_COMPACT);
    bool  same = again != NULL && strcmp(again, text) == 0;

    free(again);
    return same;
}

bool tn_oms_named(const char *const *list, const char *name)
{
    for (; list != NULL && *list != NULL; list++)
        if (is_below(name, *list)) return true;
    return false;
}

static tn_status check_serialization(tn_oms *o, const json_t *s, const char *where, tn_error *err)
{
    static const char *const members[] = { "method", "hash_type", "allow_symlinks", "ignore_paths", NULL };
    const char              *method = json_string_value(json_object_get(s, "method"));
    const json_t            *ignored = json_object_get(s, "ignore_paths");
    size_t                   i;
    json_t                  *v;

    if (method != NULL && strcmp(method, "files") != 0)
        return tn_fail(err, TN_UNSUPPORTED, "%s: signed by the method '%.40s': only 'files' is checked here",
                       where, method);
    TN_TRY(tn_json_only(s, members, where, err));
    TN_TRY(check_string(s, "method", "files", where, err));
    TN_TRY(check_string(s, "hash_type", "sha256", where, err));
    v = json_object_get(s, "allow_symlinks");
    if (v != NULL && !json_is_boolean(v))
        return wrong(err, where, "allow_symlinks", "true or false", "something else");
    if (ignored != NULL && !json_is_array(ignored))
        return wrong(err, where, "ignore_paths", "a list", "something else");
    if ((o->left_out = calloc(json_array_size(ignored) + 1, sizeof *o->left_out)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for names", where);
    json_array_foreach(ignored, i, v) {
        const char *path = json_string_value(v);
        if (path == NULL) return wrong(err, where, "ignore_paths", "names", "something else");
        if (git_ignored(path) || strcmp(path, TN_OMS_FILE) == 0) continue;
        if ((o->left_out[o->n_left_out] = tn_strdup(path)) == NULL)
            return tn_fail(err, TN_NOMEM, "%s: no memory for a name", where);
        o->n_left_out++;
    }
    return TN_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tn_tree_file *)a)->name, ((const tn_tree_file *)b)->name);
}

static tn_status read_resources(tn_oms *o, const json_t *resources, const char *where, tn_error *err)
{
    static const char *const members[] = { "name", "algorithm", "digest", NULL };
    size_t                   i, n = json_array_size(resources);
    json_t                  *v;

    if (n == 0) return tn_fail(err, TN_VERIFY, "%s: the signature covers no file", where);
    if ((o->files = calloc(n, sizeof *o->files)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for %zu names", where, n);
    json_array_foreach(resources, i, v) {
        const char *name = json_string_value(json_object_get(v, "name")),
                   *hex = json_string_value(json_object_get(v, "digest"));
        TN_TRY(tn_json_only(v, members, where, err));
        TN_TRY(check_string(v, "algorithm", "sha256", where, err));
        /* ".": the reference's single file */
        if (name == NULL || !(tn_path_is_plain(name) || (n == 1 && strcmp(name, ".") == 0)))
            return tn_fail(err, TN_VERIFY, "%s: '%.100s' is no plain relative name", where,
                           name != NULL ? name : "?");
        if (hex == NULL || !tn_unhex(&o->files[i].digest, hex))
            return wrong(err, where, "digest", "64 lowercase hex digits", hex);
        if ((o->files[i].name = tn_strdup(name)) == NULL)
            return tn_fail(err, TN_NOMEM, "%s: no memory for a name", where);
        o->files[i].mode = 0644;
        o->n = i + 1;
    }
    TN_TRY(root_digest(o->files, o->n, &o->root, err)); /* over the order that was signed */
    qsort(o->files, o->n, sizeof *o->files, by_name);
    for (i = 1; i < o->n; i++)
        if (strcmp(o->files[i - 1].name, o->files[i].name) == 0)
            return tn_fail(err, TN_VERIFY, "%s: '%.100s' is listed twice", where, o->files[i].name);
    return TN_OK;
}

static tn_status read_statement(tn_oms *o, const json_t *s, const char *where, tn_error *err)
{
    static const char *const members[] = { "_type", "subject", "predicateType", "predicate", NULL };
    static const char *const predicate_members[] = { "serialization", "resources", NULL };
    const json_t *predicate = json_object_get(s, "predicate"), *subjects = json_object_get(s, "subject"),
                 *subject = json_array_get(subjects, 0);
    const char *name = json_string_value(json_object_get(subject, "name"));
    const char *hex = json_string_value(json_object_get(json_object_get(subject, "digest"), "sha256"));
    char        found[TN_SHA256_HEX];

    TN_TRY(tn_json_only(s, members, where, err));
    TN_TRY(check_string(s, "_type", STATEMENT_TYPE, where, err));
    TN_TRY(check_string(s, "predicateType", PREDICATE_TYPE, where, err));
    TN_TRY(tn_json_only(predicate, predicate_members, where, err));
    if (json_array_size(subjects) != 1 || name == NULL || name[0] == '\0' || hex == NULL)
        return tn_fail(err, TN_VERIFY, "%s: expected one subject with a name and a SHA-256", where);
    TN_TRY(check_serialization(o, json_object_get(predicate, "serialization"), where, err));
    TN_TRY(read_resources(o, json_object_get(predicate, "resources"), where, err));
    tn_hex(found, &o->root);
    if (strcmp(found, hex) != 0) return wrong(err, where, "root digest", found, hex);
    if ((o->subject = tn_strdup(name)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for a name", where);
    return TN_OK;
}

/* Bundles before v1.1 hold the key itself: it has to be the trusted one. */
static tn_status check_raw_key(const json_t *k, const tn_key *key, const char *where, tn_error *err)
{
    static const char *const details[] = { "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384",
                                           "PKIX_ECDSA_P521_SHA_512" };
    const char              *raw = json_string_value(json_object_get(k, "rawBytes"));
    const char              *detail = json_string_value(json_object_get(k, "keyDetails"));
    uint8_t                 *pem = NULL;
    size_t                   n = 0;
    tn_key                  *found = NULL;
    bool                     same = raw != NULL && tn_unbase64(&pem, &n, raw) &&
                tn_key_from_pem(&found, (const char *)pem, n, where, NULL) == TN_OK &&
                strcmp(tn_key_hint(found), tn_key_hint(key)) == 0;

    tn_key_free(found);
    free(pem);
    if (!same)
        return tn_fail(err, TN_VERIFY, "%s: signed by another key than %.16s...", where, tn_key_hint(key));
    for (size_t i = 0; i < 3; i++)
        if (detail != NULL && strcmp(detail, details[i]) == 0 &&
            strncmp(detail + 12, tn_key_curve(key) + 2, 3) == 0)
            return TN_OK;
    return tn_fail(err, TN_VERIFY, "%s: keyDetails do not fit the key", where);
}

/* *key: the trusted key, or one made from the bundle's certificates (*made), which lead to what is
 * trusted. */
static tn_status check_material(const json_t *m, const tn_oms_trust *trust, const tn_key **key, tn_key **made,
                                const char *where, tn_error *err)
{
    static const char *const members[] = { "publicKey", "tlogEntries", NULL }, *const chain_members[] = {
        "x509CertificateChain", "tlogEntries", NULL
    };
    static const char *const key_members[] = { "hint", NULL }, *const raw_members[] = { "rawBytes",
                                                                                        "keyDetails", NULL };
    static const char *const list_members[] = { "certificates", NULL };
    const json_t            *log = json_object_get(m, "tlogEntries");
    const json_t            *chain = json_object_get(m, "x509CertificateChain");
    const json_t            *k = json_object_get(m, "publicKey");
    const char              *hint = json_string_value(json_object_get(k, "hint"));

    if (json_object_get(m, "certificate") != NULL || (chain != NULL && trust->certificates == NULL))
        return tn_fail(err, TN_UNSUPPORTED, "%s: signed with a certificate, not with a key: %s", where,
                       chain != NULL ? "give the certificates that you trust with --certificates"
                                     : "this form needs a network, and is not checked here");
    if (chain == NULL && trust->key == NULL)
        return tn_fail(err, TN_UNSUPPORTED, "%s: signed with a key: give the public key with --key", where);
    TN_TRY(tn_json_only(m, chain != NULL ? chain_members : members, where, err));
    if (log != NULL && (!json_is_array(log) || json_array_size(log) != 0))
        return tn_fail(err, TN_VERIFY, "%s: entries of a transparency log are not expected here", where);
    if (chain != NULL) {
        TN_TRY(tn_json_only(chain, list_members, where, err));
        TN_TRY(tn_key_from_certificates(made, json_object_get(chain, "certificates"), trust->certificates,
                                        where, err));
        *key = *made;
        return TN_OK;
    }
    *key = trust->key;
    if (json_object_get(k, "rawBytes") != NULL) {
        TN_TRY(tn_json_only(k, raw_members, where, err));
        return check_raw_key(k, *key, where, err);
    }
    TN_TRY(tn_json_only(k, key_members, where, err));
    if (hint != NULL && hint[0] != '\0' && strcmp(hint, tn_key_hint(*key)) != 0)
        return tn_fail(err, TN_VERIFY, "%s: signed by another key: expected key %.16s..., found %.16s...",
                       where, tn_key_hint(*key), hint);
    return TN_OK;
}

tn_status tn_oms_open(tn_oms **out, const char *path, const tn_key *key, tn_error *err)
{
    return tn_oms_open_by(out, path, &(tn_oms_trust){ .key = key }, err);
}

tn_status tn_oms_open_by(tn_oms **out, const char *path, const tn_oms_trust *trust, tn_error *err)
{
    static const char *const members[] = { "mediaType", "verificationMaterial", "dsseEnvelope", NULL };
    tn_status                status = TN_OK;
    tn_oms                  *o = calloc(1, sizeof *o);
    char                    *text = NULL;
    size_t                   n = 0, n_payload = 0;
    json_t                  *bundle = NULL, *statement = NULL;
    uint8_t                 *payload = NULL;
    tn_key                  *made = NULL;
    const tn_key            *key = NULL;

    *out = NULL;
    if (o == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a signature", path);
    TN_GOTO(tn_file_read_all(&text, &n, path, BUNDLE_MAX, err));
    if ((status = tn_json_parse(&bundle, text, n, path, err)) != TN_OK) {
        if (status == TN_FORMAT) status = err != NULL ? (err->code = TN_VERIFY) : TN_VERIFY;
        goto out;
    }
    TN_GOTO(check_edges(text, n, path, err));
    o->compact = is_compact(bundle, text);
    TN_GOTO(tn_json_only(bundle, members, path, err));
    TN_GOTO(check_string(bundle, "mediaType", BUNDLE_TYPE, path, err));
    TN_GOTO(check_material(json_object_get(bundle, "verificationMaterial"), trust, &key, &made, path, err));
    TN_GOTO(tn_dsse_open(json_object_get(bundle, "dsseEnvelope"), TN_INTOTO_TYPE, key, &payload, &n_payload,
                         path, err));
    if ((status = tn_json_parse(&statement, (const char *)payload, n_payload, path, err)) != TN_OK) {
        if (status == TN_FORMAT) status = err != NULL ? (err->code = TN_VERIFY) : TN_VERIFY;
        goto out;
    }
    TN_GOTO(read_statement(o, statement, path, err));
    *out = o;
    o = NULL;
out:
    tn_oms_free(o);
    json_decref(bundle);
    json_decref(statement);
    free(payload);
    free(text);
    tn_key_free(made);
    return status;
}

void tn_reason(json_t *reasons, const char *what, const char *where, const char *expected, const char *found)
{
    json_array_append_new(reasons, json_pack("{s:s,s:s,s:s,s:s}", "what", what, "where", where, "expected",
                                             expected, "found", found));
}

void tn_oms_compare(const tn_oms *o, const tn_tree_file *files, size_t n, bool git_allowed,
                    const char *const *ignored, json_t *reasons)
{
    size_t i = 0, k = 0;
    char   want[TN_SHA256_HEX], found[TN_SHA256_HEX];

    while (i < o->n || k < n) { /* both sorted by name */
        int c = i == o->n ? 1 : k == n ? -1 : strcmp(o->files[i].name, files[k].name);
        if (c < 0) {
            tn_hex(want, &o->files[i].digest);
            tn_reason(reasons, "file is missing", o->files[i].name, want, "no such file");
            i++;
        } else if (c > 0) {
            if (strcmp(files[k].name, TN_OMS_FILE) != 0 && !(git_allowed && git_ignored(files[k].name)) &&
                !tn_oms_named(ignored, files[k].name)) {
                tn_hex(found, &files[k].digest);
                tn_reason(reasons,
                          tn_oms_named((const char *const *)o->left_out, files[k].name)
                              ? "file is left out by the signature"
                              : "file is not signed",
                          files[k].name, "no such file", found);
            }
            k++;
        } else {
            if (!tn_digest_equal(&o->files[i].digest, &files[k].digest)) {
                tn_hex(want, &o->files[i].digest);
                tn_hex(found, &files[k].digest);
                tn_reason(reasons, "file differs", files[k].name, want, found);
            }
            i++;
            k++;
        }
    }
}
