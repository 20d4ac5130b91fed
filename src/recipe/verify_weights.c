/* verify_weights.c - a file of weights that is not the signed one: which tensor, and where the first
 * difference lies.
 *
 *   tensor     by the digests of tensors in release.json, when the file still reads as a model
 *   byte       by comparing with the original when the store has it, else by the digests of blocks (blocks.c) */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

bool recipe_verify_is_weights(const char *name)
{
    return tn_ends_with(name, ".safetensors") || tn_ends_with(name, ".gguf");
}

/* The first tensor that differs, in the model's order; made: free. NULL: none, or no model any more. */
static char *tensor_that_differs(const verifier *v)
{
    const tn_model_options mo = { .profile = TN_PROFILE_STRICT, .weights = true };
    const json_t *model = json_object_get(v->manifest, "model"), *tensors = json_object_get(model, "tensors");
    tn_model     *m = NULL;
    char         *name = NULL, *path = NULL;

    if (!json_is_object(tensors)) return NULL;
    if (strcmp(recipe_verify_text(model, "form"), "file") == 0) path = tn_path(v->dir, "model.gguf");
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

/* The file of the model's artifact in the store that became `as`; made: free. NULL: not at hand. */
static char *original_of(const verifier *v, const char *as)
{
    const json_t *model = json_object_get(v->manifest, "model");
    const char   *root = recipe_verify_text(model, "root");
    char         *path = NULL, *file = NULL;
    size_t        i;
    json_t       *f;
    tn_digest     d;

    if (v->o->store == NULL || strlen(root) != 71 || !tn_unhex(&d, root + 7) ||
        tn_store_path(v->o->store, &d, &path, NULL) != TN_OK)
        return NULL;
    if (strcmp(recipe_verify_text(model, "form"), "file") == 0) return path;
    json_array_foreach(json_object_get(model, "files"), i, f)
        if (file == NULL && strcmp(recipe_verify_text(f, "as"), as) == 0)
            file = tn_path(path, recipe_verify_text(f, "name"));
    free(path);
    return file;
}

static char *place_of(const verifier *v, const char *name)
{
    char   *path = tn_path(v->dir, name), *original = original_of(v, name), first[32], last[32], *text = NULL;
    int64_t a, b;

    if (path != NULL && original != NULL && tn_file_difference(&a, path, original, NULL) == TN_OK && a >= 0) {
        text = tn_strf("first difference at byte %s", tn_i64_grouped(a, first));
    } else if (path != NULL &&
               recipe_blocks_locate(
                   json_object_get(json_object_get(json_object_get(v->manifest, "model"), "blocks"), name),
                   path, &a, &b)) {
        text = a == b ? tn_strf("first difference at byte %s", tn_i64_grouped(a, first))
                      : tn_strf("first difference in bytes %s to %s", tn_i64_grouped(a, first),
                                tn_i64_grouped(b, last));
    }
    free(path);
    free(original);
    return text;
}

void recipe_verify_locate(verifier *v, json_t *reason)
{
    char *place = place_of(v, recipe_verify_text(reason, "where")), *tensor = tensor_that_differs(v);
    char *what = tn_strf("%s%s%s%s%s", recipe_verify_text(reason, "what"), tensor != NULL ? ", tensor " : "",
                         tensor != NULL ? tensor : "", place != NULL ? ", " : "", place != NULL ? place : "");

    if (what != NULL) json_object_set_new(reason, "what", json_string(what));
    free(what);
    free(place);
    free(tensor);
}
