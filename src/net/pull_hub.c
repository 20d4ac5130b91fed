/* pull_hub.c - a model, or a set of rows, of the Hugging Face hub (see net.h).
 *
 *   ENDPOINT/api/models/ORG/NAME/revision/REV?blobs=true   → the commit, and each file's size and digest
 *   ENDPOINT/ORG/NAME/resolve/COMMIT/FILE                  → the files, each checked by SHA-256 (large ones) or git id
 *   the same below /api/datasets/ and /datasets/           → of sets: JSON Lines and CSV, where they lie, licence and card
 *
 * ENDPOINT is $HF_ENDPOINT or https://huggingface.co; $HF_TOKEN is sent for models that want one. Of a
 * repository only what tenet opens is taken: safetensors (else one GGUF), the JSON beside them, tokenizers,
 * licence and card. Pickles and a set's loading scripts are never fetched: they are programs. */
#include "net/http.h"
#include "net/pull.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILES = 20000, COMMIT_HEX = 40 };

typedef struct hub_file {
    const char *name, *git_oid;
    tn_digest   sha256;
    bool        has_sha256;
    int64_t     size;
} hub_file;

typedef struct hub {
    char     *endpoint, *repo, *base, *file, *rev; /* ORG/NAME, NAME; file: the one asked for, or NULL */
    bool      rows;                                /* a data set, not a model */
    char     *auth;
    json_t   *info; /* what the files' names borrow from */
    char      commit[COMMIT_HEX + 1];
    hub_file *files;
    size_t    n_file;
} hub;

static bool is_word(const char *s, size_t n)
{
    if (n == 0 || n > 96 || s[0] == '.' || s[0] == '-') return false;
    for (size_t i = 0; i < n; i++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", s[i]) == NULL)
            return false;
    return true;
}

/* [datasets/]ORG/NAME[/FILE][@REV] */
static tn_status parse_spec(hub *h, const char *spec, tn_error *err)
{
    const char *whole = spec;
    h->rows = tn_starts_with(spec, "datasets/");
    spec += h->rows ? strlen("datasets/") : 0;
    size_t      n = strcspn(spec, "@"), n_org, n_name;
    const char *slash = memchr(spec, '/', n), *name = slash != NULL ? slash + 1 : NULL, *second;

    if (name == NULL) goto bad;
    n_org = (size_t)(slash - spec);
    second = memchr(name, '/', n - n_org - 1);
    n_name = second != NULL ? (size_t)(second - name) : n - n_org - 1;
    if (!is_word(spec, n_org) || !is_word(name, n_name)) goto bad;
    h->repo = tn_strndup(spec, n_org + 1 + n_name);
    h->base = tn_strndup(name, n_name);
    if (second != NULL) {
        h->file = tn_strndup(second + 1, n - n_org - n_name - 2);
        if (h->file == NULL || !tn_path_is_plain(h->file)) goto bad;
    }
    h->rev = tn_strdup(spec[n] == '@' ? spec + n + 1 : "main");
    if (h->repo == NULL || h->base == NULL || h->rev == NULL)
        return tn_fail(err, TN_NOMEM, "no memory to fetch %s", spec);
    if (!is_word(h->rev, strlen(h->rev))) goto bad;
    return TN_OK;
bad:
    return tn_fail(err, TN_USAGE,
                   "hf:%s: expected hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME/FILE.gguf, or the same "
                   "after hf:datasets/",
                   whole);
}

/* -------------------------------------------------------------------------------------------- which files */

static bool is_weights(const char *name) { return tn_ends_with(name, ".safetensors"); }
static bool is_shard_of_model(const char *name) { return is_weights(name) && tn_starts_with(name, "model"); }

static bool is_beside(const char *name)
{
    static const char *const names[] = { "config.json",        "generation_config.json",
                                         "tokenizer.json",     "tokenizer_config.json",
                                         "tokenizer.model",    "special_tokens_map.json",
                                         "added_tokens.json",  "vocab.json",
                                         "merges.txt",         "chat_template.jinja",
                                         "chat_template.json", "model.safetensors.index.json",
                                         "README.md",          NULL };

    for (const char *const *n = names; *n != NULL; n++)
        if (strcmp(*n, name) == 0) return true;
    return tn_starts_with(name, "LICENSE") || tn_starts_with(name, "NOTICE") ||
           tn_starts_with(name, "USE_POLICY");
}

static bool is_rows(const char *name)
{
    return tn_ends_with(name, ".jsonl") || tn_ends_with(name, ".jsonl.gz") ||
           tn_ends_with(name, ".jsonl.zst") || tn_ends_with(name, ".csv");
}

static bool is_paper(const char *name)
{
    return strcmp(name, "README.md") == 0 || tn_starts_with(name, "LICENSE") ||
           tn_starts_with(name, "NOTICE");
}

static tn_status file_of(hub_file *f, const json_t *item, const char *repo, tn_error *err)
{
    const json_t *lfs = json_object_get(item, "lfs");
    const char   *sha = json_string_value(json_object_get(lfs, "sha256"));

    memset(f, 0, sizeof *f);
    f->name = json_string_value(json_object_get(item, "rfilename"));
    f->git_oid = json_string_value(json_object_get(item, "blobId"));
    f->size = -1;
    if (f->name == NULL || !tn_path_is_plain(f->name))
        return tn_fail(err, TN_FORMAT, "%s: the hub lists a file without a plain name", repo);
    if (json_is_integer(json_object_get(item, "size")))
        f->size = json_integer_value(json_object_get(item, "size"));
    if (sha == NULL) sha = json_string_value(json_object_get(lfs, "oid"));
    if (sha != NULL) {
        if (!tn_unhex(&f->sha256, sha))
            return tn_fail(err, TN_FORMAT, "%s/%s: the hub gives '%.80s' as its SHA-256", repo, f->name, sha);
        f->has_sha256 = true;
        f->git_oid = NULL; /* of a large file it names the pointer, not the bytes */
    } else if (f->git_oid == NULL || strlen(f->git_oid) != COMMIT_HEX)
        return tn_fail(err, TN_FORMAT, "%s/%s: the hub gives no digest to check it by", repo, f->name);
    return TN_OK;
}

/* Of a data set. Sets that are parquet only have a JSON Lines or CSV copy elsewhere as a rule: the message
 * says what is read. */
static tn_status choose_rows(hub *h, const json_t *list, tn_error *err)
{
    size_t n_rows = 0, n_parquet = 0;

    for (size_t i = 0; i < json_array_size(list); i++) {
        hub_file f;
        TN_TRY(file_of(&f, json_array_get(list, i), h->repo, err));
        n_parquet += tn_ends_with(f.name, ".parquet");
        bool take = h->file != NULL ? strcmp(f.name, h->file) == 0 : is_rows(f.name) || is_paper(f.name);
        if (take && h->file != NULL && !is_rows(f.name))
            return tn_fail(err, TN_UNSUPPORTED,
                           "%s/%s: rows are read from .jsonl, .jsonl.gz, .jsonl.zst and .csv files", h->repo,
                           f.name);
        if (!take) continue;
        n_rows += is_rows(f.name);
        h->files[h->n_file++] = f;
    }
    if (n_rows > 0) return TN_OK;
    if (h->file != NULL) return tn_fail(err, TN_NOTFOUND, "%s: the hub has no file '%s'", h->repo, h->file);
    return tn_fail(err, TN_UNSUPPORTED,
                   "%s: has no .jsonl or .csv files%s: convert them, and give the folder by --data", h->repo,
                   n_parquet > 0 ? " (parquet is not read)" : "");
}

/* Keeps in h->files what will be fetched. */
static tn_status choose_files(hub *h, tn_error *err)
{
    const json_t *list = json_object_get(h->info, "siblings");
    size_t        n = json_array_size(list), n_gguf = 0;
    bool          weights = false, model_named = false;

    if (n == 0 || n > MAX_FILES)
        return tn_fail(err, TN_FORMAT, "%s: the hub lists %zu files, expected 1 to %d", h->repo, n,
                       (int)MAX_FILES);
    if ((h->files = calloc(n, sizeof *h->files)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %zu files", n);
    if (h->rows) return choose_rows(h, list, err);
    for (size_t i = 0; i < n; i++) {
        hub_file f;
        TN_TRY(file_of(&f, json_array_get(list, i), h->repo, err));
        if (strchr(f.name, '/') == NULL) {
            weights = weights || is_weights(f.name);
            model_named = model_named || is_shard_of_model(f.name);
            n_gguf += tn_ends_with(f.name, ".gguf");
        }
    }
    if (h->file == NULL && !weights && n_gguf != 1)
        return tn_fail(
            err, n_gguf == 0 ? TN_UNSUPPORTED : TN_USAGE,
            n_gguf == 0
                ? "%s: has neither safetensors nor GGUF weights (pickled ones are programs and are not taken)"
                : "%s: has several GGUF files: name one, as in hf:ORG/NAME/FILE.gguf",
            h->repo);
    for (size_t i = 0; i < n; i++) {
        hub_file f;
        bool     take;
        TN_TRY(file_of(&f, json_array_get(list, i), h->repo, err));
        if (h->file != NULL) take = strcmp(f.name, h->file) == 0;
        else if (strchr(f.name, '/') != NULL) take = false;
        else if (is_weights(f.name)) take = !model_named || is_shard_of_model(f.name);
        else take = is_beside(f.name) || (!weights && tn_ends_with(f.name, ".gguf"));
        if (take) h->files[h->n_file++] = f;
    }
    if (h->n_file == 0) return tn_fail(err, TN_NOTFOUND, "%s: the hub has no file '%s'", h->repo, h->file);
    return TN_OK;
}

/* ------------------------------------------------------------------------------------ asking and fetching */

static tn_status ask(hub *h, const tn_http *opts, tn_error *err)
{
    char *url = tn_strf("%s/api/%s/%s/revision/%s?blobs=true", h->endpoint, h->rows ? "datasets" : "models",
                        h->repo, h->rev);
    const char *sha;
    tn_status   status;

    if (url == NULL) return tn_fail(err, TN_NOMEM, "no memory for a URL");
    status = tn_http_get_json(&h->info, url, opts, err);
    free(url);
    if (status == TN_NOTFOUND)
        return tn_fail_prefix(err, status, "hf:%s%s has no revision '%s', or does not exist",
                              h->rows ? "datasets/" : "", h->repo, h->rev);
    TN_TRY(status);
    sha = json_string_value(json_object_get(h->info, "sha"));
    if (sha == NULL || strlen(sha) != COMMIT_HEX || strspn(sha, "0123456789abcdef") != COMMIT_HEX)
        return tn_fail(err, TN_FORMAT, "%s: the hub names no commit", h->repo);
    memcpy(h->commit, sha, COMMIT_HEX + 1);
    return TN_OK;
}

static tn_status fetch_file(const hub *h, const hub_file *f, const char *dir, const tn_http *opts,
                            tn_error *err)
{
    tn_expected expected = { .sha256 = f->has_sha256 ? &f->sha256 : NULL,
                             .git_oid = f->git_oid,
                             .size = f->size };
    /* One file of a data set, asked for by name, lies in a folder of its own without the folders above it. */
    const char *as = h->rows && h->file != NULL ? tn_basename(f->name) : f->name;
    char       *path = tn_path(dir, as), *url = tn_strf("%s/%s%s/resolve/%s/%s", h->endpoint,
                                                  h->rows ? "datasets/" : "", h->repo, h->commit, f->name);
    char       *up = tn_strdup(path != NULL ? path : "");
    tn_status   status = TN_OK;

    if (path == NULL || url == NULL || up == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to fetch %s", f->name);
        goto out;
    }
    if (tn_exists(path)) goto out; /* an earlier try finished it: it was checked before it got its name */
    up[tn_basename(up) - up] = '\0';
    TN_GOTO(tn_mkdirs(up, err));
    TN_GOTO(tn_download(url, path, &expected, f->name, opts, err));
out:
    free(path);
    free(url);
    free(up);
    return status;
}

/* What an earlier try left and this one does not want must not become part of the model. */
static tn_status remove_others(const hub *h, const char *dir, tn_error *err)
{
    char **list;
    size_t n;

    TN_TRY(tn_list_files(&list, &n, dir, err));
    for (size_t i = 0; i < n; i++) {
        bool  wanted = false;
        char *path;
        for (size_t k = 0; k < h->n_file; k++)
            wanted = wanted ||
                     strcmp(h->rows && h->file != NULL ? tn_basename(h->files[k].name) : h->files[k].name,
                            list[i]) == 0;
        if (!wanted && (path = tn_path(dir, list[i])) != NULL) {
            unlink(path);
            free(path);
        }
    }
    tn_list_free(list, n);
    return TN_OK;
}

static void hub_free(hub *h)
{
    free(h->endpoint);
    free(h->repo);
    free(h->base);
    free(h->file);
    free(h->rev);
    free(h->auth);
    free(h->files);
    json_decref(h->info);
}

tn_status tn_pull_hub(const char *spec, const char *dir, char **path, char **name, tn_error *err)
{
    const char *endpoint = getenv("HF_ENDPOINT"), *token = getenv("HF_TOKEN"), *headers[2] = { NULL, NULL };
    tn_http     opts = { .headers = headers };
    hub         h = { 0 };
    char       *into = NULL;
    tn_status   status;

    TN_GOTO(parse_spec(&h, spec, err));
    h.endpoint = tn_strdup(endpoint != NULL && *endpoint != '\0' ? endpoint : "https://huggingface.co");
    if (h.endpoint == NULL) goto nomem;
    while (tn_ends_with(h.endpoint, "/")) h.endpoint[strlen(h.endpoint) - 1] = '\0';
    if (token != NULL && *token != '\0') {
        if ((h.auth = tn_strf("Authorization: Bearer %s", token)) == NULL) goto nomem;
        headers[0] = h.auth;
    }
    TN_GOTO(ask(&h, &opts, err));
    TN_GOTO(choose_files(&h, err));
    if ((into = tn_strf("%s/%s-%.12s%s%s", dir, h.base, h.commit, h.file != NULL ? "-" : "",
                        h.file != NULL ? tn_basename(h.file) : "")) == NULL)
        goto nomem;
    TN_GOTO(tn_mkdirs(into, err));
    for (size_t i = 0; i < h.n_file; i++) TN_GOTO(fetch_file(&h, &h.files[i], into, &opts, err));
    TN_GOTO(remove_others(&h, into, err));
    *path = h.file != NULL && !h.rows ? tn_path(into, h.file) : tn_strdup(into);
    *name = tn_strdup(h.base);
    if (*path == NULL || *name == NULL) goto nomem;
    goto out;
nomem:
    status = tn_fail(err, TN_NOMEM, "no memory to fetch %s", spec);
out:
    free(into);
    hub_free(&h);
    return status;
}
