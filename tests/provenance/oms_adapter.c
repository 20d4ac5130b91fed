/* oms_adapter.c - what the published conformance suite of OMS calls (tests/soak/oms.sh): two commands over
 * the room's functions.
 *
 *   sign-model   --method key --model-path DIR --output-bundle FILE --private-key PEM [--ignore-paths PATH]...
 *   verify-model --method key|certificate --model-path DIR|FILE --bundle FILE [--public-key PEM] [--cert-chain PEM]
 *                [--ignore-paths PATH]... [--ignore-unsigned-files]
 *
 * Exit 0: done, or sound; 1: not; 2: a command or method that is not built. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IGNORE_MAX = 32 };

typedef struct request {
    const char *method, *model, *bundle, *private_key, *public_key, *certificates, *ignored[IGNORE_MAX + 1];
    int         n_ignored;
    bool        unsigned_files;
} request;

/* A path below the model as the signed list has it; others are outside and mean nothing. */
static const char *inside(const char *model, const char *path)
{
    size_t n = strlen(model);

    if (strncmp(path, model, n) != 0) return NULL;
    while (path[n] == '/') n++;
    return path[n] != '\0' ? path + n : NULL;
}

static bool read_request(request *r, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--ignore-unsigned-files") == 0) {
            r->unsigned_files = true;
            continue;
        }
        if (i + 1 == argc) return false;
        const char *value = argv[++i];
        if (strcmp(name, "--method") == 0) r->method = value;
        else if (strcmp(name, "--model-path") == 0) r->model = value;
        else if (strcmp(name, "--output-bundle") == 0 || strcmp(name, "--bundle") == 0) r->bundle = value;
        else if (strcmp(name, "--private-key") == 0) r->private_key = value;
        else if (strcmp(name, "--public-key") == 0) r->public_key = value;
        else if (strcmp(name, "--cert-chain") == 0) r->certificates = value;
        else if (strcmp(name, "--ignore-paths") == 0 && r->n_ignored < IGNORE_MAX)
            r->ignored[r->n_ignored++] = value;
    }
    for (int i = 0, n = r->n_ignored; i < n; i++) { /* as names below the model, now that it is known */
        const char *in = r->model != NULL ? inside(r->model, r->ignored[i]) : NULL;
        if (i == 0) r->n_ignored = 0;
        if (in != NULL) r->ignored[r->n_ignored++] = in;
    }
    const char *sig = r->model != NULL && r->bundle != NULL ? inside(r->model, r->bundle) : NULL;
    if (sig != NULL) r->ignored[r->n_ignored++] = sig;
    r->ignored[r->n_ignored] = NULL;
    return r->method != NULL && r->model != NULL && r->bundle != NULL;
}

static bool left_out(const request *r, const char *name)
{
    static const char *const git[] = { ".git", ".gitattributes", ".github", ".gitignore" };
    size_t                   n;

    for (size_t i = 0; i < 4; i++)
        if (strncmp(name, git[i], n = strlen(git[i])) == 0 && (name[n] == '\0' || name[n] == '/'))
            return true;
    for (int i = 0; i < r->n_ignored; i++)
        if (strncmp(name, r->ignored[i], n = strlen(r->ignored[i])) == 0 &&
            (name[n] == '\0' || name[n] == '/'))
            return true;
    return false;
}

static tn_status sign(const request *r, tn_error *err)
{
    tn_tree_file *files = NULL;
    tn_key       *key = NULL;
    char         *bundle = NULL;
    const char   *sig = inside(r->model, r->bundle);
    size_t        n = 0, kept = 0;
    tn_status     status = TN_OK;

    TN_GOTO(tn_key_load_private(&key, r->private_key, NULL, err));
    TN_GOTO(tn_tree_list(r->model, &files, &n, err));
    tn_tree_file *list = calloc(n + 1, sizeof *list);
    for (size_t i = 0; list != NULL && i < n; i++)
        if (!left_out(r, files[i].name)) list[kept++] = files[i];
    status = tn_oms_bundle(&bundle, list, kept, tn_basename(r->model), sig, key, err);
    free(list);
    if (status == TN_OK) status = tn_file_write_all(r->bundle, bundle, strlen(bundle), err);
out:
    free(bundle);
    tn_tree_free(files, n);
    tn_key_free(key);
    return status;
}

static tn_status list_model(const request *r, tn_tree_file **files, size_t *n, const tn_oms *o, tn_error *err)
{
    if (tn_is_dir(r->model)) return tn_tree_list(r->model, files, n, err);
    if ((*files = calloc(1, sizeof **files)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a name");
    *n = 1; /* one file: the reference writes ".", the specification its name */
    (*files)->name = tn_strdup(o->n == 1 && strcmp(o->files[0].name, ".") == 0 ? "." : tn_basename(r->model));
    return tn_sha256_file(r->model, &(*files)->digest, &(*files)->bytes, err);
}

static tn_status verify(const request *r, tn_error *err)
{
    tn_key       *key = NULL;
    tn_oms       *o = NULL;
    tn_tree_file *files = NULL;
    json_t       *reasons = json_array(), *v;
    size_t        n = 0, i, n_wrong = 0;
    tn_oms_trust  trust = { .certificates = r->certificates };
    tn_status     status = TN_OK;

    if (strcmp(r->method, "key") == 0) {
        if (r->public_key != NULL) TN_GOTO(tn_key_load_public(&key, r->public_key, err));
        trust.certificates = NULL;
    }
    trust.key = key;
    TN_GOTO(tn_oms_open_by(&o, r->bundle, &trust, err));
    TN_GOTO(list_model(r, &files, &n, o, err));
    tn_oms_compare(o, files, n, true, r->ignored, reasons);
    json_array_foreach(reasons, i, v) {
        const char *what = json_string_value(json_object_get(v, "what")),
                   *where = json_string_value(json_object_get(v, "where"));
        if (r->unsigned_files && (strcmp(what, "file is not signed") == 0 ||
                                  strcmp(what, "file is left out by the signature") == 0))
            continue;
        fprintf(stderr, "%s: %s\n", where, what);
        n_wrong++;
    }
    if (n_wrong > 0) status = tn_fail(err, TN_VERIFY, "%zu files are not as signed", n_wrong);
out:
    json_decref(reasons);
    tn_tree_free(files, n);
    tn_oms_free(o);
    tn_key_free(key);
    return status;
}

int main(int argc, char **argv)
{
    request   r = { .method = NULL };
    tn_error  err = { .msg = "" };
    tn_status status;

    if (argc < 2 || !read_request(&r, argc, argv)) return 2;
    if (strcmp(argv[1], "sign-model") == 0 && strcmp(r.method, "key") == 0) status = sign(&r, &err);
    else if (strcmp(argv[1], "verify-model") == 0 &&
             (strcmp(r.method, "key") == 0 || strcmp(r.method, "certificate") == 0))
        status = verify(&r, &err);
    else return 2;
    if (status != TN_OK) fprintf(stderr, "%s\n", err.msg);
    return status == TN_OK ? 0 : 1;
}
