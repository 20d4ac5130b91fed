/* fits.c - what the weights of a checkpoint are of, and whether a run that goes on from it is of the same: names
 * and shapes alone would let weights into a model that reads them otherwise.
 *
 *   manifest.json "model"   hyper-parameters, the tokenizer's digest; of adapters rank, scale and the base's root
 *
 * Steps, data, lengths and whatever else says how training goes on may change. */
#include "train/checkpoint.h"
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

static bool put(json_t *o, const char *key, json_t *v) { return json_object_set_new(o, key, v) == 0; }

static bool put_digest(json_t *o, const char *key, const tn_digest *d)
{
    char hex[TN_SHA256_HEX];
    tn_hex(hex, d);
    return put(o, key, json_string(hex));
}

/* One value for what all adapters share; takes the list. */
static json_t *shared(json_t *list)
{
    for (size_t i = 1; i < json_array_size(list); i++)
        if (!json_equal(json_array_get(list, i), json_array_get(list, 0))) return list;
    json_t *one = json_incref(json_array_get(list, 0));
    json_decref(list);
    return one;
}

json_t *train_weights_of(const run *r)
{
    json_t *o = tn_hparams_json(tn_model_hparams(r->model)), *rank = json_array(), *scale = json_array(),
           *dora = json_array();
    bool ok = put_digest(o, "tokenizer_digest", &r->tokenizer_root);

    for (size_t i = 0; i < r->p.n_lora; i++) {
        const tn_lora *l = &r->p.lora[i];
        ok &= 0 == json_array_append_new(rank, json_integer(l->a.shape[0]));
        ok &= 0 == json_array_append_new(scale, tn_json_f32(l->scale));
        ok &= 0 == json_array_append_new(dora, json_boolean(l->magnitude.n_dim > 0));
    }
    bool lora = r->p.n_lora > 0;
    ok &= put(o, "lora_rank", lora ? shared(json_incref(rank)) : json_integer(0));
    if (lora) ok &= put(o, "lora_scale", shared(json_incref(scale)));
    if (lora) ok &= put(o, "dora", shared(json_incref(dora)));
    if (lora) ok &= put_digest(o, "base", &r->base_root);
    json_decref(rank);
    json_decref(scale);
    json_decref(dora);
    if (ok) return o;
    json_decref(o);
    return NULL;
}

/* -------------------------------------------------------------------------------------------------- older */

/* The same, as far as a run's own papers tell it; what they do not tell is not there. */
static bool papers_put(json_t *o, const run *r, const tn_train_config *c, const json_t *description)
{
    bool       lora = c->lora_rank > 0 || c->adapter != NULL, ok = true;
    tn_hparams h;

    if (c->model == NULL && c->like == NULL && train_shape(&h, c, r->tokenizer, NULL) == TN_OK) {
        json_t *shape = tn_hparams_json(&h);
        ok &= shape != NULL && json_object_update(o, shape) == 0;
        json_decref(shape);
    }
    ok &= put(o, "tokenizer_digest", json_incref(json_object_get(description, "tokenizer_digest")));
    if (lora) ok &= put(o, "base", json_incref(json_object_get(description, "base")));
    if (c->adapter != NULL) return ok; /* which brought its shape along */
    ok &= put(o, "lora_rank", json_integer(c->lora_rank));
    if (lora) ok &= put(o, "lora_scale", tn_json_f32(train_lora_scale(c, c->lora_rank)));
    if (lora) ok &= put(o, "dora", json_boolean(c->dora));
    return ok;
}

/* Of before version 12 of `train`: what ../run.json and ../config.json say, if they are those of the run that
 * made the checkpoint. made: json_decref; NULL: nobody tells. */
static json_t *papers_read(const run *r, const json_t *manifest, const char *dir)
{
    tn_train_config c = { 0 };
    char *run_dir = tn_strf("%s/..", dir), *path = run_dir != NULL ? tn_path(run_dir, "run.json") : NULL,
         *text = NULL, hex[TN_SHA256_HEX] = "";
    const char *genesis = json_string_value(json_object_get(manifest, "run"));
    json_t     *description = NULL, *o = NULL;

    if (path == NULL || genesis == NULL || !tn_exists(path)) goto out;
    if (tn_json_load(&description, path, 1 << 20, NULL) != TN_OK) goto out;
    if ((text = tn_json_text(description)) == NULL) goto out;
    tn_digest d = tn_sha256_of(text, strlen(text));
    tn_hex(hex, &d);
    if (strcmp(hex, genesis) != 0 || train_config_read(run_dir, &c, NULL) != TN_OK) goto out;
    o = json_object();
    if (papers_put(o, r, &c, description)) goto out;
    json_decref(o);
    o = NULL;
out:
    tn_train_config_free(&c);
    json_decref(description);
    free(text);
    free(path);
    free(run_dir);
    return o;
}

/* ------------------------------------------------------------------------------------------------ compare */

/* What the user calls it. */
static const char *word_of(const char *key)
{
    return strcmp(key, "tokenizer_digest") == 0   ? "the tokenizer"
           : strcmp(key, "rope_interleaved") == 0 ? "rows as in a GGUF (rope_interleaved)"
           : strcmp(key, "norm_plus_one") == 0    ? "norms as in a folder (norm_plus_one)"
           : strcmp(key, "base") == 0             ? "the base model"
           : strcmp(key, "lora_scale") == 0       ? "lora_alpha / lora_rank (lora_rs: / its root)"
                                                  : key;
}

/* made: free; digests by their beginning. */
static char *value_text(const json_t *v)
{
    const char *s = json_string_value(v);

    if (s != NULL) return tn_strf("%.16s%s", s, strlen(s) > 16 ? "..." : "");
    return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
}

tn_status train_weights_fit(const run *r, const json_t *manifest, const char *dir, tn_error *err)
{
    json_t       *then = json_incref(json_object_get(manifest, "model")), *now = train_weights_of(r);
    const json_t *mine;
    const char   *key;
    tn_status     status = now != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for what the model is");

    if (then == NULL) then = papers_read(r, manifest, dir);
    /* in the order in which they were put there: what the user says before what follows from it */
    json_object_foreach(now, key, mine) {
        const json_t *theirs = json_object_get(then, key);
        if (status != TN_OK || theirs == NULL || json_equal(mine, theirs)) continue;
        char *a = value_text(theirs), *b = value_text(mine);
        status = tn_fail(
            err, TN_MISMATCH,
            "checkpoint: %s was made with %s %s, this run has %s: weights go on only in the "
            "model that they are of; put that back, or begin from the weights alone (tenet export, "
            "then 'model' or 'adapter')",
            dir, word_of(key), a != NULL ? a : "?", b != NULL ? b : "?");
        free(a);
        free(b);
    }
    json_decref(then);
    json_decref(now);
    return status;
}
