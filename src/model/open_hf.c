/* open_hf.c - a directory in Hugging Face form.
 *
 *   config.json                     what it is                               needed
 *   model.safetensors               the weights, or                          one of both
 *   model.safetensors.index.json    which shard holds which tensor
 *   tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json     used when there
 *
 * pickle files (pytorch_model.bin) are never read. */
#include "model/hf_layout.h"
#include "model/open.h"

#include "base/log.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_JSON ((size_t)256 << 20)

static tn_status file_text(char **out, size_t *n, const char *dir, const char *name, tn_error *err)
{
    char     *path = tn_path(dir, name);
    tn_status status = TN_OK;

    *out = NULL;
    *n = 0;
    if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", dir);
    if (tn_exists(path) && (status = tn_file_no_pipe(path, err)) == TN_OK)
        status = tn_file_read_all(out, n, path, MAX_JSON, err);
    free(path);
    return status;
}

/* *out NULL when the file is not there. */
static tn_status file_json(json_t **out, const char *dir, const char *name, tn_error *err)
{
    char     *path = tn_path(dir, name);
    tn_status status = TN_OK;

    *out = NULL;
    if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", dir);
    if (tn_exists(path) && (status = tn_file_no_pipe(path, err)) == TN_OK)
        status = tn_json_load(out, path, MAX_JSON, err);
    free(path);
    return status;
}

/* ------------------------------------------------------------------------------------------------- shards */

static tn_status add_shard(tn_model *m, const char *name, tn_error *err)
{
    char        *path;
    tn_st_file **list = realloc(m->st, (m->n_st + 1) * sizeof *list);
    tn_status    status;

    if (list == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    m->st = list;
    if (!tn_path_is_plain(name) || strchr(name, '/') != NULL)
        return tn_fail(err, TN_FORMAT,
                       "%s: model.safetensors.index.json names the file '%.100s': plain file names of the "
                       "same directory are "
                       "allowed",
                       m->path, name);
    if ((path = tn_path(m->path, name)) == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    if (!tn_exists(path))
        status = tn_fail(
            err, TN_NOTFOUND,
            "%s: the file is missing, but model.safetensors.index.json says that it holds weights: "
            "fetch it again (tenet pull)",
            path);
    else status = tn_st_open(&m->st[m->n_st], path, err);
    free(path);
    if (status == TN_OK) m->n_st++;
    return status;
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tn_status open_indexed(tn_model *m, const json_t *index, tn_error *err)
{
    json_t      *map = json_object_get(index, "weight_map"), *v;
    size_t       n = json_object_size(map), k = 0;
    const char **files = calloc(n + 1, sizeof *files), *name;
    tn_status    status = TN_OK;

    if (files == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    if (n == 0)
        status = tn_fail(err, TN_FORMAT, "%s/model.safetensors.index.json: 'weight_map' is missing or empty",
                         m->path);
    json_object_foreach(map, name, v)
        if (status == TN_OK && (files[k++] = json_string_value(v)) == NULL)
            status = tn_fail(err, TN_FORMAT,
                             "%s/model.safetensors.index.json: the file of '%.100s' is no string", m->path,
                             name);
    if (status == TN_OK) qsort(files, n, sizeof *files, text_order);
    for (size_t i = 0; i < n && status == TN_OK; i++)
        if (i == 0 || strcmp(files[i], files[i - 1]) != 0) status = add_shard(m, files[i], err);
    free(files);
    size_t n_tensor = 0;
    for (size_t i = 0; i < m->n_st && status == TN_OK; i++) {
        n_tensor += tn_st_count(m->st[i]);
        for (size_t t = 0; t < tn_st_count(m->st[i]) && status == TN_OK; t++) {
            const char *in = json_string_value(json_object_get(map, tn_st_at(m->st[i], t)->name));
            if (in == NULL || strcmp(in, tn_basename(tn_st_path(m->st[i]))) != 0)
                status = tn_fail(
                    err, TN_MISMATCH,
                    "%s: holds tensor '%s', which model.safetensors.index.json does not put there",
                    tn_st_path(m->st[i]), tn_st_at(m->st[i], t)->name);
        }
    }
    if (status == TN_OK && n_tensor != n)
        status = tn_fail(err, TN_MISMATCH,
                         "%s: model.safetensors.index.json names %zu tensors, its files hold %zu", m->path, n,
                         n_tensor);
    return status;
}

static tn_status open_files(tn_model *m, tn_error *err)
{
    json_t   *index = NULL;
    char     *single = tn_path(m->path, "model.safetensors");
    tn_status status = TN_OK;

    if (single == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    if (tn_exists(single)) {
        status = add_shard(m, "model.safetensors", err);
    } else {
        status = file_json(&index, m->path, "model.safetensors.index.json", err);
        if (status == TN_OK && index == NULL)
            status = tn_fail(
                err, TN_NOTFOUND,
                "%s: has neither model.safetensors nor model.safetensors.index.json (pickle files are "
                "never read: convert them where you trust them)",
                m->path);
        if (status == TN_OK) status = open_indexed(m, index, err);
    }
    free(single);
    json_decref(index);
    return status;
}

/* ------------------------------------------------------------------------------------------------ weights */

static tn_status add_tensor(tn_model *m, tn_hf_stacks *stacks, const tn_st_file *f, const tn_st_entry *e,
                            tn_error *err)
{
    tn_name names[2];
    int     n = tn_names_from_hf(&m->h, e->name, names);

    if (n == 0)
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: tensor '%s' does not belong to a model of family %s: the forward would ignore it",
                       tn_st_path(f), e->name, m->h.family);
    for (int i = 0; i < n; i++) {
        if (names[i].layout == TN_LAYOUT_SKIP) continue;
        /* multi-token prediction */
        if (names[i].i_layer >= m->h.n_layer && strcmp(m->h.family, "deepseek2") == 0) continue;
        if (strcmp(names[i].name, "output.weight") == 0 && m->h.tied) continue;
        TN_TRY(tn_hf_add(m, stacks, &names[i], e, tn_st_path(f), err));
    }
    return TN_OK;
}

static tn_status add_weights(tn_model *m, tn_error *err)
{
    tn_hf_stacks stacks = { 0 };
    tn_status    status = TN_OK;

    for (size_t s = 0; s < m->n_st; s++)
        for (size_t i = 0; i < tn_st_count(m->st[s]); i++)
            TN_GOTO(add_tensor(m, &stacks, m->st[s], tn_st_at(m->st[s], i), err));
    TN_GOTO(tn_hf_stacks_check(m, &stacks, err));
out:
    tn_hf_stacks_free(&stacks);
    return status;
}

/* ------------------------------------------------------------------------------------- tokenizer and chat */

/* The text of a template: chat_template.jinja, or tokenizer_config.json's string or list of named ones. made:
 * free. */
static tn_status template_text(char **out, const tn_model *m, const json_t *tok_config, tn_error *err)
{
    const json_t *t = json_object_get(tok_config, "chat_template");
    size_t        n;

    TN_TRY(file_text(out, &n, m->path, "chat_template.jinja", err));
    if (*out != NULL) return TN_OK;
    for (size_t i = 0; i < json_array_size(t); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(t, i), "name"));
        if (name != NULL && strcmp(name, "default") == 0) {
            t = json_object_get(json_array_get(t, i), "template");
            break;
        }
    }
    if (!json_is_string(t)) return TN_OK;
    *out = tn_strdup(json_string_value(t));
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for its chat template", m->path);
}

static tn_status read_tokenizer(tn_model *m, const tn_model_options *o, tn_error *err)
{
    char     *text = NULL, *config_text = NULL, *template = NULL, *where = NULL, *config_where = NULL;
    size_t    n = 0, config_n = 0;
    json_t   *config = NULL;
    tn_status status = TN_OK;

    TN_GOTO(file_text(&text, &n, m->path, "tokenizer.json", err));
    TN_GOTO(file_text(&config_text, &config_n, m->path, "tokenizer_config.json", err));
    if ((where = tn_path(m->path, "tokenizer.json")) == NULL ||
        (config_where = tn_path(m->path, "tokenizer_config.json")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
        goto out;
    }
    if (config_text != NULL) TN_GOTO(tn_json_parse(&config, config_text, config_n, config_where, err));
    if (text != NULL)
        TN_GOTO(tn_tokenizer_from_json(&m->tok_own, text, n, config_text, config_n, where, err));
    m->tok = m->tok_own;
    TN_GOTO(template_text(&template, m, config, err));
    TN_GOTO(tn_open_chat(m, template, o->chat_format, err));
out:
    free(text);
    free(config_text);
    free(template);
    free(where);
    free(config_where);
    json_decref(config);
    return status;
}

/* The ids that `file` says end an answer: one number or a list. An id that no token has can never come: said,
 * not refused, for models with a cut vocabulary keep the id of the whole one. */
static tn_status add_stops(tn_model *m, const char *file, const json_t *config, tn_error *err)
{
    const json_t *v = json_object_get(config, "eos_token_id");
    size_t        n = json_is_array(v) ? json_array_size(v) : v != NULL && !json_is_null(v);

    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id))
            return tn_fail(err, TN_FORMAT,
                           "%s/%s: 'eos_token_id' must be the id of a token, or a list of ids", m->path,
                           file);
        if (json_integer_value(id) < 0 || json_integer_value(id) >= m->h.n_vocab) {
            tn_log(TN_LOG_WARN,
                   "%s/%s: 'eos_token_id' names token %" JSON_INTEGER_FORMAT
                   ", but the vocabulary has %" PRId64 ": no answer can "
                   "end with it",
                   m->path, file, json_integer_value(id), m->h.n_vocab);
            continue;
        }
        if (m->n_stop == (int)(sizeof m->stop / sizeof m->stop[0]))
            return tn_fail(err, TN_LIMIT,
                           "%s/%s: 'eos_token_id' names too many tokens: at most %d end an answer", m->path,
                           file, m->n_stop);
        m->stop[m->n_stop++] = (int32_t)json_integer_value(id);
    }
    return TN_OK;
}

static bool holds(const char *dir, const char *name)
{
    char *path = tn_path(dir, name);
    bool  there = path != NULL && tn_exists(path);

    free(path);
    return there;
}

/* A folder without a model's config.json; those that training makes are told apart, for people try them
 * first. */
static tn_status no_model(const char *dir, tn_error *err)
{
    if (holds(dir, "manifest.json") && holds(dir, "rank-0000.bin"))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s is a checkpoint of training: `tenet export %s DIR` makes a model of it (--merge, "
                       "where it trained an adapter)",
                       dir, dir);
    if (holds(dir, "adapter_config.json"))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s is an adapter, no model: `tenet export RUN DIR --merge` makes a model of a run's "
                       "adapter and its base",
                       dir);
    if (holds(dir, "run.json") && holds(dir, "steps.jsonl") && holds(dir, "model/config.json"))
        return tn_fail(err, TN_UNSUPPORTED, "%s is the folder of a training run: its model is %s/model", dir,
                       dir);
    if (holds(dir, "run.json") && holds(dir, "steps.jsonl"))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s is the folder of a training run: `tenet export %s DIR --merge` makes a model of "
                       "its newest checkpoint",
                       dir, dir);
    return tn_fail(err, TN_NOTFOUND,
                   "%s: has no config.json of a model: a directory in Hugging Face form, a .gguf file or a "
                   "release is expected",
                   dir);
}

tn_status tn_open_hf(tn_model *m, const tn_model_options *o, tn_error *err)
{
    json_t   *generation = NULL;
    char     *where = tn_path(m->path, "config.json");
    tn_status status = TN_OK;

    m->origin = TN_ORIGIN_HF;
    if (where == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    TN_GOTO(file_json(&m->config, m->path, "config.json", err));
    if (m->config == NULL ||
        (json_object_get(m->config, "model_type") == NULL && holds(m->path, "run.json"))) {
        status = no_model(m->path, err);
        goto out;
    }
    TN_GOTO(tn_hparams_from_hf(&m->h, m->config, where, err));
    TN_GOTO(open_files(m, err));
    TN_GOTO(add_weights(m, err));
    TN_GOTO(read_tokenizer(m, o, err));
    TN_GOTO(file_json(&generation, m->path, "generation_config.json", err));
    TN_GOTO(add_stops(m, "config.json", m->config, err));
    TN_GOTO(add_stops(m, "generation_config.json", generation, err));
out:
    json_decref(generation);
    free(where);
    return status;
}

tn_status tn_model_open_shape(tn_hparams *out, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    json_t   *config = NULL;
    tn_model *m = NULL;
    char     *where = tn_is_dir(path) ? tn_path(path, "config.json") : tn_strdup(path);

    if (where == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", path);
    if (tn_ends_with(where, ".json") && tn_exists(where)) {
        TN_GOTO(tn_json_load(&config, where, MAX_JSON, err));
        TN_GOTO(tn_hparams_from_hf(out, config, where, err));
    } else {
        TN_GOTO(tn_model_open(&m, path, &(tn_model_options){ 0 }, err));
        *out = m->h;
    }
out:
    tn_model_close(m);
    json_decref(config);
    free(where);
    return status;
}
