/* release.c - builds a release: copies, release.json, model card, bill of materials, statements, signature
 * (see release.h).
 *
 *   model, constitution, recipe, parts ──→ content ── root ──→ BOM, statements ──→ model.sig
 *
 * Every byte is a function of the parts and the options: no clock, host, path or random number takes part. */
#include "recipe/release_impl.h"

#include "base/file.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>

const tn_option tn_release_option_rows[] = {
    // clang-format off
    TN_RELEASE_OPTIONS(0, "model", "name of what is released"),
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};

tn_status release_no_memory(tn_error *err) { return tn_fail(err, TN_NOMEM, "no memory for a release"); }

tn_status release_copy_file(const char *from, const char *to, tn_error *err)
{
    struct stat st;
    char       *dir = tn_strdup(to), *slash = dir == NULL ? NULL : strrchr(dir, '/');
    tn_status   status = TN_OK;

    if (dir == NULL) return release_no_memory(err);
    if (slash != NULL) {
        *slash = '\0';
        status = tn_mkdirs(dir, err);
    }
    free(dir);
    if (status == TN_OK) status = tn_file_clone(from, to, false, err);
    if (status == TN_OK &&
        (stat(from, &st) != 0 || chmod(to, (st.st_mode & S_IXUSR) != 0 ? 0755 : 0644) != 0))
        status = tn_fail(err, TN_IO, "%s: cannot set its mode: %s", to, strerror(errno));
    return status;
}

tn_status release_copy_artifact(const char *from, const char *to, tn_error *err)
{
    char    **names = NULL;
    size_t    n = 0;
    tn_status status = TN_OK;

    if (!tn_is_dir(from)) return release_copy_file(from, to, err);
    TN_TRY(tn_list_files(&names, &n, from, err));
    status = tn_mkdirs(to, err);
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        char *a = tn_path(from, names[i]), *b = tn_path(to, names[i]);
        status = a == NULL || b == NULL ? release_no_memory(err) : release_copy_file(a, b, err);
        free(a);
        free(b);
    }
    tn_list_free(names, n);
    return status;
}

void release_set_text(json_t *o, const char *key, const tn_digest *d)
{
    char *text = tn_digest_text(d);

    if (text != NULL) json_object_set_new(o, key, json_string(text));
    free(text);
}

/* A day of the calendar: digits in their places, and timegm gives the same day back. */
static tn_status date_check(const char *date, tn_error *err)
{
    struct tm day = { 0 };
    int       y, m, d;
    bool      ok = date == NULL || (strlen(date) == 10 && date[4] == '-' && date[7] == '-');

    for (int i = 0; ok && date != NULL && i < 10; i++)
        ok = i == 4 || i == 7 || isdigit((unsigned char)date[i]);
    if (ok && date != NULL && sscanf(date, "%4d-%2d-%2d", &y, &m, &d) == 3) {
        day = (struct tm){ .tm_year = y - 1900, .tm_mon = m - 1, .tm_mday = d };
        timegm(&day);
        ok = day.tm_mon == m - 1 && day.tm_mday == d && day.tm_year == y - 1900;
    }
    return ok ? TN_OK : tn_fail(err, TN_USAGE, "date is '%.40s': expected a day as YYYY-MM-DD", date);
}

static tn_status put_manifest(release_builder *b, tn_error *err)
{
    char     *to = tn_path(b->out, RELEASE_MANIFEST), *readme = tn_path(b->out, RELEASE_CARD), *card = NULL;
    tn_status status = to == NULL || readme == NULL ? release_no_memory(err)
                                                    : tn_json_save(to, b->manifest, true, err);

    if (status == TN_OK && (card = recipe_release_card(b->manifest, b->o)) == NULL)
        status = release_no_memory(err);
    if (status == TN_OK) status = tn_file_write_all(readme, card, strlen(card), err);
    free(card);
    free(readme);
    free(to);
    return status;
}

static tn_status put_derived(release_builder *b, json_t *metrics, tn_error *err)
{
    tn_tree_file *files = NULL;
    size_t        n = 0;
    tn_digest     content;
    tn_status     status;

    TN_TRY(tn_tree_list(b->out, &files, &n, err));
    TN_GOTO(recipe_release_content_root(files, n, &content, err));
    TN_GOTO(release_put_bom(b, files, n, &content, err));
    if (b->p->key != NULL) {
        TN_GOTO(release_put_statements(b, &content, err));
        TN_GOTO(tn_oms_sign(b->out, b->o->name, b->p->key, err));
    }
    if (metrics != NULL) {
        json_object_set_new(metrics, "files", json_integer((json_int_t)n + (b->p->key != NULL ? 3 : 1)));
        release_set_text(metrics, "content", &content);
    }
out:
    tn_tree_free(files, n);
    return status;
}

tn_status tn_release_build(const tn_release_parts *p, const tn_release_options *o, const char *out,
                           json_t *metrics, tn_error *err)
{
    release_builder b = { .p = p, .o = o, .out = out, .manifest = json_object(), .parts = json_array() };
    tn_status       status = TN_OK;

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
    json_object_set_new(b.manifest, "closure",
                        p->closure != NULL ? json_deep_copy(p->closure) : json_array());
    TN_GOTO(release_put_model(&b, err));
    TN_GOTO(release_put_constitution(&b, err));
    TN_GOTO(release_put_recipe(&b, err));
    TN_GOTO(release_put_parts(&b, err));
    TN_GOTO(put_manifest(&b, err));
    status = put_derived(&b, metrics, err);
out:
    json_decref(b.manifest);
    json_decref(b.parts);
    free(b.recipe_hex);
    free(b.log_root);
    return status;
}
