/* report_file.c - report.json as evidence: what it must carry before anybody decides by it.
 *
 *   report_root   SHA-256 over "tenet/report/v1", NUL, the canonical JSON of the report without this member: an edited figure shows
 *   items_root    of the log beside it: a report that belongs to another run shows
 *   model.sig     with a key: of the report's folder (`--sign`), or of a release some folders up, which lists its files with their path
 *
 * Hashes find accidents and careless edits; who recomputes them is found by the signature only. */
#include "eval/report_file.h"

#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static const char report_tag[] = "tenet/report/v1"; /* hashed with its NUL */
#define ROOT_KEY "report_root"
enum { REPORT_MAX = 64 << 20, LEVELS_UP = 3 };

static tn_status root_of(const json_t *report, char **out, tn_error *err)
{
    json_t    *rest = json_copy((json_t *)report);
    tn_sha256 *h = NULL;
    tn_digest  root;
    char      *text = NULL;
    tn_status  status = TN_OK;

    *out = NULL;
    if (rest != NULL) json_object_del(rest, ROOT_KEY);
    if (rest == NULL || (text = tn_json_text(rest)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to hash a report");
        goto out;
    }
    TN_GOTO(tn_sha256_create(&h, err));
    tn_sha256_update(h, report_tag, sizeof report_tag);
    tn_sha256_update(h, text, strlen(text));
    tn_sha256_final(h, &root);
    if ((*out = tn_digest_text(&root)) == NULL) status = tn_fail(err, TN_NOMEM, "no memory to hash a report");
out:
    tn_sha256_destroy(h);
    json_decref(rest);
    free(text);
    return status;
}

tn_status tn_report_seal(json_t *report, tn_error *err)
{
    char *root;

    TN_TRY(root_of(report, &root, err));
    json_object_set_new(report, ROOT_KEY, json_string(root));
    free(root);
    return TN_OK;
}

static tn_status check_root(const json_t *report, const char *file, tn_error *err)
{
    const char *named = json_string_value(json_object_get(report, ROOT_KEY));
    char       *found = NULL;
    tn_status   status;

    if (named == NULL)
        return tn_fail(
            err, TN_VERIFY,
            "%s: it has no \"" ROOT_KEY
            "\", the hash of its own content, so nothing shows that it was not edited: measure again",
            file);
    status = root_of(report, &found, err);
    if (status == TN_OK && strcmp(named, found) != 0)
        status = tn_fail(err, TN_VERIFY,
                         "%s: it was changed after it was made: it names its content %s, found %s", file,
                         named, found);
    free(found);
    return status;
}

static tn_status check_items(tn_report *r, const char *file, const char *log, tn_error *err)
{
    const char *named = json_string_value(json_object_get(r->json, "items_root"));
    char       *found;
    tn_digest   root;
    tn_status   status = TN_OK;

    if (!tn_exists(log)) return TN_OK;
    if (named == NULL) return TN_OK; /* a report about answers: what lies beside it is another stage's */
    TN_TRY(tn_items_load(&r->items, log, err));
    TN_TRY(tn_items_root(r->items, &root, err));
    found = tn_digest_text(&root);
    if (found == NULL || strcmp(found, named) != 0)
        status = tn_fail(
            err, TN_VERIFY,
            "%s names the items %s, %s holds %s: one of them was changed, or they do not belong together",
            file, named, log, found != NULL ? found : "?");
    free(found);
    return status;
}

/* ---------------------------------------------------------------------------------------------- signature */

/* The nearest folder from `folder` upwards that has a signature; *rel: the way back down, "" or "reports/x/".
 * Both made. */
static tn_status find_signature(const char *folder, char **sig, char **rel, tn_error *err)
{
    char *at = realpath(folder, NULL), *below = tn_strdup("");

    *sig = *rel = NULL;
    for (int up = 0; at != NULL && below != NULL && up <= LEVELS_UP; up++) {
        char *path = tn_path(at, TN_OMS_FILE), *slash = strrchr(at, '/');
        if (path != NULL && tn_exists(path)) {
            *sig = path;
            *rel = below;
            free(at);
            return TN_OK;
        }
        free(path);
        if (slash == NULL || slash == at) break;
        char *more = tn_strf("%s/%s", slash + 1, below);
        free(below);
        below = more;
        *slash = '\0';
    }
    free(at);
    free(below);
    return tn_fail(err, TN_VERIFY,
                   "%s: there is no " TN_OMS_FILE
                   " in it or in a release around it: sign it when it is made (--sign NAME)",
                   folder);
}

static tn_status say_first(const json_t *reasons, const char *sig, tn_error *err)
{
    const json_t *r = json_array_get(reasons, 0);

    if (r == NULL) return TN_OK;
    return tn_fail(err, TN_VERIFY, "%s: %s: %s", sig, json_string_value(json_object_get(r, "where")),
                   json_string_value(json_object_get(r, "what")));
}

/* Every file beside the report against those that were signed below the same folder. */
static tn_status check_signature(const char *folder, const char *file, const tn_key *key, tn_error *err)
{
    char         *sig = NULL, *rel = NULL;
    tn_oms       *signed_ = NULL, mine = { .files = NULL };
    tn_tree_file *files = NULL;
    size_t        n = 0, skip;
    bool          listed = false;
    json_t       *reasons = json_array();
    tn_status     status = TN_OK;

    TN_GOTO(find_signature(folder, &sig, &rel, err));
    TN_GOTO(tn_oms_open(&signed_, sig, key, err));
    TN_GOTO(tn_tree_list(folder, &files, &n, err));
    if ((mine.files = calloc(signed_->n + 1, sizeof *mine.files)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its names", sig);
        goto out;
    }
    skip = strlen(rel);
    for (size_t i = 0; i < signed_->n; i++) { /* names stay with `signed_`; cut, they keep their order */
        if (strncmp(signed_->files[i].name, rel, skip) != 0) continue;
        mine.files[mine.n] = signed_->files[i];
        mine.files[mine.n++].name += skip;
        listed = listed || strcmp(signed_->files[i].name + skip, tn_basename(file)) == 0;
    }
    tn_oms_compare(&mine, files, n, false, NULL, reasons);
    status = say_first(reasons, sig, err);
    if (status == TN_OK && !listed) status = tn_fail(err, TN_VERIFY, "%s does not cover %s", sig, file);
out:
    if (status != TN_OK && status != TN_NOMEM)
        status = tn_fail_prefix(err, TN_VERIFY, "the report's signature does not hold");
    tn_oms_free(signed_);
    tn_tree_free(files, n);
    json_decref(reasons);
    free(mine.files);
    free(sig);
    free(rel);
    return status;
}

/* -------------------------------------------------------------------------------------------------- whole */

void tn_report_close(tn_report *r)
{
    json_decref(r->json);
    tn_items_close(r->items);
    *r = (tn_report){ .json = NULL };
}

tn_status tn_report_open(tn_report *out, const char *path, const tn_key *key, tn_error *err)
{
    const char *slash = strrchr(path, '/');
    bool        is_folder = tn_is_dir(path);
    char       *file = is_folder ? tn_path(path, "report.json") : tn_strdup(path), *log = NULL;
    char       *folder = is_folder       ? tn_strdup(path)
                         : slash == NULL ? tn_strdup(".")
                         : slash == path ? tn_strdup("/")
                                         : tn_strf("%.*s", (int)(slash - path), path);
    tn_status   status = TN_OK;

    *out = (tn_report){ .json = NULL };
    if (file == NULL || folder == NULL || (log = tn_path(folder, "items.jsonl")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_load(&out->json, file, REPORT_MAX, err));
    if (!json_is_object(out->json)) {
        status = tn_fail(err, TN_FORMAT, "%s: a report is a JSON object", file);
        goto out;
    }
    TN_GOTO(check_root(out->json, file, err));
    TN_GOTO(check_items(out, file, log, err));
    if (key != NULL) status = check_signature(folder, file, key, err);
out:
    if (status != TN_OK) tn_report_close(out);
    free(file);
    free(log);
    free(folder);
    return status;
}
