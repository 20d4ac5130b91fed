/* write_hf.c - a model as a directory in Hugging Face's form: config.json, safetensors, tokenizer files.
 *
 * Written under another name beside it, then renamed, so that a directory is whole or not there. Unchanged
 * weights from a directory are its own files again, byte for byte. */
#include "model/carried.h"
#include "model/write_parts.h"
#include "model/write_rows.h"

#include "base/file.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Files of at most 5 GB, as Hugging Face's own writer makes them. */
#define USUAL_SHARD 5000000000

typedef struct piece {
    size_t   i_param;
    tn_name  name;
    tn_dtype dtype;
} piece;
typedef struct plan {
    const tn_model *m;
    piece          *list;
    tn_st_entry    *entries;
    size_t          n;
} plan;

static const char *const tokenizer_files[] = { "tokenizer.json",
                                               "tokenizer_config.json",
                                               "special_tokens_map.json",
                                               "generation_config.json",
                                               "vocab.json",
                                               "merges.txt",
                                               "added_tokens.json",
                                               "tokenizer.model",
                                               "chat_template.jinja",
                                               NULL };

static tn_dtype type_for(const tn_model *m, size_t i, tn_dtype type, bool keep_types)
{
    tn_dtype had = m->slots[i].file_dtype, plain = type == TN_F16 || type == TN_BF16 ? type : TN_F32;

    if (!keep_types) return plain;
    return had == TN_F32 || had == TN_F16 || had == TN_BF16 ? had : plain;
}

static tn_status add_piece(plan *p, size_t i, int64_t i_expert, tn_dtype dtype, tn_error *err)
{
    piece *x = &p->list[p->n];

    if (!tn_name_to_hf(&p->m->h, p->m->params[i].name, i_expert, &x->name))
        return tn_fail(err, TN_UNSUPPORTED, "weight '%s' of family '%s' has no name in Hugging Face's form",
                       p->m->params[i].name, p->m->h.family);
    /* goes with the gate */
    if (x->name.layout == TN_LAYOUT_OSS_UP || x->name.layout == TN_LAYOUT_OSS_UP_BIAS) return TN_OK;
    x->i_param = i;
    x->dtype = dtype;
    tn_hf_entry(&p->entries[p->n], p->m, i, &x->name, dtype);
    p->n++;
    return TN_OK;
}

static tn_status make_plan(plan *p, const tn_model *m, tn_dtype type, bool keep_types, tn_error *err)
{
    size_t room = m->n_param * (size_t)(m->h.n_expert > 1 ? m->h.n_expert : 1) + 1;

    *p = (plan){ .m = m, .list = calloc(room, sizeof *p->list), .entries = calloc(room, sizeof *p->entries) };
    if (p->list == NULL || p->entries == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for an index of %zu tensors", room);
    for (size_t i = 0; i < m->n_param; i++) {
        tn_name name;
        bool    split = tn_name_to_hf(&m->h, m->params[i].name, 0, &name) && name.layout == TN_LAYOUT_EXPERT;
        for (int64_t e = 0; e < (split ? m->h.n_expert : 1); e++)
            TN_TRY(add_piece(p, i, split ? e : -1, type_for(m, i, type, keep_types), err));
    }
    return TN_OK;
}

static tn_status emit(void *arg, size_t i, tn_out *o, tn_error *err)
{
    plan       *p = arg;
    tn_bytes    b;
    tn_st_entry e;

    TN_TRY(tn_bytes_hf(&b, p->m, p->list[i].i_param, &p->list[i].name, p->list[i].dtype, &e, err));
    tn_status s = tn_out_write(o, b.p, b.n, err);
    free(b.own);
    return s;
}

/* Bytes of entry i. */
static int64_t entry_bytes(const tn_st_entry *e)
{
    int64_t n = 1;

    for (int d = 0; d < e->n_dim; d++) n *= e->shape[d];
    return n * (e->dtype == TN_F32 ? 4 : 2);
}

/* One file of the pieces [first, end). */
static tn_status write_shard(const plan *p, size_t first, size_t end, const char *dir, const char *name,
                             tn_error *err)
{
    plan      part = { .m = p->m, .list = p->list + first, .entries = p->entries + first, .n = end - first };
    json_t   *meta = json_pack("{s:s}", "format", "pt");
    char     *path = tn_path(dir, name);
    tn_status status = meta == NULL || path == NULL
                           ? tn_fail(err, TN_NOMEM, "%s: no memory", dir)
                           : tn_st_write_with(path, part.entries, part.n, meta, emit, &part, err);

    free(path);
    json_decref(meta);
    return status;
}

/* The piece behind the last one that goes into the shard that begins at `first`: as many, in order, as
 * fit. */
static size_t shard_end(const plan *p, size_t first, int64_t max_bytes)
{
    int64_t sum = entry_bytes(&p->entries[first]);
    size_t  end = first + 1;

    for (; end < p->n && sum <= max_bytes - entry_bytes(&p->entries[end]); end++)
        sum += entry_bytes(&p->entries[end]);
    return end;
}

/* model-00001-of-0000N.safetensors ... and the index that says which tensor lies where. */
static tn_status write_shards(const plan *p, const char *dir, int64_t max_bytes, int64_t total, tn_error *err)
{
    json_t   *map = json_object(), *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size",
                                                      (json_int_t)total, "weight_map", map);
    char      name[64], *path = tn_path(dir, "model.safetensors.index.json");
    int       n = 0, k = 0;
    tn_status status = TN_OK;

    if (index == NULL || path == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory", dir);
        goto out;
    }
    for (size_t i = 0; i < p->n; i = shard_end(p, i, max_bytes)) n++;
    for (size_t i = 0, end; i < p->n; i = end) {
        end = shard_end(p, i, max_bytes);
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", ++k, n);
        TN_GOTO(write_shard(p, i, end, dir, name, err));
        for (size_t j = i; j < end; j++) json_object_set_new(map, p->entries[j].name, json_string(name));
    }
    TN_GOTO(tn_json_save(path, index, true, err));
out:
    free(path);
    json_decref(index);
    return status;
}

static tn_status write_weights(const tn_model *m, const char *dir, tn_dtype type, bool keep_types,
                               int64_t max_shard, tn_error *err)
{
    plan      p = { 0 };
    int64_t   total = 0;
    tn_status status = TN_OK;

    TN_GOTO(make_plan(&p, m, type, keep_types, err));
    for (size_t i = 0; i < p.n; i++) total += entry_bytes(&p.entries[i]);
    if (total > max_shard) TN_GOTO(write_shards(&p, dir, max_shard, total, err));
    else TN_GOTO(write_shard(&p, 0, p.n, dir, "model.safetensors", err));
out:
    free(p.list);
    free(p.entries);
    return status;
}

/* ---------------------------------------------------------------------------------------- the other files */

static tn_status clone_file(const tn_model *m, const char *dir, const char *name, tn_error *err)
{
    char     *from = tn_path(m->path, name), *to = tn_path(dir, name);
    tn_status s = TN_OK;

    if (from == NULL || to == NULL) s = tn_fail(err, TN_NOMEM, "%s: no memory", dir);
    else if (tn_exists(from)) s = tn_file_clone(from, to, false, err);
    free(from);
    free(to);
    return s;
}

static tn_status save_text(const char *dir, const char *name, const char *text, tn_error *err)
{
    char     *path = tn_path(dir, name);
    tn_status s = path == NULL ? tn_fail(err, TN_NOMEM, "%s: no memory", dir)
                               : tn_file_write_all(path, text, strlen(text), err);

    free(path);
    return s;
}

static tn_status save_json(const char *dir, const char *name, const json_t *v, tn_error *err)
{
    char     *path = tn_path(dir, name);
    tn_status s = path == NULL ? tn_fail(err, TN_NOMEM, "%s: no memory", dir)
                               : tn_json_save(path, v, true, err);

    free(path);
    return s;
}

/* From a GGUF: the files that it carries, else made from its vocabulary. A vocabulary without a form there is
 * no failure where a model is written, because the weights are whole: then *why says it. */
static tn_status tokenizer_from_gguf(const tn_gguf *g, const char *dir, tn_error *why, tn_error *err)
{
    char   *text = NULL;
    json_t *tokenizer, *config;

    TN_TRY(tn_carried(g, "tokenizer.json", &text, err));
    if (text != NULL) {
        tn_status s = save_text(dir, "tokenizer.json", text, err);
        free(text);
        TN_TRY(s);
        for (const char *const *f = tn_carried_files; *f != NULL; f++) {
            TN_TRY(tn_carried(g, *f, &text, err));
            if (text != NULL && strcmp(*f, "config.json") != 0) s = save_text(dir, *f, text, err);
            free(text);
            TN_TRY(s);
        }
        return TN_OK;
    }
    if (tn_gguf_find(g, "tokenizer.ggml.tokens") == NULL) return TN_OK; /* a file of weights alone */
    if (tn_vocabulary_json(&tokenizer, &config, g, why) != TN_OK) return TN_OK;
    tn_status s = save_json(dir, "tokenizer.json", tokenizer, err);
    if (s == TN_OK) s = save_json(dir, "tokenizer_config.json", config, err);
    json_decref(tokenizer);
    json_decref(config);
    return s;
}

tn_status tn_model_write_tokenizer(const char *gguf, const char *dir, tn_error *err)
{
    tn_gguf *g = NULL;
    tn_error why = { 0 };

    TN_TRY(tn_gguf_open(&g, gguf, err));
    tn_status status = tokenizer_from_gguf(g, dir, &why, err);
    if (status == TN_OK && why.code != TN_OK) {
        status = why.code;
        if (err != NULL) *err = why;
    }
    tn_gguf_close(g);
    return status;
}

/* The configuration that the model came with, in the words of its new type; else one made from the
 * hyper-parameters. */
static tn_status write_config(const tn_model *m, const char *dir, tn_dtype type, bool keep_types,
                              tn_error *err)
{
    tn_hparams  h = m->h;
    json_t     *config = NULL;
    char       *text = NULL;
    tn_dtype    most = type_for(m, 0, type, keep_types);
    const char *dtype = most == TN_BF16 ? "bfloat16" : most == TN_F16 ? "float16" : "float32";
    tn_status   status = TN_OK;

    if (m->config != NULL) config = json_deep_copy(m->config);
    else if (m->n_gguf > 0) {
        TN_TRY(tn_carried(m->gguf[0], "config.json", &text, err));
        if (text != NULL)
            status = tn_json_parse(&config, text, strlen(text), "config.json inside the GGUF", err);
        free(text);
        TN_TRY(status);
    }
    if (config != NULL) {
        json_object_del(config, "quantization_config");
        json_object_set_new(config, json_object_get(config, "torch_dtype") != NULL ? "torch_dtype" : "dtype",
                            json_string(dtype));
    } else {
        TN_TRY(tn_recover_llama3(&h, err));
        if ((config = tn_hf_config(&h, most, err)) == NULL) return err != NULL ? err->code : TN_UNSUPPORTED;
    }
    status = save_json(dir, "config.json", config, err);
    json_decref(config);
    return status;
}

static bool is_unchanged(const tn_model *m)
{
    for (size_t i = 0; i < m->n_param; i++)
        if (m->slots[i].changed) return false;
    return true;
}

static tn_status clone_all(const tn_model *m, const char *dir, tn_error *err)
{
    TN_TRY(clone_file(m, dir, "config.json", err));
    for (size_t i = 0; i < m->n_st; i++) TN_TRY(clone_file(m, dir, tn_basename(tn_st_path(m->st[i])), err));
    if (m->n_st > 1) TN_TRY(clone_file(m, dir, "model.safetensors.index.json", err));
    return TN_OK;
}

static tn_status fill(const tn_model *m, const char *dir, tn_dtype type, bool keep_types, int64_t max_shard,
                      tn_error *err)
{
    tn_error why = { 0 };

    TN_TRY(tn_mkdirs(dir, err));
    if (m->origin == TN_ORIGIN_HF && keep_types && is_unchanged(m) && max_shard == 0) {
        TN_TRY(clone_all(m, dir, err));
    } else {
        TN_TRY(write_config(m, dir, type, keep_types, err));
        TN_TRY(write_weights(m, dir, type, keep_types, max_shard > 0 ? max_shard : USUAL_SHARD, err));
    }
    if (m->origin == TN_ORIGIN_HF)
        for (const char *const *f = tokenizer_files; *f != NULL; f++) TN_TRY(clone_file(m, dir, *f, err));
    else if (m->n_gguf > 0) TN_TRY(tokenizer_from_gguf(m->gguf[0], dir, &why, err));
    if (why.code != TN_OK) tn_log(TN_LOG_WARN, "%s", why.msg);
    if (m->origin != TN_ORIGIN_NEW) TN_TRY(tn_model_write_chat(m, dir, err));
    return tn_fsync_dir(dir, err);
}

tn_status tn_write_hf(const tn_model *m, const char *out, tn_dtype type, bool keep_types, int64_t max_shard,
                      tn_error *err)
{
    char     *aside = tn_strf("%s.part-%ld", out, (long)getpid());
    tn_status status;

    if (aside == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", out);
    if (tn_exists(out) && rmdir(out) != 0)
        status = tn_fail(err, TN_USAGE, "%s: is there already and not empty: remove it, or give another name",
                         out);
    else if ((status = fill(m, aside, type, keep_types, max_shard, err)) == TN_OK)
        status = tn_rename(aside, out, err);
    if (status != TN_OK) tn_remove_tree(aside, NULL);
    free(aside);
    return status;
}
