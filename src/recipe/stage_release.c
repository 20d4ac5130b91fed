/* stage_release.c - kind `release`: everything a recipe made, as one signed directory (see release.h). */
#include "recipe/recipe.h"

#include "base/file.h"
#include "base/log.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 256 };

extern const tn_stage_kind tn_stage_release; /* its row stands below; ports are looked up in it by name */

static const tn_stage_port release_inputs[] = {
    { "model", false, false, "what is released: a model directory or a .gguf" },
    { "constitution", true, false, "the constitution file" },
    { "runs", true, true, "training runs: step logs, checkpoints, shards" },
    { "records", true, true, "critiques, revisions, pairs, transcripts" },
    { "reports", true, true, "evaluation and red-team reports" },
    { "inputs", true, true, "further inputs of training, to be held for replay" },
    { NULL, false, false, NULL },
};

static size_t take(const tn_stage_run *r, const char *port, tn_release_role role, tn_release_part *out,
                   size_t n)
{
    const char *paths[PARTS_MAX], *labels[PARTS_MAX];
    size_t      more = tn_stage_many(r, &tn_stage_release, port, NULL, NULL);

    if (n + more > PARTS_MAX) return PARTS_MAX + 1;
    tn_stage_many(r, &tn_stage_release, port, paths, labels);
    for (size_t i = 0; i < more; i++) out[n++] = (tn_release_part){ role, labels[i], paths[i] };
    return n;
}

/* The signature depends on which key the name means: its public part's hint is part of the stage's key. */
static tn_status release_salt(tn_store *s, const void *config, char out[128], tn_error *err)
{
    const tn_release_options *o = config;
    char                     *path = NULL, *pub = NULL;
    tn_key                   *k = NULL;
    tn_status                 status = TN_OK;

    if (o->key == NULL) return TN_OK;
    if (strchr(o->key, '/') != NULL) return TN_OK; /* a PEM file: named by its path alone */
    TN_GOTO(tn_signing_paths(tn_store_dir(s), o->key, &path, &pub, err));
    if ((status = tn_key_load_public(&k, pub, err)) == TN_NOTFOUND)
        status = tn_fail(err, TN_NOTFOUND, "there is no signing key '%s': `tenet key new %s` makes it",
                         o->key, o->key);
    if (status == TN_OK) snprintf(out, 128, "key %s", tn_key_hint(k));
out:
    tn_key_free(k);
    free(path);
    free(pub);
    return status;
}

/* The key is opened, and its passphrase asked for, before anything runs. */
static tn_status release_begin(tn_store *s, const void *config, void **held, tn_error *err)
{
    const tn_release_options *o = config;
    tn_key                   *key = NULL;

    if (o->key == NULL) {
        tn_log(TN_LOG_WARN, "the release will not be signed: give the stage a 'key'");
        return TN_OK;
    }
    TN_TRY(tn_signing_key(tn_store_dir(s), o->key, o->passphrase_file, &key, err));
    *held = key;
    return TN_OK;
}

static void release_end(void *held) { tn_key_free(held); }

static tn_status release_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    const tn_release_options *o = config;
    tn_release_part          *parts = calloc(PARTS_MAX, sizeof *parts);
    tn_release_parts          p = { .model = inputs[0],
                                    .constitution = inputs[1],
                                    .parts = parts,
                                    .closure = r->closure,
                                    .recipe_text = r->recipe_text,
                                    .store = r->store };
    tn_status                 status = TN_OK;

    if (parts == NULL) return tn_fail(err, TN_NOMEM, "no memory for a release");
    p.model_from = r->n_all > 0 ? r->all[0].label : NULL; /* ports come in order: the model is the first */
    static const struct {
        const char     *port;
        tn_release_role role;
    } ports[] = { { "runs", TN_RELEASE_RUN },
                  { "records", TN_RELEASE_RECORD },
                  { "reports", TN_RELEASE_REPORT },
                  { "inputs", TN_RELEASE_INPUT } };
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++)
        if ((p.n_part = take(r, ports[i].port, ports[i].role, parts, p.n_part)) > PARTS_MAX) {
            status = tn_fail(err, TN_LIMIT, "a release takes at most %d runs, records, reports and inputs",
                             PARTS_MAX);
            goto out;
        }
    p.key = r->held;
    status = tn_release_build(&p, o, out, metrics, err);
out:
    free(parts);
    return status;
}

const tn_stage_kind tn_stage_release = {
    .name = "release",
    .version = 4,
    .line = "a signed release: model, constitution, recipe, reports, proofs",
    .options = tn_release_option_rows,
    .config_bytes = sizeof(tn_release_options),
    .inputs = release_inputs,
    .output = "a release directory",
    .sees_closure = true,
    .salt = release_salt,
    .begin = release_begin,
    .end = release_end,
    .run = release_run,
};
