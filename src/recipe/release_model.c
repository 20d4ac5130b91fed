/* release_model.c - the model of a release with a digest a tensor, its constitution, and the recipe that made
 * it. */
#include "recipe/release_impl.h"
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "constitution/constitution.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

/* Names that mean something else in a release, or that a signature leaves out, get another name: release.json
 * tells. */
static char *name_in_release(const char *name)
{
    static const char *const taken[] = { RELEASE_CARD,   RELEASE_MANIFEST, RELEASE_BOM, RELEASE_STATEMENTS,
                                         RELEASE_RECIPE, RELEASE_CHARTER,  TN_OMS_FILE };

    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(name, taken[i]) == 0) return tn_strf("source/%s", name);
    if (name[0] == '.' || tn_starts_with(name, "reports/") || tn_starts_with(name, "records/") ||
        tn_starts_with(name, "replay/") || tn_starts_with(name, "source/"))
        return tn_strf("source/%s%s", name[0] == '.' ? "dot" : "", name);
    return tn_strdup(name);
}

static tn_status put_model_file(release_builder *b, const char *from, const char *name, json_t *files,
                                tn_error *err)
{
    char     *as = name_in_release(name), *to = as == NULL ? NULL : tn_path(b->out, as);
    tn_status status = to == NULL ? release_no_memory(err) : release_copy_file(from, to, err);

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
    size_t        n = tn_model_n_tensor(m);
    tn_hash_span *spans = calloc(n + 1, sizeof *spans);
    tn_digest    *d = calloc(n + 1, sizeof *d);
    char          hex[TN_SHA256_HEX];
    tn_status     status = spans == NULL || d == NULL ? release_no_memory(err) : TN_OK;

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

tn_status release_put_model(release_builder *b, tn_error *err)
{
    const tn_model_options mo = { .profile = TN_PROFILE_STRICT, .weights = true };
    json_t                *files = json_array(), *model = json_object(), *inspect, *tensors;
    char                 **names = NULL;
    size_t                 n = 0;
    tn_model              *m = NULL;
    tn_status              status = TN_OK;

    json_object_set_new(b->manifest, "model", model);
    json_object_set_new(model, "files", files);
    TN_TRY(tn_tree_digest(b->p->model, &b->model_root, NULL, err));
    release_set_text(model, "root", &b->model_root);
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
        status = from == NULL ? release_no_memory(err) : put_model_file(b, from, names[i], files, err);
        free(from);
    }
out:
    tn_model_close(m);
    tn_list_free(names, n);
    return status;
}

tn_status release_put_constitution(release_builder *b, tn_error *err)
{
    tn_constitution *c = NULL;
    tn_digest        root;
    json_t          *o;
    char            *to = tn_path(b->out, RELEASE_CHARTER);
    tn_status        status = TN_OK;

    if (b->p->constitution == NULL) goto out;
    if (to == NULL) {
        status = release_no_memory(err);
        goto out;
    }
    if (tn_is_dir(b->p->constitution)) {
        status = tn_fail(err, TN_USAGE, "%s: the constitution of a release is one file", b->p->constitution);
        goto out;
    }
    TN_GOTO(tn_sha256_file(b->p->constitution, &root, NULL, err));
    TN_GOTO(release_copy_file(b->p->constitution, to, err));
    /* where it lies now: one that extends another fails here */
    if ((status = tn_constitution_load(&c, to, err)) != TN_OK) {
        tn_fail_prefix(err, status, "the constitution must stand by itself in a release");
        goto out;
    }
    o = json_pack("{s:s,s:s,s:I}", "name", c->name, "version", c->version, "principles",
                  (json_int_t)c->n_principle);
    release_set_text(o, "digest", &c->digest);
    release_set_text(o, "root", &root);
    json_object_set_new(b->manifest, "constitution", o);
out:
    tn_constitution_free(c);
    free(to);
    return status;
}

tn_status release_put_recipe(release_builder *b, tn_error *err)
{
    char      hex[TN_SHA256_HEX], *to;
    tn_digest d;

    if (b->p->recipe_text == NULL) return TN_OK;
    if ((to = tn_path(b->out, RELEASE_RECIPE)) == NULL) return release_no_memory(err);
    tn_status status = tn_file_write_all(to, b->p->recipe_text, strlen(b->p->recipe_text), err);
    free(to);
    d = tn_sha256_of(b->p->recipe_text, strlen(b->p->recipe_text));
    tn_hex(hex, &d);
    b->recipe_hex = tn_strdup(hex);
    json_object_set_new(b->manifest, "recipe", json_pack("{s:s}", "sha256", hex));
    return status;
}
