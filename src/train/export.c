/* export.c - weights alone, out of a checkpoint: opens what the run started from, loads the weights, writes a
 * model. */
#include "train/checkpoint.h"
#include "train/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

/* RUN/step-N, or RUN with its newest checkpoint. run and dir made: free. */
static tn_status place_find(const char *path, char **run_dir, char **dir, tn_error *err)
{
    char     *manifest = tn_path(path, "manifest.json"), *text = tn_strdup(path);
    bool      one = manifest != NULL && tn_exists(manifest);
    int64_t   step;
    tn_status status = TN_OK;

    free(manifest);
    if (text == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    tn_path_trim(text);
    if (one) {
        char *slash = strrchr(text, '/');
        *dir = tn_strdup(text);
        *run_dir = slash == NULL ? tn_strdup(".")
                                 : tn_strndup(text, slash == text ? 1 : (size_t)(slash - text));
    } else {
        TN_GOTO(train_checkpoint_newest(text, INT64_MAX, &step, err));
        if (step == 0) {
            status = tn_exists(text) ? tn_fail(err, TN_NOTFOUND,
                                               "%s: no checkpoint (no manifest.json, no step-N): name a "
                                               "run's folder, or RUN/step-N",
                                               path)
                                     : tn_fail(err, TN_NOTFOUND,
                                               "%s: no such folder; a run keeps its newest checkpoints, the "
                                               "best one and those that keep_every says",
                                               path);
            goto out;
        }
        *run_dir = tn_strdup(text);
        *dir = tn_strf("%s/step-%lld", text, (long long)step);
    }
    if (*run_dir == NULL || *dir == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
out:
    free(text);
    return status;
}

/* A list option's items with commas between; made: free. */
static char *list_join(const json_t *list)
{
    tn_str        s = { 0 };
    size_t        i;
    const json_t *item;
    json_array_foreach(list, i, item)
        tn_str_addf(&s, "%s%s", i > 0 ? "," : "",
                    json_string_value(item) != NULL ? json_string_value(item) : "");
    char *text = tn_str_take(&s);
    return text;
}

tn_status train_config_read(const char *run_dir, tn_train_config *c, tn_error *err)
{
    char         *path = tn_path(run_dir, "config.json");
    json_t       *o = NULL;
    const json_t *v;
    const char   *key;
    tn_status     status = TN_OK;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_options_default(c, tn_train_options, err));
    TN_GOTO(tn_json_load(&o, path, 1 << 20, err));
    json_object_foreach(o, key, v) {
        if (json_is_null(v)) continue;
        char *text = json_is_array(v)    ? list_join(v)
                     : json_is_string(v) ? tn_strdup(json_string_value(v))
                                         : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        if (text == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: out of memory", path);
            goto out;
        }
        status = tn_option_set(c, tn_train_options, key, text, path, err);
        free(text);
        if (status != TN_OK) goto out;
    }
out:
    json_decref(o);
    free(path);
    return status;
}

tn_status train_config_save(const run *r, tn_error *err)
{
    char     *path = tn_path(r->io->out, "config.json");
    json_t   *o = tn_options_json(r->c, tn_train_options);
    tn_status status = TN_NOMEM;
    const struct {
        const char *key, *value;
    } paths[] = { { "model", r->io->model },
                  { "tokenizer", r->io->tokenizer },
                  { "reference", r->io->reference },
                  { "adapter", r->io->adapter } };
    for (size_t i = 0; o != NULL && i < sizeof paths / sizeof *paths; i++) {
        char *full = paths[i].value != NULL ? realpath(paths[i].value, NULL) : NULL;
        if (full != NULL) json_object_set_new(o, paths[i].key, json_string(full));
        free(full);
    }
    if (path != NULL && o != NULL) status = tn_json_save(path, o, true, err);
    else tn_fail(err, TN_NOMEM, "no memory for the run's options");
    json_decref(o);
    free(path);
    return status;
}

/* An adapter fits one base only, and weights one tokenizer: what lies where the run's model lay must still be
 * that. */
static tn_status base_check(const run *r, const char *run_dir, tn_error *err)
{
    const struct {
        const char      *key, *what;
        const tn_digest *now;
    } part[] = { { "base", "the base model", r->p.lora != NULL ? &r->base_root : NULL },
                 { "tokenizer_digest", "the tokenizer", r->tokenizer != NULL ? &r->tokenizer_root : NULL } };
    char     *path = tn_path(run_dir, "run.json"), now[TN_SHA256_HEX];
    json_t   *o = NULL;
    tn_status status = path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    if (status != TN_OK || !tn_exists(path)) goto out; /* a checkpoint that was taken away from its run */
    TN_GOTO(tn_json_load(&o, path, 1 << 20, err));
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        const char *then = json_string_value(json_object_get(o, part[i].key)),
                   *at = r->io->model != NULL ? r->io->model : r->c->model;
        if (then == NULL || part[i].now == NULL) continue;
        tn_hex(now, part[i].now);
        if (strcmp(then, now) == 0) continue;
        status = tn_fail(err, TN_MISMATCH,
                         "%s%s%s is not what the run %s was trained with: %s is %.16s... there and %.16s... "
                         "now; name the right model with --model",
                         part[i].what, at != NULL ? " at " : "", at != NULL ? at : "", run_dir, part[i].key,
                         then, now);
        goto out;
    }
out:
    json_decref(o);
    free(path);
    return status;
}

/* A model from scratch has no files whose tokenizer a GGUF could take: it is written as a folder first, and
 * that opened. */
static tn_status gguf_write(const run *r, const char *out, tn_dtype type, tn_error *err)
{
    tn_status status = TN_OK;
    tn_model *m = NULL;
    char     *dir = tn_strf("%s.XXXXXX", out), *folder = NULL;

    if (dir == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (mkdtemp(dir) == NULL) {
        status = tn_fail(err, TN_IO, "%s: cannot make a folder beside it: %s", out, strerror(errno));
        free(dir);
        return status;
    }
    if ((folder = tn_path(dir, "model")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    /* rounded once, by what writes the GGUF */
    TN_GOTO(tn_model_write(r->model, folder, TN_F32, false, NULL, err));
    TN_GOTO(train_write_tokenizer(r, folder, err));
    TN_GOTO(tn_model_open(&m, folder, &(tn_model_options){ .weights = true }, err));
    TN_GOTO(tn_model_write(m, out, type, false, NULL, err));
out:
    tn_model_close(m);
    tn_remove_tree(dir, NULL);
    free(folder);
    free(dir);
    return status;
}

/* A damaged newest checkpoint is not passed over without a word: whoever exports names an older one. */
static tn_status load(run *r, const char *run_dir, const char *dir, progress_state *at, tn_error *err)
{
    int64_t     step, older = 0;
    tn_status   status = train_checkpoint_load(r, dir, NULL, false, at, NULL, err);
    const char *name = strrchr(dir, '/');
    if (status != TN_VERIFY && status != TN_FORMAT) return status;
    if (name == NULL || strncmp(name, "/step-", 6) != 0 || (step = strtoll(name + 6, NULL, 10)) < 1)
        return status;
    if (train_checkpoint_newest(run_dir, step - 1, &older, NULL) != TN_OK || older == 0) return status;
    return tn_fail_prefix(err, status,
                          "nothing was exported (the checkpoint before this one is %s/step-%lld)", run_dir,
                          (long long)older);
}

tn_status tn_train_export(const char *checkpoint, const char *out, const tn_export_options *o,
                          tn_digest *weights_root, tn_error *err)
{
    tn_status       status = TN_OK;
    tn_train_config c = { 0 };
    tn_train_io     io = { .quiet = true };
    run             r = { 0 };
    char           *run_dir = NULL, *dir = NULL;
    progress_state  at;

    TN_GOTO(place_find(checkpoint, &run_dir, &dir, err));
    TN_GOTO(train_config_read(run_dir, &c, err));
    io.out = run_dir;
    io.model = o->model;
    if (o->adapter != NULL && c.adapter != NULL && c.adapter[0] != '\0') {
        char *here = tn_strdup(o->adapter);
        if (here == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
        free(c.adapter);
        c.adapter = here;
    }
    r = (run){ .c = &c, .io = &io, .size = 1 };
    TN_GOTO(train_model_open(&r, false, err));
    TN_GOTO(train_params_create(&r.p, r.model, &c, c.adapter, err));
    TN_GOTO(base_check(&r, run_dir, err));
    TN_GOTO(load(&r, run_dir, dir, &at, err));
    TN_GOTO(train_params_root(&r.p, weights_root, err));
    train_params_masters(&r.p, true);
    if (r.p.lora != NULL && !o->merge) {
        if (tn_ends_with(out, ".gguf")) {
            status = tn_fail(err, TN_USAGE,
                             "%s: the adapter alone is a folder in PEFT's form: give a folder's name, or "
                             "--merge for the whole model as GGUF",
                             out);
            goto out;
        }
        if (tn_exists(out) && rmdir(out) != 0) { /* as with a model: nothing is written over */
            status = tn_fail(err, TN_USAGE,
                             "%s: is there already and not empty: remove it, or give another name", out);
            goto out;
        }
        TN_GOTO(tn_lora_write(r.model, r.p.lora, r.p.n_lora, out, err));
        goto out;
    }
    if (r.p.lora != NULL) {
        TN_GOTO(tn_model_merge_lora(r.model, r.p.lora, r.p.n_lora, err));
        TN_GOTO(tn_model_digest(r.model, weights_root, err));
    }
    if (r.own_tokenizer != NULL && tn_ends_with(out, ".gguf")) TN_GOTO(gguf_write(&r, out, o->type, err));
    else TN_GOTO(tn_model_write(r.model, out, o->type, false, NULL, err));
    if (tn_is_dir(out)) TN_GOTO(train_write_tokenizer(&r, out, err));
out:
    train_setup_release(&r);
    tn_train_config_free(&c);
    free(run_dir);
    free(dir);
    return status;
}
